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
# - what `depths=(2, 2, 6, 2)` means, and (deeper) how T, S, B and L differ and what each of T's twelve blocks costs;
# - what comes out of each stage, and how to use it for detection or segmentation;
# - (deeper) why one tool reports 3.1 G for Swin-T, another 4.5 and a third 9;
# - (deeper) how far a token has seen after each block;
# - why the last stage doesn't shift, and (deeper) what happens to the logits if it does;
# - how closely two implementations can and should agree, in float64, float32 and bfloat16.

# %% jupyter={"source_hidden": true}
import re
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange, reduce
from lesson import agree, check, published, side_by_side, slider, solution
from torch.utils.flop_counter import FlopCounterMode

import swin_torch
from figures import photo_path
from figures.cost import cost_by_block
from figures.maps import show_maps
from figures.measure import bars, disagreement
from figures.shapes import shape_line
from swin_numpy import CONFIGS, SwinConfig, SwinTransformer, cyclic_shift, shift_mask
from swin_numpy.functional import softmax
from swin_numpy.layers import LayerNorm
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
from swin_numpy.weights.shapes import model_shapes
from swin_numpy.windows import window_partition
from swin_torch.compare import measure

rng = np.random.default_rng(8)
torch.set_num_threads(1)  # so that the page runs the same on a busy machine
photo = preprocess(load_image(photo_path("chelsea")), 224).astype(np.float64)

# %% [markdown]
# ## The idea
#
# A Swin Transformer is a patch embedding, then **stages** of blocks with a patch merging between one stage and the
# next, then a norm, the mean over all tokens, and a linear layer (a matrix and a bias) that turns features into logits,
# one for each class. The
# picture above is Swin-T at 224 × 224 pixels. Below its stages it shows two successive blocks: W-MSA and SW-MSA take
# turns, except in stage 4, whose map of 7 × 7 tokens is a single window. There both blocks are W-MSA. The code writes
# `depths=(2, 2, 6, 2)`: the number of blocks in each stage, where a W-MSA and the SW-MSA after it count as two.
#
# Every head is 32 channels wide in every published size (counted in Q46), so a stage of width C has C/32 heads. And since
# attention stays in windows and nothing else mixes more than 2 × 2 tokens, the cost of the model is proportional to the
# number of pixels, but for the head and for maps that have to be padded (counted in Q45; both are under "Deeper").

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

# %% jupyter={"source_hidden": true}
x, grid = model.patch_embed(images)
line = [("images", images.shape), ("embed", x.shape)]
for layer in model.layers:
    for block in layer.blocks:
        x = block(x, grid)
        line.append(("SW-MSA" if block.shift_size else "W-MSA", x.shape))
    if layer.downsample is not None:
        x, grid = layer.downsample(x, grid)
        line.append(("merging", x.shape))
x = model.norm(x).mean(axis=1)
logits = model.head(x)
line += [("norm, mean", x.shape), ("head", logits.shape)]
shape_line(line)

# %% [markdown]
# Blocks keep the shape, merging changes it, and at the end every token counts the same: a plain mean. (The last block
# would have been an SW-MSA, but its map of 4 × 4 is one window. A block looks at the map it is given: in a larger picture
# the same block shifts. Other code decides otherwise; see the traps under "Deeper".)

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
# numbers from the same seed. The paper's table 1 gives 29 M parameters and 4.5 G FLOPs, which are multiply-adds, for
# 224 × 224 pixels. Counted exactly, the official model has 28,288,354 parameters.

# %%
config = CONFIGS["swin_tiny_patch4_window7_224"]
numpy_model = SwinTransformer(config, seed=0, dtype=np.float64)
torch_model = swin_torch.SwinTransformer(config, seed=0).double().eval()
count = sum(value.size for _, value in numpy_model.named_parameters())
assert count == sum(value.numel() for value in torch_model.parameters()) == 28_288_354
print(f"{count:,} parameters in both")

# %% jupyter={"source_hidden": true}
images = torch.from_numpy(photo)
line = [("image", photo.shape)]
with torch.inference_mode():
    for step in record(torch_model, images):
        name = step.what
        if "block" in name:
            stage = int(step.name.split(".")[1])
            name = f"stage {stage + 1}: {config.depths[stage]} blocks"
        if name != line[-1][0]:
            line.append((name, tuple(step.output.shape)))
shape_line(line)

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
# and bfloat16, each measured against it: largest difference / largest value. First every parameter is moved a little:
# at the start nearly all biases are zero and all norms one, and a twin that forgot them would agree just as well.

# %% jupyter={"source_hidden": true}
moves = np.random.default_rng(0)
exact = numpy_model.state_dict()
exact = {k: v + 0.02 * moves.normal(size=v.shape) for k, v in exact.items()}
numpy_model.load_state_dict(exact)
exact = {name: torch.from_numpy(value) for name, value in exact.items()}
torch_model.load_state_dict(exact)
numpy_steps = record(numpy_model, photo)
gaps = {}
for dtype in (torch.float64, torch.float32, torch.bfloat16):
    with torch.inference_mode():
        torch_steps = record(torch_model.to(dtype), images.to(dtype))
    pairs = zip(numpy_steps, torch_steps, strict=True)
    name = str(dtype).removeprefix("torch.")
    gaps[name] = [measure(*pair).relative for pair in pairs]

_ = torch_model.double().load_state_dict(exact)  # bfloat16 had cut them short

# %% [markdown]
# That gives three lines, a point for each step. Would they show a mistake? Leave out one bias of one block, the `qkv.bias` of `layers.1.blocks.1`, and measure
# again in float64:

# %% jupyter={"source_hidden": true}
forgotten = "layers.1.blocks.1.attn.qkv.bias"
torch_model.load_state_dict(exact | {forgotten: torch.zeros_like(exact[forgotten])})
with torch.inference_mode():
    broken = record(torch_model, images)
_ = torch_model.load_state_dict(exact)
pairs = zip(numpy_steps, broken, strict=True)
lines = gaps | {"float64, a bias missing": [measure(*pair).relative for pair in pairs]}
names = [step.name for step in numpy_steps]
disagreement(names, lines, "largest difference / largest value")

# %% jupyter={"source_hidden": true}
worst = {name: max(values) for name, values in gaps.items()}
assert worst["float64"] < 1e-12 < worst["float32"] < 1e-4 < worst["bfloat16"] < 0.2
at = names.index("layers.1.blocks.1")
wrong = lines["float64, a bias missing"]
print(
    f"the mistake, at its block: {wrong[at]:.1e}; before it at most {max(wrong[:at]):.1e}"
)
print(f"rounding of bfloat16 at that block: {gaps['bfloat16'][at]:.1e}")
print("largest gaps:", {name: f"{gap:.1e}" for name, gap in worst.items()})
assert max(wrong[:at]) < 1e-12 and min(wrong[at:]) > 1e-6

# %% [markdown]
# Without the mistake there are three lines, far apart, and none of them jumps: a few roundings of each format. The mistake
# leaves the float64 line at its block, by many orders of magnitude, and never comes back. In float32 it would have
# shown too; against the rounding of bfloat16 it would hardly have been noticed. Twins are compared in float64, where far
# smaller mistakes stand out, with parameters that aren't zero or one.
#
# The weights are random, so the 1000 logits mean nothing. Chapter 11 shows how published weights get into the same two
# models.

# %% [markdown]
# ## A backbone: what the stages give
#
# A classifier uses the last map only. Detection and segmentation use most or all of the four: fine maps for small things, coarse
# ones for large things. `forward_stages` returns each stage's tokens with their grid.

# %% jupyter={"source_hidden": true}
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


# %% jupyter={"source_hidden": true}
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
# ## Weights that know something
#
# The repository ships a Swin that was trained to tell ten kinds of clothes apart (chapter 10). It is the same class
# with another `SwinConfig`: two stages, windows of 7, grey images of 28 × 28 pixels. Both twins read its file; the faster
# one then looks at all 2,000 test pictures in the repository, to which no weight was fitted.

# %% jupyter={"source_hidden": true}
clothes = fashion_mnist(SUBSET, "test")
trained = SwinTransformer.from_checkpoint(TRAINED).to(np.float64)
twin = swin_torch.SwinTransformer.from_checkpoint(TRAINED).double()
inputs, truth = standardise(clothes.images).astype(np.float64), clothes.labels
with torch.inference_mode():
    logits = twin(torch.tensor(inputs)).numpy()
agree("logits of the trained twins", trained(inputs[:20]), logits[:20], 1e-9)
said, sure = logits.argmax(1), softmax(logits).max(1)
share = np.mean(said == truth)
error = np.sqrt(share * (1 - share) / len(truth))
print(f"{trained.config.depths=}, {trained.config.num_heads=}")
print(f"right: {share:.1%} ± {error:.1%} of {len(truth):,} test images")
assert share > 0.85

# %% [markdown]
# The first eight that the model gets right, and the first four that it gets wrong (✗), with the probability that it
# gives to its answer.


# %% jupyter={"source_hidden": true}
def verdict(i):
    """What the model says of image i, and how sure it is; with ✗ and what it is, if wrong."""
    text = f"{CLASSES[said[i]]} {sure[i]:.0%}"
    return text if said[i] == truth[i] else f"✗ {text}\nis: {CLASSES[truth[i]]}"


right, wrong = np.flatnonzero(said == truth), np.flatnonzero(said != truth)
examples = [*right[:8], *wrong[:4]]
show_maps(clothes.images[examples], columns=6, titles=[verdict(i) for i in examples])

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Q45: What does depths=(2, 2, 6, 2) mean, and why is stage 3 the deepest?
#
# Each number counts the blocks of one stage, and each W-MSA and each SW-MSA block counts as **one**. They take turns: 2
# is one pair, 6 is three pairs. Here are all twelve, with what each costs: its parameters, and the multiply-adds of
# its matrix products (formula of chapter 6).


# %% jupyter={"source_hidden": true}
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
# Let PyTorch's own counter check the work: blocks, patch embedding, mergings and head together. And twice the pixels: all
# but the head costs twice as much.

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
with FlopCounterMode(display=False) as twice, torch.inference_mode():
    torch_model(torch.zeros(1, 3, 224, 448).double())  # twice the pixels
head = 2 * 768 * 1000
assert twice.get_total_flops() - head == 2 * (counter.get_total_flops() - head)

# %% [markdown]
# Look at the two plots. From stage to stage the map has a quarter of the tokens and twice the width, so the matrices
# do **the same work** in a block of every stage (tokens × width² stays), and only the attention itself gets cheaper. But each
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
# same four blocks cost most. Stage 3 lies in between. That is what can be computed. The paper gives the depths without
# deriving them; ResNet-50 (3, 4, 6, 3) was deepest there, too (He et al. 2016, table 1).

# %% [markdown]
# ### Q46: How do T, S, B and L differ in width, depth and heads, and what channel counts must a decoder expect?
#
# In three numbers: the width C of stage 1, the depth of stage 3, and the heads, which follow from C. Everything else that
# shapes the model is the same, or computed from these (published V1 models for 224 × 224 pixels, windows of 7):

# %%
print(
    "   depths         heads            channels of the four maps   C/head   parameters"
)
for name in ("tiny", "small", "base", "large"):
    c = CONFIGS[f"swin_{name}_patch4_window7_224"]
    size = sum(np.prod(shape) for shape in model_shapes(c).values())
    per_head = {
        width // heads for width, heads in zip(c.widths, c.num_heads, strict=True)
    }
    assert len(per_head) == 1 and c.widths == tuple(
        c.embed_dim * 2**i for i in range(4)
    )
    columns = f"{c.depths!s:14} {c.num_heads!s:16} {c.widths!s:26}"
    print(f"{name[0].upper()}  {columns} {per_head.pop():6} {size:14,}")
assert [tokens.shape[2] for tokens, _ in stages] == list(config.widths)
per_head = {
    width // heads
    for name, c in CONFIGS.items()
    if "fashion" not in name  # our own
    for width, heads in zip(c.widths, c.num_heads, strict=True)
}
print(
    f"C/head in all {len(CONFIGS) - 1} published sizes, V2 and S3 among them:", per_head
)

# %% [markdown]
# So a decoder has to be told C, 2C, 4C, 8C: T and S fit the same decoder, B and L each need their own. Its maps have
# strides of 4, 8, 16 and 32 pixels in all four. Don't type the numbers: `config.widths` has them.

# %% [markdown]
# **08.5** Count the parameters of a Swin Transformer V1 from its `config` alone, T, S, B and L among them. (As published:
# with biases of qkv and the norm after the patch embedding, without absolute position embedding. Mind the norms, windows
# that shrink to a small map, and what the last stage hasn't.)


# %%
def my_count(config):
    """SwinConfig → int."""
    ...


check("08.5", my_count)

# %%
solution("08.5")

# %% [markdown]
# ### Q48: Why do tools report 3.1, 4.5 or 9 G for Swin-T (MAC versus FLOP, missed matmuls)?
#
# Because they count different things. PyTorch's counter above watches every matrix product, and takes a multiply-add
# (MAC) for two operations (FLOP). The paper calls a multiply-add one FLOP. Other tools hook **modules**: they see what
# `nn.Linear` and `nn.Conv2d` do, but not products that are written as `q @ k.mT`. And where code takes a module's weight
# and calls `F.linear` itself, as torchvision does for `qkv` and `proj` (`shifted_window_attention`), they miss these too.

# %% jupyter={"source_hidden": true}
in_modules = {"other": 0, "qkv and proj": 0}


def count_up(module, inputs, out):
    macs = out.numel() * module.weight[0].numel()
    attention = module.weight.shape[1] > 3 and name_of[module].split(".")[-2] == "attn"
    in_modules["qkv and proj" if attention else "other"] += macs


name_of, hooks = {}, []
for name, module in torch_model.named_modules():
    if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
        name_of[module] = f"model.{name}"
        hooks.append(module.register_forward_hook(count_up))
with torch.inference_mode():
    torch_model(images)
for hook in hooks:
    hook.remove()

# %%
seen = sum(in_modules.values())
inside = work - seen  # Q Kᵀ and weights · V
grids = zip(config.depths, config.widths, config.grids, strict=True)
assert inside == sum(n * 2 * 49 * h * w * C for n, C, (h, w) in grids)
counts = {
    "FLOP: a multiply-add is two": counter.get_total_flops(),
    "MAC: every product once": work,
    "modules only: no Q Kᵀ, no weights · V": seen,
    "all products but qkv and proj": work - in_modules["qkv and proj"],
    "modules only, without qkv and proj": in_modules["other"],
}
bars({name: value / 1e9 for name, value in counts.items()}, "G", form="{:.2f}")

# %% [markdown]
# 9 and 4.5 are the same number in two units (Microsoft's [issue
# 340](https://github.com/microsoft/Swin-Transformer/issues/340)). ptflops reports 3.13 G for torchvision's `swin_t`
# with one of its backends and 4.5 G with the other (its [issue
# 142](https://github.com/sovrasov/flops-counter.pytorch/issues/142)); the fourth bar comes near it. All bars count matrix
# products only, no norms, softmax or GELU. So always say what was counted.

# %% [markdown]
# ### An implementation by others
#
# Twins can share a mistake: both were written with the same idea in mind. So here is a third implementation, written
# by others, in Hugging Face's `transformers`, as a small model for 56 × 56 pixels. We move every one of its parameters
# off its initial value and take them over; `convert_state_dict` gives them their official names, and joins their three
# matrices for Q, K and V to one. Compared are the logits, and for a random gradient of the logits that of the pixels: our
# backward pass by hand (chapter 9) against their autograd. (If the package isn't installed, the cells say so and go on.)


# %% jupyter={"source_hidden": true}
def take_over(state):
    """Our NumPy model with their parameters → its logits, and the pixels' gradient."""
    ours.load_state_dict(state)
    return ours(part), ours.backward(upstream)


def swap_norms(state):
    other = {"norm1": "norm2", "norm2": "norm1"}
    return {re.sub("norm[12]", lambda m: other[m[0]], k): v for k, v in state.items()}


def changed(word, change):
    return lambda state: {k: change(v) if word in k else v for k, v in state.items()}


MISTAKES = {
    "none": lambda state: state,
    "bias tables dropped": changed("bias_table", np.zeros_like),
    "bias of j to i, not of i to j": changed("bias_table", lambda v: v[::-1]),
    "biases of qkv dropped": changed("qkv.bias", np.zeros_like),
    "norms of a block swapped": swap_norms,
}

# %%
try:
    from transformers import SwinConfig as TheirConfig
    from transformers import SwinForImageClassification
except ImportError:
    print("skipped: transformers is not installed (pip install transformers)")
else:
    torch.manual_seed(0)
    sizes = {"embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
    theirs = TheirConfig(image_size=56, num_labels=10, **sizes)
    theirs = SwinForImageClassification(theirs).double().eval()
    small = SwinConfig(img_size=56, num_classes=10, drop_path_rate=0.0, **sizes)
    ours = SwinTransformer(small, dtype=np.float64).train()  # backward needs train()
    part = photo[:, :, 80:136, 60:116]
    upstream = rng.normal(size=(1, 10))
    for moved in (0.0, 0.2):
        print("parameters as they start" if not moved else "every parameter moved")
        for value in theirs.parameters():
            value.data += moved * torch.randn_like(value)
        pixels_in = torch.from_numpy(part).requires_grad_()
        wanted = theirs(pixels_in).logits
        wanted.backward(torch.from_numpy(upstream))
        state = convert_state_dict(theirs.state_dict())
        state = {name: np.asarray(value) for name, value in state.items()}
        for name, mistake in MISTAKES.items():
            got = take_over(mistake(state))
            pairs = (got[0], wanted.detach().numpy()), (got[1], pixels_in.grad.numpy())
            logits_off, gradient_off = (
                np.abs(a - b).max() / np.abs(b).max() for a, b in pairs
            )
            print(
                f"   mistake: {name:30} logits {logits_off:8.1e}  gradient {gradient_off:8.1e}"
            )
            assert not moved or (max(logits_off, gradient_off) < 1e-10) == (
                name == "none"
            )

# %% [markdown]
# Read the upper half first: with parameters as they start, all four mistakes pass. Tables and biases are zero there, and
# all norms are alike, so such a comparison shows little. Moved, the two still agree to rounding, and every mistake
# stands out.

# %% [markdown]
# ### Q49: Why do the layer outputs come one scale too small (28, 14, 7, 7)?
#
# In Microsoft's code (`BasicLayer` in `models/swin_transformer.py`), and in many that follow it, the patch merging belongs to
# the **end** of a stage: whoever hooks a
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
# names, but its `forward` runs the blocks only.

# %% [markdown]
# ### Q50: Why is a separate LayerNorm put on each stage output for detection and segmentation?
#
# The last thing that a pre-norm block does is to add; no norm follows it (chapter 6). In a classifier that doesn't
# matter, since the next reader of the stream brings its own: the norm of the patch merging, or the last norm. A detector
# taps the stream before these. How large is what it gets? From the trained model, for ten pictures:

# %%
print("                       spread  largest number   channel means from … to")
for stage, (tokens, _) in enumerate(trained.forward_stages(inputs[:10]), 1):
    norm = LayerNorm(tokens.shape[-1]).to(np.float64)  # as it starts
    for name, y in (("as it comes", tokens), ("normed", norm(tokens))):
        means = y.mean((0, 1))
        span = f"{means.min():9.2f} … {means.max():.2f}"
        print(f"stage {stage}, {name:12} {y.std():8.2f} {np.abs(y).max():12.2f} {span}")

# %% [markdown]
# Without a norm, each stage has a size of its own, the result of all that its blocks have added. With one, all maps
# start at spread 1, whatever the checkpoint, and the decoder's first layers get inputs of one size. Microsoft's
# detection code (`mmdet/models/backbones/swin_transformer.py`) has them as `norm0` to `norm3`: they aren't in a
# classifier's file and start as new (weights 1, biases 0), so a message about missing keys with these names is
# expected. What they gain in accuracy isn't shown here.

# %% [markdown]
# ### Q47: Why is there no class token, and how would one work with windows?
#
# ViT puts one extra token in front of the patches; it looks at all of them, and the head reads nothing else. In a map it
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
# both complicate every block. Swin takes the mean over the last map instead, and found it as accurate as a
# class token (Liu et al. 2021, appendix A2.1). That is not as different as it looks.
# Let one query look at the 49 tokens of the last map, with the tokens as values: a class token that joins late. If the
# query is zero, all weights are equal, and it *is* the mean.

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
# After one block a token has seen its window. After a shifted block, the windows that its shifted window lies on: four, or
# fewer at the map's edge. A merging makes every window twice as long, seen in pixels. To know exactly, walk **backwards**:
# start from one token and collect, block by block, every token that can have influenced it.


# %% jupyter={"source_hidden": true}
def one_block_back(block, seen, grid):
    """seen (h, w) of bool → these tokens and all that they attend to in this block."""
    names = np.arange(seen.size).reshape(1, *grid, 1)
    shift, M = block.shift_for(grid), block.window_size
    windows = window_partition(cyclic_shift(names, shift), M)[0, :, :, 0]  # (k, m)
    sees = shift_mask(*grid, M, shift) == 0  # (k, i, j)
    result = seen.ravel().copy()
    result[windows] |= (seen.ravel()[windows][:, :, None] & sees).any(1)
    return result.reshape(grid)


# %% jupyter={"source_hidden": true}
def reach(model, blocks, patch):
    """Which patches (56, 56) has the token that holds `patch` seen after `blocks`?"""
    path = [
        (s, block) for s, layer in enumerate(model.layers) for block in layer.blocks
    ]
    path = path[:blocks]
    stage = path[-1][0]
    seen = np.zeros(config.grids[stage], bool)
    seen[patch[0] >> stage, patch[1] >> stage] = True  # >>: halved `stage` times
    for s, block in reversed(path):
        if s < stage:  # below a merging every token was four
            seen, stage = seen.repeat(2, 0).repeat(2, 1), s
        seen = one_block_back(block, seen, config.grids[s])
    return seen.repeat(2**stage, 0).repeat(2**stage, 1)


# %%
patch = (25, 15)  # in the left eye
maps = [reach(numpy_model, blocks, patch) for blocks in range(1, 13)]


# %% jupyter={"source_hidden": true}
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
# (Here blocks are counted from 1, and a patch is one of the 56 × 56 = 3136 of the first map.) After six blocks this
# token has seen the whole image; so have only those in the middle, and the others, as the one in the corner, need seven. The
# counts for all twelve, and how they would be without
# any shift: then a token sees nothing but its own window, until a merging makes windows larger.

# %%
narrow = replace(config, embed_dim=24, num_heads=(1, 2, 4, 8))  # same grids, quicker
unshifted = SwinTransformer(narrow)
for layer in unshifted.layers:
    for block in layer.blocks:
        block.shift_size = 0
print("with shift:   ", [int(seen.sum()) for seen in maps])
corner = [int(reach(numpy_model, blocks, (0, 0)).sum()) for blocks in range(1, 13)]
print("in the corner:", corner)
places = [(4 * i, 4 * j) for i, j in np.ndindex(14, 14)]  # one in each token of stage 3
wide = sum(reach(numpy_model, 6, place).all() for place in places)
print(f"after 6 blocks {wide} of {len(places)} places have seen all")
plain = [reach(unshifted, blocks, patch) for blocks in range(1, 13)]
print("without shift:", [int(seen.sum()) for seen in plain])

# %% [markdown]
# Is that what the model does, or what we think it does? Autograd can tell: a patch that a token has seen has a
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
# ### How sure is it, right and wrong?
#
# The probabilities under the trained model's twelve pictures, averaged over all test pictures:

# %%
for name, group in (("right", right), ("wrong", wrong), ("in all", range(len(sure)))):
    mean = sure[group].mean()
    print(f"{len(group):5} times {name}: mean probability of the answer {mean:.1%}")
print(f"largest of all: {sure.max():.1%}")

# %% [markdown]
# The model is less sure where it is wrong, and still far from unsure. And a probability of softmax says how sure a model
# is, not how often it is right: compare "in all" with the share that it gets right. (This model was
# trained towards 91 %, not 100: label smoothing, [chapter 10](10_training.ipynb).)

# %% [markdown]
# ### What is in the photographs?
#
# Only a model that was trained on ImageNet can say. Where the published weights of Swin-T have been downloaded before, the
# next cell lets it name three of our photographs; where not, it says how to get them, and the small model names three of its
# test pictures instead. Each line has the three most probable classes.

# %%
known = published("swin_tiny_patch4_window7_224")
if known is None:
    asked, classes = trained, CLASSES
    tests = {i: standardise(clothes.images[[i]]).astype(np.float64) for i in right[:3]}
    shown = {f"test picture {i}": image for i, image in tests.items()}
else:
    asked, classes = SwinTransformer.from_pretrained(known.folder), known.classes
    photos = {
        name: load_image(photo_path(name)) for name in ("chelsea", "coffee", "camera")
    }
    shown = {name: known.prepare(image) for name, image in photos.items()}
for name, image in shown.items():
    probabilities = softmax(asked(image))[0]
    best = np.argsort(-probabilities)[:3]
    answers = [f"{classes[i]} {probabilities[i]:.0%}" for i in best]
    print(f"{name}: {', '.join(answers)}")

# %% [markdown]
# ### Other sizes
#
# Nothing in a block is tied to 224 pixels but its windows. With `img_size=None` a model takes any picture: maps are
# padded to windows, odd sides are padded before merging. A model that was built for 224 does the same when it meets
# another size, and at 224 both give the same.

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
# **1. A classifier that shifts in the last stage.** At 224 the last map is 7 × 7: one window. The official classifier sees
# that when it is built, and sets the shift to 0. Detection code (Microsoft's and MMDetection's, in `mmdet/models/backbones`)
# shifts there too, and its
# weights were trained so ([chapter 05](05_shifted_windows.ipynb), Q34). A classifier's weights were not: the only window
# is cut into four regions that don't see each other. A row for each query token, a column for each key token:

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
# The same shapes, no error, the same state dict. How much it matters depends on the weights; these have learned nothing.
# Twins that agree to rounding show it. The check that needs no second model:

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
# shape and is scrambled: it lays the 96 numbers of one token, its channels, along the rows of a map (56 in one row, 40 in
# the next). The arrow, or transpose before reshape, is right. One channel of stage 1:

# %%
tokens, (h, w) = stages[0]
good = rearrange(tokens, "n (h w) c -> n c h w", h=h)
bad = tokens.reshape(1, 96, h, w)
assert torch.equal(good, tokens.transpose(1, 2).reshape(1, 96, h, w))
show_maps({"rearrange": good[0, 5].numpy(), "reshape": bad[0, 5].numpy()}, 4)

# %% [markdown]
# **5. The mean before the norm.** Norm each token, then take the mean; not the other way round. A norm is not linear,
# so the two differ:

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
# - In this package: `model.py` in `swin_numpy` and `swin_torch`; `python -m swin_torch.compare PICTURE` prints how far the
#   twins are apart after each step.
# - Next: [chapter 9](09_backward_by_hand.ipynb) walks the whole way backwards.
