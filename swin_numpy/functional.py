"""The maths without any state: arrays in, arrays out.

Where a result is worked out in several steps, they write into one array (`y *= x`): on a processor, fetching memory for
another array takes longer than the arithmetic. What a function was given is never written to.

Under each function stands its backward. Its first argument, dy, is the gradient of the loss with respect to
what the function returned, and has that shape; it returns the gradients with respect to the arguments.
"""

import math

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from .runtime.threads import scratch


def linear(x, weight, bias=None):
    """x Wᵀ + b. x (..., in), weight (out, in), bias (out,) → (..., out)."""
    rows = x.reshape(-1, x.shape[-1]) @ weight.T  # one large matrix product is faster than many small ones
    if bias is not None:
        rows += bias
    return rows.reshape(*x.shape[:-1], -1)


def linear_backward(dy, x, weight):
    """→ dx (..., in), dweight (out, in), dbias (out,). Each row of x used the same weights: their gradients add up."""
    dx = linear(dy, weight.T)
    dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dx, dy.T @ x, dy.sum(axis=0)


def softmax(x, dim=-1):
    """exp(x) / sum(exp(x)) along `dim`; the largest value is taken off first, so that exp can't overflow."""
    exp = np.exp(x - x.max(axis=dim, keepdims=True))
    exp /= exp.sum(axis=dim, keepdims=True)
    return exp


def softmax_backward(dy, y, dim=-1):
    """→ dx, from the output y alone: y · (dy - sum(dy · y)). More for one is less for the others."""
    dx = dy - np.vecdot(dy, y, axis=dim, keepdims=True)
    dx *= y
    return dx


def layer_norm(x, weight, bias, eps=1e-5):
    """(x - mean) / √(variance + eps) · weight + bias over the last axis (Ba et al. 2016). x (..., c)."""
    y, _ = normalise(x, eps)
    y *= weight
    y += bias
    return y


def layer_norm_backward(dy, x, weight, eps=1e-5):
    """→ dx (..., c), dweight (c,), dbias (c,). Mean and deviation are computed a second time: nothing but x is kept.

    But for eps, the output changes neither if all of x moves nor if x - mean grows, so dx has no part in these two
    directions: it is what is left of dnormed when its mean and its part along normed are taken off.
    """
    normed, deviation = normalise(x, eps)
    tokens = tuple(range(x.ndim - 1))
    dweight, dbias = (dy * normed).sum(axis=tokens), dy.sum(axis=tokens)

    dx = dy * weight  # dnormed
    normed *= np.vecdot(dx, normed, keepdims=True) / x.shape[-1]  # its part along normed
    dx -= dx.mean(axis=-1, keepdims=True)
    dx -= normed
    dx /= deviation
    return dx, dweight, dbias


def normalise(x, eps):
    """(x - mean) / √(variance + eps) over the last axis, and that root. x (..., c) → (..., c), (..., 1)."""
    normed = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.vecdot(normed, normed, keepdims=True) / x.shape[-1] + eps)
    normed /= deviation
    return normed, deviation


def gelu(x):
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016). Exact, not the tanh formula."""
    return in_pieces(write_gelu, x)


def gelu_backward(dy, x, y):
    """→ dx = dy · (Φ(x) + x · φ(x)): the product rule on y = x · Φ(x), with the normal density φ = Φ'."""
    return in_pieces(write_gelu_backward, dy, x, y)


def in_pieces(write, *arrays, size=2**16):
    """What write(result, *arrays) writes, which treats each number by itself: on pieces that fit the cache."""
    arrays = [x if x.dtype.kind == "f" else x.astype(float) for x in map(np.asarray, arrays)]
    arrays = np.broadcast_arrays(*arrays)
    result = np.empty(arrays[0].shape, np.result_type(*arrays))
    flat = [result.reshape(-1), *(x.reshape(-1) for x in arrays)]
    for start in range(0, result.size, size):
        write(*(x[start : start + size] for x in flat))
    return result


def write_gelu(y, x):
    """Into y: with the tail Q(u) = 1 - Φ(u) of u = |x|, for then neither sign of x loses digits.

    x > 0: x - u · Q(u);  x < 0: -u · Q(u).
    """
    u, zero = np.abs(x, out=scratch("u", x.shape, x.dtype)), scratch("zero", x.shape, x.dtype)
    normal_tail(u, out=y)
    y *= u
    zero[...] = 0  # NumPy compares with an array three times as fast as with the number 0
    np.subtract(np.maximum(x, zero, out=u), y, out=y)


def write_gelu_backward(dx, dy, x, y):
    """Into dx. Φ(x) need not be computed again: it is y / x, and ½ at x = 0."""
    normal_density(x, out=dx)
    dx *= x
    with np.errstate(invalid="ignore"):
        cdf = np.divide(y, x, out=scratch("u", x.shape, x.dtype))
    np.copyto(cdf, 0.5, where=x == 0)
    dx += cdf
    dx *= dy


def normal_density(x, out):
    """φ(x) = exp(-x²/2) / √2π."""
    np.multiply(x, x, out=out)
    out *= -0.5
    np.exp(out, out=out)
    out *= 1 / math.sqrt(2 * math.pi)
    return out


def normal_tail(u, out=None):
    """Q(u) = ½ erfc(u/√2), the chance that a standard normal number exceeds u >= 0.

    exp(u²/2) · Q(u) is so smooth a function of t = (u - 4)/(u + 4) that one polynomial gives every digit.
    """
    polynomial = _TAIL32 if u.dtype == np.float32 else _TAIL64
    t = scratch("t", u.shape, u.dtype)
    value = np.add(u, 4, out=out)
    np.subtract(u, 4, out=t)
    t /= value
    np.multiply(t, polynomial[-1], out=value)
    for coefficient in polynomial[-2:0:-1]:  # Horner's rule
        value += coefficient
        value *= t
    value += polynomial[0]
    np.multiply(u, u, out=t)
    t *= -0.5
    value *= np.exp(t, out=t)
    return value


def _fit_tail(degree):
    """Coefficients of that polynomial, lowest first, fitted to Python's own math.erfc for 0 <= u <= 9."""
    nodes = np.cos(np.linspace(0, math.pi, 400))
    u = np.float32(4.5 + 4.5 * nodes).astype(float)  # 24 bits, so u · u below is exact
    values = [math.exp(v * v / 2) * math.erfc(v / math.sqrt(2)) / 2 for v in u]
    return Chebyshev.fit((u - 4) / (u + 4), values, degree).convert(kind=Polynomial).coef.tolist()


_TAIL32, _TAIL64 = _fit_tail(7), _fit_tail(20)


def relu(x, out=None):
    """max(x, 0). NumPy compares with an array of zeros three times as fast as with the number 0."""
    return np.maximum(x, np.broadcast_to(np.zeros(1, x.dtype), x.shape), out=out)


def relu_backward(dy, y):
    """→ dx, from the output y alone: where that is 0, nothing went through."""
    return dy * (y > 0)


def sigmoid(x):
    """1 / (1 + exp(-x)), a number from 0 to 1. Written with tanh, which can't overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def sigmoid_backward(dy, y):
    """→ dx, from the output y alone."""
    return dy * y * (1 - y)


def cross_entropy(logits, labels, label_smoothing=0.0):
    """-sum(target · log softmax(logits)), the mean over the batch. logits (n, classes) → a number.

    labels: n class numbers, or (n, classes) probabilities. label_smoothing takes this much of the target from
    what the label says and shares it among all classes (Szegedy et al. 2016).
    Raises ValueError if the labels don't fit the logits.
    """
    targets = targets_of(labels, logits, label_smoothing)
    return -(targets * log_softmax(logits)).sum(axis=-1).mean()


def cross_entropy_backward(logits, labels, label_smoothing=0.0):
    """→ dlogits (n, classes). The loss is where gradients start, so there is no dy."""
    targets = targets_of(labels, logits, label_smoothing)
    return log_softmax_backward(-targets / len(logits), log_softmax(logits))


def log_softmax(x):
    """log(softmax(x)) over the last axis, without the logarithm of a probability that has become 0."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def log_softmax_backward(dy, y):
    """→ dx, from the output y alone."""
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


def targets_of(labels, logits, label_smoothing=0.0):
    """The distribution (n, classes) that each row of softmax(logits) should have."""
    labels = np.asarray(labels)
    check_labels(labels, logits, label_smoothing)
    classes = logits.shape[-1]
    targets = labels if labels.ndim == 2 else labels[:, None] == np.arange(classes)
    return ((1 - label_smoothing) * targets + label_smoothing / classes).astype(logits.dtype)


def check_labels(labels, logits, label_smoothing):
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"logits: expected (n, classes), got shape {logits.shape}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {label_smoothing}")
    n, classes = logits.shape
    if labels.shape == (n, classes):
        return
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected {n} class numbers, or probabilities of shape {logits.shape}, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels: expected 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
