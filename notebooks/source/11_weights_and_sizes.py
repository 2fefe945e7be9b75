# %% [markdown]
# # 11 · Weights and sizes
#
# ![Where the parameters of Swin-T are, and where its multiply-adds: bars for each part of the model](../figures/gallery/parts.png)
#
# In practice you start from a file: somebody's trained weights, made for certain pictures, a certain size, a certain
# number of classes. Yours differ. This chapter takes a file apart and makes it fit.
#
# After this chapter you can explain
#
# - what is in a checkpoint, and what can be read from names and shapes alone;
# - how a model gets a new head, other channels, another window, another size, and what that costs;
# - what happens to the bias table when windows grow;
# - how to get feature maps out and into a detector or a segmenter;
# - which missing or unexpected names are harmless, and which mean that nothing was loaded at all.

# %% jupyter={"source_hidden": true}
import json
import pickle
import re
import tempfile
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from einops import einsum, rearrange, reduce, repeat
from lesson import agree, check, moved, published, side_by_side, solution
from PIL import Image

import swin_numpy
import swin_torch
from figures import photo_path
from figures.bias import tables_before_after
from figures.maps import show_maps
from figures.measure import bars, curves
from figures.training import seeds
from swin_numpy import CONFIGS, PUBLISHED, SwinConfig, SwinTransformerBlock
from swin_numpy import functional as F
from swin_numpy.pictures.images import load_image, preprocess, to_array
from swin_numpy.training.fashion_mnist import (
    CLASSES,
    SUBSET,
    TRAINED,
    fashion_mnist,
    standardise,
)
from swin_numpy.weights.adapt import adapt_state
from swin_numpy.weights.check import check_state
from swin_numpy.weights.files import read_file
from swin_numpy.weights.names import translate
from swin_numpy.weights.shapes import model_shapes
from swin_numpy.weights.unwrap import strip_prefix, unwrap

rng = np.random.default_rng(11)
torch.set_num_threads(1)  # small matrices: more threads would mostly wait
tiny = CONFIGS["swin_tiny_patch4_window7_224"]
official = moved(swin_numpy.SwinTransformer(tiny), scale=0.02).state_dict()
photo = preprocess(load_image(photo_path("chelsea")))


def resized(images, size, way=Image.Resampling.BICUBIC):
    """images (n, H, W) uint8 → (n, size, size) uint8, by Pillow."""
    return np.stack([Image.fromarray(i).resize((size, size), way) for i in images])


# %% [markdown]
# ## 1 · A checkpoint is a dictionary
#
# A model's numbers that training changes, its **parameters**, have names, and a **state dict** is the dictionary
# {name: array} of all of them. `model.state_dict()` gives it, `model.load_state_dict(…)` puts one in, and a **checkpoint** is
# a file that holds one. It holds no model: what to compute with the arrays is the model's business.
#
# One trained model comes with this repository: a small Swin that tells ten kinds of clothes apart (Fashion-MNIST, grey
# pictures of 28 × 28 pixels).

# %% jupyter={"source_hidden": true}
state = swin_numpy.load_checkpoint(TRAINED)
_, about = read_file(TRAINED)
print(f"{TRAINED.name}: {len(state)} arrays; text: {', '.join(sorted(about))}")
for name, value in list(state.items())[:9]:
    print(f"  {name:48} {value.shape}")

# %% [markdown]
# A name is a path through the model: `layers.0.blocks.1.attn.qkv.weight` is stage 0, block 1, and so on. (Names count from
# 0.) From names and shapes alone, most of the configuration can be read: the patch convolution has the shape (width,
# channels, patch, patch), the head has a row for each class, a bias table has $(2M-1)^2$ rows and a column for each head.

# %% jupyter={"source_hidden": true}
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
# What these shapes cannot tell is the size of the pictures (a window that shrank can, Q55). A model of these sizes is known here by name, so that its
# `img_size` is known too; else it would be None: any
# size. Where a field can be neither read nor looked up, an error names the one to pass. Where are the parameters?


# %% jupyter={"source_hidden": true}
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
# Matrices hold nearly everything; the bias tables are a small part. `from_checkpoint` does it all: it reads the file,
# translates names, finds the configuration, builds the model and loads. Both twins, on pictures that the model has never
# seen:

# %%
numpy_model = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
torch_model = swin_torch.SwinTransformer.from_checkpoint(TRAINED)

# %% jupyter={"source_hidden": true}
config = numpy_model.config
side, M = config.img_size, config.window_size
test = fashion_mnist(SUBSET, "test")
pick = rng.permutation(len(test.labels))[:800]
held_out, labels = test.images[pick], test.labels[pick]


def logits_of(model, images):
    """images (n, H, W) uint8 → logits (n, classes), by the PyTorch twin."""
    images = standardise(images).astype(np.float32)
    with torch.inference_mode():
        parts = torch.from_numpy(images).split(50)
        return torch.cat([model(part) for part in parts]).numpy()


def accuracy(logits):
    return (logits.argmax(1) == labels[: len(logits)]).mean()


# %% jupyter={"source_hidden": true}
right = logits_of(torch_model, held_out)
few = standardise(held_out[:20]).astype(np.float32)
agree("logits of both twins", numpy_model(few), right[:20], 1e-5)
print(f"right for {accuracy(right):.1%} of {len(labels)} pictures")

# %% [markdown]
# ## 2 · Another head: fine-tuning
#
# A new task, which the model was never asked: **is the picture upside down?** Two classes. (In training it saw pictures moved
# and mirrored left to right, never turned over.) All weights but the head's come from the file:


# %% jupyter={"source_hidden": true}
def upside_down(split, count):
    """→ images (count, 1, H, W) as the model takes them, and labels 0 (upright) or 1."""
    data = fashion_mnist(SUBSET, split)
    chosen = rng.permutation(len(data.labels))[:count]
    turned = rng.random(count) < 0.5
    images = data.images[chosen]
    images = np.where(turned[:, None, None], images[:, ::-1], images)
    images = torch.from_numpy(standardise(images).astype(np.float32))
    return images, torch.from_numpy(turned.astype(int))


def load_adapted(package=swin_torch, say=False, **fields):
    """from_checkpoint, with what it warns of printed or left out."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = package.SwinTransformer.from_checkpoint(TRAINED, **fields)
    for warning in said if say else ():
        print(str(warning.message).partition(": ")[2])
    return model


train_x, train_y = upside_down("train", 400)
test_x, test_y = upside_down("test", 400)


# %% jupyter={"source_hidden": true}
def fine_tune(model, parameters, steps, lr, seed):
    """Some steps of AdamW for `parameters` only, 32 pictures each."""
    optimizer, order = torch.optim.AdamW(parameters, lr), np.random.default_rng(seed)
    for _ in range(steps):
        rows = order.choice(len(train_x), 32, replace=False)
        logits = model.train()(train_x[rows])
        loss = torch.nn.functional.cross_entropy(logits, train_y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


model = load_adapted(num_classes=2, say=True)

# %% [markdown]
# Four ways, each with **16 steps**, and each three times, with another order of the pictures and, where weights are random,
# with others: train the head alone
# (everything else stays as it came); the head alone, with random weights before it; all weights; and all weights from a
# random start.


# %% jupyter={"source_hidden": true}
def upside_down_score(model):
    with torch.inference_mode():
        answers = torch.cat([model.eval()(part).argmax(1) for part in test_x.split(50)])
    return (answers == test_y).float().mean().item()


ways = "head only", "head only, random rest", "all weights", "random start"
results = {way: [] for way in ways}
for seed in range(3):
    for name, found in results.items():
        model = load_adapted(num_classes=2)
        if "random" in name:
            model = swin_torch.SwinTransformer(model.config, seed=seed)
        if "head only" in name:
            fine_tune(model, model.head.parameters(), 16, 1e-2, seed)
        else:
            fine_tune(model, model.parameters(), 16, 5e-4, seed)
        found.append(upside_down_score(model))
seeds(results, f"share right of {len(test_y)} held-out pictures")

# %% [markdown]
# Points are single runs, bars their means. The features were learned for another question, and still the head alone reads
# much of the answer from them; the same number of steps from random weights doesn't get as far. Where the points of two rows
# overlap, three runs don't say which is better.

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
# ## 3 · Another window: the bias table stretched
#
# Larger pictures bring more tokens. To keep a window the same part of the picture, the window must grow as well: 224 pixels
# with $M=7$ become 384 with $M=12$. All weights fit as they are, but for the bias tables, which have $(2M-1)^2$ rows. Each
# head's table is a small picture of $(2M-1) \times (2M-1)$ offsets, and it is enlarged as a picture is: **bicubic**, four old
# values for each new one along each axis.

# %% jupyter={"source_hidden": true}
name = "layers.0.blocks.1.attn.relative_position_bias_table"
table = state[name].astype(np.float64)
stretched = swin_numpy.resize_position_bias(table, 2 * M)
maps = rearrange(torch.tensor(table), "(r c) a -> 1 a r c", r=2 * M - 1)
bigger = torch.nn.functional.interpolate(maps, (4 * M - 1,) * 2, mode="bicubic")
agree("PyTorch's bicubic", stretched, rearrange(bigger, "1 a r c -> (r c) a"))
tables_before_after(table, stretched)

# %% [markdown]
# The same pattern over twice the reach: what a head said of three tokens to the left it now says of about six, which is
# the same distance in the picture.
#
# Does it help? The model gets pictures of twice the side, without any training: with windows **as they were**; with windows
# of twice the side and tables that are **zero**, the **old table in the middle** with its edge continued, or **interpolated**.
# In one more row the *tokens* of the small picture are enlarged instead of its pixels, so that the patch convolution sees
# what it was trained for.


# %% jupyter={"source_hidden": true}
def in_the_middle(table, new_window):
    maps = table.reshape(2 * M - 1, 2 * M - 1, -1)
    pad = new_window - M
    maps = np.pad(maps, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    return maps.reshape((2 * new_window - 1) ** 2, -1)


@torch.inference_mode()
def logits_of_enlarged_tokens(model, images):
    """The trained model's tokens of small pictures, each made four, through the larger model."""
    logits = []
    for part in torch.from_numpy(standardise(images).astype(np.float32)).split(50):
        x, (h, w) = torch_model.embed(part)
        x = repeat(x, "n (h w) c -> n (h p1 w p2) c", h=h, p1=2, p2=2)
        grid = 2 * h, 2 * w
        for layer in model.layers:
            x = layer(x, grid)
            if layer.downsample is not None:
                x, grid = layer.downsample(x, grid)
        logits.append(model.head(model.norm(x).mean(1)))
    return torch.cat(logits).numpy()


fewer = held_out[:200]
doubled = resized(fewer, 2 * side)
larger = load_adapted(img_size=2 * side, window_size=2 * M)
fitted = {name: value.numpy().copy() for name, value in larger.state_dict().items()}
names = [name for name in fitted if name.endswith("bias_table")]
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
tables["interpolated; tokens enlarged"] = accuracy(
    logits_of_enlarged_tokens(larger, fewer)
)
back = resized(doubled, side)
tables["shrunk again, as trained"] = accuracy(logits_of(torch_model, back))
bars(tables, f"share right of {len(doubled)} held-out pictures", form="{:.1%}")

# %% [markdown]
# Among the tables, the interpolated ones do best, and they don't bring everything back. Is it the patch convolution's
# fault, to which an enlarged picture shows smooth edges? Enlarged tokens, which have passed it as it was trained, don't bring
# it back either; these rows don't show why. So, with no training, this model's pictures are best brought to
# the size that it was trained for.
# With a short fine-tuning at the new size, start from interpolated tables, as the published 384-pixel models did (Liu et
# al. 2021, sections 3.2 and 4.1). V2 has no table to stretch: chapter 12.

# %% [markdown]
# ## 4 · A backbone under a decoder
#
# ### Q60: Are feature maps NHWC or NCHW, and how do I feed an FPN or U-Net decoder?
#
# Inside, Swin's data is neither: it is tokens (n, h·w, c), and a grid. torchvision (0.29) and timm (1.0) hand out (n, h, w,
# c); MMDetection (3, `backbones/swin.py`) wants (n, c, h, w). Read the library's documentation, or look at which axis has 96,
# 192, 384, 768. Our
# `Backbone` gives **NCHW**, a layer norm before each:

# %%
side_by_side("backbone.Backbone.forward")

# %% [markdown]
# A photograph at its own size, through a Swin-T backbone. The weights are random here (with a published file, say
# `Backbone.from_checkpoint("swin_tiny_patch4_window7_224.pth", img_size=None)`), and float64, so that the twins can
# be compared. Neither side is a multiple of 4, the patch: maps are padded inside and cut again.

# %% jupyter={"source_hidden": true}
free = replace(tiny, img_size=None, drop_path_rate=0.0)  # nothing at random
numpy_backbone, torch_backbone = moved(
    swin_numpy.Backbone(free, dtype=np.float64),
    swin_torch.Backbone(free).double(),
    scale=0.02,
)
torch_backbone.eval()
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
# Now the decoder. A **feature pyramid network** (FPN; Lin et al. 2017) hands what the coarser scales found to the finer
# ones. Three steps: a linear map for each token (a "1 × 1 convolution") brings all maps to one width; from coarse to fine,
# each map is enlarged to twice its side; and added to the next finer one. einops takes arrays and tensors alike. (The full FPN ends with a 3 × 3 convolution on each map; a U-Net joins channels instead of
# adding.)


# %% jupyter={"source_hidden": true}
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


# %% jupyter={"source_hidden": true}
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
# (Colours: the three principal components of each map.) Above, each scale for itself; below, all with 64 channels, and the
# coarse blocks show through the fine maps.

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
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Getting the published ImageNet weights
#
# By name: `from_pretrained` looks a preset up in the table below, downloads the weights of that repository from the Hugging
# Face hub once, and reads them as any other file. It also takes any other `owner/repository`, or a folder. The names stand
# for timm's uploads of Microsoft's own weights, under the MIT licence ([published.py](../swin_numpy/weights/published.py) has
# the repositories and the sources of the numbers). Top-1 is the share of ImageNet-1k's 50,000 validation pictures that the
# model names right, as timm measured it; it's missing where the head is for the 21,841 classes of ImageNet-22k.

# %% jupyter={"source_hidden": true}
print(f"{'preset':42} {'parameters':>10}   top-1  trained on ImageNet")
for name, entry in PUBLISHED.items():
    top1 = f"{entry.top1:.1f} %" if entry.top1 else "-"
    tag = entry.repo.partition(".ms_in")[2]  # 1k, 22k, or 22k_ft_in1k
    print(
        f"{name:42} {entry.parameters:8.1f} M {top1:>7}  {tag.replace('_ft_in', ', then ')}"
    )

# %% [markdown]
# This page downloads nothing. Where the weights of Swin-T are in the cache, both twins now read them and name the cat; where
# not, the cell says how to get them, and both twins read the small model's file by the same call:

# %%
known = published("swin_tiny_patch4_window7_224")
source = TRAINED if known is None else known.folder
image = few[:1] if known is None else known.prepare(load_image(photo_path("chelsea")))
answers = swin_numpy.SwinTransformer.from_pretrained(source)(image)
with torch.inference_mode():
    twin = swin_torch.SwinTransformer.from_pretrained(source)(torch.from_numpy(image))
agree("logits of both twins", answers, twin, 1e-5)
classes = CLASSES if known is None else known.classes
print("most probable:", ", ".join(classes[i] for i in np.argsort(-answers[0])[:5]))

# %% [markdown]
# On the command line it is `--pretrained NAME`, for `python -m swin_numpy` and `python -m swin_torch.compare`, and
# `make tour PRETRAINED=1`. The pictures must be prepared as for the weights: that is what `prepare` does,
# `Preprocessing.from_pretrained`, which reads the repository's settings (Q59 shows that they differ).
#
# The way back is `save_pretrained`: two files in a folder, which transformers reads, or timm with `to="timm"`.
# `hf upload OWNER/NAME FOLDER`, a command of huggingface_hub, puts the folder on the hub.

# %%
with tempfile.TemporaryDirectory() as folder:
    torch_model.save_pretrained(folder)
    print(*sorted(path.name for path in Path(folder).iterdir()))
    settings = json.loads((Path(folder) / "config.json").read_text())
    print({key: settings[key] for key in ("architectures", "image_size", "depths")})
    again = swin_numpy.SwinTransformer.from_pretrained(folder)
    agree("written and read again", again(few), numpy_model(few))

# %% [markdown]
# Where only names and shapes matter, we go on with a Swin-T of random weights; where it matters what a model *knows*, with
# the trained one above.

# %% [markdown]
# ### From a file to a model, step by step
#
# `swin_numpy/weights/load.py` is one pipeline for both twins: read → unwrap → strip the prefix → translate → infer → adapt →
# check. Here each step by itself, on what a training run might have saved: weights in a dict, `module.` before every name
# (PyTorch's `DataParallel` puts it there), and timm's names. Wanted: three classes instead of ten.

# %%
renamed = swin_numpy.export_state_dict(state, "timm")
saved = {"epoch": 7, "model": {f"module.{n}": value for n, value in renamed.items()}}
unwrapped = unwrap(saved)
print(f"unwrap:    {len(unwrapped)} arrays, such as {list(unwrapped)[-1]}")
prefix, within, beside = strip_prefix(unwrapped)
print(f"strip:     {prefix!r} taken off; {len(beside)} arrays beside the model")
official_names, buffers, unknown, library = translate(within)
changed = [
    pair for pair in zip(within, official_names, strict=True) if pair[0] != pair[1]
]
print(f"translate: {len(changed)} names change, such as {' → '.join(changed[-1])}")
own = swin_numpy.infer_config(official_names)
print(
    f"infer:     depths {own.depths}, windows {own.windows}, {own.num_classes} classes"
)
adapted, said = adapt_state(official_names, replace(own, num_classes=3), own)
print(f"adapt:     {'; '.join(said)}")
check_state(adapted, model_shapes(replace(own, num_classes=3)))
print("check:     every name and every shape is what the model asks for")

# %% [markdown]
# ### Q55: Why does one checkpoint hold a smaller index (36x36) in the last stage than elsewhere (144x144)?
#
# Because a window can't be larger than the map. At 192 pixels the four maps have 48, 24, 12 and 6 tokens on a side; with
# $M = 12$ the last stage's window **shrinks to 6**, so its index is 36 × 36 and its bias table has 11² rows, not 23²:

# %%
small_window = SwinConfig(
    img_size=192,
    window_size=12,
    embed_dim=24,
    depths=(1, 1, 1, 1),
    num_heads=(1, 2, 4, 8),
)
at_192 = swin_numpy.SwinTransformer(small_window).state_dict()
saved = swin_numpy.export_state_dict(at_192, "microsoft", config=small_window)
ending = "relative_position_index"
print(*(f"{n}: {v.shape}" for n, v in saved.items() if n.endswith(ending)), sep="\n")
found = swin_numpy.infer_config(at_192)
print(
    f"read back: window_size {found.window_size}, img_size {found.img_size}, windows {found.windows}"
)
at_384, said = adapt_state(at_192, replace(found, img_size=384), found)
print("at 384 pixels:", *said)

# %% [markdown]
# So windows are per stage: a config has `window_size`, which was asked for, and `windows`, which each stage has. The
# tables alone reveal both, and, where a window shrank, the size of a square picture whose side is a multiple of 32.
# At 384 pixels the last map has 12 tokens on a side: the window is 12 again, and its table is stretched.
#
# Detectors do neither: their windows never shrink and every second block shifts, whatever the size
# (MMDetection 3, `mmdet/models/backbones/swin.py`). A file with norms of its own for the stages' outputs (norm0, norm1, …) is
# taken for one:

# %%
of_detector = swin_numpy.Backbone(replace(small_window, img_size=None)).state_dict()
print(
    "always_shift:",
    *(swin_numpy.infer_config(s).always_shift for s in (at_192, of_detector)),
)

# %% [markdown]
# ### Four sets of names
#
# Microsoft's code came first; timm, torchvision and transformers wrote Swin again, and named things their own way.
# (Microsoft's weights are handed on by timm and transformers; torchvision trained its own. But for one thing, below, the arrays' layout is the same.) `export_state_dict` gives a state dict the names of another library, so that its own loader
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
# (`transformers` is what a model of version 5 has in memory; `transformers_classic` is version 4, and what files
# hold.) In V1, only one thing is more than a name: transformers keeps query, key and value apart, and everybody else
# has one matrix `qkv` of three times the rows.

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
# There and back must be the identity, to the last bit:

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
# The counts differ: transformers has three arrays for each `qkv`; Microsoft also saves arrays that can be
# computed at any time, masks and index tables (chapter 5, Q36); torchvision only the tables. Files of version 4 of transformers hold an index table for
# each block as well.

# %% [markdown]
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
# Microsoft at first, and moved to the figure with version 0.9 (`checkpoint_filter_fn` in its `swin_transformer.py` tells them
# apart). The same array, then, is `layers.0.downsample` before and
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
alone = sorted(old.keys() ^ new.keys())
print(f"{len(alone)} names are in one of them only:", *alone, sep="\n  ")
both = [n for n in old.keys() & new.keys() if old[n].shape != new[n].shape]
print(f"{len(both)} are in both and mean something else:")
for name in sorted(both):
    print(f"  {name}: {old[name].shape} before, {new[name].shape} after")

# %% [markdown]
# That last list is why `strict=False` doesn't help: a name that is there must fit. Here is what PyTorch itself says if the
# new names are put into a model with the old ones (our modules check earlier, so we call PyTorch's own loader):

# %%
twin = swin_torch.SwinTransformer(tiny, seed=1).eval()  # not the file's weights
tensors = {name: torch.tensor(value) for name, value in new.items()}
try:
    torch.nn.Module.load_state_dict(twin, tensors, strict=False)
except RuntimeError as error:
    print("\n".join(line.strip()[:110] for line in str(error).splitlines()[:3]))

# %% [markdown]
# The converter tells old from new by the place of the first `downsample`: stage 0 has one only in the old names. Both
# give the same model:

# %%
logits = []
for file in (old, new):
    twin = swin_torch.SwinTransformer(tiny, seed=1).eval()
    twin.load_state_dict(swin_numpy.convert_state_dict(file))
    with torch.inference_mode():
        logits.append(twin(torch.from_numpy(photo)))
before, after = logits
agree("logits, old and new names", after, before, 0)

# %% [markdown]
# ### Q56: Which missing or unexpected keys (masks, indices, head, norms) are harmless when loading?
#
# *Missing*: the model has the name, the file doesn't. *Unexpected*: the other way round. Ask of each name: can it be
# computed again? Did I mean to replace it? If neither, something is lost.


# %%
def verdict(name):
    leaf = name.split(".")[-1]
    if leaf in ("attn_mask", "relative_position_index"):
        return "harmless: computed from sizes"
    if leaf == "relative_coords_table":
        return "harmless if you know the pre-training window (chapter 12)"
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
# The third is the bad one: every name is missing **and** every name is unexpected. With
# `strict=False`, PyTorch says nothing at all, and the model keeps its random weights:

# %%
tensors = {name: torch.tensor(value) for name, value in wrapped.items()}
twin = swin_torch.SwinTransformer(tiny, seed=1).eval()
untouched = twin.state_dict()["head.weight"].clone()
result = torch.nn.Module.load_state_dict(twin, tensors, strict=False)
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
    twin = swin_torch.SwinTransformer(tiny, seed=1).eval()
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
# run code when it is read. Files are read here with `weights_only=True`, which takes arrays in plain containers, and no
# code.

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
# "The same three times" must hold **after** normalising. ImageNet's means and deviations differ from colour to colour, so a
# grey picture that is normalised with them is no longer grey (chapter 2 has wrong normalisation). Use one mean and
# deviation for all, or put both into the weights (exercise 11.2).
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
# **11.2** Put mean and deviation into the patch convolution: with your weight and bias, pixels from 0 to 1 give the
# tokens that normalised pixels gave before. (Sides are multiples of the patch: padding with zeros would have to become
# padding with the mean.)


# %%
def without_normalising(weight, bias, mean, std):
    """weight (C, c, p, p), bias (C,), mean and std (c,) → new weight, new bias."""
    ...


check("11.2", without_normalising)

# %%
solution("11.2")

# %% [markdown]
# ### Q59: Why is my measured ImageNet accuracy below the reported one (resize, crop, interpolation, normalisation)?
#
# Often because each model is evaluated with one exact recipe, and yours differs. Recipes for Swin-T at 224 pixels, by library:
#
# | | shorter side | then |
# |---|---|---|
# | Microsoft, `data/build.py` | 256, bicubic | crop 224 |
# | timm 1.0, `crop_pct` 0.9 | 248, bicubic | crop 224 |
# | torchvision, `models/swin_transformer.py`, `IMAGENET1K_V1` | 232 (S: 246, B: 238), bicubic | crop 224 |
# | transformers, the files' `preprocessor_config.json` | – | straight to 224 × 224 |
#
# All take off ImageNet's mean and divide by its deviation. Microsoft's by hand on the cat, and in the library (its settings
# for 384 pixels resize straight to the size, and so does `preprocess`):

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

# %% [markdown]
# "Bicubic" is two different things: Pillow smooths before it shrinks (antialias); PyTorch's `interpolate` doesn't unless told
# to. How much do such choices change? We have no ImageNet weights here, but a trained model. Let each held-out picture be a
# file of four times its side, and shrink it again; the rows from "ImageNet's mean" on start from the one that Pillow's
# bicubic shrank:

# %% jupyter={"source_hidden": true}
mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
files, near = resized(held_out, 4 * side), Image.Resampling.NEAREST
plain = torch.tensor(files[:, None]).float()
unsmoothed = torch.nn.functional.interpolate(plain, (side, side), mode="bicubic")
unsmoothed = unsmoothed.clamp(0, 255).byte().numpy()[:, 0]
edge, good = files.shape[1] // 16, resized(files, side)
cropped = resized(files[:, edge:-edge, edge:-edge], side)
inputs = {
    "the original": standardise(held_out),
    "bicubic, smoothed": standardise(good),
    "bilinear": standardise(resized(files, side, Image.Resampling.BILINEAR)),
    "bicubic, not smoothed": standardise(unsmoothed),
    "nearest": standardise(resized(files, side, near)),
    "crop 7/8 of the side": standardise(cropped),
    "ImageNet's mean, deviation": (good[:, None] / 255 - mean[0]) / std[0],
    "0 … 1, not normalised": good[:, None] / 255,
    "0 … 255, not normalised": good[:, None] * 1.0,
    "black on white": standardise(255 - good),
    "rows and columns swapped": standardise(good).swapaxes(2, 3),
}

# %% jupyter={"source_hidden": true}
reference = None
print(f"{'':28} accuracy  same class  logits off by")
for name, images in inputs.items():
    with torch.inference_mode():
        parts = torch.tensor(images, dtype=torch.float32).split(50)
        logits = torch.cat([torch_model(part) for part in parts]).numpy()
    reference = logits if reference is None else reference
    same = (logits.argmax(1) == reference.argmax(1)).mean()
    off = np.abs(logits - reference).mean() / np.abs(reference).mean()
    print(f"{name:28} {accuracy(logits):8.1%}  {same:10.1%}  {off:8.1%}")

# %% [markdown]
# Each way of shrinking moves the logits, and all but one change the class of some pictures. These rows don't rank the
# ways: an enlarged file has no fine detail that smoothing could keep out, so here smoothing only blurs. None of these is an error message:
# the shapes are right in every row. For colour there is one more: OpenCV's `imread` gives blue, green, red.

# %% [markdown]
# ### Q63: Why can weights trained at 224 run on any size when ViT cannot, and do results suffer?
#
# As long as no window shrinks (Q55), no parameter's shape depends on the size of the picture: the patch convolution
# and the MLPs see one token at a time, a bias table sees one window, and before the head comes a mean over however
# many tokens there are. A ViT learns a position embedding with a row for each token, and so refuses another size,
# unless its embedding is interpolated (timm 1.0, `vision_transformer.py`: `dynamic_img_size`). Swin with such an
# embedding (`ape=True`) has the same trouble:

# %%
for ape in (False, True):
    small, big = (model_shapes(replace(tiny, img_size=s, ape=ape)) for s in (224, 448))
    print(
        f"ape={ape!s:5}  differ at 448:",
        [n for n in small if small[n] != big[n]] or "none",
    )

# %% [markdown]
# Running isn't answering well, though. The trained model on held-out pictures of other sizes, windows as trained: the picture
# **enlarged** or shrunk, and the picture as it is in a larger **black frame**:


# %% jupyter={"source_hidden": true}
def framed(images, size):
    before = (size - side) // 2
    after = size - side - before
    return np.pad(images, ((0, 0), (before, after), (before, after)))


sizes = (20, 24, 28, 32, 36, 42, 48, 56)
any_size = load_adapted(img_size=None)
enlarged = [accuracy(logits_of(any_size, resized(fewer, size))) for size in sizes]
in_frame = [
    accuracy(logits_of(any_size, framed(fewer, size))) if size >= side else np.nan
    for size in sizes
]
lines = {"resized": enlarged, "in a black frame": in_frame}
curves(
    lines, "side in pixels", "share right", x=np.array(sizes), marks={"trained": side}
)

# %% [markdown]
# Every size gives an answer. From this small model, whose second stage was a single window, it is worth less the further the
# size is from the trained one. A model that is *trained* on many sizes, as detectors are, is another matter, and not tried.

# %% [markdown]
# ### Q62: What if H or W is not divisible by patch size times M (256, 512, 750, 768 ...)?
#
# Cutting into windows is a reshape, which needs whole windows. Code that doesn't pad, such as Microsoft's classifier
# (`models/swin_transformer.py`), stops with an error where a map is larger than the window and no multiple of it.
# Ours pads each map inside the block. How many tokens more does that make in each stage, in percent? (Blank: none. A
# model built for the size shrinks a window to its map, so small maps need no padding.)

# %%
print("  side   M   windows         tokens more in stage 1, 2, 3, 4")
for pixels_side in (224, 256, 384, 512, 750, 768):
    for window in (7, 8, 12):
        built = replace(tiny, img_size=pixels_side, window_size=window)
        more = []
        for (h, w), m in zip(built.grids, built.windows, strict=True):
            more.append((-(-h // m) * m) * (-(-w // m) * m) / (h * w) - 1)
        shown = [f"{extra:6.0%}" if extra else 6 * " " for extra in more]
        print(f"{pixels_side:6} {window:3}   {built.windows!s:15}", *shown)

# %% [markdown]
# Three cures: **resize** the picture, choose **another M** (and interpolate the tables), or **pad** inside the block. 28
# pixels to 32 and 64 is, in proportion, what 224 to 256 and 512 is for Swin-T, of which our model has the last two stages
# only. Without any training:

# %% jupyter={"source_hidden": true}
print("pixels  cure             windows    accuracy  logits off by")
for size in (side * 8 // 7, side * 16 // 7):
    bigger, base = resized(fewer, size), right[: len(fewer)]
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
# "Off by" compares with the logits at the trained size. Detectors resize too, but keep a picture's proportions (MMDetection
# 3, `configs/swin`), so sizes vary; there models are *trained* with padding, which is another matter than meeting it for the
# first time.

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
# For the usual mask, before: it is made for the padded map, with its seam $s$ rows before the end. Chapter 6 has the block's
# lines ("Any size"). A map with nine rows, $M = 4$, $s = 2$; -1 is padding, a bar ends a window, and the seam is before the
# last two rows:

# %%
rows, pad = np.arange(9), -9 % 4
orders = {
    "pad, then roll": np.roll(np.pad(rows, (0, pad), constant_values=-1), -2),
    "roll, then pad": np.pad(np.roll(rows, -2), (0, pad), constant_values=-1),
}
for name, order in orders.items():
    print(name, *rearrange(order, "(k m) -> k m", m=4).tolist(), sep="  |  ")

# %% [markdown]
# In the first line rows 0 and 1, which came round the corner, lie behind the seam: the mask keeps them from the rest. In the
# second, rows 0 and 1 are in front of it: row 0 shares a window with rows 6 to 8 (row 1 begins the next), and no mask between
# them. torchvision (0.20 and later) and transformers (4 and 5) pad first. timm (1.0, V1 and V2) rolls first, so where it pads and shifts, its logits
# differ from Microsoft's detection code.

# %% [markdown]
# ### Q65: Do padded tokens take part in attention, and how much weight do they draw?
#
# Yes. A padded token is zero after norm1, so its query, key and value are the biases of `qkv`, and nothing masks it
# out for being padding (Microsoft's detection code and torchvision do the same). Chapter 6 shows it in one window
# ("The padding takes part"). Here the trained model on pictures of 64 pixels, for the real tokens that see padding:


# %% jupyter={"source_hidden": true}
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


# %% jupyter={"source_hidden": true}
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
# In one block the weight lies above the share of keys, in the others at it or below: nobody taught this model what padding is.
# What if padding is masked, like what lies across the seam?


# %%
class MaskedPadding(SwinTransformerBlock):
    def mask_for(self, grid, x):
        real = windows_of(self, grid, np.ones(grid)) > 0
        return np.where(real[:, None], mask_of(self, grid), -100).astype(x.dtype)


masking = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
for block in [block for layer in masking.layers for block in layer.blocks]:
    block.__class__ = MaskedPadding  # the same weights, another mask
print("pixels  padded rows   accuracy: as it is, masked   logits differ by")
for size in (side, side + 4, side + 8, side + 14, side + 20):
    images = standardise(resized(held_out[:200], size)).astype(np.float32)
    plain, masked = (model(images) for model in (numpy_model, masking))
    gap = np.abs(masked - plain).mean() / np.abs(plain).mean()
    rows = size // config.patch_size
    halved = (rows + 1) // 2  # in stage 2
    added = f"{-rows % M} and {-halved % M}"
    print(
        f"{size:6} {added:>12} {accuracy(plain):21.1%} {accuracy(masked):7.1%} {gap:18.0%}"
    )

# %% [markdown]
# With nothing to pad in either stage, both are the same model. Otherwise a mask changes the answers, for the better at some sizes and for
# the worse at others: this model was trained with neither. The safe choice, not tested here: pad and mask as in training.

# %% [markdown]
# ### Q67: Why are corners and borders bright in feature similarity or attention maps without an object there?
#
# Three different reasons, and an experiment for each. **One: it is in the pictures.** Here is the average length of the
# tokens of stage 1, over held-out pictures; and again with all pictures rolled by half their side, so that what was in
# the corners is now in the middle.


# %% jupyter={"source_hidden": true}
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
pair = {name: maps[name] for name in ("pictures", "rolled by half")}
show_maps(pair, columns=2, bar="length of a token, stage 1")

# %% jupyter={"source_hidden": true}
pair = {
    name: maps[name] / maps[name][1:-1, 1:-1].mean() for name in ("noise", "constant")
}
show_maps(pair, columns=2, bar="against the inside", low=0.9, high=1.1)

# %% [markdown]
# (The second pair has a scale of its own, relative to the inside of each map.) If brightness follows the picture when it is rolled, it belongs to what is shown there (empty background, here), not to
# the place. Noise has the same content everywhere: what is left then is the network's own doing. And a constant
# picture stays constant, exactly, where nothing is padded, whatever the bias table and the mask do: each token gets an average of values that are
# all the same, and any weights that sum to 1 give the same average. With the bias and the shift switched off, one at a
# time:


# %% jupyter={"source_hidden": true}
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
        padded_maps[f"bias {bias}, shift {shift}"] = large_map
corners, borders = stand_out(lengths(masking, larger_noise))
print(
    f"bias and shift on, padding masked: corners {corners:.1%}, last row {borders:.1%}"
)

# %% [markdown]
# **Two: padding.** A size that needs no padding leaves noise nearly even. A size that does makes the last rows and
# columns stand out, because they average over padding, which has another value than the picture:

# %%
show_maps(padded_maps, bar=f"noise of {side + 8} pixels, padded")

# %% [markdown]
# That padding is the cause one can test: the last line above masks it, and the border is no longer darker.
#
# **Three: attention maps have fewer keys there.** After the shift, tokens at the border live in smaller windows: the
# mask leaves them $s \times s$ keys in one corner, $M \times M$ inside. Every row of weights sums to 1, so with fewer keys
# each gets more. Draw the weights, and the corners light up. The mean weight that each token gives to a key that it may
# see, and the largest it gives to any, in a shifted block:


# %% jupyter={"source_hidden": true}
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
per_query = received / on_the_map(block, grid, seen.sum(-2))
shown = {
    "mean weight of a key": mean_weight,
    "largest weight": largest,
    "received, per query": per_query,
}
for title, values in shown.items():
    print(f"{title:21} from {values.min():.3f} to {values.max():.3f}")
show_maps(shown, columns=3)

# %% [markdown]
# (Each map has a scale of its own, from its smallest number, white, to its largest.)
#
# The input is noise; there is no object anywhere. Before you read an attention map, take out what the numbers of visible
# keys and queries do to it. And before you read a map of features, feed noise.

# %% [markdown]
# ### Q66: Why does an exported graph work only at the traced size?
#
# Tracing runs the model once and writes down the operations that happened. A length that code turned into a plain number,
# by `int(…)` or by keeping a size in the model, is written down as a **constant**. Public code does both (`window_reverse`,
# `input_resolution` and `attn_mask` in Microsoft's `models/swin_transformer.py`). Here it happens in a cut into windows:


# %%
def cut(x, number=int):
    """x (n, h, w, c) → (windows, 49, c), with number(length) for each length of x."""
    n, h, w, c = (number(length) for length in x.shape)
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
left = torch.jit.trace(
    lambda x: cut(x, lambda length: length), torch.zeros(1, 56, 56, 16)
)
print("without int(…), at 70 × 70:", tuple(left(torch.zeros(1, 70, 70, 16)).shape))

# %% [markdown]
# 56 / 7 = 8 windows are in there, and 70 / 7 = 10 are not 8. A shape that happens to fit, 28 × 112 for 56 × 56, is worse: the
# graph cuts other windows, without a word (chapter 8). `torch.export`, PyTorch's newer way, freezes sizes as well, but
# writes down what it relied on and refuses anything else:

# %%
x = torch.from_numpy(few[:2])
batch = torch.export.Dim("n", min=1, max=256)
graphs = {
    "fixed": torch.export.export(torch_model, (x,)),
    "any batch": torch.export.export(torch_model, (x,), dynamic_shapes=({0: batch},)),
}
for what, graph in graphs.items():
    with torch.inference_mode():
        agree(f"exported, {what}", graph.module()(x), torch_model(x), 1e-6)
    for shape in ((5, *x.shape[1:]), (2, config.in_chans, side + 4, side + 4)):
        try:
            graph.module()(torch.zeros(shape))
            print(f"{what:10} {shape}: fine")
        except (AssertionError, RuntimeError) as error:
            print(f"{what:10} {shape}: {str(error).strip().splitlines()[0][:60]}")
sides = {a: side * torch.export.Dim(name, min=2) for a, name in ((2, "h"), (3, "w"))}
enlarged = x.repeat(1, 1, 2, 2), x.repeat(1, 1, 3, 4)
graph = torch.export.export(torch_model, enlarged[:1], dynamic_shapes=(sides,)).module()
with torch.inference_mode():
    for images in enlarged:
        shape = tuple(images.shape)
        agree(f"any sides, {shape}", graph(images), torch_model(images), 1e-6)

# %% [markdown]
# The **batch** can be left open: nothing that the model computes in Python depends on it. Height and width can be left open
# only as far as all sides need the same padding and the same shift (a map of one window isn't shifted, hence `min=2`): both
# are Python's arithmetic on the grid. Else
# export one graph for each size that you serve, or bring all pictures to one size.

# %% [markdown]
# ### Q61: What do the out indices select, and must all four maps be used?
#
# `out_indices` selects the stages whose maps come out; stages count from 0. You need not use all. What comes after
# the last one you asked for isn't computed, and never gets a gradient. Each map is about twice as large as the next:

# %%
half = load_image(photo_path("chelsea")).reduce(2)
whole = torch.from_numpy(to_array(half))
print("out_indices    MB of maps   stages run   without gradient")
for indices in ((0, 1, 2, 3), (1, 2, 3), (0, 1), (3,)):
    model, ran = swin_torch.Backbone(free, indices), []
    for layer in model.layers:
        layer.register_forward_hook(lambda *_, ran=ran: ran.append(1))
    with torch.inference_mode():
        megabytes = sum(4 * y.numel() for y in model(whole)) / 1e6
    stages_run = len(ran)
    sum(y.sum() for y in model(whole[..., :64, :96])).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    stages = sorted({name.split(".")[1] for name in idle})
    where = f"{len(idle)} parameters: layers {', '.join(stages)}" if idle else "none"
    print(f"{indices!s:14} {megabytes:10.1f} {stages_run:12}   {where}")

# %% [markdown]
# Leaving out the finest map, (1, 2, 3), saves no stage in the backbone: stage 0 must be computed all the same. It
# saves in the decoder, whose work grows with the maps. Leaving out the last stages saves their work; then their
# parameters get no gradient (of layer 1 it is the merging at its end), and PyTorch's DDP (training on several GPUs)
# raises an error about unused parameters unless told to look for them.

# %% [markdown]
# ### Bicubic interpolation by a loop


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
agree("loop and library", stretched, resize_by_loop(table, 2 * M))

# %% [markdown]
# ### One step of fine-tuning, in both twins
#
# The gradients of one batch after `num_classes=2`, without drop path:

# %% jupyter={"source_hidden": true}
ours, twin = (
    load_adapted(package, num_classes=2, drop_path_rate=0.0).train()
    for package in (swin_numpy, swin_torch)
)
logits = ours(train_x[:8].numpy())
ours.backward(F.cross_entropy_backward(logits, train_y[:8].numpy()))
torch.nn.functional.cross_entropy(twin(train_x[:8]), train_y[:8]).backward()
gradients = dict(ours.named_parameters())
for name in ("patch_embed.proj.weight", "head.weight"):
    agree(
        f"gradient of {name}", gradients[name].grad, twin.get_parameter(name).grad, 1e-3
    )

# %% [markdown]
# ### The way back through a decoder
#
# In NumPy: the backward of "enlarge" sums four gradients, the backward of "add" hands one to both.


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
# own memory, and so does that of PyTorch. Train on, and "best" trains along.

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
# ## Where to read on
#
# - Liu et al. 2021, section 4.1: fine-tuning from 224 to 384 pixels. Lin et al. 2017, *Feature Pyramid Networks for
#   Object Detection*. Touvron et al. 2019, *Fixing the train-test resolution discrepancy*: why size at test time matters.
#   Keys 1981, *Cubic convolution interpolation*.
# - In this package: `swin_numpy/weights/` (start at `load.py`), `swin_numpy/pictures/images.py` and `backbone.py`;
#   `python -m swin_torch.convert` for files.
# - Next: chapter 12, Swin V2, whose position bias needs no table.
