"""Pictures of the whole model: the architecture, its pyramid of stages, patch merging."""

import numpy as np
from einops import reduce

from .arrays import as_array, as_image, divides
from .block import one_block
from .cells import arrow, box, path, write
from .matrices import Matrix, draw_matrix
from .style import COLORS, ENTRIES, GREY, INK, PAGE, PARTS, canvas, describe, styled, tint


@styled
def merging(grid, order=((0, 0), (1, 0), (0, 1), (1, 1)), width=96):
    """Patch merging: which four tokens meet, in which order their channels are joined, norm and linear map.

    grid (h, w), a number for each token, h and w even; order: the four (row, column) offsets inside a 2 x 2
    square as they follow each other in the 4C channels; width: C, for the shapes in the text.
    """
    grid = as_array("grid", grid, (None, None))
    h, w = grid.shape
    divides("map height", h, 2)
    divides("map width", w, 2)
    if sorted(order) != [(0, 0), (0, 1), (1, 0), (1, 1)]:
        raise ValueError(f"order: expected the four offsets of a 2 x 2 square, got {order}")
    count = h * w // 4
    cell = (0.42, 0.42)
    colors = {offset: np.array(tint(ENTRIES[index], 1)) for index, offset in enumerate(order)}
    fill = np.array([[colors[i % 2, j % 2] for j in range(w)] for i in range(h)])
    joined = np.stack([grid[a::2, b::2].ravel() for a, b in order], 1)
    starts = np.cumsum([0.15, w * 0.42 + 0.55, 4 * 0.42 + 0.4, 1.1, 1.1])
    figure, axes = canvas(starts[4] + max(w // 2 * 0.42, 1.3) + 0.2, 0.85 + max(h, count) * 0.42 + 0.45)
    top, middle = 0.85, 0.85 + max(h, count) * 0.21
    draw_matrix(axes, Matrix("", grid, fill), (starts[0], middle - h * 0.21), cell)
    for i, j in np.ndindex(h // 2, w // 2):
        x, y = starts[0] + 0.84 * j, middle - h * 0.21 + 0.84 * i
        axes.plot([x, x + 0.84, x + 0.84, x, x], [y, y, y + 0.84, y + 0.84, y], color=INK, lw=1.8)
    write(axes, f"{h} × {w} tokens\nof C = {width}", starts[0], 0.38, ha="left", linespacing=1.3)
    colored = np.broadcast_to(np.array([colors[o] for o in order]), (count, 4, 3))
    labels = [f"{a},{b}" for a, b in order]
    place = (starts[1], middle - count * 0.21)
    draw_matrix(axes, Matrix("", joined, colored, None, labels), place, cell)
    write(
        axes, f"four end to end: 4C = {4 * width}\nin the order row,column", starts[1], 0.38, ha="left", linespacing=1.3
    )
    box(axes, f"norm\nover {4 * width}", starts[2], middle - 0.35, 0.8, 0.7, PARTS["norm"])
    box(axes, f"linear\n{4 * width} → {2 * width}", starts[3], middle - 0.35, 0.95, 0.7, PARTS["merging"], 9.5)
    write(axes, "no bias", starts[3] + 0.47, middle + 0.5, size=9.5)
    merged = np.full((h // 2, w // 2), np.nan)
    last = (starts[4] + 0.2, middle - h * 0.105)
    squares = Matrix("", merged, np.broadcast_to(np.array(tint(PARTS["merging"])), (*merged.shape, 3)))
    draw_matrix(axes, squares, last, cell)
    write(axes, f"{h // 2} × {w // 2} tokens\nof 2C = {2 * width}", last[0], 0.38, ha="left", linespacing=1.3)
    ends = starts[0] + w * 0.42, starts[1] + 4 * 0.42, starts[2] + 0.8, starts[3] + 0.95
    for a, b in zip(ends, (starts[1], starts[2], starts[3], last[0]), strict=True):
        arrow(axes, (a + 0.08, middle), (b - 0.05, middle))
    write(axes, f"{count} tokens out of {h * w}", starts[0], top + max(h, count) * 0.42 + 0.25, ha="left", size=9.5)
    alt = (
        f"Patch merging: each square of 2 × 2 tokens is joined to 4C = {4 * width} numbers, normalised, and mapped to "
    )
    return describe(figure, f"{alt}2C = {2 * width}; {h} × {w} tokens become {h // 2} × {w // 2}.")


@styled
def pyramid(stages, window_size=None):
    """The pyramid of stages, to scale: fronts are the maps, depths the channels.

    stages: list of (name, channels, (h, w)); window_size draws window borders on each map.
    """
    if not stages:
        raise ValueError("stages: expected a list of (name, channels, (h, w)), got none")
    largest, widest = max(max(size) for _, _, size in stages), max(channels for _, channels, _ in stages)
    unit, deep, slope = 2.5 / largest, 1.5 / widest, 0.45  # inches a token, inches a channel, rise of the depth
    spans = [max(size[1] * unit + channels * deep, 1.4) + 0.3 for _, channels, size in stages]
    scale = min(1.0, (PAGE - 0.3) / sum(spans))
    floor = 0.3 + max(size[0] * unit + channels * deep * slope for _, channels, size in stages)
    figure, axes = canvas(sum(spans) * scale + 0.3, floor + (1.25 if window_size else 0.9))
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
    if window_size:
        note = f"A square is one window of {window_size} × {window_size} tokens; the depth of a box is its channels."
        write(axes, note, 0.2, floor + 1.05, ha="left")
    sizes = "; ".join(f"{name} {h} × {w} tokens of {channels} channels" for name, channels, (h, w) in stages)
    return describe(figure, f"The stages as boxes, ever smaller and deeper: {sizes}.")


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
def architecture(image_size, patch_size, embed_dim, depths, heads, window_size, classes, version=1, image=None):
    """The whole model: from image to logits, the map of each stage with its windows, and two blocks in detail.

    image_size: int or (H, W); depths, heads: one number a stage; the other values as in SwinConfig. image (H, W, 3):
    a photograph, shown as coarse as each stage's map. Where one window covers the map nothing is shifted.
    Drawn after the idea of figure 3 of the paper (Liu et al. 2021), patch merging included: it stands at the head of a
    stage, and in the code, as in the official one, at the end of the stage before (`BasicLayer.downsample`).
    """
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    if len(depths) != len(heads):
        raise ValueError(f"heads: expected {len(depths)} numbers, one a stage, got {len(heads)}")
    image = np.full((H, W, 3), 0.85) if image is None else as_array("image", as_image(image), (H, W, 3))
    tall = max(1, H / W) * 1.1
    figure, axes = canvas(PAGE, 5.85 + tall)
    pitch = (PAGE - 0.3 - 1.15 - 1.05) / len(depths)
    x, side, kinds = 0.15 + 1.15, min(1.1, pitch - 0.42), []
    write(axes, "image", 0.15 + side / 2, 0.26, weight="bold")
    _thumbnail(axes, image, 0.15, 1.2, side)
    write(axes, f"{H} × {W} × 3", 0.15 + side / 2, 1.38 + side * H / W, size=9.5)
    path(axes, [(0.15 + side / 2, 1.15), (0.15 + side / 2, 0.75), (x + 0.1, 0.75)])
    h, w = (-(-length // patch_size) for length in (H, W))
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        whole = window_size >= min(h, w)  # one window covers the map: no shift
        kinds.append(["W-MSA", "W-MSA"] if whole else ["W-MSA", "SW-MSA"])
        center = x + 0.1 + side / 2
        write(axes, f"stage {stage + 1}", center, 0.26, weight="bold")
        first, color = (f"patches {patch_size}×{patch_size}\nlinear", PARTS["embedding"]), PARTS["merging"]
        text, color = first if stage == 0 else ("patch\nmerging", color)
        box(axes, text, x + 0.1, 0.48, side, 0.54, color, 9.5)
        arrow(axes, (center, 1.02), (center, 1.2))
        _thumbnail(axes, image, x + 0.1, 1.2, side, (h, w), window_size)
        below = 1.2 + side * h / w
        write(axes, f"{h} × {w} tokens\nof {embed_dim * 2**stage}", center, below + 0.22, size=9.5, linespacing=1.25)
        end = _pairs(axes, x + 0.1, below + 0.47, side, depth, kinds[-1], count)
        turn = x + pitch - 0.02
        last = stage == len(depths) - 1
        path(axes, [(center, end), (center, end + 0.16), (turn, end + 0.16), (turn, 0.75), (turn + 0.12, 0.75)])
        x, h, w = x + pitch, *((h, w) if last else (-(-h // 2), -(-w // 2)))
    for text, y, color in (
        ("norm", 0.55, PARTS["norm"]),
        ("mean over\ntokens", 1.2, PARTS["norm"]),
        ("linear", 1.85, PARTS["head"]),
    ):
        box(axes, text, x + 0.1, y, 0.85, 0.45, color, 9.5)
        arrow(axes, (x + 0.52, y + 0.45), (x + 0.52, y + 0.65))
    write(axes, "head", x + 0.52, 0.26, weight="bold")
    write(axes, f"{classes}\nlogits", x + 0.52, 2.72, linespacing=1.3)
    y = 3.52 + tall
    write(
        axes,
        f"Two blocks of a stage, one after the other (windows of {window_size} × {window_size} tokens):",
        0.15,
        y,
        ha="left",
    )
    x = 0.15
    for kind in ("W-MSA", "SW-MSA"):
        x = one_block(axes, x, y + 1.05, kind, version, gap=0.2, scale=1.0)
    note = "Tokens (N, H·W, C) go into every block, and tokens (N, H·W, C) come out."
    if any(kind[0] == kind[1] for kind in kinds):
        alone = ", ".join(str(stage) for stage, kind in enumerate(kinds, 1) if kind[0] == kind[1])
        note += f"\nIn stage {alone} one window covers the whole map: nothing to shift, so all its blocks are W-MSA."
    if len(depths) > 1:
        note += "\nMerging is drawn as in the paper, where a stage begins; in the code it ends the stage before."
    write(axes, note, 0.15, 5.37 + tall, ha="left", linespacing=1.4)
    sizes = ", ".join(f"{depth} blocks with {count} heads" for depth, count in zip(depths, heads, strict=True))
    alt = (
        f"Swin from left to right: an image of {H} × {W} pixels, {len(depths)} stages with ever smaller maps ({sizes})"
    )
    alt += f", then norm, mean and a linear map to {classes} logits. W-MSA and SW-MSA alternate where the map is larger"
    return describe(figure, f"{alt} than a window.")


def _thumbnail(axes, image, x, y, side, grid=None, window=None):
    """The photograph at (x, y), `side` wide; with `grid` as coarse as a map of (h, w) tokens, in its windows."""
    h, w = grid or image.shape[:2]
    if grid and not (image.shape[0] % h or image.shape[1] % w):
        image = reduce(image, "(h a) (w b) c -> h w c", "mean", h=h, w=w)
    tall = side * h / w
    axes.imshow(image, extent=(x, x + side, y + tall, y), interpolation="nearest", aspect="auto", zorder=2)
    for k in np.arange(window, w, window) if window else ():
        axes.plot([x + k / w * side] * 2, [y, y + tall], color="white", lw=0.9, zorder=3)
    for k in np.arange(window, h, window) if window else ():
        axes.plot([x, x + side], [y + k / h * tall] * 2, color="white", lw=0.9, zorder=3)
    axes.plot([x, x + side, x + side, x, x], [y, y, y + tall, y + tall, y], color=INK, lw=1, zorder=3)


def _pairs(axes, x, y, width, depth, kinds, heads):
    """The blocks of a stage: two kinds in series, how many times, and its heads; returns the lower end."""
    pairs, odd = divmod(depth, 2)
    middle = x + width / 2
    for place, kind in enumerate(kinds if pairs else kinds[:1]):
        top = y + 0.55 * place
        arrow(axes, (middle, top - 0.03), (middle, top + 0.15))
        box(axes, kind, x + 0.1, top + 0.13, width - 0.2, 0.4, COLORS[kind], 10)
    end = y + (1.08 if pairs else 0.53)
    frame = (
        [x + 0.02, x + width - 0.02, x + width - 0.02, x + 0.02, x + 0.02],
        [y + 0.05, y + 0.05, end + 0.05, end + 0.05, y + 0.05],
    )
    axes.plot(*frame, color=GREY, lw=1, ls=(0, (4, 3)))
    times = f"× {pairs}" if pairs > 1 or odd else ""
    text = " ".join(filter(None, [times, f"+ {kinds[0]}" * (odd and pairs)])) or "once"
    write(axes, f"{text}, {heads} heads" if text != "once" else f"{heads} heads", middle, end + 0.38, size=9.5)
    return end + 0.05
