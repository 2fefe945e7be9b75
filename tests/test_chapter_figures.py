"""The drawings of chapters 06 to 08: they draw what they promise, and refuse what they can't draw."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figures.chapter06 import by_depth, kept_branches, maps_in_rows, steps
from figures.chapter08 import cost_by_block

rng = np.random.default_rng(0)
MAPS = {
    "photograph": rng.random((20, 30, 3)),
    "signed": rng.normal(size=(4, 6)),
    "positive": rng.random((40, 60)),
    "constant": np.zeros((4, 6)),
    "bool": rng.random((4, 6)) > 0.5,
}
PICTURES = {
    "maps": lambda: maps_in_rows(MAPS, columns=3, window={"signed": 2}, dot=(1, 1)),
    "one map": lambda: maps_in_rows({"bool": MAPS["bool"]}),
    "steps": lambda: steps({"a": np.arange(6).reshape(2, 3), "b": [[1, np.nan], [2, 3]]}, window=2),
    "depth": lambda: by_depth({"left": {"a": [1, 2, 3], "b": [1, 10, 9]}, "right": {"a": [1, 1e3, 1e5]}}),
    "kept": lambda: kept_branches(rng.random((3, 4, 2)) > 0.5, "title"),
    "cost": lambda: cost_by_block([1, 1, 2], ["W-MSA", "SW-MSA", "W-MSA"], [10, 10, 40], [1e6, 1e6, 1e6]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_it_draws(name):
    FigureCanvasAgg(PICTURES[name]()).draw()


def test_titles_and_panels():
    figure = maps_in_rows(MAPS, columns=3)
    assert [axes.get_title() for axes in figure.axes] == [*MAPS, ""]


def test_a_constant_map_and_the_ends_of_a_scale():
    """The smallest number is white, the largest dark, whatever they are."""
    figure = maps_in_rows({"map": np.array([[5.0, 7.0]])})
    light, dark = figure.axes[0].images[0].get_array()[0, :, :3].sum(-1)
    assert light > 2.8 > 1 > dark


def test_padding_has_no_number():
    figure = steps({"map": np.array([[4, np.nan], [np.nan, 5]])}, window=2)
    assert [text.get_text() for text in figure.axes[0].texts] == ["4", "5"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: maps_in_rows({}),
        lambda: maps_in_rows({"a": np.ones(3)}),
        lambda: steps({"a": np.ones(3)}, 2),
        lambda: by_depth({"a": {"b": np.ones((2, 2))}}),
        lambda: kept_branches(np.ones((3, 4), bool)),
        lambda: cost_by_block([1, 2], ["W-MSA", "W-MSA"], [1, 2, 3], [1, 2]),
    ],
)
def test_it_refuses_what_it_cannot_draw(draw):
    with pytest.raises(ValueError, match="expected"):
        draw()
