"""Pictures of the shifted windows: the cyclic shift, labels, masks, rows of a padded map, how far a token sees.

Shapes: h x w tokens, M = window_size, m = M·M tokens in a window, k windows.
"""

import numpy as np

from .arrays import as_array, as_image, in_whole_windows
from .cells import cuts, lines, number, numbers, sheet, write
from .style import COLORS, GREY, INK, MASKED, ORANGE, PAGE, QUERY, SEAM, SKY, WINDOWS, panels, styled, tint


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
    in_whole_windows(h, w, window_size)
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
    in_whole_windows(h, w, M)
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
def rows_in_windows(orders, window_size, shift):
    """Where the rows of a map end up: {title: rows (n,)}, the number of the row at each place, -1 for padding.

    The first `shift` rows of the map, which the roll brings to the end, are orange; padding is grey. Black lines part
    the windows; the red one is the seam as the mask sees it, `shift` rows before the end.
    """
    figure, axes = panels(1, len(orders), (2.3 * len(orders), 0.5 + 0.25 * max(map(len, orders.values()))))
    for panel, (title, rows) in zip(axes[0], orders.items(), strict=True):
        rows = as_array(title, rows, (None,))
        colors = [tint(GREY, 0.3) if row < 0 else tint(ORANGE if row < shift else SKY, 0.55) for row in rows]
        count, width = len(rows), 4
        sheet(panel, np.array(colors)[:, None].repeat(width, 1), title)
        panel.set_aspect("auto")
        lines(panel, range(count + 1), (), (count, width), "white", 0.8)
        lines(panel, range(0, count + 1, window_size), (0, width), (count, width), INK, 1.8)
        lines(panel, (count - shift,), (), (count, width), SEAM, 2.4)
        for place, row in enumerate(rows):
            write(panel, "padding" if row < 0 else f"row {row}", width / 2, place + 0.5, size=9)
    return figure


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
