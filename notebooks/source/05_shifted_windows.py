# %% [markdown]
# # 05 · Shifted windows
#
# ![Six beats on a map with a photograph: walls between windows, the map rolls up and left, the seam, ordinary windows cut again, the mask, the map rolls back](../figures/gallery/cyclic_shift.gif)
#
# Windows make attention cheap, and they build walls: within a stage no token ever learns of anything outside its window. So in every
# second block the windows lie elsewhere. How that is done with one roll of the map and one mask is the heart of Swin.
#
# After this chapter you can explain
#
# - why the windows move, and what the cyclic shift does to the map (the whole map, not each window);
# - what the seam is, which pairs of tokens the mask blocks, and why two bits for each token are enough to know;
# - why -100 is *added*, *before* the softmax;
# - why roll + mask is exactly attention over the true, unequal windows;
# - how far a token has seen after $k$ blocks.

# %% jupyter={"source_hidden": true}
from itertools import product
from timeit import repeat

import numpy as np
import torch
from einops import rearrange
from lesson import agree, check, compare_runs, side_by_side, slider, solution, steps

import swin_numpy
import swin_torch
from figures import photo_path, shifted, windows
from figures.animation import shift_beats
from figures.maps import attention_rows, show_maps
from figures.measure import curves
from figures.shifted import reach
from swin_numpy import cyclic_shift, shift_mask, window_partition, window_reverse
from swin_numpy.functional import softmax
from swin_numpy.module import Module
from swin_numpy.optim import AdamW
from swin_numpy.pictures.images import denormalise, load_image, preprocess
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)

torch.set_num_threads(1)  # small arrays: more threads would only wait
rng = np.random.default_rng(5)
images = preprocess(load_image(photo_path("coffee")))  # (1, 3, 224, 224)
image = denormalise(images)[0]  # (224, 224, 3), to draw

# %% [markdown]
# The animation above, step by step (the buttons need a running notebook):

# %% jupyter={"source_hidden": true}
steps(shift_beats(image))

# %% [markdown]
# ## 1 · Walls, and how to move them
#
# Left: windows of 7 × 7 tokens (the tokens are 8 × 8 pixels here, to be seen). The rim of the cup is cut by
# walls: tokens on both sides of a wall are neighbours in the image and never meet. Right: the same windows moved
# by 3 tokens. Every wall of the left picture now runs through the inside of a window, so what was apart comes
# together.

# %%
windows.windows_on_image(image, patch_size=8, window_size=7, shift=3)

# %% [markdown]
# A block with the left windows is **W-MSA**, a block with the right ones is **SW-MSA** ("shifted window"). They
# take turns, W-MSA first. Liu et al. 2021, equation 3, for a pair of blocks:
#
# $$\hat z^{\,l} = \text{W-MSA}(\mathrm{LN}(z^{l-1})) + z^{l-1}, \qquad
#   \hat z^{\,l+1} = \text{SW-MSA}(\mathrm{LN}(z^{l})) + z^{l}$$
#
# Here $z^l$ are the tokens after block $l$ and LN is a layer norm (each line is followed by an MLP; all this is
# chapter 06). $M$ is the side of a window in tokens. The shift is $s = \lfloor M/2 \rfloor$, half a window rounded
# down: 3 for $M = 7$.

# %% [markdown]
# But look at the right picture: the windows at the border are smaller. On a map of 8 × 8 with $M = 4$, $s = 2$:

# %% jupyter={"source_hidden": true}
H, W, M, s = 8, 8, 4, 2
strips = np.split(np.arange(H), range(s, H, M))  # borders at s, s + M, …
print("rows of the moved windows:", [strip.tolist() for strip in strips])
sizes = [f"{len(rows)}×{len(columns)}" for rows, columns in product(strips, strips)]
print(len(sizes), "windows instead of", (H // M) * (W // M), "with sizes", *sizes)

# %% [markdown]
# Windows of different sizes don't fit into one array. Filling them up with zeros costs
# [more windows](#Windows-filled-up-instead) (deeper). The paper's way out is to roll the map.

# %% [markdown]
# **05.2** How wide are the moved windows along an axis of `n` tokens, from the first to the last?


# %%
def widths(n, M, s):
    """→ a list of ints that sum to n; M divides n, 0 <= s < M."""
    ...


check("05.2", widths)

# %%
solution("05.2")

# %% [markdown]
# ## 2 · The cyclic shift

# %% [markdown]
# ### Q25: Is the whole map rolled or each window, and why roll back?
#
# The **whole map** is rolled up and left by $s$. What leaves at the top comes back at the bottom, what leaves at
# the left comes back at the right. (To move the map up and left under the windows is the same as to move the
# windows down and right over the map.) First as a loop: the token that lands at (row, column) came from (row + s,
# column + s), counted round the corner with `%`.


# %% jupyter={"source_hidden": true}
def shift_by_loop(x, s):
    """x (h, w) → the same shape, rolled up and left by s."""
    H, W = x.shape
    rolled = np.zeros_like(x)
    for row, column in np.ndindex(H, W):
        rolled[row, column] = x[(row + s) % H, (column + s) % W]
    return rolled


numbers = np.arange(64).reshape(8, 8)  # each token is called by its number
rolled = shift_by_loop(numbers, 2)
shifted.cyclic_shift(numbers, rolled, shift=2, window_size=4)

# %% [markdown]
# The coloured strips have wrapped around; the dashed line where they were glued on is the **seam**. The black lines
# are the ordinary windows of 4 × 4. The window at the top left holds four tokens each of rows 2 to 5, from 18 to 45:
# exactly the moved window in the middle of the map. So the roll brings a moved window under the ordinary cut. (The
# other three hold pieces of several moved windows: that is what the mask is for.)

# %%
side_by_side("windows.cyclic_shift")

# %% jupyter={"source_hidden": true}
x = rng.standard_normal((2, 8, 8, 3))  # image, row, column, channel
one = shift_by_loop(numbers, 2)
agree("loop and NumPy", one, cyclic_shift(numbers[None, :, :, None], 2)[0, :, :, 0])
agree(
    "NumPy and PyTorch", cyclic_shift(x, 2), swin_torch.cyclic_shift(torch.tensor(x), 2)
)
agree("there and back", cyclic_shift(cyclic_shift(x, 2), -2), x)

# %% [markdown]
# **And back.** After attention the map is rolled back by the same amount. The residual connection adds the result
# to the tokens as they were, place by place; without rolling back, token 0 would get the result of token 18.

# %% [markdown]
# **05.1** Where does a token stand after the cyclic shift?


# %%
def where_to(row, column, H, W, s):
    """→ (row, column) after the map of H x W is rolled up and left by s."""
    ...


check("05.1", where_to)

# %%
solution("05.1")

# %% [markdown]
# ## 3 · The mask

# %% [markdown]
# ### Q29: What is the mask for, and exactly which pairs does it block?
#
# Two tokens that stand in one window after the roll may see each other only if they were in one moved window *before*
# the roll. That sentence can be written down as a loop over all pairs, without thinking of seams at all (folded
# away below):


# %% jupyter={"source_hidden": true}
def moved_window(row, column, M, s):
    """Which moved window a token of the original map lies in: borders at s, s + M, s + 2M, …"""
    return (row - s) // M, (column - s) // M


def mask_by_loop(H, W, M, s):
    """(windows, queries i, keys j) of 0 and -100."""
    mask = np.zeros((H // M * (W // M), M * M, M * M))
    for k, i, j in np.ndindex(mask.shape):
        top, left = k // (W // M) * M, k % (W // M) * M
        came_from = [((top + t // M + s) % H, (left + t % M + s) % W) for t in (i, j)]
        if moved_window(*came_from[0], M, s) != moved_window(*came_from[1], M, s):
            mask[k, i, j] = -100
    return mask


# %% [markdown]
# The library needs no loop over pairs. After the roll the seam runs $s$ rows above the bottom and $s$ columns left of
# the right edge. **Two bits** tell on which side a token is: is its row at or below the seam? Is its column at or
# right of it? Tokens of one window with equal bits lay in one moved window; with different bits they come from
# opposite ends of the image.

# %%
below = np.arange(8) >= 8 - 2  # rows 6 and 7 came from the top
right = np.arange(8) >= 8 - 2
side = 2 * below[:, None] + right[None, :]  # the two bits as one number: 0, 1, 2 or 3
shifted.region_labels(side, window_size=4)

# %% [markdown]
# A row for each query, a column for each key: blocked where the labels differ. There are four kinds of windows:
# whole, cut by the vertical seam, cut by the horizontal one, cut by both.

# %%
mask = shift_mask(8, 8, 4, 2)  # (4 windows, 16, 16)
shifted.masks(mask, side, window_size=4)

# %% [markdown]
# Why does the mask of window (0, 1) look like small chess squares? Its tokens are listed row by row, and in each row
# the last two lie right of the seam: labels 0 0 1 1, 0 0 1 1, … In window (1, 0) the first two *rows* lie above the
# seam, so its first eight tokens are equal: two large squares. The corner window has both patterns at once.

# %%
side_by_side("windows.shift_mask")

# %% jupyter={"source_hidden": true}
for size in ((8, 8, 4, 2), (14, 21, 7, 3), (12, 8, 4, 1)):
    agree(f"{size}, loop and NumPy", shift_mask(*size), mask_by_loop(*size))
    agree(f"{size}, NumPy and PyTorch", shift_mask(*size), swin_torch.shift_mask(*size))

# %% [markdown]
# Now count, for the first stage of Swin-T: 56 × 56 tokens, $M = 7$, $s = 3$.

# %% jupyter={"source_hidden": true}
mask56 = shift_mask(56, 56, 7, 3)
touched = (mask56 != 0).any(axis=(1, 2))  # has window k any blocked pair?
print(f"windows with a blocked pair: {touched.sum()} of {len(touched)}")
print(
    f"blocked pairs: {(mask56 != 0).sum():,} of {mask56.size:,} = {(mask56 != 0).mean():.1%}"
)
here = np.flatnonzero(touched.reshape(8, 8)[:-1, :-1])
print("of these, not in the last row or column of windows:", len(here))
fewest = int((mask56 == 0).sum(axis=2).min())
print(f"fewest keys that any query may look at: {fewest} (a corner of 3 × 3 tokens)")
assert (np.diagonal(mask56, axis1=1, axis2=2) == 0).all()  # never from itself

# %% [markdown]
# So here the mask does nothing in most windows: only in the last row and the last column. And it never blocks a token from
# itself, so no row is ever blocked entirely.

# %% [markdown]
# **05.3** One bit along one axis: which of the `n` places of the *rolled* axis hold tokens that wrapped around?


# %%
def beyond_the_seam(n, s):
    """→ a list of n bools."""
    ...


check("05.3", beyond_the_seam)

# %%
solution("05.3")

# %% [markdown]
# **05.4** The mask, your way. It is tested against the loop over all pairs, on maps that are not square.


# %%
def my_mask(H, W, M, s):
    """→ (windows, M·M, M·M): 0 where query i may look at key j, -100 where not."""
    ...


check("05.4", my_mask)

# %%
solution("05.4")

# %% [markdown]
# ## 4 · How the mask acts

# %% [markdown]
# ### Q31: Why is it added before the softmax, and not multiplied? Why does -100 act like zero?
#
# One row of scores, four keys, and the last two are to be blocked. Three ways to do it:

# %% jupyter={"source_hidden": true}
scores = np.array([2.0, 1.0, 0.5, 3.0])
keep = np.array([1.0, 1.0, 0.0, 0.0])
ways = {
    "add -100 before": softmax(scores + np.where(keep == 1, 0, -100)),
    "multiply by 0 before": softmax(scores * keep),
    "multiply by 0 after": softmax(scores) * keep,
    "only the two allowed": np.append(softmax(scores[:2]), [0, 0]),
}
for name, weights in ways.items():
    print(f"{name:21} {weights.round(3)}  sum {weights.sum():.3f}")

# %% jupyter={"source_hidden": true}
show_maps({name: weights[None] for name, weights in ways.items()})

# %% [markdown]
# - *Multiply before*: a score of 0 is no weight of 0, for $e^0 = 1$. Blocked keys take part; here a score of 0.5
#   became 0.
# - *Multiply after*: blocked keys are out, but they were in the sum of the softmax. The row no longer sums to 1.
# - *Add -100 before*: $e^{s - 100} = e^s \cdot e^{-100}$, and $e^{-100}$ is next to nothing. The rest sums to 1:
#   the same as if only the allowed keys had ever been there.

# %% jupyter={"source_hidden": true}
agree(
    "add -100, or leave the keys out",
    ways["add -100 before"],
    ways["only the two allowed"],
)
print(f"exp(-100) = {np.exp(-100.0):.1e}")
far = softmax(np.array([2.0, 1.0, 0.5, 130.0]) + np.where(keep == 1, 0, -100))
print("with a blocked score of 130:", far.round(3))

# %% [markdown]
# The last line shows the limit: -100 is "minus infinity" only as long as scores differ by much less than 100. A
# blocked key with a score of 130 wins against all others.

# %% [markdown]
# ## 5 · The whole of SW-MSA
#
# Shift, cut into windows, attention with mask, put together, shift back. `mask_for` makes the mask; the listing of
# `in_windows`, the whole path, which also pads, is under "Deeper" in [chapter 06](06_swin_block.ipynb).

# %%
side_by_side("block.SwinTransformerBlock.attend")

# %% jupyter={"source_hidden": true}
size = {
    "dim": 12,
    "num_heads": 3,
    "input_resolution": (8, 8),
    "window_size": 4,
    "shift_size": 2,
}
in_numpy = swin_numpy.SwinTransformerBlock(**size).to(np.float64)
in_torch = swin_torch.SwinTransformerBlock(**size).double()
state = {
    name: 0.5 * rng.standard_normal(value.shape)
    for name, value in in_numpy.state_dict().items()
}
in_numpy.load_state_dict(state)
in_torch.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
x = rng.standard_normal((2, 64, 12))  # 2 images, 8 · 8 tokens, 12 channels
agree(
    "SW-MSA, NumPy and PyTorch",
    in_numpy.attend(x, (8, 8)),
    in_torch.attend(torch.tensor(x), (8, 8)),
)

# %% [markdown]
# ### Q28: Is shift + mask equal to attention over the true, unequal windows? What are the alternatives?
#
# Here is the plain way: no roll, no mask. Loop over the nine moved windows as they lie on the map, attend inside
# each. The bias comes from the tokens' coordinates on the map.


# %% jupyter={"source_hidden": true}
def attend_tokens(attn, tokens, row, column, M):
    """Attention among tokens (m, c) that lie at row (m,), column (m,) of the map."""
    q, k, v = rearrange(
        attn.qkv(tokens), "m (three a d) -> three a m d", three=3, a=attn.num_heads
    )
    rows, columns = row[:, None] - row + M - 1, column[:, None] - column + M - 1
    B = attn.relative_position_bias_table[rows * (2 * M - 1) + columns]  # (i, j, a)
    weights = softmax(attn.scale * q @ k.mT + rearrange(B, "i j a -> a i j"))
    return attn.proj(rearrange(weights @ v, "a m d -> m (a d)"))


def attend_true_windows(attn, x, M, s):
    """x (h, w, c): attention in every moved window, whatever its size."""
    out = np.zeros_like(x)
    strips = (np.split(np.arange(side), range(s, side, M)) for side in x.shape[:2])
    for rows, columns in product(*strips):
        row, column = (
            grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij")
        )
        out[row, column] = attend_tokens(attn, x[row, column], row, column, M)
    return out


# %% jupyter={"source_hidden": true}
true = np.stack(
    [attend_true_windows(in_numpy.attn, one.reshape(8, 8, 12), 4, 2) for one in x]
)
agree(
    "true windows, and shift + mask",
    in_numpy.attend(x, (8, 8)),
    true.reshape(2, 64, 12),
)

# %% jupyter={"source_hidden": true}
place = np.stack(moved_window(*np.indices((8, 8)), 4, 2))
show_maps({"the nine moved windows": (place[0] + 1) * 3 + place[1] + 1})

# %% [markdown]
# The same, to the last digits. The mask is no approximation. Shift + mask is a way to *compute* attention over
# unequal windows with equal arrays.

# %% [markdown]
# ## 6 · How far a token sees

# %% [markdown]
# ### Q27: How does information travel, and after how many blocks does a token hear of the whole map?
#
# We ask PyTorch: send the gradient of *one* output token back through eight blocks. (The gradient says how much each
# number of the input changes the output; chapter 9 works it out.) Where it isn't zero, a token can change the result.
# Before the last block we see what one block reaches, before the last two what two blocks reach, and so on. The weights
# are random, $M = 7$; once all blocks are W-MSA, once every second one is SW-MSA.
# (The -100 lets about $10^{-44}$ through, which float64 can hold. So "not zero" means above $10^{-30}$.)


# %% jupyter={"source_hidden": true}
def reached(shift, side, query, blocks=8):
    """Maps (side, side) of bool: from which tokens does `query` hear through the last 1, 2, … blocks?"""
    torch.manual_seed(0)
    grid, shifts = (side, side), [0, shift] * (blocks // 2)
    layers = [
        swin_torch.SwinTransformerBlock(
            8, 2, input_resolution=grid, window_size=7, shift_size=s
        ).double()
        for s in shifts
    ]
    inputs, x = (
        [],
        torch.randn(1, side * side, 8, dtype=torch.float64, requires_grad=True),
    )
    for layer in layers:
        inputs.append(x)
        x = layer(x, grid)
        x.retain_grad()
    (x[0, query[0] * side + query[1]] @ torch.randn(8, dtype=torch.float64)).backward()
    return [
        before.grad[0].norm(dim=-1).reshape(grid).numpy() > 1e-30
        for before in reversed(inputs)
    ]


# %%
query = (10, 10)
without, shifting = reached(0, 28, query, blocks=4), reached(3, 28, query, blocks=4)
reach(without, shifting, query, window_size=7)

# %% [markdown]
# Without the shift a token never hears from outside its window, however many blocks a stage has. With it, every step back
# from the output token adds half a window on each side: 4 tokens on one and 3 on the other, because the walls of one
# kind of block cut the other kind's windows into 3 and 4. On the 56 × 56 map of stage 1, from a token in the middle (a
# corner needs more blocks):

# %% jupyter={"source_hidden": true}
area = {
    "W-MSA only": [seen.sum() for seen in reached(0, 56, (28, 28))],
    "W-MSA and SW-MSA": [seen.sum() for seen in reached(3, 56, (28, 28))],
}
for name, tokens in area.items():
    print(f"{name:17}", *(f"{t:5}" for t in tokens))
corner = [seen.all() for seen in reached(3, 56, (0, 0), blocks=16)]
print("from a corner, blocks until the whole map is seen:", 1 + corner.index(True))
# a square with side 7k
assert area["W-MSA and SW-MSA"] == [(7 * k) ** 2 for k in range(1, 9)]
curves(area, xlabel="blocks", ylabel="tokens that can matter", x=range(1, 9))

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Not each window by itself
#
# Rolling inside the windows only rearranges each window. The same tokens are
# together as before, and attention doesn't mind the order (but for the bias, which it would get wrong).

# %%
# (4 windows, 16 tokens)
cut = window_partition(numbers[None, :, :, None], 4)[0, :, :, 0]
each_rolled = np.roll(cut.reshape(4, 4, 4), (-2, -2), axis=(1, 2)).reshape(4, 16)
map_rolled = window_partition(cyclic_shift(numbers[None, :, :, None], 2), 4)[0, :, :, 0]
for name, tokens in (
    ("each window rolled", each_rolled),
    ("the whole map rolled", map_rolled),
):
    same = [
        set(old) == set(new)
        for old, new in zip(cut.tolist(), tokens.tolist(), strict=True)
    ]
    print(f"{name:20}: does window k still hold its tokens? {same}")

# %% [markdown]
# ### Why half a window?
#
# Why half? Walls move with any shift that is not a multiple of $M$. But take the wall above row $M$, and the moved
# window that it now cuts. How many of its rows lie above the old wall, and how many below?

# %%
for shift in range(1, 7):
    rows = np.arange(shift, shift + 7)  # the moved window, M = 7; old wall above row 7
    print(f"shift {shift}: {(rows < 7).sum()} rows above, {(rows >= 7).sum()} below")

# %% [markdown]
# With a shift of 1 a single row below the old wall meets those above; with 6 a single row above meets those below.
# Half a window is fairest to both sides; 3 and 4 are equally good for $M = 7$.

# %% [markdown]
# ### What the shift is worth: a task across a wall
#
# Each token of an 8 × 8 map holds a bit, +1 or −1, drawn at random, and has to say the bit of its neighbour on the right.
# Windows are 4 × 4, so between columns 3 and 4 there is a wall. Two blocks are trained on it with NumPy, twice from the
# same start and on the same maps: once both are W-MSA, once the second is SW-MSA. Nothing else differs.


# %%
class Neighbour(Module):
    """A bit for each token, (n, 8, 8) → a logit for each token, (n, 8, 8)."""

    def __init__(self, shift):
        super().__init__()
        size = {"input_resolution": (8, 8), "window_size": 4}
        self.embed = swin_numpy.layers.Linear(1, 16)
        self.first = swin_numpy.SwinTransformerBlock(16, 2, **size)
        self.second = swin_numpy.SwinTransformerBlock(16, 2, **size, shift_size=shift)
        self.head = swin_numpy.layers.Linear(16, 1)

    def forward(self, bits):
        x = self.first(self.embed(bits.reshape(-1, 64, 1)), (8, 8))
        return self.head(self.second(x, (8, 8))).reshape(-1, 8, 8)

    def backward(self, dlogits):
        dx = self.second.backward(self.head.backward(dlogits.reshape(-1, 64, 1)))
        self.embed.backward(self.first.backward(dx))


# %%
def right_answers(shift, seed, steps=150):
    """The share of right answers on 200 new maps after training, by column 0 … 6."""
    model, draw = Neighbour(shift).train(), np.random.default_rng(seed)
    swin_numpy.layers.init_weights(model, seed)
    optimizer = AdamW(model.named_parameters(), lr=0.01, weight_decay=0)
    for _ in range(steps):
        bits = draw.choice(np.float32([-1, 1]), (32, 8, 8))
        wanted, logits = bits[:, :, 1:], model(bits)
        # the loss is log(1 + exp(-wanted · logit)), its mean over all tokens
        dlogits = np.zeros_like(logits)
        dlogits[:, :, :7] = -wanted / (1 + np.exp(wanted * logits[:, :, :7]))
        model.zero_grad()
        model.backward(dlogits / wanted.size)
        optimizer.step()
    bits = draw.choice(np.float32([-1, 1]), (200, 8, 8))
    right = np.sign(model.eval()(bits)[:, :, :7]) == bits[:, :, 1:]
    return 100 * right.mean(axis=(0, 1))


seeds = range(4)
answers = {
    name: np.array([right_answers(shift, seed) for seed in seeds])
    for name, shift in (("W-MSA twice", 0), ("W-MSA, then SW-MSA", 2))
}
means = {name: share.mean(0) for name, share in answers.items()}
curves(means, "column of the token that answers", "right answers, %", x=range(7))

# %% [markdown]
# At the wall, column 3, and everywhere else:


# %%
def compare(columns):
    runs = {
        name: lambda seed, share=share: share[seed, columns].mean()
        for name, share in answers.items()
    }
    compare_runs(runs, seeds, " %")


print("column 3")
compare([3])
print("the other columns")
compare([0, 1, 2, 4, 5, 6])

# %% [markdown]
# Without the shift a token in column 3 can only guess, since its neighbour is out of reach; with it the wall is gone.
# The task is made for the shift; on photographs it is worth less. Swin-T without and with it, in table 4 of Liu et al.
# 2021: 80.2 and 81.3 % top-1 on ImageNet-1K, 47.7 and 50.5 box AP on COCO, 43.3 and 46.1 mIoU on ADE20K.

# %% [markdown]
# ### The nine labels of the official code
#
# It (`img_mask` in `models/swin_transformer.py`) cuts the rolled map into three strips each way and numbers the nine
# pieces. The mask comes out the same.


# %%
def strips_of(M, s):
    return slice(0, -M), slice(-M, -s), slice(-s, None)


def nine_labels(H, W, M, s):
    labels = np.zeros((H, W), dtype=int)
    for number, (rows, columns) in enumerate(product(strips_of(M, s), strips_of(M, s))):
        labels[rows, columns] = number
    return labels


def mask_from(labels, M):
    """Labels (h, w) → mask: -100 where query and key have different labels."""
    cut = window_partition(labels[None, :, :, None], M)[0, :, :, 0]  # (windows, tokens)
    return np.where(cut[:, :, None] != cut[:, None, :], -100.0, 0.0)


print(nine_labels(8, 8, 4, 2))
for size in ((8, 8, 4, 2), (56, 56, 7, 3), (14, 21, 7, 3)):
    agree(
        f"{size}, nine labels and two bits",
        mask_from(nine_labels(*size), size[2]),
        shift_mask(*size),
    )

# %% [markdown]
# Why are two bits enough where nine labels are used? Labels matter only where two of them meet *inside a window*.
# The first border of the strips, $-M$, is a border between windows anyway, so it never parts anything.

# %%
cut = window_partition(nine_labels(8, 8, 4, 2)[None, :, :, None], 4)[0, :, :, 0]
for k, labels in enumerate(cut):
    print(f"window {k}: labels that meet", sorted(set(labels.tolist())))

# %% [markdown]
# ### Q26: Why is the shift towards the top-left (negative), and would another direction work?
#
# `roll(x, -s)` moves the map up and left, so that a window that starts at row s starts at row 0 afterwards: cutting finds
# it in its place. Another direction works as well, if the mask goes with it: roll down and right, and the seam lies $s$ rows
# below the top, in the *first* windows. The moved windows are then others (borders at $M - s$, $2M - s$, …), and for
# $M = 2s$ they are the same. Labels for that direction, checked against the loop over true windows:

# %%
H, W, M, s = 14, 21, 7, 3
down, right = np.arange(H) < s, np.arange(W) < s
other_labels = 2 * down[:, None] + right[None, :]
other_way = cyclic_shift(np.arange(H * W).reshape(1, H, W, 1), -s)
cut = window_partition(other_way, M)[0, :, :, 0]
sees = np.zeros((H * W, H * W), bool)
for tokens, mask_of_window in zip(cut, mask_from(other_labels, M) == 0, strict=True):
    sees[np.ix_(tokens, tokens)] = mask_of_window
row, column = np.divmod(np.arange(H * W), W)
moved = np.stack([(row + s) // M, (column + s) // M])  # borders at M - s, …
print(
    "same pairs as in the true windows:",
    np.array_equal(sees, (moved[:, :, None] == moved[:, None]).all(0)),
)

# %% [markdown]
# ### Q34: Why does the last stage at 224 have no shift and no mask, and why do segmentation/detection versions differ there?
#
# At 224 pixels the map of stage 4 has 7 × 7 tokens: one window. There is no wall to move, and a shift with mask would
# only cut the one window in four. So the classification code (`SwinTransformerBlock`) sets the shift to 0 where a window
# covers the map.
# Microsoft's detection code (`mmdet/models/backbones/swin_transformer.py`) is built for no size in particular and
# always shifts every second block, whatever map comes; its weights were trained so. `Backbone.from_checkpoint` keeps
# to that for such files (`always_shift`). The block asks for its mask here:

# %%
side_by_side("block.SwinTransformerBlock.mask_for")

# %% [markdown]
# And the shift of both blocks of stage 4:

# %%
for always in (False, True):
    config = swin_numpy.SwinConfig(always_shift=always, img_size=None)
    blocks = swin_torch.SwinTransformer(config).layers[3].blocks
    print(
        f"always_shift={always!s:5} stage 4, map of 7 × 7: shifts",
        [block.shift_for((7, 7)) for block in blocks],
    )

# %% [markdown]
# ### Q30: Does unsqueeze(1) - unsqueeze(2) block both rows and columns, and does the order matter?
#
# The official code (`models/swin_transformer.py`) subtracts the labels of a window from each other in all pairs, and blocks
# where the difference
# isn't 0. A label holds row *and* column information, so both are blocked. If a − b isn't 0, b − a isn't either.
# So the order doesn't matter: every mask is its own transpose.

# %%
labels = window_partition(nine_labels(56, 56, 7, 3)[None, :, :, None], 7)[0, :, :, 0]
labels = torch.tensor(labels)  # (windows, tokens)
one, other = (
    labels.unsqueeze(1) - labels.unsqueeze(2),
    labels.unsqueeze(2) - labels.unsqueeze(1),
)
print("differences equal:         ", torch.equal(one, other))
print("'is not 0' equal:          ", torch.equal(one != 0, other != 0))
print("'is not 0' = blocked:      ", np.array_equal(one != 0, mask56 != 0))
print("each mask = its transpose: ", np.array_equal(mask56, mask56.transpose(0, 2, 1)))

# %% [markdown]
# ### Q37: -100, -inf, -1e4 or the smallest number of the dtype: when does each give NaN?
#
# The smallest number of a dtype, `finfo.min`, is the most negative one that the format can hold. We try each value in
# three formats, on a row with two blocked keys ("partly") and on a row where all are blocked
# ("fully").


# %%
def outcome(weights, free):
    """What a row of weights amounts to, in words; free: the weights without any mask."""
    if weights.isnan().any():
        return "NaN"
    if torch.allclose(weights, weights[0]):
        return "all keys alike"
    off = (weights.double() - free.double()).abs().max().item()
    return (
        "as if nothing were blocked"
        if off < 1e-6
        else f"nearly as if nothing were blocked: up to {off:.0e} off"
    )


def try_fill(name, fill, dtype):
    scores = torch.tensor([1.53, -0.47, 0.21, -1.98], dtype=dtype)
    blocked = torch.tensor([False, False, True, True])
    fill = torch.tensor(fill, dtype=dtype)
    partly = torch.softmax(scores + torch.where(blocked, fill, 0), dim=-1)
    fully = torch.softmax(scores + fill, dim=-1)
    row = f"{name:10} {fill.item():10.3g}   {partly[2].item():8.1e}"
    print(f"{str(dtype)[6:]:9}{row}   {outcome(fully, torch.softmax(scores, -1))}")


# %%
print("dtype    fill       is stored as  weight of a   a row that is blocked fully")
print("                                 blocked key")
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    for fill in (-100.0, -1e4, -1e9, -torch.inf):
        try_fill(f"{fill:g}", fill, dtype)
    try_fill("finfo.min", torch.finfo(dtype).min, dtype)

# %% [markdown]
# - **Partly blocked**: every value works in every format. With -100 the weight is exactly 0 in the 16-bit
#   formats, and about $10^{-44}$ in float32, a number so small that some devices round it to 0.
# - **Fully blocked**: -inf gives NaN, since $-\infty - (-\infty)$ is not a number, and -1e9 is -inf already in float16.
#   -100 gives nearly the weights without a mask, up to the digits that the format has left near 100: in bfloat16 numbers
#   there are 0.5 apart. Values so large that no digits are left for the scores make all keys alike.
# - **In Swin** no row is ever fully blocked (section 3). So -100 and -inf, and whatever lies between them and fits the
#   format, give the same answer there up to rounding, as long as no score comes near 100. -100 is the published value.
#   (In V2 a score can reach 100 and more: there the size matters, see [chapter 12](12_swin_v2.ipynb).)
#
# Two more things are often said. One is true as it stands, the other needs care:

# %%
try:
    torch.zeros(2, dtype=torch.float16).masked_fill(torch.tensor([True, False]), -1e9)
except RuntimeError as error:
    print("masked_fill(-1e9) in float16:", error)
for dtype in (torch.float16, torch.bfloat16, torch.float32):
    least = torch.tensor(torch.finfo(dtype).min, dtype=dtype)
    sums = [
        f"{(least + torch.tensor(b, dtype=dtype)).item():.3g}"
        for b in (-1.0, -15.0, -16.0, -100.0)
    ]
    twice = (least + least).item()
    print(
        f"{str(dtype)[6:]:9} finfo.min plus -1, -15, -16, -100:",
        *sums,
        " plus itself:",
        twice,
    )

# %% [markdown]
# "finfo.min plus a negative bias overflows": only if the bias is large enough to be felt. In float16 numbers near
# the end are 32 apart, so -15 is rounded away and -16 is the first that overflows to -inf; in bfloat16 and
# float32 no usual bias does. Two masks of finfo.min on top of each other always do.

# %% [markdown]
# ### Windows filled up instead
#
# The alternative in the paper is to pad every border window up to $M \times M$. Then there are more windows:

# %%
print("map      windows: shift + mask   padded   attention costs")
for side in (56, 28, 14):
    rolled, padded = (
        (side // 7) ** 2,
        len(np.split(np.arange(side), range(3, side, 7))) ** 2,
    )
    print(
        f"{side:2} × {side:2} {rolled:21} {padded:9} {padded / rolled:12.2f} times as much"
    )

# %% [markdown]
# The smaller the map, the more padding hurts. Others collect tokens in another way, say every eighth token (a
# "shuffle"). No mask is needed then, but tokens that meet are no neighbours: that is another attention, not the
# same one by other means.

# %% [markdown]
# ### Seeing through the whole model
#
# So $k$ blocks reach at most a square of $7k \times 7k$ tokens: a large map needs many blocks. Swin has another means:
# patch merging (chapter 07) halves the map after each stage, and a window then covers twice as many pixels each
# way. Measured on a whole model of Swin-T's depth: from the token in the middle of each stage's map back to the pixels of
# a 224 × 224 image. (A token in a corner sees less.)

# %%
whole = swin_torch.SwinTransformer(
    swin_numpy.SwinConfig(embed_dim=6, num_heads=(1, 1, 1, 1))
).eval()
pixels = torch.randn(1, 3, 224, 224, requires_grad=True)
for stage, (out, (h, w)) in enumerate(whole.forward_stages(pixels), 1):
    pixels.grad = None
    (out[0, h // 2 * w + w // 2] @ torch.randn(out.shape[-1])).backward(
        retain_graph=True
    )
    seen = (pixels.grad[0].abs().sum(0) > 1e-30).numpy()
    rows, columns = seen.any(1).sum(), seen.any(0).sum()
    print(
        f"stage {stage}: the middle token depends on {rows:3} × {columns:3} pixels = {seen.mean():.0%}"
    )

# %% [markdown]
# ### Q33: How does one mask per window meet the scores of a batch, and why is it M2 x M2 in all stages?
#
# In this project windows have an axis of their own, so scores `(n k a i j)` and mask `(k 1 i j)` line up by
# themselves: one mask for each window, the same for all images and heads. The official code (`WindowAttention.forward`) fuses
# images and
# windows into one axis, and must take them apart again as `(B, windows, …)`. That is right only if all windows of
# image 0 come first. We give window $k$ the "mask" $k$, and look who gets what.

# %%
n, k = 2, 4  # images, windows
kth_mask = np.arange(k).reshape(k, 1, 1)  # stands for the mask of window k
for name, order, back in (
    ("batch-major", "n k a i j -> (n k) a i j", "(n k) -> n k"),
    ("window-major", "n k a i j -> (k n) a i j", "(k n) -> n k"),
):
    fused = rearrange(np.zeros((n, k, 1, 1, 1)), order)
    # as the official code takes it apart
    masked = fused.reshape(n, k, 1, 1, 1) + kth_mask[None, :, None]
    got = rearrange(masked.reshape(n * k), back, n=n).astype(int)
    print(f"{name:12} mask that image 0 gets, by window: {got[0]}   image 1: {got[1]}")

# %% [markdown]
# Window-major runs without an error. Most windows get the mask of another window, and the two images get
# different ones.
#
# A window has $M^2$ tokens in every stage, so each mask is $M^2 \times M^2$ everywhere. The map shrinks; so does
# the number of windows, and nothing else. In stage 4 one window holds the whole map and nothing is shifted.

# %%
config = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
for stage, (h, w) in enumerate(config.grids, 1):
    what = f"mask {shift_mask(h, w, 7, 3).shape}" if h > 7 else "no mask"
    print(f"stage {stage}: {h} × {w} tokens, {what}")

# %% [markdown]
# ### Q32: Why is the mask recomputed for another size? What would the stored one do?
#
# The mask belongs to a map. A stored mask for 56 × 56 has 64 windows; a map of 28 × 28 has 16.

# %%
attn = swin_numpy.WindowAttention(12, 7, 3).to(np.float64)
stored = shift_mask(56, 56, 7, 3)
small = window_partition(rng.standard_normal((1, 28, 28, 12)), 7)
try:
    attn(small, stored)
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# That error is the lucky case. A map of 28 × 56 and one of 56 × 28 have equally many windows, in another order:

# %%
for _, value in attn.named_parameters():
    value[...] = rng.standard_normal(value.shape)
tall = window_partition(rng.standard_normal((1, 56, 28, 12)), 7)
stored, fresh = shift_mask(28, 56, 7, 3), shift_mask(56, 28, 7, 3)
print("masks:", stored.shape, "and", fresh.shape)
wrong = np.abs(attn(tall, stored) - attn(tall, fresh)).max(axis=(0, 2, 3)) > 1e-9
print(f"no error, and wrong results in {wrong.sum()} of {len(wrong)} windows")

# %% [markdown]
# This project makes the mask anew in every call. Does that cost much? Beside it, the block itself, at the first
# stage's size:

# %%
block = swin_torch.SwinTransformerBlock(
    96, 3, input_resolution=(56, 56), window_size=7, shift_size=3
).eval()
tokens = torch.randn(1, 56 * 56, 96)
with torch.no_grad():
    whole = min(repeat(lambda: block(tokens, (56, 56)), number=1, repeat=6))
    alone = min(repeat(lambda: block.mask_for((56, 56), tokens), number=1, repeat=6))
print(
    f"making the mask takes {alone / whole:.1%} of the block's time, for one image, on one thread of this machine"
)

# %% [markdown]
# With more images in a batch the share falls, since one mask serves all. A stage could make it once for all its
# blocks. We make it in the block, because there it can't be the wrong one.

# %% [markdown]
# ### The whole map at a glance
#
# Lay the attention weights of all windows out as one large matrix: a row for each query token *of the map*, a
# column for each key token, tokens numbered row by row as in section 2. A pair in no common window has no entry.


# %%
def place_of_tokens(H, W, M, s):
    """(windows, tokens in a window): the number of the token that stands there after the roll."""
    numbers = np.arange(H * W).reshape(1, H, W, 1)
    return window_partition(cyclic_shift(numbers, s), M)[0, :, :, 0]


def on_the_map(place, values, missing=0):
    """values (k, i, j) of all windows → (h·w, h·w), `missing` for pairs that never meet."""
    full = np.full((place.size, place.size), missing, values.dtype)
    for tokens, window in zip(place, values, strict=True):
        full[np.ix_(tokens, tokens)] = window
    return full


# %%
W_MSA = on_the_map(place_of_tokens(8, 8, 4, 0), np.ones((4, 16, 16), dtype=bool))
SW_MSA = on_the_map(place_of_tokens(8, 8, 4, 2), shift_mask(8, 8, 4, 2) == 0)
everything = np.ones((64, 64), dtype=bool)
windows.attention_structure({"global": everything, "W-MSA": W_MSA, "SW-MSA": SW_MSA})

# %% [markdown]
# **What does row 3 mean?** Counted from 0, it belongs to token 3 as the query (row 0, column 3 of the map). Its entries say from
# which tokens token 3 takes its new value. In a matrix of weights the row sums to 1.

# %%
for name, matrix in (("W-MSA", W_MSA), ("SW-MSA", SW_MSA)):
    print(f"{name:6} row 3 looks at the tokens {np.flatnonzero(matrix[3]).tolist()}")

# %% [markdown]
# W-MSA: its window, rows 0 to 3 and columns 0 to 3. SW-MSA: the moved window at the top border, rows 0 and 1, columns
# 2 to 5. Token 3 got new neighbours at its right and lost those below and further left.
#
# And what do two blocks in a row give? Token $i$ hears from $j$ if there is a token that $i$ looks at in the
# second block and that looked at $j$ in the first. That is a product of matrices.

# %%
both = (SW_MSA.astype(int) @ W_MSA.astype(int)) > 0
print(
    "tokens that row 3 hears from after W-MSA and SW-MSA:", int(both[3].sum()), "of 64"
)
print(
    "tokens that token 27, in the middle, hears from:     ",
    int(both[27].sum()),
    "of 64",
)

# %% [markdown]
# On the photograph: 28 × 28 tokens, $M = 7$, $s = 3$. Where may the query look, and how much? (No trained weights
# yet: the content is made by hand, as in chapter 04. The closer the mean colours of two tokens, the higher the
# score.) The query stands near the bottom right corner. Without the mask it looks at the *opposite* sides of the
# photograph too, if less than an even share would. Move it in the notebook.

# %%
pixels_of = rearrange(images, "1 c (h p1) (w p2) -> (h w) (p1 p2) c", p1=8, p2=8)
colour = pixels_of.mean(1)  # (784, 3)
# scores of all pairs (784, 784)
alike = -1.0 * np.square(colour[:, None] - colour[None, :]).sum(-1)


def weights_in(s, mask):
    """Weights of all pairs in the windows shifted by s, 784 x 784; NaN for pairs that never meet."""
    place = place_of_tokens(28, 28, 7, s)
    scores = np.stack([alike[np.ix_(tokens, tokens)] for tokens in place])
    weights = softmax(scores + mask)
    return on_the_map(place, np.where(mask == 0, weights, np.nan), missing=np.nan)


# %%
free, masked = np.zeros((16, 49, 49)), shift_mask(28, 28, 7, 3)
layers = {
    "W-MSA": weights_in(0, free),
    "SW-MSA": weights_in(3, masked),
    "SW-MSA without mask": weights_in(3, free),
}


def looks(row, column):
    maps = [weights[row * 28 + column].reshape(28, 28) for weights in layers.values()]
    return attention_rows(image, maps, (row, column), list(layers))


slider(looks, row=(0, 27, 1, 25), column=(0, 27, 1, 26))

# %%
row, column = np.divmod(np.arange(28 * 28), 28)
far = (row < 14) | (column < 14)  # not in the query's quarter of the photograph
for name, weights in layers.items():
    row = weights[25 * 28 + 26]
    there = far[np.isfinite(row)].mean()
    print(
        f"{name:20} other quarters hold {there:.0%} of the keys, get {np.nansum(row[far]):.0%} of the weight"
    )

# %% [markdown]
# ### With trained weights
#
# Above, colours decided who attends to whom. Now a model that was trained (chapter 10: clothes, 14 × 14 tokens,
# windows of 7), on images that it never saw. Its second block shifts. Here is what one token at the right edge of the
# first image looks at with the mask, and what it would look at without:

# %%
model = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
first, block = model.layers[0].blocks[:2]
cloth = fashion_mnist(SUBSET, "test").images[:20]
x, grid = model.embed(standardise(cloth))
x = rearrange(block.norm1(first(x, grid)), "n (h w) c -> n h w c", h=grid[0])
parts = window_partition(cyclic_shift(x, block.shift_size), block.window_size)

# %%
mask = shift_mask(*grid, block.window_size, block.shift_size)
place = place_of_tokens(*grid, block.window_size, block.shift_size)
query = 6, grid[1] - 1
looked = {}
for name, added in (("masked", mask), ("not masked", 0 * mask)):
    weights = block.attn.attention_weights(parts, added)[0]
    # mean over heads
    weights = np.where(added == 0, weights.mean(axis=1), np.nan)
    on_map = on_the_map(place, weights, missing=np.nan)
    looked[name] = on_map[query[0] * grid[1] + query[1]].reshape(grid)
picture = np.repeat(cloth[0][..., None], 3, axis=2)
attention_rows(picture, list(looked.values()), query, list(looked))

# %%
# (images, k, i, j), mean over heads
weights = block.attn.attention_weights(parts, 0 * mask).mean(axis=2)
across = ((mask != 0) * weights).sum(-1).mean(0)  # (k, i): beyond the seam
even = (mask != 0).mean(-1)
cut = even > 0
more = (across > even)[cut].mean()
print(
    f"beyond the seam: {even[cut].mean():.0%} of the keys, {across[cut].mean():.0%} of the weight;"
    f" more than even for {more:.0%} of the tokens"
)

# %% [markdown]
# On average about as much as even weights would give, and what a token would take from there is not its neighbourhood.

# %% [markdown]
# ### Q35: How can I test that my own mask is right?
#
# By a property that needs no seam: **two tokens of a window are blocked exactly if they lay $M$ or more apart, on
# some axis, before the roll.** Moved windows are $M$ wide, so tokens of the same one are less than $M$ apart.


# %%
def blocked_by_distance(H, W, M, s):
    """(windows, i, j) of bool: is the pair M or more apart on the map, in rows or in columns?"""
    row, column = np.divmod(place_of_tokens(H, W, M, s), W)
    far = [np.abs(axis[:, :, None] - axis[:, None, :]) >= M for axis in (row, column)]
    return far[0] | far[1]


def verdict(mask, H, W, M, s):
    wrong = (mask != 0) != blocked_by_distance(H, W, M, s)
    windows = wrong.any(axis=(1, 2)).sum()
    return f"{wrong.sum():,} wrong pairs in {windows} windows" if windows else "right"


for size in ((8, 8, 4, 2), (56, 56, 7, 3), (14, 21, 7, 3), (28, 14, 7, 1)):
    print(size, verdict(shift_mask(*size), *size))

# %% [markdown]
# And a mask that is wrong, from [public code](https://github.com/zsyOAOA/ResShift/issues/81) that changed the layout: the labels were made with shape (1, 1, H,
# W), but the slices still say `labels[:, h, w, :]`, as for (1, H, W, 1). So the slices for rows cut an axis of
# length 1, and the slices for columns cut the rows. Nothing fails.


# %%
def labels_in_wrong_layout(H, W, M, s):
    labels = np.zeros((1, 1, H, W), dtype=int)
    for number, (rows, columns) in enumerate(product(strips_of(M, s), strips_of(M, s))):
        labels[:, rows, columns, :] = number
    return labels[0, 0]


labels = labels_in_wrong_layout(8, 8, 4, 2)
print(labels)
print("verdict:", verdict(mask_from(labels, 4), 8, 8, 4, 2))
assert verdict(mask_from(labels, 4), 8, 8, 4, 2) != "right"

# %% [markdown]
# It never separates columns. The windows on the left show nothing wrong: the ones at the right edge are the ones to look at.
#
# The property has one limit, which is rarely told: it needs at least two windows along each axis. If the map *is*
# one window, no two tokens are $M$ apart, and yet a shift glues opposite borders together:

# %%
print("one window, shifted:", verdict(shift_mask(4, 4, 4, 2), 4, 4, 4, 2))
agree(
    "the loop over pairs is right there, too",
    shift_mask(4, 4, 4, 2),
    mask_by_loop(4, 4, 4, 2),
)

# %% [markdown]
# (Detection code does shift there, see Q34. So take the loop `mask_by_loop` as the oracle if you want to be sure.)

# %% [markdown]
# ### Q36: Why are mask and index buffers, should they be saved, and why do they cause trouble?
#
# A parameter is learned. A *buffer* is not, but belongs to the module: `.to(device)` moves it along.
# `persistent=True` (PyTorch's default) also writes it into the checkpoint. Ours is `persistent=False`: it can be
# computed at any time.

# %%
attn = swin_torch.WindowAttention(12, 7, 3)
print("parameters:", [name for name, _ in attn.named_parameters()])
print("buffers:   ", [name for name, _ in attn.named_buffers()])
print("saved:     ", list(attn.state_dict()))
attn.note = torch.arange(3)  # neither a parameter nor a buffer
attn.to("meta")  # "meta" stands for another device here
print("after .to(device), the buffer is on", attn.relative_position_index.device)
print("after .to(device), the attribute is on", attn.note.device)

# %% [markdown]
# **Saved or not?** The official code (`models/swin_transformer.py`) saves both index and mask. Loading into code that decided otherwise fails,
# both ways:


# %%
class Saving(swin_torch.WindowAttention):
    """Like WindowAttention, but its index is written into the checkpoint."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer(
            "relative_position_index", self.relative_position_index, persistent=True
        )


saving, plain = Saving(12, 7, 3), swin_torch.WindowAttention(12, 7, 3)
for into, state, what in (
    (plain, saving.state_dict(), "saved → not saved"),
    (saving, plain.state_dict(), "not saved → saved"),
):
    try:
        into.load_state_dict(state)
    except RuntimeError as error:
        print(f"{what}:", str(error).splitlines()[1].strip())

# %% [markdown]
# A saved mask is worse than a saved index: it belongs to one image size, and so does the checkpoint from then on.
# And it is not small:

# %%
stored = {
    f"stage {i}": shift_mask(h, w, 7, 3).nbytes
    for i, (h, w) in enumerate(config.grids[:3], 1)
}
print({name: f"{size / 1e3:.0f} kB a block" for name, size in stored.items()})

# %% [markdown]
# **The meta device** makes a model without memory, to be filled from a checkpoint. What isn't in the checkpoint
# stays empty, unless somebody thinks of it: a forgotten index. ([timm 1.0.24](https://github.com/huggingface/pytorch-image-models/issues/2661), loaded by transformers: "index 1841
# is out of bounds".) Cure: compute it again. Our `WindowAttention` does so whenever it loads; here it is kept from that:


# %%
class Forgetful(swin_torch.WindowAttention):
    def _restore_buffer(self, name, value):
        """Called after loading. Ours sets the buffer `name` to `value`; this one doesn't."""


with torch.device("meta"):
    empty, ours = Forgetful(12, 7, 3), swin_torch.WindowAttention(12, 7, 3)
# assign: take the checkpoint's tensors as they are
for name, module in (("forgetful", empty), ("ours", ours)):
    module.load_state_dict(plain.state_dict(), assign=True)
    table, index = module.relative_position_bias_table, module.relative_position_index
    print(f"{name:9} table on {table.device}, index on {index.device}")
empty.relative_position_index = swin_torch.relative_position_index(7)
x = torch.randn(1, 2, 49, 12)
agree("after computing the index again", empty(x), plain(x))
agree("ours", ours(x), plain(x))

# %% [markdown]
# **DDP** (training on several GPUs) copies the buffers of the first GPU to all others before each forward pass,
# *in place*. Go forward twice before going back, and autograd finds that the index it needs has been written to,
# though with the same numbers. Here is that copy without any second GPU:

# %%
out = plain(x).sum()
index = plain.relative_position_index
index.copy_(index.clone())  # what the second forward's broadcast does
try:
    out.backward()
except RuntimeError as error:
    print(str(error).split(":")[0])

# %% [markdown]
# Cures: `broadcast_buffers=False`, since the buffers are the same everywhere anyway. And masks that depend on the
# input's size can't be broadcast at all, if each GPU has images of another size. Made in the forward pass, as
# here, they needn't be.

# %% [markdown]
# ### Windows in one, two and three dimensions
#
# Nothing in this chapter needs exactly two axes. Sound has one (time), a video or a scan has three. *Video Swin
# Transformer* (Liu et al. 2022, section 3) has windows of 8 × 7 × 7 and shifts of 4, 3, 3. Two things carry over, axis by
# axis: the **index** of an offset is a number with one digit for each axis, and a digit has $2M - 1$ values; and a token
# has **one bit** for each axis that is shifted. An axis that one window covers isn't shifted.


# %%
def index_for(window):
    """A window of any number of axes → the rows of the bias table, (m, m)."""
    place = np.indices(window).reshape(len(window), -1)  # (axes, m)
    index = 0
    for offset, M in zip(place[:, :, None] - place[:, None, :], window, strict=True):
        index = index * (2 * M - 1) + offset + M - 1
    return index


def regions(grid, window):
    """Number of windows, of moved windows, and of groups that roll and bits make."""
    grid, window = np.array(grid), np.array(window)
    shift = np.where(grid > window, window // 2, 0)
    place = np.indices(grid).reshape(len(grid), -1).T  # (tokens, axes), after the roll
    moved = ((place + shift) % grid - shift) // window  # where each token came from
    group = np.concatenate([place // window, place >= grid - shift], axis=1)
    both = np.concatenate([moved, group], axis=1)
    counts = [len(np.unique(labels, axis=0)) for labels in (moved, group, both)]
    assert counts[0] == counts[1] == counts[2]  # the same groups: roll + mask is exact
    return np.prod(grid // window), counts[0], counts[1]


for window in ((7,), (7, 7), (8, 7, 7)):
    print(f"window {window}: bias table of {index_for(window).max() + 1:,} rows")
agree("2-D", index_for((7, 7)), swin_numpy.relative_position_index(7))
for grid, window in (
    ((56,), (7,)),
    ((56, 56), (7, 7)),
    ((16, 56, 56), (8, 7, 7)),
    ((8, 56, 56), (8, 7, 7)),  # one window covers all of the time
):
    plain, moved, _ = regions(grid, window)
    print(f"map {grid}, window {window}: {plain:3} windows, {moved:3} when moved")

# %% [markdown]
# **05.6** With which number is each digit multiplied? For a window with any number of axes, return one number for each
# axis, so that the index is the sum of (offset + M − 1) · number.


# %%
def strides(window):
    """(M of each axis, the first one slowest) → a list of ints, the last one 1."""
    ...


check("05.6", strides)

# %%
solution("05.6")

# %% [markdown]
# ### Traps
#
# Each trap is a bug that runs without an error. One detector finds the first three: put together who sees whom
# *on the map*, and compare with the moved windows of section 3.


# %%
def truth(H, W, M, s):
    """(h·w, h·w) of bool: do the two tokens lie in the same moved window of the map?"""
    number = np.stack(moved_window(*np.divmod(np.arange(H * W), W), M, s))  # (2, h·w)
    return (number[:, :, None] == number[:, None, :]).all(0)


def report(name, place, mask, H=8, W=8, M=4, s=2):
    """place (k, m): which token stands where; -1: padding."""
    # the last row and column collect the padding
    sees = np.zeros((H * W + 1, H * W + 1), dtype=bool)
    for tokens, window in zip(place, mask, strict=True):
        sees[np.ix_(tokens, tokens)] |= window == 0
    sees, right = sees[: H * W, : H * W], truth(H, W, M, s)
    too_much, missing = (sees & ~right).sum(), (right & ~sees).sum()
    print(f"{name:36} sees what it must not: {too_much:4}   misses: {missing:4}")


report("as it should be", place_of_tokens(8, 8, 4, 2), shift_mask(8, 8, 4, 2))

# %% [markdown]
# **Trap 1: shift without the mask.** Nothing fails. But opposite borders of the image leak into each other.
#
# **Trap 2: the roll's sign.** `torch.roll(x, (s, s))` in place of `(-s, -s)`. The seam is then in the *first*
# windows, the mask still works on the last ones. For $M = 4$, $s = 2$ the windows hold the right tokens, and only
# the masks are at the wrong ones. For odd $M$ the windows are wrong as well.

# %%
report("shift without mask", place_of_tokens(8, 8, 4, 2), np.zeros((4, 16, 16)))
report(
    "rolled down and right, M = 4", place_of_tokens(8, 8, 4, -2), shift_mask(8, 8, 4, 2)
)
odd = (14, 14, 7, 3)  # H, W, M, s
report(
    "rolled down and right, M = 7",
    place_of_tokens(14, 14, 7, -3),
    shift_mask(*odd),
    *odd,
)

# %% [markdown]
# **Trap 3: padding after the roll.** A map of 5 × 5 needs padding to 8 × 8. Pad, then roll: the zeros travel
# along, and the seam lies where the mask expects it. Roll, then pad (timm 1.0 does, in V1 and V2; torchvision 0.29 and
# transformers 5 pad first): the zeros come behind the wrapped strip, so the seam lies higher than the mask believes. With
# numbers
# (-1 is padding):


# %%
def padded_map(H, pad_first, M=4, s=2):
    """The rolled map: which token of the H x H map stands where; -1: padding."""
    x = np.arange(1, H * H + 1).reshape(1, H, H, 1)  # 0 will be the padding
    pad = swin_numpy.pad_to_multiple
    x = cyclic_shift(pad(x, M), s) if pad_first else pad(cyclic_shift(x, s), M)
    return x - 1


print("pad, then roll\n", padded_map(5, pad_first=True)[0, :, :, 0])
print("roll, then pad\n", padded_map(5, pad_first=False)[0, :, :, 0])

# %%
for H in (5, 7, 6):
    for name, first in (("pad, roll", True), ("roll, pad", False)):
        place = window_partition(padded_map(H, first), 4)[0, :, :, 0]
        report(f"{H} × {H}: {name}, mask of 8 × 8", place, shift_mask(8, 8, 4, 2), H, H)
try:
    shift_mask(6, 6, 4, 2)
except ValueError as error:
    print("a mask for the map before padding:", error)

# %% [markdown]
# 6 × 6 looks right by luck: there the true seam falls on a border between windows. That is how such a bug
# survives a test with one size.

# %% [markdown]
# **Trap 4: not rolling back.** Who sees whom is right, but the results arrive at the wrong places. The detector
# above can't see that; a layer that does nothing can. Give each token back what it held, and compare.

# %%
x = rng.standard_normal((1, 8, 8, 3))
cut = window_partition(cyclic_shift(x, 2), 4)
together = window_reverse(cut, 4, 8, 8)  # no attention in between
for name, result in (
    ("rolled back", cyclic_shift(together, -2)),
    ("not rolled back", together),
):
    at_home = (result == x).all(axis=-1).sum()
    print(f"{name:16} {at_home} of 64 tokens are where they were")

# %% [markdown]
# **Not a trap: a mask for shift 0.** `slice(-0, None)` is the whole axis, so for $s = 0$ the official
# strips look broken: the last one covers everything. Some fear that the mask then blocks at the border. It
# doesn't: the last strip is written last, over all others, and one label everywhere means no mask. The two bits
# need no such luck.

# %%
print("shift 0, labels that are left:", np.unique(nine_labels(8, 8, 4, 0)))
print(
    "two bits, shift 0 on both axes, blocked pairs:",
    int((shift_mask(8, 8, 4, 0) != 0).sum()),
)
rows_only = np.zeros((8, 8), dtype=int)
for number, (rows, columns) in enumerate(product(strips_of(4, 2), strips_of(4, 0))):
    rows_only[rows, columns] = number
agree(
    "shift on rows only, labels and two bits",
    mask_from(rows_only, 4),
    shift_mask(8, 8, 4, (2, 0)),
)

# %% [markdown]
# **05.5** Without making a mask: which share of its entries is blocked, on a map of `n` × `n` tokens? (Hint:
# along one axis, how many pairs of a cut window are on the same side?)


# %%
def blocked_share(n, M, s):
    """→ a number from 0 to 1."""
    ...


check("05.5", blocked_share)

# %%
solution("05.5")

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, *Swin Transformer*, section 3.2, "Shifted window partitioning in successive blocks" and
#   "Efficient batch computation for shifted configuration"; figures 2 and 4.
# - Chapter 04: the bias, which stands beside the mask in the scores.
# - Chapter 06 puts W-MSA and SW-MSA into the block, with norms, MLP and the two residual connections.
