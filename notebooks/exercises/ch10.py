"""Exercises of chapter 10, training."""

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
    """answer(p, g, m, s, t, lr, decay): one step of AdamW."""
    zero = np.zeros(1)
    p, _, _ = answer(np.array([1.0]), np.array([5.0]), zero, zero, 1, 0.1, 0.0)
    if not np.allclose(p, 0.9):
        return f"first step, p = 1, g = 5, lr = 0.1, no decay: expected 1 - 0.1 = 0.9, got {np.asarray(p)[0]:.6g}"
    rng = np.random.default_rng(1)
    p, g, m, s = rng.normal(size=(4, 3, 2))
    s = s**2
    before = [value.copy() for value in (p, g, m, s)]
    got, wanted = answer(p, g, m, s, 7, 0.01, 0.3), solution_1(p, g, m, s, 7, 0.01, 0.3)
    if not all(np.array_equal(a, b) for a, b in zip((p, g, m, s), before, strict=True)):
        return "your function changed its inputs; return new arrays"
    for name, a, b in zip(("m", "s", "p"), (got[1], got[2], got[0]), (wanted[1], wanted[2], wanted[0]), strict=True):
        if hint := off(f"step 7 with decay, new {name}", a, b):
            return hint


def solution_1(p, g, m, s, t, lr, decay):
    m = 0.9 * m + 0.1 * g
    s = 0.999 * s + 0.001 * g**2
    mean, square = m / (1 - 0.9**t), s / (1 - 0.999**t)
    p = p * (1 - lr * decay) - lr * mean / (np.sqrt(square) + 1e-8)
    return p, m, s


def wrong_1_no_correction(p, g, m, s, t, lr, decay):
    m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
    return p * (1 - lr * decay) - lr * m / (np.sqrt(s) + 1e-8), m, s


def wrong_1_decay_inside(p, g, m, s, t, lr, decay):
    return solution_1(p, g + decay * p, m, s, t, lr, 0.0)


def wrong_1_in_place(p, g, m, s, t, lr, decay):
    new, m2, s2 = solution_1(p, g, m, s, t, lr, decay)
    p[...] = new
    return p, m2, s2


def wrong_1_square_in_place(p, g, m, s, t, lr, decay):
    s *= 0.999
    s += 0.001 * g**2
    mean = (0.9 * m + 0.1 * g) / (1 - 0.9**t)
    return p * (1 - lr * decay) - lr * mean / (np.sqrt(s / (1 - 0.999**t)) + 1e-8), 0.9 * m + 0.1 * g, s


def wrong_1_decay_without_rate(p, g, m, s, t, lr, decay):
    new, m, s = solution_1(p, g, m, s, t, lr, 0.0)
    return new - decay * p, m, s


def right_1_factors(p, g, m, s, t, lr, decay):
    m, s = m + 0.1 * (g - m), s + 0.001 * (g * g - s)
    size = np.sqrt(s) / math.sqrt(1 - 0.999**t) + 1e-8
    return p - lr * decay * p - lr / (1 - 0.9**t) * m / size, m, s


def right_1_number_by_number(p, g, m, s, t, lr, decay):
    new = [np.empty_like(p) for _ in range(3)]
    for at in np.ndindex(p.shape):
        for array, value in zip(new, solution_1(p[at], g[at], m[at], s[at], t, lr, decay), strict=True):
            array[at] = value
    return new


def check_2(answer):
    """answer(step, total, warmup, base): the learning rate."""
    for step, total, warmup in ((0, 100, 10), (5, 100, 10), (10, 100, 10), (55, 100, 10), (99, 100, 10), (0, 50, 0)):
        got, wanted = answer(step, total, warmup, 2.0), solution_2(step, total, warmup, 2.0)
        if not math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-12):
            return f"step {step} of {total}, warm-up {warmup}, base 2: expected {wanted:.6g}, got {got:.6g}"


def solution_2(step, total, warmup, base):
    if step < warmup:
        return base * step / warmup
    way = (step - warmup) / (total - warmup)
    return base * (1 + math.cos(math.pi * way)) / 2


def wrong_2_whole_cosine(step, total, warmup, base):
    if step < warmup:
        return base * step / warmup
    return base * (1 + math.cos(2 * math.pi * (step - warmup) / (total - warmup))) / 2


def wrong_2_not_after_warmup(step, total, warmup, base):
    if step < warmup:
        return base * step / warmup
    return base * (1 + math.cos(math.pi * step / total)) / 2


def wrong_2_one_early(step, total, warmup, base):
    return solution_2(step + 1, total, warmup, base)


def right_2_power(step, total, warmup, base):
    if step < warmup:
        return step * (base / warmup)
    return base * math.cos(math.pi / 2 * (step - warmup) / (total - warmup)) ** 2


def right_2_numpy(step, total, warmup, base):
    line = np.linspace(0, base, warmup, endpoint=False)
    fall = base / 2 * (1 + np.cos(np.linspace(0, np.pi, total - warmup, endpoint=False)))
    return np.concatenate([line, fall])[step]


def check_3(answer):
    """answer(gradients, longest): all of them clipped by their common length."""
    got = answer([np.array([3.0]), np.array([[4.0]])], 1.0)
    values = [float(np.ravel(part)[0]) for part in got]
    if not np.allclose(values, [0.6, 0.8], atol=1e-5):
        return (
            f"(3) and (4) together are 5 long; clipped to 1: expected 0.6 and 0.8, got {values[0]:.4g}, {values[1]:.4g}"
        )
    rng = np.random.default_rng(3)
    gradients = [rng.normal(size=shape) for shape in ((2, 3), (4,), ())]
    before = [gradient.copy() for gradient in gradients]
    for longest in (0.5, 100.0):
        got = answer(gradients, longest)
        if not all(np.array_equal(a, b) for a, b in zip(gradients, before, strict=True)):
            return "your function changed the arrays that it got; return new ones"
        for a, b in zip(got, solution_3(gradients, longest), strict=True):
            if not np.allclose(a, b, rtol=1e-4):
                first = np.ravel(b)[0], np.ravel(a)[0]
                return f"three arrays, longest {longest:g}: expected {first[0]:.4f} as first number, got {first[1]:.4f}"
    with np.errstate(all="ignore"):
        got = answer([np.zeros(2)], 1.0)
    if not np.array_equal(np.asarray(got[0]), np.zeros(2)):
        return f"gradients of length 0 should stay 0, got {np.asarray(got[0]).tolist()}: mind the division"


def solution_3(gradients, longest):
    length = math.sqrt(sum((gradient**2).sum() for gradient in gradients))
    factor = longest / length if length > longest else 1  # gradients of length 0 stay as they are
    return [factor * gradient for gradient in gradients]


def right_3_one_vector(gradients, longest):
    flat = np.concatenate([np.ravel(g) for g in gradients])
    return [g / max(1, np.linalg.norm(flat) / longest) for g in gradients]


def right_3_scaled_norms(gradients, longest):
    length = np.linalg.norm([np.linalg.norm(g) for g in gradients])
    return [g * min(1.0, longest / (length + 1e-12)) for g in gradients]


def wrong_3_each_by_itself(gradients, longest):
    return [g * min(1, longest / np.linalg.norm(g)) for g in gradients]


def wrong_3_by_value(gradients, longest):
    return [np.clip(g, -longest, longest) for g in gradients]


def wrong_3_stretches(gradients, longest):
    length = math.sqrt(sum((g**2).sum() for g in gradients))
    return [g * longest / length for g in gradients]


def check_4(answer):
    """answer(weights, H, W, M, shift): windows' weights on the whole map."""
    rng = np.random.default_rng(4)
    for H, W, M, shift in ((4, 4, 2, 0), (4, 6, 2, 1), (6, 9, 3, 1)):
        weights = rng.random((H // M * (W // M), M * M, M * M))
        got, wanted = np.asarray(answer(weights, H, W, M, shift)), solution_4(weights, H, W, M, shift)
        if got.shape != wanted.shape:
            return f"map {H} x {W}: expected shape {wanted.shape}, got {got.shape}"
        if not np.array_equal(got, wanted):
            i, j = np.argwhere(got != wanted)[0]
            pair = f"query ({i // W}, {i % W}), key ({j // W}, {j % W})"
            return f"map {H} x {W}, M = {M}, shift {shift}: {pair}: expected {wanted[i, j]:.3f}, got {got[i, j]:.3f}"


def solution_4(weights, H, W, M, shift):
    numbers = np.arange(H * W).reshape(H, W)
    rolled = np.roll(numbers, (-shift, -shift), axis=(0, 1))
    windows = rolled.reshape(H // M, M, W // M, M).swapaxes(1, 2).reshape(-1, M * M)
    A = np.zeros((H * W, H * W))
    for tokens, window in zip(windows, weights, strict=True):
        A[tokens[:, None], tokens] = window
    return A


def wrong_4_not_shifted(weights, H, W, M, shift):
    return solution_4(weights, H, W, M, 0)


def wrong_4_other_way(weights, H, W, M, shift):
    return solution_4(weights, H, W, M, -shift)


def wrong_4_transposed(weights, H, W, M, shift):
    return solution_4(weights, H, W, M, shift).T


def wrong_4_row_by_row(weights, H, W, M, shift):
    """As if a window's tokens followed each other on the map."""
    A = np.zeros((H * W, H * W))
    for k, window in enumerate(weights):
        part = slice(k * M * M, (k + 1) * M * M)
        A[part, part] = window
    return A


def right_4_pairs(weights, H, W, M, shift):
    A = np.zeros((H * W, H * W))
    for k, i, j in np.ndindex(weights.shape):
        place = []
        for token in (i, j):
            row = (k // (W // M) * M + token // M + shift) % H
            column = (k % (W // M) * M + token % M + shift) % W
            place.append(row * W + column)
        A[tuple(place)] = weights[k, i, j]
    return A


def right_4_blocks_then_order(weights, H, W, M, shift):
    """All windows along the diagonal, then rows and columns put in the map's order."""
    numbers = np.roll(np.arange(H * W).reshape(H, W), (-shift, -shift), axis=(0, 1))
    order = numbers.reshape(H // M, M, W // M, M).transpose(0, 2, 1, 3).ravel()
    A = np.zeros((H * W, H * W))
    for k, window in enumerate(weights):
        A[k * M * M : (k + 1) * M * M, k * M * M : (k + 1) * M * M] = window
    back = np.argsort(order)
    return A[back][:, back]


def check_5(answer):
    """answer(attentions): the product of (mean of heads + I) / 2."""
    rng = np.random.default_rng(5)
    attentions = [rng.dirichlet(np.ones(4), size=(heads, 4)) for heads in (2, 3, 2)]
    got = answer([np.full((1, 2, 2), 0.5)])
    if hint := off("one block, all weights ½: expected [[¾, ¼], [¼, ¾]]", got, np.array([[0.75, 0.25], [0.25, 0.75]])):
        return hint
    got = np.asarray(answer(attentions))
    if got.shape == (4, 4) and not np.allclose(got.sum(axis=1), 1):
        return f"three blocks: each row must sum to 1, the first sums to {got[0].sum():.4f}"
    return off("three blocks", got, solution_5(attentions))


def solution_5(attentions):
    R = np.eye(attentions[0].shape[-1])
    for A in attentions:
        R = (A.mean(axis=0) + np.eye(len(R))) / 2 @ R
    return R


def wrong_5_order(attentions):
    return solution_5(attentions[::-1])


def wrong_5_no_residual(attentions):
    R = np.eye(attentions[0].shape[-1])
    for A in attentions:
        R = A.mean(axis=0) @ R
    return R


def wrong_5_not_halved(attentions):
    R = np.eye(attentions[0].shape[-1])
    for A in attentions:
        R = (A.mean(axis=0) + np.eye(len(R))) @ R
    return R


def right_5_means_first(attentions):
    blocks = [0.5 * A.mean(0) + 0.5 * np.eye(A.shape[-1]) for A in attentions]
    return np.linalg.multi_dot(blocks[::-1]) if len(blocks) > 1 else blocks[0]


def right_5_from_the_end(attentions):
    R = np.eye(attentions[0].shape[-1])
    for A in reversed(attentions):
        R = (R @ np.mean(A, axis=0) + R) / 2
    return R
