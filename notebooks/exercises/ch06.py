"""Exercises of chapter 06, the Swin block."""

import numpy as np

from swin_numpy import SwinTransformerBlock
from swin_numpy.functional import layer_norm


def check_1(answer):
    """answer(x, norm1, attend, norm2, mlp): the block."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4))
    matrices = rng.normal(size=(4, 4, 4))
    norm1, attend, norm2, mlp = (lambda v, A=A: np.tanh(v @ A) for A in matrices)
    wanted = solution_1(x, norm1, attend, norm2, mlp)
    got = np.asarray(answer(x, norm1, attend, norm2, mlp))
    if got.shape != wanted.shape:
        return f"expected shape {wanted.shape}, got {got.shape}"
    if np.allclose(got, wanted):
        return None
    likely = {
        "the stream itself is missing: each branch is added to x": mlp(norm2(attend(norm1(x)))),
        "the norm comes first, on the branch; yours comes after the sum": norm2(_sum(norm1(x + attend(x)), mlp)),
        "the second branch starts from the x that came in; it should start from the sum": (
            x + attend(norm1(x)) + mlp(norm2(x))
        ),
        "norm1 is used for both branches": _sum(x + attend(norm1(x)), lambda v: mlp(norm1(v))),
        "the norm lies on the stream: x + branch(norm(x)), the first x without a norm": (
            norm2(norm1(x) + attend(norm1(x))) + mlp(norm2(norm1(x) + attend(norm1(x))))
        ),
    }
    for reason, value in likely.items():
        if np.allclose(got, value):
            return reason
    return f"shape is right, numbers are off by up to {np.abs(got - wanted).max():.3g}"


def _sum(x, branch):
    return x + branch(x)


def solution_1(x, norm1, attend, norm2, mlp):
    x = x + attend(norm1(x))
    return x + mlp(norm2(x))


def right_1_named(x, norm1, attend, norm2, mlp):
    between = attend(norm1(x)) + x
    return between + mlp(norm2(between))


def right_1_one_line(x, norm1, attend, norm2, mlp):
    return (x := x + attend(norm1(x))) + mlp(norm2(x))


def wrong_1_no_residual(x, norm1, attend, norm2, mlp):
    return mlp(norm2(attend(norm1(x))))


def wrong_1_post_norm(x, norm1, attend, norm2, mlp):
    x = norm1(x + attend(x))
    return norm2(x + mlp(x))


def wrong_1_parallel(x, norm1, attend, norm2, mlp):
    return x + attend(norm1(x)) + mlp(norm2(x))


def wrong_1_shared_norm(x, norm1, attend, norm2, mlp):
    x = x + attend(norm1(x))
    return x + mlp(norm1(x))


def check_2(answer):
    """answer(x, weight, bias, eps): layer norm."""
    rng = np.random.default_rng(0)
    x = np.concatenate((rng.normal(3, 2, (2, 3, 4)), np.full((2, 1, 4), 5.0)), axis=1)  # one constant token
    weight, bias = rng.normal(size=(2, 4))
    with np.errstate(all="ignore"):
        got, plain = np.asarray(answer(x, weight, bias)), np.asarray(answer(x, np.ones(4), np.zeros(4)))
    if got.shape != x.shape:
        return f"expected shape {x.shape}, got {got.shape}"
    if not np.isfinite(got).all():
        return "a token whose numbers are all 5 gives NaN or infinity: where does eps go?"
    means, spread = plain[:, :3].mean(-1), plain[:, :3].var(-1)
    if not np.allclose(means, 0, atol=1e-6):
        return f"with weight 1 and bias 0 each token should have mean 0; yours have {means[0].round(3)}"
    if not np.allclose(spread, 1, atol=1e-3):
        return f"with weight 1 and bias 0 each token should have variance 1; yours have {spread[0].round(3)}"
    gap = np.abs(got - layer_norm(x, weight, bias)).max()
    if gap > 1e-9:
        return f"mean and variance are right, but numbers are off by {gap:.2g}: is eps under the root? weight and bias?"


def solution_2(x, weight, bias, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)  # divided by c, not by c - 1
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def right_2_by_moments(x, weight, bias, eps=1e-5):
    c = x.shape[-1]
    mean = (x.sum(-1) / c)[..., None]
    variance = ((x - mean) ** 2).sum(-1, keepdims=True) / c
    return weight * (x - mean) * (variance + eps) ** -0.5 + bias


def right_2_torch(x, weight, bias, eps=1e-5):
    import torch

    x, weight, bias = (torch.from_numpy(np.asarray(value)) for value in (x, weight, bias))
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, eps).numpy()


def wrong_2_over_tokens(x, weight, bias, eps=1e-5):
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps) * weight + bias


def wrong_2_no_root(x, weight, bias, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / (x.var(-1, keepdims=True) + eps) * weight + bias


def wrong_2_no_eps(x, weight, bias, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * weight + bias


def wrong_2_eps_outside(x, weight, bias, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + eps) * weight + bias


def check_3(answer):
    """answer(x, rate, rng): drop path in training."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3, 2)) + 3
    rate = 0.25
    got = np.asarray(answer(x, rate, rng))
    if got.shape != x.shape:
        return f"expected shape {x.shape}, got {got.shape}"
    factor = got / x
    if np.ptp(factor, axis=(1, 2)).max() > 1e-9:
        return "within one sample some numbers are dropped and others stay: draw once for each sample"
    factor = factor[:, 0, 0]
    dropped = np.mean(factor == 0)
    if np.ptp(factor) < 1e-9:
        return f"all samples got the same factor, {factor[0]:.3g}: draw once for each sample, not once for the batch"
    if abs(dropped - rate) > 0.05:
        return f"rate {rate}: {dropped:.0%} of the samples were dropped"
    kept = factor[factor != 0]
    if not np.allclose(kept, 1 / (1 - rate)):
        return f"kept samples are multiplied by {kept[0]:.3g}; for the mean to stay it takes {1 / (1 - rate):.3g}"


def solution_3(x, rate, rng):
    kept = rng.random((x.shape[0], 1, 1)) >= rate  # one draw a sample
    return x * kept / (1 - rate)


def right_3_where(x, rate, rng):
    dropped = rng.random(len(x)) < rate
    return np.where(dropped[:, None, None], 0, x / (1 - rate))


def right_3_loop(x, rate, rng):
    return np.stack([image / (1 - rate) if rng.random() > rate else 0 * image for image in x])


def wrong_3_dropout(x, rate, rng):
    return x * (rng.random(x.shape) >= rate) / (1 - rate)


def wrong_3_batch(x, rate, rng):
    return x * (rng.random() >= rate) / (1 - rate)


def wrong_3_no_growth(x, rate, rng):
    return x * (rng.random((len(x), 1, 1)) >= rate)


def wrong_3_keep_rate(x, rate, rng):
    return x * (rng.random((len(x), 1, 1)) < rate) / rate


def check_4(answer):
    """answer(depths, last_rate): rates by stage."""
    for depths, last in (((2, 2, 6, 2), 0.2), ((1, 3), 0.3), ((2, 1, 2), 0.5)):
        got, wanted = answer(depths, last), solution_4(depths, last)
        if [len(stage) for stage in got] != list(depths):
            return f"depths {depths}: expected as many rates as blocks, got {[len(stage) for stage in got]}"
        flat, right = np.concatenate(got), np.concatenate(wanted)
        if not np.allclose(flat, right):
            block = int(np.argmax(~np.isclose(flat, right)))
            return (
                f"depths {depths}, last rate {last}: block {block} has {flat[block]:.4g}, expected {right[block]:.4g}"
            )


def solution_4(depths, last_rate):
    rates = iter(np.linspace(0, last_rate, sum(depths)).tolist())
    return [[next(rates) for _ in range(depth)] for depth in depths]


def right_4_slices(depths, last_rate):
    ends = np.cumsum(depths)
    rates = [last_rate * block / (ends[-1] - 1) for block in range(ends[-1])]
    return [rates[end - depth : end] for end, depth in zip(ends, depths, strict=True)]


def right_4_split(depths, last_rate):
    return np.split(np.linspace(0, last_rate, sum(depths)), np.cumsum(depths)[:-1])


def wrong_4_constant(depths, last_rate):
    return [[last_rate] * depth for depth in depths]


def wrong_4_each_stage(depths, last_rate):
    return [np.linspace(0, last_rate, depth).tolist() for depth in depths]


def wrong_4_never_reaches(depths, last_rate):
    rates = iter(range(sum(depths)))
    return [[last_rate * next(rates) / sum(depths) for _ in range(depth)] for depth in depths]


def check_5(answer):
    """answer(C, heads, M): parameters of a block."""
    for C, heads, M in ((8, 2, 2), (96, 3, 7), (48, 6, 4)):
        block = SwinTransformerBlock(C, heads, window_size=M)
        sizes = {name: value.size for name, value in block.named_parameters()}
        gap = answer(C, heads, M) - sum(sizes.values())
        if gap:
            fitting = [name for name, size in sizes.items() if size == abs(gap)]
            hint = f"; that is the size of {' or '.join(fitting)}" if fitting else ""
            return f"C={C}, heads={heads}, M={M}: yours has {abs(gap):,} {'too many' if gap > 0 else 'too few'}{hint}"


def solution_5(C, heads, M):
    norms = 2 * 2 * C
    attention = 3 * C * C + 3 * C + C * C + C + (2 * M - 1) ** 2 * heads
    mlp = 4 * C * C + 4 * C + 4 * C * C + C
    return norms + attention + mlp


def right_5_by_factors(C, heads, M):
    return 12 * C**2 + 13 * C + heads * (2 * M - 1) ** 2


def right_5_by_layer(C, heads, M):
    shapes = (C, 3 * C), (C, C), (C, 4 * C), (4 * C, C)
    return sum((rows + 1) * columns for rows, columns in shapes) + 4 * C + (4 * M * M - 4 * M + 1) * heads


def wrong_5_no_table(C, heads, M):
    return solution_5(C, heads, M) - (2 * M - 1) ** 2 * heads


def wrong_5_one_norm(C, heads, M):
    return solution_5(C, heads, M) - 2 * C


def wrong_5_shared_table(C, heads, M):
    return solution_5(C, heads, M) - (2 * M - 1) ** 2 * (heads - 1)
