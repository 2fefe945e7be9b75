"""Pictures of the relative position bias: seen from the query, on one scale, each entry in its colour."""

import numpy as np
import pytest

from figures import bias
from swin_numpy import relative_position_index
from tests.drawings import (
    RNG,
    check_page,
    every,
    fill_of,
    index_parts,
    refused,
    words,
)

PICTURES = {
    "offsets": lambda: bias.offsets(*index_parts(2)),
    "offsets_3": lambda: bias.offsets(*index_parts(3)),
    "relative_index": lambda: bias.relative_index(index_parts(3)[2], 3),
    "relative_index_7": lambda: bias.relative_index(index_parts(7)[2], 7),
    "bias_tables": lambda: bias.bias_tables(RNG.normal(size=(169, 3))),
    "bias_tables_6": lambda: bias.bias_tables(RNG.normal(size=(169, 6))),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: bias.offset_maps({}, 2),
        lambda: bias.offset_maps({"a": np.ones(3)}, 2),
        lambda: bias.offsets(np.ones((4, 4)), np.ones((2, 4))),
        lambda: bias.relative_index(index_parts(3)[2], 2),
        lambda: bias.bias_tables(np.zeros((168, 3))),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)


def test_bias_table_is_seen_from_the_query():
    """Drawn at (row, column) from the query: the bias of the key that lies there."""
    M, table = 3, RNG.normal(size=(25, 1))
    rows, columns, index = index_parts(M)
    shown = bias.bias_tables(table).axes[0].images[0].get_array()
    for query, key in np.ndindex(9, 9):
        place = 2 - rows[query, key], 2 - columns[query, key]
        assert shown[place] == table[index[query, key], 0]


def test_tables_are_turned_to_the_query_and_share_one_scale():
    before, after = RNG.normal(size=(9, 2)), 3 * RNG.normal(size=(25, 2))
    panels = bias.tables_before_after(before, after).axes[:4]
    assert [axes.get_title() for axes in panels[::2]] == ["head 0, window 2", "head 0, window 3"]
    assert np.array_equal(fill_of(panels[1]), before[:, 1].reshape(3, 3)[::-1, ::-1])
    assert np.array_equal(fill_of(panels[2]), after[:, 0].reshape(5, 5)[::-1, ::-1])
    limit = np.abs(after).max()
    assert {axes.images[0].get_clim() for axes in panels} == {(-limit, limit)}
    assert all(axes.images[0].get_extent()[1] == side / 2 for axes, side in zip(panels, (3, 3, 5, 5), strict=True))


def test_at_most_four_heads_and_only_tables():
    assert len(bias.tables_before_after(np.zeros((9, 6)), np.ones((25, 6))).axes) == 9  # and the colour bar
    with pytest.raises(ValueError, match=r"\(2M - 1\)² rows"):
        bias.tables_before_after(np.zeros((10, 2)), np.zeros((25, 2)))


def test_biases_share_a_scale_and_the_frame_holds_the_known_offsets():
    small, large = np.zeros((5, 5)), np.arange(81.0).reshape(9, 9) - 80
    figure = bias.offset_maps({"small": small, "large": large, "x": small, "y": small}, known=2, columns=3)
    maps = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [axes.get_title() for axes in maps] == ["small", "large", "x", "y"]
    assert {axes.images[0].get_clim() for axes in maps} == {(-80.0, 0.0)}
    for axes, values in zip(maps[:2], (small, large), strict=True):
        assert np.array_equal(axes.images[0].get_array(), values)
        reach = len(values) // 2 + 0.5
        assert axes.images[0].get_extent() == [-reach, reach, reach, -reach]
        frame = axes.patches[-1]
        assert frame.get_xy() == (-2.5, -2.5) and frame.get_width() == frame.get_height() == 5
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left < -4.5 < 4.5 < right and top < -4.5 < 4.5 < bottom  # one token is as large in each map


def test_pairs_have_the_colour_of_the_entry_they_read():
    index = relative_position_index(2)
    gradient = np.arange(16).reshape(4, 4) / 10
    table = np.bincount(index.ravel(), gradient.ravel()).reshape(3, 3)
    read, pairs, sums = bias.gather_and_scatter(index, gradient, table).axes
    assert np.array_equal(fill_of(read), fill_of(pairs))
    assert np.array_equal(fill_of(read), fill_of(sums).reshape(9, 3)[index])
    assert len(np.unique(fill_of(sums).reshape(-1, 3), axis=0)) == 9
    assert words(read) == [str(entry) for entry in index.ravel()]
    assert words(pairs) == [f"{value:.1f}" for value in gradient.ravel()]
    assert words(sums) == [f"{value:.1f}" for value in table.ravel()]
