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
    for n, grid, c in ((2, (4, 6), 2), (1, (6, 2), 3)):
        x = addresses(n, *grid, c)
        if hint := expect(answer(x, grid), solution_1(x, grid)):
            return f"grid {grid}: {hint}"


def solution_1(x, grid):
    n, _, c = x.shape
    x = x.reshape(n, *grid, c)
    four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    return np.concatenate(four, axis=-1).reshape(n, -1, 4 * c)


def right_1_einops(x, grid):
    return rearrange(x, "n (h p1 w p2) c -> n (h w) (p2 p1 c)", h=grid[0] // 2, p1=2, p2=2)


def right_1_transpose(x, grid):
    (n, _, c), (h, w) = x.shape, grid
    x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 4, 2, 5)
    return x.reshape(n, h * w // 4, 4 * c)


def wrong_1_row_by_row(x, grid):
    return rearrange(x, "n (h p1 w p2) c -> n (h w) (p1 p2 c)", h=grid[0] // 2, p1=2, p2=2)


def wrong_1_reshape(x, grid):
    return x.reshape(len(x), -1, 4 * x.shape[-1])


def wrong_1_swapped_grid(x, grid):
    return solution_1(x, grid[::-1])


def wrong_1_as_map(x, grid):
    return solution_1(x, grid).reshape(len(x), grid[0] // 2, grid[1] // 2, -1)


def wrong_1_two_channels(x, grid):
    return right_1_einops(x[..., :2], grid)


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


def right_2_unravel(q, C):
    column, row, channel = np.unravel_index(q, (2, 2, C))
    return row, column, channel


def right_2_list(q, C):
    row, column = [(0, 0), (1, 0), (0, 1), (1, 1)][q // C]
    return row, column, q % C


def wrong_2_row_by_row(q, C):
    return q // C // 2, q // C % 2, q % C


def wrong_2_column_row(q, C):
    return right_2_list(q, C)[1], right_2_list(q, C)[0], q % C


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


def right_3_sums(C):
    row, column, channel = (part.ravel() for part in np.indices((2, 2, C)).transpose(0, 2, 1, 3))
    return 4 * channel + 2 * row + column


def right_3_loop(C):
    return [4 * c + 2 * p1 + p2 for p2 in range(2) for p1 in range(2) for c in range(C)]


def wrong_3_backwards(C):
    return rearrange(np.arange(4 * C), "(p2 p1 c) -> (c p1 p2)", c=C, p1=2, p2=2)


def wrong_3_row_by_row(C):
    return rearrange(np.arange(4 * C), "(c p1 p2) -> (p1 p2 c)", c=C, p1=2, p2=2)


def wrong_3_nothing(C):
    return np.arange(4 * C)


def check_4(answer):
    """answer(x, grid): the gathering turned round."""
    for n, grid, c in ((2, (2, 3), 2), (1, (4, 1), 3)):
        x = addresses(n, 2 * grid[0], 2 * grid[1], c)
        if hint := expect(answer(solution_1(x, (2 * grid[0], 2 * grid[1])), grid), x):
            return f"grid {grid}: {hint}"


def solution_4(x, grid):
    n, c = len(x), x.shape[-1] // 4
    out = np.empty((n, 2 * grid[0], 2 * grid[1], c), x.dtype)
    four = np.split(x.reshape(n, *grid, 4 * c), 4, axis=-1)
    out[:, 0::2, 0::2], out[:, 1::2, 0::2], out[:, 0::2, 1::2], out[:, 1::2, 1::2] = four
    return out.reshape(n, -1, c)


def right_4_einops(x, grid):
    return rearrange(x, "n (h w) (p2 p1 c) -> n (h p1 w p2) c", h=grid[0], p1=2, p2=2)


def right_4_transpose(x, grid):
    x = x.reshape(len(x), *grid, 2, 2, -1).transpose(0, 1, 4, 2, 3, 5)
    return x.reshape(len(x), 4 * grid[0] * grid[1], -1)


def wrong_4_swin_unet(x, grid):
    return rearrange(x, "n (h w) (p1 p2 c) -> n (h p1 w p2) c", h=grid[0], p1=2, p2=2)


def wrong_4_reshape(x, grid):
    return x.reshape(len(x), -1, x.shape[-1] // 4)


def wrong_4_swapped_grid(x, grid):
    return solution_4(x, grid[::-1])


def check_5(answer):
    """answer(weight): matrix as a kernel."""
    for C in (3, 1, 4):
        weight = np.arange(2 * C * 4 * C).reshape(2 * C, 4 * C)
        got, wanted = np.asarray(answer(weight)), solution_5(weight)
        if got.shape != wanted.shape:
            return f"C = {C}: expected shape {wanted.shape}, got {got.shape}"
        if not np.array_equal(got, wanted):
            e, c, row, column = (int(i) for i in np.argwhere(got != wanted)[0])
            q = int(wanted[e, c, row, column]) - 4 * C * e
            came = f"it is column {q} of the matrix; yours took column {int(got[e, c, row, column]) % (4 * C)}"
            return f"kernel[{e}, {c}, {row}, {column}] is channel {c} of the neighbour at ({row}, {column}): {came}"


def solution_5(weight):
    return rearrange(weight, "e (p2 p1 c) -> e c p1 p2", p1=2, p2=2)


def right_5_transpose(weight):
    e = len(weight)
    return weight.reshape(e, 2, 2, -1).transpose(0, 3, 2, 1)


def right_5_parts(weight):
    parts = np.split(weight, 4, axis=1)  # (0, 0), (1, 0), (0, 1), (1, 1)
    kernel = np.empty((len(weight), parts[0].shape[1], 2, 2), weight.dtype)
    kernel[..., 0, 0], kernel[..., 1, 0], kernel[..., 0, 1], kernel[..., 1, 1] = parts
    return kernel


def wrong_5_transposed(weight):
    return rearrange(weight, "e (p1 p2 c) -> e c p1 p2", p1=2, p2=2)


def wrong_5_reshape(weight):
    return weight.reshape(len(weight), -1, 2, 2)


def wrong_5_channels_last(weight):
    return rearrange(weight, "e (p2 p1 c) -> e p1 p2 c", p1=2, p2=2)


def wrong_5_first_output(weight):
    return np.repeat(solution_5(weight)[:1], len(weight), axis=0)
