"""The pictures of figures/gallery: what each shows, made from the real package, the chapters and the photographs.

PICTURES maps a name to a function of a `Gallery` (the sizes and models the pictures share) that returns a
figure with its alt text. The drawing modules know no model; this file brings the two together.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import swin_numpy
from swin_numpy.pictures.images import denormalise, load_image, preprocess
from swin_numpy.runtime.environment import environment
from swin_numpy.training.fashion_mnist import TRAINED
from swin_numpy.weights.load import load_checkpoint

from . import animation, attention, bias, block, facts, maps, measure, model, patches, shifted, windows
from . import cost as costs
from . import speed as speeds
from .matrices import Matrix, matrices
from .photographs import photo_path
from .style import describe

RESULTS = Path(__file__).resolve().parent.parent / "tests" / "benchmarks" / "results" / "cpu.json"
PICTURES = {}
NEEDS_WEIGHTS = {"attention_on_photograph", "attention_heads_on_photograph"}
NEEDS_TORCH = {"disagreement"}
SIDE, WINDOW, SHIFT = 8, 4, 2  # the toy map of chapter 05: 8 x 8 tokens in windows of 4 x 4
GRID = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)


def picture(alt=""):
    """Decorator: list a function under its name; `alt` says what its figure shows, where the drawing can't."""

    def listed(draw):
        PICTURES[draw.__name__] = lambda gallery: describe(figure := draw(gallery), alt or figure.alt)
        return draw

    return listed


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
        return denormalise(self.images)[0]


# Self-attention: the four words of chapter 01


def words():
    """(words, X, W_Q, W_K, W_V, Attention) of chapter 01."""
    example = facts.from_chapter("01", "words red X W_Q W_K W_V")  # `red` comes with the other rows of X
    names, _, *numbers = example.values()
    return names, *numbers, swin_numpy.self_attention(*numbers)


@picture("Four words, red fox eats grapes, become queries, keys and values by three matrix products, in numbers.")
def qkv(gallery):
    names, X, W_Q, W_K, W_V, step = words()
    channels = {
        "X": ["colour", "thing", "act", "food"],
        "Q": ["thing", "act", "food", "colour"],
        "K": ["thing", "act", "food", "colour"],
        "V": ["colour", "thing", "act", "food"],
    }
    return attention.qkv(X, W_Q, W_K, W_V, step.Q, step.K, step.V, names, channels)


@picture()
def scores(gallery):
    names, *_, step = words()
    return attention.scores(step.Q @ step.K.T, names, names)


@picture()
def softmax_steps(gallery):
    names, *_, step = words()
    return attention.softmax_steps(step.Q @ step.K.T, step.scores, step.weights, names)


@picture()
def weighted_sum(gallery):
    names, *_, step = words()
    return attention.weighted_sum(step.weights[2], step.V, step.Z[2], names)


@picture()
def temperature(gallery):
    names, *_, step = words()
    return attention.temperature(step.scores[2], (0.25, 0.5, 1, 4), names)


@picture()
def heads(gallery):
    names, X, W_Q, W_K, W_V, _ = words()
    step = swin_numpy.multi_head_self_attention(X, W_Q, W_K, W_V, np.eye(4), num_heads=2)
    return attention.heads(step.weights, names)


# The tiny picture of chapter 00: 4 x 4 tokens, windows of 2 x 2


@picture(
    "Attention in one window of four tokens, in numbers: Q times K transposed, the weights, the weights times V is Z."
)
def one_window(gallery):
    chain = "rows pixels patches W_embed tokens windows X W_Q W_K W_V names"
    *_, X, W_Q, W_K, W_V, names = facts.from_chapter("00", chain).values()
    step = swin_numpy.self_attention(X, W_Q, W_K, W_V)
    short = [name.split()[-1] for name in names]
    Q = Matrix("Q", step.Q, rows=names, marks=[(1, 0), (1, 1)])
    scores = Matrix("QK^T", step.Q @ step.K.T, "signed", None, short, marks=[(1, 2)])
    return matrices(
        [Q, "×", Matrix("K^T", step.K.T, columns=short), "=", scores],
        [Matrix("weights", step.weights, "weights", names, short), "×", Matrix("V", step.V), "=", Matrix("Z", step.Z)],
        note="weights: softmax of the scores divided by √2; every row adds up to 1. Marked: token 1 asks token 2.",
    )


@picture()
def bias_of_one_window(gallery):
    (table,) = facts.from_chapter("00", "table").values()
    return bias.gather(swin_numpy.relative_position_index(2), table)


@picture("A map of 4 × 4 numbered tokens: in windows of 2 × 2, and in the nine unequal windows moved by 1.")
def moved_windows(gallery):
    numbers = np.arange(16).reshape(4, 4)
    return windows.steps({"W-MSA": numbers, "SW-MSA": numbers}, {"W-MSA": (2, 0), "SW-MSA": (2, 1)})


@picture()
def four_masks(gallery):
    return shifted.masks(swin_numpy.shift_mask(4, 4, 2, 1), facts.sides_of_the_seam(4, 4, 1), 2)


# Patches and windows


@picture()
def patch_grid(gallery):
    return patches.patch_grid(gallery.pixels, gallery.config.patch_size, zoom=(22, 14, 7))


@picture()
def patch_to_row(gallery):
    p, (row, column) = gallery.config.patch_size, (16, 22)
    patch = gallery.images[0, :, row * p : (row + 1) * p, column * p : (column + 1) * p]
    return patches.patch_to_row(gallery.pixels, p, (row, column), patch.ravel())


@picture()
def windows_on_photograph(gallery):
    M = gallery.config.window_size
    return windows.windows_on_image(gallery.pixels, gallery.config.patch_size, M, shift=M // 2)


@picture()
def window_partition(gallery):
    grid = np.arange(16).reshape(4, 4)
    return windows.window_partition_steps(grid, swin_numpy.window_partition(grid[None, :, :, None], 2)[0, :, :, 0])


@picture()
def attention_structure(gallery):
    kinds = {
        "global": facts.who_sees_whom(SIDE, SIDE, SIDE, 0),
        "W-MSA": facts.who_sees_whom(SIDE, SIDE, WINDOW, 0),
        "SW-MSA": facts.who_sees_whom(SIDE, SIDE, WINDOW, SHIFT),
    }
    return windows.attention_structure(kinds, f"who sees whom on a map of {SIDE} × {SIDE} tokens")


# Shifted windows


@picture()
def cyclic_shift_beats(gallery):
    return animation.shift_strip(gallery.pixels, SIDE, WINDOW, SHIFT)


@picture()
def cyclic_shift(gallery):
    after = swin_numpy.cyclic_shift(GRID[None, :, :, None], SHIFT)[0, :, :, 0]
    return shifted.cyclic_shift(GRID, after, SHIFT, WINDOW)


@picture()
def cyclic_shift_photograph(gallery):
    unit = gallery.config.patch_size * gallery.config.window_size
    after = swin_numpy.cyclic_shift(gallery.pixels[None], unit)[0]  # half of a window of twice the size: to be seen
    return shifted.cyclic_shift(gallery.pixels, after, unit, 2 * unit)


@picture()
def region_labels(gallery):
    return shifted.region_labels(facts.sides_of_the_seam(SIDE, SIDE, SHIFT), WINDOW)


@picture()
def masks(gallery):
    mask = swin_numpy.shift_mask(SIDE, SIDE, WINDOW, SHIFT)
    return shifted.masks(mask, facts.sides_of_the_seam(SIDE, SIDE, SHIFT), WINDOW)


@picture()
def masks_of_stage_1(gallery):
    M, (h, w) = gallery.config.window_size, gallery.config.grids[0]
    mask = swin_numpy.shift_mask(h, w, M, M // 2)
    return shifted.masks(mask, facts.sides_of_the_seam(h, w, M // 2), M)


@picture()
def reach(gallery):
    query = (7, 7)  # in a corner of its window: its nearest neighbours lie behind the walls
    rows = [facts.seen_after(4, 2 * SIDE, WINDOW, shift, query) for shift in (0, SHIFT)]
    return shifted.reach(*rows, query, WINDOW)


# Relative position bias


@picture()
def relative_offsets(gallery):
    return bias.offsets(*facts.token_offsets(3), swin_numpy.relative_position_index(3))


@picture()
def relative_index(gallery):
    return bias.relative_index(swin_numpy.relative_position_index(3), 3)


@picture()
def bias_tables(gallery):
    """Random tables show nothing: without --weights, those of the small model that ships, trained on Fashion-MNIST."""
    trained = gallery.model if gallery.weights else swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
    return bias.bias_tables(np.asarray(trained.layers[1].blocks[0].attn.relative_position_bias_table))


# The model


@picture()
def patch_merging(gallery):
    return model.merging(np.arange(16).reshape(4, 4), width=gallery.config.embed_dim)


@picture()
def pyramid(gallery):
    config = gallery.config
    stages = [(f"stage {s + 1}", width, config.grids[s]) for s, width in enumerate(config.widths)]
    return model.pyramid(stages, config.window_size)


@picture()
def architecture(gallery):
    c = gallery.config
    sizes = (c.img_size, c.patch_size, c.embed_dim, c.depths, c.num_heads, c.window_size, c.num_classes, c.version)
    return model.architecture(*sizes, image=gallery.pixels)


@picture()
def block_version_1(gallery):
    return block.block_diagram(1)


@picture()
def block_version_2(gallery):
    return block.block_diagram(2)


@picture()
def parts(gallery):
    operations, parameters = facts.multiply_adds(gallery.config), {}
    for name, value in gallery.model.named_parameters():
        part = facts.part_of(name)
        parameters[part] = parameters.get(part, 0) + value.size
    order = list(operations)
    return costs.parts(order, [parameters[p] for p in order], [operations[p] for p in order])


# Measurements


@picture()
def cost(gallery):
    """Formula up to 1344 pixels; measured as far as one attention matrix fits into memory without trouble."""
    config = gallery.config
    sides = np.array([56, 112, 168, 224, 336, 448, 672, 896, 1344])
    tokens, M = (sides // config.patch_size) ** 2, config.window_size
    width, count = config.embed_dim, config.num_heads[0]
    formulas = {"global": facts.global_cost(tokens, width), "W-MSA": facts.window_cost(tokens, width, M)}
    measured = {
        "global": [facts.time_attention(n, 1, width, count) if n <= 60**2 else np.nan for n in tokens],
        "W-MSA": [facts.time_attention(M * M, n // M**2, width, count) for n in tokens],
    }
    return costs.cost(sides, formulas, measured, f"one attention layer of stage 1 on one core · {environment('numpy')}")


def results():
    """What `make bench` measured on the machine that the picture names."""
    return json.loads(RESULTS.read_text(encoding="utf-8"))


@picture()
def speed(gallery):
    return speeds.bench(results())


@picture()
def speed_growth(gallery):
    return speeds.growth(results())


@picture()
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
    label = "largest difference / largest value\n(float16 and bfloat16: NumPy in float32)"
    return measure.disagreement(names, differences, label)


# Attention of a trained model, over a photograph


def _looks(gallery, query=(4, 4)):
    """(a, h, w): where one token of stage 3 looks, head by head."""
    weights = facts.attention_weights(gallery.model, gallery.images, 2, 4)
    return facts.row_on_map(weights, query, gallery.config.grids[2], gallery.config.window_size), query


@picture()
def attention_on_photograph(gallery):
    seen, query = _looks(gallery)
    title = "layers.2.blocks.4: mean of its heads"
    return maps.attention_on_image(gallery.pixels, seen.mean(0), query, gallery.config.window_size, title)


@picture()
def attention_heads_on_photograph(gallery):
    seen, query = _looks(gallery)
    return maps.attention_rows(gallery.pixels, seen[:8], query, grid=gallery.config.window_size)
