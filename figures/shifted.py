"""Pictures of the shifted windows: the cyclic shift, labels, masks, rows of a padded map, how far a token sees.

Shapes: h x w tokens, M = window_size, m = M·M tokens in a window, k windows.
"""

import numpy as np

from .arrays import as_array, as_image, in_whole_windows
from .cells import (
    cuts,
    decimals_of,
    grid_lines,
    hatch_regions,
    lines,
    mark,
    number,
    numbers,
    photo,
    region_fill,
    seam,
    sheet,
    write,
)
from .style import COLORS, GREY, INK, MASKED, PAGE, PALE, REGIONS, describe, panels, styled, tint


@styled
def cyclic_shift(before, after, shift, window_size=None):
    """A map before and after the cyclic shift, the strips that wrapped around in the colours of their labels.

    before, after: (h, w) numbers, or (h, w, 3) a photograph (shift and window_size in pixels then). The top
    `shift` rows come back at the bottom, the left columns at the right; their corner does both. window_size
    also draws the windows the shifted map is cut into.
    """
    before, after = np.asarray(before), np.asarray(after)
    if before.ndim == 3:
        before, after = as_image(before), as_image(after)
    if before.shape != after.shape:
        raise ValueError(f"after: expected the shape of before, {before.shape}, got {after.shape}")
    h, w = before.shape[:2]
    if not 0 < shift < min(h, w):
        raise ValueError(f"shift: expected 1 to {min(h, w) - 1} for a map of {h} x {w}, got {shift}")
    labels = 2 * (np.arange(h) < shift)[:, None] + (np.arange(w) < shift)
    rolled = np.roll(labels, (-shift, -shift), (0, 1))
    figure, axes = panels(1, 2, (PAGE, 0.4 + 0.485 * PAGE * h / w))
    titles = ("before", f"after: rolled up and left by {shift}{' pixels' * (before.ndim == 3)}")
    for panel, values, regions, title in zip(axes[0], (before, after), (labels, rolled), titles, strict=True):
        _regions(panel, regions, values)
        panel.set_title(title)
    lines(axes[0, 0], (shift,), (shift,), (h, w), INK, 1.2, casing="white")
    if window_size:
        lines(axes[0, 1], cuts(h, window_size), cuts(w, window_size), (h, w), INK, 2, casing="white")
    seam(axes[0, 1], (h - shift,), (w - shift,), (h, w))
    alt = f"A map before and after it is rolled up and left by {shift}: the top strip comes back at the bottom, "
    return describe(figure, f"{alt}the left strip at the right, with a dashed seam where they were glued on.")


@styled
def region_labels(labels, window_size):
    """The rolled map (h, w) with a label for each token: which side of the seams it came from.

    Tokens of one window with different labels were no neighbours before the roll and may not see each other.
    """
    labels = as_array("labels", labels, (None, None))
    h, w = labels.shape
    in_whole_windows(h, w, window_size)
    figure, axes = panels(1, 1, (4.6, 0.6 + 4.3 * h / w))
    _regions(axes[0, 0], labels)
    lines(axes[0, 0], cuts(h, window_size), cuts(w, window_size), (h, w), INK, 2.4, casing="white")
    axes[0, 0].set_title("labels after the roll; lines: windows")
    alt = f"A map of {h} × {w} tokens after the roll, labelled 0 to {labels.max()} by the side of the seam they are on."
    return describe(figure, alt)


@styled
def masks(mask, labels, window_size):
    """The mask of every kind of window (below) and the window it belongs to (above).

    mask (k, m, m) of 0 and a negative number; labels (h, w) as region_labels. Windows with the same mask are
    drawn once. Light: the pair sees each other; dark: masked.
    """
    labels, M = as_array("labels", labels, (None, None)), window_size
    h, w = labels.shape
    in_whole_windows(h, w, M)
    count, m = (h // M) * (w // M), M * M
    mask = as_array("mask", mask, (count, m, m))
    tiles = labels.reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(count, M, M)
    _, first, sizes = np.unique(mask != 0, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    first, sizes = first[order], sizes[order]
    wide = max(len(first), 4)
    figure, axes = panels(2, len(first), (PAGE * max(len(first), 2) / wide, 1.66 * PAGE / wide + 1.35))
    for column, (window, size) in enumerate(zip(first, sizes, strict=True)):
        where = f"window ({window // (w // M)}, {window % (w // M)})"
        more = f"and {size - 1} like it" if size > 1 else "the only one of its kind"
        _regions(axes[0, column], tiles[window])
        axes[0, column].set_title(f"{where}\n{more}", fontsize=10)
        _mask(axes[1, column], mask[window], tiles[window].ravel())
    axes[1, 0].set_ylabel("query token i")
    if mask.any():
        note = f"light: the two tokens see each other · dark: {number(mask.min(), 0)} is added to their score"
        figure.supxlabel(note, fontsize=10)
    alt = f"The {len(first)} kinds of windows of a rolled map with their labels, and below each its {m} × {m} mask."
    return describe(figure, alt)


def _regions(axes, labels, values=None):
    """A map (h, w) of region labels 0 to 3 in their colours; `values` are written in it, or a photograph lies below."""
    if not (labels.min() >= 0 and labels.max() < len(REGIONS)):
        raise ValueError(f"labels: expected 0 to {len(REGIONS) - 1}, got {labels.min()} to {labels.max()}")
    fill = region_fill(labels)
    if values is not None and values.ndim == 3:
        photo(axes, values, labels.shape)
        veil = np.concatenate((fill, np.where(labels, 0.6, 0)[..., None]), 2)
        axes.imshow(veil, extent=(0, labels.shape[1], labels.shape[0], 0), interpolation="nearest")
        hatch_regions(axes, labels)
        return
    sheet(axes, fill)
    grid_lines(axes, labels.shape)
    if max(labels.shape) <= 16:
        values = labels if values is None else values
        numbers(axes, values, fill, 10 if max(labels.shape) <= 12 else 8.5, decimals_of(values))


def _mask(axes, mask, labels):
    """A mask (m, m): visible pairs in the colour of their label, masked ones dark."""
    fill = np.repeat(region_fill(labels)[:, None], len(labels), 1)
    fill[mask != 0] = tint(MASKED, 1)
    axes.imshow(fill, interpolation="nearest")
    axes.set(xlabel="key token j", xticks=(0, len(mask) - 1), yticks=(0, len(mask) - 1))
    for at in np.arange(1, len(mask)) - 0.5 if len(mask) <= 25 else ():
        axes.axhline(at, color=GREY, linewidth=0.4)
        axes.axvline(at, color=GREY, linewidth=0.4)


@styled
def rows_in_windows(orders, window_size, shift):
    """Where the rows of a map end up: {title: rows (n,)}, the number of the row at each place, -1 for padding.

    The first `shift` rows of the map, which the roll brings to the end, have the colour of label 2; padding is grey.
    Black lines part the windows; the dashed one is the seam as the mask sees it, `shift` rows before the end.
    """
    figure, axes = panels(1, len(orders), (2.3 * len(orders), 0.55 + 0.27 * max(map(len, orders.values()))))
    for panel, (title, rows) in zip(axes[0], orders.items(), strict=True):
        rows = as_array(title, rows, (None,))
        colors = [tint(GREY, 0.6) if row < 0 else tint(REGIONS[2 * (row < shift)], 1) for row in rows]
        count, width = len(rows), 4
        sheet(panel, np.array(colors)[:, None].repeat(width, 1))
        panel.set_title(title, fontsize=10)
        panel.set_aspect("auto")
        lines(panel, range(count + 1), (), (count, width), "white", 0.8)
        lines(panel, range(0, count + 1, window_size), (0, width), (count, width), INK, 1.8)
        seam(panel, (count - shift,), (), (count, width))
        for place, row in enumerate(rows):
            write(panel, "padding" if row < 0 else f"row {row}", width / 2, place + 0.5, size=9)
    return describe(
        figure, f"The order of a map's rows in windows of {window_size}, with the seam: {'; '.join(orders)}."
    )


@styled
def reach(without_shift, with_shift, query, window_size=None):
    """How far one token has seen after each block, without the shift (above) and with it (below).

    without_shift, with_shift: lists of maps (h, w), one a block, bool or strength; query: (row, column).
    """
    if len(without_shift) != len(with_shift) or not with_shift:
        counts = f"{len(with_shift)} and {len(without_shift)}"
        raise ValueError(f"with_shift: expected as many maps as without_shift, at least one; got {counts}")
    count, (h, w) = len(with_shift), np.shape(with_shift[0])
    figure, axes = panels(2, count, (PAGE, 2 * PAGE / max(count, 3) * h / w * 0.92 + 0.8))
    for maps, kind, row, text in zip(
        (without_shift, with_shift), ("W-MSA", "SW-MSA"), axes, ("without shift", "with shift"), strict=True
    ):
        for block, (panel, values) in enumerate(zip(row, maps, strict=True)):
            values = as_array(f"map of block {block + 1}", values, (h, w)).astype(float)
            strength = (values / (values.max() or 1))[..., None]
            color = (1 - strength) * np.array(tint(PALE, 1)) + strength * np.array(tint(COLORS[kind], 1))
            sheet(panel, color)
            grid_lines(panel, (h, w), width=0.3 if h > 16 else 0.8)
            if window_size:
                lines(panel, range(0, h + 1, window_size), range(0, w + 1, window_size), (h, w), INK, 1)
            mark(panel, *query, width=1.8)
            seen, after = np.count_nonzero(values), "block" if block == 0 else "blocks"
            panel.set_title(f"{block + 1} {after}: {seen} tokens", fontsize=10)
        row[0].text(-0.08, 0.5, text, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=10)
    ends = [np.count_nonzero(maps[-1]) for maps in (without_shift, with_shift)]
    alt = f"Tokens that one token has seen after {count} blocks: {ends[0]} without the shift, {ends[1]} with it."
    return describe(figure, alt)
