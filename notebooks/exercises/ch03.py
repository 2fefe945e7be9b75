"""Exercises of chapter 03, window attention."""

import numpy as np


def numbered(n, h, w, c):
    """Maps (n, h, w, c) whose numbers spell their address: 2341 is image 2, row 3, column 4, channel 1."""
    image, row, column, channel = np.indices((n, h, w, c))
    return 1000 * image + 100 * row + 10 * column + channel


def first_wrong(got, wanted, what):
    """A hint about the first number that is wrong; None if all are right."""
    got = np.asarray(got)
    if got.shape != wanted.shape:
        return f"expected shape {wanted.shape}, got {got.shape}"
    if not np.array_equal(got, wanted):
        place = tuple(int(i) for i in np.argwhere(got != wanted)[0])
        said = f"{what}{list(place)}: expected {wanted[place]}, got {got[place]}"
        return f"{said} (1234 would be image 1, row 2, column 3, channel 4)"


def check_1(answer):
    """answer(row, column, W, M): number of the window, number of the token in it."""
    for W, M in ((6, 2), (12, 4)):
        for row, column in np.ndindex(2 * M, W):
            got, wanted = answer(row, column, W, M), solution_1(row, column, W, M)
            if np.shape(got) != (2,):
                return f"expected two numbers (window, token in the window), got {got}"
            if tuple(got) != wanted:
                return f"token ({row}, {column}) of a map {W} wide, M = {M}: expected {wanted}, got {got}"


def solution_1(row, column, W, M):
    window = row // M * (W // M) + column // M
    token = row % M * M + column % M
    return window, token


def wrong_1_columns_first(row, column, W, M):
    return column // M * (W // M) + row // M, column % M * M + row % M


def wrong_1_map_width(row, column, W, M):
    return row // M * M + column // M, row % M * M + column % M


def wrong_1_token_of_the_map(row, column, W, M):
    return row // M * (W // M) + column // M, row * W + column


def right_1_list(row, column, W, M):
    return [row // M * W // M + column // M, M * (row % M) + column % M]


def right_1_divmod(row, column, W, M):
    (kh, mh), (kw, mw) = divmod(row, M), divmod(column, M)
    return np.array([kh * (W // M) + kw, mh * M + mw])


def check_2(answer):
    """answer(x, M): windows by reshape and transpose."""
    for M in (2, 3):
        x = numbered(2, 2 * M, 3 * M, 2)
        got, wanted = np.asarray(answer(x, M)), solution_2(x, M)
        if got.shape == wanted.shape and not np.array_equal(got[0, 0], wanted[0, 0]):
            mine, right = (
                ", ".join(f"({v // 100}, {v % 100 // 10})" for v in cut[0, 0, :, 0]) for cut in (got, wanted)
            )
            return f"M = {M}: window 0 should hold the tokens {right}, yours holds {mine}"
        if hint := first_wrong(got, wanted, f"M = {M}: windows"):
            return hint


def solution_2(x, M):
    n, h, w, c = x.shape
    x = x.reshape(n, h // M, M, w // M, M, c)  # n kh mh kw mw c
    x = x.transpose(0, 1, 3, 2, 4, 5)  # n kh kw mh mw c
    return x.reshape(n, -1, M * M, c)


def wrong_2_no_transpose(x, M):
    n, h, w, c = x.shape
    return x.reshape(n, h * w // (M * M), M * M, c)


def wrong_2_fused(x, M):
    return solution_2(x, M).reshape(-1, M * M, x.shape[-1])


def wrong_2_columns_first(x, M):
    return solution_2(x.swapaxes(1, 2), M)


def right_2_swapaxes(x, M):
    n, h, w, c = x.shape
    return x.reshape(n, h // M, M, w // M, M, c).swapaxes(2, 3).reshape(n, -1, M * M, c)


def right_2_loop(x, M):
    n, h, w, c = x.shape
    corners = [(top, left) for top in range(0, h, M) for left in range(0, w, M)]
    return np.stack([x[:, top : top + M, left : left + M].reshape(n, M * M, c) for top, left in corners], axis=1)


def check_3(answer):
    """answer(windows, M, H, W): the map, by reshape and transpose."""
    for H, W, M in ((4, 4, 2), (4, 6, 2), (6, 9, 3)):
        x = numbered(2, H, W, 2)
        if hint := first_wrong(answer(solution_2(x, M), M, H, W), x, f"a map of {H} x {W}, M = {M}: x"):
            return hint


def solution_3(windows, M, H, W):
    n, _, _, c = windows.shape
    x = windows.reshape(n, H // M, W // M, M, M, c)  # n kh kw mh mw c
    x = x.transpose(0, 1, 3, 2, 4, 5)  # n kh mh kw mw c
    return x.reshape(n, H, W, c)


def wrong_3_no_transpose(windows, M, H, W):
    return windows.reshape(len(windows), H, W, -1)


def wrong_3_h_and_w(windows, M, H, W):
    return solution_3(windows, M, W, H).reshape(len(windows), H, W, -1)


def wrong_3_without_batch(windows, M, H, W):
    return solution_3(windows[:1], M, H, W).repeat(len(windows), axis=0)


def right_3_swapaxes(windows, M, H, W):
    x = windows.reshape(len(windows), H // M, W // M, M, M, -1).swapaxes(2, 3)
    return x.reshape(len(windows), H, W, -1)


def right_3_loop(windows, M, H, W):
    x = np.zeros((len(windows), H, W, windows.shape[-1]))
    for k in range(windows.shape[1]):
        top, left = k // (W // M) * M, k % (W // M) * M
        x[:, top : top + M, left : left + M] = windows[:, k].reshape(len(x), M, M, -1)
    return x


def check_4(answer):
    """answer(H, W, M): True where two tokens of the map share a window."""
    for H, W, M in ((4, 6, 2), (6, 9, 3)):
        got, wanted = np.asarray(answer(H, W, M)), solution_4(H, W, M)
        if got.shape != wanted.shape:
            return f"a map of {H} x {W} has {H * W} tokens: expected shape {wanted.shape}, got {got.shape}"
        if not np.array_equal(got, wanted):
            i, j = np.argwhere(got != wanted)[0]
            pair = f"({i // W}, {i % W}) and ({j // W}, {j % W})"
            return f"tokens {pair} of a map of {H} x {W}, M = {M}: expected {wanted[i, j]}, got {got[i, j]}"


def solution_4(H, W, M):
    row, column = np.indices((H, W)).reshape(2, -1)
    window = row // M * (W // M) + column // M
    return window[:, None] == window[None, :]


def wrong_4_blocks(H, W, M):
    window = np.arange(H * W) // (M * M)
    return window[:, None] == window[None, :]


def wrong_4_near(H, W, M):
    row, column = np.indices((H, W)).reshape(2, -1)
    return (abs(row[:, None] - row) < M) & (abs(column[:, None] - column) < M)


def wrong_4_window_of_2(H, W, M):
    return solution_4(H, W, 2)


def right_4_loop(H, W, M):
    window = [(i // W // M, i % W // M) for i in range(H * W)]
    return [[one == other for other in window] for one in window]


def right_4_kronecker(H, W, M):
    one_axis = (np.kron(np.eye(n // M), np.ones((M, M))) for n in (H, W))
    return np.kron(*one_axis).astype(bool)


def check_5(answer):
    """answer(h, w, C, M): multiplications of W-MSA, the map padded to a multiple of M."""
    for h, w, C, M in ((56, 56, 96, 7), (14, 28, 32, 7), (8, 13, 4, 5)):
        got, wanted = answer(h, w, C, M), solution_5(h, w, C, M)
        if got != wanted:
            size = f"a map of {h} x {w}, padded to {-(-h // M) * M} x {-(-w // M) * M}"
            return f"{size}, C = {C}, M = {M}: expected {wanted:,}, got {got:,}"


def solution_5(h, w, C, M):
    tokens = -(-h // M) * M * -(-w // M) * M  # each side rounded up to a multiple of M
    return 4 * tokens * C**2 + 2 * M**2 * tokens * C


def wrong_5_not_padded(h, w, C, M):
    return 4 * h * w * C**2 + 2 * M**2 * h * w * C


def wrong_5_global(h, w, C, M):
    return 4 * h * w * C**2 + 2 * (h * w) ** 2 * C


def wrong_5_area_padded(h, w, C, M):
    tokens = -(-h * w // M**2) * M**2
    return 4 * tokens * C**2 + 2 * M**2 * tokens * C


def right_5_by_window(h, w, C, M):
    windows = int(np.ceil(h / M) * np.ceil(w / M))
    return windows * (4 * M**2 * C**2 + 2 * M**4 * C)


def right_5_remainder(h, w, C, M):
    tokens = (h + -h % M) * (w + -w % M)
    return 2 * tokens * C * (2 * C + M**2)
