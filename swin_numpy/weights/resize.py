"""Using weights for another window, image or number of channels than they were trained for.

Fine-tuning at another window (Liu et al. 2021, section 3.2: "bi-cubic interpolation") resizes V1's tables; V2's
continuous position bias makes it unnecessary there. Absolute position embeddings are resized likewise for another grid.
"""

import math

import numpy as np

from .check import window_of_table


def resize_position_bias(table, new_window):
    """Relative position biases for another window, by bicubic interpolation over the offsets.

    table       ((2M-1)², heads)
    new_window  M' → ((2M'-1)², heads) in the type of `table`; the same values if M' = M
    raises      ValueError unless `table` has such a shape and new_window is a positive int

    The entry for offset 0 stays in the middle and the others are stretched around it, as in Microsoft's load_pretrained
    (utils.py).
    """
    if table.ndim != 2 or not window_of_table(table.shape[0]):
        raise ValueError(f"expected a table of shape ((2M-1)², heads), got {table.shape}")
    _check_positive("new_window", new_window)
    old, new, heads = 2 * window_of_table(table.shape[0]) - 1, 2 * new_window - 1, table.shape[1]
    return resize_map(table.reshape(old, old, heads), (new, new)).reshape(new * new, heads)


def resize_absolute_position_embedding(embedding, new_grid, old_grid=None):
    """Absolute position embeddings for another grid of patches, by bicubic interpolation.

    embedding   (1, h·w, C)
    new_grid    (h', w'), or one int for both → (1, h'·w', C) in the type of `embedding`
    old_grid    (h, w); left out, the old grid was square
    raises      ValueError for an embedding of another shape, or one that doesn't fill old_grid
    """
    if embedding.ndim != 3 or embedding.shape[0] != 1:
        raise ValueError(f"expected an embedding of shape (1, patches, channels), got {embedding.shape}")
    _, patches, channels = embedding.shape
    h, w = _grid("old_grid", old_grid or math.isqrt(patches))
    new_h, new_w = _grid("new_grid", new_grid)
    if h * w != patches:
        raise ValueError(f"{patches} patches don't fill a grid of {h}x{w}: pass old_grid=(rows, columns)")
    return resize_map(embedding.reshape(h, w, channels), (new_h, new_w)).reshape(1, new_h * new_w, channels)


def adapt_channels(weight, in_chans):
    """The patch convolution for images of another number of channels.

    weight    (C, channels, p, p) → (C, in_chans, p, p) in the type of `weight`
    raises    ValueError for another shape or a number of channels below 1

    An image whose channels are all equal gives the same tokens before and after. With fewer channels, the old weights
    are summed in turn (for one channel: all of them). With more, they repeat in turn (r g b r …), and the copies of a
    channel share its weight.
    """
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(f"expected the weight of a patch convolution (C, channels, p, p), got {weight.shape}")
    _check_positive("in_chans", in_chans)
    channels = weight.shape[1]
    if in_chans <= channels:
        return np.stack([weight[:, first::in_chans].sum(axis=1) for first in range(in_chans)], axis=1)
    source = np.arange(in_chans) % channels
    copies = np.bincount(source)[source].astype(weight.dtype)
    return weight[:, source] / copies[:, None, None]


def resize_map(x, size):
    """Bicubic interpolation. x (h, w, c), size (h', w') → (h', w', c) in the type of x.

    As torch.nn.functional.interpolate(mode="bicubic", align_corners=False): pixels are squares, and the image reaches
    from the left edge of the first to the right edge of the last. Outside, the pixel at the border is repeated.
    """
    rows, columns = (_cubic_matrix(old, new) for old, new in zip(x.shape[:2], size, strict=True))
    return np.einsum("ph,qw,hwc->pqc", rows, columns, x.astype(np.float64), optimize=True).astype(x.dtype)


def _cubic_matrix(old, new):
    """(new, old): each row holds the weights of the four old values nearest to a new one."""
    position = (np.arange(new) + 0.5) * old / new - 0.5
    nearest = np.floor(position).astype(int)
    matrix = np.zeros((new, old))
    for step in (-1, 0, 1, 2):
        index = np.clip(nearest + step, 0, old - 1)
        np.add.at(matrix, (np.arange(new), index), _cubic(position - nearest - step))  # several may be clipped to one
    return matrix


def _cubic(x, a=-0.75):
    """Keys' cubic kernel (1981); a = -0.75 as in PyTorch."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _grid(name, value):
    rows, columns = value if isinstance(value, tuple | list) else (value, value)
    _check_positive(name, rows)
    _check_positive(name, columns)
    return rows, columns


def _check_positive(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a positive int, got {value!r}")
