"""Exercises of chapter 12, Swin V2."""

import math

import numpy as np


def off(name, got, wanted):
    """A hint if `got` isn't `wanted` but for rounding; None if it is."""
    got = np.asarray(got)
    if got.shape != wanted.shape:
        return f"{name}: expected shape {wanted.shape}, got {got.shape}"
    if not np.allclose(got, wanted, rtol=1e-9, atol=1e-12):
        return f"{name}: shape is right, numbers are off by up to {np.abs(got - wanted).max():.3g}"


def check_1(answer):
    """answer(logit_scale): exp, at most 100."""
    for value, wanted in ((math.log(10), 10.0), (math.log(100), 100.0), (0.0, 1.0), (10.0, 100.0)):
        got = float(np.asarray(answer(np.array([value])))[0])
        if not math.isclose(got, wanted, rel_tol=1e-9):
            return f"logit_scale = {value:.3f}: expected a scale of {wanted:g}, got {got:g}"
    values = np.random.default_rng(1).uniform(-1, 8, size=(4, 1, 1))
    return off("shape (4, 1, 1)", answer(values), solution_1(values))


def solution_1(logit_scale):
    return np.exp(np.minimum(logit_scale, math.log(100)))


def wrong_1_no_exp(logit_scale):
    return np.minimum(logit_scale, math.log(100))


def wrong_1_no_clamp(logit_scale):
    return np.exp(logit_scale)


def wrong_1_clamped_at_100(logit_scale):
    return np.exp(np.minimum(logit_scale, 100))


def wrong_1_clamped_from_below(logit_scale):
    return np.exp(np.maximum(logit_scale, math.log(100)))


def check_2(answer):
    """answer(q, k, logit_scale, bias): scale · cosine + bias."""
    rng = np.random.default_rng(2)
    by_hand = answer(np.array([[3.0, 4.0]]), np.array([[6.0, 8.0], [4.0, -3.0]]), math.log(10), np.zeros((1, 2)))
    got = np.asarray(by_hand)
    if got.shape == (1, 2) and not np.allclose(got, [[10, 0]]):
        return f"q (3, 4), k (6, 8) and (4, -3), scale 10: expected 10 and 0, got {got[0, 0]:.3f} and {got[0, 1]:.3f}"
    q, k, bias = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(2, 3, 6, 4)), rng.normal(size=(5, 6))
    for logit_scale in (math.log(10), math.log(100) + 1):
        wanted = solution_2(q, k, logit_scale, bias)
        if hint := off(f"logit_scale = {logit_scale:.3f}", answer(q, k, logit_scale, bias), wanted):
            return hint


def solution_2(q, k, logit_scale, bias):
    scale = np.exp(min(logit_scale, math.log(100)))
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    return scale * q @ k.mT + bias


def wrong_2_dot_product(q, k, logit_scale, bias):
    return np.exp(min(logit_scale, math.log(100))) * q @ k.mT + bias


def wrong_2_tokens_normed(q, k, logit_scale, bias):
    q = q / np.linalg.norm(q, axis=-2, keepdims=True)
    k = k / np.linalg.norm(k, axis=-2, keepdims=True)
    return np.exp(min(logit_scale, math.log(100))) * q @ k.mT + bias


def wrong_2_no_clamp(q, k, logit_scale, bias):
    return solution_2(q, k, 0.0, 0 * bias) * np.exp(logit_scale) + bias


def wrong_2_bias_scaled(q, k, logit_scale, bias):
    return np.exp(min(logit_scale, math.log(100))) * solution_2(q, k, 0.0, bias)


def check_3(answer):
    """answer(dy, x): the gradient of x / |x|."""
    rng = np.random.default_rng(3)
    got = np.asarray(answer(np.array([1.0, 0.0]), np.array([0.0, 2.0])))
    if got.shape == (2,) and not np.allclose(got, [0.5, 0]):
        return f"x = (0, 2), dy = (1, 0): expected (0.5, 0), got ({got[0]:.3f}, {got[1]:.3f})"
    got = np.asarray(answer(np.array([0.0, 1.0]), np.array([0.0, 2.0])))
    if got.shape == (2,) and not np.allclose(got, 0):
        return f"x = (0, 2), dy = (0, 1) points along x: expected (0, 0), got ({got[0]:.3f}, {got[1]:.3f})"
    dy, x = rng.normal(size=(2, 3, 4, 5))
    return off("shape (3, 4, 5)", answer(dy, x), solution_3(dy, x))


def solution_3(dy, x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    y = x / length
    return (dy - (dy * y).sum(axis=-1, keepdims=True) * y) / length


def wrong_3_length_is_constant(dy, x):
    return dy / np.linalg.norm(x, axis=-1, keepdims=True)


def wrong_3_not_divided(dy, x):
    return solution_3(dy, x) * np.linalg.norm(x, axis=-1, keepdims=True)


def wrong_3_x_for_y(dy, x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return (dy - (dy * x).sum(axis=-1, keepdims=True) * x) / length


def check_4(answer):
    """answer(x, norm1, attend, norm2, mlp): the block of V2."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 3, 4))
    norm1, attend, norm2, mlp = (lambda v, A=A: np.tanh(v @ A) for A in rng.normal(size=(4, 4, 4)))
    parts = norm1, attend, norm2, mlp
    got = np.asarray(answer(x, *parts))
    likely = {
        "that is V1: the norm comes last on the branch, before it is added": wrong_4_pre_norm,
        "that is post-norm: the sum is normed; only what is added should be": wrong_4_post_norm,
        "the stream itself is missing: each branch is added to x": wrong_4_no_residual,
        "the second branch starts from the x that came in; it should start from the sum": wrong_4_parallel,
    }
    for reason, wrong in likely.items():
        if got.shape == x.shape and np.allclose(got, wrong(x, *parts)):
            return reason
    return off("x (2, 3, 4)", got, solution_4(x, *parts))


def solution_4(x, norm1, attend, norm2, mlp):
    x = x + norm1(attend(x))
    return x + norm2(mlp(x))


def wrong_4_pre_norm(x, norm1, attend, norm2, mlp):
    x = x + attend(norm1(x))
    return x + mlp(norm2(x))


def wrong_4_post_norm(x, norm1, attend, norm2, mlp):
    x = norm1(x + attend(x))
    return norm2(x + mlp(x))


def wrong_4_no_residual(x, norm1, attend, norm2, mlp):
    return norm2(mlp(norm1(attend(x))))


def wrong_4_parallel(x, norm1, attend, norm2, mlp):
    return x + norm1(attend(x)) + norm2(mlp(x))


def check_5(answer):
    """answer(largest, M): M' of a table of coordinates."""
    for M, before in ((8, 8), (16, 8), (24, 12), (12, 6), (16, 16), (7, 12)):
        x = 8 * (M - 1) / (before - 1)
        largest = math.log2(1 + x) / math.log2(8)
        got = answer(float(np.float32(largest)), M)
        if got != before:
            return f"largest = {largest:.4f}, M = {M}: expected {before}, got {got}"


def solution_5(largest, M):
    x = 2 ** (largest * math.log2(8)) - 1
    return round(8 * (M - 1) / x) + 1


def wrong_5_window(largest, M):
    return M


def wrong_5_one_missing(largest, M):
    return round(8 * (M - 1) / (2 ** (3 * largest) - 1))


def wrong_5_natural_log(largest, M):
    return round(8 * (M - 1) / (math.exp(3 * largest) - 1)) + 1


# Right answers in other styles


def right_1_clipped_after(logit_scale):
    return np.minimum(np.exp(logit_scale), 100.0)


def right_1_clip(logit_scale):
    return np.exp(np.clip(logit_scale, None, math.log(100)))


def right_2_divided_after(q, k, logit_scale, bias):
    lengths = np.sqrt((q**2).sum(-1))[..., :, None] * np.sqrt((k**2).sum(-1))[..., None, :]
    return min(math.exp(logit_scale), 100) * (q @ np.swapaxes(k, -1, -2)) / lengths + bias


def right_2_einsum(q, k, logit_scale, bias):
    dots = np.einsum("...id,...jd->...ij", q, k)
    lengths = np.einsum("...i,...j->...ij", np.linalg.norm(q, axis=-1), np.linalg.norm(k, axis=-1))
    return np.exp(np.minimum(logit_scale, np.log(100))) * dots / lengths + bias


def right_3_powers(dy, x):
    square = (x * x).sum(-1, keepdims=True)
    return dy / square**0.5 - x * (dy * x).sum(-1, keepdims=True) / square**1.5


def right_3_matrix(dy, x):
    """dx = dy · J with the whole Jacobian (I - yyᵀ) / |x| of each vector."""
    length = np.linalg.norm(x, axis=-1)[..., None, None]
    y = x[..., None] / length
    jacobian = (np.eye(x.shape[-1]) - y * np.swapaxes(y, -1, -2)) / length
    return (dy[..., None, :] @ jacobian)[..., 0, :]


def right_4_named(x, norm1, attend, norm2, mlp):
    attended = attend(x)
    between = x + norm1(attended)
    changed = mlp(between)
    return norm2(changed) + between


def right_4_loop(x, norm1, attend, norm2, mlp):
    for branch, norm in ((attend, norm1), (mlp, norm2)):
        x = norm(branch(x)) + x
    return x


def right_5_search(largest, M):
    return min(range(2, 200), key=lambda M0: abs(math.log2(1 + 8 * (M - 1) / (M0 - 1)) / 3 - largest))


def right_5_powers_of_8(largest, M):
    x = 8**largest - 1
    return int(8 * (M - 1) / x + 1.5)
