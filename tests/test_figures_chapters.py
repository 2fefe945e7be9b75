"""The pictures of chapters 02 and 03: cells in the right colour, the right numbers, nothing cut off."""

import numpy as np
import pytest

from figures.chapter02 import filters, maps_in_a_row, patches_of_grid
from figures.chapter03 import membership


def picture(axes):
    """The colours (H, W, 3) of the first image on `axes`."""
    return np.asarray(axes.images[0].get_array())[..., :3]


def words(axes):
    return [text.get_text() for text in axes.texts]


def inside(figure):
    """Whether every text of the figure lies on the page."""
    figure.canvas.draw()
    page = figure.bbox
    boxes = [text.get_window_extent() for axes in figure.axes for text in (*axes.texts, axes.title)]
    return all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)


def test_patches_have_the_colour_of_their_token():
    values = 10 * np.arange(4)[:, None] + np.arange(6)
    figure = patches_of_grid(values, 2, ("pixels", "tokens"))
    left, right = figure.axes
    assert np.array_equal(picture(left)[::2, ::2], picture(right))
    assert np.array_equal(picture(left)[1::2, 1::2], picture(right))
    assert len(np.unique(picture(right).reshape(-1, 3), axis=0)) == 6
    assert words(left) == [str(value) for value in values.ravel()] and words(right) == list("012345")
    assert inside(figure)


def test_a_rest_of_pixels_still_is_a_patch():
    left, right = patches_of_grid(np.zeros((4, 7), int), 2).axes
    assert words(right)[-1] == "7"
    assert np.array_equal(picture(left)[3, 6], picture(right)[1, 3])


def test_membership_gives_equal_numbers_equal_colours():
    windows = np.array([[0, 0, 1], [2, 2, 1]])
    figure = membership({"one": windows, "two": windows.T})
    fill = picture(figure.axes[0])
    assert np.array_equal(fill[0, 0], fill[0, 1]) and np.array_equal(fill[0, 2], fill[1, 2])
    assert len(np.unique(fill.reshape(-1, 3), axis=0)) == 3
    assert words(figure.axes[1]) == [str(k) for k in windows.T.ravel()]
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"] and inside(figure)


def test_maps_in_a_row():
    photo = np.full((8, 8, 3), 200, np.uint8)
    channel = np.array([[-1.0, 0.0, 1.0]])
    left, right = maps_in_a_row({"photo": photo, "channel": channel}).axes
    assert np.allclose(picture(left), 200 / 255)
    low, zero, high = picture(right)[0]
    assert np.allclose(zero, zero[0], atol=0.02) and low[0] > low[2] and high[2] > high[0]  # orange, grey, violet
    with pytest.raises(ValueError, match="expected an array"):
        maps_in_a_row({"line": np.zeros(3), "channel": channel})


def test_each_filter_has_its_title_and_its_own_scale():
    weights = np.array([[[1.0, -1.0], [0.0, 0.0]], [[9.0, -9.0], [0.0, 4.5]], [[-2.0, -2.0], [-2.0, -2.0]]])
    figure = filters(weights, ["a", "b", "c"], per_row=2)
    a, b, c, empty = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""] and inside(figure)
    assert np.allclose(picture(a)[0], picture(b)[0]) and np.allclose(picture(a)[0, 1], picture(c)[1, 1])
    assert np.allclose(picture(a)[1], picture(b)[1, 0]) and not np.allclose(picture(b)[1, 0], picture(b)[1, 1])
    assert not empty.images
    with pytest.raises(ValueError, match="weights: expected"):
        filters(weights, ["a"])
