"""The functions' backwards against autograd and finite differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from swin_numpy import attention, functional, gelu, window_attention
from swin_torch import attention as torch_attention
from swin_torch import window_attention as torch_window_attention
from tests.gradients import assert_close, assert_slope

RNG = np.random.default_rng(0)


def autograd(function, dy, *arrays):
    """What PyTorch says the gradients of `arrays` are."""
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    function(*tensors).backward(torch.from_numpy(dy))
    return [tensor.grad for tensor in tensors]


def assert_all_close(got, expected, bound=1e-12):
    for i, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
        assert_close(f"argument {i}", ours, theirs, bound)


def assert_slopes(function, dy, arrays, gradients):
    """The same gradients, measured."""
    for i, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        assert_slope(f"argument {i}", lambda: (dy * function(*arrays)).sum(), array, gradient, RNG)


def test_linear():
    x, weight, bias, dy = (RNG.normal(size=size) for size in ((2, 3, 5), (4, 5), (4,), (2, 3, 4)))
    got = functional.linear_backward(dy, x, weight)
    assert_all_close(got, autograd(F.linear, dy, x, weight, bias))
    assert_slopes(functional.linear, dy, (x, weight, bias), got)


@pytest.mark.parametrize("dim", [-1, 1, 0])
def test_softmax(dim):
    x, dy = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
    got = functional.softmax_backward(dy, functional.softmax(x, dim), dim)
    assert_all_close([got], autograd(lambda x: F.softmax(x, dim), dy, x))
    assert_slopes(lambda x: functional.softmax(x, dim), dy, [x], [got])


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_layer_norm(eps):
    x, dy = 3 * RNG.normal(size=(2, 4, 6)) + 1, RNG.normal(size=(2, 4, 6))
    weight, bias = RNG.normal(size=6), RNG.normal(size=6)
    got = functional.layer_norm_backward(dy, x, weight, eps)
    assert_all_close(got, autograd(lambda x, w, b: F.layer_norm(x, (6,), w, b, eps), dy, x, weight, bias))
    assert_slopes(lambda x, w, b: functional.layer_norm(x, w, b, eps), dy, (x, weight, bias), got)


def test_gelu():
    x = np.concatenate([RNG.normal(size=100), 5 * RNG.normal(size=100), [0.0, -0.0, 12.0, -12.0, 40.0, -40.0]])
    dy = RNG.normal(size=x.shape)
    got = gelu.gelu_backward(dy, x, gelu.gelu(x))
    assert_all_close([got], autograd(F.gelu, dy, x))
    assert_slopes(gelu.gelu, dy, [x], [got])


@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_relu_and_sigmoid(name):
    x, dy = 3 * RNG.normal(size=200), RNG.normal(size=200)
    x[np.abs(x) < 1e-3] = -1  # at 0 the slope of relu is no number
    got = getattr(functional, f"{name}_backward")(dy, getattr(functional, name)(x))
    assert_all_close([got], autograd(getattr(torch, name), dy, x))
    assert_slopes(getattr(functional, name), dy, [x], [got])


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_unit_vectors(scale):
    x, dy = scale * RNG.normal(size=(3, 4, 5)), RNG.normal(size=(3, 4, 5))
    got = window_attention.unit_vectors_backward(dy, x)
    assert_all_close([got], autograd(lambda x: F.normalize(x, dim=-1), dy, x))
    assert_all_close([got], autograd(torch_window_attention.unit_vectors, dy, x))
    assert np.abs((got * x).sum(-1)).max() < 1e-13  # a longer x is the same direction
    if scale == 1:
        assert_slopes(window_attention.unit_vectors, dy, [x], [got])


def test_unit_vectors_of_zeros():
    """Padding makes keys of zeros, as they have no bias."""
    x, dy = np.zeros((2, 3)), RNG.normal(size=(2, 3))
    got = window_attention.unit_vectors_backward(dy, x)
    assert_all_close([got], autograd(torch_window_attention.unit_vectors, dy, x))
    assert_all_close([got], autograd(lambda x: F.normalize(x, dim=-1), dy, x))


def test_gelu_in_float32():
    x = np.linspace(-12, 12, 10001, dtype=np.float32)
    got = gelu.gelu_backward(np.ones_like(x), x, gelu.gelu(x))
    assert got.dtype == np.float32
    exact = x.astype(np.float64)
    exact = gelu.gelu_backward(1.0, exact, gelu.gelu(exact))
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=2e-7)


LABELS = np.array([3, 0, 4, 3])
SOFT = np.random.default_rng(1).dirichlet(np.ones(5), size=4)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("labels", [LABELS, SOFT, 2 * SOFT], ids=["numbers", "soft", "sums of 2"])
def test_cross_entropy(labels, label_smoothing):
    logits = 3 * RNG.normal(size=(4, 5))
    expected = lambda x: F.cross_entropy(x, torch.from_numpy(labels), label_smoothing=label_smoothing)
    loss = functional.cross_entropy(logits, labels, label_smoothing)
    assert loss == pytest.approx(expected(torch.from_numpy(logits)).item(), rel=1e-13)
    got = functional.cross_entropy_backward(logits, labels, label_smoothing)
    assert_all_close([got], autograd(expected, np.array(1.0), logits))
    measure = lambda x: functional.cross_entropy(x, labels, label_smoothing)
    assert_slopes(measure, 1.0, [logits], [got])


def test_labels_are_not_smoothed_unless_asked_for():
    logits = RNG.normal(size=(4, 5))
    assert functional.cross_entropy(logits, LABELS) == functional.cross_entropy(logits, LABELS, 0.0)
    got = functional.cross_entropy_backward(logits, LABELS)
    assert_all_close([got], autograd(lambda x: F.cross_entropy(x, torch.from_numpy(LABELS)), np.array(1.0), logits))


def test_cross_entropy_of_hopeless_logits_is_finite_and_of_their_type():
    logits = np.array([[1000.0, -1000.0]], np.float32)
    assert functional.cross_entropy(logits, [1]) == 2000
    assert functional.cross_entropy(logits, [1]).dtype == np.float32
    gradient = functional.cross_entropy_backward(logits, [1], 0.1)
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, [[0.95, -0.95]], rtol=1e-6)


@pytest.mark.parametrize(
    "labels, label_smoothing, match",
    [
        ([0, 5, 1, 1], 0, "expected 0 to 4, got 0 to 5"),
        ([0, -100, 1, 1], 0, "expected 0 to 4, got -100 to 1"),
        ([0, 1, 1], 0, r"expected 4 class numbers.*got int64 of shape \(3,\)"),
        ([0.0, 1, 1, 1], 0, "got float64"),
        (np.zeros((4, 4)), 0, r"shape \(4, 4\)"),
        ([0, 1, 1, 1], 1.5, "from 0 to 1, got 1.5"),
    ],
)
def test_labels_that_do_not_fit(labels, label_smoothing, match):
    for function in (functional.cross_entropy, functional.cross_entropy_backward):
        with pytest.raises(ValueError, match=match):
            function(np.zeros((4, 5)), labels, label_smoothing)


def test_an_empty_batch_has_no_mean():
    with pytest.raises(ValueError, match=r"expected \(n, classes\), got shape \(0, 5\)"):
        functional.cross_entropy(np.zeros((0, 5)), np.zeros(0, int))


MASK = np.where(RNG.random((3, 1, 6, 6)) < 0.3, -100.0, 0.0)


@pytest.mark.parametrize("mask", [None, MASK[:, 0]], ids=["plain", "mask"])
def test_self_attention(mask):
    arrays = X, *weights = [RNG.normal(size=size) for size in ((2, 3, 6, 5), (5, 4), (5, 4), (5, 7))]
    dZ = RNG.normal(size=(2, 3, 6, 7))
    attended = attention.self_attention(*arrays, mask)
    got = attention.self_attention_backward(dZ, X, *weights, attended)
    torch_mask = None if mask is None else torch.from_numpy(mask)
    assert_all_close(got, autograd(lambda *a: torch_attention.self_attention(*a, torch_mask).Z, dZ, *arrays))
    assert_slopes(lambda *a: attention.self_attention(*a, mask).Z, dZ, arrays, got)


@pytest.mark.parametrize("mask", [None, MASK], ids=["plain", "mask"])
def test_multi_head_self_attention(mask):
    arrays = X, *weights = [RNG.normal(size=size) for size in ((2, 3, 6, 8), (8, 8), (8, 8), (8, 8), (8, 8))]
    dZ = RNG.normal(size=X.shape)
    torch_mask = None if mask is None else torch.from_numpy(mask)
    attended = attention.multi_head_self_attention(*arrays, 2, mask)
    got = attention.multi_head_self_attention_backward(dZ, X, *weights, attended)
    theirs = lambda *a: torch_attention.multi_head_self_attention(*a, 2, torch_mask).Z
    assert_all_close(got, autograd(theirs, dZ, *arrays))
    assert_slopes(lambda *a: attention.multi_head_self_attention(*a, 2, mask).Z, dZ, arrays, got)
