"""Every picture, drawn from made-up arrays: nothing is cut off, nothing warns, the same bytes each time."""

import sys
import warnings
from functools import cache

import matplotlib
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import swin_numpy
from figures import attention, bias, measure, model, pictures, save, style, windows
from figures.__main__ import main
from figures.cells import cuts, window_fill

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
    "softmax_steps": lambda: attention.softmax_steps(SCORES, SCORES / 2, softmax(SCORES / 2), TOKENS),
    "weighted_sum": lambda: attention.weighted_sum(softmax(SCORES)[0], V, softmax(SCORES)[0] @ V, TOKENS),
    "heads": lambda: attention.heads(softmax(RNG.normal(size=(3, 4, 4))), TOKENS),
    "heads_many": lambda: attention.heads(softmax(RNG.normal(size=(6, 49, 49)) * 3)),
    "temperature": lambda: attention.temperature(SCORES[0], (0.5, 1, 2, 8), TOKENS),
    "attention_on_image": lambda: attention.attention_on_image(IMAGE, RNG.random((14, 14)) ** 4, (4, 9)),
    "attention_zoomed": lambda: attention.attention_on_image(IMAGE, local_map(), (23, 30), 7, zoom=True),
    "attention_in_window": lambda: attention.attention_on_image(IMAGE, local_map(), (23, 30), grid=7),
    "attention_rows": lambda: attention.attention_rows(IMAGE, RNG.random((6, 14, 14)) ** 4, (4, 9), grid=7),
    "attention_rows_of_queries": lambda: attention.attention_rows(IMAGE, RNG.random((2, 14, 14)), [(4, 9), (9, 2)]),
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
    "disagreement_short": lambda: measure.disagreement(["embed", "stage"], {"float32": np.array([1e-7, 2e-7])}),
    "curves": lambda: measure.curves({"training": 1 / np.arange(1, 60), "test": RNG.random(59)}),
    "curves_log": lambda: measure.curves({"NumPy": [1, 0.1], "PyTorch": [1, 0.2]}, "step", "loss", True, [1, 5], "two"),
    "bars": lambda: measure.bars({"tench": 0.61, "goldfish": 0.3, "great white shark": 0.012}, "probability"),
}


@cache
def rendered(name):
    """(figure, [(text, its box in pixels) …]) of everything that was really written."""
    written, draw = [], Text.draw

    def note(text, renderer):
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            written.append((text, text.get_window_extent(renderer)))

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        patch.setattr(Text, "draw", note)
        figure = PICTURES[name]()
        FigureCanvasAgg(figure).draw()
    return figure, written


every_picture = pytest.mark.parametrize("name", PICTURES)


@every_picture
def test_nothing_is_cut_off(name):
    figure, written = rendered(name)
    assert isinstance(figure, Figure) and written
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in written:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} reaches {box} on a page of {width} x {height}"


@every_picture
def test_no_text_covers_another(name):
    boxes = [(text, box) for text, box in rendered(name)[1] if text.get_rotation() in (0, 90)]
    for index, (one, a) in enumerate(boxes):
        for other, b in boxes[index + 1 :]:
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            down = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(across, down) < 2, f"{one.get_text()!r} over {other.get_text()!r}"


@every_picture
def test_readable_on_a_page(name):
    figure, written = rendered(name)
    assert min(text.get_fontsize() for text, _ in written) >= 7.5
    assert figure.get_size_inches()[0] <= style.PAGE + 0.25


def test_saved_bytes_are_the_same_each_time(tmp_path):
    for name in ("softmax_steps", "windows_shifted", "cost"):
        first = [path.read_bytes() for path in save(PICTURES[name](), name, tmp_path / "a")]
        again = [path.read_bytes() for path in save(PICTURES[name](), name, tmp_path / "b")]
        assert first == again
        assert len(first[0]) < 220_000
        assert b"<dc:date>" not in first[1]


def test_save_refuses_paths(tmp_path):
    for name in ("", "a/b", "masks.png"):
        with pytest.raises(ValueError, match="file name"):
            save(PICTURES["bars"](), name, tmp_path)


def test_shown_once_by_a_notebook():
    """As PNG, whether pyplot is loaded or not; and pyplot knows of no figure, or it would be shown twice."""
    data, _ = DisplayFormatter().format(PICTURES["bars"]())
    assert data["image/png"].startswith(b"\x89PNG")
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_drawing_leaves_global_settings_alone():
    before = dict(matplotlib.rcParams)
    PICTURES["heads"]()
    assert dict(matplotlib.rcParams) == before


def test_the_readers_settings_do_not_leak_in():
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        other = style.png_bytes(PICTURES["bars"]())
    assert other == style.png_bytes(PICTURES["bars"]())


@pytest.mark.parametrize(
    "draw",
    [
        lambda: attention.qkv(X, W_Q, W_K, W_V[:5], Q, K, V),
        lambda: attention.qkv(X, W_Q, W_K, W_V, Q, K, V[:3]),
        lambda: attention.qkv(X, W_Q, W_K, W_V, Q, K, V, TOKENS[:3]),
        lambda: attention.scores(SCORES[0]),
        lambda: attention.softmax_steps(SCORES, SCORES, SCORES[:2]),
        lambda: attention.weighted_sum(SCORES[0], V[:3], V[0]),
        lambda: attention.heads(SCORES),
        lambda: attention.temperature(SCORES[0], (1, 0)),
        lambda: attention.attention_on_image(IMAGE, np.ones((14, 13)), (0, 0)),
        lambda: attention.attention_on_image(IMAGE, np.ones((14, 14)), (14, 0)),
        lambda: attention.attention_on_image(IMAGE / 100, np.ones((14, 14)), (0, 0)),
        lambda: attention.attention_rows(IMAGE, np.ones((14, 14)), (0, 0)),
        lambda: attention.attention_rows(IMAGE, np.ones((2, 14, 14)), [(0, 0), (3, 14)]),
        lambda: windows.patch_grid(IMAGE[:223], 4),
        lambda: windows.patch_grid(IMAGE, 4, zoom=(54, 0, 6)),
        lambda: windows.patch_to_row(IMAGE, 4, (0, 0), np.zeros(47)),
        lambda: windows.windows_on_image(IMAGE, 4, 7, shift=7),
        lambda: windows.cyclic_shift(GRID, GRID[:4], 2),
        lambda: windows.cyclic_shift(GRID, GRID, 8),
        lambda: windows.region_labels(LABELS8, 3),
        lambda: windows.masks(toy_mask(8, 8, 4, 2)[:3], LABELS8, 4),
        lambda: windows.attention_structure({"global": np.ones((4, 5))}),
        lambda: windows.numbered_grid(GRID, 5),
        lambda: windows.window_partition_steps(GRID, tiles(GRID, 4)[:3]),
        lambda: bias.offsets(SCORES, SCORES[:2]),
        lambda: bias.relative_index(index_parts(3)[2], 2),
        lambda: bias.bias_tables(np.zeros((168, 3))),
        lambda: model.merging(GRID[:3]),
        lambda: model.merging(GRID, order=((0, 0), (0, 0), (0, 1), (1, 1))),
        lambda: model.pyramid([]),
        lambda: model.architecture(224, 4, 96, (2, 2), (3, 6, 12), 7, 1000),
        lambda: model.block_diagram(3),
        lambda: model.parts(["a"], np.ones(1), np.ones(2)),
        lambda: model.reach(grown(0), grown(2)[:2], (5, 5)),
        lambda: measure.cost(SIDES, {"global": SIDES[:2]}),
        lambda: measure.disagreement(["a"], {"float32": np.ones(2)}),
        lambda: measure.curves({}),
        lambda: measure.bars({}),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    with pytest.raises(ValueError) as refused:
        draw()
    assert "\n" not in str(refused.value) and "expected" in str(refused.value)


def test_neighbouring_windows_differ_in_colour():
    for shift in (0, 2):
        fill = window_fill(16, 16, 4, shift)
        for cut in cuts(16, 4, shift)[1:-1]:
            assert (fill[cut] != fill[cut - 1]).any(-1).all()
            assert (fill[:, cut] != fill[:, cut - 1]).any(-1).all()


def test_windows_are_drawn_where_they_lie():
    """One colour inside each true window, and borders exactly where one ends."""
    for shift in (0, 2):
        fill, sees = window_fill(16, 16, 4, shift).reshape(256, 3), same_window(16, 4, shift)
        assert all((fill[row] == fill[token]).all() for token, row in enumerate(sees))
        ends = [i for i in range(1, 16) if not sees[i - 1, i]]
        assert cuts(16, 4, shift) == [0, *ends, 16]


def test_every_query_of_a_map_is_marked():
    few = attention.attention_rows(IMAGE, np.ones((1, 14, 14)), (4, 9)).axes[0]
    more = attention.attention_rows(IMAGE, np.ones((1, 14, 14)), np.array([(4, 9), (9, 2), (0, 0)])).axes[0]
    marks, others = (panel.patches for panel in (more, few))
    assert len(marks) == 3 * len(others) > 0


def test_bias_table_is_seen_from_the_query():
    """Drawn at (row, column) from the query: the bias of the key that lies there."""
    M, table = 3, RNG.normal(size=(25, 1))
    rows, columns, index = index_parts(M)
    shown = bias.bias_tables(table).axes[0].images[0].get_array()
    for query, key in np.ndindex(9, 9):
        place = 2 - rows[query, key], 2 - columns[query, key]
        assert shown[place] == table[index[query, key], 0]


# The gallery


def test_who_sees_whom_is_the_true_windows():
    for shift in (0, 2):
        assert np.array_equal(pictures.who_sees_whom(8, 8, 4, shift), same_window(8, 4, shift))


def test_sides_of_the_seam_give_the_real_mask():
    labels = tiles(pictures.sides_of_the_seam(14, 21, 3), 7)
    mask = swin_numpy.shift_mask(14, 21, 7, 3)
    assert np.array_equal(mask != 0, labels[:, :, None] != labels[:, None])


def test_multiply_adds_are_the_papers():
    """Table 1 of the paper: 4.5 G for Swin-T, 8.7 G for Swin-S, 15.4 G for Swin-B, 47.0 G for Swin-B at 384."""
    names = (
        "tiny_patch4_window7_224",
        "small_patch4_window7_224",
        "base_patch4_window7_224",
        "base_patch4_window12_384",
    )
    for name, published in zip(names, (4.5, 8.7, 15.4, 47.0), strict=True):
        ours = sum(pictures.multiply_adds(swin_numpy.get_config(f"swin_{name}")).values()) / 1e9
        assert abs(ours - published) < 0.1, (name, ours)


def test_row_on_map_reads_the_row_of_the_query():
    weights = RNG.random((4, 3, 16, 16))  # an 8 x 8 map in windows of 4 x 4
    maps = pictures.row_on_map(weights, (5, 2), (8, 8), 4)
    assert np.array_equal(maps[:, 4:, :4].reshape(3, 16), weights[2, :, 6])
    assert np.isnan(maps).sum() == 3 * 48


def test_attention_weights_are_those_of_the_model():
    gallery = pictures.Gallery()
    weights = pictures.attention_weights(gallery, 2, 4)
    assert weights.shape == (4, 12, 49, 49)
    assert np.allclose(weights.sum(-1), 1, atol=1e-5)


def test_the_command_draws_what_it_is_asked_for(tmp_path, capsys):
    main(["--only", "masks", "attention_on_photograph", "--folder", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks.png", "masks.svg"]
    assert "attention_on_photograph: left out, needs --weights" in capsys.readouterr().out


def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    arguments = ["--only", "bias_tables", "--folder", str(tmp_path), "--weights", str(tmp_path / "none.npz")]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert str(left.value).startswith("error: ") and "\n" not in str(left.value)


SLOW = {"cost", "disagreement"}  # they measure


@pytest.mark.parametrize("name", sorted(set(pictures.PICTURES) - SLOW))
def test_gallery_picture_draws(name):
    FigureCanvasAgg(pictures.PICTURES[name](GALLERY)).draw()


GALLERY = pictures.Gallery()  # random weights do for a test
