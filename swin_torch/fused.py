"""The fast way through a stage: the same sums as block.py and layers.py, with fewer trips through memory.

`model.use_attention("fused")` leads here. What differs from the plain way, which the chapters show:

- shift and partition are one gather of tokens, their way back another (plain: roll, cut, join, roll);
- scores, softmax and weighted sum are one call, scaled_dot_product_attention, to which bias and mask go as one array;
- on a processor without gradients, the batch goes through in groups whose largest array fits into the cache, the
  MLP's products are oneDNN's, and the array of bias and mask is kept until the weights behind it change.

Axis names as in windows.py.
"""

from functools import lru_cache
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch.backends import mkldnn
from torch.nn import functional as F

from .window_attention import LOG_100, WindowAttentionV2, unit_vectors
from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition

# The most numbers that an array in the middle of an MLP may have: four images in Swin-T's first stage, 19 MB.
AT_ONCE = 4 * 56 * 56 * 384
ONEDNN = mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def stage(blocks, x, grid):
    """All blocks of a stage. Tokens (n, h·w, c), grid (h, w) → (n, h·w, c)."""
    if heard(blocks):
        for block in blocks:
            x = block(x, grid)
        return x
    parts = [x]
    if small_steps(x):
        parts = x.split(max(1, AT_ONCE // (x.shape[1] * blocks[0].mlp.fc1.out_features)))
    return join([through(blocks, part, grid) for part in parts])


def heard(blocks):
    """Does a hook listen to a part of a block? It shall hear what it hears the plain way."""
    if torch.compiler.is_compiling():
        return False
    return any(part._forward_hooks or part._forward_pre_hooks for part in blocks.modules())


def through(blocks, x, grid):
    for block in blocks:
        if isinstance(block.attn, WindowAttentionV2):  # V2 norms what is added, V1 what goes in
            x = x + block.drop_path1(block.norm1(attend(block, x, grid)))
            x = x + block.drop_path2(block.norm2(mlp(block.mlp, x)))
        else:
            x = x + block.drop_path1(attend(block, block.norm1(x), grid))
            x = x + block.drop_path2(mlp(block.mlp, block.norm2(x)))
    return x


def attend(block, x, grid):
    """W-MSA or SW-MSA of a whole map, tokens (n, h·w, c) → same: what SwinTransformerBlock.attend does."""
    H, W = grid
    shift = tuple(block.shift_for(grid))
    x = pad_to_multiple(rearrange(x, "n (h w) c -> n h w c", h=H), block.window_size)
    padded = tuple(x.shape[1:3])
    there, back, mask = geometry(padded, block.window_size, shift, x.device)
    x = Gather.apply(rearrange(x, "n h w c -> n (h w) c"), there, back)
    x = window_attention(block.attn, x, mask)
    x = rearrange(Gather.apply(x, back, there), "n (h w) c -> n h w c", h=padded[0])
    return rearrange(x[:, :H, :W], "n h w c -> n (h w) c")


def window_attention(attn, x, mask):
    """WindowAttention on windows that lie one behind the other: x (n, k·m, c), mask (k, m, m) or None → same as x."""
    n, m = len(x), len(attn.relative_position_index)
    q, k, v = rearrange(linear(attn.qkv, x), "n (k m) (three a d) -> three (n k) a m d", three=3, m=m, a=attn.num_heads)
    q, k, v, scale = prepared(attn, q, k, v)
    drop = attn.attn_drop.p if attn.training else 0.0
    z = F.scaled_dot_product_attention(q, k, v, folded(attn, mask, n), drop, scale=scale)
    return attn.proj_drop(linear(attn.proj, rearrange(z, "(n k) a m d -> n (k m) (a d)", n=n)))


def prepared(attn, q, k, v):
    """Queries, keys and values as their product wants them, and the number that it is to be multiplied by."""
    if not isinstance(attn, WindowAttentionV2):
        return q, k, v, attn.scale
    if attn.q_bias is not None:
        q = q + rearrange(attn.q_bias, "(a d) -> a 1 d", a=attn.num_heads)
        v = v + rearrange(attn.v_bias, "(a d) -> a 1 d", a=attn.num_heads)
    return torch.exp(torch.clamp(attn.logit_scale, max=LOG_100)) * unit_vectors(q), unit_vectors(k), v, 1.0


def folded(attn, mask, n):
    """Bias and mask in one array: (1, a, m, m), or (n·k, a, m, m) where windows differ.

    It is kept only if a comparison of all weights behind it is quicker than making it again: on a processor, without
    gradients. A stale one can't be given out, whatever changed the weights.
    """
    if attn.training or not small_steps(attn.qkv.weight):
        return fold(attn, mask, n)
    weights = [value for name, value in attn.named_parameters() if name.startswith(("relative_position", "cpb_mlp"))]
    found = kept.setdefault(attn, {}).get((id(mask), n))
    if found is None or not all(map(same, found[0], weights)):
        found = [value.detach().clone() for value in weights], fold(attn, mask, n), mask
        kept[attn] = {key: old for key, old in kept[attn].items() if all(map(same, old[0], weights))}
        kept[attn][id(mask), n] = found
    return found[1]


def fold(attn, mask, n):
    bias = attn.relative_position_bias()[None]
    if mask is None:
        return bias
    return (bias + rearrange(mask, "k i j -> k 1 i j").to(bias)).repeat(n, 1, 1, 1)


kept = WeakKeyDictionary()  # {WindowAttention: {(mask, images): (weights, bias and mask, mask)}}


def same(a, b):
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def mlp(layers, x):
    """Mlp, tokens (n, l, c) → same: a part of them after the other, so that what is between the layers stays near."""
    rows = rearrange(x, "n l c -> (n l) c")
    parts = rows.split(max(1, AT_ONCE // layers.fc1.out_features)) if small_steps(x) else [rows]
    return rearrange(join([two_layers(layers, part) for part in parts]), "(n l) c -> n l c", n=len(x))


def two_layers(layers, x):
    y = layers.drop1(linear(layers.fc1, x, "gelu"))
    return layers.drop2(linear(layers.fc2, y))


def linear(layer, x, then="none"):
    """layer(x), and its GELU if `then` is "gelu".

    oneDNN's product is faster than the one that PyTorch takes for float32, and does bias and GELU on the way. PyTorch
    has no public name for it: this is what torch.compile calls.
    """
    if small_steps(x) and x.dtype == layer.weight.dtype == torch.float32 and ONEDNN:
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, then, [], "none")
    y = layer(x)
    return F.gelu(y) if then == "gelu" else y


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


def geometry(*which):
    """`places` and `mask_for` of (padded grid, window size, shift, device): made once, but part of what is compiled."""
    make = make_geometry if torch.compiler.is_compiling() else known_geometry
    return make(*which)


def make_geometry(*which):
    return *places(*which), mask_for(*which)


known_geometry = lru_cache(maxsize=256)(make_geometry)


def places(padded, window_size, shift, device):
    """Where the tokens of the windows lie in the map, and where those of the map lie in the windows: (h·w,) each."""
    with torch.inference_mode(False):  # what is kept must also serve training
        tokens = torch.arange(padded[0] * padded[1]).reshape(1, *padded, 1)
        there = window_partition(cyclic_shift(tokens, shift), window_size).flatten()
        return there.to(device), there.argsort().to(device)


def mask_for(padded, window_size, shift, device):
    """The shift mask (k, m, m), float32; None where nothing is shifted."""
    with torch.inference_mode(False):
        return None if shift == (0, 0) else shift_mask(*padded, window_size, shift).to(device)
