"""Pictures of windows: on a photograph, as numbers, cut and joined, padded, and who sees whom.

Shapes: h x w tokens, M = window_size, m = M·M tokens in a window, k windows.
"""

import numpy as np

from .arrays import as_array, as_image, grid_of, in_whole_windows
from .cells import arrow, cuts, decimals_of, grid_lines, lines, numbers, photo, shades, sheet, window_fill, write
from .matrices import Matrix, draw_matrix
from .style import (
    COLORS,
    ENTRIES,
    GREY,
    INK,
    PAGE,
    PALE,
    SEQUENTIAL,
    canvas,
    describe,
    panels,
    styled,
    tint,
    window_color,
)


@styled
def windows_on_image(image, patch_size, window_size, shift=0):
    """Windows in colour on a photograph (H, W, 3); with a shift (in tokens) the shifted ones beside them.

    Shifted windows are drawn where they really lie on the map, before anything is rolled: those at the border
    are smaller.
    """
    image = as_image(image)
    h, w = grid_of(image, patch_size)
    if not 0 <= shift < window_size:
        raise ValueError(f"shift: expected 0 to {window_size - 1} for windows of {window_size}, got {shift}")
    shifts, width = (0, shift) if shift else (0,), PAGE if shift else 5.2
    figure, axes = panels(1, len(shifts), (width, 0.4 + width * (0.485 if shift else 0.96) * h / w))
    grey = 0.2 + 0.8 * np.repeat(image.mean(2, keepdims=True), 3, 2)  # so that colour means a window
    for panel, s in zip(axes[0], shifts, strict=True):
        title = f"SW-MSA: walls moved by {s} tokens" if s else f"W-MSA: windows of {window_size} × {window_size} tokens"
        photo(panel, grey, (h, w), title)
        fill = window_fill(h, w, window_size, s, strength=1)
        panel.imshow(fill, extent=(0, w, h, 0), alpha=0.5, interpolation="nearest")
        if h <= 32:
            lines(panel, range(1, h), range(1, w), (h, w), "white", 0.4)
        lines(panel, cuts(h, window_size, s), cuts(w, window_size, s), (h, w), INK, 2, casing="white")
    moved = f", and beside them the windows moved by {shift} tokens" if shift else ""
    alt = f"A photograph of {h} × {w} tokens cut into windows of {window_size} × {window_size}{moved}."
    return describe(figure, alt)


@styled
def attention_structure(matrices, title="", alt=""):
    """Which pairs of tokens see each other, side by side: {name: (n, n) of bool, or of weights}.

    Bool matrices are drawn in the colour of their kind of attention (global, W-MSA, SW-MSA); weights from white to
    dark, each matrix on its own scale. The title of each says how many pairs are not zero.
    """
    figure, axes = panels(1, len(matrices), (PAGE, PAGE / max(len(matrices), 2) + (0.9 if title else 0.6)))
    for panel, (name, values) in zip(axes[0], matrices.items(), strict=True):
        values = as_array(name, values, (None, None))
        as_array(name, values, (len(values), len(values)))
        if values.dtype == bool:
            fill = np.where(values[..., None], tint(COLORS.get(name.split(",")[0], INK), 1), tint(PALE, 1))
        else:
            fill = shades(values.astype(float), SEQUENTIAL, 0, float(values.max()) or 1.0)
        panel.imshow(fill, interpolation="nearest")
        panel.set_title(f"{name}\n{np.count_nonzero(values):,} of {values.size:,} pairs", fontsize=10.5)
        panel.set(xlabel="key token", xticks=(0, len(values) - 1), yticks=(0, len(values) - 1))
    axes[0, 0].set_ylabel("query token")
    if title:
        figure.suptitle(title, fontsize=11)
    pairs = ", ".join(f"{name} {np.count_nonzero(values):,}" for name, values in matrices.items())
    return describe(
        figure, alt or f"Matrices of all pairs of tokens; coloured, a row a query, are those that meet: {pairs}."
    )


@styled
def numbered_grid(values, window_size=None, title="", shift=0):
    """A small map (h, w) with its numbers written in its cells; window_size colours the windows, moved by `shift`."""
    values = as_array("values", values, (None, None))
    h, w = values.shape
    if window_size:
        in_whole_windows(h, w, window_size)
    side = 0.6 if decimals_of(values) else 0.44
    figure, axes = panels(1, 1, (0.2 + side * max(w, 6), 0.25 + side * h + (0.25 if title else 0)))
    _numbered(axes[0, 0], values, window_size, title, shift)
    windows = f" in windows of {window_size} × {window_size}" if window_size else ""
    moved = f", moved by {shift}" if shift else ""
    return describe(figure, f"{title + ': ' if title else ''}A map of {h} × {w} numbered tokens{windows}{moved}.")


@styled
def steps(maps, window):
    """{title: (h, w) numbers} side by side to one scale, windows in colour; NaN is padding, drawn as a grey cell.

    window: the side of the windows, or {title: (side, shift)}.
    """
    maps = {title: as_array(title, values, (None, None)).astype(float) for title, values in maps.items()}
    widths = [values.shape[1] for values in maps.values()]
    cell = min(0.4, (PAGE - 0.3 * len(maps)) / sum(widths))
    height = max(len(values) for values in maps.values())
    size = (max(cell * sum(widths) + 0.3 * len(maps), 1.6 * len(maps)), cell * height + 0.6)
    figure, axes = panels(1, len(maps), size, width_ratios=widths)
    for panel, (title, values) in zip(axes[0], maps.items(), strict=True):
        side, shift = window[title] if isinstance(window, dict) else (window, 0)
        _numbered(panel, values, side, title, shift)
        panel.title.set_fontsize(10)
    return describe(figure, f"Small maps of numbered tokens in windows: {', then '.join(maps)}.")


def _numbered(axes, values, window_size, title="", shift=0):
    """A map of numbers on `axes`; NaN is padding."""
    fill = window_fill(*values.shape, window_size, shift) if window_size else np.full((*values.shape, 3), 0.92)
    fill = np.where(np.isnan(values.astype(float))[..., None], tint(GREY, 0.6), fill)
    sheet(axes, fill, title)
    grid_lines(axes, values.shape)
    if window_size:
        walls = [cuts(side, window_size, shift) for side in values.shape]
        lines(axes, *walls, values.shape, INK, 1.6)
    numbers(axes, values, fill, 10 if max(values.shape) <= 8 else 8.5, decimals_of(values))


@styled
def window_partition_steps(grid, windows):
    """From the map to windows: grid (h, w) of numbers, windows (k, m) of the same numbers, a window a row."""
    grid, windows = as_array("grid", grid, (None, None)), as_array("windows", windows, (None, None))
    (h, w), (count, m) = grid.shape, windows.shape
    M = round(m**0.5)
    if M * M != m or count * m != h * w or h % M or w % M:
        raise ValueError(f"windows: expected (h·w/M², M²) numbers for a grid of {(h, w)}, got {windows.shape}")
    top, gap = 0.55, 0.22
    cell = (min(0.42, (PAGE - 2 - gap * (w // M - 1)) / (2 * w + m)),) * 2
    apart = w * cell[0] + gap * (w // M - 1)
    starts = (0.15, 0.15 + w * cell[0] + 0.7, 0.15 + w * cell[0] + 0.7 + apart + 0.95)
    tallest = max(h * cell[0] + gap * (h // M - 1), count * (cell[0] + 0.1))  # the windows, or their rows
    figure, axes = canvas(starts[2] + m * cell[0] + 0.15, top + tallest + 0.15)
    draw_matrix(axes, Matrix(f"map {h} × {w}", grid, window_fill(h, w, M)), (starts[0], top), cell)
    write(axes, f"cut into {count} windows", starts[1] + apart / 2, top - 0.08, va="bottom", size=11)
    write(axes, f"{count} rows of {m} tokens", starts[2] + m * cell[0] / 2, top - 0.08, va="bottom", size=11)
    for k in range(count):
        a, b = divmod(k, w // M)
        color = np.array(window_color(a, b))
        corner = (starts[1] + b * (M * cell[0] + gap), top + a * (M * cell[0] + gap))
        square = Matrix("", windows[k].reshape(M, M), np.broadcast_to(color, (M, M, 3)))
        row = Matrix("", windows[k][None], np.broadcast_to(color, (1, m, 3)), [f"k={k}"])
        draw_matrix(axes, square, corner, cell)
        draw_matrix(axes, row, (starts[2], top + k * (cell[0] + 0.1)), cell)
    middle = top + h * cell[0] / 2
    arrow(axes, (starts[1] - 0.55, middle), (starts[1] - 0.15, middle))
    arrow(axes, (starts[2] - 0.9, middle), (starts[2] - 0.55, middle))
    return describe(
        figure, f"A map of {h} × {w} tokens, cut into {count} windows, each written as a row of {m} tokens."
    )


@styled
def membership(maps):
    """{title: map (h, w) of ints} side by side, cells with the same number in the same colour."""
    shapes = [np.shape(values) for values in maps.values()]
    height = PAGE / max(len(maps), 2) * max(h / w for h, w in shapes)
    figure, axes = panels(1, len(maps), (PAGE * len(maps) / max(len(maps), 2), height + 0.4))
    palette = np.array([tint(color, 1) for color in ENTRIES])
    for panel, (title, values) in zip(axes[0], maps.items(), strict=True):
        values = as_array(title, values, (None, None))
        fill = palette[values % len(ENTRIES)]
        sheet(panel, fill, title)
        grid_lines(panel, values.shape)
        if max(values.shape) <= 16:
            numbers(panel, values, fill, 10 if max(values.shape) <= 8 else 8.5)
    return describe(figure, f"Maps of the window that each token ends up in, by number and colour: {', '.join(maps)}.")
