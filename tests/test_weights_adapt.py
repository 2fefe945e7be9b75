"""Weights made for one configuration, adapted to another, step by step. test_weights_load.py has the rest."""

from dataclasses import replace

import numpy as np
import pytest

from swin_numpy.config import SwinConfig
from swin_numpy.weights.adapt import adapt_norms, adapt_offsets, adapt_state
from swin_numpy.weights.resize import resize_absolute_position_embedding, resize_position_bias
from tests.test_weights_load import CONFIG, TABLES, assert_same, state_of


def test_what_fits_is_left_alone():
    state = state_of(CONFIG)
    found, changes = adapt_state(state, CONFIG, CONFIG)
    assert changes == [] and all(found[name] is state[name] for name in state)
    before = {name: value.copy() for name, value in state.items()}
    adapt_state(state, replace(CONFIG, num_classes=3, window_size=5, in_chans=1, img_size=64), CONFIG)
    assert_same(state, before)  # the caller's own is not changed


@pytest.mark.parametrize("windows", [(3, 5), (5, 3), (2, 3)])
def test_only_the_tables_of_stages_whose_window_changes_are_resized(windows):
    config = replace(CONFIG, ape=False, img_size=None)
    old = state_of(config)
    found, changes = adapt_state(old, replace(config, window_size=windows), config)
    for name in TABLES:
        stage = int(name.split(".")[1])
        expected = old[name] if windows[stage] == 3 else resize_position_bias(old[name], windows[stage])
        np.testing.assert_array_equal(found[name], expected)
    assert changes == [f"2 bias tables from window 3 to {window}" for window in windows if window != 3]


def test_tables_of_stages_that_are_not_wanted_are_left_for_the_check():
    config = replace(CONFIG, ape=False, img_size=None)
    one = replace(config, depths=config.depths[:1], num_heads=config.num_heads[:1], window_size=5,
                  pretrained_window_sizes=(0,))  # fmt: skip
    old = state_of(config)
    found, changes = adapt_state(old, one, config)
    for name in TABLES:
        assert (found[name] is old[name]) == name.startswith("layers.1.")
    assert "2 bias tables from window 3 to 5" in changes


def test_a_square_grid_is_assumed_where_nobody_says_what_it_was():
    square = state_of(replace(CONFIG, img_size=32))
    found, changes = adapt_state(square, replace(CONFIG, img_size=(24, 48)))
    assert changes == ["absolute_pos_embed from 8x8 to 6x12 patches"]
    expected = resize_absolute_position_embedding(square["absolute_pos_embed"], (6, 12), (8, 8))
    np.testing.assert_array_equal(found["absolute_pos_embed"], expected)
    wide = state_of(CONFIG)  # 96 patches are no square: left for load_state_dict to say
    assert adapt_state(wide, replace(CONFIG, img_size=32))[1] == []


@pytest.mark.parametrize("shape", [(2, 64, 12), (64, 12), (1, 63, 12), (1, 0, 12)])
def test_an_embedding_of_no_grid_is_left_for_the_check(shape):
    wrong = np.zeros(shape)
    found, changes = adapt_state({"absolute_pos_embed": wrong}, CONFIG)
    assert found["absolute_pos_embed"] is wrong and not any("absolute" in change for change in changes)


def test_offsets_keep_their_scale_only_between_models_of_the_same_stages():
    own = SwinConfig(version=2, img_size=64, window_size=4, depths=(2, 2), num_heads=(3, 6))
    larger = replace(own, window_size=6)
    assert adapt_offsets(larger, own, said=False) == (
        replace(larger, pretrained_window_sizes=(4, 4)),
        ["pretrained_window_sizes=(4, 4)"],
    )
    assert adapt_offsets(larger, own, said=True) == (larger, ["V2's bias stretched from windows (4, 4) to (6, 6)"])
    for other in (replace(own, version=1), replace(own, depths=(2, 3)), larger):
        assert adapt_offsets(larger, other, said=False) == (larger, [])
    assert adapt_offsets(replace(larger, version=1), own, said=False) == (replace(larger, version=1), [])


def test_norms_of_stages_instead_of_the_classifier_s():
    state = {name: np.ones(2) for name in ("norm.weight", "norm.bias", "norm0.weight", "norm0.bias", "norm1.weight")}
    found, changes = adapt_norms(state, CONFIG, [0])
    assert found.keys() == {"norm0.weight", "norm0.bias"}
    assert changes == ["the norm before the head is left out", "norm1 left out"]
    for stage in (2, 7):  # two stages are numbered 0 and 1
        damaged = {"norm.weight": np.ones(2), f"norm{stage}.bias": np.ones(2)}
        assert adapt_norms(damaged, CONFIG, []) == (damaged, [])  # check_state lists them
    found, changes = adapt_norms({}, CONFIG, [1])
    assert_same(found, {"norm1.weight": np.ones(16), "norm1.bias": np.zeros(16)})
    assert changes == ["norm1 are new and untrained"]
