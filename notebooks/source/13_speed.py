# %% [markdown]
# # 13 · Speed: where the time goes
#
# ![Times of NumPy, PyTorch and other implementations of Swin-T, as ratios of one run](../figures/gallery/speed.png)
#
# The same sums, written twice, gave the same numbers in every chapter. How long do they take? This chapter asks
# where the time goes, and takes the plain code apart into steps that make it faster, each measured by itself.
# All measurements but those of `make bench` (the picture above, and near the end) were made when this page was built; run
# it, and they are those of your machine.
#
# After this chapter you can explain
#
# - how to time two pieces of code so that the ratio means something;
# - how far the twins are apart in float64, float32, float16 and bfloat16, and why that isn't a mistake in either;
# - where a NaN comes from, how it spreads, and how to find the step that made it;
# - which parts of a Swin take the time, and what each of several optimisations gives, or doesn't;
# - when window attention is slower, or needs more memory, than global attention;
# - how far from the machine's limit the code is, and which limit that is.

# %% jupyter={"source_hidden": true}
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core: see "How to hold a stopwatch"

import inspect
import json
import subprocess
import sys
import textwrap
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, process_time
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from lesson import agree, check, side_by_side, solution
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import swin_numpy
import swin_torch
from figures import photo_path, speed
from figures.maps import show_maps
from figures.measure import bars, curves, disagreement
from swin_numpy import cyclic_shift, functional, gelu, shift_mask, window_partition
from swin_numpy.pictures.images import load_image, preprocess
from swin_numpy.runtime.environment import core_count, environment
from swin_numpy.runtime.trace import record
from swin_torch.compare import BOUNDS, compare, make_twins, verdict, worst

torch.set_num_threads(1)
torch.manual_seed(13)
rng = np.random.default_rng(13)
images = preprocess(load_image(photo_path("coffee")))  # (1, 3, 224, 224), float32
print(environment("numpy", "torch"))

# %% [markdown]
# ## How to hold a stopwatch
#
# A computer does other things too. A single measurement of a single function says little; the same function twice gives
# two different times. Five habits help:
#
# 1. **Choose the clock.** `perf_counter` is a clock on the wall: it also runs while another program has the core.
#    `process_time` only counts while the processor works for *this* program: the better one on one core. With several
#    threads it adds up all of them, and the wall clock is the right one.
# 2. **Warm up**: the first call also pays for what is set up once.
# 3. **Take turns**: one call of each contender, then again one of each. A slow moment then hits all of them.
# 4. **Repeat, and take the median**: half of all turns were faster, half slower. Say how wide the middle half is.
# 5. **Compare within one run**: a ratio of two times from one run travels to another machine better than a time does.
#
# And everything runs on **one core** here. With several, you would also measure how well the work is shared, which is a
# step of its own (threads, at the end).


# %% jupyter={"source_hidden": true}
def by_turns(contenders, repeats=7, clock=process_time):
    """{name: call} → {name: seconds (repeats,)}: a warm-up, then one call of each in turn."""
    times = {name: [] for name in contenders}
    for turn in range(1 + repeats):
        for name, call in contenders.items():
            start = clock()
            call()
            if turn > 0:
                times[name].append(clock() - start)
    return {name: np.array(seconds) for name, seconds in times.items()}


def quartiles(values):
    return np.quantile(values, (0.25, 0.5, 0.75))


gained = {}  # step: how many times as fast, for the picture at the end


def race(step, contenders, repeats=7, clock=process_time):
    """Print how long each takes, and how many times as fast the last is as the first."""
    times = by_turns(contenders, repeats, clock)
    for name, seconds in times.items():
        low, middle, high = 1000 * quartiles(seconds)
        print(f"{name:26}{middle:9.2f} ms   half of all: {low:.2f} to {high:.2f}")
    first, *_, last = times.values()
    low, middle, high = gained[step] = quartiles(first / last)
    print(f"→ {middle:.2f} times as fast (half of all turns: {low:.2f} to {high:.2f})")


# %% [markdown]
# How good is this stopwatch? Let a function race against itself:

# %% jupyter={"source_hidden": true}
square = rng.standard_normal((384, 384), dtype=np.float32)
race(
    "a product against itself",
    {"A": lambda: square @ square, "B": lambda: square @ square},
)
print("Gains within this spread are noise.")

# %% [markdown]
# Write the function, run the cell, and read what the check says. Stuck? Open the solution below it.
#
# **13.1** Amdahl's law: a part takes this share of the time, and becomes `gain` times as fast. And the whole?


# %%
def whole_gain(share, gain):
    """0.5, 2.0 → how many times as fast the whole is."""
    ...


check("13.1", whole_gain)

# %%
solution("13.1")

# %% [markdown]
# ## Do they agree, layer by layer?
#
# Before speed comes sameness. Numbers in a computer have a fixed number of digits, so each operation rounds. The
# **rounding step** is the gap between 1 and the next number that the format has (its `eps`).

# %% jupyter={"source_hidden": true}
print("dtype     bits  rounding step  largest number")
for name in BOUNDS:
    info = torch.finfo(getattr(torch, name))
    print(f"{name:9} {info.bits:4} {info.eps:14.1e} {info.max:15.3g}")
half, brain = torch.finfo(torch.float16), torch.finfo(torch.bfloat16)
assert half.eps < brain.eps and half.max < brain.max

# %% [markdown]
# Both 16-bit formats have the same number of bits. float16 spends more of them on digits (a finer step), bfloat16
# more on range (as large as float32's).
#
# Now the photograph goes through both twins in each format, and every step is compared. (For the two 16-bit formats
# the NumPy twin computes in float32, as the reference.) The model has Swin-T's depth and a third of its channels.

# %% jupyter={"source_hidden": true}
small = swin_numpy.SwinConfig(embed_dim=32, num_heads=(1, 2, 4, 8), num_classes=10)
rows = {name: compare(*make_twins(small, name), images) for name in BOUNDS}
for name in BOUNDS:
    fine, sentence = verdict(rows[name], name)
    assert fine, sentence
    print(sentence)


# %% jupyter={"source_hidden": true}
def short(name):
    """layers.2.blocks.3 → 2.3: block 3 of stage 2, both counted from 0."""
    name = name.replace("layers.", "").replace("blocks.", "")
    return name.replace("downsample", "merge")


steps = [short(row.name) for row in rows["float64"]]
differences = {name: np.array([row.relative for row in rows[name]]) for name in BOUNDS}
eps = {name: torch.finfo(getattr(torch, name)).eps for name in BOUNDS}
disagreement(steps, differences, "largest relative difference", eps)

# %% [markdown]
# The difference (largest difference over largest number) starts near the rounding step of the format. It doesn't
# explode on the way down. (Each block adds its result to the tokens as they were, and the norms bring them back to one
# scale: likely reasons, not tested here.) In rounding steps:

# %% jupyter={"source_hidden": true}
for name in BOUNDS:
    row = worst(rows[name])
    print(
        f"{name:9} at most {row.relative / eps[name]:5.1f} rounding steps, at {row.name}"
    )

# %% [markdown]
# ## Where the time goes
#
# Swin-T and the photograph, both twins, plain: the code that the chapters show. A stopwatch is put round every module
# and round some functions. Each part is charged only with what isn't charged to a part *inside* it: `Mlp`, say,
# without its two linear layers.


# %% jupyter={"source_hidden": true}
class Stopwatch:
    def __init__(self):
        self.seconds, self.inside = Counter(), [0.0]

    def wrap(self, part, call):
        def timed(*inputs, **options):
            self.inside.append(0.0)
            start = process_time()
            result = call(*inputs, **options)
            whole = process_time() - start
            self.seconds[part] += whole - self.inside.pop()
            self.inside[-1] += whole  # whoever called us doesn't pay for this
            return result

        return timed


# %% jupyter={"source_hidden": true}
LINEAR, GELU, NORM, SOFTMAX = "linear layers", "GELU", "layer norms", "softmax"
CORE, MOVE, REST = "scores, bias, Z", "pad, roll, windows, mask", "rest"
MODULES = {"Linear": LINEAR, "LayerNorm": NORM, "WindowAttention": CORE}
FUNCTIONS = {
    "block": dict.fromkeys(
        (
            "pad_to_multiple",
            "cyclic_shift",
            "window_partition",
            "window_reverse",
            "shift_mask",
        ),
        MOVE,
    ),
    "layers": {"gelu": GELU},
    "window_attention": {"softmax": SOFTMAX},
}


def stopwatches(watch, package, model, stack):
    """Put `watch` round the model's modules and the package's functions, for as long as `stack` is open."""

    def put(place, name, part):
        stack.enter_context(
            patch.object(place, name, watch.wrap(part, getattr(place, name)))
        )

    for _, module in model.named_modules():
        if hasattr(module, "forward"):
            put(module, "forward", MODULES.get(type(module).__name__, REST))
    for file, names in FUNCTIONS.items():
        for name, part in names.items():
            put(getattr(package, file), name, part)


def time_parts(package, model, run, repeats=2):
    """{part: seconds of one run}."""
    watch = Stopwatch()
    with ExitStack() as stack:
        stopwatches(watch, package, model, stack)
        run()
        watch.seconds.clear()  # that was the warm-up
        for _ in range(repeats):
            run()
    order = (LINEAR, GELU, NORM, SOFTMAX, CORE, MOVE, REST)
    return {part: watch.seconds[part] / repeats for part in order}


# %% jupyter={"source_hidden": true}
tiny = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
numpy_model, torch_model = make_twins(tiny)
torch_model.eval()
photo = torch.from_numpy(images)


def run_numpy():
    return numpy_model(images)


@torch.inference_mode()
def run_torch():
    return torch_model(photo)


seconds = {
    "NumPy, plain": time_parts(swin_numpy, numpy_model, run_numpy),
    "PyTorch, plain": time_parts(swin_torch, torch_model, run_torch),
}
speed.profile(seconds)

# %% [markdown]
# Compare that with the *arithmetic*. PyTorch counts the operations of all matrix products; a multiply-add is two:

# %% jupyter={"source_hidden": true}
with FlopCounterMode(display=False) as counter:
    run_torch()
flops = counter.get_total_flops()


def linear_flops(model):
    """Of the linear layers: in blocks, between stages, and the head. By hooks."""
    counts, hooks = [], []
    for _, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            hooks.append(
                module.register_forward_hook(
                    lambda m, x, y: counts.append(2 * x[0].numel() * y.shape[-1])
                )
            )
    run_torch()
    for hook in hooks:
        hook.remove()
    return sum(counts)


share = linear_flops(torch_model) / flops
print(
    f"{flops / 1e9:.2f} GFLOP; {share:.0%} of them in linear layers, whose share of the time is"
)
for run, parts in seconds.items():
    print(f"{run:15} {parts[LINEAR] / sum(parts.values()):.0%}")

# %% [markdown]
# Most of what is left of the bars goes through arrays number by number, or row by row. Some of it mostly moves numbers
# (adding a bias, rolling the map); some computes a good deal for each (the exponentials of GELU and softmax). This is
# where most of the steps below find their time.

# %% [markdown]
# ## Step by step
#
# Each step is a small function, the plain way beside one that is meant to be faster; both are checked to give the
# same. Steps 1 to 4 stand here, steps 5 to 10 under "Deeper", where all are drawn in one picture. Where the middle half of
# the measured ratios reaches down to that of the product against itself, no gain can be told from noise. The sizes are those of Swin-T's first stage: 56 × 56 tokens, 96 channels,
# 64 windows of 49 tokens, 3 heads.

# %% jupyter={"source_hidden": true}
H, C, M, heads = 56, 96, 7, 3
grid_map = rng.standard_normal((1, H, H, C), dtype=np.float32)
windows = window_partition(grid_map, M)[0]  # (64, 49, 96)
weight = rng.standard_normal((3 * C, C), dtype=np.float32)

# %% [markdown]
# ### Step 1: roll and partition as one gather
#
# The plain way rolls the map (one copy), then cuts it (another), and after attention joins and rolls back (two more).
# But all of it only says *which token goes where*. Send the tokens' numbers through once, and you have that as a
# list; from then on one gather brings the tokens into their windows, and one scatter back.


# %% jupyter={"source_hidden": true}
def roll_and_cut(x):
    return window_partition(cyclic_shift(x, 3), M)


def there_and_back(x):
    return cyclic_shift(swin_numpy.window_reverse(roll_and_cut(x), M, H, H), -3)


places = roll_and_cut(np.arange(H * H).reshape(1, H, H, 1)).ravel()  # once


def gather_and_scatter(x):
    tokens, out = x.reshape(-1, C), np.empty((H * H, C), x.dtype)
    cut = tokens[places]
    out[places] = cut
    return out.reshape(x.shape)


agree(
    "gather", grid_map.reshape(-1, C)[places], roll_and_cut(grid_map).reshape(-1, C), 0
)
agree("there and back", gather_and_scatter(grid_map), there_and_back(grid_map), 0)
race(
    "1 roll + windows as a gather",
    {
        "roll and partition": lambda: there_and_back(grid_map),
        "gather": lambda: gather_and_scatter(grid_map),
    },
)

# %% [markdown]
# **13.3** The list for step 1, with nothing but NumPy: `tokens[list]` are the tokens of the shifted windows, window
# after window.


# %%
def gather_list(side, window, shift):
    """→ token numbers (side²,)."""
    ...


check("13.3", gather_list)

# %%
solution("13.3")

# %% [markdown]
# ### Step 2: bias and mask, once for each kind of window
#
# The plain way adds the bias to all scores and then the mask: two new arrays as large as the scores. But there
# are only four kinds of masks (chapter 05). Add bias and mask once for each kind, and that sum to the windows of the
# kind, in place. (The windows are sorted by kind, which step 1's list does for free.) That is two changes at once, so there
# is a third contender: two additions as before, but in place.

# %% jupyter={"source_hidden": true}
kinds, kind_masks = swin_numpy.fused.mask_kinds((H, H), M, (3, 3))
order = np.argsort(kinds, kind="stable")
mask = shift_mask(H, H, M, 3)[order].astype(np.float32)  # (64, 49, 49)
bias = rng.standard_normal((heads, M * M, M * M), dtype=np.float32)
scores = rng.standard_normal((64, heads, M * M, M * M), dtype=np.float32)
print("windows of each kind:", np.bincount(kinds).tolist())


def bias_then_mask(scores):
    return scores + bias + mask[:, None]


def by_kind(scores, both):
    for kind, start in enumerate(
        starts := np.searchsorted(kinds[order], range(5))[:-1]
    ):
        scores[start : [*starts, 64][kind + 1]] += both[kind]
    return scores


both = bias + kind_masks[:, None]  # (4, 3, 49, 49)
agree("step 2", by_kind(scores.copy(), both), bias_then_mask(scores), 1e-6)
target = scores.copy()
race(
    "2 bias + mask by kind",
    {
        "bias, then mask": lambda: bias_then_mask(scores),
        "by kind": lambda: by_kind(target, both),
    },
)
in_place = by_turns(
    {
        "two additions in place": lambda: np.add(
            np.add(target, bias, out=target), mask[:, None], out=target
        ),
        "by kind, in place": lambda: by_kind(target, both),
    }
)
print(
    "of that, by kind alone:",
    f"{np.median(in_place['two additions in place'] / in_place['by kind, in place']):.2f} times",
)

# %% [markdown]
# ### Step 3: which way round a product
#
# Tokens as rows, or tokens as columns? $y = x W^T$ and $y^T = W x^T$ are the same sums. But a library for matrix
# products usually copies both matrices in pieces into the order that its innermost loop wants, and what that costs may depend on
# the library, the sizes, and which way round they lie in memory. Here are the first layer of an MLP in the third
# stage, for one window of tokens, for four, and for sixteen:

# %% jupyter={"source_hidden": true}
fc1 = rng.standard_normal((16 * C, 4 * C), dtype=np.float32)
rates = {}
for count in (M * M, 4 * M * M, 16 * M * M):
    as_rows = rng.standard_normal((count, 4 * C), dtype=np.float32)
    columns = np.ascontiguousarray(as_rows.T)
    agree(f"{count} tokens", (fc1 @ columns).T, as_rows @ fc1.T, 1e-5)
    times = by_turns(
        {"rows": lambda x=as_rows: x @ fc1.T, "columns": lambda x=columns: fc1 @ x}, 9
    )
    for name, seconds_of in times.items():
        rate = 2e-9 * count * fc1.size / np.median(seconds_of)
        rates[f"{count} tokens as {name}"] = rate
bars(rates, "GFLOP/s, one core", form="{:.1f}")

# %% [markdown]
# ### Step 4: groups of windows through the whole block
#
# After the partition, *nothing* that a block does to a window needs another window: norm, attention, MLP. So take a
# group of windows through the whole block, then the next: several cores can each take groups of their own. That is how the
# NumPy twin's fast path is built. `use_attention("fused")` switches a fast path on in both twins; weights, results and names
# are the same. With other steps in it too, the whole of it is measured here. The last two lines take away PyTorch's oneDNN,
# which computes its linear layers, and NumPy's groups. (PyTorch's makes no groups of one photograph.)


# %% jupyter={"source_hidden": true}
def with_way(model, kind, run):
    model.use_attention(kind)
    return run()


plain_logits = run_numpy(), run_torch()
agree("NumPy, fused", with_way(numpy_model, "fused", run_numpy), plain_logits[0], 1e-5)
agree(
    "PyTorch, fused", with_way(torch_model, "fused", run_torch), plain_logits[1], 1e-5
)

runs = {"NumPy": (numpy_model, run_numpy), "PyTorch": (torch_model, run_torch)}
calls = {
    f"{name}, {kind}": lambda kind=kind, call=call: with_way(call[0], kind, call[1])
    for name, call in runs.items()
    for kind in ("plain", "fused")
}
whole = by_turns(calls, 3)
for name, seconds_of in whole.items():
    low, middle, high = 1000 * quartiles(seconds_of)
    print(f"{name:15} {middle:7.1f} ms   half of all: {low:.1f} to {high:.1f}")
for name in runs:
    ratio = quartiles(whole[f"{name}, plain"] / whole[f"{name}, fused"])
    gained[f"4 whole Swin-T, {name}"] = ratio
    print(f"→ {name}: fused is {ratio[1]:.2f} times as fast as plain")
ratio = np.median(whole["PyTorch, fused"] / whole["NumPy, fused"])
print(f"→ fused NumPy is {ratio:.2f} times as fast as fused PyTorch, on one core here")


def usual():
    with patch.object(swin_torch.fused_training, "ONEDNN", False):
        return with_way(torch_model, "fused", run_torch)


pair = by_turns({"plain": calls["PyTorch, plain"], "usual": usual}, 3)
gain = np.median(pair["plain"] / pair["usual"])
print(f"→ PyTorch, fused, with its usual products: {gain:.2f} times as fast as plain")


def ungrouped():
    with patch.object(swin_numpy.fused, "_groups", lambda n, numbers: [slice(0, n)]):
        return with_way(numpy_model, "fused", run_numpy)


agree("NumPy, one group", ungrouped(), plain_logits[0], 1e-5)
pair = by_turns({"one group": ungrouped, "groups": calls["NumPy, fused"]}, 7)
low, middle, high = quartiles(pair["one group"] / pair["groups"])
print(f"→ of NumPy's gain, groups alone: {middle:.2f} ({low:.2f} to {high:.2f})")

# %% jupyter={"source_hidden": true}
bars(
    {name: 1000 * np.median(t) for name, t in whole.items()},
    "Swin-T, ms, one core",
    form="{:.0f}",
)

# %% [markdown]
# Most of the time goes to linear layers, as the profile showed, and which library multiplies can matter more than all other
# steps together. NumPy's groups are made for several cores: each core takes groups of its own through the whole block (or, where
# tokens are few, a share of heads and channels), where NumPy by itself would share out nothing but the large products. `make bench` measures that, on the wall clock and with all cores.

# %% [markdown]
# ## The roofline: how far from the limit?
#
# A processor has two limits: how many operations a second, and how many bytes a second it can get from memory. Which
# one counts depends on how many operations there are *for each byte*. First measure both limits, with two things
# that NumPy does well: a large matrix product, and a large copy.

# %% jupyter={"source_hidden": true}
big = rng.standard_normal((1024, 1024), dtype=np.float32)
product = np.empty_like(big)
source = np.ones(2**24, np.float32)  # 64 MB: more than most caches hold
copy = np.empty_like(source)
limits = by_turns(
    {
        "product": lambda: np.matmul(big, big, out=product),
        "copy": lambda: np.copyto(copy, source),
    },
    5,
)
peak = 2 * 1024**3 / limits["product"].min()
bandwidth = 2 * source.nbytes / limits["copy"].min()
print(
    f"products {peak / 1e9:.0f} GFLOP/s, copy {bandwidth / 1e9:.1f} GB/s, read and written"
)
print(f"even at {peak / bandwidth:.0f} operations a byte; fewer: memory is the limit")

# %% [markdown]
# Now some parts of the first stage. Operations: two for each multiply-add; for the others, the NumPy operations in
# `functional.py` and `gelu.py` for each number. Bytes: what goes in and what comes out, once. That is the least that has to move.

# %% jupyter={"source_hidden": true}
hidden = rng.standard_normal((H * H, 4 * C), dtype=np.float32)  # what the MLP widens to
x = rng.standard_normal((H * H, C), dtype=np.float32)
w1 = rng.standard_normal((4 * C, C), dtype=np.float32)
nq, nk = rng.standard_normal((2, 64, heads, M * M, C // heads), dtype=np.float32)
ones, zeros = np.ones(C, np.float32), np.zeros(C, np.float32)
per_number = {
    "softmax": 5,
    "layer norm": 8,
    "GELU": 25,
}  # such as max, minus, exp, sum, divide
work = {
    "linear (fc1)": (
        lambda: functional.linear(x, w1),
        2 * x.size * 4 * C,
        x.nbytes + w1.nbytes + hidden.nbytes,
    ),
    "scores": (lambda: nq @ nk.mT, 2 * nq.size * M * M, 2 * nq.nbytes + scores.nbytes),
    "softmax": (
        lambda: functional.softmax(scores),
        per_number["softmax"] * scores.size,
        2 * scores.nbytes,
    ),
    "layer norm": (
        lambda: functional.layer_norm(x, ones, zeros),
        per_number["layer norm"] * x.size,
        2 * x.nbytes,
    ),
    "GELU": (
        lambda: gelu.gelu(hidden),
        per_number["GELU"] * hidden.size,
        2 * hidden.nbytes,
    ),
}
times = by_turns({name: call for name, (call, _, _) in work.items()}, 5)
parts = {
    name: (count, moved, times[name].min()) for name, (_, count, moved) in work.items()
}
speed.roofline(peak, bandwidth, parts)

# %% [markdown]
# Left of the corner, memory is the limit; right of it, arithmetic. What lies far below
# both roofs is held by neither. Softmax, norm and GELU go over their numbers several times, a call of NumPy for each (step 7
# measures what the cache gives there), and `exp` and division take longer than a multiplication. The scores are many small
# products; what holds these wasn't looked into. (A point *above* the sloping roof is no
# mistake: its numbers came from the cache, not from memory.)
#
# The whole model: how long would it take if there were nothing but its matrix products, at the speed of the large one?

# %% jupyter={"source_hidden": true}
least = flops / peak
print(f"least {1000 * least:.1f} ms for {flops / 1e9:.2f} GFLOP")
for name, seconds_of in whole.items():
    print(
        f"{name:15} {1000 * np.median(seconds_of):7.1f} ms: {least / np.median(seconds_of):.0%} of the limit"
    )

# %% [markdown]
# (More than 100 % is possible: this is the speed of one product in one library, and others can be faster.)

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Rounding or a mistake?
#
# Both twins round, in another order: $(a + b) + c$ isn't $a + (b + c)$ in floating point. How can you tell that from
# a real difference? **Rounding shrinks with the rounding step. A mistake stays.** As a mistake we take GELU's
# well-known approximation with tanh, in the NumPy twin only:


# %%
def gelu_tanh(x):
    """The approximation: close to GELU, and not GELU."""
    return (
        0.5
        * x
        * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + 0.044715 * x**3)))
    )


print("          right    with the other GELU")
for name in ("float32", "float64"):
    with patch.object(swin_numpy.layers, "gelu", gelu_tanh):
        changed = worst(compare(*make_twins(small, name), images)).relative
    print(f"{name:8} {worst(rows[name]).relative:.1e}  {changed:.1e}")
    assert changed > 1e-7
assert changed > 1000 * worst(rows["float64"]).relative

# %% [markdown]
# That is why the tests of this project compare in float64. (This mistake shows in float32 too; one of 1e-7 would
# pass there for rounding, and in float64 it stands out.)

# %% [markdown]
# ### Where a NaN comes from
#
# NaN ("not a number") is the result of $\infty - \infty$, $0 \cdot \infty$, $\infty / \infty$, $0 / 0$, and of nearly everything that
# has a NaN in it. So there is usually an infinity first. In float16 it isn't far: everything above 65504.
#
# **The scores.** Sixteen tokens, one head of 32 channels, with values near 50. The sum of 32 products is too large
# for float16, although the score, which is that sum divided by $\sqrt{32}$, is not:

# %%
q, k = 50 + torch.rand(2, 16, 32)
scale = 32**-0.5
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    a, b = q.to(dtype), k.to(dtype)
    late, early = (a @ b.T) * scale, (a * scale) @ b.T
    for name, scores in (("scaled after", late), ("scaled before", early)):
        bad = torch.softmax(scores, -1).isnan().float().mean()
        print(
            f"{str(dtype)[6:]:9}{name:14} largest score {scores.max():8.0f}  {bad:.0%} NaN"
        )

# %% [markdown]
# The softmax takes the largest score off first, and that is $\infty - \infty$. **Cure 1**: scale the queries *before*
# the product. Our twins do (`scale * q @ k.mT`: Python goes from left to right), and so does the official code
# (`q = q * self.scale` in `models/swin_transformer.py`). **Cure 2**: bfloat16, whose range is float32's. **Cure 3**: cosine attention, whose scores
# have a limit (Swin V2, chapter 12).
#
# **The softmax.** Without subtracting the largest first, `exp` itself is too large:
# $e^{x}$ exceeds 65504 from $x \approx 11.1$ on.

# %%
row = np.array([3.0, 12.0, 7.0], np.float16)
with np.errstate(all="ignore"):
    print("naive:         ", np.exp(row) / np.exp(row).sum())
print("the package:   ", functional.softmax(row))

# %% [markdown]
# **The mask.** A map of 9 × 9 tokens is padded to 14 × 14, and someone wants no token to look at padding. After the
# shift some rows may have *no* allowed key at all. Blocked once, or twice by an oversight (the padding in two masks),
# with three values; here is a row of which all keys are blocked:

# %%
scores = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float16)
for name, fill in (("-100", -100.0), ("finfo.min", half.min), ("-inf", -np.inf)):
    blocked = torch.tensor(fill, dtype=torch.float16)
    once, twice = scores + blocked, scores + blocked + blocked
    weights = [torch.softmax(s, -1).tolist() for s in (once, twice)]
    print(f"{name:10}", *(np.round(w, 2) for w in weights))

# %% [markdown]
# -100 twice is -200, a number like any other. The smallest number twice is $-\infty$. A row of nothing but $-\infty$
# has no largest number to take off. **Cure**: -100, or block once with a number that leaves room for the score, or see to it that each row keeps a key. (More fill
# values and formats: [chapter 05,
# Q37](05_shifted_windows.ipynb#Q37:--100,--inf,--1e4-or-the-smallest-number-of-the-dtype:-when-does-each-give-NaN?).)

# %% [markdown]
# **13.4** A softmax over the last axis for float16 that gives no NaN in three cases: rows near 2000, keys at -inf, and a
# row that is -inf throughout, which should give zeros. The result is float16 again.


# %%
def safe_softmax(scores):
    """scores (rows, keys) of float16 → the same shape and dtype."""
    ...


check("13.4", safe_softmax)

# %%
solution("13.4")

# %% [markdown]
# ### How one NaN spreads
#
# One pixel of the photograph is NaN. Which tokens are NaN after each step?

# %%
reference = swin_numpy.SwinTransformer(small)
broken = images.copy()
broken[0, 0, 100, 60] = np.nan
with np.errstate(all="ignore"):
    seen = record(reference, broken)[:7]
broken_at, titles = [], []
for step in seen:
    side = int(step.output.shape[1] ** 0.5)
    broken_at.append(np.isnan(step.output[0]).any(-1).reshape(side, side))
    titles.append(f"{short(step.name)}\n{broken_at[-1].mean():.2g} NaN")
show_maps(broken_at, columns=7, titles=titles)

# %% [markdown]
# One token; then its whole window, since each output there is a weighted sum over all of the window. Then the shifted
# windows that touch it; and on it goes, as far as information travels ([chapter 05](05_shifted_windows.ipynb)). No
# mask stops it: a score of NaN with -100 added is NaN, and so is its whole row of weights. (Even a weight of 0 wouldn't
# help: $0 \cdot \mathrm{NaN} = \mathrm{NaN}$.) In block 1.1 the NaN has come
# through the seam, to the other side of the picture.

# %%
left, right = (broken_at[5][:, column].any() for column in (0, -1))
print("NaN at both edges after block 1.1:", left and right)
assert left and right and not broken_at[4][:, -1].any()

# %% [markdown]
# At the end of the model everything is NaN, and nothing tells where it began. So look at the steps in order, the
# layers inside the blocks too (`details=True`), and take the first that isn't finite. As an example, one weight
# matrix is made far too large:


# %%
def first_bad(model, x):
    """The name of the first step with a NaN or an infinity, or None."""
    with torch.inference_mode():
        for step in record(model, x, details=True):
            if not torch.isfinite(step.output).all():
                return step.name


for dtype in (torch.float16, torch.bfloat16, torch.float32):
    model = swin_torch.SwinTransformer(small).eval()
    model.layers[2].blocks[3].mlp.fc1.weight.data *= 5e5
    where = first_bad(model.to(dtype), torch.tensor(images, dtype=dtype))
    print(f"{str(dtype)[6:]:9} first bad step: {where}")

# %% [markdown]
# (The hooks that `record` uses fire when a module is *done*: first the layers inside, then the block. So the first name is
# the innermost.) In real training the usual ways out are bfloat16, or autocast: on a GPU PyTorch then keeps softmax,
# norms and sums in float32 (see its documentation of `torch.amp`). With float16 it doesn't save this model: products still run in the low format, and `fc1` overflows there. (A loss
# scaler is for gradients that would become 0.)

# %% [markdown]
# **13.5** Find the step that made the first NaN or infinity.


# %%
def first_not_finite(steps):
    """[(name, array), …] in order → a name, or "none"."""
    ...


check("13.5", first_not_finite)

# %%
solution("13.5")

# %% [markdown]
# ### Step 3, inside attention
#
# Tokens as rows: $S = Q K^T$, a softmax over each row, $Z = A V$. Tokens as columns: $S^T = K Q^T$ from the start, a softmax
# over each column, $Z^T = V^T A^T$. Both for all of attention, and then the last product alone, also for somebody who has
# columns, but $A$ by rows:

# %% jupyter={"source_hidden": true}
by_rows = rng.standard_normal((3, 64, heads, M * M, C // heads), dtype=np.float32)
q_rows, k_rows, v_rows = by_rows
q_columns, k_columns, v_columns = (np.ascontiguousarray(part.mT) for part in by_rows)


def as_rows():
    return functional.softmax(q_rows @ k_rows.mT) @ v_rows


def as_columns():
    return v_columns @ functional.softmax(k_columns.mT @ q_columns, dim=-2)


agree("step 3", as_columns(), as_rows().mT, 1e-5)
race(
    "3 attention, columns", {"tokens as rows": as_rows, "tokens as columns": as_columns}
)
weights = functional.softmax(q_rows @ k_rows.mT)
upright = np.ascontiguousarray(weights.mT)
last = by_turns(
    {
        "rows": lambda: weights @ v_rows,
        "columns": lambda: v_columns @ upright,
        "columns, A by rows": lambda: v_columns @ weights.mT,
    }
)
for name, seconds_of in last.items():
    print(f"last product, {name:20}{1000 * np.median(seconds_of):6.2f} ms")

# %% [markdown]
# ### Step 5: one large product instead of many small ones
#
# The linear layer is the same for each window, so all tokens of all windows may stand in one matrix.


# %%
apart, together = np.empty((2, *windows.shape[:2], len(weight)), np.float32)


def window_by_window(x):
    for window, result in zip(x, apart, strict=True):
        np.matmul(window, weight.T, out=result)
    return apart


def one_product(x):
    np.matmul(x.reshape(-1, C), weight.T, out=together.reshape(-1, len(weight)))
    return together


agree("step 5", one_product(windows), window_by_window(windows), 1e-5)
race(
    "5 one large product",
    {
        "window by window": lambda: window_by_window(windows),
        "one product": lambda: one_product(windows),
    },
)

# %% [markdown]
# ### Step 6: memory that is used again
#
# `(x - 1) * 0.5 + 2` makes three new arrays. In a fresh program the operating system hands out their memory in pages, and
# clears each when it is first touched: that can cost more than the arithmetic. In a program that has run for a while, as
# here, the pages are often there already, and the gain is smaller (what is left of it wasn't looked into):

# %%
kept = np.empty_like(hidden)


def fresh(x):
    return (x - 1) * 0.5 + 2


def used_again(x, out):
    np.subtract(x, 1, out=out)
    out *= 0.5
    out += 2
    return out


agree("step 6", used_again(hidden, kept), fresh(hidden), 1e-6)
race(
    "6 memory used again",
    {"fresh": lambda: fresh(hidden), "used again": lambda: used_again(hidden, kept)},
)

# %% [markdown]
# ### Step 7: pieces that fit the cache
#
# GELU takes some twenty-five small operations for each number. Done on the whole array, each of them fetches all of it from
# memory, or from a large and slower cache, and writes all of it back. Done on a piece that fits a small and fast cache, only
# the first one does. Too small pieces cost again: each call of NumPy has its price.


# %%
def gelu_in(size):
    """GELU of `hidden` in pieces of `size` numbers."""
    return gelu.in_pieces(gelu.write_gelu, hidden, size=size)


sizes = 2 ** np.arange(10, 22, 2)
agree("step 7", gelu_in(2**12), gelu_in(hidden.size), 1e-6)
times = by_turns(
    {size: lambda size=size: gelu_in(size) for size in (*sizes, hidden.size)}, 3
)
curve = [1000 * np.median(times[size]) for size in sizes]
axes = {"xlabel": "numbers in a piece", "ylabel": "GELU, milliseconds"}
marks = {"the package's choice": 2**16}
curves({"": curve}, x=sizes, logx=True, logy=True, marks=marks, **axes)

# %%
race(
    "7 pieces for the cache",
    {
        "whole array": lambda: gelu_in(hidden.size),
        "pieces of 65536": lambda: gelu_in(2**16),
    },
)

# %% [markdown]
# ### Q74: Is a fused roll and partition worth it?
#
# The official code brings a CUDA kernel (`kernels/window_process`) that does roll and partition at once. Should you build it? Ask first what
# there is to win. If a part takes the share $p$ of the time, then making it *infinitely* fast makes the whole
# $1 / (1 - p)$ times as fast (Amdahl's law). From the profile above:

# %%
for run, parts in seconds.items():
    p = parts[MOVE] / sum(parts.values())
    print(
        f"{run:15} pad, roll, windows, mask: {p:5.1%} → at most {1 / (1 - p):.2f} times as fast"
    )

# %% [markdown]
# And this share also holds making the mask, which needs no kernel, only to be kept. What does one gather in PyTorch
# give? (It needs nothing to be compiled. Its index is made once; the package's fused path does it this way.)

# %%
torch_map, torch_places = torch.from_numpy(grid_map), torch.from_numpy(places)
back = torch_places.argsort()


def torch_there_and_back(x):
    cut = swin_torch.window_partition(swin_torch.cyclic_shift(x, 3), M)
    return swin_torch.cyclic_shift(swin_torch.window_reverse(cut, M, H, H), -3)


def torch_gather(x):
    cut = x.reshape(-1, C).index_select(0, torch_places)
    return cut.index_select(0, back).reshape(x.shape)


agree("PyTorch", torch_gather(torch_map), torch_there_and_back(torch_map), 0)
race(
    "1 the same in PyTorch",
    {
        "roll and partition": lambda: torch_there_and_back(torch_map),
        "gather": lambda: torch_gather(torch_map),
    },
)
block = torch_model.layers[0].blocks[1]
tokens = torch_map.reshape(1, -1, C)
with torch.inference_mode():
    times = by_turns(
        {
            "move": lambda: torch_there_and_back(torch_map),
            "block": lambda: block(tokens, (H, H)),
        },
        5,
    )
moved = np.median(times["move"] / times["block"])
print(f"roll, windows and back: {moved:.1%} of one SW-MSA block of the first stage")

# %% [markdown]
# So: look at the share that your own profile shows, and at what one gather gives without any kernel. A kernel of your
# own has to be compiled for each version of CUDA and PyTorch, and needs a backward. (On a GPU `torch.compile` can
# join roll and cut with its neighbours by itself; that needs a compiler on the machine, so this page doesn't run it.)

# %% [markdown]
# ### Step 8: attention in one call

# %% [markdown]
# ### Q73: Fused attention with bias and mask, and is it faster for 49 tokens?
#
# PyTorch's `scaled_dot_product_attention` does scores, softmax and weighted sum in one call, piece by piece, so the
# array of all scores need never be there ("flash attention"). It takes one array that is *added* to the scores, its
# `attn_mask`. So yes: fold the bias and the mask into one array first.

# %%
q, k, v = torch.randn(3, 64, heads, M * M, C // heads)
scale = (C // heads) ** -0.5
torch_bias, torch_mask = torch.from_numpy(bias), torch.from_numpy(mask)
folded = torch_bias + torch_mask[:, None]  # (64, 3, 49, 49)


def attend_plainly():
    scores = scale * q @ k.mT + torch_bias + torch_mask[:, None]
    return torch.softmax(scores, -1) @ v


def attend_fused():
    return F.scaled_dot_product_attention(q, k, v, folded)


agree("step 8", attend_fused(), attend_plainly(), 1e-5)
race("8 attention in one call", {"plain": attend_plainly, "fused": attend_fused})
same_array = by_turns(
    {
        "plain, folded array": lambda: torch.softmax(scale * q @ k.mT + folded, -1) @ v,
        "fused": attend_fused,
    }
)
print(
    f"the call alone, both with the folded array: {np.median(same_array['plain, folded array'] / same_array['fused']):.2f} times"
)

# %% [markdown]
# How much of the gain is the call's, and not the folded array's, the last line says. Which of its kernels did the call use?
# The operations that PyTorch ends up doing tell. And with a bias that is being *trained*, and so needs a gradient?


# %%
class Listener(TorchDispatchMode):
    """Hears the name of every operation that PyTorch ends up doing."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.heard.add(operation.name().removeprefix("aten::"))
        return operation(*args, **(kwargs or {}))


def way_taken(*inputs):
    with Listener() as listener:
        listener.heard = set()
        F.scaled_dot_product_attention(*inputs)
    words = "softmax", "bmm", "dot_product"
    return sorted(name for name in listener.heard if any(w in name for w in words))


print("evaluation:", *way_taken(q, k, v, folded))
trained = folded.clone().requires_grad_()
print("training:  ", *way_taken(q, k, v, trained))

# %% [markdown]
# Where there is a `softmax` and a `bmm` (many matrix products), it is the plain way behind the same call. On NVIDIA
# GPUs it depends on the way as well: PyTorch's flash kernel takes no added array, its memory-efficient one does
# (`torch.backends.cuda.can_use_flash_attention` answers for your inputs).
#
# Is it faster *because* the windows are small? The same number of tokens, in windows of other sizes, without bias and
# mask:


# %%
def attend(q, k, v):
    return torch.softmax(scale * q @ k.mT, -1) @ v


fused = F.scaled_dot_product_attention
print("tokens in a window   plain ms   fused ms   ratio   MB of all scores")
for side in (7, 14, 28):
    shape = (H * H // side**2, heads, side**2, C // heads)
    three = torch.randn(3, *shape)  # q, k, v
    calls = {"plain": lambda x=three: attend(*x), "fused": lambda x=three: fused(*x)}
    times = by_turns(calls, 3)
    slow, fast = (1000 * np.median(t) for t in times.values())
    megabytes = 4e-6 * heads * H * H * side**2
    print(
        f"{side**2:18} {slow:10.2f} {fast:10.2f} {slow / fast:7.2f} {megabytes:18.1f}"
    )

# %% [markdown]
# Flash attention was made for long rows, whose scores don't fit into fast memory. Compare the first line with the
# last. And in shifted blocks its promise "no array of scores" is broken by the mask, which differs from window to window:
# for one image the folded array is exactly as large as the scores. (The bias alone serves all windows.)

# %%
count = 64 * heads * M**4  # scores of all windows
assert folded.numel() == count
print(
    f"scores {4e-6 * count:.1f} MB, bias and mask folded {4e-6 * folded.numel():.1f} MB"
)

# %% [markdown]
# ### Step 4, line by line
#
# One group of windows through a block, as the NumPy twin's fast path has it. Steps 1 to 3 and 5 to 7 are all in it:

# %%
print(inspect.getsource(swin_numpy.fused.group_forward))

# %% [markdown]
# What switches it on:

# %%
side_by_side("model.SwinTransformer.use_attention")


# %% [markdown]
# ### Step 9: threads
#
# NumPy shares large matrix products among cores by itself, and nothing else of what a Swin computes. But while it computes, other Python
# threads may run. So each thread takes a part of the array. (On the wall clock: that is where the gain shows.)

# %%
halves = np.array_split(hidden, core_count())
pool = ThreadPoolExecutor(core_count())


def with_threads():
    return np.concatenate(list(pool.map(gelu.gelu, halves)))


def without_threads():
    return np.concatenate([gelu.gelu(part) for part in halves])


agree("step 9", with_threads(), without_threads(), 0)
print(f"{core_count()} cores")
calls = {"one thread": without_threads, f"{core_count()} threads": with_threads}
race("9 threads (GELU)", calls, clock=perf_counter)

# %% [markdown]
# At best the gain is the number of cores; it can be little or none, and why wasn't tested. (The package's own version of this
# is `swin_numpy/runtime/threads.py`: there each thread takes *groups of windows*, and threads meet once a block, not once a
# step; where tokens are few, they share heads and channels instead, and meet twice.)
#
# How near does the package come? One image on its fast path: on one core; on all of them, by threads; and, as a
# control, in as many processes at once as there are cores, each on one core with an image of its own. If the cores
# themselves slowed each other down, these would take longer than the first.

# %% jupyter={"source_hidden": true}
ONE_IMAGE = """
import numpy as np
from time import perf_counter
from swin_numpy import SwinTransformer, get_config
model = SwinTransformer(get_config("swin_tiny_patch4_window7_224")).use_attention("fused")
image, seconds = np.ones((1, 3, 224, 224), np.float32), []
for _ in range(30):
    start = perf_counter()
    model(image)
    seconds.append(perf_counter() - start)
print(np.median(seconds[5:]))
"""


def one_image(threads, processes=1):
    """Milliseconds for one image in each of some processes at once."""
    variables = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command, options = (
        [sys.executable, "-c", ONE_IMAGE],
        {"env": variables, "text": True},
    )
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, **options)
        for _ in range(processes)
    ]
    return 1000 * np.median([float(process.communicate()[0]) for process in started])


cores = core_count()
one, shared, beside = one_image(1), one_image(cores), one_image(1, processes=cores)
print(
    f"one core {one:.0f} ms; {cores} threads {shared:.0f} ms, {one / shared:.2f} times as fast"
)
print(
    f"{cores} processes at once: {beside:.0f} ms each, {beside / one:.2f} times as long as one alone"
)

# %% [markdown]
# Threads share one image, and not all of it can be shared out: Amdahl again. And only one thread at a time may run
# Python's own code, between one NumPy operation and the next. How much each of these costs wasn't tested here.
#
# ### Step 10: numbers that are almost zero
#
# A masked score is about -100, and $e^{-100}$ is less than the smallest number that float32 holds with all its digits.
# Such **subnormal** numbers have fewer digits, and many processors need much longer for them. Here the weights of the
# 64 windows meet their values: with the mask's -100 as it is, with scores that are kept from falling below -70
# (as the NumPy twin's fast path does), and, as a control, without any mask.

# %%
tiny_ones = np.finfo(np.float32).smallest_normal
raw = 0.1 * rng.standard_normal((64, heads, M * M, M * M), dtype=np.float32)
masked = raw + mask[:, None]


def kept_above(least):
    return np.exp(np.maximum(masked, np.float32(least)))


as_it_is, clamped, unmasked = kept_above(-np.inf), kept_above(-70), np.exp(raw)
share = np.mean((as_it_is > 0) & (as_it_is < tiny_ones))
print(f"{share:.0%} of all weights are subnormal")
tokens_of = rng.standard_normal((64, heads, M * M, C // heads), dtype=np.float32)
agree("step 10", clamped @ tokens_of, as_it_is @ tokens_of, 1e-6)
race(
    "10 no subnormal weights",
    {"-100": lambda: as_it_is @ tokens_of, "at least -70": lambda: clamped @ tokens_of},
)
control = by_turns(
    {"-70": lambda: clamped @ tokens_of, "no mask": lambda: unmasked @ tokens_of}
)
print(
    f"-70 takes {np.median(control['-70'] / control['no mask']):.2f} times as long as no mask"
)

# %% [markdown]
# All steps:

# %%
speed.gains(gained)

# %%
noise = [
    f"{step} ({low:.2f} to {high:.2f})"
    for step, (low, _, high) in gained.items()
    if low <= max(1, gained["a product against itself"][2])
]
print("no gain that can be told from noise:", *noise or ["none"], sep="\n  ")

# %% [markdown]
# Read the line at 1 with the first bar in mind: that one is a function against itself. Each step was measured on its
# own part, and only the two bars of step 4 are the whole model, each on
# its fast path (PyTorch's gains mostly by oneDNN, which is none of the other steps). A step that makes its part three times as fast does
# little if the part was short: Amdahl again.

# %% [markdown]
# ### Q72: Why can window attention be slower or heavier than global attention on small maps?
#
# One layer of attention of Swin-T's first stage, in NumPy: SW-MSA with all it needs, or every token looking at every
# other, with the same weights. On a map of one window and without bias the two are the same:

# %%
layer = swin_numpy.SwinTransformerBlock(C, heads, window_size=M, shift_size=3)


def one_window(side):
    """Attention with the layer's weights in a window as large as the map, side × side."""
    attn = swin_numpy.WindowAttention(C, side, heads)
    attn.qkv, attn.proj = layer.attn.qkv, layer.attn.proj
    return attn


def everywhere(attn, x):
    """Global attention without bias: x (n, l, c) → same."""
    q, k, v = attn.project(x[:, None])
    z = functional.softmax(attn.compare(q, k)) @ v
    return attn.proj(rearrange(z, "n 1 a l d -> n l (a d)"))


layer.attn.relative_position_bias_table[...] = 0
x = rng.standard_normal((1, 49, C), dtype=np.float32)
agree("one window", layer.attend(x, (7, 7)), everywhere(one_window(7), x), 1e-5)


# %%
def peak_bytes(call):
    """The most memory that NumPy's arrays took at once during call()."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def measure_layer(side):
    """Seconds and bytes of (window attention, global attention) on a map of side × side."""
    x = rng.standard_normal((1, side * side, C), dtype=np.float32)
    attn = one_window(side)
    calls = {
        "SW-MSA": lambda: layer.attend(x, (side, side)),
        "global": lambda: everywhere(attn, x),
    }
    times = by_turns(calls, 5)
    return [np.median(t) for t in times.values()], [
        peak_bytes(call) for call in calls.values()
    ]


sides = np.array([7, 8, 10, 12, 14, 15, 18, 21, 22, 28, 35, 42])
time_of, memory_of = (
    np.array(values).T for values in zip(*map(measure_layer, sides), strict=True)
)


# %% jupyter={"source_hidden": true}
def crossing(sides, ours, other):
    """The side from which on `ours` stays below `other`, interpolated; None if there is none."""
    gap = np.log(ours / other)
    above = np.flatnonzero(gap > 0)
    if len(above) == 0 or above[-1] == len(sides) - 1:
        return None
    i = above[-1]
    part = gap[i] / (gap[i] - gap[i + 1])
    return float(np.exp((1 - part) * np.log(sides[i]) + part * np.log(sides[i + 1])))


crossings = [crossing(sides, *values) for values in (time_of, memory_of)]
names = "SW-MSA, windows of 7", "global"
plots = {
    "time": dict(zip(names, 1e3 * time_of, strict=True)),
    "memory at its peak": dict(zip(names, 1e-6 * memory_of, strict=True)),
}
marks = {
    what: {f"equal at {cross:.0f}": cross} if cross else {}
    for what, cross in zip(plots, crossings, strict=True)
}
units = "milliseconds", "megabytes"
curves(plots, "side of the map", units, x=sides, logx=True, logy=True, marks=marks)

# %%
for what, cross in zip(("time", "memory"), crossings, strict=True):
    where = (
        "at all sizes, or not at the largest"
        if cross is None
        else f"from {cross:.1f} tokens a side"
    )
    print(f"{what}: windows win {where}")
assert memory_of[0][sides == 8] > memory_of[1][sides == 8]

# %% [markdown]
# Two reasons why windows can lose on small maps:
#
# 1. **Padding.** 8 tokens need two windows of 7, so a map of 8 × 8 is computed as 14 × 14. Look at the jumps behind
#    7, 14 and 21. Count the numbers in the scores:

# %%
print("side  padded   scores in windows   scores globally")
for side in (7, 8, 14, 15, 28):
    padded = -(-side // M) * M
    in_windows, globally = padded**2 * M**2, side**4
    print(
        f"{side:4} {padded:7} {in_windows:19,} {globally:17,}"
        + "   windows need more" * (in_windows > globally)
    )
assert 14**2 * 49 > 8**4 and 15**4 > 21**2 * 49

# %% [markdown]
# 2. **Overhead.** Padding, rolling, cutting, the mask, many small products instead of a few large ones. These don't
#    go away when the map is small. The shares of a whole block's time, MLP included,
#    on a small map with padding, on a small one without, and on a large one:

# %%
for side in (8, 14, 42):
    x = rng.standard_normal((1, side * side, C), dtype=np.float32)
    grid = (side, side)
    parts = time_parts(swin_numpy, layer, lambda x=x, grid=grid: layer(x, grid), 5)
    total = sum(parts.values())
    shares = ", ".join(
        f"{part} {parts[part] / total:.0%}" for part in (LINEAR, SOFTMAX, CORE, MOVE)
    )
    print(f"{side} × {side}: {shares}")

# %% [markdown]
# **And on large maps?** Time is about pixels to some power $e$: fit a straight line in log-log. 1 is linear, 2 is
# quadratic.

# %%
large = (sides >= 21) & (sides % M == 0)  # no padding
for name, values in zip(names, time_of, strict=True):
    e, _ = np.polyfit(np.log(sides[large] ** 2), np.log(values[large]), 1)
    print(f"one layer, {name:21} time ~ pixels^{e:.2f}")
free = swin_torch.SwinTransformer(
    swin_numpy.SwinConfig(img_size=None, num_classes=10)
).eval()
free.use_attention("fused")
pictures = {side: torch.randn(1, 3, side, side) for side in (112, 224, 336)}
with torch.inference_mode():
    times = by_turns({side: lambda x=x: free(x) for side, x in pictures.items()}, 2)
fastest = [t.min() for t in times.values()]
e, _ = np.polyfit(np.log(np.square(list(times))), np.log(fastest), 1)
operations = []
for picture in pictures.values():
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        free(picture)
    operations.append(counter.get_total_flops())
more, _ = np.polyfit(np.log(np.square(list(times))), np.log(operations), 1)
print(f"all of Swin-T, {', '.join(map(str, times))} pixels:  time ~ pixels^{e:.2f}")
print(f"{'':33}operations ~ pixels^{more:.2f}")

# %% [markdown]
# (For all of Swin-T it may be below 1: 112 and 336 pixels are padded, so the operations themselves grow with the second
# exponent; fixed costs may weigh too.) In the global layer the quadratic part (scores, softmax) first has to outgrow the linear one (`qkv`, `proj`), so by the formula
# the exponent goes from 1 to 2; a measured one can lie above 2 (why wasn't looked into). The comparison
# isn't quite even: SW-MSA pays for bias and mask, and the global layer has neither. Advice: on small maps (the last stages,
# small pictures) let the window be the whole map. The official code (`models/swin_transformer.py`) does so when the map isn't larger
# than the window.

# %% [markdown]
# **13.2** How many numbers are in all the scores of one head, on a square map: with windows (the map is padded to a
# multiple of the window first), and globally?


# %%
def numbers_in_scores(side, window):
    """→ (with windows, globally)."""
    ...


check("13.2", numbers_in_scores)

# %%
solution("13.2")

# %% [markdown]
# ### All cores, and a GPU
#
# So far: one core, and this page's own clock. `make bench` takes all cores, the models of timm, torchvision and
# transformers as they are, timm's also compiled (on a GPU ours too), and the **floor**: the same matrix products and nothing else. Results of one
# machine are kept with the project; the picture at the top shows them. For each run the fastest peer that isn't
# compiled, then what compiled timm and our fast paths take in multiples of it:

# %% jupyter={"source_hidden": true}
RESULTS = Path("..") / "tests" / "benchmarks" / "results"


def results(name, command):
    """What `make bench` wrote for a machine, with a line that says which; None where nobody measured yet."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        print(f"no {path.name} yet; make it with {command} --json {path.name}")
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    print(f"{report['machine']}; {report['device']}, {report['date']}")
    if "note" in report:
        print(textwrap.fill(report["note"], 110))
    return report


def ratios(run, name):
    """ "0.57 (0.56 to 0.58), 1.6 floors": how long this contender took, and in floors where they were measured."""
    low, middle, high = run["summary"][name]["ratio"]
    text = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    if not run.get("floor"):
        return text
    floor = min(found["seconds"][1] for found in run["floor"].values())
    return f"{text}, {run['summary'][name]['seconds'][1] / floor:.1f} floors"


cpu = results("cpu", "make bench")
for run in cpu["runs"]:
    print(f"\n{run['what']}, batch {run['batch']}: times {run['reference']}")
    for who in run["summary"]:
        if "fused" in who or "compiled" in who:
            print(f"  {who:24}{ratios(run, who)}")

# %% [markdown]
# How time and memory grow. With windows, $e$ in time ~ pixels$^e$ should come near 1 where the picture is large
# enough. The legend gives it from 448 pixels on; below, the models' curves are flatter. (Where curves jump, as
# W-MSA's does at its last point, why wasn't looked into.)

# %%
speed.growth(cpu)

# %% [markdown]
# On a GPU: `make bench DEVICE=cuda`, at most 8 minutes. Agreement first: each format against the NumPy twin, the
# largest relative difference at any step. Then all runs of Swin-T, and images a second. Several fastest: they
# can't be told apart.

# %% jupyter={"source_hidden": true}
cuda = results("cuda", "make bench DEVICE=cuda")
if cuda:
    for found in cuda["agreement"]:
        step = max(found["relative"], key=found["relative"].get)
        largest = found["relative"][step]
        print(f"{found['model']:32}{found['dtype']:10}{largest:.1e} at {step}")

# %% jupyter={"source_hidden": true}
if cuda:
    for run in cuda["runs"]:
        if run["model"] == "swin_tiny_patch4_window7_224":
            kind = f"{run['what']}, {run['dtype']}, batch {run['batch']}"
            spread = {who: v["ratio"] for who, v in run["summary"].items()}
            least = min(spread.values(), key=lambda ratio: ratio[1])
            best = ", ".join(who for who, v in spread.items() if v[0] <= least[2])
            ours = {
                who: f"{v['ratio'][1]:.2f}"
                for who, v in run["summary"].items()
                if "twin" in who
            }
            listed = ", ".join(
                f"{who.removeprefix('PyTorch twin, ')} {ratio}"
                for who, ratio in ours.items()
            )
            print(f"{kind:38}{listed} x {run['reference']}; fastest: {best}")

# %% jupyter={"source_hidden": true}
speed.throughput(cuda) if cuda else None

# %% [markdown]
# ### Traps
#
# **1. float64 comes in by the back door.** An array of float32 times a *Python* number stays float32. Times a NumPy
# float64, such as the result of `np.sqrt(32)`, it becomes float64, twice the bytes, from there to the end of the
# model. Nothing complains.

# %%
for name, number in (("32 ** -0.5", 32**-0.5), ("1 / np.sqrt(32)", 1 / np.sqrt(32))):
    print(f"{name:16} {type(number).__name__:8} → {(hidden * number).dtype}")
assert (hidden * 32**-0.5).dtype == np.float32

# %% [markdown]
# (PyTorch differs: a tensor of float32 stays what it is.)
#
# **2. The first call.** It may also pay for memory, threads, the index lists of this size of picture. (And a compiled
# model compiles.) So don't count it:

# %%
fresh_model = swin_numpy.SwinTransformer(small).use_attention("fused")
other_size = images[:, :, :200, :200]
clocks = []
for _ in range(3):
    start = process_time()
    fresh_model(other_size)
    clocks.append(f"{1000 * (process_time() - start):.1f} ms")
print("first, second, third call:", *clocks)

# %% [markdown]
# **3. A GPU answers at once.** `model(x)` only *orders* the work; Python goes on. A clock without
# `torch.cuda.synchronize()` before each reading measures how long it takes to order.
#
# **4. Two meanings of a mask of bools.** In `masked_fill`, True means *blocked*. In `scaled_dot_product_attention`,
# True means *takes part*. Exactly the wrong pairs see each other, and no error:

# %%
blocked = torch_mask != 0  # (64, 49, 49)
bools = {"~blocked": ~blocked, "blocked": blocked}
wanted = F.scaled_dot_product_attention(q, k, v, torch_mask[:, None])
some = blocked.any(-1).all(-1)  # windows in which each query has a blocked key
for name, which in bools.items():
    got = F.scaled_dot_product_attention(q, k, v, which[:, None])
    print(f"{name:9} largest difference {(got - wanted)[some].abs().max():.1e}")

# %% [markdown]
# **5. Timed in training mode.** A fresh PyTorch model is in it until `model.eval()`, a NumPy twin only after `train()`.
# Dropout and drop path (if not 0) are at work, and the NumPy twin keeps all that `backward` needs. In PyTorch, without `inference_mode` or `no_grad`, autograd keeps it all too.
#
# **6. A transposed array isn't moved until somebody needs it.** `rearrange` may be free, and the next `reshape` pays.
# So a profile charges the wrong line.

# %%
turned = hidden.T
flat = by_turns(
    {"transpose": lambda: hidden.T, "reshape": lambda: turned.reshape(-1)}, 5
)
for name, seconds_of in flat.items():
    print(f"{name:10} {1e6 * np.median(seconds_of):10.1f} µs")
print(
    "shares memory:",
    np.shares_memory(hidden, turned),
    np.shares_memory(hidden, turned.reshape(-1)),
)

# %% [markdown]
# ## Where to read on
#
# - Williams et al. 2009, *Roofline: an insightful visual performance model*. Dao et al. 2022, *FlashAttention*:
#   attention without the array of scores. Micikevicius et al. 2018, *Mixed precision training*: float16 and loss
#   scaling. Goldberg 1991, *What every computer scientist should know about floating-point arithmetic*.
# - In this package: `swin_numpy/fused.py`, `swin_numpy/runtime/threads.py` and `swin_torch/fused.py`; `make bench` for real
#   measurements; `python -m swin_torch.compare PICTURE --dtype float16` for the table of differences with your picture
#   and weights.
# - Back to the [start](00_swin_in_thirty_minutes.ipynb), or to [all questions](QUESTIONS.md).
