"""Stages and the whole model: PatchEmbed, stages of blocks with PatchMerging between them, norm, mean, head."""

import torch
from einops import reduce
from torch.nn import Dropout, LayerNorm, Linear, ModuleList, Parameter

from swin_numpy.config import SwinConfig
from swin_numpy.weights.folder import save_folder
from swin_numpy.weights.hub import fetch
from swin_numpy.weights.load import load_weights

from . import fused
from .block import SwinTransformerBlock, SwinTransformerBlockV2
from .layers import init_weights, undrawn
from .module import Module
from .patches import PatchEmbed, PatchMerging, PatchMergingV2

torch.fx.wrap("reduce")  # torch.fx can't look into einops


class BasicLayer(Module):
    """One stage: blocks of W-MSA and SW-MSA alternate. Owns the PatchMerging that follows it, if there is one.

    config: a SwinConfig; stage: 0 for the first. Raises ValueError for a stage that config doesn't have.
    """

    def __init__(self, config, stage):
        super().__init__()
        if stage not in range(len(config.depths)):
            raise ValueError(f"stage: expected 0 to {len(config.depths) - 1}, got {stage}")
        Block, Merging, options = parts_of(config, stage)
        self.blocks = ModuleList(
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
        )
        last = stage == len(config.depths) - 1
        self.downsample = None if last else Merging(config.widths[stage])
        self.fast_forward = None  # use_attention("fused") puts a function here that computes what forward does

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h·w, c): the blocks only, without the PatchMerging."""
        if self.fast_forward is not None and fused.applies(self.blocks, x):
            return self.fast_forward(self.blocks, x, grid)
        for block in self.blocks:
            x = block(x, grid)
        return x

    def _merge(self, x, grid):
        """The PatchMerging that follows: x (n, h·w, c), grid (h, w) → (n, h/2·w/2, 2c), (h/2, w/2)."""
        if self.fast_forward is not None and fused.applies([self.downsample], x):
            return fused.merge(self.downsample, x, grid)
        return self.downsample(x, grid)


def parts_of(config, stage):
    """The classes of a stage's blocks and of its PatchMerging, and the arguments that only V2's blocks have."""
    if config.version == 1:
        return SwinTransformerBlock, PatchMerging, {}
    pretrained = {"pretrained_window_size": config.pretrained_window_sizes[stage]}
    return SwinTransformerBlockV2, PatchMergingV2, pretrained


class SwinTransformer(Module):
    """Swin Transformer V1 (Liu et al. 2021) or V2 (2022). The same seed gives the same weights in both packages.

    config: a SwinConfig. seed: of the weights.
    """

    def __init__(self, config, seed=0):
        super().__init__()
        check_config(config)
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.in_chans, config.embed_dim, config.patch_norm)
        if config.ape:
            tokens = config.grids[0][0] * config.grids[0][1]
            self.absolute_pos_embed = Parameter(torch.zeros(1, tokens, config.embed_dim))
        self.pos_drop = Dropout(config.drop_rate)
        self.layers = ModuleList(BasicLayer(config, stage) for stage in range(len(config.depths)))
        self.norm = LayerNorm(config.widths[-1])
        self.head = Linear(config.widths[-1], config.num_classes) if config.num_classes else None
        init_weights(self, seed)

    def forward(self, images):
        """images (n, c, H, W) → logits (n, num_classes); without a head, features (n, channels).

        Raises ValueError for another number of channels, TypeError for another type than that of the weights.
        """
        x, _ = self.forward_stages(images)[-1]
        x = reduce(self.norm(x), "n l c -> n c", "mean")
        return x if self.head is None else self.head(x)

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
                x, grid = self.layers[i]._merge(x, grid)
        return stages

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

        Weights and results are the same, up to rounding. What has hooks inside, or was changed, is computed the plain
        way. Raises ValueError for any other kind.
        """
        check_attention(kind)
        for layer in self.layers:
            layer.fast_forward = fused.forward if kind == "fused" else None
        return self

    def embed(self, images):
        """images (n, c, H, W) → the first stage's tokens (n, h·w, c) and grid (h, w)."""
        x, grid = self.patch_embed(images)
        if self.config.ape:
            _check_grid(grid, self.config.grids[0])
            x = x + self.absolute_pos_embed
        return self.pos_drop(x), grid


def with_weights(model, state):
    """The model with {name: array} loaded, in float64 if they are, in evaluation mode."""
    dtype = "float64" if any(value.dtype == "float64" for value in state.values()) else "float32"
    model = model.to(getattr(torch, dtype))
    model.load_state_dict({name: value.astype(dtype) for name, value in state.items()}, assign=True)
    return model.requires_grad_().eval()


def check_config(config):
    """Raise TypeError unless config is a SwinConfig."""
    if not isinstance(config, SwinConfig):
        raise TypeError(f"config: expected a SwinConfig, got {config!r}; presets: swin_numpy.get_config(name)")


def check_attention(kind):
    """Raise ValueError unless kind is "plain" or "fused"."""
    if kind not in ("plain", "fused"):
        raise ValueError(f'attention: expected "plain" or "fused", got {kind!r}')


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
