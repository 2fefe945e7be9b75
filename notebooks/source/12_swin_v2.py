# %% [markdown]
# # 12 · Swin V2
#
# ![The block of Swin V2: attention, norm, a sum, MLP, norm, a sum](../figures/gallery/block_version_2.png)
#
# Swin V2 (Liu et al. 2022) keeps the idea, windows that shift, and changes how a block adds, how it compares tokens and
# where its position bias comes from. Most changes answer something that goes wrong when models get deeper or images
# larger. In this chapter we let it go wrong first, and then look at the change.
#
# **After this chapter you can explain**
#
# - what res-post-norm is, what it holds still, and why it needs cosine attention beside it;
# - where the cosine is, along which axis vectors are normalised, and what the learned scale may do;
# - how a small network makes the bias of any offset, and why it sees offsets on a log scale;
# - what `pretrained_window_sizes` is for, and what it should be when you fine-tune a second time;
# - which biases V2's projections have, and why V1's reason against one for keys no longer holds.

# %% jupyter={"source_hidden": true}
import math
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from lesson import agree, check, side_by_side, solution, there_and_back

import swin_numpy
import swin_torch
from figures import photo_path
from figures.bias import offset_maps
from figures.measure import curves
from swin_numpy import CONFIGS, SwinConfig, functional, relative_coordinates
from swin_numpy.layers import init_weights
from swin_numpy.optim import AdamW
from swin_numpy.pictures.images import load_image, preprocess
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)
from swin_numpy.weights.resize import resize_position_bias
from swin_numpy.window_attention import (
    LOG_100,
    unit_vectors,
    unit_vectors_backward,
)

rng = np.random.default_rng(12)
torch.set_num_threads(1)  # small matrices: more threads would only wait

# %% [markdown]
# ## What changed
#
# | | V1 | V2 | against |
# |---|---|---|---|
# | the norm of a branch | before it | after it, then add: **res-post-norm** | a stream that grows with the weights |
# | a score | $q \cdot k / \sqrt d$ | $\cos(q, k)$ · learned scale: **cosine attention** | a softmax that becomes all or nothing |
# | the position bias | a table | a small network: **continuous bias** | a table that fits one window only |
# | biases of the projections | q, k, v | q, v | |
# | patch merging | norm, then reduce | reduce, then norm | as in the blocks |
#
# Windows, shift, mask, heads, MLP and stages are those of V1. The names of a block's parameters tell the difference:

# %% jupyter={"source_hidden": true}
V1, V2 = swin_numpy.SwinTransformerBlock, swin_numpy.SwinTransformerBlockV2
states = [Block(32, 4, window_size=8).state_dict() for Block in (V1, V2)]
for version, own, other in (("V1", *states), ("V2", *states[::-1])):
    only = [f"{name} {own[name].shape}" for name in own if name not in other]
    print(f"only in {version}:", *only, sep="\n    ")
print("in both:", ", ".join(name for name in states[0] if name in states[1]))

# %% [markdown]
# ## 1 · Res-post-norm
#
# ### Q69: What is res-post-norm, how does it differ from post-norm and from V1, and why does depth need it?
#
# Three orders matter here. $f$ is a branch (attention or MLP), $x$ the residual stream:
#
# | order | formula | the norm sees | the stream |
# |---|---|---|---|
# | post-norm, 2017 | $\mathrm{LN}(x + f(x))$ | the sum | is normed at each step |
# | pre-norm, V1 | $x + f(\mathrm{LN}(x))$ | what goes into the branch | only additions, of **any** size |
# | res-post-norm, V2 | $x + \mathrm{LN}(f(x))$ | what comes out of it | additions of a **set** size (chapter 6 has an exception) |
#
# By hand: a token x, and a branch that is nothing but a number, the size of its weights.

# %% jupyter={"source_hidden": true}
ORDERS = {
    "post-norm": lambda x, norm, f: norm(x + f(x)),
    "pre-norm": lambda x, norm, f: x + f(norm(x)),
    "res-post-norm": lambda x, norm, f: x + norm(f(x)),
}
token, one, zero = np.array([0.0, 0, 4, 4]), np.ones(4), np.zeros(4)
for name, order in ORDERS.items():
    after = [
        order(
            token, lambda v: functional.layer_norm(v, one, zero), lambda v, g=g: g * v
        )
        for g in (1, 10)
    ]
    print(f"{name:14} weights 1: {after[0].round(2)}   weights 10: {after[1].round(2)}")

# %% [markdown]
# In V1 the weights decide how much is added. In V2 the norm does: its own weight and bias, a learned number for each
# channel. The twins, and the block written out with a loop over tokens:

# %%
side_by_side("block.SwinTransformerBlockV2.forward")


# %% jupyter={"source_hidden": true}
def block_by_loop(block, x, grid):
    """x + norm(f(x)) twice, token by token. x (n, l, c)."""
    for f, norm in (
        (lambda v: block.attend(v, grid), block.norm1),
        (block.mlp, block.norm2),
    ):
        x, branch = x.copy(), f(x)
        for t in np.ndindex(x.shape[:2]):
            centred = branch[t] - branch[t].mean()
            deviation = math.sqrt((centred**2).mean() + 1e-5)
            x[t] += norm.weight * centred / deviation + norm.bias
    return x


# %% jupyter={"source_hidden": true}
def twins(numpy_module, torch_module):
    """Both in float64, with the same random parameters: none is 0 or 1 by accident."""
    numpy_module.to(np.float64)
    torch_module.double().eval()
    state = numpy_module.state_dict()
    state = {name: 0.5 * rng.normal(size=value.shape) for name, value in state.items()}
    numpy_module.load_state_dict(state)
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    torch_module.load_state_dict(tensors)
    return numpy_module, torch_module


sizes = dict(dim=12, num_heads=3, window_size=4, shift_size=2)
numpy_block, torch_block = twins(
    V2(**sizes), swin_torch.SwinTransformerBlockV2(**sizes)
)
x, grid = rng.normal(size=(2, 40, 12)), (5, 8)
y = numpy_block(x, grid)
agree("block, loop", y, block_by_loop(numpy_block, x, grid))
agree("block, PyTorch", y, torch_block(torch.tensor(x), grid))

# %% [markdown]
# ### A deep stack
#
# Blocks as deep as Swin-L's, (2, 2, 18, 2), and narrow. All matrices are random: once so that a product is as large as its
# input (gain 1: spread 1 / √inputs; the published start, 0.02, is smaller here), once three times as large. All norms have weight 1. How large are
# the numbers on the stream, block after block?


# %% jupyter={"source_hidden": true}
class DotProduct(swin_torch.WindowAttentionV2):
    """V2's attention in everything but the score."""

    def compare(self, q, k):
        return q @ k.mT / q.shape[-1] ** 0.5


def deep(version, gain, score=None, scale=10):
    """A narrow model as deep as Swin-L, with random weights."""
    config = SwinConfig(
        embed_dim=32, depths=(2, 2, 18, 2), num_heads=(2, 4, 8, 16), version=version
    )
    model = swin_torch.SwinTransformer(config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.ones_(value)
        elif value.ndim == 2 and not ("cpb" in name or "table" in name):
            spread = gain / value.shape[1] ** 0.5
            torch.nn.init.normal_(value, std=spread, generator=generator)
    for block in [block for stage in model.layers for block in stage.blocks]:
        if version == 2:
            block.attn.logit_scale.data.fill_(math.log(scale))
        if score is not None:
            block.attn.__class__ = score
    return model


def walk(model, images, order):
    """The stream before the first and after each block, every block in the order wanted."""
    x, grid = model.embed(images)
    stream = [x]
    for stage in model.layers:
        for block in stage.blocks:
            x = order(x, block.norm1, lambda v, b=block, g=grid: b.attend(v, g))
            x = order(x, block.norm2, block.mlp)
            stream.append(x)
        if stage.downsample is not None:
            x, grid = stage.downsample(x, grid)
    return stream


def spreads(model, images, order):
    """Spread of the stream, and of its gradient, after 0, 1, 2, … blocks."""
    stream = walk(model, images, order)
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(stream[-1].shape, generator=generator)
    gradients = torch.autograd.grad(stream[-1], stream, upstream)
    return [v.std().item() for v in stream], [g.std().item() for g in gradients]


photo = torch.tensor(preprocess(load_image(photo_path("chelsea")), 224))
DESIGNS = {
    "V1: pre-norm": (1, "pre-norm", None),
    "post-norm": (1, "post-norm", None),
    "res-post-norm, dot product": (2, "res-post-norm", DotProduct),
    "V2: res-post-norm, cosine": (2, "res-post-norm", None),
}
forward, backward = {1: {}, 3: {}}, {1: {}, 3: {}}
for gain in (1, 3):
    for name, (version, order, score) in DESIGNS.items():
        found = spreads(deep(version, gain, score), photo, ORDERS[order])
        forward[gain][name], backward[gain][name] = found
plots = {f"spread of the stream, gain {gain}": forward[gain] for gain in (1, 3)}
curves(plots, "blocks passed", logy=True)

# %% [markdown]
# (The steps down are patch merging; the two lines of res-post-norm lie on each other.) **V1**'s stream follows the weights: with weights three times as large, its end is
# many times as large. **V2**'s is nearly the same in both plots. It grows as well, since each branch adds something of
# spread 1: the matrices can't make an addition larger, only let additions agree more or less. Depth alone (gain 1) makes
# both grow alike. The paper saw V1's amplitudes differ by $10^4$ between layers of a large model, and one of 658 million
# parameters fail in training (Liu et al. 2022, section 3.1). What it needs cosine attention for shows on the way back, in
# the gradients: "The way back" in the second half.

# %% [markdown]
# **12.4** V2's block. `attend`, `norm1`, `mlp` and `norm2` are functions of the tokens.


# %%
def block_v2(x, norm1, attend, norm2, mlp):
    """x (n, l, c) → (n, l, c), res-post-norm."""
    ...


check("12.4", block_v2)

# %%
solution("12.4")

# %% [markdown]
# ## 2 · Cosine attention
#
# The cosine of two vectors is their dot product after both are brought to length 1:
#
# $$\cos(q, k) = \frac{q \cdot k}{\lVert q \rVert\, \lVert k \rVert} \in [-1, 1], \qquad
# \text{score} = \frac{\cos(q, k)}{\tau} + B$$
#
# It measures the angle only. By hand, with a query (3, 4), which has length 5:

# %% jupyter={"source_hidden": true}
query = np.array([3.0, 4.0])
for key in ([6, 8], [4, -3], [-3, -4], [60, 80]):
    dot = query @ key
    lengths = np.linalg.norm(query) * np.linalg.norm(key)
    print(f"key {key!s:9} dot {dot:6.0f}   cosine {dot / lengths:5.1f}")

# %% [markdown]
# The first and the last key point the same way. The dot product finds one ten times better; to the cosine they are
# equal. One window and one head, as a loop:


# %% jupyter={"source_hidden": true}
def cosine_attention_by_loop(q, k, v, scale, bias):
    """q, k, v (m, d), scale a number, bias (m, m) → (m, d)."""
    z = np.zeros(v.shape)
    for i in range(len(q)):
        scores = np.empty(len(k))
        for j in range(len(k)):
            lengths = math.sqrt(sum(q[i] ** 2)) * math.sqrt(sum(k[j] ** 2))
            scores[j] = scale * sum(q[i] * k[j]) / lengths + bias[i, j]
        weights = np.exp(scores - scores.max())
        z[i] = weights @ v / weights.sum()
    return z


# %%
side_by_side("window_attention.WindowAttentionV2.compare")
side_by_side("window_attention.WindowAttentionV2.learned_scale")

# %% jupyter={"source_hidden": true}
sizes = dict(dim=12, window_size=3, num_heads=2)
attention, torch_attention = twins(
    swin_numpy.WindowAttentionV2(**sizes), swin_torch.WindowAttentionV2(**sizes)
)
x = rng.normal(size=(2, 4, 9, 12))  # (n, k, m, c)
y = attention(x)
agree("NumPy and PyTorch", y, torch_attention(torch.tensor(x)))

q, k, v = attention.project(x)
scale, bias = np.exp(attention.logit_scale.ravel()), attention.relative_position_bias()
z = np.empty(q.shape)
for image, window, head in np.ndindex(q.shape[:3]):
    at = image, window, head
    z[at] = cosine_attention_by_loop(q[at], k[at], v[at], scale[head], bias[head])
z = rearrange(z, "n k a m d -> n k m (a d)")
agree("library and loop", y, z @ attention.proj.weight.T + attention.proj.bias)

# %% [markdown]
# ### Features grow, attention doesn't sharpen
#
# Take random queries and keys for one window of 49 tokens, and make them larger. How sharp do the attention weights
# get? **Entropy** says how many keys a query looks at: log 49 if at all of them alike, 0 if at a single one.


# %% jupyter={"source_hidden": true}
def entropy(scores):
    weights = functional.softmax(scores)
    return -(weights * np.log(np.maximum(weights, 1e-300))).sum(-1).mean()


powers = np.arange(0, 7)
q49, k49 = rng.normal(size=(2, 49, 32))
dot, cosine, largest = [], [], []
for factor in 2.0**powers:
    large_q, large_k = factor * q49, factor * k49
    scores = large_q @ large_k.T / math.sqrt(32)
    largest.append(np.abs(scores).max())
    dot.append(entropy(scores))
    cosine.append(entropy(10 * unit_vectors(large_q) @ unit_vectors(large_k).T))
print("largest dot-product score:", *(f"{s:.0f}" for s in largest))
series = {"dot product": dot, "cosine · 10": cosine, "all keys alike": [np.log(49)] * 7}
curves(series, "features × 2 to the power of", "entropy of the weights", x=powers)

# %% [markdown]
# Twice the features, four times the dot product: after a few doublings each query looks at one key only. (In V1 only
# the weights can do that, for a norm stands before them; in res-post-norm the stream can, too.) The cosine doesn't
# notice. Beside directions and bias, how sharp attention gets is left to one number, the learned
# scale of each head. It starts at 10 and is at most
# 100 (Q71).

# %% [markdown]
# **12.2** Scores of cosine attention, for any number of axes in front. `bias` is (i, j).


# %%
def cosine_scores(q, k, logit_scale, bias):
    """q (..., i, d), k (..., j, d), logit_scale a number → (..., i, j)."""
    ...


check("12.2", cosine_scores)

# %%
solution("12.2")

# %% [markdown]
# ## 3 · A bias for any offset
#
# V1 learns a table with one number for each offset and head. A window of 16 has offsets that a window of 8 doesn't have.
# The table then gets stretched by bicubic interpolation (chapter 11). V2 learns a **function** instead: a small network
# that takes an offset and gives its bias, for offsets that it never saw as well.

# %% [markdown]
# The network doesn't see the offset $\Delta$ as it is. It is divided by the largest offset of the window that the network was
# trained at, $M' - 1$, multiplied by 8, and put on a log scale (the log is section 3.3's; the dividing and the 8 are
# in the code only, `models/swin_transformer_v2.py`):
#
# $$\widehat{\Delta} = \operatorname{sign}(x) \, \frac{\log_2(1 + |x|)}{\log_2 8}, \qquad x = 8 \cdot \frac{\Delta}{M' - 1}$$


# %%
def coordinate(offset, trained_at):
    x = 8 * offset / (trained_at - 1)
    return math.copysign(math.log2(1 + abs(x)) / math.log2(8), x)


# %% jupyter={"source_hidden": true}
offsets = np.arange(-15, 16)
log_line = np.array([coordinate(offset, 8) for offset in offsets])
told = {"offset / 7": offsets / 7, "V2: log-spaced": log_line}
marks = {"known from −7": -7, "to 7": 7}
curves(told, "offset in tokens", "coordinate", x=offsets, marks=marks)

# %% [markdown]
# Between the dotted lines lies what window 8 knows. Beyond, the straight line goes on as steeply as before; the log
# line rises only a little more: to the network, far offsets look more like those at the rim that it knows. Near the
# centre it is the other way round: the step from offset 0 to 1 is longer than the one from 6 to 7.
#
# Two numbers go in for each offset, 512 hidden ones, and one comes out for each head; 16 · sigmoid keeps it between 0 and 16:

# %%
side_by_side("window_attention.WindowAttentionV2.relative_position_bias")


# %% [markdown]
# ### From window 8 to window 16, against a known answer
#
# We need a bias of which we know what is right at any offset. Take one that is largest at offset 0 and falls more slowly
# along a row than along a column. V1's table and V2's network both learn it at window 8. Then both are asked for window 16:
# the table by bicubic interpolation, the network for offsets up to 15, log-spaced; and, for comparison, a network that was
# trained with offset / 7. Below, the root of the mean squared error; networks are averaged over three seeds.


# %% jupyter={"source_hidden": true}
def on_offsets(M, function):
    """function(rows, columns) of all offsets of a window, in the order of the table."""
    offsets = np.arange(1.0 - M, M)
    return function(
        *(part.ravel() for part in np.meshgrid(offsets, offsets, indexing="ij"))
    )


def truth(rows, columns):
    near = 6 * np.exp(-np.hypot(rows, columns) / 3)
    return near + 1.5 * np.exp(-np.abs(rows) / 2) - 1.5 * np.exp(-np.abs(columns) / 2)


def in_pairs(table, M):
    """One number for each offset → (i, j)."""
    return table[swin_numpy.relative_position_index(M)]


def stretched(rows, columns):
    return truth(rows * 7 / 15, columns * 7 / 15)


targets = {M: in_pairs(on_offsets(M, truth), M) for M in (8, 16, 24)}


def error(bias, target):
    """Root of the mean squared difference; a constant doesn't count."""
    gap = bias - target
    return (gap - gap.mean()).std()


def learn(attn, target, steps=300, lr=0.01):
    """Train what makes the bias of `attn` until it gives `target` (i, j)."""
    optimizer = AdamW(attn.train().named_parameters(), lr)
    for step in range(steps):
        optimizer.lr = lr * (1 - step / steps)
        gap = attn.relative_position_bias()[0] - target
        gap -= gap.mean()
        attn.zero_grad()
        attn.relative_position_bias_backward(2 * gap[None] / gap.size)
        optimizer.step()
    return attn


def divided_by_7(M):
    return on_offsets(M, lambda rows, columns: np.stack([rows, columns], axis=1) / 7)


def network(M, coords, state=None, seed=0):
    """V2's attention at window M that sees the offsets as `coords`."""
    attn = swin_numpy.WindowAttentionV2(4, M, 1).to(np.float64)
    init_weights(attn, seed)
    if state is not None:
        attn.load_state_dict(state)
    attn.relative_coords_table = coords
    return attn


table = learn(swin_numpy.WindowAttention(4, 8, 1).to(np.float64), targets[8], lr=0.1)


def learned_at_8(target):
    """{name: state dicts of three networks} that have learned `target` at window 8."""
    kinds = {"log-spaced": relative_coordinates(8), "offset / 7": divided_by_7(8)}
    return {
        name: [
            learn(network(8, coords, seed=seed), target).state_dict()
            for seed in range(3)
        ]
        for name, coords in kinds.items()
    }


nets = learned_at_8(targets[8])


def candidates(M):
    """{name: biases (i, j) for window M}: one table, three networks of each kind."""
    table_M = resize_position_bias(table.relative_position_bias_table, M)[:, 0]
    found = {"V1, bicubic": [in_pairs(table_M, M)]}
    for name, coords in (
        ("log-spaced", relative_coordinates(M, 8)),
        ("offset / 7", divided_by_7(M)),
    ):
        asked = [network(M, coords, net) for net in nets[name]]
        found[name] = [attn.relative_position_bias()[0] for attn in asked]
    return found


def known_pairs(M):
    """(i, j) of bool: an offset that window 8 has as well."""
    farthest = on_offsets(M, lambda rows, columns: np.maximum(abs(rows), abs(columns)))
    return in_pairs(farthest, M) < 8


# %% jupyter={"source_hidden": true}
ways = {M: candidates(M) for M in (8, 16, 24)}
errors = {}
print("mean error      window 8    window 16: known, all    window 24: known, all")
for name in ways[8]:
    for M, biases in ways.items():
        inside = known_pairs(M)
        of_known = [error(bias[inside], targets[M][inside]) for bias in biases[name]]
        of_all = [error(bias, targets[M]) for bias in biases[name]]
        errors[name, M] = np.mean(of_known), np.mean(of_all)
    (_, at_8), at_16, at_24 = (errors[name, M] for M in (8, 16, 24))
    print(
        f"{name:12}{at_8:12.3f}{at_16[0]:18.3f}{at_16[1]:7.3f}{at_24[0]:18.3f}{at_24[1]:7.3f}"
    )


def as_map(bias, M):
    """(i, j) → a map of the offsets, the largest bias at 0."""
    table = np.empty((2 * M - 1) ** 2)
    table[swin_numpy.relative_position_index(M)] = bias
    return table.reshape(2 * M - 1, 2 * M - 1) - bias.max()


middles = [
    as_map(ways[M]["log-spaced"][0], M)[M - 8 : M + 7, M - 8 : M + 7] for M in ways
]
assert np.allclose(middles[0], middles[1]) and np.allclose(middles[0], middles[2])
maps = {
    "truth, window 8": as_map(targets[8], 8),
    "truth, window 16": as_map(targets[16], 16),
}
maps |= {f"{name}, 16": as_map(biases[0], 16) for name, biases in ways[16].items()}
offset_maps(maps, known=7, columns=3, label="bias, its maximum set to 0")

# %% [markdown]
# The frame holds the offsets that window 8 has ("known" in the table).
#
# - **Bicubic** gets the known offsets wrong, though the table had them: it stretches the whole table, so what was learned
#   for offset 7 is now said of offset 15.
# - **The network** says of a known offset what it said before, in any window (the cell checks it; the errors differ
#   since far offsets are rarer pairs in a small window). What it says of new offsets is a guess, and over all offsets
#   log-spaced coordinates come out no better here. This is one truth and three networks of each kind. The paper's table 1
#   compares whole trained models; there the log scale is ahead.
#
# Is bicubic *wrong*? That depends on what a bias means: "three tokens to the left", or "a third of the way to the edge"
# ("What stretching is right for", under "Deeper").

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### The way back
#
# The deep stack again. If V2's additions have nothing to do with each other, their variances add up: after k blocks,
# √(1 + 2k). Patch merging ends with a norm and brings the stream back to 1. So within a stage one can roughly predict it:

# %%
seen = forward[3]["V2: res-post-norm, cosine"]
for name, first, depth in (("stage 1", 0, 2), ("stage 3", 4, 18), ("stage 4", 22, 2)):
    expected = math.sqrt(1 + 2 * depth)
    print(f"end of {name}: expected {expected:.2f}, seen {seen[first + depth]:.2f}")
    assert abs(seen[first + depth] / expected - 1) < 0.3
print(f"\n{'':28} gain 1    gain 3   (end of stage 3 / start)")
for name in DESIGNS:
    a, b = (forward[gain][name][22] / forward[gain][name][0] for gain in (1, 3))
    print(f"{name:28}{a:7.2f} {b:9.2f}")

# %% [markdown]
# (Stage 3 ends after 22 blocks.) V2's is **not** always the smaller stream: with gain 1 it is a little larger than V1's.
# What it gives is a bound: with norm weights of 1 and biases of 0, $k$ blocks of a stage bring the stream to $1 + 2k$ at most, however large
# the matrices. Now the gradients, from the end of the model to its start. The two
# rows of res-post-norm differ in the score and in nothing else:

# %%
print(f"{'spread of the gradient':28} gain 1     gain 3")
for name in DESIGNS:
    print(f"{name:28}{backward[1][name][0]:7.3f} {backward[3][name][0]:10.3g}")

# %% [markdown]
# With larger weights, **res-post-norm with dot products explodes** on the way back, far more than the two older
# orders (one draw of the weights). Its branches read the stream without a norm in front, so queries and keys are as large as stream times
# weights, and a dot product has one of each. (The older orders also norm first in patch merging.) With the cosine in
# its place, and nothing else changed, it is quiet.
#
# Quiet at a scale of 10, that is, where training starts. The cosine takes the size of features and weights out of the score
# and leaves one number for each head. What that number does:

# %%
print("scale    spread of the gradient at the start, at the end of the model")
for scale in (10, 30, 100):
    gradients = spreads(deep(2, 1, scale=scale), photo, ORDERS["res-post-norm"])[1]
    print(f"{scale:5} {gradients[0]:14.3g} {gradients[-1]:10.3g}")

# %% [markdown]
# So cosines alone don't forbid an explosion: a model whose heads all had the largest scale would have one. Q71 has more
# on the scale.

# %% [markdown]
# ### A block that starts as nothing
#
# In the published initialisation (`_init_respostnorm` in `models/swin_transformer_v2.py`) the weights and biases of norm1 and
# norm2 are 0, so a branch adds exactly 0: a
# fresh V2 block is the identity.

# %%
fresh_block = V2(32, 4, window_size=7)
init_weights(fresh_block, seed=0)
x = rng.normal(size=(1, 49, 32)).astype(np.float32)
print("norm weights:", np.unique(fresh_block.norm1.weight), end="; ")
print("output = input:", np.array_equal(fresh_block(x, (7, 7)), x))

# %% [markdown]
# ### A few steps of real training
#
# Twelve blocks of 32 channels, Fashion-MNIST, 60 steps of 16 images, the same learning rate for both versions.

# %%
data = fashion_mnist(SUBSET, "train")
small = SwinConfig(
    img_size=28,
    patch_size=4,
    in_chans=1,
    num_classes=10,
    embed_dim=32,
    depths=(12,),
    num_heads=(2,),
    drop_path_rate=0,
    pretrained_window_sizes=(0,),
)


def train(version, steps=60, lr=2e-3):
    model = swin_torch.SwinTransformer(replace(small, version=version), seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    losses, draw = [], np.random.default_rng(0)
    for step in range(steps):
        rows = draw.integers(0, len(data.images), 16)
        images = torch.from_numpy(standardise(data.images[rows]))
        labels = torch.from_numpy(data.labels[rows])
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 15)
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()
        losses.append(loss.item())
    return model.eval(), losses


# %%
images = torch.from_numpy(standardise(data.images[:64]))
trained, lines = {}, {}
for version, order in ((1, "pre-norm"), (2, "res-post-norm")):
    trained[version], losses = train(version)
    lines[f"V{version}"] = spreads(trained[version], images, ORDERS[order])[0]
    thirds = [f"{np.mean(losses[i : i + 20]):.2f}" for i in (0, 20, 40)]
    print(f"V{version}: mean loss of each 20 steps:", *thirds)
weights = [b.norm1.weight.abs().max().item() for b in trained[2].layers[0].blocks]
print(f"V2's norm weights began at 0; now the largest is {max(weights):.2f}")
curves({"spread of the stream after 60 steps": lines}, "blocks passed", logy=True)

# %% [markdown]
# V2's blocks began at nothing, and training lets the branches in. (One seed, one learning rate and 60 steps say
# nothing about which model is the better one in the end.)

# %% [markdown]
# ### Not the same weights
#
# All three orders have the same parameters. So the weights of one load into another without complaint. Here is this
# project's trained V1 model, its blocks run in each order, on the first 300 test images:

# %%
ours = swin_torch.SwinTransformer.from_checkpoint(TRAINED).eval()
test = fashion_mnist(SUBSET, "test")
images, labels = torch.from_numpy(standardise(test.images[:300])), test.labels[:300]
right = {}
for name, order in ORDERS.items():
    with torch.inference_mode():
        x = walk(ours, images, order)[-1]
        answers = ours.head(ours.norm(x).mean(dim=1)).argmax(dim=1).numpy()
    right[name] = (answers == labels).mean()
    print(f"{name:14} {right[name]:.0%} right")
assert right["pre-norm"] > 0.85 > max(right["post-norm"], right["res-post-norm"]) + 0.2

# %% [markdown]
# ### Q68: Where is the cosine, and on which axis is F.normalize taken?
#
# The code has no `cos`. It brings queries and keys to length 1 and multiplies: that *is* the cosine. The length is
# taken over **the channels of one head**, d, the last axis. PyTorch has both ways, so compare. The official code says
# `F.normalize(q, dim=-1)` (`models/swin_transformer_v2.py`); ours is called `unit_vectors`.

# %%
side_by_side("window_attention.unit_vectors")
side_by_side("window_attention.lengths")

# %%
q_torch, k_torch = torch.tensor(q), torch.tensor(k)
cosines = unit_vectors(q) @ unit_vectors(k).mT  # (n, k, a, i, j)
pairwise = torch.nn.functional.cosine_similarity(
    q_torch[..., :, None, :], k_torch[..., None, :, :], dim=-1
)
agree("unit vectors and cosine_similarity", cosines, pairwise)
agree(
    "unit vectors and F.normalize",
    unit_vectors(q),
    torch.nn.functional.normalize(q_torch, dim=-1),
)
print(f"cosines from {cosines.min():.3f} to {cosines.max():.3f}")

# %% [markdown]
# With heads of one channel there is no angle left. A number brought to length 1 is its sign, and all cosines are +1
# or -1:

# %%
narrow = unit_vectors(rng.normal(size=(5, 1))) @ unit_vectors(rng.normal(size=(5, 1))).T
print(narrow)

# %% [markdown]
# **The wrong axis.** `F.normalize` has a default, and it is `dim=1`. That is right for (n, c), and wrong here: axis 1 of
# (n, k, a, m, d) counts windows. Nothing fails; all shapes are right. We try all five axes, and ask two questions: are
# the scores within -1 and 1? And if we change one token of window 3, does another window notice?


# %%
def scores_along(axis, q, k):
    q, k = (
        vectors / np.linalg.norm(vectors, axis=axis, keepdims=True)
        for vectors in (q, k)
    )
    return q @ k.mT


poked = q.copy()
poked[0, 3, :, 0] += 1  # image 0, window 3, all heads, token 0
changed_within = np.zeros(cosines.shape, bool)
changed_within[0, 3, :, 0] = True  # this row of scores may change, no other
for axis, name in enumerate(("image", "window", "head", "token", "channel")):
    before, after = scores_along(axis, q, k), scores_along(axis, poked, k)
    leaks = (np.abs(before - after) > 1e-12)[~changed_within].mean()
    print(
        f"axis {axis} ({name:7}) largest |score| {np.abs(before).max():4.2f}", end="   "
    )
    print(f"scores that must not change, but do: {leaks:.0%}")
    fine = leaks == 0 and np.abs(before).max() <= 1
    assert fine == (name == "channel")

# %% [markdown]
# Only the last axis passes both. Along images, windows or tokens, one image, window or token changes the scores of
# others. Along the heads nothing leaks to another window, but what comes out is no cosine.

# %% [markdown]
# ### A weight of 1 or 0 has no gradient
#
# The typical gradient of a score, for the random queries and keys of section 2:

# %%
for name, scores in (
    ("dot product", q49 @ k49.T / math.sqrt(32)),
    ("dot product, × 64", 64**2 * q49 @ k49.T / math.sqrt(32)),
    ("cosine · 10, × 64", 10 * unit_vectors(64 * q49) @ unit_vectors(64 * k49).T),
):
    weights = functional.softmax(scores)
    slope = functional.softmax_backward(rng.normal(size=weights.shape), weights)
    print(f"{name:18} typical gradient of a score {np.median(np.abs(slope)):.1e}")

# %% [markdown]
# And the backward of the new step. A longer vector has the same direction, so the part of the gradient that points
# *along* x is lost; and the longer x is, the less a step of a given size turns it:

# %%
there_and_back("window_attention.unit_vectors")

# %%
vectors, upstream = rng.normal(size=(2, 5, 4))
gradient = unit_vectors_backward(upstream, vectors)
print("along x:     ", np.vecdot(gradient, vectors).round(15) + 0.0)
longer = unit_vectors_backward(upstream, 10 * vectors)
agree("x ten times longer, gradient ten times smaller", 10 * longer, gradient)

# %% [markdown]
# So however large the stream gets, what comes back through a cosine shrinks by as much. The scale multiplies it again.

# %% [markdown]
# **12.3** The backward of bringing vectors to length 1.


# %%
def unit_backward(dy, x):
    """y = x / |x| over the last axis; dy, x (..., d) → dx (..., d)."""
    ...


check("12.3", unit_backward)

# %%
solution("12.3")

# %% [markdown]
# ### Q71: Why is the cosine multiplied by a learned scale with an upper limit of 100?
#
# *Multiplied*, because cosines lie between -1 and 1, and a softmax of such numbers is nearly flat. *Learned*, for each head,
# so that one head may look at a few keys and another at all. *Limited*, because a softmax gets steeper with its scale. For a
# window of 64 keys and vectors of 32 channels:

# %%
q64, k64 = unit_vectors(rng.normal(size=(2, 64, 32)))
print("        a key can get   keys that count,   two keys whose cosines     gradient")
print(
    "scale   at most         random vectors     differ by 0.05: ratio      of a cosine"
)
for scale in (1, 10, 30, 100):
    most = 1 / (1 + 63 * math.exp(-2 * scale))  # cosine 1; all others -1
    weights = functional.softmax(scale * q64 @ k64.T)
    keys = math.exp(entropy(scale * q64 @ k64.T))
    upstream = rng.normal(size=weights.shape)
    slope = scale * functional.softmax_backward(upstream, weights).std()
    ratio = math.exp(0.05 * scale)
    print(f"{scale:5} {most:11.1%} {keys:18.1f} {ratio:21.2f} {slope:19.2f}")

# %% [markdown]
# Without a scale, no key of 64 could get more than about a tenth of the weight, whatever the network learns (but for the
# bias). At 100, tiny differences of direction decide, and each head passes back larger gradients.
#
# The code (`models/swin_transformer_v2.py`) learns `logit_scale` = log(1/τ), so the scale is positive and a step changes it
# by a percentage. It starts at log 10
# and is clamped: scale = exp(min(logit_scale, log 100)). The paper says only that τ is larger than 0.01 (section 3.2). CLIP
# has the same limit and gives a reason: larger scales made its training unstable (Radford et al. 2021, section 2.5). With
# the bias, which is between 0 and 16, a score lies between -100 and 116.


# %%
def scale_of(logit_scale):
    return np.exp(np.minimum(logit_scale, LOG_100))


places = np.linspace(1, 6, 101)
slopes = [(scale_of(p + 1e-6) - scale_of(p - 1e-6)) / 2e-6 for p in places]
plots = {"scale": {"": scale_of(places)}, "its gradient (measured)": {"": slopes}}
marks = {"log 10": np.log(10), "log 100": LOG_100}
curves(plots, "logit_scale", x=places, marks=marks)

# %% [markdown]
# On the right: above log 100 the gradient is **zero**. A head that got there isn't brought back by its loss. (Nor by
# weight decay: `logit_scale` is left out of it.) The whole attention, measured; the second head is beyond the clamp:


# %% jupyter={"source_hidden": true}
def slope_along(loss, value, direction, h=1e-5):
    """How fast loss() grows when `value`, an array, moves along `direction`."""
    start, sides = value.copy(), []
    for sign in (1, -1):
        value[...] = start + sign * h * direction
        sides.append(loss())
    value[...] = start
    return (sides[0] - sides[1]) / (2 * h)


attention.train()
attention.logit_scale[...] = np.log([[[7.0]], [[300.0]]])
x = rng.normal(size=(2, 4, 9, 12))
dy = rng.normal(size=x.shape)
attention(x)
attention.zero_grad()
dx = attention.backward(dy)
print("gradient of logit_scale:", attention.logit_scale.grad.ravel())

# %% jupyter={"source_hidden": true}
loss = lambda: (dy * attention(x)).sum()
for name, value in [*attention.named_parameters(), ("input", x)]:
    gradient = dx if name == "input" else value.grad
    direction = rng.normal(size=value.shape)
    measured = slope_along(loss, value, direction)
    agree(name, measured, (gradient * direction).sum(), 1e-5)

# %% [markdown]
# **12.1** The scale of a head from its parameter, with the clamp.


# %%
def scale_from(logit_scale):
    """An array of any shape → the factors that cosines are multiplied with."""
    ...


check("12.1", scale_from)

# %%
solution("12.1")

# %% [markdown]
# ### Biases of q and v, none of k
#
# For dot products a bias b of the keys does nothing: $q \cdot (k + b) = q \cdot k + q \cdot b$, and the second part is the
# same for all keys of a query. Softmax doesn't see what is added to a whole row. With cosines b turns the keys and
# changes their lengths, and that argument is gone:

# %%
b = rng.normal(size=32)
for name, scores in (
    ("dot product", lambda k: q49 @ k.T / math.sqrt(32)),
    ("cosine · 10", lambda k: 10 * unit_vectors(q49) @ unit_vectors(k).T),
):
    without, with_b = (functional.softmax(scores(k)) for k in (k49, k49 + b))
    print(f"{name}: largest change of a weight {np.abs(with_b - without).max():.2g}")

# %% [markdown]
# So V1's k bias is there and useless (chapter 1), and V2's might be useful and isn't there. The paper doesn't
# discuss it. What matters in practice: V2 files (Microsoft's `models/swin_transformer_v2.py`) hold `q_bias` and `v_bias`, no `qkv.bias`. A library that has one bias for all
# three must keep the middle third at zero, **also in training**, or it trains another model.

# %%
side_by_side("window_attention.WindowAttentionV2.project")

# %% [markdown]
# ### The coordinates, step by step
#
# Going from window 8 to 16, offsets go from at most 7 to at most 15. The part that is new, measured by what was known:

# %%
known, new = 8 - 1, 16 - 1
plain_ratio = (new - known) / known
log_known, log_new = math.log(1 + known), math.log(1 + new)
print(
    f"offsets as they are:   {known} → {new}, new part {plain_ratio:.2f} of the known"
)
log_ratio = (log_new - log_known) / log_known
print(f"log(1 + offset): {log_known:.3f} → {log_new:.3f}, new part {log_ratio:.2f}")

# %% [markdown]
# These are the paper's 1.14 and 0.33 (section 3.3). With its code's division by 7 and factor 8:

# %%
within, beyond = coordinate(7, 8), coordinate(15, 8)
print(f"{within:.3f} → {beyond:.3f}, new part {(beyond - within) / within:.2f}")


# %%
def table_by_loop(window, trained_at):
    offsets = range(1 - window, window)
    return [
        (coordinate(row, trained_at), coordinate(column, trained_at))
        for row in offsets
        for column in offsets
    ]


for window, trained_at in ((3, 3), (8, 8), (16, 8)):
    loop = table_by_loop(window, trained_at)
    found = relative_coordinates(window, trained_at)
    twin = swin_torch.relative_coordinates(window, trained_at)
    agree(f"window {window}, trained at {trained_at}", found, loop, 1e-7)
    assert np.abs(twin.numpy() - found).max() < 1e-6

# %%
side_by_side("windows.log_spaced")
side_by_side("windows.relative_coordinates")

# %% [markdown]
# ### The small network and its 16 · sigmoid


# %%
def bias_by_loop(state, window, trained_at):
    """One head: B (i, j) from the parameters of the small network."""
    B = np.empty((window**2, window**2))
    for i, j in np.ndindex(B.shape):
        offset = np.subtract(divmod(i, window), divmod(j, window))
        seen = np.float32([coordinate(step, trained_at) for step in offset])
        hidden = state["cpb_mlp.0.weight"] @ seen + state["cpb_mlp.0.bias"]
        answer = state["cpb_mlp.2.weight"][0] @ np.maximum(hidden, 0)  # ReLU
        B[i, j] = 16 / (1 + math.exp(-answer))
    return B


B = attention.relative_position_bias()
agree("head 0, loop", B[0], bias_by_loop(attention.state_dict(), 3, 3), 1e-6)
tensors = {n: torch.tensor(value) for n, value in attention.state_dict().items()}
torch_attention.load_state_dict(tensors)
agree("both heads, PyTorch", B, torch_attention.relative_position_bias())

# %% [markdown]
# How many parameters does it take? The table's number depends on the window, the network's on the heads only:

# %%
print("heads  network   table of window 7, 8, 16, 24")
for heads in CONFIGS["swinv2_tiny_patch4_window8_256"].num_heads:
    numbers = (2 * 512 + 512) + 512 * heads
    tables = [(2 * M - 1) ** 2 * heads for M in (7, 8, 16, 24)]
    print(f"{heads:5} {numbers:8,}  ", *(f"{size:8,}" for size in tables))

# %% [markdown]
# Why 16 · sigmoid at the end, and not the network's answer as it is? The paper's formulas don't have it, only the code
# (`models/swin_transformer_v2.py`). Two
# things can be computed. First, it bounds: a network of straight pieces (ReLU) can go on growing beyond what it knows,
# 16 · sigmoid stays between 0 and 16. Second, the 16 leaves enough room: a bias of 16 more makes a key's weight
# millions of times larger. (That all biases are positive means nothing. Softmax doesn't see a constant: 0 … 16 is as
# good as -8 … 8, and an untrained network gives about 8 everywhere.)

# %%
fresh = swin_numpy.WindowAttentionV2(4, 8, 1).to(np.float64)
init_weights(fresh, seed=0)
B = fresh.relative_position_bias()
print(f"fresh network: biases from {B.min():.2f} to {B.max():.2f}")
print(f"exp(16) = {math.exp(16):,.0f}")

# %% [markdown]
# ### Whom the log scale helps
#
# In section 3 the log-spaced networks fit the known offsets better. Is the log scale better, then? Our truth has its detail at
# the centre, where log-spaced coordinates have more room. Turn it inside out, so that the detail is at the rim:


# %%
def inside_out(rows, columns):
    return truth(7 - abs(rows), 7 - abs(columns))


at_rim = in_pairs(on_offsets(8, inside_out), 8)
print("error at window 8     detail at the centre   detail at the rim")
rim_nets = learned_at_8(at_rim)
for name, coords in (
    ("log-spaced", relative_coordinates(8)),
    ("offset / 7", divided_by_7(8)),
):
    found = []
    for states, target in ((nets[name], targets[8]), (rim_nets[name], at_rim)):
        fits = [network(8, coords, s).relative_position_bias()[0] for s in states]
        found.append([error(bias, target) for bias in fits])
    spans = [f"{min(e):.3f} to {max(e):.3f}" for e in found]
    print(f"{name:12} {spans[0]:>25} {spans[1]:>22}")

# %% [markdown]
# (Smallest and largest of three seeds.) The log scale is a bet on where the detail of a bias is: near the query. With the
# detail at the rim, the bet is lost.

# %% [markdown]
# ### What stretching is right for
#
# The other meaning of a bias: "as far as the edge of the window". The truth is stretched like the picture; who is right now?

# %%
goal = in_pairs(on_offsets(16, stretched), 16)
print("error against the stretched truth, window 16")
for name, biases in ways[16].items():
    print(f"{name:24} {np.mean([error(bias, goal) for bias in biases]):.3f}")
stretching = [network(16, relative_coordinates(16), net) for net in nets["log-spaced"]]
found = [error(attn.relative_position_bias()[0], goal) for attn in stretching]
print(f"log-spaced, 0 instead of 8 {np.mean(found):.3f}")

# %% [markdown]
# Look at the last line. The same network can do either, and a single number decides: that by which offsets are divided.

# %% [markdown]
# ### Q70: What are the pretrained window sizes for, and what should they be when fine-tuning a fine-tuned model?
#
# `pretrained_window_sizes` is that number, $M'$, one for each stage: **the window whose scale the network has learned**.
# 0 stands for "the same as the window". It changes neither a shape nor a parameter, so loading doesn't notice a wrong one,
# unless the file also holds the table of coordinates. Along a row of
# window 16, from a network that was trained at window 8:

# %%
net = nets["log-spaced"][0]
lines = {"truth": targets[16]}
for trained_at in (8, 16):
    attn = network(16, relative_coordinates(16, trained_at), net)
    lines[f"M' = {trained_at}"] = attn.relative_position_bias()[0]
row = {name: as_map(bias, 16)[15] for name, bias in lines.items()}
curves(row, "column offset", "bias, its maximum set to 0", x=np.arange(-15, 16))

# %% [markdown]
# With M' = 16 (or 0, which is the same here) the whole curve is about twice as wide. Now the question. A model was trained at
# window 8, then fine-tuned at 16, and is now to be used at 24. In one story the first fine-tuning had M' = 8; in the other it
# was left at 0, so the network has learned a new scale meanwhile. We try all choices for the second time:

# %%
stories = {}
for first in (8, 0):
    start = network(16, relative_coordinates(16, first), net)
    before = error(start.relative_position_bias()[0], targets[16])
    tuned = learn(start, targets[16], steps=150, lr=0.005)
    after = error(tuned.relative_position_bias()[0], targets[16])
    stories[first] = tuned.state_dict()
    print(f"fine-tuned at 16 with M' = {first}: error {before:.3f} → {after:.3f}")
print("\nat window 24 with      M' = 8   M' = 16   M' = 0")
for first, state in stories.items():
    tried = [
        network(24, relative_coordinates(24, second), state) for second in (8, 16, 0)
    ]
    found = [error(attn.relative_position_bias()[0], targets[24]) for attn in tried]
    print(f"first time M' = {first}  ", *(f"{e:9.3f}" for e in found))
    assert np.argmin(found) == (0 if first == 8 else 1)

# %% [markdown]
# So: **not the window of the last training, but the scale of the last training.** If the file was fine-tuned with
# M' = 8, say 8 again, and each time after. Only if it was trained with 0 does its own window become the M' of what follows. Take
# the published `swinv2_base_patch4_window12to24_192to384`: it was fine-tuned at 24 with 12, so go on with 12.
#
# If you try a wrong M' and see no difference in the end, that is no contradiction: with enough steps the network learns
# the new scale. Here the story goes on at the *same* window 16, with the right 8 and with a wrong 16:

# %%
print("steps            0     25    100    300")
for second in (8, 16):
    attn, found = network(16, relative_coordinates(16, second), stories[8]), []
    for steps in (0, 25, 75, 200):
        if steps:
            learn(attn, targets[16], steps, lr=0.005)
        found.append(error(attn.relative_position_bias()[0], targets[16]))
    print(f"M' = {second:2}   ", *(f"{e:6.3f}" for e in found))

# %% [markdown]
# The wrong one has to be learned away; without training (evaluation, frozen backbones) it simply stays wrong.
#
# Two more details. Published presets (Microsoft's `configs/swinv2`) say (12, 12, 12, **6**). The last stage of a model for
# 192 × 192 pixels has a map of
# 6 × 6 tokens, so its window had shrunk to 6, and that is the scale of its network:

# %%
for name in (
    "swinv2_base_patch4_window12_192",
    "swinv2_base_patch4_window12to24_192to384",
):
    config = CONFIGS[name]
    print(f"{name}: windows {config.windows}, M' {config.pretrained_window_sizes}")
assert CONFIGS[name].pretrained_window_sizes == (12, 12, 12, 6)
assert CONFIGS["swinv2_base_patch4_window12_192"].windows == (12, 12, 12, 6)
print("largest coordinate of the last stage at 384, window 12:")
for trained_at in (6, 12):
    print(f"    M' = {trained_at:2}: {relative_coordinates(12, trained_at).max():.3f}")

# %% [markdown]
# And you needn't remember it. Official files hold the table of coordinates as a buffer, and its largest number tells M'
# (exercise 12.5). `SwinTransformer.from_checkpoint` reads it, and if you ask for other windows, it keeps the
# scale and says so.

# %% [markdown]
# **12.5** A file holds coordinates, the largest of which is `largest`; its window is `M`. By which window were
# its offsets divided?


# %%
def trained_at(largest, M):
    """→ int M'. Turn the formula of section 3 round."""
    ...


check("12.5", trained_at)

# %%
solution("12.5")

# %% [markdown]
# ### Patch merging
#
# V2's merging reduces 4C to 2C, and norms then. Chapter 7 compares both orders: with norm weights of 1 and biases of 0, what
# the next stage starts from has spread 1, however large the stream was.

# %%
side_by_side("patches.PatchMergingV2.forward")

# %% jupyter={"source_hidden": true}
merging, torch_merging = twins(
    swin_numpy.PatchMergingV2(6), swin_torch.PatchMergingV2(6)
)
x = rng.normal(size=(2, 4 * 6, 6))
y, grid = merging(x, (4, 6))
agree("NumPy and PyTorch", y, torch_merging(torch.tensor(x), (4, 6))[0])
by_loop, p = np.empty(y.shape), merging.state_dict()
for n, row, column in np.ndindex(2, 2, 3):
    places = [
        (2 * row + a, 2 * column + b) for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    four = np.concatenate([x[n, r * 6 + c] for r, c in places])
    token = p["reduction.weight"] @ four
    token = functional.layer_norm(token, p["norm.weight"], p["norm.bias"])
    by_loop[n, row * 3 + column] = token
agree("library and loop", y, by_loop)

# %% [markdown]
# ### The whole model
#
# Swin V2-T on the photograph, 256 × 256 pixels, both twins in float64, with all parameters moved off their initial
# values (fresh ones would let the blocks do nothing):

# %% jupyter={"source_hidden": true}
config = CONFIGS["swinv2_tiny_patch4_window8_256"]
model = swin_numpy.SwinTransformer(config, seed=0, dtype=np.float64)
state = model.state_dict()
for value in state.values():
    spread = 0.3 if value.ndim == 1 else 0.02
    value += spread * rng.standard_normal(value.shape)
torch_model = swin_torch.SwinTransformer(config).double().eval()
torch_model.load_state_dict(
    {name: torch.tensor(value) for name, value in state.items()}
)
photo = preprocess(load_image(photo_path("chelsea")), 256).astype(np.float64)

# %%
with torch.inference_mode():
    torch_stages = torch_model.forward_stages(torch.tensor(photo))
    torch_logits = torch_model(torch.tensor(photo))
stages = model.forward_stages(photo)
for i, ((x, grid), (twin, _)) in enumerate(zip(stages, torch_stages, strict=True), 1):
    agree(f"stage {i}, grid {grid}", x, twin, 1e-9)
agree("logits", model(photo), torch_logits, 1e-9)

# %% [markdown]
# How many parameters have the published models? Counted from the configuration alone; the Tiny one is there to ask.


# %%
def count(config):
    C = config.embed_dim
    total = C * (config.in_chans * config.patch_size**2 + 1) + 2 * C  # patches, norm
    for C, depth, heads in zip(
        config.widths, config.depths, config.num_heads, strict=True
    ):
        attention = 3 * C * C + 2 * C + C * C + C  # qkv, biases of q and v, proj
        bias = 2 * 512 + 512 + 512 * heads + heads  # small network, scale
        total += depth * (attention + bias + 8 * C * C + 5 * C + 4 * C)  # MLP, norms
    total += sum(8 * C * C + 4 * C for C in config.widths[:-1])  # patch merging
    return total + 2 * C + (C + 1) * config.num_classes


assert count(config) == sum(value.size for value in state.values())
for name, published in CONFIGS.items():
    if published.version == 2:
        print(f"{name:43} {count(published):12,}  windows {published.windows}")

# %% [markdown]
# The window is not in the formula: window 8 and 16 have the same number, and the same parameters fit. (What differs between
# rows of one size is the head: 21,841 classes of ImageNet-22k, or 1,000.)

# %% [markdown]
# ### Traps
#
# **1. Testing a fresh V2 block.** It is the identity, whatever attention does. Here is an attention that is plainly
# broken, keys and values exchanged. With fresh parameters the test passes:


# %%
def swap_k_and_v(block):
    weight = block.attn.qkv.weight.reshape(3, -1)
    weight[[1, 2]] = weight[[2, 1]]


x = rng.normal(size=(1, 64, 12))
for name, prepare in (("fresh", lambda b: init_weights(b, 0)), ("random", None)):
    good, bad = (V2(12, 3, window_size=4).to(np.float64) for _ in range(2))
    if prepare is None:
        twins(good, swin_torch.SwinTransformerBlockV2(12, 3, window_size=4))
        bad.load_state_dict(good.state_dict())
    else:
        prepare(good), prepare(bad)
    swap_k_and_v(bad)
    same = np.allclose(good(x, (8, 8)), bad(x, (8, 8)))
    print(f"{name:6} parameters: {'passes' if same else 'FAILS, as it should'}")
    assert same == (name == "fresh")

# %% [markdown]
# **2. `logit_scale` without exp.** The parameter starts at log 10. Taken as the scale itself, all is well in shape, and
# attention is nearly flat:

# %%
cosines = unit_vectors(q49) @ unit_vectors(k49).T
for name, scale in (("exp(log 10)", 10), ("log 10", math.log(10))):
    print(
        f"scale {name:12} entropy {entropy(scale * cosines):.2f} of {math.log(49):.2f}"
    )

# %% [markdown]
# **3. A mask of -100 beside a scale of 100.** -100 means "never" only as long as scores differ by much less than 100
# (chapter 5). V2's scores differ by up to 2 · scale + 16. A query, one key that it may look at and that points the other
# way, and one that is blocked and points the same way:

# %%
print("scale   blocked key gets, without bias   at worst, with bias")
for scale in (10, 30, 40, 60, 100):
    for_it = 2 * scale - 100  # its score less that of the key that is allowed
    weights = [1 / (1 + math.exp(-gap)) for gap in (for_it, for_it + 16)]
    print(f"{scale:5} {weights[0]:25.1e} {weights[1]:25.1e}")

# %% [markdown]
# The official code has -100 all the same (`models/swin_transformer_v2.py`), and so have we, for a mask of another value would be another model. If
# you train your own, look at exp(`logit_scale`) of its heads now and then.
#
# **4. `pretrained_window_sizes` forgotten.** It is in no parameter: unless the file holds the table of
# coordinates, no error comes. Q70 has the numbers.

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2022, *Swin Transformer V2: Scaling Up Capacity and Resolution* ([arXiv](https://arxiv.org/abs/2111.09883)):
#   section 3.2 (res-post-norm, cosine attention; figure 2), section 3.3 (continuous bias, log-spaced coordinates).
# - Chapters this one builds on: [4](04_relative_position_bias.ipynb) (the table, bicubic interpolation),
#   [6](06_swin_block.ipynb) (orders of the norm), [7](07_patch_merging.ipynb) (merging),
#   [9](09_backward_by_hand.ipynb) (the backward).
# - In this package: `WindowAttentionV2`, `SwinTransformerBlockV2`, `PatchMergingV2` stand below their V1 versions in
#   `window_attention.py`, `block.py` and `patches.py`, in both packages.
