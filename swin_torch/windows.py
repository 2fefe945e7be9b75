"""Cutting a map into windows and back; the cyclic shift and its mask; relative positions.

Axis names: n batch · h w grid rows, columns · c channels · k windows (kh kw per axis) · m tokens in a window
(mh mw per axis) · i query token · j key token.
"""

import math
from numbers import Integral

import torch
from einops import rearrange
from torch.nn.functional import pad

from .module import check_shape


def pair(value):
    """7 → (7, 7); (7, 9) → (7, 9). Raises TypeError for anything else."""
    two = tuple(value) if isinstance(value, tuple | list) else (value, value)
    numbers = (Integral, torch.Tensor) if torch.jit.is_tracing() else Integral  # what is traced has tensors for sizes
    if len(two) != 2 or not all(isinstance(number, numbers) for number in two):
        raise TypeError(f"expected an int or a pair of them, got {value!r}")
    return two


def window_partition(x, window_size):
    """Cut a map into windows that don't overlap. x (n, h, w, c) → (n, windows, tokens in a window, c).

    window_size: M, or (rows, columns). Raises ValueError unless it divides h and w.
    """
    mh, mw = pair(window_size)
    check_shape("x", x, "n", "h", "w", "c")
    check_fit(x.shape[1], x.shape[2], mh, mw)
    return rearrange(x, "n (kh mh) (kw mw) c -> n (kh kw) (mh mw) c", mh=mh, mw=mw)


def window_reverse(windows, window_size, H, W):
    """Undo `window_partition`. windows (n, windows, tokens in a window, c) → (n, H, W, c)."""
    mh, mw = pair(window_size)
    check_fit(H, W, mh, mw)
    check_shape("windows", windows, "n", (H // mh) * (W // mw), mh * mw, "c")
    return rearrange(windows, "n (kh kw) (mh mw) c -> n (kh mh) (kw mw) c", kh=H // mh, mh=mh)


def pad_to_multiple(x, size):
    """Add zeros at the right and the bottom until windows of `size` fit. x (n, h, w, c) → (n, h', w', c)."""
    mh, mw = pair(size)
    check_shape("x", x, "n", "h", "w", "c")
    check_window(mh, mw)
    _, H, W, _ = x.shape
    bottom, right = -H % mh, -W % mw
    if bottom == right == 0:
        return x
    return pad(x, (0, 0, 0, right, 0, bottom))  # PyTorch counts axes from the last


def cyclic_shift(x, shift):
    """Roll the map up and to the left by `shift` tokens; what leaves at one side enters at the other.

    x (n, h, w, c) → same. shift: s, or (rows, columns). cyclic_shift(x, -s) brings everything back.
    """
    rows, columns = pair(shift)
    check_shape("x", x, "n", "h", "w", "c")
    if rows == columns == 0:
        return x
    return torch.roll(x, (-rows, -columns), dims=(1, 2))


def shift_mask(H, W, window_size, shift):
    """What SW-MSA adds to its scores: 0 where token i may look at token j, -100 where the seam parts them.

    After the cyclic shift, the last windows of each axis hold tokens from both sides of the seam: neighbours
    in the window that are no neighbours in the image. Returns (windows, tokens, tokens), float32.
    """
    mh, mw = pair(window_size)
    rows, columns = pair(shift)
    check_shift(H, W, mh, mw, rows, columns)
    below = torch.arange(H) >= H - rows  # two bits say on which side of the seam a token lies
    right = torch.arange(W) >= W - columns
    side = 2 * below[:, None] + right[None, :]
    side = rearrange(side, "(kh mh) (kw mw) -> (kh kw) (mh mw)", mh=mh, mw=mw)
    differ = rearrange(side, "k i -> k i 1") != rearrange(side, "k j -> k 1 j")
    return torch.where(differ, -100.0, 0.0)


def relative_position_index(window_size):
    """Which row of the bias table belongs to query i and key j. Returns (M·M, M·M), int64.

    The offset (rows, columns) from j to i runs from -(M-1) to M-1 on each axis; it is moved to start at 0
    and read as a number with two digits, of which the second has 2M-1 values.
    """
    mh, mw = pair(window_size)
    check_window(mh, mw)
    token = torch.arange(mh * mw)
    row, column = token // mw, token % mw
    rows = row[:, None] - row[None, :] + mh - 1
    columns = column[:, None] - column[None, :] + mw - 1
    return rows * (2 * mw - 1) + columns


def relative_coordinates(window_size, pretrained_window_size=0):
    """Offsets (rows, columns) between two tokens of a window on a log scale. Returns ((2M-1)², 2), float32.

    In the order of the bias table, from (-(M-1), -(M-1)) on. V2 asks a small network for the bias of each (Liu et al.
    2022, section 3.3). The largest offset of the window that the network was trained at, pretrained_window_size (0:
    window_size), is 8 before the logarithm and log2(1 + 8) / log2(8) after it: in a larger window only a little more.
    """
    mh, mw = pair(window_size)
    check_window(mh, mw)
    ph, pw = pair(pretrained_window_size)
    rows, columns = log_spaced(mh, ph), log_spaced(mw, pw)
    offsets = rearrange(list(torch.meshgrid(rows, columns, indexing="ij")), "two h w -> (h w) two")
    return offsets.float()  # as the official code, whatever the type of the model


def log_spaced(window, pretrained):
    """The offsets from -(M-1) to M-1 of one axis: x = 8 · offset / (M' - 1), then sign(x) · log2(1 + |x|) / log2(8)."""
    largest = max((pretrained or window) - 1, 1)  # a window of one token has no offset but 0
    x = 8 * torch.arange(1 - window, window, dtype=torch.float64) / largest
    return torch.sign(x) * torch.log2(1 + torch.abs(x)) / math.log2(8)


def check_window(mh, mw):
    if min(mh, mw) < 1:
        raise ValueError(f"window size: expected at least 1, got {mh}x{mw}")


def check_fit(H, W, mh, mw):
    check_window(mh, mw)
    if H % mh or W % mw:
        raise ValueError(f"windows of {mh}x{mw} don't fit a map of {H}x{W}: pad it first (pad_to_multiple)")


def check_shift(H, W, mh, mw, rows, columns):
    check_fit(H, W, mh, mw)
    if not (0 <= rows < mh and 0 <= columns < mw):
        raise ValueError(f"shift: expected 0 <= shift < window size {(mh, mw)}, got {(rows, columns)}")
