"""The fast path in training: a block's forward that keeps what backward needs, and its backward.

As in fused.py, a group of windows goes through the whole block before the next one does, and each token is a column:
x is (c, l). The gradient of y = W @ x is then dx = Wᵀ @ dy and dW = dy @ xᵀ.

Three products need no pass of their own:
- GELU's derivative is computed with GELU, from the same Φ: backward multiplies by it;
- softmax is kept as exp and 1/sum. The division goes into dz, which is smaller;
- softmax's backward subtracts sum_j(dweights · weights), which is also sum_d(dz · z).
"""

from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from einops import rearrange

from .. import fused
from ..block import SwinTransformerBlockV2
from ..gelu import scratch, write_gelu_and_slope
from ..layers import keep_mask
from ..module import plain
from ..patches import PatchMergingV2, check_images, check_tokens
from ..runtime import threads
from ..window_attention import LOG_100, WindowAttentionV2
from ..windows import pad_to_multiple

GROUP = 2**18  # numbers in the tokens of a group of windows, at most: 1 MB in float32


class Kept:
    """What a fast forward keeps in place of what the plain one saves: then `backward` is the fast one, too."""

    def __init__(self, work, *values):
        self.work, self.values = work, values

    def backward(self, part, dy):
        """What part.backward(dy) returns; adds to the gradients of its parameters, too."""
        with threads.one_blas_thread():
            return self.work(part, np.ascontiguousarray(dy), *self.values)


def block(part, x, grid):
    """SwinTransformerBlock, V1 or V2: x (n, h·w, c) → (n, h·w, c), and what to keep."""
    check_tokens(x, grid, part.dim)
    grid = tuple(grid)
    vars(part.attn).pop("_kept_bias", None)  # V2's small network has to save what its backward needs
    rows, kinds = fused.window_rows(len(x), grid, part.window_size, part.shift_for(grid))
    bias = fused.bias_of_kinds(part, grid)
    paths = [_drop_path(layer, x) for layer in (part.drop_path1, part.drop_path2)]
    tokens, y = x.reshape(-1, part.dim), np.empty(x.shape, x.dtype)
    out = y.reshape(-1, part.dim)

    def work(group):
        some = rows[group]
        scales = [path if path is None else path[some.ravel() // x.shape[1]] for path in paths]
        return _group_forward(part, tokens, out, some, bias, kinds[group], scales)

    groups = _groups(len(rows), x.size)
    return y, Kept(_block_backward, rows, groups, _all_of(work, groups))


def _block_backward(part, dy, rows, groups, kept):
    """dy (n, h·w, c) → dx (n, h·w, c)."""
    tokens, dx = dy.reshape(-1, part.dim), np.empty(dy.shape, dy.dtype)
    out = dx.reshape(-1, part.dim)
    tasks = list(zip(groups, kept, strict=True))
    _accumulate(_all_of(lambda task: _group_backward(part, tokens, out, rows[task[0]], task[1]), tasks))
    return dx


def embed(part, images):
    """PatchEmbed: images (n, c, H, W) → tokens (n, h·w, e) and their grid, and what to keep."""
    check_images(images, part.in_chans)
    p, weight, bias = part.patch_size, plain(part.proj.weight).reshape(len(part.proj.weight), -1), part.proj.bias
    x = pad_to_multiple(rearrange(images, "n c H W -> n H W c"), p)
    n, h, w = len(x), x.shape[1] // p, x.shape[2] // p
    patches = rearrange(x, "n (h p1) (w p2) c -> (c p1 p2) (n h w)", p1=p, p2=p)
    y = np.empty((n, h * w, len(weight)), x.dtype)
    out = y.reshape(-1, len(weight))

    def work(group):
        x = fused.add_to_columns(weight @ patches[:, group], bias)
        normed = None if part.norm is None else _standardise(x)
        out[group] = (x if normed is None else _affine(part.norm, normed[0])).T
        return normed

    groups = _groups(len(out), out.size)
    return (y, (h, w)), Kept(_embed_backward, images.shape, patches, groups, _all_of(work, groups))


def _embed_backward(part, dy, shape, patches, groups, kept):
    """dy (n, h·w, e) → dimages (n, c, H, W)."""
    (n, _, H, W), p, dpatches = shape, part.patch_size, np.empty_like(patches)
    dtokens = dy.reshape(-1, dy.shape[-1])

    def work(task):
        (group, normed), found = task, []
        d = np.ascontiguousarray(dtokens[group].T)
        if normed is not None:
            d = _norm_backward(part.norm, d, *normed, found)
        _linear_found(part.proj, d, patches[:, group], found)
        np.matmul(plain(part.proj.weight).reshape(len(d), -1).T, d, out=dpatches[:, group])
        return found

    _accumulate(_all_of(work, list(zip(groups, kept, strict=True))))
    sides = {"n": n, "h": -(-H // p), "p1": p, "p2": p}
    return rearrange(dpatches, "(c p1 p2) (n h w) -> n c (h p1) (w p2)", **sides)[:, :, :H, :W]


def merge(part, x, grid):
    """PatchMerging, V1 or V2: x (n, h·w, c) → (n, h/2·w/2, 2c) and its grid, and what to keep."""
    check_tokens(x, grid, part.dim)
    rows, grid = _neighbour_rows(len(x), *grid)
    tokens, y = x.reshape(-1, part.dim), np.empty((len(x), grid[0] * grid[1], 2 * part.dim), x.dtype)
    out = y.reshape(-1, 2 * part.dim)

    def work(group):
        inputs = np.empty((4, part.dim, group.stop - group.start), x.dtype)
        for place, some in zip(inputs, rows[:, group], strict=True):
            place[...] = _clear(fused.columns(tokens, some), _outside(some))
        inputs = inputs.reshape(4 * part.dim, -1)
        if isinstance(part, PatchMergingV2):
            normed = _standardise(plain(part.reduction.weight) @ inputs)
            out[group] = _affine(part.norm, normed[0]).T
            return normed, inputs
        normed = _standardise(inputs)
        out[group] = (plain(part.reduction.weight) @ _affine(part.norm, normed[0])).T
        return normed, None

    groups = _groups(rows.shape[1], x.size)
    return (y, grid), Kept(_merge_backward, x.shape, rows, groups, _all_of(work, groups))


def _merge_backward(part, dy, shape, rows, groups, kept):
    """dy (n, h/2·w/2, 2c) → dx (n, h·w, c)."""
    dtokens, dx = dy.reshape(-1, 2 * part.dim), np.empty(shape, dy.dtype)
    out = dx.reshape(-1, part.dim)

    def work(task):
        (group, (normed, inputs)), found = task, []
        d, weight = np.ascontiguousarray(dtokens[group].T), plain(part.reduction.weight)
        if isinstance(part, PatchMergingV2):
            d = _norm_backward(part.norm, d, *normed, found)
            _linear_found(part.reduction, d, inputs, found)
            d = weight.T @ d
        else:
            _linear_found(part.reduction, d, _affine(part.norm, normed[0]), found)
            d = _norm_backward(part.norm, weight.T @ d, *normed, found)
        for place, some in zip(d.reshape(4, part.dim, -1), rows[:, group], strict=True):
            _write(out, some, place, _outside(some))
        return found

    _accumulate(_all_of(work, list(zip(groups, kept, strict=True))))
    return dx


@lru_cache(64)
def _neighbour_rows(n, H, W):
    """Which rows of tokens (n·h·w, c) become one: (4, n·h/2·w/2), -1 for padding, in PatchMerging's order; the grid."""
    numbers = pad_to_multiple(1 + np.arange(n * H * W).reshape(n, H, W, 1), 2)
    rows = rearrange(numbers, "n (h p1) (w p2) 1 -> (p2 p1) (n h w)", p1=2, p2=2) - 1
    return rows, (numbers.shape[1] // 2, numbers.shape[2] // 2)


def _all_of(work, tasks):
    """[work(task) for each task], on all cores."""
    found = [None] * len(tasks)

    def work_on(i):
        found[i] = work(tasks[i])

    threads.share_out(work_on, range(len(tasks)))
    return found


def _accumulate(found):
    """Add up what the groups found, [(accumulate, gradient), …] each, always in the same order."""
    for others in found[1:]:
        for (_, total), (_, gradient) in zip(found[0], others, strict=True):
            total += gradient
    for accumulate, gradient in found[0]:
        accumulate(gradient)


def _groups(count, numbers):
    parts = min(count, -(-numbers // GROUP))
    cuts = [count * i // parts for i in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def _drop_path(layer, x):
    """What each image's branch is multiplied by, (n,); None for 1. Draws the numbers that DropPath would draw."""
    return keep_mask(layer.rng, (len(x),), layer.drop_prob, x.dtype) if layer.drop_prob else None


def _group_forward(block, tokens, out, rows, bias, kinds, scales):
    """A group of windows through the block: reads rows (k, m) of `tokens`, writes them into `out`; → what to keep.

    scales: for each branch what DropPath multiplies its columns by, (k·m,), or None.
    """
    shape, rows = rows.shape, rows.ravel()
    x, outside, kept = fused.columns(tokens, rows), _outside(rows), []
    attention = partial(_attention, block.attn, shape=shape, bias=bias, kinds=kinds)
    for norm, branch, scale in zip(
        (block.norm1, block.norm2), (attention, partial(_mlp, block.mlp)), scales, strict=True
    ):
        if isinstance(block, SwinTransformerBlockV2):  # normalises what is added, V1 what goes in
            inputs = x.copy()
            _clear(inputs, outside)
            y, values = branch(inputs)
            normed = _standardise(y)
            y = _affine(norm, normed[0])
        else:
            normed, inputs = _standardise(x), None
            y, values = branch(_clear(_affine(norm, normed[0]), outside))
        kept.append((normed, inputs, values, scale))
        x += y if scale is None else np.multiply(y, scale, out=y)
    _write(out, rows, x, outside)
    return kept


def _group_backward(block, dtokens, out, rows, kept):
    """Reads rows (k, m) of `dtokens`, writes them into `out`; → [(accumulate, gradient), …] for all parameters."""
    shape, rows = rows.shape, rows.ravel()
    dx, outside, found = fused.columns(dtokens, rows), _outside(rows), []
    _clear(dx, outside)
    attention = partial(_attention_backward, block.attn, shape=shape)
    branches = (block.norm2, partial(_mlp_backward, block.mlp)), (block.norm1, attention)
    for (norm, backward), (normed, inputs, values, scale) in zip(branches, reversed(kept), strict=True):
        dy = np.multiply(dx, 1 if scale is None else scale, out=scratch("dy", dx.shape, dx.dtype))
        if isinstance(block, SwinTransformerBlockV2):
            dy = _norm_backward(norm, dy, *normed, found)
            dy = _clear(backward(dy, inputs, values, found=found), outside)
        else:
            dy = _clear(backward(dy, _clear(_affine(norm, normed[0]), outside), values, found=found), outside)
            dy = _norm_backward(norm, dy, *normed, found)
        dx += dy
    _write(out, rows, dx, outside)
    return found


def _outside(rows):
    """Which of these rows are padding; None if none is."""
    return rows < 0 if rows.min() < 0 else None


def _clear(x, outside):
    """Columns x (c, l) with 0 in those of padding."""
    if outside is not None:
        x[:, outside] = 0
    return x


def _write(tokens, rows, x, outside):
    """Columns x (c, rows) into these rows of tokens (l, c)."""
    if outside is None:
        tokens[rows] = x.T
    else:
        tokens[rows[~outside]] = x.T[~outside]


def _standardise(x, eps=1e-5):
    """Columns x (c, l) with mean 0 and variance 1, and 1 / std (l,)."""
    average = np.full(len(x), 1 / len(x), x.dtype)
    y = x - average @ x
    inverse = average @ np.multiply(y, y, out=scratch("square", x.shape, x.dtype))
    inverse += eps
    np.sqrt(inverse, out=inverse)
    np.divide(1, inverse, out=inverse)
    y *= inverse
    return y, inverse


def _affine(layer, normed):
    """LayerNorm's weight and bias on columns (c, l), into memory that is used again."""
    y = np.multiply(normed, plain(layer.weight)[:, None], out=scratch("norm", normed.shape, normed.dtype))
    y += plain(layer.bias)[:, None]
    return y


def _norm_backward(layer, dy, normed, inverse, found):
    """LayerNorm's backward on columns: dy (c, l) becomes dx (c, l)."""
    weight, ones = plain(layer.weight), np.ones(dy.shape[1], dy.dtype)
    part = np.multiply(dy, normed, out=scratch("square", dy.shape, dy.dtype))
    found.append((layer.weight.accumulate, part @ ones))
    found.append((layer.bias.accumulate, dy @ ones))
    average = weight / len(weight)
    along, mean = average @ part, average @ dy
    dy *= weight[:, None]
    dy -= mean
    dy -= np.multiply(normed, along, out=part)
    dy *= inverse
    return dy


def _mlp(mlp, x):
    hidden = np.matmul(plain(mlp.fc1.weight), x)
    y = np.empty_like(hidden)
    write_gelu_and_slope(y, hidden, plain(mlp.fc1.bias))
    out = np.matmul(plain(mlp.fc2.weight), y, out=scratch("y", x.shape, x.dtype))
    out += plain(mlp.fc2.bias)[:, None]
    return out, (y, hidden)


def _mlp_backward(mlp, dy, x, saved, found):
    y, slope = saved
    _linear_found(mlp.fc2, dy, y, found)
    d = np.matmul(plain(mlp.fc2.weight).T, dy, out=scratch("wide", y.shape, y.dtype))
    d *= slope
    _linear_found(mlp.fc1, d, x, found)
    return np.matmul(plain(mlp.fc1.weight).T, d, out=dy)


def _linear_found(layer, dy, x, found):
    found.append((layer.weight.accumulate, (dy @ x.T).reshape(layer.weight.shape)))
    if layer.bias is not None:
        found.append((layer.bias.accumulate, dy @ np.ones(dy.shape[1], dy.dtype)))


def _attention(attn, x, shape, bias, kinds):
    (k, m), d = shape, len(x) // attn.num_heads
    qkv = np.matmul(plain(attn.qkv.weight), x)
    if attn.qkv.bias is not None:
        qkv += plain(attn.qkv.bias)[:, None]
    q, key, v = qkv.reshape(3, -1, d, k, m).transpose(0, 3, 1, 2, 4)  # (k, a, d, m) each
    sizes = fused.prepare(attn, q, key, v, slice(None))
    scores = np.matmul(key.mT, q)  # (k, a, j, i)
    fused.add_bias(scores, bias, kinds)
    inverse = 1 / fused.exponentials(scores)
    z = np.empty(x.shape, x.dtype)
    values = z.reshape(-1, d, k, m).transpose(2, 0, 1, 3)
    np.matmul(v, scores, out=values)
    values *= inverse
    y = np.matmul(plain(attn.proj.weight), z, out=scratch("y", x.shape, x.dtype))
    y += plain(attn.proj.bias)[:, None]
    return y, (qkv, sizes, scores, inverse, z)


def _attention_backward(attn, dy, x, saved, shape, found):
    qkv, sizes, exps, inverse, z = saved
    (k, m), d = shape, len(x) // attn.num_heads
    _linear_found(attn.proj, dy, z, found)
    dz = np.matmul(plain(attn.proj.weight).T, dy, out=scratch("y", x.shape, x.dtype))
    dqkv = scratch("wide", qkv.shape, x.dtype)
    q, key, v = qkv.reshape(3, -1, d, k, m).transpose(0, 3, 1, 2, 4)
    dq, dkey, dv = dqkv.reshape(3, -1, d, k, m).transpose(0, 3, 1, 2, 4)
    dvalues = dz.reshape(-1, d, k, m).transpose(2, 0, 1, 3)

    dvalues *= inverse
    ones = np.ones((1, d), x.dtype)
    product = np.multiply(z, dz, out=scratch("square", x.shape, x.dtype)).reshape(-1, d, k * m)
    along = (ones @ product).reshape(-1, 1, k, m).transpose(2, 0, 1, 3)
    np.matmul(dvalues, exps.mT, out=dv)
    dscores = np.matmul(v.mT, dvalues, out=scratch("scores", exps.shape, x.dtype))
    dscores -= along
    dscores *= exps
    bias = np.ones(k, x.dtype) @ dscores.reshape(k, -1)
    found.append((lambda total: attn.relative_position_bias_backward(total.mT), bias.reshape(-1, m, m)))
    np.matmul(key, dscores, out=dq)
    np.matmul(q, dscores.mT, out=dkey)
    _prepare_backward(attn, (q, key), (dq, dkey, dv), sizes, found)
    _linear_found(attn.qkv, dqkv, x, found)
    return np.matmul(plain(attn.qkv.weight).T, dqkv, out=dy)


def _prepare_backward(attn, vectors, gradients, sizes, found):
    dq, dkey, dv = gradients
    if not isinstance(attn, WindowAttentionV2):
        dq *= attn.scale
        return
    scale = attn.learned_scale()
    for x, dx, size, factor in zip(vectors, (dq, dkey), sizes, (scale, np.ones_like(scale)), strict=True):
        along = (x * dx).sum(axis=-2, keepdims=True)  # (k, a, 1, m)
        if x is vectors[0]:
            dscale = along.sum(axis=(0, 3)).reshape(-1, 1, 1) * (plain(attn.logit_scale) <= LOG_100)
            found.append((attn.logit_scale.accumulate, dscale))
        dx -= x * (along / factor**2)
        dx *= factor / size
    if attn.q_bias is not None:
        found.append((attn.q_bias.accumulate, dq.sum(axis=(0, 3)).ravel()))
        found.append((attn.v_bias.accumulate, dv.sum(axis=(0, 3)).ravel()))
