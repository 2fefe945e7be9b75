"""The published initialisation, by name and shape alone, so that both twins start from the same numbers.

Source: `_init_weights`, `_init_respostnorm` and the constructors of the official code
(github.com/microsoft/Swin-Transformer, models/swin_transformer.py and swin_transformer_v2.py).
"""

import math
import zlib

import numpy as np


def initial_state(shapes, seed=0):
    """Initial parameters of a model, or of one module alone, for its official names.

    shapes   {name: shape}, such as {"qkv.weight": (72, 24), "qkv.bias": (72,)}
    seed     a non-negative int
    returns  {name: float32 array} in the order of `shapes`

    Each parameter has its own generator, seeded by `seed` and its name, so its numbers depend neither on the order
    of the names nor on the other parameters. Raises ValueError for a seed below 0.
    """
    if seed < 0:
        raise ValueError(f"seed: expected a whole number from 0 up, got {seed}")
    shapes = {name: tuple(shape) for name, shape in shapes.items()}
    return {name: _initial_value(name, shapes, seed) for name in shapes}


def _initial_value(name, shapes, seed):
    shape = shapes[name]
    prefix, _, leaf = name.rpartition(".")
    weight_shape = shapes.get(f"{prefix}.weight" if prefix else "weight", ())
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])

    if len(weight_shape) == 4 and leaf in ("weight", "bias"):  # the patch convolution keeps Conv2d's default
        limit = 1 / math.sqrt(math.prod(weight_shape[1:]))
        return (2 * rng.random(shape, dtype=np.float32) - 1) * np.float32(limit)
    if leaf == "logit_scale":  # V2: the cosine of two tokens times exp(log 10) = 10
        return np.full(shape, math.log(10), dtype=np.float32)
    if len(shape) >= 2:
        # Linear weights, bias tables, position embeddings: trunc_normal_(std=0.02). It truncates at the values -2
        # and 2, which are 100 standard deviations out, so in practice nothing is ever truncated.
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    if leaf == "weight" and not _is_residual_post_norm(prefix, shapes):
        return np.ones(shape, dtype=np.float32)
    return np.zeros(shape, dtype=np.float32)


def _is_residual_post_norm(prefix, shapes):
    """V2's norms follow their branch and start at zero, so that each block starts as the identity."""
    block, norm = prefix[:-5], prefix[-5:]
    return norm in ("norm1", "norm2") and f"{block}attn.logit_scale" in shapes
