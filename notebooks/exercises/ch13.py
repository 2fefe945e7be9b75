"""Exercises of chapter 13, speed."""

import numpy as np


def check_1(answer):
    """answer(share, gain): how many times as fast the whole is if a part, of this share, is `gain` times as fast."""
    for share, gain in ((0.5, 2.0), (0.1, 10.0), (0.04, 1e9), (1.0, 3.0), (0.3, 0.5)):
        got, wanted = float(answer(share, gain)), solution_1(share, gain)
        if not np.isclose(got, wanted):
            return f"a part of {share:.0%}, {gain:g} times as fast: expected {wanted:.4g} for the whole, got {got:.4g}"


def solution_1(share, gain):
    return 1 / ((1 - share) + share / gain)


def wrong_1_of_the_part(share, gain):
    return gain


def wrong_1_share_times_gain(share, gain):
    return 1 + share * (gain - 1)


def wrong_1_time_left(share, gain):
    return 1 - share + share / gain


def right_1_times(share, gain):
    before = 100.0
    rest, part = before * (1 - share), before * share
    return before / (rest + part / gain)


def right_1_one_fraction(share, gain):
    return gain / (gain * (1 - share) + share)


def check_2(answer):
    """answer(side, window): (numbers in all scores with windows, globally), for one head."""
    for side, window in ((7, 7), (8, 7), (14, 7), (15, 7), (56, 7), (5, 7), (64, 8)):
        got, wanted = tuple(int(n) for n in answer(side, window)), solution_2(side, window)
        if got != wanted:
            return f"a map of {side} x {side} in windows of {window}: expected {wanted}, got {got}"


def solution_2(side, window):
    windows = (-(-side // window)) ** 2  # rounded up: the map is padded
    return windows * window**4, side**4


def wrong_2_not_padded(side, window):
    return (side // window) ** 2 * window**4, side**4


def wrong_2_fraction(side, window):
    return side**2 * window**2, side**4


def wrong_2_tokens(side, window):
    return (-(-side // window)) ** 2 * window**2, side**2


def right_2_ceil(side, window):
    padded = int(np.ceil(side / window)) * window
    return padded**2 * window**2, (side * side) ** 2


def right_2_counted(side, window):
    padded = side
    while padded % window:
        padded += 1
    tokens = window * window
    return padded * padded // tokens * (tokens * tokens), side**4


def check_3(answer):
    """answer(side, window, shift): the list of token numbers that brings a map into shifted windows in one gather."""
    rng = np.random.default_rng(3)
    for side, window, shift in ((4, 2, 1), (8, 4, 2), (14, 7, 3), (6, 3, 0)):
        got = np.asarray(answer(side, window, shift)).ravel()
        if got.shape != (side * side,):
            return f"a map of {side} x {side}: expected {side * side} numbers, got {got.size}"
        if sorted(got.tolist()) != list(range(side * side)):
            return (
                f"a map of {side} x {side}: each token must be there once; sorted, it should be 0 to {side * side - 1}"
            )
        tokens = rng.normal(size=(side * side, 2))
        wanted = solution_3(side, window, shift)
        if not np.array_equal(tokens[got], tokens[wanted]):
            where = int(np.flatnonzero(got != wanted)[0])
            case = f"side {side}, window {window}, shift {shift}"
            return f"{case}: place {where} should hold token {wanted[where]}, got {got[where]}"


def solution_3(side, window, shift):
    numbers = np.roll(np.arange(side * side).reshape(side, side), (-shift, -shift), axis=(0, 1))
    k = side // window
    return numbers.reshape(k, window, k, window).swapaxes(1, 2).ravel()


def wrong_3_rolled_back(side, window, shift):
    return solution_3(side, window, -shift)


def wrong_3_not_cut(side, window, shift):
    return np.roll(np.arange(side * side).reshape(side, side), (-shift, -shift), axis=(0, 1)).ravel()


def wrong_3_the_way_back(side, window, shift):
    return np.argsort(solution_3(side, window, shift))


def wrong_3_cut_first(side, window, shift):
    return np.roll(solution_3(side, window, 0), -shift)


def right_3_loop(side, window, shift):
    found = []
    for row in range(0, side, window):
        for column in range(0, side, window):
            for i, j in np.ndindex(window, window):
                found.append((row + i + shift) % side * side + (column + j + shift) % side)
    return found


def right_3_indices(side, window, shift):
    k = side // window
    rows, columns = (
        (part.reshape(k, window, k, window).transpose(0, 2, 1, 3) + shift) % side for part in np.indices((side, side))
    )
    return (rows * side + columns).ravel()


def check_4(answer):
    """answer(scores): softmax of float16 rows, computed without overflow; a row that is -inf throughout gives zeros."""
    rng = np.random.default_rng(4)
    ordinary = (4 * rng.normal(size=(3, 5))).astype(np.float16)
    high = ordinary + np.float16(2000)
    masked = ordinary.copy()
    masked[:, 3:] = -np.inf
    nothing = masked.copy()
    nothing[1] = -np.inf
    cases = {"ordinary rows": ordinary, "rows near 2000": high, "two keys at -inf": masked, "a row all -inf": nothing}
    for name, scores in cases.items():
        with np.errstate(all="ignore"):
            got, wanted = np.asarray(answer(scores.copy())), solution_4(scores)
        if got.shape != scores.shape or got.dtype != np.float16:
            return f"{name}: expected {scores.shape} of float16, got {got.shape} of {got.dtype}"
        if not np.isfinite(got).all():
            return f"{name}: {np.isnan(got).sum()} NaN in the result"
        if not np.allclose(got.astype(float), wanted.astype(float), atol=2e-3):
            row = int(np.abs(got.astype(float) - wanted.astype(float)).max(-1).argmax())
            return f"{name}: row {row} should be {shown(wanted[row])}, got {shown(got[row])}"


def shown(row):
    return row.astype(float).round(3).tolist()


def solution_4(scores):
    x = scores.astype(np.float32)
    largest = x.max(axis=-1, keepdims=True)
    exp = np.exp(x - np.where(np.isfinite(largest), largest, 0))
    total = exp.sum(axis=-1, keepdims=True)
    return (exp / np.where(total > 0, total, 1)).astype(np.float16)


def wrong_4_naive(scores):
    exp = np.exp(scores)
    return exp / exp.sum(axis=-1, keepdims=True)


def wrong_4_empty_row(scores):
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def wrong_4_clipped(scores):
    x = np.maximum(scores.astype(np.float32), -100)
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return (exp / exp.sum(axis=-1, keepdims=True)).astype(np.float16)


def wrong_4_stays_float32(scores):
    return solution_4(scores).astype(np.float32)


def right_4_double(scores):
    x = scores.astype(np.float64)
    x = np.where(np.isneginf(x), -np.inf, x - x.max(axis=-1, keepdims=True))
    exp = np.exp(x)
    return np.divide(exp, exp.sum(-1, keepdims=True), out=np.zeros_like(x), where=exp.any(-1, keepdims=True)).astype(
        np.float16
    )


def right_4_row_by_row(scores):
    out = np.zeros(scores.shape, np.float16)
    for row, result in zip(scores.astype(np.float32), out, strict=True):
        if np.isfinite(row).any():
            exp = np.exp(row - row.max())
            result[:] = exp / exp.sum()
    return out


def check_5(answer):
    """answer(steps): the name of the first step whose array holds NaN or infinity, or "none"."""
    fine, nan, infinite = np.ones(3), np.array([1.0, np.nan, 2.0]), np.array([np.inf, 1.0, 2.0])
    low = np.array([0.0, -np.inf, 1.0])
    cases = {
        "all finite": [("a", fine), ("b", -fine)],
        "a NaN in b": [("a", fine), ("b", nan), ("c", nan)],
        "an infinity in a, a NaN in b": [("a", infinite), ("b", nan)],
        "-inf in b, then NaN": [("a", fine), ("b", low), ("c", nan)],
        "inf and -inf in a": [("a", np.array([np.inf, -np.inf, 0.0])), ("b", fine)],
    }
    for name, steps in cases.items():
        got, wanted = answer(steps), solution_5(steps)
        if got != wanted:
            return f"{name}: expected {wanted!r}, got {got!r}"


def solution_5(steps):
    return next((name for name, x in steps if not np.isfinite(x).all()), "none")


def wrong_5_only_nan(steps):
    return next((name for name, x in steps if np.isnan(x).any()), "none")


def wrong_5_last(steps):
    return next((name for name, x in reversed(steps) if not np.isfinite(x).all()), "none")


def wrong_5_max(steps):
    return next((name for name, x in steps if not x.max() < np.inf), "none")


def right_5_loop(steps):
    for name, x in steps:
        if np.isnan(x).any() or np.isinf(x).any():
            return name
    return "none"


def right_5_sum(steps):
    """Anything times 0 is 0, but for what isn't finite."""
    with np.errstate(invalid="ignore"):
        bad = [name for name, x in steps if np.isnan((0 * x).sum())]
    return bad[0] if bad else "none"
