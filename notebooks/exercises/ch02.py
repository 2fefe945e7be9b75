"""Exercises of chapter 02, patch embedding."""

import numpy as np
from einops import rearrange


def addresses(n, c, H, W):
    """Images (n, c, H, W) whose numbers spell their address: 2134 is image 2, channel 1, row 3, column 4."""
    image, channel, row, column = np.indices((n, c, H, W))
    return 1000 * image + 100 * channel + 10 * row + column


def expect(got, wanted, what):
    """A hint about the first number that is wrong; None if all are right."""
    got = np.asarray(got)
    if got.shape != wanted.shape:
        return f"expected shape {wanted.shape}, got {got.shape}"
    if not np.allclose(got, wanted):
        place = tuple(int(i) for i in np.argwhere(~np.isclose(got, wanted))[0])
        said = f"{what}{list(place)}: expected {wanted[place]}, got {got[place]}"
        return f"{said} (1234 would be image 1, channel 2, row 3, column 4)"


def check_1(answer):
    """answer(images, p): patches by reshape and transpose."""
    for p in (2, 3):
        images = addresses(2, 3, 2 * p, 3 * p)
        got, wanted = np.asarray(answer(images, p)), solution_1(images, p)
        if got.shape != wanted.shape:
            return f"p = {p}: {expect(got, wanted, 'patches')}"
        if got[0, 0].tolist() != wanted[0, 0].tolist():
            return f"the first patch should read {wanted[0, 0].tolist()}, yours reads {got[0, 0].tolist()}"
        if hint := expect(got, wanted, "the first patch is right, but not all of them: patches"):
            return hint


def solution_1(images, p):
    n, c, H, W = images.shape
    x = images.reshape(n, c, H // p, p, W // p, p)  # n c h p1 w p2
    x = x.transpose(0, 2, 4, 1, 3, 5)  # n h w c p1 p2
    return x.reshape(n, (H // p) * (W // p), c * p * p)


def wrong_1_no_transpose(images, p):
    n, c, H, W = images.shape
    return images.reshape(n, (H // p) * (W // p), c * p * p)


def wrong_1_channels_last(images, p):
    return rearrange(images, "n c (h p1) (w p2) -> n (h w) (p1 p2 c)", p1=p, p2=p)


def wrong_1_columns_of_patches_first(images, p):
    return rearrange(images, "n c (h p1) (w p2) -> n (w h) (c p1 p2)", p1=p, p2=p)


def right_1_loop(images, p):
    n, _, H, W = images.shape
    corners = [(top, left) for top in range(0, H, p) for left in range(0, W, p)]
    return np.stack([images[:, :, top : top + p, left : left + p].reshape(n, -1) for top, left in corners], axis=1)


def right_1_swapaxes(images, p):
    n, c, H, W = images.shape
    x = images.reshape(n, c, H // p, p, W // p, p).swapaxes(3, 4)  # n c h w p1 p2
    return np.moveaxis(x, 1, 3).reshape(n, -1, c * p * p)


def check_2(answer):
    """answer(patches, grid, p): the images back from their patches."""
    for p in (2, 3):
        images = addresses(2, 3, 2 * p, 3 * p)
        if hint := expect(answer(solution_1(images, p), (2, 3), p), images, f"p = {p}: images"):
            return hint


def solution_2(patches, grid, p):
    h, w = grid
    n, _, numbers = patches.shape
    x = patches.reshape(n, h, w, numbers // (p * p), p, p)  # n h w c p1 p2
    x = x.transpose(0, 3, 1, 4, 2, 5)  # n c h p1 w p2
    return x.reshape(n, -1, h * p, w * p)


def wrong_2_swapped_grid(patches, grid, p):
    return solution_2(patches, grid[::-1], p)


def wrong_2_p2_before_w(patches, grid, p):
    return rearrange(patches, "n (h w) (c p1 p2) -> n c (h p1) (p2 w)", h=grid[0], p1=p, p2=p)


def wrong_2_reshape(patches, grid, p):
    n, _, numbers = patches.shape
    return patches.reshape(n, numbers // (p * p), grid[0] * p, grid[1] * p)


def right_2_arrow(patches, grid, p):
    return rearrange(patches, "n (h w) (c p1 p2) -> n c (h p1) (w p2)", h=grid[0], p1=p, p2=p)


def right_2_loop(patches, grid, p):
    n, _, numbers = patches.shape
    images = np.zeros((n, numbers // (p * p), grid[0] * p, grid[1] * p))
    for k in range(grid[0] * grid[1]):
        top, left = k // grid[1] * p, k % grid[1] * p
        images[:, :, top : top + p, left : left + p] = patches[:, k].reshape(n, -1, p, p)
    return images


def check_3(answer):
    """answer(k, q, w, p): channel, row and column of number q in the row of token k."""
    for w, p in ((3, 2), (5, 4)):
        image = rearrange(np.indices((3, 2 * p, w * p)), "address c H W -> 1 address c H W")
        for k, q in np.ndindex(2 * w, 3 * p * p):
            wanted = tuple(int(solution_1(image[:, i], p)[0, k, q]) for i in range(3))
            got = answer(k, q, w, p)
            if np.shape(got) != (3,):
                return f"expected three numbers (channel, row, column), got {got}"
            got = tuple(int(i) for i in got)
            if got != wanted:
                return f"number {q} of token {k} (grid {w} wide, p = {p}): expected {wanted}, got {got}"


def solution_3(k, q, w, p):
    channel, inside = divmod(q, p * p)
    p1, p2 = divmod(inside, p)
    return channel, (k // w) * p + p1, (k % w) * p + p2


def wrong_3_channel_fastest(k, q, w, p):
    inside, channel = divmod(q, 3)
    return channel, (k // w) * p + inside // p, (k % w) * p + inside % p


def wrong_3_row_is_column(k, q, w, p):
    channel, row, column = solution_3(k, q, w, p)
    return channel, column, row


def wrong_3_grid_forgotten(k, q, w, p):
    return q // (p * p), q % (p * p) // p, q % p


def right_3_unravel(k, q, w, p):
    channel, p1, p2 = np.unravel_index(q, (q // (p * p) + 1, p, p))
    return channel, k // w * p + p1, k % w * p + p2


def right_3_list(k, q, w, p):
    return [q // p**2, q // p % p + k // w * p, q % p + k % w * p]


def check_4(answer):
    """answer(H, W, p): the number of tokens when the remainder is padded."""
    for H, W, p in ((224, 224, 4), (300, 451, 4), (5, 7, 4), (3, 3, 16)):
        got, wanted = answer(H, W, p), solution_4(H, W, p)
        if got != wanted:
            return f"{H} x {W} pixels, patches of {p} x {p}: expected {wanted} tokens, got {got}"


def solution_4(H, W, p):
    return -(-H // p) * -(-W // p)  # -(-a // b) rounds up


def wrong_4_dropped(H, W, p):
    return (H // p) * (W // p)


def wrong_4_area(H, W, p):
    return -(-H * W // (p * p))


def wrong_4_one_more(H, W, p):
    return (H // p + 1) * (W // p + 1)


def right_4_ceil(H, W, p):
    return int(np.ceil(H / p) * np.ceil(W / p))


def right_4_add_before(H, W, p):
    return ((H + p - 1) // p) * ((W + p - 1) // p)


def check_5(answer):
    """answer(weight): the matrix for rows in the order (p1 p2 c)."""
    rng = np.random.default_rng(5)
    weight, images = rng.normal(size=(8, 3, 4, 4)), rng.normal(size=(1, 3, 8, 12))
    matrix = np.asarray(answer(weight))
    if matrix.shape != (8, 48):
        return f"expected shape (8, 48) for a weight of shape {weight.shape}, got {matrix.shape}"
    rows = rearrange(images, "n c (h p1) (w p2) -> n (h w) (p1 p2 c)", p1=4, p2=4)
    wanted = solution_1(images, 4) @ weight.reshape(8, 48).T
    off = np.abs(rows @ matrix.T - wanted).max() / np.abs(wanted).max()
    if off > 1e-10:
        return f"the shape is right, but tokens are off by {off:.0%} of the largest: which weight meets which pixel?"


def solution_5(weight):
    return rearrange(weight, "e c p1 p2 -> e (p1 p2 c)")


def wrong_5_reshape(weight):
    return weight.reshape(len(weight), -1)


def wrong_5_columns_first(weight):
    return rearrange(weight, "e c p1 p2 -> e (p2 p1 c)")


def wrong_5_transposed(weight):
    return rearrange(weight, "e c p1 p2 -> (p1 p2 c) e").reshape(len(weight), -1)


def right_5_transpose(weight):
    return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)


def right_5_stack(weight):
    return np.stack([np.moveaxis(kernel, 0, -1).ravel() for kernel in weight])
