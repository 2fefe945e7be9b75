"""Names and shapes of public Swin models, and states of random numbers under them."""

import json
import zlib
from pathlib import Path

import numpy as np

TREES = json.loads((Path(__file__).parent / "data" / "peer_names.json").read_text())
NAMINGS = ("microsoft", "timm", "torchvision", "transformers")
DERIVED = ("attn_mask", "relative_position_index", "relative_coords_table")


def peer_shapes(version, naming):
    """{name: shape} of `naming`'s model in its own names, derived buffers and all."""
    return dict(_flat(TREES[f"v{version} {naming}"], ""))


def official_shapes(version):
    """Microsoft's names less the derived buffers."""
    shapes = peer_shapes(version, "microsoft")
    return {name: shape for name, shape in shapes.items() if not name.endswith(DERIVED)}


def random_state(shapes, dtype=np.float64):
    """{name: random numbers}, different for each name."""
    return {
        name: np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(dtype)
        for name, shape in shapes.items()
    }


def _flat(tree, prefix):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, tuple(int(side) for side in value.split())
