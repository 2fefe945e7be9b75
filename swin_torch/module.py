"""PyTorch's Module with the loading of swin_numpy/module.py, and check_shape. The rest of that file PyTorch has."""

import numpy as np
import torch

from swin_numpy.weights.check import CheckpointError, as_array, check_state, warn_not_finite


class Module(torch.nn.Module):
    """torch.nn.Module, but a checkpoint is loaded whole or not at all."""

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copy tensors or arrays in by name. All or nothing: if a name or a shape is wrong, nothing is changed.

        strict=False leaves out names that only one side has; a shape must fit all the same. assign as in PyTorch.
        Returns (missing, unexpected), two lists of names. Raises CheckpointError (a ValueError) that lists what is
        missing, unexpected or of another shape. Warns of tensors that hold NaN or infinity.
        """
        own = self.state_dict()
        check_state(state_dict, {name: value.shape for name, value in own.items()}, strict)
        found = {name: as_tensor(state_dict[name], name) for name in own if name in state_dict}
        converted = {name: value.to(own[name].dtype) for name, value in found.items()}
        warn_not_finite(converted)
        return super().load_state_dict({**state_dict, **(found if assign else converted)}, strict, assign)


def as_tensor(value, name="tensor"):
    """An array or a tensor as a dense tensor. Raises CheckpointError for what is none."""
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(np.array(as_array(value, name), order="C"))
    if value.layout != torch.strided or value.is_meta:
        raise CheckpointError(f"{name}: expected a dense tensor with data, got one of {value.layout} on {value.device}")
    return value.detach()


def check_shape(name, x, *axes):
    """Raise unless x has these axes: a number is a length; a letter stands for any, of which only n may be 0.

    check_shape("x", x, "n", 49, 96) raises ValueError "x: expected shape (n, 49, 96), got (2, 48, 96)", or TypeError
    if x is not an array of this library.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name}: expected a torch tensor, got {type(x).__name__}")
    sizes = zip(x.shape, axes, strict=False)
    if x.ndim != len(axes) or any(s < int(a != "n") if isinstance(a, str) else s != a for s, a in sizes):
        raise ValueError(f"{name}: expected shape ({', '.join(map(str, axes))}), got {tuple(x.shape)}")
