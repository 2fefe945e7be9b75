"""Exercises of chapter 01, self-attention."""

import math

import numpy as np

from swin_numpy.functional import softmax


def check_1(answer):
    """answer(scores): the softmax of each row, for scores (..., i, j) of any size."""
    scores = np.array([[0.0, math.log(3)], [1.0, 1.0]])
    with np.errstate(all="ignore"):
        weights = np.asarray(answer(scores))
        large = np.asarray(answer(scores + 1000))
    if weights.shape != scores.shape:
        return f"expected the shape of the scores, {scores.shape}, got {weights.shape}"
    if not np.allclose(weights.sum(-1), 1):
        return f"every row should sum to 1, but the rows sum to {weights.sum(-1).round(3).tolist()}"
    if not np.allclose(weights, [[0.25, 0.75], [0.5, 0.5]]):
        return (
            f"the rows [0, log 3] and [1, 1] should give [0.25, 0.75] and [0.5, 0.5], got {weights.round(3).tolist()}"
        )
    if not np.allclose(large, weights):
        return f"1000 more on every score should change nothing, but gives {large.tolist()}: subtract the maximum first"
    rows = np.array([[[0.0, 0.0, 1000.0]], [[1.0, 1.0, 1.0]]])  # two matrices of one row, far apart
    with np.errstate(all="ignore"):
        got = np.asarray(answer(rows))
    if got.shape != rows.shape or not np.allclose(got, [[[0, 0, 1]], [[1 / 3] * 3]]):
        return (
            f"a row of its own maximum each: {rows.tolist()} should give [0, 0, 1] and three thirds, got {got.tolist()}"
        )
    stacked = np.zeros((2, 3, 4))
    if not np.allclose(np.asarray(answer(stacked)), 0.25):
        return "the last axis is the row, however many axes stand before it: four equal scores should give 1/4 each"


def solution_1(scores):
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))  # now the largest exponent is 0
    return exp / exp.sum(axis=-1, keepdims=True)


def wrong_1_columns(scores):
    exp = np.exp(scores - scores.max())
    return exp / exp.sum(axis=0)


def wrong_1_whole_matrix(scores):
    exp = np.exp(scores)
    return exp / exp.sum()


def wrong_1_overflow(scores):
    exp = np.exp(scores)
    return exp / exp.sum(axis=-1, keepdims=True)


def wrong_1_axis_1(scores):
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def wrong_1_one_maximum(scores):
    exp = np.exp(scores - scores.max())
    return exp / exp.sum(axis=-1, keepdims=True)


def right_1_by_logarithm(scores):
    return np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))


def right_1_loop(scores):
    return np.array([softmax(row) for row in scores.reshape(-1, scores.shape[-1])]).reshape(scores.shape)


def check_2(answer):
    """answer(Q, K, V): Z, for matrices with i and j tokens; V may be wider than K."""
    rng = np.random.default_rng(1)
    for d in (4, 9):
        Q, K, V = rng.standard_normal((3, d)), rng.standard_normal((5, d)), rng.standard_normal((5, 7))
        with np.errstate(all="ignore"):
            Z = np.asarray(answer(Q, K, V))
        if Z.shape != (3, 7):
            return f"3 queries of width {d} and 5 values of width 7 should give Z of shape (3, 7), got {Z.shape}"
        scores = Q @ K.T / math.sqrt(d)
        likely = {
            "the scores are not divided by √d": softmax(Q @ K.T) @ V,
            "the scores are divided by d, not by √d": softmax(Q @ K.T / d) @ V,
            "d is the width of Q and K, not that of V": softmax(Q @ K.T / math.sqrt(7)) @ V,
            "the softmax runs down the columns; it should run along each row": softmax(scores, dim=0) @ V,
            "the softmax is missing": scores @ V,
        }
        for mistake, result in likely.items():
            if np.allclose(Z, result):
                return mistake
        expected = softmax(scores) @ V
        if not np.allclose(Z, expected):
            return f"right shape, but for d = {d} Z[0, 0] should be {expected[0, 0]:.4f} and is {Z[0, 0]:.4f}"


def solution_2(Q, K, V):
    weights = softmax(Q @ K.T / np.sqrt(Q.shape[-1]))
    return weights @ V


def wrong_2_unscaled(Q, K, V):
    return solution_1(Q @ K.T) @ V


def wrong_2_width_of_V(Q, K, V):
    return solution_1(Q @ K.T / np.sqrt(V.shape[-1])) @ V


def wrong_2_width_of_4(Q, K, V):
    return solution_1(Q @ K.T / 2) @ V


def wrong_2_columns(Q, K, V):
    return solution_1((Q @ K.T).T / np.sqrt(Q.shape[-1])).T @ V


def wrong_2_by_d(Q, K, V):
    return solution_1(Q @ K.T / Q.shape[-1]) @ V


def right_2_one_query_at_a_time(Q, K, V):
    return np.stack([softmax(K @ q / math.sqrt(len(q))) @ V for q in Q])


def right_2_scaled_query(Q, K, V):
    return np.einsum("ij,jd->id", softmax((Q * Q.shape[1] ** -0.5) @ K.T), V)


def check_3(answer):
    """answer(x, num_heads): (m, c) → (a, m, d), head a taking the channels a·d to (a+1)·d."""
    x = 10 * np.arange(3)[:, None] + np.arange(4)  # 10 · token + channel
    heads = np.asarray(answer(x, 2))
    if heads.shape != (2, 3, 2):
        return f"3 tokens of 4 channels in 2 heads should have shape (2, 3, 2), got {heads.shape}"
    tokens = heads[0] // 10
    if not (tokens == np.arange(3)[:, None]).all():
        return f"row k of each head should hold token k, but head 0 holds tokens {tokens.tolist()}: move an axis"
    channels = heads[:, 0] % 10
    if not (channels == [[0, 1], [2, 3]]).all():
        return f"head 0 should take channels [0, 1] and head 1 [2, 3], got {channels.tolist()}"
    x = 10 * np.arange(5)[:, None] + np.arange(9)
    heads = np.asarray(answer(x, 3))
    if heads.shape != (3, 5, 3) or not (heads == np.stack([x[:, :3], x[:, 3:6], x[:, 6:]])).all():
        return f"5 tokens of 9 channels in 3 heads: head a should be x[:, 3a : 3a + 3], got shape {heads.shape}"


def solution_3(x, num_heads):
    m, c = x.shape
    return x.reshape(m, num_heads, c // num_heads).swapaxes(0, 1)


def right_3_slices(x, num_heads):
    d = x.shape[1] // num_heads
    return np.stack([x[:, a * d : (a + 1) * d] for a in range(num_heads)])


def right_3_split(x, num_heads):
    return np.array(np.split(x, num_heads, axis=1))


def wrong_3_two_heads(x, num_heads):
    half = x.shape[1] // 2
    return np.stack([x[:, :half], x[:, half : 2 * half]])


def wrong_3_reshape(x, num_heads):
    m, c = x.shape
    return x.reshape(num_heads, m, c // num_heads)


def wrong_3_interleaved(x, num_heads):
    m, c = x.shape
    return x.reshape(m, c // num_heads, num_heads).transpose(2, 0, 1)


def check_4(answer):
    """answer(weights): any scores whose softmax is `weights`."""
    for weights in np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.25, 0.25]):
        scores = np.asarray(answer(weights), dtype=float)
        if scores.shape != weights.shape:
            return f"expected one score for each weight, shape {weights.shape}, got {scores.shape}"
        if not np.allclose(softmax(scores), weights):
            return f"the softmax of your scores is {softmax(scores).round(3).tolist()}, not {weights.tolist()}"


def solution_4(weights):
    return np.log(weights)  # plus any number: the softmax doesn't see what all scores have in common


def right_4_shifted(weights):
    return np.log(weights / weights.max()) + 3


def right_4_loop(weights):
    return [math.log(weight) for weight in weights]


def wrong_4_hard_coded(weights):
    return np.log([0.1, 0.2, 0.3, 0.4])


def wrong_4_weights(weights):
    return weights


def wrong_4_base(weights):
    return np.log2(weights)


def check_5(answer):
    """answer(n, c): multiply-adds of multi-head self-attention of n tokens with c channels."""
    for n, c in ((10, 3), (49, 96)):
        count, expected = answer(n, c), 4 * n * c * c + 2 * n * n * c
        likely = {
            3 * n * c * c + 2 * n * n * c: "the last projection W_O is missing",
            4 * n * c * c + n * n * c: "one of the two products with an n × n matrix is missing: QKᵀ, and weights · V",
            4 * n * c * c: "QKᵀ and weights · V are missing",
            2 * n * n * c: "the four projections are missing",
        }
        if count in likely:
            return likely[count]
        if count != expected:
            return f"{n} tokens with {c} channels take {expected} multiply-adds, got {count}"


def solution_5(n, c):
    projections = 4 * n * c * c  # Q, K, V and, at the end, W_O: each n rows times a (c, c) matrix
    attention = 2 * n * n * c  # QKᵀ and weights · V; a heads of width c / a cost the same as one of width c
    return projections + attention


def wrong_5_three_projections(n, c):
    return 3 * n * c**2 + 2 * n**2 * c


def wrong_5_scores_only(n, c):
    return 4 * n * c**2 + n**2 * c


def wrong_5_hard_coded(n, c):
    return 960


def wrong_5_one_token(n, c):
    return 4 * c**2 + 2 * n * c


def right_5_factored(n, c):
    return 2 * n * c * (2 * c + n)


def right_5_by_product(n, c):
    products = [(n, c, c)] * 4 + [(n, c, n), (n, n, c)]  # (rows, inner, columns)
    return sum(rows * inner * columns for rows, inner, columns in products)
