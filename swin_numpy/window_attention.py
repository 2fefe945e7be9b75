"""W-MSA and SW-MSA: multi-head self-attention inside windows, with relative position bias (Liu et al. 2021, eq. 4)."""

import math

import numpy as np
from einops import rearrange, reduce

from .functional import add_up, softmax, softmax_backward
from .layers import Dropout, Linear, ReLU, Sequential, Sigmoid, small_normal
from .module import Module, Parameter, added, check_rate, check_shape, check_whole
from .windows import pair, relative_coordinates, relative_position_index

LOG_100 = math.log(100)  # V2: the scale is exp of a learned number, which is clamped here


class WindowAttention(Module):
    """softmax(Q Kᵀ / √d + B) V in every window. With a mask it is SW-MSA, without one W-MSA.

    dim: channels c; window_size: M or (rows, columns); num_heads: a, each of width d = dim / num_heads.
    qkv_bias: whether q, k and v have a bias. attn_drop, proj_drop: dropout of the weights and of the output.
    Raises ValueError if num_heads doesn't divide dim, TypeError or ValueError for sizes and rates that make no sense.
    """

    def __init__(self, dim, window_size, num_heads, *, qkv_bias=True, attn_drop=0.0, proj_drop=0.0):
        super().__init__()
        mh, mw = self.window_size = pair("window_size", window_size)
        self.dim = dim = check_whole("dim", dim)
        self.num_heads = num_heads = check_whole("num_heads", num_heads)
        if dim % num_heads:
            raise ValueError(f"num_heads: expected a divisor of dim={dim}, got {num_heads}")
        check_rate("attn_drop", attn_drop)
        check_rate("proj_drop", proj_drop)
        self.scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = Parameter(small_normal((2 * mh - 1) * (2 * mw - 1), num_heads))
        self.relative_position_index = relative_position_index(window_size)
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = Dropout(attn_drop)
        self.proj = Linear(dim, dim)
        self.proj_drop = Dropout(proj_drop)

    def forward(self, x, mask=None):
        """x (n, k, m, c), mask (k, m, m) → (n, k, m, c). Raises ValueError for another shape.

        mask: numbers to add to the scores, or booleans, True where query i may attend to key j.
        """
        q, k, v = self.project(x)
        weights = softmax(self.scores(q, k, mask), dim=-1)
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
        self.relative_position_bias_backward(reduce(dscores, "n k a i j -> a i j", add_up))
        dq, dk = self.compare_backward(dscores, q, k)
        return self.project_backward(dq, dk, dv)

    def attention_weights(self, x, mask=None):
        """How much query i attends to key j: x (n, k, m, c), mask (k, m, m) → (n, k, a, i, j). Sums to 1 over j."""
        q, k, _ = self.project(x)
        return softmax(self.scores(q, k, mask), dim=-1)

    def scores(self, q, k, mask=None):
        """q and k compared, plus B, plus the mask: q, k (n, k, a, m, d), mask (k, m, m) → (n, k, a, i, j)."""
        scores = self.compare(q, k) + self.relative_position_bias()  # (n k a i j) + (a i j)
        if mask is None:
            return scores
        check_shape("mask", mask, scores.shape[1], *scores.shape[3:])
        return scores + rearrange(added(mask, scores), "k i j -> k 1 i j")

    def project(self, x):
        """x (n, k, m, c) → q, k, v, each (n, k, a, m, d). Raises ValueError for another shape."""
        check_shape("windows", x, "n", "k", len(self.relative_position_index), self.dim)
        return rearrange(self.qkv(x), "n k m (three a d) -> three n k a m d", three=3, a=self.num_heads)

    def project_backward(self, dq, dk, dv):
        """dq, dk, dv (n, k, a, m, d) → dx (n, k, m, c)."""
        return self.qkv.backward(rearrange([dq, dk, dv], "three n k a m d -> n k m (three a d)"))

    def compare(self, q, k):
        """Q Kᵀ / √d: q, k (n, k, a, m, d) → (n, k, a, i, j)."""
        return self.scale * q @ k.mT

    def compare_backward(self, dscores, q, k):
        """dscores (n, k, a, i, j) → dq, dk (n, k, a, m, d)."""
        return self.scale * (dscores @ k), self.scale * (dscores.mT @ q)

    def relative_position_bias(self):
        """B (a, i, j): for each head, the table's entry for the offset from token j to token i."""
        bias = self.relative_position_bias_table[self.relative_position_index]
        return rearrange(bias, "i j a -> a i j")

    def relative_position_bias_backward(self, dbias):
        """dbias (a, i, j). Many pairs of tokens read the same entry of the table, so their gradients add up in it."""
        entry = self.relative_position_index.ravel()
        dtable = [np.bincount(entry, dhead.ravel()) for dhead in dbias]  # for each head, a sum for each entry
        self.bias_table_backward(np.stack(dtable, axis=1).astype(dbias.dtype))

    def bias_table_backward(self, dtable):
        """dtable (offsets, a): the gradient of the table."""
        self.relative_position_bias_table.accumulate(dtable)


class WindowAttentionV2(WindowAttention):
    """softmax(scale · cos(Q, K) + B) V in every window: Swin V2 (Liu et al. 2022, sections 3.2 and 3.3).

    Queries and keys are compared by direction alone; each head learns its scale, at most 100. B is computed from the
    offsets by a small network. Keys have no bias.

    pretrained_window_size: the window, M or (rows, columns), that the small network was trained at; 0: window_size.
    """

    def __init__(self, dim, window_size, num_heads, *, qkv_bias=True, pretrained_window_size=0, **dropout):
        super().__init__(dim, window_size, num_heads, qkv_bias=False, **dropout)
        del self.scale, self.relative_position_bias_table  # V2 learns the scale and computes the table
        self.q_bias = Parameter(np.zeros(dim, np.float32)) if qkv_bias else None
        self.v_bias = Parameter(np.zeros(dim, np.float32)) if qkv_bias else None
        self.logit_scale = Parameter(np.full((num_heads, 1, 1), math.log(10), np.float32))
        self.cpb_mlp = Sequential(Linear(2, 512), ReLU(), Linear(512, num_heads, bias=False))
        self.sigmoid = Sigmoid()
        self.relative_coords_table = relative_coordinates(window_size, pretrained_window_size)

    def project(self, x):
        """x (n, k, m, c) → q, k, v, each (n, k, a, m, d). Raises ValueError for another shape."""
        q, k, v = super().project(x)
        if self.q_bias is None:
            return q, k, v
        q_bias, v_bias = (rearrange(b, "(a d) -> a 1 d", a=self.num_heads) for b in (self.q_bias, self.v_bias))
        return q + q_bias, k, v + v_bias

    def project_backward(self, dq, dk, dv):
        """dq, dk, dv (n, k, a, m, d) → dx (n, k, m, c)."""
        if self.q_bias is not None:
            self.q_bias.accumulate(reduce(dq, "n k a m d -> (a d)", add_up))
            self.v_bias.accumulate(reduce(dv, "n k a m d -> (a d)", add_up))
        return super().project_backward(dq, dk, dv)

    def compare(self, q, k):
        """scale · cos(q, k): q, k (n, k, a, m, d) → (n, k, a, i, j)."""
        return self.learned_scale() * unit_vectors(q) @ unit_vectors(k).mT

    def compare_backward(self, dscores, q, k):
        """dscores (n, k, a, i, j) → dq, dk (n, k, a, m, d)."""
        scale = self.learned_scale()
        dscaled = dscores @ unit_vectors(k)  # the gradient of scale · unit_vectors(q)
        dscale = reduce(dscaled * unit_vectors(q), "n k a m d -> a 1 1", add_up)
        self.logit_scale.accumulate(dscale * scale * (self.logit_scale <= LOG_100))
        dq = unit_vectors_backward(scale * dscaled, q)
        return dq, unit_vectors_backward(scale * dscores.mT @ unit_vectors(q), k)

    def learned_scale(self):
        """What each head multiplies its cosines by, at most 100. Returns (a, 1, 1)."""
        return np.exp(np.minimum(self.logit_scale, LOG_100))

    def relative_position_bias(self):
        """B (a, i, j): 16 · sigmoid of what the small network gives for the offset from token j to token i."""
        table = 16 * self.sigmoid(self.cpb_mlp(self.relative_coords_table.astype(self.logit_scale.dtype)))
        bias = table[self.relative_position_index]
        return rearrange(bias, "i j a -> a i j")

    def bias_table_backward(self, dtable):
        """dtable (offsets, a). V1 learns these entries; here their gradients go on into the small network."""
        self.cpb_mlp.backward(self.sigmoid.backward(16 * dtable))


def unit_vectors(x):
    """Scale every vector to length 1; zeros stay zeros. x (..., d) → same."""
    return x / lengths(x)


def unit_vectors_backward(dy, x):
    """→ dx. A longer x gives the same output, so dy's part along x has no effect, and the rest less the longer x is."""
    y = unit_vectors(x)
    return (dy - np.vecdot(dy, y, keepdims=True) * y) / lengths(x)


def lengths(x):
    """‖x‖ over the last axis, at least a tiny number, so that one can divide by it. x (..., d) → (..., 1)."""
    tiny = max(1e-12, np.finfo(x.dtype).tiny)  # in half precision 1e-12 would be 0
    return np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), tiny)
