"""GELU against Python's own error function, forward and backward."""

import math
import threading
import warnings

import numpy as np
import pytest
import torch

from swin_numpy import gelu as F
from tests.twin import normal, relative, tensor


def exact_gelu(x):
    """x · Φ(x) with Python's own error function, whichever form of it keeps the digits."""
    return np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in np.ravel(x)]).reshape(np.shape(x))


EVERYWHERE = np.concatenate(
    [np.linspace(-40, 40, 20_001), np.linspace(-3, 3, 20_001), [0.0, -0.0, 1e-300, -1e-300, 1e-8, -1e-8, 1e30, -1e30]]
)


def test_gelu_is_exact_in_float64():
    with np.errstate(over="ignore"):
        got = F.gelu(EVERYWHERE)
    assert got.dtype == np.float64
    assert (np.abs(got - exact_gelu(EVERYWHERE)) < 1e-15 * (1 + np.abs(EVERYWHERE))).all()


def test_gelu_is_exact_in_float32():
    x = EVERYWHERE.astype(np.float32)
    with np.errstate(over="ignore"):
        got = F.gelu(x)
    assert got.dtype == np.float32
    assert (np.abs(got - exact_gelu(x.astype(float))) < 2e-7 * (1 + np.abs(x))).all()


def test_gelu_keeps_its_digits_in_the_tail():
    """Far to the left GELU is tiny, but right. At x = -9 a last digit of x²/2 = 40 moves exp by 40 last digits."""
    x = np.linspace(-9, -1, 1001)
    assert np.abs(F.gelu(x) / exact_gelu(x) - 1).max() < 3e-14
    x32 = x.astype(np.float32)
    assert np.abs(F.gelu(x32) / exact_gelu(x32.astype(float)) - 1).max() < 5e-6


def test_gelu_is_not_the_tanh_formula():
    x = np.linspace(-3, 3, 101)
    tanh = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    assert np.abs(F.gelu(x) - tanh).max() > 1e-4


def test_gelu_equals_pytorchs():
    x = 3 * normal(5, 7, 11)
    assert relative(F.gelu(x), torch.nn.functional.gelu(tensor(x))) < 1e-14


def test_normal_tail_is_a_probability_and_falls():
    u = np.linspace(0, 12, 1001)
    tail = F.normal_tail(u)
    assert tail[0] == pytest.approx(0.5, abs=1e-15) and (np.diff(tail) < 0).all() and (tail > 0).all()


def test_gelu32_of_any_number():
    x = np.concatenate([np.linspace(-20, 20, 20_001), [-1e30, -1e4, -1e-30, 0, 1e-30, 1e4, 1e30]]).astype(np.float32)
    y = np.empty_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.write_gelu32(y, x)
    expected = [value * math.erfc(-value / math.sqrt(2)) / 2 for value in x.tolist()]
    np.testing.assert_allclose(y, expected, rtol=2e-7, atol=1e-6)
    write = np.full(2, np.nan, np.float32)
    F.write_gelu32(write, np.float32([np.nan, 0]))
    assert np.isnan(write[0]) and write[1] == 0


def test_scratch_is_memory_that_is_used_again():
    first = F.scratch("a test", (3, 4), np.float32)
    assert first.shape == (3, 4) and first.dtype == np.float32 and first.flags["C_CONTIGUOUS"]
    first[...] = 7
    again = F.scratch("a test", (2, 3), np.float64)  # 48 bytes, as many as before
    assert np.shares_memory(first, again) and again.shape == (2, 3) and again.dtype == np.float64
    assert not np.shares_memory(first, F.scratch("another name", (3, 4), np.float32))
    larger = F.scratch("a test", (100,), np.float64)
    assert larger.shape == (100,)
    assert np.shares_memory(larger, F.scratch("a test", (3, 4), np.float32))
    assert F.scratch("a test", (0, 5), np.float32).shape == (0, 5)


def test_scratch_belongs_to_one_thread():
    ours, theirs = F.scratch("a test", (8,), np.float32), []
    thread = threading.Thread(target=lambda: theirs.append(F.scratch("a test", (8,), np.float32)))
    thread.start()
    thread.join()
    assert not np.shares_memory(ours, theirs[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16 + 5])
def test_more_numbers_than_one_piece_holds(size, dtype):
    x, dy = normal(size, dtype=dtype), normal(size, seed=1, dtype=dtype)
    inputs = tensor(x).requires_grad_()
    expected = torch.nn.functional.gelu(inputs)
    expected.backward(tensor(dy))
    y = F.gelu(x)
    bound = 1e-6 if dtype == np.float32 else 1e-13
    assert y.dtype == dtype and relative(y, expected.detach()) < bound
    assert relative(F.gelu_backward(dy, x, y), inputs.grad) < bound


def test_pieces_of_a_size_of_ones_own():
    x = normal(3, 7)
    seen = []

    def write(result, x):
        seen.append(len(x))
        result[:] = 2 * x

    np.testing.assert_array_equal(F.in_pieces(write, x, size=5), 2 * x)
    assert seen == [5, 5, 5, 5, 1]
