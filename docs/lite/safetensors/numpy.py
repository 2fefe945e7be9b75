"""Writes files of the safetensors format: the part of safetensors.numpy that swin_numpy calls."""

import json
from pathlib import Path

import numpy as np

from . import DTYPES

NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def save_file(tensors, filename, metadata=None):
    """Write {name: array} and the texts of `metadata` to `filename`. Raises KeyError for a dtype the format lacks."""
    arrays = {name: np.asarray(array, array.dtype.newbyteorder("<"), order="C") for name, array in tensors.items()}
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        start, end = end, end + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers begin at a multiple of 8
    order = [name for name in header if name != "__metadata__"]
    numbers = b"".join(arrays[name].tobytes() for name in order)
    Path(filename).write_bytes(len(text).to_bytes(8, "little") + text + numbers)
