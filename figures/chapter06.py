"""Pictures of chapter 06, of use in 07 and 08 too: maps and photographs in rows, steps of a map, lines by depth."""

import numpy as np
from matplotlib.ticker import NullFormatter

from .cells import cuts, lines, number, shades, sheet, window_fill, write
from .measure import color_of
from .style import (
    DIVERGING,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAGE,
    QUERY,
    SEQUENTIAL,
    SKY,
    as_array,
    as_image,
    ink_on,
    panels,
    styled,
    tint,
)

GRIDDED = 16  # tokens: maps up to this side show their cells


@styled
def maps_in_rows(maps, columns=4, window=None, dot=None):
    """{title: map} in rows of `columns`. A map is a photograph (h, w, 3), numbers (h, w) or bool (h, w).

    Numbers run from white (the smallest of the map) to dark blue; where some are negative, from orange over white (0)
    to violet. window: side of the windows whose borders are drawn, or {title: side}. dot: (row, column) to mark.
    """
    if not maps:
        raise ValueError("maps: expected {title: map}, got none")
    fills = {title: _fill(title, np.asarray(values)) for title, values in maps.items()}
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    tall = max(len(fill) / fill.shape[1] for fill in fills.values())
    small = max(max(fill.shape[:2]) for fill in fills.values()) <= GRIDDED
    width = min(PAGE, (2.2 if small else 3.1) * columns)
    figure, axes = panels(rows, columns, (width, rows * ((width / columns - 0.16) * tall + 0.42)))
    for panel in axes.ravel()[len(maps) :]:
        panel.axis("off")
    for panel, (title, fill) in zip(axes.ravel(), fills.items(), strict=False):
        size = h, w = fill.shape[:2]
        sheet(panel, fill, title)
        panel.title.set_fontsize(10)
        if max(h, w) <= GRIDDED and np.ndim(maps[title]) == 2:
            lines(panel, range(h + 1), range(w + 1), size, "white", 0.8)
        side = window.get(title) if isinstance(window, dict) else window
        if side:
            lines(panel, cuts(h, side), cuts(w, side), size, INK, 0.6)
        if dot:
            panel.plot(dot[1] + 0.5, dot[0] + 0.5, "o", color=QUERY, mec="white", ms=7, zorder=6)
    return figure


def _fill(title, values):
    """Colours (h, w, 3 or 4) of a photograph, a map of numbers or a map of bool."""
    if values.ndim == 3:
        return as_image(values)
    values = as_array(title, values, (None, None))
    if values.dtype == bool:
        return np.where(values[..., None], tint(ORANGE, 0.9), tint(GREY, 0.2))
    limit = float(np.abs(values).max()) or 1.0
    return shades(values, DIVERGING, -limit, limit) if values.min() < 0 else shades(values, SEQUENTIAL, *_ends(values))


def _ends(values):
    """Smallest and largest number; of a map that is the same everywhere, 0 and that number."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (0.0, high or 1.0)


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


@styled
def by_depth(plots, xlabel="blocks passed"):
    """Lines on log scales, plots side by side: {title: {name: values (n,)}}; a name has one colour everywhere."""
    figure, axes = panels(1, len(plots), (PAGE, 3.5))
    for panel, (title, series) in zip(axes[0], plots.items(), strict=True):
        for index, (name, values) in enumerate(series.items()):
            values = as_array(name, values, (None,))
            panel.plot(range(len(values)), values, "o-", color=color_of(name, index), label=name, markersize=3)
        panel.set(yscale="log", title=title, xlabel=xlabel)
        panel.yaxis.set_major_formatter(_plain)
        low, high = panel.get_ylim()
        panel.yaxis.set_minor_formatter(_plain if high < 20 * low else NullFormatter())
        panel.grid(True)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _plain(value, _):
    return f"{value:g}"


@styled
def kept_branches(kept, title=""):
    """Which branches of which sample drop path kept: kept (samples, blocks, 2) of bool; left attention, right MLP."""
    kept = as_array("kept", kept, (None, None, 2))
    samples, blocks, _ = kept.shape
    figure, axes = panels(1, 1, (PAGE * 0.8, 0.8 + 0.2 * samples))
    colors = np.array([tint(SKY, 0.9), tint(GREEN, 0.8)])
    fill = np.where(kept[..., None], colors, tint(GREY, 0.1)).reshape(samples, 2 * blocks, 3)
    panel = axes[0, 0]
    panel.imshow(fill, aspect="auto", interpolation="nearest", extent=(0, 2 * blocks, samples, 0))
    lines(panel, range(samples + 1), range(0, 2 * blocks + 1, 2), (samples, 2 * blocks), "white", 2)
    panel.set(xticks=np.arange(1, 2 * blocks, 2), xticklabels=range(blocks), yticks=np.arange(samples) + 0.5)
    panel.set(yticklabels=range(samples), xlabel="block", ylabel="sample", title=title)
    panel.tick_params(length=0)
    return figure
