"""Checkpoint files: .safetensors, .npz, and PyTorch's pickles, read without running anything that is in them.

The rest of what checkpoints need stands beside: the initialisation (initial.py), whether a checkpoint fits
(check.py), other libraries' names (names.py), the configuration it was made for (infer.py), another window, image
or number of channels (resize.py), and all of that to make a model of a file (fit.py).
"""

import json
import os
import pickle
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors import deserialize, safe_open
from safetensors.numpy import save_file

from ..config import SwinConfig, config_from_dict
from ..runtime.replace import replace_file
from .buffers import DERIVED, read_buffers
from .check import CheckpointError, as_array, read_sizes, shapes_of, warn_not_finite
from .infer import infer_config
from .names import convert_state_dict, unwrapped

METADATA = "__metadata__"  # the entry of an .npz that holds what a .safetensors has in its header
UNUSABLE = "a damaged file, or no checkpoint"


# ---- reading ---------------------------------------------------------------------------------------------------


def load_checkpoint(path):
    """Read a file in any of the public namings → {official name: array}.

    path     .safetensors, .npz, or what torch.save wrote (.pth, .pt, .bin, .pkl); the content decides, not the
             suffix. The last needs PyTorch, which reads it with weights_only=True: tensors, and no code. Without
             PyTorch use a file that `python -m swin_torch.convert` made.
    returns  {official name: float16, float32 or float64 array}; see `convert_state_dict`
    raises   CheckpointError, one line, for whatever is wrong with the file; OSError where it can't be opened
    warns    UserWarning that names the arrays that hold NaN or infinity
    """
    raw, _ = read_file(path)
    state = official(raw, path)
    warn_not_finite(state, f"{path}: ")
    return state


def load_with_config(path, **known):
    """Read a file and find the configuration it was made for → ({official name: array}, SwinConfig).

    known    fields of SwinConfig that you know. Then come: the file's own metadata, as `save_checkpoint` writes it;
             derived buffers, which Microsoft's and torchvision's files have; names and shapes (`infer_config`).
    raises   as load_checkpoint, and CheckpointError that says which field to pass
    """
    raw, metadata = read_file(path)
    state = official(raw, path)
    warn_not_finite(state, f"{path}: ")
    with naming(path):
        return state, find_config(raw, metadata, state, **known)


def official(raw, path):
    """`convert_state_dict` with the file in its errors."""
    with naming(path):
        return convert_state_dict(raw)


@contextmanager
def naming(path):
    """Put the file's name before every CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        error.args = (f"{path}: {error}",)
        raise


def find_config(raw, metadata, state, **known):
    """The SwinConfig of what `read_file` gave (raw, metadata), state being its official names."""
    if "config" in metadata:
        return _config_from(metadata["config"], state, known)
    return infer_config(state, **read_buffers(unwrapped(raw)) | known)


def _config_from(text, state, known):
    """The SwinConfig in a file's metadata, if the file's arrays don't contradict it."""
    try:
        config = config_from_dict(json.loads(text))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"its metadata holds no SwinConfig ({_one_line(error)})") from error
    for field, value in read_sizes(shapes_of(state)).items():
        if field not in ("window_sizes", "mlp_ratio") and getattr(config, field) != value:
            raise CheckpointError(f"its metadata says {field}={getattr(config, field)}, its arrays {field}={value}")
    return replace(config, **known)


def read_file(path):
    """What a .safetensors, .npz or torch.save file holds, as it is → ({name: array}, {name of metadata: text})."""
    path = Path(path)
    kind = _kind_of_file(path)
    try:
        return {"safetensors": _read_safetensors, "npz": _read_npz, "torch": _read_torch}[kind](path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes a parser raise almost anything, OSError as well
        raise CheckpointError(f"{path}: {UNUSABLE} ({kind}: {_one_line(error)})") from error


def _one_line(error):
    lines = str(error).split("\n")
    return f"{type(error).__name__}: {lines[0][:200]}"


def _kind_of_file(path):
    """By content, since suffixes are often missing or wrong."""
    with path.open("rb") as file:
        start = file.read(9)
        size = file.seek(0, os.SEEK_END)
    if not start:
        raise CheckpointError(f"{path}: an empty file")
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    if start.startswith(b"PK"):
        return _kind_of_zip(path)
    if start.startswith(b"\x80"):  # a pickle; PyTorch before 1.6 wrote them bare
        return "torch"
    raise CheckpointError(f"{path}: {UNUSABLE}; expected .safetensors, .npz or a file of torch.save")


def _kind_of_zip(path):
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except Exception as error:
        raise CheckpointError(f"{path}: {UNUSABLE} (zip: {_one_line(error)})") from error
    return "npz" if any(name.endswith(".npy") for name in names) else "torch"


def _read_safetensors(path):
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
        names = list(file.keys())
        if not any(file.get_slice(name).get_dtype() == "BF16" for name in names):
            return {name: file.get_tensor(name) for name in names}, metadata
    return {name: _from_bytes(**entry) for name, entry in deserialize(path.read_bytes())}, metadata


def _from_bytes(dtype, shape, data):
    """NumPy has no bfloat16: it is the upper half of a float32."""
    if dtype == "BF16":
        upper = np.frombuffer(data, "<u2").astype(np.uint32)
        return (upper << 16).view(np.float32).reshape(shape)
    # a copy: older versions of safetensors give bytes, which nobody may write to
    return np.frombuffer(data, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).reshape(shape).copy()


def _read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        state = {name: file[name] for name in file.files}
    text = state.pop(METADATA, None)
    return state, {} if text is None else dict(json.loads(str(text)))


def _read_torch(path):
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{path}: this kind of file needs PyTorch; with PyTorch, `python -m swin_torch.convert {path} "
            f"{path.stem}.safetensors` makes one that needs only NumPy"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the versions of pickles, of no use to who reads a checkpoint
            return torch.load(path, map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Weights only" not in str(error):
            raise
        raise CheckpointError(
            f"{path}: {UNUSABLE}, or it holds Python objects, which could run code and are not read: if you trust "
            f"the file, load it with PyTorch and save its weights alone"
        ) from error


# ---- writing ---------------------------------------------------------------------------------------------------


def save_checkpoint(path, state, metadata=None):
    """Write {name: array or tensor} to .safetensors or .npz: all of it, or nothing.

    metadata  {name: text}, such as {"config": config}: a SwinConfig becomes JSON, for `load_with_config` to find
    raises    ValueError for another suffix, CheckpointError for values that are no floating-point arrays,
              TypeError for metadata that is no text, OSError if the file can't be written
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise ValueError(f"{path}: expected a name that ends in .safetensors or .npz")
    arrays = {name: np.asarray(_saved(value, name), order="C") for name, value in state.items()}
    texts = {name: _as_text(name, value) for name, value in (metadata or {}).items()}
    write = _write_npz if path.suffix == ".npz" else save_file
    replace_file(path, lambda temporary: write(arrays, temporary, texts))


def _saved(value, name):
    """As an array; the index tables of other libraries' files are the one thing that may hold integers."""
    derived = isinstance(value, np.ndarray) and name.endswith(DERIVED)
    return value if derived else as_array(value, name)


def _as_text(name, value):
    if isinstance(value, SwinConfig):
        return json.dumps(asdict(value))
    if not isinstance(value, str):
        raise TypeError(f"metadata {name!r}: expected a str or a SwinConfig, got {type(value).__name__}")
    return value


def _write_npz(arrays, path, metadata):
    with path.open("wb") as file:
        np.savez(file, **{METADATA: np.array(json.dumps(metadata))}, **arrays)
