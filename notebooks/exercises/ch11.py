"""Exercises of chapter 11, weights and sizes."""

import re

import numpy as np


def check_1(answer):
    """answer(name): a name of timm since 0.9 → the official one."""
    pairs = {
        "layers.1.downsample.norm.weight": "layers.0.downsample.norm.weight",
        "layers.3.downsample.reduction.weight": "layers.2.downsample.reduction.weight",
        "head.fc.bias": "head.bias",
        "layers.1.blocks.0.mlp.fc1.weight": "layers.1.blocks.0.mlp.fc1.weight",
        "layers.11.downsample.norm.bias": "layers.10.downsample.norm.bias",
        "patch_embed.proj.weight": "patch_embed.proj.weight",
        "norm.weight": "norm.weight",
    }
    for theirs, wanted in pairs.items():
        if (got := answer(theirs)) != wanted:
            return f"{theirs}: expected {wanted}, got {got}"


def solution_1(name):
    stage = re.match(r"layers\.(\d+)\.(downsample\..+)", name)
    if stage:
        return f"layers.{int(stage[1]) - 1}.{stage[2]}"
    return name.replace("head.fc.", "head.")


def wrong_1_other_way(name):
    stage = re.match(r"layers\.(\d+)\.(downsample\..+)", name)
    return f"layers.{int(stage[1]) + 1}.{stage[2]}" if stage else name.replace("head.fc.", "head.")


def wrong_1_head_forgotten(name):
    return name if name.startswith("head") else solution_1(name)


def wrong_1_every_fc(name):
    return solution_1(name).replace(".fc1.", ".").replace(".fc.", ".")


def wrong_1_one_digit(name):
    stage = re.match(r"layers\.(\d)\.(downsample\..+)", name)
    return f"layers.{int(stage[1]) - 1}.{stage[2]}" if stage else name.replace("head.fc.", "head.")


def patches_times(weight, bias, x):
    """The patch convolution on patches x (n, c, p, p) → (n, C)."""
    return np.einsum("ecpq,ncpq->ne", weight, x) + bias


def check_2(answer):
    """answer(weight, bias, mean, std): the convolution for pixels from 0 to 1 that nobody normalises."""
    rng = np.random.default_rng(2)
    weight, bias, x = rng.normal(size=(5, 3, 2, 2)), rng.normal(size=5), rng.random((4, 3, 2, 2))
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.25])
    before = weight.copy()
    new_weight, new_bias = answer(weight, bias, mean, std)
    if not np.array_equal(weight, before):
        return "your function changed the weight that it was given; work on a copy"
    if np.shape(new_weight) != weight.shape or np.shape(new_bias) != bias.shape:
        came = f"{np.shape(new_weight)} and {np.shape(new_bias)}"
        return f"expected a weight {weight.shape} and a bias {bias.shape}, got {came}"
    if not np.allclose(new_weight, weight / std[:, None, None]):
        return "the weight is off: a pixel that is 0.1 brighter must change each token as it did after normalising"
    black = np.abs(patches_times(new_weight, new_bias, 0 * x) - patches_times(weight, bias, minus(mean, std, x))).max()
    if not black < 1e-9:
        return f"the weight is right; the bias is not: the tokens of a black patch are off by {black:.3g}"


def minus(mean, std, x):
    """Black patches, normalised; of the shape of x."""
    return np.broadcast_to((-mean / std)[:, None, None], x.shape)


def solution_2(weight, bias, mean, std):
    new_weight = weight / std[:, None, None]
    return new_weight, bias - np.einsum("ecpq,c->e", new_weight, mean)


def wrong_2_bias_stays(weight, bias, mean, std):
    return weight / std[:, None, None], bias


def wrong_2_old_weight_in_bias(weight, bias, mean, std):
    return weight / std[:, None, None], bias - np.einsum("ecpq,c->e", weight, mean)


def wrong_2_times(weight, bias, mean, std):
    return weight * std[:, None, None], bias - np.einsum("ecpq,c->e", weight * std[:, None, None], mean)


def check_3(answer):
    """answer(side, patch, window, stages): each stage's (side of the grid, side after padding)."""
    for case in ((224, 4, 7, 4), (512, 4, 7, 4), (750, 4, 12, 4), (28, 2, 7, 2), (33, 4, 8, 3)):
        got, wanted = [tuple(int(n) for n in pair) for pair in answer(*case)], solution_3(*case)
        if got != wanted:
            return f"side {case[0]}, patch {case[1]}, window {case[2]}: expected {wanted}, got {got}"


def solution_3(side, patch, window, stages):
    found, grid = [], -(-side // patch)
    for _ in range(stages):
        found.append((grid, -(-grid // window) * window))
        grid = -(-grid // 2)
    return found


def wrong_3_rounded_down(side, patch, window, stages):
    grids = [side // patch // 2**stage for stage in range(stages)]
    return [(grid, -(-grid // window) * window) for grid in grids]


def wrong_3_padding_stays(side, patch, window, stages):
    """As if the padding were kept from stage to stage."""
    found, grid = [], -(-side // patch)
    for _ in range(stages):
        padded = -(-grid // window) * window
        found.append((grid, padded))
        grid = -(-padded // 2)
    return found


def wrong_3_always_one_more(side, patch, window, stages):
    return [(grid, (grid // window + 1) * window) for grid, _ in solution_3(side, patch, window, stages)]


def check_4(answer):
    """answer(state, classes): the state of a model that knows only these classes, in this order."""
    rng = np.random.default_rng(4)
    state = {"norm.weight": rng.normal(size=6), "head.weight": rng.normal(size=(5, 6)), "head.bias": rng.normal(size=5)}
    kept = {name: value.copy() for name, value in state.items()}
    got = answer(state, [3, 0])
    if not all(np.array_equal(state[name], kept[name]) for name in kept) or len(state) != len(kept):
        return "your function changed the state that it was given; make a new dict"
    if sorted(got) != sorted(kept):
        return f"expected the names {sorted(kept)}, got {sorted(got)}"
    for name, wanted in solution_4(kept, [3, 0]).items():
        if np.shape(got[name]) != wanted.shape:
            return f"classes [3, 0]: {name} should be {wanted.shape}, got {np.shape(got[name])}"
        if not np.array_equal(got[name], wanted):
            return f"classes [3, 0]: {name} has the right shape and other numbers; in which order are its rows?"


def solution_4(state, classes):
    return {name: value[classes] if name.startswith("head.") else value for name, value in state.items()}


def wrong_4_bias_forgotten(state, classes):
    return state | {"head.weight": state["head.weight"][classes]}


def wrong_4_sorted(state, classes):
    return solution_4(state, sorted(classes))


def wrong_4_columns(state, classes):
    return state | {"head.weight": state["head.weight"][:, classes], "head.bias": state["head.bias"][classes]}


def wrong_4_in_place(state, classes):
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][classes]
    return state


def check_5(answer):
    """answer(fine, coarse): the coarse map, each token doubled, laid onto the fine one."""
    for h, w in ((4, 6), (5, 7), (3, 4)):
        fine = np.zeros((2, 3, h, w))
        coarse = np.arange(2 * 3 * -(-h // 2) * -(-w // 2), dtype=float).reshape(2, 3, -(-h // 2), -(-w // 2))
        got, wanted = np.asarray(answer(fine, coarse)), solution_5(fine, coarse)
        if got.shape != wanted.shape:
            return f"fine map {h} x {w}: expected shape {wanted.shape}, got {got.shape}"
        if not np.array_equal(got, wanted):
            n, e, i, j = (int(k) for k in np.argwhere(got != wanted)[0])
            where = f"fine map {h} x {w}, token ({i}, {j})"
            values = f"{wanted[n, e, i, j]:g}, got {got[n, e, i, j]:g}"
            return f"{where}: expected coarse token ({i // 2}, {j // 2}), which is {values}"
        fine = np.random.default_rng(h).integers(-9, 9, fine.shape).astype(float)
        if not np.array_equal(answer(fine, coarse), solution_5(fine, coarse)):
            return f"fine map {h} x {w}: the coarse map is right, but it should be added to the fine one"


def solution_5(fine, coarse):
    h, w = fine.shape[2:]
    doubled = coarse.repeat(2, axis=2).repeat(2, axis=3)
    return fine + doubled[:, :, :h, :w]  # odd sides: the last row or column is needed once


def wrong_5_tiled(fine, coarse):
    h, w = fine.shape[2:]
    return fine + np.tile(coarse, (1, 1, 2, 2))[:, :, :h, :w]


def wrong_5_cropped_at_the_start(fine, coarse):
    h, w = fine.shape[2:]
    return fine + coarse.repeat(2, axis=2).repeat(2, axis=3)[:, :, -h:, -w:]


def wrong_5_replaced(fine, coarse):
    return solution_5(0 * fine, coarse)


def wrong_5_not_cropped(fine, coarse):
    doubled = coarse.repeat(2, axis=2).repeat(2, axis=3)
    doubled[:, :, : fine.shape[2], : fine.shape[3]] += fine
    return doubled


# Right answers in other styles


def right_1_split(name):
    words = name.split(".")
    if "downsample" in words:
        words[1] = str(int(words[1]) - 1)
    return ".".join(words[:1] + words[2:] if words[:2] == ["head", "fc"] else words)


def right_1_substitute(name):
    name = re.sub(r"^layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
    return re.sub(r"^head\.fc", "head", name)


def right_2_broadcast(weight, bias, mean, std):
    per_pixel = weight / std.reshape(1, -1, 1, 1)
    return per_pixel, bias - (per_pixel * mean.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))


def right_2_loop(weight, bias, mean, std):
    new_weight, new_bias = weight.copy(), bias.copy()
    for c in range(len(mean)):
        new_weight[:, c] /= std[c]
        new_bias = new_bias - new_weight[:, c].sum(axis=(1, 2)) * mean[c]
    return new_weight, new_bias


def right_3_ceil(side, patch, window, stages):
    grids = [int(np.ceil(side / patch))]
    while len(grids) < stages:
        grids.append((grids[-1] + 1) // 2)
    return [[grid, grid + -grid % window] for grid in grids]


def right_3_from_the_side(side, patch, window, stages):
    found = []
    for stage in range(stages):
        grid = -(-side // (patch * 2**stage))
        found.append((grid, (grid + window - 1) // window * window))
    return tuple(found)


def right_4_copy(state, classes):
    smaller = dict(state)
    smaller["head.weight"] = state["head.weight"][classes]
    smaller["head.bias"] = state["head.bias"][classes]
    return smaller


def right_4_take(state, classes):
    rows = {name: np.take(state[name], classes, axis=0) for name in ("head.weight", "head.bias")}
    return state | rows


def right_5_index(fine, coarse):
    rows, columns = (np.arange(length) // 2 for length in fine.shape[2:])
    return fine + coarse[:, :, rows][:, :, :, columns]


def right_5_kron(fine, coarse):
    return np.kron(coarse, np.ones((1, 1, 2, 2)))[:, :, : fine.shape[2], : fine.shape[3]] + fine
