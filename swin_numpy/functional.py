"""The maths without any state: arrays in, arrays out."""

import math

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial


def linear(x, weight, bias=None):
    """x Wᵀ + b. x (..., in), weight (out, in), bias (out,) → (..., out)."""
    rows = x.reshape(-1, x.shape[-1]) @ weight.T  # one large matrix product is faster than many small ones
    if bias is not None:
        rows += bias
    return rows.reshape(*x.shape[:-1], -1)


def softmax(x, dim=-1):
    """exp(x) / sum(exp(x)) along `dim`; the largest value is taken off first, so that exp can't overflow."""
    exp = np.exp(x - x.max(axis=dim, keepdims=True))
    return exp / exp.sum(axis=dim, keepdims=True)


def layer_norm(x, weight, bias, eps=1e-5):
    """(x - mean) / √(variance + eps) · weight + bias over the last axis (Ba et al. 2016). x (..., c)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight + bias


def gelu(x):
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016). Exact, not the tanh formula.

    Written with the tail Q(u) = 1 - Φ(u) of u = |x|, for then neither sign of x loses digits:
    x > 0: x - u · Q(u);  x < 0: -u · Q(u).
    """
    u = np.abs(x)
    return np.maximum(x, 0) - u * normal_tail(u)


def normal_tail(u):
    """Q(u) = ½ erfc(u/√2), the chance that a standard normal number exceeds u >= 0.

    exp(u²/2) · Q(u) is so smooth a function of t = (u - 3)/(u + 3) that one polynomial gives every digit.
    """
    polynomial = _TAIL32 if u.dtype == np.float32 else _TAIL64
    t = (u - 3) / (u + 3)
    value = polynomial[-1]
    for coefficient in polynomial[-2::-1]:  # Horner's rule
        value = value * t + coefficient
    return value * np.exp(-0.5 * u * u)


def _fit_tail(degree):
    """Coefficients of that polynomial, lowest first, fitted to Python's own math.erfc for 0 <= u <= 9."""
    nodes = np.cos(np.linspace(0, math.pi, 400))
    u = np.float32(4.5 + 4.5 * nodes).astype(float)  # 24 bits, so u · u below is exact
    values = [math.exp(v * v / 2) * math.erfc(v / math.sqrt(2)) / 2 for v in u]
    return Chebyshev.fit((u - 3) / (u + 3), values, degree).convert(kind=Polynomial).coef.tolist()


_TAIL32, _TAIL64 = _fit_tail(9), _fit_tail(20)
