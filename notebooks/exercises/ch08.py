"""Exercises of chapter 08, the whole model."""

import math
from dataclasses import replace

import numpy as np
from einops import rearrange

from swin_numpy import CONFIGS, SwinConfig, SwinTransformer
from swin_numpy.weights.shapes import model_shapes


def check_1(answer):
    """answer(image_size, patch_size, stages): grids."""
    for size, patch, stages in (((224, 224), 4, 4), ((32, 64), 2, 2), ((300, 451), 4, 4), ((5, 9), 4, 3)):
        got = [tuple(int(side) for side in grid) for grid in answer(size, patch, stages)]
        wanted = solution_1(size, patch, stages)
        if got != wanted:
            return f"an image of {size}, patches of {patch}, {stages} stages: expected {wanted}, got {got}"


def solution_1(image_size, patch_size, stages):
    grid = tuple(-(-side // patch_size) for side in image_size)  # -(-a // b) rounds up
    grids = [grid]
    while len(grids) < stages:
        grids.append(tuple(-(-side // 2) for side in grids[-1]))
    return grids


def right_1_ceil(image_size, patch_size, stages):
    return [tuple(math.ceil(side / (patch_size * 2**stage)) for side in image_size) for stage in range(stages)]


def right_1_loop(image_size, patch_size, stages):
    h, w = ((side + patch_size - 1) // patch_size for side in image_size)
    grids = []
    for _ in range(stages):
        grids.append([h, w])
        h, w = (h + 1) // 2, (w + 1) // 2
    return grids


def wrong_1_rounds_down(image_size, patch_size, stages):
    return [tuple(side // patch_size // 2**stage for side in image_size) for stage in range(stages)]


def wrong_1_after_merging(image_size, patch_size, stages):
    return solution_1(image_size, patch_size, stages + 1)[1:]


def wrong_1_swapped(image_size, patch_size, stages):
    return solution_1(image_size[::-1], patch_size, stages)


def check_2(answer):
    """answer(grids, depths, window_size): window and shift of each block."""
    for config in (CONFIGS["swin_tiny_patch4_window7_224"], SwinConfig(img_size=(64, 96), depths=(1, 3, 2, 1))):
        model = SwinTransformer(replace(config, embed_dim=8, num_heads=(1, 1, 1, 1)))
        wanted = [(block.window_size, block.shift_size) for layer in model.layers for block in layer.blocks]
        got = [tuple(int(value) for value in pair) for pair in answer(config.grids, config.depths, config.window_size)]
        case = f"grids {config.grids}, depths {config.depths}"
        if len(got) != len(wanted):
            return f"{case}: expected {len(wanted)} blocks, got {len(got)}"
        for block, (mine, right) in enumerate(zip(got, wanted, strict=True)):
            if mine != right:
                return f"{case}: block {block} should have (window, shift) = {right}, got {mine}"


def solution_2(grids, depths, window_size):
    plan = []
    for grid, depth in zip(grids, depths, strict=True):
        one_window = min(grid) <= window_size
        for i in range(depth):
            shifts = i % 2 == 1 and not one_window
            plan.append((min(window_size, min(grid)), window_size // 2 if shifts else 0))
    return plan


def right_2_by_index(grids, depths, window_size):
    plan = []
    for (h, w), depth in zip(grids, depths, strict=True):
        small = h <= window_size or w <= window_size
        window = min(h, w, window_size)
        plan += [(window, 0 if small or i % 2 == 0 else window_size // 2) for i in range(depth)]
    return plan


def right_2_arrays(grids, depths, window_size):
    sides = np.repeat(np.min(grids, axis=1), depths)
    odd = np.concatenate([np.arange(depth) % 2 for depth in depths])
    return list(zip(np.minimum(sides, window_size), odd * (sides > window_size) * (window_size // 2), strict=True))


def wrong_2_always_shifts(grids, depths, window_size):
    return [(window_size, window_size // 2 * (i % 2)) for depth in depths for i in range(depth)]


def wrong_2_window_stays(grids, depths, window_size):
    return [(window_size, shift) for _, shift in solution_2(grids, depths, window_size)]


def wrong_2_counts_through(grids, depths, window_size):
    shifts = [window_size // 2 * (i % 2) for i in range(sum(depths))]
    windows = [(window, shift) for window, shift in solution_2(grids, depths, window_size)]
    return [(window, shift if window == window_size else 0) for (window, _), shift in zip(windows, shifts, strict=True)]


def check_3(answer):
    """answer(stages): maps with channels first."""
    rng = np.random.default_rng(0)
    stages = [(rng.normal(size=(2, 24, 4)), (4, 6)), (rng.normal(size=(2, 6, 8)), (2, 3))]
    maps = list(answer(stages))
    if len(maps) != len(stages):
        return f"expected {len(stages)} maps, got {len(maps)}"
    for got, (tokens, (h, w)) in zip(maps, stages, strict=True):
        got = np.asarray(got)
        shape = (len(tokens), tokens.shape[2], h, w)
        if got.shape != shape:
            return f"tokens {tokens.shape} on a grid of {h} × {w}: expected a map {shape}, got {got.shape}"
        for n, row, column in np.ndindex(len(tokens), h, w):
            if not np.array_equal(got[n, :, row, column], tokens[n, row * w + column]):
                return f"map[{n}, :, {row}, {column}] should be token {row * w + column} of image {n}, and is not"


def solution_3(stages):
    maps = []
    for tokens, (h, w) in stages:
        n, _, c = tokens.shape
        maps.append(tokens.transpose(0, 2, 1).reshape(n, c, h, w))
    return maps


def right_3_einops(stages):
    return [rearrange(tokens, "n (h w) c -> n c h w", h=h) for tokens, (h, w) in stages]


def right_3_moveaxis(stages):
    return tuple(np.moveaxis(tokens.reshape(len(tokens), h, w, -1), -1, 1) for tokens, (h, w) in stages)


def wrong_3_reshape(stages):
    return [tokens.reshape(len(tokens), -1, h, w) for tokens, (h, w) in stages]


def wrong_3_channels_last(stages):
    return [tokens.reshape(len(tokens), h, w, -1) for tokens, (h, w) in stages]


def wrong_3_columns_first(stages):
    return [tokens.transpose(0, 2, 1).reshape(len(tokens), -1, w, h).mT for tokens, (h, w) in stages]


def check_4(answer):
    """answer(tokens, norm, weight, bias): logits."""
    rng = np.random.default_rng(0)
    tokens, weight, bias = rng.normal(size=(2, 5, 4)), rng.normal(size=(3, 4)), rng.normal(size=3)

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)

    got, wanted = np.asarray(answer(tokens, norm, weight, bias)), solution_4(tokens, norm, weight, bias)
    if got.shape != wanted.shape:
        return f"expected shape {wanted.shape}, got {got.shape}"
    likely = {
        "the norm comes first, token by token; yours comes after the mean": norm(tokens.mean(1)) @ weight.T + bias,
        "the last norm is missing": tokens.mean(1) @ weight.T + bias,
        "the bias of the head is missing": wanted - bias,
        "that is the first token; the head gets the mean over all": norm(tokens)[:, 0] @ weight.T + bias,
        "that is the sum over tokens; the head gets their mean": norm(tokens).sum(1) @ weight.T + bias,
    }
    if np.allclose(got, wanted):
        return None
    for reason, value in likely.items():
        if np.allclose(got, value):
            return reason
    return f"shape is right, numbers are off by up to {np.abs(got - wanted).max():.3g}"


def solution_4(tokens, norm, weight, bias):
    features = norm(tokens).mean(axis=1)
    return features @ weight.T + bias


def right_4_head_first(tokens, norm, weight, bias):
    return (norm(tokens) @ weight.T + bias).mean(1)  # the head is linear


def right_4_einsum(tokens, norm, weight, bias):
    return np.einsum("nlc,kc->nk", norm(tokens), weight) / tokens.shape[1] + bias


def wrong_4_mean_first(tokens, norm, weight, bias):
    return norm(tokens.mean(1)) @ weight.T + bias


def wrong_4_first_token(tokens, norm, weight, bias):
    return norm(tokens)[:, 0] @ weight.T + bias


def wrong_4_no_norm(tokens, norm, weight, bias):
    return tokens.mean(1) @ weight.T + bias


def check_5(answer):
    """answer(config): number of parameters; the paper's four models."""
    sizes = {"embed_dim": 8, "num_heads": (1, 2), "num_classes": 3}
    own = {
        "a model with depths (1, 2), width 8, windows of 4": SwinConfig(
            img_size=32, depths=(1, 2), window_size=4, **sizes
        ),
        "a model whose second map, 6 × 6, is smaller than its windows of 7": SwinConfig(
            img_size=48, depths=(2, 1), mlp_ratio=2.0, in_chans=1, **sizes
        ),
    }
    expected = {
        name: (config, sum(value.size for _, value in SwinTransformer(config).named_parameters()))
        for name, config in own.items()
    }
    paper = {"tiny": 28_288_354, "small": 49_606_258, "base": 87_768_224, "large": 196_532_476}
    for size, count in paper.items():
        expected[f"Swin-{size[0].upper()}"] = CONFIGS[f"swin_{size}_patch4_window7_224"], count
    for name, (config, wanted) in expected.items():
        if got := int(answer(config)) - wanted:
            return f"{name} has {wanted:,} parameters; yours has {abs(got):,} too {'many' if got > 0 else 'few'}"


def solution_5(config):
    p, C = config.patch_size, config.embed_dim
    count = config.in_chans * p * p * C + C + 2 * C  # matrix, bias, norm
    for stage, (depth, C) in enumerate(zip(config.depths, config.widths, strict=True)):
        M = min(config.window_size, *config.grids[stage])
        table = (2 * M - 1) ** 2 * config.num_heads[stage]
        hidden = int(config.mlp_ratio * C)
        attention = 3 * C * C + 3 * C + C * C + C + table
        mlp = hidden * C + hidden + C * hidden + C
        count += depth * (2 * 2 * C + attention + mlp)
        if stage < len(config.depths) - 1:
            count += 2 * 4 * C + 4 * C * 2 * C  # patch merging: norm over 4C, matrix without bias
    return count + 2 * C + C * config.num_classes + config.num_classes  # last norm, head


def right_5_by_shapes(config):
    return sum(math.prod(shape) for shape in model_shapes(config).values())


def right_5_by_factors(config):
    C, patch = config.embed_dim, config.in_chans * config.patch_size**2
    count = C * (patch + 3)
    for stage, (depth, heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
        C, M = config.widths[stage], config.windows[stage]
        count += depth * (C * C * (4 + 2 * config.mlp_ratio) + C * (9 + config.mlp_ratio) + heads * (2 * M - 1) ** 2)
        count += 8 * C * (C + 1) if stage + 1 < len(config.depths) else 0
    return int(count + 2 * C + (C + 1) * config.num_classes)


def wrong_5_windows_never_shrink(config):
    return solution_5(replace(config, img_size=4096))


def wrong_5_merging_in_every_stage(config):
    C = config.widths[-1]
    return solution_5(config) + 8 * C + 8 * C * C


def wrong_5_no_last_norm(config):
    return solution_5(config) - 2 * config.widths[-1]


def wrong_5_merging_with_bias(config):
    return solution_5(config) + sum(2 * C for C in config.widths[:-1])


def wrong_5_one_head(config):
    M = config.window_size
    return solution_5(config) - sum(
        depth * (heads - 1) * (2 * M - 1) ** 2 for depth, heads in zip(config.depths, config.num_heads, strict=True)
    )
