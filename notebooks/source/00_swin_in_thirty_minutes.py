# %% [markdown]
# # 00 · Swin in thirty minutes
#
# ![Six beats of the shifted windows on a map with a photograph: walls between windows, the map rolls up and left, the
# seam, ordinary windows cut again, the mask, the map rolls back](../figures/gallery/cyclic_shift.gif)
#
# This page follows one tiny picture through a whole Swin Transformer, from pixels to an answer. Everything is small
# enough to check by hand: 8 × 8 pixels, 4 × 4 tokens, windows of 2 × 2, two channels, one head. At the end a trained
# model names pictures.
#
# **After this chapter you can explain** every step from pixels to logits: patches, attention in windows, the bias, the
# shift and its mask, merging. You need matrix products and a little Python.

# %% jupyter={"source_hidden": true}
from dataclasses import replace

import numpy as np
import torch
from lesson import agree, check, contents, side_by_side, solution

import swin_numpy
import swin_torch
from figures import photo_path
from figures.attention import qkv, softmax_steps, weighted_sum
from figures.maps import attention_rows, show_maps
from figures.measure import bars
from figures.model import architecture, merging
from figures.shifted import cyclic_shift as draw_shift
from figures.shifted import masks as draw_masks
from figures.shifted import region_labels
from figures.windows import attention_structure, numbered_grid, windows_on_image
from swin_numpy import (
    SwinConfig,
    SwinTransformer,
    cyclic_shift,
    relative_position_index,
    self_attention,
    shift_mask,
    window_partition,
)
from swin_numpy.functional import softmax
from swin_numpy.pictures.images import denormalise, load_image, preprocess
from swin_numpy.training.fashion_mnist import (
    CLASSES,
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)

np.set_printoptions(precision=2, suppress=True)
config = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
photo = denormalise(preprocess(load_image(photo_path("chelsea"))))[0]  # (224, 224, 3)


def tensor(array):
    """A PyTorch copy of an array, in float64."""
    return torch.tensor(array, dtype=torch.float64)


# %% [markdown]
# ## 1 · The whole, in five sentences

# %% jupyter={"source_hidden": true}
architecture(224, 4, 96, config.depths, config.num_heads, 7, 1000, image=photo)

# %% [markdown]
# 1. The picture is cut into small **patches**; each becomes a **token**, a short row of numbers.
# 2. Tokens look at one another by **self-attention**, but only inside **windows**, because looking everywhere costs too
#    much.
# 3. In every second block the windows are **shifted**, so that neighbours which a wall kept apart can meet.
# 4. Between stages, **patch merging** turns four neighbouring tokens into one: half the rows, half the columns, twice
#    the channels.
# 5. At the end all tokens are averaged, and one linear layer gives a number for each class: the **logits**.
#
# In goes a picture, out come logits. The rest of this page is those five sentences, slowly.

# %% [markdown]
# ## 2 · From pixels to tokens
#
# Here is our picture: a tree, 1 where it is light and 0 where it is dark. Each coloured square of 2 × 2 pixels is a patch.

# %%
rows = "00011000 00011000 01111110 01111110 11111111 11111111 00011000 00011000"
pixels = np.array([[float(digit) for digit in row] for row in rows.split()])  # (8, 8)
numbered_grid(pixels, window_size=2)

# %% [markdown]
# A patch is four numbers, read row by row. One matrix turns them into the two **channels** of a token. Ours asks two
# questions: *how bright is the patch?* and *is it brighter on the right than on the left?* A trained model has
# learned its questions; we choose ours, so that the answers are whole numbers.

# %%
# 16 patches of 4 pixels
patches = pixels.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
# column 1: bright; column 2: right minus left
W_embed = np.array([[0.5, -0.5], [0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
tokens = patches @ W_embed  # (16, 2)
bright, edge = tokens.T.reshape(2, 4, 4)
show_maps({"channel 1: bright": bright, "channel 2: right − left": edge})

# %% [markdown]
# Check one by hand: the patch in the first row, second column holds 0, 1, 0, 1. Bright: ½·0 + ½·1 + ½·0 + ½·1 = 1. Right
# minus left: −½·0 + ½·1 − ½·0 + ½·1 = 1. So its token is (1, 1).

# %% [markdown]
# On a photograph it is the same, only larger: Swin-T takes 224 × 224 pixels, patches of 4 × 4 in three colours, 48
# numbers each, and one 48 × 96 matrix. 56 × 56 tokens of 96 channels come out. → [chapter 02](02_patch_embedding.ipynb)

# %% [markdown]
# ## 3 · Attention in one window
#
# Take the four tokens at the top left: one window. Each token asks a question, its **query** Q; each offers a label by
# which it can be found, its **key** K; and each has something to hand over, its **value** V. All three are the token
# times a matrix.

# %%
windows = window_partition(tokens.reshape(1, 4, 4, 2), 2)
X = windows[0, 0]  # the first window: (4 tokens, 2 channels)
W_Q = np.array([[1, 0], [1, 1]])
W_K = np.array([[0, 1], [1, 0]])
W_V = np.array([[1, 0], [0, 2]])
Q, K, V = X @ W_Q, X @ W_K, X @ W_V
names = ["token 0", "token 1", "token 2", "token 3"]
qkv(X, W_Q, W_K, W_V, Q, K, V, names)

# %% [markdown]
# *Self*-attention: questions, labels and values all come from the same tokens.
#
# How well does token $i$'s question fit token $j$'s label? That is the dot product of row $i$ of Q with row $j$ of K.
# All 16 at once are $QK^\top$, the **scores**. Dividing by $\sqrt{d}$ (here $\sqrt 2$, since a row has $d = 2$ numbers)
# keeps them from growing with the width. Then **softmax** turns each row into weights: $e^\text{score}$, divided by
# the row's sum, so that every row adds up to 1.

# %%
scores = Q @ K.T
weights = softmax(scores / np.sqrt(2), dim=-1)
softmax_steps(scores, scores / np.sqrt(2), weights, names)

# %% [markdown]
# Read a row: token 3, the bright patch, gives most of its weight to tokens 1 and 2, which have an edge. Token 0 is
# black: its query is (0, 0), all its scores are 0, and it looks at all four equally.
#
# What a token takes away is the weighted sum of the values, **Z = weights · V**. For token 1:

# %%
Z = weights @ V
weighted_sum(weights[1], V, Z[1], names)

# %% [markdown]
# That is all of self-attention: four lines. The package has them as one function, and so has its PyTorch twin.

# %%
ours = self_attention(X, W_Q, W_K, W_V)
theirs = swin_torch.self_attention(*map(tensor, (X, W_Q, W_K, W_V)))
agree("by hand and swin_numpy", Z, ours.Z)
agree("swin_numpy and swin_torch", ours.Z, theirs.Z)

# %% [markdown]
# A real Swin does this several times side by side, each time with narrower matrices of its own: the **heads**. Each
# reads the whole token and fills its own share of the channels. Then one more matrix, the **projection**, mixes what they brought. → [chapter 01](01_self_attention.ipynb)

# %% [markdown]
# ## 4 · Why windows?
#
# If all 16 tokens looked at all 16, that would be 16 × 16 = 256 scores. Four windows of four tokens make 4 × 4 × 4 = 64.

# %% jupyter={"source_hidden": true}
number = np.arange(16).reshape(1, 4, 4, 1)
same_window = np.repeat(np.repeat(np.arange(4).reshape(2, 2), 2, 0), 2, 1).ravel()
attention_structure(
    {
        "global": np.ones((16, 16), bool),
        "W-MSA": same_window[:, None] == same_window[None],
    }
)

# %% [markdown]
# The gap widens with the picture. Twice the side makes four times as many windows, but sixteen times as many pairs.

# %%
for side in (224, 448, 896):
    n = (side // 4) ** 2  # tokens
    print(f"{side} × {side} pixels: {n**2:>13,} scores, in windows {n * 49:>9,}")

# %% [markdown]
# Attention inside windows is **W-MSA**, *window multi-head self-attention*. → [chapter 03](03_window_attention.ipynb)

# %% [markdown]
# ## 5 · Where am I? The relative position bias
#
# Tokens 1 and 2 of our window are both (1, 1), so their rows of weights are equal: attention doesn't know that one lies
# right of token 0 and the other below it. Swin adds a number to each score that depends only on the **offset** from the
# token that is looked at to the token that asks. In a window of 2 × 2 rows and columns differ by −1, 0 or 1: nine
# offsets, so a table of 3 × 3 numbers for each head. They are learned; here we choose them.

# %%
# rows: −1, 0, 1 down; columns: −1, 0, 1 across
table = np.array([[0, 1, 0], [2, 0, 2], [0, 1, 0]])
bias = table.ravel()[relative_position_index(2)]  # (4, 4): an entry for each pair
print(bias)

# %% [markdown]
# Token 0 asks, token 1 is looked at: they lie in one row, a column apart, so the score gets 2. The score of token 2, a
# row further down, gets 1. Where token 0 looks, without the bias and with it:

# %%
with_bias = softmax(scores / np.sqrt(2) + bias, dim=-1)
looks = {"token 0, without bias": weights[0], "token 0, with bias": with_bias[0]}
show_maps({name: row.reshape(2, 2) for name, row in looks.items()})

# %% [markdown]
# The same table serves all windows of a block, wherever they lie. → [chapter 04](04_relative_position_bias.ipynb)

# %% [markdown]
# ## 6 · Walls, and how to move them
#
# Windows are cheap, but they build walls. Tokens 5 and 6 (counted row by row, from 0) are neighbours in the middle of
# the tree, and a wall runs between them: in this stage they never meet. So in every second block the windows lie
# elsewhere, moved down and to the right by half a window.

# %% jupyter={"source_hidden": true}
windows_on_image(photo, 16, 7, shift=3)

# %% [markdown]
# Moved windows have different sizes: on our map one of 2 × 2 in the middle, and strips and corners at the border. Arrays
# like equal sizes. Swin's trick: leave the windows where they are and **roll the map** under them, one up and one to
# the left. What falls off at one side comes back at the other.

# %%
numbers = np.arange(16).reshape(4, 4)
rolled = cyclic_shift(numbers[None, :, :, None], 1)[0, :, :, 0]
draw_shift(numbers, rolled, shift=1, window_size=2)

# %% [markdown]
# The first window now holds tokens 5, 6, 9 and 10, the middle of the map: 5 and 6 have met. But along the **seam** things
# stand side by side that don't belong together: the last window holds 15, 12, 3 and 0, the four corners of the picture.
#
# So each token gets a **label** for the side of the seam it came from, and tokens of different labels mustn't see each
# other: the **mask** adds −100 to their score, and after the softmax next to nothing is left of it.

# %% jupyter={"source_hidden": true}
side = np.arange(4) >= 3
labels = 2 * side[:, None] + side[None]
region_labels(labels, 2)

# %%
mask = shift_mask(4, 4, window_size=2, shift=1)  # (4 windows, 4, 4)
draw_masks(mask, labels, 2)

# %% [markdown]
# Four windows, four masks: one whole, two cut once, one cut twice, in which every token is alone.
#
# And this is exactly attention over the moved windows with their different sizes. The check, folded away: compute the
# moved windows one by one, without roll or mask, and compare.

# %% jupyter={"source_hidden": true}
x = tokens.reshape(1, 4, 4, 2)
windows = window_partition(cyclic_shift(x, 1), 2)[0]  # (4 windows, 4 tokens, 2)
shifted = self_attention(windows, W_Q, W_K, W_V, mask).Z
back = cyclic_shift(swin_numpy.window_reverse(shifted[None], 2, 4, 4), -1)[0]

true = np.zeros((4, 4, 2))
for rows in (slice(0, 1), slice(1, 3), slice(3, 4)):
    for columns in (slice(0, 1), slice(1, 3), slice(3, 4)):
        one = x[0, rows, columns]
        alone = self_attention(one.reshape(-1, 2), W_Q, W_K, W_V)
        true[rows, columns] = alone.Z.reshape(one.shape)
agree("roll + mask, and the true unequal windows", back, true)

# %% [markdown]
# Nine windows of different sizes, for the price of four equal ones. This is **SW-MSA**, *shifted window* attention, and
# the animation at the top shows it on a photograph. → [chapter 05](05_shifted_windows.ipynb)

# %% [markdown]
# ## 7 · A block, and the next one
#
# Attention moves information between tokens. Around it Swin builds a **block**: norm the tokens, attend, **add** the
# result to what was there; norm again, let a small network (the **MLP**) work on each token by itself, add again. The
# norm brings each token to mean 0 and variance 1 (it subtracts the mean of the token's channels and divides by their
# spread), then scales and moves it; what is added leaves the original in place.
#
# Here is our whole toy model, with our matrices in it: two blocks, merging, one more block.

# %% jupyter={"source_hidden": true}
toy = SwinConfig(img_size=8, patch_size=2, in_chans=1, num_classes=3, embed_dim=2, depths=(2, 1), num_heads=(1, 1),
                 window_size=2, mlp_ratio=2.0, patch_norm=False, drop_path_rate=0.0)  # fmt: skip
model = SwinTransformer(toy, dtype=np.float64)
rng = np.random.default_rng(0)
state = {
    name: rng.integers(-1, 2, value.shape).astype(float)
    for name, value in model.state_dict().items()
}
for name in state:  # norms scale by 1 or 2; our matrices in the first stage
    if "norm" in name and name.endswith("weight"):
        state[name] = rng.integers(1, 3, state[name].shape).astype(float)
    if name.startswith("layers.0") and name.endswith("attn.qkv.weight"):
        state[name] = np.concatenate([W_Q.T, W_K.T, W_V.T]).astype(float)
        state[name.replace("qkv.weight", "qkv.bias")][:] = 0
        state[name.replace("qkv.weight", "relative_position_bias_table")] = (
            table.reshape(9, 1).astype(float)
        )
state["patch_embed.proj.weight"] = W_embed.T.reshape(2, 1, 2, 2)
state["patch_embed.proj.bias"][:] = 0
_ = model.load_state_dict(state)

# %%
block = model.layers[0].blocks[0]  # W-MSA; the next one, blocks[1], is SW-MSA
x0, grid = model.patch_embed(pixels[None, None])  # the tokens from above, and (4, 4)
x1 = x0 + block.attend(block.norm1(x0), grid)
x2 = x1 + block.mlp(block.norm2(x1))
agree("step by step and block(x)", x2, block(x0, grid))
x3 = model.layers[0].blocks[1](x2, grid)
print("before", x0.shape, " after two blocks", x3.shape)

# %% [markdown]
# The shape stays (pictures, tokens, channels), here (1, 16, 2), however many blocks follow. What changes is how far a
# token has seen. Change one pixel at the top left and watch which tokens notice. (For this we take a model with eight
# channels and random weights: after a norm, two channels say hardly more than which of the two is larger.)

# %% jupyter={"source_hidden": true}
wide = SwinTransformer(replace(toy, embed_dim=8), seed=0, dtype=np.float64)
other = pixels.copy()
other[0, 0] = 1
x, y = (wide.patch_embed(image[None, None])[0] for image in (pixels, other))
noticed = {}
for block, name in zip(wide.layers[0].blocks, ("W-MSA", "SW-MSA"), strict=True):
    x, y = block(x, grid), block(y, grid)
    noticed[f"after the {name} block"] = (x != y).any(axis=-1).reshape(4, 4)
show_maps(noticed)

# %% [markdown]
# First only the pixel's own window. One block later the news has crossed the walls. → [chapter 06](06_swin_block.ipynb)

# %% [markdown]
# ## 8 · Merging, stages, logits
#
# **Patch merging** lays four neighbours end to end: their 4 × 2 channels become one row of 8 numbers, which is normed and
# multiplied by an 8 × 4 matrix.

# %% jupyter={"source_hidden": true}
merging(numbers, width=2)

# %%
x4, grid = model.layers[0].downsample(x3, grid)
x5 = model.layers[1].blocks[0](x4, grid)  # one window covers the whole 2 × 2 map
# average over the tokens, then one linear layer
logits = model.head(model.norm(x5).mean(axis=1))
print("merged", x4.shape, "on a grid of", grid, " logits", logits)

# %% jupyter={"source_hidden": true}
agree("step by step and model(images)", logits, model(pixels[None, None]))

twin = swin_torch.SwinTransformer(toy).double().eval()
twin.load_state_dict(model.state_dict())
theirs = twin(tensor(pixels[None, None]))
agree("NumPy and PyTorch, from pixels to logits", logits, theirs)

# %% [markdown]
# From pixels to logits, and you have seen every step. A real Swin has several heads, one more
# norm, right after the patch matrix, and larger numbers:

# %%
for stage, (h, w) in enumerate(config.grids):
    print(
        f"stage {stage + 1}: {h:2} × {w:2} tokens of {config.widths[stage]:3} channels, "
        f"{config.depths[stage]} blocks, {config.num_heads[stage]:2} heads, {(h // 7) * (w // 7):2} windows of 7 × 7"
    )

# %% [markdown]
# In stage 4 one window covers the whole map: there is nothing to shift, and both blocks are W-MSA.
# → [chapter 07](07_patch_merging.ipynb) (merging), [chapter 08](08_whole_model.ipynb) (the whole model)

# %% [markdown]
# ## 9 · A trained one
#
# The toy knows nothing; its weights are made up. This one has learned to tell ten kinds of clothes apart from 28 × 28
# pixels. It is the same class, with other numbers in it.

# %% jupyter={"source_hidden": true}
trained = SwinTransformer.from_checkpoint(TRAINED)
test = fashion_mnist(SUBSET, "test")  # pictures that it was not trained on


def weights_on_map(block, x, grid, query, masked=True):
    """Where the token `query` (row, column) looks in this block, mean over the heads: (h, w), NaN out of its reach."""
    (h, w), M, shift = grid, block.window_size, block.shift_for(grid)
    numbers = np.arange(h * w).reshape(1, h, w, 1)
    place = window_partition(cyclic_shift(numbers, shift), M)[0, :, :, 0]
    normed = block.norm1(x).reshape(1, h, w, -1)
    windows = window_partition(cyclic_shift(normed, shift), M)
    mask = block.mask_for(grid, x) if masked else None
    weights = block.attn.attention_weights(windows, mask)[0]  # (windows, a, i, j)
    weights = weights.mean(axis=1)
    k, i = np.argwhere(place == query[0] * w + query[1])[0]
    on_map = np.full(h * w, np.nan)
    on_map[place[k]] = np.where(weights[k, i] > 1e-9, weights[k, i], np.nan)
    return on_map.reshape(h, w)


# %%
picture = test.images[test.labels == 9][1]  # (28, 28)
logits = trained(standardise(picture[None]))
bars(dict(zip(CLASSES, softmax(logits)[0], strict=True)), xlabel="probability")

# %% [markdown]
# Softmax turned the logits into probabilities, just as it turned scores into weights. The model sees the picture as
# 14 × 14 tokens, in windows of 7 × 7. Here is where one token near the bottom looks, in block 1 and in block 2; what is
# pale lies out of its reach. On the right it is block 2 again, with the mask taken away.

# %% jupyter={"source_hidden": true}
query = (11, 5)
x, grid = trained.patch_embed(standardise(picture[None]))
first, second = trained.layers[0].blocks[:2]
x2 = first(x, grid)
careless = SwinTransformer.from_checkpoint(TRAINED)  # the same weights, no mask
for stage in careless.layers:
    for block in stage.blocks:
        block.mask_for = lambda grid, x: None

looks = {
    "block 1, W-MSA": weights_on_map(first, x, grid, query),
    "block 2, SW-MSA": weights_on_map(second, x2, grid, query),
    "block 2 without its mask": weights_on_map(second, x2, grid, query, masked=False),
}
attention_rows(
    np.stack([picture] * 3, axis=-1), np.stack(list(looks.values())), query, list(looks)
)

# %% [markdown]
# Without the mask, the token at the bottom also looks at the top of the picture, which the roll has brought beside it. How
# much harm does that do? Let both name 1,000 pictures.

# %% jupyter={"source_hidden": true}
answers = {
    name: m(standardise(test.images[::2])).argmax(axis=1)
    for name, m in (("mask", trained), ("none", careless))
}
right = {name: answer == test.labels[::2] for name, answer in answers.items()}
print(f"other answers: {(answers['none'] != answers['mask']).sum()} of 1,000")
print(f"right with the mask only: {(right['mask'] & ~right['none']).sum()}")
print(f"right without it only: {(right['none'] & ~right['mask']).sum()}")
print(
    f"wrong both ways: {((answers['none'] != answers['mask']) & ~right['mask'] & ~right['none']).sum()}"
)

# %% [markdown]
# Nothing crashed, no shape changed, and most answers stay as they were; but most that changed became wrong. A lost mask is a *quiet* mistake. That is why
# every step here has a check.

# %% [markdown]
# ## 10 · Where next?
#
# - **Touch it**: the [explainer](../docs/explainer/README.md) is this model in a web page. Click a token, play the shift,
#   switch the mask off.
# - **Look it up**: the [cheat sheet](../docs/cheat_sheet.md), the [glossary](../docs/glossary.md), and the
#   [questions that learners ask](QUESTIONS.md), each answered by a cell.
# - **Read on.** Each chapter has a core, and a deeper part for later:

# %% jupyter={"source_hidden": true}
contents()

# %% [markdown]
# ## How to read the rest
#
# **Two packages, one model.** `swin_numpy` is written from scratch: its maths needs NumPy and einops alone, derivatives included.
# `swin_torch` is its **twin**: the model's files, classes, methods, arguments and weights have the same names. Side by side, only what PyTorch
# does for you differs:

# %%
side_by_side("windows.pad_to_multiple")

# %% [markdown]
# **The arrow.** Most of Swin is moving axes about, and both packages write that with [einops](https://einops.rocks).
# `n (kh mh) (kw mw) c -> n (kh kw) (mh mw) c` reads: *the rows are kh windows of mh rows each, the columns kw windows of mw
# columns; bring the two window axes together, and the two axes inside a window.* A letter of an arrow means the same in every
# arrow:
#
# | | | | |
# |:--|:--|:--|:--|
# | `n` | pictures in the batch | `m` (`mh mw`) | tokens in a window |
# | `h w` | rows and columns of tokens | `k` (`kh kw`) | windows |
# | `H W` | rows and columns, as arguments: of pixels for images, of tokens for maps | `a`, `d` | heads, width of a head |
# | `c`, `e` | channels, channels of the embedding | `i`, `j` | the token that asks, the token that is looked at |
# | `p` | side of a patch | `l` | a token of the whole map |
#
# **Checks.** `agree` stops a page when two results differ by more than rounding. This is how that looks:

# %% jupyter={"source_hidden": true}
try:
    agree("one third", 1 / 3, 0.3333)
except AssertionError as error:
    print("AssertionError:", error)

# %% [markdown]
# **Exercises** stand right after their step. Replace the `...`, run the cell, and the checker answers; the solution is
# folded away. Try one:
#
# **00.1** How many tokens does a picture of $H \times W$ pixels have, with patches of $p \times p$? (p divides both sides.)


# %%
def number_of_tokens(H, W, p):
    """Height, width, patch side → number of patches."""
    ...


check("00.1", number_of_tokens)

# %%
solution("00.1")

# %% [markdown]
# ## Where to read on
#
# [Chapter 01](01_self_attention.ipynb). The paper: Liu et al. 2021, [*Swin Transformer: Hierarchical Vision Transformer using Shifted
# Windows*](https://arxiv.org/abs/2103.14030), with [the authors' code](https://github.com/microsoft/Swin-Transformer).
