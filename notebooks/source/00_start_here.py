# %% [markdown]
# # 00 · Start here
#
# **After this chapter you can explain**
#
# - what a Swin Transformer does to a picture, in five sentences;
# - why this project has the same model twice, and how to read the two side by side;
# - how a chapter works: the checks, the exercises, the sliders;
#
# and you know that everything runs on your computer.
#
# If the next cell fails, the packages are missing. From the project's folder: `make lab` installs all and
# opens this page.

# %%
import platform

import einops
import matplotlib
import numpy as np
import torch
from lesson import agree, check, contents, side_by_side, slider, solution

import swin_numpy
import swin_torch
from figures import maps, model, patches, photo_path, windows
from swin_numpy.pictures.images import denormalise, load_image, preprocess

print("Python    ", platform.python_version())
for package in (np, torch, einops, matplotlib):
    print(f"{package.__name__:10}", package.__version__)

# %% [markdown]
# ## The whole model in one picture
#
# A Swin Transformer takes an image and gives, for each class, a number (a *logit*) that says how well the
# class fits. Between the two lies a tower of four *stages*, and each stage is a
# pile of *blocks*, of two kinds in turn. This is the smallest published model, **Swin-T**:

# %%
config = c = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
model.architecture(
    c.img_size,
    c.patch_size,
    c.embed_dim,
    c.depths,
    c.num_heads,
    c.window_size,
    c.num_classes,
)

# %% [markdown]
# In five sentences:
#
# 1. The image is cut into small **patches**, and each becomes a **token**: one row of numbers
#    ([chapter 02](02_patch_embedding.ipynb)).
# 2. Tokens look at each other by **self-attention** ([chapter 01](01_self_attention.ipynb)), but only
#   inside **windows**, because to look at all others costs too much ([chapter
#   03](03_window_attention.ipynb)).
# 3. In every second block the windows are **shifted**, so that neighbours from different windows meet
#    ([chapter 05](05_shifted_windows.ipynb)).
# 4. Between two stages **patch merging** joins four neighbouring tokens to one: half the rows, half the
#   columns, twice the channels (the numbers of one token; [chapter 07](07_patch_merging.ipynb)).
# 5. At the end all tokens are averaged, and one linear layer reads the classes off ([chapter
#   08](08_whole_model.ipynb)).
#
# In the picture, W-MSA is self-attention inside windows and SW-MSA inside shifted windows (MSA: multi-head
# self-attention). LN is a layer norm and MLP a small network for each token by itself; both, and the arrows
# that go round them, come in [chapter 06](06_swin_block.ipynb).
#
# Here are the first four on a photograph.

# %%
photo = load_image(photo_path("chelsea"))
images = preprocess(photo)  # what the model takes: (n, c, H, W), normalised
image = denormalise(images)[0]  # the same to look at: (H, W, 3), uint8
print("images", images.shape, images.dtype, "  to look at", image.shape, image.dtype)

# %% [markdown]
# **Patches.** A patch is 4 × 4 pixels: 48 numbers with its three colours. The frame on the left is enlarged
# on the right.

# %%
patches.patch_grid(image, config.patch_size, zoom=(22, 14, 7))

# %% [markdown]
# **Windows, and windows shifted.** Each colour is a window of 7 × 7 tokens. A token sees only its own
# window. In the next block the windows have moved by 3 tokens, so each of them now covers parts of up to
# four old ones.

# %%
windows.windows_on_image(image, config.patch_size, config.window_size, shift=3)

# %% [markdown]
# Which tokens can one token see? Move the sliders in a running notebook: the frame is the token, what is
# bright is its window.


# %%
def window_of(row, column):
    """Draw the window of one token: all others are NaN, out of reach."""
    M, reach = config.window_size, np.full((56, 56), np.nan)
    top, left = row // M * M, column // M * M
    reach[top : top + M, left : left + M] = 1 / M**2
    return maps.attention_on_image(
        image, reach, (row, column), M, "49 tokens to look at"
    )


slider(window_of, row=(0, 55, 1, 24), column=(0, 55, 1, 17))

# %% [markdown]
# **Merging.** Four stages, each with half as many rows and columns and twice as many channels. A
# convolutional network has this shape too, and that is why Swin can take its place as a *backbone*: for
# detection, for segmentation.

# %%
stages = [(f"stage {s + 1}", C, config.grids[s]) for s, C in enumerate(config.widths)]
model.pyramid(stages, config.window_size)

# %% [markdown]
# ## One model, written twice
#
# The same model stands in two packages:
#
# - **`swin_numpy`** from scratch, NumPy and einops only: what a layer does is there to be read, its
#   derivative included.
# - **`swin_torch`** the way one writes it in PyTorch, which brings layers and derivatives along.
#
# They are **twins**: same files, same classes, same methods, same argument names, same seed, same weights.
# So you can put one beside the other, and what is different is what the array library calls its things, or does for
# you. Here is a function that rolls the map:

# %%
side_by_side("windows.cyclic_shift")

# %% [markdown]
# Lines that both share stand once. Of the others you see both versions, with the words that differ marked: NumPy says
# `axis` where PyTorch says `dims`. The heart of a Swin block differs in one line only: NumPy has to keep what its
# backward pass will need, and PyTorch's autograd keeps that by itself.

# %%
side_by_side("block.SwinTransformerBlock.forward")

# %% [markdown]
# Many functions have no difference at all:

# %%
side_by_side("windows.window_partition")

# %% [markdown]
# Do they compute the same? Take a small Swin, give both twins the same seed, and send the cat through.
# `agree` stops the page if two results differ by more than rounding.

# %%
small = swin_numpy.SwinConfig(
    embed_dim=24, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), num_classes=10
)
numpy_model = swin_numpy.SwinTransformer(small, seed=0, dtype=np.float64)
torch_model = swin_torch.SwinTransformer(small, seed=0).double().eval()

x = images.astype(np.float64)
with torch.no_grad():
    agree("logits", numpy_model(x), torch_model(torch.tensor(x)), bound=1e-9)

# %% [markdown]
# Stage by stage, with the shapes: tokens are always (n, h·w, c), and their grid (h, w) travels beside them.

# %%
with torch.no_grad():
    torch_stages = torch_model.forward_stages(torch.tensor(x))
numpy_stages = numpy_model.forward_stages(x)
for number in range(4):
    (ours, grid), (theirs, _) = numpy_stages[number], torch_stages[number]
    agree(f"stage {number + 1}, grid {grid}", ours, theirs, bound=1e-9)

# %% [markdown]
# These models know nothing: their weights are random numbers, and so are their logits. That is enough for
# almost everything in these chapters, because we ask *how* the model computes. Published weights come in
# chapter 11.

# %% [markdown]
# ## How to read an arrow
#
# Most of what Swin does to its data is moving axes about. Both packages write it with
# [einops](https://einops.rocks): the names on the left say what the axes are, the arrow says where they go.
# A bracket is one axis made of two. Cutting a map into windows:
#
# `n (kh mh) (kw mw) c -> n (kh kw) (mh mw) c`
#
# Read: *the rows are kh windows of mh rows each, the columns kw windows of mw columns; bring both window axes
# together, and both axes inside a window.* With numbers on a map of 4 × 4, in windows of 2 × 2:

# %%
numbers = np.arange(16).reshape(1, 4, 4, 1)
cut = einops.rearrange(
    numbers, "n (kh mh) (kw mw) c -> n (kh kw) (mh mw) c", mh=2, mw=2
)
assert (cut == swin_numpy.window_partition(numbers, 2)).all()
windows.window_partition_steps(numbers[0, ..., 0], cut[0, ..., 0])

# %% [markdown]
# An axis has the same name everywhere:
#
# | name | axis | name | axis |
# |:--|:--|:--|:--|
# | `n` | images in the batch | `m` (`mh mw`) | tokens in a window |
# | `h w` | rows and columns of the token grid | `a` | attention heads |
# | `H W` | rows and columns of pixels | `d` | width of a head |
# | `c` | channels | `i` | the token that asks (query) |
# | `p` | side of a patch | `j` | the token that is looked at (key) |
# | `k` (`kh kw`) | windows | | |

# %% [markdown]
# ## How a chapter works
#
# Each step comes as prose, as an equation, as plain loops with numbers small enough to follow by hand, as
# the packages have it, and as a picture. You need not believe anything: next to each claim a cell checks
# it.
#
# `agree` compares two results. This is what it says when they are not the same:

# %%
try:
    agree("one third", 1 / 3, 0.3333)
except AssertionError as error:
    print("AssertionError:", error)

# %% [markdown]
# ### Exercises
#
# Replace the `...` and run the cell. The checker tells you what is wrong, if anything is. The solution is
# folded away.
#
# **00.1** How many tokens does an image of $H \times W$ pixels have, with patches of $p \times p$? (Both
# sides can be divided by $p$.)


# %%
def tokens(H, W, p):
    """Height, width, patch side → number of patches."""
    ...


check("00.1", tokens)

# %%
solution("00.1")

# %% [markdown]
# A wrong answer gets a hint:

# %%
check("00.1", lambda H, W, p: H // p)

# %% [markdown]
# **00.2** The shapes of the pyramid above: the first stage has `side` rows and `C` channels. List (rows,
# channels) of all stages.


# %%
def shapes(side, C, stages):
    """Rows of stage 1, channels of stage 1, number of stages → [(rows, channels), …]."""
    ...


check("00.2", shapes)

# %%
solution("00.2")

# %% [markdown]
# ## Where to read on

# %%
contents()

# %% [markdown]
# - Do you have a question? [59 that learners ask](QUESTIONS.md), each with a link to the cell that answers
#   it.
# - The paper: Liu et al. 2021, [*Swin Transformer: Hierarchical Vision Transformer using Shifted
#   Windows*](https://arxiv.org/abs/2103.14030). Our first picture redraws its figure 3, with patch merging
#   at the end of a stage, where the authors' code has it.
# - The authors' code: [microsoft/Swin-Transformer](https://github.com/microsoft/Swin-Transformer).
