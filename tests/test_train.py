"""One step of each trainer: what it computes, dropout, and a NumPy batch in two halves that are together the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import swin_torch
from swin_numpy import SwinConfig, SwinTransformer
from swin_numpy.functional import cross_entropy, cross_entropy_backward
from swin_numpy.runtime import threads
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
        monkeypatch.setattr(threads, "worker_count", lambda: count)
        threads._pool.cache_clear()
        trainer = ParallelTrainer(SwinConfig(**{**vars(CONFIG), "drop_path_rate": 0.3, "drop_rate": 0.1}), Recipe())
        for step in range(3):
            trainer.step(*batch(6, step), 1e-2)
        return trainer.state_dict()

    first, *others = [trained(count) for count in (1, 2, 4)]
    threads._pool.cache_clear()
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


@PACKAGES
@pytest.mark.parametrize("kind", ["Trainer", "ParallelTrainer"])
def test_a_step_moves_matrices_by_the_recipe_s_decay_and_nothing_else_decays(package, kind):
    """Where the gradient is 0, AdamW only decays: p becomes p (1 - lr * weight_decay)."""
    recipe = Recipe(weight_decay=0.7, clip_grad=1e-9)  # so short a gradient is far below Adam's eps
    trainer = trainer_of(package, recipe, kind=kind)
    before = {name: value.copy() for name, value in trainer.weights().items()}
    trainer.step(*training.batch(), lr=0.1)
    decayed = {"qkv.weight", "proj.weight", "fc1.weight", "fc2.weight", "head.weight"}
    for name, value in trainer.weights().items():
        factor = 1 - 0.1 * 0.7 if any(name.endswith(end) for end in decayed) else 1
        np.testing.assert_allclose(value, factor * before[name], rtol=0, atol=0.02, err_msg=name)
        if factor != 1:
            assert np.abs(value - before[name]).max() > 1e-3, name


@PACKAGES
def test_a_step_clips_smooths_and_moves_as_the_recipe_says(package):
    """The first step of Adam is lr * g / (|g| + eps) with the clipped gradient g."""
    x, y = training.batch()
    recipe = Recipe(weight_decay=0.0, clip_grad=1e-6, label_smoothing=0.4)
    trainer = trainer_of(package, recipe)
    alone = SwinTransformer(TINY, dtype=np.float64)
    alone.load_state_dict({name: np.array(value) for name, value in trainer.weights().items()})
    logits = alone.train()(x.astype(np.float64))
    alone.backward(cross_entropy_backward(logits, y, 0.4))
    gradients = {name: np.asarray(parameter.grad) for name, parameter in alone.named_parameters()}
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    before = {name: np.array(value) for name, value in trainer.weights().items()}
    trainer.step(x, y, lr=0.01)
    assert trainer.losses == [pytest.approx(cross_entropy(logits, y, 0.4), rel=1e-9)]
    for name, value in trainer.weights().items():
        clipped = gradients[name] * 1e-6 / (norm + 1e-6)
        np.testing.assert_allclose(value - before[name], -0.01 * clipped / (abs(clipped) + 1e-8), rtol=0, atol=1e-8)


@PACKAGES
def test_the_seed_decides_the_first_weights(package):
    one, same, other = (trainer_of(package, Recipe(seed=seed)).weights() for seed in (3, 3, 4))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["head.weight"], other["head.weight"])


def test_adamw_in_one_pass_over_memory_moves_as_the_other_does():
    trainers = [trainer_of(swin_torch, Recipe(), dtype="float64") for _ in range(2)]
    for trainer, fused in zip(trainers, (True, False), strict=True):
        assert all(group["fused"] for group in trainer.optimizer.param_groups)
        for group in trainer.optimizer.param_groups:
            group["fused"] = fused
        for _ in range(4):
            trainer.step(*training.batch(), lr=1e-2)
    one, other = (trainer.state_dict() for trainer in trainers)
    assert list(one) == list(other)
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_means_go_to_where_the_parameters_are_when_a_run_is_resumed():
    """On a GPU Adam's means must be there too, and its count of steps must stay on the processor."""
    trained = trainer_of(swin_torch, Recipe(), dtype="float64")
    trained.step(*training.batch(), lr=1e-3)
    state = trained.state_dict()
    for device, dtype in (("meta", torch.float32), ("cpu", torch.float32), ("cpu", torch.float64)):
        trainer = swin_torch.train.Trainer(TINY, Recipe(), device, dtype)
        trainer.load_state_dict(state)
        for parameter in trainer.model.parameters():
            kept = trainer.optimizer.state[parameter]
            assert kept["step"].device.type == "cpu" and kept["step"] == 1
            for key in ("exp_avg", "exp_avg_sq"):
                assert (kept[key].device, kept[key].dtype) == (parameter.device, dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_resumed_on_a_gpu_goes_on_there():
    straight, stopped, resumed = (swin_torch.train.Trainer(TINY, Recipe(), "cuda", torch.float64) for _ in range(3))
    for trainer in (straight, stopped):
        trainer.step(*training.batch(), lr=1e-2)
    resumed.load_state_dict(stopped.state_dict())
    for trainer in (straight, resumed):
        trainer.step(*training.batch(), lr=1e-2)
    np.testing.assert_allclose(resumed.losses, straight.losses, rtol=1e-12)


def test_more_threads_than_make_sense_are_refused():
    for number in (0, -1, swin_torch.train.MOST_THREADS + 1, 10**6):
        with pytest.raises(ValueError, match=f"--threads: expected 1 to 256, got {number}"):
            swin_torch.train.set_threads(number)
