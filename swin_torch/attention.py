"""Self-attention from its definition (Vaswani et al. 2017, eq. 1), with every matrix kept for inspection.

Axis names: i query token · j key token · a heads · d head width. Leading axes (batch, windows) are free.
"""

import math
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor
from torch.nn.functional import softmax

from .module import added, check_array, check_shape, check_whole


@dataclass(frozen=True)
class Attention:
    """Every step of self-attention. Each row belongs to one token."""

    Q: Tensor  # (..., i, d)  what each token looks for
    K: Tensor  # (..., j, d)  what each token can be found by
    V: Tensor  # (..., j, d)  what each token passes on
    scores: Tensor  # (..., i, j)  Q Kᵀ / √d, plus the mask if there is one
    weights: Tensor  # (..., i, j)  softmax of each row: every row sums to 1
    Z: Tensor  # (..., i, d)  weights · V: row i is a weighted mean of the rows of V


def self_attention(X, W_Q, W_K, W_V, mask=None):
    """softmax(Q Kᵀ / √d_k) V with Q = X W_Q, K = X W_K, V = X W_V.

    X (..., tokens, c), one row per token; W_Q and W_K (c, d_k), W_V (c, d_v).
    mask, of a shape that broadcasts to (..., tokens, tokens): booleans, True where query i may attend to key j, or
    numbers that are added to the scores, of which -100 or -inf hides key j.
    A query that has no key left (all False or -inf) gives NaN.
    Raises ValueError if the shapes don't fit, TypeError for anything but arrays of real numbers.
    """
    _check_projections(X, W_Q, W_K, W_V)
    return scaled_dot_product(X @ W_Q, X @ W_K, X @ W_V, mask)


def multi_head_self_attention(X, W_Q, W_K, W_V, W_O, num_heads, mask=None):
    """Self-attention `num_heads` times, each head in its own slice of the channels.

    X (..., tokens, c); W_Q, W_K, W_V (c, c), head a owning columns a·d to (a+1)·d with d = c / num_heads;
    W_O (c, c) mixes the heads. Q, K, V, scores and weights come back with a heads axis (..., a, i, …),
    Z without one: (..., tokens, c). mask and errors as in self_attention.
    """
    _check_projections(X, W_Q, W_K, W_V)
    num_heads = _check_heads(W_Q, W_V, W_O, num_heads)
    Q, K, V = (split_heads(X @ W, num_heads) for W in (W_Q, W_K, W_V))
    heads = scaled_dot_product(Q, K, V, mask)
    Z = rearrange(heads.Z, "... a m d -> ... m (a d)") @ W_O
    return Attention(Q, K, V, heads.scores, heads.weights, Z)


def scaled_dot_product(Q, K, V, mask=None):
    """softmax(Q Kᵀ / √d + mask) V. Q (..., i, d), K (..., j, d), V (..., j, d_v) → Z (..., i, d_v) and every step."""
    scores = Q @ K.mT / math.sqrt(Q.shape[-1])
    if mask is not None:
        mask = added(mask, scores)
        _check_mask(mask, scores)
        scores = scores + mask
    weights = softmax(scores, dim=-1)
    return Attention(Q, K, V, scores, weights, weights @ V)


def split_heads(x, num_heads):
    """(..., m, c) → (..., a, m, d): head a takes the channels from a·d to (a+1)·d."""
    return rearrange(x, "... m (a d) -> ... a m d", a=num_heads)


def _check_projections(X, W_Q, W_K, W_V):
    check_array("X", X)
    if X.ndim < 2:
        raise ValueError(f"X: expected shape (..., tokens, channels), got {tuple(X.shape)}")
    check_shape("W_Q", W_Q, X.shape[-1], "d_k")
    check_shape("W_K", W_K, X.shape[-1], W_Q.shape[1])
    check_shape("W_V", W_V, X.shape[-1], "d_v")


def _check_heads(W_Q, W_V, W_O, num_heads):
    widths, num_heads = (W_Q.shape[1], W_V.shape[1]), check_whole("num_heads", num_heads)
    if any(width % num_heads for width in widths):
        raise ValueError(f"num_heads: expected a divisor of the widths {widths} of W_Q and W_V, got {num_heads}")
    check_shape("W_O", W_O, widths[1], "c")
    return num_heads


def _check_mask(mask, scores):
    fits = (m in (1, s) for m, s in zip(mask.shape[::-1], scores.shape[::-1], strict=False))
    if mask.ndim > scores.ndim or not all(fits):
        raise ValueError(f"mask: expected a shape that broadcasts to {tuple(scores.shape)}, got {tuple(mask.shape)}")
