"""The fast path's gradients on a processor: what fused.py computes, forward and backward, as nodes of autograd.

Where `usable` says so; everywhere else fused.py leaves gradients to PyTorch. What differs from what PyTorch would do:

- float32 products of linear layers are oneDNN's, forward and backward;
- an MLP keeps what comes before GELU, not what comes after, and computes GELU's gradient in place;
- attention keeps its weights, none so small that a processor becomes slow. Their gradient, summed over windows, is the
  bias's. PyTorch's fast kernel knows no gradient of a bias, so PyTorch would take a slow path.

A gradient that is itself to be differentiated, or that vmap or a mode looks into, is left to PyTorch (`again`).
Axis names as in windows.py; t: tokens of all images.
"""

import torch
from einops import rearrange
from torch.amp import custom_bwd, custom_fwd
from torch.autograd import Function
from torch.backends import mkldnn
from torch.nn import functional as F

ONEDNN = mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
LEAST = -40  # exp(-40) is nothing beside 1 in float64, too


def usable(*tensors):
    """Is this a processor's work with gradients, without autocast and not being compiled, on tensors that `suit`?"""
    return (
        torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and suit(*tensors)
    )


def suit(x, *others):
    """Are these ordinary arrays in a processor's memory, of one dtype, float32 or float64? None counts as one."""
    return x.dtype in (torch.float32, torch.float64) and all(
        y is None or (y.dtype == x.dtype and y.device.type == "cpu" and y.layout == torch.strided) for y in (x, *others)
    )


def product(x, weight, bias=None, then="none"):
    """x weightᵀ + bias, and its GELU if `then` is "gelu": x (..., in), weight (out, in), bias (out,) → (..., out).

    In float32 oneDNN's, which does bias and GELU on the way. PyTorch has no public name for it; Inductor calls it
    for frozen weights (torch 2.13, `config.freezing`, not in every case).
    """
    if ONEDNN and x.dtype == torch.float32:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
    y = F.linear(x, weight, bias)
    return F.gelu(y) if then == "gelu" else y


class Linear(Function):
    """x weightᵀ + bias: x (..., in), weight (out, in), bias (out,) or None → (..., out)."""

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, x, weight, bias):
        """One product."""
        ctx.save_for_backward(x, weight, bias)
        return product(x, weight, bias)

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, dy):
        """dy (..., out) → dx, dweight, dbias."""
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad
        if not _directly(dy):
            return again(F.linear, wanted, dy, *inputs)
        return _linear_backward(dy, *inputs[:2], wanted)


def _linear_backward(dy, x, weight, wanted):
    """dx, dweight and dbias, of which `wanted` says which are needed."""
    rows = dy.flatten(0, -2).contiguous()
    return (
        product(rows, weight.mT).view_as(x) if wanted[0] else None,
        weight_gradient(rows, x.flatten(0, -2)) if wanted[1] else None,
        rows.sum(0) if wanted[2] else None,
    )


def weight_gradient(dy, x):
    """dyᵀ x: dy (t, out), x (t, in) → (out, in).

    Where tokens are many, oneDNN is quicker at it as the gradient of a 1x1 convolution over a row of t pixels; where
    there are more channels than tokens, or far more than come out, as a product.
    """
    (t, o), i = dy.shape, x.shape[1]
    if not ONEDNN or x.dtype != torch.float32:
        return dy.mT @ x
    if t < i or i > 2 * o:
        return product(dy.mT, x.mT)
    dy, x = (each[None, None].permute(0, 3, 1, 2) for each in (dy, x))  # (1, c, 1, t), channels last: no copy
    kernel = dy.new_empty(o, i, 1, 1).to(memory_format=torch.channels_last)  # its numbers don't matter
    once, nowhere, wanted = (1, 1), (0, 0), (False, True, False)
    arguments = dy, x, kernel, None, once, nowhere, once, False, nowhere, 1, wanted
    _, dkernel, _ = torch.ops.aten.convolution_backward(*arguments)
    return dkernel.reshape(o, i)


class Mlp(Function):
    """Linear, GELU, Linear: x (..., c), weight1 (hidden, c), bias1, weight2 (c, hidden), bias2 → (..., c)."""

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, x, weight1, bias1, weight2, bias2):
        """What comes before GELU is kept, what comes after is not."""
        before = product(x, weight1, bias1)
        ctx.save_for_backward(x, weight1, bias1, weight2, bias2, before)
        return product(F.gelu(before), weight2, bias2)

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, dy):
        """dy (..., c) → the gradients of all five."""
        *inputs, before = ctx.saved_tensors
        x, weight1, _, weight2, _ = inputs
        wanted = ctx.needs_input_grad
        if not _directly(dy):
            return again(mlp, wanted, dy, *inputs)
        d, *second = _linear_backward(dy, F.gelu(before), weight2, (True, *wanted[3:]))
        torch.ops.aten.gelu_backward.grad_input(d, before, grad_input=d)
        return *_linear_backward(d, x, weight1, wanted), *second


def mlp(x, weight1, bias1, weight2, bias2):
    """What Mlp computes, in PyTorch's own operations."""
    return F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)


class Attention(Function):
    """softmax(scale · q kᵀ + bias + mask) v in each window.

    bias (a, m, m); mask (k, m, m) or None; scale: a number; qkv: one array (n, k·m, 3·a·d), or q, k and v, each
    (n, k, a, m, d) → (n, k·m, a·d).
    """

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, bias, mask, scale, *qkv):
        """The attention weights are kept."""
        z, weights = _attend(bias, mask, scale, *qkv, softmax=F.softmax if mask is None else masked_softmax)
        ctx.scale = scale
        ctx.save_for_backward(bias, mask, weights, *qkv)
        return z

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, dz):
        """dz (n, k·m, a·d) → the gradients of bias and of qkv."""
        bias, mask, weights, *qkv = ctx.saved_tensors
        if not _directly(dz):
            return again(attention, ctx.needs_input_grad, dz, bias, mask, ctx.scale, *qkv)
        q, k, v = _apart(qkv, bias)
        dz = rearrange(dz, "n (k m) (a d) -> (n k a) m d", a=len(bias), m=bias.shape[1])
        gradients = q.new_empty(3, *q.shape)
        torch.bmm(weights.mT, dz, out=gradients[2])
        dscores = torch._softmax_backward_data(dz @ v.mT, weights, -1, weights.dtype)
        torch.baddbmm(q, dscores, k, beta=0, alpha=ctx.scale, out=gradients[0])
        torch.baddbmm(k, dscores.mT, q, beta=0, alpha=ctx.scale, out=gradients[1])
        dbias = rearrange(dscores, "(nk a) i j -> nk a i j", a=len(bias)).sum(0)
        return dbias, None, None, *_as_given(qkv, gradients, bias)


def attention(bias, mask, scale, *qkv):
    """What Attention computes, in operations that PyTorch can differentiate."""
    return _attend(bias, mask, scale, *qkv)[0]


def masked_softmax(scores, dim):
    """Softmax, in place, but for weights below exp(LEAST), which become that.

    Masked scores are about -100, and exp(-100) is a subnormal number of float32: some processors are far slower at
    its products with v.
    """
    scores -= scores.amax(dim, keepdim=True)
    scores.clamp_(min=LEAST).exp_()
    return scores.div_(scores.sum(dim, keepdim=True))


def _attend(bias, mask, scale, *qkv, softmax=F.softmax):
    q, k, v = _apart(qkv, bias)
    a, n = len(bias), len(qkv[0])
    added = bias if mask is None else (bias + rearrange(mask, "k i j -> k 1 i j").to(bias)).flatten(0, 1)
    weights = softmax(added.repeat(len(q) // len(added), 1, 1).baddbmm_(q, k.mT, alpha=scale), dim=-1)
    return rearrange(weights @ v, "(n k a) m d -> n (k m) (a d)", n=n, a=a), weights


def _apart(qkv, bias):
    """q, k, v, each (n·k·a, m, d)."""
    if len(qkv) == 3:
        return [rearrange(x, "n k a m d -> (n k a) m d") for x in qkv]
    a, m = bias.shape[:2]
    return rearrange(qkv[0], "n (k m) (three a d) -> three (n k a) m d", three=3, a=a, m=m).contiguous()


def _as_given(qkv, gradients, bias):
    """The gradients of q, k, v, (3, n·k·a, m, d), in the shape of qkv: a list."""
    if len(qkv) == 3:
        return [x.view_as(y) for x, y in zip(gradients, qkv, strict=True)]
    return [rearrange(gradients, "three (n k a) m d -> n (k m) (three a d)", n=len(qkv[0]), a=len(bias))]


def _directly(dy):
    """Does backward compute numbers at once, which nobody differentiates or looks into?"""
    return (
        not torch.is_grad_enabled()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._functorch.is_legacy_batchedtensor(dy)  # is_grads_batched
    )


def again(function, wanted, dy, *inputs):
    """The gradients of function(*inputs) by PyTorch's own operations, which it can differentiate once more.

    wanted: for which inputs; the others get None.
    """
    with torch.enable_grad():  # views, so that no path leads from one input to another
        inputs = [x.view_as(x) if isinstance(x, torch.Tensor) else x for x in inputs]
        y = function(*inputs)
    asked = [x for x, want in zip(inputs, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(y, asked, dy, create_graph=torch.is_grad_enabled()))
    return tuple(next(found) if want else None for want in wanted)
