"""Parameter and Module: what `torch.nn` gives the PyTorch twin, in as few lines as the models need.

A Module owns Parameters and other Modules; their dotted names ("layers.0.blocks.1.attn.qkv.weight") are
the attribute names on the way down, as in PyTorch, so that both twins read the same checkpoints.
"""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np

from .weights.check import as_array, check_state, warn_not_finite


class Parameter(np.ndarray):
    """An array that training changes. It *is* its value; `.grad` is None or an array of its shape.

    Arithmetic gives plain arrays, so a Parameter appears nowhere but as an attribute of a Module.
    """

    def __new__(cls, value):
        return np.array(value, order="C").view(cls)

    def __array_finalize__(self, parent):
        self.grad = None

    def accumulate(self, gradient):
        """Add to `.grad`. What is used twice, in one batch or in two, gets the sum of both gradients."""
        gradient = gradient.astype(self.dtype, copy=False)
        self.grad = gradient if self.grad is None else self.grad + gradient

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = [plain(value) for value in inputs]
        if out is None:
            return getattr(ufunc, method)(*inputs, **options)
        getattr(ufunc, method)(*inputs, out=tuple(plain(value) for value in out), **options)
        return out[0]  # `parameter -= step` changes the parameter itself and leaves it one


def plain(value):
    """`value`, seen as an ordinary array if it is a Parameter. Shares its memory."""
    return value.view(np.ndarray) if isinstance(value, Parameter) else value


def check_shape(name, x, *axes):
    """Raise unless x has these axes: a number is a length; a letter stands for any, of which only n may be 0.

    check_shape("x", x, "n", 49, 96) raises ValueError "x: expected shape (n, 49, 96), got (2, 48, 96)", or TypeError
    if x is not an array of this library.
    """
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(x).__name__}")
    sizes = zip(x.shape, axes, strict=False)
    if x.ndim != len(axes) or any(s < int(a != "n") if isinstance(a, str) else s != a for s, a in sizes):
        raise ValueError(f"{name}: expected shape ({', '.join(map(str, axes))}), got {tuple(x.shape)}")


class Module:
    """Base of every layer: calls `forward`, finds its parameters by name, switches train and eval mode."""

    def __init__(self):
        self.training = False
        self.fast_forward = None  # use_attention("fused") puts a function here that computes what forward does
        self._saved = None
        self._forward_hooks = []

    def __call__(self, *inputs):
        output = self.forward(*inputs) if self.fast_forward is None else self.fast_forward(self, *inputs)
        for hook in self._forward_hooks:
            hook(self, inputs, output)
        return output

    def register_forward_hook(self, hook):
        """Call `hook(module, inputs, output)` after each forward, until `.remove()` of what this returns."""
        self._forward_hooks.append(hook)
        return SimpleNamespace(remove=lambda: self._forward_hooks.remove(hook))

    def save(self, *values):
        """Called by `forward`: keep what `backward` will need. Keeps nothing in evaluation mode."""
        self._saved = values if self.training else None

    @property
    def saved(self):
        """The values that the last `forward` saved. Raises ValueError if it saved none."""
        if self._saved is None:
            name = type(self).__name__
            raise ValueError(f"{name}.backward needs what forward saves in training mode: train(), forward, backward")
        return self._saved

    def named_children(self):
        """Yield (name, module) one level down; the modules of a list are called name.0, name.1, …"""
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

        strict=False leaves out names that only one side has; a shape must fit all the same.
        Returns (missing, unexpected), two lists of names. Raises CheckpointError (a ValueError) that lists what is
        missing, unexpected or of another shape. Warns of arrays that hold NaN or infinity.
        """
        parameters = dict(self.named_parameters())
        missing, unexpected = check_state(state, {name: value.shape for name, value in parameters.items()}, strict)
        found = {name: as_array(state[name], name) for name in parameters if name in state}
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinity, of which we warn
            found = {name: value.astype(parameters[name].dtype, copy=False) for name, value in found.items()}
        warn_not_finite(found)
        for name, value in found.items():
            parameters[name][...] = value
        return missing, unexpected

    def zero_grad(self):
        """Forget all gradients."""
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
        """A copy that has the same parameters, but gradients and saved values of its own: for another thread."""
        shared = {id(parameter): parameter.view() for _, parameter in self.named_parameters()}
        return deepcopy(self, shared)

    def to(self, dtype):
        """Turn every parameter into `dtype`, in place. Gradients are dropped."""
        for _, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and value.dtype != dtype:
                    setattr(module, name, Parameter(value.astype(dtype)))
        return self
