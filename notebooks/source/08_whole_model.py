# %% [markdown]
# # 08 · The whole model
#
# ![The whole model: image, patch embedding, four stages of blocks with patch merging between them, norm, mean and head](../figures/gallery/architecture.png)
#
# Patches, blocks, merging: everything has been built, and twice. This chapter puts it together, sends a photograph
# through both twins, and measures how far apart they are after every step. Then it asks what the parts are for.
#
# **After this chapter you can explain**
#
# - what `depths=(2, 2, 6, 2)` means, and what each of the twelve blocks costs;
# - what comes out of each stage, and how to use it for detection or segmentation;
# - how far a token has seen after each block;
# - why the last stage doesn't shift, and what happens to the logits if it does;
# - how closely two implementations can and should agree, in float64, float32 and bfloat16.

# %% jupyter={"source_hidden": true}
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange, reduce
from lesson import agree, check, side_by_side, slider, solution
from torch.utils.flop_counter import FlopCounterMode

import swin_torch
from figures import photo_path
from figures.cost import cost_by_block
from figures.maps import show_maps
from figures.measure import disagreement
from figures.model import architecture
from swin_numpy import CONFIGS, SwinConfig, SwinTransformer, cyclic_shift, shift_mask
from swin_numpy.functional import softmax
from swin_numpy.pictures.images import denormalise, load_image, preprocess, to_array
from swin_numpy.runtime.trace import record
from swin_numpy.training.fashion_mnist import (
    CLASSES,
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)
from swin_numpy.weights.names import convert_state_dict
from swin_numpy.windows import window_partition
from swin_torch.compare import measure

rng = np.random.default_rng(8)
torch.set_num_threads(1)  # so that the page runs the same on a busy machine
photo = preprocess(load_image(photo_path("chelsea")), 224).astype(np.float64)

# %% [markdown]
# ## The idea
#
# A Swin Transformer is a patch embedding, then **stages** of blocks with a patch merging between one stage and the
# next, then a norm, the mean over all tokens, and one matrix that turns features into logits, one for each class.

# %%
config = CONFIGS["swin_tiny_patch4_window7_224"]
c = config
sizes = c.depths, c.num_heads, c.window_size, c.num_classes
image = denormalise(preprocess(load_image(photo_path("chelsea"))))[0]
architecture(c.img_size, c.patch_size, c.embed_dim, *sizes, image=image)

# %% [markdown]
# ## By hand: a model that fits on the page
#
# Images of 32 × 32 pixels, patches of 4 × 4, windows of 4 × 4, two stages of two blocks, three classes. Work out the
# shapes before you look: 32 / 4 = 8 patches a side, so 64 tokens; after the merging 4 × 4 = 16 tokens, of twice the
# width. We write the whole forward pass as a loop over its parts.

# %%
sizes = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
tiny = SwinConfig(img_size=32, num_classes=3, **sizes)
model = SwinTransformer(tiny, dtype=np.float64)
shapes = {name: value.shape for name, value in model.state_dict().items()}
state = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
model.load_state_dict(state)
images = rng.normal(size=(2, 3, 32, 32))

# %%
x, grid = model.patch_embed(images)
print("patch embedding", x.shape, grid)
for stage, layer in enumerate(model.layers, 1):
    for block in layer.blocks:
        x = block(x, grid)
        print(f"stage {stage}, block ", x.shape, grid, "shift", block.shift_size)
    if layer.downsample is not None:
        x, grid = layer.downsample(x, grid)
        print("patch merging  ", x.shape, grid)
x = model.norm(x).mean(axis=1)
logits = model.head(x)
print("mean of tokens ", x.shape)
print("logits         ", logits.shape)

# %% [markdown]
# Blocks keep the shape, merging changes it, and at the end every token counts the same: a plain mean. (The last block
# has shift 0. It should; see the traps.)

# %% [markdown]
# **08.4** From the last tokens to logits. `norm` is a function of (…, c).


# %%
def my_logits(tokens, norm, weight, bias):
    """tokens (n, l, c), weight (classes, c), bias (classes,) → (n, classes)."""
    ...


check("08.4", my_logits)

# %%
solution("08.4")

# %% [markdown]
# ## The library's version, twice

# %%
side_by_side("model.SwinTransformer.forward")

# %%
side_by_side("model.SwinTransformer.forward_stages")

# %%
side_by_side("model.BasicLayer.forward")

# %%
twin = swin_torch.SwinTransformer(tiny).double().eval()
twin.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
agree("model and loop", model(images), logits)
agree("NumPy and PyTorch", model(images), twin(torch.from_numpy(images)))

# %% [markdown]
# ## Swin-T
#
# Now the real size, in float64, with the random weights that training would start from: both twins draw the same
# numbers from the same seed. The paper's table gives 28 M parameters and 4.5 G multiply-adds for 224 × 224 pixels.
# Counted exactly, the official model has 28,288,354 parameters.

# %%
numpy_model = SwinTransformer(config, seed=0, dtype=np.float64)
torch_model = swin_torch.SwinTransformer(config, seed=0).double().eval()
count = sum(value.size for _, value in numpy_model.named_parameters())
assert count == sum(value.numel() for value in torch_model.parameters()) == 28_288_354
print(f"{count:,} parameters in both")

# %% [markdown]
# **08.1** The grid (h, w) of every stage for an image of `image_size` = (H, W) pixels, of any size; nothing is dropped.


# %%
def my_grids(image_size, patch_size, stages):
    """(224, 224), 4, 4 → [(56, 56), (28, 28), (14, 14), (7, 7)]."""
    ...


check("08.1", my_grids)

# %%
solution("08.1")

# %% [markdown]
# ## A photograph through both twins
#
# `record` hooks every part of a model and keeps what it gave. Once in NumPy, float64; then PyTorch in float64, float32
# and bfloat16, each measured against it: largest difference / largest value.

# %%
images = torch.from_numpy(photo)
numpy_steps = record(numpy_model, photo)
gaps = {}
for dtype in (torch.float64, torch.float32, torch.bfloat16):
    with torch.inference_mode():
        torch_steps = record(torch_model.to(dtype), images.to(dtype))
    pairs = zip(numpy_steps, torch_steps, strict=True)
    name = str(dtype).removeprefix("torch.")
    gaps[name] = [measure(*pair).relative for pair in pairs]

exact = numpy_model.state_dict()  # bfloat16 has cut the weights of the other short
exact = {name: torch.from_numpy(value) for name, value in exact.items()}
_ = torch_model.double().load_state_dict(exact)

# %%
print(f"{'step':22} {'what':22} {'shape':>14}", *(f"{name:>9}" for name in gaps))
for step, *differences in zip(numpy_steps, *gaps.values(), strict=True):
    shape = "×".join(map(str, step.output.shape))
    columns = [f"{gap:9.1e}" for gap in differences]
    print(f"{step.name:22} {step.what:22} {shape:>14}", *columns)

# %%
names = [step.name for step in numpy_steps]
disagreement(names, gaps, "largest difference / largest value")

# %% [markdown]
# Three lines, far apart, and none of them jumps. In float64 the twins differ by a few roundings, in float32 by a few
# larger ones, and bfloat16 keeps only two to three digits to begin with. A wrong axis or a forgotten bias would lift
# *all* lines, at the block that has it, to the size of the mistake. A small mistake could pass for rounding in
# bfloat16. In float64 it has nowhere to hide.

# %%
worst = {name: max(values) for name, values in gaps.items()}
assert worst["float64"] < 1e-12 < worst["float32"] < 1e-4 < worst["bfloat16"] < 0.1
probabilities = softmax(numpy_steps[-1].output[0])
best = np.argsort(-probabilities)[:5]
print("most probable:", ", ".join(f"class {k} ({probabilities[k]:.2%})" for k in best))

# %% [markdown]
# The weights are random, so the five classes mean nothing; even the best of the 1000 has only a few in a thousand.
# Chapter 11 shows how published weights get into the same two models. A small trained model is there already:

# %% [markdown]
# ## A backbone: what the stages give
#
# A classifier uses the last map only. Detection and segmentation need all four: fine maps for small things, coarse
# ones for large things. `forward_stages` returns each stage's tokens with their grid.

# %%
with torch.inference_mode():
    stages = torch_model.forward_stages(images)
last_blocks = [
    f"layers.{i}.blocks.{depth - 1}" for i, depth in enumerate(config.depths)
]
ends = [step for step in numpy_steps if step.name in last_blocks]
for (tokens, grid), step in zip(stages, ends, strict=True):
    agree(f"grid {grid}", tokens, step.output)

# %% [markdown]
# To see maps of many channels, take the three directions in which their tokens differ most (principal components) as
# red, green and blue. The network is untrained: what shows is the photograph, mixed by random matrices.


# %%
def as_colours(tokens, grid):
    """tokens (1, h·w, c) → (h, w, 3) in 0 … 1: three principal components."""
    x = np.asarray(tokens)[0]
    x = x - x.mean(0)
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    x = x @ directions[:3].T
    low, high = np.percentile(x, (2, 98), axis=0)
    return np.clip((x - low) / (high - low), 0, 1).reshape(*grid, 3)


pixels = denormalise(photo)[0]
pictures = {"photograph": pixels}
for i, (x, (h, w)) in enumerate(stages, 1):
    pictures[f"stage {i}: {h} × {w}"] = as_colours(x, (h, w))
show_maps(pictures, columns=5)

# %% [markdown]
# **08.3** From what `forward_stages` returns to what detection code wants.


# %%
def my_feature_maps(stages):
    """[(tokens (n, h·w, c), (h, w)), …] → [map (n, c, h, w), …]."""
    ...


check("08.3", my_feature_maps)

# %%
solution("08.3")

# %% [markdown]
# ### Weights that know something
#
# The repository ships a Swin that was trained to tell ten kinds of clothes apart (chapter 10). It is the same class
# with another `SwinConfig`: two stages, windows of 7, grey images of 28 × 28 pixels. Both twins read its file and look
# at pictures that were held out, so no weight was ever fitted to them.

# %%
clothes = fashion_mnist(SUBSET, "test")
few, truth = clothes.images[:300], clothes.labels[:300]
trained = SwinTransformer.from_checkpoint(TRAINED).to(np.float64)
twin = swin_torch.SwinTransformer.from_checkpoint(TRAINED).double()
inputs = standardise(few).astype(np.float64)
logits = trained(inputs)
with torch.inference_mode():
    agree("logits of the trained twins", logits, twin(torch.tensor(inputs)), 1e-9)
said, sure = logits.argmax(1), softmax(logits).max(1)
print(f"{trained.config.depths=}, {trained.config.num_heads=}")
print(f"right: {np.mean(said == truth):.1%} of {len(few)} held-out images")
assert np.mean(said == truth) > 0.85

# %% [markdown]
# The first eight that the model gets right, and the first four that it gets wrong (✗), with the probability that it
# gives to its answer. That tells how sure the model is, which is not the same as how often it is right.


# %%
def verdict(i):
    """What the model says of image i, and how sure it is; with ✗ and what it is, if wrong."""
    text = f"{CLASSES[said[i]]} {sure[i]:.0%}"
    return text if said[i] == truth[i] else f"✗ {text}\nis: {CLASSES[truth[i]]}"


right, wrong = np.flatnonzero(said == truth), np.flatnonzero(said != truth)
examples = [*right[:8], *wrong[:4]]
show_maps(few[examples], columns=6, titles=[verdict(i) for i in examples])

# %%
for name, group in (("right", right), ("wrong", wrong)):
    mean = sure[group].mean()
    print(f"{len(group):3} times {name}: mean probability of the answer {mean:.1%}")

# %% [markdown]
# Softmax turns any logits into numbers that sum to 1; only training gives them a meaning. Through random weights, the
# photograph above got a few in a thousand for the best class.

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Q45: What does depths=(2, 2, 6, 2) mean, and why is stage 3 the deepest?
#
# Each number counts the blocks of one stage, and each W-MSA and each SW-MSA block counts as **one**. They take turns: 2
# is one pair, 6 is three pairs. Here are all twelve, with what each costs: its parameters, and the multiply-adds of
# its matrix products (formula of chapter 6).


# %%
def block_cost(width, grid, M):
    """Multiply-adds of one block: qkv and proj, Q Kᵀ and weights · V, and the MLP."""
    hw = grid[0] * grid[1]
    return 4 * hw * width**2 + 2 * M * M * hw * width + 8 * hw * width**2


# %%
rows = []
print("block stage  kind  window shift  grid   width heads  parameters  multiply-adds")
for stage, layer in enumerate(numpy_model.layers, 1):
    grid, width = config.grids[stage - 1], config.widths[stage - 1]
    for block in layer.blocks:
        kind = "SW-MSA" if block.shift_size else "W-MSA"
        size = sum(value.size for _, value in block.named_parameters())
        work = block_cost(width, grid, block.window_size)
        window = f"{block.window_size:5} {block.shift_size:5}  {grid!s:>8}"
        costs = f"{width:5} {block.attn.num_heads:5} {size:11,} {work:14,}"
        print(f"{len(rows):5} {stage:5} {kind:>7} {window} {costs}")
        rows.append((stage, kind, size, work))

# %%
cost_by_block(*zip(*rows, strict=True))

# %% [markdown]
# Let PyTorch's own counter check the work: blocks, patch embedding, mergings and head together.

# %%
with FlopCounterMode(display=False) as counter, torch.inference_mode():
    torch_model(torch.from_numpy(photo))
work = sum(row[3] for row in rows)
work += 56 * 56 * 48 * 96  # patch embedding: 3 · 4 · 4 = 48 numbers a patch → 96
work += 768 * 1000  # head
for C, (h, w) in zip(config.widths[:-1], config.grids[1:], strict=True):
    work += h * w * 8 * C * C  # a merging
assert 2 * work == counter.get_total_flops()  # to the counter a multiply-add is two
print(f"{work / 1e9:.2f} G multiply-adds")

# %% [markdown]
# Look at the two plots. From stage to stage the map has a quarter of the tokens and twice the width, so the matrices
# do **the same work** in every stage (tokens × width² stays), and only the attention itself gets cheaper. But each
# step makes the matrices **four times as large**. What if the four extra blocks stood elsewhere?

# %%
print("depths         parameters  multiply-adds")
for deep in range(4):
    depths = [6 if stage == deep else 2 for stage in range(4)]
    change = [new - old for new, old in zip(depths, config.depths, strict=True)]
    firsts = [next(row for row in rows if row[0] == stage) for stage in (1, 2, 3, 4)]
    size = count + sum(n * row[2] for n, row in zip(change, firsts, strict=True))
    total = work + sum(n * row[3] for n, row in zip(change, firsts, strict=True))
    print(f"{depths} {size:12,} {total / 1e9:13.2f} G")

# %% [markdown]
# The work is nearly the same wherever the blocks are; the parameters are not. Early stages would be cheap in
# parameters, but their windows see little of the image. In stage 4 one window is the whole image already, and the
# same four blocks cost most. Stage 3 lies in between. That is what can be computed. The rest is experience: the paper
# gives the depths without deriving them, and ResNet-50 (3, 4, 6, 3) was deepest there, too. The larger models put all
# their extra blocks into stage 3:

# %%
for name in ("tiny", "small", "base", "large"):
    preset = CONFIGS[f"swin_{name}_patch4_window7_224"]
    print(f"{name:6} depths {preset.depths}, widths {preset.widths}")

# %% [markdown]
# **08.5** Count the parameters of any Swin Transformer from its `config` alone. It has to find the paper's numbers for
# T, S, B and L. (Qkv bias, no absolute position embedding. Mind the norms, and what the last stage hasn't.)


# %%
def my_count(config):
    """SwinConfig → int."""
    ...


check("08.5", my_count)

# %%
solution("08.5")

# %% [markdown]
# ### An implementation by others
#
# Twins can share a mistake: both were written with the same idea in mind. So here is a third implementation, written
# by others, in Hugging Face's `transformers`. It starts from random weights of its own, and we take them over;
# `convert_state_dict` only gives them their official names, and joins their three matrices for Q, K and V to one. (A
# narrow model, to be quick. If the package isn't installed, the cell says so and goes on.)

# %%
narrow = replace(config, embed_dim=24, num_heads=(1, 2, 4, 8))
try:
    from transformers import SwinConfig as TheirConfig
    from transformers import SwinForImageClassification
except ImportError:
    print("skipped: transformers is not installed (pip install transformers)")
else:
    torch.manual_seed(0)
    sizes = TheirConfig(embed_dim=24, num_heads=(1, 2, 4, 8), num_labels=1000)
    theirs = SwinForImageClassification(sizes).double().eval()
    ours = SwinTransformer(narrow, dtype=np.float64)
    ours.load_state_dict(convert_state_dict(theirs.state_dict()))
    with torch.inference_mode():
        agree("logits, transformers and NumPy", ours(photo), theirs(images).logits)

# %% [markdown]
# ### Q49: Why do the layer outputs come one scale too small (28, 14, 7, 7)?
#
# In Microsoft's code, and in many that follow it, the patch merging belongs to the **end** of a stage: whoever hooks a
# stage, or takes its return value, gets what the *next* stage begins with. Both lists, from hooks:

# %%
before, after, hooks = [], [], []
for layer in torch_model.layers:
    last = layer.downsample or layer
    hooks.append(layer.register_forward_hook(lambda m, inputs, out: before.append(out)))
    hooks.append(last.register_forward_hook(lambda m, inputs, out: after.append(out)))
with torch.inference_mode():
    torch_model(images)
for hook in hooks:
    hook.remove()


# %%
def describe(x):
    x = x[0] if isinstance(x, tuple) else x  # a merging returns its grid as well
    side = round(x.shape[1] ** 0.5)
    return f"{side} × {side} × {x.shape[2]}"


print("after merging: ", ",  ".join(map(describe, after)))
print("before merging:", ",  ".join(map(describe, before)))
assert [x.shape[2] for x in before] == [96, 192, 384, 768]
for mine, (tokens, _) in zip(before, stages, strict=True):
    assert torch.equal(mine, tokens)

# %% [markdown]
# Take the tensors **before** merging. In this package a `BasicLayer` owns the merging, for the sake of the official
# names, but its `forward` runs the blocks only. One more thing to know for detection: the four maps come without a
# norm (the stream is never normed, chapter 6), so backbones add a norm of their own to each.

# %% [markdown]
# ### Q47: Why is there no class token, and how would one work with windows?
#
# ViT puts one extra token in front of the patches; it looks at all of them, and the head reads nothing else. In Swin it
# has no place: 3136 tokens are a map of 56 × 56, 3137 are no map.

# %%
tokens, grid = stages[0]
with_class_token = torch.cat([torch.zeros(1, 1, 96), tokens], dim=1)
try:
    torch_model.layers[0].blocks[0](with_class_token, grid)
except ValueError as error:
    print(error)

# %% [markdown]
# Which window would it be in? A copy in every window, or attention of its own beside the windows: both can be done, and
# both complicate every block. Swin takes the mean over the last map instead. That is not as different as it looks.
# Let one query look at the 49 tokens of the last map: a class token that joins late. If the query is zero, all weights
# are equal, and it *is* the mean.

# %%
last = numpy_model.norm(ends[-1].output)[0]  # (49, 768)
W_K = rng.normal(size=(768, 32)) / np.sqrt(768)


def read_out(query):
    """One query (32,) looks at the last map → (weights (49,), features (768,))."""
    weights = softmax(last @ W_K @ query / np.sqrt(32))
    return weights, weights @ last


agree("zero query = mean over tokens", read_out(np.zeros(32))[1], last.mean(0))
agree("... which the head gets", last.mean(0), numpy_steps[-2].output[0])
for size in (1, 5):
    weights, _ = read_out(size * rng.normal(size=32))
    span = f"from {weights.min():.3f} to {weights.max():.3f}"
    print(f"query × {size}: weights {span}, 1 / 49 = {1 / 49:.3f}")

# %% [markdown]
# With another query it is a weighted mean. So a class token could choose *where* to look in the last step; the plain
# mean can't, and leaves that to the blocks before it.

# %% [markdown]
# ### How far does a token see?
#
# After one block a token has seen its window. After a shifted block, the four windows that its shifted window lies on.
# A merging makes every window twice as long, seen in pixels. To know exactly, walk **backwards**: start from one token
# and collect, block by block, every token that it could have heard from.


# %%
def heard_by(block, heard, grid):
    """heard (h, w) of bool → all that these tokens listen to in this block."""
    names = np.arange(heard.size).reshape(1, *grid, 1)
    shift, M = block.shift_for(grid), block.window_size
    windows = window_partition(cyclic_shift(names, shift), M)[0, :, :, 0]  # (k, m)
    sees = shift_mask(*grid, M, shift) == 0  # (k, i, j)
    result = heard.ravel().copy()
    result[windows] |= (heard.ravel()[windows][:, :, None] & sees).any(1)
    return result.reshape(grid)


# %%
def reach(model, blocks, patch):
    """Which patches (56, 56) does the token that holds `patch` hear of in `blocks`?"""
    path = [
        (s, block) for s, layer in enumerate(model.layers) for block in layer.blocks
    ]
    path = path[:blocks]
    stage = path[-1][0]
    heard = np.zeros(config.grids[stage], bool)
    heard[patch[0] >> stage, patch[1] >> stage] = True  # >>: halved `stage` times
    for s, block in reversed(path):
        if s < stage:  # below a merging every token was four
            heard, stage = heard.repeat(2, 0).repeat(2, 1), s
        heard = heard_by(block, heard, config.grids[s])
    return heard.repeat(2**stage, 0).repeat(2**stage, 1)


# %%
patch = (25, 15)  # in the left eye
maps = [reach(numpy_model, blocks, patch) for blocks in range(1, 13)]

# %%


def faded(seen):
    """The photograph, pale where a patch is not in `seen` (56, 56)."""
    cover = seen.repeat(4, 0).repeat(4, 1)[..., None]
    return np.where(cover, pixels, 255 - (255 - pixels) // 6).astype(np.uint8)


shown = {}
for (stage, kind, _, _), seen in zip(rows[:6], maps, strict=False):
    title = f"{len(shown) + 1}: stage {stage}, {kind}\n{seen.sum()} patches"
    shown[title] = faded(seen)
show_maps(shown, columns=6, query=(patch[0] * 4 + 2, patch[1] * 4 + 2))

# %% [markdown]
# (Here blocks are counted from 1, and a patch is one of the 56 × 56 = 3136 of the first map.) After six blocks the
# token has heard of the whole image. The counts for all twelve, and how they would be without any
# shift: then a token sees nothing but its own window, until a merging makes windows larger.

# %%
unshifted = SwinTransformer(narrow)
for layer in unshifted.layers:
    for block in layer.blocks:
        block.shift_size = 0
print("with shift:   ", [int(seen.sum()) for seen in maps])
plain = [reach(unshifted, blocks, patch) for blocks in range(1, 13)]
print("without shift:", [int(seen.sum()) for seen in plain])

# %% [markdown]
# Is that what the model does, or what we think it does? Autograd can tell: a patch that a token has heard of has a
# gradient. The same grids in a narrow model with random weights; a gradient counts if it exceeds 10⁻³⁰ of the largest,
# since the mask hides a token with $e^{-100}$ and not with zero.

# %%
probe = swin_torch.SwinTransformer(narrow).double().eval()
generator = torch.Generator().manual_seed(0)
for value in probe.parameters():
    torch.nn.init.normal_(value, std=0.2, generator=generator)
inputs = images.clone().requires_grad_()
outputs, hooks = [], []
for stage, layer in enumerate(probe.layers):
    for block in layer.blocks:
        catch = lambda module, inputs, out, s=stage: outputs.append((s, out))
        hooks.append(block.register_forward_hook(catch))
_ = probe(inputs)

# %%
for blocks, (stage, out) in enumerate(outputs, 1):
    token = (patch[0] >> stage) * config.grids[stage][1] + (patch[1] >> stage)
    upstream = torch.randn(out.shape[-1], generator=generator).double()
    number = out[0, token] @ upstream
    (gradient,) = torch.autograd.grad(number, inputs, retain_graph=True)
    felt = reduce(gradient.abs(), "1 c (h p1) (w p2) -> h w", "max", p1=4, p2=4)
    assert np.array_equal(felt > 1e-30 * felt.max(), maps[blocks - 1])
print("autograd finds the same patches after each of", len(outputs), "blocks")

# %% [markdown]
# Move the token, and choose how many blocks it has passed:


# %%
def draw(row, column, blocks):
    seen = reach(numpy_model, blocks, (row, column))
    name = f"patch ({row}, {column}) after {blocks} blocks: {seen.sum()} patches"
    return show_maps({name: faded(seen)}, query=(row * 4 + 2, column * 4 + 2))


slider(draw, row=(0, 55, 1, 25), column=(0, 55, 1, 33), blocks=(1, 12, 1, 3))

# %% [markdown]
# ### Other sizes
#
# Nothing in a block is tied to 224 pixels but its windows. With `img_size=None` a model takes any picture: maps are
# padded to windows, odd sides are padded before merging. A model that was built for 224 does the same when it meets
# another size. At 224 all three ways are one.

# %%
weights = swin_torch.SwinTransformer(narrow, seed=1).double().state_dict()
any_size = replace(narrow, img_size=None)
fixed = swin_torch.SwinTransformer(narrow).double().eval()
free = swin_torch.SwinTransformer(any_size).double().eval()
fixed.load_state_dict(weights)
free.load_state_dict(weights)
numpy_free = SwinTransformer(any_size, dtype=np.float64)
_ = numpy_free.load_state_dict({name: value.numpy() for name, value in weights.items()})

# %%
whole = to_array(load_image(photo_path("chelsea"))).astype(np.float64)  # uncropped
for picture in (photo, whole[..., :192, :320], whole):
    x, (H, W) = torch.from_numpy(picture), picture.shape[2:]
    with torch.inference_mode():
        agree(f"{H} × {W}, built for 224 and for any", fixed(x), free(x))
agree(f"{H} × {W}, NumPy and PyTorch", numpy_free(whole), free(x))

# %%
pictures = {"photograph": denormalise(whole)[0]}
with torch.inference_mode():
    of_whole = free.forward_stages(x)
for i, (tokens, (h, w)) in enumerate(of_whole, 1):
    pictures[f"stage {i}: {h} × {w}"] = as_colours(tokens, (h, w))
show_maps(pictures, columns=5)

# %% [markdown]
# **08.2** For each block of a model that is built for these grids: its window and its shift, as official code sets
# them. A list of (window, shift), block after block.


# %%
def my_plan(grids, depths, window_size):
    """→ [(window, shift), …], sum(depths) of them."""
    ...


check("08.2", my_plan)

# %%
solution("08.2")

# %% [markdown]
# ### Traps
#
# **1. Shifting in the last stage.** At 224 the last map is 7 × 7: one window. The official code sees that when it is
# built, and sets the shift to 0. Some re-implementations don't. Then the only window is cut into four regions that
# must not see each other. Who sees whom, a row for each query token and a column for each key token:

# %%
sees = {f"shift {s}": shift_mask(7, 7, 7, s)[0] == 0 for s in (0, 3)}
for name, pairs in sees.items():
    print(f"{name}: {pairs.sum()} of {pairs.size} pairs of tokens see each other")
show_maps(sees)


# %%
def off(wrong, right):
    return f"{(wrong - right).abs().max() / right.abs().max():.1%}"


block = torch_model.layers[3].blocks[1]
with torch.inference_mode():
    right, right_map = torch_model(images), torch_model.forward_stages(images)[-1][0]
    block.shift_size = 3
    wrong, wrong_map = torch_model(images), torch_model.forward_stages(images)[-1][0]
    block.shift_size = 0
print("logits off by", off(wrong, right), "of the largest")
print("last map off by", off(wrong_map, right_map))

# %% [markdown]
# The same shapes, no error, the same state dict; and the mean over tokens hides most of it from the logits. These are
# weights that have learned nothing, so attention does little yet. Twins agree to 15 digits here, so even this stands
# out. The check that needs no second model:

# %%
for grid, layer in zip(config.grids, torch_model.layers, strict=True):
    for block in layer.blocks:
        assert block.shift_size == 0 or min(grid) > block.window_size

# %% [markdown]
# **2. No `model.eval()`.** A fresh PyTorch model is in training mode: drop path is on, and the same picture gives other
# logits each time. (The NumPy twin starts in evaluation mode.)

# %%
torch.manual_seed(0)
with torch.inference_mode():
    for mode in (True, False):
        torch_model.train(mode)
        first, second = torch_model(images), torch_model(images)
        same = torch.equal(first, second)
        print(f"training={mode!s:5} twice the same picture, same logits: {same}")

# %% [markdown]
# **3. A reshape that happens to fit.** A picture of 112 × 448 pixels gives 28 × 112 tokens, as many as 56 × 56. Code
# that keeps the grid of construction, and only asserts that the *number* of tokens is right, goes on. Which tokens does
# it take for the first window?

# %%
names = np.arange(28 * 112)
as_built = window_partition(names.reshape(1, 56, 56, 1), 7)[0, 0, :, 0]
as_it_is = window_partition(names.reshape(1, 28, 112, 1), 7)[0, 0, :, 0]
right, wrong = (np.isin(names, w).reshape(28, 112) for w in (as_it_is, as_built))
show_maps({"grid (28, 112)": right, "as if (56, 56)": wrong})

# %% [markdown]
# The check is to give the grid along with the tokens, and to test with pictures that are not square:

# %%
wide = torch.from_numpy(whole[:, :, 100:212, :448])
with torch.inference_mode():
    tokens, grid = torch_model.embed(wide)
    block = torch_model.layers[0].blocks[0]
    right, wrong = block(tokens, grid), block(tokens, (56, 56))
print("grid", grid, "off by", off(wrong, right), "and no error")

# %% [markdown]
# **4. Tokens to (N, C, H, W) by reshape.** Detection code wants channels first. `tokens.reshape(n, c, h, w)` has that
# shape and is scrambled: it reads the numbers of one token as a row of a map. The arrow, or transpose before
# reshape, is right. One channel of stage 1:

# %%
tokens, (h, w) = stages[0]
good = rearrange(tokens, "n (h w) c -> n c h w", h=h)
bad = tokens.reshape(1, 96, h, w)
assert torch.equal(good, tokens.transpose(1, 2).reshape(1, 96, h, w))
show_maps({"rearrange": good[0, 5].numpy(), "reshape": bad[0, 5].numpy()}, 4)

# %% [markdown]
# **5. The mean before the norm.** Norm each token, then take the mean; not the other way round. A norm is not linear,
# so it matters:

# %%
x = ends[-1].output
right = numpy_model.head(numpy_model.norm(x).mean(1))
wrong = numpy_model.head(numpy_model.norm(x.mean(1)))
agree("norm, then mean", right, numpy_steps[-1].output)
print("mean, then norm: off by", off(torch.tensor(wrong), torch.tensor(right)))

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, section 3.3 and table 7: the variants; section 4: results as a backbone. He et al. 2016 (ResNet);
#   Dosovitskiy et al. 2021 (ViT) for the class token.
# - In this package: `model.py` in `swin_numpy` and `swin_torch`; `python -m swin_torch.compare` prints this chapter's
#   table for a picture of yours.
# - Next: chapter 9 walks the whole way backwards.
