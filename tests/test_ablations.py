"""Each variant changes what it says and nothing else; runs are planned seed by seed, stored whole, and not repeated."""

import json
import re

import numpy as np
import pytest
import torch

from notebooks import ablations
from notebooks.ablations import VARIANTS, Variant, few_images, missing, plan, recipe_of, write_results
from notebooks.convnet import resnet
from swin_numpy.config import CONFIGS
from swin_numpy.training.fashion_mnist import MODEL, SUBSET, FashionMNIST, fashion_mnist
from swin_numpy.training.recipe import Recipe
from swin_torch.train import Trainer

rng = np.random.default_rng(10)
IMAGES, LABELS = rng.normal(size=(3, 1, 28, 28)).astype(np.float32), np.array([1, 0, 2])


def trainer_of(change, **recipe):
    trainer = Trainer(CONFIGS[MODEL], Recipe(**recipe))
    start = {name: value.copy() for name, value in trainer.weights().items()}
    with torch.no_grad():
        change(trainer)
    return trainer, start


def logits_after_step(change):
    trainer, _ = trainer_of(change)
    trainer.step(IMAGES, LABELS, 1e-2)
    return trainer.logits(IMAGES)


@pytest.mark.parametrize("name", ["no_shift", "no_mask", "no_bias", "decay_all"])
def test_a_variant_computes_something_else_than_the_full_model(name):
    if name == "decay_all":
        changed, full = trainer_of(VARIANTS[name].change)[0], trainer_of(ablations.nothing)[0]
        assert [group["weight_decay"] for group in full.optimizer.param_groups] == [0.05, 0]
        assert [group["weight_decay"] for group in changed.optimizer.param_groups] == [0.05, 0.05]
    else:
        assert np.abs(logits_after_step(VARIANTS[name].change) - logits_after_step(ablations.nothing)).max() > 1e-3


def test_no_shift_leaves_no_mask_and_no_mask_leaves_the_shift():
    grid = CONFIGS[MODEL].grids[0]
    for change, shift in ((ablations.no_shift, (0, 0)), (ablations.no_mask, (3, 3))):
        block = ablations.blocks(trainer_of(change)[0])[1]
        assert block.shift_for(grid) == shift
        assert block.mask_for(grid, torch.zeros(1)) is None
    assert ablations.blocks(trainer_of(ablations.nothing)[0])[1].mask_for(grid, torch.zeros(1)) is not None


def test_no_bias_keeps_the_tables_at_zero_and_trains_all_else():
    trainer, start = trainer_of(ablations.no_bias)
    for _ in range(2):
        trainer.step(IMAGES, LABELS, 1e-2)
    for name, value in trainer.weights().items():
        if "bias_table" in name:
            assert not value.any() and start[name].any()
        else:
            assert (value != start[name]).any(), name


def test_sgd_moves_against_the_clipped_gradient():
    trainer, start = trainer_of(ablations.sgd, clip_grad=0.5)
    trainer.step(IMAGES, LABELS, 0.1)
    change = np.concatenate([(value - start[name]).ravel() for name, value in trainer.weights().items()])
    assert np.linalg.norm(change) == pytest.approx(0.1 * 0.5, rel=1e-3)


def test_convnet_is_trained_by_the_same_recipe_from_weights_of_its_seed():
    (one, _), (again, _), (other, _) = (trainer_of(ablations.convnet, seed=seed) for seed in (0, 0, 1))
    assert str(one.model) == str(resnet())
    name = "0.weight"
    assert np.array_equal(one.weights()[name], again.weights()[name])
    assert not np.array_equal(one.weights()[name], other.weights()[name])
    assert [group["weight_decay"] for group in one.optimizer.param_groups] == [0.05, 0]
    spared = {id(value) for value in one.optimizer.param_groups[1]["params"]}
    assert spared == {id(value) for value in one.model.parameters() if value.ndim == 1}
    before = one.weights()[name].copy()
    one.step(IMAGES, LABELS, 1e-2)
    assert not np.array_equal(one.weights()[name], before)
    assert ablations.spread(one, "relative_position_bias_table") is None


def test_runs_are_planned_group_by_group_and_seed_by_seed():
    runs = plan()
    assert len(set(runs)) == len(runs) == sum(variant.seeds for variant in VARIANTS.values())
    groups = [VARIANTS[name].group for name, _ in runs]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)
    for group in set(groups):
        seeds = [seed for name, seed in runs if VARIANTS[name].group == group]
        assert seeds == sorted(seeds)
    assert plan(["no_bias"]) == [("no_bias", seed) for seed in range(VARIANTS["no_bias"].seeds)]


@pytest.mark.parametrize("images, epochs, warmup", [(None, 6, 1), (2_000, 30, 5), (500, 120, 20)])
def test_few_images_get_about_as_many_steps(images, epochs, warmup):
    recipe = recipe_of(Variant("", "", images=images), 3, 6, 10_000)
    assert (recipe.seed, recipe.epochs, recipe.warmup_epochs) == (3, epochs, warmup)
    steps = recipe.epochs * recipe.steps_per_epoch(images or 10_000)
    assert 0.85 < steps / (6 * 156) <= 1


def test_few_images_are_balanced():
    part = few_images(fashion_mnist(SUBSET, "test"), 50)
    assert np.bincount(part.labels).tolist() == [5] * 10


def test_a_run_is_stored_whole_and_not_repeated(tmp_path, monkeypatch, capsys):
    tiny = FashionMNIST(rng.integers(0, 256, (130, 28, 28), dtype=np.uint8), np.arange(130) % 10, "130 made-up images")
    monkeypatch.setattr(ablations, "fashion_mnist", lambda folder, split: tiny)
    monkeypatch.setattr(ablations, "CONFIGS", {MODEL: CONFIGS[MODEL].__class__(
        img_size=28, patch_size=4, in_chans=1, num_classes=10, embed_dim=4, depths=(1,), num_heads=(1,)
    )})  # fmt: skip
    path = tmp_path / "runs.json"
    options = ["--only", "full", "--epochs", "2", "--out", str(path), "--threads", str(torch.get_num_threads())]
    assert ablations.main(options) == 0
    written = path.read_bytes()
    runs = json.loads(written)["runs"]
    assert [(run["variant"], run["seed"], run["steps"]) for run in runs] == [
        ("full", seed, 4) for seed in range(VARIANTS["full"].seeds)
    ]
    assert [step for step, _ in runs[0]["test_accuracy"]] == [4]
    assert ablations.main(options) == 0
    assert path.read_bytes() == written
    assert f"{VARIANTS['full'].seeds} runs done, 0 to do" in capsys.readouterr().out
    assert len(missing(path, ["full"], 3, tiny)) == VARIANTS["full"].seeds  # another number of epochs is another run


@pytest.mark.skipif(not ablations.RESULTS.exists(), reason="no results are shipped yet")
def test_shipped_results_are_of_the_variants_that_there_are_and_tell_no_paths():
    text = ablations.RESULTS.read_text("utf-8")
    assert not re.search(r"/(tmp|home|work|root)/", text)
    runs = json.loads(text)["runs"]
    assert {run["variant"] for run in runs} <= set(VARIANTS)
    for run in runs:
        about = {key: run[key] for key in ("says", "group")}
        assert about == {"says": VARIANTS[run["variant"]].says, "group": VARIANTS[run["variant"]].group}
        assert len(run["loss"]) == run["steps"] // json.loads(text)["every"]
    assert ablations.EVERY == json.loads(text)["every"]


@pytest.mark.skipif(not ablations.RESULTS.exists(), reason="no results are shipped yet")
def test_shipped_results_are_those_that_the_script_would_train_today():
    train = fashion_mnist(SUBSET, "train")
    for run in ablations.read_results():
        assert ablations.agrees(run, ablations.identity(run["variant"], run["seed"], 6, train)), run["variant"]


def test_results_are_replaced_in_one_move(tmp_path):
    path = tmp_path / "runs.json"
    write_results(path, [{"variant": "no_shift", "seed": 1}, {"variant": "full", "seed": 0}])
    assert [run["variant"] for run in ablations.read_results(path)] == ["full", "no_shift"]
    assert list(tmp_path.iterdir()) == [path]
    assert ablations.read_results(tmp_path / "none.json") == []


def test_a_field_that_came_later_had_its_default():
    about = ablations.identity("full", 0, 6, FashionMNIST(IMAGES, LABELS, "these"))
    run = about | {"recipe": {name: value for name, value in about["recipe"].items() if name != "start"}}
    assert ablations.agrees(run, about) and ablations.agrees(about | {"steps": 1}, about)
    older = about | {"config": {name: value for name, value in about["config"].items() if name != "always_shift"}}
    assert older != about and ablations.agrees(older, about)
    assert not ablations.agrees(about | {"config": ablations.RESNET}, about)
    assert not ablations.agrees(run | {"recipe": run["recipe"] | {"seed": 1}}, about)


@pytest.mark.parametrize("wrong", [["--epochs", "0"], ["--threads", "0"], ["--epochs", "two"], ["--only", "nope"]])
def test_wrong_options_are_refused_before_any_work(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        ablations.main(wrong)
    assert "error: argument" in capsys.readouterr().err
