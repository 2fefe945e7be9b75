"""Pictures of time: what is drawn is what was measured, and what cannot be drawn is refused."""

import numpy as np
import pytest

from figures.speed import gains, profile, roofline
from tests.drawings import check_page, every, words

PICTURES = {
    "profile": lambda: profile({"one": {"x": 1.0, "y": 0.01}, "two": {"x": 0.5, "y": 0.2}}),
    "gains": lambda: gains({"a": (0.9, 1.0, 1.2), "b": (2.0, 3.0, 40.0)}),
    "roofline": lambda: roofline(1e11, 1e10, {"a": (1e6, 1e6, 1e-3), "b": (1e9, 1e6, 1e-1)}),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


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


def test_a_part_hangs_under_its_own_roof():
    peak, bandwidth = 1e11, 1e10
    (axes,) = roofline(peak, bandwidth, {"memory": (1e6, 1e6, 1e-3), "products": (1e10, 1e7, 0.2)}).axes
    x, roof = axes.lines[0].get_data()
    assert np.allclose(roof, np.minimum(peak, bandwidth * x) / 1e9)
    dots = [line for line in axes.lines if "of its roof" in line.get_label()]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [(1.0, 1.0), (1000.0, 50.0)]
    assert [line.get_label() for line in dots] == ["memory: 10% of its roof", "products: 50% of its roof"]
