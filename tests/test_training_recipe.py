"""The recipe: its defaults, its learning rate, what it refuses; and the weights that both twins start from."""

import math
from dataclasses import fields, replace

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


def test_steps_per_epoch():
    assert Recipe(batch_size=8).steps_per_epoch(40) == Recipe(batch_size=8).steps_per_epoch(47) == 5
    with pytest.raises(ValueError, match="batch_size: expected at most 7"):
        Recipe(batch_size=8).steps_per_epoch(7)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"warmup_epochs": -1}, {"seed": -1}, {"label_smoothing": 1.1}, {"init": "?"}],
)
def test_wrong_recipes(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: expected"):
        Recipe(**wrong)


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
