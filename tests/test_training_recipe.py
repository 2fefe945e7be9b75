"""The recipe: its defaults, its learning rate, what it refuses; and the weights that both twins start from."""

import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

import swin_numpy
import swin_torch
from swin_numpy.config import SwinConfig
from swin_numpy.training.recipe import Recipe, first_weights
from swin_numpy.weights.initial import initial_state
from tests.training import TINY, assert_same_weights, trainer_of


def test_learning_rate_by_step():
    recipe = Recipe(epochs=5, warmup_epochs=1, base_lr=1.0, min_lr=0.1, warmup_lr=0.2)
    rates = [recipe.learning_rate(step, steps_per_epoch=10) for step in range(50)]
    np.testing.assert_allclose(rates[:11], np.linspace(0.2, 1.0, 11))
    np.testing.assert_allclose(rates[30], (1.0 + 0.1) / 2)  # half-way through the cosine's 40 steps
    assert (np.diff(rates[10:]) < 0).all() and 0.1 < rates[-1] < 0.11
    none = replace(recipe, warmup_epochs=0)
    assert none.learning_rate(0, 10) == 1.0


@pytest.mark.parametrize("epochs, warmup", [(5, 1), (5, 0), (2, 2)])
def test_the_learning_rate_begins_and_ends_where_the_recipe_says(epochs, warmup):
    recipe = Recipe(epochs=epochs, warmup_epochs=warmup, base_lr=1.0, min_lr=0.1, warmup_lr=0.2)
    assert recipe.learning_rate(0, 10) == (0.2 if warmup else 1.0)
    assert recipe.learning_rate(10 * warmup, 10) == 1.0
    if warmup < epochs:
        assert recipe.learning_rate(10 * epochs, 10) == recipe.learning_rate(10**6, 10) == pytest.approx(0.1, rel=1e-15)
        before = 0.1 + 0.9 * (1 + math.cos(math.pi * (1 - 1 / (10 * (epochs - warmup))))) / 2
        assert recipe.learning_rate(10 * epochs - 1, 10) == pytest.approx(before, rel=1e-12)


def test_steps_per_epoch():
    assert Recipe(batch_size=8).steps_per_epoch(40) == Recipe(batch_size=8).steps_per_epoch(47) == 5
    with pytest.raises(ValueError, match="batch_size: expected at most 7"):
        Recipe(batch_size=8).steps_per_epoch(7)


def test_the_defaults_are_these():
    """What the shipped weights and all ablations were trained with."""
    assert asdict(Recipe()) == {
        "epochs": 20,
        "batch_size": 64,
        "base_lr": 0.003,
        "min_lr": 1e-5,
        "warmup_lr": 1e-6,
        "warmup_epochs": 1,
        "weight_decay": 0.05,
        "clip_grad": 5.0,
        "label_smoothing": 0.1,
        "augmented": True,
        "max_shift": 1,
        "init": "fan_in",
        "start": "",
        "seed": 0,
    }


RANGES = {  # the least and the most that makes sense
    "epochs": (1, 10**6),
    "batch_size": (1, 10**6),
    "base_lr": (0, 10),
    "min_lr": (0, 10),
    "warmup_lr": (0, 10),
    "warmup_epochs": (0, 20),  # the epochs that there are
    "weight_decay": (0, 100),
    "clip_grad": (1e-9, 1e12),
    "label_smoothing": (0, 1),
    "max_shift": (0, 27),  # further, and nothing of an image is left
    "seed": (0, 2**32 - 1),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_each_range_are_in_it_and_what_is_beyond_is_refused(name):
    whole = type(getattr(Recipe(), name)) is int
    for value in RANGES[name]:
        assert getattr(Recipe(**{name: value}), name) == value
    least, most = RANGES[name]
    beyond = (least - 1, most + 1) if whole else (np.nextafter(least, -1), np.nextafter(most, math.inf), 1e30, -1.0)
    for value in (*beyond, math.nan, math.inf, -math.inf, 10**400):
        with pytest.raises((ValueError, TypeError), match=f"^{name}: expected a.*, got ") as caught:
            Recipe(**{name: value})
        assert "\n" not in str(caught.value)


def test_the_warm_up_may_last_as_long_as_the_longest_training():
    assert Recipe(epochs=10**6, warmup_epochs=10**6).warmup_epochs == 10**6


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", ["1", None, True, (1,), 1j, np.ones(2)])
def test_another_type_is_refused(name, value):
    with pytest.raises(TypeError, match=f"^{name}: expected a .*number, got "):
        Recipe(**{name: value})


@pytest.mark.parametrize("name", [name for name in RANGES if type(getattr(Recipe(), name)) is int])
def test_whole_numbers_are_whole(name):
    with pytest.raises(TypeError, match=f"^{name}: expected a whole number, got 1.0"):
        Recipe(**{name: 1.0})


@pytest.mark.parametrize("wrong", [{"augmented": 1}, {"augmented": "no"}, {"init": None}, {"start": Path("a")}])
def test_options_that_are_not_numbers_have_their_type(wrong):
    with pytest.raises(TypeError, match=f"^{next(iter(wrong))}: expected (bool|str), got "):
        Recipe(**wrong)


def test_an_unknown_init_is_refused():
    with pytest.raises(ValueError, match=r"^init: expected one of fan_in, published, got '\?'"):
        Recipe(init="?")


def test_the_warm_up_fits_into_the_run():
    assert Recipe(epochs=3, warmup_epochs=3).warmup_epochs == 3
    with pytest.raises(ValueError, match=r"^warmup_epochs: expected at most epochs=3, got 4"):
        Recipe(epochs=3, warmup_epochs=4)


def test_no_option_has_the_name_of_another():
    assert not {field.name for field in fields(Recipe)} & {field.name for field in fields(SwinConfig)}


def test_first_weights():
    shapes = {name: value.shape for name, value in swin_numpy.SwinTransformer(TINY).state_dict().items()}
    published = initial_state(shapes, seed=3)
    assert_same_weights(first_weights(shapes, Recipe(init="published", seed=3)), published)
    scaled = first_weights(shapes, Recipe(init="fan_in", seed=3))
    linear = {name for name in shapes if name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight"))}
    linear = linear - {"patch_embed.proj.weight"} | {"head.weight"}
    for name, value in scaled.items():
        assert value.dtype == np.float32
        if name in linear:
            inputs = shapes[name][1]
            np.testing.assert_allclose(value * math.sqrt(inputs), published[name] / 0.02, rtol=1e-6)
        elif name.endswith("relative_position_bias_table"):
            np.testing.assert_allclose(value, published[name] / 0.02, rtol=1e-6)
        else:
            np.testing.assert_array_equal(value, published[name])


@pytest.mark.parametrize("init", ["published", "fan_in"])
def test_both_start_from_the_same_weights(init):
    recipe = Recipe(init=init, seed=5)
    ours, theirs = (trainer_of(package, recipe).weights() for package in (swin_numpy, swin_torch))
    assert_same_weights(ours, theirs)
