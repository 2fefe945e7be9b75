"""Pictures of the model: patch merging, pyramid, block, the whole architecture, its parts, its reach."""

import numpy as np

from .cells import arrow, box, lines, matrix, path, sheet, write
from .measure import color_of
from .style import (
    COLORS,
    GREEN,
    GREY,
    INK,
    PAGE,
    PURPLE,
    QUERY,
    WINDOWS,
    YELLOW,
    as_array,
    canvas,
    divides,
    panels,
    styled,
    tint,
)

LN, MLP, MERGE, EMBED, HEAD = GREY, GREEN, PURPLE, YELLOW, GREY  # colours of the boxes


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
        x = _inside(axes, x, 3.95, kind, version, gap=0.22, scale=1.05)
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
    x = _bar(axes, f"patches {patch_size}×{patch_size}, linear", x + 0.68, y, bar, height, EMBED)
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
            x = _bar(axes, "patch merging", x, y, bar, height, MERGE)
            h, w = -(-h // 2), -(-w // 2)
    x = _bar(axes, "norm, mean", x, y, bar, height, LN)
    x = _bar(axes, "linear", x, y, bar, height, HEAD)
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


def _steps(kind, version):
    """(text, width in inches, colour) of what a block is made of, in order."""
    norm, attention, add = ("LN", 0.42, LN), (kind, 0.86, COLORS[kind]), ("+", 0.26, INK)
    mlp = ("MLP", 0.58, MLP)
    return (norm, attention, add, norm, mlp, add) if version == 1 else (attention, norm, add, mlp, norm, add)


def _inside(axes, x, middle, kind, version, gap=0.17, scale=1.0):
    """One block from left to right with its two residual connections; returns the x where it ends."""
    lead, split = gap * 1.5, x + gap * 0.6
    arrow(axes, (x, middle), (x + lead, middle))
    x += lead
    for step, (text, width, color) in enumerate(_steps(kind, version)):
        width *= 1 if text == "+" else scale
        if text == "+":
            path(
                axes,
                [
                    (split, middle),
                    (split, middle - 0.62),
                    (x + width / 2, middle - 0.62),
                    (x + width / 2, middle - 0.17),
                ],
            )
            axes.plot([x + width / 2], [middle], "o", ms=17, mfc="white", mec=INK, mew=1.2)
            write(axes, "+", x + width / 2, middle - 0.01, size=13)
            x += width
            split = x + gap * 0.6
            if step == 5:
                return x
        else:
            box(axes, text, x, middle - 0.3, width, 0.6, color, 10)
            x += width
        arrow(axes, (x, middle), (x + (lead if text == "+" else gap), middle))
        x += lead if text == "+" else gap
    return x


@styled
def block_diagram(version=1, kind="SW-MSA"):
    """One block with the shapes on its arrows, and below it what happens inside the attention box.

    version: 1 (norm before) or 2 (norm after, on the branch); kind: "W-MSA" or "SW-MSA".
    """
    if version not in (1, 2) or kind not in ("W-MSA", "SW-MSA"):
        raise ValueError(f"expected version 1 or 2 and kind 'W-MSA' or 'SW-MSA', got {version!r} and {kind!r}")
    figure, axes = canvas(PAGE, 3.7)
    middle = 1.1
    write(axes, f"a block, version {version}", 0.15, 0.22, ha="left", size=11)
    write(axes, "(N, H·W, C)", 0.1, middle + 0.02, ha="left", size=9.5)
    end = _inside(axes, 1.02, middle, kind, version, gap=0.36, scale=1.45)
    arrow(axes, (end, middle), (end + 0.3, middle))
    write(axes, "(N, H·W, C)", end + 0.34, middle + 0.02, ha="left", size=9.5)
    y, steps = 2.55, _attention_steps(kind, version)
    write(axes, f"inside {kind}", 0.15, y - 0.6, ha="left", size=11)
    unit = (PAGE - 0.3 - 0.26 * (len(steps) - 1)) / (len(steps) + 0.5)
    x = 0.15
    for index, (text, shape, color) in enumerate(steps):
        width = 1.5 * unit if "attention" in text else unit
        box(axes, text, x, y - 0.38, width, 0.76, color, 9.5)
        write(axes, shape, x + width / 2, y + 0.62, size=9, linespacing=1.3)
        if index:
            arrow(axes, (x - 0.26, y), (x, y))
        x += width + 0.26
    write(
        axes,
        "k windows of m = M² tokens; the shape under a box is what comes out of it",
        0.15,
        y + 1.0,
        ha="left",
        size=9,
    )
    return figure


def _attention_steps(kind, version):
    """(text, shape that comes out, colour) of the steps inside W-MSA or SW-MSA."""
    shifted, color = kind == "SW-MSA", COLORS[kind]
    attention = "attention in\neach window\n+ bias" + (" + mask" if shifted else "")
    roll = [("cyclic\nshift", "(N, H, W, C)", GREY)] if shifted else []
    back = [("shift\nback", "(N, H, W, C)", GREY)] if shifted else []
    if version == 2:
        attention = f"cosine {attention}"
    return [
        ("as a map", "(N, H, W, C)", GREY),
        *roll,
        ("partition", "(N, k, m, C)", color),
        (attention, "(N, k, m, C)", color),
        ("reverse", "(N, H, W, C)", color),
        *back,
        ("as tokens", "(N, H·W, C)", GREY),
    ]


@styled
def parts(names, parameters, operations):
    """Parameters and multiply-adds by part of the model: names (n,), parameters (n,), operations (n,)."""
    names = list(names)
    figure, axes = panels(1, 2, (PAGE, 1.0 + 0.34 * len(names)), sharey=True)
    titles = ("parameters", "multiply-adds for one image")
    for panel, values, title in zip(axes[0], (parameters, operations), titles, strict=True):
        values = as_array(title, values, (len(names),))
        total = values.sum() or 1
        colors = [_part_color(name, index) for index, name in enumerate(names)]
        panel.barh(range(len(names)), values, color=colors, height=0.68)
        for place, value in enumerate(values):
            panel.text(value, place, f"  {short(value)} · {_percent(value / total)}", va="center", fontsize=9.5)
        panel.set(title=f"{title}: {short(values.sum())}", yticks=range(len(names)), yticklabels=names)
        panel.set_xlim(0, max(values.max(), 1) * 1.42)
        panel.xaxis.set_visible(False)
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(axis="y", length=0)
    axes[0, 0].invert_yaxis()
    return figure


def _part_color(name, index):
    known = {
        "mlp": MLP,
        "merging": MERGE,
        "embed": EMBED,
        "attention": COLORS["W-MSA"],
        "norm": LN,
        "head": INK,
    }
    return next((color for part, color in known.items() if part in name.lower()), color_of(name, index))


def _percent(share):
    return "< 1%" if 0 < share < 0.005 else f"{share:.0%}"


def short(value):
    """A large number in a few characters: 28.3 M."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:g}"


@styled
def reach(without_shift, with_shift, query, window_size=None):
    """How far one token has seen after each block, without the shift (above) and with it (below).

    without_shift, with_shift: lists of maps (h, w), one a block, bool or strength; query: (row, column).
    """
    if len(without_shift) != len(with_shift) or not with_shift:
        raise ValueError(
            f"with_shift: expected as many maps as without_shift, at least one; got {len(with_shift)} and "
            f"{len(without_shift)}"
        )
    count = len(with_shift)
    h, w = np.shape(with_shift[0])
    figure, axes = panels(2, count, (PAGE, 2 * PAGE / max(count, 3) * h / w * 0.92 + 0.7))
    rows = ((without_shift, "W-MSA"), (with_shift, "SW-MSA"))
    for (maps, kind), line in zip(rows, axes, strict=True):
        for block, (panel, values) in enumerate(zip(line, maps, strict=True)):
            values = as_array(f"map of block {block + 1}", values, (h, w)).astype(float)
            strength = values / (values.max() or 1)
            color = np.array(tint(COLORS[kind], 1))
            sheet(
                panel,
                1 - (0.06 + 0.94 * strength[..., None]) * (1 - np.where(strength[..., None] > 0, color, 0)),
            )
            lines(panel, range(h + 1), range(w + 1), (h, w), "white", 0.3 if h > 16 else 0.8)
            if window_size:
                lines(panel, range(0, h + 1, window_size), range(0, w + 1, window_size), (h, w), INK, 0.8)
            _dot(panel, query)
            seen = np.count_nonzero(values)
            after = "block" if block == 0 else "blocks"
            panel.set_title(f"{block + 1} {after}: {seen} tokens", fontsize=10)
    axes[0, 0].text(-0.06, 0.5, "without shift", transform=axes[0, 0].transAxes, rotation=90, ha="right", va="center")
    axes[1, 0].text(-0.06, 0.5, "with shift", transform=axes[1, 0].transAxes, rotation=90, ha="right", va="center")
    return figure


def _dot(axes, query):
    axes.plot(query[1] + 0.5, query[0] + 0.5, "o", color=QUERY, mec="white", ms=6, zorder=6)
