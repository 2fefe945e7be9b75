"""Cutting a map into windows and back; the cyclic shift and its mask; relative positions.

Axis names: n batch · h w grid rows, columns · c channels · k windows (kh kw per axis) · m tokens in a window
(mh mw per axis) · i query token · j key token.
"""

import math

import torch
from einops import rearrange
from torch.nn.functional import pad

from .module import check_shape, check_whole


def pair(name, value, least=1):
    """7 → (7, 7); (7, 9) → (7, 9). Raises TypeError unless they are whole numbers, ValueError if one is too small."""
    two = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(two) != 2:
        raise TypeError(f"{name}: expected a whole number or a pair of them, got {value!r}")
    return check_whole(name, two[0], least), check_whole(name, two[1], least)


def window_partition(x, window_size):
    """Cut a map into windows that don't overlap. x (n, h, w, c) → (n, windows, tokens in a window, c).

    window_size: M, or (rows, columns). Raises ValueError unless it divides h and w.
    """
    mh, mw = pair("window_size", window_size)
    check_shape("x", x, "n", "h", "w", "c")
    _check_fit(x.shape[1], x.shape[2], mh, mw)
    return rearrange(x, "n (kh mh) (kw mw) c -> n (kh kw) (mh mw) c", mh=mh, mw=mw)


def window_reverse(windows, window_size, H, W):
    """Undo `window_partition`. windows (n, windows, tokens in a window, c) → (n, H, W, c).

    H, W: rows and columns of the map. Raises ValueError unless the windows fit.
    """
    mh, mw = pair("window_size", window_size)
    H, W = pair("H, W", (H, W))
    _check_fit(H, W, mh, mw)
    check_shape("windows", windows, "n", (H // mh) * (W // mw), mh * mw, "c")
    return rearrange(windows, "n (kh kw) (mh mw) c -> n (kh mh) (kw mw) c", kh=H // mh, mh=mh)


def pad_to_multiple(x, size):
    """Add zeros at the right and the bottom until windows of `size` fit. x (n, h, w, c) → (n, h', w', c).

    size: M, or (rows, columns).
    """
    mh, mw = pair("size", size)
    check_shape("x", x, "n", "h", "w", "c")
    _, H, W, _ = x.shape
    bottom, right = -H % mh, -W % mw
    if bottom == 0 and right == 0:
        return x
    return pad(x, (0, 0, 0, right, 0, bottom))  # PyTorch counts axes from the last


def cyclic_shift(x, shift):
    """Roll the map up and to the left by `shift` tokens; what leaves on one side comes back on the other.

    x (n, h, w, c) → same. shift: s, or (rows, columns). cyclic_shift(x, -s) brings everything back.
    """
    rows, columns = pair("shift", shift, -math.inf)
    check_shape("x", x, "n", "h", "w", "c")
    if rows == 0 and columns == 0:
        return x
    return torch.roll(x, (-rows, -columns), dims=(1, 2))


def shift_mask(H, W, window_size, shift):
    """What SW-MSA adds to its scores: 0 where token i may attend to token j, -100 where the seam separates them.

    After the cyclic shift, the last windows along each axis hold tokens from both sides of the seam: side by side in
    the window, but far apart in the image. Returns (windows, tokens, tokens), float32.

    H, W: rows and columns of the map. Raises ValueError unless windows fit and 0 <= shift < window_size.
    """
    mh, mw = pair("window_size", window_size)
    rows, columns = pair("shift", shift, 0)
    H, W = pair("H, W", (H, W))
    _check_fit(H, W, mh, mw)
    if rows >= mh or columns >= mw:
        raise ValueError(f"shift: expected 0 <= shift < window size {(mh, mw)}, got {(rows, columns)}")
    below = torch.arange(H) >= H - rows  # two bits say on which side of the seam a token lies
    right = torch.arange(W) >= W - columns
    side = 2 * below[:, None] + right[None, :]
    side = rearrange(side, "(kh mh) (kw mw) -> (kh kw) (mh mw)", mh=mh, mw=mw)
    differ = rearrange(side, "k i -> k i 1") != rearrange(side, "k j -> k 1 j")
    return torch.where(differ, -100.0, 0.0)


def relative_position_index(window_size):
    """Which row of the bias table belongs to query i and key j. Returns (M·M, M·M), int64.

    Along each axis, the offset from j to i runs from -(M-1) to M-1. Both offsets are moved to start at 0, and are then
    the two digits of the row's number, in base 2M-1.
    """
    mh, mw = pair("window_size", window_size)
    token = torch.arange(mh * mw)
    row, column = token // mw, token % mw
    rows = row[:, None] - row[None, :] + mh - 1
    columns = column[:, None] - column[None, :] + mw - 1
    return rows * (2 * mw - 1) + columns


def relative_coordinates(window_size, pretrained_window_size=0):
    """Offsets (rows, columns) between two tokens of a window on a log scale. Returns ((2M-1)², 2), float32.

    In the order of the bias table, from (-(M-1), -(M-1)) on. From each of them, V2's small network computes a bias (Liu
    et al. 2022, section 3.3). pretrained_window_size: the window that the network was trained at, 0 for window_size.
    Its largest offset becomes 8 before the logarithm; the offsets of a larger window go only a little further.
    """
    mh, mw = pair("window_size", window_size)
    ph, pw = pair("pretrained_window_size", pretrained_window_size, 0)
    rows, columns = log_spaced(mh, ph), log_spaced(mw, pw)
    return rearrange(list(torch.meshgrid(rows, columns, indexing="ij")), "two h w -> (h w) two")


def log_spaced(window, pretrained):
    """The offsets from -(M-1) to M-1 of one axis: x = 8 · offset / (M' - 1), then sign(x) · log2(1 + |x|) / log2(8).

    Each operation is rounded to float32, whatever the type of the model, as in swin_transformer_v2.py.
    """
    largest = max((pretrained or window) - 1, 1)  # in a window of one token the only offset is 0
    x = torch.arange(1 - window, window, dtype=torch.float32) / largest * 8
    return torch.sign(x) * torch.log2(1 + torch.abs(x)) / 3


def _check_fit(H, W, mh, mw):
    if H % mh or W % mw:
        raise ValueError(f"windows of {mh}x{mw} don't fit a map of {H}x{W}: pad it first (pad_to_multiple)")
