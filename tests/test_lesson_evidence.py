"""Evidence: seeds and spread, times with a floor, models that were moved, a fair start."""

import json
import re

import numpy as np
import pytest

import swin_numpy
from notebooks import lesson
from notebooks.lesson import evidence
from swin_numpy.training.fashion_mnist import TRAINED

SMALL = swin_numpy.SwinConfig(
    img_size=16, patch_size=2, window_size=2, embed_dim=8, depths=(2,), num_heads=(2,), num_classes=3
)


def noisy(offset, spread, key):
    return lambda seed: offset + spread * np.random.default_rng([seed, key]).standard_normal()


def test_runs_with_a_clear_difference_are_told_apart(capsys):
    found = lesson.compare_runs({"plain": noisy(1, 0.1, 0), "better": noisy(3, 0.1, 1)}, range(4), " %")
    difference, half = found["plain", "better"]
    assert abs(difference - 2) < half < 1
    out = capsys.readouterr().out
    assert re.search(r"better - plain: \+\d\S* ± \S+ % \(95 %, 4 seeds\)\n", out) and "told apart" not in out


def test_runs_within_their_noise_cant_be_told_apart(capsys):
    lesson.compare_runs({"a": noisy(1, 1, 0), "b": noisy(1.1, 1, 1)}, range(5))
    assert "(95 %, 5 seeds): can't be told apart" in capsys.readouterr().out


def test_interval_is_right_for_95_of_100_samples():
    rng = np.random.default_rng(0)
    for count in (2, 3, 6):
        samples = rng.standard_normal((2000, count)) + 5
        hits = [abs(sample.mean() - 5) <= evidence.half_interval(list(sample)) for sample in samples]
        assert 0.93 < np.mean(hits) < 0.97


def test_differences_are_taken_seed_by_seed():
    found = lesson.compare_runs(
        {"a": lambda seed: 100 * seed, "b": lambda seed: 100 * seed + 1 + seed / 100}, (1, 2, 3)
    )
    difference, half = found["a", "b"]
    assert difference == pytest.approx(1.02) and half < 0.1


def test_with_a_base_all_others_are_compared_with_it_alone(capsys):
    runs = {name: noisy(offset, 0.1, offset) for name, offset in (("a", 1), ("b", 2), ("c", 4))}
    found = lesson.compare_runs(runs, range(3), base="b")
    assert list(found) == [("b", "a"), ("b", "c")]
    assert found["b", "a"][0] == pytest.approx(-lesson.compare_runs(runs, range(3))["a", "b"][0])
    assert "c - b: +" in capsys.readouterr().out.split("c - a")[0]
    with pytest.raises(ValueError, match="base: expected one of a, b, c, got 'd'"):
        lesson.compare_runs(runs, range(3), base="d")


@pytest.mark.parametrize("seeds", [(), (1,), (1, 1)])
def test_one_seed_is_no_evidence(seeds):
    with pytest.raises(ValueError, match="two different ones"):
        lesson.compare_runs({"a": float, "b": float}, seeds)


def test_times_have_a_spread_and_a_floor(capsys):
    seconds = {"old": [0.100, 0.110, 0.105, 0.200], "new": [0.050, 0.054, 0.053, 0.101]}
    seconds["same"] = [0.101, 0.109, 0.106, 0.199]
    seconds["barely"] = [0.097, 0.107, 0.102, 0.194]  # always less, and by less than the floor
    seconds["unsteady"] = [0.050, 0.220, 0.300, 0.100]
    ratios = evidence.compare_seconds(seconds)
    assert ratios["new"] == pytest.approx(0.5, abs=0.01)
    assert ratios["old"] == ratios["same"] == ratios["barely"] == ratios["unsteady"] == 1.0
    old, new, *others = capsys.readouterr().out.splitlines()
    assert old == "old: 108 ms, 4 rounds from 100 to 200 ms"
    assert re.fullmatch(r"new: \S+ ms, 4 rounds from 50 to 101 ms: 0.50 times old \(0.50 to 0.50\)", new)
    assert all(line.endswith(": no difference") for line in others)


def test_times_are_taken_in_turns(capsys):
    calls = []
    lesson.compare_times({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert calls == list("ab" * 4)
    assert "3 rounds" in capsys.readouterr().out


def test_agree_refuses_models_at_their_initial_zeros_and_ones(capsys):
    model = swin_numpy.SwinTransformer(SMALL, seed=0)
    assert "patch_embed.norm.weight" in evidence.unmoved(model) and "head.bias" in evidence.unmoved(model)
    with pytest.raises(AssertionError, match=r"logits: \S+ and \d+ more are still zeros or ones: call moved"):
        lesson.agree("logits", [1.0], [1.0], models=[model])
    assert evidence.unmoved(lesson.moved(model)) == []
    lesson.agree("logits", [1.0], [1.0], models=[model])
    assert "✓ logits" in capsys.readouterr().out


def test_moved_moves_both_twins_alike():
    torch = pytest.importorskip("torch")
    import swin_torch

    ours = swin_numpy.SwinTransformer(SMALL, seed=0, dtype=np.float64)
    theirs = swin_torch.SwinTransformer(SMALL, seed=0).double().eval()
    before = {name: value.copy() for name, value in ours.state_dict().items()}
    lesson.moved(ours, theirs, scale=0.2, seed=3)
    for name, parameter in ours.named_parameters():
        assert not np.allclose(ours.state_dict()[name], before[name]), name
        assert parameter is not None
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    with torch.no_grad():
        lesson.agree("logits", ours(x), theirs(torch.tensor(x)), 1e-9, models=[ours, theirs])


def test_fresh_and_trained_have_one_start():
    fresh, trained = lesson.fresh_and_trained()
    assert fresh.config == trained.config and not (fresh.training or trained.training)
    with evidence.safe_open(TRAINED, "np") as file:
        recipe = evidence.Recipe(**json.loads(file.metadata()["recipe"]))
    start = evidence.first_weights({name: value.shape for name, value in trained.state_dict().items()}, recipe)
    for name, value in fresh.state_dict().items():
        assert value.dtype == np.float64 and np.array_equal(value, start[name].astype(np.float64)), name
    assert any(not np.allclose(fresh.state_dict()[name], value) for name, value in trained.state_dict().items())
