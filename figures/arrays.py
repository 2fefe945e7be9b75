"""Checks of what a drawing function is given: arrays, labels, photographs."""

import numpy as np


def as_array(name, values, shape):
    """`values` as an array of `shape`, in which None stands for any length. Raises ValueError otherwise."""
    array = np.asarray(values)
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = "(" + ", ".join("any" if want is None else str(want) for want in shape) + ")"
        raise ValueError(f"{name}: expected an array of shape {wanted}, got {array.shape}")
    return array


def as_labels(name, labels, count):
    """`labels` as a list of `count` strings; None gives 0 … count - 1. Raises ValueError for another number."""
    labels = list(range(count)) if labels is None else list(labels)
    if len(labels) != count:
        raise ValueError(f"{name}: expected {count} labels, one each, got {len(labels)}")
    return [str(label) for label in labels]


def as_image(image):
    """`image` (H, W, 3), uint8 or floats in 0 … 1, as floats in 0 … 1. Raises ValueError otherwise."""
    image = as_array("image", image, (None, None, 3))
    if image.dtype == np.uint8:
        return image / 255
    if not (np.issubdtype(image.dtype, np.floating) and image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"image: expected uint8, or floats from 0 to 1, got {image.dtype} from {image.min()} to {image.max()}"
        )
    return image


def divides(name, length, part):
    """Raise ValueError unless `part` divides `length` (both in the same unit)."""
    if part < 1 or length % part:
        raise ValueError(f"{name}: expected a multiple of {part}, got {length}; crop or pad it first")


def grid_of(image, patch_size):
    """(h, w) patches of an image; raises ValueError where they don't cover it."""
    divides("image height", image.shape[0], patch_size)
    divides("image width", image.shape[1], patch_size)
    return image.shape[0] // patch_size, image.shape[1] // patch_size


def in_whole_windows(h, w, window_size):
    """Raise ValueError unless windows tile the (h, w) map."""
    divides("map height", h, window_size)
    divides("map width", w, window_size)
