# %% [markdown]
# # 03 · Window attention: W-MSA
#
# ![A photograph cut into coloured windows of 7 by 7 tokens, and beside it the shifted
# windows](../figures/gallery/windows_on_photograph.png)
#
# After this chapter you can explain
#
# - why attention over the whole map becomes too expensive, and what windows change about that;
# - how a map is cut into windows and put together again, and what each axis is on the way;
# - that W-MSA is plain self-attention, done in every window by itself;
# - where $4hwC^2 + 2(hw)^2C$ and $4hwC^2 + 2M^2hwC$ come from, and in which sense Swin is linear.

# %% jupyter={"source_hidden": true}
from time import perf_counter

import numpy as np
import torch
from einops import rearrange
from lesson import agree, check, fresh_and_trained, side_by_side, slider, solution
from torch.utils.flop_counter import FlopCounterMode

import swin_numpy
import swin_torch
from figures import photo_path
from figures.cost import cost
from figures.maps import attention_on_image, attention_rows, show_maps
from figures.windows import (
    attention_structure,
    membership,
    numbered_grid,
    window_partition_steps,
    windows_on_image,
)
from swin_numpy import (
    multi_head_self_attention,
    self_attention,
    window_partition,
    window_reverse,
)
from swin_numpy.pictures.images import denormalise, load_image, preprocess
from swin_numpy.training.fashion_mnist import (
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)

# %% [markdown]
# ## The idea
#
# In self-attention every token looks at every token. For a sentence of a few hundred words that is affordable. The
# photograph of chapter 2 has a token for each 4 × 4 patch, and the number of pairs grows with the **square** of the
# number of tokens.
#
# Twice the side is four times the tokens and sixteen times the pairs. Swin's way out: cut the map into **windows** of
# M × M tokens that do not overlap (M = 7), and let each token look only at the tokens of its own window. This is
# **W-MSA**, window multi-head self-attention:
#
# $$\text{W-MSA}(X) = \text{reverse}\big(\,\text{attention}(X_1), \dots, \text{attention}(X_k)\,\big),
# \qquad X_1, \dots, X_k = \text{partition}(X), \quad k = \frac{h}{M} \cdot \frac{w}{M}$$

# %% [markdown]
# ## Cutting a map into windows
#
# A **map** is tokens on their grid, with the axes (n, h, w, c): batch, rows, columns, channels. Here is one of 6 × 4
# tokens with a single channel, in which every number spells its address: 23 is row 2, column 3. Windows of 2 × 2, by
# loop:

# %%
row, column = np.indices((6, 4))
small = (10 * row + column)[None, :, :, None]  # (1, 6, 4, 1)
print(small[0, :, :, 0])


# %%
def partition_by_loop(x, M):
    """x (n, h, w, c) → (n, windows, M·M, c)."""
    windows = []
    for top in range(0, x.shape[1], M):
        for left in range(0, x.shape[2], M):
            window = x[:, top : top + M, left : left + M]  # (n, M, M, c)
            windows.append(window.reshape(len(x), M * M, -1))
    return np.stack(windows, axis=1)


# %%
windows = partition_by_loop(small, 2)
print(windows.shape)
window_partition_steps(small[0, :, :, 0], windows[0, :, :, 0])

# %% [markdown]
# The axes are now (n, windows, tokens in a window, c); the shape is the same by coincidence: 6 windows of 4 tokens.
# Windows are counted as one reads a page, and so are the tokens inside a window. The library does all of it in one
# arrow: split h in (kh mh) and w in (kw mw), k for which window and m for which token inside it; then bring the two k
# together and the two m together. (The colours repeat; they only tell neighbours apart.)

# %%
side_by_side("windows.window_partition")

# %% jupyter={"source_hidden": true}
agree("window partition, loop", window_partition(small, 2), windows)
agree(
    "window partition, PyTorch",
    swin_torch.window_partition(torch.from_numpy(small), 2),
    windows,
)

# %% [markdown]
# A side that M does not divide is refused. (A block pads such a map first; chapter 6.)

# %% jupyter={"source_hidden": true}
try:
    window_partition(small, 4)
except ValueError as error:
    print(error)

# %% [markdown]
# ## And back
#
# The arrow turned round. By loop: write each window to where it came from.


# %% jupyter={"source_hidden": true}
def reverse_by_loop(windows, M, H, W):
    """windows (n, windows, M·M, c) → (n, H, W, c)."""
    x = np.empty((len(windows), H, W, windows.shape[-1]), windows.dtype)
    for k in range(windows.shape[1]):
        top, left = k // (W // M) * M, k % (W // M) * M
        x[:, top : top + M, left : left + M] = windows[:, k].reshape(len(x), M, M, -1)
    return x


agree(
    "window reverse, loop",
    window_reverse(windows, 2, 6, 4),
    reverse_by_loop(windows, 2, 6, 4),
)
agree("there and back", window_reverse(windows, 2, 6, 4), small)

# %% jupyter={"source_hidden": true}
numbered_grid(reverse_by_loop(windows, 2, 6, 4)[0, :, :, 0], window_size=2)

# %%
side_by_side("windows.window_reverse")

# %% [markdown]
# **03.1** In which window does the token at (row, column) lie, and which token of it is it? Both are counted as one
# reads a page, from 0. `W` is the width of the map.


# %%
def window_of(row, column, W, M):
    """→ (window, token in the window)."""
    ...


check("03.1", window_of)

# %%
solution("03.1")

# %% [markdown]
# **03.2** Window partition without einops: only `reshape` and `transpose`.


# %%
def partition(x, M):
    """(n, h, w, c) → (n, windows, M·M, c)."""
    ...


check("03.2", partition)

# %%
solution("03.2")

# %% [markdown]
# **03.3** And back, again without einops.


# %%
def reverse(windows, M, H, W):
    """(n, windows, M·M, c) → (n, H, W, c)."""
    ...


check("03.3", reverse)

# %%
solution("03.3")

# %% [markdown]
# ## Attention in each window
#
# `self_attention` of chapter 1 takes X (…, tokens, channels) and leaves the axes in front alone. So it needs no
# change at all: hand it the windows. From the definition it is a loop over windows, and in each a loop over queries.
# Wang et al. 2018 write the same sum for any network and call it the **non-local operation**:
#
# $$y_i = \frac{1}{\sum_j f(x_i, x_j)} \sum_j f(x_i, x_j)\, g(x_j),
# \qquad f(x_i, x_j) = e^{\theta(x_i) \cdot \phi(x_j)}$$
#
# With θ(x) = x W_Q / √d, φ(x) = x W_K and g(x) = x W_V this is self-attention, word for word; f divided by its sum is
# the softmax. The check, folded away, computes it so:


# %% jupyter={"source_hidden": true}
def non_local(X, W_Q, W_K, W_V):
    """y_i = Σ_j f(x_i, x_j) g(x_j) / Σ_j f(x_i, x_j), by loop. X (tokens, c) → (tokens, d)."""
    theta, phi, g = X @ W_Q / np.sqrt(W_Q.shape[1]), X @ W_K, X @ W_V
    rows = []
    for i in range(len(X)):
        f = np.array([np.exp(theta[i] @ phi[j]) for j in range(len(X))])
        rows.append(sum(f[j] * g[j] for j in range(len(X))) / f.sum())
    return np.stack(rows)


rng = np.random.default_rng(3)
x = rng.normal(size=(2, 8, 12, 5))
W_Q, W_K, W_V = rng.normal(size=(3, 5, 5))
windows = window_partition(x, 4)  # (2, 6, 16, 5)
by_loop = np.array(
    [[non_local(window, W_Q, W_K, W_V) for window in image] for image in windows]
)
agree(
    "self-attention in every window", self_attention(windows, W_Q, W_K, W_V).Z, by_loop
)

# %% [markdown]
# The whole of W-MSA, then: cut, attend, put together. And if one window covers the whole map, nothing is left of the
# window: it is plain self-attention.


# %%
def w_msa(x, M):
    """One head, without bias. x (n, h, w, c) → (n, h, w, d)."""
    Z = self_attention(window_partition(x, M), W_Q, W_K, W_V).Z
    return window_reverse(Z, M, x.shape[1], x.shape[2])


# %% jupyter={"source_hidden": true}
square = rng.normal(size=(2, 6, 6, 5))
tokens = rearrange(square, "n h w c -> n (h w) c")
everywhere = rearrange(
    self_attention(tokens, W_Q, W_K, W_V).Z, "n (h w) d -> n h w d", h=6
)
agree("one window = plain self-attention", w_msa(square, 6), everywhere)

# %% [markdown]
# ## Windows do not talk to each other
#
# Change one token, and see which tokens feel it:

# %% jupyter={"source_hidden": true}
changed = x.copy()
changed[0, 1, 6] += 1  # row 1, column 6
felt = np.any(w_msa(changed, 4) != w_msa(x, 4), axis=-1)  # (n, h, w)
assert not felt[1].any()  # nothing in the other image
show_maps({"tokens that felt the change": felt[0]}, window=4)

# %% [markdown]
# Its own window and nothing else. That is what makes W-MSA cheap, and it is its weakness: two neighbours on either
# side of a border never meet. Chapter 5 (shifted windows) repairs that.
#
# Seen from the whole map, W-MSA is self-attention with most pairs **forbidden**. This gives a second, very different
# way to compute it: attention over all tokens, with a mask of −∞ wherever two tokens lie in different windows.

# %% jupyter={"source_hidden": true}
row, column = np.indices((8, 12)).reshape(2, -1)
# the window of each of the 96 tokens; 3 windows side by side
window = row // 4 * 3 + column // 4
same_window = window[:, None] == window[None, :]  # (i, j)
mask = np.where(same_window, 0, -np.inf)

tokens = rearrange(x, "n h w c -> n (h w) c")
masked = self_attention(tokens, W_Q, W_K, W_V, mask).Z
masked = rearrange(masked, "n (h w) d -> n h w d", h=8)
agree("W-MSA = masked attention over the map", w_msa(x, 4), masked)

# %% [markdown]
# And this is how the attention matrix looks. Row i belongs to query token i; a coloured cell is a key that it may look
# at. Counted row by row the tokens of one window are not neighbours, so its block is torn into stripes. Sort the tokens
# window by window, and the matrix is **block diagonal**: one small attention for each window.

# %%
order = np.argsort(window, kind="stable")
sees = {"global": np.ones_like(same_window), "W-MSA": same_window}
attention_structure(sees | {"W-MSA, sorted by window": same_window[order][:, order]})

# %% [markdown]
# **03.4** Which tokens may look at each other? Return the matrix of the whole map, True where two tokens share a
# window. Tokens are counted row by row.


# %%
def same_window_matrix(H, W, M):
    """→ (H·W, H·W) of bool."""
    ...


check("03.4", same_window_matrix)

# %%
solution("03.4")

# %% [markdown]
# ## The library's version, twice
#
# New beside plain self-attention are several heads, a learned matrix that mixes them (`proj`), learned biases of these
# linear layers, and a bias B for the relative position of two tokens (chapter 4). The mask is for chapter 5; the two
# `drop` are for training and do nothing here.
#
# The axes: n image, k window, m token in its window. In `project`, `qkv` makes three times c channels at once; they are
# split in (three a d): Q, K or V, head a, channel d of the head. The scores are (n k a i j), query i and key j.

# %%
side_by_side("window_attention.WindowAttention.forward")
side_by_side("window_attention.WindowAttention.project")

# %% jupyter={"source_hidden": true}
M, C, heads = 4, 24, 3
numpy_attention = swin_numpy.WindowAttention(C, M, heads).to(np.float64)
torch_attention = swin_torch.WindowAttention(C, M, heads).double()
parameters = dict(numpy_attention.named_parameters())
state = {name: rng.normal(size=p.shape) / 4 for name, p in parameters.items()}
numpy_attention.load_state_dict(state)
torch_attention.load_state_dict(
    {name: torch.from_numpy(value) for name, value in state.items()}
)

x = rng.normal(size=(2, 8, 12, C))
windows = window_partition(x, M)
expected = torch_attention(torch.from_numpy(windows))
agree("W-MSA, NumPy and PyTorch", numpy_attention(windows), expected)

# %% [markdown]
# Is it really the self-attention of chapter 1? Take all biases away, split the weight of `qkv` into its three matrices,
# and compare:

# %% jupyter={"source_hidden": true}
for name in ("qkv.bias", "proj.bias", "relative_position_bias_table"):
    state[name][...] = 0
numpy_attention.load_state_dict(state)
W_q, W_k, W_v = state["qkv.weight"].reshape(3, C, C).mT  # Linear computes x Wᵀ
expected = multi_head_self_attention(
    windows, W_q, W_k, W_v, state["proj.weight"].T, heads
)
agree("W-MSA without biases", numpy_attention(windows), expected.Z)

# %% [markdown]
# ### Q14: Where do the two cost formulas come from, and in what sense is Swin linear?
#
# The formulas are $4hwC^2 + 2(hw)^2C$ for attention over the whole map and $4hwC^2 + 2M^2hwC$ in windows. They count
# multiplications. A product of (a × b) and (b × c) takes a·b·c of them. Attention over hw tokens of C channels has
# four kinds of product:
#
# | product | shapes | global | in windows |
# |---|---|---|---|
# | Q, K, V | (hw × C) (C × C), three times | 3 hw C² | 3 hw C² |
# | Q Kᵀ | (hw × C) (C × hw) | (hw)² C | M² hw C |
# | weights · V | (hw × hw) (hw × C) | (hw)² C | M² hw C |
# | `proj` | (hw × C) (C × C) | hw C² | hw C² |
# | **sum** | | **4 hw C² + 2 (hw)² C** | **4 hw C² + 2 M² hw C** |
#
# Windows change the two middle rows only: each of the hw / M² windows costs (M²)² C, which makes M² hw C. Heads
# change nothing: each does the work for its C / heads channels. (Equations 1 and 2 of the paper; the softmax is left
# out there.)
#
# A check: a matrix product in three plain loops that counts every multiplication it does.

# %% jupyter={"source_hidden": true}
count = 0


def product(A, B):
    """A (a, b) times B (b, c) in three loops, counting."""
    global count
    out = np.zeros((len(A), B.shape[1]))
    for i, j, k in np.ndindex(len(A), B.shape[1], len(B)):
        out[i, j] += A[i, k] * B[k, j]
        count += 1
    return out


# %% jupyter={"source_hidden": true}
def attention_counted(X, W_Q, W_K, W_V, W_O):
    Q, K, V = product(X, W_Q), product(X, W_K), product(X, W_V)
    weights = swin_numpy.functional.softmax(product(Q, K.T) / np.sqrt(Q.shape[1]))
    return product(product(weights, V), W_O)


# %% jupyter={"source_hidden": true}
def formula(h, w, C, M=None):
    """Multiplications of W-MSA, or of global attention if M is None."""
    pairs = (h * w) ** 2 if M is None else M**2 * h * w
    return 4 * h * w * C**2 + 2 * pairs * C


h, w, C, M = 4, 6, 3, 2
matrices = rng.normal(size=(4, C, C))
x = rng.normal(size=(1, h, w, C))
for name, size in (("global", None), ("W-MSA", M)):
    count = 0
    for tokens in x.reshape(1, h * w, C) if size is None else window_partition(x, M)[0]:
        attention_counted(tokens, *matrices)
    print(f"{name:7} counted {count:5,}   formula {formula(h, w, C, size):5,}")
    assert count == formula(h, w, C, size)

# %% [markdown]
# So the cost of W-MSA is **linear** in the number of tokens, as long as M stays fixed, and that of global attention
# quadratic. For one layer of Swin-T's first stage, in millions of multiplications:

# %% jupyter={"source_hidden": true}
for side in (224, 448, 896):
    h = w = side // 4
    print(
        f"{side} pixels: global {formula(h, w, 96) / 1e6:9,.0f}   W-MSA {formula(h, w, 96, 7) / 1e6:7,.0f}"
    )

# %% [markdown]
# **03.5** How many multiplications does W-MSA take on a map of h × w? If M does not divide a side, the map is padded
# first, and the padded tokens are computed like all others.


# %%
def multiplications(h, w, C, M):
    """→ int."""
    ...


check("03.5", multiplications)

# %%
solution("03.5")

# %% [markdown]
# ## Windows on a photograph
#
# 224 × 224 pixels are 56 × 56 tokens (the thin lines), and those are 8 × 8 windows.

# %% jupyter={"source_hidden": true}
photo = preprocess(load_image(photo_path("coffee")), 224).astype(np.float64)
pixels = denormalise(photo)[0]
windows_on_image(pixels, 4, 7)

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Both twins on the photograph
# Swin-T's patch embedding and first W-MSA, with seeded weights (no trained Swin-T comes
# with the repository; a smaller trained model follows below). A **hook** is a function that a module calls with its
# result each time it runs; this one collects the output of the attention.

# %%
# Swin-T, first block
stage1 = swin_numpy.SwinConfig(depths=(1,), num_heads=(3,), num_classes=0)
numpy_model = swin_numpy.SwinTransformer(stage1, dtype=np.float64).eval()
torch_model = swin_torch.SwinTransformer(stage1).double().eval()
outputs = []
for model, images in ((numpy_model, photo), (torch_model, torch.from_numpy(photo))):
    attn = model.layers[0].blocks[0].attn
    attn.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    model(images)
agree("W-MSA on the photograph", *outputs)

# %% [markdown]
# ### Q12: Why view, permute, contiguous in that order, and does reverse undo it exactly?
#
# The official code spells the arrow out in four steps. Each does one thing:
#
# | step | axes | what happens |
# |---|---|---|
# | `view` | n kh mh kw mw c | splits h and w; no number moves |
# | `permute` | n kh kw mh mw c | another order of the axes; still no number moves |
# | `contiguous` | the same | copies the numbers into that order |
# | `view` | (n kh kw) mh mw c | merges n, kh and kw; no number moves |
#
# `view` only renames: it reads the same numbers in the same order under another shape. The one step that changes
# which tokens belong together is `permute`. Take a map of 8 × 8 that numbers its tokens 0 … 63, and M = 4:

# %%
x = torch.arange(64).reshape(1, 8, 8, 1)
split = x.view(1, 2, 4, 2, 4, 1)  # n kh mh kw mw c
permuted = split.permute(0, 1, 3, 2, 4, 5)  # n kh kw mh mw c
copied = permuted.contiguous()
viewed = copied.view(-1, 4, 4, 1)
steps = {"split": split, "permuted": permuted, "copied": copied, "windows": viewed}
for name, step in steps.items():
    print(f"{name:9} still the memory of x: {step.data_ptr() == x.data_ptr()}")
print("window 0:", viewed[0].ravel().tolist())

# %%
try:
    permuted.view(-1, 4, 4, 1)  # contiguous left out
except RuntimeError as error:
    print(str(error).split(" (")[0])

# %% [markdown]
# Only `contiguous` moves numbers. Without it, PyTorch refuses the last `view` (if a row has several windows): a safe mistake. (`reshape` copies by
# itself where it has to, and so does NumPy.) The dangerous mistake is to leave out `permute`: all shapes fit. Each
# picture shows which window every token ends up in:


# %%
def window_of_each_token(windows):
    """windows (k, M, M, 1) of token numbers → map (8, 8) of window numbers."""
    where = np.empty(64, int)
    for k, tokens in enumerate(windows):
        where[tokens.ravel().numpy()] = k
    return where.reshape(8, 8)


scrambled = x.view(-1, 4, 4, 1)  # no permute
pictures = {"with permute": viewed, "without permute": scrambled}
membership({title: window_of_each_token(cut) for title, cut in pictures.items()})

# %% [markdown]
# Without it a "window" is two whole rows of the map. Now look at what a round trip says about this bug:

# %%
right = swin_torch.window_reverse(swin_torch.window_partition(x, 4), 4, 8, 8)
wrong = scrambled.view(1, 8, 8, 1)
print("round trip of the right one:", torch.equal(right, x))
print("round trip of the wrong one:", torch.equal(wrong, x))

# %% [markdown]
# A wrong partition with an equally wrong reverse undoes itself. So a round trip proves only that no number is lost or
# changed. To know that the windows are right you have to look **inside** one, as the loop above does. Both checks,
# with two images and h ≠ w; bound 0 asks for every bit:

# %%
x = rng.normal(size=(2, 8, 12, 5))
agree("there and back", window_reverse(window_partition(x, 4), 4, 8, 12), x, bound=0)
agree("inside the windows", window_partition(x, 4), partition_by_loop(x, 4), bound=0)

# %% [markdown]
# One difference from the official code (`window_partition` in `models/swin_transformer.py`): there the windows end up
# **in** the batch axis, (n·k, M, M, c); here they keep an axis of their own, (n, k, M·M, c). The numbers are the same
# in the same order:

# %%
# n kh mh kw mw c, as above
official = torch.from_numpy(x).view(2, 2, 4, 3, 4, 5).permute(0, 1, 3, 2, 4, 5)
official = official.contiguous().view(-1, 4, 4, 5)
ours = rearrange(window_partition(x, 4), "n k (mh mw) c -> (n k) mh mw c", mh=4)
agree("official order", ours, official)

# %% [markdown]
# ### Q13: How should the window size be chosen: why 7, must it be odd, can it differ between stages, and what do 3, 4 or 56 do?
#
# 7 divides the grids of a 224-pixel image: 56, 28, 14 and 7. That is handy; the paper gives no reason. V1 takes 12 at
# 384 pixels, V2 8 or 16 at 256 (Microsoft's `configs/`), so it needn't be odd. Windows that don't divide the grid work too
# here (Microsoft's `models/swin_transformer.py` stops with an error), but pad: tokens of zeros are computed like others. A
# stage may have a window of its own (`window_size=(7, 7, 14, 7)`, as in the Swin-S3 models of timm 1.0,
# `swin_transformer.py`). 56 in stage 1 is global attention.

# %%
grids = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"].grids
for M in (3, 4, 7, 8, 14, 56):
    shares = []
    for h, w in grids:
        side = -(-h // min(M, h)) * min(M, h)  # the window never exceeds the grid
        shares.append(f"{side * side / (h * w) - 1:4.0%}")
    millions = (
        formula(
            56 if 56 % M == 0 else -(-56 // M) * M,
            56 if 56 % M == 0 else -(-56 // M) * M,
            96,
            M,
        )
        / 1e6
    )
    print(
        f"M = {M:2}: padding in stages 1 to 4 {', '.join(shares)};  one layer of stage 1: {millions:6,.0f} million"
    )

# %% [markdown]
# ### Order inside a window
#
# Shuffle the tokens of each window. Without the bias B the output is the same, in the shuffled order: attention does
# not know where in the window a token lies (**permutation equivariance**, chapter 1). With a bias table it does.


# %%
def both_ways():
    """Attention after shuffling the tokens of each window, and shuffling after attention."""
    first = numpy_attention(windows[:, :, shuffled])
    return first, numpy_attention(windows)[:, :, shuffled]


M = 4
windows = window_partition(rng.normal(size=(2, 8, 12, C := 24)), M)
shuffled = rng.permutation(M * M)
agree("shuffled in, shuffled out", *both_ways())

table = state["relative_position_bias_table"]
table[...] = rng.normal(size=table.shape)
numpy_attention.load_state_dict(state)
a, b = both_ways()
off = np.abs(a - b).max() / np.abs(b).max()
print(f"with a bias: largest relative difference {off:.2f}")

# %% [markdown]
# Without a mask (chapter 5) the **windows** may be shuffled too: all share the same weights, and none sees another.

# %%
k = rng.permutation(windows.shape[1])
agree(
    "windows shuffled", numpy_attention(windows[:, k]), numpy_attention(windows)[:, k]
)

# %% [markdown]
# ### A block keeps its shape
#
# Some explanations print a shape of half the size after W-MSA or after a block. Nothing of the kind happens: tokens
# (n, h·w, C) go in, tokens (n, h·w, C) come out. Only patch merging (chapter 7), *between* two stages, halves the
# grid.

# %%
block = swin_numpy.SwinTransformerBlock(dim=24, num_heads=3, window_size=4)
merging = swin_numpy.PatchMerging(24)
tokens, grid = rng.normal(size=(2, 8 * 12, 24)).astype(np.float32), (8, 12)
print("into a block ", tokens.shape, grid)
print("out of it    ", block(tokens, grid).shape, grid)
merged, smaller = merging(tokens, grid)
print("after merging", merged.shape, smaller)

# %% [markdown]
# ### The count by somebody else, and linear in what
#
# At real size and with somebody else's counter. PyTorch's `FlopCounterMode` listens to every matrix
# product the twin does. It counts a multiplication and its addition as two operations.

# %%
h = w = 56
C, heads = 96, 3  # the first stage of Swin-T
for name, M in (("global", 56), ("W-MSA", 7)):
    # shapes, no numbers
    module = swin_torch.WindowAttention(C, M, heads).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, (h // M) * (w // M), M * M, C, device="meta"))
    counted = counter.get_total_flops() // 2
    print(f"{name:7} counted {counted:13,}   formula {formula(h, w, C, M):13,}")
    assert counted == formula(h, w, C, M)

# %% [markdown]
# "Global" is counted as one window of 56 × 56: for M² = hw the two formulas are the same.
#
# **Linear in what?** In the number of tokens hw, and so in the number of pixels, as long as M stays fixed. Not in the
# side of the image, not in C, not in M:


# %%
def factor(**changes):
    """What the cost of W-MSA is multiplied by if a size of the first stage is changed."""
    sizes = {"h": 56, "w": 56, "C": 96, "M": 7}
    return formula(**sizes | changes) / formula(**sizes)


print(f"twice the tokens (h × 2)               {factor(h=112):5.2f}")
print(f"twice the side (h × 2, w × 2)          {factor(h=112, w=112):5.2f}")
print(f"twice the channels                     {factor(C=192):5.2f}")
print(f"twice the window                       {factor(M=14):5.2f}")
print(f"twice the side and twice the window    {factor(h=112, w=112, M=14):5.2f}")
print(
    f"global attention, twice the side       {formula(112, 112, 96) / formula(56, 56, 96):5.2f}"
)

# %% [markdown]
# If the window grows with the image, M² grows with hw, and the term M² hw C is quadratic again.
#
# And linear does not say "small". How much of the cost is the attention itself, the part with M² or (hw)²?

# %%
pairs = {"global": 56 * 56, "W-MSA": 7 * 7}  # the keys of each query
for name, keys in pairs.items():
    share = 2 * keys / (2 * keys + 4 * 96)  # both formulas divided by hw C; C = 96
    print(f"{name:7} {share:.0%} of the multiplications are Q Kᵀ and weights · V")

# %% [markdown]
# With windows the four C × C products are the larger part. That is why twice the window above costs 1.61 times as
# much, and not four times.

# %% [markdown]
# ### Measured on this machine
#
# Formulas count multiplications, not seconds. So run both: one head of 32 channels, the same function on one large
# window or on many small ones, on one core.


# %%
def seconds(tokens):
    """Of several runs of self_attention on tokens (…, m, 32) the fastest: the others were disturbed."""
    times = []
    while len(times) < 3 or sum(times) < 0.2:
        start = perf_counter()
        swin_torch.self_attention(tokens, *matrices)
        times.append(perf_counter() - start)
    return min(times)


# %%
threads = torch.get_num_threads()
# with several cores the clock would also count how well they share the work
torch.set_num_threads(1)
matrices = torch.randn(3, 32, 32)
sides = np.array([7, 14, 28, 56])  # of the map, in tokens
maps = [torch.randn(1, side, side, 32) for side in sides]
measured = {
    "global": [seconds(rearrange(x, "n h w c -> n (h w) c")) for x in maps],
    "W-MSA": [seconds(swin_torch.window_partition(x, 7)) for x in maps],
}
torch.set_num_threads(threads)

# %%
formulas = {
    "global": [3 * s**2 * 32**2 + 2 * s**4 * 32 for s in sides],  # no proj here
    "W-MSA": [3 * s**2 * 32**2 + 2 * 49 * s**2 * 32 for s in sides],
}
cost(
    4 * sides,
    formulas,
    measured,
    "the PyTorch twin on one core; one head of 32 channels, M = 7",
)

# %% [markdown]
# With two logarithmic axes a power is a straight line, and its slope is the exponent. Against the side of the image,
# 2 means linear in the number of tokens, and 4 means quadratic. From the second size to the last:

# %%
step = np.log(sides[-1] / sides[1])
for name in formulas:
    paper, clock = (
        np.log(y[name][-1] / y[name][1]) / step for y in (formulas, measured)
    )
    print(f"{name:7} slope of the formula {paper:.2f}, of the clock {clock:.2f}")
times = measured["global"][-1] / measured["W-MSA"][-1]
print(f"at {4 * sides[-1]} pixels, global attention took {times:.0f} times as long")

# %% [markdown]
# The clock differs from machine to machine and from run to run, and it counts what the formula leaves out: the softmax,
# what every call costs however small its arrays (probably why the measured lines start out flatter), and
# fetching memory from the system for large arrays, anew in each call (likely why the global line ends steeper, and not tested
# here). Written this
# way, with one matrix product after the other, all weights of a head are stored, four bytes each:

# %%
print(f"global {56**4 * 4 / 1e6:6.2f} MB")
print(f"W-MSA  {56**2 * 7**2 * 4 / 1e6:6.2f} MB")

# %% [markdown]
# Fused code such as `scaled_dot_product_attention` needn't keep them ([chapter 13](13_speed.ipynb)); the multiplications
# remain.

# %% [markdown]
# ### Where does a token look?
#
# Random weights look nowhere in particular. So we make the three matrices by hand: tokens are the 48 numbers of a
# patch with their mean and spread taken away, so brightness and contrast no longer count. W_Q is 3 times the identity
# (the factor sharpens the softmax), and W_K = W_V = identity. Then a token looks at patches with a similar pattern of
# colours, far away or not. The query is a patch of the coffee.

# %%
rows = rearrange(photo, "n c (h p1) (w p2) -> n h w (c p1 p2)", p1=4, p2=4)
rows = (rows - rows.mean(-1, keepdims=True)) / rows.std(-1, keepdims=True)
same = np.eye(48)
query = 24, 24
one_window = self_attention(
    rearrange(rows, "n h w c -> n (h w) c"), 3 * same, same, same
)
weights = one_window.weights[0, query[0] * 56 + query[1]].reshape(56, 56)
attention_on_image(pixels, weights, query, title="global: everywhere")

# %% [markdown]
# The same matrices in W-MSA: what lies outside the window is out of reach, however similar it is.

# %%
windows = window_partition(rows, 7)
in_windows = self_attention(windows, 3 * same, same, same).weights[0]  # (k, m, m)
# the query's window, and its place in it
k, i = query[0] // 7 * 8 + query[1] // 7, query[0] % 7 * 7 + query[1] % 7
weights = np.full((56, 56), np.nan)
top, left = query[0] // 7 * 7, query[1] // 7 * 7
weights[top : top + 7, left : left + 7] = in_windows[k, i].reshape(7, 7)
attention_on_image(pixels, weights, query, grid=7, title="W-MSA: the query's window")

# %% [markdown]
# ### And if the model was trained?
#
# The repository ships a small Swin that was trained on pictures of clothes of 28 × 28 pixels: 14 × 14 tokens, four
# windows (chapter 10 trains it). We ask the same question of its first block, on pictures that it never saw, and ask a
# model with the weights that this training started from. The dropout after the softmax, which does nothing here,
# lets a hook see the weights.

# %%
fresh, trained = fresh_and_trained()
twin = swin_torch.SwinTransformer.from_checkpoint(TRAINED).double()
clothes = fashion_mnist(SUBSET, "test").images[:20]
inputs = standardise(clothes).astype(np.float64)


def first_weights(model, images):
    """Attention weights of the first block, (n, k, a, i, j)."""
    seen = []
    softmaxed = model.layers[0].blocks[0].attn.attn_drop
    hook = softmaxed.register_forward_hook(lambda module, x, out: seen.append(out))
    model(images)
    hook.remove()
    return seen[0]


looks = {"trained": first_weights(trained, inputs)}
looks["fresh"] = first_weights(fresh, inputs)
agree("trained weights", looks["trained"], first_weights(twin, torch.tensor(inputs)))

# %% [markdown]
# Each window gets one query (the squares), and shows that query's row of weights. White lines are the walls between
# the windows.

# %%
cloth = 6  # which of the 20
queries = np.array([(5, 4), (5, 10), (10, 3), (10, 9)])  # row and column on the map
k = queries[:, 0] // 7 * 2 + queries[:, 1] // 7  # the window of each
i = queries[:, 0] % 7 * 7 + queries[:, 1] % 7  # its place in there
maps = {}
for name, weights in looks.items():
    for head in range(weights.shape[2]):
        rows = weights[cloth, k, head, i].reshape(1, 4, 49, 1)  # the row of each query
        maps[f"{name}, head {head}"] = window_reverse(rows, 7, 14, 14)[0, :, :, 0]
grey = np.repeat(clothes[cloth][..., None], 3, axis=2)
attention_rows(grey, list(maps.values()), queries, list(maps), grid=7)

# %% [markdown]
# Each map is drawn from 0 to its own largest weight. The fresh heads have preferences already: this training starts
# from random bias tables of spread 1. To put a number on it: the **entropy** of a row,
# $-\sum_j w_j \ln w_j$. If a query shares its attention equally among $m$ keys and gives none to the rest, the entropy is
# $\ln m$. So $e^{\text{entropy}}$ says: as widely spread as over that many keys. The most that there can be is 49.

# %%
keys = {}
for name, weights in looks.items():
    logs = np.log(np.maximum(weights, 1e-300))  # 0 · ln 0 counts as 0
    keys[name] = np.exp(-(weights * logs).sum(-1)).mean((0, 1, 3))  # of each head
    for head, spread in enumerate(keys[name]):
        print(f"{name:7} head {head}: spread over {spread:4.1f} of 49 keys, "
              f"largest weight {weights[:, :, head].max(-1).mean():.1%}")  # fmt: skip
assert keys["trained"][0] < keys["fresh"][0] <= 49

# %% [markdown]
# Training narrowed head 0; head 1 spreads as widely as it did at the start. What does a head choose by, what is there
# or where it is? Take the weights apart, in every block without a shift: how much of their variance is there with the
# content alone, and with the bias alone?


# %%
def explained(block, x, grid):
    """Shares of the variance of the weights of a W-MSA block that content alone and bias alone explain."""
    x = rearrange(block.norm1(x), "n (h w) c -> n h w c", h=grid[0])
    q, k, _ = block.attn.project(window_partition(x, 7))
    content = block.attn.compare(q, k)
    bias = np.broadcast_to(block.attn.relative_position_bias(), content.shape)
    both, *parts = map(swin_numpy.functional.softmax, (content + bias, content, bias))
    return [1 - np.square(both - part).mean() / both.var() for part in parts]


x, grid = trained.embed(inputs)
for stage, layer in enumerate(trained.layers, 1):
    for number, block in enumerate(layer.blocks, 1):
        if block.shift_for(grid) == (0, 0):
            content, bias = explained(block, x, grid)
            print(
                f"stage {stage}, block {number}: content {content:4.0%}, bias {bias:4.0%}"
            )
        x = block(x, grid)
    x, grid = layer.downsample(x, grid) if layer.downsample else (x, grid)

# %% [markdown]
# The first block looks almost by place alone (one training): each head averages by a fixed pattern of offsets, much as a convolution
# does (but not over the nearest tokens: in the maps above the favourites lie two or three away). In stage 2 content
# takes over, from its second block on.

# %% [markdown]
# ### How large a window?
#
# Each step of the slider doubles the side of the windows, from 7 on. The number at the top is the formula's, for the
# first stage of Swin-T; the last one, a single window, is global attention.


# %%
def draw(doublings):
    M = 7 * 2**doublings
    figure = windows_on_image(pixels, 4, M)
    millions = formula(56, 56, 96, M) / 1e6
    figure.suptitle(
        f"{(56 // M) ** 2} windows, {millions:,.0f} million multiplications",
        fontsize=11,
    )
    return figure


slider(draw, doublings=(0, 3, 1, 1))

# %% [markdown]
# ### Traps
#
# Four bugs of this part. All shapes fit, and nothing raises an error.
#
# **1. `reshape` without `permute`.** You saw the windows it makes above: stripes. It can be written in one word:

# %%
x = rng.normal(size=(2, 8, 12, 5))
wrong = x.reshape(2, 6, 16, 5)  # "windows" of 16 tokens
print("shape:", wrong.shape == window_partition(x, 4).shape)
print("round trip:", np.array_equal(wrong.reshape(x.shape), x))
right = partition_by_loop(x, 4)
print("window 0 is what the loop says:", np.array_equal(wrong[:, 0], right[:, 0]))

# %% [markdown]
# The check: compare with the loop, or change one token and look at who feels it.
#
# **2. h and w swapped.** On a square map it does no harm. On any other even `window_reverse` lets it pass, for the
# number of windows fits.

# %%
for h, w in ((8, 8), (8, 12)):
    x = np.arange(h * w).reshape(1, h, w, 1)
    y = window_reverse(window_partition(x, 4), 4, w, h)  # should be h, w
    x, y = x.reshape(1, -1, 1), y.reshape(1, -1, 1)  # flattened to tokens
    print(
        f"{h} × {w}: same shape: {x.shape == y.shape}; same order: {np.array_equal(x, y)}"
    )

# %% [markdown]
# The check: test with **h ≠ w**, always.
#
# **3. Batch and windows fused in the wrong order.** The official code puts the windows into the batch axis, image by
# image: (n k). Whoever takes them apart as (k n) is right for a batch of one, and mixes up the images otherwise. Two
# images, one all 1, the other all 2:

# %%
two = np.ones((2, 8, 8, 1)) * np.array([1, 2])[:, None, None, None]
fused = rearrange(window_partition(two, 4), "n k m c -> (n k) m c")
for order in ("(n k) m c -> n k m c", "(k n) m c -> n k m c"):
    maps = window_reverse(rearrange(fused, order, n=2), 4, 8, 8)
    print(order, " values in each image:", *(np.unique(x) for x in maps))

# %% [markdown]
# The check: test with **more than one image**, and with different ones.
#
# **4. Softmax along the wrong axis.** The scores are (n, k, a, i, j): query i, key j. Each *query* shares out one
# unit of attention over its keys, so the sum runs over the last axis. Along i, the columns sum to one instead; along
# k, windows compete with each other and are no longer independent.

# %%
scores = rng.normal(size=(2, 6, 3, 16, 16))  # n k a i j
for name, axis in (("j", -1), ("i", -2), ("k", 1)):
    weights = swin_numpy.functional.softmax(scores, dim=axis)
    sums = weights.sum(-1)
    print(
        f"softmax over {name}: each query's weights sum to {sums.min():.2f} … {sums.max():.2f}"
    )

# %% [markdown]
# The check: `weights.sum(-1)` is 1 everywhere. A hook on `attn_drop`, the dropout after the softmax, sees the weights
# of any block, in both twins.

# %%
seen = []
attn = numpy_model.layers[0].blocks[0].attn
hook = attn.attn_drop.register_forward_hook(
    lambda module, inputs, out: seen.append(out)
)
numpy_model(photo)
hook.remove()
agree("every row of weights sums to 1", seen[0].sum(-1), np.ones(seen[0].shape[:-1]))

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, section 3.2: "self-attention in non-overlapped windows", equations 1 and 2. Wang et al. 2018,
#   *Non-local neural networks*, section 3.
# - In this package: `swin_numpy/windows.py`, `swin_numpy/window_attention.py`, and their twins.
# - Next: [chapter 4](04_relative_position_bias.ipynb). Inside its window a token does not know yet where the others
#   lie.
