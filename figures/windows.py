"""Pictures of windows: on a photograph, as numbers, cut and joined, padded, and who sees whom.

Shapes: h x w tokens, M = window_size, m = M·M tokens in a window, k windows.
"""

import numpy as np

from .arrays import as_array, as_image, grid_of, in_whole_windows
from .cells import arrow, cuts, decimals_of, lines, matrix, number, numbers, photo, shades, sheet, window_fill, write
from .style import COLORS, GREY, INK, PAGE, SEQUENTIAL, WINDOWS, canvas, ink_on, panels, styled, tint, window_color


@styled
def windows_on_image(image, patch_size, window_size, shift=0):
    """Windows in colour on a photograph (H, W, 3); with a shift (in tokens) the shifted ones beside them.

    Shifted windows are drawn where they really lie on the map, before anything is rolled: those at the border
    are smaller.
    """
    image = as_image(image)
    h, w = grid_of(image, patch_size)
    _check_shift(shift, window_size)
    shifts = (0, shift) if shift else (0,)
    figure, axes = panels(1, len(shifts), (PAGE if shift else PAGE / 2, 0.32 + 0.485 * PAGE * h / w))
    for panel, s in zip(axes[0], shifts, strict=True):
        fill = window_fill(h, w, window_size, s, strength=1)
        title = (
            f"SW-MSA: windows moved by {s} tokens" if s else f"W-MSA: windows of {window_size} × {window_size} tokens"
        )
        photo(panel, 0.25 + 0.75 * image, (h, w), title)
        panel.imshow(fill, extent=(0, w, h, 0), alpha=0.38, interpolation="nearest")
        lines(panel, range(1, h), range(1, w), (h, w), "white", 0.25)
        lines(panel, cuts(h, window_size, s), cuts(w, window_size, s), (h, w), INK, 2, casing="white")
    return figure


@styled
def attention_structure(matrices, title=""):
    """Which token sees which on the whole map: {name: (h·w, h·w)}, side by side, tokens row by row.

    A name is the kind of attention, and more behind a comma: "W-MSA, sorted by window".

    Booleans are drawn in the colour of their kind of attention (global, W-MSA, SW-MSA); weights from white to
    dark, each matrix on its own scale. The title of each says how many pairs are not zero.
    """
    figure, axes = panels(1, len(matrices), (PAGE, PAGE / max(len(matrices), 2) + (0.9 if title else 0.6)))
    for panel, (name, values) in zip(axes[0], matrices.items(), strict=True):
        values = as_array(name, values, (None, None))
        as_array(name, values, (len(values), len(values)))
        if values.dtype == bool:
            fill = np.where(values[..., None], tint(COLORS.get(name.split(",")[0], INK), 0.85), tint("#000000", 0.05))
        else:
            fill = shades(values.astype(float), SEQUENTIAL, 0, float(values.max()) or 1.0)
        panel.imshow(fill, interpolation="nearest")
        seen = np.count_nonzero(values)
        panel.set_title(f"{name}\n{seen:,} of {values.size:,} pairs", fontsize=10.5)
        panel.set(xlabel="key token", xticks=(0, len(values) - 1), yticks=(0, len(values) - 1))
    axes[0, 0].set_ylabel("query token")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


@styled
def numbered_grid(values, window_size=None, title=""):
    """A small map (h, w) with its numbers written in its cells; window_size colours the windows."""
    values = as_array("values", values, (None, None))
    h, w = values.shape
    if window_size:
        in_whole_windows(h, w, window_size)
    side = 0.6 if decimals_of(values) else 0.44
    figure, axes = panels(1, 1, (0.2 + side * max(w, 6), 0.2 + side * h + (0.25 if title else 0)))
    _numbered(axes[0, 0], values, window_size, title)
    return figure


def _numbered(axes, values, window_size, title=""):
    fill = window_fill(*values.shape, window_size) if window_size else np.full((*values.shape, 3), 0.92)
    sheet(axes, fill, title)
    lines(axes, range(values.shape[0] + 1), range(values.shape[1] + 1), values.shape, "white", 1)
    if window_size:
        lines(
            axes,
            cuts(values.shape[0], window_size),
            cuts(values.shape[1], window_size),
            values.shape,
            INK,
            1.6,
        )
    numbers(axes, values, fill, 10, decimals_of(values))


@styled
def window_partition_steps(grid, windows):
    """From the map to windows: grid (h, w) of numbers, windows (k, m) of the same numbers, a window a row."""
    grid, windows = as_array("grid", grid, (None, None)), as_array("windows", windows, (None, None))
    (h, w), (count, m) = grid.shape, windows.shape
    M = round(m**0.5)
    if M * M != m or count * m != h * w or h % M or w % M:
        raise ValueError(f"windows: expected (h·w/M², M²) numbers for a grid of {(h, w)}, got {windows.shape}")
    top, gap = 0.5, 0.22
    cell = (min(0.42, (PAGE - 2 - gap * (w // M - 1)) / (2 * w + m)),) * 2
    apart = w * cell[0] + gap * (w // M - 1)
    starts = (0.15, 0.15 + w * cell[0] + 0.7, 0.15 + w * cell[0] + 0.7 + apart + 0.95)
    tallest = max(h * cell[0] + gap * (h // M - 1), count * (cell[0] + 0.1))  # the windows, or their rows
    width, height = starts[2] + m * cell[0] + 0.15, top + tallest + 0.15
    figure, axes = canvas(width, height)
    fill, decimals = window_fill(h, w, M), decimals_of(grid)
    matrix(axes, grid, (starts[0], top), fill, title=f"map {h} × {w}", cell=cell, decimals=decimals)
    write(axes, f"cut into {count} windows", starts[1] + apart / 2, top - 0.08, va="bottom", size=11)
    write(axes, f"{count} rows of {m} tokens", starts[2] + m * cell[0] / 2, top - 0.08, va="bottom", size=11)
    for k in range(count):
        a, b = divmod(k, w // M)
        corner = (starts[1] + b * (M * cell[0] + gap), top + a * (M * cell[0] + gap))
        color = np.broadcast_to(window_color(a, b), (M, M, 3))
        matrix(axes, windows[k].reshape(M, M), corner, color, cell=cell, decimals=decimals)
        color = np.broadcast_to(window_color(a, b), (1, m, 3))
        at = (starts[2], top + k * (cell[0] + 0.1))
        matrix(axes, windows[k][None], at, color, [f"k={k}"], cell=cell, decimals=decimals)
    middle = top + h * cell[0] / 2
    arrow(axes, (starts[1] - 0.55, middle), (starts[1] - 0.15, middle))
    arrow(axes, (starts[2] - 0.9, middle), (starts[2] - 0.55, middle))
    return figure


@styled
def membership(maps):
    """{title: map (h, w) of ints} side by side, cells with the same number in the same colour."""
    shapes = [np.shape(values) for values in maps.values()]
    height = PAGE / max(len(maps), 2) * max(h / w for h, w in shapes)
    figure, axes = panels(1, len(maps), (PAGE * len(maps) / max(len(maps), 2), height + 0.35))
    palette = np.array([tint(color, 0.5) for color in WINDOWS])
    for panel, (title, values) in zip(axes[0], maps.items(), strict=True):
        values = as_array(title, values, (None, None))
        fill = palette[values % len(WINDOWS)]
        sheet(panel, fill, title)
        lines(panel, range(values.shape[0] + 1), range(values.shape[1] + 1), values.shape, "white", 1)
        if max(values.shape) <= 16:
            numbers(panel, values, fill, 10 if max(values.shape) <= 8 else 7.5)
    return figure


@styled
def steps(maps, window):
    """{title: (h, w) numbers} side by side to one scale, windows in colour; NaN is padding, drawn as a grey cell."""
    maps = {title: as_array(title, values, (None, None)).astype(float) for title, values in maps.items()}
    widths = [values.shape[1] for values in maps.values()]
    cell = min(0.34, (PAGE - 0.3 * len(maps)) / sum(widths))
    height = max(len(values) for values in maps.values())
    size = (cell * sum(widths) + 0.3 * len(maps), cell * height + 0.55)
    figure, axes = panels(1, len(maps), size, width_ratios=widths)
    for panel, (title, values) in zip(axes[0], maps.items(), strict=True):
        empty = np.isnan(values)
        fill = np.where(empty[..., None], tint(GREY, 0.55), window_fill(*values.shape, window))
        sheet(panel, fill, title)
        panel.title.set_fontsize(10)
        lines(panel, range(len(values) + 1), range(values.shape[1] + 1), values.shape, "white", 0.8)
        lines(panel, cuts(len(values), window), cuts(values.shape[1], window), values.shape, INK, 1.6)
        for i, j in np.argwhere(~empty):
            write(panel, number(values[i, j], 0), j + 0.5, i + 0.5, ink_on(fill[i, j]), 8.5)
    return figure


def _check_shift(shift, window_size):
    if not 0 <= shift < window_size:
        raise ValueError(f"shift: expected 0 to {window_size - 1} for windows of {window_size}, got {shift}")
