"""PyTorch's Module with the loading of swin_numpy/module.py, and check_shape. The rest of that file PyTorch has."""

import operator

import numpy as np
import torch

from swin_numpy.weights.check import CheckpointError, as_array, check_state, warn_not_finite


class Module(torch.nn.Module):
    """torch.nn.Module, but load_state_dict changes everything or nothing."""

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copy tensors or arrays in by name. All or nothing: if a name or a shape is wrong, nothing is changed.

        strict=False ignores names that only one side has, but shapes must fit. assign as in PyTorch.
        Returns (missing, unexpected), two lists of names. Raises CheckpointError (a ValueError) that lists what is
        missing, unexpected or of another shape. Warns of tensors that contain NaN or infinity.
        """
        own = self.state_dict()
        check_state(state_dict, {name: value.shape for name, value in own.items()}, strict)
        found = {name: as_tensor(state_dict[name], name) for name in own if name in state_dict}
        converted = {name: value.to(own[name].dtype) for name, value in found.items()}
        warn_not_finite(converted)
        return super().load_state_dict({**state_dict, **(found if assign else converted)}, strict, assign)


def as_tensor(value, name="tensor"):
    """An array or a tensor as a dense tensor. Raises CheckpointError for anything else."""
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(np.array(as_array(value, name), order="C"))
    if value.layout != torch.strided or value.is_meta:
        raise CheckpointError(f"{name}: expected a dense tensor with data, got one of {value.layout} on {value.device}")
    return value.detach()


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
    if isinstance(x, torch.fx.Proxy):
        raise TypeError(
            f"{name}: torch.fx traces without sizes, and these decide how Swin pads and shifts: use the graph of "
            "torch.export, which traces with an example, or a Tracer whose leaves are the blocks and patches"
        )
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name}: expected a torch tensor, got {type(x).__name__}")
    if x.is_complex():
        raise TypeError(f"{name}: expected real numbers, got {dtype_name(x)}")


def check_dtype(name, x, weight):
    """Raise TypeError unless x has the type of the weights that it meets. Autocast converts by itself."""
    autocast = x.is_floating_point() and not x.is_meta and torch.is_autocast_enabled(x.device.type)
    if x.dtype != weight.dtype and not autocast:
        raise TypeError(
            f"{name}: expected {dtype_name(weight)}, the type of the weights, got {dtype_name(x)}: convert either"
        )


def check_whole(name, value, least=1):
    """`value` as an int. Raises TypeError unless it is a whole number, ValueError if it is less than `least`.

    A number such as 2.0 must never reach einops: it remembers by equality, and would take 2 for 2.0 from then on.
    """
    if not isinstance(value, torch.SymInt):  # a size that torch.export and torch.compile leave open
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
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, -torch.inf)
    elif not mask.is_floating_point():
        raise TypeError(f"mask: expected booleans (True: keep) or numbers to add to the scores, got {dtype_name(mask)}")
    return mask.to(scores.dtype)


def dtype_name(x):
    """The type of a tensor's numbers as NumPy writes it, such as "float32"."""
    return str(x.dtype).removeprefix("torch.")
