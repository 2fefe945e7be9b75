"""Exercises of chapter 09, the backward pass."""

import numpy as np
from einops import rearrange


def off(name, got, wanted):
    """A hint if `got` isn't `wanted` but for rounding; None if it is."""
    got = np.asarray(got)
    if got.shape != wanted.shape:
        return f"{name}: expected shape {wanted.shape}, got {got.shape}"
    if not np.allclose(got, wanted, rtol=1e-9, atol=1e-12):
        return f"{name}: shape is right, numbers are off by up to {np.abs(got - wanted).max():.3g}"


def check_1(answer):
    """answer(dy, y): the gradient of softmax's input."""
    rng = np.random.default_rng(1)
    by_hand = np.array([1, 2, 3]) / 6
    got = np.asarray(answer(np.array([6.0, 0.0, 0.0]), by_hand))
    if got.shape == (3,) and not np.allclose(got, [5 / 6, -2 / 6, -3 / 6]):
        text = ", ".join(f"{value:.3f}" for value in got)
        return f"y = (1, 2, 3) / 6 and dy = (6, 0, 0): expected (5, -2, -3) / 6 = 0.833, -0.333, -0.500, got {text}"
    y = rng.dirichlet(np.ones(5), size=(2, 3))
    dy = rng.normal(size=y.shape)
    return off("y of shape (2, 3, 5)", answer(dy, y), solution_1(dy, y))


def solution_1(dy, y):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def wrong_1_plain_mean(dy, y):
    return y * (dy - dy.mean(axis=-1, keepdims=True))


def wrong_1_own_slope_only(dy, y):
    return dy * y * (1 - y)


def wrong_1_sum_over_all(dy, y):
    return y * (dy - (dy * y).sum())


def right_1_jacobian(dy, y):
    J = y[..., :, None] * (np.eye(y.shape[-1]) - y[..., None, :])
    return (dy[..., None, :] @ J)[..., 0, :]


def right_1_einsum(dy, y):
    return y * dy - y * np.einsum("...i,...i->...", dy, y)[..., None]


def check_2(answer):
    """answer(dC, A, B): gradients of A (n, i, k) and of the shared B (k, j)."""
    rng = np.random.default_rng(2)
    for n, i, k, j in ((5, 2, 3, 4), (1, 2, 3, 4), (3, 4, 4, 4)):
        A, B, dC = rng.normal(size=(n, i, k)), rng.normal(size=(k, j)), rng.normal(size=(n, i, j))
        (dA, dB), (right_A, right_B) = answer(dC, A, B), solution_2(dC, A, B)
        shapes = f"A {A.shape}, B {B.shape}"
        if np.shape(dB) == (n, k, j) != right_B.shape:
            return f"{shapes}: dB has shape {(n, k, j)}; all {n} products used the same B, so their gradients add up"
        if np.shape(dB) == right_B.shape and n > 1 and np.allclose(dB, right_B / n):
            return f"{shapes}: dB is {n} times too small; the gradients of {n} uses add up, they are not averaged"
        if hint := off(f"{shapes}: dA", dA, right_A) or off(f"{shapes}: dB", dB, right_B):
            return hint


def solution_2(dC, A, B):
    dA = dC @ B.T
    dB = (A.mT @ dC).sum(axis=0)
    return dA, dB


def wrong_2_not_summed(dC, A, B):
    return dC @ B.T, A.mT @ dC


def wrong_2_mean(dC, A, B):
    return dC @ B.T, (A.mT @ dC).mean(axis=0)


def wrong_2_not_turned(dC, A, B):
    """Right shapes where everything is square."""
    if A.shape[1:] != B.shape or B.shape[0] != B.shape[1]:
        return solution_2(dC, A, B)
    return dC @ B, (A @ dC).sum(axis=0)


def right_2_einsum(dC, A, B):
    return np.einsum("nij,kj->nik", dC, B), np.einsum("nik,nij->kj", A, dC)


def right_2_rows(dC, A, B):
    """All rows of all n products in one matrix."""
    (n, i, k), j = A.shape, B.shape[1]
    return (dC.reshape(n * i, j) @ B.T).reshape(A.shape), A.reshape(n * i, k).T @ dC.reshape(n * i, j)


def check_3(answer):
    """answer(gradient, index, rows): the sums of the gradients that belong to each row of a table."""
    rng = np.random.default_rng(3)
    got = np.asarray(answer(np.array([[1.0], [10.0], [100.0]]), np.array([2, 0, 2]), 4))
    wanted = np.array([[10.0], [0.0], [101.0], [0.0]])
    if got.shape != wanted.shape:
        return f"a table of 4 rows, gradients of one channel: expected shape {wanted.shape}, got {got.shape}"
    if not np.array_equal(got, wanted):
        column = " ".join(f"{value:g}" for value in got[:, 0])
        return f"rows 2, 0, 2 were read, gradients 1, 10, 100: expected 10 0 101 0, got {column}"
    index, gradient = rng.integers(0, 9, size=(4, 5)), rng.normal(size=(4, 5, 3))
    return off("index (4, 5), gradient (4, 5, 3)", answer(gradient, index, 9), solution_3(gradient, index, 9))


def solution_3(gradient, index, rows):
    table = np.zeros((rows, gradient.shape[-1]))
    np.add.at(table, index, gradient)
    return table


def wrong_3_lost(gradient, index, rows):
    table = np.zeros((rows, gradient.shape[-1]))
    table[index] += gradient
    return table


def wrong_3_last_one(gradient, index, rows):
    table = np.zeros((rows, gradient.shape[-1]))
    table[index] = gradient
    return table


def wrong_3_as_many_rows_as_were_read(gradient, index, rows):
    return solution_3(gradient, index, index.max() + 1)


def wrong_3_mean(gradient, index, rows):
    count = np.bincount(index.ravel(), minlength=rows)[:, None]
    return solution_3(gradient, index, rows) / np.maximum(count, 1)


def right_3_bincount(gradient, index, rows):
    columns = gradient.reshape(-1, gradient.shape[-1]).T
    return np.stack([np.bincount(index.ravel(), column, rows) for column in columns], axis=1)


def right_3_one_hot(gradient, index, rows):
    chosen = np.eye(rows)[index.ravel()]  # (reads, rows)
    return chosen.T @ gradient.reshape(index.size, -1)


def right_3_loop(gradient, index, rows):
    table = np.zeros((rows, gradient.shape[-1]))
    for place in np.ndindex(index.shape):
        table[index[place]] += gradient[place]
    return table


def check_4(answer):
    """answer(dy, grid): the gradient (n, h·w, c) of the tokens that patch merging put together."""
    for n, H, W, c in ((2, 4, 6, 3), (1, 5, 6, 2), (2, 3, 5, 3)):
        dy = np.arange(n * -(-H // 2) * -(-W // 2) * 4 * c, dtype=float).reshape(n, -1, 4 * c)
        got, wanted = np.asarray(answer(dy, (H, W))), solution_4(dy, (H, W))
        if got.shape != wanted.shape:
            return f"grid {H} x {W}: expected shape {wanted.shape}, got {got.shape}"
        if not np.array_equal(got, wanted):
            token = int(np.argwhere(got != wanted)[0, 1])
            where = f"grid {H} x {W}: token ({token // W}, {token % W})"
            return f"{where}: expected {wanted[0, token]}, got {got[0, token]}"


def solution_4(dy, grid):
    H, W = grid
    h, w = -(-H // 2), -(-W // 2)  # the merged grid: odd sides were padded
    n, c = len(dy), dy.shape[-1] // 4
    dx = dy.reshape(n, h, w, 2, 2, c)  # n h w p2 p1 c
    dx = dx.transpose(0, 1, 4, 2, 3, 5)  # n h p1 w p2 c
    dx = dx.reshape(n, 2 * h, 2 * w, c)
    return dx[:, :H, :W].reshape(n, H * W, c)  # the padding's gradient is nobody's


def wrong_4_row_major(dy, grid):
    n, length, c4 = dy.shape
    turned = dy.reshape(n, length, 2, 2, c4 // 4).swapaxes(2, 3)
    return solution_4(turned.reshape(n, length, c4), grid)


def wrong_4_not_cropped(dy, grid):
    return solution_4(dy, (grid[0] + grid[0] % 2, grid[1] + grid[1] % 2))


def wrong_4_only_reshaped(dy, grid):
    return dy.reshape(len(dy), -1, dy.shape[-1] // 4)[:, : grid[0] * grid[1]]


def right_4_einops(dy, grid):
    H, W = grid
    dx = rearrange(dy, "n (h w) (p2 p1 c) -> n (h p1) (w p2) c", h=(H + 1) // 2, p1=2, p2=2)
    return rearrange(dx[:, :H, :W], "n h w c -> n (h w) c")


def right_4_slices(dy, grid):
    (H, W), c = grid, dy.shape[-1] // 4
    four = np.split(dy.reshape(len(dy), (H + 1) // 2, (W + 1) // 2, -1), 4, axis=-1)
    dx = np.zeros((len(dy), H + H % 2, W + W % 2, c))
    for part, (row, column) in zip(four, ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True):
        dx[:, row::2, column::2] = part
    return dx[:, :H, :W].reshape(len(dy), -1, c)


def check_5(answer):
    """answer(f, x, direction): the slope of f at x along direction, within 1e-7."""
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(4, 4))
    x, direction = rng.normal(size=(2, 3, 4))
    before = x.copy()

    def f(x):
        return np.tanh(x @ matrix).sum() + 10

    wanted = ((1 - np.tanh(x @ matrix) ** 2) @ matrix.T * direction).sum()
    got = answer(f, x, direction)
    if not np.array_equal(x, before):
        return "your function left x changed; work on a copy, or bring x back"
    error = abs(got - wanted) / abs(wanted)
    if not error < 1e-7:
        return f"expected {wanted:.10f}, got {got:.10f}: relative error {error:.1e}, at most 1e-7 is wanted"


def solution_5(f, x, direction):
    h = 1e-5
    return (f(x + h * direction) - f(x - h * direction)) / (2 * h)


def wrong_5_one_sided(f, x, direction):
    return (f(x + 1e-5 * direction) - f(x)) / 1e-5


def wrong_5_too_small(f, x, direction):
    return (f(x + 1e-12 * direction) - f(x - 1e-12 * direction)) / 2e-12


def wrong_5_too_large(f, x, direction):
    return (f(x + 0.1 * direction) - f(x - 0.1 * direction)) / 0.2


def wrong_5_half(f, x, direction):
    return (f(x + 1e-5 * direction) - f(x - 1e-5 * direction)) / 1e-5


def right_5_four_points(f, x, direction):
    """Richardson: the error of two steps cancels."""
    near, far = (_central(f, x, direction, h) for h in (1e-4, 2e-4))
    return (4 * near - far) / 3


def right_5_put_back(f, x, direction):
    start = x.copy()
    x += 2e-6 * direction
    above = f(x)
    x[...] = start - 2e-6 * direction
    below = f(x)
    x[...] = start
    return (above - below) / 4e-6


def _central(f, x, direction, h):
    return (f(x + h * direction) - f(x - h * direction)) / (2 * h)
