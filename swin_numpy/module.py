"""Parameter and Module, in as few lines as the models need, and the checks that every forward begins with.

A Module owns Parameters and other Modules. As in PyTorch, a dotted name ("layers.0.blocks.1.attn.qkv.weight") lists the
attributes on the way down, so that both twins read the same checkpoints.
"""

import operator
from copy import deepcopy
from functools import wraps
from types import SimpleNamespace

import numpy as np

from .weights.check import as_array, check_state, warn_not_finite


class Parameter(np.ndarray):
    """An array that training changes. `.grad` is None or an array of the same shape.

    Arithmetic with Parameters gives plain arrays, so that they occur only as attributes of Modules.
    """

    def __new__(cls, value):
        return np.array(value, order="C").view(cls)

    def __array_finalize__(self, parent):
        self.grad = None

    def accumulate(self, gradient):
        """Add to `.grad`: a parameter that is used twice, in one batch or in two, gets the sum of both gradients."""
        gradient = gradient.astype(self.dtype, copy=False)
        self.grad = gradient if self.grad is None else self.grad + gradient

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = [plain(value) for value in inputs]
        if out is None:
            return getattr(ufunc, method)(*inputs, **options)
        getattr(ufunc, method)(*inputs, out=tuple(plain(value) for value in out), **options)
        return out[0]  # `parameter -= step` works in place, and the result is still a Parameter


def plain(value):
    """A Parameter as an ordinary array that shares its memory; anything else as it is."""
    return value.view(np.ndarray) if isinstance(value, Parameter) else value


def check_shape(name, x, *axes):
    """Raise unless x has these axes: a number is a length; a letter stands for any, of which only n may be 0.

    check_shape("x", x, "n", 49, 96) raises ValueError "x: expected shape (n, 49, 96), got (2, 48, 96)", or TypeError
    if x is not an array of this library or doesn't hold real numbers.
    """
    check_array(name, x)
    wrong = (a != "n" and s == 0 if isinstance(a, str) else s != a for s, a in zip(x.shape, axes, strict=False))
    if x.ndim != len(axes) or any(wrong):
        raise ValueError(f"{name}: expected shape ({', '.join(map(str, axes))}), got {tuple(x.shape)}")


def check_array(name, x):
    """Raise TypeError unless x is an array of this library that holds real numbers."""
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray | np.matrix):
        raise TypeError(f"{name}: expected a NumPy array, got {type(x).__name__}")
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got {x.dtype}")


def check_dtype(name, x, weight):
    """Raise TypeError unless x has the type of the weights that it meets. NumPy would quietly compute in another."""
    if x.dtype != weight.dtype:
        raise TypeError(f"{name}: expected {weight.dtype}, the type of the weights, got {x.dtype}: convert either")


def check_whole(name, value, least=1):
    """`value` as an int. Raises TypeError unless it is a whole number, ValueError if it is less than `least`.

    A number such as 2.0 must never reach einops: it remembers by equality, and would take 2 for 2.0 from then on.
    """
    try:
        value = operator.index("a bool" if isinstance(value, bool) else value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {value!r}") from None
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value


def check_rate(name, rate):
    """Raise ValueError unless `rate`, the probability that something is dropped, is at least 0 and less than 1."""
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: expected 0 <= rate < 1, got {rate}")


def added(mask, scores):
    """What to add to the scores for a mask: numbers as they are; booleans, True to keep a key, as 0 and -inf.

    Returns an array in the type of `scores`. Raises TypeError for any other mask, such as one of integers.
    """
    check_array("mask", mask)
    if mask.dtype == bool:
        mask = np.where(mask, 0.0, -np.inf)
    elif mask.dtype.kind != "f":
        raise TypeError(f"mask: expected booleans (True: keep) or numbers to add to the scores, got {mask.dtype}")
    return mask.astype(scores.dtype, copy=False)


def _fast_or_own(own):
    @wraps(own)
    def backward(self, dy):
        fast = getattr(self._saved, "backward", None)
        return own(self, dy) if fast is None else fast(self, dy)

    return backward


class Module:
    """Base class of all layers: calls `forward`, finds parameters by name, switches between training and evaluation."""

    def __init__(self):
        self.training = False
        self.fast_forward = None  # use_attention("fused") puts a function here that computes what forward does
        self._saved = None
        self._forward_hooks = []

    def __init_subclass__(cls):
        """Where the fast path's forward came last, its backward has to follow: `backward` looks at what was saved."""
        super().__init_subclass__()
        if "backward" in vars(cls):
            cls.backward = _fast_or_own(cls.backward)

    def __call__(self, *inputs):
        output = self.forward(*inputs) if self.fast_forward is None else self.fast_forward(self, *inputs)
        for hook in self._forward_hooks:
            hook(self, inputs, output)
        return output

    def register_forward_hook(self, hook):
        """Call `hook(module, inputs, output)` after each forward. To stop, call `.remove()` of the return value."""
        self._forward_hooks.append(hook)
        return SimpleNamespace(remove=lambda: self._forward_hooks.remove(hook))

    def save(self, *values):
        """Called by `forward`: keep what `backward` will need. In evaluation mode, nothing is kept."""
        self._saved = values if self.training else None

    @property
    def saved(self):
        """The values that the last `forward` saved. Raises ValueError if it saved none."""
        if self._saved is None:
            name = type(self).__name__
            raise ValueError(f"{name}.backward needs what forward saves in training mode: train(), forward, backward")
        return self._saved

    def named_children(self):
        """Yield (name, module) one level down; the modules in a list are called name.0, name.1, …"""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, Module))

    def named_modules(self, prefix=""):
        """Yield (dotted name, module) for this module and all below it, in the order they were made."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self):
        """Yield (dotted name, Parameter) for this module and all below it."""
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield (f"{prefix}.{name}" if prefix else name), value

    def state_dict(self):
        """{dotted name: array}. The arrays are the parameters' own memory, not copies."""
        return {name: plain(parameter) for name, parameter in self.named_parameters()}

    def load_state_dict(self, state, strict=True):
        """Copy arrays in by name. All or nothing: if a name or a shape is wrong, nothing is changed.

        strict=False ignores names that only one side has, but shapes must fit.
        Returns (missing, unexpected), two lists of names. Raises CheckpointError (a ValueError) that lists what is
        missing, unexpected or of another shape. Warns of arrays that contain NaN or infinity.
        """
        parameters = dict(self.named_parameters())
        missing, unexpected = check_state(state, {name: value.shape for name, value in parameters.items()}, strict)
        found = {name: as_array(state[name], name) for name in parameters if name in state}
        with np.errstate(over="ignore"):  # what exceeds float32 becomes infinity, and a warning follows
            found = {name: value.astype(parameters[name].dtype, copy=False) for name, value in found.items()}
        warn_not_finite(found)
        for name, value in found.items():
            parameters[name][...] = value
        return missing, unexpected

    def zero_grad(self):
        """Set all gradients to None."""
        for _, parameter in self.named_parameters():
            parameter.grad = None

    def train(self, mode=True):
        """Training mode: dropout is on, and forward keeps what backward needs."""
        for _, module in self.named_modules():
            module.training = mode
            module._saved = None
        return self

    def eval(self):
        """Evaluation mode: dropout is off, and nothing is kept."""
        return self.train(False)

    def replica(self):
        """A copy for another thread: it shares the parameters, but has its own gradients and saved values."""
        shared = {id(parameter): parameter.view() for _, parameter in self.named_parameters()}
        return deepcopy(self, shared)

    def to(self, dtype):
        """Convert every parameter to `dtype`, in place, and drop its gradient. Returns the module."""
        for _, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and value.dtype != dtype:
                    setattr(module, name, Parameter(value.astype(dtype)))
        return self
