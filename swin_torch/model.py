"""Stages and the whole model: PatchEmbed, stages of blocks with PatchMerging between them, norm, mean, head."""

import torch
from einops import reduce
from torch.nn import Dropout, LayerNorm, Linear, Module, ModuleList, Parameter

from swin_numpy.config import SwinConfig

from .block import SwinTransformerBlock
from .layers import init_weights
from .patches import PatchEmbed, PatchMerging


class BasicLayer(Module):
    """One stage: `depth` blocks, W-MSA and SW-MSA by turns. Owns the PatchMerging that follows it, if one does."""

    def __init__(self, config, stage):
        super().__init__()
        self.blocks = ModuleList(
            SwinTransformerBlock(
                dim=config.widths[stage],
                num_heads=config.num_heads[stage],
                input_resolution=config.grids[stage],
                window_size=config.window_size,
                shift_size=0 if i % 2 == 0 else config.window_size // 2,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                drop=config.drop_rate,
                attn_drop=config.attn_drop_rate,
                drop_path=config.drop_path_rates[stage][i],
            )
            for i in range(config.depths[stage])
        )
        last = stage == len(config.depths) - 1
        self.downsample = None if last else PatchMerging(config.widths[stage])

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h·w, c): the blocks only, so that a stage gives what it computed."""
        for block in self.blocks:
            x = block(x, grid)
        return x


class SwinTransformer(Module):
    """Swin Transformer (Liu et al. 2021). The same seed gives the same weights in both packages.

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
        """images (n, c, H, W) → logits (n, num_classes); without a head, features (n, channels)."""
        x, _ = self.forward_stages(images)[-1]
        x = reduce(self.norm(x), "n l c -> n c", "mean")
        return x if self.head is None else self.head(x)

    def forward_stages(self, images):
        """images (n, c, H, W) → for each stage (tokens (n, h·w, c), (h, w)), before PatchMerging and final norm.

        At 224x224 Swin-T's grids are 56x56, 28x28, 14x14, 7x7. Raises ValueError for another number of channels.
        """
        x, grid = self.embed(images)
        stages = []
        for layer in self.layers:
            x = layer(x, grid)
            stages.append((x, grid))
            if layer.downsample is not None:
                x, grid = layer.downsample(x, grid)
        return stages

    def embed(self, images):
        """images (n, c, H, W) → the first stage's tokens (n, h·w, c) and grid (h, w)."""
        x, grid = self.patch_embed(images)
        if self.config.ape:
            check_grid(grid, self.config.grids[0])
            x = x + self.absolute_pos_embed
        return self.pos_drop(x), grid


def check_config(config):
    if not isinstance(config, SwinConfig):
        raise TypeError(f"config: expected a SwinConfig, got {config!r}; presets: swin_numpy.get_config(name)")


def check_grid(grid, expected):
    if grid != expected:
        raise ValueError(
            f"an absolute position embedding for {expected[0]}x{expected[1]} patches can't serve {grid[0]}x{grid[1]}: "
            "resize the image, or the embedding"
        )
