"""Pictures of windows: drawn where they lie, neighbours apart, the right numbers."""

import numpy as np
import pytest

from figures import windows
from figures.cells import cuts, window_fill
from tests.drawings import (
    GRID,
    IMAGE,
    RNG,
    check_page,
    every,
    fill_of,
    refused,
    same_window,
    tiles,
    words,
)

PICTURES = {
    "steps": lambda: windows.steps({"a": np.arange(6).reshape(2, 3), "b": [[1, np.nan], [2, 3]]}, window=2),
    "membership": lambda: windows.membership({"one": GRID // 8, "two": GRID % 8}),
    "windows_on_image": lambda: windows.windows_on_image(IMAGE, 4, 7),
    "windows_shifted": lambda: windows.windows_on_image(IMAGE, 4, 7, shift=3),
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
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: windows.steps({"a": np.ones(3)}, 2),
        lambda: windows.windows_on_image(IMAGE, 4, 7, shift=7),
        lambda: windows.attention_structure({"global": np.ones((4, 5))}),
        lambda: windows.numbered_grid(GRID, 5),
        lambda: windows.window_partition_steps(GRID, tiles(GRID, 4)[:3]),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)


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


def test_membership_gives_equal_numbers_equal_colours():
    k = np.array([[0, 0, 1], [2, 2, 1]])
    figure = windows.membership({"one": k, "two": k.T})
    fill = fill_of(figure.axes[0])
    assert np.array_equal(fill[0, 0], fill[0, 1]) and np.array_equal(fill[0, 2], fill[1, 2])
    assert len(np.unique(fill.reshape(-1, 3), axis=0)) == 3
    assert words(figure.axes[1]) == [str(n) for n in k.T.ravel()]
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]


def test_padding_has_no_number():
    figure = windows.steps({"map": np.array([[4, np.nan], [np.nan, 5]])}, window=2)
    assert [text.get_text() for text in figure.axes[0].texts] == ["4", "5"]
