"""The maths without state, against Python's math, PyTorch and the definition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swin_numpy import functional as F
from swin_numpy.gelu import gelu
from tests.twin import normal, relative, tensor

# Softmax


@given(st.integers(0, 2), st.integers(0, 99))
def test_softmax_against_the_definition(axis, seed):
    x = 3 * normal(2, 3, 4, seed=seed)
    expected = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    assert relative(F.softmax(x, dim=axis), expected) < 1e-14
    assert relative(F.softmax(x, dim=axis), torch.softmax(tensor(x), axis)) < 1e-14


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_huge_numbers(dtype):
    x = np.array([[1e30, 1e30, -1e30], [-1e30, -1e30, -1e30], [1e4, 1e4 - 1, -1e4], [0, -np.inf, 0]], dtype)
    got = F.softmax(x)
    e = 1 / (1 + math.exp(-1))
    expected = [[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [e, 1 - e, 0], [0.5, 0, 0.5]]
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_softmax_is_the_same_wherever_its_row_lies():
    x = normal(3, 5)
    assert relative(F.softmax(x + 1000), F.softmax(x)) < 1e-12


def test_softmax_goes_along_the_last_axis_if_not_told():
    x = normal(3, 5)
    np.testing.assert_array_equal(F.softmax(x), F.softmax(x, dim=1))
    np.testing.assert_allclose(F.softmax(x).sum(1), 1, rtol=1e-14)


# Layer norm


@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
def test_layer_norm_equals_pytorchs(scale):
    x, weight, bias = scale * normal(2, 3, 8), normal(8), normal(8, seed=1)
    expected = torch.nn.functional.layer_norm(*map(tensor, (x,)), (8,), tensor(weight), tensor(bias))
    assert relative(F.layer_norm(x, weight, bias), expected) < 1e-12


def test_layer_norm_brings_mean_0_and_variance_1():
    y = F.layer_norm(5 + 3 * normal(4, 64), 1, 0, eps=0)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(-1), 1, rtol=1e-13)


def test_layer_norm_of_equal_numbers_is_its_bias():
    bias = normal(8)
    np.testing.assert_array_equal(F.layer_norm(np.full((2, 8), 3.0), normal(8, seed=1), bias), [bias, bias])


def test_layer_norm_far_from_zero_in_float32():
    """The mean is taken off before squares are: a mean of 1000 costs no digits of the variance."""
    x = (1000 + normal(3, 32)).astype(np.float32)
    expected = F.layer_norm(x.astype(float), 1, 0)
    assert relative(F.layer_norm(x, np.float32(1), np.float32(0)), expected) < 1e-4


# Linear


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_equals_pytorchs(lead, with_bias):
    x, weight, bias = normal(*lead, 5), normal(7, 5), normal(7) if with_bias else None
    before = x.copy()
    expected = torch.nn.functional.linear(*map(tensor, (x, weight, bias)))
    got = F.linear(x, weight, bias)
    assert got.shape == (*lead, 7) and relative(got, expected) < 1e-13
    np.testing.assert_array_equal(x, before)


def test_linear_of_a_view():
    x, weight = normal(5, 4, 3).transpose(1, 2, 0), normal(7, 5)
    assert relative(F.linear(x, weight), x @ weight.T) < 1e-13


# ReLU and sigmoid, of V2's position bias


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_relu_and_sigmoid_equal_pytorchs(name, dtype):
    x = np.concatenate([np.linspace(-50, 50, 1001), [0.0, -0.0, 1e4, -1e4]]).astype(dtype)
    before = x.copy()
    with np.errstate(all="raise"):
        got = getattr(F, name)(x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(got, getattr(torch, name)(tensor(x)), rtol=0, atol=2 * np.finfo(dtype).eps * got.max())


@pytest.mark.parametrize("function", [gelu, F.softmax])
def test_inputs_stay_as_they_are(function):
    x = normal(3, 4)
    before = x.copy()
    function(x)
    np.testing.assert_array_equal(x, before)


def test_shapes_that_do_not_go_together_are_a_value_error():
    with pytest.raises(ValueError, match="size 5 is different from 4"):
        F.linear(normal(3, 4), normal(7, 5))


def test_whole_numbers_are_numbers_too():
    x = np.array([1, 2, -3])
    for function in (F.softmax, gelu):
        assert np.array_equal(function(x), function(x.astype(float)))


# Long sums


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 4096, 4097, 250_001])
def test_long_sums_in_float32_are_as_exact_as_short_ones(count):
    """A plain sum of 250,000 equal numbers is off by 1e-3; the usual test with random numbers would hide it."""
    x = np.full((count, 3), 0.1, np.float32) * np.float32([1, -2, 3])
    exact = count * x[0].astype(float) if count else np.zeros(3)
    for got in (F.sum_tokens(x), F.sum_tokens(x.reshape(1, count, 1, 3)), F.add_up(x.T, (1,))):
        assert got.dtype == np.float32 and got.shape == (3,)
        np.testing.assert_allclose(got, exact, rtol=1e-6)


def test_sums_over_any_axes():
    x = normal(2, 70, 3, 5)
    for axes in ((0,), (1,), (0, 1), (1, 3), (0, 1, 2, 3), (2,)):
        np.testing.assert_allclose(F.add_up(x, axes), x.sum(axis=axes), rtol=1e-12)


def test_a_mean_over_the_last_axis():
    x = normal(2, 3, 7)
    np.testing.assert_allclose(F.mean(x), x.mean(axis=-1, keepdims=True), rtol=1e-13)


def test_gradients_of_a_large_batch_in_float32():
    """The gradients of biases and of norms are sums over all tokens of the batch; here all of them are alike."""
    x = np.tile(normal(1, 6, dtype=np.float32), (100_000, 1))
    dy, weight = np.full((100_000, 6), 0.1, np.float32), normal(6, 6, seed=1, dtype=np.float32)
    found = [*F.linear_backward(dy, x, weight)[1:], *F.layer_norm_backward(dy, x, weight[0])[1:]]
    exact = [*F.linear_backward(dy.astype(float), x.astype(float), weight)[1:]]
    exact += F.layer_norm_backward(dy.astype(float), x.astype(float), weight[0])[1:]
    for got, expected in zip(found, exact, strict=True):
        assert got.dtype == np.float32 and relative(got, expected) < 2e-5
    assert relative(found[1], exact[1]) < 2e-6 and relative(found[3], exact[3]) < 2e-6
