# %% [markdown]
# # 09 · The backward pass, by hand
#
# ![The Swin block: norm, attention, a sum, norm, MLP, a sum; backward walks the same path from the last sum to the first norm](../figures/gallery/block_version_1.png)
#
# Training asks one question of every number in the model: *if it grew a little, how much would the loss grow?* The
# answers are the gradients. PyTorch's autograd finds them unseen. `swin_numpy` has no autograd: under each forward
# stands a backward, written by hand. In this chapter you write them too.
#
# After this chapter you can explain
#
# - what a backward takes and gives, and why nobody ever builds the matrix of all derivatives;
# - why a backward that is tested with a gradient of ones may be wrong all the same;
# - how well finite differences can check a gradient, and which step they need;
# - how to turn any step round that only moves numbers, and why numbers that are read twice get a sum;
# - what a forward must keep for its backward, and how many bytes that is in a Swin block.

# %% jupyter={"source_hidden": true}
import math
from functools import partial
from time import perf_counter

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from lesson import agree, check, side_by_side, slider, solution, there_and_back

import swin_numpy
import swin_torch
from figures import photo_path
from figures.bias import gather_and_scatter
from figures.maps import show_maps
from figures.measure import bars, curves
from swin_numpy import (
    SwinTransformerBlock,
    cyclic_shift,
    pad_to_multiple,
    window_partition,
    window_reverse,
)
from swin_numpy import functional as F
from swin_numpy.attention import scaled_dot_product, scaled_dot_product_backward
from swin_numpy.gelu import gelu, gelu_backward
from swin_numpy.pictures.images import denormalise, load_image, preprocess

rng = np.random.default_rng(9)
torch.set_num_threads(1)  # small matrices: more threads would mostly wait

# %% [markdown]
# ## The idea
#
# A step of the network turns x into y, and much later a loss L comes out, one number. Suppose somebody already knows
# how L depends on y. Call that the **upstream gradient**, dy. It has the shape of y:
#
# $$dy_i = \frac{\partial L}{\partial y_i} \qquad\Longrightarrow\qquad
# dx_j = \frac{\partial L}{\partial x_j} = \sum_i \frac{\partial y_i}{\partial x_j}\, dy_i = (J^\top dy)_j$$
#
# That is the chain rule, and all there is to it. J, the **Jacobian**, holds the slope of every output for every input.
# A backward is a function that takes dy and returns dx, so the steps can be walked from the last to the first, each
# handing its dx down as the dy of the step before.
#
# It must do so **without** building J. For one block of Swin-T's first stage, J would have this size:

# %% jupyter={"source_hidden": true}
numbers = 56 * 56 * 96  # tokens · channels
print(f"{numbers:,} inputs and as many outputs")
print(f"J in float32: {numbers**2 * 4 / 1e9:.0f} GB")
print(f"dy and dx together: {2 * numbers * 4 / 1e6:.1f} MB")

# %% [markdown]
# ## Three numbers by hand: softmax
#
# x = (0, ln 2, ln 3). The exponentials are 1, 2, 3, their sum is 6, so y = (1, 2, 3) / 6. The slopes of softmax are
#
# $$\frac{\partial y_i}{\partial x_j} = y_i\,(\delta_{ij} - y_j)$$
#
# On the diagonal, an input lifts its own output. Off it the slope is negative: more for one is less for the others.


# %% jupyter={"source_hidden": true}
def jacobian(y):
    """y (c,), the output of softmax → J (c, c)."""
    J = np.empty((len(y), len(y)))
    for i, j in np.ndindex(J.shape):
        J[i, j] = y[i] * ((i == j) - y[j])
    return J


y = F.softmax(np.log([1.0, 2.0, 3.0]))
J = jacobian(y)
print("6 · y  =", (6 * y).round(10))
print((36 * J).round(10), "= 36 · J")

# %% jupyter={"source_hidden": true}
random_x = rng.normal(size=7)
show_maps({"J of the softmax of seven numbers": jacobian(F.softmax(random_x))})

# %% [markdown]
# Check one by hand: 36 · ⅙ · (1 - ⅙) = 5. Now look at the columns: 5 - 2 - 3 = 0, and so in all of them. The outputs
# always sum to 1, so whatever an input does, the changes cancel. An upstream gradient of ones therefore gives zero
# (but for rounding), and so does any constant one:

# %% jupyter={"source_hidden": true}
print("J.T @ (1, 1, 1):", J.T @ np.ones(3))
print("J.T @ (6, 0, 0):", J.T @ [6, 0, 0])

# %% [markdown]
# A popular way to test a backward is `y.sum().backward()`, which means dy = 1. Here
# are three backwards of softmax. Only one is right. With ones, all three pass the comparison with autograd:


# %% jupyter={"source_hidden": true}
def nothing(dy, y):
    return 0 * dy


def plain_mean(dy, y):
    """Looks good. But the mean should be weighted with y."""
    return y * (dy - dy.mean(axis=-1, keepdims=True))


x = rng.normal(size=(2, 5))
for kind, dy in (("ones", np.ones(x.shape)), ("random", rng.normal(size=x.shape))):
    x_torch = torch.from_numpy(x).requires_grad_()
    x_torch.softmax(-1).backward(torch.from_numpy(dy))
    for backward in (nothing, plain_mean, F.softmax_backward):
        same = np.allclose(backward(dy, F.softmax(x)), x_torch.grad)
        print(f"dy {kind:6}  {backward.__name__:16}  {'passes' if same else 'FAILS'}")

# %% [markdown]
# So: upstream gradients are **random numbers, never ones**. From here on every dy of a test is.

# %% [markdown]
# Write the function, run the cell, and read what the check says. Stuck? Open the solution below it.
#
# **09.1** Backward of softmax over the last axis, without a loop, from its output `y`.


# %%
def my_softmax_backward(dy, y):
    """dy, y (..., c) → dx (..., c)."""
    ...


check("09.1", my_softmax_backward)

# %%
solution("09.1")

# %% [markdown]
# ## Finite differences: a check that knows no calculus
#
# Autograd may share a mistake with us, or may not be there. A slope can also be **measured**: go a step h to either
# side, and see by how much the loss changes.
#
# $$\text{one side: } \frac{L(x + h v) - L(x)}{h} \qquad \text{both sides: } \frac{L(x + h v) - L(x - h v)}{2h}
# \qquad \text{expected: } dx \cdot v$$
#
# Here v is a random direction. One direction tests all numbers of dx at once: a wrong one would have to cancel out by
# accident. How small should h be? Try all of them:

# %% jupyter={"source_hidden": true}
x, dy, v = rng.normal(size=(3, 40, 8))
exact = (F.softmax_backward(dy, F.softmax(x)) * v).sum()


def loss(x):
    return (dy.astype(x.dtype) * F.softmax(x)).sum()


def one_side(x, v, h):
    return (loss(x + h * v) - loss(x)) / h


def both_sides(x, v, h):
    return (loss(x + h * v) - loss(x - h * v)) / (2 * h)


# %% jupyter={"source_hidden": true}
steps = 10.0 ** np.arange(-12, 0.1, 0.5)
errors = {}
for name, measure, dtype in (
    ("one side, float64", one_side, np.float64),
    ("both sides, float64", both_sides, np.float64),
    ("both sides, float32", both_sides, np.float32),
):
    slopes = [measure(x.astype(dtype), v.astype(dtype), dtype(h)) for h in steps]
    errors[name] = error = np.abs(np.array(slopes, float) / exact - 1)
    print(f"{name}: best step {steps[error.argmin()]:.0e}, error {error.min():.0e}")

# %% jupyter={"source_hidden": true}
scale = abs(loss(x) / exact)
guides = {
    "truncation ∝ h": errors["one side, float64"][-6] * (steps / steps[-6]),
    "truncation ∝ h²": errors["both sides, float64"][-6] * (steps / steps[-6]) ** 2,
    "rounding ∝ 1 / h": scale * np.finfo(np.float64).eps / steps,
}
axes = {"xlabel": "step h", "ylabel": "relative error", "logx": True, "logy": True}
curves(errors, x=steps, guides=guides, **axes)

# %% [markdown]
# So: **float64, both sides, a step near 1e-5** (for numbers of about 1). That gives about ten digits here; sixteen are out of reach.


# %% jupyter={"source_hidden": true}
def slope(loss, value, direction, h=5e-6):
    """How fast loss() grows when `value`, an array, moves along `direction`."""
    start, sides = value.copy(), []
    for sign in (1, -1):
        value[...] = start + sign * h * direction
        sides.append(loss())
    value[...] = start  # back to where it was
    return (sides[0] - sides[1]) / (2 * h)


agree("softmax, measured", slope(lambda: loss(x), x, v), exact, 1e-8)

# %% [markdown]
# **09.5** Measure the slope of f at x along a direction. The relative error must stay below 1e-7.


# %%
def my_slope(f, x, direction):
    """f takes an array like x and returns a number → float."""
    ...


check("09.5", my_slope)

# %%
solution("09.5")

# %% [markdown]
# ## Linear: what is used often gets a sum
#
# y = x Wᵀ + b. For one token, each output is $y_o = \sum_c W_{oc}\, x_c + b_o$. So $W_{oc}$ has the slope $x_c$, and
# $x_c$ has the slope $W_{oc}$. By loop over tokens; note the `+=`. All tokens use the **same** W and b, and each has a
# say:


# %% jupyter={"source_hidden": true}
def linear_backward_by_loop(dy, x, W):
    """dy (tokens, out), x (tokens, in), W (out, in) → dx, dW, db."""
    dx, dW, db = np.zeros(x.shape), np.zeros(W.shape), np.zeros(len(W))
    for t, o in np.ndindex(dy.shape):
        dx[t] += dy[t, o] * W[o]
        dW[o] += dy[t, o] * x[t]
        db[o] += dy[t, o]
    return dx, dW, db


x, W, dy = rng.normal(size=(6, 4)), rng.normal(size=(3, 4)), rng.normal(size=(6, 3))
ours, by_loop = F.linear_backward(dy, x, W), linear_backward_by_loop(dy, x, W)
for name, got, wanted in zip("xWb", ours, by_loop, strict=True):
    agree(f"d{name}", got, wanted)

# %%
there_and_back("functional.linear")

# %% [markdown]
# Two matrix products and a sum. This is a rule for all broadcasting: **what the forward repeats, the backward sums**,
# and the other way round. b was repeated for every token, so its gradient is summed over every token.

# %% [markdown]
# **09.2** C = A @ B with a batch of A, shape (n, i, k), and one B for all of them, shape (k, j).


# %%
def product_backward(dC, A, B):
    """dC (n, i, j) → dA (n, i, k), dB (k, j)."""
    ...


check("09.2", product_backward)

# %%
solution("09.2")

# %% [markdown]
# ## Layer norm: two directions are lost
#
# $n = (x - \text{mean}) / \sigma$ with $\sigma = \sqrt{\text{variance} + \epsilon}$. Each number of a token moves the
# mean and the deviation, and so all others:
#
# $$\frac{\partial n_i}{\partial x_j} = \frac{1}{\sigma}\Big(\delta_{ij} - \frac1c - \frac{n_i n_j}{c}\Big)$$


# %% jupyter={"source_hidden": true}
def norm_jacobian(x, eps=1e-5):
    """J (c, c) of the layer norm of one token (c,), without weight and bias."""
    sigma = math.sqrt(x.var() + eps)
    n, c = (x - x.mean()) / sigma, len(x)
    J = np.empty((c, c))
    for i, j in np.ndindex(c, c):
        J[i, j] = ((i == j) - 1 / c - n[i] * n[j] / c) / sigma
    return J


token = np.array([0.0, 0, 4, 4])  # mean 2, deviation 2, so n = (-1, -1, 1, 1)
J = norm_jacobian(token)
print(J.round(4) + 0.0)
print("all numbers grow alike:     ", J @ np.ones(4))
print("all grow away from the mean:", J @ (token - 2))

# %% jupyter={"source_hidden": true}
show_maps({"J of the layer norm of seven numbers": norm_jacobian(random_x)})

# %% [markdown]
# The last two lines are two directions in which layer norm does not react: move all of the token, or stretch it. (The
# small rest in the second is that of ε.) What the output doesn't feel can't come back either: dx has no
# part along these two directions. That is what the library's formula says: take dy · weight, take off its mean, take
# off its part along n, divide by σ.

# %%
there_and_back("functional.layer_norm")

# %% jupyter={"source_hidden": true}
x, dy = 3 * rng.normal(size=(2, 4, 6)) + 1, rng.normal(size=(2, 4, 6))
weight, bias = rng.normal(size=(2, 6))
by_loop = np.empty(x.shape)
for t in np.ndindex(x.shape[:-1]):
    by_loop[t] = norm_jacobian(x[t]).T @ (weight * dy[t])
ours = F.layer_norm_backward(dy, x, weight)
agree("layer norm, loop", ours[0], by_loop)

tensors = [torch.from_numpy(value).requires_grad_() for value in (x, weight, bias)]
y_torch = torch.nn.functional.layer_norm(tensors[0], (6,), *tensors[1:])
y_torch.backward(torch.from_numpy(dy))
for name, got, tensor in zip(("dx", "dweight", "dbias"), ours, tensors, strict=True):
    agree(f"layer norm, autograd: {name}", got, tensor.grad)

# %% [markdown]
# ## Attention
#
# Three steps forward: scores = Q Kᵀ / √d, weights = softmax(scores), Z = weights · V. By loop, each line of the forward
# (in the comments) is a product of two numbers, and sends a gradient to both of them:


# %% jupyter={"source_hidden": true}
def attend_backward_by_loop(dZ, Q, K, V, weights):
    """One head: dZ and Q, K, V (m, d), weights (m, m) → dQ, dK, dV."""
    dQ, dK, dV = np.zeros(Q.shape), np.zeros(K.shape), np.zeros(V.shape)
    dweights, root = np.empty(weights.shape), math.sqrt(Q.shape[1])
    for i, j in np.ndindex(weights.shape):  # Z[i] += weights[i, j] * V[j]
        dweights[i, j] = dZ[i] @ V[j]
        dV[j] += weights[i, j] * dZ[i]
    rows = zip(weights, dweights, strict=True)
    dscores = np.array([jacobian(w).T @ dw for w, dw in rows])
    for i, j in np.ndindex(weights.shape):  # scores[i, j] = Q[i] @ K[j] / √d
        dQ[i] += dscores[i, j] * K[j] / root
        dK[j] += dscores[i, j] * Q[i] / root
    return dQ, dK, dV


# %% [markdown]
# The library says the same with matrices. Its pattern: for a product C = A B,
#
# $$dA = dC \, B^\top, \qquad dB = A^\top dC$$
#
# (If you forget it: where all sides differ, there is only one way to put the shapes together. The weights are square,
# so for dV the shapes alone don't tell their transpose from themselves.)

# %%
there_and_back("attention.scaled_dot_product")

# %% jupyter={"source_hidden": true}
Q, K, V, dZ = rng.normal(size=(4, 5, 3))  # five tokens, d = 3
kept = scaled_dot_product(Q, K, V)
ours = scaled_dot_product_backward(dZ, kept)
tensors = [torch.from_numpy(value).requires_grad_() for value in (Q, K, V)]
swin_torch.attention.scaled_dot_product(*tensors).Z.backward(torch.from_numpy(dZ))
by_loop = attend_backward_by_loop(dZ, Q, K, V, kept.weights)
for name, got, loop, tensor in zip("QKV", ours, by_loop, tensors, strict=True):
    agree(f"d{name}, loop", got, loop)
    agree(f"d{name}, autograd", got, tensor.grad)

# %% [markdown]
# ## The bias table: gather and scatter-add
#
# Chapter 4: the bias B[i, j] is *read* from a table, at the entry that belongs to the offset from j to i. In a window of
# 2 × 2 there are 16 pairs, but only 9 offsets, so 9 entries. Several pairs read the same one. Turned round: each pair
# brings a gradient, and adds it to the entry it had read.

# %% jupyter={"source_hidden": true}
M = 2
index = swin_numpy.relative_position_index(M)  # (i, j) → entry
dB = rng.integers(-9, 10, size=index.shape) / 10  # simple numbers to add
dtable = np.zeros((2 * M - 1) ** 2)
for i, j in np.ndindex(index.shape):
    dtable[index[i, j]] += dB[i, j]
gather_and_scatter(index, dB, dtable.reshape(2 * M - 1, 2 * M - 1))

# %% [markdown]
# Follow one colour. Entry 4, offset (0, 0), is read by the whole diagonal, so its gradient is the sum of the diagonal.
# The corners 0 and 8 are read once.
#
# Whoever wants to spare the loop writes `dtable[index] += dB`. It runs, has the right shape, and is **wrong**: NumPy
# reads all entries first, adds, and writes back. Of several additions to one entry, only the last one survives.
# (`np.add.at` and `np.bincount` keep them all.)

# %% jupyter={"source_hidden": true}
lost = np.zeros(dtable.shape)
lost[index] += dB
print("loop:               ", dtable.round(1))
print("dtable[index] += dB:", lost.round(1))

# %% [markdown]
# **09.3** The forward was `table[index]`. Return the gradient of the table. `index` has any shape, and `gradient` that
# shape and one more axis, c.


# %%
def scatter(gradient, index, rows):
    """→ (rows, c)."""
    ...


check("09.3", scatter)

# %%
solution("09.3")

# %% [markdown]
# ## The arrow turned round
#
# Much of Swin only moves numbers: cut into windows, roll, pad, split into heads. Such a step is a matrix P of zeros and
# ones (mean and dropout have other numbers in it), and its backward is Pᵀ: each gradient goes to where its number came
# from. If nothing is lost or doubled on the way, Pᵀ is also the inverse. So the backward of a `rearrange` is its arrow
# turned round:
#
# | forward | backward |
# |---|---|
# | rearrange `a -> b` | rearrange `b -> a` |
# | `window_partition` | `window_reverse` |
# | `window_reverse` | `window_partition` |
# | roll by s | roll by -s |
# | pad with zeros | crop |
# | crop | pad with zeros |
# | repeat (broadcast) | sum |
# | mean over m tokens | divide by m and repeat |
# | gather, `table[index]` | scatter-add |
# | dropout: times a mask | times the **same** mask |
#
# For every such step f, linear and without a constant, there is a test in one line. The loss dy · f(x) can also be
# written dx · x, with the right dx and no other:
#
# $$\sum dy \cdot f(x) = \sum \text{backward}(dy) \cdot x \qquad \text{for all } x \text{ and } dy$$


# %% jupyter={"source_hidden": true}
def is_backward(forward, backward, x):
    y = forward(x)
    dy = rng.normal(size=y.shape)
    dx = backward(dy)
    if dx.shape != x.shape:
        return False
    return np.isclose((dy * y).sum(), (dx * x).sum(), rtol=1e-12)


def pad(x):
    return pad_to_multiple(x, 4)  # 6 x 9 becomes 8 x 12


def crop(x):
    return x[:, :6, :9]


def scatter_add(dy, shape=(2, 6, 9, 5)):
    dx = np.zeros(shape)
    np.add.at(dx, (slice(None), rows), dy)
    return dx


rows = np.array([3, 0, 3, 3])  # row 3 is read three times
mask = rng.integers(0, 2, size=(2, 6, 9, 5)) * 2.0

# %% jupyter={"source_hidden": true}
arrow, turned = "n h w (a d) -> n a (h w) d", "n a (h w) d -> n h w (a d)"
forwards = {
    "rearrange": lambda x: rearrange(x, arrow, a=5),
    "window_partition": lambda x: window_partition(x, 3),
    "roll": lambda x: cyclic_shift(x, 1),
    "pad": pad,
    "crop": lambda x: x[:, :4, :7],
    "repeat": lambda x: repeat(x, "n h w c -> n h w c r", r=4),
    "mean": lambda x: x.mean(axis=1),
    "gather": lambda x: x[:, rows],
    "dropout": lambda x: x * mask,
}

# %% jupyter={"source_hidden": true}
backwards = {
    "rearrange": lambda dy: rearrange(dy, turned, h=6),
    "window_partition": lambda dy: window_reverse(dy, 3, 6, 9),
    "roll": lambda dy: cyclic_shift(dy, -1),
    "pad": crop,
    "crop": lambda dy: np.pad(dy, ((0, 0), (0, 2), (0, 2), (0, 0))),
    "repeat": lambda dy: dy.sum(axis=-1),
    "mean": lambda dy: repeat(dy / 6, "n w c -> n h w c", h=6),
    "gather": scatter_add,
    "dropout": lambda dy: dy * mask,
}
for name, backward in backwards.items():
    assert is_backward(forwards[name], backward, rng.normal(size=(2, 6, 9, 5))), name
join, cut = backwards["window_partition"], forwards["window_partition"]
assert is_backward(join, cut, cut(rng.normal(size=(2, 6, 9, 5)))), "window_reverse"
print("right:", ", ".join(backwards), "and window_reverse")

# %% jupyter={"source_hidden": true}
ones = np.eye(16).reshape(16, 4, 4, 1)  # each token alone
as_matrix = window_partition(cyclic_shift(ones, 1), 2).reshape(16, 16).T
show_maps(
    {
        "P: shift and cut": as_matrix != 0,
        "P transposed: join and shift back": as_matrix.T != 0,
    }
)

# %% [markdown]
# **09.4** Patch merging pads odd sides with zeros, then does `n (h p1) (w p2) c -> n (h w) (p2 p1 c)`. Turn it round.


# %%
def merging_backward(dy, grid):
    """dy (n, h/2·w/2, 4c), grid (h, w) before merging → (n, h·w, c)."""
    ...


check("09.4", merging_backward)

# %%
solution("09.4")

# %% [markdown]
# ## The block, there and back
#
# Nothing new is needed for a whole block, only order: the last step first. Read the right column as the left one from
# bottom to top.

# %%
there_and_back("block.SwinTransformerBlock.forward")

# %% [markdown]
# The stream is a **sum**, x + branch(x), and a sum hands its gradient on to both summands. So dy goes on as it is,
# and also through the branch, and both arrive at x: `dy + …`, twice. However long the chain of blocks is, dy itself
# comes through it unchanged, beside what the branches add. He et al. 2016, *Identity Mappings in Deep Residual
# Networks* (section 2), see in this why such networks can be deep.

# %% [markdown]
# Now everything at once: a block with a shift, on 5 × 6 tokens that windows of 4 don't fit, with random parameters. dx
# and the gradients of all parameters, against autograd:


# %% jupyter={"source_hidden": true}
def random_parameters(module):
    """{official name: array}: norm weights of 1 and biases of 0 would hide mistakes."""
    shapes = {name: p.shape for name, p in module.named_parameters()}
    return {name: 0.4 * rng.normal(size=shape) for name, shape in shapes.items()}


sizes = {"dim": 12, "num_heads": 3, "window_size": 4, "shift_size": 2}
ours = SwinTransformerBlock(**sizes).to(np.float64).train()
theirs = swin_torch.SwinTransformerBlock(**sizes).double().train()
state = random_parameters(ours)
ours.load_state_dict(state)
tensors = {name: torch.from_numpy(value) for name, value in state.items()}
_ = theirs.load_state_dict(tensors)

# %% jupyter={"source_hidden": true}
grid = 5, 6
x, dy = rng.normal(size=(2, 2, 30, 12))
x_torch = torch.from_numpy(x).requires_grad_()
theirs(x_torch, grid).backward(torch.from_numpy(dy))
ours(x, grid)
dx = ours.backward(dy)
agree("dx", dx, x_torch.grad)
gradients = {name: p.grad for name, p in ours.named_parameters()}
expected = {name: p.grad for name, p in theirs.named_parameters()}
agree(
    f"{len(gradients)} parameters together",
    np.concatenate([gradients[name].ravel() for name in gradients]),
    torch.cat([expected[name].ravel() for name in gradients]),
)
for name, gradient in gradients.items():
    gap = np.abs(gradient - expected[name].numpy()).max()
    assert gap < 1e-12 * max(1, np.abs(gradient).max()), name

# %% [markdown]
# And measured, without PyTorch and without calculus. One random direction for the input, and one for each parameter:

# %% jupyter={"source_hidden": true}
gradients = {"x": dx} | gradients
values = {"x": x} | dict(ours.named_parameters())
worst = 0
for name, value in values.items():
    v = rng.normal(size=value.shape)
    measured = slope(lambda: (dy * ours(x, grid)).sum(), value, v)
    gap = abs(measured - (gradients[name] * v).sum())
    error = gap / np.linalg.norm(gradients[name])  # relative to the gradient's length
    assert error < 1e-7, name
    worst = max(worst, error)
print(f"x and {len(values) - 1} parameters: largest relative error {worst:.0e}")

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### The attention of a block, there and back

# %%
there_and_back("block.SwinTransformerBlock.attend")

# %% [markdown]
# A pleasant surprise: `attend` and `attend_backward` share all their steps. `in_windows` is a palindrome: pad, shift,
# cut, work, put together, shift back, crop. Read backwards, each step is undone by the gradient of its mirror image, so
# the gradient takes the same path, and only attention is replaced by its backward. Inside the windows:

# %%
there_and_back("window_attention.WindowAttention.forward")
there_and_back("window_attention.WindowAttention.compare")
there_and_back("window_attention.WindowAttention.project")

# %% [markdown]
# ### Why the curves are V-shaped
#
# Every curve is a V. On the right, the step is too long: the function bends on the way, **truncation**. The line of one
# side falls with h; from both sides the bend of one cancels that of the other, and the error falls with h². On the left
# the step is too short: two losses that are almost equal are subtracted, and what is left is mostly their last digit,
# **rounding**, which then gets divided by h. In float32 rounding starts so early that it swallows nearly everything.
# Where its curve is flat, x + h v is x again: no change at all, and an error of 100 %.
#
# The best step is where both meet: about the square root of the machine's ε for one side, its cube root for two.

# %% jupyter={"source_hidden": true}
for dtype in (np.float64, np.float32):
    eps = np.finfo(dtype).eps
    root, cube_root = eps ** (1 / 2), eps ** (1 / 3)
    print(f"{dtype.__name__}: ε = {eps:.0e}, √ε = {root:.0e}, ∛ε = {cube_root:.0e}")

# %% [markdown]
# ### Rows that sum to zero
#
# Each **row** of dscores sums to zero, by what we saw of softmax. An amount added to all scores of a query changes
# nothing, so it gets no gradient. Keep that in mind: a bias of K does just that (see the traps).

# %%
dscores = F.softmax_backward(dZ @ V.T, kept.weights)
print("row sums:   ", dscores.sum(axis=1).round(14) + 0.0)
print("column sums:", dscores.sum(axis=0).round(3))

# %% jupyter={"source_hidden": true}
show_maps({"weights": kept.weights, "dscores": dscores})

# %% [markdown]
# ### Two ways to scatter, and how long they take
#
# Two ways are right: `np.add.at`, which does additions one by one, and `np.bincount` with the gradients as weights,
# which is meant for counting how often a number occurs, and sums weights just as well.

# %%
by_add_at = np.zeros(dtable.shape)
np.add.at(by_add_at, index, dB)
by_bincount = np.bincount(index.ravel(), dB.ravel(), len(dtable))
agree("np.add.at", by_add_at, dtable)
agree("np.bincount", by_bincount, dtable)

# %% [markdown]
# The library takes `np.bincount`. One thing comes before it: the same B is added in every window of every image. What the
# forward repeats, the backward sums, so `backward` first sums dscores over n and k.

# %%
there_and_back("window_attention.WindowAttention.relative_position_bias")

# %%
M, heads = 7, 3
index = swin_numpy.relative_position_index(M)
dB = rng.normal(size=(heads, M * M, M * M))  # (a, i, j)
counts = np.bincount(index.ravel())
print(f"M = 7: {index.size:,} pairs read {counts.size} entries")
print(f"an entry is read {counts.min()} to {counts.max()} times")


def with_add_at():
    dtable = np.zeros((counts.size, heads))
    np.add.at(dtable, index, dB.transpose(1, 2, 0))
    return dtable


def with_add_at_by_head():
    entry = index.ravel()
    dtable = np.zeros((heads, counts.size))
    for row, head in zip(dtable, dB, strict=True):
        np.add.at(row, entry, head.ravel())  # one head at a time, as bincount gets them
    return dtable.T


def with_bincount():
    entry = index.ravel()
    return np.stack([np.bincount(entry, head.ravel(), counts.size) for head in dB], 1)


# %% jupyter={"source_hidden": true}
def microseconds(run):
    """The fastest of 20 runs."""
    times = []
    for _ in range(20):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return 1e6 * min(times)


agree("both ways", with_bincount(), with_add_at())
for run in (with_add_at, with_add_at_by_head, with_bincount):
    print(f"{run.__name__:20} {microseconds(run):6.0f} µs")

# %% [markdown]
# Compare the last two, which get their numbers in the same layout, head by head: in this version of NumPy `np.add.at`
# as such isn't the slow one.

# %% [markdown]
# ### Ones, once more
#
# A fresh layer norm has the weight 1. Then ones upstream are "all alike", the first lost direction, and the gradient
# is zero again. A second function for which the popular test tests nothing of dx:

# %%
x6 = rng.normal(size=(4, 6))
dx, _, _ = F.layer_norm_backward(np.ones(x6.shape), x6, np.ones(6))
print("largest |dx|:", np.abs(dx).max())

# %% [markdown]
# ### Arrows turned the wrong way
#
# A test must be able to fail. Some mistakes that are easy to make, all with the right shape:

# %%
mistakes = {
    ("roll", "rolled the same way"): lambda dy: cyclic_shift(dy, 1),
    ("mean", "not divided"): lambda dy: repeat(dy, "n w c -> n h w c", h=6),
    ("repeat", "averaged"): lambda dy: dy.mean(axis=-1),
    ("dropout", "another mask"): lambda dy: dy * np.roll(mask, 1),
    ("window_partition", "only reshaped"): lambda dy: dy.reshape(2, 6, 9, 5),
}
for (name, mistake), backward in mistakes.items():
    passes = is_backward(forwards[name], backward, rng.normal(size=(2, 6, 9, 5)))
    print(f"{name}, {mistake}: {'passes' if passes else 'refused'}")

# %% [markdown]
# ### Without the matrix
#
# Multiply out $J^\top dy$ and the matrix is gone:
#
# $$dx_j = \sum_i y_i\,(\delta_{ij} - y_j)\, dy_i = y_j \Big( dy_j - \sum_i y_i\, dy_i \Big)$$
#
# The gradient, less its mean weighted with y. Note what it needs: dy and the **output** y; x is not needed any more.

# %%
side_by_side("functional.softmax_backward")

# %% [markdown]
# The naive loop, one matrix for each row; the library; and autograd:

# %%
x, dy = rng.normal(size=(2, 4, 3, 7))  # two arrays (4, 3, 7)
y = F.softmax(x)
by_loop = np.empty(x.shape)
for row in np.ndindex(x.shape[:-1]):
    by_loop[row] = jacobian(y[row]).T @ dy[row]
agree("softmax backward, loop", F.softmax_backward(dy, y), by_loop)

x_torch = torch.from_numpy(x).requires_grad_()
x_torch.softmax(-1).backward(torch.from_numpy(dy))
agree("softmax backward, autograd", F.softmax_backward(dy, y), x_torch.grad)

# %% [markdown]
# ### GELU and the loss
#
# Two that are short. GELU treats each number by itself, so its J is diagonal: multiply dy by the slope, here the
# product rule on x · Φ(x). And the loss is where gradients start. Cross entropy is -log softmax at the right class;
# its gradient is the nicest formula of all: (probability - target) / n.

# %%
x, dy, v = 2 * rng.normal(size=(3, 50))
dx = gelu_backward(dy, x, gelu(x))
measured = slope(lambda: (dy * gelu(x)).sum(), x, v)
agree("GELU, measured", measured, (dx * v).sum(), 1e-8)

# %%
logits, labels = rng.normal(size=(4, 3)), np.array([2, 0, 0, 1])
dlogits = F.cross_entropy_backward(logits, labels)
agree("cross entropy", dlogits, (F.softmax(logits) - np.eye(3)[labels]) / 4)
v = rng.normal(size=logits.shape)
measured = slope(lambda: F.cross_entropy(logits, labels), logits, v)
agree("cross entropy, measured", measured, (dlogits * v).sum(), 1e-8)

# %% [markdown]
# ### The gradient of a photograph
#
# `model.backward` walks the whole model and returns the gradient of the **image**. Start it with 1 at one logit and 0 at
# the others, and it says for each number of the photograph how much that logit would grow with it. (A hand-picked dy is
# fine for looking. For testing it isn't.)
#
# The model has Swin-T's first two stages and **random weights**: it has never seen a cat. Don't look for meaning yet.

# %%
photo = preprocess(load_image(photo_path("chelsea")), 224)  # (1, 3, 224, 224)
photo = photo.astype(np.float64)
config = swin_numpy.SwinConfig(
    depths=(2, 2), num_heads=(3, 6), num_classes=10, drop_path_rate=0.0
)
model = swin_numpy.SwinTransformer(config, dtype=np.float64).train()
logits = model(photo)
dimages = [model.backward(np.eye(10)[[k]])[0] for k in range(3)]  # logits 0, 1, 2

# %%
twin = swin_torch.SwinTransformer(config).double().train()
photo_torch = torch.from_numpy(photo).requires_grad_()
twin(photo_torch)[0, 0].backward()
agree("gradient of the photograph", dimages[0], photo_torch.grad[0], 1e-9)

# %% [markdown]
# Is it true? Change the photograph a little along that gradient. The logit should grow by step · |gradient|²:

# %%
step = 10.0
predicted = step * np.square(dimages[0]).sum()
change = model(photo + step * dimages[0])[0, 0] - logits[0, 0]
largest = np.abs(step * dimages[0]).max()
print(f"the logit should grow by {predicted:.3e}, it grew by {change:.3e}")
print(f"no number of the photograph changed by more than {largest:.1e}")
assert abs(change / predicted - 1) < 0.05

# %% [markdown]
# As a picture: the size of the gradient of each pixel, summed over the colours; this is called a **saliency map**.
# Beside it, something that has nothing to do with any logit: 1 / σ of each token, where σ is what the layer norm of
# the patch embedding divides by.

# %%
(patches,) = model.patch_embed.proj.saved  # (n, h, w, c·p·p)
weight = rearrange(model.patch_embed.proj.weight, "e c p1 p2 -> e (c p1 p2)")
tokens = F.linear(patches, weight, model.patch_embed.proj.bias)[0]  # before the norm
by_token = 1 / tokens.std(axis=-1).reshape(56, 56)
by_logit = [np.abs(gradient).sum(axis=0) for gradient in dimages]
pixels = denormalise(photo)[0]


def up_to_99(size):
    """Without the one percent that is largest, or little else would be seen."""
    return np.minimum(size, np.percentile(size, 99))


pixel_maps = {"|gradient| of logit 0": by_logit[0], "1 / σ of each token": by_token}
show_maps(
    {"photograph": pixels} | {name: up_to_99(size) for name, size in pixel_maps.items()}
)

# %%
for k, by_pixel in enumerate(by_logit):
    per_token = reduce(by_pixel, "(h p1) (w p2) -> h w", "sum", p1=4, p2=4)
    both = np.log(per_token).ravel(), np.log(by_token).ravel()
    print(f"logit {k}: correlation of the logarithms {np.corrcoef(both)[0, 1]:.2f}")

# %% [markdown]
# The cat seems to be there, and the model knows nothing about cats. Backward through a layer norm divides by σ, and
# here tokens with a small σ get a large gradient, whichever logit asks. A pretty saliency map is no proof that a
# model learned something: compare it with that of random weights first.


# %%
def draw(logit):
    size = up_to_99(by_logit[logit])
    return show_maps({"photograph": pixels, f"|gradient| of logit {logit}": size})


slider(draw, logit=(0, 2, 1, 2))

# %% [markdown]
# ### What must be kept, and what it costs
#
# Each backward above needed something of its forward: softmax its output, layer norm its input, linear its input. So
# the `forward` of such a module has a line `self.save(…)`, and in training mode the arrays wait there until backward
# comes. In evaluation mode nothing is kept, and backward says so:

# %%
model.eval()(photo)
try:
    model.backward(logits)
except ValueError as error:
    print(error)

# %% [markdown]
# How many bytes are that? Let code count them: walk the modules of the first block of Swin-T, and add up what they
# saved. Arrays that share memory count once (q, k and v, for instance, are three views of one array).


# %%
def owner(array):
    """The array whose memory `array` shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def bytes_saved(module):
    """{dotted name: bytes}, each piece of memory counted where it is met first."""
    found, seen = {}, {}
    for name, part in module.named_modules():
        values = [value for value in part._saved or () if isinstance(value, np.ndarray)]
        arrays = [owner(value) for value in values]
        new = {id(array): array for array in arrays if id(array) not in seen}
        seen |= new
        if arrays:
            found[name] = sum(array.nbytes for array in new.values())
    return found


# %%
T, C, M, heads = 56 * 56, 96, 7, 3
block = SwinTransformerBlock(C, heads, input_resolution=(56, 56), window_size=M).train()
x = rng.normal(size=(1, T, C)).astype(np.float32)
block(x, (56, 56))
saved, parts = bytes_saved(block), dict(block.named_modules())
for name, count in saved.items():
    shapes = sorted({value.shape for value in parts[name].saved})
    print(f"{name:9} {count / x.nbytes:5.2f} times the input  {shapes}")

# %% [markdown]
# The unit is the block's input, T · C numbers. Most of it can be counted in the head: 1 for each of the norms and
# linear layers that keep their input; 3 for q, k and v; 4 + 4 for the MLP before and after GELU (`fc2` then has its
# input for free: it is the same array). And the attention weights, one number for each head and each pair in a window:

# %%
by_hand = (5 + 3 + 8) * T * C * 4 + heads * T * M**2 * 4
assert sum(saved.values()) == by_hand
parameters = sum(p.nbytes for _, p in block.named_parameters())
print(f"one block, one image:         {by_hand / 1e6:6.2f} MB")
print(f"its input:                    {x.nbytes / 1e6:6.2f} MB")
print(f"its parameters:               {parameters / 1e6:6.2f} MB")
print(f"attention weights in windows: {heads * T * M**2 * 4 / 1e6:6.2f} MB")
print(f"attention weights globally:   {heads * T * T * 4 / 1e6:6.2f} MB")

# %%
unit = "MB, float32, one image"
megabytes = {name: count / 1e6 for name, count in saved.items()}
bars(megabytes, unit, "kept by one block", "{:.2f}")

# %% [markdown]
# The MLP keeps the most, not attention: windows made that small. The weights of global attention alone, if kept, would take
# several times as much as the whole block does now.
#
# Does PyTorch keep less? `saved_tensors_hooks` sees all that autograd puts aside. Memory that is shared counts once, as
# above, and parameters don't count.


# %%
def bytes_saved_by_autograd(module, *inputs):
    parameters = {p.data_ptr() for p in module.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(*inputs)  # keeps all of it alive till the end
    assert output.requires_grad
    return sum(kept.values())


# %%
twin = swin_torch.SwinTransformerBlock(
    C, heads, input_resolution=(56, 56), window_size=M
).train()
x_torch = torch.from_numpy(x).requires_grad_()
autograd = bytes_saved_by_autograd(twin, x_torch, (56, 56))
print(f"NumPy {by_hand / 1e6:.1f} MB, autograd {autograd / 1e6:.1f} MB")
assert 0.5 < autograd / by_hand < 2

# %% [markdown]
# Much the same. And the whole Swin-T, with 224 × 224 pixels? Each stage has half as many numbers per map as the one
# before (a quarter of the tokens, twice the channels), but stage 3 has six blocks.

# %%
config = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
swin_t = swin_numpy.SwinTransformer(config).train()
swin_t(rng.normal(size=(1, 3, 224, 224)).astype(np.float32))
kept = bytes_saved(swin_t)
sums = {}
for name, count in kept.items():
    steps = 3 if name.startswith("layers") else 1
    place = ".".join(name.split(".")[:steps])  # such as layers.0.blocks
    sums[place] = sums.get(place, 0) + count / 1e6
bars(sums, unit, "kept by Swin-T", "{:.1f}")

# %%
parameters = sum(p.nbytes for _, p in swin_t.named_parameters())
activations = sum(kept.values())
tokens = [56 * 56 // 4**i for i in range(4)]  # in each stage
stages = zip(config.depths, tokens, config.widths, strict=True)
inputs = sum(depth * count * width * 4 for depth, count, width in stages)
print(f"parameters:                            {parameters / 1e6:5.0f} MB")
print(f"their gradients:                       {parameters / 1e6:5.0f} MB")
print(f"kept for one image:                    {activations / 1e6:5.0f} MB")
print(f"kept for a batch of 16:                {16 * activations / 1e6:5.0f} MB")
print(f"AdamW's two moments:                   {2 * parameters / 1e6:5.0f} MB")
print(f"only the blocks' inputs, of one image: {inputs / 1e6:5.0f} MB")
print(f"and the largest block, run again:      {by_hand / 1e6:5.0f} MB")

# %% [markdown]
# So with a batch of 16, most of this is what is kept. There are two ways to keep less:
#
# - **Choose what to keep.** `softmax_backward` works from the output alone. `layer_norm_backward` computes mean and
#   deviation a second time rather than keep the normed tokens beside x.
# - **Keep the inputs of the blocks only**, and run each block's forward again just before its backward. That is
#   **gradient checkpointing**: one more forward, for the memory of the last two lines (the block that is being run again
#   keeps its arrays meanwhile). Chapter 10 measures it.

# %% [markdown]
# ### Traps
#
# Bugs that run without an error.
#
# **1. Ones upstream**, and **2. `table_grad[index] += g`**: you saw both above.
#
# **3. Broadcasting is not summed, or summed over the wrong axes.** A bias (c,) is added to tokens (n, l, c). Its
# gradient is the sum over n and l. Here are four tries. In the test all sides are 4; in real life they aren't.

# %%
tries = {
    "sum over n and l": lambda dy: dy.sum(axis=(0, 1)),
    "sum over n and c": lambda dy: dy.sum(axis=(0, 2)),
    "mean over n and l": lambda dy: dy.mean(axis=(0, 1)),
    "not summed": lambda dy: dy,
}
for shape in ((4, 4, 4), (2, 5, 3)):
    dy = rng.normal(size=shape)
    for name, backward in tries.items():
        db = backward(dy)
        add_to_all = lambda b, shape=shape: np.broadcast_to(b, shape)
        right = is_backward(add_to_all, backward, rng.normal(size=shape[-1]))
        fits = "fits " if db.shape == shape[-1:] else "wrong"
        verdict = "right" if right else "WRONG"
        print(f"{shape}  {name:17}  shape {fits}  {verdict}")

# %% [markdown]
# The check: sides that are all **different**, and a comparison of values, not of shapes.
#
# **4. The bias that can't learn.** The gradient of `qkv.bias` has three parts, for q, k and v. One of them:

# %%
for name, part in zip("qkv", np.split(ours.attn.qkv.bias.grad, 3), strict=True):
    print(f"bias of {name}: largest gradient {np.abs(part).max():.1e}")

# %% [markdown]
# A bias of K adds the same to all scores of a query, and softmax doesn't feel that. The gradient is zero but for
# rounding, and that is correct. The trap is in the test: two zeros with other rounding differ by 100 %, and some wrong
# backwards (one off by a factor, say) give zero against zero. `agree` divides by the largest of all numbers that it gets, which is the
# sane thing to do. (In Swin V2, k has no bias; chapter 12.)
#
# **5. In place.** `x += …` needs no new array, and overwrites what somebody has saved. Here the norm keeps a
# reference to x, not a copy, and x changes afterwards:


# %%
class InPlace(SwinTransformerBlock):
    def forward(self, x, grid):
        x = x.copy()  # at least the caller's array stays as it is
        self.save(grid)
        x += self.attend(self.norm1(x), grid)
        x += self.mlp(self.norm2(x))
        return x


x, dy = rng.normal(size=(2, 2, 30, 12))
in_place = InPlace(**sizes).to(np.float64).train()
in_place.load_state_dict(state)
print("forward is the same:", np.array_equal(in_place(x, grid), ours(x, grid)))
wrong, right = in_place.backward(dy), ours.backward(dy)
print(f"dx is off by {np.abs(wrong - right).max() / np.abs(right).max():.0%}")

# %% [markdown]
# The forward is right to the last bit, and the gradient is wrong. PyTorch counts the changes of every tensor, and refuses:

# %%
y = torch.from_numpy(x).requires_grad_() * 1
normed = theirs.norm1(y)
y += normed
try:
    y.sum().backward()
except RuntimeError as error:
    print(str(error).split(": ")[0])

# %% [markdown]
# NumPy has no such guard. The check is the comparison with finite differences; and a backward must leave its dy alone
# too, for a sum may have handed the same array to two branches.
#
# **6. Mean or sum?** The loss is a mean over the batch. Whoever forgets that division gets a gradient that points in the
# right direction and is n times too long; with a batch of one nobody notices.

# %%
for n in (1, 8):
    (logits, v), labels = rng.normal(size=(2, n, 3)), rng.integers(0, 3, n)
    measured = slope(partial(F.cross_entropy, logits, labels), logits, v)
    forgotten = ((F.softmax(logits) - np.eye(3)[labels]) * v).sum()  # not divided by n
    print(f"batch of {n}: gradient / measured slope = {forgotten / measured:.3f}")

# %% [markdown]
# The features are a mean too, over the tokens. To forget *that* division shows with any batch, and it turns the gradient
# of the parameters: what lies before the mean grows, what lies behind it doesn't.

# %%
small = swin_numpy.SwinConfig(
    img_size=32, embed_dim=12, depths=(2,), num_heads=(3,), window_size=4, num_classes=5
)
both = []
for factor in (1, 64):  # 64 tokens
    net = swin_numpy.SwinTransformer(small, seed=1, dtype=np.float64).train()
    pictures = np.random.default_rng(1).normal(size=(1, 3, 32, 32))
    dlogits = F.cross_entropy_backward(net(pictures), np.array([2]))
    net.backward(dlogits)
    both.append(
        np.concatenate(
            [
                p.grad.ravel() * (1 if "head" in name else factor)
                for name, p in net.named_parameters()
            ]
        )
    )
right, forgot = both
print(
    f"cosine of the two gradients: {right @ forgot / np.linalg.norm(right) / np.linalg.norm(forgot):.2f}"
)

# %% [markdown]
# **7. The second path.** y = x + branch(x), and backward only comes back through the branch:


# %%
class OnePath(SwinTransformerBlock):
    def backward(self, dy):
        (grid,) = self.saved
        dy = self.norm2.backward(self.mlp.backward(dy))
        return self.norm1.backward(self.attend_backward(dy, grid))


one_path = OnePath(**sizes).to(np.float64).train()
one_path.load_state_dict(state)
for block in (ours, one_path):
    block.zero_grad()
    block(x, grid)
    block.backward(dy)
right = dict(ours.named_parameters())
for name, p in one_path.named_parameters():
    same = np.allclose(p.grad, right[name].grad)
    print(f"{name:34} {'right' if same else 'WRONG'}")

# %% [markdown]
# The later half of the block is right, for its dy is the one from outside. So a test of the last layers alone passes,
# while all layers before them miss a part of their gradient. The check: **every** parameter, and dx.
#
# **8. Two forwards, one backward.** A module keeps what its **last** forward saved. Call it twice, and the first call's
# values are gone:

# %%
first, second, dy = rng.normal(size=(3, 4, 12))
norm = ours.norm1
norm(first)
expected = norm.backward(dy)
norm(first), norm(second)
print("gradient of the first call:", np.allclose(norm.backward(dy), expected))

# %% [markdown]
# PyTorch keeps a graph for each call, and doesn't have this problem. In `swin_numpy` a backward belongs to the forward
# just before it.

# %% [markdown]
# ## Where to read on
#
# - Rumelhart, Hinton & Williams 1986, *Learning representations by back-propagating errors*. Ba et al. 2016, *Layer
#   Normalization*. Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*: gradient checkpointing. Adebayo et
#   al. 2018, *Sanity Checks for Saliency Maps*: compare with random weights.
# - In this package: `functional.py`, `layers.py`, `window_attention.py`, `block.py` of `swin_numpy`, and
#   `tests/gradients.py`, which holds every backward against autograd and finite differences.
# - Next: chapter 10. With gradients, a model can be trained.
