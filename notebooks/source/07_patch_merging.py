# %% [markdown]
# # 07 · Patch merging
#
# ![Patch merging: four neighbouring tokens become one row of four times the channels, normed and mapped to twice the channels](../figures/gallery/patch_merging.png)
#
# Blocks never change the shape of a map. Between the stages something has to: detectors and segmenters expect a pyramid
# of maps, fine ones first and coarse ones later, as convolutional networks give them. Patch merging is that step, in
# three lines.
#
# **After this chapter you can explain**
#
# - which four tokens become one, and where each of their channels goes;
# - (deeper) how it compares with a 2 × 2 convolution of stride 2, with space-to-depth, and with pooling;
# - why the order of the four neighbours matters for official weights, and (deeper) how to translate from another order;
# - (deeper) what happens to maps with odd sides, and in which order `F.pad` wants its numbers;
# - (deeper) why nothing can undo a patch merging exactly.

# %% jupyter={"source_hidden": true}
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from lesson import agree, check, side_by_side, solution

import swin_torch
from figures import photo_path
from figures.maps import show_maps
from figures.measure import bars
from figures.model import merging, pyramid
from figures.shapes import shape_line
from figures.windows import steps
from swin_numpy import CONFIGS, PatchMerging, SwinTransformer
from swin_numpy.functional import layer_norm, linear
from swin_numpy.pictures.images import denormalise, load_image, preprocess
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)

rng = np.random.default_rng(7)
torch.set_num_threads(1)  # small matrices: more threads would only wait

# %% [markdown]
# ## The idea
#
# Take the map in squares of 2 × 2 tokens. Lay the four rows of C numbers end to end: one row of 4C. Norm it, and map it
# to 2C numbers with one matrix. That is one token of the next stage:
#
# $$z'_{i,j} = W \; \mathrm{LN}\left(\left[\, z_{2i,\,2j},\;\; z_{2i+1,\,2j},\;\;
# z_{2i,\,2j+1},\;\; z_{2i+1,\,2j+1} \,\right]\right)$$
#
# $W$ is 2C × 4C and multiplies a column of numbers; tokens are stored as rows, and a row is multiplied by $W^\top$, 4C × 2C.
# Half as many rows, half as many columns, twice as many channels (Liu et al. 2021, section 3.1). Look
# at the order of the four: first down, then to the right. The picture is drawn for C = 96.

# %%
grid_of_names = np.arange(16).reshape(4, 4)
merging(grid_of_names)

# %% [markdown]
# ## By hand
#
# A map of 4 × 4 tokens with a single channel, C = 1, whose numbers count the tokens. Two loops go from square to
# square.


# %% jupyter={"source_hidden": true}
def gather_by_loop(x):
    """x (h, w, c), h and w even → (h/2·w/2, 4c)."""
    tokens = []
    for i in range(0, x.shape[0], 2):
        for j in range(0, x.shape[1], 2):
            four = x[i, j], x[i + 1, j], x[i, j + 1], x[i + 1, j + 1]
            tokens.append(np.concatenate(four))
    return np.array(tokens)


x = grid_of_names[:, :, None].astype(float)  # (h, w, c)
four = gather_by_loop(x)
print(four)

# %% [markdown]
# Now norm and matrix. For $W$ we take two rows that ask something about the square: *right minus left*, and *lower
# minus upper*. The norm subtracts the mean and divides by the spread (of 0, 4, 1, 5: printed below).

# %%
W = np.array([[-0.5, -0.5, 0.5, 0.5], [-0.5, 0.5, -0.5, 0.5]])
print("mean", four[0].mean(), " spread", four[0].std().round(2))
normed = layer_norm(four, np.ones(4), np.zeros(4))
print(normed[0].round(3), "→", (W @ normed[0]).round(3))
print((normed @ W.T).round(3))

# %% [markdown]
# All four new tokens are the same: this map rises evenly, and after the norm only the differences inside a square are
# left. (A row of ¼, ¼, ¼, ¼ would give 0 everywhere. Why? Add up the four normed numbers above.)

# %% [markdown]
# ## Gathering without loops
#
# Every second row, every second column: four slices of the map, each a quarter of it. That is how the official code
# (`PatchMerging` in `models/swin_transformer.py`) does it. Our packages do it with one arrow, in which `(p2 p1 c)` says the
# order: c runs fastest, then the row offset
# p1, then the column offset p2.

# %%
x = rng.normal(size=(2, 6, 10, 3))  # n, h, w, c
slices = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
by_slices = rearrange(np.concatenate(slices, axis=-1), "n h w c -> n (h w) c")
arrow = "n (h p1) (w p2) c -> n (h w) (p2 p1 c)"
by_arrow = rearrange(x, arrow, p1=2, p2=2)
agree("slices and loop", by_slices, [gather_by_loop(image) for image in x], bound=0)
agree("slices and arrow", by_slices, by_arrow, bound=0)

# %% [markdown]
# Nothing is lost so far: numbers have only moved from places to channels. With a photograph one can see it. Let each
# pixel be a token with three channels. The four slices are four small pictures that look alike, but they are not the
# same: the matrix $W$ can keep differences between neighbours, where a mean of the four would throw them away.

# %% jupyter={"source_hidden": true}
photo = preprocess(load_image(photo_path("chelsea")), 224).astype(np.float64)
pixels = denormalise(photo)[0]  # (224, 224, 3)
offsets = (0, 0), (1, 0), (0, 1), (1, 1)
quarters = {f"offset {a},{b}": pixels[a::2, b::2] for a, b in offsets}
show_maps(quarters)

# %% [markdown]
# **07.1** Gather, with slices. `x` (n, h·w, c), h and w even.


# %%
def my_gather(x, grid):
    """(n, h·w, c) → (n, h/2·w/2, 4c), official order."""
    ...


check("07.1", my_gather)

# %%
solution("07.1")

# %% [markdown]
# **07.2** Which number is it? For number `q` in the 4C channels, return (row offset, column offset, channel).


# %%
def my_origin(q, C):
    """0 ≤ q < 4C → (0 or 1, 0 or 1, 0 … C-1)."""
    ...


check("07.2", my_origin)

# %%
solution("07.2")

# %% [markdown]
# ## The library's version, twice

# %%
side_by_side("patches.PatchMerging.neighbours")

# %%
side_by_side("patches.PatchMerging.forward")


# %% jupyter={"source_hidden": true}
def twins(dim):
    """Both PatchMergings with the same random parameters, and these parameters."""
    numpy_merging = PatchMerging(dim).to(np.float64)
    torch_merging = swin_torch.PatchMerging(dim).double()
    state = numpy_merging.state_dict()
    p = {name: rng.normal(size=value.shape) for name, value in state.items()}
    numpy_merging.load_state_dict(p)
    torch_merging.load_state_dict({name: torch.tensor(p[name]) for name in p})
    return numpy_merging, torch_merging, p


# %%
numpy_merging, torch_merging, p = twins(3)
print({name: value.shape for name, value in p.items()})
tokens = rearrange(x, "n h w c -> n (h w) c")
y, grid = numpy_merging(tokens, (6, 10))
torch_y, torch_grid = torch_merging(torch.from_numpy(tokens), (6, 10))
agree("NumPy and PyTorch", y, torch_y)
four = np.array([gather_by_loop(image) for image in x])
by_loop = layer_norm(four, p["norm.weight"], p["norm.bias"]) @ p["reduction.weight"].T
agree("library and loop", y, by_loop)
print("grid (6, 10) →", grid, torch_grid)

# %% [markdown]
# ## The pyramid
#
# The photograph through Swin-T's patch embedding and its three mergings, with the blocks left out. Random weights: only
# the shapes are of interest here.

# %% jupyter={"source_hidden": true}
config = CONFIGS["swin_tiny_patch4_window7_224"]
model = SwinTransformer(config, seed=0, dtype=np.float64)
z, grid = model.embed(photo)
line, stages = [("tokens", z.shape)], [("stage 1", z.shape[2], grid)]
for stage, layer in enumerate(model.layers[:-1], 2):
    merge = layer.downsample
    four, _ = merge.neighbours(z, grid)
    z, grid = merge(z, grid)
    line += [("4 neighbours, norm", four.shape), ("reduction", z.shape)]
    stages.append((f"stage {stage}", z.shape[2], grid))
    parameters = sum(value.size for _, value in merge.named_parameters())
    print(
        f"into stage {stage}: {parameters:9,} parameters, {z[0].size:7,} numbers come out"
    )
shape_line(line)

# %%
pyramid(stages, config.window_size)

# %% [markdown]
# A quarter of the tokens, twice the channels: each merging halves how many numbers there are. And a window of 7 × 7 tokens, drawn on the fronts, covers a larger and
# larger part of the image: in stage 4 all of it.

# %% [markdown]
# ### Q40: In which order are the four neighbours joined, and what breaks with nn.Unfold?
#
# Label every number of a 2 × 2 square by three digits: row, column, channel; here with C = 2. Three orders are in use.
# (`nn.Unfold` is PyTorch's layer that cuts a map into squares; it keeps the numbers of one channel together.)

# %% jupyter={"source_hidden": true}
row, column, channel = np.indices((2, 2, 2))
labels = 100 * row + 10 * column + channel  # (h, w, c)
ORDERS = {"official": "(p2 p1 c)", "row by row": "(p1 p2 c)", "nn.Unfold": "(c p1 p2)"}
for name, order in ORDERS.items():
    numbers = rearrange(labels, f"p1 p2 c -> {order}")
    print(f"{name:11} {order}  ", "  ".join(f"{number:03}" for number in numbers))

unfold = torch.nn.Unfold(kernel_size=2, stride=2)
as_image = torch.from_numpy(rearrange(labels, "h w c -> 1 c h w")).double()
numbers = unfold(as_image)[0, :, 0].long().tolist()
assert numbers == rearrange(labels, "p1 p2 c -> (c p1 p2)").tolist()

# %% [markdown]
# What follows is a norm and a matrix, which can be permuted to suit any order: no order is better than another. But
# **weights and order belong together**. Weights for the official order (here random ones) run on Unfold's without any
# error (how to translate them is the first thing under "Deeper"):


# %% jupyter={"source_hidden": true}
def merge(x, order, p):
    """Patch merging of a map x (n, h, w, c), its four neighbours in `order`."""
    four = rearrange(x, f"n (h p1) (w p2) c -> n (h w) {order}", p1=2, p2=2)
    four = layer_norm(four, p["norm.weight"], p["norm.bias"])
    return linear(four, p["reduction.weight"])


def off(a, b):
    return f"{np.abs(a - b).max() / np.abs(b).max():.0%} off"


right = merge(x, "(p2 p1 c)", p)
agree("the official order is ours", right, y)
for name, order in ORDERS.items():
    print(f"official weights, {name:11} {off(merge(x, order, p), right)}")

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Translating weights from another order
#
# Q40 ran official weights on neighbours in another order, and got wrong numbers. To translate weights, permute the 4C
# columns of the matrix **and** the 4C weights and biases of the norm. Number the channels in the official order, and let
# the arrow tell where each one goes:


# %%
def translate(p, order):
    """Official parameters → parameters for neighbours in `order`."""
    C = len(p["norm.weight"]) // 4
    k = rearrange(np.arange(4 * C), f"(p2 p1 c) -> {order}", p1=2, p2=2, c=C)
    return {name: value[..., k] for name, value in p.items()}


for name, order in ORDERS.items():
    agree(f"translated for {name}", merge(x, order, translate(p, order)), right)
half = translate(p, "(c p1 p2)")
half["norm.weight"], half["norm.bias"] = p["norm.weight"], p["norm.bias"]
print("matrix permuted, norm forgotten:", off(merge(x, "(c p1 p2)", half), right))

# %% [markdown]
# In a fresh model the norm's weights are all 1 and its biases 0, and forgetting the norm goes unnoticed. So test a
# translation with random parameters.

# %% [markdown]
# **07.3** Someone trained with `nn.Unfold`. Return an index array `k` for which `unfolded[..., k]` is in the official
# order.


# %%
def my_permutation(C):
    """→ (4C,) of int."""
    ...


check("07.3", my_permutation)

# %%
solution("07.3")

# %% [markdown]
# ### What can 2C of 4C keep?
#
# The four slices of the photograph look alike. Each difference of two of them is a picture of edges: what changes from a
# pixel to its neighbour. A matrix $W$ after the gathering can keep some of it; a mean of the four would throw it away.

# %%
grey = {(a, b): pixels[a::2, b::2].mean(-1) for a, b in offsets}  # mean of the colours
show_maps(
    {
        "right − left": grey[0, 1] - grey[0, 0],
        "lower − upper": grey[1, 0] - grey[0, 0],
        "mean of the four": sum(grey.values()) / 4,
    },
    columns=3,
)

# %% [markdown]
# 4C numbers go into a merging and 2C come out. How much is lost? Try pixels, where one can look: squares of 2 × 2 pixels
# are 12 numbers each in colour, 4 in grey. Keep the best half of the sums (found by principal components), and do the
# same for the photograph's pixels in random order:


# %% jupyter={"source_hidden": true}
def squares(image):
    """(h, w, c) → a row of 4c numbers for each square, (h/2·w/2, 4c)."""
    return rearrange(image, "(h p1) (w p2) c -> (h w) (p2 p1 c)", p1=2, p2=2)


def half_kept(image):
    """Share of the variance of an image's squares that the best half of the directions keeps, and these."""
    variance, directions = np.linalg.eigh(np.cov(squares(image).T))  # smallest first
    half = len(variance) // 2
    return variance[half:].sum() / variance.sum(), directions[:, half:]


def back(image):
    """`image` (h, w, c), seen through the best half."""
    rows, (_, kept) = squares(image), half_kept(image)
    guess = rows.mean(0) + (rows - rows.mean(0)) @ kept @ kept.T
    return rearrange(
        guess, "(h w) (p2 p1 c) -> (h p1) (w p2) c", h=len(image) // 2, p1=2, p2=2
    )


# %%
colour = pixels / 255
mixed = rng.permutation(colour.reshape(-1, 3)).reshape(colour.shape)
images = {"colour": colour, "grey": colour.mean(-1, keepdims=True)}
images |= {"colour, mixed": mixed, "grey, mixed": mixed.mean(-1, keepdims=True)}
for name, image in images.items():
    print(
        f"{name:14} half of {4 * image.shape[2]:2} numbers keeps {half_kept(image)[0]:6.2%} of the variance"
    )
eye, pictures = (slice(50, 120), slice(20, 90)), {}
for name in ("colour", "grey"):
    seen = back(images[name]).clip(0, 1)
    pictures[name], pictures[f"{name}, from half"] = images[name][eye], seen[eye]
show_maps(
    {name: image.repeat(3 // image.shape[2], 2) for name, image in pictures.items()}
)

# %% [markdown]
# In colour hardly anything seems to be lost, but most of that is no merit of neighbours: the three colours of a pixel
# say almost the same, and half of 12 numbers keeps most even of pixels that aren't neighbours at all; what is lost
# then, neighbours bring down to almost nothing. In grey, neighbours make the difference between the second row and the
# fourth, and some of the detail does go. What tokens deep
# in a network lose isn't shown by this; there the matrix is learned.

# %% [markdown]
# ### Why not a strided convolution? It is one, but for the norm
#
# Without the norm, gathering and $W$ are exactly a convolution whose kernel covers 2 × 2 tokens and moves by 2. The
# matrix (2C, 4C) only has to be seen as a kernel (2C, C, 2, 2).

# %%
W = p["reduction.weight"]  # (6, 12): C = 3
kernel = rearrange(W, "e (p2 p1 c) -> e c p1 p2", p1=2, p2=2)
as_images = torch.from_numpy(rearrange(x, "n h w c -> n c h w"))
convolved = torch.nn.functional.conv2d(as_images, torch.from_numpy(kernel), stride=2)
convolved = rearrange(convolved, "n e h w -> n (h w) e")
agree("gather and multiply = convolution", by_arrow @ W.T, convolved)

# %% [markdown]
# With the norm it is still one convolution, and two corrections for each square: its mean $\mu$ and its spread
# $\sigma$, taken over all 4C numbers. With the norm's weight $\gamma$ and bias $\beta$:
#
# $$W\,\mathrm{LN}(v) = \frac{(W\gamma)\,v - \mu\,(W\gamma)\mathbf 1}{\sigma} + W\beta$$

# %%
scaled = W * p["norm.weight"]  # W γ: each column times its weight
kernel = rearrange(scaled, "e (p2 p1 c) -> e c p1 p2", p1=2, p2=2)
convolved = torch.nn.functional.conv2d(as_images, torch.from_numpy(kernel), stride=2)
convolved = rearrange(convolved.numpy(), "n e h w -> n (h w) e")

mu = by_arrow.mean(-1, keepdims=True)
sigma = np.sqrt(by_arrow.var(-1, keepdims=True) + 1e-5)
agree("with the norm", (convolved - mu * scaled.sum(1)) / sigma + W @ p["norm.bias"], y)

# %% [markdown]
# **And pooling?** Averaging is one choice of $W$ among many: four times ¼ for each channel. (Without the norm, as in
# the next cell. The norm takes away the mean of all 4C numbers first, and with C = 1 nothing was left.) It keeps C numbers out of
# 4C and can't learn to keep others. A flat square and a chessboard have the same mean:

# %%
quarter = np.tile(np.eye(3), 4) / 4  # (3, 12)
pooled = torch.nn.functional.avg_pool2d(as_images, 2)
pooled = rearrange(pooled, "n c h w -> n (h w) c")
agree("mean pooling is a matrix", by_arrow @ quarter.T, pooled)
flat, chessboard = np.array([3, 3, 3, 3]), np.array([0, 6, 6, 0])
for name, square in (("flat", flat), ("chessboard", chessboard)):
    down = square[1] - square[0]
    print(f"{name:10} mean {square.mean()}, lower left − upper left {down}")

# %% [markdown]
# **07.5** The official matrix as the kernel of a convolution with stride 2.


# %%
def my_kernel(weight):
    """(2C, 4C) → (2C, C, 2, 2)."""
    ...


check("07.5", my_kernel)

# %%
solution("07.5")

# %% [markdown]
# ### Does a trained merging pool?
#
# It could learn to. The repository ships a small Swin that was trained on pictures of clothes (chapter 10), with one
# patch merging. Four neighbours $a\ b$ over $c\ d$ can be told by their mean and three differences just as well:
#
# $$\tfrac12(a+b+c+d), \quad \tfrac12(a-b+c-d), \quad \tfrac12(a+b-c-d), \quad \tfrac12(a-b-c+d)$$
#
# (With ½ instead of ¼ this is a turn in four dimensions: it keeps lengths, and done twice it is undone.) So the matrix
# falls into four parts, one for each. How much of its squared weights is in which? Mean pooling would have all in the
# first; a random matrix has a quarter in each.

# %%
PARTS = ("mean", "left − right", "upper − lower", "diagonals")
signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
trained = SwinTransformer.from_checkpoint(TRAINED)
fresh = SwinTransformer(trained.config, seed=0)


def parts_of(model):
    """The matrix of the first merging as its four parts (2C, 4, C)."""
    W = model.layers[0].downsample.reduction.weight
    return signs @ rearrange(W, "e (p2 p1 c) -> e (p1 p2) c", p1=2, p2=2)


for name, small in (("trained", trained), ("fresh", fresh)):
    size = np.square(parts_of(small)).sum((0, 2))
    shares = zip(PARTS, size / size.sum(), strict=True)
    print(f"{name:8}", ",  ".join(f"{part} {share:.0%}" for part, share in shares))

# %% [markdown]
# Size is one thing, use another. Take parts out of the trained matrix, and let the model name 1,000 pictures that it
# wasn't trained on:


# %% jupyter={"source_hidden": true}
twin = swin_torch.SwinTransformer.from_checkpoint(TRAINED)  # the faster of the two
clothes = fashion_mnist(SUBSET, "test")
few, truth = torch.from_numpy(standardise(clothes.images[:1000])), clothes.labels[:1000]
learned = parts_of(trained)
with torch.inference_mode():
    stage_1 = twin.layers[0](
        *twin.embed(few)
    )  # what comes before the merging stays the same


@torch.inference_mode()
def accuracy(kept):
    """Share of right answers if the merging has only the parts `kept`."""
    weight = rearrange(
        signs @ (learned * np.isin(PARTS, kept)[:, None]),
        "e (p1 p2) c -> e (p2 p1 c)",
        p1=2,
    )
    merging = twin.layers[0].downsample
    merging.reduction.weight.copy_(torch.from_numpy(weight))
    x, grid = merging(stage_1, (14, 14))
    logits = twin.head(twin.norm(twin.layers[1](x, grid)).mean(1))
    return (logits.argmax(1).numpy() == truth).mean()


# %%
right = {
    "only the mean": accuracy(["mean"]),
    "only the differences": accuracy(PARTS[1:]),
}
for part in PARTS[1:]:  # without the mean there are only the differences
    right[f"without {part}"] = accuracy([other for other in PARTS if other != part])
right["all four"] = accuracy(PARTS)
error = np.sqrt(right["all four"] * (1 - right["all four"]) / len(truth))
print(f"standard error of one bar, from {len(truth):,} pictures: about {error:.1%}")
assert right["only the mean"] > right["only the differences"] + 5 * error
assert (
    right["all four"]
    > max(right["only the mean"], right["only the differences"]) + 5 * error
)
bars(right, "right answers", "the trained model with parts of its merging", "{:.1%}")

# %% [markdown]
# Neither the mean alone nor the differences alone will do: this model uses both, and the mean most. Of the single
# differences it misses left − right most, and the diagonals by no more than the error. (It was trained with all four
# parts. One that was trained with pooling would adapt to the mean; what that costs, only another training can tell.
# Chapter 10 does such experiments.)

# %% [markdown]
# ### The same step under other names
#
# Moving places into channels is called **space-to-depth**. YOLOv5 began with it until version 6.0 of 2021 replaced it by
# a convolution (its `Focus` layer in `models/common.py`, with the four slices in the same order as here), and PyTorch
# has `pixel_unshuffle`. The latter orders the 4C channels in another way: `(c p1 p2)`. So it equals our gathering up to
# a permutation of channels:

# %%
unshuffled = torch.nn.functional.pixel_unshuffle(as_images, 2)
unshuffled = rearrange(unshuffled.numpy(), "n c h w -> n (h w) c")
place = rearrange(np.arange(12), "(c p1 p2) -> (p2 p1 c)", c=3, p1=2, p2=2)
print("official channel k is channel place[k] of pixel_unshuffle:", place)
agree("pixel_unshuffle, permuted", unshuffled[..., place], by_arrow, bound=0)

# %% [markdown]
# ### Q41: Why is the norm on 4C before the reduction in V1, and on 2C after it in V2?
#
# Same gathering, same matrix, norm before (`models/swin_transformer.py`) or after it (`models/swin_transformer_v2.py`). Count
# first: parameters of Swin-T's three mergings, and the
# work for one image (multiply-adds of the matrix; numbers that the norm has to touch).


# %%
def version_2(x, p):
    """x (n, h, w, c): gather, reduce, then norm over 2C."""
    four = rearrange(x, "n (h p1) (w p2) c -> n (h w) (p2 p1 c)", p1=2, p2=2)
    half = linear(four, p["reduction.weight"])  # 2C
    width = half.shape[-1]
    return layer_norm(half, p["norm.weight"][:width], p["norm.bias"][:width])


print("        parameters  multiply-adds  numbers in the norm")
for version, channels_in_norm in ((1, 4), (2, 2)):
    parameters = work = touched = 0
    for C, (h, w) in zip(config.widths[:-1], config.grids[1:], strict=True):
        parameters += 8 * C * C + 2 * channels_in_norm * C
        work += h * w * 8 * C * C
        touched += h * w * channels_in_norm * C
    print(f"V{version} {parameters:15,} {work:14,} {touched:20,}")

# %% [markdown]
# So cost is hardly the reason: it is the same matrix, and the norm touches few numbers either way. The papers don't give
# one for this norm. What can be seen is what comes out. Make the stream that goes in a hundred times larger, or the matrix, and look at the spread of the new tokens (norms fresh,
# that is, weights 1 and biases 0):

# %%
z, grid = model.embed(photo)
z = rearrange(z, "n (h w) c -> n h w c", h=grid[0])
fresh = model.layers[0].downsample.state_dict()
large = fresh | {"reduction.weight": 100 * fresh["reduction.weight"]}
print("spread of new tokens     V1       V2")
for name, stream, q in (
    ("as it is", z, fresh),
    ("stream × 100", 100 * z, fresh),
    ("matrix × 100", z, large),
):
    one, two = merge(stream, "(p2 p1 c)", q), version_2(stream, q)
    print(f"{name:18} {one.std():9.3f} {two.std():8.3f}")

# %% [markdown]
# A norm on either side makes the step blind to how large the stream was. The difference is what the next stage starts
# from. In V1 its size follows the matrix; in V2 each stage starts from spread 1 (times the norm's own weights), whatever
# training made of the matrix. Each version does here what it does in its blocks: norm before the matrices, or after.

# %% [markdown]
# ### Q42: What should happen when H or W is odd?
#
# At 112 × 112 pixels Swin-T has maps of 28, 14 and 7 tokens a side, and 7 can't be halved. The slices say so
# themselves:

# %%
print("grids at 112:", replace(config, img_size=112).grids)
odd = rng.normal(size=(1, 7, 7, 3))
slices = [odd[:, a::2, b::2] for a, b in offsets]
print("slices:", [part.shape[1:3] for part in slices])
try:
    np.concatenate(slices, axis=-1)
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# Microsoft's classification code (`models/swin_transformer.py`) has an assertion for this and stops. Its detection code,
# torchvision (`_patch_merging_pad`) and this package add a row or a column of zeros, so that 7 becomes 8, and then 4.
# Rounding **up** means that nothing is left out. H and W are independent.

# %%
for grid_in in ((7, 7), (5, 8), (8, 5), (1, 1)):
    tokens = rng.normal(size=(1, grid_in[0] * grid_in[1], 3))
    y_odd, grid_out = numpy_merging(tokens, grid_in)
    torch_y, torch_grid = torch_merging(torch.from_numpy(tokens), grid_in)
    assert grid_out == tuple(torch_grid)
    agree(f"{grid_in} → {grid_out}", y_odd, torch_y)

# %% [markdown]
# The zeros do leave a mark. The matrix gets zeros for missing neighbours, and the norm before it runs over all 4C numbers,
# the zeros included. So a corner token with one
# real neighbour out of four is seen in another light than one with four. Take a map that is the same everywhere:

# %%
same_everywhere = np.tile(rng.normal(size=3), (1, 25, 1))
y_odd, (h, w) = numpy_merging(same_everywhere, (5, 5))
print("first channel of the 3 × 3 new tokens")
print(y_odd[0, :, 0].reshape(h, w).round(2))

# %% [markdown]
# Inside, all new tokens are equal. At the padded edge they differ. Trained at even sizes, a model has never seen
# such tokens. Multiples of 32 avoid it: 4 pixels a patch, halved three times, and 4 · 2 · 2 · 2 = 32.

# %% [markdown]
# ### Q43: In which order does F.pad take its numbers for an NHWC tensor?
#
# From the **last** axis backwards, two numbers for each: (before, after). In (n, h, w, c) the last axis is c, then comes
# w, then h. So zeros to the right and below are `F.pad(x, (0, 0, 0, W % 2, 0, H % 2))`. NumPy's `np.pad` starts from the
# first axis. Three ways to write it for a map of 5 × 6 tokens, where one row is missing:

# %%
x = torch.from_numpy(rng.normal(size=(1, 5, 6, 3)))
H, W = x.shape[1:3]
pad = torch.nn.functional.pad
ways = {
    "(0, 0, 0, W % 2, 0, H % 2)": pad(x, (0, 0, 0, W % 2, 0, H % 2)),
    "(0, 0, 0, H % 2, 0, W % 2)": pad(x, (0, 0, 0, H % 2, 0, W % 2)),
    "(0, W % 2, 0, H % 2)": pad(x, (0, W % 2, 0, H % 2)),
}
for numbers, padded in ways.items():
    print(f"{numbers:28} {tuple(x.shape)} → {tuple(padded.shape)}")
by_numpy = np.pad(x.numpy(), ((0, 0), (0, H % 2), (0, W % 2), (0, 0)))
agree(
    "np.pad, from the first axis", ways["(0, 0, 0, W % 2, 0, H % 2)"], by_numpy, bound=0
)

# %% [markdown]
# The second has H and W swapped, and adds a column instead of the row. The third is right for images (n, c, h, w), where
# w is last and h before it; here it pads w by H % 2, and would pad the **channels** by W % 2. Where both sides are
# odd, the second goes unnoticed, so test with H even and W odd, and the other way round.

# %% [markdown]
# ### Q44: Does a Swin-Unet style patch expanding invert patch merging?
#
# Swin-Unet goes down with patch merging and up again with *patch expanding* (`PatchExpand` in its
# `swin_transformer_unet_skip_expand_decoder_sys.py`): a matrix makes 2C
# channels out of C, and the arrow `h w (p1 p2 c) -> (h p1) (w p2) c` lays them out as 2 × 2 tokens of C/2. Send labelled
# tokens down the official order and up that arrow, with no matrices in between:

# %%
names = np.arange(16.0).reshape(1, 4, 4, 1)
down = rearrange(names, "n (h p1) (w p2) c -> n h w (p2 p1 c)", p1=2, p2=2)
up = {}
for order in ("(p1 p2 c)", "(p2 p1 c)"):
    up[order] = rearrange(down, f"n h w {order} -> n (h p1) (w p2) c", p1=2, p2=2)
maps = {"before": names} | {f"up again, {order}": x for order, x in up.items()}
steps({title: x[0, :, :, 0] for title, x in maps.items()}, 2)

# %% [markdown]
# In every square the two off-diagonal tokens have changed places: 1 and 4, 3 and 6, … The fix is to go up in the order
# in which one came down, `(p2 p1 c)`.

# %%
agree("down and up, one order", up["(p2 p1 c)"], names, bound=0)
moved = int((up["(p1 p2 c)"] != names).sum())
print(f"moved by the other: {moved} of {names.size} tokens")

# %% [markdown]
# Does it hurt? A network that is trained that way learns a matrix before the arrow, and a matrix can put its outputs
# in any order: permute its rows, and both arrows give the same. It hurts when weights come from a model with the other
# order, or when someone takes the pair for an inverse.

# %%
C = 4
expand = rng.normal(size=(2 * C, C))  # the matrix of a patch expanding
coarse = rng.normal(size=(1, 3, 5, C))
k = rearrange(np.arange(2 * C), "(p1 p2 c) -> (p2 p1 c)", p1=2, p2=2)
one, other = coarse @ expand.T, coarse @ expand[k].T
one = rearrange(one, "n h w (p1 p2 c) -> n (h p1) (w p2) c", p1=2, p2=2)
other = rearrange(other, "n h w (p2 p1 c) -> n (h p1) (w p2) c", p1=2, p2=2)
agree("rows of the matrix permuted", other, one)

# %% [markdown]
# Patch expanding isn't an inverse in any order. The reduction maps 4C numbers to 2C: half of the directions go to zero, and no
# matrix brings them back. And before that, the norm has forgotten mean and spread of the square. The best guess:

# %%
W = rng.normal(size=(6, 12))
print("rank of the reduction:", np.linalg.matrix_rank(W), "of", W.shape[1])
v = rng.normal(size=(100_000, 12))
guess = v @ W.T @ np.linalg.pinv(W).T
lost = ((v - guess) ** 2).sum() / (v**2).sum()
print(f"random numbers: {lost:.0%} of their energy is lost")

# %% [markdown]
# A U-shaped network has its fine maps carried across by skip connections, and needn't get them back from the coarse ones.

# %% [markdown]
# **07.4** Turn the gathering round: every token of 4c channels back to a square of four tokens. `grid` is that of the
# tokens that come in.


# %%
def my_scatter(x, grid):
    """(n, h·w, 4c) → (n, 2h·2w, c)."""
    ...


check("07.4", my_scatter)

# %%
solution("07.4")

# %% [markdown]
# ### Traps
#
# **1. A reshape instead of a gathering.** `x.reshape(n, h·w/4, 4c)` gives the right shape, too. But tokens lie row by
# row, so it joins four neighbours *in a row*, 1 × 4 instead of 2 × 2; and where w is not a multiple of 4, some of them
# lie at opposite edges of the image. Label the tokens by row and column:

# %%
row, column = np.indices((4, 6))
labels = (10 * row + column).reshape(1, 24, 1)
gathered = rearrange(labels, "n (h p1 w p2) c -> n (h w) (p2 p1 c)", h=2, p1=2, p2=2)
print("gathered: ", gathered[0, :3].tolist())
print("reshaped: ", labels.reshape(1, 6, 4)[0, :3].tolist())

# %% [markdown]
# The check, as in the chapter before: change one token, and see that exactly one new token feels it, and that four
# tokens of a square are felt by the same one. It finds H and W swapped, too:


# %%
def felt_at(merge, row, column, w=6):
    """Which new tokens change when token (row, column) of a 4 × 6 map does?"""
    x = np.random.default_rng(0).normal(size=(1, 24, 3))
    poked = x.copy()
    poked[0, row * w + column] += [1, -1, 0]
    return np.flatnonzero(np.any(merge(x) != merge(poked), axis=-1)[0]).tolist()


def gathered(x):
    return numpy_merging(x, (4, 6))[0]


def reshaped(x):
    four = layer_norm(x.reshape(1, 6, 12), p["norm.weight"], p["norm.bias"])
    return four @ p["reduction.weight"].T


# %%
def swapped(x):
    return numpy_merging(x, (6, 4))[0]


square = [(2, 4), (2, 5), (3, 4), (3, 5)]  # row, column
for f in (gathered, reshaped, swapped):
    print(f.__name__, square, "felt at", [felt_at(f, i, j) for i, j in square])

# %% [markdown]
# **2. The matrix with a bias, or the norm on C.** `Linear(4 * C, 2 * C)` has a bias unless told otherwise; a norm
# before the gathering has C weights instead of 4C. Official weights tell: a strict load lists what is missing,
# unexpected or of another shape.

# %%
official = {name: value.shape for name, value in p.items()}
print(official)
other = {"norm.weight": np.ones(3), "norm.bias": np.zeros(3)}
try:
    numpy_merging.load_state_dict(p | other | {"reduction.bias": np.zeros(6)})
except ValueError as error:
    print(error)

# %% [markdown]
# **3. The dropped row.** One way to get rid of an odd side is to cut the last row or column off. No error, and a strip of
# the map that no later layer will see. Poke the last token of a 5 × 5 map:

# %%
x5 = rng.normal(size=(1, 5, 5, 3))
poked = x5.copy()
poked[0, 4, 4] += [1, -1, 0]
for name, side in (("padded", 5), ("cut off", 4)):
    a, b = (v[:, :side, :side].reshape(1, side * side, 3) for v in (x5, poked))
    a, b = numpy_merging(a, (side, side))[0], numpy_merging(b, (side, side))[0]
    feel = int(np.any(a != b, axis=-1).sum())
    print(f"{name:8} {a.shape[1]} new tokens, {feel} of them feel token (4, 4)")

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, section 3.1, "To produce a hierarchical representation …". Liu et al. 2022 (V2), section 3.2.
#   Cao et al. 2021 (Swin-Unet), "Decoder", for patch expanding. Shi et al. 2016 for pixel shuffle.
# - In this package: `patches.py` in `swin_numpy` and `swin_torch`.
# - Next: [chapter 8](08_whole_model.ipynb). Patches, blocks, merging: now all of it together.
