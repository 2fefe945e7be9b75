"""The loop: both trainers in step through whole runs, accuracy, and a loss that is no number."""

import re
from dataclasses import replace

import numpy as np
import pytest

import swin_numpy
import swin_torch
from swin_numpy.training.fashion_mnist import FashionMNIST
from swin_numpy.training.loop import Diverged, accuracy, fit, predictions
from swin_numpy.training.recipe import Recipe
from swin_numpy.training.runs import resume
from tests.training import PACKAGES, TEST, TINY, TRAIN, assert_same_weights, batch, trainer_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", ["Trainer", "ParallelTrainer"])
@pytest.mark.parametrize("version", [1, 2])
def test_both_trainers_in_step(tmp_path, version, kind):
    """The whole loop in float64, order and augmentation included: 20 steps, and the loss falls."""
    recipe = Recipe(epochs=4, batch_size=8, base_lr=1e-2, clip_grad=0.7, seed=2)
    config = replace(TINY, version=version)
    ours, theirs = (trainer_of(package, recipe, config, kind=kind) for package in (swin_numpy, swin_torch))
    result = fit(ours, TRAIN, TEST, tmp_path / "numpy")
    assert result == fit(theirs, TRAIN, TEST, tmp_path / "torch")
    assert ours.steps == theirs.steps == 20
    assert np.abs(np.subtract(ours.losses, theirs.losses)).max() < 1e-8
    assert np.mean(ours.losses[-5:]) < np.mean(ours.losses[:5])
    assert_same_weights(ours.weights(), theirs.weights(), 1e-8)
    x, _ = batch()
    np.testing.assert_allclose(ours.logits(x), theirs.logits(x), rtol=0, atol=1e-8)
    assert fit(ours, TRAIN, TEST, tmp_path / "numpy") == result and ours.steps == 20  # there is nothing left to do


def test_each_epoch_prints_the_mean_of_its_own_losses(tmp_path, capsys):
    trainer = trainer_of(swin_numpy, Recipe(epochs=3, batch_size=8, base_lr=1e-2))
    fit(trainer, TRAIN, TEST, tmp_path, called="held-out")
    printed = re.findall(r"epoch +(\d)/3  loss (\S+)  held-out accuracy", capsys.readouterr().out)
    means = np.reshape(trainer.losses, (3, 5)).mean(axis=1)
    assert printed == [(str(epoch), f"{mean:.4f}") for epoch, mean in enumerate(means, start=1)]


class Brightest:
    """Takes the brightest of the first ten pixels for the class."""

    sizes = ()

    def logits(self, images):
        self.sizes = (*self.sizes, len(images))
        return images[:, 0, 0, :10]


def test_accuracy_and_predictions():
    labels = np.random.default_rng(0).integers(0, 10, 23)
    pixels = np.zeros((23, 28, 28), np.uint8)
    pixels[np.arange(23), 0, labels] = 200
    trainer = Brightest()
    np.testing.assert_array_equal(predictions(trainer, pixels, batch_size=10), labels)
    assert trainer.sizes == (10, 10, 3)  # nobody is left out, and memory stays small
    labels[:5] = (labels[:5] + 1) % 10
    assert accuracy(Brightest(), FashionMNIST(pixels, labels, "")) == 18 / 23


@PACKAGES
@pytest.mark.parametrize("base_lr", [1e9, 3.0])
def test_a_run_whose_numbers_run_away_stops_and_says_so(package, base_lr, tmp_path):
    recipe = Recipe(epochs=60, batch_size=8, warmup_epochs=0, weight_decay=100.0)
    object.__setattr__(recipe, "base_lr", base_lr)  # Recipe itself refuses the larger one
    trainer = trainer_of(package, recipe, dtype="float32")
    with np.errstate(all="ignore"), pytest.raises(Diverged, match="so training stops here"):
        fit(trainer, TRAIN, TEST, tmp_path, save_every=1)
    assert trainer.steps < 300
    if (tmp_path / "last.safetensors").exists():  # what was saved can still be gone on with
        again = trainer_of(package, recipe, dtype="float32")
        resume(again, TRAIN, tmp_path)
        assert all(np.isfinite(value).all() for value in again.state_dict().values())


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_the_step_after_which_the_loss_is_no_number_is_the_last(loss, tmp_path):
    trainer = trainer_of(swin_numpy, Recipe(epochs=2, batch_size=8))
    step = trainer.step

    def broken(*arguments):
        right = step(*arguments)
        if trainer.steps == 3:
            trainer.losses[-1] = loss
        return right

    trainer.step = broken
    with pytest.raises(Diverged, match=f"the loss of step 3 is {loss}"):
        fit(trainer, TRAIN, TEST, tmp_path, save_every=1)
    again = trainer_of(swin_numpy, Recipe(epochs=2, batch_size=8))
    resume(again, TRAIN, tmp_path)
    assert again.steps == 2
