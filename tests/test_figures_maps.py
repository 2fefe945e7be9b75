"""Photographs and maps side by side: each on its scale, the query where it is."""

import numpy as np
import pytest

from figures import maps
from tests.drawings import (
    IMAGE,
    RNG,
    check_page,
    every,
    fill_of,
    refused,
    titles,
)


def local_map():
    weights = np.full((56, 56), np.nan)
    weights[21:28, 28:35] = RNG.random((7, 7))
    return weights


MAPS = {
    "photograph": RNG.random((20, 30, 3)),
    "signed": RNG.normal(size=(4, 6)),
    "positive": RNG.random((40, 60)),
    "constant": np.zeros((4, 6)),
    "bool": RNG.random((4, 6)) > 0.5,
    "grey": IMAGE[:30, :40, 0],
}

PICTURES = {
    "maps": lambda: maps.show_maps(MAPS, columns=3, window={"signed": 2}, query=(1, 1)),
    "one map": lambda: maps.show_maps({"bool": MAPS["bool"]}),
    "titles of two lines": lambda: maps.show_maps([MAPS["grey"]] * 7, columns=6, titles=["Shirt 61%\nlabel: Coat"] * 7),
    "attention_on_image": lambda: maps.attention_on_image(IMAGE, RNG.random((14, 14)) ** 4, (4, 9)),
    "attention_zoomed": lambda: maps.attention_on_image(IMAGE, local_map(), (23, 30), 7, zoom=True),
    "attention_in_window": lambda: maps.attention_on_image(IMAGE, local_map(), (23, 30), grid=7),
    "attention_rows": lambda: maps.attention_rows(IMAGE, RNG.random((6, 14, 14)) ** 4, (4, 9), grid=7),
    "attention_rows_of_queries": lambda: maps.attention_rows(IMAGE, RNG.random((2, 14, 14)), [(4, 9), (9, 2)]),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: maps.show_maps({}),
        lambda: maps.show_maps({"a": np.ones(3)}),
        lambda: maps.show_maps([np.ones((3, 3))], titles=["a", "b"]),
        lambda: maps.attention_on_image(IMAGE, np.ones((14, 13)), (0, 0)),
        lambda: maps.attention_on_image(IMAGE, np.ones((14, 14)), (14, 0)),
        lambda: maps.attention_on_image(IMAGE / 100, np.ones((14, 14)), (0, 0)),
        lambda: maps.attention_rows(IMAGE, np.ones((14, 14)), (0, 0)),
        lambda: maps.attention_rows(IMAGE, np.ones((2, 14, 14)), [(0, 0), (3, 14)]),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)


def test_every_query_of_a_map_is_marked():
    few = maps.attention_rows(IMAGE, np.ones((1, 14, 14)), (4, 9)).axes[0]
    more = maps.attention_rows(IMAGE, np.ones((1, 14, 14)), np.array([(4, 9), (9, 2), (0, 0)])).axes[0]
    marks, others = (panel.patches for panel in (more, few))
    assert len(marks) == 3 * len(others) > 0


def test_titles_and_panels():
    figure = maps.show_maps(MAPS, columns=4)
    assert titles(figure) == [*MAPS, "", ""]


def test_a_constant_map_and_the_ends_of_a_scale():
    """The smallest number is white, the largest dark, whatever they are."""
    figure = maps.show_maps({"map": np.array([[5.0, 7.0]])})
    light, dark = fill_of(figure.axes[0])[0].sum(-1)
    assert light > 2.8 > 1 > dark


def test_signed_numbers_are_orange_white_and_violet():
    photo, channel = np.full((8, 8, 3), 200, np.uint8), np.array([[-1.0, 0.0, 1.0]])
    left, right = maps.show_maps({"photo": photo, "channel": channel}).axes
    assert np.allclose(fill_of(left), 200 / 255)
    low, zero, high = fill_of(right)[0]
    assert np.allclose(zero, zero[0], atol=0.02) and low[0] > low[2] and high[2] > high[0]


def test_one_scale_for_all_where_there_is_a_bar():
    two = {"a": np.array([[1.0, 2.0]]), "b": np.array([[-3.0], [2.0]])}
    first, second, bar = maps.show_maps(two, bar="length").axes
    assert np.array_equal(fill_of(first)[0, 1], fill_of(second)[1, 0])
    assert [first.get_title(), second.get_title(), bar.get_ylabel()] == ["a", "b", "length"]
    narrow = maps.show_maps(two, bar="length", low=1, high=2).axes[0]
    assert not np.array_equal(fill_of(narrow)[0, 0], fill_of(first)[0, 0])


def test_maps_stand_below_their_images_each_on_its_own_scale():
    images, below = RNG.random((2, 8, 8)), RNG.random((2, 4, 4)) * [[[1]], [[9]]]
    a, b, below_a, below_b = maps.maps_of_images(images, {"m": below}).axes
    for panel, values in ((a, images[0]), (b, images[1]), (below_a, below[0]), (below_b, below[1])):
        assert np.array_equal(panel.images[0].get_array(), values)
    assert below_a.images[0].get_clim() == (below[0].min(), below[0].max())
    assert [panel.get_ylabel() for panel in (a, below_a)] == ["image", "m"]
