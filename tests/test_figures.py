"""Every picture is drawn from small made-up arrays: nothing is cut off, nothing warns, the same bytes each time."""

import numpy as np

from figures import attention, bias, measure, model, windows

RNG = np.random.default_rng(0)
X, W_Q, W_K, W_V = (RNG.normal(size=shape) for shape in ((4, 6), (6, 3), (6, 3), (6, 3)))
Q, K, V = X @ W_Q, X @ W_K, X @ W_V
TOKENS = ["the", "cat", "sat", "down"]
YY, XX = np.mgrid[:224, :224]
IMAGE = np.stack((XX % 256, YY % 256, (XX + YY) // 2 % 256), 2).astype(np.uint8)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rolled_labels(h, w, shift):
    return 2 * (np.arange(h) >= h - shift)[:, None] + (np.arange(w) >= w - shift)[None]


def tiles(x, M):
    h, w = x.shape
    return x.reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(-1, M * M)


def toy_mask(h, w, M, shift):
    labels = tiles(rolled_labels(h, w, shift), M)
    return np.where(labels[:, :, None] != labels[:, None], -100.0, 0.0)


def index_parts(M):
    row, column = np.divmod(np.arange(M * M), M)
    rows, columns = row[:, None] - row[None], column[:, None] - column[None]
    return rows, columns, (rows + M - 1) * (2 * M - 1) + columns + M - 1


def same_window(side, M, shift=0):
    part = np.searchsorted(range(shift or M, side, M), np.arange(side), "right")
    window = (part[:, None] * side + part[None]).ravel()
    return window[:, None] == window[None]


def local_map():
    weights = np.full((56, 56), np.nan)
    weights[21:28, 28:35] = RNG.random((7, 7))
    return weights


def grown(shift):
    """How far token (5, 5) of a 16 x 16 map has seen after 1 to 4 blocks of windows of 4."""
    seen, maps = np.arange(256) == 5 * 16 + 5, []
    for block in range(4):
        seen = same_window(16, 4, shift if block % 2 else 0)[seen].any(0)
        maps.append(seen.reshape(16, 16))
    return maps


SCORES = Q @ K.T
LABELS8 = rolled_labels(8, 8, 2)
GRID = np.arange(64).reshape(8, 8)
SWIN_T = dict(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window_size=7, classes=1000)
STAGES = [
    ("stage 1", 96, (56, 56)),
    ("stage 2", 192, (28, 28)),
    ("stage 3", 384, (14, 14)),
    ("stage 4", 768, (7, 7)),
]
SIDES = np.array([224, 448, 672, 896, 1120, 1344])

PICTURES = {
    "matrix_product": lambda: attention.matrix_product(X, W_Q, Q, tokens=TOKENS),
    "qkv": lambda: attention.qkv(X, W_Q, W_K, W_V, Q, K, V, TOKENS),
    "qkv_unnamed": lambda: attention.qkv(X[:, :2], W_Q[:2], W_K[:2], W_V[:2], Q, K, V),
    "scores": lambda: attention.scores(SCORES, TOKENS, TOKENS),
    "softmax_steps": lambda: attention.softmax_steps(SCORES, SCORES / 3**0.5, softmax(SCORES / 3**0.5), TOKENS),
    "weighted_sum": lambda: attention.weighted_sum(softmax(SCORES)[0], V, softmax(SCORES)[0] @ V, TOKENS),
    "heads": lambda: attention.heads(softmax(RNG.normal(size=(3, 4, 4))), TOKENS),
    "heads_many": lambda: attention.heads(softmax(RNG.normal(size=(6, 49, 49)) * 3)),
    "temperature": lambda: attention.temperature(SCORES[0], (0.5, 1, 2, 8), TOKENS),
    "attention_on_image": lambda: attention.attention_on_image(IMAGE, RNG.random((14, 14)) ** 4, (4, 9)),
    "attention_in_window": lambda: attention.attention_on_image(IMAGE, local_map(), (23, 30), grid=7),
    "attention_rows": lambda: attention.attention_rows(IMAGE, RNG.random((6, 14, 14)) ** 4, (4, 9), grid=7),
    "patch_grid": lambda: windows.patch_grid(IMAGE, 4, zoom=(20, 30, 6)),
    "patch_to_row": lambda: windows.patch_to_row(IMAGE, 4, (20, 30), RNG.normal(size=48)),
    "windows_on_image": lambda: windows.windows_on_image(IMAGE, 4, 7),
    "windows_shifted": lambda: windows.windows_on_image(IMAGE, 4, 7, shift=3),
    "cyclic_shift": lambda: windows.cyclic_shift(GRID, np.roll(GRID, (-2, -2), (0, 1)), 2, window_size=4),
    "cyclic_shift_photo": lambda: windows.cyclic_shift(IMAGE, np.roll(IMAGE, (-28, -28), (0, 1)), 28, 56),
    "region_labels": lambda: windows.region_labels(LABELS8, 4),
    "masks": lambda: windows.masks(toy_mask(8, 8, 4, 2), LABELS8, 4),
    "masks_of_56": lambda: windows.masks(toy_mask(56, 56, 7, 3), rolled_labels(56, 56, 3), 7),
    "masks_one_kind": lambda: windows.masks(np.zeros((4, 16, 16)), np.zeros((8, 8), int), 4),
    "attention_structure": lambda: windows.attention_structure(
        {
            "global": np.ones((64, 64), bool),
            "W-MSA": same_window(8, 4),
            "SW-MSA": same_window(8, 4, 2),
        },
        "who sees whom on a map of 8 × 8 tokens",
    ),
    "numbered_grid": lambda: windows.numbered_grid(GRID, 4, "64 tokens, four windows"),
    "numbered_grid_plain": lambda: windows.numbered_grid(RNG.normal(size=(3, 5))),
    "window_partition_steps": lambda: windows.window_partition_steps(GRID[:4, :4], tiles(GRID[:4, :4], 2)),
    "window_partition_8": lambda: windows.window_partition_steps(GRID, tiles(GRID, 4)),
    "offsets": lambda: bias.offsets(*index_parts(2)),
    "offsets_3": lambda: bias.offsets(*index_parts(3)),
    "relative_index": lambda: bias.relative_index(index_parts(3)[2], 3),
    "relative_index_7": lambda: bias.relative_index(index_parts(7)[2], 7),
    "bias_tables": lambda: bias.bias_tables(RNG.normal(size=(169, 3))),
    "bias_tables_6": lambda: bias.bias_tables(RNG.normal(size=(169, 6))),
    "merging": lambda: model.merging(np.arange(16).reshape(4, 4)),
    "pyramid": lambda: model.pyramid(STAGES, 7),
    "architecture": lambda: model.architecture(224, 4, **SWIN_T),
    "architecture_v2": lambda: model.architecture((256, 192), 4, **SWIN_T, version=2),
    "block_diagram": lambda: model.block_diagram(),
    "block_diagram_v2": lambda: model.block_diagram(2, "W-MSA"),
    "parts": lambda: model.parts(
        ["patch embedding", "attention", "MLP", "patch merging", "norms", "head"],
        np.array([4.8e3, 8.9e6, 17.7e6, 1.6e6, 2e4, 7.7e5]),
        np.array([1.4e7, 1.6e9, 2.4e9, 2e8, 1e6, 7.7e5]),
    ),
    "reach": lambda: model.reach(grown(0), grown(2), (5, 5), 4),
    "cost": lambda: measure.cost(
        SIDES,
        {"global": SIDES**4 * 1.0, "W-MSA": SIDES**2 * 7e3},
        {"global": np.where(SIDES < 900, SIDES**4 * 1e-11, np.nan), "W-MSA": SIDES**2 * 1e-7},
        "two cores of some processor, NumPy 2.4",
    ),
    "cost_formula": lambda: measure.cost(SIDES, {"global": SIDES**4 * 1.0, "W-MSA": SIDES**2 * 7e3}),
    "disagreement": lambda: measure.disagreement(
        ["patch_embed", *(f"layers.{i}.blocks.{j}" for i in range(4) for j in range(2)), "norm", "head"],
        {"float64": RNG.random(11) * 1e-15 * (np.arange(11) > 0), "float32": RNG.random(11) * 1e-6},
    ),
    "disagreement_short": lambda: measure.disagreement(["embed", "stage 1"], {"float32": np.array([1e-7, 2e-7])}),
    "curves": lambda: measure.curves({"training": 1 / np.arange(1, 60), "test": RNG.random(59)}, ylabel="loss"),
    "curves_log": lambda: measure.curves({"NumPy": [1, 0.1, 0.01], "PyTorch": [1, 0.2, 0.03]}, log=True, x=[1, 5, 9]),
    "bars": lambda: measure.bars({"tench": 0.61, "goldfish": 0.3, "great white shark": 0.012}, "probability"),
}
