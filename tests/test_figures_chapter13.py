"""The pictures of chapter 13: what is drawn is what was measured, and what can't be drawn is refused."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from figures.chapter13 import agreement, by_size, gains, growth, profile, roofline, short_number, spread
from figures.style import VERMILION

rng = np.random.default_rng(13)
SIDES = np.array([7, 14, 28])
LAYERS = {"global": np.array([1.0, 4, 16]), "SW-MSA": np.array([2.0, 3, 6])}
PICTURES = {
    "agreement": lambda: agreement(["a", "b"], {"float32": [1e-7, 2e-7]}, {"float32": 1e-7}),
    "spread": lambda: spread([rng.random((4, 4)) > 0.5] * 3, ["a", "b", "c"]),
    "profile": lambda: profile({"one": {"x": 1.0, "y": 0.01}, "two": {"x": 0.5, "y": 0.2}}),
    "gains": lambda: gains({"a": (0.9, 1.0, 1.2), "b": (2.0, 3.0, 40.0)}),
    "sizes": lambda: by_size([1, 10, 100_000], {"": [3.0, np.nan, 2.0]}, "x", "y", {"here": 10}),
    "growth": lambda: growth(SIDES, LAYERS, LAYERS, (9.0, None)),
    "roofline": lambda: roofline(1e11, 1e10, {"a": (1e6, 1e6, 1e-3), "b": (1e9, 1e6, 1e-1)}),
}


def words(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("name", PICTURES)
def test_it_draws(name):
    FigureCanvasAgg(PICTURES[name]()).draw()


def test_agreement_has_a_gap_where_both_are_equal_and_a_line_at_the_rounding_step():
    (axes,) = agreement(["a", "b", "c"], {"float64": [1e-15, 0, 3e-15]}, {"float64": 2e-16}).axes
    values, step = (line.get_ydata() for line in axes.lines)
    assert np.array_equal(values, [1e-15, np.nan, 3e-15], equal_nan=True)
    assert list(step) == [2e-16, 2e-16]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="expected an array"):
        agreement(["a"], {"float64": [1.0, 2.0]}, {"float64": 1.0})


def test_spread_colours_the_nan_tokens_and_tells_their_share():
    bad = np.zeros((2, 5), bool)
    bad[1, 3] = True
    (axes,) = spread([bad], ["first"]).axes
    colors = np.asarray(axes.images[0].get_array())
    vermilion = [to_hex(color) == VERMILION.lower() for color in colors.reshape(-1, 3)]
    assert np.array_equal(np.reshape(vermilion, bad.shape), bad)
    assert axes.get_xlabel() == "10% NaN"


def test_profile_lays_the_parts_of_a_run_end_to_end():
    figure = profile({"one": {"x": 0.25, "y": 0.75}, "two": {"x": 0.5, "y": 0.0}})
    (axes,) = figure.axes
    pieces = [(bar.get_x(), bar.get_width()) for bar in axes.patches]  # part by part
    assert pieces == [(0, 250), (0, 500), (250, 750), (500, 0)]
    assert words(axes) == ["25%", "100%", "75%"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    with pytest.raises(ValueError, match="expected the parts"):
        profile({"one": {"x": 1.0}, "two": {"y": 1.0}})


def test_gains_show_middle_and_spread():
    (axes,) = gains({"a": (0.5, 1.0, 2.0), "b": (3.0, 4.0, 5.0)}).axes
    assert list(axes.lines[1].get_xdata()) == [1, 4] and list(axes.lines[1].get_ydata()) == [0, 1]
    assert [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()] == [[0.5, 2], [3, 5]]
    assert words(axes) == ["1.00", "4.00"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first at the top
    low, high = axes.get_xlim()
    assert low < 0.5 and high > 5


@pytest.mark.parametrize("ratios", [{}, {"a": (2, 1, 3)}, {"a": (0, 1, 2)}, {"a": (1, 2)}])
def test_gains_refuse_what_is_no_spread(ratios):
    with pytest.raises(ValueError, match=r"ratios|inhomogeneous"):
        gains(ratios)


def test_sizes_and_marks():
    (axes,) = by_size([1, 2, 4], {"a": [3, 2, 1], "b": [1, 1, 2]}, "x", "y", {"here": 2}).axes
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[3, 2, 1], [1, 1, 2]]
    assert list(axes.lines[2].get_xdata()) == [2, 2] and words(axes) == ["here"]


def test_numbers_on_the_axis_are_short():
    assert [short_number(2**k) for k in (3, 12, 16, 21)] == ["8", "4096", "66k", "2.1M"]


def test_growth_converts_units_and_marks_the_crossing_where_there_is_one():
    time, memory = growth(SIDES, LAYERS, LAYERS, (9.0, None)).axes
    assert np.allclose(time.lines[0].get_ydata(), 1000 * LAYERS["global"])
    assert np.allclose(memory.lines[1].get_ydata(), 1e-6 * LAYERS["SW-MSA"])
    assert words(time) == [" equal at 9"] and words(memory) == []
    assert len(time.lines) == 3 and len(memory.lines) == 2


def test_a_part_hangs_under_its_own_roof():
    peak, bandwidth = 1e11, 1e10
    (axes,) = roofline(peak, bandwidth, {"memory": (1e6, 1e6, 1e-3), "products": (1e10, 1e7, 0.2)}).axes
    x, roof = axes.lines[0].get_data()
    assert np.allclose(roof, np.minimum(peak, bandwidth * x) / 1e9)
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(1.0, 1.0), (1000.0, 50.0)]
    assert [line.get_label() for line in dots] == ["memory: 10% of its roof", "products: 50% of its roof"]
