"""Pictures of what a model costs."""

import numpy as np
import pytest

from figures import cost
from tests.drawings import (
    check_page,
    every,
    refused,
)

SIDES = np.array([224, 448, 672, 896, 1120, 1344])

PICTURES = {
    "parts": lambda: cost.parts(
        ["patch embedding", "attention", "MLP", "patch merging", "norms", "head"],
        np.array([4.8e3, 8.9e6, 17.7e6, 1.6e6, 2e4, 7.7e5]),
        np.array([1.4e7, 1.6e9, 2.4e9, 2e8, 1e6, 7.7e5]),
    ),
    "cost": lambda: cost.cost(
        SIDES,
        {"global": SIDES**4 * 1.0, "W-MSA": SIDES**2 * 7e3},
        {"global": np.where(SIDES < 900, SIDES**4 * 1e-11, np.nan), "W-MSA": SIDES**2 * 1e-7},
        "two cores of some processor, NumPy 2.4",
    ),
    "cost_formula": lambda: cost.cost(SIDES, {"global": SIDES**4 * 1.0, "W-MSA": SIDES**2 * 7e3}),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: cost.parts(["a"], np.ones(1), np.ones(2)),
        lambda: cost.cost(SIDES, {"global": SIDES[:2]}),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)


def test_a_bar_for_each_block_in_the_colour_of_its_kind():
    figure = cost.cost_by_block([1, 1, 2], ["W-MSA", "SW-MSA", "W-MSA"], [10, 10, 40], [1e6, 1e6, 1e6])
    check_page(lambda: figure)
    bars = figure.axes[0].patches
    assert [bar.get_height() for bar in bars] == [10, 10, 40]
    assert bars[0].get_facecolor() == bars[2].get_facecolor() != bars[1].get_facecolor()
    refused(lambda: cost.cost_by_block([1, 2], ["W-MSA", "W-MSA"], [1, 2, 3], [1, 2]))
