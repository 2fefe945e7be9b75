"""The files of a run: saved whole or not at all, checked when resumed, written by one run at a time."""

import json
import os
import shlex
import signal
import stat
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import swin_numpy
import swin_torch
from swin_numpy.training import runs
from swin_numpy.training.loop import fit
from swin_numpy.training.recipe import Recipe
from swin_numpy.training.runs import folder_of_run, identity, resume, save_run
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.files import read_file, save_checkpoint
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
)

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


# ---- a state that isn't what was saved


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    """{package: (folder of a run of 5 steps, its trainer)}."""
    found = {}
    for package in (swin_numpy, swin_torch):
        folder, trainer = tmp_path_factory.mktemp("run"), trainer_of(package, Recipe(epochs=1, batch_size=8))
        fit(trainer, TRAIN, TEST, folder)
        found[package] = folder, trainer
    return found


@PACKAGES
def test_a_flipped_byte_anywhere_is_noticed(package, saved_run, tmp_path):
    folder, trainer = saved_run[package]
    content = (folder / "last.safetensors").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    places = [*range(0, header, 23), *rng.integers(header, len(content), 150), len(content) - 1]
    before = {name: value.copy() for name, value in trainer.state_dict().items()}
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        (tmp_path / "last.safetensors").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last\.safetensors"):
            resume(trainer, TRAIN, tmp_path)
    assert_same_weights(trainer.state_dict(), before)
    (tmp_path / "last.safetensors").write_bytes(content)
    resume(trainer, TRAIN, tmp_path)


def with_last(number):
    """A function that puts `number` into an array's last place."""
    return lambda value: np.append(value.ravel()[:-1], number).reshape(value.shape)


WRONG = {
    "step -1": (".step.", with_last(-1)),
    "half a step": (".step.", with_last(4.5)),
    "more steps than losses": (".step.", with_last(6)),
    "NaN steps": (".step.", with_last(np.nan)),
    "a NaN loss": ("losses", with_last(np.nan)),
    "an infinite loss": ("losses", with_last(np.inf)),
    "losses of two axes": ("losses", lambda value: value[None]),
    "an infinite weight": ("model.head.weight", with_last(-np.inf)),
    "a NaN mean": (".blocks.0.attn.qkv.weight", with_last(np.nan)),
}


@PACKAGES
@pytest.mark.parametrize("what", WRONG)
def test_a_state_that_no_run_can_have_is_refused(package, what, saved_run, tmp_path):
    """Even where the checksum fits."""
    folder, trainer = saved_run[package]
    word, change = WRONG[what]
    state, metadata = read_file(folder / "last.safetensors")
    names = [name for name in state if word in name][-1:]
    assert names
    wrong = state | {name: np.asarray(change(state[name]), state[name].dtype) for name in names}
    before = {name: value.copy() for name, value in trainer.state_dict().items()}
    about = metadata | {"sha256": runs._digest(wrong, metadata["run"])}
    save_checkpoint(tmp_path / "last.safetensors", wrong, about)
    with pytest.raises(CheckpointError, match=f"last.safetensors: .*{names[0]}"):
        resume(trainer, TRAIN, tmp_path)
    assert_same_weights(trainer.state_dict(), before)


@PACKAGES
def test_a_run_longer_than_its_recipe_is_refused(package, saved_run, tmp_path):
    folder, trainer = saved_run[package]
    state, metadata = read_file(folder / "last.safetensors")
    state["losses"] = np.append(state["losses"], 1.0)
    save_checkpoint(tmp_path / "last.safetensors", state, metadata | {"sha256": runs._digest(state, metadata["run"])})
    with pytest.raises(CheckpointError, match="expected at most 5 steps, got 6"):
        resume(trainer_of(package, trainer.recipe), TRAIN, tmp_path)


def test_the_checksum_covers_names_types_and_shapes():
    state = {"a": np.arange(4.0), "b": np.zeros(())}
    digests = {
        runs._digest(*each)
        for each in [
            (state, "x"),
            (state, "y"),
            ({"a": np.arange(4.0)}, "x"),
            (state | {"a": np.arange(4.0).reshape(2, 2)}, "x"),
            (state | {"a": np.arange(4.0).view(np.int64)}, "x"),
            ({"c": state["a"], "b": state["b"]}, "x"),
            ({"a": state["b"], "b": state["a"]}, "x"),
        ]
    }
    assert len(digests) == 7
    assert runs._digest(dict(reversed(state.items())), "x") == runs._digest(state, "x")  # in any order


# ---- one run at a time, none overwritten


@PACKAGES
def test_a_run_is_not_overwritten_silently(package, data_folder, tmp_path, capsys):
    arguments = options(data_folder, tmp_path / "run")
    run_of(package, arguments)
    first = model_in(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    capsys.readouterr()
    other = [*arguments, "--seed", "1"]
    assert "holds a run already (last.safetensors, model.safetensors); " in fails(package, other, capsys)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    (tmp_path / "run" / "last.safetensors").unlink()
    assert "holds a run already (model.safetensors); " in fails(package, other, capsys)
    run_of(package, [*other, "--overwrite"])
    second = model_in(tmp_path / "run")
    assert any((first[name] != second[name]).any() for name in first)
    run_of(package, [*options(data_folder, tmp_path / "fresh"), "--seed", "1"])
    assert_same_weights(second, model_in(tmp_path / "fresh"))


def test_resume_and_overwrite_exclude_each_other(capsys):
    with pytest.raises(SystemExit, match="2"):
        swin_numpy.train.main(["--resume", "--overwrite"])
    assert "not allowed with" in capsys.readouterr().err


def test_a_second_run_in_the_same_folder_is_refused(data_folder, tmp_path, capsys):
    with folder_of_run(tmp_path / "run"):
        for package in (swin_numpy, swin_torch):
            line = fails(package, options(data_folder, tmp_path / "run"), capsys)
            assert "another run is writing there; give another --out" in line
        run_of(swin_numpy, options(data_folder, tmp_path / "other"))
    run_of(swin_numpy, options(data_folder, tmp_path / "run"))  # free again


@pytest.mark.slow
def test_two_processes_in_one_folder(data_folder, tmp_path):
    """The second is refused, whether it starts over or resumes, and the first goes on as if nothing had been."""
    arguments = options(data_folder, tmp_path, "--epochs", "100000")
    first, path, end = start("swin_numpy", arguments), tmp_path / "last.safetensors", time.monotonic() + 120
    while not path.exists():
        assert first.poll() is None and time.monotonic() < end, first.communicate()
    for more in ([], ["--resume"], ["--overwrite"]):
        _, err = finish(start("swin_numpy", [*arguments, *more]), status=2)
        assert err.count("\n") == 1 and "another run is writing there" in err
    first.send_signal(signal.SIGINT)
    finish(first, status=130)
    recipe = Recipe(epochs=100000, batch_size=8)
    stopped, straight = (trainer_of(swin_numpy, recipe, dtype="float32") for _ in range(2))
    resume(stopped, TRAIN, tmp_path)
    fit_until(20, straight, tmp_path / "straight")
    assert stopped.losses[:20] == straight.losses


def test_without_locks_a_run_still_trains(tmp_path, monkeypatch):
    """On Windows, and on file systems that know no locks."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*arguments):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_of_run(tmp_path / "run") as folder:
        assert folder == tmp_path / "run"
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with folder_of_run(tmp_path / "run"):
        pass


def test_what_a_killed_run_left_unfinished_is_removed_and_nothing_else(data_folder, tmp_path):
    mine = ["notes.txt", ".last.safetensors.mine", "other.safetensors", ".other.safetensors.12.tmp"]
    for name in (*mine, ".last.safetensors.12345.tmp", ".model.safetensors.7.tmp"):
        (tmp_path / name).write_text("")
    run_of(swin_numpy, options(data_folder, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "last.safetensors", "model.safetensors"])


@PACKAGES
def test_files_have_the_permissions_of_any_other_file(package, data_folder, tmp_path):
    before = os.umask(0o027)
    try:
        run_of(package, options(data_folder, tmp_path))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_a_folder_that_may_not_be_written_to_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match="run: no permission to write there"), folder_of_run(tmp_path / "run"):
        pass


# ---- Ctrl-C and a full disk


def interrupted_at(step, package, arguments, monkeypatch, capsys):
    """What the command says when Ctrl-C comes in the step after `step`."""
    real = package.train.ParallelTrainer.step

    def interrupted(self, *rest):
        if self.steps == step:
            raise KeyboardInterrupt
        return real(self, *rest)

    monkeypatch.setattr(package.train.ParallelTrainer, "step", interrupted)
    run_of(package, arguments, status=130)
    monkeypatch.undo()
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


@PACKAGES
@pytest.mark.parametrize("step", [0, 3])
def test_control_c_before_the_first_save_promises_nothing(package, step, data_folder, tmp_path, monkeypatch, capsys):
    arguments = [*options(data_folder, tmp_path), "--save-every", "4"]
    line = interrupted_at(step, package, arguments, monkeypatch, capsys)
    assert "before anything was saved" in line and "--resume" not in line
    assert not list(tmp_path.iterdir())
    run_of(package, arguments)  # and the same command starts again


@PACKAGES
@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_the_command_that_control_c_prints_goes_on(package, more, data_folder, tmp_path, monkeypatch, capsys):
    run_of(package, options(data_folder, tmp_path / "straight"))
    arguments = options(data_folder, tmp_path / "the run")
    if more:
        run_of(package, [*arguments, "--seed", "5"])
    for step in (4, 7):
        line = interrupted_at(step, package, [*arguments, *more], monkeypatch, capsys)
        words = shlex.split(line.partition(f"-m {package.__name__}.train ")[2])
        assert words == [*arguments, "--resume"]
        more = ["--resume"]
    run_of(package, words)
    assert_same_weights(model_in(tmp_path / "the run"), model_in(tmp_path / "straight"))


def test_control_c_at_once_leaves_an_overwritten_run_without_files(data_folder, tmp_path, monkeypatch, capsys):
    arguments = options(data_folder, tmp_path)
    run_of(swin_numpy, arguments)
    line = interrupted_at(0, swin_numpy, [*arguments, "--overwrite"], monkeypatch, capsys)
    assert "before anything was saved" in line and not list(tmp_path.iterdir())


FULL = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"  # no file can grow beyond it


@pytest.mark.slow
@PACKAGES
def test_a_full_disk_is_one_line_and_the_last_good_file_stays(package, data_folder, tmp_path):
    arguments, name = options(data_folder, tmp_path / "run"), package.__name__
    _, err = finish(start(name, arguments, FULL.format(5000)), status=2)
    assert err.count("\n") == 1 and "last.safetensors: can't be written: " in err
    assert not list((tmp_path / "run").iterdir())

    run_of(package, [*options(data_folder, tmp_path / "straight")])
    size = (tmp_path / "straight" / "model.safetensors").stat().st_size + 1000
    _, err = finish(start(name, arguments, FULL.format(size)), status=2)  # room for the weights, but not for all
    assert "last.safetensors: can't be written: " in err and not list((tmp_path / "run").iterdir())

    trainer = trainer_of(package, Recipe(epochs=3, batch_size=8), dtype="float32")
    fit_until(7, trainer, tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    _, err = finish(start(name, [*arguments, "--resume"], FULL.format(len(before) - 100)), status=2)
    assert err.count("\n") == 1 and "last.safetensors: can't be written: " in err
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before
    finish(start(name, [*arguments, "--resume"]))
    assert_same_weights(model_in(tmp_path / "run"), model_in(tmp_path / "straight"))
