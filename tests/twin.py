"""Both twins of one module with the same random weights, and how far apart they are at every step."""

import math

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch

PACKAGES = pytest.mark.parametrize("package", [swin_numpy, swin_torch], ids=["numpy", "torch"])
WHICH = pytest.mark.parametrize("which", [0, 1], ids=["numpy", "torch"])  # of the two that `twins` gives


def twins(make, seed=0, dtype=np.float64):
    """(NumPy module, PyTorch module) in evaluation mode, both from `make(package)`, with the same random weights.

    No parameter stays at its initial value: a bias of zero or a norm weight of one would hide mistakes.
    """
    ours, theirs = make(swin_numpy), make(swin_torch)
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    state = {name: value.astype(dtype) for name, value in random_state(shapes, seed).items()}
    ours.to(dtype).load_state_dict(state)
    theirs.to(tensor(np.zeros(0, dtype)).dtype).load_state_dict({name: tensor(value) for name, value in state.items()})
    return ours.eval(), theirs.eval()


def random_state(shapes, seed=0):
    """{name: float64 array}: matrices that keep the size of what they multiply, everything else of order 1."""
    rng = np.random.default_rng(seed)
    return {name: _random_value(name, shape, rng) for name, shape in shapes.items()}


def _random_value(name, shape, rng):
    value = rng.standard_normal(shape)
    if name.endswith(("table", "embed", "embeddings")):
        return value
    if len(shape) >= 2:
        return value / math.sqrt(math.prod(shape[1:]))
    return 0.3 * value + name.endswith("weight")


def tensor(value):
    """An array as a torch tensor; anything else as it is."""
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def relative(a, b):
    """Largest difference of a and b over the largest number in b (0 if both are zero)."""
    a, b = np.asarray(a), np.asarray(b)
    difference = np.abs(a - b).max(initial=0.0)
    return float(difference / np.abs(b).max(initial=0.0)) if difference else 0.0


def assert_twins(numpy_out, torch_out, bound=1e-10):
    """Same kind, shape and type, all finite, and within `bound` of each other. Also for tuples of such."""
    if isinstance(numpy_out, tuple | list):
        assert len(numpy_out) == len(torch_out)
        for a, b in zip(numpy_out, torch_out, strict=True):
            assert_twins(a, b, bound)
        return
    if not isinstance(numpy_out, np.ndarray):
        assert numpy_out == torch_out  # a grid's numbers
        return
    assert type(numpy_out) is np.ndarray and isinstance(torch_out, torch.Tensor)
    torch_out = torch_out.detach().numpy()
    assert numpy_out.shape == torch_out.shape and numpy_out.dtype == torch_out.dtype
    assert np.isfinite(numpy_out).all() and np.isfinite(torch_out).all()
    assert relative(numpy_out, torch_out) <= bound


def record(module, *inputs):
    """Call `module`; return what it gives, and {dotted name: output} of every module that ran on the way."""
    steps = {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _module, _inputs, output, name=name: steps.__setitem__(name, output))
    with torch.no_grad():
        return module(*inputs), steps


def run(module, *inputs):
    """What either twin gives for arrays, as an array."""
    package = swin_torch if isinstance(module, torch.nn.Module) else swin_numpy
    with torch.no_grad():
        output = module(*inputs_for(package, *inputs))
    return np.asarray(output[0] if isinstance(output, tuple) else output)


def assert_same_steps(ours, theirs, *inputs, bound=1e-10):
    """Run both on the same input and hold every step of one against the other's. Returns the NumPy output."""
    numpy_out, numpy_steps = record(ours, *inputs)
    torch_out, torch_steps = record(theirs, *map(tensor, inputs))
    assert list(numpy_steps) == list(torch_steps)
    for name in numpy_steps:
        assert_twins(numpy_steps[name], torch_steps[name], bound)
    assert_twins(numpy_out, torch_out, bound)
    return numpy_out


def inputs_for(package, *values):
    """The values, arrays among them turned into what `package` works on."""
    return [tensor(value) for value in values] if package is swin_torch else list(values)


def both(name, *inputs):
    """What the function `name` of each package gives for the same input."""
    return getattr(swin_numpy, name)(*inputs), getattr(swin_torch, name)(*map(tensor, inputs))


def normal(*shape, seed=0, dtype=np.float64):
    """Random numbers to feed a module with."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)
