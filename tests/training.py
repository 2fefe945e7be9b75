"""What the tests of training share: a tiny model, a tiny data set, runs of the command in this process and outside."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import swin_numpy.train
import swin_torch.train
from swin_numpy.config import SwinConfig
from swin_numpy.training.fashion_mnist import FashionMNIST
from swin_numpy.training.loop import fit
from swin_numpy.weights.files import read_file

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


def trainer_of(package, recipe, config=TINY, dtype="float64", kind="ParallelTrainer"):
    """The trainer of the command line, or the plain one: kind="Trainer"."""
    library = np if package is swin_numpy else torch
    return getattr(package.train, kind)(config, recipe, dtype=getattr(library, dtype))


def assert_same_weights(ours, theirs, bound=0.0):
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=bound, err_msg=name)


def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 8)


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


def options(data, out, *more, changes=CHANGES):
    always = ("--batch-size", "8", "--epochs", "3", "--save-every", "1", "--config", json.dumps(changes))
    return ["--data", str(data), "--out", str(out), *always, *more]


def start(package, arguments, code="", launcher=()):
    """`python -m package.train` in a process of its own; `code` runs before it."""
    if code:
        main = ["-c", f"{code}\nimport sys\nfrom {package}.train import main\nsys.exit(main(sys.argv[1:]))"]
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
    assert package.train.main(arguments) == status


def model_in(folder):
    return read_file(folder / "model.safetensors")[0]


def fails(package, arguments, capsys):
    """The one line that says what went wrong."""
    run_of(package, arguments, status=2)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith(f"python -m {package.__name__}.train: ")
    return line
