"""Two oracles for a hand-written backward: PyTorch's autograd on the twin, and finite differences."""

from itertools import count

import numpy as np
import torch

import swin_numpy.layers
import swin_torch.layers
from tests.twin import random_state


def make_twins(numpy_module, torch_module):
    """Both in float64 and training mode, with the same parameters, moved off their initial values."""
    torch_module.double().train()
    numpy_module.to(np.float64).train()
    swin_numpy.layers.seed_dropout(numpy_module, 0)  # the same masks, whichever tests ran before
    state = random_state({name: value.shape for name, value in numpy_module.state_dict().items()})
    numpy_module.load_state_dict(state)
    torch_module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return numpy_module, torch_module


def first(output):
    """The tokens, where a module gives (tokens, grid)."""
    return output[0] if isinstance(output, tuple) else output


def assert_like_autograd(twins, x, *others, rng, bound=1e-9):
    """Output, dx and every parameter's gradient of both twins, for one random upstream gradient. Returns that."""
    numpy_module, torch_module = twins
    numpy_module.zero_grad()
    torch_module.zero_grad()
    x_torch = torch.from_numpy(x).requires_grad_()
    got = first(numpy_module(x, *others))  # first NumPy: it draws the masks that PyTorch shares
    expected = first(torch_module(x_torch, *map(as_tensor, others)))
    assert_close("output", got, expected, bound)

    dy = rng.normal(size=got.shape)
    before = dy.copy()
    expected.backward(torch.from_numpy(dy))
    dx = numpy_module.backward(dy)
    np.testing.assert_array_equal(dy, before)  # a backward must not write into what it was given
    assert_close("dx", dx, x_torch.grad, bound)
    assert_same_gradients(numpy_module, torch_module, bound)
    return dy


def assert_same_gradients(numpy_module, torch_module, bound=1e-9):
    theirs = dict(torch_module.named_parameters())
    ours = dict(numpy_module.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, parameter in ours.items():
        assert type(parameter.grad) is np.ndarray and parameter.grad.dtype == parameter.dtype, name
        assert_close(name, parameter.grad, theirs[name].grad, bound)


def assert_close(name, got, expected, bound):
    expected = expected.detach().numpy()
    assert got.shape == expected.shape, f"{name}: {got.shape} is not {expected.shape}"
    scale = np.abs(expected).max()
    assert scale > 1e-6, f"{name}: a gradient of zeros tests nothing"
    error = np.abs(got - expected).max() / scale
    assert error < bound, f"{name}: off by {error:.1e}"


def assert_like_differences(module, x, *others, rng, bound=1e-7):
    """The slope of sum(dy · output) along random directions: of x, and of each parameter by itself."""
    x = x.copy()
    keep_off_kinks(module)
    dy = rng.normal(size=first(module(x, *others)).shape)
    module.zero_grad()
    dx = module.backward(dy)
    gradients = [(name, value, value.grad) for name, value in module.named_parameters()]
    for name, value, gradient in [("x", x, dx), *gradients]:
        loss = lambda: (dy * first(module(x, *others))).sum()
        assert_slope(name, loss, value, gradient, rng, bound)


def keep_off_kinks(module):
    """V2: a hidden number of its bias network that is near 0 would make ReLU bend within a step."""
    for name, parameter in module.named_parameters():
        if name.endswith("cpb_mlp.0.bias"):
            parameter[...] = 6 * np.sign(parameter)


def assert_slope(name, loss, value, gradient, rng, bound=1e-7, step=2e-6):
    """`value` is changed in place and brought back."""
    direction, start = rng.normal(size=value.shape), np.array(value)
    sides = []
    for sign in (1, -1):
        value[...] = start + sign * step * direction
        sides.append(loss())
    value[...] = start
    measured, expected = (sides[0] - sides[1]) / (2 * step), (gradient * direction).sum()
    scale = np.linalg.norm(gradient)  # how large the slope of a random direction is
    assert abs(measured - expected) < bound * max(scale, abs(sides[0]), 1), f"{name}: {expected}, measured {measured}"


def as_tensor(value):
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def share_masks(monkeypatch):
    """From now on PyTorch's dropout takes the masks that NumPy's drew, in their order. Returns the list of masks."""
    masks, turn = [], count()
    draw = swin_numpy.layers.keep_mask

    def record(*arguments):
        masks.append(draw(*arguments))
        return masks[-1]

    def play(*arguments):
        return torch.from_numpy(masks[next(turn)])

    monkeypatch.setattr(swin_numpy.layers, "keep_mask", record)
    monkeypatch.setattr(swin_torch.layers, "keep_mask", play)
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda layer, x: x * play() if layer.p and layer.training else x)
    return masks
