"""GELU, exact and fast. NumPy has no error function, so polynomials fitted to Python's `math.erfc` stand in for it.

`gelu` and its backward are what a model needs. The rest is arithmetic on pieces of an array that fit into the cache.
"""

import math
import threading

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial


def gelu(x):
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016): exact, not the tanh approximation.

    x of any shape → same shape, float32 for float32, otherwise float64.
    """
    return in_pieces(write_gelu, x)


def gelu_backward(dy, x, y):
    """→ dx = dy · (Φ(x) + x · φ(x)): the product rule on y = x · Φ(x), with the normal density φ = Φ'."""
    return in_pieces(_write_gelu_backward, dy, x, y)


def in_pieces(write, *arrays, size=2**16):
    """A new array, filled by write(result, *arrays) piece by piece, `size` numbers at a time.

    write: a function that treats each number independently and writes into its first argument.
    arrays: of shapes that broadcast. Integers become float64.
    """
    arrays = [x if x.dtype.kind == "f" else x.astype(float) for x in map(np.asarray, arrays)]
    arrays = np.broadcast_arrays(*arrays)
    result = np.empty(arrays[0].shape, np.result_type(*arrays))
    flat = [result.reshape(-1), *(x.reshape(-1) for x in arrays)]
    for start in range(0, result.size, size):
        write(*(x[start : start + size] for x in flat))
    return result


def write_gelu(y, x):
    """Write GELU of x into y. With u = |x| and the tail Q(u) = 1 - Φ(u), neither sign of x loses digits.

    x > 0: x - u · Q(u);  x < 0: -u · Q(u).
    """
    u, zero = np.abs(x, out=scratch("u", x.shape, x.dtype)), scratch("zero", x.shape, x.dtype)
    normal_tail(u, out=y)
    y *= u
    zero[...] = 0  # NumPy is quicker at comparing two arrays than an array and a number
    np.subtract(np.maximum(x, zero, out=u), y, out=y)


def _write_gelu_backward(dx, dy, x, y):
    """Write into dx. Φ(x) need not be computed again: it is y / x, and ½ at x = 0."""
    _normal_density(x, out=dx)
    dx *= x
    with np.errstate(invalid="ignore"):
        cdf = np.divide(y, x, out=scratch("u", x.shape, x.dtype))
    np.copyto(cdf, 0.5, where=x == 0)
    dx += cdf
    dx *= dy


def _normal_density(x, out):
    """φ(x) = exp(-x²/2) / √2π."""
    np.multiply(x, x, out=out)
    out *= -0.5
    np.exp(out, out=out)
    out *= 1 / math.sqrt(2 * math.pi)
    return out


def normal_tail(u, out=None):
    """Q(u) = ½ erfc(u/√2), the probability that a standard normal number exceeds u >= 0.

    As a function of t = (u - 4)/(u + 4), exp(u²/2) · Q(u) is so smooth that one polynomial gives it to 1e-14
    (in float32 to 3e-7) up to u = 9, where Q is below 1e-18.
    """
    polynomial = _TAIL32 if u.dtype == np.float32 else _TAIL64
    t = scratch("t", u.shape, u.dtype)
    value = np.add(u, 4, out=out)
    np.subtract(u, 4, out=t)
    t /= value
    np.multiply(t, polynomial[-1], out=value)
    for coefficient in polynomial[-2:0:-1]:  # Horner's rule
        value += coefficient
        value *= t
    value += polynomial[0]
    np.multiply(u, u, out=t)
    t *= -0.5
    value *= np.exp(t, out=t)
    return value


def write_gelu32(y, x):
    """What write_gelu writes, in fewer steps and exact to 1e-6: for the fast path in float32."""
    u = np.abs(x, out=scratch("u", x.shape, x.dtype))
    _small_tail(u, out=y)
    y *= u
    u += x
    u *= 0.5  # now max(x, 0)
    np.subtract(u, y, out=y)


def write_gelu_and_slope(y, x, bias, size=2**18):
    """Of x + bias, x (c, l) and bias (c,): write GELU into y, and its derivative Φ + x · φ into x.

    In float32 GELU is exact to 1e-6, its derivative to 2e-5.
    """
    step = max(1, size // x.shape[1])
    for start in range(0, len(x), step):
        some = slice(start, start + step)
        x[some] += bias[some, None]
        _write_both(y[some], x[some])


def _write_both(y, x):
    """Into y and x. With u = |x| and the tail Q(u): Φ is 1 - Q for x > 0, and Q for x < 0."""
    u, cdf = np.abs(x, out=scratch("u", x.shape, x.dtype)), scratch("cdf", x.shape, x.dtype)
    tail = _small_tail if x.dtype == np.float32 else normal_tail
    np.subtract(0.5, tail(u, out=cdf), out=cdf)
    np.copysign(cdf, x, out=cdf)
    cdf += 0.5
    np.multiply(x, cdf, out=y)
    x *= _normal_density(x, out=u)
    x += cdf


def _small_tail(u, out):
    """Q(u) as exp(P(u)) with a polynomial P, for float32: u · Q(u) is exact to 1e-6, Q(u) to 2e-5."""
    with np.errstate(over="ignore"):  # P(u) goes to minus infinity, as it should
        np.multiply(u, _LOG_TAIL[-1], out=out)
        for coefficient in _LOG_TAIL[-2:0:-1]:
            out += coefficient
            out *= u
        out += _LOG_TAIL[0]
    return np.exp(out, out=out)


def _fit_tail(degree):
    """Coefficients for normal_tail, lowest first, fitted for 0 <= u <= 9."""
    nodes = np.cos(np.linspace(0, math.pi, 400))
    u = np.float32(4.5 + 4.5 * nodes).astype(float)  # 24 bits, so u · u below is exact
    values = [math.exp(v * v / 2) * math.erfc(v / math.sqrt(2)) / 2 for v in u]
    return Chebyshev.fit((u - 4) / (u + 4), values, degree).convert(kind=Polynomial).coef.tolist()


def _fit_log_tail(degree):
    """Coefficients of P, lowest first, fitted for 0 <= u <= 14, where Q(u) becomes 0 in float32.

    The weights make the error of u · Q(u) small. The 1e-8 added to them keeps P falling where that is almost 0.
    """
    u = 7 - 7 * np.cos(np.linspace(0, math.pi, 400))
    tail = np.array([math.erfc(value / math.sqrt(2)) / 2 for value in u])
    fit = Chebyshev.fit(u, np.log(tail), degree, w=u * tail + 1e-8)
    return fit.convert(kind=Polynomial).coef.tolist()


_TAIL32, _TAIL64, _LOG_TAIL = _fit_tail(7), _fit_tail(20), _fit_log_tail(5)
_own = threading.local()


def scratch(name, shape, dtype):
    """Memory to write into, kept under `name` for the current thread: a new array can cost more than the arithmetic."""
    kept = vars(_own)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if name not in kept or kept[name].size < size:
        kept[name] = np.empty(size, np.uint8)
    return kept[name][:size].view(dtype).reshape(shape)
