"""The fast way through a stage in evaluation mode: the same sums as block.py, with fewer trips through memory.

`model.use_attention("fused")` gives the parts of a model another `forward`, from here. What differs from the plain
way, which the chapters show:

- what a block does to a window needs no other window, so a group of windows goes through the whole block before the
  next one does, in arrays small enough for the cache that are used again; each core takes group after group;
- padding, cyclic shift and the cut into windows are one list of row numbers, and one gather of these rows;
- bias and mask are added up once for each kind of window, of which there are four at most;
- where no score is large, the softmax needs no maximum taken off first.

Axis names as in windows.py.
"""

from functools import lru_cache, partial
from itertools import pairwise

import numpy as np

from . import cores
from .block import SwinTransformerBlock
from .cores import scratch
from .functional import write_gelu
from .module import plain
from .patches import PatchEmbed, PatchMerging, check_images, check_tokens
from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition

GROUP = 2**17  # numbers in the tokens of a group of windows: 512 KB in float32
FEW = 64  # rows: so few of them, and a large weight, are shared out by the weight's columns instead
SAFE = 60  # exp of ±60, and sums of such, are far from the limits of float32


def switch(model, on):
    """Let `model` and its parts compute the fast way, or the plain one. Their hooks hear the same either way."""
    ways = {type(model): through_model, PatchEmbed: embed, PatchMerging: merge, SwinTransformerBlock: through}
    for _, part in model.named_modules():
        vars(part).pop("forward", None)  # found before the class's own
        if on and type(part) in ways:
            part.forward = partial(forward, part, ways[type(part)])


def forward(part, way, *inputs):
    """The fast way through a part; in training, or if someone listens to a part of the part, the plain one."""
    with cores.one_thread_each():
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
    return join(strips, lambda strip: PatchMerging.forward(part, *strip))


def halves(rows):
    return [slice(0, rows // 2), slice(rows // 2, rows)] if rows > 1 else [slice(0, rows)]


def join(strips, work):
    """work(strip) → (tokens (n, h·w, c), (h, w)) for all strips, on all cores, as one such pair."""
    done = [None] * len(strips)

    def work_on(i):
        done[i] = work(strips[i])

    cores.run(work_on, range(len(strips)))
    return np.concatenate([x for x, _ in done], axis=1), (sum(h for _, (h, _) in done), done[0][1][1])


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

    def take_through(group):
        group_through(block, tokens, out, rows[group], bias, kinds[group])

    cores.run(take_through, groups(len(rows), rows.shape[1] * block.dim))
    return y


def groups(windows, numbers):
    """Slices of about GROUP numbers, alike in size; two at least, if there are two windows of so many numbers."""
    count = min(windows, max(2, 2 * round(windows * numbers / GROUP / 2)))
    cuts = [windows * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def group_through(block, tokens, out, rows, bias, kinds):
    """A group of windows through the block: rows (k, m) of `tokens` are read, and the same rows of `out` written."""
    shape, dtype = (rows.size, block.dim), tokens.dtype
    x = np.take(tokens, rows.ravel(), axis=0, out=scratch("x", shape, dtype), mode="wrap")  # -1 takes any: it's padding
    y = norm(block.norm1, x)
    inside = rows.ravel() >= 0
    padded = not inside.all()
    if padded:
        y[~inside] = 0  # as in block.py: the padding comes after the norm
    add_linear(x, block.attn.proj, attend(block.attn, y, rows.shape, bias, kinds))

    hidden = linear(block.mlp.fc1, norm(block.norm2, x), "wide")
    y = scratch("gelu", hidden.shape, dtype)
    write_gelu(y, hidden)
    add_linear(x, block.mlp.fc2, y)
    if padded:
        out[rows.ravel()[inside]] = x[inside]
    else:
        out[rows.ravel()] = x


def attend(attn, x, shape, bias, kinds):
    """x (k·m, c) → (k·m, c): WindowAttention's forward up to its last linear layer."""
    (k, m), a = shape, attn.num_heads
    qkv = linear(attn.qkv, x, "wide").reshape(k, m, 3, a, -1)
    q, key, v = qkv.transpose(2, 0, 3, 1, 4)
    scores = np.matmul(q, key.mT, out=scratch("scores", (k, a, m, m), x.dtype))
    scores *= attn.scale
    add_bias(scores, bias, kinds)
    sums = exponentials(scores)

    z = scratch("z", x.shape, x.dtype)
    heads = z.reshape(k, m, a, -1).transpose(0, 2, 1, 3)
    np.matmul(scores, v, out=heads)
    heads /= sums
    return z


def add_bias(scores, bias, kinds):
    """To each window's scores (k, a, i, j) the bias of its kind. Windows of one kind stand side by side."""
    for kind in range(kinds[0], kinds[-1] + 1):
        start, stop = np.searchsorted(kinds, (kind, kind + 1))
        scores[start:stop] += bias[kind]


def exponentials(scores):
    """Turn scores (k, a, i, j) into their exp, and return each row's sum (k, a, i, 1): softmax is their quotient.

    No mask parts a token from itself. So if each token's score with itself is above -SAFE and all are below SAFE,
    then every sum lies between exp(-SAFE) and m · exp(SAFE). Otherwise each row's maximum is taken off first.
    """
    itself = np.einsum("kaii->kai", scores)
    if not (scores.max() < SAFE and itself.min() > -SAFE):
        scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    return (scores @ np.ones(scores.shape[-1], scores.dtype))[..., None]


def norm(layer, x, eps=1e-5):
    """LayerNorm's forward, into memory that is used again."""
    c = x.shape[-1]
    y = np.subtract(x, np.vecdot(x, np.full(c, 1 / c, x.dtype))[:, None], out=scratch("norm", x.shape, x.dtype))
    y /= np.sqrt(np.vecdot(y, y) / c + eps)[:, None]
    y *= plain(layer.weight)
    y += plain(layer.bias)
    return y


def linear(layer, x, name):
    """Linear's forward, into this thread's memory of that name."""
    weight = plain(layer.weight)
    y = scratch(name, (len(x), len(weight)), x.dtype)
    if len(x) < FEW and weight.size > FEW**2:
        cores.run(lambda half: np.matmul(x, weight[half].T, out=y[:, half]), halves(len(weight)))
    else:
        np.matmul(x, weight.T, out=y)
    if layer.bias is not None:
        y += plain(layer.bias)
    return y


def add_linear(x, layer, y):
    """x += Linear(y)."""
    x += linear(layer, y, "norm")


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
    """Relative position bias + mask for each kind of window: (kinds, a, i, j). Kept while the table stays."""
    attn, shift, size = block.attn, block.shift_for(grid), block.window_size
    table = plain(attn.relative_position_bias_table)
    last = vars(attn).get("_kept_bias")
    key = (tuple(-(-side // size) * size for side in grid), size, shift)
    if last is None or last[0] != key or not np.array_equal(last[1], table):
        _, masks = mask_kinds(*key)
        bias = attn.relative_position_bias() + masks[:, None]
        attn._kept_bias = last = key, table.copy(), bias.astype(dtype)
    return last[2]
