"""The files of a training run: what identifies it, saving, resuming, and who may write there.

last.safetensors    everything that the next step depends on; written again and again while the run goes on
model.safetensors   the weights alone, with the configuration; written once, at the end
"""

import hashlib
import json
import os
import zlib
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..weights.check import CheckpointError, check_state
from ..weights.files import read_file, save_checkpoint

LAST, WEIGHTS = "last.safetensors", "model.safetensors"


class Diverged(ValueError):
    """A loss or a weight is NaN or infinite: no further step can help."""

    def __init__(self, found):
        super().__init__(f"{found}, so training stops here; try a smaller base_lr or a longer warm-up")


def identity(trainer, train):
    """{option: value} that --resume must find the same, as JSON gives it back.

    PyTorch's last digits also depend on the device and the numbers of threads and processes.
    """
    checksum = zlib.crc32(train.labels.tobytes(), zlib.crc32(train.images.tobytes()))
    data = f"{len(train.labels)} images, CRC-32 {checksum:08x}"
    options = asdict(trainer.recipe) | asdict(trainer.model_config)
    return json.loads(json.dumps(options | {"dtype": str(trainer.dtype), "data": data}))


def save_run(trainer, about, folder):
    """Write everything that `resume` needs to one file, which replaces the last one in one move.

    Raises Diverged, and writes nothing, if a number in it is NaN or infinite.
    """
    if trainer.rank == 0:
        state, text = trainer.state_dict(), json.dumps(about)
        if name := _not_finite(state):
            raise Diverged(f"after step {trainer.steps} {name} holds NaN or infinity")
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_checkpoint(Path(folder) / LAST, state, {"run": text, "sha256": _digest(state, text)})


def resume(trainer, train, folder):
    """Bring `trainer` to where the run in `folder` was saved last.

    Raises CheckpointError if there is none, if it was damaged, or if it was made with other options or data.
    """
    path = Path(folder) / LAST
    if not path.exists():
        raise CheckpointError(f"{path}: no run to go on with; start one without --resume")
    state, metadata = read_file(path)
    was = _read_identity(path, state, metadata)
    other = [f"{name}={was.get(name)}" for name, value in identity(trainer, train).items() if was.get(name) != value]
    if other:
        raise CheckpointError(f"{path}: that run has {', '.join(other)}; --resume needs the same options")
    try:
        trainer.load_state_dict(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    last = trainer.recipe.epochs * trainer.recipe.steps_per_epoch(len(train.labels))
    if trainer.steps > last:
        raise CheckpointError(f"{path}: expected at most {last} steps, got {trainer.steps}")


def check_trainer_state(state, shapes):
    """Raise CheckpointError unless a trainer with arrays of these shapes can go on from `state`.

    state    {name: array}, what the trainer's `state_dict` gave
    shapes   {name: shape} of all of it but "losses", which has one finite number for each step
    """
    check_state(state, shapes | {"losses": (np.size(state.get("losses", ())),)})
    if name := _not_finite(state):
        raise CheckpointError(f"{name}: expected finite numbers, got NaN or infinity")
    steps = len(state["losses"])
    for name in state:
        if ".step." in name and not (0 <= state[name] <= steps and state[name] == int(state[name])):
            raise CheckpointError(f"{name}: expected a whole number from 0 to {steps}, got {state[name]}")


@contextmanager
def folder_of_run(folder, resumed=False, overwrite=False):
    """Have the folder of a run, made if need be, to oneself; what a killed run left unfinished there is removed.

    Raises ValueError if another run is writing there, or if a run is there already and it is neither resumed nor to be
    overwritten.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for name in (LAST, WEIGHTS):
            for unfinished in folder.glob(f".{name}.*.tmp"):
                unfinished.unlink()
        there = [name for name in (LAST, WEIGHTS) if (folder / name).exists()]
        if there and not (resumed or overwrite):
            raise ValueError(
                f"{folder}: holds a run already ({', '.join(there)}); go on with it by --resume, give another --out, "
                "or start over by --overwrite"
            )
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder}: no permission to write there; give another --out")
        if overwrite:
            for name in there:
                (folder / name).unlink()
        yield folder


@contextmanager
def _locked(folder):
    """Hold the folder's lock. The system releases it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another run is writing there; give another --out") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def _digest(state, text):
    """SHA-256 of a run's identity and of every array with its name, type and shape."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(state):
        array = np.asarray(state[name], order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()


def _read_identity(path, state, metadata):
    """What `identity` said when the run was saved, if the file is whole."""
    try:
        about, digest = dict(json.loads(metadata["run"])), metadata["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not the file of a training run, or damaged") from error
    if digest != _digest(state, metadata["run"]):
        raise CheckpointError(f"{path}: damaged: its checksum is another than when it was saved; start the run again")
    return about


def _not_finite(state):
    """The name of the first array that holds NaN or infinity, or None."""
    return next((name for name, value in state.items() if not np.isfinite(value).all()), None)
