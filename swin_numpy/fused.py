"""The fast path in evaluation mode: the same sums as block.py, with fewer trips through memory.

After `model.use_attention("fused")`, each part of the model calls `forward` below instead of its own. What differs from
the plain path, which the chapters show:

- what a block does to a window needs no other window, so a group of windows goes through the whole block before the
  next group does, in arrays that are used again; each core takes group after group;
- in between, each token is a column: in float32 W @ x can be a faster product than x @ Wᵀ (chapter 13), and sums over
  channels run along memory;
- where there are few windows, the cores share out the heads and the middle of the MLP instead;
- padding, cyclic shift and the cut into windows are one list of row numbers, and one gather of these rows;
- bias and mask are added up once for each kind of window, of which there are at most four;
- where no score is large, the softmax needs no maximum subtracted first; GELU makes do with fewer steps.

Training has a fast path, too, with a backward that goes the same way: fast/training.py.
It is taken only where it is known to give the same: see `applies`. Axis names as in windows.py.
"""

from functools import lru_cache, partial
from inspect import isfunction
from itertools import pairwise

import numpy as np

from . import layers
from .block import SwinTransformerBlock, SwinTransformerBlockV2
from .fast import training
from .gelu import scratch, write_gelu, write_gelu32
from .module import Module, Parameter, plain
from .patches import PatchEmbed, PatchMerging, PatchMergingV2, check_images, check_tokens
from .runtime import threads
from .window_attention import WindowAttentionV2, lengths
from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition

GROUP = 2**19  # numbers in the tokens of a group of windows, at most: 2 MB in float32
PIECE = 2**18  # numbers that go through bias and GELU at a time: smaller pieces cost more calls than the cache saves
FEW = 256  # tokens: with so few, the cores share out heads and channels instead of windows
SAFE = 30  # exp(±30), and sums of such numbers, are far from the limits of float32
LEAST = -70  # exp(-70) is nothing beside exp(-30), and still not subnormal


def forward(part, *inputs):
    """What part.forward(*inputs) returns, computed the fast way where that applies.

    Every matrix product stays on the thread that asks for it: the threads of NumPy's BLAS library spin for a while
    after each product, and would take the cores from those that work here.
    """
    if part.training:
        return _train(part, *inputs)
    with threads.one_blas_thread():
        return _FAST[type(part)](part, *inputs) if applies(part, *inputs) else part.forward(*inputs)


def _train(part, *inputs):
    """Training: dropout is left to the plain path, but not DropPath."""
    if type(part) not in _IN_TRAINING or not applies(part, *inputs) or _drops(part):
        return part.forward(*inputs)
    for _, inner in part.named_modules():
        inner._saved = None  # by an earlier forward
    with threads.one_blas_thread():
        y, part._saved = _IN_TRAINING[type(part)](part, *inputs)
    return y


def _drops(part):
    return any(isinstance(inner, layers.Dropout) and inner.p for _, inner in part.named_modules())


def applies(part, x=None, *rest):
    """Is the fast path known to give what part.forward(x, …) gives? Only if `part` is exactly what its class makes.

    Not if something inside is of another class, has a method of its own or a forward hook, nor if a class was changed.
    (Hooks of `part` itself don't matter: Module calls them.) x and all parameters must be of one dtype.
    """
    return (
        type(part) in _FAST
        and type(x) is np.ndarray
        and x.dtype in (np.float32, np.float64)
        and x.size > 0
        and all(getattr(cls, name) is made for cls, name, made in _FUNCTIONS)
        and _as_made(part, x.dtype)
    )


def _as_made(part, dtype):
    """Is `part`, all the way down, made as its class makes it: children, parameters, no method of its own, no hooks?"""
    own, cls = vars(part), type(part)
    if cls not in _CHILDREN or not _METHODS[cls].isdisjoint(own):
        return False
    for name in _PARAMETERS[cls]:
        value = own.get(name)
        if value is not None and (type(value) is not Parameter or value.dtype != dtype):
            return False
    return all(
        type(inner) is _CHILDREN[cls].get(name)
        and inner.training == part.training
        and not inner._forward_hooks
        and _as_made(inner, dtype)
        for name, inner in part.named_children()
    )


def _embed(part, images):
    """PatchEmbed, each strip of the image by itself."""
    check_images(images, part.in_chans)
    p = part.patch_size
    strips = [images[:, :, p * cut.start : p * cut.stop] for cut in _halves(-(-images.shape[2] // p))]
    return _in_strips(strips, lambda strip: PatchEmbed.forward(part, strip))


def _merge(part, x, grid):
    """PatchMerging, each strip of the map by itself."""
    check_tokens(x, grid, part.dim)
    H, W = grid
    cuts = [slice(2 * cut.start, min(2 * cut.stop, H)) for cut in _halves(-(-H // 2))]
    strips = [(x[:, cut.start * W : cut.stop * W], (cut.stop - cut.start, W)) for cut in cuts]
    return _in_strips(strips, lambda strip: type(part).forward(part, *strip))


def _halves(count):
    return [slice(0, count // 2), slice(count // 2, count)] if count > 1 else [slice(0, count)]


def _in_strips(strips, work):
    """work(strip) → (tokens (n, h·w, c), (h, w)) for all strips, on all cores; returns one such pair, joined."""
    done = [None] * len(strips)

    def work_on(i):
        done[i] = work(strips[i])

    threads.share_out(work_on, range(len(strips)))
    return np.concatenate([x for x, _ in done], axis=1), (sum(h for _, (h, _) in done), done[0][1][1])


def _block(block, x, grid):
    """SwinTransformerBlock, V1 or V2: groups of windows, each through the whole block."""
    check_tokens(x, grid, block.dim)
    grid = tuple(grid)
    rows, kinds = window_rows(len(x), grid, block.window_size, block.shift_for(grid))
    bias = bias_of_kinds(block, grid)
    tokens, y = x.reshape(-1, block.dim), np.empty(x.shape, x.dtype)
    out = y.reshape(-1, block.dim)
    few = rows.size <= FEW
    groups = [slice(None)] if few else _groups(len(rows), x.size)
    threads.share_out(lambda group: group_forward(block, tokens, out, rows[group], bias, kinds[group], few), groups)
    return y


def _groups(count, numbers):
    """Slices of range(count), alike in size: for about GROUP of so many numbers each, and at least two."""
    parts = min(count, 2 * -(-numbers // (2 * GROUP)))
    cuts = [count * i // parts for i in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def group_forward(block, tokens, out, rows, bias, kinds, few):
    """A group of windows through the block: reads rows (k, m) of `tokens`, and writes the same rows of `out`.

    In between, each token is a column: x is (c, k·m). In float32, products W @ x can be faster than x @ Wᵀ, above all
    with few tokens.
    """
    norm_last = isinstance(block, SwinTransformerBlockV2)  # V2 normalises what is added, V1 what goes in
    attn, mlp, shape, rows = block.attn, block.mlp, rows.shape, rows.ravel()
    inside = rows >= 0
    x = columns(tokens, rows)
    y = x if norm_last else _norm(block.norm1, x)
    if not inside.all():
        y[:, ~inside] = 0  # as in block.py: V1 pads after the norm
    y = _branch(partial(_attention, attn, y, shape, bias, kinds), attn.num_heads, attn.proj, x, few)
    x += _norm(block.norm1, y) if norm_last else y
    y = x if norm_last else _norm(block.norm2, x)
    y = _branch(partial(_mlp, mlp, y), len(mlp.fc1.weight), mlp.fc2, x, few)
    x += _norm(block.norm2, y) if norm_last else y
    if inside.all():
        out[rows] = x.T
    else:
        out[rows[inside]] = x.T[inside]


def _branch(work, count, last, x, few):
    """What is added to x (c, l): work(out, some) writes what `some` of the `count` heads or channels contribute.

    With few tokens, each half of them is a task of its own: each core then fetches one half of the weights.
    """
    cuts = _halves(count) if few else [slice(0, count)]
    parts = scratch("parts", (len(cuts), *x.shape), x.dtype)
    threads.share_out(lambda i: work(parts[i], cuts[i]), range(len(cuts)))
    y = parts[0]
    for part in parts[1:]:
        y += part
    return add_to_columns(y, last.bias)


def columns(tokens, rows):
    """These rows of tokens (l, c), as columns: (c, rows)."""
    found = scratch("rows", (len(rows), tokens.shape[1]), tokens.dtype)
    np.take(tokens, rows, axis=0, out=found, mode="wrap")  # -1 is padding: any row will do
    x = scratch("x", found.shape[::-1], tokens.dtype)
    x[...] = found.T
    return x


def _attention(attn, x, shape, bias, kinds, out, heads):
    """x (c, k·m) → out (c, k·m): what these heads contribute to WindowAttention's result, without proj's bias."""
    (k, m), d = shape, len(x) // attn.num_heads
    channels = slice(heads.start * d, heads.stop * d)
    weight = plain(attn.qkv.weight).reshape(3, -1, len(x))[:, channels]
    qkv = np.matmul(weight, x, out=scratch("wide", (3, weight.shape[1], k * m), x.dtype))
    if attn.qkv.bias is not None:
        qkv += plain(attn.qkv.bias).reshape(3, -1, 1)[:, channels]
    q, key, v = qkv.reshape(3, -1, d, k, m).transpose(0, 3, 1, 2, 4)  # (k, a, d, m) each
    prepare(attn, q, key, v, heads)
    scores = np.matmul(key.mT, q, out=scratch("scores", (*q.shape[:2], m, m), x.dtype))  # (k, a, j, i), not i, j
    add_bias(scores, bias[:, heads], kinds)
    sums = exponentials(scores)

    z = scratch("z", qkv.shape[1:], x.dtype)
    values = z.reshape(-1, d, k, m).transpose(2, 0, 1, 3)
    np.matmul(v, scores, out=values)
    values /= sums
    np.matmul(plain(attn.proj.weight)[:, channels], z, out=out)


def prepare(attn, q, key, v, heads):
    """Scale the queries. V2: first add the biases, and scale queries and keys to length 1. (k, a, d, m) each."""
    if not isinstance(attn, WindowAttentionV2):
        q *= attn.scale
        return None
    if attn.q_bias is not None:
        q += plain(attn.q_bias).reshape(attn.num_heads, -1, 1)[heads]
        v += plain(attn.v_bias).reshape(attn.num_heads, -1, 1)[heads]
    sizes = lengths(q.mT).mT, lengths(key.mT).mT
    q /= sizes[0]
    key /= sizes[1]
    q *= attn.learned_scale()[heads]
    return sizes


def _mlp(mlp, x, out, channels):
    """x (c, l) → out (c, l): what these channels of the middle contribute to Mlp's result, without fc2's bias."""
    weight = plain(mlp.fc1.weight)[channels]
    bias = None if mlp.fc1.bias is None else mlp.fc1.bias[channels]
    y = np.matmul(weight, x, out=scratch("wide", (len(weight), x.shape[1]), x.dtype))
    z = scratch("gelu", y.shape, x.dtype)
    write = write_gelu32 if x.dtype == np.float32 else write_gelu
    step = max(1, PIECE // x.shape[1])
    for some in (slice(start, start + step) for start in range(0, len(y), step)):
        write(z[some], add_to_columns(y[some], bias, some))
    np.matmul(plain(mlp.fc2.weight)[:, channels], z, out=out)


def add_to_columns(x, bias, channels=slice(None)):
    """x (c, l) with these channels of a linear layer's bias added, if it has one."""
    if bias is not None:
        x += plain(bias)[channels, None]
    return x


def add_bias(scores, bias, kinds):
    """To each window's scores (k, a, j, i) the bias of its kind. Windows of one kind stand side by side."""
    for kind in range(kinds[0], kinds[-1] + 1):
        start, stop = np.searchsorted(kinds, (kind, kind + 1))
        scores[start:stop] += bias[kind]


def exponentials(scores):
    """Turn scores (k, a, j, i) into their exp, and return each query's sum (k, a, 1, i): softmax is their quotient.

    No mask separates a token from itself. So if each token's score with itself is above -SAFE and all are below SAFE,
    then every sum lies between exp(-SAFE) and m · exp(SAFE). Otherwise each query's maximum is subtracted first.
    Masked scores are about -100, and exp(-100) is a subnormal number of float32: some processors take far longer
    over products of such numbers. So no score stays below LEAST.
    """
    itself = np.einsum("kaii->kai", scores)
    if not (scores.max() < SAFE and itself.min() > -SAFE):
        scores -= scores.max(axis=-2, keepdims=True)
    np.maximum(scores, LEAST, out=scores)
    np.exp(scores, out=scores)
    return (np.ones(scores.shape[-2], scores.dtype) @ scores)[..., None, :]


def _norm(layer, x, eps=1e-5):
    """LayerNorm's forward on columns (c, l), into memory that is used again."""
    average = np.full(len(x), 1 / len(x), x.dtype)
    y = np.subtract(x, average @ x, out=scratch("norm", x.shape, x.dtype))
    variance = average @ np.multiply(y, y, out=scratch("square", x.shape, x.dtype))
    y /= np.sqrt(variance + eps)
    y *= plain(layer.weight)[:, None]
    y += plain(layer.bias)[:, None]
    return y


@lru_cache(64)
def window_rows(n, grid, window_size, shift):
    """Which rows of tokens (n·h·w, c) are in which window: (windows, m), -1 for padding; and each window's kind.

    Windows of one kind, that is with the same mask, come one after the other.
    """
    H, W = grid
    numbers = 1 + np.arange(n * H * W).reshape(n, H, W, 1)
    padded = cyclic_shift(pad_to_multiple(numbers, window_size), shift)
    windows = window_partition(padded, window_size)[..., 0] - 1  # (n, k, m)
    kinds, _ = mask_kinds(padded.shape[1:3], window_size, shift)
    order = np.argsort(np.tile(kinds, n), kind="stable")
    return windows.reshape(-1, windows.shape[-1])[order], np.tile(kinds, n)[order]


@lru_cache(64)
def mask_kinds(padded, window_size, shift):
    """Each window's kind (k,), and the kinds' masks (kinds, m, m). padded: the grid, a multiple of window_size."""
    kh, kw = padded[0] // window_size, padded[1] // window_size
    if shift == (0, 0):
        return np.zeros(kh * kw, int), np.zeros((1, window_size**2, window_size**2), np.float32)
    below, right = np.arange(kh) == kh - 1, np.arange(kw) == kw - 1  # the seam runs through the last windows
    kinds = (2 * below[:, None] + right).ravel()
    _, first, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    return kinds, shift_mask(*padded, window_size, shift)[first]


def bias_of_kinds(block, grid):
    """Relative position bias + mask for each kind of window: (kinds, a, j, i). Kept until its sources change."""
    attn, shift, size = block.attn, block.shift_for(grid), block.window_size
    key = (tuple(-(-side // size) * size for side in grid), size, shift)
    sources = _bias_sources(attn)
    kept = vars(attn).get("_kept_bias")
    if kept is None or kept[0] != key or not all(map(_equal, kept[1], sources)):
        _, masks = mask_kinds(*key)
        bias = attn.relative_position_bias()
        bias = (bias + masks[:, None].astype(bias.dtype)).mT
        attn._kept_bias = kept = key, [source.copy() for source in sources], np.ascontiguousarray(bias)
    return kept[2]


def _bias_sources(attn):
    """Everything that relative_position_bias() is computed from."""
    network = attn.cpb_mlp.named_parameters() if isinstance(attn, WindowAttentionV2) else ()
    tables = [value for name, value in vars(attn).items() if name.startswith("relative_")]
    return [plain(value) for value in (*tables, *(weight for _, weight in network))]


def _equal(a, b):
    return a.dtype == b.dtype and np.array_equal(a, b)


_FAST = {  # what computes a part's forward
    PatchEmbed: _embed,
    PatchMerging: _merge,
    PatchMergingV2: _merge,
    SwinTransformerBlock: _block,
    SwinTransformerBlockV2: _block,
}

_IN_TRAINING = {  # what computes it in training, and returns what to keep as well
    PatchEmbed: training.embed,
    PatchMerging: training.merge,
    PatchMergingV2: training.merge,
    SwinTransformerBlock: training.block,
    SwinTransformerBlockV2: training.block,
}


def _make_parts():
    """One part of every class that the fast path knows. Their random numbers must not change anybody else's."""
    others, layers._rng = layers._rng, np.random.default_rng(0)
    outermost = (
        PatchEmbed(),
        PatchMerging(1),
        PatchMergingV2(1),
        SwinTransformerBlock(1, 1),
        SwinTransformerBlockV2(1, 1),
    )
    layers._rng = others
    return {type(part): part for outer in outermost for _, part in outer.named_modules()}


_PARTS = _make_parts()
_METHODS = {cls: frozenset(name for name in dir(cls) if callable(getattr(cls, name))) for cls in _PARTS}
_CHILDREN = {cls: {name: type(inner) for name, inner in part.named_children()} for cls, part in _PARTS.items()}
_PARAMETERS = {
    cls: [name for name, value in vars(part).items() if isinstance(value, Parameter)] for cls, part in _PARTS.items()
}
_FUNCTIONS = [
    (cls, name, getattr(cls, name))
    for cls, names in _METHODS.items()
    for name in names
    if isfunction(getattr(cls, name)) and (name == "__call__" or not hasattr(Module, name))
]
