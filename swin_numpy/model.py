"""Stages and the whole model: PatchEmbed, stages of blocks with PatchMerging between them, norm, mean, head."""

import numpy as np
from einops import reduce, repeat

from . import fused
from .block import SwinTransformerBlock, SwinTransformerBlockV2
from .config import SwinConfig
from .functional import add_up
from .layers import Dropout, LayerNorm, Linear, init_weights, seed_dropout, undrawn
from .module import Module, Parameter
from .patches import PatchEmbed, PatchMerging, PatchMergingV2
from .weights.folder import save_folder
from .weights.hub import fetch
from .weights.load import load_weights


class BasicLayer(Module):
    """One stage: blocks of W-MSA and SW-MSA alternate. Owns the PatchMerging that follows it, if there is one.

    config: a SwinConfig; stage: 0 for the first. Raises ValueError for a stage that config doesn't have.
    """

    def __init__(self, config, stage):
        super().__init__()
        if stage not in range(len(config.depths)):
            raise ValueError(f"stage: expected 0 to {len(config.depths) - 1}, got {stage}")
        Block, Merging, options = parts_of(config, stage)
        self.blocks = [
            Block(
                dim=config.widths[stage],
                num_heads=config.num_heads[stage],
                input_resolution=config.grids[stage],
                window_size=config.window_sizes[stage],
                shift_size=0 if i % 2 == 0 else config.window_sizes[stage] // 2,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                drop=config.drop_rate,
                attn_drop=config.attn_drop_rate,
                drop_path=config.drop_path_rates[stage][i],
                always_shift=config.always_shift,
                **options,
            )
            for i in range(config.depths[stage])
        ]
        last = stage == len(config.depths) - 1
        self.downsample = None if last else Merging(config.widths[stage])

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h·w, c): the blocks only, without the PatchMerging."""
        for block in self.blocks:
            x = block(x, grid)
        return x

    def backward(self, dy):
        """dy (n, h·w, c) → dx (n, h·w, c)."""
        for block in reversed(self.blocks):
            dy = block.backward(dy)
        return dy


def parts_of(config, stage):
    """The classes of a stage's blocks and of its PatchMerging, and the arguments that only V2's blocks have."""
    if config.version == 1:
        return SwinTransformerBlock, PatchMerging, {}
    pretrained = {"pretrained_window_size": config.pretrained_window_sizes[stage]}
    return SwinTransformerBlockV2, PatchMergingV2, pretrained


class SwinTransformer(Module):
    """Swin Transformer V1 (Liu et al. 2021) or V2 (2022). The same seed gives the same weights in both packages.

    config: a SwinConfig. seed: of the weights and of dropout. dtype: np.float32 or np.float64.
    """

    def __init__(self, config, seed=0, dtype=np.float32):
        super().__init__()
        check_config(config)
        check_dtype(dtype)
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.in_chans, config.embed_dim, config.patch_norm)
        if config.ape:
            tokens = config.grids[0][0] * config.grids[0][1]
            self.absolute_pos_embed = Parameter(np.zeros((1, tokens, config.embed_dim), np.float32))
        self.pos_drop = Dropout(config.drop_rate)
        self.layers = [BasicLayer(config, stage) for stage in range(len(config.depths))]
        self.norm = LayerNorm(config.widths[-1])
        self.head = Linear(config.widths[-1], config.num_classes) if config.num_classes else None
        init_weights(self, seed)
        seed_dropout(self, seed)
        self.to(dtype)

    def forward(self, images):
        """images (n, c, H, W) → logits (n, num_classes); without a head, features (n, channels).

        Raises ValueError for another number of channels, TypeError for another type than that of the weights.
        """
        x, _ = self.forward_stages(images)[-1]
        self.save(x.shape)
        x = reduce(self.norm(x), "n l c -> n c", add_up) / x.shape[1]
        return x if self.head is None else self.head(x)

    def backward(self, dlogits):
        """dlogits, of the shape that forward returned → dimages (n, c, H, W). Adds to every parameter's `.grad`.

        Raises ValueError for another shape, and unless the last forward ran in training mode.
        """
        n, length, channels = self.saved[0]
        check_gradient(dlogits, (n, self.config.num_classes or channels))
        dx = dlogits if self.head is None else self.head.backward(dlogits)
        dx = repeat(dx / length, "n c -> n l c", l=length)
        dx = self.norm.backward(dx)
        return self.backward_stages([0] * (len(self.layers) - 1) + [dx])

    def forward_stages(self, images, out_indices=None):
        """images (n, c, H, W) → for each stage (tokens (n, h·w, c), (h, w)), before PatchMerging and final norm.

        out_indices: the stages that are wanted, in rising order; None: all of them. Later stages are not computed.
        At 224x224 Swin-T's grids are 56x56, 28x28, 14x14, 7x7.
        Raises ValueError for another number of channels and for a stage that doesn't exist.
        """
        indices = check_indices(out_indices, len(self.layers))
        x, grid = self.embed(images)
        stages = []
        for i in range(indices[-1] + 1):
            x = self.layers[i](x, grid)
            if i in indices:
                stages.append((x, grid))
            if i < indices[-1]:
                x, grid = self.layers[i].downsample(x, grid)
        return stages

    def backward_stages(self, dstages, out_indices=None):
        """The gradients of the tokens (n, h·w, c) that forward_stages returned → dimages (n, c, H, W).

        dstages: one for each stage in out_indices; 0 for a stage that the loss doesn't use, except the last.
        Raises ValueError for another number of gradients.
        """
        indices = check_indices(out_indices, len(self.layers))
        gradients = dict(zip(indices, dstages, strict=True))
        dx = 0
        for i in reversed(range(indices[-1] + 1)):
            if i < indices[-1]:
                dx = self.layers[i].downsample.backward(dx)
            dx = self.layers[i].backward(dx + gradients.get(i, 0))
        return self.embed_backward(dx)

    @classmethod
    def from_checkpoint(cls, path, config=None, **fields):
        """The model in a file: .safetensors, .npz or what torch.save wrote, in any of the public namings.

        config    the SwinConfig that you want; None: the one that the file was made for
        fields    fields of SwinConfig that you want otherwise, or that the file doesn't determine
        returns   a model in evaluation mode, in float64 if the file holds it, else in float32
        raises    CheckpointError for a file that is damaged or fits no such model; OSError where it can't be opened
        warns     UserWarning that lists what was adapted, and one for each array that holds NaN or infinity

        Adapted are: the head, made anew if num_classes differs; bias tables, if windows differ (V2 has none: its
        pretrained_window_sizes become the file's windows); the absolute position embedding, if the grid differs; the
        patch convolution, if in_chans differs. For example
        from_checkpoint(path, num_classes=10), from_checkpoint(path, img_size=384, window_size=12).
        """
        state, config = load_weights(path, config, **fields)
        with undrawn():
            model = cls(config)
        return with_weights(model, state)

    @classmethod
    def from_pretrained(cls, name, revision=None, cache_dir=None, local_files_only=False, **fields):
        """A published model by name; its weights are downloaded once, from the Hugging Face hub.

        name      a key of swin_numpy.PUBLISHED, any "owner/repository" with a Swin's weights, or a folder
        fields    as for from_checkpoint; weights/hub.py explains the other arguments
        raises    as from_checkpoint; HubError that says what to do; ValueError for another name

        Pictures are prepared for it by swin_numpy.Preprocessing.from_pretrained(name).
        """
        return cls.from_checkpoint(fetch(name, revision, cache_dir, local_files_only), **fields)

    def save_pretrained(self, folder, to="transformers"):
        """Write config.json and model.safetensors, for `to` ("transformers" or "timm") and from_pretrained to read.

        Raises CheckpointError for what that library can't express, OSError where it can't be written.
        """
        save_folder(folder, self.state_dict(), self.config, to)

    def use_attention(self, kind):
        """Choose how the model computes: "plain", as the chapters show it, or "fused", with fewer passes over
        memory. Returns the model.

        Weights are the same, and results up to rounding and, in float32, a GELU that is exact to 1e-6. What has hooks
        inside, or was changed, is computed the plain way. Raises ValueError for any other kind.
        """
        check_attention(kind)
        for _, part in self.named_modules():
            part.fast_forward = fused.forward if kind == "fused" else None
        return self

    def embed(self, images):
        """images (n, c, H, W) → the first stage's tokens (n, h·w, c) and grid (h, w)."""
        x, grid = self.patch_embed(images)
        if self.config.ape:
            _check_grid(grid, self.config.grids[0])
            x = x + self.absolute_pos_embed
        return self.pos_drop(x), grid

    def embed_backward(self, dx):
        """dx (n, h·w, c) → dimages (n, c, H, W)."""
        dx = self.pos_drop.backward(dx)
        if self.config.ape:
            self.absolute_pos_embed.accumulate(reduce(dx, "n l c -> 1 l c", add_up))
        return self.patch_embed.backward(dx)


def with_weights(model, state):
    """The model with {name: array} loaded, in float64 if they are, in evaluation mode."""
    if any(value.dtype == "float64" for value in state.values()):
        model = model.to(np.float64)
    model.load_state_dict(state)
    return model.eval()


def check_config(config):
    """Raise TypeError unless config is a SwinConfig."""
    if not isinstance(config, SwinConfig):
        raise TypeError(f"config: expected a SwinConfig, got {config!r}; presets: swin_numpy.get_config(name)")


def check_attention(kind):
    """Raise ValueError unless kind is "plain" or "fused"."""
    if kind not in ("plain", "fused"):
        raise ValueError(f'attention: expected "plain" or "fused", got {kind!r}')


def check_dtype(dtype):
    """Raise ValueError unless dtype is float32 or float64."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")


def check_indices(out_indices, stages):
    """The requested stages as a tuple; None stands for all. Raises ValueError for any that don't exist."""
    indices = tuple(range(stages)) if out_indices is None else out_indices
    if not isinstance(indices, tuple | list) or not indices or not all(i in range(stages) for i in indices):
        raise ValueError(f"out_indices: expected numbers of stages from 0 to {stages - 1}, got {out_indices!r}")
    if list(indices) != sorted(set(indices)):
        raise ValueError(f"out_indices: expected rising numbers, each once, got {out_indices!r}")
    return tuple(int(i) for i in indices)


def _check_grid(grid, expected):
    if grid != expected:
        raise ValueError(
            f"an absolute position embedding for {expected[0]}x{expected[1]} patches can't serve {grid[0]}x{grid[1]}: "
            "resize the image, or the embedding"
        )


def check_gradient(gradient, expected):
    """Raise ValueError unless the gradient has the expected shape."""
    if gradient.shape != expected:
        raise ValueError(f"gradient: expected the shape that forward returned, {expected}, got {gradient.shape}")
