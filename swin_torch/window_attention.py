"""W-MSA and SW-MSA: multi-head self-attention inside windows, with relative position bias (Liu et al. 2021, eq. 4)."""

import math

import torch
from einops import rearrange
from torch.nn import Dropout, Linear, Module, Parameter, ReLU, Sequential, Sigmoid
from torch.nn.functional import softmax

from .windows import check_array, pair, relative_coordinates, relative_position_index

LOG_100 = math.log(100)  # V2: its learned scale is exp of a parameter, which counts only up to here


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
        self.relative_position_bias_table = Parameter(0.02 * torch.randn((2 * mh - 1) * (2 * mw - 1), num_heads))
        self.register_buffer("relative_position_index", relative_position_index(window_size), persistent=False)
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
        z = rearrange(dropped @ v, "n k a m d -> n k m (a d)")
        return self.proj_drop(self.proj(z))

    def relative_position_bias(self):
        """B (a, i, j): for each head, the table's entry for the offset from token j to token i."""
        bias = self.relative_position_bias_table[self.relative_position_index]
        return rearrange(bias, "i j a -> a i j")


class WindowAttentionV2(WindowAttention):
    """softmax(scale · cos(Q, K) + B) V in every window: Swin V2 (Liu et al. 2022, sections 3.2 and 3.3).

    Queries and keys are compared by their direction alone; the scale, at most 100, is learned for each head. B is
    16 · sigmoid of what a small network says of each offset. Keys have no bias. The rest is WindowAttention's.

    pretrained_window_size: the window that the small network was trained at; 0: the same as window_size.
    """

    def __init__(
        self, dim, window_size, num_heads, qkv_bias=True, attn_drop=0.0, proj_drop=0.0, pretrained_window_size=0
    ):
        super().__init__(dim, window_size, num_heads, False, attn_drop, proj_drop)
        del self.scale, self.relative_position_bias_table  # V2 learns the one and computes the other
        self.q_bias = Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = Parameter(torch.zeros(dim)) if qkv_bias else None
        self.logit_scale = Parameter(torch.full((num_heads, 1, 1), math.log(10)))
        self.cpb_mlp = Sequential(Linear(2, 512), ReLU(), Linear(512, num_heads, bias=False))
        self.sigmoid = Sigmoid()
        offsets = relative_coordinates(window_size, pretrained_window_size)
        self.register_buffer("relative_coords_table", offsets, persistent=False)

    def forward(self, x, mask=None):
        """x (n, k, m, c), mask (k, m, m) → (n, k, m, c). Raises ValueError for any other shape."""
        check_windows(x, mask, self.relative_position_index.shape[0], self.qkv.weight.shape[1])
        q, k, v = rearrange(self.qkv(x), "n k m (three a d) -> three n k a m d", three=3, a=self.num_heads)
        if self.q_bias is not None:
            q = q + rearrange(self.q_bias, "(a d) -> a 1 d", a=self.num_heads)
            v = v + rearrange(self.v_bias, "(a d) -> a 1 d", a=self.num_heads)
        scale = torch.exp(torch.clamp(self.logit_scale, max=LOG_100))
        scores = scale * unit_vectors(q) @ unit_vectors(k).mT + self.relative_position_bias()
        if mask is not None:
            scores = scores + rearrange(mask, "k i j -> k 1 i j")
        weights = softmax(scores, dim=-1)
        dropped = self.attn_drop(weights)
        z = rearrange(dropped @ v, "n k a m d -> n k m (a d)")
        return self.proj_drop(self.proj(z))

    def relative_position_bias(self):
        """B (a, i, j): for each head, what the small network says of the offset from token j to token i."""
        table = 16 * self.sigmoid(self.cpb_mlp(self.relative_coords_table))
        bias = table[self.relative_position_index]
        return rearrange(bias, "i j a -> a i j")


def unit_vectors(x):
    """Every vector brought to length 1, but zeros stay zeros. x (..., d) → same."""
    return x / lengths(x)


def lengths(x):
    """‖x‖ over the last axis, or a tiny number where it is less, to divide by. x (..., d) → (..., 1)."""
    tiny = max(1e-12, torch.finfo(x.dtype).tiny)  # in half precision 1e-12 would be 0
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(tiny)


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
