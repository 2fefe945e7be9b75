"""Exercises of chapter 07, patch merging."""

import numpy as np
from einops import rearrange


def addresses(n, h, w, c):
    """Tokens (n, h·w, c) whose numbers spell their address: 2134 is image 2, row 1, column 3, channel 4."""
    image, row, column, channel = np.indices((n, h, w, c))
    return (1000 * image + 100 * row + 10 * column + channel).reshape(n, h * w, c)


def expect(got, wanted):
    """A hint about shape or the first token that is wrong; None if all are right."""
    got = np.asarray(got)
    if got.shape != wanted.shape:
        return f"expected shape {wanted.shape}, got {got.shape}"
    if not np.array_equal(got, wanted):
        n, token = (int(i) for i in np.argwhere((got != wanted).any(-1))[0])
        came = f"{got[n, token].tolist()}; digits are image, row, column, channel"
        return f"image {n}, token {token}: expected {wanted[n, token].tolist()}, got {came}"


def check_1(answer):
    """answer(x, grid): gather."""
    x = addresses(2, 4, 6, 2)
    return expect(answer(x, (4, 6)), solution_1(x, (4, 6)))


def solution_1(x, grid):
    n, _, c = x.shape
    x = x.reshape(n, *grid, c)
    four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    return np.concatenate(four, axis=-1).reshape(n, -1, 4 * c)


def wrong_1_row_by_row(x, grid):
    return rearrange(x, "n (h p1 w p2) c -> n (h w) (p1 p2 c)", h=grid[0] // 2, p1=2, p2=2)


def wrong_1_reshape(x, grid):
    return x.reshape(len(x), -1, 4 * x.shape[-1])


def wrong_1_swapped_grid(x, grid):
    return solution_1(x, grid[::-1])


def wrong_1_as_map(x, grid):
    return solution_1(x, grid).reshape(len(x), grid[0] // 2, grid[1] // 2, -1)


def check_2(answer):
    """answer(q, C): row offset, column offset, channel."""
    for C in (2, 5):
        row, column, channel = (rearrange(part, "p1 p2 c -> (p2 p1 c)").tolist() for part in np.indices((2, 2, C)))
        for q in range(4 * C):
            wanted, got = (row[q], column[q], channel[q]), tuple(int(i) for i in answer(q, C))
            if got != wanted:
                return f"number {q} with C = {C}: expected {wanted}, got {got}"


def solution_2(q, C):
    neighbour, channel = divmod(q, C)  # neighbours 0, 1, 2, 3 are (0,0) (1,0) (0,1) (1,1)
    return neighbour % 2, neighbour // 2, channel


def wrong_2_row_by_row(q, C):
    return q // C // 2, q // C % 2, q % C


def wrong_2_channel_first(q, C):
    return q // 2 % 2, q % 2, q // 4


def check_3(answer):
    """answer(C): permutation from Unfold's order to the official one."""
    for C in (2, 3):
        x = addresses(1, 2, 2, C)[0].reshape(2, 2, C)
        unfolded, official = (rearrange(x, f"p1 p2 c -> {order}") for order in ("(c p1 p2)", "(p2 p1 c)"))
        k = np.asarray(answer(C))
        if k.shape != (4 * C,):
            return f"C = {C}: expected shape {(4 * C,)}, got {k.shape}"
        if sorted(k.tolist()) != list(range(4 * C)):
            return f"C = {C}: not a permutation of 0 … {4 * C - 1}: {k.tolist()}"
        if not np.array_equal(unfolded[k], official):
            backwards = " (that is the way back: from the official order to Unfold's)"
            note = backwards if np.array_equal(official[k], unfolded) else ""
            return f"C = {C}: unfolded[k] is {unfolded[k].tolist()}, expected {official.tolist()}{note}"


def solution_3(C):
    return rearrange(np.arange(4 * C), "(c p1 p2) -> (p2 p1 c)", c=C, p1=2, p2=2)


def wrong_3_backwards(C):
    return rearrange(np.arange(4 * C), "(p2 p1 c) -> (c p1 p2)", c=C, p1=2, p2=2)


def wrong_3_row_by_row(C):
    return rearrange(np.arange(4 * C), "(c p1 p2) -> (p1 p2 c)", c=C, p1=2, p2=2)


def wrong_3_nothing(C):
    return np.arange(4 * C)


def check_4(answer):
    """answer(x, grid): the gathering turned round."""
    x = addresses(2, 4, 6, 2)
    return expect(answer(solution_1(x, (4, 6)), (2, 3)), x)


def solution_4(x, grid):
    n, c = len(x), x.shape[-1] // 4
    out = np.empty((n, 2 * grid[0], 2 * grid[1], c), x.dtype)
    four = np.split(x.reshape(n, *grid, 4 * c), 4, axis=-1)
    out[:, 0::2, 0::2], out[:, 1::2, 0::2], out[:, 0::2, 1::2], out[:, 1::2, 1::2] = four
    return out.reshape(n, -1, c)


def wrong_4_swin_unet(x, grid):
    return rearrange(x, "n (h w) (p1 p2 c) -> n (h p1 w p2) c", h=grid[0], p1=2, p2=2)


def wrong_4_reshape(x, grid):
    return x.reshape(len(x), -1, x.shape[-1] // 4)


def check_5(answer):
    """answer(weight): matrix as a kernel."""
    C = 3
    weight = np.arange(2 * C * 4 * C).reshape(2 * C, 4 * C)
    got, wanted = np.asarray(answer(weight)), solution_5(weight)
    if got.shape != wanted.shape:
        return f"expected shape {wanted.shape}, got {got.shape}"
    if not np.array_equal(got, wanted):
        e, c, row, column = (int(i) for i in np.argwhere(got != wanted)[0])
        q = int(wanted[e, c, row, column]) - 4 * C * e
        came = f"it is column {q} of the matrix; yours took column {int(got[e, c, row, column]) % (4 * C)}"
        return f"kernel[{e}, {c}, {row}, {column}] is channel {c} of the neighbour at ({row}, {column}): {came}"


def solution_5(weight):
    return rearrange(weight, "e (p2 p1 c) -> e c p1 p2", p1=2, p2=2)


def wrong_5_transposed(weight):
    return rearrange(weight, "e (p1 p2 c) -> e c p1 p2", p1=2, p2=2)


def wrong_5_reshape(weight):
    return weight.reshape(len(weight), -1, 2, 2)
