# %% [markdown]
# # 01 · Self-attention
#
# ![One output row of attention: the rows of V, each times its weight, flow into one row of Z](../figures/gallery/weighted_sum.png)
#
# **After this chapter you can explain**
#
# - what a query, a key and a value are, and why there are three of them;
# - how $QK^T$, the scaling, the softmax and $Z$ follow from each other, with pencil and paper;
# - why the scores are divided by $\sqrt{d}$, and what several heads are good for;
# - what self-attention does *not* know: the order of its tokens.
#
# Swin is built around one operation. Here it is, whole:
#
# $$ Z = \mathrm{softmax}\!\left(\frac{Q K^T}{\sqrt{d}}\right) V
# ,\qquad Q = X W_Q,\quad K = X W_K,\quad V = X W_V $$
#
# We take it apart into six steps, with four words and small whole numbers.

# %% jupyter={"source_hidden": true}
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from lesson import agree, check, fresh_and_trained, side_by_side, slider, solution

import swin_numpy
import swin_torch
from figures import attention as draw
from figures import maps, measure, photo_path
from swin_numpy.functional import softmax
from swin_numpy.pictures.images import load_image
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)


def tensor(array):
    """A PyTorch copy of an array, in float64: small differences then mean something."""
    return torch.tensor(np.asarray(array), dtype=torch.float64)


# %% [markdown]
# ## Four words
#
# A sentence: *red fox eats grapes*. Each word becomes a **token**, that is, one row of numbers. Real models
# learn these numbers. Ours are made by hand and mean something: is the word a colour, a thing, an act,
# about food?
#
# The axes have the same names everywhere in this project: $i$ is the token that asks (the *query*), $j$ the token that
# is looked at (the *key*), $c$ counts *channels*, the numbers of one token, and $d$ is the width of queries and keys.

# %%
words = ["red", "fox", "eats", "grapes"]
# columns: colour, thing, act, food
red, fox, eats, grapes = [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]
X = np.array([red, fox, eats, grapes])

# %% [markdown]
# ## Step 1: each word gets a query, a key and a value
#
# Three matrices turn each row of $X$ into three new rows:
#
# - the **query** says what the word is looking for,
# - the **key** says what it can be found by,
# - the **value** says what it hands over to those who found it.
#
# All three are made of the same tokens: that is the *self* in self-attention. (In a translator, for instance, queries
# can come from one sentence, keys and values from another.)
#
# Training finds these matrices. Ours are made up again. Read the rows of $W_Q$ like this: *a colour looks for a thing;
# a thing looks for a colour; an act looks for a thing; food looks for an act.* The sizes 1, 2 and 4 say how strongly.

# %%
#               looking for: colour thing act food
W_Q = np.array([[0, 2, 0, 0], [2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0]])
#                  found as: colour thing act food
W_K = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2]])
#              handing over: colour thing act food
W_V = np.array([[4, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 4]])

# %% [markdown]
# A matrix product is three loops. One entry of $Q$ is a sum over the channels $c$:
# $\;Q_{id} = \sum_c X_{ic}\, W_{cd}$.

# %%
Q = np.zeros((4, 4))
for i in range(4):  # every word
    for d in range(4):  # every number of its query
        for c in range(4):  # every channel of the word
            Q[i, d] += X[i, c] * W_Q[c, d]

assert (Q == X @ W_Q).all()  # NumPy writes the three loops as @
K, V = X @ W_K, X @ W_V
draw.qkv(X, W_Q, W_K, W_V, Q, K, V, words)

# %% [markdown]
# Check one row by hand. *eats* is an act and about food, so its query is the third row of $W_Q$ plus the fourth
# (for Python, which counts from 0, rows 2 and 3): it looks for a thing (1) and for an act (2).

# %%
print("query of eats:", W_Q[2] + W_Q[3])
assert (Q[2] == W_Q[2] + W_Q[3]).all()

# %% [markdown]
# ## Step 2: every query meets every key
#
# The **score** of query $i$ and key $j$ is their dot product: multiply number by number, add up. It is
# large where the one has what the other is looking for. *eats* and *fox*, for instance:

# %%
print("query of eats:", Q[2], " key of fox:", K[1])
products = [f"{q:g}·{k:g}" for q, k in zip(Q[2], K[1], strict=True)]
print("score:", " + ".join(products), "=", Q[2] @ K[1])

# %% [markdown]
# All sixteen pairs at once are the matrix $QK^T$. A row belongs to the word that asks, a column to the word
# that is asked.

# %% jupyter={"source_hidden": true}
raw = np.zeros((4, 4))
for i in range(4):
    for j in range(4):
        raw[i, j] = sum(Q[i, d] * K[j, d] for d in range(4))

assert (raw == Q @ K.T).all()
draw.scores(raw, words, words)

# %% [markdown]
# Read the row of *eats*: it found *fox* most of all, who could be the one that eats. Read the row of *red*:
# a colour looks for a thing, and finds *fox* and *grapes* equally well. Nothing tells it that *fox* stands
# next to it ([Q09](#Q09:-Does-self-attention-know-the-order-of-the-tokens?)).

# %% [markdown]
# ## Step 3: divide by √d
#
# A dot product of width $d$ is a sum of $d$ products. The more there are, the larger it gets. If the
# numbers in $q$ and $k$ are independent with mean 0 and variance 1, each product has variance 1, and their
# sum has variance $d$: a spread of $\sqrt d$. Dividing by $\sqrt d$ brings it back to 1, whatever the
# width.

# %% jupyter={"source_hidden": true}
rng = np.random.default_rng(0)
widths = [4, 16, 64, 256]
spread = []
for d in widths:
    q, k = rng.standard_normal((2, 20_000, d))
    spread.append((q * k).sum(1).std())  # of 20,000 dot products

scaled_spread = np.array(spread) / np.sqrt(widths)
assert np.allclose(scaled_spread, 1, atol=0.05)
measure.curves(
    {"q · k": spread, "q · k / √d": scaled_spread},
    "width d",
    "standard deviation",
    x=widths,
)

# %% [markdown]
# Why care? The next step is the softmax, and it exaggerates: with scores far apart one key takes nearly everything. Then
# most weights hardly change when a score does ([measured](#More-on-the-softmax)); that this hinders training
# is what Vaswani et al. (2017, section 3.2.1) suspected.

# %% [markdown]
# ## Step 4: the softmax turns scores into weights
#
# For our words $d = 4$, so the scores are simply halved. Now each row of scores becomes a row of **weights**: all
# positive, and together 1.
#
# $$ w_{ij} = \frac{e^{s_{ij}}}{\sum_{j'} e^{s_{ij'}}} $$
#
# Halved, the scores of *eats* are 0, 3, 2, 1. You need $e \approx 2.718$ and a pocket calculator. (With large scores
# $e^s$ would be more than a computer can hold. So code subtracts the largest score of the row first: that divides all
# powers of the row by the same number, and the weights stay as they are.)

# %%
scaled = raw / np.sqrt(4)
powers = np.exp(scaled[2])
print("scores   ", scaled[2])
print("e^score  ", powers.round(2), "  sum", powers.sum().round(2))
print("weights  ", (powers / powers.sum()).round(3))

# %% jupyter={"source_hidden": true}
weights = np.zeros((4, 4))
for i in range(4):  # one query at a time
    total = sum(np.exp(scaled[i, j]) for j in range(4))
    for j in range(4):
        weights[i, j] = np.exp(scaled[i, j]) / total

assert np.allclose(weights, softmax(scaled), rtol=1e-14)
draw.softmax_steps(raw, scaled, weights, words)

# %% [markdown]
# Replace the `...` and run the cell. The checker says what is wrong; the solution is folded away below it.
#
# **01.1** The softmax of each row, for scores of shape $(\ldots, i, j)$, large ones included.


# %%
def my_softmax(scores):
    """scores (..., i, j) → weights of the same shape."""
    ...


check("01.1", my_softmax)

# %%
solution("01.1")

# %% [markdown]
# ## Step 5: Z, the weights times the values
#
# The weights say who looks at whom, and the values wait to be handed over. Put together: $Z = \text{weights}
# \cdot V$, one more matrix product. All four words can get their result at once: none waits for another.

# %% jupyter={"source_hidden": true}
Z = np.zeros((4, 4))
for i in range(4):  # every word that asks
    for d in range(4):  # every number of a value
        Z[i, d] = sum(weights[i, j] * V[j, d] for j in range(4))

assert np.allclose(Z, weights @ V, rtol=1e-14)
draw.matrix_product(weights, V, Z, ("weights", "V", "Z"), words)

# %% [markdown]
# ## Step 6: one output is a weighted sum of values
#
# What does one row of $Z$ mean? Take the loops above and hold $i$ still: row $i$ of the weights has one number
# for each word $j$, and each multiplies a whole row of $V$.
#
# $$ z_i = \sum_j w_{ij}\, v_j $$
#
# *eats* takes most from *fox*, some from itself, and a little from the rest. What was
# a verb by itself is now a verb that knows of its fox.

# %%
z = np.zeros(4)
for j in range(4):
    z += weights[2, j] * V[j]  # a number times a row

assert np.allclose(z, Z[2], rtol=1e-14)
draw.weighted_sum(weights[2], V, Z[2], words)

# %% [markdown]
# ## The same, as the package has it
#
# You have now written self-attention. The package takes the same steps and keeps every matrix, so that it can be looked
# at. (`mask` is added to the scores, if you give one.) NumPy's file and PyTorch's say the same to the letter:

# %%
side_by_side("attention.self_attention")
side_by_side("attention.scaled_dot_product")

# %% [markdown]
# Four ways to the same numbers: our loops, the NumPy package, its PyTorch twin, and PyTorch's own function, which does
# all steps in one go (it is *fused*) and shares no line with the others.

# %% jupyter={"source_hidden": true}
ours = swin_numpy.self_attention(X, W_Q, W_K, W_V)
twin = swin_torch.self_attention(tensor(X), tensor(W_Q), tensor(W_K), tensor(W_V))
# with two axes in front PyTorch takes its fused code, without them separate steps
fused = F.scaled_dot_product_attention(
    *(tensor(matrix)[None, None] for matrix in (Q, K, V))
)[0, 0]
agree("our loops and swin_numpy", Z, ours.Z)
agree("weights, NumPy and PyTorch", ours.weights, twin.weights)
agree("Z, NumPy and PyTorch", ours.Z, twin.Z)
agree("Z, NumPy and PyTorch's own function", ours.Z, fused)

# %% [markdown]
# **01.2** All of attention: from $Q$ $(i, d)$, $K$ $(j, d)$ and $V$ $(j, d_v)$ to $Z$ $(i, d_v)$.


# %%
def my_attention(Q, K, V):
    """Q (i, d), K (j, d), V (j, dv) → Z (i, dv)."""
    ...


check("01.2", my_attention)

# %%
solution("01.2")

# %% [markdown]
# ## Several heads
#
# Our words look for several things at once, and one row of weights has to serve them all. **Heads** share out the work:
# each has its own slice of query, key and value, its own softmax, its own weights. With two heads, head 0 has the first
# two columns (colour, thing), head 1 the last two (act, food).

# %%
two = swin_numpy.multi_head_self_attention(X, W_Q, W_K, W_V, np.eye(4), num_heads=2)
draw.heads(two.weights, words)

# %% [markdown]
# Head 0 brings colours and things together: *fox* and *grapes* look at *red*, *red* looks at both. Head 1 asks who acts:
# *eats* and *grapes* look at *fox* and *eats*. A word that has nothing to look for in a head (*red* and *fox* in head 1)
# spreads its weight evenly. Each head also hands over its own slice of the values.

# %%
side_by_side("attention.multi_head_self_attention")

# %% [markdown]
# Each head has a softmax of its own and the scale of its own width, here $\sqrt 2$. A last matrix $W_O$ mixes what the
# heads found; above it was the identity.

# %% [markdown]
# **01.3** Split heads without einops: $(m, c)$ to $(a, m, d)$.


# %%
def my_heads(x, num_heads):
    """x (m, c) → (a, m, d), head a taking the channels a·d to (a+1)·d."""
    ...


check("01.3", my_heads)

# %%
solution("01.3")

# %% [markdown]
# ## A photograph
#
# A picture has no words, so we cut it into patches of 8 × 8 pixels, and each patch is a token of three numbers: the
# direction in which its mean colour differs from that of the whole picture. Nothing is trained; $W_Q = W_K = 5I$ and
# $W_V = I$. We ask a patch on the iris of one eye: where are colours like mine?

# %% jupyter={"source_hidden": true}
photo = load_image(photo_path("chelsea")).crop((1, 6, 449, 294))  # sides divisible by 8
image = np.asarray(photo) / 255  # (H, W, 3), from 0 to 1
colours = reduce(image, "(h p1) (w p2) c -> h w c", "mean", p1=8, p2=8)
h, w, _ = colours.shape
tokens = rearrange(colours, "h w c -> (h w) c")
directions = tokens - tokens.mean(0)
directions /= np.linalg.norm(directions, axis=1, keepdims=True)
I, eye = np.eye(3), (14, 19)  # row and column of the patch that asks
by_direction = swin_numpy.self_attention(directions, 5 * I, 5 * I, I)
on_map = rearrange(by_direction.weights, "(h1 w1) (h2 w2) -> h1 w1 h2 w2", h1=h, h2=h)


def look_from(row, column):
    query = (row, column)
    return maps.attention_on_image(
        image, on_map[query], query, title="direction of colours"
    )


slider(look_from, row=(0, h - 1, 1, eye[0]), column=(0, w - 1, 1, eye[1]))

# %% [markdown]
# It lights up its own eye, spots of the other, and much of the forehead: no window, no training, only dot products and
# a softmax ([how much of the weight is that?](#How-much-of-the-weight-is-on-the-eyes?)).
#
# There is a price. The matrix of weights has a row and a column for each patch, so an image with twice the side has a
# matrix sixteen times as large. That is the problem that Swin solves, with windows
# ([chapter 03](03_window_attention.ipynb)).

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Held against PyTorch
#
# Several heads, against code that we didn't write:
# `torch.nn.MultiheadAttention`, with random numbers, 8 channels and 4 heads.

# %%
x, W = rng.standard_normal((5, 8)), rng.standard_normal((4, 8, 8))
ours = swin_numpy.multi_head_self_attention(x, *W, num_heads=4)
twin = swin_torch.multi_head_self_attention(tensor(x), *tensor(W), num_heads=4)
oracle = torch.nn.MultiheadAttention(8, 4, bias=False, dtype=torch.float64)
stacked = torch.cat([*tensor(W[:3]).mT])  # its layout: (out, in), Q over K over V
oracle.load_state_dict({"in_proj_weight": stacked, "out_proj.weight": tensor(W[3]).T})
theirs, their_weights = oracle(*3 * [tensor(x)], average_attn_weights=False)
agree("Z, NumPy and PyTorch twin", ours.Z, twin.Z)
agree("Z, NumPy and MultiheadAttention", ours.Z, theirs)
agree("weights of all heads", ours.weights, their_weights)

# %% [markdown]
# And both twins on the photograph, all four million weights.

# %%
twin = swin_torch.self_attention(tensor(directions), *tensor([5 * I, 5 * I, I]))
agree("weights on the photograph", by_direction.weights, twin.weights)
agree("Z on the photograph", by_direction.Z, twin.Z)

# %% [markdown]
# ### How much of the weight is on the eyes?
#
# Count it in a square of 11 × 11 patches around each eye, for the patch that asked and its neighbours, beside the share
# that such a square would get if all patches got the same:

# %%
# read off the photograph
around = [(slice(9, 20), slice(16, 27)), (slice(10, 21), slice(35, 46))]
print(f"evenly shared: {11 * 11 / (h * w):.0%} each")
for column in (17, 18, 19, 20, 21):
    this, other = (on_map[14, column][square].sum() for square in around)
    print(
        f"patch (14, {column}): {this:4.0%} on its own eye, {other:4.0%} on the other"
    )

# %% [markdown]
# From these five patches its own eye gets two to five times its share, the other one from little more than half of it to
# one and a half times: a picture with a scale of its own makes much of little. Three numbers for a colour are not enough
# to say *eye*.

# %% [markdown]
# ### More on the softmax
#
# What large scores do, for 200 queries and 49 keys of width 256. The derivative of a weight $w$ with respect to its own
# score is $w(1-w)$: where that is tiny, the softmax hardly reacts when a score changes.
# (That isn't all there is to training: a score that isn't divided hands √d times as much on to Q and K.)

# %%
q = rng.standard_normal((200, 1, 256))  # 200 queries of width 256
k = rng.standard_normal((200, 49, 256))  # 49 keys for each of them
# k.mT: each of the 200 matrices transposed
for name, scale in (("not scaled", 1), ("scaled", 1 / np.sqrt(256))):
    w = softmax(scale * q @ k.mT)
    print(f"{name:>10}: largest weight {w.max(-1).mean():.2f}", end=", ")
    print(f"mean derivative w(1-w) {(w * (1 - w)).mean():.4f}")

# %% [markdown]
# The formula $w(1-w)$ can be tried: raise one score by a millionth, and see how far its weight moves.

# %%
row, nudge = np.array([0.0, 3.0, 2.0, 1.0]), np.array([0, 1e-6, 0, 0])
w = softmax(row)[1]
moved = (softmax(row + nudge)[1] - w) / 1e-6
print(f"measured {moved:.5f},  w(1-w) = {w * (1 - w):.5f}")
assert np.isclose(moved, w * (1 - w), rtol=1e-5)

# %% [markdown]
# Here is the row of *eats* divided by other numbers
# $T$: by little, and *fox* takes nearly everything; by much, and the words come closer to equal. (In a running notebook
# the slider moves the picture in the middle.)


# %%
def eats(T):
    return draw.temperature(raw[2], [0.5, T, 10.0], words)


slider(eats, T=(0.5, 10.0, 0.5, 2.0))

# %% [markdown]
# Why $e$, and not each score divided by the sum of its row? Because scores may be negative. $e^s$ never is, and
# a larger score still gets a larger weight:

# %%
some = np.array([-1.0, 0.5, 1.0])
print("score / sum:", some / some.sum(), "  softmax:", softmax(some).round(2))
assert (softmax(some) > 0).all()

# %% [markdown]
# PyTorch brings its softmax along; NumPy needs one.

# %%
side_by_side("functional.softmax")

# %% [markdown]
# ### Q01: Why query, key and value, and not one row for all?
#
# Try it: give queries and keys the same matrix, here the identity. The score of $i$ and $j$ is then that of $j$ and $i$,
# for $x_i \cdot x_j = x_j \cdot x_i$: scores can't tell who asks. (Weights still can, a little, since each row is
# divided by its own sum.) Two matrices make a relation that has a direction.

# %%
shared = X @ X.T
print("one matrix for both:  eats→fox", shared[2, 1], "  fox→eats", shared[1, 2])
print("W_Q and W_K:          eats→fox", raw[2, 1], "  fox→eats", raw[1, 2])
assert (shared == shared.T).all() and not (raw == raw.T).all()
even = softmax(shared / 2)
print(f"weights of the first: red→fox {even[0, 1]:.3f}, fox→red {even[1, 0]:.3f}")

# %% [markdown]
# One often reads that with a shared matrix every token finds itself best. Not so: that holds if all rows
# have the same length. A dot product also grows with the length of the key. Make *eats* three times as
# long, and *fox* prefers it to itself:

# %%
longer = X * np.array([[1], [1], [3], [1]])
print("before: fox→fox", shared[1, 1], "  fox→eats", shared[1, 2])
shared = longer @ longer.T
print("after:  fox→fox", shared[1, 1], "  fox→eats", shared[1, 2])
assert shared[1, 2] > shared[1, 1]

# %% [markdown]
# And the value? What a word is found by need not be what it hands over. Another $W_V$ changes the result
# and leaves alone who looks at whom.

# %%
one = swin_numpy.self_attention(X, W_Q, W_K, W_V)
other = swin_numpy.self_attention(X, W_Q, W_K, W_V[::-1])
assert (one.weights == other.weights).all()
assert not np.allclose(one.Z, other.Z)
print("same weights, another Z")

# %% [markdown]
# ### Q02: Is d the width of one head, or of all channels?
#
# Of one **head**: the scale follows the length of the dot product, and that is as long
# as the head is wide. Dividing by the root of all channels makes scores too small and attention too even.
# This is a frequent bug, [found](https://github.com/lucidrains/vit-pytorch/issues/65) and fixed in
# well-known code too.

# %%
# C = 96 channels as 3 heads of width d = 32, for the 49 tokens of a Swin window
q, k, v = rng.standard_normal((3, 3, 49, 32))
for width in (96, 32):
    scores = q @ k.mT / np.sqrt(width)
    print(f"divided by √{width}: standard deviation of the scores {scores.std():.2f}")

theirs = F.scaled_dot_product_attention(tensor(q), tensor(k), tensor(v))
agree("√32 and PyTorch's own function", softmax(q @ k.mT / np.sqrt(32)) @ v, theirs)
assert not np.allclose(softmax(q @ k.mT / np.sqrt(96)) @ v, theirs.numpy(), atol=0.1)

# %% [markdown]
# Does cutting lose anything of a score? No: the dot product over our four columns is the sum of the two over two columns.
# Two things are new: each part has a softmax of its own, and a scale of its own, $\sqrt 2$ instead of $\sqrt 4$.

# %%
assert np.allclose((two.Q @ two.K.mT).sum(0), raw)
parts = (two.Q[:, 2] * two.K[:, 1]).sum(-1)
print("eats and fox, head 0 and head 1:", parts, " together:", raw[2, 1])

# %% [markdown]
# In Swin the question is easy to forget, because $d$ is the same in all stages: both channels and heads
# double.

# %%
config = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
for width, heads in zip(config.widths, config.num_heads, strict=True):
    print(f"C = {width:3}, {heads:2} heads: d = {width // heads}")

# %% [markdown]
# ### Q03: Along which axis does the softmax run?
#
# Along the keys, the last axis: every **row** sums to 1. A query shares out its attention. The columns may
# sum to anything: a word that many look at gets more.

# %%
print("rows   ", weights.sum(-1))
print("columns", weights.sum(-2).round(2))

# %% [markdown]
# With the wrong axis the columns sum to 1 and the rows don't, and a result is no longer a mean of values.
# Let all words hand over the same number, 10. Every mean of tens is ten:

# %%
tens = np.full((4, 1), 10.0)
wrong = softmax(scaled, dim=0)
print("softmax of rows:   ", (softmax(scaled) @ tens).ravel())
print("softmax of columns:", (wrong @ tens).ravel().round(2))
assert np.allclose(softmax(scaled) @ tens, 10)
assert (wrong @ tens).max() > 12

# %% [markdown]
# Shapes don't give this bug away, and if the axis happens to have length 1, every weight is simply 1, as
# [somebody noticed](https://github.com/PetrochukM/PyTorch-NLP/issues/2). Sum the rows, and you know.

# %% [markdown]
# ### Q04: Why must heads and tokens be transposed before the heads are merged by reshape?
#
# Because `reshape` never moves a number: it deals them out again in reading order. From $(m, a\,d)$ to $(a, m, d)$, and
# back, an axis has to *move*. A bare `reshape` gives the right shape, and heads that are made of tokens. This bug was
# found in published code when heads were [split](https://github.com/reczoo/FuxiCTR/issues/30) and when they were
# [merged](https://github.com/jsbaan/transformer-from-scratch/pull/6), where training had gone on in spite of it. Number
# the entries and you see it: in each number the first digit is the token.

# %%
# 3 tokens, 4 channels
x = np.array([[10, 11, 12, 13], [20, 21, 22, 23], [30, 31, 32, 33]])
print("reshape, head 0:\n", x.reshape(2, 3, 2)[0])
print("rearrange, head 0:\n", rearrange(x, "m (a d) -> a m d", a=2)[0])
assert (rearrange(x, "m (a d) -> a m d", a=2)[0] == x[:, :2]).all()


heads = rearrange(x, "m (a d) -> a m d", a=2)
print("merged by reshape alone:\n", heads.reshape(3, 4))
# first move the axis back, then merge
assert (heads.swapaxes(0, 1).reshape(3, 4) == x).all()

# %% [markdown]
# ### Q05: Is one Linear(C, 3C) the same as three Linear(C, C)?
#
# Yes: put the three weights on top of each other. Swin's `qkv.weight` has shape $(3C, C)$, the first $C$
# rows make $Q$, then $K$, then $V$, and inside each the heads follow each other. As an einops pattern:
# `(three a d)`.

# %%
C, a = 6, 2
x = rng.standard_normal((5, C))
W_QKV = rng.standard_normal((3 * C, C))  # PyTorch's layout: (out, in)
QKV = rearrange(x @ W_QKV.T, "m (three a d) -> three a m d", three=3, a=a)
for number, name in enumerate("QKV"):
    rows = slice(number * C, (number + 1) * C)
    alone = rearrange(x @ W_QKV[rows].T, "m (a d) -> a m d", a=a)
    agree(f"{name} from rows {rows.start} to {rows.stop - 1}", QKV[number], alone)

# %% [markdown]
# Other orders are in use: BLOOM's, in transformers 5.23 (`modeling_bloom.py`), is `(a three d)`. All have the same shape,
# so nothing complains if you read published weights in the wrong one; you get other numbers.

# %%
for order in ("(three a d)", "(a three d)", "(a d three)"):
    other = rearrange(x @ W_QKV.T, f"m {order} -> three a m d", three=3, a=a)
    assert other.shape == QKV.shape
    print(f"{order}: largest difference {np.abs(other - QKV).max():.2f}")

# %% [markdown]
# ### Q06: Why split C over the heads, and does a head see only part of the input?
#
# Every head sees **all** of the input. What is split is the *output* of the projection: head 0 owns the
# first $d$ columns of $W_Q$, and these have $C$ rows, one for each input channel. Change any one channel,
# and every head notices:

# %%
W_one = rng.standard_normal((C, C))
for channel in range(C):
    changed = x.copy()
    changed[:, channel] += 1
    difference = rearrange((changed - x) @ W_one, "m (a d) -> a m d", a=a)
    assert np.abs(difference).max(axis=(1, 2)).min() > 0
print("slice of W_Q that one head owns:", W_one[:, : C // a].shape, "= (C, d)")

# %% [markdown]
# And the cost: cut into heads, attention takes as many multiply-adds and parameters as one wide head (a *multiply-add* is
# one multiplication and the addition that follows it). What grows with the heads is the number of weights to compute and
# keep, with an exponential for each. For $C = 96$ and the 49 tokens of a Swin window:

# %%
C, n = 96, 49
for a, d in ((1, 96), (3, 32), (3, 96)):
    parameters = 3 * C * a * d + a * d * C  # Q, K, V of all heads; then W_O, back to C
    multiply_adds = n * parameters + 2 * n * n * a * d  # projections; QKᵀ, weights · V
    print(
        f"{a} × width {d}: {parameters:7,} parameters, {multiply_adds:9,} multiply-adds, {a * n * n:5,} weights"
    )

# %% [markdown]
# ### Q07: Why is there another linear layer after the heads are concatenated?
#
# Without it each head writes into its own slice of the channels, and no channel of the result knows of more than one
# head. $W_O$ lets every output channel draw on all of them. Change what head 0 hands over, and look which channels move:

# %%
W = rng.standard_normal((4, C := 6, 6))
W_changed = W.copy()
W_changed[2, :, :3] += 1  # the columns of W_V that head 0 owns
for name, W_O in (("W_O = identity", np.eye(6)), ("W_O = random", W[3])):
    one, other = (
        swin_numpy.multi_head_self_attention(x6, *V[:3], W_O, num_heads=2).Z
        for x6 in [np.eye(6)[:5]]
        for V in (W, W_changed)
    )
    print(
        f"{name:14}: channels that move {np.flatnonzero(np.abs(one - other).max(0) > 1e-12)}"
    )

# %% [markdown]
# ### Q08: Why do some models give K no bias?
#
# Because a bias on K does nothing. It adds $q_i \cdot b$ to *all* scores of row $i$, and the softmax
# doesn't see what a whole row has in common. A bias on Q is another matter: $b \cdot k_j$ is different for
# each key. A bias on V moves every $z$ by exactly that bias, because the weights sum to 1.

# %%
q, k, v = rng.standard_normal((3, 6, 8))
b = 5 * rng.standard_normal(8)
attend = swin_numpy.attention.scaled_dot_product
Z0 = attend(q, k, v).Z
for name, inputs in (("K", (q, k + b, v)), ("Q", (q + b, k, v)), ("V", (q, k, v + b))):
    print(
        f"bias on {name}: Z moves by up to {np.abs(attend(*inputs).Z - Z0).max():.1e}"
    )
agree("bias on K or none", attend(q, k + b, v).Z, Z0)
agree("bias on V is added to Z", attend(q, k, v + b).Z, Z0 + b)

# %% [markdown]
# Swin V1 (`models/swin_transformer.py` of the official code) has all three biases; the one on K is harmless and useless. Swin
# V2 (`models/swin_transformer_v2.py`) has none on K. There the
# argument above no longer holds: V2 compares *directions* (cosine attention, chapter 12), and a bias turns
# a key into another direction.


# %%
def cosine_weights(q, k):
    """Softmax of 10 times the cosine of each query and key."""
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    return softmax(10 * q @ k.T)


moved = np.abs(cosine_weights(q, k + b) - cosine_weights(q, k)).max()
print(f"cosine attention: a bias on K moves the weights by up to {moved:.2f}")
assert moved > 0.1

# %% [markdown]
# ### Q09: Does self-attention know the order of the tokens?
#
# No. Shuffle the words, and the rows of $Z$ are shuffled in the same way, and nothing else changes:
# self-attention is **equivariant**. If you then take the mean over all tokens, the result doesn't change at
# all: that is **invariant**.

# %%
order = [3, 1, 0, 2]
before = swin_numpy.self_attention(X, W_Q, W_K, W_V).Z
after = swin_numpy.self_attention(X[order], W_Q, W_K, W_V).Z
print(" ".join(words[i] for i in order))
agree("Z of the shuffled words, and Z shuffled", after, before[order])
agree("mean of both", after.mean(0), before.mean(0))

# %% [markdown]
# So nothing could tell *red* which of the two things stands next to it. Swin's answer is a number added to each score
# that depends on where $j$ lies as seen from $i$, the **relative position bias** of
# [chapter 04](04_relative_position_bias.ipynb). With it the equality is gone, as it should be. Say the neighbour on the
# right gets 2 more:

# %%
bias = 2 * np.eye(4, k=1)  # j = i + 1
before = swin_numpy.self_attention(X, W_Q, W_K, W_V, bias)
after = swin_numpy.self_attention(X[order], W_Q, W_K, W_V, bias)
print(
    "red looks at:", dict(zip(words, before.weights[0].round(2).tolist(), strict=True))
)
print(f"shuffled and not: differ by {np.abs(after.Z - before.Z[order]).max():.2f}")
assert before.weights[0, 1] > 2 * before.weights[0, 3]  # red now prefers its neighbour

# %% [markdown]
# ### Heads that were trained
#
# So far we made the matrices ourselves. What do heads look at when nobody tells them? The repository ships a small Swin
# that was trained to name pictures of clothes ([chapter 10](10_training.ipynb)). In its second half the picture is a
# grid of 7 × 7 tokens, and every token looks at all 49: plain self-attention, with four heads. (How the model gets from
# pixels to these tokens is what the next chapters are about.) The steps are those of above: Q, K and V from one
# matrix, scores, divide, softmax. `B` is the relative position bias, a number for each pair that is added to the scores.

# %%
start, trained = fresh_and_trained()  # the same model before and after its training
clothes = fashion_mnist(SUBSET, "test").images[:20]  # the model never saw them


def second_half(model, images):
    """For each block on 7 × 7 tokens: what goes into its attention, (n, 1, 49, c), and the attention."""
    first, second = model.layers
    x, grid = model.embed(images)
    x, grid = first.downsample(first(x, grid), grid)
    for block in second.blocks:
        yield block.norm1(x)[:, None], block.attn
        x = block(x, grid)


# %%
pictures = standardise(clothes).astype(np.float64)
X_in, layer = next(second_half(trained, pictures))
Q, K, V = layer.project(X_in)  # (n, 1, a, m, d) each
B = layer.relative_position_bias()
weights = softmax(Q @ K.mT / np.sqrt(Q.shape[-1]) + B)  # (n, 1, a, i, j)
Z = layer.proj(rearrange(weights @ V, "n k a m d -> n k m (a d)"))
twin = swin_torch.SwinTransformer.from_checkpoint(TRAINED).double()
X_twin, layer_twin = next(second_half(twin, tensor(pictures)))
agree("Z by formula and the layer in PyTorch", Z, layer_twin(X_twin))

# %% [markdown]
# One token of a boot asks, and each head answers with a map of its own:

# %%
boot, asks = 6, (4, 4)
on_grid = rearrange(weights[boot, 0], "a (h w) j -> h w a j", h=7)[asks]
grey = np.repeat(clothes[boot][..., None], 3, axis=2)
maps.attention_rows(grey, on_grid.reshape(-1, 7, 7), asks)

# %% [markdown]
# How different are two heads? Each of them has one unit of weight to give away. Half the sum of |difference| over all
# keys is the part of it that goes to other tokens: 0 if two heads look alike, 1 if they have no token in common. The
# mean over all pairs of heads, all queries and 20 pictures:


# %%
def apart(weights):
    """The part of their weight that two heads give to different tokens, mean over pairs."""
    heads = np.moveaxis(weights, 2, 0)  # (a, n, 1, i, j)
    a, b = np.triu_indices(len(heads), k=1)  # each pair once
    return (np.abs(heads[a] - heads[b]).sum(-1) / 2).mean()


for name, model in (("start", start), ("trained", trained)):
    for number, (X_in, layer) in enumerate(second_half(model, pictures), 1):
        Q, K, _ = layer.project(X_in)
        content = Q @ K.mT / np.sqrt(Q.shape[-1])
        place = np.broadcast_to(layer.relative_position_bias(), content.shape)
        both, by_content, by_place = map(
            apart, map(softmax, (content + place, content, place))
        )
        print(f"{name:7} block {number}: {both:.0%} goes elsewhere; "
              f"content alone {by_content:.0%}, place alone {by_place:.0%}")  # fmt: skip

# %% [markdown]
# At the start heads differ mostly by place: their random bias tables have a spread of 1. Training set them further apart: in the
# first of these blocks place still counts for more, in the next three content does. (One training; the tables' start is
# our choice, see [chapter 10](10_training.ipynb).)

# %% [markdown]
# ### Traps
#
# **Overflow.** $e^{1000}$ is more than a float can hold. Written as in the formula, the softmax then gives
# `nan`. Subtract the largest score of the row first: a number that all scores of a row have in common changes nothing
# (Q08!).

# %%
large = np.array([1000.0, 1001.0])
with np.errstate(all="ignore"):
    print("as in the formula:", np.exp(large) / np.exp(large).sum())
print("the package:      ", softmax(large))
agree("1000 more changes nothing", softmax(large), softmax(large - 1000))

# %% [markdown]
# **`.T` turns all axes round.** For one matrix `K.T` is right. With a batch in front it reverses *all* axes, and if the
# sizes happen to be the same, NumPy doesn't complain (PyTorch 2.13 warns). `K.mT` swaps the last two, in NumPy (from 2.0)
# and in PyTorch.

# %%
K_batch = rng.standard_normal((4, 4, 4))  # batch, tokens, width: all 4, the worst case
print(".T the same as .mT:", np.allclose(K_batch.T, K_batch.mT))
assert (K_batch.mT[1] == K_batch[1].T).all()
assert not np.allclose(K_batch.T, K_batch.mT)

# %% [markdown]
# **01.4** The other way round: which scores give the weights 0.1, 0.2, 0.3, 0.4? Write it for any positive
# weights that sum to 1. Is yours the only answer?


# %%
def my_scores(weights):
    """weights (j,), positive, sum 1 → scores (j,) whose softmax they are."""
    ...


check("01.4", my_scores)

# %%
solution("01.4")

# %% [markdown]
# **01.5** How many multiply-adds does multi-head self-attention take for $n$ tokens with $c$ channels,
# $W_O$ included? (Why doesn't it matter how many heads?)


# %%
def my_count(n, c):
    """Tokens n, channels c → number of multiply-adds."""
    ...


check("01.5", my_count)

# %%
solution("01.5")

# %% [markdown]
# ## Where to read on
#
# - Vaswani et al. 2017, [*Attention Is All You Need*](https://arxiv.org/abs/1706.03762): section 3.2.1 has
#   our equation, and footnote 4 the argument for $\sqrt{d_k}$; section 3.2.2 has the heads.
# - Dosovitskiy et al. 2021, [*An Image is Worth 16x16 Words*](https://arxiv.org/abs/2010.11929): patches as
#   tokens.
# - Liu et al. 2021, [*Swin Transformer*](https://arxiv.org/abs/2103.14030): section 3.2 is what comes next.
# - [Chapter 02](02_patch_embedding.ipynb): how pixels become tokens in earnest.
