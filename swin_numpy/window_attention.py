"""W-MSA and SW-MSA: multi-head self-attention inside windows, with relative position bias (Liu et al. 2021, eq. 4)."""

import numpy as np
from einops import rearrange, reduce

from .functional import softmax, softmax_backward
from .layers import Dropout, Linear, small_normal
from .module import Module, Parameter
from .windows import check_array, pair, relative_position_index


class WindowAttention(Module):
    """softmax(Q Kᵀ / √d + B) V in every window. With a mask it is SW-MSA, without one W-MSA.

    dim: channels c; window_size: M or (rows, columns); num_heads: a, each of width d = dim / num_heads.
    Raises ValueError if num_heads doesn't divide dim.
    """

    def __init__(self, dim, window_size, num_heads, qkv_bias=True, attn_drop=0.0, proj_drop=0.0):
        super().__init__()
        check_heads(dim, num_heads)
        mh, mw = self.window_size = pair(window_size)
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = Parameter(small_normal((2 * mh - 1) * (2 * mw - 1), num_heads))
        self.relative_position_index = relative_position_index(window_size)
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = Dropout(attn_drop)
        self.proj = Linear(dim, dim)
        self.proj_drop = Dropout(proj_drop)

    def forward(self, x, mask=None):
        """x (n, k, m, c), mask (k, m, m) → (n, k, m, c). Raises ValueError for any other shape."""
        check_windows(x, mask, self.relative_position_index.shape[0], self.qkv.weight.shape[1])
        q, k, v = rearrange(self.qkv(x), "n k m (three a d) -> three n k a m d", three=3, a=self.num_heads)
        scores = self.scale * q @ k.mT + self.relative_position_bias()  # (n k a i j) + (a i j)
        if mask is not None:
            scores = scores + rearrange(mask, "k i j -> k 1 i j")
        weights = softmax(scores, dim=-1)
        dropped = self.attn_drop(weights)
        self.save(q, k, v, weights, dropped)
        z = rearrange(dropped @ v, "n k a m d -> n k m (a d)")
        return self.proj_drop(self.proj(z))

    def backward(self, dy):
        """dy (n, k, m, c) → dx (n, k, m, c)."""
        q, k, v, weights, dropped = self.saved
        dz = self.proj.backward(self.proj_drop.backward(dy))
        dz = rearrange(dz, "n k m (a d) -> n k a m d", a=self.num_heads)
        ddropped, dv = dz @ v.mT, dropped.mT @ dz
        dscores = softmax_backward(self.attn_drop.backward(ddropped), weights)
        self.relative_position_bias_backward(reduce(dscores, "n k a i j -> a i j", "sum"))
        dq, dk = self.scale * (dscores @ k), self.scale * (dscores.mT @ q)
        return self.qkv.backward(rearrange([dq, dk, dv], "three n k a m d -> n k m (three a d)"))

    def relative_position_bias(self):
        """B (a, i, j): for each head, the table's entry for the offset from token j to token i."""
        bias = self.relative_position_bias_table[self.relative_position_index]
        return rearrange(bias, "i j a -> a i j")

    def relative_position_bias_backward(self, dbias):
        """dbias (a, i, j). Many pairs of tokens read the same entry of the table: their gradients meet there again."""
        entry, rows = self.relative_position_index.ravel(), len(self.relative_position_bias_table)
        dtable = [np.bincount(entry, dhead.ravel(), rows) for dhead in dbias]  # one column for each head
        self.relative_position_bias_table.accumulate(np.stack(dtable, axis=1))


def check_heads(dim, num_heads):
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"num_heads: expected a divisor of dim={dim}, got {num_heads}")


def check_windows(x, mask, tokens, dim):
    check_array("x", x)
    if x.ndim != 4 or tuple(x.shape[2:]) != (tokens, dim):
        raise ValueError(f"expected windows (n, k, {tokens}, {dim}), got shape {tuple(x.shape)}")
    expected = x.shape[1], tokens, tokens
    if mask is not None and tuple(mask.shape) != expected:
        raise ValueError(f"mask: expected {expected}, got shape {tuple(mask.shape)}")
