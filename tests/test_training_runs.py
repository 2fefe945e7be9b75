"""The files of a run: saved whole or not at all, checked when resumed, written by one run at a time."""

import json
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

import swin_numpy
import swin_torch
from swin_numpy.training.loop import fit
from swin_numpy.training.recipe import Recipe
from swin_numpy.training.runs import identity, resume, save_run
from swin_numpy.weights.files import read_file
from tests.training import (
    CHANGES,
    DROPS,
    PACKAGES,
    TEST,
    TINY,
    TRAIN,
    assert_same_weights,
    batch,
    fails,
    finish,
    fit_until,
    model_in,
    options,
    run_of,
    start,
    trainer_of,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@PACKAGES
@pytest.mark.parametrize("drops", [{}, DROPS], ids=["plain", "dropout"])
def test_resumed_after_any_step_is_bit_identical(package, drops, tmp_path):
    recipe, config = Recipe(epochs=2, batch_size=8), replace(TINY, **drops)
    straight = trainer_of(package, recipe, config, "float32")
    fit(straight, TRAIN, TEST, tmp_path / "straight")
    for stop in (1, 5, 7):  # in an epoch, at its end, in the next
        trainer = trainer_of(package, recipe, config, "float32")
        fit_until(stop, trainer, tmp_path / "run")
        again = trainer_of(package, recipe, config, "float32")
        resume(again, TRAIN, tmp_path / "run")
        assert again.steps == stop
        fit(again, TRAIN, TEST, tmp_path / "run")
        assert again.losses == straight.losses
        assert_same_weights(again.state_dict(), straight.state_dict())


@PACKAGES
def test_a_run_that_is_over_stays_as_it_is(package, tmp_path):
    trainer = trainer_of(package, Recipe(epochs=1, batch_size=20))
    result = fit(trainer, TRAIN, TEST, tmp_path)
    before = {name: value.copy() for name, value in trainer.weights().items()}
    assert fit(trainer, TRAIN, TEST, tmp_path) == result
    assert_same_weights(trainer.weights(), before)


@PACKAGES
def test_the_file_holds_no_more_than_it_must(package, tmp_path):
    trainer = trainer_of(package, Recipe(epochs=1, batch_size=20), dtype="float32")
    fit(trainer, TRAIN, TEST, tmp_path)
    weights = sum(value.nbytes for value in trainer.weights().values())
    assert (tmp_path / "last.safetensors").stat().st_size < 3 * weights + 20_000  # weights and two means


def test_only_the_first_process_writes(tmp_path):
    trainer = trainer_of(swin_torch, Recipe(batch_size=8))
    trainer.rank = 1
    save_run(trainer, {}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@PACKAGES
@pytest.mark.parametrize("array", ["model.head.weight", "losses"])
def test_a_state_that_does_not_fit_changes_nothing(package, array):
    trainer = trainer_of(package, Recipe())
    trainer.step(*batch(), lr=1e-3)
    state = {name: value + 1 for name, value in trainer.state_dict().items()}
    before = {name: value.copy() for name, value in trainer.state_dict().items()}
    for wrong in (
        {name: value for name, value in state.items() if name != array},
        state | {array: np.zeros((2, 3))},
        state | {"other": np.ones(2)},
    ):
        with pytest.raises(ValueError, match=f"{array}|other"):
            trainer.load_state_dict(wrong)
        assert_same_weights(trainer.state_dict(), before)


def test_identity_tells_data_apart():
    trainer = trainer_of(swin_numpy, Recipe())
    one = identity(trainer, TRAIN)
    assert one == identity(trainer, TRAIN._replace(source="from elsewhere"))
    assert one != identity(trainer, TRAIN._replace(labels=TRAIN.labels[::-1].copy()))
    assert one != identity(trainer, TRAIN._replace(images=TRAIN.images[::-1].copy()))


KILL = """
import os, signal
import swin_numpy.weights.files as checkpoint
import {package}.train as train
count = 0
def dying(function, last_breath=lambda *arguments: None):
    def call(*arguments):
        global count
        count += 1
        if count == {nth}:
            last_breath(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call
def half(arrays, path, metadata):
    write(arrays, path, metadata)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
write, replace = checkpoint.save_file, os.replace
"""
MOMENTS = {
    "in a step": "train.clip_grad_norm = dying(train.clip_grad_norm)",
    "before a file": "checkpoint.save_file = dying(write)",
    "within a file": "checkpoint.save_file = dying(write, half)",
    "before its move": "os.replace = dying(replace)",
    "after its move": "os.replace = dying(replace, replace)",
}


CLIP = {"swin_numpy": "clip_grad_norm", "swin_torch": "clip_grad_norm_"}


@pytest.mark.slow
@PACKAGES
def test_killed_at_every_moment_and_resumed_is_bit_identical(package, data_folder, tmp_path):
    """One run of 15 steps, with dropout, that dies by kill -9 again and again, each time three calls later."""
    name, changes = package.__name__, CHANGES | DROPS
    run_of(package, options(data_folder, tmp_path / "straight", changes=changes))
    arguments, steps = options(data_folder, tmp_path / "run", changes=changes), 0
    for moment in list(MOMENTS)[:: 1 if package is swin_numpy else 2]:  # the files are written by the same lines
        code = KILL.format(package=name, nth=3) + MOMENTS[moment].replace("clip_grad_norm", CLIP[name])
        finish(start(name, arguments, code), status=-signal.SIGKILL)
        now = len(read_file(tmp_path / "run" / "last.safetensors")[0]["losses"])
        assert now == steps + (3 if moment == "after its move" else 2)
        steps, arguments = now, [*options(data_folder, tmp_path / "run", changes=changes), "--resume"]
    finish(start(name, arguments))
    assert_same_weights(model_in(tmp_path / "run"), model_in(tmp_path / "straight"))


@pytest.mark.slow
def test_killed_by_the_clock_never_leaves_half_a_file(data_folder, tmp_path):
    """Another process looks at the file all the time, and kills at no moment in particular."""
    arguments = options(data_folder, tmp_path / "run", "--epochs", "20")
    path, wait = tmp_path / "run" / "last.safetensors", np.random.default_rng(0)
    for more in ([], ["--resume"], ["--resume"]):
        process = start("swin_numpy", [*arguments, *more])
        end = time.monotonic() + 60
        before = path.stat().st_mtime_ns if path.exists() else 0
        while not path.exists() or path.stat().st_mtime_ns == before:  # until it got going
            assert process.poll() is None and time.monotonic() < end, process.communicate()
        end = time.monotonic() + wait.random() / 5
        while time.monotonic() < end:
            assert "losses" in read_file(path)[0]
        process.kill()
        process.communicate()
    finish(start("swin_numpy", [*arguments, "--resume"]))
    run_of(swin_numpy, options(data_folder, tmp_path / "straight", "--epochs", "20"))
    assert_same_weights(model_in(tmp_path / "run"), model_in(tmp_path / "straight"))


@pytest.mark.slow
@PACKAGES
def test_control_c_keeps_the_last_good_checkpoint(package, data_folder, tmp_path):
    arguments = options(data_folder, tmp_path, "--epochs", "10000", "--seed", "4")
    process = start(package.__name__, arguments)
    path, end = tmp_path / "last.safetensors", time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = finish(process, status=130)
    assert len(err.splitlines()) == 1 and f"-m {package.__name__}.train" in err and err.endswith("--resume\n")
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]
    recipe = Recipe(epochs=10000, batch_size=8, seed=4)
    stopped, straight = (trainer_of(package, recipe, dtype="float32") for _ in range(2))
    resume(stopped, TRAIN, tmp_path)
    fit_until(stopped.steps, straight, tmp_path / "straight")
    assert stopped.losses == straight.losses
    assert_same_weights(stopped.state_dict(), straight.state_dict())


@PACKAGES
def test_resume_with_other_options(package, data_folder, tmp_path, capsys):
    arguments = options(data_folder, tmp_path / "run")
    run_of(package, arguments)
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    capsys.readouterr()
    for more, found in (
        (["--base-lr", "0.1"], "base_lr=0.003"),
        (["--seed", "1", "--no-augmentation"], "augmented=True, seed=0"),
        (["--dtype", "float64"], "dtype="),
        (["--data", "subset"], "data=40 images"),
        (["--config", json.dumps(CHANGES | {"drop_rate": 0.5})], "drop_rate=0.0"),
        (["--config", json.dumps(CHANGES | {"embed_dim": 16})], "embed_dim=8"),
        (["--init", "published"], "init=fan_in"),
        (["--max-shift", "2"], "max_shift=1"),
    ):
        line = fails(package, [*arguments, "--resume", *more], capsys)
        assert found in line and "--resume needs the same options" in line
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_resume_what_the_other_twin_trained(data_folder, tmp_path, capsys):
    arguments = options(data_folder, tmp_path)
    run_of(swin_numpy, arguments)
    assert "that run has dtype=float32;" in fails(swin_torch, [*arguments, "--resume"], capsys)


@PACKAGES
def test_resume_what_is_damaged_or_not_there(package, data_folder, tmp_path, capsys):
    arguments = [*options(data_folder, tmp_path), "--resume"]
    assert "no run to go on with" in fails(package, arguments, capsys)
    run_of(package, arguments[:-1])
    capsys.readouterr()
    path = tmp_path / "last.safetensors"
    content = path.read_bytes()
    for damaged in (b"", content[:1000], content[: len(content) // 2], b"x" * 100):
        path.write_bytes(damaged)
        assert str(path) in fails(package, arguments, capsys)
    path.write_bytes((tmp_path / "model.safetensors").read_bytes())
    assert "not the file of a training run" in fails(package, arguments, capsys)
