"""W-MSA and SW-MSA: multi-head self-attention inside windows, with relative position bias (Liu et al. 2021, eq. 4)."""

import math

import torch
from einops import rearrange
from torch.nn import Dropout, Linear, Module, Parameter, ReLU, Sequential, Sigmoid
from torch.nn.functional import softmax

from .module import added, check_rate, check_shape, check_whole
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
        self.relative_position_bias_table = Parameter(0.02 * torch.randn((2 * mh - 1) * (2 * mw - 1), num_heads))
        self.register_buffer("relative_position_index", relative_position_index(window_size), persistent=False)
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
        z = rearrange(dropped @ v, "n k a m d -> n k m (a d)")
        return self.proj_drop(self.proj(z))

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

    def compare(self, q, k):
        """Q Kᵀ / √d: q, k (n, k, a, m, d) → (n, k, a, i, j)."""
        return self.scale * q @ k.transpose(-2, -1)

    def relative_position_bias(self):
        """B (a, i, j): for each head, the table's entry for the offset from token j to token i."""
        bias = self.relative_position_bias_table[self.relative_position_index]
        return rearrange(bias, "i j a -> a i j")

    def _load_from_state_dict(self, *arguments):
        """Called by load_state_dict. The buffers, which no file holds, are garbage after to_empty, or still on meta."""
        super()._load_from_state_dict(*arguments)
        self._restore_buffer("relative_position_index", relative_position_index(self.window_size))

    def _restore_buffer(self, name, value):
        old = getattr(self, name)
        places = [parameter.device for parameter in self.parameters() if not parameter.is_meta]
        setattr(self, name, value.to(places[0] if old.is_meta and places else old.device, old.dtype))


class WindowAttentionV2(WindowAttention):
    """softmax(scale · cos(Q, K) + B) V in every window: Swin V2 (Liu et al. 2022, sections 3.2 and 3.3).

    Queries and keys are compared by direction alone; each head learns its scale, at most 100. B is computed from the
    offsets by a small network. Keys have no bias.

    pretrained_window_size: the window, M or (rows, columns), that the small network was trained at; 0: window_size.
    """

    def __init__(self, dim, window_size, num_heads, *, qkv_bias=True, pretrained_window_size=0, **dropout):
        super().__init__(dim, window_size, num_heads, qkv_bias=False, **dropout)
        self.pretrained_window_size = pair("pretrained_window_size", pretrained_window_size, 0)
        del self.scale, self.relative_position_bias_table  # V2 learns the scale and computes the table
        self.q_bias = Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = Parameter(torch.zeros(dim)) if qkv_bias else None
        self.logit_scale = Parameter(torch.full((num_heads, 1, 1), math.log(10)))
        self.cpb_mlp = Sequential(Linear(2, 512), ReLU(), Linear(512, num_heads, bias=False))
        self.sigmoid = Sigmoid()
        offsets = relative_coordinates(window_size, pretrained_window_size)
        self.register_buffer("relative_coords_table", offsets, persistent=False)

    def _load_from_state_dict(self, *arguments):
        super()._load_from_state_dict(*arguments)
        offsets = relative_coordinates(self.window_size, self.pretrained_window_size)
        self._restore_buffer("relative_coords_table", offsets)

    def project(self, x):
        """x (n, k, m, c) → q, k, v, each (n, k, a, m, d). Raises ValueError for another shape."""
        q, k, v = super().project(x)
        if self.q_bias is None:
            return q, k, v
        q_bias, v_bias = (rearrange(b, "(a d) -> a 1 d", a=self.num_heads) for b in (self.q_bias, self.v_bias))
        return q + q_bias, k, v + v_bias

    def compare(self, q, k):
        """scale · cos(q, k): q, k (n, k, a, m, d) → (n, k, a, i, j)."""
        return self.learned_scale() * unit_vectors(q) @ unit_vectors(k).transpose(-2, -1)

    def learned_scale(self):
        """What each head multiplies its cosines by, at most 100. Returns (a, 1, 1)."""
        return torch.exp(torch.clamp(self.logit_scale, max=LOG_100))

    def relative_position_bias(self):
        """B (a, i, j): 16 · sigmoid of what the small network gives for the offset from token j to token i."""
        table = 16 * self.sigmoid(self.cpb_mlp(self.relative_coords_table))
        bias = table[self.relative_position_index]
        return rearrange(bias, "i j a -> a i j")


def unit_vectors(x):
    """Scale every vector to length 1; zeros stay zeros. x (..., d) → same."""
    return x / lengths(x)


def lengths(x):
    """‖x‖ over the last axis, at least a tiny number, so that one can divide by it. x (..., d) → (..., 1)."""
    tiny = max(1e-12, torch.finfo(x.dtype).tiny)  # in half precision 1e-12 would be 0
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(tiny)
