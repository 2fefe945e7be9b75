"""What the gallery shows, from its sources: the chapters' own examples, the real package, the model's weights."""

import ast
import time
from pathlib import Path

import numpy as np

import swin_numpy
from swin_numpy.runtime.threads import one_blas_thread

CHAPTERS = Path(__file__).resolve().parent.parent / "notebooks" / "source"


def from_chapter(number, names):
    """{name: value} of what a chapter such as "01" assigns to `names`, a text of names in the chapter's order.

    Only these assignments and the chapter's imports of NumPy and swin_numpy are run, so `names` must hold what they
    need. Raises ValueError where the chapter assigns none of that name.
    """
    (source,) = CHAPTERS.glob(f"{number}_*.py")
    wanted, values = set(names.split()), {}
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        module = getattr(node, "module", None) or (isinstance(node, ast.Import) and node.names[0].name) or ""
        if module.split(".")[0] in ("numpy", "swin_numpy"):
            exec(compile(ast.Module([node], []), source.name, "exec"), values)
        elif isinstance(node, ast.Assign):
            targets = {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            if targets & wanted and not targets <= set(values):
                exec(compile(ast.Module([node], []), source.name, "exec"), values)
    if missing := wanted - set(values):
        raise ValueError(f"names: expected what {source.name} assigns, got {', '.join(sorted(missing))}")
    return {name: values[name] for name in names.split()}


def sides_of_the_seam(height, width, shift):
    """(height, width) of 0 … 3: after the roll, which side of the two seams each token lies on."""
    return 2 * (np.arange(height) >= height - shift)[:, None] + (np.arange(width) >= width - shift)


def who_sees_whom(height, width, window, shift):
    """(h·w, h·w) of bool: does query i see key j, for tokens of the map counted row by row."""
    tokens = np.arange(height * width).reshape(1, height, width, 1)
    tokens = swin_numpy.window_partition(swin_numpy.cyclic_shift(tokens, shift), window)[0, :, :, 0]
    sees = np.zeros((height * width,) * 2, bool)
    sees[tokens[:, :, None], tokens[:, None]] = swin_numpy.shift_mask(height, width, window, shift) == 0
    return sees


def seen_after(blocks, side, window, shift, query):
    """Maps (side, side) of bool: what `query` (row, column) has seen after 1, 2, … blocks, every second one shifted."""
    kinds = [who_sees_whom(side, side, window, s) for s in (0, shift)]
    seen, maps = np.arange(side * side) == query[0] * side + query[1], []
    for block in range(blocks):
        seen = kinds[block % 2][seen].any(0)
        maps.append(seen.reshape(side, side))
    return maps


def token_offsets(window):
    """Row and column offset (m, m) from key j to query i, for a window of window x window tokens."""
    row, column = np.divmod(np.arange(window**2), window)
    return row[:, None] - row, column[:, None] - column


def part_of(name):
    """The part of the model that the parameter `name` belongs to."""
    if name.startswith("patch_embed"):
        return "patch embedding"
    if "downsample" in name:
        return "patch merging"
    if name.startswith("head"):
        return "head"
    if "norm" in name:
        return "norms"
    return "attention" if ".attn." in name else "MLP"


def multiply_adds(config):
    """{part: multiply-adds of its matrix products for one image}; attention as in the paper's equation 2."""
    count = dict.fromkeys(("patch embedding", "attention", "MLP", "patch merging"), 0)
    tokens = config.grids[0][0] * config.grids[0][1]
    count["patch embedding"] = tokens * config.patch_size**2 * config.in_chans * config.embed_dim
    for stage, (depth, width, (h, w)) in enumerate(zip(config.depths, config.widths, config.grids, strict=True)):
        M = min(config.window_size, h, w)
        count["attention"] += depth * window_cost(h * w, width, M)
        count["MLP"] += int(depth * 2 * config.mlp_ratio * h * w * width**2)
        if stage < len(config.depths) - 1:
            count["patch merging"] += -(-h // 2) * -(-w // 2) * 4 * width * 2 * width
    return count | {"norms": 0, "head": config.widths[-1] * config.num_classes}


def window_cost(tokens, width, window):
    """Multiply-adds of W-MSA, equation 2 of the paper: 4 hw C² + 2 M² hw C."""
    return 4 * tokens * width**2 + 2 * window**2 * tokens * width


def global_cost(tokens, width):
    """Multiply-adds of attention over the whole map, equation 1: 4 hw C² + 2 (hw)² C."""
    return 4 * tokens * width**2 + 2 * tokens**2 * width


def time_attention(tokens, count, width, heads, repeats=5):
    """Seconds of one core, the best of `repeats`: multi-head self-attention in each of `count` windows of `tokens`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, tokens, width)).astype(np.float32)
    W = rng.normal(size=(4, width, width)).astype(np.float32)
    times = []
    with one_blas_thread():
        for _ in range(repeats):
            start = time.process_time()
            swin_numpy.multi_head_self_attention(x, *W, num_heads=heads)
            times.append(time.process_time() - start)
    return min(times)


def attention_weights(model, images, stage, block):
    """(windows, heads, i, j): the weights of one block of a NumPy model for the first of `images`."""
    seen = []
    layer = model.layers[stage].blocks[block].attn.attn_drop
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(np.array(output)))
    model(images)
    hook.remove()
    return seen[0][0]


def row_on_map(weights, query, grid, window):
    """The row of `query` (row, column) of W-MSA weights (k, a, i, j) on the whole map: (a, h, w), NaN elsewhere."""
    (row, column), (h, w) = query, grid
    k = row // window * (w // window) + column // window
    i = row % window * window + column % window
    maps = np.full((weights.shape[1], h, w), np.nan)
    top, left = row // window * window, column // window * window
    maps[:, top : top + window, left : left + window] = weights[k, :, i].reshape(-1, window, window)
    return maps
