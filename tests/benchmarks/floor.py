"""The floor: a model's matrix products and nothing else, each made by itself.

It is a measure and no bound: compiled models were faster on a GPU at batch 1 (results/cuda.json). Nothing else means:
no norm, GELU, softmax, bias, no moving of tokens; arrays of random numbers lie where they are needed. A model's time
above the floor is roughly what everything else costs.
"""

import numpy as np
import torch
from torch.nn import functional as F

from swin_numpy.runtime import threads
from swin_torch.fused_training import weight_gradient

from .contenders import finish


def products(config, batch):
    """Every product of a forward: (how many alike, rows, inner, columns). Linear layers: (1, out, in, tokens)."""
    p, c, classes = config.patch_size, config.embed_dim, config.num_classes
    h, w = (side // p for side in config.image_shape)
    found = [(1, c, config.in_chans * p * p, batch * h * w)]
    windows = config.window_size if isinstance(config.window_size, tuple) else [config.window_size] * len(config.depths)
    for stage, (depth, heads, window) in enumerate(zip(config.depths, config.num_heads, windows, strict=True)):
        tokens, m, hidden = batch * h * w, min(window, h, w) ** 2, int(c * config.mlp_ratio)
        each, d = tokens // m * heads, c // heads
        block = [(1, 3 * c, c, tokens), (each, m, d, m), (each, d, m, m), (1, c, c, tokens)]
        found += depth * [*block, (1, hidden, c, tokens), (1, c, hidden, tokens)]
        if stage < len(config.depths) - 1:
            h, w, c = h // 2, w // 2, 2 * c
            found.append((1, c, 2 * c, batch * h * w))
    return [*found, (1, classes, c, batch)]


def gflop(config, batch, training=False):
    """Operations of all products, in 10⁹: two for each multiply-add; a training step makes three for each product."""
    return sum(2e-9 * np.prod(sizes, dtype=float) for sizes in products(config, batch)) * (3 if training else 1)


def numpy_floor(config, batch, training=False):
    """A call that makes all products in NumPy: the columns, or the products, in two shares for the cores."""
    work = []
    for count, rows, inner, columns in products(config, batch):
        a, b, c = _arrays((count, rows, inner), (count, inner, columns), (count, rows, columns))
        da, db = (np.empty_like(a), np.empty_like(b)) if training else (None, None)  # inputs stay as they are
        if count > 1:
            work += _halves(a, b, c)
            if training:
                work += [*_halves(c, b.mT, da), *_halves(a.mT, c, db)]
            continue
        work += [(a[0], b[0, :, part], c[0, :, part]) for part in _cuts(columns)]
        if training:
            work += [(a[0].T, c[0, :, part], db[0, :, part]) for part in _cuts(columns)]
            work += [(c[0, part], b[0].T, da[0, part]) for part in _cuts(rows)]
    return lambda: threads.share_out(lambda one: np.matmul(one[0], one[1], out=one[2]), work)


def torch_floor(config, batch, device, dtype, training=False):
    """A call that makes all products in PyTorch: on a processor in float32 through oneDNN, the faster library there."""
    onednn = (
        torch.device(device).type == "cpu" and dtype == torch.float32 and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )

    def linear(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "") if onednn else F.linear(x, weight)

    work = []
    for count, rows, inner, columns in products(config, batch):
        if count > 1:
            a, b, c = (
                torch.randn(count, *shape, device=device, dtype=dtype)
                for shape in ((rows, inner), (inner, columns), (rows, columns))
            )
            work.append((torch.bmm, a, b))
            if training:
                work += [(torch.bmm, c, b.mT), (torch.bmm, a.mT, c)]
            continue
        weight, x, y = (
            torch.randn(*shape, device=device, dtype=dtype)
            for shape in ((rows, inner), (columns, inner), (columns, rows))
        )
        work.append((linear, x, weight))
        if training:
            work += [(linear, y, weight.T), (weight_gradient if onednn else torch.mm, y if onednn else y.T, x)]

    def call():
        with torch.inference_mode():
            for product, *inputs in work:
                product(*inputs)
        finish(device)

    return call


def _arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def _cuts(count):
    return [slice(0, count // 2), slice(count // 2, count)] if count > 1 else [slice(0, count)]


def _halves(*arrays):
    return [tuple(array[part] for array in arrays) for part in _cuts(len(arrays[0]))]
