"""One step of each trainer: what it computes, dropout, and a NumPy batch in two halves that are together the whole."""

from dataclasses import replace

import numpy as np
import pytest

from swin_numpy import SwinConfig, SwinTransformer
from swin_numpy.functional import cross_entropy, cross_entropy_backward
from swin_numpy.runtime import threads as cores
from swin_numpy.train import ParallelTrainer, Trainer
from swin_numpy.training.recipe import Recipe
from tests import training
from tests.training import DROPS, PACKAGES, TINY, trainer_of
from tests.twin import relative

CONFIG = SwinConfig(
    img_size=16, patch_size=2, in_chans=1, num_classes=4, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=4,
    drop_path_rate=0.0,
)  # fmt: skip


def batch(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, 16, 16)), rng.integers(0, 4, n)


@pytest.mark.parametrize("kind", [Trainer, ParallelTrainer])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_step_has_the_gradients_of_the_whole_batch(n, kind):
    images, labels = batch(n)
    trainer = kind(CONFIG, Recipe(clip_grad=1e9), np.float64)
    alone = SwinTransformer(CONFIG, dtype=np.float64)
    alone.load_state_dict(trainer.weights())
    logits = alone.train()(images)
    alone.backward(cross_entropy_backward(logits, labels, 0.1))
    right = trainer.step(images, labels, 1e-3)
    assert right == (logits.argmax(1) == labels).sum()
    assert trainer.losses == [pytest.approx(cross_entropy(logits, labels, 0.1), rel=1e-12)]
    for (name, parameter), (_, other) in zip(alone.named_parameters(), trainer.model.named_parameters(), strict=True):
        assert relative(other.grad, parameter.grad) < 1e-10, name


def test_the_same_digits_on_any_number_of_threads(monkeypatch):
    def trained(count):
        monkeypatch.setattr(cores, "threads", lambda: count)
        cores.pool.cache_clear()
        trainer = ParallelTrainer(SwinConfig(**{**vars(CONFIG), "drop_path_rate": 0.3, "drop_rate": 0.1}), Recipe())
        for step in range(3):
            trainer.step(*batch(6, step), 1e-2)
        return trainer.state_dict()

    first, *others = [trained(count) for count in (1, 2, 4)]
    cores.pool.cache_clear()
    assert all(np.array_equal(first[name], other[name]) for other in others for name in first)


def test_a_replica_shares_parameters_but_nothing_else():
    model = SwinTransformer(CONFIG, dtype=np.float64).train()
    other = model.replica()
    pairs = list(zip(model.named_parameters(), other.named_parameters(), strict=True))
    assert all(a == b and np.shares_memory(p, q) and p is not q for (a, p), (b, q) in pairs)
    images, _ = batch(2)
    other.backward(other(images))
    assert all(p.grad is None and q.grad is not None for (_, p), (_, q) in pairs)
    with pytest.raises(ValueError, match="backward needs"):
        model.backward(np.zeros((2, 4)))
    model.head.bias += 1
    assert np.array_equal(other.head.bias, model.head.bias)


@PACKAGES
def test_dropout_is_on_in_training_only_and_repeats(package):
    recipe = Recipe(epochs=1, batch_size=8)
    one, two, other = (
        trainer_of(package, r, replace(TINY, **DROPS)) for r in (recipe, recipe, replace(recipe, seed=1))
    )
    other.model.load_state_dict(one.model.state_dict())  # only the masks and the order differ
    for trainer in (one, two, other):
        trainer.step(*training.batch(), lr=1e-3)
    assert one.losses == two.losses != other.losses
    for _ in range(2):
        two.step(*training.batch(), lr=0.0)
    assert two.losses[1] != two.losses[2]  # the same weights and images, other masks
    x = training.batch()[0]
    np.testing.assert_array_equal(one.logits(x), one.logits(x))


@PACKAGES
def test_a_step_counts_what_it_got_right(package):
    trainer = trainer_of(package, Recipe())
    x, _ = training.batch()
    classes = trainer.logits(x).argmax(axis=1)
    wrong = np.where(np.arange(8) < 3, classes, (classes + 1) % 10)
    assert trainer.step(x, wrong, lr=0.0) == 3 and trainer.steps == 1
