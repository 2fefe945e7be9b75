"""The pictures of figures/gallery: what each shows, made from the real package and the photographs.

PICTURES maps a name to a function of a `Gallery` (the sizes and models the pictures share) that returns a
figure. The drawing modules know no model; this file brings the two together.
"""

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import swin_numpy
from swin_numpy.pictures.images import load_image, preprocess
from swin_numpy.runtime.environment import environment
from swin_numpy.training.fashion_mnist import TRAINED
from swin_numpy.weights.load import load_checkpoint

from . import attention, bias, block, maps, measure, model, patches, shifted, windows
from . import cost as costs
from . import speed as speeds
from .photographs import photo_path

RESULTS = Path(__file__).resolve().parent.parent / "tests" / "benchmarks" / "results" / "cpu.json"
PICTURES = {}
NEEDS_WEIGHTS = set()
NEEDS_TORCH = set()

TOKENS = ["sky", "roof", "wall", "door"]
SIDE, WINDOW, SHIFT = 8, 4, 2  # the toy map: 8 x 8 tokens in windows of 4 x 4
GRID = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)


def picture(draw):
    """Decorator: list `draw` under its own name."""
    PICTURES[draw.__name__] = draw
    return draw


@dataclass
class Gallery:
    """What the pictures share. weights: a checkpoint of the model `name`, or None: then some can't be drawn."""

    name: str = "swin_tiny_patch4_window7_224"
    weights: str | None = None
    photo: str = "chelsea"

    @property
    def config(self):
        return swin_numpy.get_config(self.name)

    @cached_property
    def model(self):
        """The NumPy model, with the weights if there are any."""
        built = swin_numpy.SwinTransformer(self.config, seed=0)
        if self.weights:
            built.load_state_dict(load_checkpoint(self.weights))
        return built

    @cached_property
    def images(self):
        """(1, 3, H, W), normalised as the model wants it."""
        return preprocess(load_image(photo_path(self.photo)), self.config.image_shape)

    @cached_property
    def pixels(self):
        """(H, W, 3), uint8: the same picture to look at."""
        return swin_numpy.pictures.images.denormalise(self.images)[0]


# Self-attention on four tokens


def toy_attention():
    """(X, W_Q, W_K, W_V, Attention): four tokens of four channels, head width 3, numbers with one decimal."""
    rng = np.random.default_rng(7)
    X = rng.integers(-10, 11, (4, 4)) / 10
    W_Q, W_K, W_V = rng.integers(-15, 16, (3, 4, 3)) / 10
    return X, W_Q, W_K, W_V, swin_numpy.self_attention(X, W_Q, W_K, W_V)


@picture
def qkv(gallery):
    X, W_Q, W_K, W_V, step = toy_attention()
    return attention.qkv(X, W_Q, W_K, W_V, step.Q, step.K, step.V, TOKENS)


@picture
def scores(gallery):
    *_, step = toy_attention()
    return attention.scores(step.Q @ step.K.T, TOKENS, TOKENS)


@picture
def softmax_steps(gallery):
    *_, step = toy_attention()
    return attention.softmax_steps(step.Q @ step.K.T, step.scores, step.weights, TOKENS)


@picture
def weighted_sum(gallery):
    *_, step = toy_attention()
    return attention.weighted_sum(step.weights[0], step.V, step.Z[0], TOKENS)


@picture
def temperature(gallery):
    *_, step = toy_attention()
    return attention.temperature(step.scores[0], (0.25, 0.5, 1, 4), TOKENS)


@picture
def heads(gallery):
    rng = np.random.default_rng(1)
    X, W = rng.normal(size=(4, 6)), rng.normal(size=(4, 6, 6))
    return attention.heads(swin_numpy.multi_head_self_attention(X, *W, num_heads=3).weights, TOKENS)


# Patches and windows


@picture
def patch_grid(gallery):
    return patches.patch_grid(gallery.pixels, gallery.config.patch_size, zoom=(22, 14, 6))


@picture
def patch_to_row(gallery):
    p, (row, column) = gallery.config.patch_size, (24, 16)
    patch = gallery.images[0, :, row * p : (row + 1) * p, column * p : (column + 1) * p]
    return patches.patch_to_row(gallery.pixels, p, (row, column), patch.ravel())


@picture
def windows_on_photograph(gallery):
    M = gallery.config.window_size
    return windows.windows_on_image(gallery.pixels, gallery.config.patch_size, M, shift=M // 2)


@picture
def window_partition(gallery):
    grid = np.arange(16).reshape(4, 4)
    return windows.window_partition_steps(grid, swin_numpy.window_partition(grid[None, :, :, None], 2)[0, :, :, 0])


@picture
def cyclic_shift(gallery):
    after = swin_numpy.cyclic_shift(GRID[None, :, :, None], SHIFT)[0, :, :, 0]
    return shifted.cyclic_shift(GRID, after, SHIFT, WINDOW)


@picture
def cyclic_shift_photograph(gallery):
    shift = 32  # pixels, more than in the model: a strip that can be seen
    after = swin_numpy.cyclic_shift(gallery.pixels[None], shift)[0]
    return shifted.cyclic_shift(
        gallery.pixels, after, shift, 2 * gallery.config.patch_size * gallery.config.window_size
    )


def sides_of_the_seam(height, width, shift):
    """(height, width) of 0 … 3: after the roll, which side of the two seams each token lies on."""
    return 2 * (np.arange(height) >= height - shift)[:, None] + (np.arange(width) >= width - shift)


@picture
def region_labels(gallery):
    return shifted.region_labels(sides_of_the_seam(SIDE, SIDE, SHIFT), WINDOW)


@picture
def masks(gallery):
    mask = swin_numpy.shift_mask(SIDE, SIDE, WINDOW, SHIFT)
    return shifted.masks(mask, sides_of_the_seam(SIDE, SIDE, SHIFT), WINDOW)


@picture
def masks_of_stage_1(gallery):
    M, (h, w) = gallery.config.window_size, gallery.config.grids[0]
    mask = swin_numpy.shift_mask(h, w, M, M // 2)
    return shifted.masks(mask, sides_of_the_seam(h, w, M // 2), M)


def who_sees_whom(height, width, window, shift):
    """(h·w, h·w) of bool: does query i see key j, for tokens of the map counted row by row."""
    tokens = np.arange(height * width).reshape(1, height, width, 1)
    tokens = swin_numpy.window_partition(swin_numpy.cyclic_shift(tokens, shift), window)[0, :, :, 0]
    sees = np.zeros((height * width,) * 2, bool)
    sees[tokens[:, :, None], tokens[:, None]] = swin_numpy.shift_mask(height, width, window, shift) == 0
    return sees


@picture
def attention_structure(gallery):
    kinds = {
        "global": who_sees_whom(SIDE, SIDE, SIDE, 0),
        "W-MSA": who_sees_whom(SIDE, SIDE, WINDOW, 0),
        "SW-MSA": who_sees_whom(SIDE, SIDE, WINDOW, SHIFT),
    }
    return windows.attention_structure(kinds, f"who sees whom on a map of {SIDE} × {SIDE} tokens")


@picture
def reach(gallery):
    side, query, blocks = 16, (5, 6), 4
    kinds = [who_sees_whom(side, side, WINDOW, shift) for shift in (0, SHIFT)]
    rows = []
    for moves in (0, 1):
        seen, maps = np.arange(side * side) == query[0] * side + query[1], []
        for step in range(blocks):
            seen = kinds[moves * (step % 2)][seen].any(0)
            maps.append(seen.reshape(side, side))
        rows.append(maps)
    return shifted.reach(*rows, query, WINDOW)


# Relative position bias


def token_offsets(window):
    """Row and column offset (m, m) from key j to query i, for a window of window x window tokens."""
    row, column = np.divmod(np.arange(window**2), window)
    return row[:, None] - row, column[:, None] - column


@picture
def relative_offsets(gallery):
    return bias.offsets(*token_offsets(3), swin_numpy.relative_position_index(3))


@picture
def relative_index(gallery):
    return bias.relative_index(swin_numpy.relative_position_index(3), 3)


@picture
def bias_tables(gallery):
    """Random tables show nothing: without --weights, those of the small model that ships, trained on Fashion-MNIST."""
    trained = gallery.model if gallery.weights else swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
    return bias.bias_tables(np.asarray(trained.layers[1].blocks[0].attn.relative_position_bias_table))


# The model


@picture
def patch_merging(gallery):
    return model.merging(np.arange(16).reshape(4, 4), width=gallery.config.embed_dim)


@picture
def pyramid(gallery):
    config = gallery.config
    stages = [(f"stage {s + 1}", width, config.grids[s]) for s, width in enumerate(config.widths)]
    return model.pyramid(stages, config.window_size)


@picture
def architecture(gallery):
    c = gallery.config
    return model.architecture(
        c.img_size, c.patch_size, c.embed_dim, c.depths, c.num_heads, c.window_size, c.num_classes, c.version
    )


@picture
def block_version_1(gallery):
    return block.block_diagram(1)


@picture
def block_version_2(gallery):
    return block.block_diagram(2)


def part_of(name):
    """The part of the model that the parameter `name` belongs to."""
    if name.startswith("patch_embed"):
        return "patch embedding"
    if "downsample" in name:
        return "patch merging"
    if name.startswith("head"):
        return "head"
    if "norm" in name:
        return "norms"
    return "attention" if ".attn." in name else "MLP"


def multiply_adds(config):
    """{part: multiply-adds of its matrix products for one image}; attention as in the paper's equation 2."""
    count = dict.fromkeys(("patch embedding", "attention", "MLP", "patch merging"), 0)
    tokens = config.grids[0][0] * config.grids[0][1]
    count["patch embedding"] = tokens * config.patch_size**2 * config.in_chans * config.embed_dim
    for stage, (depth, width, (h, w)) in enumerate(zip(config.depths, config.widths, config.grids, strict=True)):
        M = min(config.window_size, h, w)
        count["attention"] += depth * window_cost(h * w, width, M)
        count["MLP"] += int(depth * 2 * config.mlp_ratio * h * w * width**2)
        if stage < len(config.depths) - 1:
            count["patch merging"] += -(-h // 2) * -(-w // 2) * 4 * width * 2 * width
    return count | {"norms": 0, "head": config.widths[-1] * config.num_classes}


def window_cost(tokens, width, window):
    """Multiply-adds of W-MSA, equation 2 of the paper: 4 hw C² + 2 M² hw C."""
    return 4 * tokens * width**2 + 2 * window**2 * tokens * width


def global_cost(tokens, width):
    """Multiply-adds of attention over the whole map, equation 1: 4 hw C² + 2 (hw)² C."""
    return 4 * tokens * width**2 + 2 * tokens**2 * width


@picture
def parts(gallery):
    operations, parameters = multiply_adds(gallery.config), {}
    for name, value in gallery.model.named_parameters():
        parameters[part_of(name)] = parameters.get(part_of(name), 0) + value.size
    order = list(operations)
    return costs.parts(order, [parameters[p] for p in order], [operations[p] for p in order])


# Measurements


@picture
def cost(gallery):
    """Formula up to 1344 pixels; measured as far as one attention matrix fits into memory without trouble."""
    config = gallery.config
    sides = np.array([56, 112, 168, 224, 336, 448, 672, 896, 1344])
    tokens, M = (sides // config.patch_size) ** 2, config.window_size
    width, count = config.embed_dim, config.num_heads[0]
    formulas = {"global": global_cost(tokens, width), "W-MSA": window_cost(tokens, width, M)}
    measured = {
        "global": [time_attention(n, 1, width, count) if n <= 60**2 else np.nan for n in tokens],
        "W-MSA": [time_attention(M * M, n // M**2, width, count) for n in tokens],
    }
    return costs.cost(sides, formulas, measured, f"one attention layer of stage 1 · {environment('numpy')}")


def time_attention(tokens, count, width, heads, repeats=3):
    """Seconds, the best of `repeats`, of multi-head self-attention in each of `count` windows of `tokens`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, tokens, width)).astype(np.float32)
    W = rng.normal(size=(4, width, width)).astype(np.float32)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        swin_numpy.multi_head_self_attention(x, *W, num_heads=heads)
        times.append(time.perf_counter() - start)
    return min(times)


@picture
def speed(gallery):
    """What `make bench` measured on the machine that the picture names: tests/benchmarks/results/cpu.json."""
    return speeds.bench(json.loads(RESULTS.read_text(encoding="utf-8")))


@picture
def disagreement(gallery):
    """The twins on one photograph. For the half precisions the NumPy twin computes in float32."""
    import torch

    import swin_torch
    from swin_torch.compare import compare

    state, rows = gallery.model.state_dict(), {}
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        exact = np.float64 if dtype == "float64" else np.float32
        reference = swin_numpy.SwinTransformer(gallery.config, dtype=exact)
        reference.load_state_dict(state)
        twin = swin_torch.SwinTransformer(gallery.config).to(getattr(torch, dtype))
        twin.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        rows[dtype] = compare(reference, twin, gallery.images)
    names = [row.name for row in rows["float64"]]
    differences = {dtype: [row.relative for row in steps] for dtype, steps in rows.items()}
    return measure.disagreement(names, differences, "largest difference / largest value")


NEEDS_TORCH.add("disagreement")


# Attention of a trained model, over a photograph


def attention_weights(gallery, stage, block):
    """(windows, heads, i, j): the weights of one block for the gallery's photograph."""
    seen = []
    layer = gallery.model.layers[stage].blocks[block].attn.attn_drop
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(np.array(output)))
    gallery.model(gallery.images)
    hook.remove()
    return seen[0][0]


def row_on_map(weights, query, grid, window):
    """The row of `query` (row, column) of W-MSA weights (k, a, i, j) on the whole map: (a, h, w), NaN elsewhere."""
    (row, column), (h, w) = query, grid
    k = row // window * (w // window) + column // window
    i = row % window * window + column % window
    maps = np.full((weights.shape[1], h, w), np.nan)
    top, left = row // window * window, column // window * window
    maps[:, top : top + window, left : left + window] = weights[k, :, i].reshape(-1, window, window)
    return maps


@picture
def attention_on_photograph(gallery):
    grid, M, query = gallery.config.grids[2], gallery.config.window_size, (4, 4)
    seen = row_on_map(attention_weights(gallery, 2, 4), query, grid, M)
    return maps.attention_on_image(gallery.pixels, seen.mean(0), query, M, "layers.2.blocks.4: mean of its heads")


@picture
def attention_heads_on_photograph(gallery):
    grid, M, query = gallery.config.grids[2], gallery.config.window_size, (4, 4)
    seen = row_on_map(attention_weights(gallery, 2, 4), query, grid, M)
    return maps.attention_rows(gallery.pixels, seen[:8], query, grid=M)


NEEDS_WEIGHTS |= {"attention_on_photograph", "attention_heads_on_photograph"}
