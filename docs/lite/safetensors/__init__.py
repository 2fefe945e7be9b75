"""Reads files of the safetensors format in the browser, where the compiled package needs not be there. NumPy only.

The format: 8 bytes that hold the length of a header, the header as JSON, {name: {dtype, shape, data_offsets}}, and the
numbers, which the offsets divide without gap or overlap. https://github.com/huggingface/safetensors#format
"""

import json
import math
from pathlib import Path

import numpy as np

LONGEST = 100_000_000  # bytes of a header, as in the original
DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8"}
DTYPES |= {"I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8"}
SIZES = {name: np.dtype(dtype).itemsize for name, dtype in DTYPES.items()}
SIZES |= {"BF16": 2, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1}  # NumPy lacks these: their header can be read


class SafetensorError(Exception):
    """The file is not what the format asks for. One line."""


class safe_open:
    """`with safe_open(path, "np") as file`: file.keys(), file.metadata(), file.get_tensor(name).

    Raises SafetensorError where header and size of the file contradict each other, OSError where it can't be read.
    """

    def __init__(self, filename, framework, device="cpu"):
        if framework not in ("np", "numpy") or device != "cpu":
            raise SafetensorError(f"framework {framework!r} on {device!r}: expected 'np' on 'cpu'")
        content = Path(filename).read_bytes()
        length = int.from_bytes(content[:8], "little")
        if len(content) < 8 or length > min(LONGEST, len(content) - 8):
            raise SafetensorError(
                f"header of {length} bytes in a file of {len(content)}: it is cut off, or no safetensors"
            )
        self._header, self._data = read_header(content[8 : 8 + length]), content[8 + length :]
        self._metadata = self._header.pop("__metadata__", None)
        check(self._header, len(self._data))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def metadata(self):
        """{name: text} of the header, or None if it holds none."""
        return self._metadata

    def keys(self):
        """Names of the arrays, sorted."""
        return sorted(self._header)

    def get_tensor(self, name):
        """The array `name`. Raises SafetensorError if there is none, or if NumPy lacks its type."""
        if name not in self._header:
            raise SafetensorError(f"no array {name!r} in the file")
        entry = self._header[name]
        if entry["dtype"] not in DTYPES:
            raise SafetensorError(f"{name}: NumPy has no type {entry['dtype']}")
        start, end = entry["data_offsets"]
        return np.frombuffer(self._data[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()


def read_header(text):
    try:
        header = json.loads(text.decode("utf-8"))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        assert all({"dtype", "shape", "data_offsets"} == entry.keys() for entry in entries.values())
    except (ValueError, AttributeError, AssertionError):
        raise SafetensorError("its header is not JSON of {name: {dtype, shape, data_offsets}}") from None
    return header


def check(header, size):
    """Raise SafetensorError unless the arrays fill `size` bytes, each as many as its shape and type ask for."""
    place = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        if entry["dtype"] not in SIZES:
            raise SafetensorError(f"{name}: unknown type {entry['dtype']!r}")
        wanted = math.prod(entry["shape"]) * SIZES[entry["dtype"]]
        if start != place or end - start != wanted:
            raise SafetensorError(
                f"{name}: shape {entry['shape']} needs bytes {place} to {place + wanted}, not {start} to {end}"
            )
        place = end
    if place != size:
        raise SafetensorError(f"its arrays take {place} bytes, the file holds {size}")
