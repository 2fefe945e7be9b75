# %% [markdown]
# # 11 · Weights and sizes
#
# So far most models in these chapters had weights that nobody trained. In practice you start from a file: somebody's
# checkpoint, made for certain pictures, a certain size, a certain number of classes. Yours differ. This chapter takes
# a file apart, and makes it fit: other names, other classes, other channels, another size.
#
# After this chapter you can explain
#
# - what is in a checkpoint, and why the same weights come under four sets of names;
# - which missing or unexpected names are harmless, and which mean that nothing was loaded at all;
# - how weights for colour pictures serve grey ones, and how a model gets a new head in a few seconds;
# - what happens to the bias table when windows grow, and how much of the accuracy that saves;
# - why padding comes before the roll, and how much attention padding draws;
# - how to get feature maps out and into a detector or a segmenter.

# %% jupyter={"source_hidden": true}
import pickle
import re
import tempfile
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from einops import einsum, rearrange, reduce, repeat
from lesson import agree, check, side_by_side, solution
from PIL import Image

import swin_numpy
import swin_torch
from figures import photo_path
from figures.bias import tables_before_after
from figures.maps import show_maps
from figures.measure import bars
from figures.patches import cropped
from figures.shifted import rows_in_windows
from swin_numpy import CONFIGS, SwinTransformerBlock
from swin_numpy import functional as F
from swin_numpy.optim import AdamW
from swin_numpy.pictures.images import load_image, preprocess, to_array
from swin_numpy.training.fashion_mnist import (
    CLASSES,
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)
from swin_numpy.weights.files import read_file

rng = np.random.default_rng(11)
torch.set_num_threads(1)  # small matrices: more threads would mostly wait
tiny = CONFIGS["swin_tiny_patch4_window7_224"]
official = swin_numpy.SwinTransformer(tiny).state_dict()
photo = preprocess(load_image(photo_path("chelsea")))


def resized(images, size, way=Image.Resampling.BICUBIC):
    """images (n, H, W) uint8 → (n, size, size) uint8, by Pillow."""
    return np.stack([Image.fromarray(i).resize((size, size), way) for i in images])


# %% [markdown]
# ## 1 · A checkpoint is a dictionary
#
# One trained model comes with this repository: a small Swin that tells ten kinds of clothes apart (Fashion-MNIST, grey
# pictures of 28 × 28 pixels). Its file holds names and arrays, and a few lines of text about itself.

# %%
state = swin_numpy.load_checkpoint(TRAINED)
_, about = read_file(TRAINED)
print(f"{TRAINED.name}: {len(state)} arrays; text: {', '.join(sorted(about))}")
for name, value in list(state.items())[:9]:
    print(f"  {name:48} {value.shape}")

# %% [markdown]
# A name is a path through the model: `layers.0.blocks.1.attn.qkv.weight` is stage 0, block 1, and so on. (Names count from
# 0.) From names and shapes alone, most of the configuration can be read: the patch convolution has the shape (width,
# channels, patch, patch), the head has a row for each class, a bias table has $(2M-1)^2$ rows and a column for each head.

# %%
config = swin_numpy.infer_config(state)  # from names and shapes only
kernel, table = (
    state["patch_embed.proj.weight"],
    state["layers.0.blocks.0.attn.relative_position_bias_table"],
)
assert kernel.shape == (config.embed_dim, config.in_chans, *[config.patch_size] * 2)
assert table.shape == ((2 * config.window_size - 1) ** 2, config.num_heads[0])
for field in ("in_chans", "num_classes", "patch_size", "window_size", "depths"):
    print(f"{field:12} {getattr(config, field)}")

# %% [markdown]
# What shapes cannot tell is the size of the pictures. A model of these sizes is known here by name, so that its
# `img_size` is known too; else it would be None, "any size". (V2 checkpoints tell less; then you are asked.)
#
# Where are the parameters?


# %%
def part(name):
    words = name.split(".")
    if words[0] != "layers":
        return words[0]
    kind = words[4] if words[2] == "blocks" else "merging"
    kind = "table" if "table" in name else kind
    return f"stage {int(words[1]) + 1}: {kind.rstrip('12')}"


counts = Counter()
for name, value in state.items():
    counts[part(name)] += value.size
total = sum(counts.values())
bars(dict(counts), "parameters", f"{total:,} parameters by part", "{:,}")

# %% [markdown]
# Matrices hold nearly everything. The bias tables, on which half of this chapter turns, are a small part.
#
# `from_checkpoint` does it all: read, translate names, find the configuration, build, load. Both twins, on pictures that
# the model has never seen:

# %%
numpy_model = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
torch_model = swin_torch.SwinTransformer.from_checkpoint(TRAINED)
config = numpy_model.config
side, M = config.img_size, config.window_size
test = fashion_mnist(SUBSET, "test")
pick = rng.permutation(len(test.labels))[:240]
held_out, labels = test.images[pick], test.labels[pick]


def logits_of(model, images):
    """images (n, H, W) uint8 → logits (n, classes), by the PyTorch twin."""
    images = standardise(images).astype(np.float32)
    with torch.inference_mode():
        return model(torch.from_numpy(images)).numpy()


def accuracy(logits):
    return (logits.argmax(1) == labels[: len(logits)]).mean()


# %%
right = logits_of(torch_model, held_out)
few = standardise(held_out[:20]).astype(np.float32)
agree("logits of both twins", numpy_model(few), right[:20], 1e-5)
print(f"right for {accuracy(right):.1%} of {len(labels)} pictures")

# %% [markdown]
# ## 3 · Other channels

# %% [markdown]
# ### Q58: How can 3-channel weights serve grey or many-channel images?
#
# Only the patch convolution sees channels. For every output it computes a sum over red, green and blue:
# $\sum_c W_c \cdot x_c$. In a grey picture all three are the same $x$, and then $\sum_c W_c \cdot x = (\sum_c W_c)\, x$:
# **sum the kernel over the colours**, and the grey picture need not be repeated three times.

# %%
weight = official["patch_embed.proj.weight"]  # (96, 3, 4, 4)
folded = np.zeros((96, 1, 4, 4), np.float32)
for c in range(3):
    folded[:, 0] += weight[:, c]
grey_kernel = swin_numpy.adapt_channels(weight, 1)
agree("loop and library", folded, grey_kernel, 1e-6)

x = reduce(photo, "n c h w -> n 1 h w", "mean")  # one grey channel
three = repeat(x, "n 1 h w -> n c h w", c=3)
colour = swin_numpy.SwinTransformer(tiny)
grey = swin_numpy.SwinTransformer(replace(tiny, in_chans=1))
colour.load_state_dict(official)
_ = grey.load_state_dict(official | {"patch_embed.proj.weight": grey_kernel})
agree("grey once, grey three times", grey(x), colour(three), 1e-4)

# %% [markdown]
# One trap: "the same three times" must hold **after** normalising. ImageNet's means and deviations differ from colour to
# colour, so a grey picture that is normalised with them is no longer grey:

# %%
pixels = np.asarray(load_image(photo_path("camera")).convert("RGB"))
print("grey before:", np.ptp(pixels, axis=2).max(), "levels between the colours")
normalised = to_array(Image.fromarray(pixels))
print(f"normalised:  up to {np.ptp(normalised, axis=1).max():.2f} between the colours")

# %% [markdown]
# Either use one mean and deviation for all, or put mean and deviation into the weights (exercise 11.2).
#
# More than three channels (infrared, depth, several frames)? Two ways. **Zeros** for the new channels: at first the
# model doesn't see them, and gives exactly what it gave before. **Copies** that share the weight: `adapt_channels`
# repeats red, green, blue, red … and divides by the number of copies, so that sums keep their size.

# %%
zeros, base = np.zeros((96, 2, 4, 4), np.float32), colour(photo)
five = replace(tiny, in_chans=5)
extra = rng.normal(size=(1, 2, 224, 224)).astype(np.float32)
for name, kernel in (
    ("zeros", np.concatenate([weight, zeros], axis=1)),
    ("copies", swin_numpy.adapt_channels(weight, 5)),
):
    model = swin_numpy.SwinTransformer(five)
    model.load_state_dict(official | {"patch_embed.proj.weight": kernel})
    change = np.abs(model(np.concatenate([photo, extra], 1)) - base).max()
    same = photo[:, [0, 1, 2, 0, 1]]  # the new channels repeat red and green
    off = np.abs(model(same) - base).max()
    print(
        f"{name:6}  noise in the new channels: {change:.1e};  repeated colours: {off:.1e}"
    )

# %% [markdown]
# (Both numbers are the largest change of a logit against the colour picture alone.) Zeros ignore the new channels until
# training changes that. Copies are right when the new channels look like the old ones.
#
# `from_checkpoint(path, in_chans=…)` does the same, and says so.

# %% [markdown]
# ## 4 · Another head: fine-tuning
#
# The model knows ten kinds of clothes. A new task, which it was never asked: **is the picture upside down?** Two
# classes. (In training it saw pictures moved and mirrored left to right, never turned over.)


# %%
def upside_down(split, count):
    """→ images (count, 1, H, W) as the model takes them, and labels 0 (upright) or 1."""
    data = fashion_mnist(SUBSET, split)
    chosen = rng.permutation(len(data.labels))[:count]
    turned = rng.random(count) < 0.5
    images = data.images[chosen]
    images = np.where(turned[:, None, None], images[:, ::-1], images)
    return standardise(images).astype(np.float32), turned.astype(int)


def load_adapted(kind=swin_numpy.SwinTransformer, **fields):
    """from_checkpoint, with what it warns of printed."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = kind.from_checkpoint(TRAINED, **fields)
    for warning in said:
        print(str(warning.message).partition(": ")[2])
    return model


train_x, train_y = upside_down("train", 400)
test_x, test_y = upside_down("test", 160)
tuned = load_adapted(num_classes=2)
twin = load_adapted(swin_torch.SwinTransformer, num_classes=2)

# %% [markdown]
# All weights but the head's came from the file. **Step one: train only the new head.** The rest is frozen, so its
# features for each picture never change: compute them once, and the head alone is a tiny model.


# %%
def score(model):
    return (model(test_x).argmax(1) == test_y).mean()


results = {"new head, untrained": score(tuned)}
features = load_adapted(num_classes=0)  # without a head, features come out
kept = features(train_x)
optimizer = AdamW(tuned.head.named_parameters(), lr=1e-2)
tuned.head.train()
for _ in range(100):
    tuned.head.zero_grad()
    dlogits = F.cross_entropy_backward(tuned.head(kept), train_y)
    tuned.head.backward(dlogits)
    optimizer.step()
results["only the head trained"] = score(tuned.eval())

# %% [markdown]
# **Step two: a few steps for all weights**, with a small learning rate. To be sure that these steps are right, the first
# gradient is held against autograd:

# %%
twin.load_state_dict(tuned.state_dict())
tuned.train()
tuned.zero_grad()  # what the head has from step one
logits = tuned(train_x[:8])
tuned.backward(F.cross_entropy_backward(logits, train_y[:8]))
loss = torch.nn.functional.cross_entropy(
    twin(torch.from_numpy(train_x[:8])), torch.from_numpy(train_y[:8])
)
loss.backward()
ours = dict(tuned.named_parameters())
for name in ("patch_embed.proj.weight", "head.weight"):
    agree(name, ours[name].grad, twin.get_parameter(name).grad, 1e-3)


# %%
def train_all(model, steps=16, lr=5e-4, batch=32):
    optimizer, order = AdamW(model.named_parameters(), lr), np.random.default_rng(1)
    model.train()
    for _ in range(steps):
        chosen = order.choice(len(train_x), batch, replace=False)
        model.zero_grad()
        logits = model(train_x[chosen])
        model.backward(F.cross_entropy_backward(logits, train_y[chosen]))
        optimizer.step()
    return model.eval()


start = perf_counter()
results["head, then all weights"] = score(train_all(tuned))
seconds = perf_counter() - start
results["all weights from the start"] = score(train_all(load_adapted(num_classes=2)))
scratch = swin_numpy.SwinTransformer(tuned.config)
results["same steps, random weights"] = score(train_all(scratch))
print(f"16 steps of 32 pictures and a test, in NumPy: {seconds:.0f} s")
bars(results, "share of held-out pictures that are right", form="{:.1%}")

# %% [markdown]
# The features were learned for another question, and still the head alone can read much of the answer from them. A few
# steps adapt the rest; the same few steps from random weights don't get there. The head goes first for a reason:
# behind an untrained head, the gradients of all other weights are as random as the head is.

# %% [markdown]
# **11.4** You only care for some of the classes. Cut the head down to them, in the order given.


# %%
def only_these(state, classes):
    """state {name: array}, classes such as [3, 0] → a new state."""
    ...


check("11.4", only_these)

# %%
solution("11.4")

# %% [markdown]
# ## 6 · Another window: the bias table stretched
#
# Larger pictures bring more tokens. To keep a window the same part of the picture, the window must grow as well: 224
# pixels with $M=7$ become 384 with $M=12$. All weights fit as they are, but for the bias tables, which have
# $(2M-1)^2$ rows. Each head's table is a small picture of $(2M-1) \times (2M-1)$ offsets, and it is enlarged as a
# picture is: **bicubic**, four old values for each new one along each axis.


# %%
def cubic(t, a=-0.75):
    """The weight of an old value at distance t."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def neighbours(place, old, new):
    """Which old values a new one is made of: [(index, weight), …], four of them."""
    at = (place + 0.5) * old / new - 0.5  # the new value's place among the old ones
    first = int(np.floor(at)) - 1
    return [(min(max(k, 0), old - 1), cubic(at - k)) for k in range(first, first + 4)]


def resize_by_loop(table, new_window):
    old, new = round(len(table) ** 0.5), 2 * new_window - 1
    maps = table.reshape(old, old, -1)
    result = np.zeros((new, new, maps.shape[2]))
    for r, c in np.ndindex(new, new):
        for i, weight_i in neighbours(r, old, new):
            for j, weight_j in neighbours(c, old, new):
                result[r, c] += weight_i * weight_j * maps[i, j]
    return result.reshape(new * new, -1)


# %%
name = "layers.0.blocks.1.attn.relative_position_bias_table"
table = state[name].astype(np.float64)
stretched = swin_numpy.resize_position_bias(table, 2 * M)
agree("loop and library", stretched, resize_by_loop(table, 2 * M))
maps = rearrange(torch.tensor(table), "(r c) a -> 1 a r c", r=2 * M - 1)
bigger = torch.nn.functional.interpolate(maps, (4 * M - 1,) * 2, mode="bicubic")
agree("PyTorch's bicubic", stretched, rearrange(bigger, "1 a r c -> (r c) a"))
tables_before_after(table, stretched)

# %% [markdown]
# The same pattern over twice the reach: a head that looked three tokens to the left now looks six to the left, which is
# the same distance in the picture.
#
# Does it help? Pictures of twice the side, given to the trained model. **As it is**, with windows of the old size.
# With windows of twice the side and tables that are **zero**; with the **old table in the middle**, its edge continued;
# and **interpolated**. No training in between.


# %%
def in_the_middle(table, new_window):
    maps = table.reshape(2 * M - 1, 2 * M - 1, -1)
    pad = new_window - M
    maps = np.pad(maps, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    return maps.reshape((2 * new_window - 1) ** 2, -1)


fewer = held_out[:80]
doubled = resized(fewer, 2 * side)
larger = load_adapted(swin_torch.SwinTransformer, img_size=2 * side, window_size=2 * M)
print("windows:", [layer.blocks[0].window_size for layer in larger.layers])
fitted = {name: value.numpy().copy() for name, value in larger.state_dict().items()}
names = [name for name in fitted if name.endswith("bias_table")]

# %%
tries = {
    "zero": {name: 0 * fitted[name] for name in names},
    "old one in the middle": {
        name: in_the_middle(state[name], 2 * M) for name in names
    },
    "interpolated": {},
}
tables = {
    f"{side} pixels, as trained": accuracy(logits_of(torch_model, fewer)),
    f"{2 * side} pixels, window as it was": accuracy(logits_of(torch_model, doubled)),
}
for name, changed in tries.items():
    larger.load_state_dict(fitted | changed)
    tables[f"window doubled, table: {name}"] = accuracy(logits_of(larger, doubled))
back = resized(doubled, side)
tables["shrunk again, as trained"] = accuracy(logits_of(torch_model, back))
bars(tables, f"share right of {len(doubled)} held-out pictures", form="{:.1%}")

# %% [markdown]
# The interpolated tables are the best of the three, and they are not enough. An enlarged picture is a different
# picture for the **patch convolution**: a patch has as many pixels as before, but they now show a quarter of what they
# showed. That weights trained on sharp edges get smooth ones is nothing that a bias table can mend. So, in practice:
#
# - with no training at all, bring the picture to the size that the model was trained for;
# - with a short fine-tuning at the new size, start from interpolated tables. That is what the published 384-pixel
#   models did.
#
# V2 replaces the table by a small network over offsets, which can be asked for any offset: chapter 12.

# %% [markdown]
# ## 9 · A backbone under a decoder

# %% [markdown]
# ### Q60: Are feature maps NHWC or NCHW, and how do I feed an FPN or U-Net decoder?
#
# Inside, Swin's data is neither: it is tokens (n, h·w, c), and a grid. torchvision and timm hand out (n, h, w, c);
# detection code wants (n, c, h, w). Read the library's documentation, or look at which axis has 96, 192, 384, 768. Our
# `Backbone` gives **NCHW**, a layer norm before each:

# %%
side_by_side("backbone.Backbone.forward")

# %% [markdown]
# A photograph at its own size, through a Swin-T backbone. The weights are random here (with the file from section 1,
# say `Backbone.from_checkpoint("swin_tiny_patch4_window7_224.pth", img_size=None)`), and float64, so that the twins can
# be compared. Its sides are no multiples of anything: maps are padded inside and cut again.

# %%
free = replace(tiny, img_size=None, drop_path_rate=0.0)  # nothing at random
numpy_backbone = swin_numpy.Backbone(free, dtype=np.float64)
torch_backbone = swin_torch.Backbone(free).double().eval()
picture = load_image(photo_path("chelsea")).resize((230, 154))
small_photo = to_array(picture).astype(np.float64)
maps = numpy_backbone(small_photo)
with torch.inference_mode():
    torch_maps = torch_backbone(torch.from_numpy(small_photo))
H, W = small_photo.shape[2:]
for ours, theirs_map, stride in zip(maps, torch_maps, (4, 8, 16, 32), strict=True):
    agree(f"stride {stride:2}", ours, theirs_map)
    assert ours.shape[2:] == (-(-H // stride), -(-W // stride))

# %% [markdown]
# Now the decoder. A **feature pyramid network** (FPN; Lin et al. 2017) gives every scale the knowledge of the coarser
# ones. Three steps: a linear map for each token (a "1 × 1 convolution") brings all maps to one width; from coarse to fine,
# each map is enlarged to twice its side; and added to the next finer one. einops speaks both NumPy and PyTorch, so one
# function serves both. (The full FPN ends with a 3 × 3 convolution on each map; a U-Net joins channels instead of
# adding.)


# %%
def fpn(maps, laterals):
    """maps [(n, c, h, w)] from fine to coarse, laterals [(e, c)] → [(n, e, h, w)]."""
    merged = [
        einsum(weight, x, "e c, n c h w -> n e h w")
        for weight, x in zip(laterals, maps, strict=True)
    ]
    for i in reversed(range(len(merged) - 1)):
        h, w = merged[i].shape[2:]
        doubled = repeat(merged[i + 1], "n e h w -> n e (h p1) (w p2)", p1=2, p2=2)
        merged[i] = merged[i] + doubled[:, :, :h, :w]  # odd sides: one row too many
    return merged


laterals = [rng.normal(size=(64, c)) / np.sqrt(c) for c in free.widths]
pyramid = fpn(maps, laterals)
torch_laterals = [torch.tensor(weight) for weight in laterals]
for level, ours, other in zip(
    "2345", pyramid, fpn(torch_maps, torch_laterals), strict=True
):
    agree(f"P{level}", ours, other)


# %%
def as_colours(x):
    """A map (1, c, h, w) as a picture: its three principal components."""
    x = rearrange(x, "1 c h w -> h w c")
    flat = x.reshape(-1, x.shape[2]) - x.mean((0, 1))
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    flat = flat @ directions[:3].T
    low, high = np.percentile(flat, (2, 98), axis=0)
    return np.clip((flat - low) / (high - low), 0, 1).reshape(*x.shape[:2], 3)


pictures = {}
for title, row in (("backbone", maps), ("FPN", pyramid)):
    for stride, x in zip((4, 8, 16, 32), row, strict=True):
        shape = "×".join(map(str, x.shape[1:]))
        pictures[f"{title}, 1/{stride}: {shape}"] = as_colours(x)
show_maps(pictures, columns=4)

# %% [markdown]
# Above, each scale for itself; below, all with 64 channels, and the coarse blocks shine through the fine maps. Do
# gradients reach everything? In NumPy: the backward of "enlarge" sums four gradients, the backward of "add" hands one
# to both.


# %%
def fpn_backward(dmerged, maps, laterals):
    """→ the gradients of the maps."""
    dmerged = list(dmerged)
    for i in range(len(dmerged) - 1):  # from fine to coarse, the other way round
        h, w = dmerged[i + 1].shape[2:]
        extra = 2 * h - dmerged[i].shape[2], 2 * w - dmerged[i].shape[3]
        whole = np.pad(dmerged[i], ((0, 0), (0, 0), (0, extra[0]), (0, extra[1])))
        four = reduce(whole, "n e (h p1) (w p2) -> n e h w", "sum", p1=2, p2=2)
        dmerged[i + 1] = dmerged[i + 1] + four
    pairs = zip(laterals, dmerged, strict=True)
    return [einsum(weight, dy, "e c, n e h w -> n c h w") for weight, dy in pairs]


x = small_photo[:, :, :75, :100]
numpy_backbone.train()
maps = numpy_backbone(x)
dmerged = [rng.normal(size=y.shape) for y in fpn(maps, laterals)]
dimages = numpy_backbone.backward(fpn_backward(dmerged, maps, laterals))

# %%
x_torch = torch.tensor(x, requires_grad=True)
outputs = fpn(torch_backbone(x_torch), torch_laterals)
loss = sum((y * torch.tensor(dy)).sum() for y, dy in zip(outputs, dmerged, strict=True))
loss.backward()
agree("gradient of the photograph", dimages, x_torch.grad)
reached = [name for name, p in numpy_backbone.named_parameters() if np.any(p.grad)]
everything = [name for name, _ in numpy_backbone.named_parameters()]
print(f"{len(reached)} of {len(everything)} parameters have a gradient")

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Getting the published ImageNet weights
#
# Nothing was downloaded to make this page. If you have a network, Microsoft's Swin-T is one command away; the second
# one runs the NumPy twin on a photograph and prints five class names, the third makes a file that needs no PyTorch:
#
# ```sh
# curl -LO https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth
# python -m swin_numpy figures/photos/chelsea.jpg --weights swin_tiny_patch4_window7_224.pth --top 5
# python -m swin_torch.convert swin_tiny_patch4_window7_224.pth swin_tiny.safetensors
# ```
#
# From Python: `SwinTransformer.from_checkpoint("swin_tiny_patch4_window7_224.pth")`, in either package. Everything below
# works with that file too. Where only names and shapes matter, we use a Swin-T with random weights; where it matters
# what a model *knows*, the trained one above.

# %% [markdown]
# ### 2 · Four sets of names
#
# Microsoft's code came first; timm, torchvision and transformers wrote Swin again, and named things as they liked. The
# arrays are the same ones. `export_state_dict` gives a state dict the names of another library, so that its own loader
# takes it; `convert_state_dict` reads any of them.

# %%
libraries = "microsoft", "timm", "torchvision", "transformers", "transformers_classic"
theirs = {
    to: swin_numpy.export_state_dict(official, to, config=tiny) for to in libraries
}
for wanted in (
    "patch_embed.norm.weight",
    "layers.0.blocks.1.mlp.fc1.weight",
    "layers.0.downsample.reduction.weight",
    "head.weight",
):
    print(wanted)
    for to, renamed in theirs.items():
        same = [n for n, v in renamed.items() if np.shares_memory(v, official[wanted])]
        print(f"    {to:21} {', '.join(same)}")

# %% [markdown]
# (`transformers` is what a model of version 5 has in memory; `transformers_classic` is version 4, and what files hold.) Only
# one thing is more than a name: transformers keeps query, key and value apart, and everybody else has one matrix
# `qkv` of three times the rows.

# %%
qkv = official["layers.0.blocks.0.attn.qkv.weight"]
parts = [
    n for n in theirs["transformers"] if "layers.0.blocks.0" in n and "_proj.w" in n
]
for name in parts[:3]:
    print(f"{name}  {theirs['transformers'][name].shape}  of {qkv.shape}")
joined = np.concatenate([theirs["transformers"][name] for name in parts[:3]])
agree("q, k, v below each other", joined, qkv, 0)

# %% [markdown]
# There and back must be the identity: the same names, the same numbers, to the last bit.

# %%
for to, renamed in theirs.items():
    back = swin_numpy.convert_state_dict(renamed)
    same = back.keys() == official.keys()
    same = same and all(np.array_equal(back[n], official[n]) for n in official)
    print(
        f"{to:21} {len(renamed)} names, there and back: {'the same' if same else '?'}"
    )
    assert same

# %% [markdown]
# The counts differ: transformers has three arrays for each `qkv`; Microsoft and torchvision also save arrays that can
# be computed at any time, masks and index tables (chapter 05, Q36).

# %% [markdown]
# Write the function, run the cell, and read what the check says. Stuck? Open the solution below it.
#
# **11.1** A name of timm since 0.9 → the official name.


# %%
def my_name(name):
    """'layers.1.downsample.norm.weight' → 'layers.0.downsample.norm.weight', and so on."""
    ...


check("11.1", my_name)

# %%
solution("11.1")

# %% [markdown]
# ### Q57: Why do checkpoints stop loading after a timm upgrade (downsample moved one stage)?
#
# A stage of the paper's figure *begins* with patch merging; in Microsoft's code a stage *ends* with it. timm followed
# Microsoft at first, and moved to the figure with version 0.9. The same array, then, is `layers.0.downsample` before and
# `layers.1.downsample` after, and the head moved from `head` to `head.fc`. Written as a loop:

# %%
old = official  # timm before 0.9 has Microsoft's names
new = {}
for name, value in old.items():
    if ".downsample." in name:
        stage = int(name.split(".")[1])
        name = name.replace(f"layers.{stage}.", f"layers.{stage + 1}.")
    new[name.replace("head.", "head.fc.")] = value
assert new.keys() == theirs["timm"].keys()
moved = sorted(old.keys() ^ new.keys())
print(f"{len(moved)} names are in one of them only:", *moved, sep="\n  ")
both = [n for n in old.keys() & new.keys() if old[n].shape != new[n].shape]
print(f"{len(both)} are in both and mean something else:")
for name in sorted(both):
    print(f"  {name}: {old[name].shape} before, {new[name].shape} after")

# %% [markdown]
# That last list is why `strict=False` doesn't help: a name that is there must fit. Here is what PyTorch itself says if the
# new names are put into a model with the old ones (our modules check earlier, so we call PyTorch's own loader):

# %%
twin = swin_torch.SwinTransformer(tiny)
plain_load = partial(torch.nn.Module.load_state_dict, twin)
tensors = {name: torch.tensor(value) for name, value in new.items()}
try:
    plain_load(tensors, strict=False)
except RuntimeError as error:
    print("\n".join(line.strip()[:110] for line in str(error).splitlines()[:3]))

# %% [markdown]
# The converter tells old from new by the place of the first `downsample`: stage 0 has one only in the old names. Both
# give the same model:

# %%
twin.load_state_dict(swin_numpy.convert_state_dict(old))
with torch.inference_mode():
    twin.eval()
    before = twin(torch.from_numpy(photo))
    twin.load_state_dict(swin_numpy.convert_state_dict(new))
    agree("logits, old and new names", twin(torch.from_numpy(photo)), before, 0)

# %% [markdown]
# ### Q56: Which missing or unexpected keys (masks, indices, head, norms) are harmless when loading?
#
# *Missing*: the model has the name, the file doesn't. *Unexpected*: the other way round. Ask of each name: can it be
# computed again? Did I mean to replace it? If neither, something is lost.


# %%
def verdict(name):
    leaf = name.split(".")[-1]
    if leaf in ("attn_mask", "relative_position_index", "relative_coords_table"):
        return "harmless: computed from sizes"
    if name.startswith("head."):
        return "meant, if you replace the head; else a loss"
    if name.split(".")[0] in ("norm", "norm0", "norm1", "norm2", "norm3"):
        return "meant between classifier and detector; train it"
    return "A LOSS: learned, and not loaded"


def report(state, model_names):
    missing = [f"missing:    {verdict(n)}" for n in model_names if n not in state]
    unexpected = [f"unexpected: {verdict(n)}" for n in state if n not in model_names]
    for line, count in Counter(missing + unexpected).items():
        print(f"  {count:3}  {line}")


# %%
backbone = swin_torch.Backbone(tiny)
detector = [name for name, _ in backbone.named_parameters()]
wrapped = {f"module.{name}": value for name, value in official.items()}
for title, file, model_names in (
    ("Microsoft's file → this model", theirs["microsoft"], official),
    ("a classifier's file → a detector's backbone", official, detector),
    ("a file with 'module.' before every name → this model", wrapped, official),
):
    print(title)
    report(file, model_names)

# %% [markdown]
# The third is the bad one, and the most common: every name is missing **and** every name is unexpected. With
# `strict=False`, PyTorch says nothing at all, and the model keeps its random weights:

# %%
tensors = {name: torch.tensor(value) for name, value in wrapped.items()}
untouched = twin.state_dict()["head.weight"].clone()
result = plain_load(tensors, strict=False)
print("no error;", len(result.missing_keys), "names missing, and the head is still")
agree("what it was", twin.state_dict()["head.weight"], untouched, 0)

# %% [markdown]
# So look at the two lists, always. This package's loader refuses when nothing fits, and the converter takes such
# prefixes off. With Microsoft's buffers dropped, the logits are equal:

# %%
try:
    twin.load_state_dict(wrapped, strict=False)
except ValueError as error:
    print(str(error)[:100], "…", sep="\n")
for name, file in (("module. …", wrapped), ("Microsoft's", theirs["microsoft"])):
    twin.load_state_dict(swin_numpy.convert_state_dict(file))
    with torch.inference_mode():
        agree(f"logits after loading {name}", twin(torch.from_numpy(photo)), before, 0)

# %% [markdown]
# ### Errors, and what they mean
#
# Loading is all or nothing here: one line says what doesn't fit and why, and the model stays as it was. Some real
# mistakes:


# %%
def fails(what, action):
    try:
        action()
    except (ValueError, OSError) as error:
        print(f"{what}:\n    {str(error).replace(str(folder), 'folder')}")


temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
content = TRAINED.read_bytes()
(folder / "half.safetensors").write_bytes(content[: len(content) // 2])
(folder / "page.pth").write_text("<!DOCTYPE html> not found")
(folder / "model.pth").write_bytes(pickle.dumps(np.random.default_rng()))

other = swin_numpy.SwinTransformer(replace(config, window_size=M - 1, img_size=None))
fails("made for another window", lambda: other.load_state_dict(state))
other = swin_numpy.SwinTransformer(replace(config, num_classes=3))
fails("another head", lambda: other.load_state_dict(state))
for name in ("half.safetensors", "page.pth", "model.pth"):
    fails(name, lambda name=name: swin_numpy.load_checkpoint(folder / name))

# %% [markdown]
# A page of HTML with the ending `.pth` is what you get when a download went wrong. And the last one matters: a pickle can
# run code when it is read. Files are read here with `weights_only=True`, which takes arrays and nothing else.

# %% [markdown]
# ### Q59: Why is my measured ImageNet accuracy below the reported one (resize, crop, interpolation, normalisation)?
#
# Because a model is evaluated with one exact recipe, and yours differs. The published one, for 224 pixels: make the
# shorter side 256, bicubic; cut 224 × 224 out of the centre; scale to 0 … 1; take off ImageNet's mean, divide by its
# deviation. By hand on the cat, and in the library:

# %%
picture = load_image(photo_path("chelsea"))
scale = 256 / min(picture.size)
width, height = (int(length * scale) for length in picture.size)
large = picture.resize((width, height), Image.Resampling.BICUBIC)
left, top = round((width - 224) / 2), round((height - 224) / 2)
cut = np.asarray(large)[top : top + 224, left : left + 224]
mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
by_hand = rearrange((cut / 255 - mean) / std, "h w c -> 1 c h w")
agree("preprocess", preprocess(picture), by_hand, 1e-6)
cropped(np.asarray(large), top, left, 224, cut)

# %% [markdown]
# "Bicubic" is two different things. Pillow smooths before it shrinks (antialias); PyTorch's `interpolate` doesn't unless
# told to. On a photograph that shrinks to a quarter of its side:


# %%
def shrunk(image, size, **options):
    x = rearrange(torch.tensor(np.asarray(image)).float(), "h w c -> 1 c h w")
    y = torch.nn.functional.interpolate(x, size, mode="bicubic", **options)
    return rearrange(y.clamp(0, 255).numpy(), "1 c h w -> h w c")


small = (picture.width // 4, picture.height // 4)
pillow = np.asarray(picture.resize(small, Image.Resampling.BICUBIC), dtype=float)
for antialias in (True, False):
    gap = np.abs(shrunk(picture, small[::-1], antialias=antialias) - pillow)
    print(
        f"antialias={antialias!s:5}  {gap.mean():5.2f} levels on average, {gap.max():.0f} at most"
    )

# %% [markdown]
# How much do such mistakes cost? We have no ImageNet weights here, but we have a trained model. Let each held-out
# picture be a file of four times its side, and shrink it again, in the right way and in wrong ones.


# %%

files, near = resized(held_out, 4 * side), Image.Resampling.NEAREST
plain = torch.tensor(files[:, None]).float()
unsmoothed = torch.nn.functional.interpolate(plain, (side, side), mode="bicubic")
unsmoothed = unsmoothed.clamp(0, 255).byte().numpy()[:, 0]
edge = files.shape[1] // 16
inputs = {
    "as it should be": standardise(resized(files, side)),
    "bilinear": standardise(resized(files, side, Image.Resampling.BILINEAR)),
    "bicubic, not smoothed": standardise(unsmoothed),
    "nearest": standardise(resized(files, side, near)),
    "crop 7/8 of the side": standardise(
        resized(files[:, edge:-edge, edge:-edge], side)
    ),
    "ImageNet's mean, deviation": (held_out[:, None] / 255 - mean[0]) / std[0],
    "0 … 1, not normalised": held_out[:, None] / 255,
    "0 … 255, not normalised": held_out[:, None] * 1.0,
    "black on white": standardise(255 - held_out),
    "rows and columns swapped": standardise(held_out).swapaxes(2, 3),
}

# %%
reference = None
print(f"{'':28} accuracy  same class  logits off by")
for name, images in inputs.items():
    with torch.inference_mode():
        logits = torch_model(torch.tensor(images, dtype=torch.float32)).numpy()
    reference = logits if reference is None else reference
    same = (logits.argmax(1) == reference.argmax(1)).mean()
    off = np.abs(logits - reference).mean() / np.abs(reference).mean()
    print(f"{name:28} {accuracy(logits):8.1%}  {same:10.1%}  {off:8.1%}")

# %% [markdown]
# The way of shrinking moves the logits, and with them the class of some pictures, for better or worse. In the accuracy
# of a few hundred pictures that drowns in chance; on the 50,000 of ImageNet it is the small gap that people ask about. The
# scale of the numbers costs far more. None of these is an error message: the shapes are right in every row.
#
# For colour there is one more: OpenCV reads blue, green, red. And the 384-pixel models are evaluated **without** the crop
# (`preprocess` follows the official code: from 384 on it resizes straight to the size).

# %% [markdown]
# **11.2** Put mean and deviation into the patch convolution: with your weight and bias, pixels from 0 to 1 give the
# tokens that normalised pixels gave before.


# %%
def without_normalising(weight, bias, mean, std):
    """weight (C, c, p, p), bias (C,), mean and std (c,) → new weight, new bias."""
    ...


check("11.2", without_normalising)

# %%
solution("11.2")

# %% [markdown]
# ### Q62: What if H or W is not divisible by patch size times M (256, 512, 750, 768 ...)?
#
# Cutting into windows is a reshape, and a reshape needs the right number of tokens. Code that doesn't care stops here:

# %%
grid = 256 // 4
x = torch.zeros(1, grid, grid, 96)
try:
    x.view(1, grid // 7, 7, grid // 7, 7, 96)
except RuntimeError as error:
    print(f"{grid} × {grid} tokens, windows of 7 × 7: {error}")

# %% [markdown]
# Which sizes fit in all four stages? Only multiples of patch · M · 8, unless the maps are padded. What the padding adds
# to each stage, in percent of the tokens (stages that need none are left blank):

# %%
print("  side   M   fits   tokens more in stage 1, 2, 3, 4")
for pixels_side in (224, 256, 384, 512, 750, 768):
    for window in (7, 8, 12):
        grids = [g[0] for g in replace(tiny, img_size=pixels_side).grids]
        padded = [-(-g // window) * window for g in grids]
        more = [p * p / (g * g) - 1 for g, p in zip(grids, padded, strict=True)]
        fits = "yes" if not any(more) else ""
        print(
            f"{pixels_side:6} {window:3}   {fits:4}",
            *(f"{m:7.0%}" if m else 7 * " " for m in more),
        )

# %% [markdown]
# Three cures: **resize** the picture, choose **another M** (and interpolate the tables), or **pad** inside the block. 28
# pixels to 32 and 64 is for our model what 224 to 256 and 512 is for Swin-T. Computed, without any training:

# %%
print("pixels  cure             windows    accuracy  logits off by")
for size in (side * 8 // 7, side * 16 // 7):
    bigger, base = resized(held_out[:80], size), right[:80]
    other_window = M * size // side
    cures = {
        "resize back": (side, M),
        f"M = {other_window}, tables": (size, other_window),
        "pad": (None, M),
    }
    for cure, (img_size, window) in cures.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tables were resized
            model = swin_torch.SwinTransformer.from_checkpoint(
                TRAINED, img_size=img_size, window_size=window
            )
        shown = resized(bigger, side) if img_size == side else bigger
        logits = logits_of(model, shown)
        off = np.abs(logits - base).mean() / np.abs(base).mean()
        used = [layer.blocks[0].window_size for layer in model.layers]
        print(f"{size:6}  {cure:16} {used!s:9} {accuracy(logits):8.1%}  {off:10.0%}")

# %% [markdown]
# "Off by" compares with the logits at the trained size. For classification, resizing is the cure. Detection and
# segmentation need the pixels as they are, and are *trained* with padding; there it costs next to nothing. This package
# pads on its own for any size.

# %% [markdown]
# **11.3** For a square picture: the side of each stage's map, and its side after padding to windows. Odd sides are rounded
# up by merging; padding is cut off again at the end of each block.


# %%
def my_sides(side, patch, window, stages):
    """→ [(side of the map, padded side), …], one pair for each stage."""
    ...


check("11.3", my_sides)

# %%
solution("11.3")

# %% [markdown]
# ### Q64: When padding is needed, must it come before or after the roll?
#
# Before. The block pads right and bottom, then rolls:

# %%
side_by_side("block.SwinTransformerBlock.in_windows")

# %% [markdown]
# What if the roll came first? Follow the rows of a map with ten rows, $M = 4$, $s = 2$. The roll brings rows 0 and 1 to
# the end. The mask is made for the padded map, and draws its seam $s$ rows before the end:

# %%
H, window, s = 10, 4, 2
rows, pad = np.arange(H), -H % window
pad_roll = np.roll(np.pad(rows, (0, pad), constant_values=-1), -s)
roll_pad = np.pad(np.roll(rows, -s), (0, pad), constant_values=-1)
orders = {"pad, then roll": pad_roll, "roll, then pad": roll_pad}
print({name: order.tolist() for name, order in orders.items()})
orders["roll, pad; 9 rows"] = np.pad(
    np.roll(rows[:9], -s), (0, -9 % window), constant_values=-1
)
rows_in_windows(orders, window, s)

# %% [markdown]
# On the left everything that came round the corner lies behind the red seam, where the mask parts it from the rest. In
# the middle, padding has pushed itself between the top rows and the end: the seam now parts padding from padding, and
# the top rows stand where the mask doesn't expect them. With ten rows they happen to begin a window of their own (10 % 4
# is the shift), and no harm is done. With nine, on the right, row 0 shares a window with the last rows, and no mask
# between them. Does it leak? Change the top row of a map, and see in which rows the block's output changes:


# %%
class RollThenPad(SwinTransformerBlock):
    def in_windows(self, x, grid, work):
        H, W = grid
        shift = self.shift_for(grid)
        x = rearrange(x, "n (h w) c -> n h w c", h=H)
        x = swin_numpy.cyclic_shift(x, shift)
        x = swin_numpy.pad_to_multiple(x, self.window_size)  # the two lines swapped
        padded = x.shape[1:3]
        windows = swin_numpy.window_partition(x, self.window_size)
        windows = work(windows)
        x = swin_numpy.window_reverse(windows, self.window_size, *padded)
        x = swin_numpy.cyclic_shift(x[:, :H, :W], (-shift[0], -shift[1]))
        return rearrange(x, "n h w c -> n (h w) c")


# %%
def rows_that_notice(kind, H, W=14):
    """Rows of the output that change when row 0 of the map does."""
    block = kind(8, 2, window_size=7, shift_size=3).to(np.float64)
    shapes = {name: value.shape for name, value in block.state_dict().items()}
    fixed = np.random.default_rng(0)
    block.load_state_dict({n: fixed.normal(size=shapes[n]) for n in shapes})
    x = fixed.normal(size=(1, H * W, 8))
    y = x.copy()
    y[:, :W] += fixed.normal(size=(1, W, 8))
    change = np.abs(block(x, (H, W)) - block(y, (H, W)))
    return np.flatnonzero(change.reshape(H, -1).max(1) > 1e-9).tolist()


for H in (14, 16, 17, 18, 20, 32):
    right_way = rows_that_notice(SwinTransformerBlock, H)
    wrong_way = rows_that_notice(RollThenPad, H)
    print(f"{H} rows, {H} % 7 = {H % 7}:  {right_way}  roll first: {wrong_way}")
    assert max(right_way) < 7

# %%
leaks = [max(rows_that_notice(RollThenPad, H)) > 6 for H in range(14, 56)]
fine = sorted({H % 7 for H, leak in zip(range(14, 56), leaks, strict=True) if not leak})
print(
    f"roll first leaks for {sum(leaks)} of {len(leaks)} heights; H % 7 without leak: {fine}"
)

# %% [markdown]
# With the right order the top row speaks to its own window and no other. With the roll first, the bottom of the
# picture hears of the top, in most heights; it is safe only where nothing is padded, or where the wrapped rows happen to
# begin a window, as in the picture. A test with one lucky height passes.

# %% [markdown]
# ### Q65: Do padded tokens take part in attention, and how much weight do they draw?
#
# Yes. A padded token is zero **after** norm1. So its query, key and value are the biases of `qkv`, and nothing masks it
# out. It has a score like any other, and takes a share of every softmax in its window. (Official detection code and
# torchvision do the same; weights trained with it expect it.)
#
# First the geometry: Swin-T at 512 pixels, $M = 7$. If all keys drew the same weight, padding would draw its share:

# %%
for i, (h, w) in enumerate(replace(tiny, img_size=512).grids, 1):
    padded = -(-h // 7) * 7
    touched = 1 - (h // 7 * 7) ** 2 / h**2
    print(
        f"stage {i}: {h} → {padded}: {1 - h * w / padded**2:4.0%} of the keys are padding,"
        f" {touched:4.0%} of the tokens share a window with some"
    )

# %% [markdown]
# Now measured: the trained model on pictures of 64 pixels, whose maps have the sides of Swin-T's stages 3 and 4 at 512. For
# each real token that sees padding: the weight that it gives to all padding together, and the share of padding among
# the keys that it may see.


# %%
def attention_of(model, images):
    """[(name, block, grid, weights)] of all blocks for images (n, c, H, W)."""
    found, grids = [], []

    def keep(attn, inputs, output):
        found.append(attn.attention_weights(*inputs))

    blocks = [b for layer in model.layers for b in layer.blocks]
    hooks = [block.attn.register_forward_hook(keep) for block in blocks]
    for (_, grid), layer in zip(
        model.forward_stages(images), model.layers, strict=True
    ):
        grids += [grid] * len(layer.blocks)
    for hook in hooks:
        hook.remove()
    names = [
        f"stage {i} block {b}"
        for i, layer in enumerate(model.layers, 1)
        for b in range(1, 1 + len(layer.blocks))
    ]
    return list(zip(names, blocks, grids, found, strict=True))


# %%
def windows_of(block, grid, values):
    """values (h, w) of a map, padded with 0, in the block's windows: (k, m)."""
    x = swin_numpy.pad_to_multiple(values[None, :, :, None], block.window_size)
    x = swin_numpy.cyclic_shift(x, block.shift_for(grid))
    return swin_numpy.window_partition(x, block.window_size)[0, :, :, 0]


def mask_of(block, grid):
    padded = [-(-length // block.window_size) * block.window_size for length in grid]
    return swin_numpy.shift_mask(*padded, block.window_size, block.shift_for(grid))


images64 = standardise(resized(held_out[:24], side * 16 // 7)).astype(np.float32)
print("                    sees padding   its weight   its share of keys")
for name, block, grid, weights in attention_of(numpy_model, images64):
    real = windows_of(block, grid, np.ones(grid)) > 0  # (k, m)
    seen = mask_of(block, grid) == 0  # (k, i, j)
    share = (seen & ~real[:, None]).sum(-1) / seen.sum(-1)
    on_padding = (weights * ~real[:, None, None]).sum(-1).mean((0, 2))  # (k, i)
    chosen = real & (share > 0)
    print(
        f"{name}  {chosen.sum() / real.sum():12.0%}"
        f"  {on_padding[chosen].mean():11.1%}  {share[chosen].mean():18.1%}"
    )

# %% [markdown]
# Padding draws about what its share of the keys suggests, somewhat less or more from block to block: nobody taught
# this model to look away from it. What if padding is masked, like what lies across the seam?


# %%
class MaskedPadding(SwinTransformerBlock):
    def mask_for(self, grid, x):
        real = windows_of(self, grid, np.ones(grid)) > 0
        return np.where(real[:, None], mask_of(self, grid), -100).astype(x.dtype)


def with_blocks(kind):
    model = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
    for block in [b for layer in model.layers for b in layer.blocks]:
        block.__class__ = kind  # the same weights, another mask
    return model


# %%
kinds = (SwinTransformerBlock, MaskedPadding, RollThenPad)
print("pixels  padding  accuracy: as it is, masked, rolled first;  logits off by")
for size in (side, side + 4, side + 8):
    images = standardise(resized(held_out[:100], size)).astype(np.float32)
    logits = [with_blocks(kind)(images) for kind in kinds]
    grid = -(-size // config.patch_size)
    right_logits = logits[0]
    off = [
        np.abs(a - right_logits).mean() / np.abs(right_logits).mean() for a in logits
    ]
    hits = "  ".join(f"{accuracy(a):6.1%}" for a in logits)
    print(f"{size:6}  {-grid % M:7}  {hits}   {off[1]:6.0%} {off[2]:6.0%}")

# %% [markdown]
# (*padding*: rows and columns added to the first map.) With nothing to pad, all three are the same model. Else the
# numbers change, and a mask is not a free improvement: it changes what the weights were trained with, or in this case
# were never trained with at all. Use the mask if you train with the mask.

# %% [markdown]
# ### Q67: Why are corners and borders bright in feature similarity or attention maps without an object there?
#
# Three different reasons, and an experiment for each. **One: it is in the pictures.** Here is the average length of the
# tokens of stage 1, over held-out pictures; and again with all pictures rolled by half their side, so that what was in
# the corners is now in the middle.


# %%
def lengths(model, images):
    """The root mean square of each token after stage 1, averaged over the images: (h, w)."""
    x, (h, _) = model.forward_stages(images, out_indices=(0,))[0]
    return rearrange(np.sqrt((x**2).mean(-1)).mean(0), "(h w) -> h w", h=h)


images = standardise(held_out[:150]).astype(np.float32)
rolled = np.roll(images, (side // 2, side // 2), axis=(2, 3))
noise = rng.normal(size=images.shape).astype(np.float32)
constant = np.ones((1, *images.shape[1:]), np.float32)
shown = {
    "pictures": images,
    "rolled by half": rolled,
    "noise": noise,
    "constant": constant,
}
maps = {name: lengths(numpy_model, value) for name, value in shown.items()}
for name, value in maps.items():
    inner = value[1:-1, 1:-1].mean()
    corners = value[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    print(
        f"{name:15} corners {corners:.3f}, inside {inner:.3f}: ratio {corners / inner:.2f}"
    )
show_maps(maps, bar="length of a token, stage 1")

# %% [markdown]
# If brightness follows the picture when it is rolled, it belongs to what is shown there (empty background, here), not to
# the place. Noise has the same content everywhere: what is left then is the network's own doing. And a constant
# picture stays constant, exactly, whatever the bias table and the mask do: each token gets an average of values that are
# all the same, and any weights that sum to 1 give the same average. With the bias and the shift switched off, one at a
# time:


# %%
def variant(bias, shift):
    model = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
    for block in [b for layer in model.layers for b in layer.blocks]:
        if not bias:
            block.attn.relative_position_bias_table[...] = 0
        if not shift:
            block.shift_size = block.shift_on_other_grids = 0
    return model


def stand_out(values):
    """(corners, last row and column) against the middle of the map."""
    inner = values[1:-1, 1:-1].mean()
    corners = values[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    return corners / inner - 1, np.r_[values[-1], values[:-1, -1]].mean() / inner - 1


larger_noise = rng.normal(size=(100, *images.shape[1:-2], side + 8, side + 8))
larger_noise = larger_noise.astype(np.float32)
fits, padded = "noise, fits", "noise, padded"
print("bias   shift   corners: fits, padded   last row, column: fits, padded")
padded_maps = {}
for bias in (True, False):
    for shift in (True, False):
        model = variant(bias, shift)
        small, large_map = lengths(model, noise), lengths(model, larger_noise)
        (a, c), (b, d) = stand_out(small), stand_out(large_map)
        print(f"{bias!s:6} {shift!s:6} {a:14.1%} {b:7.1%} {c:22.1%} {d:7.1%}")
        padded_maps[
            f"{'with' if bias else 'without'} bias, {'with' if shift else 'no'} shift"
        ] = large_map

# %% [markdown]
# **Two: padding.** A size that needs no padding leaves noise nearly even. A size that does makes the last rows and
# columns stand out, because they average over padding, which has another value than the picture:

# %%
show_maps(padded_maps, bar=f"noise of {side + 8} pixels, padded")

# %% [markdown]
# The border may as well come out darker as brighter: that depends on the weights. What matters is that it is there.
#
# **Three: attention maps have fewer keys there.** After the shift, tokens at the border live in smaller windows: the
# mask leaves them $s \times s$ keys in one corner, $M \times M$ inside. Every row of weights sums to 1, so with fewer keys
# each gets more. Draw the weights, and the corners light up. The mean weight that each token gives to a key that it may
# see, and the largest it gives to any, in a shifted block:


# %%
def on_the_map(block, grid, values):
    """values (k, m) of a map that needs no padding, back in place: (h, w)."""
    x = swin_numpy.window_reverse(values[None, :, :, None], block.window_size, *grid)
    rows, columns = block.shift_for(grid)
    return swin_numpy.cyclic_shift(x, (-rows, -columns))[0, :, :, 0]


name, block, grid, weights = attention_of(numpy_model, noise[:50])[1]
seen = mask_of(block, grid) == 0
print(
    f"{name}: keys that a token may see: {sorted({int(n) for n in seen.sum(-1).ravel()})}"
)
mean_weight = on_the_map(block, grid, 1 / seen.sum(-1))
largest = on_the_map(block, grid, weights.max(-1).mean((0, 2)))
received = on_the_map(block, grid, weights.sum(-2).mean((0, 2)))
titles = "mean weight of a key", "largest weight", "received per query"
per_query = received / on_the_map(block, grid, seen.sum(-2))
show_maps((mean_weight, largest, per_query), titles=titles, bar="weight, noise")

# %% [markdown]
# The input is noise; there is no object anywhere. Before you read an attention map, divide each row by the even weight,
# 1 / (number of visible keys). And before you read a map of features, feed noise.

# %% [markdown]
# ### Q66: Why does an exported graph work only at the traced size?
#
# Tracing runs the model once and writes down the operations that happened. A number that Python computed from a shape,
# such as the count of windows, is written down as a **constant**. Here is a cut into windows as public code has it:


# %%
def cut(x):
    """x (n, h, w, c) → (windows, 49, c), with the sizes taken from x."""
    n, h, w, c = (int(length) for length in x.shape)
    x = x.view(n, h // 7, 7, w // 7, 7, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, 49, c)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the tracer does warn that it freezes numbers
    traced = torch.jit.trace(cut, torch.zeros(1, 56, 56, 16))
constants = re.findall(r"Constant\[value=(\d+)\]", str(traced.graph))
print("numbers in the graph:", sorted({int(c) for c in constants}))
print("at 56 × 56:", tuple(traced(torch.zeros(1, 56, 56, 16)).shape))
try:
    traced(torch.zeros(1, 70, 70, 16))
except RuntimeError as error:
    print("at 70 × 70:", str(error).strip().splitlines()[-1])

# %% [markdown]
# 56 / 7 = 8 windows are in there, and 70 / 7 = 10 are not 8. Worse is a shape that happens to fit: 28 × 112 tokens are as
# many as 56 × 56, and the frozen graph cuts other windows out of them without a word.

# %%
wide = torch.arange(28 * 112.0).view(1, 28, 112, 1).expand(1, 28, 112, 16)
frozen, correct = traced(wide), cut(wide)
print("28 × 112: the same shape:", frozen.shape == correct.shape)
print(f"tokens in the right place: {(frozen == correct).float().mean():.1%}")

# %% [markdown]
# `torch.export`, PyTorch's newer way, freezes sizes as well, but it writes down what it relied on, and refuses anything
# else. The real twin:

# %%
x = torch.from_numpy(few[:2])
start = perf_counter()
exported = torch.export.export(torch_model, (x,))
operations = [n for n in exported.graph.nodes if n.op == "call_function"]
print(f"{len(operations)} operations in {perf_counter() - start:.0f} s")
reshapes = [n.args[1] for n in operations if "reshape" in str(n.target)]
print("some of its frozen shapes:", *[list(shape) for shape in reshapes[:3]])
with torch.inference_mode():
    agree("exported", exported.module()(x), torch_model(x), 1e-6)

# %%
batch = torch.export.Dim("n", min=1, max=256)
any_batch = torch.export.export(torch_model, (x,), dynamic_shapes=({0: batch},))
for what, graph in (("fixed", exported), ("any batch", any_batch)):
    for shape in ((5, *x.shape[1:]), (2, config.in_chans, side + 4, side + 4)):
        try:
            graph.module()(torch.zeros(shape))
            print(f"{what:10} {shape}: fine")
        except (AssertionError, RuntimeError) as error:
            print(f"{what:10} {shape}: {str(error).strip().splitlines()[0][:60]}")

# %% [markdown]
# The **batch** can be left open: no number in the model depends on it. Height and width can't be, in this model: the mask,
# the padding and the count of windows are Python's arithmetic on the grid. Cures: export one graph for each size that you
# serve; or bring all pictures to one size, padded by yourself.

# %% [markdown]
# ### Q61: What do the out indices select, and must all four maps be used?
#
# `out_indices` selects the stages whose maps come out; stages count from 0. You need not use all. What comes after the last one you
# asked for isn't computed, and never gets a gradient. The finest map is the largest by far:

# %%
half = load_image(photo_path("chelsea")).reduce(2)
whole = torch.from_numpy(to_array(half))


def fastest(model, x, times=2):
    """Milliseconds of the fastest of a few forward passes."""
    seconds = []
    with torch.inference_mode():
        for _ in range(times):
            start = perf_counter()
            model(x)
            seconds.append(perf_counter() - start)
    return 1000 * min(seconds)


# %%
print("out_indices    MB of maps  milliseconds  without gradient")
for indices in ((0, 1, 2, 3), (1, 2, 3), (0, 1), (3,)):
    model = swin_torch.Backbone(free, indices)
    with torch.inference_mode():
        megabytes = sum(4 * y.numel() for y in model(whole)) / 1e6
    sum(y.sum() for y in model(whole[..., :64, :96])).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    stages = sorted({name.split(".")[1] for name in idle})
    where = f"{len(idle)} parameters: layers {', '.join(stages)}" if idle else "none"
    print(f"{indices!s:14} {megabytes:10.1f} {fastest(model, whole):13.0f}  {where}")

# %% [markdown]
# Leaving out the finest map, (1, 2, 3), saves nothing in the backbone: stage 0 must be computed all the same. It saves
# in the decoder, whose work grows with the numbers in the maps. Leaving out the last stages does save time; but then
# their parameters stay without gradient (of layer 1 it is the merging at its end), and PyTorch's DDP (training on several GPUs) complains about unused
# parameters unless told to look for them.

# %% [markdown]
# **11.5** One step of the FPN, in NumPy: the coarse map, doubled and cut to the fine one's size, plus the fine one.


# %%
def merged(fine, coarse):
    """fine (n, e, h, w), coarse (n, e, ⌈h/2⌉, ⌈w/2⌉) → (n, e, h, w)."""
    ...


check("11.5", merged)

# %%
solution("11.5")

# %% [markdown]
# ### Traps
#
# **1. `strict=False` that loads nothing.** You saw it in Q56. Check the two lists, or better, an accuracy.
#
# **2. A table reshaped with the heads in front.** The table is $((2M-1)^2, a)$: heads run fastest. Reshaping it
# straight to $(a, 2M-1, 2M-1)$ has the right shape, and is scrambled. No error; the price:


# %%
def scrambled(table, new_window):
    heads, old, new = table.shape[1], round(len(table) ** 0.5), 2 * new_window - 1
    maps = torch.tensor(table.reshape(1, heads, old, old))  # wrong
    maps = torch.nn.functional.interpolate(maps, (new, new), mode="bicubic")
    return maps.numpy().reshape(new * new, heads)


larger.load_state_dict(fitted | {name: scrambled(state[name], 2 * M) for name in names})
print(f"scrambled:    {accuracy(logits_of(larger, doubled)):.1%}")
print(f"interpolated: {tables['window doubled, table: interpolated']:.1%}")

# %% [markdown]
# Resizing a table to its own window doesn't notice, since nothing moves. This does: give every head one number, its own.
# Whatever the window, each head must keep it.

# %%
own_number = np.tile(np.arange(table.shape[1]) + 1.0, (len(table), 1))
for resize in (swin_numpy.resize_position_bias, scrambled):
    spread = np.ptp(resize(own_number, 2 * M), axis=0).max()
    print(f"{resize.__name__:21} every head keeps its number: {spread < 1e-9}")

# %% [markdown]
# **3. `best = model.state_dict()`** to keep the best weights of a run. A state dict is no copy: it shows the parameters'
# own memory, in both twins. Train on, and "best" trains along.

# %%
model = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
best, copied = model.state_dict(), {n: v.copy() for n, v in model.state_dict().items()}
model.head.bias[...] = 0  # whatever training does
for what, kept_state in (("state_dict()", best), ("copies", copied)):
    print(f"{what:13} still has the old head: {kept_state['head.bias'].any()}")

# %% [markdown]
# **4. Enlarging by the factor 2, and odd sides.** A map of 39 rows becomes 20 after merging, and 40 after doubling. Adding
# 40 to 39 fails. (Worse: adding 1 to anything broadcasts.) Enlarge to the *size* of the finer map:

# %%
coarse = torch.from_numpy(pyramid[1])
doubled_map = torch.nn.functional.interpolate(coarse, scale_factor=2.0)
try:
    doubled_map + torch.from_numpy(pyramid[0])
except RuntimeError as error:
    print(error)
fitting = torch.nn.functional.interpolate(coarse, size=pyramid[0].shape[2:])
print("fits:", tuple((fitting + torch.from_numpy(pyramid[0])).shape))

# %% [markdown]
# **5. Class names of another list.** Logits have no names. A model of 21,841 classes, or with a different order,
# gives confident nonsense. The check is one picture whose class you know:

# %%
shown = held_out[0]
probabilities = F.softmax(right[:1].astype(float))[0]
best = probabilities.argsort()[::-1][:3]
print("is:", CLASSES[labels[0]])
print("says:", ", ".join(f"{CLASSES[k]} {probabilities[k]:.0%}" for k in best))

# %% [markdown]
# ## Where to read on
#
# - Liu et al. 2021, section 4.1: fine-tuning from 224 to 384 pixels. Lin et al. 2017, *Feature Pyramid Networks for
#   Object Detection*. Touvron et al. 2019, *Fixing the train-test resolution discrepancy*: why size at test time matters.
#   Keys 1981, *Cubic convolution interpolation*.
# - In this package: `checkpoint.py`, `names.py`, `fit.py`, `resize.py`, `images.py` and `backbone.py` of `swin_numpy`;
#   `python -m swin_torch.convert` for files.
# - Next: chapter 12, Swin V2, whose position bias needs no table.
