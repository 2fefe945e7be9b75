# %% [markdown]
# # 10 · Training
#
# Chapter 9 gave every number of the model its gradient. Here the numbers move. Both twins train side by side, and take
# the same steps; then a model that was trained for longer is opened, and you see what it learned; then parts are taken
# away, and the model is trained again, to find out what each part was good for.
#
# After this chapter you can explain
#
# - what AdamW, warm-up, the cosine and clipping do to one number, and why some parameters are spared the decay;
# - how to see that two implementations train in step, and how far rounding lets them drift apart;
# - how to draw attention on the whole map although it lives in shifted windows, and what a rollout is worth;
# - what shift, mask and bias are worth in accuracy, and when a difference can't be told from chance;
# - what gradient checkpointing saves, and what it costs.

# %% jupyter={"source_hidden": true}
import json
import math
from time import perf_counter
from types import SimpleNamespace

import ablations
import numpy as np
import torch
from einops import rearrange, reduce
from lesson import agree, check, compare_runs, side_by_side, solution
from lesson.evidence import STUDENT
from torch.utils.checkpoint import checkpoint

import swin_numpy
import swin_torch
from figures.bias import bias_tables
from figures.maps import attention_rows, maps_of_images, show_maps
from figures.measure import curves
from figures.training import confusion, in_step, runs, seeds
from figures.windows import attention_structure
from swin_numpy import cyclic_shift, window_partition
from swin_numpy import functional as F
from swin_numpy.config import CONFIGS
from swin_numpy.module import Module, Parameter
from swin_numpy.optim import AdamW, clip_grad_norm, cosine_schedule, no_decay
from swin_numpy.train import Trainer
from swin_numpy.training.fashion_mnist import (
    CLASSES,
    MODEL,
    SUBSET,
    TRAINED,
    batches,
    fashion_mnist,
    standardise,
)
from swin_numpy.training.recipe import Recipe
from swin_numpy.weights.files import read_file
from swin_torch.train import Trainer as TorchTrainer

rng = np.random.default_rng(10)
torch.set_num_threads(1)
model = swin_numpy.SwinTransformer.from_checkpoint(TRAINED)
results = ablations.read_results()
train, test = (fashion_mnist(SUBSET, split) for split in ("train", "test"))

# %% jupyter={"source_hidden": true}
shown_first = range(0, 2000, 170)
sure = F.softmax(model(standardise(test.images[shown_first])))
named = [f"{CLASSES[row.argmax()]}\n{row.max():.0%}" for row in sure]
show_maps(test.images[shown_first], columns=6, titles=named)

# %% [markdown]
# ## The idea
#
# Training repeats four lines: forward, loss, backward, and a small move of every parameter against its gradient. Here
# they are in both twins. (`clip_grad_norm` shortens a gradient that is longer than a limit; AdamW and clipping are
# taken apart under "Deeper".)

# %%
side_by_side("train.Trainer.step")

# %% [markdown]
# ## Warm-up and cosine
#
# The learning rate lr says how far a step moves a number. It rises along a line from almost nothing (**warm-up**),
# then falls along half a cosine. Why rise? The usual reason: AdamW divides each gradient by its usual size, and in the first
# steps it has seen too few to know that. Why fall? So that late steps don't jump around the goal. Neither reason is tested
# here. (Q53 has runs without warm-up, at four times our rate: that it helps there, not why.)


# %% jupyter={"source_hidden": true}
def schedule_by_hand(step, total, warmup, base, least, first):
    if step < warmup:
        return first + (base - first) * step / warmup
    way = (step - warmup) / (total - warmup)  # from 0 to 1
    return least + (base - least) * (1 + math.cos(math.pi * way)) / 2


_, about = read_file(TRAINED)  # the model that we open below
recipe = Recipe(**json.loads(about["recipe"]))
per_epoch = recipe.steps_per_epoch(55_000)  # the images that it was trained on
sizes = recipe.epochs * per_epoch, recipe.warmup_epochs * per_epoch
ends = recipe.base_lr, recipe.min_lr, recipe.warmup_lr
rates = [recipe.learning_rate(step, per_epoch) for step in range(sizes[0])]
by_hand = [schedule_by_hand(step, *sizes, *ends) for step in range(sizes[0])]
agree("schedule", rates, by_hand)

# %% jupyter={"source_hidden": true}
curves(
    {"learning rate": np.array(rates)[::25]},
    "epoch",
    x=np.arange(0, len(rates), 25) / per_epoch,
)

# %% [markdown]
# **10.2** The learning rate at `step`: a line from 0 to `base` in `warmup` steps, then half a cosine down to 0 at `total`.


# %%
def my_rate(step, total, warmup, base):
    """→ float."""
    ...


check("10.2", my_rate)

# %%
solution("10.2")

# %% [markdown]
# ## Both twins, in step
#
# Now train. Two models from the same first weights, float64, the same batches, the same schedule; 40 steps of 4 images.
# One is NumPy with our own backward and AdamW, the other PyTorch with autograd and its own.

# %% jupyter={"source_hidden": true}
config = CONFIGS[MODEL]
short = Recipe(batch_size=4)
twins = {
    "NumPy": Trainer(config, short, np.float64),
    "PyTorch": TorchTrainer(config, short, dtype=torch.float64),
}
feed = batches(train.images, train.labels, 4, seed=0, epoch=0, augmented=True)


def apart_now():
    """The largest difference of the twins' biases of K, and of all their other weights."""
    of_k, others = 0.0, 0.0
    ours, theirs = (trainer.weights() for trainer in twins.values())
    for name in ours:
        gap = np.abs(ours[name] - theirs[name])
        if name.endswith("qkv.bias"):
            q, k, v = np.split(gap, 3)
            of_k, gap = max(of_k, k.max()), np.append(q, v)
        others = max(others, gap.max())
    return of_k, others


apart = []
for step, (images, labels) in zip(range(40), feed, strict=False):
    lr = cosine_schedule(step, total_steps=40, warmup_steps=10, base_lr=1e-3)
    for trainer in twins.values():
        trainer.step(images, labels, lr)
    apart.append(apart_now())

# %% jupyter={"source_hidden": true}
losses = {name: np.array(trainer.losses) for name, trainer in twins.items()}
difference = np.abs(losses["NumPy"] - losses["PyTorch"])
of_k, others = np.transpose(apart)
gaps = {"losses": difference, "biases of K": of_k, "all other weights": others}
in_step(losses, gaps)

# %% jupyter={"source_hidden": true}
agree("losses", losses["NumPy"], losses["PyTorch"], 1e-8)
print(f"biases of K: {of_k[-1]:.0e} apart, all other weights {others[-1]:.0e}")
assert others[-1] < 1e-12 and of_k[-1] < 1e-8
print(f"loss of a model that knows nothing: {math.log(10):.3f}")
print(f"mean of the first 5 losses {losses['NumPy'][:5].mean():.3f}, "
      f"of the last 5 {losses['NumPy'][-5:].mean():.3f}")  # fmt: skip

# %% [markdown]
# The curves lie on each other; losses and weights differ in the last digits of float64, if at all. Only one kind of
# weights drifts: the biases of K. Their gradient is zero but for rounding (chapter 9), and AdamW makes more of it,
# since it divides by √s + ε, here a number little above ε = 1e-8: each twin follows its own rounding. No answer
# depends on them. The tests do this for 100 steps.

# %% [markdown]
# ## A model that was trained for longer
#
# The repository ships a trained model. What its file says about itself:

# %%
told = "validation_accuracy", "test_accuracy"
for name in ("data", *told, "command", "seconds", "trained_with"):
    print(f"{name:19} {about.get(name, 'not said')}")

# %% jupyter={"source_hidden": true}
twin = swin_torch.SwinTransformer.from_checkpoint(TRAINED)


def logits_of(model, images):
    """images (n, 28, 28) uint8 → logits (n, 10)."""
    with torch.inference_mode():
        parts = np.array_split(standardise(images), max(1, len(images) // 250))
        return np.concatenate([model(torch.from_numpy(part)).numpy() for part in parts])


logits = logits_of(twin, test.images)
said = logits.argmax(axis=1)
print(f"right: {np.mean(said == test.labels):.2%} of {len(said):,} held-out images")
few = model(standardise(test.images[:200]))  # the NumPy twin
agree("logits of both twins, float32", few, logits[:200], 1e-4)
assert np.array_equal(few.argmax(axis=1), said[:200])

# %% [markdown]
# Held out means: none of them was trained on, and none of them chose this model. The run watched 5,000 training images that
# it had set aside, and was tested once, after its last epoch. (The recipe's default values are older: they were picked
# with the accuracy on test images in sight.) Which classes does it confuse?

# %% jupyter={"source_hidden": true}
counts = np.zeros((10, 10), int)
np.add.at(counts, (test.labels, said), 1)
confusion(counts, CLASSES)

# %% jupyter={"source_hidden": true}
both = counts + counts.T - 2 * np.diag(np.diag(counts))  # either way round
pairs = sorted(((both[i, j], i, j) for i in range(10) for j in range(i)), reverse=True)
mistakes = np.sum(said != test.labels)
for count, i, j in pairs[:4]:
    print(f"{CLASSES[i]} and {CLASSES[j]}: {count} of all {mistakes} mistakes")

# %% [markdown]
# And where was it most sure, and wrong all the same? Below each, what the label says. Decide for yourself who is right.

# %% jupyter={"source_hidden": true}
probability = F.softmax(logits).max(axis=1)
wrong = np.flatnonzero(said != test.labels)
surest = wrong[np.argsort(-probability[wrong])[:12]]
titles = [
    f"{CLASSES[said[k]]} {probability[k]:.0%}\nlabel: {CLASSES[test.labels[k]]}"
    for k in surest
]
show_maps(test.images[surest], columns=6, titles=titles)

# %% [markdown]
# ## Ablations: take a part away, train again
#
# What is the shift worth? One can switch it off in the trained model. But that model has learned to live with it; a fair
# answer is to **train without it**. First the quick look:

# %% jupyter={"source_hidden": true}
changes = {
    "as trained": ablations.nothing,
    "shift off": ablations.no_shift,
    "mask off": ablations.no_mask,
    "bias off": ablations.no_bias,
}
for name, change in changes.items():
    switched = swin_torch.SwinTransformer.from_checkpoint(TRAINED)
    with torch.no_grad():
        change(SimpleNamespace(model=switched))
    right = logits_of(switched, test.images[::2]).argmax(axis=1) == test.labels[::2]
    print(f"{name:10}  {right.mean():.2%}")

# %% [markdown]
# Then the real thing. `python -m notebooks.ablations` trained the small model again and again on the bundled 10,000
# images, with one thing changed, this part with more than one seed. A seed decides the first weights, the order and the
# augmentation. The runs are far shorter than that of the model above, so compare them with each other only.

# %% jupyter={"source_hidden": true}
if results:
    print(f"{results[0]['recipe']['epochs']} epochs of the {results[0]['data']}")
    print(results[0]["environment"])
seconds = sum(run["seconds"] for run in results)
print(f"{len(results)} runs, {seconds / 3600:.1f} hours")


def accuracies(group):
    """{what was changed: [test accuracy in %, one for each seed]}."""
    found = {}
    for run in results:
        if run["group"] == group:
            found.setdefault(run["says"], []).append(100 * run["test_accuracy"][-1][1])
    return found


# %% jupyter={"source_hidden": true}
seeds(accuracies("parts"), "test accuracy, %")

# %% [markdown]
# A point is a seed, a bar their mean, and the grey band spans the seeds of the full model. Where the points of two
# rows mix, so few runs prove nothing. In numbers: the differences seed by seed, with the 95 % interval of their mean. (With
# three seeds this interval is as rough as the eye: three differences that happen to be alike give a short one, and
# seeds paired otherwise would give another.)


# %% jupyter={"source_hidden": true}
def compare(found):
    """The other variants against the first one, seed by seed."""
    if len(found) < 2:
        return print("not trained yet: python -m notebooks.ablations")
    seeds = range(min(map(len, found.values())))
    of_seed = {name: values.__getitem__ for name, values in found.items()}
    compare_runs(of_seed, seeds, " points", base=next(iter(found)))


compare(accuracies("parts"))


# %% jupyter={"source_hidden": true}
def of(name):
    """All runs of one variant, seed by seed."""
    return [run for run in results if run["variant"] == name]


def loss_curves(names):
    """{what: [(images seen, loss) for each seed]}."""
    found = {}
    for run in (run for name in names for run in of(name)):
        seen = (np.arange(len(run["loss"])) + 0.5) * ablations.EVERY
        points = seen * run["recipe"]["batch_size"], run["loss"]
        found.setdefault(run["says"], []).append(points)
    return found


runs(loss_curves(["full", "no_shift", "no_mask", "no_bias"]))

# %% [markdown]
# How to read it. This is a small model: four of its six blocks work on 7 × 7 tokens, where one window is the whole
# map: what the first stage keeps apart, the second one joins. And the mask parts tokens from opposite edges of the
# image; left and right, these are often black background here. So read nothing about ImageNet from these numbers: there the paper
# measured (its table 4, about one point for the shift and for the bias). What carries over is the **method**: train
# again, several seeds, and show them all. Switching a part off in a finished model asks another question, and here, in a
# model trained for longer, it gives larger differences.

# %% [markdown]
# ## Deeper: questions, details and traps

# %% [markdown]
# ### Its bias tables
#
# Chapter 4: a table has one number for each offset between query and key, added to the score. These are the tables of
# the first stage. Orange lowers a score, violet raises it.

# %% jupyter={"source_hidden": true}
stage = model.layers[0].blocks
tables = [block.attn.relative_position_bias_table for block in stage]
names = [
    f"block {b}, head {h}" for b, t in enumerate(tables) for h in range(t.shape[1])
]
bias_tables(np.concatenate(tables, axis=1), names)

# %% [markdown]
# ### Smooth tables
#
# Random tables look like noise. Did training put an order into the trained ones? Neighbouring offsets should then have similar
# numbers. So: the correlation of each entry with the entry beside it, in random tables and in the trained ones.


# %%
def smoothness(table):
    """table ((2M - 1)², a) → correlation of neighbours, over all heads."""
    side = math.isqrt(len(table))
    maps = table.reshape(side, side, -1)
    beside = np.stack([maps[:, 1:].ravel(), maps[:, :-1].ravel()])
    return np.corrcoef(beside)[0, 1]


for name, table in model.state_dict().items():
    if name.endswith("bias_table"):
        draws = np.random.default_rng(0).normal(size=(100, *table.shape))
        most = np.percentile([abs(smoothness(draw)) for draw in draws], 95)
        print(f"{name[7:17]}  trained {smoothness(table):+.2f}; of 100 random ones, 95 are within ±{most:.2f}")  # fmt: skip

# %% [markdown]
# ### Small numbers: what AdamW does to one parameter
#
# The plain move is p ← p - lr · g. It has a problem: gradients of different parameters differ a thousandfold, and one
# rate suits few of them. Adam keeps two running means for each number, of its gradient and of its squared gradient, and
# divides:
#
# $$m \leftarrow \beta_1 m + (1-\beta_1)\, g, \qquad s \leftarrow \beta_2 s + (1-\beta_2)\, g^2, \qquad
# p \leftarrow p\,(1 - lr \cdot \lambda) - lr\, \frac{m / (1-\beta_1^t)}{\sqrt{s / (1-\beta_2^t)} + \epsilon}$$
#
# The two divisions by $1-\beta^t$ are there because m and s start at 0, and are too small at first. The factor
# $1 - lr \cdot \lambda$ is weight decay. It stands outside of the fraction: that is the W in AdamW.


# %%
def adamw_by_loop(p, gradients, lr, decay=0.0, betas=(0.9, 0.999), eps=1e-8):
    """The number p after a step for each of `gradients`."""
    m = s = 0.0
    for t, g in enumerate(gradients, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * g * g
        mean, square = m / (1 - betas[0] ** t), s / (1 - betas[1] ** t)
        p = p * (1 - lr * decay) - lr * mean / (math.sqrt(square) + eps)
    return p


for g in (1000.0, 1.0, 0.001, -0.001):
    print(f"gradient {g:8}: the first step is {adamw_by_loop(0.0, [g], lr=0.1):+.5f}")

# %% [markdown]
# The first step is lr, whatever the gradient's size, if only that is well above ε: after the two divisions m is g,
# and √s is |g|. Later it depends on whether gradients agree with each other. A hundred steps, three kinds of
# gradients:

# %%
kinds = {
    "always 1": np.ones(100),
    "1 plus noise of 3": 1 + 3 * rng.normal(size=100),
    "1 and -1 by turns": (-1.0) ** np.arange(100),
}
for name, gradients in kinds.items():
    way = -adamw_by_loop(0.0, gradients, lr=0.01)
    print(f"{name:18} moved by {way / 0.01:6.1f} · lr in 100 steps")

# %% [markdown]
# So lr is the longest step a number usually takes, and noise shortens it (how much differs from
# draw to draw). The library does the same with whole arrays;
# here against the loop, and against PyTorch:

# %%
W, gradients = rng.normal(size=(3, 4)), rng.normal(size=(5, 3, 4))
ours, theirs = Parameter(W), torch.nn.Parameter(torch.from_numpy(W.copy()))
our_adamw = AdamW([("fc.weight", ours)], lr=0.1, weight_decay=0.05)
their_adamw = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.05)
for g in gradients:
    ours.grad, theirs.grad = g, torch.from_numpy(g)
    our_adamw.step()
    their_adamw.step()
by_loop = np.empty(W.shape)
for place in np.ndindex(W.shape):
    by_loop[place] = adamw_by_loop(W[place], gradients[:, *place], 0.1, 0.05)
agree("AdamW, loop", ours, by_loop)
agree("AdamW, PyTorch", ours, theirs)

# %%
side_by_side("optim.AdamW.update")

# %% [markdown]
# Write the function, run the cell, and read what the check says. Stuck? Open the solution below it.
#
# **10.1** One step of AdamW with β₁ = 0.9, β₂ = 0.999, ε = 1e-8, for arrays. `t` counts from 1.


# %%
def my_adamw(p, g, m, s, t, lr, decay):
    """Arrays of one shape p, g, m, s → new p, m, s. Change none of them in place."""
    ...


check("10.1", my_adamw)

# %%
solution("10.1")

# %% [markdown]
# ### Clipping
#
# Now and then a batch gives a gradient that is far too long. Clipping takes all gradients together as one long vector,
# and shrinks it to a given length. Its direction stays. By hand: (3, 4) has the length 5; shrunk to 1 it is (0.6, 0.8).


# %%
def clip_by_loop(gradients, longest):
    total = 0.0
    for gradient in gradients:
        for number in gradient.ravel():
            total += number**2
    factor = min(1, longest / (math.sqrt(total) or 1))
    return [factor * gradient for gradient in gradients]


p, q = Parameter([0.0]), Parameter([0.0])
p.grad, q.grad = np.array([3.0]), np.array([4.0])
expected = clip_by_loop([p.grad, q.grad], 1.0)
print("length before:", clip_grad_norm([p, q], 1.0), " after:", p.grad, q.grad)
agree("clipping", np.concatenate([p.grad, q.grad]), np.concatenate(expected), 1e-5)

# %% [markdown]
# (The bound is wide because both libraries add 1e-6 to the length, so that 0 can be divided by.) Adam's step hardly
# depends on the size of g, so what is clipping for? For s. One huge g makes s huge, and β₂ = 0.999 takes but a
# thousandth of it away in each step. So in the 179 steps after it the number hardly moves:

# %%
quiet = np.ones(200)
for name, g in (
    ("never", quiet),
    ("in step 20", np.where(np.arange(200) == 20, 1e3, 1)),
):
    clipped = np.clip(g, -5, 5)
    ways = [-adamw_by_loop(0.0, gradients, lr=1.0) for gradients in (g, clipped)]
    print(f"gradient 1000 {name:10}: way {ways[0]:5.0f}, clipped {ways[1]:5.0f}")

# %% [markdown]
# **10.3** Clip a list of arrays by their common length. Return new arrays.


# %%
def my_clip(gradients, longest):
    """→ list of arrays. What is short enough stays as it is."""
    ...


check("10.3", my_clip)

# %%
solution("10.3")

# %% [markdown]
# ### Q52: Why are norms, biases and the bias table excluded from weight decay, and does it matter?
#
# Decay pulls parameters to 0. The usual reason, not tested here: for the matrix of a layer that is a good place (smaller
# weights, smoother function). For the **weight of a layer norm** it isn't: 1 means "leave it", 0 means "delete this channel". **Biases** and **bias tables** are
# added, and few. The two groups of the small model:

# %%
groups = {True: [], False: []}
for name, p in model.named_parameters():
    groups[no_decay(name, p)].append((name, p.size))
for spared, members in groups.items():
    total = sum(size for _, size in members)
    kinds = sorted({name.split(".")[-1] for name, _ in members})
    print(
        f"{'spared' if spared else 'decayed'}: {len(members)} arrays, {total:,} numbers"
    )
    print("   ", ", ".join(kinds))

# %% [markdown]
# Does it matter? First count. A parameter without gradient would be multiplied with $\prod (1 - lr \cdot \lambda)$ in
# all. For this model, and for the official recipe (`config.py`, `main.py`: 300 epochs, 20 of them warm-up, of 1,251 steps
# each, rate 1e-3):


# %%
def left_over(rates, decay):
    """What decay alone leaves of a number."""
    return math.exp(np.log1p(-np.array(rates) * decay).sum())


official = [
    cosine_schedule(t, 300 * 1251, 20 * 1251, 1e-3, 1e-5, 1e-6)
    for t in range(300 * 1251)
]
print(f"our model:       times {left_over(rates, recipe.weight_decay):.3f}")
print(f"official recipe: times {left_over(official, 0.05):.1e}")

# %% [markdown]
# In the long run, what isn't held up by gradients is gone. In a short run with 0.05 little happens, so we trained with a
# decay of 1, once with the exclusions and once without. The two runs differ in tables, norms and biases at once, so they
# don't say which of them matters. The size is the root of the mean square, after training:

# %%


def shown(run, key):
    value = run[key]
    return f"{value[-1][1]:.2%}" if key == "test_accuracy" else f"{value:.3f}"


for name in ("full", "decay", "decay_all"):
    for run in of(name):
        values = [
            shown(run, k) for k in ("table_size", "norm_weights", "test_accuracy")
        ]
        print("{:33} seed {}: tables {}, norms {}, test {}".format(
            run["says"], run["seed"], *values))  # fmt: skip

# %% [markdown]
# ### Attention of one token
#
# `attention_weights` computes them from windows, so cut a block's input as the block does:


# %%
def attention_of(block, x, grid):
    """x (n, l, c), a block's input → weights (n, k, a, i, j) in its windows."""
    rows = rearrange(block.norm1(x), "n (h w) c -> n h w c", h=grid[0])
    rows = cyclic_shift(rows, block.shift_for(grid))
    windows = window_partition(rows, block.window_size)
    return block.attn.attention_weights(windows, block.mask_for(grid, x))


# %% [markdown]
# ### Q54: How do I draw attention maps or a rollout when attention lives in shifted windows without a class token?
#
# By putting every window's (M², M²) matrix back where its tokens are on the map. Number the tokens, send the **numbers**
# through shift and partition, and you know which token each row and column of a window belongs to. No rolling back is
# needed: the numbers know.


# %%
def tokens_of(block, grid):
    """(k, m): the number of the token at each place of each window."""
    numbers = np.arange(grid[0] * grid[1]).reshape(1, *grid, 1)
    shifted = cyclic_shift(numbers, block.shift_for(grid))
    return window_partition(shifted, block.window_size)[0, :, :, 0]


def on_map_by_loop(weights, tokens):
    """weights (k, a, i, j), tokens (k, m) → (a, l, l)."""
    A = np.zeros((weights.shape[1], tokens.size, tokens.size))
    for k, a, i, j in np.ndindex(weights.shape):
        A[a, tokens[k, i], tokens[k, j]] = weights[k, a, i, j]
    return A


def on_map(weights, tokens):
    """The same without a loop over pairs."""
    A = np.zeros((weights.shape[1], tokens.size, tokens.size))
    for window, t in zip(weights, tokens, strict=True):
        A[:, t[:, None], t] = window
    return A


# %% [markdown]
# All inputs of all blocks for some held-out images, in float64, so that what is zero can be told from what is small:

# %%
model = model.to(np.float64)
chosen = [int(np.flatnonzero(test.labels == k)[3]) for k in (0, 1, 5, 7, 8, 9)]
x, grid = model.embed(standardise(test.images[chosen]).astype(np.float64))
inputs = []  # (block, x, grid)
for layer in model.layers:
    for block in layer.blocks:
        inputs.append((block, x, grid))
        x = block(x, grid)
    if layer.downsample is not None:
        x, grid = layer.downsample(x, grid)
for block, _, grid in inputs:
    print(f"grid {grid}, window {block.window_size}, shift {block.shift_for(grid)}")

# %%
block, x, grid = inputs[1]  # the shifted one
weights, tokens = attention_of(block, x, grid)[0], tokens_of(block, grid)
A = on_map(weights, tokens)
agree("on the map", A, on_map_by_loop(weights, tokens))
agree("each row sums to 1", A.sum(axis=-1), np.ones(A.shape[:2]))

# %% [markdown]
# Three checks. **First**, A must do what the block does: take V of the whole map, A · V for each head, the projection.
# No windows, no shift, no mask:

# %%
normed = block.norm1(x)[:1]
rows = rearrange(normed, "1 (k m) c -> 1 k m c", m=block.window_size**2)  # uncut
_, _, V = block.attn.project(rows)  # of each token by itself, wherever it stands
V = rearrange(V, "1 k a m d -> a (k m) d")
Z = block.attn.proj(rearrange(A @ V, "a l d -> 1 l (a d)"))
agree("attention with A", Z, block.attend(normed, grid))

# %% [markdown]
# **Second**, A must be zero but for the pairs that the mask allows (weights of e⁻¹⁰⁰ are zero for us). **Third**, an
# oracle that knows nothing of attention: change input token j, and see which outputs move.


# %%
def influence(f, x):
    """f: (n, l, c) → (n, r, c'), x (l, c) → (r, l) of bool: does output i feel input j?"""
    changed = np.repeat(x[None], len(x), axis=0)
    changed[range(len(x)), range(len(x))] += rng.normal(size=x.shape)
    difference = np.abs(f(changed) - f(x[None])).max(axis=-1)  # (changed token, output)
    return difference.T > 1e-12


mask = block.mask_for(grid, x)
allowed = on_map((mask == 0)[:, None], tokens)[0] > 0
support = (A > 1e-30).any(axis=0)
felt = influence(lambda y: block.attend(y, grid), normed[0])
assert np.array_equal(support, allowed) and np.array_equal(support, felt)
print(f"{support.sum():,} of {support.size:,} pairs: in A, by the mask, and felt")

# %% [markdown]
# Now draw. Where does one token look, head by head, in the shifted block? Pale tokens are out of its reach. The window that it
# sees is not one of the grid's. Here its maps stop at that window's edge: the mask cuts only the windows that hold the seam,
# and this one doesn't.

# %%
query = 6, 8
image = np.repeat(test.images[chosen[0]][:, :, None], 3, axis=2)
reach = np.where(support[query[0] * grid[1] + query[1]], 0, np.nan)
maps = A[:, query[0] * grid[1] + query[1]] + reach
maps = rearrange(maps, "a (h w) -> a h w", h=grid[0])
attention_rows(image, maps, query)

# %% [markdown]
# How far do heads look? The mean distance from query to key, weighted with A, in tokens, over the images. The last
# number is that of uniform weights, over all keys that the query can see:


# %%
def distances(inputs):
    """For each block: mean distance (a + 1,), the last one for uniform weights."""
    found = []
    for block, x, grid in inputs:
        places = np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), 1)
        far = np.linalg.norm(places[:, None] - places[None], axis=-1)
        tokens = tokens_of(block, grid)
        A = np.mean([on_map(w, tokens) for w in attention_of(block, x, grid)], axis=0)
        uniform = (A[:1] > 1e-30) / (A[:1] > 1e-30).sum(axis=-1, keepdims=True)
        A = np.concatenate([A, uniform])
        found.append((A * far).sum(axis=-1).mean(axis=-1))
    return found


for number, far in enumerate(distances(inputs)):
    heads = "  ".join(f"{head:.2f}" for head in far[:-1])
    print(f"block {number}: {heads}  uniform {far[-1]:.2f}")

# %% [markdown]
# **10.4** Put the weights of shifted windows back on the whole map. Window size M divides H and W; the map was rolled up
# and left by `shift` before it was cut.


# %%
def my_map(weights, H, W, M, shift):
    """weights (k, M·M, M·M) → (H·W, H·W): row: query, column: key; tokens row by row."""
    ...


check("10.4", my_map)

# %%
solution("10.4")

# %% [markdown]
# **10.5** Rollout of blocks on one map: `attentions` holds A of each block, first block first, (a, l, l) each.


# %%
def my_rollout(attentions):
    """→ (l, l): row: token at the end, column: token at the start."""
    ...


check("10.5", my_rollout)

# %%
solution("10.5")

# %% [markdown]
# #### Rollout
#
# One block's A says where **that block** looks. Where does the end come from? Abnar & Zuidema (2020, section 3) multiply. They
# let the residual path carry half of each token on, so a block is (A + I) / 2, with A the mean over heads; several
# blocks are their product. Patch merging makes one token of four: a matrix too, with four times ¼ in each row.
#
# $$R = \tfrac12 (A_L + I) \cdots P \cdots \tfrac12 (A_2 + I)\, \tfrac12 (A_1 + I)$$


# %%
def merging(grid):
    """P (l / 4, l): which tokens patch merging joins."""
    h, w = grid[0] // 2, grid[1] // 2
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    P = np.zeros((h * w, grid[0] * grid[1]))
    P[row // 2 * w + column // 2, np.arange(P.shape[1])] = 1 / 4
    return P


def rollout(inputs, image):
    """R of one image after each block."""
    R, found = np.eye(inputs[0][1].shape[1]), []
    for place, (block, x, grid) in enumerate(inputs):
        if len(R) > x.shape[1]:
            R = merging(inputs[place - 1][2]) @ R
        weights = attention_of(block, x[image : image + 1], grid)[0]
        A = on_map(weights, tokens_of(block, grid)).mean(axis=0)
        R = (A + np.eye(len(A))) / 2 @ R
        found.append(R)
    return found


# %%
R = rollout(inputs, 0)
print("shapes:", [r.shape for r in R])
agree("rows still sum to 1", R[-1].sum(axis=1), np.ones(len(R[-1])))
first, second = model.layers[0].blocks[:2]
grid = model.config.grids[0]
felt = influence(lambda y: second(first(y, grid), grid), inputs[0][1][0])
assert np.array_equal(R[1] > 1e-30, felt)
attention_structure({"W-MSA": R[0] > 1e-30, "SW-MSA": support, "both": felt})

# %% [markdown]
# The product, too, has exactly the support that the oracle finds. "Both" is what one block after the other can carry: the
# shift connects windows that the first block keeps apart. After the merge the whole map is one window, and every token
# draws on all:

# %%
for number, r in enumerate(R):
    print(f"after block {number}: {np.mean(r > 1e-30):.0%} of all pairs")

# %% [markdown]
# There is no class token whose row one would draw. None is needed: the head takes the **mean** over all tokens, so the
# rollout of the whole is the mean of R's rows. Beside it something that owes nothing to attention, **occlusion**: paint a
# square of 4 × 4 pixels in the picture's mean grey, and see by how much the logit of the right class falls. (The paint
# matters: black changes nothing on a black background, grey draws something new there. So white and black are tried below.)

# %%
rolled = np.stack([rollout(inputs, k)[-1].mean(axis=0) for k in range(len(chosen))])
rolled = rearrange(rolled, "n (h w) -> n h w", h=grid[0])


def occlusion(image, label, paint=None):
    """(28, 28) uint8 → (7, 7): how much the logit falls. paint: a grey, by default the picture's mean."""
    paint = image.mean() if paint is None else paint
    covered = np.repeat(image[None], 49, axis=0)
    for k in range(49):
        row, column = 4 * (k // 7), 4 * (k % 7)
        covered[k, row : row + 4, column : column + 4] = paint
    logits = logits_of(twin, np.concatenate([image[None], covered]))[:, label]
    return (logits[0] - logits[1:]).reshape(7, 7)


hidden = np.stack([occlusion(test.images[k], test.labels[k]) for k in chosen])
maps_of_images(test.images[chosen], {"rollout": rolled, "occlusion": hidden})

# %% [markdown]
# Do the two agree? Rank both maps and correlate, over more images. For comparison, a map that needs no model at all:
# how bright the image is there. And occlusion in white and in black, to see how far occlusions agree.


# %% jupyter={"source_hidden": true}
def rank_correlation(a, b):
    ranks = []
    for values in (a.ravel(), b.ravel()):  # equal values share their mean rank
        _, group, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[group])
    return np.corrcoef(ranks)[0, 1]


found = {"rollout": [], "brightness": [], "white": [], "black": []}
more = rng.choice(np.flatnonzero(said == test.labels), 16, replace=False)
x, grid = model.embed(standardise(test.images[more]).astype(np.float64))
many = []
for layer in model.layers:
    for block in layer.blocks:
        many.append((block, x, grid))
        x = block(x, grid)
    if layer.downsample is not None:
        x, grid = layer.downsample(x, grid)

# %%
for place, k in enumerate(more):
    R = rollout(many, place)[-1].mean(axis=0)
    R = reduce(R, "(h p1 w p2) -> h w", "sum", p1=2, p2=2, w=7)
    bright = reduce(test.images[k] / 255, "(h p1) (w p2) -> h w", "sum", p1=4, p2=4)
    hidden = occlusion(test.images[k], test.labels[k])
    found["rollout"].append(rank_correlation(R, hidden))
    found["brightness"].append(rank_correlation(bright, hidden))
    for name, paint in (("white", 255), ("black", 0)):
        other = occlusion(test.images[k], test.labels[k], paint)
        found[name].append(rank_correlation(other, hidden))
for name, values in found.items():
    error = np.std(values) / math.sqrt(len(values))
    print(f"{name:12}with occlusion in grey: {np.mean(values):+.2f} ± {error:.2f}")

# %% [markdown]
# Occlusion in white agrees with that in grey in part; in black it agrees as little as the rollout does. So which squares
# matter depends on the paint, and this comparison can't judge the rollout. R is right about **which tokens can
# matter**, as the oracle confirmed for the first two blocks (after them, all can). It is no explanation of the
# answer: it knows nothing of V, of the MLPs, or of the class.

# %% [markdown]
# ### How many seeds?
#
# If two variants differ by d and seeds scatter by σ, the difference of two means has the error σ·√(2/n). Taken seed
# by seed, as above, its 95 % interval is Student's t times that to either side: 12.7 times with two seeds, about twice with many. The fewest
# seeds with which a measured d lies outside:

# %% jupyter={"source_hidden": true}
full = accuracies("parts").get("everything on", [])
if len(full) > 1:
    spread = np.std(full, ddof=1)
    print(f"σ ≈ {spread:.2f} points (from {len(full)} seeds: a rough guess)")
    for d in (2.0, 1.0, 0.5, 0.25):
        wide = (
            (STUDENT[n - 2] if n < 20 else 1.96 + 2.4 / (n - 1))
            * math.sqrt(2 / n)
            * spread
            for n in range(2, 999)
        )
        print(f"to see {d:4} points: {next(n for n, w in enumerate(wide, 2) if w < d)} seeds each")  # fmt: skip

# %% [markdown]
# ### Q53: Which optimiser, learning rate, warm-up and batch scaling should I use on one GPU?
#
# AdamW, linear warm-up, cosine: the recipe above. The official rate is 1e-3 for a batch of 1024 (Liu et al. 2021, appendix
# A2.1), scaled in proportion
# (the official `main.py` multiplies by batch / 512 with a base of 5e-4). But measure: a short sweep finds the edge. Half as
# many steps as above:

# %%
seeds(accuracies("recipe"), "test accuracy, %")

# %%
compare(accuracies("recipe"))

# %%
runs(
    loss_curves([name for name, v in ablations.VARIANTS.items() if v.group == "recipe"])
)

# %% [markdown]
# What these runs show, on this model and at this length: read the points. All lines compare with the first row; hold the run
# without warm-up against the row with the same rate, 0.012. (Two seeds make an interval so wide that even 46 against 78
# points "can't be told apart".) What they don't show: SGD was run with one rate, and without decay; and a batch four times as large takes a quarter of the steps, so it had
# fewer chances. Nor was the official rule run here: for batches of 64 it gives 6e-5, a 48th of the rate above. It belongs to
# large models and 300 epochs. On one GPU, sweep the rate in steps of about three, from what the rule gives upwards.

# %% [markdown]
# ### Q51: Why does Swin from scratch do worse than ResNet on CIFAR or a few thousand images, and what helps?
#
# First, does it? A ResNet-20 (after He et al. 2016, section 4.2; [convnet](convnet.py)) of about as many parameters was trained as
# the Swin was: the same images in the same order, as many steps, the same recipe, which had been made for the Swin. Once
# with all 10,000 images, once with 500:

# %% jupyter={"source_hidden": true}
for name, module in (("Swin", twin), ("ResNet", ablations.resnet())):
    print(f"{name}: {sum(p.numel() for p in module.parameters()):,} parameters")


def last(name):
    """Test accuracy in %, one for each seed."""
    return [100 * run["test_accuracy"][-1][1] for run in of(name)]


for images, (swin, resnet) in {
    "10,000 images": ("full", "convnet"),
    "500 images": ("images_500", "convnet_500"),
}.items():
    compare({f"Swin, {images}": last(swin), f"ResNet, {images}": last(resnet)})

# %% [markdown]
# The usual explanation: a convolution has locality and "the same everywhere" built in, and attention must learn from
# examples which neighbours matter. These runs don't test that: the two models differ in much else. What they show is how
# much each gets right of the images that it was trained on, and of those that it wasn't. About as many steps each (only whole batches
# count, so the smallest set gets a tenth fewer), from all
# 10,000 images or fewer:

# %%
names = "full", "images_2000", "images_500", "no_augmentation", "convnet", "convnet_500"
for name in names:
    for run in of(name):
        seen, unseen = run["train_accuracy"], run["test_accuracy"][-1][1]
        print(f"{run['says']:30} seed {run['seed']}: trained on {seen:.1%}, held out"
              f" {unseen:.1%}, gap {100 * (seen - unseen):.1f} points")  # fmt: skip

# %% [markdown]
# With few images both learn them nearly by heart, and the gap opens. Compare the ResNet with the Swin of the same images:
# it is ahead on images that it was trained on, too, and its gap is about as large. In runs of this length, then, the Swin
# isn't the one that fits and fails to generalise; it fits more slowly. Fewer images, for the Swin:

# %%
by_size = {"10,000 images": full, **accuracies("sizes")} if full else {}
seeds(by_size, "test accuracy, %")

# %% [markdown]
# And what helps, with all 10,000:

# %%
with_full = {"everything on": full, **accuracies("training")} if full else {}
seeds(with_full, "test accuracy, %")

# %%
compare(with_full)

# %% [markdown]
# A recipe for small data (tried in this chapter: 2, 3, and of 5 the warm-up, at rate 0.012):
#
# 1. **Pre-trained weights**, if there are any: chapter 11.
# 2. **More data by augmentation** that fits: mirror and move here; crops, colours and mixing for photographs. It makes
#    the task harder, so in runs as short as these it may cost accuracy: see above. It is meant for trainings long enough
#    for the gap to open.
# 3. **First weights** that suit the width. The published spread of 0.02 is used at widths of 96 and more;
#    [`first_weights`](../swin_numpy/training/recipe.py) says how we start. (That run starts its bias tables at 0.02 too,
#    instead of 1, so it doesn't show which of the two matters.)
# 4. **Small patches**: tokens of 2 × 2 pixels for 28 × 28 images, not 4 × 4 of ImageNet, which would leave 7 × 7 tokens,
#    a single window. And a small model.
# 5. **Warm-up**, a rate from a short sweep, label smoothing, and several seeds before you believe a difference.

# %% [markdown]
# ### Gradient checkpointing
#
# Chapter 9 counted what a block keeps for its backward. One can keep less: forget everything but the block's input, and
# run its forward again when backward comes. In NumPy, that is a wrapper of a dozen lines:


# %%
class Checkpointed(Module):
    """A block that keeps only its input."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x, grid):
        self.save(x, grid)
        return self.block.eval()(x, grid)  # in evaluation mode nothing is kept

    def backward(self, dy):
        x, grid = self.saved
        self.block.train()(x, grid)  # once more, and now it keeps
        dx = self.block.backward(dy)
        self.block.eval()
        return dx


# %%
def kept(module):
    """Bytes that the modules saved; memory that is shared counts once."""
    pieces = {}  # where an array begins, and how long it is
    for _, part in module.named_modules():
        for array in part._saved or ():
            if isinstance(array, np.ndarray):
                while isinstance(array.base, np.ndarray):
                    array = array.base
                start = array.__array_interface__["data"][0]
                pieces[start] = max(pieces.get(start, 0), array.nbytes)
    return sum(pieces.values())


grid, width, M = (56, 56), 96, 7  # Swin-T's first stage
sizes = {"dim": width, "num_heads": 3, "input_resolution": grid, "window_size": M}
plain = swin_numpy.SwinTransformerBlock(**sizes, shift_size=3).train()
twice = Checkpointed(swin_numpy.SwinTransformerBlock(**sizes, shift_size=3)).train()
twice.block.load_state_dict(plain.state_dict())
x, dy = (rng.normal(size=(1, 56 * 56, width)).astype(np.float32) for _ in range(2))

# %%
for module in (plain, twice):
    module(x, grid)
    print(f"{type(module).__name__:21} keeps {kept(module) / 1e6:5.2f} MB")
agree("dx", twice.backward(dy), plain.backward(dy))
expected = {name: p.grad for name, p in plain.named_parameters()}
for name, p in twice.block.named_parameters():
    assert np.array_equal(p.grad, expected[name]), name
print("every gradient: the same to the last bit")

# %% [markdown]
# PyTorch brings the wrapper along: `torch.utils.checkpoint.checkpoint(block, x, grid)`. What does it cost? One more
# forward; a backward takes about as long as two forwards, so the bill should be near 4 / 3. Measured by turns, the
# fastest of several:

# %%
torch_plain = swin_torch.SwinTransformerBlock(**sizes, shift_size=3).train()
x_torch, dy_torch = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)
calls = {
    "NumPy": lambda: (plain(x, grid), plain.backward(dy)),
    "NumPy, checkpointed": lambda: (twice(x, grid), twice.backward(dy)),
    "PyTorch": lambda: torch_plain(x_torch, grid).backward(dy_torch),
    "PyTorch, checkpointed": lambda: checkpoint(
        torch_plain, x_torch, grid, use_reentrant=False
    ).backward(dy_torch),
}
times = {name: [] for name in calls}
for _ in range(4):
    for name, call in calls.items():
        start = perf_counter()
        call()
        times[name].append(perf_counter() - start)
for library in ("NumPy", "PyTorch"):
    ratio = min(times[f"{library}, checkpointed"]) / min(times[library])
    print(
        f"{library:8} {1e3 * min(times[library]):4.0f} ms; checkpointed {ratio:.2f} times as long"
    )

# %%
x_torch.grad = None
torch_plain(x_torch, grid).backward(dy_torch)
straight, x_torch.grad = x_torch.grad, None
checkpoint(torch_plain, x_torch, grid, use_reentrant=False).backward(dy_torch)
agree("dx of the twin, checkpointed", x_torch.grad, straight, 1e-6)
config_t = CONFIGS["swin_tiny_patch4_window7_224"]
plain(x, grid)  # keep again
twice(x, grid)
one, two = kept(plain), kept(twice)
print(f"{'blocks':>6} {'all kept':>10} {'checkpointed, and one block open':>34}")
for depth in (2, 6, 18):
    print(f"{depth:6} {depth * one / 1e6:7.0f} MB {(depth * two + one) / 1e6:31.0f} MB")

# %% [markdown]
# While backward works on one block, that block's memory is there in full; hence "and one block open". The more blocks,
# the more is saved. A wrapper around whole **stages** would keep still less between, but open a whole stage.

# %% [markdown]
# ### Traps
#
# **1. The gradient of yesterday.** `zero_grad` forgotten: gradients of all batches add up.


# %%
def first_losses(trainer, forget):
    """Train on one batch, over and over."""
    if forget:
        trainer.optimizer.zero_grad = lambda: None
    images, labels = next(batches(train.images, train.labels, 16, seed=1, epoch=0))
    for _ in range(12):
        trainer.step(images, labels, 2e-3)
    return trainer.losses


unclipped = Recipe(batch_size=16, clip_grad=1e9)
for forget in (False, True):
    found = first_losses(TorchTrainer(config, unclipped), forget)
    print("forgotten " if forget else "zero_grad ", np.round(found[::2], 3))

# %% [markdown]
# The loss falls at first, and no error comes: that is what makes it a trap. Then, here, it stays high. Adam divides the growing size away, and what stays is a sum that is mostly of the past. The check: two forwards and backwards of one batch, without a move between them,
# must give the same gradient.
#
# **2. Decay inside the gradient.** `g + λ p` is not what AdamW does. Adam divides it by √s like everything else, and a
# parameter with large gradients isn't decayed at all:

# %%
for size in (0.01, 1.0, 100.0):
    noise = size * rng.normal(size=2000)
    noise -= noise.mean()
    inside, p = 1.0, 1.0
    m = s = 0.0
    for t, g in enumerate(noise, 1):
        g = g + 0.5 * p  # inside
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        p -= 1e-3 * (m / (1 - 0.9**t)) / (math.sqrt(s / (1 - 0.999**t)) + 1e-8)
    outside = adamw_by_loop(1.0, noise, 1e-3, 0.5)
    print(
        f"gradients of size {size:6}: 1 becomes {p:+.2f} inside, {outside:+.2f} outside"
    )

# %% [markdown]
# **3. Other images at test time than in training.** Nothing complains; only the accuracy tells:

# %%
pixels = test.images[:1000]
inputs_ = {
    "as in training": standardise(pixels),
    "divided by 255 only": (pixels[:, None] / 255).astype(np.float32),
    "white and black swapped": standardise(255 - pixels),
    "rows and columns swapped": np.ascontiguousarray(
        standardise(pixels).swapaxes(2, 3)
    ),
}
for name, images in inputs_.items():
    with torch.inference_mode():
        right = (
            twin(torch.from_numpy(images)).argmax(dim=1).numpy() == test.labels[:1000]
        )
    print(f"{name:25} {right.mean():.1%}")

# %% [markdown]
# **4. One seed.** How often would a comparison with one seed each have shown the other sign than the means do?

# %%
found = accuracies("parts")
for name in list(found)[1:]:
    signs = [np.sign(b - a) for a in full for b in found[name]]
    other = np.mean(
        signs == -np.sign(np.mean(found[name]) - np.mean(full))
    )  # a tie is neither
    print(f"{name:34} wrong sign in {other:.0%} of {len(signs)} comparisons")

# %% [markdown]
# **5. The schedule by epoch instead of by step.** With one epoch of warm-up, `lr(epoch)` is almost 0 for the whole first
# epoch, and then at once the full rate. Nothing rises step by step:

# %%
first, some = recipe, (0, 50, 100, 155, 156)
by_step = [first.learning_rate(step, 156) for step in some]
by_epoch = [first.learning_rate(step // 156 * 156, 156) for step in some]
print("by step: ", np.array(by_step))
print("by epoch:", np.array(by_epoch))

# %% [markdown]
# **6. Choosing the best epoch by the test set.** Whoever reports the highest of many test accuracies reports luck as well.
# Those of our ablations are those of the **last** epoch. How large is that luck? Take a model that is always right with
# probability 0.85, test it after each of 20 epochs, on other 2,000 images each time, and keep the best:

# %%
draws = rng.binomial(2000, 0.85, size=(1000, 20)) / 2000
gains = 100 * (draws.max(axis=1) - draws[:, -1])
print(
    f"best minus last: {gains.mean():.2f} points on average, {np.percentile(gains, 95):.2f} in one case of twenty"
)

# %% [markdown]
# Epochs of one training aren't independent, so the real gain is another. But it is never negative. (For the
# trained model, the images to look at while it trained were set aside from the training images.)

# %% [markdown]
# **7. Checkpointing with dropout.** The second forward must throw away the same numbers as the first. Our wrapper doesn't
# see to that (and its first pass runs in evaluation mode, where nothing is dropped), so use it without dropout. PyTorch's
# wrapper saves the state of the random numbers.

# %% [markdown]
# ## Where to read on
#
# - Kingma & Ba 2015, *Adam*; Loshchilov & Hutter 2019, *Decoupled Weight Decay Regularization*: AdamW; the same 2017,
#   *SGDR*: the cosine. Goyal et al. 2017, *Accurate, Large Minibatch SGD*: linear scaling and warm-up. Abnar & Zuidema
#   2020, *Quantifying Attention Flow in Transformers*: rollout. Chen et al. 2016, *Training Deep Nets with Sublinear
#   Memory Cost*. Liu et al. 2021, table 4: the ablations of the paper.
# - In this package: [optim](../swin_numpy/optim.py), [training](../swin_numpy/training/loop.py), and
#   [ablations](ablations.py), which you can run.
# - Next: chapter 11. Weights that others have trained.
