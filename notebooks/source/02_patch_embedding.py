# %% [markdown]
# # 02 · Patch embedding: from pixels to tokens
#
# ![A photograph with its grid of patches, and an enlarged part of it in which single patches can be seen](../figures/gallery/patch_grid.png)
#
# After this chapter you can explain
#
# - how a picture becomes a list of rows, one for each patch, and which number of a row is which pixel;
# - why "cut, flatten, multiply by one matrix" and "convolution with stride 4" are the same computation;
# - what `(n, h·w, C)` means, and why the grid `(h, w)` has to travel beside it;
# - what stands between the patch embedding and the first block.

# %% jupyter={"source_hidden": true}
import numpy as np
import torch
from einops import rearrange
from lesson import agree, check, fresh_and_trained, side_by_side, solution
from PIL import Image

import swin_numpy
import swin_torch
from figures import photo_path
from figures.maps import show_maps
from figures.patches import patch_grid, patch_to_row, patches_of_grid
from figures.shapes import shape_line
from figures.windows import numbered_grid
from swin_numpy.pictures.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    denormalise,
    load_image,
    preprocess,
    to_array,
)
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    fashion_mnist,
    standardise,
)

# %% [markdown]
# ## The idea
#
# Self-attention takes a matrix with one row for each token, and a photograph isn't one. So a Swin Transformer first cuts
# it into small squares, the **patches**, lays the numbers of each patch in one row, and maps every row with one and the
# same matrix. What comes out are the **tokens**: C numbers each (96 in the smallest Swin).
#
# Two steps, and only the second has anything to learn. P holds all the rows of numbers; n counts the images:
#
# $$\text{image } (n, 3, 4h, 4w) \;\xrightarrow{\text{cut}}\; P\; (n, hw, 48)
# \;\xrightarrow{\;P\,W^\top + b\;}\; \text{tokens } (n, hw, C), $$
#
# with h and w the numbers of patches down and across, and $W$ the learned matrix. It has a row for each of the C channels,
# as PyTorch stores it, hence $W^\top$; in chapters 0 and 1 it lay the other way round.

# %% [markdown]
# ## An image is a block of numbers
#
# Its axes are n (which picture of the batch), c (red, green, blue), then rows and columns. Here is one small enough
# to read. Every number spells its own address: 132 lies in channel 1, row 3, column 2.

# %%
c, row, column = np.indices((3, 4, 6))
image = 100 * c + 10 * row + column
images = image[None]  # a batch of one
print(images.shape)
print(image[1])  # the green plane

# %% [markdown]
# ## Cutting, by loop
#
# Patches of 2 × 2 this time. Two loops walk over the corners, row by row, as one reads a page. Each patch is a little
# block (c, p, p), and `reshape(-1)` writes it in one row: **channel by channel, and inside a channel row by row**.
# That order has a name that we will meet again: `(c p1 p2)`, p1 the row inside the patch, p2 the column.


# %% jupyter={"source_hidden": true}
def cut_by_loop(image, p):
    """image (c, H, W) → patches (h·w, c·p·p)."""
    patches = []
    for top in range(0, image.shape[1], p):
        for left in range(0, image.shape[2], p):
            patch = image[:, top : top + p, left : left + p]  # (c, p, p)
            patches.append(patch.reshape(-1))
    return np.stack(patches)


patches = cut_by_loop(image, 2)
print(patches.shape)
print(patches)

# %% [markdown]
# Read the first row: four numbers of the red plane (0, 1, 10, 11), then the same four places in green, then in blue.
# The picture shows the green plane with its patches, and the number of the token that each one becomes.

# %%
patches_of_grid(image[1], 2, ("green plane, patches of 2 × 2", "tokens"))

# %% [markdown]
# ## Cutting, by arrow
#
# The same cut in one line. On the left of the arrow H is split in (h p1) and W in (w p2); on the right the pieces are
# put together again in another order. Nothing is computed, numbers only change places.
#
# `agree` compares two results: their shapes, and the largest difference divided by the largest number. A difference
# of 1e-16 is rounding in the last digit of float64.

# %%
arrow = "n c (h p1) (w p2) -> n (h w) (c p1 p2)"
agree("loop and arrow", rearrange(images, arrow, p1=2, p2=2), patches[None])

# %% [markdown]
# Write the function, run the cell, and read what the check says. Stuck? Open the solution below it.
#
# **02.1** Cut without einops: only `reshape` and `transpose`. `images` (n, c, H, W), p divides H and W; return (n,
# h·w, c·p·p) in the order (c p1 p2).


# %%
def cut(images, p):
    """(n, c, H, W) → (n, h·w, c·p·p)."""
    ...


check("02.1", cut)

# %%
solution("02.1")

# %% [markdown]
# **02.2** Put the patches back: `patches` (n, h·w, c·p·p) and `grid` (h, w) → images (n, c, H, W).


# %%
def glue(patches, grid, p):
    """(n, h·w, c·p·p) and (h, w) → (n, c, H, W)."""
    ...


check("02.2", glue)

# %%
solution("02.2")

# %% [markdown]
# ## One matrix for all patches
#
# Each patch is a row of numbers $r$. A token is $t = W r + b$: C weighted sums of the pixels of one patch. The same
# $W$ and $b$ serve every patch, so all tokens of all images come out of one matrix product, $P\,W^\top + b$.
#
# In a real Swin Transformer a patch is 4 × 4. How long is a row, and how many numbers are learned?

# %%
numpy_embed = swin_numpy.PatchEmbed(patch_size=4, in_chans=3, embed_dim=96)
print("numbers in a row:", 3 * 4 * 4)
for name, value in numpy_embed.named_parameters():
    print(f"{name:12} {value.shape!s:15} {value.size:5} numbers")

# %% [markdown]
# The weight is stored with four axes, (e, c, p1, p2): output channel e, then one weight for each number of a patch.
# Seen as a matrix (e, c·p1·p2), it is the $W$ of the equation. A loop over patches makes that plain. We fill all
# parameters with random numbers first, so that nothing agrees by being zero or one.

# %% jupyter={"source_hidden": true}
rng = np.random.default_rng(2)
state = {
    name: rng.normal(size=value.shape)
    for name, value in numpy_embed.state_dict().items()
}
numpy_embed.to(np.float64).load_state_dict(state)
images = rng.normal(size=(2, 3, 12, 20))  # two images, H ≠ W
W, b = state["proj.weight"].reshape(96, 48), state["proj.bias"]

by_loop = [[W @ patch + b for patch in cut_by_loop(image, 4)] for image in images]
by_product = rearrange(images, arrow, p1=4, p2=4) @ W.T + b
agree("patch by patch, and all at once", by_product, np.array(by_loop))

# %% jupyter={"source_hidden": true}
show_maps({"some rows of W (16 of 96), 48 numbers each": W[:16]})

# %% [markdown]
# ## The library's version, twice
#
# Two things are added. Before the cut, sides that 4 does not divide are padded. After the product, a **layer norm**
# brings the C numbers of each token to mean 0 and variance 1, then scales and moves them by two learned vectors
# (`patch_norm=True`, the default in Microsoft's `config.py`).
#
# What both twins share stands once. What differs here is `self.save`, which keeps what the backward pass needs
# (chapter 9); PyTorch does that unseen. `self.proj` is a convolution with stride 4: it lays its 4 × 4 weights on the
# image, multiplies, adds up, and moves on by 4 pixels. So it never meets a pixel twice, each position is one patch, and
# what it computes there is $W r + b$: the cut and the product from above
# ([tried](#Q10:-Is-a-stride-4-convolution-really-the-same-as-cut,-flatten,-linear?)).

# %%
side_by_side("patches.PatchEmbed.forward")

# %% jupyter={"source_hidden": true}
torch_embed = swin_torch.PatchEmbed(patch_size=4, in_chans=3, embed_dim=96).double()
torch_embed.load_state_dict(
    {name: torch.from_numpy(value) for name, value in state.items()}
)

tokens, grid = numpy_embed(images)
torch_tokens, torch_grid = torch_embed(torch.from_numpy(images))
agree("PatchEmbed, NumPy and PyTorch", tokens, torch_tokens)
assert grid == torch_grid
print("tokens", tokens.shape, "grid", grid)

# %% [markdown]
# ## Tokens, and the grid beside them
#
# The tokens have three axes: (n, h·w, C). Rows and columns have become **one** axis, read line by line: token number
# k lies in row `k // w` and column `k % w`. The tokens alone don't know w: fifteen may be a grid of 3 × 5 or of 5 × 3.
# That is why `forward` returns the grid too, and why every block of this package takes `(x, grid)`.

# %% jupyter={"source_hidden": true}
h, w = grid
for k in (0, 1, w - 1, w, h * w - 1):
    print(f"token {k:2} lies in row {k // w}, column {k % w}")

as_map = rearrange(tokens, "n (h w) c -> n h w c", h=h)
agree("token 7 is where we expect it", as_map[:, 7 // w, 7 % w], tokens[:, 7])

# %% jupyter={"source_hidden": true}
numbered_grid(np.arange(h * w).reshape(h, w))

# %% [markdown]
# So pass on the grid that you were given, and never guess it from the number of tokens
# ([what a wrong one does](#A-wrong-grid)).

# %% [markdown]
# **02.3** Which pixel is it? For number `q` in the row of token `k`, on a grid `w` patches wide, return (channel,
# row, column) of that pixel in the image.


# %%
def pixel_of(k, q, w, p):
    """→ (channel, row, column)."""
    ...


check("02.3", pixel_of)

# %%
solution("02.3")

# %% [markdown]
# **02.4** How many tokens does an image of H × W pixels give with patches of p × p, if nothing is dropped?


# %%
def count_tokens(H, W, p):
    """→ int."""
    ...


check("02.4", count_tokens)

# %%
solution("02.4")

# %% [markdown]
# ## A photograph
#
# Chelsea the cat, resized, cropped to 224 × 224 and normalised as the published models want it (`preprocess`).

# %%
photo = preprocess(load_image(photo_path("chelsea")), 224).astype(np.float64)
pixels = denormalise(photo)[0]  # (224, 224, 3), to draw
print("images", photo.shape, "from", photo.min().round(2), "to", photo.max().round(2))
# enlarged: 8 × 8 patches, from patch (14, 17) on
patch_grid(pixels, 4, zoom=(14, 17, 8))

# %% [markdown]
# One patch, its three colour planes, and the row that it becomes. The numbers are what the model gets: normalised, so
# 0 is the mean colour and negative is darker.

# %%
rows = rearrange(photo, arrow, p1=4, p2=4)
i, j = 16, 22
patch_to_row(pixels, 4, (i, j), rows[0, i * 56 + j])

# %% [markdown]
# ## What follows: dropout, then the blocks
#
# The whole way in one line, as PyTorch code has it: a convolution, flatten and transpose, the norm, and last
# `pos_drop`, a **dropout**: in training, each number of each token is set to 0 with probability `drop_rate`, and the
# others are divided by 1 − `drop_rate`, so that the mean stays on average. The shapes, read off a run:

# %% jupyter={"source_hidden": true}
config = swin_numpy.SwinConfig(drop_rate=0.25)
model = swin_torch.SwinTransformer(config).train()
pictures, steps = torch.from_numpy(photo).float(), [("images", photo.shape)]


def note(name, change=lambda out: out):
    return lambda module, inputs, out: steps.append((name, tuple(change(out).shape)))


model.patch_embed.proj.register_forward_hook(note("convolution"))
model.patch_embed.norm.register_forward_hook(note("flatten, transpose, norm"))
model.pos_drop.register_forward_hook(note("dropout (pos_drop)"))
with torch.no_grad():
    model.embed(pictures)
shape_line(steps)

# %% [markdown]
# `pos_drop` sits after the position embedding (a learned row for each place, added to the tokens; Swin leaves it out unless
# asked: `APE = False` in Microsoft's `config.py`), if there is one, and before the first block. The published models have
# `drop_rate=0`, which does nothing; outside of training it does nothing at any rate
# ([tried](#Dropout-in-both-twins)).

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Q10: Is a stride-4 convolution really the same as cut, flatten, linear?
#
# Yes. A convolution lays its kernel on the picture, multiplies, sums, and moves on by its **stride**. If the stride
# is as long as the kernel, it never meets a pixel twice: each position is one patch. What it does there, a weighted
# sum of c·p1·p2 numbers per output channel, is a row of $W$ times the patch. PyTorch's own functions say so:

# %%
weight, bias = torch.from_numpy(state["proj.weight"]), torch.from_numpy(b)
x = torch.from_numpy(images)
convolved = torch.nn.functional.conv2d(x, weight, bias, stride=4)  # (n, e, h, w)
# PyTorch's own cut gives (n, 48, h·w); .mT swaps the last two axes
unfolded = torch.nn.functional.unfold(x, kernel_size=4, stride=4)
linear = torch.nn.functional.linear(unfolded.mT, weight.reshape(96, 48), bias)

agree("unfold is our cut", unfolded.mT, rearrange(images, arrow, p1=4, p2=4))
agree("unfold + linear is ours", linear, by_product)
agree("conv2d is ours", rearrange(convolved, "n e h w -> n (h w) e"), by_product)

# %% [markdown]
# PyTorch brings its convolution; in NumPy it is the cut and the product:

# %%
side_by_side("layers.Conv2d.forward")

# %% [markdown]
# For this the stride has to be as long as the kernel, and nothing may be padded. With stride 2 the same kernel overlaps
# with itself, and there are more positions than patches:

# %%
overlapping = torch.nn.functional.conv2d(x, weight, bias, stride=2)
print("stride 4:", tuple(convolved.shape), " stride 2:", tuple(overlapping.shape))

# %% [markdown]
# **02.5** A colleague's program cuts patches in the order (p1 p2 c). Turn the official weight (e, c, p1, p2) into the
# matrix (e, p1·p2·c) with which those rows give the right tokens.


# %%
def matrix_for_other_order(weight):
    """(e, c, p1, p2) → (e, p1·p2·c)."""
    ...


check("02.5", matrix_for_other_order)

# %%
solution("02.5")

# %% [markdown]
# ### One token from the definition
#
# The loop's row, normed by hand. (The small 1e-5 is there so that a token whose numbers are all equal doesn't divide by
# zero.)

# %%
t = np.array(by_loop)[1, 7]  # image 1, token 7
normed = (t - t.mean()) / np.sqrt(t.var() + 1e-5)
normed = normed * state["norm.weight"] + state["norm.bias"]
agree("one token from the definition", tokens[1, 7], normed)

# %% [markdown]
# And the photograph through both twins:

# %%
in_numpy, in_torch = numpy_embed(photo)[0], torch_embed(torch.from_numpy(photo))[0]
agree("the photograph's tokens", in_numpy, in_torch)

# %% [markdown]
# ### A wrong grid
#
# Does a wrong grid raise an error? Only if the product does not fit. We ask a block (chapter 6):

# %%
block = swin_numpy.SwinTransformerBlock(dim=96, num_heads=3, window_size=2)
block.to(np.float64)
right = block(tokens, (h, w))
for wrong in ((4, 4), (w, h)):
    try:
        off = np.any(block(tokens, wrong) != right, axis=-1)  # (n, h·w)
        print(wrong, f"no error, and {off.sum()} of {off.size} tokens come out wrong")
    except ValueError as error:
        print(wrong, "ValueError:", error)

# %% [markdown]
# ### Dropout in both twins
#
# The twins drop *other* numbers, as each draws from a random generator of its own. What both keep to is the rate:

# %%
ours = swin_numpy.SwinTransformer(config)
kept = {
    "NumPy, training": ours.train().embed(photo.astype(np.float32))[0],
    "PyTorch, training": model.embed(pictures)[0].detach().numpy(),
    "NumPy, evaluation": ours.eval().embed(photo.astype(np.float32))[0],
    "PyTorch, evaluation": model.eval().embed(pictures)[0].detach().numpy(),
}
for name, x0 in kept.items():
    print(f"{name:20} {(x0 == 0).mean():6.1%} of the numbers are 0")

# %% [markdown]
# ### Q11: How do image size, patch size, patches resolution, window size M and number of windows relate?
#
# The grid (`patches_resolution` in Microsoft's `models/swin_transformer.py`) is the image's sides divided by the patch size;
# the number of
# windows is the grid's sides divided by M, multiplied. This package rounds each division up and pads the rest. With the
# same M a larger image has more windows, not larger ones. (Models published for other sizes often have another M.)

# %%
for side, M in ((224, 7), (448, 7), (256, 8), (384, 12)):
    tokens_a_side = -(-side // 4)
    windows = -(-tokens_a_side // M)
    print(
        f"image {side}, patches 4: grid {tokens_a_side} × {tokens_a_side}, windows of {M}: {windows} × {windows}"
    )

# %% [markdown]
# ### Where am I? The optional position embedding
#
# A token holds what its patch looks like, and nothing about where the patch lay. In an image of one colour whose sides
# are multiples of 4, all tokens are equal. With `ape=True` the model adds one learned row to each token, a different row
# for each place: an **absolute position embedding**. Swin's published models do without it; the bias in their attention
# says where tokens lie *relative to each other* ([chapter 04](04_relative_position_bias.ipynb)).

# %%
plain = np.ones((1, 3, 32, 32))
sizes = {
    "img_size": 32,
    "embed_dim": 24,
    "depths": (1,),
    "num_heads": (3,),
    "window_size": 4,
}
for ape in (False, True):
    model = swin_numpy.SwinTransformer(
        swin_numpy.SwinConfig(**sizes, ape=ape), dtype=np.float64
    )
    if ape:
        model.absolute_pos_embed[...] = rng.normal(size=model.absolute_pos_embed.shape)
    embedded, _ = model.embed(plain)
    different = np.unique(embedded[0].round(9), axis=0)
    print(f"ape={ape!s:5} different tokens: {len(different)} of {embedded.shape[1]}")

# %% [markdown]
# The price: one row for each place means that the number of places is fixed. Another image size gets a clear error,
# not a reshape that happens to fit.

# %%
try:
    model.embed(np.ones((1, 3, 32, 64)))
except ValueError as error:
    print(error)

# %% [markdown]
# ### Sides that 4 does not divide
#
# A picture of 4 × 7 pixels and patches of 2 × 2: the seventh column is half a patch. Three answers are in use.
#
# - **Refuse**: Microsoft's classification code (`PatchEmbed` in `models/swin_transformer.py`) and timm 1.0
#   (`strict_img_size`) take only the size that the model was built
#   for.
# - **Pad**: add a column of zeros at the right, so that the last patch is full. h and w are rounded **up**. This
#   package does that, as transformers 5 does (`SwinPatchEmbeddings.maybe_pad` in `modeling_swin.py`).
# - **Drop**: a convolution starts no step that would run off the edge. h and w are rounded **down**, the rest of the
#   pixels is never looked at, and nobody is told. torchvision 0.29 does that (`models/swin_transformer.py`).

# %%
wide = 100 + 10 * np.arange(4)[:, None] + np.arange(7)  # a green plane of 4 × 7
padded = swin_numpy.pad_to_multiple(wide[None, :, :, None], 2)[0, :, :, 0]
patches_of_grid(padded, 2, ("4 × 7 pixels, padded to 4 × 8", "tokens"))

# %%
small = rng.normal(size=(1, 3, 8, 15))  # 15 = 3 · 4 + 3
padded, grid = numpy_embed(small)
dropped = torch.nn.functional.conv2d(torch.from_numpy(small), weight, bias, stride=4)
print("padded: grid", grid, "  plain convolution: grid", tuple(dropped.shape[2:]))

# %% [markdown]
# The test that tells them apart needs no knowledge of the code: **change a pixel, and see if any token changes.** Let
# us do it for every column (x: felt, .: never looked at).


# %%
def plain_convolution(images):
    return torch.nn.functional.conv2d(
        torch.from_numpy(images), weight, bias, stride=4
    ).numpy()


def felt(embed, column):
    """Whether adding 1 to that column of pixels changes anything in embed(images)."""
    changed = small.copy()
    changed[..., column] += 1
    return np.any(embed(changed) != embed(small))


ways = {
    "this package": lambda x: numpy_embed(x)[0],
    "plain convolution": plain_convolution,
}
for name, embed in ways.items():
    print(
        f"{name:18}",
        "".join("x" if felt(embed, column) else "." for column in range(15)),
    )

# %% [markdown]
# Padding with zeros adds no black edge. Images come in **normalised**: from each colour its mean over the data set
# ImageNet is taken away, then it is divided by its standard deviation. So a zero stands for the mean colour, a grey:

# %%
print("red, green, blue of a zero:", denormalise(np.zeros((1, 3, 1, 1)))[0, 0, 0])

# %% [markdown]
# ### What a channel can hold
#
# First we write four rows of $W$ by hand; further down are rows that were learned. Each is a weighted sum over
# the 48 numbers: the mean; left half minus right half; upper half minus lower half; red minus blue. Each gives one
# channel of the tokens, and a channel laid out on the grid is a small picture: violet above 0, orange below.

# %%
kernels = np.zeros((4, 3, 4, 4))  # (e, c, p1, p2)
kernels[0] = 1
kernels[1, :, :, :2], kernels[1, :, :, 2:] = 1, -1
kernels[2, :, :2], kernels[2, :, 2:] = 1, -1
kernels[3, 0], kernels[3, 2] = 1, -1

channels = rows[0] @ kernels.reshape(4, 48).T / 48
channels = rearrange(channels, "(h w) e -> e h w", h=56)

# %%
names = "mean", "left − right", "upper − lower", "red − blue"
show_maps(dict(zip(names, channels, strict=True)))

# %% [markdown]
# ### Is anything lost?
#
# A row has 48 numbers and a token 96. So the matrix has room for everything: with random weights, the photograph can
# be computed back from its tokens. Leave out the norm and $b$, solve $W r = t$ for each token, and put the patches
# back with the arrow turned round. (`pinv` solves all of them at once; where t does not tell enough, it takes the
# smallest r that fits.)

# %%
back = "n (h w) (c p1 p2) -> n c (h p1) (w p2)"


def there_and_back(channels):
    """As much of the photograph as `channels` random channels for each patch still tell."""
    W = rng.normal(size=(channels, 48))
    guess = rows @ W.T @ np.linalg.pinv(W).T
    return rearrange(guess, back, h=56, c=3, p1=4, p2=4)


agree("the photograph from 96 channels", there_and_back(96), photo)
show_maps({f"{C} channels": denormalise(there_and_back(C))[0] for C in (48, 36, 12)})

# %% [markdown]
# With 48 channels or more, cut and matrix are a change of description, not a summary, as long as 48 rows of $W$ are
# independent. The norm that follows takes two numbers from each token, its mean and its length; so with the norm it takes
# 50, and a $b$: without one, the patches $r$ and $2r$ get the same token. How many of the 48 directions in which a patch
# can change leave a trace in its token, with a random $b$? The rank of the derivative:

# %%
r, step = rng.normal(size=48), 1e-6
for C in (48, 49, 50, 96):
    W_C, b_C = rng.normal(size=(C, 48)), rng.normal(size=C)

    def normed(r, W_C=W_C, b_C=b_C):
        t = W_C @ r + b_C
        return (t - t.mean()) / t.std()

    slopes = [
        (normed(r + step * e) - normed(r - step * e)) / (2 * step) for e in np.eye(48)
    ]
    print(
        f"{C} channels, then the norm: rank {np.linalg.matrix_rank(slopes, tol=1e-5)}"
    )

# %% [markdown]
# ### Filters that were learned
#
# The repository ships a small Swin that was trained to name pictures of clothes (chapter 10): grey images, patches of
# 2 × 2 pixels, 32 channels. So each row of its $W$ is a **filter** of four numbers, one for each pixel of the patch. All
# four of one sign: the channel is an average and says how bright a patch is. Sum 0: it is a difference, says where a
# patch gets brighter, and nothing about an even patch. Between them lies
# $|\sum w| \,/ \sum |w|$, 0 for a pure difference and 1 for an average. Sorted by it:

# %%
# (32, 2, 2) each
start, learned = (m.patch_embed.proj.weight[:, 0] for m in fresh_and_trained())


def evenness(w):
    """w (n, 2, 2) → (n,): 0 for a difference, 1 for an average."""
    return np.abs(w.sum((1, 2))) / np.abs(w).sum((1, 2))


order = np.argsort(evenness(learned))
titles = [f"{value:.2f}" for value in evenness(learned[order])]
show_maps(learned[order], columns=8, titles=titles, signed=True)

# %% [markdown]
# Violet is above 0, orange below; each filter has its own scale. Compare with where this
# training started, and with many random filters:

# %%
many = rng.normal(size=(100_000, 2, 2))
for name, w in (("start", start), ("learned", learned), ("random", many)):
    even = evenness(w)
    print(f"{name:8} {len(w):7,} filters: {(even < 0.1).mean():4.0%} nearly differences,"
          f" {(even > 0.9).mean():4.0%} nearly averages")  # fmt: skip

# %% [markdown]
# Nobody told the model which filters to use (this is one training). Thirty-two of them for four pixels are far more than are needed to keep
# everything. Has it kept everything, before the norm? (Random filters would have.) As above, from the channels back to the pixels, on a picture that it never saw:

# %%
cloth = standardise(fashion_mnist(SUBSET, "test").images[6:7]).astype(np.float64)
flat = rearrange(learned, "e p1 p2 -> e (p1 p2)")
patches = rearrange(cloth, "n c (h p1) (w p2) -> n (h w) (c p1 p2)", p1=2, p2=2)
responses = patches @ flat.T  # (1, 196, 32)
print("independent rows of W:", np.linalg.matrix_rank(flat), "of", len(flat))
agree(
    "the pixels from the learned channels", responses @ np.linalg.pinv(flat).T, patches
)

# %% [markdown]
# And here are three of the channels: the purest difference, one from the middle, and the purest average. The first
# marks places where the brightness changes inside a patch; the last is the picture itself, made smaller (light and dark
# may be exchanged: the sign is the model's choice).

# %%
cloth_in = {"the picture": cloth[0, 0]}
for k in (order[0], order[len(order) // 2], order[-1]):
    on_grid = rearrange(responses[0, :, k], "(h w) -> h w", h=14)
    cloth_in[f"channel with {evenness(learned[[k]])[0]:.2f}"] = on_grid
show_maps(cloth_in)

# %% [markdown]
# ### How large a patch?
#
# Small patches: many tokens, short rows. Large patches: few tokens, long rows. Swin can afford 4 × 4 because its
# attention looks at windows only (chapter 3); a plain ViT usually takes 16 × 16.

# %%
for p in (2, 4, 8, 16, 32):
    print(
        f"{p:2} × {p:2} pixels: {(224 // p) ** 2:6,} tokens from rows of {3 * p * p:5,} numbers"
    )

# %% [markdown]
# ### Traps
#
# Four mistakes that are easily made. None raises an error in code that takes any image.
#
# **1. The other flatten order.** `(p1 p2 c)`, pixel by pixel instead of plane by plane, also gives rows of 48
# numbers. A model that is trained that way works. With official weights it does not: most weights meet a wrong pixel.
# Compare the channel maps from above.

# %%
wrong_rows = rearrange(photo, "n c (h p1) (w p2) -> n (h w) (p1 p2 c)", p1=4, p2=4)
print("same shape:", wrong_rows.shape == rows.shape)
wrong = rearrange(
    wrong_rows[0] @ kernels.reshape(4, 48).T / 48, "(h w) e -> e h w", h=56
)
show_maps({f"{name}?": channel for name, channel in zip(names, wrong, strict=True)})

# %% [markdown]
# The mean does not care about order, so a test with equal weights sees nothing. A test with random weights does:

# %%
try:
    agree("wrong order", wrong_rows @ W.T + b, rows @ W.T + b)
except AssertionError as error:
    print(error)

# %% [markdown]
# **2. The forgotten transpose.** A convolution gives (n, C, h, w). `flatten(2)` makes it (n, C, h·w): still one row
# for each *channel*. It needs `.transpose(1, 2)`. With `reshape(n, h·w, C)` instead, the shape is right and every
# token is a mix of numbers from different places. Take channels and places that spell their address:

# %%
c, place = np.indices((2, 6))
feature = torch.from_numpy(10 * c + place).reshape(1, 2, 2, 3)  # 13: channel 1, place 3
print("right, token 0:", feature.flatten(2).transpose(1, 2)[0, 0].tolist())
print("wrong, token 0:", feature.flatten(2).reshape(1, 6, 2)[0, 0].tolist())

# %% [markdown]
# The check: token k must depend on patch k and on no other. Change one patch, and list the tokens that change.

# %%
changed = images.copy()
changed[0, :, 4:8, 4:8] += 1  # patch (1, 1): token 1 · 5 + 1
y0 = torch.nn.functional.conv2d(x, weight, bias, stride=4)[0]
y1 = torch.nn.functional.conv2d(torch.from_numpy(changed), weight, bias, stride=4)[0]
moved = y0 != y1  # (C, h, w)
print("with transpose, tokens:", moved.flatten(1).T.any(1).nonzero().ravel().tolist())
print(
    "with reshape,   tokens:", moved.reshape(15, 96).any(1).nonzero().ravel().tolist()
)

# %% [markdown]
# **3. Other colours than the model knows.** OpenCV reads pictures as blue, green, red (see its `imread`). Or pixels come in
# as 0 … 255
# and the normalisation is forgotten. The norm after the product then hides the crime: the tokens have mean 0 and variance
# 1 all the same (as long as its two learned vectors are ones and zeros, as they are here).

# %%
embed = swin_numpy.PatchEmbed()
swin_numpy.layers.init_weights(embed, seed=0)
embed.to(np.float64)
expected, _ = embed(photo)
raw = rearrange(pixels.astype(float), "h w c -> 1 c h w")
# read as BGR, then normalised
swapped = to_array(Image.fromarray(pixels[..., ::-1])).astype(np.float64)
inputs = {"as it should be": photo, "blue, green, red": swapped, "0 … 255": raw}
for name, given in inputs.items():
    y, _ = embed(given)
    off = np.abs(y - expected).max() / np.abs(expected).max()
    print(
        f"{name:17} variance of a token {y.var(-1).mean():.3f}, largest difference {off:.0%}"
    )

# %% [markdown]
# So check what goes **in**. A normalised image lies between the values that black and white become; that finds the
# third. `denormalise` must give back the photograph; that finds both.

# %%
black, white = (0 - IMAGENET_MEAN) / IMAGENET_STD, (1 - IMAGENET_MEAN) / IMAGENET_STD
print(f"any normalised image: {black.min():.2f} … {white.max():.2f}")
for name, given in inputs.items():
    print(f"{name:17} {given.min():9.2f} … {given.max():.2f}")
show_maps({name: denormalise(given)[0] for name, given in inputs.items()})

# %% [markdown]
# **4. The dropped remainder.** You saw it above: 15 columns, and a plain convolution never looks at the last three.
# The photograph has this problem too, at the size it came in:

# %%
original = to_array(load_image(photo_path("chelsea"))).astype(np.float64)
print("picture          ", original.shape[2:])
print("this package     ", numpy_embed(original)[1])
print("plain convolution", plain_convolution(original).shape[2:])

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, section 3.1: patch partition and linear embedding. Dosovitskiy et al. 2021 (ViT), section 3.1,
#   eq. 1: the same idea with patches of 16 × 16 and absolute positions.
# - In this package: `swin_numpy/patches.py`, `swin_torch/patches.py`.
# - Next: [chapter 3](03_window_attention.ipynb). The tokens are there; now they look at each other, inside windows.
