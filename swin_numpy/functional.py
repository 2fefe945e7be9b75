"""The maths without any state: arrays in, arrays out. GELU has a file of its own, gelu.py.

Steps such as `y *= x` write into an array that exists: on a processor, fetching memory for another one can take
longer than the arithmetic (chapter 13, step 6). Arguments are never written to.

Below each function stands its backward. Its first argument, dy, is the gradient of the loss with respect to
what the function returned, and has that shape; it returns the gradients with respect to the arguments.
"""

import math

import numpy as np


def linear(x, weight, bias=None):
    """x Wᵀ + b. x (..., in), weight (out, in), bias (out,) → (..., out)."""
    rows = x.reshape(-1, x.shape[-1]) @ weight.T  # one large matrix product is faster than many small ones
    if bias is not None:
        rows += bias
    return rows.reshape(*x.shape[:-1], len(weight))


def linear_backward(dy, x, weight):
    """→ dx (..., in), dweight (out, in), dbias (out,). Each row of x used the same weights: their gradients add up."""
    dx = linear(dy, weight.T)
    dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dx, dy.T @ x, sum_tokens(dy)


def sum_tokens(x):
    """The sum over all axes but the last. x (..., c) → (c,)."""
    return add_up(x, tuple(range(x.ndim - 1)))


def add_up(x, axes):
    """x.sum(axes), almost as exact for a million numbers as for a few: in groups of 64, then of their sums, and so on.

    In one long sum in float32, every step rounds to the digits that the total has by then; that error grows and grows.
    """
    kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
    x = np.moveaxis(x, axes, range(len(axes))).reshape(math.prod(x.shape[axis] for axis in axes), math.prod(kept))
    while len(x) > 64:
        whole = len(x) // 64 * 64
        sums = np.ones(64, x.dtype) @ x[:whole].reshape(-1, 64, x.shape[1])  # faster than sum(axis=1)
        x = np.concatenate([sums, x[whole:]])
    return x.sum(axis=0).reshape(kept)


def softmax(x, dim=-1):
    """exp(x) / sum(exp(x)) along `dim`; the largest value is subtracted first, so that exp can't overflow."""
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
    y, _ = standardise(x, eps)
    y *= weight
    y += bias
    return y


def layer_norm_backward(dy, x, weight, eps=1e-5):
    """→ dx (..., c), dweight (c,), dbias (c,). Only x was kept; the norm is computed again.

    Adding a constant to all of x doesn't change the output, nor does stretching x - mean (but for eps). So dx has no
    part along these two directions: the mean of dnorm and its part along norm are subtracted.
    """
    norm, std = standardise(x, eps)
    dnorm = dy * weight
    dx = dnorm - mean(dnorm) - norm * mean(dnorm * norm)
    dx /= std
    return dx, sum_tokens(dy * norm), sum_tokens(dy)


def standardise(x, eps):
    """Mean 0 and variance 1 along the last axis: x (..., c) → (x - mean) / std (..., c), std (..., 1).

    std is √(variance + eps).
    """
    norm = x - mean(x)
    std = np.sqrt(mean(norm * norm) + eps)
    norm /= std
    return norm, std


def mean(x):
    """The mean over the last axis. x (..., c) → (..., 1). As a dot product with ones it is faster than x.mean()."""
    return np.vecdot(x, np.ones(x.shape[-1], x.dtype), keepdims=True) / x.shape[-1]


def relu(x, out=None):
    """max(x, 0)."""
    return np.maximum(x, 0, out=out)


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
    """→ dlogits (n, classes). Gradients start at the loss, so there is no dy."""
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
    _check_labels(labels, logits, label_smoothing)
    classes = logits.shape[-1]
    targets = labels if labels.ndim == 2 else labels[:, None] == np.arange(classes)
    return ((1 - label_smoothing) * targets + label_smoothing / classes).astype(logits.dtype)


def _check_labels(labels, logits, label_smoothing):
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
