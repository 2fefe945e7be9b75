"""Checkpoint files: .safetensors, .npz, and PyTorch's pickles, read without running anything that is in them.

Reading gives what a file holds as it is; load.py makes a model's weights of it.
"""

import json
import math
import os
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ..config import SwinConfig
from ..runtime.replace import replace_file
from .buffers import DERIVED
from .check import CheckpointError, as_array, printable

METADATA = "__metadata__"  # the entry of an .npz that holds what a .safetensors has in its header
UNUSABLE = "a damaged file, or not a checkpoint"
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")
IN_FOLDER = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
MOST_EXPANDED, MOST_BYTES = 50, 1 << 28  # weights don't shrink 50-fold, but a few MB of zeros are no threat


# ---- reading ---------------------------------------------------------------------------------------------------


def read_file(path):
    """What a file or a folder of the Hugging Face hub holds, as it is → ({name: array}, {name of settings: text}).

    path     .safetensors, .npz, or what torch.save wrote (.pth, .pt, .bin, .pkl); the content decides, not the suffix.
             The last needs PyTorch, which reads it with weights_only=True: tensors, and no code. Or a folder with one
             such file (and config.json), or the *.index.json of a file in several shards.
    raises   CheckpointError, one line that names the file, for whatever is wrong with it; OSError where it can't be
             opened. Nothing larger than what the file holds is put into memory.
    """
    path = Path(path)
    with naming(path):
        if path.is_dir():
            return _read_folder(path)
        shard = re.search(r"-(\d{5})-of-(\d{5})\.", path.name)
        if shard and int(shard[2]) > 1:
            raise CheckpointError(f"one shard of {int(shard[2])}: pass its folder, or the .index.json beside it")
        return _read_one(path)


@contextmanager
def naming(path):
    """Put the file's name before every CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        if not str(error).startswith(name := f"{printable(str(path)[-300:])}: "):
            error.args = CheckpointError(name + str(error)).args
        raise


def _read_folder(folder):
    found = [folder / name for name in IN_FOLDER if (folder / name).is_file()]
    if not found:
        found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
        if len(found) != 1:
            names = ", ".join(path.name for path in found[:3])
            several = f"a folder of {len(found)} checkpoints ({names}, …): pass one of them"
            raise CheckpointError(several if found else f"a folder without a checkpoint; expected {IN_FOLDER[0]}")
    with naming(found[0]):
        state, settings = _read_one(found[0])
    beside = folder / "config.json"
    return state, settings | ({"config.json": beside.read_text("utf-8", "replace")} if beside.is_file() else {})


def _read_one(path):
    kind = _kind_of_file(path)
    readers = {"safetensors": _read_safetensors, "npz": _read_npz, "torch": _read_torch, "json": _read_shards}
    try:
        return readers[kind](path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes a parser raise almost anything, OSError as well
        raise CheckpointError(f"{UNUSABLE} ({kind}: {_one_line(error)})") from error


def _one_line(error):
    return f"{type(error).__name__}: {str(error)[:200]}"


def _kind_of_file(path):
    """By content, since suffixes are often missing or wrong."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError("not a regular file")  # a pipe would be waited for, a device never ends
    with path.open("rb") as file:
        start = file.read(9)
        size = file.seek(0, os.SEEK_END)
    if not start:
        raise CheckpointError("an empty file")
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return "safetensors"
    if start.startswith(b"PK"):
        return _kind_of_zip(path, size)
    if start.startswith(b"\x80"):  # a pickle; PyTorch before 1.6 wrote them bare
        return "torch"
    if start.lstrip().startswith(b"{"):
        return "json"
    raise CheckpointError(f"{UNUSABLE}; expected .safetensors, .npz or a file of torch.save")


def _kind_of_zip(path, size):
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
    except Exception as error:
        raise CheckpointError(f"{UNUSABLE} (zip: {_one_line(error)})") from error
    _check_expansion(sum(entry.file_size for entry in entries), size)
    return "npz" if any(entry.filename.endswith(".npy") for entry in entries) else "torch"


def _check_expansion(claimed, size):
    """Raise CheckpointError where `size` bytes claim to hold so many that reading could fill the memory."""
    if claimed > max(MOST_BYTES, MOST_EXPANDED * size):
        raise CheckpointError(f"{UNUSABLE}: its {size:,} bytes claim to hold {claimed:,}")


def _read_shards(path):
    """{"weight_map": {name: shard}}: the names of one model, in files that lie beside."""
    index = json.loads(path.read_text("utf-8"))
    if "weight_map" not in index:
        raise CheckpointError("settings, without weights: pass the folder that holds both")
    state, settings = {}, {}
    for shard in sorted(set(index["weight_map"].values())):
        if Path(shard).name != shard or not (path.parent / shard).is_file():
            raise CheckpointError(f"the shard {shard!r} is not beside it")
        with naming(path.parent / shard):
            part, settings = _read_one(path.parent / shard)
        state |= part
    if missing := index["weight_map"].keys() - state.keys():
        raise CheckpointError(f"its shards lack {len(missing)} names that it lists, such as {min(missing)!r}")
    return state, settings


# NumPy's name of every type that .safetensors has. bfloat16 is the upper half of a float32, F8_E5M2 of a float16.
_DTYPES = {
    **{"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8"},
    **{"I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8"},
    **{"BF16": "<u2", "F8_E5M2": "u1", "F8_E4M3": "u1", "F8_E8M0": "u1"},
}


def _read_safetensors(path):
    with safe_open(path, "numpy") as file:  # checks the header
        settings = file.metadata() or {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop(METADATA, None)
        state = {}
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            if entry["dtype"] not in _DTYPES:
                raise CheckpointError(f"{name}: {entry['dtype']} is not a type of whole bytes")
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            file.seek(8 + length + entry["data_offsets"][0])
            values = np.fromfile(file, dtype, math.prod(entry["shape"])).reshape(entry["shape"])
            state[name] = _widened(values, entry["dtype"])
    return state, settings


def _widened(values, kind):
    """The types that NumPy lacks, as float32."""
    if kind == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    if kind == "F8_E5M2":
        return (values.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    if kind == "F8_E4M3":  # sign, 4 bits of exponent, 3 of mantissa; no infinity
        exponent, mantissa = (values >> 3 & 15).astype(int), values & 7
        size = np.where(exponent, np.ldexp(8.0 + mantissa, exponent - 10), np.ldexp(mantissa * 1.0, -9))
        size = np.where(values & 127 == 127, np.nan, size)
        return np.where(values >> 7, -size, size).astype(np.float32)
    if kind == "F8_E8M0":
        return np.where(values == 255, np.nan, np.ldexp(1.0, values.astype(int) - 127)).astype(np.float32)
    return values


def _read_npz(path):
    state = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                _check_header(file, entry)
            with archive.open(entry) as file:
                state[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    text = state.pop(METADATA, None)
    return state, {} if text is None else dict(json.loads(str(text)))


def _check_header(file, entry):
    """Raise CheckpointError where an .npy claims an array of another size than its data."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise CheckpointError(f"{entry.filename}: Python objects, which could run code and are not read")
    if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
        raise CheckpointError(f"{UNUSABLE}: {entry.filename} claims shape {shape} for {entry.file_size:,} bytes")


def _read_torch(path):
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            "this kind of file needs PyTorch; with PyTorch, `python -m swin_torch.convert "
            f"{path} {path.stem}.safetensors` makes one that needs only NumPy"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions of pickles, of no use to someone who reads a checkpoint
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Weights only" not in str(error):
            raise
        raise CheckpointError(
            f"{UNUSABLE}, or it holds Python objects, which could run code and are not read: if you trust the file, "
            "load it with PyTorch and save its weights alone"
        ) from error
    _check_expansion(_bytes_in(saved), path.stat().st_size)  # a tensor may repeat one number any number of times
    return saved, {}


def _bytes_in(saved):
    """Bytes of all tensors in nested dicts, lists and tuples, had each memory of its own."""
    total, seen, left = 0, set(), [saved]
    while left:
        value = left.pop()
        if hasattr(value, "element_size"):
            total += value.nelement() * value.element_size()
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, Mapping) else value
    return total


# ---- writing ---------------------------------------------------------------------------------------------------


def save_checkpoint(path, state, metadata=None, check=None):
    """Write {name: array or tensor} to .safetensors or .npz: all of it, or nothing.

    metadata  {name: text}, such as {"config": config}: a SwinConfig becomes JSON, for `load_with_config` to find
    check     called with the path of what was written, before it takes its place; may raise to keep the old file
    raises    ValueError for another suffix, CheckpointError for values that aren't floating-point arrays, TypeError for
              metadata that isn't text, OSError where it can't be written
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise ValueError(f"{path}: expected a name that ends in .safetensors or .npz")
    arrays = {name: np.asarray(_saved(value, name), order="C") for name, value in state.items()}
    texts = {name: _as_text(name, value) for name, value in (metadata or {}).items()}
    write = _write_npz if path.suffix == ".npz" else save_file

    def write_and_check(temporary):
        write(arrays, temporary, texts)
        if check is not None:
            check(temporary)

    replace_file(path, write_and_check)


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
