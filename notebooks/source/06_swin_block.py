# %% [markdown]
# # 06 · The Swin block
#
# ![The Swin block: norm, attention in windows, a sum, norm, MLP, a sum, with the residual path beside them](../figures/gallery/block_version_1.png)
#
# Attention, layer norm, an MLP: all the parts are there. A Swin Transformer puts them together a dozen times or more,
# always in the same way. That way is the block: two corrections, added one after the other.
#
# **After this chapter you can explain**
#
# - what flows along the residual stream, and where the norms stand;
# - which part of a block lets tokens exchange something, and which part treats each token by itself;
# - how a map gets through shifted windows: shift, cut, attend, and all of it back;
# - what drop path drops, how often, and what it keeps on average.

# %% jupyter={"source_hidden": true}
import math
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from lesson import agree, check, fresh_and_trained, side_by_side, slider, solution
from torch.utils.flop_counter import FlopCounterMode

import swin_numpy
import swin_torch
from figures import photo_path
from figures.block import block_diagram, kept_branches
from figures.cost import parts
from figures.maps import show_maps
from figures.measure import curves
from figures.shapes import shape_line
from figures.windows import steps
from swin_numpy import CONFIGS, SwinTransformerBlock, cyclic_shift, shift_mask
from swin_numpy.functional import softmax
from swin_numpy.gelu import gelu
from swin_numpy.pictures.images import denormalise, load_image, preprocess, to_array
from swin_numpy.runtime.trace import record
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    fashion_mnist,
    standardise,
)
from swin_numpy.windows import pad_to_multiple, window_partition, window_reverse

rng = np.random.default_rng(6)
torch.set_num_threads(1)  # small matrices: more threads would only wait

# %% [markdown]
# ## The idea
#
# Every token carries a row of C numbers through the whole stage. A block never replaces that row. It computes a
# **correction** and adds it, twice:
#
# $$\hat z = z + \text{(S)W-MSA}(\mathrm{LN}(z)), \qquad\qquad z' = \hat z + \mathrm{MLP}(\mathrm{LN}(\hat z))$$
#
# (Liu et al. 2021, eq. 3.) First the tokens of a window look at each other, then each token is worked on by itself. The
# path from the first block of a stage to its last, which only ever receives additions, is the **residual stream**.
# In the picture above, the upper row is the block; the lower row opens its attention box (chapters 3 to 5 in one line).

# %% [markdown]
# ## By hand: four tokens, four channels
#
# One window of 2 × 2 tokens with C = 4. **Layer norm** takes each token alone: subtract the mean of its numbers, divide
# by their standard deviation. (Then scale and move; here by 1 and 0.)


# %%
def norm(token, weight=1.0, bias=0.0):
    """One token: its numbers brought to mean 0 and variance 1."""
    centred = token - sum(token) / len(token)
    variance = sum(centred**2) / len(token)  # + 1e-5: else a constant token gives 0 / 0
    return centred / math.sqrt(variance + 1e-5) * weight + bias


stream = np.array([[0, 0, 4, 4], [4, 4, 0, 0], [0, 4, 0, 4], [2, 2, 8, 8]], float)
normed = np.array([norm(token) for token in stream])
for before, after in zip(stream, normed, strict=True):
    print(before, "→", after.round(3))

# %% [markdown]
# The first and the last token differ, yet look the same after the norm: it forgets how far from 0 a token's
# numbers are, and how far apart. The stream, which the norm doesn't touch, still knows.

# %% [markdown]
# **06.2** Layer norm over the last axis, without a loop. `weight` and `bias` are (c,). Write the function, run the cell,
# and read what the check says. Stuck? Open the solution below it.


# %%
def my_layer_norm(x, weight, bias, eps=1e-5):
    """x (..., c) → (..., c)."""
    ...


check("06.2", my_layer_norm)

# %%
solution("06.2")

# %% [markdown]
# Now an attention that we can do in the head: all queries, keys and biases are zero, so all weights are ¼, and V and the
# output matrix change nothing. The branch is then the mean of the normed tokens, the same for all four.

# %%
branch = np.full((4, 4), 0.25) @ normed
stream_1 = stream + branch
print("branch, each token:", branch[0].round(3))
print(stream_1.round(3))

# %% [markdown]
# And an MLP with a single hidden unit. It gets each token after the second norm, asks *how much larger is channel 0 than
# channel 3?* and writes the answer to channel 1. Between asking and writing stands **GELU**, a soft switch: large positive numbers pass,
# negative ones hardly do.


# %% jupyter={"source_hidden": true}
def gelu_by_erf(u):
    """u · Φ(u), Φ(u) being the chance that a standard normal number is below u."""
    return u * 0.5 * (1 + math.erf(u / math.sqrt(2)))


stream_2 = stream_1.copy()
for token in stream_2:
    n = norm(token)
    asked = n[0] - n[3]
    token[1] += gelu_by_erf(asked)
    print(
        f"asked {asked:6.3f}, after GELU {gelu_by_erf(asked):6.3f}, stream {token.round(3)}"
    )
maps = {"the stream": stream, "+ attention": stream_1, "+ MLP": stream_2}
show_maps(maps, columns=3, bar="a row a token, a column a channel")

# %% [markdown]
# The second token's answer is a clear yes, and it gains the most in channel 1. That is a whole block. Now as code that
# works for any parameters, still a loop over tokens. (Folded away: the two branches; the first is one window
# of chapters 3 and 4.)


# %% jupyter={"source_hidden": true}
def attention_branch(x, p):
    """One window, one head. x (m, c), p: parameters by official name → (m, c)."""
    normed = np.array([norm(token, p["norm1.weight"], p["norm1.bias"]) for token in x])
    q, k, v = np.split(normed @ p["attn.qkv.weight"].T + p["attn.qkv.bias"], 3, axis=1)
    index = swin_numpy.relative_position_index(math.isqrt(len(x)))
    bias = p["attn.relative_position_bias_table"][index, 0]
    weights = softmax(q @ k.T / math.sqrt(x.shape[1]) + bias)
    return weights @ v @ p["attn.proj.weight"].T + p["attn.proj.bias"]


def mlp_branch(token, p):
    """token (c,) → (c,). It sees no other token."""
    token = norm(token, p["norm2.weight"], p["norm2.bias"])
    hidden = p["mlp.fc1.weight"] @ token + p["mlp.fc1.bias"]
    hidden = np.array([gelu_by_erf(u) for u in hidden])
    return p["mlp.fc2.weight"] @ hidden + p["mlp.fc2.bias"]


# %%
def block_by_loop(x, p):
    x = x + attention_branch(x, p)
    return np.array([token + mlp_branch(token, p) for token in x])


# %% [markdown]
# ## The library's version, twice
#
# The block without a shift, and its code. `forward` has one more line in NumPy: `save` keeps what the backward pass will need (chapter 9), and PyTorch does that
# unseen. `attend` is (S)W-MSA on a whole map, as chapter 5 lists it. In the MLP, `fc1`
# widens a token from C to 4C numbers and `fc2` brings it back to C; `drop1` and `drop2` are ordinary dropout, with rate
# 0 in the published models.

# %%
block_diagram(1, "W-MSA")

# %%
side_by_side("block.SwinTransformerBlock.forward")

# %%
side_by_side("layers.Mlp.forward")

# %% [markdown]
# Do all three agree? We give every parameter random values, norms included, so that nothing agrees by being zero or
# one.


# %% jupyter={"source_hidden": true}
def twins(*sizes, **options):
    """Both blocks in float64, with the same random parameters, and these parameters."""
    numpy_block = SwinTransformerBlock(*sizes, **options).to(np.float64)
    torch_block = swin_torch.SwinTransformerBlock(*sizes, **options).double().eval()
    state = numpy_block.state_dict()
    p = {name: 0.5 * rng.normal(size=value.shape) for name, value in state.items()}
    numpy_block.load_state_dict(p)
    torch_block.load_state_dict({name: torch.tensor(p[name]) for name in p})
    return numpy_block, torch_block, p


# %% jupyter={"source_hidden": true}
numpy_block, torch_block, p = twins(4, 1, window_size=2)
y = numpy_block(stream[None], (2, 2))
agree("one window: library and loop", y[0], block_by_loop(stream, p))
torch_y = torch_block(torch.tensor(stream[None]), (2, 2))
agree("one window: NumPy and PyTorch", y, torch_y)

# %% [markdown]
# **06.1** The block itself. `norm1`, `attend`, `norm2` and `mlp` are functions of the tokens `x`.


# %%
def block_forward(x, norm1, attend, norm2, mlp):
    """x (n, l, c) → (n, l, c), pre-norm."""
    ...


check("06.1", block_forward)

# %%
solution("06.1")

# %% [markdown]
# ## What a block does to a photograph
#
# Chelsea at 224 × 224 pixels gives 56 × 56 tokens of 96 channels. No trained Swin-T comes with the repository, so its
# parameters are the random ones that training would start from. The way through the second block of stage 1, which
# shifts, step by step (`note` only writes down the shape of what it is given):

# %% jupyter={"source_hidden": true}
config = CONFIGS["swin_tiny_patch4_window7_224"]
model = swin_numpy.SwinTransformer(config, seed=0, dtype=np.float64)
photo = preprocess(load_image(photo_path("chelsea")), 224).astype(np.float64)
z, grid = model.embed(photo)
block = model.layers[0].blocks[1]  # the second block of stage 1: SW-MSA
line = []  # (step, shape)


def note(name, x):
    """`x`, its shape noted in `line`."""
    line.append((name, x.shape))
    return x


# %%
x = note("tokens", z)
x = note("norm 1, map", rearrange(block.norm1(x), "n (h w) c -> n h w c", h=grid[0]))
x = note("pad", pad_to_multiple(x, 7))  # 56 is 8 · 7: nothing to add
x = note("shift", cyclic_shift(x, 3))
windows = note("windows", window_partition(x, 7))
windows = note("attention", block.attn(windows, shift_mask(56, 56, 7, 3)))
x = note("reverse", window_reverse(windows, 7, 56, 56))
x = note("shift back", cyclic_shift(x, -3))
branch = note("tokens", rearrange(x, "n h w c -> n (h w) c"))
agree("step by step, and attend", branch, block.attend(block.norm1(z), grid))

# %%
x = note("+", z + branch)
hidden = note("norm 2, fc1, GELU", gelu(block.mlp.fc1(block.norm2(x))))
x = note("fc2, +", x + block.mlp.fc2(hidden))
agree("step by step, and the block", x, block(z, grid))
shape_line(line)

# %% [markdown]
# ### The shape stays
#
# (N, H·W, C) goes in, (N, H·W, C) comes out, on every grid. So any number of blocks can follow each other.

# %%
any_size, _, _ = twins(12, 3, window_size=7, shift_size=3)
for grid_in in ((14, 14), (7, 7), (9, 20), (1, 30), (5, 3)):
    x = rng.normal(size=(2, grid_in[0] * grid_in[1], 12))
    assert any_size(x, grid_in).shape == x.shape
    print(f"{grid_in[0]:2} × {grid_in[1]:2} tokens: {x.shape} in and out")

# %% [markdown]
# Where does the map get smaller, then? Run the whole model: which modules give fewer tokens than they get?

# %%
steps_taken, tokens = record(model, photo), z.shape
for step in steps_taken[:-2]:  # the last two are the mean over tokens and the head
    if step.output.shape[1] < tokens[1]:
        print(f"{step.name:20} {step.what:14} {tokens} → {step.output.shape}")
        assert "downsample" in step.name
    tokens = step.output.shape

# %% [markdown]
# Three of them, and all are patch mergings (next chapter), each after a stage's last block. No block halves anything.

# %% [markdown]
# ## Attention mixes tokens, the MLP doesn't
#
# Change one token and see who feels it. Here on 14 × 14 tokens with windows of 7, token (5, 8), for each branch and
# for the whole block.

# %% jupyter={"source_hidden": true}
numpy_block, torch_block, p = twins(12, 3, window_size=7)
x = rng.normal(size=(1, 196, 12))
poked = x.copy()
poked[0, 5 * 14 + 8] += rng.normal(size=12)


def who_feels(f, grid=(14, 14)):
    """bool map (h, w): which tokens of f(x) change when token (5, 8) does?"""
    return np.any(f(x) != f(poked), axis=-1).reshape(grid)


# %% jupyter={"source_hidden": true}
felt = {
    "norm": who_feels(numpy_block.norm1),
    "attention": who_feels(lambda v: numpy_block.attend(v, (14, 14))),
    "MLP": who_feels(numpy_block.mlp),
    "block": who_feels(lambda v: numpy_block(v, (14, 14))),
}
print({name: int(tokens.sum()) for name, tokens in felt.items()})
show_maps(felt, window=7, query=(5, 8))

# %% [markdown]
# So the MLP may be given its tokens in any order, or one by one:

# %% jupyter={"source_hidden": true}
order = rng.permutation(196)
mlp = numpy_block.mlp
agree("MLP of shuffled tokens", mlp(x[:, order]), mlp(x)[:, order])
agree("MLP token by token", [mlp(token) for token in x[0]], mlp(x)[0])

# %% [markdown]
# ## Drop path
#
# **Stochastic depth**: in training, each branch of each image is left out with a certain probability, as if it had
# not been there (Huang et al. 2016, section 3; they draw once for a whole mini-batch, and rescale at test time instead). What
# is
# kept grows by 1 / (1 − rate), so that the mean of what a branch adds stays what it was. In evaluation nothing is dropped. A block is an
# addition, so leaving it out is easy: the stream simply goes on.

# %%
side_by_side("layers.DropPath.forward")

# %% jupyter={"source_hidden": true}
drop = swin_numpy.layers.DropPath(0.25).train()
swin_numpy.layers.seed_dropout(drop, 0)  # the same draws each time
x = np.ones((10, 4, 3))  # ten images, four tokens, three channels
y = drop(x)
print("each image:", [round(float(value), 3) for value in y[:, 0, 0]])
assert all(np.ptp(image) == 0 for image in y)  # dropped as a whole or not at all
assert drop.eval()(x) is x  # in eval mode the input itself comes back

# %% [markdown]
# Which branches take part, for twelve images of a batch? The two branches of a block draw separately. The rate grows evenly, from 0 at the first block to `drop_path_rate` at the last.


# %% jupyter={"source_hidden": true}
def draw(rate):
    draws = np.random.default_rng(0).random((12, 12, 2))
    kept = draws >= np.linspace(0, rate, 12)[:, None]
    title = f"drop_path_rate = {rate:.1f}: {kept.mean():.0%} of the branches are kept"
    return kept_branches(kept, f"Swin-T, {title}")


slider(draw, rate=(0.0, 0.9, 0.1, 0.2))

# %% [markdown]
# **06.3** Drop path in training mode. `rng.random(shape)` gives numbers from 0 to 1. Mind what is drawn once, and
# what happens to those that stay.


# %%
def my_drop_path(x, rate, rng):
    """x (n, l, c) → (n, l, c)."""
    ...


check("06.3", my_drop_path)

# %%
solution("06.3")

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Q38: Where does LayerNorm go, and what stays on the residual path?
#
# In Swin V1 the norm is the first thing on each branch, and nothing but sums lies on the stream of a stage. (So nothing norms the
# end of the stream either; the model has one more norm after its last block.) Three orders are common; $f$ is a branch:
#
# | order | formula |
# |---|---|
# | post-norm: the first Transformer (Vaswani et al. 2017, section 3.1) | $\mathrm{LN}(x + f(x))$ |
# | **pre-norm: ViT, Swin V1** | $x + f(\mathrm{LN}(x))$ |
# | res-post-norm: Swin V2 | $x + \mathrm{LN}(f(x))$ |
#
# Send a stream through one attention branch in each order, then a stream a thousand times as large:

# %%
ORDERS = {
    "pre-norm": lambda x, norm, f: x + f(norm(x)),
    "post-norm": lambda x, norm, f: norm(x + f(x)),
    "res-post-norm": lambda x, norm, f: x + norm(f(x)),
}
some_block, _, _ = twins(12, 3, window_size=7)
x = rng.normal(size=(2, 196, 12))
for name, order in ORDERS.items():
    for scale in (1, 1000):
        out = order(
            scale * x, some_block.norm1, lambda v: some_block.attend(v, (14, 14))
        )
        change = np.std(out - scale * x)
        print(
            f"{name:14} stream of spread {scale:4}: comes out with {out.std():8.2f}, changed by {change:7.2f}"
        )

# %% [markdown]
# Post-norm resets the stream: what came in large goes out with the spread that the norm's weights set. The other two
# leave it alone and add something whose size hardly depends on it. What that does to a stack of 24 blocks and to its
# gradients, and what cosine attention does beside V2's norms, is measured in [chapter 12](12_swin_v2.ipynb). (V2's
# largest models do norm the stream now and then, after every six blocks: Liu et al. 2022, section 3.2.)

# %% [markdown]
# ### What each branch adds, and where
# A hook on the two `drop_path` modules sees what is about to be added. The
# maps show the size of that row of 96 numbers, token by token, for the first block of stage 1 (W-MSA).


# %%
def added_by(blocks, run):
    """What the branches add to the stream in `run()`: attention, MLP, attention, …"""
    added, hooks = [], []
    for block in blocks:
        for branch in (block.drop_path1, block.drop_path2):
            catch = lambda module, inputs, output: added.append(output)
            hooks.append(branch.register_forward_hook(catch))
    run()
    for hook in hooks:
        hook.remove()
    return added


def size_map(x):
    """Length of each token's row, as a map."""
    return np.linalg.norm(x[0], axis=-1).reshape(grid)


block = model.layers[0].blocks[0]
titles = "the stream", "added by attention", "added by the MLP"
maps = [size_map(x) for x in (z, *added_by([block], lambda: block(z, grid)))]
for title, values in zip(titles, maps, strict=True):
    print(f"{title:19} mean size {values.mean():6.3f}")

# %%
pictures = {"photograph": denormalise(photo)[0], titles[1]: maps[1], titles[2]: maps[2]}
show_maps(pictures, columns=3, window={titles[1]: 7, titles[2]: 7})

# %% [markdown]
# Each map has its own scale, from its smallest to its largest number; the print above has the true sizes. (The patch
# embedding ends with a norm: 96 numbers of variance 1 make a row of length √96.) The attention branch is made of squares:
# here the corrections of one window are nearly of one size. The MLP branch differs from token to token.

# %% [markdown]
# ### The stream is a sum
#
# If blocks only add, then the last stream is the first one plus all corrections, in any order. Here for the six
# blocks of Swin-T's third stage: twelve corrections.

# %%
first = rng.normal(size=(1, 14 * 14, 384))
stage = model.layers[2]
added = added_by(stage.blocks, lambda: stage(first, (14, 14)))
last = stage(first, (14, 14))
print("corrections:", len(added))
agree("first + all corrections = last", first + sum(added), last)

# %% [markdown]
# ### How large are the corrections?
#
# The repository ships a small Swin that was trained on pictures of clothes (chapter 10): two blocks on 14 × 14 tokens, a
# patch merging, four blocks on 7 × 7. Through it, through the random weights that it started from, and through those of the
# published initialisation, go 20 pictures that it wasn't trained on. For each branch: the mean length of the rows that it adds, divided by the mean length of the
# rows they are added to.


# %% jupyter={"source_hidden": true}
def length(x):
    """Mean length of the rows of x."""
    return np.linalg.norm(x, axis=-1).mean()


def relative_sizes(model, images):
    """(blocks, 2): how much attention and MLP add, relative to the stream before."""
    x, grid = model.embed(images)
    sizes = []
    for layer in model.layers:
        run = lambda layer=layer, x=x, grid=grid: layer(x, grid)
        stream = x
        for correction in added_by(layer.blocks, run):
            sizes.append(length(correction) / length(stream))
            stream = stream + correction
        agree(f"grid {grid}: sum and layer", stream, run())
        x, grid = layer.downsample(stream, grid) if layer.downsample else (stream, grid)
    return np.array(sizes).reshape(-1, 2)


# %%
clothes = standardise(fashion_mnist(SUBSET, "test").images[:20]).astype(np.float64)
start, trained = fresh_and_trained()
published = swin_numpy.SwinTransformer(trained.config, seed=0, dtype=np.float64).eval()
models = {"trained": trained, "its start": start, "published start": published}
sizes = {name: relative_sizes(model, clothes) for name, model in models.items()}

# %%
plots = {}
for k, title in enumerate(("added by attention", "added by the MLP")):
    plots[title] = {name: size[:, k] for name, size in sizes.items()}
curves(plots, "block", logy=True)

# %%
for name, size in sizes.items():
    attention, mlp = size.mean(0)
    print(f"{name:15} attention adds {attention:.1%} of the stream, the MLP {mlp:.1%}")

# %% [markdown]
# (The scale is logarithmic.) The initialisation decides how large the first corrections are: weights of
# spread 0.02 make them small, and those that this training started from ([chapter 10](10_training.ipynb)) don't. From
# there, measured by the stream, the MLPs' corrections grew in the first and the last block, and those of attention hardly
# changed on average. (The stream itself grew. One training.)

# %% [markdown]
# ### GELU, and which one
#
# $\mathrm{GELU}(u) = u \cdot \Phi(u)$, with $\Phi(u) = \tfrac12\left(1 + \mathrm{erf}(u / \sqrt 2)\right)$. A formula
# with tanh, an approximation, goes by the same name. Swin uses the exact one (`act_layer=nn.GELU` in Microsoft's
# `models/swin_transformer.py`), and so do
# both twins.

# %%
u = np.linspace(-4, 4, 401)
tanh = 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))
theirs = torch.nn.functional.gelu
agree("NumPy, and Python's own erf", gelu(u), [gelu_by_erf(value) for value in u])
agree("NumPy, and PyTorch's default", gelu(u), theirs(torch.tensor(u)))
agree("tanh, and PyTorch's tanh", tanh, theirs(torch.tensor(u), approximate="tanh"))

# %%
gap = np.abs(tanh - gelu(u))
where = abs(u[gap.argmax()])
print(f"exact and tanh differ by up to {gap.max():.1e}, at u = ±{where:.2f}")
times = gap.max() / np.finfo(np.float32).eps
print(f"that is {times:,.0f} times the rounding of float32")
lines = {"GELU": gelu(u), "ReLU": np.maximum(u, 0)}
curves({"the functions": lines, "difference of the two GELUs": {"": gap}}, "u", x=u)

# %% [markdown]
# Small, but far more than rounding. A checkpoint runs with the other formula without any error; only a comparison of
# numbers tells.

# %% [markdown]
# ### Drop path keeps the mean
#
# The mean over many draws of the module alone, in both twins, against the standard error of such a mean:

# %%
many, rate = 40_000, 0.25
error = math.sqrt(rate / (1 - rate) / many)
numpy_mean = drop.train()(np.ones((many, 1, 1))).mean()
torch.manual_seed(0)
torch_drop = swin_torch.layers.DropPath(rate).train()
torch_mean = torch_drop(torch.ones(many, 1, 1)).mean().item()
for name, mean in (("NumPy", numpy_mean), ("PyTorch", torch_mean)):
    print(f"{name:8} mean {mean:.4f}, expected 1 ± {error:.4f}")
    assert abs(mean - 1) < 4 * error

# %% [markdown]
# ### Q39: Is the drop-path rate constant, and which rate belongs to T, S and B?
#
# It grows from block to block: linearly over **all** blocks of the model, from 0 for the first to `drop_path_rate` for
# the last. It does not start again in each stage. (The reason that Huang et al. 2016 give in section 3: early layers
# extract features that all later ones use, and should be there more reliably.) The rates of Swin-T, and a check that the
# modules of both twins carry them, on both branches:

# %%
for stage, rates in enumerate(config.drop_path_rates, 1):
    print(f"stage {stage}:", "  ".join(f"{rate:.4f}" for rate in rates))

expected = [rate for rates in config.drop_path_rates for rate in rates]
narrow = swin_torch.SwinTransformer(replace(config, embed_dim=24))  # same depths
for built in (model, narrow):
    blocks = [block for layer in built.layers for block in layer.blocks]
    assert [block.drop_path1.drop_prob for block in blocks] == expected
    assert [block.drop_path2.drop_prob for block in blocks] == expected
agree("linear from 0 to the rate", expected, np.linspace(0, config.drop_path_rate, 12))

# %% [markdown]
# The official training configurations for ImageNet-1k from scratch (`configs/swin/`) give larger models a higher last rate:

# %%
rates = {}
for name in ("tiny", "small", "base"):
    of_model = CONFIGS[f"swin_{name}_patch4_window7_224"]
    rates[name] = [rate for stage in of_model.drop_path_rates for rate in stage]
    kept = sum(1 - rate for rate in rates[name])
    blocks = f"of {len(rates[name])} blocks {kept:.1f} take part on average"
    print(f"{name:6} last rate {rates[name][-1]:.1f}; {blocks}")
curves(rates, "block, counted from 0", "drop-path rate")

# %% [markdown]
# **06.4** The rate of every block, as a list of one list for each stage. There are at least two blocks.


# %%
def my_rates(depths, last_rate):
    """(2, 2) and 0.3 → [[0.0, 0.1], [0.2, 0.3]], but for rounding."""
    ...


check("06.4", my_rates)

# %%
solution("06.4")

# %% [markdown]
# ### Any size: pad, shift, cut, attend, back
#
# `shift_for` gives the block's shift, or 0 along a side that one window covers; `mask_for` gives the mask that belongs to
# it. `in_windows` reads the same in both packages, letter for letter:

# %%
side_by_side("block.SwinTransformerBlock.attend")
side_by_side("block.SwinTransformerBlock.in_windows")

# %% [markdown]
# A map of 5 × 6 tokens, windows of 4 × 4. Neither side is a multiple of 4, so zeros are added at the bottom and at
# the right. Then comes the shift, here by 2, then the cut. Numbers are the tokens, grey is padding.

# %%
labels = np.arange(1, 31).reshape(1, 5, 6, 1)
padded = pad_to_multiple(labels, 4)
shifted = cyclic_shift(padded, 2)


def shown(x):
    """A map (1, h, w, 1) to draw: (h, w), padding as NaN."""
    return np.where(x[0, :, :, 0] == 0, np.nan, x[0, :, :, 0])


maps = {"map 5 × 6": labels, "padded to 8 × 8": padded, "shifted by 2": shifted}
steps({title: shown(x) for title, x in maps.items()}, window=4)

# %% [markdown]
# The four windows are cut from the right-hand map. After attention the same steps are walked back: reverse, shift back,
# crop. If attention changed nothing, the map would be there again:

# %%
windows = window_partition(shifted, 4)
print("windows (n, k, m, c)", windows.shape)
back = cyclic_shift(window_reverse(windows, 4, 8, 8), -2)
agree("there and back", back[:, :5, :6], labels, bound=0)

# %% [markdown]
# The order matters: **first pad, then shift**. The mask belongs to the padded map; it knows that the seam lies 2 rows
# above its lower edge. Which tokens may token 1, in the upper left corner, look at?


# %%
def seen_by(token, shifted):
    """Labels that share the token's window and aren't masked; 0 is padding."""
    windows = window_partition(shifted, 4)[0, :, :, 0]  # (k, m)
    k, i = np.argwhere(windows == token)[0]
    visible = shift_mask(8, 8, 4, 2)[k, i] == 0
    return sorted(set(windows[k, visible].tolist()))


print("pad, then shift:", seen_by(1, cyclic_shift(pad_to_multiple(labels, 4), 2)))
print("shift, then pad:", seen_by(1, pad_to_multiple(cyclic_shift(labels, 2), 4)))

# %% [markdown]
# In the right order token 1 sees the 2 × 2 corner that it lies in, which is its shifted window cut off by the edge of
# the image. In the wrong order it sees tokens from the lower edge: a leak that no shape and no error betrays. On whole
# blocks the check is to poke one token and list who feels it, as with "H and W swapped" in the traps below.

# %% [markdown]
# ### The padding takes part
#
# The mask says nothing about padding. A padded token is zero after the norm, but it has a key and a value, the
# biases of `qkv`, and real tokens give it attention. Microsoft's detection code (`swin_transformer.py`: `F.pad` after
# `norm1`) and torchvision (`shifted_window_attention`) do the same, and so do both twins. How much is it, for the whole
# photograph in its own size?

# %%
whole = to_array(load_image(photo_path("chelsea"))).astype(np.float64)
z, grid = model.embed(whole)
padded_grid = [-(-side // 7) * 7 for side in grid]
real = np.zeros((1, *padded_grid, 1))
real[:, : grid[0], : grid[1]] = 1
real = window_partition(real, 7)[0, :, :, 0]  # (k, m): 1 real, 0 padding
print("picture", whole.shape[2:], "→ grid", grid, "→ padded", tuple(padded_grid))

# %%
block = model.layers[0].blocks[0]
x = rearrange(block.norm1(z), "n (h w) c -> n h w c", h=grid[0])
windows = window_partition(pad_to_multiple(x, 7), 7)
weights = block.attn.attention_weights(windows)[0].mean(1)  # of the heads: (k, i, j)
lost = np.einsum("kij,kj->ki", weights, 1 - real)
paid = lost[real == 1]  # by real tokens
print(f"paid to padding: at most {paid.max():.0%}, on average {paid.mean():.1%}")
rows, columns = (side % 7 or 7 for side in grid)
print(f"real in the last windows: {rows} of 7 rows, {columns} of 7 columns")

# %%
share = window_reverse(lost[None, :, :, None], 7, *padded_grid)[0, :, :, 0]
share = share[: grid[0], : grid[1]]
pictures = {"photograph": denormalise(whole)[0], "attention paid to padding": share}
show_maps(pictures, 2)

# %% [markdown]
# Only windows that reach over the edge pay, and the more, the fewer real columns or rows they have: with these random
# weights a token looks at all 49 about equally. At 224 × 224 no stage of Swin-T pads, so at the published size it makes
# no difference.

# %% [markdown]
# ### Where the parameters are, and the work
#
# Everything about a block can be counted from C, the number of heads, M and the grid.

# %%
C, heads, M, hw = 96, 3, 7, 56 * 56
table = {  # name: (parameters, multiply-adds)
    "norms": (2 * 2 * C, 0),
    "attention: qkv": (3 * C * C + 3 * C, hw * 3 * C * C),
    "attention: bias table": ((2 * M - 1) ** 2 * heads, 0),
    "attention: Q Kᵀ, weights · V": (0, 2 * hw * M * M * C),
    "attention: proj": (C * C + C, hw * C * C),
    "MLP: fc1": (4 * C * C + 4 * C, hw * 4 * C * C),
    "MLP: fc2": (4 * C * C + C, hw * 4 * C * C),
}
parameters, operations = np.array(list(table.values())).T
parts(table, parameters, operations)

# %% [markdown]
# Counted by hand; so let others count as well. The parameters: the block itself. The multiply-adds: PyTorch's counter,
# which watches the matrix products while they run (a multiplication and an addition are two operations to it). And
# equation 2 of the paper for the attention.

# %%
torch_block = swin_torch.SwinTransformerBlock(C, heads, input_resolution=(56, 56))
assert parameters.sum() == sum(value.numel() for value in torch_block.parameters())
with FlopCounterMode(display=False) as counter, torch.inference_mode():
    torch_block(torch.zeros(1, hw, C), (56, 56))
assert operations.sum() * 2 == counter.get_total_flops()
assert operations[1:5].sum() == 4 * hw * C**2 + 2 * M**2 * hw * C
attention, mlp = operations[1:5].sum(), operations[5:].sum()
print(f"{parameters.sum():,} parameters, {operations.sum():,} multiply-adds")
print(f"{mlp / (attention + mlp):.0%} of the multiply-adds are in the MLP")

# %% [markdown]
# So less than half of this block's multiply-adds are in the part that gave the model its name. Time is another matter: softmax,
# norms, GELU and moving windows about multiply little and take time too ([chapter 13](13_speed.ipynb)).

# %% [markdown]
# **06.5** How many parameters has a block of `C` channels with `heads` heads, windows of `M` × `M`, and an MLP four
# times as wide as the stream? All biases are there.


# %%
def count_parameters(C, heads, M):
    """→ int."""
    ...


check("06.5", count_parameters)

# %%
solution("06.5")

# %% [markdown]
# ### Traps
#
# Four mistakes. All of them run, and give the right shape.

# %%
numpy_block, torch_block, p = twins(12, 3, window_size=4, shift_size=2)
x = rng.normal(size=(2, 30, 12))
grid = (5, 6)
right = numpy_block(x, grid)


def difference(y):
    return f"{np.abs(y - right).max() / np.abs(right).max():.0%} off"


# %% [markdown]
# **1. The forgotten residual.** `x = attn(norm(x))` instead of `x = x + attn(norm(x))`. The check: set the last matrix
# of both branches to zero. Then there is nothing to add, and a block must give back exactly what it got.


# %%
def no_residual(block, x, grid):
    x = block.attend(block.norm1(x), grid)
    return block.mlp(block.norm2(x))


print("no residual:", difference(no_residual(numpy_block, x, grid)))
silent = {name: (0 if "proj" in name or "fc2" in name else 1) * p[name] for name in p}
numpy_block.load_state_dict(silent)
for name, f in (("block", SwinTransformerBlock.forward), ("no residual", no_residual)):
    same = np.array_equal(f(numpy_block, x, grid), x)
    print(f"{name:12} with silent branches: identity? {same}")
_ = numpy_block.load_state_dict(p)

# %% [markdown]
# **2. The norm after instead of before.** The same parameters, so a checkpoint loads without complaint. The check is that
# of question 38: a pre-norm branch adds the same to a stream a thousand times as large (but for the 1e-5 in the norm).


# %%
def post_norm(block, x, grid):
    x = block.norm1(x + block.attend(x, grid))
    return block.norm2(x + block.mlp(x))


def attention_only(f, scale):
    """What f adds to a stream of `scale` · x, MLP branch silenced."""
    return f(numpy_block, scale * x, grid) - scale * x


print("norm after:", difference(post_norm(numpy_block, x, grid)))
numpy_block.load_state_dict({name: ("fc2" not in name) * p[name] for name in p})
for name, f in (("block", SwinTransformerBlock.forward), ("norm after", post_norm)):
    small, large = attention_only(f, 1), attention_only(f, 1000)
    change = np.abs(large - small).max() / np.abs(small).max()
    print(f"{name:11} correction changes by {change:.1e}")
_ = numpy_block.load_state_dict(p)

# %% [markdown]
# **3. H and W swapped.** 5 · 6 = 6 · 5, so no reshape complains. On square maps the mistake can't even be seen, which
# is why tests should use maps that are not square. The check: poke one token, and list who feels it. It must be a
# rectangle around it.


# %%
def feels(f, token, grid):
    """Map (h, w) of bool: who changes when `token` (row, column) of image 0 does?"""
    poked = x.copy()
    poked[0, token[0] * grid[1] + token[1]] += 1
    changed = f(numpy_block, x, grid) != f(numpy_block, poked, grid)
    return changed[0].any(axis=-1).reshape(grid)


def swapped(block, x, grid):
    return block.attend(x, (grid[1], grid[0]))


good, bad = (
    feels(SwinTransformerBlock.attend, (0, 5), grid),
    feels(swapped, (0, 5), grid),
)
show_maps({"grid (5, 6)": good, "as if (6, 5)": bad}, 4, query=(0, 5))

# %% [markdown]
# **4. One norm for both branches.** `norm1` used twice, `norm2` never. A fresh model shows nothing: all norms start
# with weights 1 and biases 0. Two checks find it: random parameters, and the gradient of `norm2`, which isn't there.


# %%
def shared_norm(block, x, grid):
    x = x + block.attend(block.norm1(x), grid)
    return x + block.mlp(block.norm1(x))


fresh = SwinTransformerBlock(12, 3, window_size=4, shift_size=2).to(np.float64)
same = np.array_equal(shared_norm(fresh, x, grid), fresh(x, grid))
print("fresh parameters, same output:", same)
print("random parameters:", difference(shared_norm(numpy_block, x, grid)))
shared_norm(torch_block, torch.from_numpy(x), grid).sum().backward()
named = torch_block.named_parameters()
without = [name for name, value in named if value.grad is None]
print("parameters without a gradient:", without)

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, section 3.2 and eq. 3: two successive blocks; appendix A2.1: drop path 0.2, 0.3, 0.5.
# - Xiong et al. 2020, *On Layer Normalization in the Transformer Architecture*: pre-norm against post-norm. Huang et al.
#   2016: stochastic depth.
# - In this package: `block.py` and `layers.py`, in `swin_numpy` and `swin_torch`.
# - Next: [chapter 7](07_patch_merging.ipynb). Blocks never change the shape; patch merging does.
