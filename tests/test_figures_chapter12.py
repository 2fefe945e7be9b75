"""The pictures of chapter 12: curves and marks where the numbers are, maps to one scale, a frame where it belongs."""

import numpy as np
import pytest

from figures.chapter12 import beside_each_other, bias_beyond, coordinates


def lines_of(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def inside(figure):
    """Whether every text of the figure lies on the page."""
    figure.canvas.draw()
    page = figure.bbox
    boxes = [text.get_window_extent() for axes in figure.axes for text in (*axes.texts, axes.title)]
    return all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)


def test_curves_beside_each_other_with_marks():
    x = np.linspace(1, 6, 5)
    figure = beside_each_other(x, {"left": {"a": x, "b": x**2}, "right": {"": 3 * x}}, "x", {"here": 4.0})
    left, right = figure.axes
    assert [axes.get_title() for axes in (left, right)] == ["left", "right"]
    np.testing.assert_allclose(lines_of(left)["b"], np.stack([x, x**2], 1))
    np.testing.assert_allclose(right.lines[0].get_ydata(), 3 * x)
    for axes in (left, right):
        assert list(axes.lines[-1].get_xdata()) == [4.0, 4.0] and axes.texts[0].get_text().strip() == "here"
    assert left.get_legend() and not right.get_legend() and inside(figure)


def test_coordinates_mark_what_is_known_on_both_sides():
    offsets = np.arange(-3, 4)
    (axes,) = coordinates(offsets, {"plain": offsets / 2, "log": np.sign(offsets)}, known=2).axes
    np.testing.assert_allclose(lines_of(axes)["plain"], np.stack([offsets, offsets / 2], 1))
    assert [line.get_xdata()[0] for line in axes.lines[2:]] == [-2, 2]


def test_biases_share_a_scale_and_the_frame_holds_the_known_offsets():
    small, large = np.zeros((5, 5)), np.arange(81.0).reshape(9, 9) - 80
    figure = bias_beyond({"small": small, "large": large, "x": small, "y": small}, known=2)
    maps = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [axes.get_title() for axes in maps] == ["small", "large", "x", "y"]
    assert {axes.images[0].get_clim() for axes in maps} == {(-80.0, 0.0)}
    for axes, values in zip(maps[:2], (small, large), strict=True):
        assert np.array_equal(axes.images[0].get_array(), values)
        reach = len(values) // 2 + 0.5
        assert axes.images[0].get_extent() == [-reach, reach, reach, -reach]
        frame = axes.lines[0].get_xydata()
        assert (frame.min(0) == -2.5).all() and (frame.max(0) == 2.5).all()
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left < -4.5 < 4.5 < right and top < -4.5 < 4.5 < bottom  # one token is as large in each map
    assert inside(figure)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: bias_beyond({}, 2),
        lambda: bias_beyond({"a": np.ones(3)}, 2),
        lambda: coordinates(np.arange(3), {"a": np.ones(4)}, 1),
        lambda: beside_each_other(np.arange(3), {"a": {"b": np.ones(4)}}),
    ],
)
def test_it_refuses_what_it_cannot_draw(draw):
    with pytest.raises(ValueError, match="expected"):
        draw()
