"""The layers that PyTorch already has (Linear, LayerNorm, Conv2d, Dropout) and those that Swin adds."""

import zlib
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from einops import rearrange

from .functional import (
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
)
from .gelu import gelu, gelu_backward
from .module import Module, Parameter, check_rate, check_whole
from .weights.initial import initial_state


class Linear(Module):
    """y = x Wᵀ + b. x (..., in_features) → (..., out_features). bias: whether there is a b."""

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.weight = Parameter(small_normal(out_features, in_features))
        self.bias = Parameter(np.zeros(out_features, np.float32)) if bias else None

    def forward(self, x):
        """x (..., in_features) → (..., out_features)."""
        self.save(x)
        return linear(x, self.weight, self.bias)

    def backward(self, dy):
        """dy (..., out_features) → dx (..., in_features)."""
        (x,) = self.saved
        dx, dweight, dbias = linear_backward(dy, x, self.weight)
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)
        return dx


class LayerNorm(Module):
    """Bring each token's channels to mean 0 and variance 1, then scale and shift them. x (..., dim) → same."""

    def __init__(self, dim):
        super().__init__()
        self.weight = Parameter(np.ones(dim, np.float32))
        self.bias = Parameter(np.zeros(dim, np.float32))

    def forward(self, x):
        """x (..., dim) → (..., dim)."""
        self.save(x)
        return layer_norm(x, self.weight, self.bias)

    def backward(self, dy):
        """dy (..., dim) → dx (..., dim)."""
        (x,) = self.saved
        dx, dweight, dbias = layer_norm_backward(dy, x, self.weight)
        self.weight.accumulate(dweight)
        self.bias.accumulate(dbias)
        return dx


class Conv2d(Module):
    """A convolution whose stride is its kernel size p: each patch of p x p pixels becomes one pixel.

    x (n, c, H, W), H and W multiples of p → (n, e, H/p, W/p).
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride):
        super().__init__()
        if stride != kernel_size:
            raise ValueError(f"stride: expected the kernel size {kernel_size}, got {stride}: patches may not overlap")
        self.stride = stride
        self.weight = Parameter(small_normal(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = Parameter(np.zeros(out_channels, np.float32))

    def forward(self, x):
        """x (n, c, H, W) → (n, e, H/p, W/p)."""
        patches = rearrange(x, "n c (h p1) (w p2) -> n h w (c p1 p2)", p1=self.stride, p2=self.stride)
        self.save(patches)
        y = linear(patches, rearrange(self.weight, "e c p1 p2 -> e (c p1 p2)"), self.bias)
        return rearrange(y, "n h w e -> n e h w")

    def backward(self, dy):
        """dy (n, e, H/p, W/p) → dx (n, c, H, W)."""
        (patches,) = self.saved
        dy, weight = rearrange(dy, "n e h w -> n h w e"), rearrange(self.weight, "e c p1 p2 -> e (c p1 p2)")
        dpatches, dweight, dbias = linear_backward(dy, patches, weight)
        self.weight.accumulate(dweight.reshape(self.weight.shape))
        self.bias.accumulate(dbias)
        return rearrange(dpatches, "n h w (c p1 p2) -> n c (h p1) (w p2)", p1=self.stride, p2=self.stride)


class ReLU(Module):
    """max(x, 0). x of any shape → same."""

    def forward(self, x):
        """x of any shape → same."""
        y = relu(x)
        self.save(y)
        return y

    def backward(self, dy):
        """dy → dx, of the same shape."""
        (y,) = self.saved
        return relu_backward(dy, y)


class Sigmoid(Module):
    """1 / (1 + exp(-x)). x of any shape → same."""

    def forward(self, x):
        """x of any shape → same."""
        y = sigmoid(x)
        self.save(y)
        return y

    def backward(self, dy):
        """dy → dx, of the same shape."""
        (y,) = self.saved
        return sigmoid_backward(dy, y)


class Sequential(Module):
    """Layers, applied one after the other. Their names are 0, 1, 2, …"""

    def __init__(self, *layers):
        super().__init__()
        self.layers = layers

    def named_children(self):
        """Yield ("0", first layer), ("1", second layer), …"""
        yield from ((str(i), layer) for i, layer in enumerate(self.layers))

    def forward(self, x):
        """x → what the last layer returns."""
        for layer in self.layers:
            x = layer(x)
        return x

    def backward(self, dy):
        """dy, the gradient of what the last layer returned → dx."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy


class Dropout(Module):
    """In training, set each number to 0 with probability p and divide the others by 1 - p. x of any shape → same."""

    def __init__(self, p=0.0):
        super().__init__()
        check_rate("p", p)
        self.p = p
        self.rng = _rng.spawn(1)[0]  # a generator of its own

    def forward(self, x):
        """x of any shape → same."""
        if self.p == 0 or not self.training:
            return x
        mask = keep_mask(self.rng, x.shape, self.p, x.dtype)
        self.save(mask)
        return x * mask

    def backward(self, dy):
        """dy → dx, of the same shape, through the mask of the last forward."""
        if self.p == 0:
            return dy
        (mask,) = self.saved
        return dy * mask


class DropPath(Module):
    """Stochastic depth (Huang et al. 2016): in training, drop the branch for whole samples. x (n, ...) → same.

    drop_prob: the probability for each sample; the others are divided by 1 - drop_prob.
    """

    def __init__(self, drop_prob=0.0):
        super().__init__()
        check_rate("drop_prob", drop_prob)
        self.drop_prob = drop_prob
        self.rng = _rng.spawn(1)[0]

    def forward(self, x):
        """x (n, ...) → same."""
        if self.drop_prob == 0 or not self.training:
            return x
        one_a_sample = (x.shape[0],) + (1,) * (x.ndim - 1)
        mask = keep_mask(self.rng, one_a_sample, self.drop_prob, x.dtype)
        self.save(mask)
        return x * mask

    def backward(self, dy):
        """dy (n, ...) → dx, through the mask of the last forward."""
        if self.drop_prob == 0:
            return dy
        (mask,) = self.saved
        return dy * mask


def keep_mask(rng, shape, drop, dtype):
    """An array of 0 (with probability `drop`) and 1/(1 - drop), whose mean is 1: nothing is lost on average."""
    return (rng.random(shape) >= drop).astype(dtype) / (1 - drop)


class Mlp(Module):
    """Linear, GELU, Linear: what a block does to each token separately. x (..., in_features) → same.

    hidden_features: width in the middle. drop: rate of the dropout after GELU and at the end.
    """

    def __init__(self, in_features, hidden_features, drop=0.0):
        super().__init__()
        check_rate("drop", drop)
        check_whole("hidden_features", hidden_features)
        self.fc1 = Linear(in_features, hidden_features)
        self.fc2 = Linear(hidden_features, in_features)
        self.drop1 = Dropout(drop)
        self.drop2 = Dropout(drop)

    def forward(self, x):
        """x (..., in_features) → same."""
        x = self.fc1(x)
        y = gelu(x)
        self.save(x, y)
        return self.drop2(self.fc2(self.drop1(y)))

    def backward(self, dy):
        """dy (..., in_features) → dx, of the same shape."""
        x, y = self.saved
        dy = self.drop1.backward(self.fc2.backward(self.drop2.backward(dy)))
        return self.fc1.backward(gelu_backward(dy, x, y))


_rng = np.random.default_rng(0)


_undrawn = ContextVar("_undrawn", default=False)


@contextmanager
def undrawn():
    """A context in which layers get no numbers for their weights, for weights that are loaded next."""
    token = _undrawn.set(True)
    try:
        yield
    finally:
        _undrawn.reset(token)


def small_normal(*shape):
    """Normal numbers of spread 0.02, float32: what a layer made by itself starts with. A whole model draws its own."""
    if _undrawn.get():
        return np.zeros(shape, np.float32)
    return 0.02 * _rng.standard_normal(shape, dtype=np.float32)


def init_weights(module, seed=0):
    """Give `module` the published initial values. The same seed gives the same numbers in both packages.

    Raises ValueError for a seed below 0.
    """
    if _undrawn.get():
        return
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    module.load_state_dict(initial_state(shapes, seed))


def seed_dropout(module, seed):
    """Restart the random numbers of every Dropout and DropPath, each with its own.

    seed: an int or a tuple of ints. With (seed of the run, step), any single step can be repeated.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, Dropout | DropPath) and (layer.p if isinstance(layer, Dropout) else layer.drop_prob):
            layer.rng = np.random.default_rng([*np.atleast_1d(seed), zlib.crc32(name.encode())])
