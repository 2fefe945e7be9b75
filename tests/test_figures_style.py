"""The look of all pictures: colours that a deuteranope tells apart, the same bytes each time, no setting leaks."""

import re
import sys
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from figures import measure, save, shifted, style, windows
from figures.cells import region_fill, window_fill
from figures.matrices import Matrix
from tests.drawings import IMAGE, fill_of, rolled_labels

PICTURES = {
    "bars": lambda: measure.bars({"tench": 0.61, "goldfish": 0.3, "great white shark": 0.012}, "probability"),
    "region_labels": lambda: shifted.region_labels(rolled_labels(8, 8, 2), 4),
    "windows_shifted": lambda: windows.windows_on_image(IMAGE, 4, 7, shift=3),
}


# Deuteranopia, severity 1: Machado, Oliveira and Fernandes 2009, table 1; acts on linear RGB
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1, 1.08883])


def lab(colors, seen_by=DEUTERANOPIA):
    """CIELAB (n, 3) of sRGB colours (n, 3) in 0 … 1, as a deuteranope sees them (None: with all cones)."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    linear = linear if seen_by is None else np.clip(linear @ seen_by.T, 0, 1)
    xyz = linear @ XYZ.T / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def least_distance(colors, seen_by=DEUTERANOPIA):
    """(ΔE, a, b) of the two most similar of `colors`."""
    rgb = np.array([matplotlib.colors.to_rgb(color) for color in colors])
    seen = lab(rgb, seen_by)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return min((apart[i, j], colors[i], colors[j]) for i in range(len(colors)) for j in range(i))


def in_turn(*names):
    return [style.COLORS[name] for name in names]


def cells(*names):
    """The colours in which the cells of these matrices are drawn."""
    return [tuple(Matrix(name, [[0]]).colors()[0, 0]) for name in names]


TOGETHER = {  # colours of one picture, and how far apart they must be; where a digit or a word helps, less will do
    "cells of X, Q, K, V, Z": (cells("X", "Q", "K", "V", "Z"), 15),
    "lines of Q, K, V": (in_turn("Q", "K", "V"), 30),
    "kinds of attention": (in_turn("global", "W-MSA", "SW-MSA"), 30),
    "the packages and their peers": ([*in_turn("NumPy", "PyTorch", "global", "W-MSA"), style.GREY], 30),
    "parts of a model, bars": ([*style.PARTS.values(), style.COLORS["SW-MSA"]], 20),
    "parts of a model, boxes": ([style.tint(c) for c in (*style.PARTS.values(), style.COLORS["SW-MSA"])], 12),
    "regions and what is masked": ([*style.REGIONS, style.MASKED], 25),
    "regions as drawn": ([tuple(color) for color in region_fill(np.arange(4))], 25),
    "windows": ([tuple(color) for color in window_fill(4, 4, 2)[::2, ::2].reshape(-1, 3)], 20),
    "windows on a photograph": (list(style.WINDOWS), 35),
    "entries of a table": (list(style.ENTRIES), 18),
    "lines without a meaning": (list(style.CYCLE), 24),
    "the query and what lies around it": ([style.QUERY, "white", style.INK, style.COLORS["SW-MSA"]], 30),
    "kept and dropped branches": ([style.PARTS["attention"], style.PARTS["MLP"], style.PALE], 30),
}


@pytest.mark.parametrize(("colors", "least"), TOGETHER.values(), ids=list(TOGETHER))
def test_colours_of_one_picture_differ_with_deuteranopia_and_without(colors, least):
    for seen_by in (DEUTERANOPIA, None):
        apart, *pair = least_distance(colors, seen_by)
        assert apart >= least, f"ΔE {apart:.1f} between {pair}"


def test_the_simulation_is_that_of_the_paper():
    """Grey stays grey; red and green, far apart for most, move together; blue and yellow don't."""
    assert np.allclose(DEUTERANOPIA.sum(1), 1, atol=1e-5)
    green_red, yellow_blue = ["#00A000", "#D05000"], ["#F0E442", "#0072B2"]
    assert least_distance(green_red)[0] < 0.5 * least_distance(green_red, None)[0]
    assert least_distance(yellow_blue)[0] > 0.8 * least_distance(yellow_blue, None)[0]


def test_the_lines_of_a_plot_differ_as_they_are_drawn():
    lines = measure.curves({name: [1, 2] for name in "abcdef"}).axes[0].lines
    assert least_distance([line.get_color() for line in lines])[0] >= 24
    assert len({line.get_marker() for line in lines}) == len(lines)
    dtypes = {name: [1e-7, 1e-6] for name in ("float64", "float32", "float16", "bfloat16")}
    lines = measure.disagreement(["a", "b"], dtypes).axes[0].lines
    assert least_distance([line.get_color() for line in lines if line.get_label() in dtypes])[0] >= 24


def test_the_colours_of_the_packages_mean_nothing_else():
    others = {
        *style.COLORS.values(),
        *style.PARTS.values(),
        *style.REGIONS,
        *style.WINDOWS,
        *style.ENTRIES,
        *style.CYCLE,
    }
    for package in ("NumPy", "PyTorch"):
        own = style.COLORS[package]
        assert least_distance([own, *(others - {own})], None)[0] > 0 and [*style.COLORS.values()].count(own) == 1
        assert all(least_distance([own, other], None)[0] >= 25 for other in others - {own})


def test_colours_are_written_in_style_only():
    for path in style.GALLERY.parent.glob("*.py"):
        if path.name != "style.py":
            found = re.findall(r"#[0-9A-Fa-f]{6}\b", path.read_text(encoding="utf-8"))
            assert not found, f"{path.name}: {found}"


def test_regions_have_one_colour_in_every_picture():
    labels = rolled_labels(8, 8, 2)
    numbers = np.arange(64).reshape(8, 8)
    _, after = shifted.cyclic_shift(numbers, np.roll(numbers, (-2, -2), (0, 1)), 2).axes
    (drawn,) = shifted.region_labels(labels, 4).axes
    assert np.array_equal(fill_of(after), fill_of(drawn))
    assert np.array_equal(fill_of(drawn), region_fill(labels))


def test_the_alt_text_goes_where_the_picture_goes(tmp_path):
    figure = style.describe(PICTURES["bars"](), "  A bar for each\n fish. ")
    metadata = DisplayFormatter().format(figure)[1]
    assert metadata["image/png"]["alt"] == figure.alt == "A bar for each fish."
    assert "A bar for each fish." in save(figure, "bars", tmp_path)[1].read_text(encoding="utf-8")


def test_a_notebook_shows_it_at_its_size_and_twice_as_sharp():
    figure = PICTURES["bars"]()
    data, metadata = DisplayFormatter().format(figure)
    width = Image.open(BytesIO(data["image/png"])).width
    assert metadata["image/png"]["width"] == round(figure.get_figwidth() * style.SCREEN)
    assert width >= 2 * metadata["image/png"]["width"]
    quick = Image.open(BytesIO(style.png_bytes(figure, quick=True)))
    assert quick.width == metadata["image/png"]["width"]


def test_saved_bytes_are_the_same_each_time(tmp_path):
    for name in PICTURES:
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
    PICTURES["bars"]()
    assert dict(matplotlib.rcParams) == before


def test_the_readers_settings_do_not_leak_in():
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        other = style.png_bytes(PICTURES["bars"]())
    assert other == style.png_bytes(PICTURES["bars"]())
