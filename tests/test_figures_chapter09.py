"""The pictures of chapter 09: curves where the numbers are, equal entries in equal colours, sums where they belong."""

import numpy as np
import pytest

from figures.chapter09 import error_by_step, gather_and_scatter, saliency
from swin_numpy import relative_position_index


def fill_of(axes):
    return np.asarray(axes.images[0].get_array())


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_error_by_step_draws_every_curve_and_guide_lines_inside_the_plot():
    steps = 10.0 ** np.arange(-6, 1)
    errors = {"one": steps, "both": steps**2 + 1e-9}
    (axes,) = error_by_step(steps, errors, [(1, 1, "h"), (-1, 1e-12, "1/h")]).axes
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert list(drawn) == ["one", "both", "h", "1/h"]
    np.testing.assert_allclose(drawn["both"][:, 1], errors["both"])
    np.testing.assert_allclose(drawn["1/h"][:, 1] * drawn["1/h"][:, 0], 1e-12)
    low, high = axes.get_ylim()
    assert all((low < line[:, 1]).all() and (line[:, 1] < high).all() for line in drawn.values())
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_pairs_have_the_colour_of_the_entry_they_read():
    index = relative_position_index(2)
    gradient = np.arange(16).reshape(4, 4) / 10
    table = np.bincount(index.ravel(), gradient.ravel()).reshape(3, 3)
    read, pairs, sums = gather_and_scatter(index, gradient, table).axes
    assert np.array_equal(fill_of(read), fill_of(pairs))
    assert np.array_equal(fill_of(read), fill_of(sums).reshape(9, 3)[index])
    assert len(np.unique(fill_of(sums).reshape(-1, 3), axis=0)) == 9
    assert words(read) == [str(entry) for entry in index.ravel()]
    assert words(pairs) == [f"{value:.1f}" for value in gradient.ravel()]
    assert words(sums) == [f"{value:.1f}" for value in table.ravel()]


def test_saliency_shows_the_photograph_and_each_map_on_its_own_scale():
    photo, small = np.full((8, 8, 3), 200, np.uint8), np.linspace(0, 1, 16).reshape(4, 4)
    image, first, second = saliency(photo, {"a": small, "b": 100 * small}).axes
    assert np.allclose(fill_of(image), 200 / 255)
    assert [axes.get_title() for axes in (image, first, second)] == ["photograph", "a", "b"]
    assert np.isclose(100 * first.images[0].get_clim()[1], second.images[0].get_clim()[1])
    with pytest.raises(ValueError, match="expected an array"):
        saliency(photo, {"a": photo})
