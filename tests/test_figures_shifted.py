"""Pictures of the shifted windows: labels, masks, rows, reach."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from figures import shifted
from figures.style import INK, SEAM
from tests.drawings import (
    GRID,
    IMAGE,
    check_page,
    every,
    fill_of,
    grown,
    refused,
    rolled_labels,
    toy_mask,
    words,
)

LABELS = rolled_labels(8, 8, 2)

PICTURES = {
    "rows": lambda: shifted.rows_in_windows({"pad, then roll": [2, 3, 4, -1, 0, 1], "b": [1, 2]}, 3, 2),
    "cyclic_shift": lambda: shifted.cyclic_shift(GRID, np.roll(GRID, (-2, -2), (0, 1)), 2, window_size=4),
    "cyclic_shift_photo": lambda: shifted.cyclic_shift(IMAGE, np.roll(IMAGE, (-28, -28), (0, 1)), 28, 56),
    "region_labels": lambda: shifted.region_labels(LABELS, 4),
    "masks": lambda: shifted.masks(toy_mask(8, 8, 4, 2), LABELS, 4),
    "masks_of_56": lambda: shifted.masks(toy_mask(56, 56, 7, 3), rolled_labels(56, 56, 3), 7),
    "masks_one_kind": lambda: shifted.masks(np.zeros((4, 16, 16)), np.zeros((8, 8), int), 4),
    "reach": lambda: shifted.reach(grown(0), grown(2), (5, 5), 4),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: shifted.cyclic_shift(GRID, GRID[:4], 2),
        lambda: shifted.cyclic_shift(GRID, GRID, 8),
        lambda: shifted.region_labels(LABELS, 3),
        lambda: shifted.masks(toy_mask(8, 8, 4, 2)[:3], LABELS, 4),
        lambda: shifted.reach(grown(0), grown(2)[:2], (5, 5)),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)


def test_rows_say_what_they_are_and_the_seam_lies_before_the_end():
    rows = [2, 3, 4, -1, 0, 1]
    (axes,) = shifted.rows_in_windows({"pad, then roll": rows}, 3, 2).axes
    assert words(axes) == ["row 2", "row 3", "row 4", "padding", "row 0", "row 1"]
    fill = fill_of(axes)[:, 0]
    assert np.array_equal(fill[0], fill[2]) and np.array_equal(fill[4], fill[5])
    assert len({tuple(color) for color in fill}) == 3
    drawn = [(to_hex(c.get_edgecolor()[0]), [line[0][1] for line in c.get_segments()]) for c in axes.collections]
    assert (SEAM.lower(), [4]) in drawn
    assert (INK.lower(), [0, 3, 6]) in drawn
