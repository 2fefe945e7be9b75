"""Pictures of the whole model: the architecture, its pyramid of stages, patch merging."""

import numpy as np

from .arrays import as_array, divides
from .block import one_block
from .cells import arrow, box, matrix, write
from .style import COLORS, GREY, INK, PAGE, WINDOWS, canvas, styled, tint


@styled
def merging(grid, order=((0, 0), (1, 0), (0, 1), (1, 1)), width=96):
    """Patch merging: which four tokens meet, and in which order their channels are joined.

    grid (h, w), a number for each token, h and w even; order: the four (row, column) offsets inside a 2 x 2
    square as they follow each other in the 4C channels; width: C, for the shapes in the text.
    """
    grid = as_array("grid", grid, (None, None))
    h, w = grid.shape
    divides("map height", h, 2)
    divides("map width", w, 2)
    if sorted(order) != [(0, 0), (0, 1), (1, 0), (1, 1)]:
        raise ValueError(f"order: expected the four offsets of a 2 x 2 square, got {order}")
    cell, top = 0.42, 0.72
    colors = {offset: np.array(tint(WINDOWS[index], 0.5)) for index, offset in enumerate(order)}
    fill = np.array([[colors[i % 2, j % 2] for j in range(w)] for i in range(h)])
    joined = np.stack([grid[a::2, b::2].ravel() for a, b in order], 1)
    start = 0.2 + w * cell + 1.0
    stop = start + 4 * cell + 0.4
    size = (stop + 4.0, top + max(h, len(joined)) * cell + 0.25)
    figure, axes = canvas(*size)
    matrix(axes, grid, (0.2, top), fill, cell=(cell, cell), decimals=0)
    write(axes, f"{h} × {w} tokens of C = {width} channels", 0.2, 0.3, ha="left", size=10)
    for i in range(0, h, 2):
        for j in range(0, w, 2):
            x, y = 0.2 + j * cell, top + i * cell
            axes.plot(
                [x, x + 2 * cell, x + 2 * cell, x, x],
                [y, y, y + 2 * cell, y + 2 * cell, y],
                color=INK,
                lw=1.6,
            )
    middle = top + h * cell / 2
    arrow(axes, (start - 0.8, middle), (start - 0.3, middle))
    colored = np.broadcast_to(np.array([colors[o] for o in order]), (len(joined), 4, 3))
    end = matrix(axes, joined, (start, top), colored, cell=(cell, cell), decimals=0)
    for index, (a, b) in enumerate(order):
        write(axes, f"{a},{b}", start + (index + 0.5) * cell, top - 0.14, size=9)
    write(axes, "offset row,column", end[0] + 0.1, top - 0.14, ha="left", size=9)
    text = (
        f"{len(joined)} tokens of 4C = {4 * width} channels:\nfour tokens end to end, in this order\n\n"
        f"then LayerNorm over the {4 * width}\nand a linear map without bias\n"
        f"{4 * width} → 2C = {2 * width}\n\n{h // 2} × {w // 2} tokens of {2 * width} channels"
    )
    write(axes, text, stop - 0.1, max(middle, top + 0.95), ha="left", linespacing=1.4)
    return figure


@styled
def pyramid(stages, window_size=None):
    """The pyramid of stages, to scale: fronts are the maps, depths the channels.

    stages: list of (name, channels, (h, w)); window_size draws window borders on each map.
    """
    if not stages:
        raise ValueError("stages: expected a list of (name, channels, (h, w)), got none")
    largest, widest = max(max(size) for _, _, size in stages), max(channels for _, channels, _ in stages)
    unit, deep, slope = (
        2.5 / largest,
        1.5 / widest,
        0.45,
    )  # inches a token, inches a channel, rise of the depth
    spans = [max(size[1] * unit + channels * deep, 1.3) + 0.3 for _, channels, size in stages]
    scale = min(1.0, (PAGE - 0.3) / sum(spans))
    floor = 0.3 + max(size[0] * unit + channels * deep * slope for _, channels, size in stages)
    figure, axes = canvas(sum(spans) * scale + 0.3, floor + 0.95)
    x = 0.2
    for (name, channels, (h, w)), span in zip(stages, spans, strict=True):
        _block3d(axes, x, floor, (w * unit, h * unit), channels * deep * scale, slope)
        for step in np.arange(window_size, w, window_size) if window_size else ():
            axes.plot([x + step * unit] * 2, [floor, floor - h * unit], color=INK, lw=0.7)
        for step in np.arange(window_size, h, window_size) if window_size else ():
            axes.plot([x, x + w * unit], [floor - step * unit] * 2, color=INK, lw=0.7)
        text = f"{name}\n{h} × {w} tokens\n{channels} channels"
        write(axes, text, x, floor + 0.12, ha="left", va="top", linespacing=1.35)
        x += span * scale
    return figure


def _block3d(axes, x, floor, face, depth, slope):
    """A box seen from the front left: face (width, height), its depth going up to the right."""
    (w, h), dx, dy = face, depth, depth * slope
    sides = (
        ([x, x + w, x + w, x], [floor, floor, floor - h, floor - h], 0.35),
        ([x, x + w, x + w + dx, x + dx], [floor - h, floor - h, floor - h - dy, floor - h - dy], 0.2),
        ([x + w, x + w + dx, x + w + dx, x + w], [floor, floor - dy, floor - h - dy, floor - h], 0.6),
    )
    for xs, ys, strength in sides:
        axes.fill(xs, ys, facecolor=tint(COLORS["W-MSA"], strength), edgecolor=INK, linewidth=1)


@styled
def architecture(image_size, patch_size, embed_dim, depths, heads, window_size, classes, version=1):
    """The whole model: from image to logits with the shape after each stage, and two successive blocks below.

    image_size: int or (H, W); depths, heads: one number a stage; the other values as in SwinConfig.
    Drawn after the idea of figure 3 of the paper (Liu et al. 2021).
    """
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    if len(depths) != len(heads):
        raise ValueError(f"heads: expected {len(depths)} numbers, one a stage, got {len(heads)}")
    figure, axes = canvas(PAGE + 0.2, 5.0)
    _stages(axes, (H, W), patch_size, embed_dim, depths, heads, classes)
    write(
        axes,
        f"two successive blocks (windows of {window_size} × {window_size} tokens)",
        0.15,
        2.9,
        ha="left",
        size=11,
    )
    x = 0.15
    for kind in ("W-MSA", "SW-MSA"):
        x = one_block(axes, x, 3.95, kind, version, gap=0.22, scale=1.05)
    write(axes, "Every block: tokens (N, H·W, C) in, tokens (N, H·W, C) out.", 0.15, 4.75, ha="left")
    return figure


def _stages(axes, image, patch_size, embed_dim, depths, heads, classes):
    """The upper row of `architecture`."""
    bar, y, height = 0.36, 0.62, 1.35
    stage = (PAGE - 0.62 - 0.75 - (len(depths) + 2) * bar - 0.16 * (2 * len(depths) + 3)) / len(depths)
    h, w = (-(-side // patch_size) for side in image)
    middle, x = y + height / 2, 0.12
    box(axes, "image", x, y + 0.2, 0.68, height - 0.4, GREY, strength=0.15)
    write(axes, f"{image[0]}×{image[1]}×3", x + 0.36, y + height + 0.1, size=9)
    x = _bar(axes, f"patches {patch_size}×{patch_size}, linear", x + 0.68, y, bar, height, COLORS["embed"])
    for index, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        width, last = embed_dim * 2**index, index == len(depths) - 1
        arrow(axes, (x, middle), (x + 0.16, middle))
        x += 0.16
        right = x + stage + (0 if last else 0.16 + bar)
        axes.plot(
            [x - 0.06, right + 0.06, right + 0.06, x - 0.06, x - 0.06],
            [y - 0.14, y - 0.14, y + height + 0.48, y + height + 0.48, y - 0.14],
            color=GREY,
            lw=1,
            ls=(0, (4, 3)),
        )
        write(axes, f"stage {index + 1}: {depth} blocks", (x + right) / 2, y - 0.3, size=10)
        _pair(axes, x, y, stage, height)
        write(axes, f"{count} heads\n{h}×{w}×{width}", x + stage / 2, y + height + 0.23, size=9, linespacing=1.3)
        x += stage
        if not last:
            x = _bar(axes, "patch merging", x, y, bar, height, COLORS["merging"])
            h, w = -(-h // 2), -(-w // 2)
    x = _bar(axes, "norm, mean", x, y, bar, height, COLORS["LN"])
    x = _bar(axes, "linear", x, y, bar, height, COLORS["head"])
    arrow(axes, (x, middle), (x + 0.16, middle))
    write(axes, f"{classes}\nlogits", x + 0.2, middle, ha="left", linespacing=1.3)


def _bar(axes, text, x, y, width, height, color):
    """An arrow and, behind it, a thin box with upright text; returns its right edge."""
    arrow(axes, (x, y + height / 2), (x + 0.16, y + height / 2))
    box(axes, text, x + 0.16, y - 0.04, width, height + 0.08, color, 9, 90)
    return x + 0.16 + width


def _pair(axes, x, y, width, height):
    """The two kinds of block that take turns in a stage."""
    box(axes, "W-MSA", x, y, width, height / 2, COLORS["W-MSA"])
    box(axes, "SW-MSA", x, y + height / 2, width, height / 2, COLORS["SW-MSA"])
