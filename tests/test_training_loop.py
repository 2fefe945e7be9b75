"""The two trainers: in step with each other, killed and resumed, on two processes, and wrongly called."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import swin_numpy.train
import swin_torch.train
from swin_numpy.config import SwinConfig
from swin_numpy.training.fashion_mnist import FashionMNIST
from swin_numpy.training.loop import Recipe, accuracy, first_weights, fit, identity, predictions, resume, save_run
from swin_numpy.weights.files import load_checkpoint, load_with_config, read_file
from swin_numpy.weights.initial import initial_state

ROOT = Path(__file__).parents[1]
PACKAGES = pytest.mark.parametrize("package", [swin_numpy, swin_torch], ids=["numpy", "torch"])

CHANGES = {"embed_dim": 8, "patch_size": 4, "depths": [2], "num_heads": [2], "window_size": 4}  # 7x7 tokens, padded
TINY = SwinConfig(img_size=28, in_chans=1, num_classes=10, drop_path_rate=0.0, **CHANGES)
DROPS = {"drop_rate": 0.1, "attn_drop_rate": 0.1, "drop_path_rate": 0.3}


def images(n, seed=0):
    """n images that a model can learn: bright stripes, one place for each class, in noise."""
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(0, 100, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n)
    for image, label in zip(pixels, labels, strict=True):
        image[2 * label + 4 : 2 * label + 6] += 150
    return FashionMNIST(pixels, labels, f"{n} stripes")


TRAIN, TEST = images(40), images(25, seed=1)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """The same, as the files that the command line reads."""
    folder = tmp_path_factory.mktemp("data")
    for prefix, data in (("train", TRAIN), ("t10k", TEST)):
        for kind, array in (("images-idx3", data.images), ("labels-idx1", data.labels.astype(np.uint8))):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """Here as in the processes that `start` starts: with another number of threads PyTorch adds in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer_of(package, recipe, config=TINY, dtype="float64"):
    if package is swin_numpy:
        return swin_numpy.train.Trainer(config, recipe, np.dtype(dtype))
    return swin_torch.train.Trainer(config, recipe, dtype=getattr(torch, dtype))


def assert_same_weights(ours, theirs, bound=0.0):
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=bound, err_msg=name)


# ---- the recipe ------------------------------------------------------------------------------------------------


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


# ---- training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_both_trainers_in_step(tmp_path, version):
    """The whole loop in float64, order and augmentation included: 20 steps, and the loss falls."""
    recipe = Recipe(epochs=4, batch_size=8, base_lr=1e-2, clip_grad=0.7, seed=2)
    config = replace(TINY, version=version)
    ours, theirs = trainer_of(swin_numpy, recipe, config), trainer_of(swin_torch, recipe, config)
    result = fit(ours, TRAIN, TEST, tmp_path / "numpy")
    assert result == fit(theirs, TRAIN, TEST, tmp_path / "torch")
    assert ours.steps == theirs.steps == 20
    assert np.abs(np.subtract(ours.losses, theirs.losses)).max() < 1e-8
    assert np.mean(ours.losses[-5:]) < np.mean(ours.losses[:5])
    assert_same_weights(ours.weights(), theirs.weights(), 1e-8)
    x, _ = batch()
    np.testing.assert_allclose(ours.logits(x), theirs.logits(x), rtol=0, atol=1e-8)


@PACKAGES
def test_dropout_is_on_in_training_only_and_repeats(package):
    recipe = Recipe(epochs=1, batch_size=8)
    one, two, other = (
        trainer_of(package, r, replace(TINY, **DROPS)) for r in (recipe, recipe, replace(recipe, seed=1))
    )
    other.model.load_state_dict(one.model.state_dict())  # only the masks and the order differ
    for trainer in (one, two, other):
        trainer.step(*batch(), lr=1e-3)
    assert one.losses == two.losses != other.losses
    for _ in range(2):
        two.step(*batch(), lr=0.0)
    assert two.losses[1] != two.losses[2]  # the same weights and images, other masks
    x = batch()[0]
    np.testing.assert_array_equal(one.logits(x), one.logits(x))


def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 8)


@PACKAGES
def test_a_step_counts_what_it_got_right(package):
    trainer = trainer_of(package, Recipe())
    x, _ = batch()
    classes = trainer.logits(x).argmax(axis=1)
    wrong = np.where(np.arange(8) < 3, classes, (classes + 1) % 10)
    assert trainer.step(x, wrong, lr=0.0) == 3 and trainer.steps == 1


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


def fit_until(last, trainer, folder):
    """Train, saving every step, and break off where the step after `last` would begin."""
    step = trainer.step

    def limited(*arguments):
        if trainer.steps == last:
            raise InterruptedError
        return step(*arguments)

    trainer.step = limited
    with pytest.raises(InterruptedError):
        fit(trainer, TRAIN, TEST, folder, save_every=1)


# ---- a run's files -----------------------------------------------------------------------------------------------


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


# ---- the command line --------------------------------------------------------------------------------------------


def options(data, out, *more, changes=CHANGES):
    always = ("--batch-size", "8", "--epochs", "3", "--save-every", "1", "--config", json.dumps(changes))
    return ["--data", str(data), "--out", str(out), *always, *more]


def start(package, arguments, code="", launcher=()):
    """`python -m package.train` in a process of its own; `code` runs before it."""
    if code:
        main = ["-c", f"{code}\nimport sys\nfrom {package}.train import run\nsys.exit(run(sys.argv[1:]))"]
    else:
        main = [*launcher, "-m", f"{package}.train"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # background jobs of a shell start deaf to Ctrl-C
    return subprocess.Popen([sys.executable, *main, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, cwd=ROOT, env=env, preexec_fn=hears)  # fmt: skip


def finish(process, status=0):
    """(stdout, stderr) of a process that must end with `status`."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return out, err


def run_of(package, arguments, status=0):
    """In this process."""
    assert package.train.run(arguments) == status


def model_in(folder):
    return read_file(folder / "model.safetensors")[0]


@PACKAGES
def test_command_line(package, data_folder, tmp_path, capsys):
    run_of(package, options(data_folder, tmp_path))
    out, err = capsys.readouterr()
    assert "epoch   3/3" in out and "test accuracy" in out and not err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.safetensors", "model.safetensors"]
    state, config = load_with_config(tmp_path / "model.safetensors")
    model = package.SwinTransformer(config)
    model.load_state_dict(state if package is swin_numpy else {k: torch.from_numpy(v) for k, v in state.items()})
    about = read_file(tmp_path / "model.safetensors")[1]
    assert config == TINY and json.loads(about["recipe"]) == asdict(Recipe(epochs=3, batch_size=8))
    assert about["test_accuracy"] in {f"{n / 25:.4f}" for n in range(26)} and about["seconds"].isdigit()


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


CLIP = {"swin_numpy": "clip_grad_norm", "swin_torch": "clip_grad_norm_"}


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


def fails(package, arguments, capsys):
    """The one line that says what went wrong."""
    run_of(package, arguments, status=2)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith(f"python -m {package.__name__}.train: ")
    return line


@PACKAGES
def test_start_from_another_runs_weights(package, data_folder, tmp_path, capsys):
    run_of(package, options(data_folder, tmp_path / "first"))
    weights = tmp_path / "first" / "model.safetensors"
    before = load_checkpoint(weights)
    shapes = {name: value.shape for name, value in before.items()}
    assert_same_weights(first_weights(shapes, Recipe(start=str(weights))), before)
    still = ["--base-lr", "0", "--min-lr", "0", "--warmup-lr", "0", "--start", str(weights)]
    run_of(package, options(data_folder, tmp_path / "second") + still)
    assert_same_weights(load_checkpoint(tmp_path / "second" / "model.safetensors"), before)
    wider = ["--start", str(weights), "--config", json.dumps(CHANGES | {"embed_dim": 16})]
    assert "embed_dim=8 (the model has 16)" in fails(package, options(data_folder, tmp_path / "third") + wider, capsys)
    assert "not.there" in fails(package, [*options(data_folder, tmp_path), "--start", "not.there"], capsys)


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
    assert "no file of a training run" in fails(package, arguments, capsys)


@PACKAGES
def test_wrong_options(package, data_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for more, found in (
        (["--data", str(tmp_path)], "expected the files"),
        (["--out", str(tmp_path / "file" / "run")], "file"),
        (["--batch-size", "41"], "batch_size: expected at most 40"),
        (["--epochs", "0"], "epochs: expected at least 1"),
        (["--save-every", "0"], "--save-every: expected at least 1"),
        (["--config", "{"], "--config: expected JSON"),
        (["--config", "[1]"], "--config: expected JSON"),
        (["--config", '{"width": 3}'], "width"),
        (["--config", '{"depths": 3}'], "depths"),
        (["--config", '{"num_classes": 3}'], "num_classes=10"),
    ):
        assert found in fails(package, [*options(data_folder, tmp_path / "run"), *more], capsys)
    assert not list(tmp_path.glob("run/*"))


def test_wrong_device_and_threads(data_folder, tmp_path, capsys):
    for more, found in (
        (["--device", "abacus"], "device 'abacus' is not there; this machine has: cpu"),
        (["--threads", "0"], "--threads: expected at least 1"),
    ):
        assert found in fails(swin_torch, [*options(data_folder, tmp_path), *more], capsys)


def test_threads(data_folder, tmp_path):
    before = torch.get_num_threads()
    try:
        run_of(swin_torch, options(data_folder, tmp_path, "--threads", "1"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


# ---- several processes -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(data_folder, tmp_path):
    """20 steps in float64, by two processes, and by this one."""
    arguments = ["--dtype", "float64", "--epochs", "4", "--clip-grad", "0.7"]
    run_of(swin_torch, options(data_folder, tmp_path / "one", *arguments))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", port]
    out, _ = finish(start("swin_torch", options(data_folder, tmp_path / "two", *arguments), launcher=launcher))
    assert out.count("epoch   4/4") == out.count("weights in") == 1 and "2 processes" in out
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["last.safetensors", "model.safetensors"]
    one, two = (read_file(tmp_path / name / "last.safetensors")[0] for name in ("one", "two"))
    assert len(one["losses"]) == 20
    assert_same_weights(one, two, 1e-11)
    assert any((one[name] != two[name]).any() for name in one)  # the sums were really made in another order
