"""The fast way through a stage: the same sums as block.py and layers.py, with fewer trips through memory.

`model.use_attention("fused")` leads here. What differs from the plain way, which the chapters show:

- shift and partition are one gather of tokens, their way back another (plain: roll, cut, join, roll);
- bias and mask are folded into one array, and added in the same pass that scales the scores;
- on a GPU, scores, softmax and weighted sum are one kernel: scaled_dot_product_attention;
- on a processor without gradients, the batch goes through in groups whose largest array fits into the cache, and
  products of matrices are oneDNN's, which PyTorch uses for convolutions, but not for float32 linear layers.

Axis names as in windows.py; h heads of all windows (k a).
"""

from functools import lru_cache

import torch
from einops import rearrange
from torch.nn import functional as F

from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition

# The most numbers that an array in the middle of an MLP may have: 5 MB of float32, one image in Swin-T's first stage.
AT_ONCE = 56 * 56 * 384


def stage(blocks, x, grid):
    """All blocks of a stage. Tokens (n, h·w, c), grid (h, w) → (n, h·w, c)."""
    parts = [x]
    if small_steps(x):
        parts = x.split(max(1, AT_ONCE // (x.shape[1] * blocks[0].mlp.fc1.out_features)))
    return join([through(blocks, part, grid) for part in parts])


def through(blocks, x, grid):
    for block in blocks:
        x = x + block.drop_path1(attend(block, block.norm1(x), grid))
        x = x + block.drop_path2(mlp(block.mlp, block.norm2(x)))
    return x


def attend(block, x, grid):
    """W-MSA or SW-MSA of a whole map, tokens (n, h·w, c) → same: SwinTransformerBlock.attend."""
    H, W = grid
    shift = block.shift_for(grid)
    x = rearrange(x, "n (h w) c -> n h w c", h=H)
    x = pad_to_multiple(x, block.window_size)
    padded = tuple(x.shape[1:3])
    there, back = places(padded, block.window_size, shift, x.device)
    x = Gather.apply(rearrange(x, "n h w c -> n (h w) c"), there, back)
    x = window_attention(block.attn, x, mask_for(padded, block.window_size, shift, x.device))
    x = rearrange(Gather.apply(x, back, there), "n (h w) c -> n h w c", h=padded[0])
    return rearrange(x[:, :H, :W], "n h w c -> n (h w) c")


def window_attention(attn, x, mask):
    """WindowAttention on windows that lie one behind the other: x (n, k·m, c), mask (k, m, m) or None → same as x."""
    qkv = linear(x, attn.qkv.weight, attn.qkv.bias)
    m, a = len(attn.relative_position_index), attn.num_heads
    q, k, v = rearrange(qkv, "n (k m) (three a d) -> three n (k a) m d", three=3, m=m, a=a)
    z = attention(q, k, v, folded(attn, mask, q), attn.scale, attn.attn_drop)
    z = rearrange(z, "n (k a) m d -> n (k m) (a d)", a=a)
    return attn.proj_drop(linear(z, attn.proj.weight, attn.proj.bias))


def attention(q, k, v, bias, scale, drop):
    """softmax(scale · q kᵀ + bias) v. q, k, v (n, h, m, d), bias (h, m, m) → (n, h, m, d)."""
    if q.is_cuda:
        probability = drop.p if drop.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, bias[None], probability, scale=scale)
    n = len(q)
    q, k, v = (rearrange(each, "n h m d -> (n h) m d") for each in (q, k, v))
    scores = torch.baddbmm(bias.repeat(n, 1, 1), q, k.mT, alpha=scale)
    return rearrange(drop(scores.softmax(dim=-1)) @ v, "(n h) m d -> n h m d", n=n)


def folded(attn, mask, like):
    """Bias and mask in one array (k·a, m, m), in the type of `like`."""
    bias = attn.relative_position_bias().to(like)
    windows = like.shape[1] // attn.num_heads
    if mask is None:
        return bias.repeat(windows, 1, 1)
    return rearrange(bias + mask[:, None].to(like), "k a i j -> (k a) i j")


def mlp(layers, x):
    """Mlp, tokens (n, l, c) → same: a part of them after the other, so that what is between the layers stays near."""
    rows = rearrange(x, "n l c -> (n l) c")
    parts = rows.split(max(1, AT_ONCE // layers.fc1.out_features)) if small_steps(x) else [rows]
    return rearrange(join([two_layers(layers, part) for part in parts]), "(n l) c -> n l c", n=len(x))


def two_layers(layers, x):
    y = F.gelu(F.linear(enter(x), layers.fc1.weight, layers.fc1.bias))
    return layers.drop2(leave(F.linear(layers.drop1(y), layers.fc2.weight, layers.fc2.bias)))


def linear(x, weight, bias):
    """F.linear for tokens (n, l, c)."""
    rows = enter(rearrange(x, "n l c -> (n l) c"))
    return rearrange(leave(F.linear(rows, weight, bias)), "(n l) c -> n l c", n=len(x))


def enter(x):
    """To oneDNN's kind of tensor, whose products of matrices are oneDNN's."""
    return x.to_mkldnn() if small_steps(x) and x.dtype == torch.float32 and torch.backends.mkldnn.is_available() else x


def leave(x):
    return x.to_dense() if x.is_mkldnn else x


def small_steps(x):
    """Is this a processor's work, without gradients and not being compiled?"""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def join(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Gather(torch.autograd.Function):
    """Tokens (n, l, c) in another order: token i of the result is token there[i]. `back` is the order that undoes it.

    Its gradient is the gather with `back`; autograd, which can't know that no token is taken twice, would add up.
    """

    @staticmethod
    def forward(x, there, back):
        return x.index_select(1, there)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, dy):
        there, back = ctx.saved_tensors
        return Gather.apply(dy, back, there), None, None


@lru_cache(maxsize=256)
def places(padded, window_size, shift, device):
    """Where the tokens of the windows lie in the map, and where those of the map lie in the windows: (h·w,) each."""
    with torch.inference_mode(False):  # what is kept must also serve training
        tokens = torch.arange(padded[0] * padded[1], device=device).reshape(1, *padded, 1)
        there = window_partition(cyclic_shift(tokens, shift), window_size).flatten()
        return there, there.argsort()


@lru_cache(maxsize=256)
def mask_for(padded, window_size, shift, device):
    """The shift mask (k, m, m), float32; None where nothing is shifted."""
    with torch.inference_mode(False):
        return None if shift == (0, 0) else shift_mask(*padded, window_size, shift).to(device)
