"""Pictures of patches, windows, the cyclic shift, its mask, and which pairs of tokens see each other.

Shapes: h x w tokens, M = window_size, m = M·M tokens in a window, k windows, p = patch_size.
"""

import numpy as np

from .cells import arrow, cuts, lines, mark, matrix, number, numbers, shades, sheet, window_fill, write
from .style import (
    COLORS,
    INK,
    MASKED,
    PAGE,
    QUERY,
    SEAM,
    SEQUENTIAL,
    WINDOWS,
    as_array,
    as_image,
    canvas,
    divides,
    panels,
    styled,
    tint,
    window_color,
)


@styled
def patch_grid(image, patch_size, zoom=None):
    """The patch grid on a photograph: image (H, W, 3), p dividing H and W.

    zoom: (row, column, side), in patches, of a square that is shown enlarged at the right, pixel by pixel.
    """
    image = as_image(image)
    h, w = _grid_of(image, patch_size)
    figure, axes = panels(1, 2 if zoom else 1, (PAGE if zoom else PAGE / 2, 0.32 + 0.485 * PAGE * h / w))
    _photo(axes[0, 0], image, (h, w), f"{h} × {w} patches of {patch_size} × {patch_size} pixels")
    lines(axes[0, 0], range(1, h), range(1, w), (h, w), "white", 0.4)
    if zoom:
        row, column, side = zoom
        if row < 0 or column < 0 or side < 1 or row + side > h or column + side > w:
            raise ValueError(f"zoom: expected (row, column, side) inside {h} x {w} patches, got {tuple(zoom)}")
        part = image[row * patch_size : (row + side) * patch_size, column * patch_size : (column + side) * patch_size]
        mark(axes[0, 0], row, column, QUERY, side)
        _photo(axes[0, 1], part, (side, side), f"enlarged: {side} × {side} patches")
        lines(axes[0, 1], range(side + 1), range(side + 1), (side, side), "white", 2)
    return figure


@styled
def patch_to_row(image, patch_size, index, row):
    """One patch becoming one row of numbers: where it lies, its pixels, its three colour planes, the row.

    image (H, W, 3); index: (row, column) of the patch; row (3·p·p,), the numbers in the order (c p1 p2),
    shown as they are: pass what the model sees. Raises ValueError where the shapes don't fit.
    """
    image, p = as_image(image), patch_size
    h, w = _grid_of(image, p)
    row = as_array("row", row, (3 * p * p,))
    i, j = index
    if not (0 <= i < h and 0 <= j < w):
        raise ValueError(f"index: expected a (row, column) inside {h} x {w} patches, got {tuple(index)}")
    pixels = image[i * p : (i + 1) * p, j * p : (j + 1) * p]
    figure, axes = panels(1, 5, (PAGE, 3.1), width_ratios=(1.1, 0.8, 1.15, 1.15, 1.15))
    figure.get_layout_engine().set(rect=(0, 0.28, 1, 0.72))
    strip = figure.add_axes((0.02, 0.04, 0.96, 0.15))
    _photo(axes[0, 0], image, (h, w), f"patch ({i}, {j})")
    side = max(1, h // 20)  # a frame that can be seen however small the patch
    mark(axes[0, 0], max(i - side // 2, 0), max(j - side // 2, 0), QUERY, side)
    _photo(axes[0, 1], pixels, (p, p), f"{p} × {p} pixels")
    planes = row.reshape(3, p, p)
    fills = []
    for channel, name in enumerate(("red", "green", "blue")):
        shade = np.zeros((p, p, 3))
        shade[...] = 1 - 0.75 * pixels[..., channel, None] * (1 - np.eye(3)[channel])
        fills.append(shade.reshape(p * p, 3))
        sheet(axes[0, 2 + channel], shade, name)
        numbers(axes[0, 2 + channel], planes[channel], shade, 8 if p <= 4 else 6, _decimals(row))
    strip.imshow(np.concatenate(fills)[None], extent=(0, 3 * p * p, 1, 0), aspect="auto", interpolation="nearest")
    strip.vlines(range(1, 3 * p * p), 0, 1, color="white", linewidth=0.6)
    strip.vlines((p * p, 2 * p * p), 0, 1, color=INK, linewidth=2)
    for place, value in enumerate(row if p <= 4 else ()):
        write(strip, number(value, _decimals(row)), place + 0.5, 0.5, size=8, rotation=90)
    strip.set_title(f"the row: {3 * p * p} numbers, red plane, green plane, blue plane, each row by row")
    strip.axis("off")
    return figure


@styled
def windows_on_image(image, patch_size, window_size, shift=0):
    """Windows in colour on a photograph (H, W, 3); with a shift (in tokens) the shifted ones beside them.

    Shifted windows are drawn where they really lie on the map, before anything is rolled: those at the border
    are smaller.
    """
    image = as_image(image)
    h, w = _grid_of(image, patch_size)
    _check_shift(shift, window_size)
    shifts = (0, shift) if shift else (0,)
    figure, axes = panels(1, len(shifts), (PAGE if shift else PAGE / 2, 0.32 + 0.485 * PAGE * h / w))
    for panel, s in zip(axes[0], shifts, strict=True):
        fill = window_fill(h, w, window_size, s, strength=1)
        title = (
            f"SW-MSA: windows moved by {s} tokens" if s else f"W-MSA: windows of {window_size} × {window_size} tokens"
        )
        _photo(panel, 0.25 + 0.75 * image, (h, w), title)
        panel.imshow(fill, extent=(0, w, h, 0), alpha=0.38, interpolation="nearest")
        lines(panel, range(1, h), range(1, w), (h, w), "white", 0.25)
        lines(panel, cuts(h, window_size, s), cuts(w, window_size, s), (h, w), INK, 2, casing="white")
    return figure


@styled
def cyclic_shift(before, after, shift, window_size=None):
    """A map before and after the cyclic shift, the strips that wrapped around in colour.

    before, after: (h, w) numbers, or (h, w, 3) a photograph (shift and window_size in pixels then). The top
    `shift` rows come back at the bottom, the left columns at the right; their corner does both. window_size
    also draws the windows the shifted map is cut into.
    """
    before = np.asarray(before)
    photo = before.ndim == 3
    before, after = (
        (as_image(before), as_image(after))
        if photo
        else (as_array("before", before, (None, None)), as_array("after", after, before.shape))
    )
    if before.shape != after.shape:
        raise ValueError(f"after: expected the shape of before, {before.shape}, got {after.shape}")
    h, w = before.shape[:2]
    if not 0 < shift < min(h, w):
        raise ValueError(f"shift: expected 1 to {min(h, w) - 1} for a map of {h} x {w}, got {shift}")
    strips = _strips(h, w, shift)
    rolled = np.roll(strips, (-shift, -shift), (0, 1))
    figure, axes = panels(1, 2, (PAGE, 0.32 + 0.485 * PAGE * h / w))
    titles = ("before", f"after: rolled up and left by {shift}")
    for panel, values, zones, title in zip(axes[0], (before, after), (strips, rolled), titles, strict=True):
        _zoned(panel, values, zones, photo)
        panel.set_title(title)
    lines(axes[0, 0], (shift,), (shift,), (h, w), SEAM, 2, casing="white")
    if window_size:
        lines(axes[0, 1], cuts(h, window_size), cuts(w, window_size), (h, w), INK, 1.8, casing="white")
    lines(axes[0, 1], (h - shift,), (w - shift,), (h, w), SEAM, 2.6, casing="white")
    return figure


def _strips(h, w, shift):
    """0 for what stays, 1 for the top strip, 2 for the left strip, 3 for their corner: (h, w) of int."""
    return (np.arange(h) < shift)[:, None] + 2 * (np.arange(w) < shift)[None]


def _zoned(axes, values, zones, photo):
    palette = np.array([tint(WINDOWS[z], 0.5) if z else (0.95, 0.95, 0.95) for z in range(4)])
    if photo:
        sheet(axes, values)
        overlay = np.concatenate((palette[zones], np.where(zones, 0.55, 0)[..., None]), 2)
        axes.imshow(overlay, extent=(0, zones.shape[1], zones.shape[0], 0), interpolation="nearest")
        return
    sheet(axes, palette[zones])
    lines(axes, range(zones.shape[0] + 1), range(zones.shape[1] + 1), zones.shape, "white", 1)
    numbers(axes, values, palette[zones], 10 if max(zones.shape) <= 10 else 8)


@styled
def region_labels(labels, window_size):
    """The rolled map (h, w) with a label for each token: which side of the seams it came from.

    Tokens of one window with different labels were no neighbours before the roll and may not see each other.
    """
    labels = as_array("labels", labels, (None, None))
    h, w = labels.shape
    _check_grid(h, w, window_size)
    figure, axes = panels(1, 1, (5.2, 0.6 + 4.9 * h / w))
    _labelled(axes[0, 0], labels, np.unique(labels))
    lines(axes[0, 0], cuts(h, window_size), cuts(w, window_size), (h, w), INK, 2.4, casing="white")
    axes[0, 0].set_title("labels after the roll; black: windows")
    return figure


@styled
def masks(mask, labels, window_size):
    """The mask of every kind of window (below) and the window it belongs to (above).

    mask (k, m, m) of 0 and a negative number; labels (h, w) as region_labels. Windows with the same mask are
    drawn once. Light: the pair sees each other; dark: masked.
    """
    labels, M = as_array("labels", labels, (None, None)), window_size
    h, w = labels.shape
    _check_grid(h, w, M)
    count, m = (h // M) * (w // M), M * M
    mask = as_array("mask", mask, (count, m, m))
    tiles = labels.reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(count, M, M)
    _, first, sizes = np.unique(mask != 0, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    first, sizes = first[order], sizes[order]
    figure, axes = panels(
        2, len(first), (PAGE * max(len(first), 2) / max(len(first), 4), 1.62 * PAGE / max(len(first), 4) + 1.35)
    )
    for column, (window, size) in enumerate(zip(first, sizes, strict=True)):
        where = f"window ({window // (w // M)}, {window % (w // M)})"
        more = f"and {size - 1} like it" if size > 1 else "the only one of its kind"
        _labelled(axes[0, column], tiles[window], np.unique(labels))
        axes[0, column].set_title(f"{where}\n{more}", fontsize=10)
        _mask(axes[1, column], mask[window], tiles[window].ravel(), np.unique(labels))
    axes[1, 0].set_ylabel("query token i")
    if mask.any():
        note = f"light: the two tokens see each other · dark: {number(mask.min(), 0)} is added to their score"
        figure.supxlabel(note, fontsize=10)
    return figure


def _labelled(axes, labels, known):
    """A map (h, w) of labels in the colours of `known`, every label that can occur."""
    palette = np.array([tint(WINDOWS[i % len(WINDOWS)], 0.5) for i in range(len(known))])
    fill = palette[np.searchsorted(known, labels)]
    sheet(axes, fill)
    lines(axes, range(labels.shape[0] + 1), range(labels.shape[1] + 1), labels.shape, "white", 0.8)
    if max(labels.shape) <= 16:
        numbers(axes, labels, fill, 10 if max(labels.shape) <= 12 else 8)


def _mask(axes, mask, labels, known):
    """A mask (m, m): visible pairs in the tint of their label, masked ones dark."""
    palette = np.array([tint(WINDOWS[i % len(WINDOWS)], 0.5) for i in range(len(known))])
    fill = np.repeat(palette[np.searchsorted(known, labels)][:, None], len(labels), 1)
    fill[mask != 0] = tint(MASKED, 1)
    axes.imshow(fill, interpolation="nearest")
    axes.set(xlabel="key token j", xticks=(0, len(mask) - 1), yticks=(0, len(mask) - 1))
    for at in np.arange(1, len(mask)) - 0.5 if len(mask) <= 25 else ():
        axes.axhline(at, color="white", linewidth=0.4)
        axes.axvline(at, color="white", linewidth=0.4)


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
        _check_grid(h, w, window_size)
    side = 0.6 if _decimals(values) else 0.44
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
    numbers(axes, values, fill, 10, _decimals(values))


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
    fill, decimals = window_fill(h, w, M), _decimals(grid)
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


def _photo(axes, image, extent, title):
    """A photograph on axes counted in tokens: extent (h, w)."""
    axes.imshow(image, extent=(0, extent[1], extent[0], 0))
    axes.set(xlim=(0, extent[1]), ylim=(extent[0], 0))
    axes.set_title(title, fontsize=10.5)
    axes.axis("off")


def _grid_of(image, patch_size):
    """(h, w) patches of an image; raises ValueError where they don't cover it."""
    divides("image height", image.shape[0], patch_size)
    divides("image width", image.shape[1], patch_size)
    return image.shape[0] // patch_size, image.shape[1] // patch_size


def _check_grid(h, w, window_size):
    divides("map height", h, window_size)
    divides("map width", w, window_size)


def _check_shift(shift, window_size):
    if not 0 <= shift < window_size:
        raise ValueError(f"shift: expected 0 to {window_size - 1} for windows of {window_size}, got {shift}")


def _decimals(values):
    """Decimals that show `values`: none for whole numbers."""
    return 0 if np.array_equal(values, np.round(values)) else 2
