"""Fashion-MNIST to train on: read it, standardise it, augment it, cut it into batches.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017, arXiv:1708.07747.
NumPy and the standard library only; `torch.from_numpy` takes every array as is.
"""

import gzip
import math
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# Over all pixels of the 60,000 training images, scaled to 0..1; a test compares them with `pixel_statistics`.
MEAN = 0.2860405969887955
STD = 0.3530242445149226
SIDE = 28  # of an image, in pixels

# Ships with the repository; the path is the same in a checkout and in an editable install.
SUBSET = Path(__file__).resolve().parents[2] / "notebooks" / "data" / "fashion-mnist-subset.npz"

MODEL = "swin_fashion_patch2_window7_28"  # the configuration that is trained on it
TRAINED = SUBSET.with_name(f"{MODEL}.safetensors")  # its weights after the run that the file's metadata describe

_PREFIX = {"train": "train", "test": "t10k"}
_FULL = {"train": 60_000, "test": 10_000}


MAX_BYTES = 2**30  # of one file's array; the training images have 47 million


class DataError(ValueError):
    """Data that is missing, damaged or of another kind than expected."""


class FashionMNIST(NamedTuple):
    """images (N, 28, 28) uint8, 0 is the background; labels (N,) int64, an index into CLASSES; where from."""

    images: np.ndarray
    labels: np.ndarray
    source: str


def fashion_mnist(folder=None, split="train"):
    """One split, "train" or "test", as a FashionMNIST.

    folder  a folder with the published IDX files, gzipped or not;
            or SUBSET, the file in this repository: pass it where everyone should get the same images;
            or None: the first that exists of Debian's package dataset-fashion-mnist, ~/.cache/fashion-mnist,
            Keras's folder, torchvision's under ./data, SUBSET. `source` says which it was.

    Raises DataError for files that are missing, damaged or not Fashion-MNIST.
    """
    if split not in _PREFIX:
        raise DataError(f"split: expected 'train' or 'test', got {split!r}")
    if folder is None:
        folder = next((place for place in _usual_places() if _find(place, split)), SUBSET)
    folder = Path(folder).resolve()
    data = _read_subset(split) if folder == SUBSET else _read_folder(folder, split)
    _check(data, split)
    return data


def hold_out(data, count):
    """A FashionMNIST in two: (all but the last `count` images, the last `count`). DataError unless both have an image.

    The second part is what a recipe or an epoch may be chosen by, so that the test images choose nothing.
    """
    n = len(data.labels)
    if not 1 <= count < n:
        raise DataError(f"expected 1 to {n - 1} images to hold out of {n}, got {count}")
    first = FashionMNIST(data.images[:-count], data.labels[:-count], f"first {n - count:,} of {data.source}")
    return first, FashionMNIST(data.images[-count:], data.labels[-count:], f"last {count:,} of {data.source}")


def read_idx(path, ndim):
    """The uint8 array of `ndim` axes in an IDX file, gzipped or not.

    The format: two zero bytes, 0x08 for uint8, number of axes, each length (4 bytes, big-endian), data.
    Raises DataError for a damaged file, another type or number of axes, and more than MAX_BYTES.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"  # gzip; an IDX file starts with zeros
            file.seek(0)
            return _read_idx(path, gzip.GzipFile(fileobj=file) if zipped else file, ndim)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: can't be read ({error}); get the file again") from error


def _read_idx(path, file, ndim):
    start, magic = 4 + 4 * ndim, bytes([0, 0, 8, ndim])
    head = file.read(start)
    if head[:4] != magic:
        raise DataError(f"{path}: expected IDX of {ndim} axes, magic {magic.hex()}, got {head[:4].hex()}")
    shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(4, start, 4))
    size = math.prod(shape)
    if size > MAX_BYTES:  # before memory is taken: a damaged file can claim any size
        raise DataError(f"{path}: expected at most {MAX_BYTES:,} bytes, got {size:,} for shape {shape}")
    content = file.read(size + 1)  # one more than there should be
    if len(head) + len(content) != start + size:
        came = f"{len(head) + len(content):,}" + " or more" * (len(content) > size)
        raise DataError(f"{path}: expected {start + size:,} bytes for shape {shape}, got {came}; get the file again")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()  # a copy can be written to


def pixel_statistics(images):
    """(mean, std) of all pixels of uint8 images, scaled to 0..1. Summed in integers: no rounding."""
    values = np.arange(256)
    counts, n = np.bincount(images.ravel(), minlength=256), images.size
    total, squares = int(counts @ values), int(counts @ values**2)
    return total / (255 * n), math.sqrt((n * squares - total**2) / (255 * n) ** 2)


def standardise(images):
    """(N, 28, 28) uint8 → (N, 1, 28, 28) float32: one channel; mean 0, variance 1 over the training set."""
    return (images[:, None] / np.float32(255) - MEAN) / STD


def augment(images, rng, max_shift=1):
    """Each image (N, H, W) moved by up to `max_shift` pixels along both axes, and mirrored with probability ½."""
    down, right = rng.integers(-max_shift, max_shift + 1, size=(2, len(images)))
    return shift_and_flip(images, down, right, mirrored=rng.random(len(images)) < 0.5)


def shift_and_flip(images, down, right, mirrored):
    """Images (N, H, W) mirrored left-right where `mirrored`, then moved by `down`, `right` pixels; each (N,).

    Zeros, the background, come in at the edges. No loop over images: each output pixel looks up its origin, and what
    comes from outside the image looks up a border of zeros, one pixel wide.
    """
    n, height, width = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    rows = np.arange(height) - down[:, None]
    columns = np.arange(width) - right[:, None]
    columns = np.where(mirrored[:, None], width - 1 - columns, columns)
    rows, columns = np.clip(rows, -1, height), np.clip(columns, -1, width)
    return padded[np.arange(n)[:, None, None], 1 + rows[:, :, None], 1 + columns[:, None, :]]


def batches(images, labels, batch_size, seed, epoch, *, start=0, augmented=False, max_shift=1, rank=0, ranks=1):
    """One epoch of training: yields (images (B, 1, 28, 28) float32, standardised; labels (B,)), shuffled.

    The order depends on (seed, epoch) alone, augmentation on (seed, epoch, step) alone: `start=step` goes on
    exactly where a stopped run would have. With several processes, `rank` of `ranks` gets its equal share of
    the same batches, B = batch_size / ranks. Images left over after the last whole batch sit this epoch out.

    Raises DataError, at the call, if no whole batch fits, `ranks` don't divide it, there isn't one label per image, or
    max_shift is negative.
    """
    n = len(images)
    if len(labels) != n:
        raise DataError(f"expected one label for each image, got {n} images and {len(labels)} labels")
    if not 1 <= batch_size <= n:
        raise DataError(f"batch_size: expected 1 to {n}, the number of images, got {batch_size}")
    if not 0 <= start <= n // batch_size:
        raise DataError(f"start: expected 0 to {n // batch_size}, the steps of an epoch, got {start}")
    if not 0 <= rank < ranks or batch_size % ranks:
        raise DataError(f"expected 0 <= rank < ranks, ranks dividing {batch_size=}, got {rank=}, {ranks=}")
    if max_shift < 0:
        raise DataError(f"max_shift: expected at least 0, got {max_shift}")
    share = batch_size // ranks
    mine = slice(rank * share, (rank + 1) * share)
    augmentation = partial(augment, max_shift=max_shift) if augmented else lambda batch, rng: batch
    return _batches(images, labels, batch_size, (seed, epoch), start, augmentation, mine)


def _batches(images, labels, batch_size, key, start, augmentation, mine):
    """The generator behind `batches`: apart from it, so that its checks run at the call."""
    order = np.random.default_rng((*key, 0)).permutation(len(images))
    for step in range(start, len(images) // batch_size):
        chosen = order[step * batch_size : (step + 1) * batch_size]
        # the whole batch: an image's draws must not depend on the number of ranks
        batch = augmentation(images[chosen], np.random.default_rng((*key, 1 + step)))
        yield standardise(batch[mine]), labels[chosen[mine]]


def _usual_places():
    home = Path.home()
    return (
        Path("/usr/share/datasets/fashion-mnist"),
        home / ".cache" / "fashion-mnist",
        home / ".keras" / "datasets" / "fashion-mnist",
        Path("data") / "FashionMNIST" / "raw",
    )


def _find(folder, split):
    """Paths of the images' and the labels' file, or None if one is not there."""
    found = []
    for name in (f"{_PREFIX[split]}-images-idx3-ubyte", f"{_PREFIX[split]}-labels-idx1-ubyte"):
        found += [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()][:1]
    return found if len(found) == 2 else None


def _read_folder(folder, split):
    found = _find(folder, split)
    if not found:
        prefix = _PREFIX[split]
        names = f"{prefix}-images-idx3-ubyte and {prefix}-labels-idx1-ubyte, with or without .gz"
        raise DataError(f"{folder}: expected the files {names}; leave folder out to use what there is")
    images, labels = read_idx(found[0], ndim=3), read_idx(found[1], ndim=1)
    full = "full " if len(images) == _FULL[split] else ""
    source = f"{full}{len(images):,} {split} images from {folder}"
    return FashionMNIST(images, labels.astype(np.int64), source)


def _read_subset(split):
    if not SUBSET.is_file():
        raise DataError(f"{SUBSET}: not there: it comes with a clone of the repository; pass a folder of IDX files")
    try:
        with np.load(SUBSET, allow_pickle=False) as file:
            images, labels = file[f"{split}_images"], file[f"{split}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{SUBSET}: damaged ({error}); get it again with git checkout") from error
    source = f"bundled subset, {len(images):,} of {_FULL[split]:,} {split} images"
    return FashionMNIST(images, labels.astype(np.int64), source)


def _check(data, split):
    """Raise where the arrays can't be Fashion-MNIST."""
    images, labels, source = data
    if images.shape != (len(labels), 28, 28):
        raise DataError(f"{source}: expected images of shape {(len(labels), 28, 28)}, got {images.shape}")
    if labels.max(initial=0) >= len(CLASSES):
        raise DataError(f"{source}: expected labels 0 to {len(CLASSES) - 1}, got {labels.max()}")
    if len(labels) == _FULL[split] and len(set(np.bincount(labels, minlength=len(CLASSES)))) > 1:
        # The digits of MNIST have the same file names and shapes, but not the same number of each.
        raise DataError(f"{source}: expected as many images of each class; are these MNIST's digits?")
