"""The fast path through a stage: the same sums as block.py and layers.py, with fewer trips through memory.

After `model.use_attention("fused")`, each stage calls `forward` below where `applies` says so. What differs from the
plain path, which the chapters show:

- shift and partition are one gather of tokens, their way back another (plain: roll, cut, join, roll);
- scores, softmax and weighted sum are one call, scaled_dot_product_attention, to which bias and mask go as one array
  (on a processor with gradients, fused_training.py instead);
- on a processor without gradients, the batch goes through in groups whose largest array fits into the cache, the
  linear layers' products are oneDNN's, and the array of bias and mask is kept until what it is made of changes.

Axis names as in windows.py.
"""

from contextlib import nullcontext
from functools import lru_cache, partial
from inspect import isfunction
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch.nn import Parameter
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import _has_any_global_hook
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from . import fused_training as training
from .block import SwinTransformerBlock, SwinTransformerBlockV2
from .layers import keep_mask
from .patches import PatchMerging, PatchMergingV2, check_tokens
from .window_attention import WindowAttentionV2, unit_vectors
from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition

# The most numbers that an array in the middle of an MLP may have: four images in Swin-T's first stage, 19 MB.
AT_ONCE = 4 * 56 * 56 * 384


def forward(blocks, x, grid):
    """All blocks of a stage. Tokens (n, h·w, c), grid (h, w) → (n, h·w, c)."""
    check_tokens(x, grid, blocks[0].dim)
    parts = [x]
    if _cpu_inference(x):
        parts = x.split(max(1, AT_ONCE // (x.shape[1] * blocks[0].mlp.fc1.out_features)))
    return _join([_through(blocks, part, grid) for part in parts])


def merge(part, x, grid):
    """What PatchMerging and PatchMergingV2 return, with the products of the fast path."""
    x, grid = part.neighbours(x, grid)
    if isinstance(part, PatchMergingV2):
        return part.norm(_linear(part.reduction, x)), grid
    return _linear(part.reduction, part.norm(x)), grid


def applies(parts, x):
    """Is the fast path known to give what the parts give, one after the other? They are blocks, or a PatchMerging.

    Only if each is exactly what its class makes: with nothing else inside (such as an adapter), no method of its
    own, no hooks, no parametrization, no class whose methods were changed. And only for ordinary tensors that are
    computed at once: tracing, export, FLOP counters, fake tensors, vmap and jvp get the plain path. torch.compile
    compiles the fast path; like any compiled code, it doesn't notice hooks that are registered later.
    """
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting() and _as_made(parts)
    return type(x) is torch.Tensor and x.numel() > 0 and _computes_directly() and _as_made(parts)


def _computes_directly():
    """Does every operation run at once and as it is, with no tracer, mode or transform around it?"""
    return (
        not torch.jit.is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0  # FLOP counters, fake tensors, …
        and all(isinstance(mode, DeviceContext) for mode in _get_current_function_mode_stack())
        and torch._C._functorch.peek_interpreter_stack() is None  # torch.func: vmap, grad, jvp, …
        and torch.autograd.forward_ad._current_level < 0
    )


def _as_made(parts):
    """Are all parts as their classes make them, with nothing that the fast path would pass by?"""
    if _has_any_global_hook() or any(getattr(cls, name) is not made for cls, name, made in _FUNCTIONS):
        return False
    return all(map(_part_as_made, parts))


# As torch.compiler.assume_constant_result does, which imports the compiler: don't trace this, but call it.
_as_made._dynamo_marked_constant = True


def _part_as_made(part):
    """Is `part`, all the way down, made as its class makes it: children, no method of its own, no hooks?"""
    own, cls = vars(part), type(part)
    if cls not in _CHILDREN or not _METHODS[cls].isdisjoint(own) or any(map(own.get, _HOOKS)):
        return False
    for value in own["_parameters"].values():
        if type(value) not in _ORDINARY:
            return False
    inside, made = own["_modules"], _CHILDREN[cls]
    return len(inside) == len(made) and all(
        type(inner) is made.get(name) and _part_as_made(inner) for name, inner in inside.items()
    )


def _through(blocks, x, grid):
    """Where windows fit the map, tokens stay in their order from one block to the next: only windows look at places."""
    place, stay = None, all(_can_stay(block, grid) for block in blocks)
    for block in blocks:
        attend = partial(_attend, block, grid=grid)
        if stay:
            new = tuple(grid), block.window_size, tuple(block.shift_for(grid)), x.device
            x, place = _move(x, place, new), new
            attend = partial(_window_attention, block.attn, mask=_geometry(*new)[2])
        if isinstance(block, SwinTransformerBlockV2):  # V2 normalises what is added, V1 what goes in
            x = _add(x, block.drop_path1, block.norm1(attend(x)))
            x = _add(x, block.drop_path2, block.norm2(_mlp(block.mlp, x)))
        else:
            x = _add(x, block.drop_path1, attend(block.norm1(x)))
            x = _add(x, block.drop_path2, _mlp(block.mlp, block.norm2(x)))
    return _move(x, place, None)


def _can_stay(block, grid):
    """Is nothing padded, and does nothing draw random numbers for each token, which another order would mix up?"""
    drops = block.attn.proj_drop, block.mlp.drop1, block.mlp.drop2
    return all(side % block.window_size == 0 for side in grid) and not any(map(_drops, drops))


def _move(x, old, new):
    """Tokens (n, h·w, c) from the order of one geometry into that of another; None: that of the map."""
    if old == new:
        return x
    make = _make_way if torch.compiler.is_compiling() else _known_way
    return _gather(x, *make(old, new))


def _make_way(old, new):
    """Where the tokens of the order `new` lie in the order `old`, and the way back: (l,) each."""
    if old is None:
        return places(*new)
    there, back = places(*old)
    if new is None:
        return back, there
    with torch.inference_mode(False):
        way = back[places(*new)[0]]
        return way, way.argsort()


_known_way = lru_cache(maxsize=256)(_make_way)


def _drops(dropout):
    return dropout.training and dropout.p > 0


def _add(x, path, y):
    """x + path(y), where path is a DropPath, in one pass. Without gradients, in y's memory, which nobody else needs."""
    if not path.training or path.drop_prob == 0:
        return y.add_(x) if _cpu_inference(x) and x.dtype == y.dtype else x + y
    return torch.addcmul(x, y, keep_mask((len(y), 1, 1), path.drop_prob, y))


def _attend(block, x, grid):
    """W-MSA or SW-MSA of a whole map, tokens (n, h·w, c) → same: what SwinTransformerBlock.attend does."""
    H, W = grid
    shift = tuple(block.shift_for(grid))
    x = pad_to_multiple(rearrange(x, "n (h w) c -> n h w c", h=H), block.window_size)
    padded = tuple(x.shape[1:3])
    there, back, mask = _geometry(padded, block.window_size, shift, x.device)
    x = _gather(rearrange(x, "n h w c -> n (h w) c"), there, back)
    x = _window_attention(block.attn, x, mask)
    x = rearrange(_gather(x, back, there), "n (h w) c -> n h w c", h=padded[0])
    return rearrange(x[:, :H, :W], "n h w c -> n (h w) c")


def _window_attention(attn, x, mask):
    """WindowAttention on windows that lie one behind the other: x (n, k·m, c), mask (k, m, m) or None → same as x."""
    n, m = len(x), len(attn.relative_position_index)
    qkv = _linear(attn.qkv, x)
    if training.usable(qkv) and not _drops(attn.attn_drop):
        bias = attn.relative_position_bias()
        if training.suit(qkv, bias):
            return attn.proj_drop(_linear(attn.proj, _attention_with_gradients(attn, qkv, bias, mask)))
    q, k, v = rearrange(qkv, "n (k m) (three a d) -> three (n k) a m d", three=3, m=m, a=attn.num_heads)
    q, k, v, scale = _prepare(attn, q, k, v)
    drop, bias = attn.attn_drop.p if _drops(attn.attn_drop) else 0.0, _bias_and_mask(attn, mask, n)
    with _kernel(q):
        z = F.scaled_dot_product_attention(q, k, v, bias, drop, scale=scale)
    return attn.proj_drop(_linear(attn.proj, rearrange(z, "(n k) a m d -> n (k m) (a d)", n=n)))


def _attention_with_gradients(attn, qkv, bias, mask):
    """qkv (n, k·m, 3·c), bias (a, m, m), mask (k, m, m) or None → (n, k·m, c)."""
    if not isinstance(attn, WindowAttentionV2):
        return training.Attention.apply(bias, mask, attn.scale, qkv)
    parts = rearrange(qkv, "n (k m) (three a d) -> three n k a m d", three=3, m=len(bias[0]), a=len(bias))
    q, k, v, scale = _prepare(attn, *parts)
    return training.Attention.apply(bias, mask, scale, q, k, v)


def _kernel(x):
    """On a GPU: PyTorch's memory-efficient kernel. With a bias it isn't always the one that PyTorch takes by itself."""
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]) if x.is_cuda else nullcontext()


def _prepare(attn, q, k, v):
    """Queries, keys and values as their product wants them, and the number to multiply it by."""
    if not isinstance(attn, WindowAttentionV2):
        return q, k, v, attn.scale
    if attn.q_bias is not None:
        q = q + rearrange(attn.q_bias, "(a d) -> a 1 d", a=attn.num_heads)
        v = v + rearrange(attn.v_bias, "(a d) -> a 1 d", a=attn.num_heads)
    return attn.learned_scale() * unit_vectors(q), unit_vectors(k), v, 1.0


def _bias_and_mask(attn, mask, n):
    """Relative position bias + mask: (1, a, m, m), or (n·k, a, m, m) where windows differ.

    Kept only where comparing everything that it is made of is quicker than making it again: on a processor, without
    gradients. So a stale one can't be used, whatever changed the weights.
    """
    if attn.training or not _cpu_inference(attn.qkv.weight):
        return _add_mask(attn, mask, n)
    sources = _bias_sources(attn)
    kept = {key: entry for key, entry in _kept.get(attn, {}).items() if all(map(_equal, entry[0], sources))}
    if (id(mask), n) not in kept:
        kept[id(mask), n] = [value.detach().clone() for value in sources], _add_mask(attn, mask, n), mask
        _kept[attn] = kept
    return kept[id(mask), n][1]


def _add_mask(attn, mask, n):
    bias = attn.relative_position_bias()[None]
    if mask is not None:
        bias = bias + rearrange(mask, "k i j -> k 1 i j").to(bias)
    m = bias.shape[-1]
    if bias.is_cuda:  # rows that start at multiples of 8 numbers, or the kernel would copy them to such places itself
        bias = F.pad(bias, (0, -m % 8))
    return (bias if mask is None else bias.repeat(n, 1, 1, 1))[..., :m]


def _bias_sources(attn):
    """Every tensor that relative_position_bias() is computed from."""
    if isinstance(attn, WindowAttentionV2):
        return [*attn.cpb_mlp.parameters(), attn.relative_coords_table, attn.relative_position_index]
    return [attn.relative_position_bias_table, attn.relative_position_index]


_kept = WeakKeyDictionary()  # {WindowAttention: {(id of mask, images): (sources, bias + mask, mask)}}


def _equal(a, b):
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _mlp(mlp, x):
    """Mlp, tokens (n, l, c) → same: a share of the tokens after the other, so that the middle stays in the cache."""
    if not _cpu_inference(x):
        return _two_layers(mlp, x)
    rows = rearrange(x, "n l c -> (n l) c")
    parts = rows.split(max(1, AT_ONCE // mlp.fc1.out_features))
    return rearrange(_join([_two_layers(mlp, part) for part in parts]), "(n l) c -> n l c", n=len(x))


def _two_layers(mlp, x):
    weights = mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight, mlp.fc2.bias
    if training.usable(x, *weights) and not _drops(mlp.drop1):
        return mlp.drop2(training.Mlp.apply(x, *weights))
    y = mlp.drop1(_linear(mlp.fc1, x, "gelu"))
    return mlp.drop2(_linear(mlp.fc2, y))


def _linear(layer, x, then="none"):
    """layer(x), and its GELU if `then` is "gelu"."""
    weights = layer.weight, layer.bias
    if _cpu_inference(x) and training.suit(x, *weights):
        return training.product(x, *weights, then)
    y = training.Linear.apply(x, *weights) if training.usable(x, *weights) else layer(x)
    return F.gelu(y) if then == "gelu" else y


def _cpu_inference(x):
    """Is this a processor's work, without gradients, without autocast and not being compiled?"""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def _join(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _gather(x, there, back):
    """Tokens (n, l, c) in another order. Without gradients the call of Gather would cost more than the gather."""
    return Gather.apply(x, there, back) if torch.is_grad_enabled() else x.index_select(1, there)


class Gather(torch.autograd.Function):
    """Tokens (n, l, c) in another order: token i of the result is token there[i]. `back` is the order that undoes it.

    Its gradient is the gather with `back`; autograd, which can't know that no token is taken twice, would add up.
    """

    @staticmethod
    def forward(x, there, back):
        """x (n, l, c), there (l,), back (l,) → (n, l, c)."""
        return x.index_select(1, there)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Keep both orders for backward."""
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, dy):
        """dy (n, l, c) → dx (n, l, c)."""
        there, back = ctx.saved_tensors
        return Gather.apply(dy, back, there), None, None


def _geometry(*which):
    """`places` and `_mask_for` of (padded grid, window size, shift, device), made once. Compilers get them inlined."""
    make = _make_geometry if torch.compiler.is_compiling() else _known_geometry
    return make(*which)


def _make_geometry(*which):
    return *places(*which), _mask_for(*which)


_known_geometry = lru_cache(maxsize=256)(_make_geometry)


def places(padded, window_size, shift, device):
    """Where the tokens of the windows lie in the map, and where those of the map lie in the windows: (h·w,) each."""
    with torch.inference_mode(False):  # what is kept must also serve training
        tokens = torch.arange(padded[0] * padded[1]).reshape(1, *padded, 1)
        there = window_partition(cyclic_shift(tokens, shift), window_size).flatten()
        return there.to(device), there.argsort().to(device)


def _mask_for(padded, window_size, shift, device):
    """The shift mask (k, m, m), float32; None where nothing is shifted."""
    with torch.inference_mode(False):
        return None if shift == (0, 0) else shift_mask(*padded, window_size, shift).to(device)


with torch.device("meta"):  # where making a block draws no random numbers
    _OUTERMOST = SwinTransformerBlock(1, 1), SwinTransformerBlockV2(1, 1), PatchMerging(1), PatchMergingV2(1)
    _MADE = [part for outermost in _OUTERMOST for part in outermost.modules()]
_CHILDREN = {type(part): {name: type(inner) for name, inner in part.named_children()} for part in _MADE}
_METHODS = {cls: frozenset(name for name in dir(cls) if callable(getattr(cls, name))) for cls in _CHILDREN}
_FUNCTIONS = [
    (cls, name, getattr(cls, name))
    for cls in _CHILDREN
    for name in dir(cls)
    if isfunction(getattr(cls, name)) and (name == "forward" or getattr(cls, name).__module__.startswith(__package__))
]
_ORDINARY = Parameter, torch.Tensor, type(None)
_HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
