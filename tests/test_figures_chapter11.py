"""The pictures of chapter 11: tables the right way round and on one scale, rows with names, crops, shared scales."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from figures.chapter11 import cropped, maps_on_one_scale, rows_in_windows, tables_before_after
from figures.style import INK, SEAM


def values_of(axes):
    return np.asarray(axes.images[0].get_array())


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_tables_are_turned_to_the_query_and_share_one_scale():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(9, 2)), 3 * rng.normal(size=(25, 2))
    panels = tables_before_after(before, after).axes[:4]
    assert [axes.get_title() for axes in panels[::2]] == ["head 0, before: window 2", "head 0, after: window 3"]
    assert np.array_equal(values_of(panels[1]), before[:, 1].reshape(3, 3)[::-1, ::-1])
    assert np.array_equal(values_of(panels[2]), after[:, 0].reshape(5, 5)[::-1, ::-1])
    limit = np.abs(after).max()
    assert {axes.images[0].get_clim() for axes in panels} == {(-limit, limit)}
    assert all(axes.images[0].get_extent()[1] == side / 2 for axes, side in zip(panels, (3, 3, 5, 5), strict=True))


def test_at_most_four_heads_and_only_tables():
    assert len(tables_before_after(np.zeros((9, 6)), np.ones((25, 6))).axes) == 9  # and the colour bar
    with pytest.raises(ValueError, match=r"\(2M - 1\)² rows"):
        tables_before_after(np.zeros((10, 2)), np.zeros((25, 2)))


def test_rows_say_what_they_are_and_the_seam_lies_before_the_end():
    rows = [2, 3, 4, -1, 0, 1]
    (axes,) = rows_in_windows({"pad, then roll": rows}, 3, 2).axes
    assert words(axes) == ["row 2", "row 3", "row 4", "padding", "row 0", "row 1"]
    fill = values_of(axes)[:, 0]
    assert np.array_equal(fill[0], fill[2]) and np.array_equal(fill[4], fill[5])
    assert len({tuple(color) for color in fill}) == 3
    drawn = [(to_hex(c.get_edgecolor()[0]), [line[0][1] for line in c.get_segments()]) for c in axes.collections]
    assert (SEAM.lower(), [4]) in drawn
    assert (INK.lower(), [0, 3, 6]) in drawn


def test_the_frame_lies_where_the_picture_is_cut():
    image = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    large, small = cropped(image, 2, 4, 4, image[2:6, 4:8]).axes
    assert all(frame.get_xy() == (4, 2) and frame.get_width() == 4 for frame in large.patches)
    assert np.allclose(values_of(large)[2:6, 4:8], values_of(small))
    assert [axes.get_title() for axes in (large, small)] == ["resized: 8 × 12", "cut out: 4 × 4"]


def test_maps_share_the_scale_of_all():
    maps = {"a": np.array([[1.0, 2.0]]), "b": np.array([[-3.0], [0.5]])}
    first, second, bar = maps_on_one_scale(maps, "length").axes
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-3, 2)
    assert [first.get_title(), second.get_title(), bar.get_ylabel()] == ["a", "b", "length"]
    chosen = maps_on_one_scale(maps, "length", low=0, high=1).axes[0]
    assert chosen.images[0].get_clim() == (0, 1)
    with pytest.raises(ValueError, match="expected an array"):
        maps_on_one_scale({"line": np.zeros(3)}, "length")
