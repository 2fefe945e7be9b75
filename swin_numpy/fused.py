"""The fast way through a stage in evaluation mode: the same sums as block.py, with fewer trips through memory.

`model.use_attention("fused")` gives the parts of a model another `forward`, from here. What differs from the plain
way, which the chapters show:

- what a block does to a window needs no other window, so a group of windows goes through the whole block before the
  next one does, in arrays that are used again; each core takes group after group;
- in between, each token is a column: W @ x is a faster product than x @ Wᵀ, and sums over channels run along memory;
- where there are few windows, the cores share out the heads and the middle of the MLP instead;
- padding, cyclic shift and the cut into windows are one list of row numbers, and one gather of these rows;
- bias and mask are added up once for each kind of window, of which there are four at most;
- where no score is large, the softmax needs no maximum taken off first; GELU makes do with half the steps.

Axis names as in windows.py.
"""

from functools import lru_cache, partial
from itertools import pairwise

import numpy as np

from .block import SwinTransformerBlock, SwinTransformerBlockV2
from .gelu import scratch, write_gelu, write_gelu32
from .module import plain
from .patches import PatchEmbed, PatchMerging, PatchMergingV2, check_images, check_tokens
from .runtime import threads
from .window_attention import LOG_100, WindowAttentionV2, lengths
from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition

GROUP = 2**19  # numbers in the tokens of a group of windows, at most: 2 MB in float32
FEW = 256  # tokens: with so few, the cores share out heads and channels instead
SAFE = 60  # exp of ±60, and sums of such, are far from the limits of float32


def switch(model, on):
    """Let `model` and its parts compute the fast way, or the plain one. Their hooks hear the same either way."""
    ways = {type(model): through_model, PatchEmbed: embed, PatchMerging: merge, PatchMergingV2: merge}
    ways |= {SwinTransformerBlock: through, SwinTransformerBlockV2: through}
    for _, part in model.named_modules():
        vars(part).pop("forward", None)  # found before the class's own
        if on and type(part) in ways:
            part.forward = partial(forward, part, ways[type(part)])


def forward(part, way, *inputs):
    """The fast way through a part; in training, or if someone listens to a part of the part, the plain one."""
    with threads.one_thread_each():
        if part.training or (way is not through_model and heard(part)):
            return type(part).forward(part, *inputs)
        return way(part, *inputs)


def heard(part):
    return any(inner._forward_hooks or heard(inner) for _, inner in part.named_children())


def through_model(model, images):
    """As ever; but all matrix products stay on their threads, for those that serve others linger on the cores."""
    return type(model).forward(model, images)


def embed(part, images):
    """PatchEmbed, each strip of the image by itself."""
    check_images(images, part.in_chans)
    p = part.patch_size
    strips = [images[:, :, p * cut.start : p * cut.stop] for cut in halves(-(-images.shape[2] // p))]
    return join(strips, lambda strip: PatchEmbed.forward(part, strip))


def merge(part, x, grid):
    """PatchMerging, each strip of the map by itself."""
    check_tokens(x, grid, part.dim)
    H, W = grid
    cuts = [slice(2 * cut.start, min(2 * cut.stop, H)) for cut in halves(-(-H // 2))]
    strips = [(x[:, cut.start * W : cut.stop * W], (cut.stop - cut.start, W)) for cut in cuts]
    return join(strips, lambda strip: type(part).forward(part, *strip))


def halves(count):
    return [slice(0, count // 2), slice(count // 2, count)] if count > 1 else [slice(0, count)]


def join(strips, work):
    """work(strip) → (tokens (n, h·w, c), (h, w)) for all strips, on all cores, as one such pair."""
    done = [None] * len(strips)

    def work_on(i):
        done[i] = work(strips[i])

    threads.run(work_on, range(len(strips)))
    return np.concatenate([x for x, _ in done], axis=1), (sum(h for _, (h, _) in done), done[0][1][1])


def groups(count, numbers):
    """Slices of range(count), alike in size: for about GROUP of so many numbers each, and at least two."""
    parts = min(count, 2 * -(-numbers // (2 * GROUP)))
    cuts = [count * i // parts for i in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def through(block, x, grid):
    """What block(x, grid) gives."""
    check_tokens(x, grid, block.dim)
    if x.dtype != block.norm1.weight.dtype:
        return type(block).forward(block, x, grid)
    grid = tuple(grid)
    rows, kinds = window_rows(len(x), grid, block.window_size, block.shift_for(grid))
    bias = bias_of_kinds(block, grid, x.dtype)
    tokens, y = x.reshape(-1, block.dim), np.empty(x.shape, x.dtype)
    out = y.reshape(-1, block.dim)
    few = rows.size <= FEW

    def take_through(group):
        group_through(block, tokens, out, rows[group], bias, kinds[group], few)

    threads.run(take_through, [slice(None)] if few else groups(len(rows), x.size))
    return y


def group_through(block, tokens, out, rows, bias, kinds, few):
    """A group of windows through the block: rows (k, m) of `tokens` are read, and the same rows of `out` written.

    In between, each token is a column: x is (c, k·m). Products W @ x are faster than x @ Wᵀ, above all with few tokens.
    """
    after = isinstance(block, SwinTransformerBlockV2)  # V2 norms what is added, V1 what goes in
    attn, mlp, shape, rows = block.attn, block.mlp, rows.shape, rows.ravel()
    inside = rows >= 0
    x = columns(tokens, rows)
    y = x if after else norm(block.norm1, x)
    if not inside.all():
        y[:, ~inside] = 0  # as in block.py: V1's padding comes after the norm
    y = branch(partial(attend, attn, y, shape, bias, kinds), attn.num_heads, attn.proj, x, few)
    x += norm(block.norm1, y) if after else y
    y = x if after else norm(block.norm2, x)
    y = branch(partial(feed, mlp, y), len(mlp.fc1.weight), mlp.fc2, x, few)
    x += norm(block.norm2, y) if after else y
    if inside.all():
        out[rows] = x.T
    else:
        out[rows[inside]] = x.T[inside]


def branch(work, count, last, x, few):
    """What is added to x (c, l): work(out, part) writes the part that some of `count` heads or channels have in it.

    With few tokens, each half of them is a task of its own: each core then fetches one half of the weights.
    """
    cuts = halves(count) if few else [slice(0, count)]
    parts = scratch("parts", (len(cuts), *x.shape), x.dtype)
    threads.run(lambda i: work(parts[i], cuts[i]), range(len(cuts)))
    y = parts[0]
    for part in parts[1:]:
        y += part
    y += plain(last.bias)[:, None]
    return y


def columns(tokens, rows):
    """These rows of tokens (l, c), as columns: (c, rows)."""
    found = scratch("rows", (len(rows), tokens.shape[1]), tokens.dtype)
    np.take(tokens, rows, axis=0, out=found, mode="wrap")  # -1 takes any: it's padding
    x = scratch("x", found.shape[::-1], tokens.dtype)
    x[...] = found.T
    return x


def attend(attn, x, shape, bias, kinds, out, heads):
    """x (c, k·m) → out (c, k·m): what these heads add to WindowAttention's result, which lacks only proj's bias."""
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
    """Scale the queries; V2: bring queries and keys to one length before, and add the biases. (k, a, d, m) each."""
    if not isinstance(attn, WindowAttentionV2):
        q *= attn.scale
        return
    if attn.q_bias is not None:
        q += plain(attn.q_bias).reshape(attn.num_heads, -1, 1)[heads]
        v += plain(attn.v_bias).reshape(attn.num_heads, -1, 1)[heads]
    for vectors in (q, key):
        vectors /= lengths(vectors.mT).mT
    q *= np.exp(np.minimum(plain(attn.logit_scale)[heads], LOG_100))


def feed(mlp, x, out, channels):
    """x (c, l) → out (c, l): what these channels of the MLP's middle add to its result, which lacks only fc2's bias."""
    weight = plain(mlp.fc1.weight)[channels]
    y = np.matmul(weight, x, out=scratch("wide", (len(weight), x.shape[1]), x.dtype))
    y += plain(mlp.fc1.bias)[channels, None]
    np.matmul(plain(mlp.fc2.weight)[:, channels], gelu(y), out=out)


def add_bias(scores, bias, kinds):
    """To each window's scores (k, a, j, i) the bias of its kind. Windows of one kind stand side by side."""
    for kind in range(kinds[0], kinds[-1] + 1):
        start, stop = np.searchsorted(kinds, (kind, kind + 1))
        scores[start:stop] += bias[kind]


def exponentials(scores):
    """Turn scores (k, a, j, i) into their exp, and return each query's sum (k, a, 1, i): softmax is their quotient.

    No mask parts a token from itself. So if each token's score with itself is above -SAFE and all are below SAFE,
    then every sum lies between exp(-SAFE) and m · exp(SAFE). Otherwise each query's maximum is taken off first.
    """
    itself = np.einsum("kaii->kai", scores)
    if not (scores.max() < SAFE and itself.min() > -SAFE):
        scores -= scores.max(axis=-2, keepdims=True)
    np.exp(scores, out=scores)
    return (np.ones(scores.shape[-2], scores.dtype) @ scores)[..., None, :]


def norm(layer, x, eps=1e-5):
    """LayerNorm's forward on columns (c, l), into memory that is used again."""
    average = np.full(len(x), 1 / len(x), x.dtype)
    y = np.subtract(x, average @ x, out=scratch("norm", x.shape, x.dtype))
    variance = average @ np.multiply(y, y, out=scratch("square", x.shape, x.dtype))
    y /= np.sqrt(variance + eps)
    y *= plain(layer.weight)[:, None]
    y += plain(layer.bias)[:, None]
    return y


def gelu(x):
    """GELU of x, into memory that is used again."""
    y = scratch("gelu", x.shape, x.dtype)
    write = write_gelu32 if x.dtype == np.float32 else write_gelu
    write(y, x)
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
    """Each window's kind (k,), and the kinds' masks (kinds, m, m)."""
    kh, kw = padded[0] // window_size, padded[1] // window_size
    if shift == (0, 0):
        return np.zeros(kh * kw, int), np.zeros((1, window_size**2, window_size**2), np.float32)
    below, right = np.arange(kh) == kh - 1, np.arange(kw) == kw - 1  # the seam runs through the last windows
    kinds = (2 * below[:, None] + right).ravel()
    _, first, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    return kinds, shift_mask(*padded, window_size, shift)[first]


def bias_of_kinds(block, grid, dtype):
    """Relative position bias + mask for each kind of window: (kinds, a, j, i). Kept until weights behind it change."""
    attn, shift, size = block.attn, block.shift_for(grid), block.window_size
    parameters = attn.named_parameters()
    weights = [plain(value) for name, value in parameters if name.startswith(("relative_position", "cpb_mlp"))]
    last = vars(attn).get("_kept_bias")
    key = (tuple(-(-side // size) * size for side in grid), size, shift)
    if last is None or last[0] != key or not all(map(np.array_equal, last[1], weights)):
        _, masks = mask_kinds(*key)
        bias = attn.relative_position_bias() + masks[:, None]
        attn._kept_bias = last = key, [value.copy() for value in weights], bias.mT.astype(dtype, order="C")
    return last[2]
