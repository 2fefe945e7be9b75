"""Small matrices in rows: every number in its cell, signs between, marks and masked cells where they belong."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from figures import style
from figures.matrices import Matrix, matrices
from tests.drawings import RNG, check_page, every, refused, words

Q, K = np.array([[0, 1], [2, -3]]), RNG.normal(size=(2, 3))
PICTURES = {
    "one": lambda: matrices([Matrix("Q", Q)]),
    "product": lambda: matrices(
        [Matrix("Q", Q, rows=["a", "b"], marks=[(0, 1)]), "×", Matrix("K^T", K, columns=["x", "y", "z"])],
        [Matrix("weights", [[1, 0]], "weights"), "softmax\n→", Matrix("B", [[1, np.nan]], masked=[[False, True]])],
        note="two lines",
    ),
    "wide": lambda: matrices([Matrix("X", RNG.normal(size=(3, 14)))]),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


def test_numbers_stand_in_their_cells_and_empty_cells_stay_empty():
    item = Matrix("B", [[1, np.nan], [-2, 0.5]])
    assert item.texts == {(0, 0): "1.0", (1, 0): "−2.0", (1, 1): "0.5"}
    assert Matrix("B", Q).texts[1, 1] == "−3" and Matrix("B", [[1 / 3]]).texts[0, 0] == "0.33"
    assert words(matrices([Matrix("Q", Q)]).axes[0]) == ["0", "1", "2", "−3", "Q"]


def test_cells_have_the_colour_of_their_name_their_value_or_the_mask():
    assert np.allclose(Matrix("W_Q", Q).colors()[0, 0], style.tint(style.COLORS["Q"]))
    signed = Matrix("S", Q, "signed").colors()
    assert signed[0, 0].min() > 0.9 and signed[1, 0][2] > signed[1, 0][0] and signed[1, 1][0] > signed[1, 1][2]
    light, dark = Matrix("w", [[0, 1.0]], "weights").colors()[0]
    assert light.sum() > 2.9 > dark.sum()
    masked = Matrix("V", Q, masked=Q < 0).colors()
    assert np.allclose(masked[1, 1], to_rgb(style.MASKED)) and np.allclose(masked[0, 0], style.tint(style.COLORS["V"]))
    given = RNG.random((2, 2, 3))
    assert np.array_equal(Matrix("a", Q, given).colors(), given)


def test_a_mark_lies_on_its_cell():
    (axes,) = matrices([Matrix("Q", Q, marks=[(1, 0)])]).axes
    cells, marks = axes.patches[:4], axes.patches[4:]
    assert {mark.get_xy() for mark in marks} == {cells[2].get_xy()} and len(marks) == 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda: matrices(),
        lambda: matrices(["×"]),
        lambda: matrices([Matrix("a", [1, 2])]),
        lambda: matrices([Matrix("a", Q, rows=["one"])]),
        lambda: matrices([Matrix("a", Q, masked=[True])]),
        lambda: matrices([Matrix("a", RNG.normal(size=(2, 40)))]),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)
