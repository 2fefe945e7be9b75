# %% [markdown]
# # 04 · Relative position bias
#
# ![Learned bias tables of several heads, each drawn as a map over the offsets from a query in the
# middle](../figures/gallery/bias_tables.png)
#
# Attention compares what tokens *hold*. It never asks where they *are*. Swin adds one number to the score of each
# pair of tokens, and that number depends on nothing but the offset between them.
#
# After this chapter you can explain
#
# - why attention alone can't tell a picture from the same picture with its pieces shuffled;
# - what the table of $(2M-1)^2$ × heads numbers holds, and why it is enough for $M^2 \times M^2$ pairs;
# - how two offsets become one index: why $M-1$ is added, and why the rows are multiplied by $2M-1$;
# - which way round the offset is taken.

# %% jupyter={"source_hidden": true}
from dataclasses import replace
from timeit import timeit

import numpy as np
import torch
from einops import rearrange
from lesson import agree, check, fresh_and_trained, side_by_side, slider, solution

import swin_numpy
import swin_torch
from figures import photo_path
from figures.bias import bias_tables, offset_maps, offsets, relative_index
from figures.maps import attention_rows, show_maps
from figures.windows import numbered_grid
from swin_numpy import SwinConfig, SwinTransformer
from swin_numpy.functional import softmax
from swin_numpy.pictures.images import denormalise, load_image, preprocess, to_array

rng = np.random.default_rng(4)

# %% [markdown]
# ## 1 · Attention alone doesn't know order
#
# Here is one window of 7 × 7 = 49 tokens. To see it well we make the patches large, 32 × 32 pixels, so that the
# window is a whole photograph. Then we shuffle the 49 tokens.

# %% jupyter={"source_hidden": true}
images = preprocess(load_image(photo_path("chelsea")))  # (1, 3, 224, 224)
tokens = rearrange(images, "1 c (h p1) (w p2) -> (h w) (c p1 p2)", p1=32, p2=32)
tokens = tokens.astype(float)
order = rng.permutation(49)
shuffled = rearrange(
    tokens[order], "(h w) (c p1 p2) -> 1 c (h p1) (w p2)", h=7, p1=32, p2=32
)
image = denormalise(images)[0]  # (224, 224, 3), to draw

pictures = {
    "49 tokens of one window": image,
    "the same 49 tokens, shuffled": denormalise(shuffled)[0],
}
show_maps(pictures, columns=2)

# %% [markdown]
# Self-attention gives each token of the shuffled picture exactly what it gave that token before. Nothing in
# $\mathrm{softmax}(QK^\top/\sqrt d)\,V$ knows in which row of $X$ a token stands.

# %% jupyter={"source_hidden": true}
# 3072 = 3 · 32 · 32 channels
W_Q, W_K, W_V = rng.standard_normal((3, 3072, 16)) / np.sqrt(3072)
Z = swin_numpy.self_attention(tokens, W_Q, W_K, W_V).Z
Z_shuffled = swin_numpy.self_attention(tokens[order], W_Q, W_K, W_V).Z

agree("shuffling first or last", Z_shuffled, Z[order])
agree("mean over all tokens", Z_shuffled.mean(0), Z.mean(0))

# %% [markdown]
# The mean over all tokens is the same for both pictures, and a mean over tokens is what Swin's classifier gets to
# see (chapter 8). So a model of nothing but attention and layers that treat each token by itself could not tell the
# cat from the heap of tiles.

# %% [markdown]
# ## 2 · One number for each offset
#
# The cure of Liu et al. 2021, equation 4, is a matrix $B$ inside the softmax:
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt d} + B\right) V$$
#
# $B$ has one row for each query token $i$ of a window, one column for each key token $j$: $M^2 \times M^2$. But
# it is not $M^4$ free numbers. $B_{ij}$ depends on the **offset** only: *(row of i − row of j, column of i −
# column of j)*, query minus key. A query in row 2, column 3 and a key one step to its left, in row 2, column 2:
# (2 − 2, 3 − 2) = (0, 1). The other way round, with the left one as the query, it is (0, −1). Each offset
# gets one number, wherever in the window query and key lie. The free numbers stand in a smaller table $\hat B$, and
# $B$ looks them up.

# %% jupyter={"source_hidden": true}
print(" M  pairs of tokens  offsets of rows  offsets of both")
for M in (2, 3, 7, 12):
    rows = 2 * M - 1  # -(M-1) … M-1
    print(f"{M:2}{M**4:17,}{rows:17}{rows**2:17}")

# %% [markdown]
# On each axis an offset runs from $-(M-1)$ to $M-1$: that is $2M-1$ values, and $(2M-1)^2$ for both axes.
# The table has that many rows and one column for each head.

# %% [markdown]
# **04.1** One offset, one number. Write the index of the offset (rows, columns), query minus key.


# %%
def offset_to_index(rows, columns, M):
    """Two ints from -(M-1) to M-1 → an int from 0 to (2M-1)² - 1."""
    ...


check("04.1", offset_to_index)

# %%
solution("04.1")

# %% [markdown]
# ### Q16: How is the index built: why add M-1, multiply rows by 2M-1, and sum?
#
# A table is a list. So the two offsets have to become *one* number, its place in the list. With $M = 2$ there are
# four tokens and you can follow all sixteen pairs:
#
# ```
# token 0 (row 0, column 0)    token 1 (row 0, column 1)
# token 2 (row 1, column 0)    token 3 (row 1, column 1)
# ```


# %% jupyter={"source_hidden": true}
def index_by_loop(M):
    index = np.zeros((M * M, M * M), dtype=int)
    for i in range(M * M):  # query token
        for j in range(M * M):  # key token
            # query - key: from -(M-1) to M-1
            rows, columns = i // M - j // M, i % M - j % M
            rows, columns = rows + M - 1, columns + M - 1  # from 0 to 2M-2
            # two digits, each with 2M-1 values
            index[i, j] = rows * (2 * M - 1) + columns
    return index


print(index_by_loop(2))

# %% [markdown]
# Take query 2 and key 0. The query lies one row lower, in the same column: offset (1, 0). With $M-1 = 1$ added to each
# that is (2, 1). Read it as a number with two digits in base $2M-1 = 3$: $2 \cdot 3 + 1 = 7$, and 7 stands in row 2,
# column 0 above. In base ten you do the same when you read "row 2, seat 1" as 21.

# %% [markdown]
# With $M = 3$, nine tokens. Left and middle: the offsets as they are, with their sign. Right: the index. Each block of
# 3 × 3 cells has one row offset, and along a diagonal *inside a block* the column offset stays the same: so does the
# index. The main diagonal is offset (0, 0), each token with itself.

# %% jupyter={"source_hidden": true}
M = 3
row, column = np.divmod(np.arange(M * M), M)
rows, columns = row[:, None] - row[None, :], column[:, None] - column[None, :]
offsets(rows, columns, index_by_loop(M))

# %% [markdown]
# One row of that matrix, laid out as the window it belongs to. The query sits in the middle. Each of its nine keys
# has another number, and the numbers *fall* from left to right, since we take query minus key.

# %%
relative_index(index_by_loop(3), window_size=3)

# %% [markdown]
# **Why multiply?** Without it, `rows + columns` is the same for "one up" and "one to the left". Look from token 24,
# the middle of the window:

# %% jupyter={"source_hidden": true}
M = 7
row, column = np.divmod(np.arange(M * M), M)
rows = row[:, None] - row[None, :] + M - 1
columns = column[:, None] - column[None, :] + M - 1
indices = {"with": rows * (2 * M - 1) + columns, "without": rows + columns}
for name, index in indices.items():
    above, left = index[24, 24 - 7], index[24, 24 - 1]
    different = len(np.unique(index))
    print(f"{name:7} {different:3} different indices; key above {above}, left {left}")

# %% [markdown]
# **04.2** And back: which offset does a row of the table belong to?


# %%
def index_to_offset(index, M):
    """An int from 0 to (2M-1)² - 1 → (rows, columns), query minus key."""
    ...


check("04.2", index_to_offset)

# %%
solution("04.2")

# %% [markdown]
# **04.4** The whole index for a window of `mh` × `mw` tokens. Loops are welcome.


# %%
def rectangular_index(mh, mw):
    """→ an array of int (mh·mw, mh·mw): query i down, key j across."""
    ...


check("04.4", rectangular_index)

# %%
solution("04.4")

# %% [markdown]
# ## 3 · The library, twice
#
# The same steps, for a window of `mh` × `mw` tokens (`pair` turns 7 into 7, 7). Words that differ are marked.

# %%
side_by_side("windows.relative_position_index")

# %% jupyter={"source_hidden": true}
for M in (2, 3, 7):
    index = swin_numpy.relative_position_index(M)
    agree(f"M = {M}, loop and NumPy", index, index_by_loop(M))
    agree(f"M = {M}, NumPy and PyTorch", index, swin_torch.relative_position_index(M))

# %% [markdown]
# Looking up is one line. The table is `(offsets, heads)`, the index `(i, j)`, so `table[index]` is `(i, j,
# heads)`. Then the heads move to the front, where the scores have them.

# %%
side_by_side("window_attention.WindowAttention.relative_position_bias")

# %% [markdown]
# A table that you can read: $M = 2$, one head, and for row $r$ of the table the number $r/10$. Offset (0, 0) is
# row 4.

# %%
attn = swin_numpy.WindowAttention(dim=4, window_size=2, num_heads=1)
attn.relative_position_bias_table[:, 0] = np.arange(9) / 10
numbered_grid(attn.relative_position_bias()[0].round(1))

# %% [markdown]
# Row 3 of $B$ belongs to token 3, the query at the bottom right. From left to right: the key up and left of it,
# the key above, the key left of it, and token 3 itself. $B$ is not symmetric: "you are left of me" and "I am left
# of you" are two different entries.
#
# $B$ joins the scores before the softmax. The scores are `(n k a i j)`: image, window, head, query, key.
# $B$ is `(a i j)`, without an axis for images or windows: it is the same for all of them. (The mask belongs to
# chapter 5.)

# %%
side_by_side("window_attention.WindowAttention.scores")

# %% [markdown]
# Two images, five windows, three heads, and all numbers random, the bias tables too. A loop over everything first.


# %% jupyter={"source_hidden": true}
def window_attention_by_loop(attn, x):
    """x (n, k, m, c) → the same shape: one image, window, head, query and key after the other."""
    # (n, k, m, c) each
    q, k, v = np.split(x @ attn.qkv.weight.T + attn.qkv.bias, 3, axis=-1)
    M, d, z = attn.window_size[0], x.shape[-1] // attn.num_heads, np.zeros_like(x)
    index = index_by_loop(M)
    for n, w, a in np.ndindex(*x.shape[:2], attn.num_heads):
        head = slice(a * d, (a + 1) * d)  # the channels of head a
        for i in range(M * M):
            B = [
                attn.relative_position_bias_table[index[i, j], a] for j in range(M * M)
            ]
            scores = [
                q[n, w, i, head] @ k[n, w, j, head] / np.sqrt(d) for j in range(M * M)
            ]
            z[n, w, i, head] = softmax(np.add(scores, B)) @ v[n, w, :, head]
    return z @ attn.proj.weight.T + attn.proj.bias


# %% jupyter={"source_hidden": true}
in_numpy = swin_numpy.WindowAttention(dim=12, window_size=3, num_heads=3).to(np.float64)
in_torch = swin_torch.WindowAttention(dim=12, window_size=3, num_heads=3).double()
state = {
    name: rng.standard_normal(value.shape)
    for name, value in in_numpy.state_dict().items()
}
in_numpy.load_state_dict(state)
in_torch.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
x = rng.standard_normal((2, 5, 9, 12))  # 2 images, 5 windows, 9 tokens, 12 channels

agree(
    "bias, NumPy and PyTorch",
    in_numpy.relative_position_bias(),
    in_torch.relative_position_bias(),
)
agree("attention, NumPy and PyTorch", in_numpy(x), in_torch(torch.tensor(x)))
agree("attention, loop and NumPy", window_attention_by_loop(in_numpy, x), in_numpy(x))

# %% [markdown]
# And does the shuffle of section 1 show now? It does: shuffled tokens get something else than they got in order. Set
# the table to zero, and the shuffle goes unnoticed again.

# %% jupyter={"source_hidden": true}
shuffle = rng.permutation(9)
before, after = in_numpy(x)[:, :, shuffle], in_numpy(x[:, :, shuffle])
changed = np.abs(after - before).max() / np.abs(before).max()
print(f"with B: shuffling first or last, largest relative difference {changed:.2f}")
assert changed > 0.1

in_numpy.relative_position_bias_table[...] = 0
agree(
    "without B, shuffling first or last",
    in_numpy(x[:, :, shuffle]),
    in_numpy(x)[:, :, shuffle],
)

# %% [markdown]
# ## 4 · What a table can say
#
# Let us write four tables by hand, each a head with a simple wish. (What training writes into a table comes
# [below](#Tables-that-were-learned).) Here they are, unfolded to 13 × 13, seen from the query in the blue frame: what
# lies left in the picture is left of the query. (So the pictures run from query to key, and the table's offsets from key to
# query: the sign is turned.)


# %% jupyter={"source_hidden": true}
def table_for(wish, M=7):
    """wish(below, right) → score to add. Returns one column of the table, ((2M-1)²,)."""
    offset = np.arange(-(M - 1), M)  # query - key, as the table counts
    below, right = -offset[:, None], -offset[None, :]  # key - query, as we speak
    return (wish(below, right) + np.zeros((2 * M - 1, 2 * M - 1))).ravel()


wishes = {
    "look left": lambda below, right: 8.0 * ((below == 0) & (right == -1)),
    "look near": lambda below, right: 8.0 - np.minimum(1.0 * (below**2 + right**2), 16),
    "look along the row": lambda below, right: 8.0 - 2.0 * np.abs(below),
    "look up": lambda below, right: -1.0 * below,
}
table = np.stack([table_for(wish) for wish in wishes.values()], axis=1)
print("table", table.shape, "= (offsets, heads)")

# %% jupyter={"source_hidden": true}
bias_tables(table, titles=list(wishes))

# %% [markdown]
# Now a layer whose content says nothing (all $q$ and $k$ are zero), so that only the bias speaks: the weights are
# $\mathrm{softmax}(B_i)$, where $i$ is the query's row.

# %% jupyter={"source_hidden": true}
M = 7
attn = swin_numpy.WindowAttention(dim=16, window_size=M, num_heads=4).to(np.float64)
attn.qkv.weight[...] = 0  # no content: only the bias speaks
attn.relative_position_bias_table[...] = table
weights = attn.attention_weights(rng.standard_normal((1, 1, 49, 16)))
print("weights", weights.shape, "= image, window, head, query, key")

# %% [markdown]
# Each head keeps its wish for every query that has such a key: that is what "relative" means. In the notebook, move
# the query with the sliders. (Here the whole photograph is one window again, of 7 × 7 tokens.)


# %% jupyter={"source_hidden": true}
def looks(row, column):
    """Where the four heads look from the query (row, column) of the window."""
    maps = weights[0, 0, :, row * M + column].reshape(4, M, M)
    return attention_rows(image, maps, (row, column), list(wishes))


slider(looks, row=(0, 6, 1, 3), column=(0, 6, 1, 2))

# %% [markdown]
# **04.3** Write a table for one head that looks at the key directly *below* the query: 5 there, 0 everywhere else.


# %%
def look_below(M):
    """→ an array ((2M-1)²,)."""
    ...


check("04.3", look_below)

# %%
solution("04.3")

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Content and position together
#
# Content and position add up *inside* the exponent. So weights multiply: $e^{s + b} = e^s \cdot e^b$, then each
# row is scaled to sum 1. Here the content is made by hand too: the closer the mean colours of two patches, the
# higher their score. First content alone, then "look near" alone, then both; last, content and "look along the
# row".

# %% jupyter={"source_hidden": true}
query, i = (3, 2), 3 * M + 2
colour = tokens.reshape(49, 3, -1).mean(-1)  # (49, 3): mean red, green, blue
content = -4 * np.square(colour[:, None] - colour[None, :]).sum(-1)  # (i, j)
B = attn.relative_position_bias()  # (a, i, j)
near, along = B[1], B[2]
scores = [content, near, content + near, content + along]
maps = [softmax(matrix)[i].reshape(M, M) for matrix in scores]
agree("softmax of a sum", maps[2], (maps[0] * maps[1]) / (maps[0] * maps[1]).sum())
attention_rows(
    image, maps, query, ["content", "near", "content + near", "content + row"]
)

# %% [markdown]
# ### The index step by step
#
# The index without loops, one step a line. `[:, None]` puts the query on the first axis, `[None, :]` the key on
# the second.

# %%
M = 2
token = np.arange(M * M)
row, column = token // M, token % M
print("rows of the tokens   ", row)
print("columns of the tokens", column)
rows, columns = row[:, None] - row[None, :], column[:, None] - column[None, :]
print("row offsets\n", rows, "\ncolumn offsets\n", columns)

# %%
rows, columns = rows + M - 1, columns + M - 1
print("row offsets from 0\n", rows, "\ncolumn offsets from 0\n", columns)
print("rows · 3 + columns\n", rows * (2 * M - 1) + columns)
agree("loop and steps", rows * (2 * M - 1) + columns, index_by_loop(2))

# %% [markdown]
# **Is it one-to-one?** Each offset must have one index, and no two offsets the same one.

# %%
for M in (2, 3, 7):
    index, index_of = index_by_loop(M), {}
    for i, j in np.ndindex(index.shape):
        offset = i // M - j // M, i % M - j % M
        # the same index each time
        assert index_of.setdefault(offset, index[i, j]) == index[i, j]
    assert sorted(index_of.values()) == list(range((2 * M - 1) ** 2))  # each index once
    print(
        f"M = {M}: {len(index_of)} offsets, indices 0 … {max(index_of.values())}, each belongs to one"
    )

# %% [markdown]
# ### A head that finds nothing
#
# In the first column "look left" finds no key to its left. No key gets the bonus then, and the head looks everywhere
# alike: the softmax has to give its weight to *some* keys.

# %%
for column in (2, 0):
    largest = weights[0, 0, 0, 3 * M + column].max()
    print(f"'look left' from row 3, column {column}: largest weight {largest:.3f}")
print(f"1/49 = {1 / 49:.3f}")
assert np.allclose(weights[0, 0, 0, 3 * M], 1 / 49)

# %% [markdown]
# ### Could indices be negative?
#
# Why add $M-1$? You often read "because indices can't be negative". That is not quite true: in NumPy and PyTorch,
# index -1 is the last row. Leave the $M-1$ away and negative indices wrap round. No two offsets meet, for -84 … 84
# are just as many numbers as the table has rows:

# %%
row, column = np.divmod(np.arange(49), 7)
raw = (row[:, None] - row) * 13 + column[:, None] - column  # M = 7, 2M - 1 = 13
wrapped = raw % 169  # what table[raw] really reads
print("smallest and largest index:", raw.min(), raw.max())
print("different rows of the table that are read:", len(np.unique(wrapped)))
print("offset (0, 0) reads row", wrapped[0, 0], "instead of", index_by_loop(7)[0, 0])

# %% [markdown]
# So a model that trains with it would learn as well. But its table is laid out in another order, and published
# weights would be read at the wrong offsets, without any error. $M-1$ makes the table a plain map: offset
# $-(M-1)$ first.

# %% [markdown]
# ### Tables that were learned
#
# The repository ships a small Swin that was trained on pictures of clothes, 28 × 28 pixels (chapter 10). These are the
# tables of its first stage, and above each the random table that it started from; the query is in the centre.

# %%
fresh, trained = fresh_and_trained()


def tables_of(model):
    """The tables of the first stage, (offsets, heads of all its blocks)."""
    return np.concatenate(
        [block.attn.relative_position_bias_table for block in model.layers[0].blocks],
        axis=1,
    )


start, learned = tables_of(fresh), tables_of(trained)
titles = [f"block {b}, head {h}" for b in range(2) for h in range(2)]
bias_tables(
    np.concatenate([start, learned], axis=1),
    [f"start: {t}" for t in titles] + [f"end: {t}" for t in titles],
)

# %% [markdown]
# They **remember their start**: how strongly start and end are correlated, and where the final favourite stood among the
# 169 offsets at the start. And they are smoother: how strongly each entry and the one right of it are correlated.

# %%
side = 2 * trained.layers[0].blocks[0].window_size - 1
correlation = lambda a, b: np.corrcoef(a.ravel(), b.ravel())[0, 1]
for title, before, after in zip(titles, start.T, learned.T, strict=True):
    row, col = np.divmod(after.argmax(), side)
    rank = (before > before[after.argmax()]).sum() + 1
    smooth = [
        correlation(t[:, :-1], t[:, 1:])
        for t in (before.reshape(side, -1), after.reshape(side, -1))
    ]
    print(f"{title}: correlation {correlation(before, after):.2f}; favourite {side // 2 - row:+d} below, "
          f"{side // 2 - col:+d} right, at the start number {rank}; neighbours {smooth[0]:+.2f} → {smooth[1]:+.2f}")  # fmt: skip

# %% [markdown]
# So here a head's favourite is in good part what chance gave it. (This training starts its tables with spread 1; the
# published one, with 0.02: `trunc_normal_` in `models/swin_transformer.py`.) How much is a bias in
# weights? $e^b$ is the factor that it puts on a weight before the row is scaled. In one row a query sees only 49 of the
# 169 offsets; the ratio between its most and least favoured key, for equal content, at the start → at the end:

# %%
index = swin_numpy.relative_position_index(7)
for title, *tables in zip(titles, start.T, learned.T, strict=True):
    ratios = [
        np.exp(np.ptp(column[index], axis=1)) for column in tables
    ]  # of each query
    medians, largest = ([f"{of(r):.0f}" for r in ratios] for of in (np.median, np.max))
    print(f"{title}: median {' → '.join(medians)}, largest {' → '.join(largest)}")

# %% [markdown]
# Chapter 10 trains the model again without any table.

# %% [markdown]
# ### Q20: Why is a scalar bias added to the score instead of a relative embedding multiplied with q, as in Shaw et al.?
#
# Shaw et al. (2018, section 3) learn a *vector* for each offset and add $q_i \cdot r_{ij}$: how much an offset counts then
# depends
# on what the query holds. Swin's bias is a number: the same for every content. What each costs, for one head of width 32
# in a window of 49 tokens:

# %%
M, d = 7, 32
offsets_, pairs = (2 * M - 1) ** 2, (M * M) ** 2
print(f"scalar bias: {offsets_:5,} numbers to learn, {pairs:6,} additions")
print(f"embedding:   {offsets_ * d:5,} numbers to learn, {pairs * d:6,} multiply-adds")

# %% [markdown]
# The Swin paper doesn't compare the two; it compares the bias with an absolute embedding and with nothing (its table 4).

# %% [markdown]
# ### Q21: Why does every head and every block have its own table, and do all windows share it?

# %%
model = swin_numpy.SwinTransformer(swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"])
tables = {
    n: p.shape
    for n, p in model.named_parameters()
    if n.endswith("relative_position_bias_table")
}
for name, shape in tables.items():
    print(name, shape)
ours = sum(np.prod(s) for s in tables.values())
total = sum(p.size for _, p in model.named_parameters())
print(f"all tables: {ours:,} of {total:,} parameters = {ours / total:.2%}")

# %% [markdown]
# One table for each block, one column for each head, and no axis for windows. With columns of their own, heads can
# look in different directions, as the four heads above do; with one $B$ for all they would all get the same push.
# That blocks have their own is a choice (T5 shares one table among its layers: Raffel et al. 2020, section 2.1); it costs
# next to nothing, as the last
# line shows.
#
# All windows share it. Exchange the windows, and the results are exchanged and nothing else.

# %%
in_numpy.load_state_dict(state)
windows = rng.permutation(5)
agree(
    "windows exchanged first or last",
    in_numpy(x[:, windows]),
    in_numpy(x)[:, windows],
    bound=1e-13,
)

# %% [markdown]
# **04.5** How many numbers do all tables of a model hold together? `depths` is the number of blocks in each stage,
# `num_heads` the number of heads in each stage.


# %%
def numbers_in_tables(depths, num_heads, window_size):
    """→ an int."""
    ...


check("04.5", numbers_in_tables)

# %%
solution("04.5")

# %% [markdown]
# ### Q17: Could the multiplier be something else, such as 2M-2 or 3M-1?
#
# Larger, yes: any number from $2M-1$ up keeps all offsets apart, but the table then has rows that nobody reads. Smaller,
# no: two offsets fall together. Count, for $M = 7$:

# %%
rows, columns = np.indices((13, 13)).reshape(2, -1)  # both offsets, from 0 on
for name, multiplier in (("2M-2", 12), ("2M-1", 13), ("3M-1", 20)):
    entries = rows * multiplier + columns
    print(
        f"{name}: {len(np.unique(entries))} different entries for 169 offsets, table of {entries.max() + 1} rows"
    )

# %% [markdown]
# ### Q18: In a rectangular window, which side belongs in the multiplier, and does meshgrid need the ij order?
#
# A window of $M_h$ rows and $M_w$ columns. The column offset is the second digit, and it takes $2M_w - 1$ values. So
# the multiplier is made of the number of **columns**. In a square window you can't see the mistake. (`meshgrid` gives
# the row and the column of every token.)


# %%
def index_from(row, column, mh, mw, multiplier):
    """Index of all pairs from the rows and the columns of the tokens."""
    rows = row[:, None] - row[None, :] + mh - 1
    columns = column[:, None] - column[None, :] + mw - 1
    return rows * multiplier + columns


mh, mw = 3, 4
row, column = (
    grid.ravel() for grid in np.meshgrid(np.arange(mh), np.arange(mw), indexing="ij")
)
print("rows of the table:", (2 * mh - 1) * (2 * mw - 1))
for name, multiplier in (("2·columns - 1", 2 * mw - 1), ("2·rows - 1", 2 * mh - 1)):
    index = index_from(row, column, mh, mw, multiplier)
    print(
        f"multiplier {name:13} = {multiplier}: {len(np.unique(index))} different indices"
    )
agree(
    "library",
    swin_numpy.relative_position_index((3, 4)),
    index_from(row, column, 3, 4, 7),
)

# %% [markdown]
# And `indexing`? PyTorch's default is `"ij"`, NumPy's is `"xy"`. It is often said that `"xy"` gives negative indices.
# Let us look: three ways to use it.

# %%
ys, xs = np.arange(mh), np.arange(mw)
ways = {
    'row, column = meshgrid(ys, xs, indexing="ij")': np.meshgrid(ys, xs, indexing="ij"),
    'row, column = meshgrid(ys, xs, indexing="xy")': np.meshgrid(ys, xs, indexing="xy"),
    'row, column = meshgrid(xs, ys, indexing="xy")': np.meshgrid(xs, ys, indexing="xy"),
}
good = swin_numpy.relative_position_index((mh, mw))
for name, (row, column) in ways.items():
    index = index_from(row.ravel(), column.ravel(), mh, mw, 2 * mw - 1)
    print(
        name,
        f"{index.min():3} … {index.max()}",
        "right" if np.array_equal(index, good) else "wrong",
    )
row, column = np.meshgrid(np.arange(3), np.arange(4), indexing="xy")
tall = index_from(row.ravel(), column.ravel(), 4, 3, 5)
print(f"line 3 in a window of 4 × 3: {tall.min()} … {tall.max()} of 34")

# %% [markdown]
# Line 2, `"xy"` alone, has no negative index and stays in the table: it lists the tokens column by
# column, while the windows list them row by row. No error, wrong pairs. Line 3, where rows and columns are
# exchanged as well, leaves the range here; in a window of 4 × 3 it stays inside, too. So a range check may miss both
# mistakes; comparing with a loop finds both.

# %% [markdown]
# ### Q15: Can windows or images be rectangular, and how does a square table fit then?
#
# An image of 224 × 288 pixels has 56 × 72 patches. Windows of 7 × 7 don't divide 72; windows of 7 × 9 do.

# %%
features = rng.standard_normal((1, 56, 72, 12))  # n h w c
try:
    swin_numpy.window_partition(features, 7)
except ValueError as error:
    print(error)
print("(image, windows, tokens, channels)")
print(
    "7 × 7, padded:",
    swin_numpy.window_partition(swin_numpy.pad_to_multiple(features, 7), 7).shape,
)
print("7 × 9:        ", swin_numpy.window_partition(features, (7, 9)).shape)

# %% [markdown]
# Both ways work: the models of this project keep square windows and pad. With 7 × 9 no token is padding, but the
# table needs $(2 \cdot 7 - 1)(2 \cdot 9 - 1)$ rows.

# %%
wide_numpy = swin_numpy.WindowAttention(12, (7, 9), 3).to(np.float64)
wide_torch = swin_torch.WindowAttention(12, (7, 9), 3).double()
state79 = {
    name: rng.standard_normal(value.shape)
    for name, value in wide_numpy.state_dict().items()
}
wide_numpy.load_state_dict(state79)
wide_torch.load_state_dict(
    {name: torch.tensor(value) for name, value in state79.items()}
)
print("table", wide_numpy.relative_position_bias_table.shape, "and 13 · 17 =", 13 * 17)
x79 = swin_numpy.window_partition(features, (7, 9))
agree("7 × 9, NumPy and PyTorch", wide_numpy(x79), wide_torch(torch.tensor(x79)))

# %% [markdown]
# A table trained for 7 × 7 is a picture of 13 × 13 numbers for each head. To use it for 7 × 9 you stretch that
# picture to 13 × 17, so that the ends meet the ends and offset 0 stays at 0. First unfold, heads in front; then
# stretch.


# %%
def stretch_columns(table, M, columns):
    """table ((2M-1)², a) → ((2M-1)·(2·columns-1), a), by straight lines between the old values."""
    maps = rearrange(table, "(r c) a -> a r c", r=2 * M - 1)
    # where the new offsets lie among the old ones
    places = np.linspace(-(M - 1), M - 1, 2 * columns - 1)
    old = np.arange(-(M - 1), M)
    maps = np.array([[np.interp(places, old, line) for line in head] for head in maps])
    return rearrange(maps, "a r c -> (r c) a")


stretched = stretch_columns(table, 7, 9)
print(table.shape, "→", stretched.shape)
before, after = table[:, 1].reshape(13, 13), stretched[:, 1].reshape(13, 17)
offset_maps({"look near, 7 × 7": before, "for 7 × 9": after})

# %% [markdown]
# PyTorch has this as `interpolate`. The official code (`load_pretrained` in `utils.py`) stretches with bicubic curves
# and `align_corners=False`, which puts the outermost offsets elsewhere. A table in which each number is its own
# column offset, -6 … 6, shows it: both keep 0 where it is; the other places differ a little.

# %%
maps = torch.tensor(rearrange(table, "(r c) a -> 1 a r c", r=13))
ours = torch.tensor(rearrange(stretched, "(r c) a -> 1 a r c", r=13))
lines = torch.nn.functional.interpolate(
    maps, (13, 17), mode="bilinear", align_corners=True
)
agree("straight lines", ours, lines)

ramp = torch.arange(-6.0, 7.0).expand(1, 1, 13, 13)
for way in (
    {"mode": "bilinear", "align_corners": True},
    {"mode": "bicubic", "align_corners": False},
):
    row = torch.nn.functional.interpolate(ramp, (13, 17), **way)[0, 0, 6]
    print(f"{way['mode']:8}", " ".join(f"{value:5.2f}" for value in row))

# %% [markdown]
# ### Q19: Is the index of MMDetection (a double step, then a flip) the same?
#
# Yes, to the last number. (`double_step_seq` and `flip` are its names in `mmdet/models/backbones/swin.py`.) The idea: give
# each token
# one *place*, row · $(2M_w-1)$ + column. The index of a pair is then place of i − place of j + a constant. And
# the constant minus the place of j is the place of the token *opposite* j in the window, which comes out of
# reading the list backwards. Our own version of that idea:


# %%
def index_by_places(mh, mw):
    place = (np.arange(mh)[:, None] * (2 * mw - 1) + np.arange(mw)).ravel()  # (m,)
    # [:, ::-1]: key j becomes the token opposite to it
    return (place[:, None] + place[None, :])[:, ::-1]


for size in ((2, 2), (7, 7), (12, 12), (3, 4), (7, 9), (1, 5)):
    assert np.array_equal(
        index_by_places(*size), swin_numpy.relative_position_index(size)
    )
    print("the same for", size)

# %%
pairs, places = swin_numpy.relative_position_index, lambda size: index_by_places(*size)
for name, make in (("pairs", pairs), ("places", places)):
    print(
        f"{name:6} {timeit(lambda make=make: make((7, 7)), number=500) / 500 * 1e6:4.0f} µs"
    )

# %% [markdown]
# It is computed once, when a model is built. So neither time matters.

# %% [markdown]
# ### Q23: How is the bias formed when the numbers of queries and keys differ?
#
# The table knows offsets, not tokens. So any two lists of coordinates will do, as long as no query and key are
# further apart than $M-1$. Four queries here, 49 keys: say, tokens pooled out of the window.


# %%
def bias_between(table, M, queries, keys):
    """table ((2M-1)², a), queries (i, 2), keys (j, 2) as (row, column) → (a, i, j)."""
    offset = queries[:, None] - keys[None, :] + M - 1  # (i, j, 2)
    return rearrange(
        table[offset[..., 0] * (2 * M - 1) + offset[..., 1]], "i j a -> a i j"
    )


keys = np.stack(np.divmod(np.arange(49), 7), axis=1)  # all tokens of the window
queries = np.array([[1, 1], [1, 5], [5, 1], [5, 5]])
print(bias_between(table, 7, queries, keys).shape, "= (heads, queries, keys)")
agree(
    "all queries, all keys",
    bias_between(table, 7, keys, keys),
    attn.relative_position_bias(),
)

# %% [markdown]
# Queries *between* tokens (row 1.5) have offsets that the table doesn't hold; then you interpolate it, as in Q15.

# %% [markdown]
# ### Q24: Why does indexing fail with a dtype error, and must the index be an integer buffer?
#
# An index must be a whole number. `.half()` on a PyTorch model turns parameters and buffers to float16, but only
# those that hold floating-point numbers. So the index survives, as long as it is an integer tensor to begin with.

# %%
half = swin_torch.WindowAttention(12, 7, 3).half()
print("table", half.relative_position_bias_table.dtype)
print("index", half.relative_position_index.dtype)


def try_index(name, index):
    try:
        got = half.relative_position_bias_table[index]
        print(f"{name:8} shape {tuple(got.shape)}")
    except (IndexError, RuntimeError) as error:
        print(f"{name:8} {type(error).__name__}: {str(error).splitlines()[0]}")


# %%
index = half.relative_position_index
for dtype in (torch.int64, torch.int32, torch.int8, torch.float32):
    try_index(str(dtype)[6:], index.to(dtype))
try:
    torch.nn.Parameter(index)
except RuntimeError as error:
    print("Parameter:", error)

# %% [markdown]
# NumPy takes int8 without a word. But int8 ends at 127, and the index goes up to 168: larger ones become
# negative, and negative ones count from the end. That is the worst kind of mistake, since nothing stops.

# %%
index = swin_numpy.relative_position_index(7)
small = index.astype(np.int8)
last = int(np.array(168).astype(np.int8))
print("index 168 as int8:", last, "→ reads row", 169 + last)
print(f"pairs that are read from the wrong row: {np.mean(index > 127):.0%}")
wrong = np.mean(table[small] != table[index])  # fewer: some rows hold the same number
print(f"biases that are wrong: {wrong:.0%}")

# %% [markdown]
# So: int64 (int32 works, and takes half the memory), not float, not int8. It is a *buffer* in PyTorch because it
# isn't learned, but should move to the GPU with the model. In NumPy it is just an attribute.
# Chapter 05 (Q36) shows what happens when a buffer is saved, or forgotten.

# %% [markdown]
# ### Q22: Without absolute position embedding, does the model know where a patch is?
#
# We test it: the same photograph, moved to the left by some pixels. For a token that moves along with the
# picture, do the features of stage 1 (one W-MSA and one SW-MSA block) change? We look at tokens far from the
# borders only.

# %%
astronaut = to_array(load_image(photo_path("astronaut")))  # (1, 3, 512, 512)
astronaut = astronaut.astype(float)
config = SwinConfig(
    img_size=224, embed_dim=24, depths=(2,), num_heads=(3,), num_classes=0
)
model = SwinTransformer(config, dtype=np.float64)
# fresh weights are tiny: make the attention matter
for name, value in model.named_parameters():
    if name.endswith(("bias_table", "qkv.weight")):
        value[...] = 0.5 * rng.standard_normal(value.shape)


# %%
def stage_1(model, moved):
    """Features (56, 56, c) of a crop of 224 x 224 that begins `moved` pixels further right."""
    crop = astronaut[:, :, 100:324, 100 + moved : 324 + moved]
    tokens, grid = model.forward_stages(crop)[0]
    return rearrange(tokens[0], "(h w) c -> h w c", h=grid[0])


def change(model, moved):
    """Mean relative change of the inner tokens that show the same part of the photograph."""
    patches, inner = moved // 4, (slice(14, -14), slice(14, -14))
    here = stage_1(model, 0)[:, patches:][inner]
    there = stage_1(model, moved)[:, : 56 - patches][inner]
    return np.abs(there - here).mean() / np.abs(here).mean()


# %%
no_bias, with_ape = (
    SwinTransformer(c, dtype=np.float64) for c in (config, replace(config, ape=True))
)
no_bias.load_state_dict(model.state_dict())
with_ape.load_state_dict(model.state_dict(), strict=False)
with_ape.absolute_pos_embed[...] = 0.5 * rng.standard_normal(
    with_ape.absolute_pos_embed.shape
)
for name, value in no_bias.named_parameters():
    if name.endswith("bias_table"):
        value[...] = 0
print("moved by               relative bias   bias set to 0   absolute embedding on")
for moved, what in ((1, ""), (4, "= 1 patch"), (28, "= 1 window"), (32, "= 8 patches")):
    row = [f"{change(m, moved):12.1%}" for m in (model, no_bias, with_ape)]
    print(f"{moved:2} px {what:16} " + "    ".join(row))
assert change(model, 28) < 1e-12 and change(no_bias, 28) < 1e-12

# %% [markdown]
# - **28 pixels** are one whole window ($M \cdot 4$). Nothing changes at all: the layers can't tell one window
#   from another.
# - **1 pixel** changes what each patch holds; **4 and 32 pixels** leave the patches as they are, but cut other
#   windows.
# - With the bias at zero the moves are noticed as well: the grid of windows is enough.
# - With an absolute embedding a move by a whole window is noticed, too. (It starts with spread 0.02; ours has
#   more, to see its effect.)
#
# So where several windows lie side by side, the model knows offsets inside a window, and not where the window lies. The
# exception is stage 4 at 224 pixels, where one window is the whole map: an offset to everything is as good as a place.
# Roll the map round by two columns: does the result roll along?

# %%
whole = swin_numpy.SwinTransformerBlock(24, 3, window_size=7).to(np.float64)
for _, value in whole.named_parameters():
    value[...] = 0.5 * rng.standard_normal(value.shape)
for name in ("with bias", "bias set to 0"):
    for grid in ((14, 14), (7, 7)):
        x = rng.standard_normal((1, *grid, 24))
        # one whole window; two columns of the only one
        by = 7 if grid == (14, 14) else 2
        there = whole(np.roll(x, by, axis=2).reshape(1, -1, 24), grid).reshape(x.shape)
        here = whole(x.reshape(1, -1, 24), grid).reshape(x.shape)
        off = np.abs(there - np.roll(here, by, axis=2)).max()
        print(
            f"{name:14} {grid}: rolled by {by}, largest difference {off / np.abs(there).max():.1e}"
        )
    whole.attn.relative_position_bias_table[...] = 0

# %% [markdown]
# Borders tell a token a little, too: the shifted windows of chapter 05 are smaller there. But all of that needs content.
# For an image of one colour every token of a map gives the same answer, in all four stages, for a weighted mean of equal
# values is that value.

# %%
deep = SwinTransformer(
    SwinConfig(embed_dim=12, num_heads=(1, 2, 4, 8), num_classes=0), dtype=np.float64
)
for name, value in deep.named_parameters():
    if name.endswith(("bias_table", "qkv.weight")):
        value[...] = 0.5 * rng.standard_normal(value.shape)
plain = np.ones((1, 3, 224, 224)) * np.array([0.3, -0.2, 0.5])[:, None, None]
for stage, (tokens_out, grid) in enumerate(deep.forward_stages(plain), 1):
    spread = np.ptp(tokens_out, axis=1).max() / np.abs(tokens_out).max()
    print(
        f"stage {stage}, {grid[0]:2} × {grid[1]:2} tokens: spread over all places {spread:.0e}"
    )
    assert spread < 1e-12

# %% [markdown]
# With padding that ends: a size that windows don't divide brings zeros into the last windows, and tokens near
# them know.

# %%
anywhere = SwinTransformer(replace(deep.config, img_size=None), dtype=np.float64)
anywhere.load_state_dict(deep.state_dict())
# 50 x 50 tokens, padded to 56 x 56
tokens_out, grid = anywhere.forward_stages(plain[:, :, :200, :200])[0]
spread = np.ptp(tokens_out, axis=1).max() / np.abs(tokens_out).max()
print(f"stage 1, {grid[0]} × {grid[1]} tokens: spread over all places {spread:.2f}")
assert spread > 1e-3

# %% [markdown]
# ### Traps
#
# **Trap 1: key minus query.** The offset is taken the wrong way round. Shapes fit, training works, and two copies
# of the code with the same mistake agree with each other. Only published weights make no sense any more. What
# catches it is a table with a known meaning: "look left" must look left.
#
# **Trap 2: meshgrid's other order.** In a *square* window `indexing="xy"` (NumPy's default!) exchanges rows and
# columns and stays in range. "Look left" becomes "look up".

# %%
index = swin_numpy.relative_position_index(7)
bugs = {"as it should be": index, "key minus query": index.T}
row, column = np.meshgrid(np.arange(7), np.arange(7))  # NumPy's default: "xy"
bugs['meshgrid "xy"'] = index_from(row.ravel(), column.ravel(), 7, 7, 13)
# token 24: the middle
looks = {
    name: softmax(table[wrong, 0])[24].reshape(7, 7) for name, wrong in bugs.items()
}
show_maps(looks, columns=3, query=(3, 3))

# %% [markdown]
# The check that catches both, in one line: which key gets the most weight from the query in the middle?

# %%
for name, wrong in bugs.items():
    best = np.unravel_index(softmax(table[wrong, 0])[24].argmax(), (7, 7))
    verdict = "✓" if best == (3, 2) else "✗ wrong"
    print(f"{name:16} the middle (3, 3) looks at ({best[0]}, {best[1]})", verdict)

# %% [markdown]
# **Trap 3: reshape instead of a transpose.** To stretch a table you need it as `(heads, 13, 13)`. The table is
# `(169, heads)`, heads last, so `reshape(heads, 13, 13)` runs, and mixes heads and offsets. The transpose has to come
# first. Going there and back proves nothing, since the same mistake undoes itself; compare a head's map with its own
# column.

# %%
right = table.T.reshape(4, 13, 13)
scrambled = table.reshape(4, 13, 13)
print("Is head 1 column 1 of the table?")
print("transpose, then reshape:", np.array_equal(right[1].ravel(), table[:, 1]))
print("reshape alone:          ", np.array_equal(scrambled[1].ravel(), table[:, 1]))
print("and back, reshape alone:", np.array_equal(scrambled.reshape(table.shape), table))
offset_maps(
    {"look near: transpose, then reshape": right[1], "reshape alone": scrambled[1]}
)

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, *Swin Transformer*, section 3.2, "Relative position bias" and equation 4; table 4 compares it
#   with an absolute embedding.
# - Chapter 03 cut the map into windows. Chapter 05 shifts them, and adds one more term to the scores: the mask.
# - Chapter 12: Swin V2 makes the table with a small network from the offsets, so that it fits windows of any size.
