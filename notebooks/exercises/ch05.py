"""Exercises of chapter 05, shifted windows."""

import numpy as np


def check_1(answer):
    """answer(row, column, H, W, s): where the token stands after the cyclic shift."""
    for H, W, s in ((6, 8, 2), (7, 14, 3)):
        rolled = np.roll(np.arange(H * W).reshape(H, W), (-s, -s), axis=(0, 1))
        for token in range(H * W):
            row, column = divmod(token, W)
            got, want = tuple(answer(row, column, H, W, s)), tuple(int(at) for at in np.argwhere(rolled == token)[0])
            if got != want:
                return f"map {H} x {W}, shift {s}, token at ({row}, {column}): expected {want}, got {got}"


def solution_1(row, column, H, W, s):
    return (row - s) % H, (column - s) % W  # up and left; below 0 is counted from the other end


def wrong_1_down(row, column, H, W, s):
    return (row + s) % H, (column + s) % W


def wrong_1_edge(row, column, H, W, s):
    return row - s, column - s


def wrong_1_shift_of_2(row, column, H, W, s):
    return (row - 2) % H, (column - 2) % W


def wrong_1_sides_swapped(row, column, H, W, s):
    return (row - s) % W, (column - s) % H


def right_1_forward(row, column, H, W, s):
    return [(row + H - s) % H, (column + W - s) % W]


def right_1_by_case(row, column, H, W, s):
    return row - s if row >= s else row + H - s, column - s if column >= s else column + W - s


def check_2(answer):
    """answer(n, M, s): widths of the moved windows along one axis."""
    for n, M, s in ((8, 4, 2), (14, 7, 3), (28, 7, 3), (8, 4, 0), (4, 4, 1)):
        got, want = [int(width) for width in answer(n, M, s)], _widths(n, M, s)
        if sum(got) != n:
            return f"n = {n}, M = {M}, s = {s}: the widths should sum to {n}, but {got} sum to {sum(got)}"
        if got != want:
            return f"n = {n}, M = {M}, s = {s}: expected {want}, got {got}"


def _widths(n, M, s):
    place = np.arange(n)
    _, counts = np.unique((place - s) // M, return_counts=True)
    return counts.tolist()


def solution_2(n, M, s):
    if s == 0:
        return [M] * (n // M)
    return [s] + [M] * (n // M - 1) + [M - s]  # the first is cut off by the border, the last is what is left


def wrong_2_symmetric(n, M, s):
    return [s] + [M] * (n // M - 1) + [s]


def wrong_2_zero(n, M, s):
    return [s] + [M] * (n // M - 1) + [M - s]


def wrong_2_not_moved(n, M, s):
    return [M] * (n // M)


def right_2_filtered(n, M, s):
    return [width for width in [s] + [M] * (n // M - 1) + [M - s] if width]


def right_2_borders(n, M, s):
    return np.diff(sorted({0, *range(s, n, M), n}))


def check_3(answer):
    """answer(n, s): which places of the rolled axis hold tokens that wrapped around."""
    for n, s in ((8, 2), (7, 3), (6, 0)):
        got = np.asarray(answer(n, s), dtype=bool).tolist()
        want = (np.roll(np.arange(n), -s) < s).tolist()
        if len(got) != n:
            return f"n = {n}, s = {s}: expected {n} bools, got {len(got)}"
        if got != want:
            place = next(i for i in range(n) if got[i] != want[i])
            token = (place + s) % n
            return f"n = {n}, s = {s}: place {place} holds token {token}, so expected {want[place]}, got {got[place]}"


def solution_3(n, s):
    return [place >= n - s for place in range(n)]


def wrong_3_before_the_roll(n, s):
    return [place < s for place in range(n)]


def wrong_3_off_by_one(n, s):
    return [place > n - s for place in range(n)]


def wrong_3_slice(n, s):
    bits = [False] * n
    bits[-s:] = [True] * len(bits[-s:])  # for s = 0 this is the whole list
    return bits


def right_3_rolled(n, s):
    return np.roll(np.arange(n) < s, -s)


def right_3_by_halves(n, s):
    return [False] * (n - s) + [True] * s


def check_4(answer):
    """answer(H, W, M, s): the mask."""
    for H, W, M, s in ((8, 8, 4, 2), (8, 12, 4, 1), (14, 7, 7, 3)):
        name = f"map {H} x {W}, M = {M}, s = {s}"
        mask, want = np.asarray(answer(H, W, M, s)), _mask(H, W, M, s)
        if mask.shape != want.shape:
            return f"{name}: expected the shape {want.shape}, got {mask.shape}"
        if not np.isin(mask, (0, -100)).all():
            return f"{name}: expected 0 and -100 only, got {np.unique(mask)[:4]}"
        if (mask != want).any():
            k, i, j = np.argwhere(mask != want)[0]
            where = f"{int((mask != want).sum())} wrong pairs; window {k}, query {i}, key {j}"
            return f"{name}: {where}: expected {want[k, i, j]}, got {mask[k, i, j]}"


def _mask(H, W, M, s):
    row, column = np.divmod(np.arange(H * W), W)
    moved = np.stack([(row - s) // M, (column - s) // M, row, column]).reshape(4, H, W)
    rolled = np.roll(moved, (-s, -s), axis=(1, 2))[:2]
    cut = rolled.reshape(2, H // M, M, W // M, M).swapaxes(2, 3).reshape(2, -1, M * M)
    return np.where((cut[:, :, :, None] != cut[:, :, None, :]).any(0), -100, 0)


def solution_4(H, W, M, s):
    below, right = np.arange(H) >= H - s, np.arange(W) >= W - s
    side = 2 * below[:, None] + right[None, :]  # two bits a token
    cut = side.reshape(H // M, M, W // M, M).swapaxes(1, 2).reshape(-1, M * M)  # (windows, tokens)
    return np.where(cut[:, :, None] != cut[:, None, :], -100, 0)


def wrong_4_rows_only(H, W, M, s):
    side = np.repeat((np.arange(H) >= H - s)[:, None], W, axis=1)
    cut = side.reshape(H // M, M, W // M, M).swapaxes(1, 2).reshape(-1, M * M)
    return np.where(cut[:, :, None] != cut[:, None, :], -100, 0)


def wrong_4_one_bit(H, W, M, s):
    side = (np.arange(H) >= H - s)[:, None] | (np.arange(W) >= W - s)[None, :]  # either, not which
    cut = side.reshape(H // M, M, W // M, M).swapaxes(1, 2).reshape(-1, M * M)
    return np.where(cut[:, :, None] != cut[:, None, :], -100, 0)


def wrong_4_not_cut(H, W, M, s):
    below, right = np.arange(H) >= H - s, np.arange(W) >= W - s
    cut = (2 * below[:, None] + right[None, :]).reshape(-1, M * M)  # rows of the map taken for windows
    return np.where(cut[:, :, None] != cut[:, None, :], -100, 0)


def right_4_nine_labels(H, W, M, s):
    labels, number = np.zeros((H, W)), 0
    for rows in (slice(0, -M), slice(-M, -s), slice(-s, None)):
        for columns in (slice(0, -M), slice(-M, -s), slice(-s, None)):
            labels[rows, columns], number = number, number + 1
    cut = labels.reshape(H // M, M, W // M, M).swapaxes(1, 2).reshape(-1, M * M)
    return -100.0 * (cut[:, None, :] != cut[:, :, None])


def right_4_loop(H, W, M, s):
    return _mask(H, W, M, s).astype(np.float32)


def check_5(answer):
    """answer(n, M, s): share of the mask's entries that are blocked."""
    for n, M, s in ((8, 4, 2), (56, 7, 3), (14, 7, 3), (8, 4, 0)):
        got, want = float(answer(n, M, s)), float((_mask(n, n, M, s) != 0).mean())
        if abs(got - want) > 1e-9:
            likely = {
                ": that is the share of windows that are cut, not of pairs": wrong_5_windows,
                ": a pair that is blocked along both axes counts only once": wrong_5_corner_twice,
            }
            hint = [mistake for mistake, wrong in likely.items() if abs(got - wrong(n, M, s)) < 1e-9]
            return f"map {n} x {n}, M = {M}, s = {s}: expected {want:.4f}, got {got:.4f}{''.join(hint)}"


def solution_5(n, M, s):
    windows = n // M
    same = (s**2 + (M - s) ** 2) / M**2  # share of pairs on one side, along the axis of a cut window
    free = (windows - 1 + same) / windows  # averaged over all windows of the axis: only the last is cut
    return 1 - free**2  # a pair is free if it is free on both axes


def wrong_5_windows(n, M, s):
    windows = n // M
    return (2 * windows - 1) / windows**2  # the share of windows, not of pairs


def wrong_5_corner_twice(n, M, s):
    windows = n // M
    blocked = 1 - (s**2 + (M - s) ** 2) / M**2
    return 2 * blocked / windows  # the corner window is counted for both axes


def wrong_5_one_axis(n, M, s):
    return (1 - (s**2 + (M - s) ** 2) / M**2) / (n // M)


def right_5_by_windows(n, M, s):
    k, cut = n // M, 2 * s * (M - s) / M**2  # blocked pairs of a window that is cut once
    return (2 * (k - 1) * cut + 2 * cut - cut**2) / k**2


def right_5_counted(n, M, s):
    side = np.arange(n) >= n - s
    cut = side.reshape(-1, M)
    free = (cut[:, :, None] == cut[:, None, :]).mean(axis=(1, 2))
    return 1 - free.mean() ** 2


def check_6(answer):
    """answer(window): what each axis's digit of the index is multiplied by."""
    for window in ((7,), (7, 7), (3, 4), (8, 7, 7), (2, 5, 3, 4)):
        got, want = [int(number) for number in answer(window)], solution_6(window)
        if len(got) != len(window):
            return f"window {window}: expected a number for each of its {len(window)} axes, got {got}"
        if got != want:
            values = [2 * M - 1 for M in window]
            return f"window {window}, whose digits have {values} values: expected {want}, got {got}"


def solution_6(window):
    numbers = [1]  # the last axis is the fastest
    for M in reversed(window[1:]):
        numbers.insert(0, numbers[0] * (2 * M - 1))  # an axis passes over all values of those behind it
    return numbers


def right_6_products(window):
    values = 2 * np.array(window) - 1
    return [np.prod(values[axis + 1 :]) for axis in range(len(window))]


def right_6_numpy_strides(window):
    table = np.empty([2 * M - 1 for M in window], np.int8)
    return table.strides


def wrong_6_window(window):
    return [int(np.prod(window[axis + 1 :])) for axis in range(len(window))]


def wrong_6_own_axis(window):
    return [*(2 * M - 1 for M in window[:-1]), 1]


def wrong_6_first_fastest(window):
    return solution_6(window[::-1])[::-1]


def wrong_6_only_the_next(window):
    return [*(2 * M - 1 for M in window[1:]), 1]
