"""Make fashion-mnist-subset.npz from the full data set: python -m notebooks.data.make_subset [folder]"""

import sys

import numpy as np

from swin_numpy.training.fashion_mnist import CLASSES, SUBSET, DataError, fashion_mnist

SEED = 0
PER_CLASS = {"train": 1000, "test": 200}


def choose(labels, per_class, rng):
    """Rows of `per_class` images of each class, drawn without replacement, in the order of the full set."""
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:per_class] for label in range(len(CLASSES))]
    return np.sort(np.concatenate(drawn))


def subset(folder=None):
    """{split}_images, {split}_labels and {split}_rows, their row numbers in the full set, for both splits."""
    rng, arrays = np.random.default_rng(SEED), {}
    for split, per_class in PER_CLASS.items():
        full = fashion_mnist(folder, split)
        if not full.source.startswith("full"):
            raise DataError(f"expected the full data set to choose from, got {full.source}; give its folder")
        rows = choose(full.labels, per_class, rng)
        arrays[f"{split}_images"] = full.images[rows]
        arrays[f"{split}_labels"] = full.labels[rows].astype(np.uint8)
        arrays[f"{split}_rows"] = rows.astype(np.int32)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(SUBSET, **subset(*sys.argv[1:]))
    print(f"{SUBSET}: {SUBSET.stat().st_size:,} bytes")
