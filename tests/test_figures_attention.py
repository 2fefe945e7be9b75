"""Pictures of self-attention on small matrices."""

import pytest

from figures import attention
from tests.drawings import RNG, check_page, every, refused, softmax

X, W_Q, W_K, W_V = (RNG.normal(size=shape) for shape in ((4, 6), (6, 3), (6, 3), (6, 3)))
Q, K, V = X @ W_Q, X @ W_K, X @ W_V
SCORES = Q @ K.T
TOKENS = ["the", "cat", "sat", "down"]
PICTURES = {
    "matrix_product": lambda: attention.matrix_product(X, W_Q, Q, tokens=TOKENS),
    "qkv": lambda: attention.qkv(X, W_Q, W_K, W_V, Q, K, V, TOKENS),
    "qkv_unnamed": lambda: attention.qkv(X[:, :2], W_Q[:2], W_K[:2], W_V[:2], Q, K, V),
    "scores": lambda: attention.scores(SCORES, TOKENS, TOKENS),
    "softmax_steps": lambda: attention.softmax_steps(SCORES, SCORES / 2, softmax(SCORES / 2), TOKENS),
    "weighted_sum": lambda: attention.weighted_sum(softmax(SCORES)[0], V, softmax(SCORES)[0] @ V, TOKENS),
    "heads": lambda: attention.heads(softmax(RNG.normal(size=(3, 4, 4))), TOKENS),
    "heads_many": lambda: attention.heads(softmax(RNG.normal(size=(6, 49, 49)) * 3)),
    "temperature": lambda: attention.temperature(SCORES[0], (0.5, 1, 2, 8), TOKENS),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: attention.qkv(X, W_Q, W_K, W_V[:5], Q, K, V),
        lambda: attention.qkv(X, W_Q, W_K, W_V, Q, K, V[:3]),
        lambda: attention.qkv(X, W_Q, W_K, W_V, Q, K, V, TOKENS[:3]),
        lambda: attention.scores(SCORES[0]),
        lambda: attention.softmax_steps(SCORES, SCORES, SCORES[:2]),
        lambda: attention.weighted_sum(SCORES[0], V[:3], V[0]),
        lambda: attention.heads(SCORES),
        lambda: attention.temperature(SCORES[0], (1, 0)),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)
