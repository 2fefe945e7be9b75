"""Photographs and maps side by side, and attention weights laid over a photograph.

Shapes: h x w a map of tokens, H x W an image of pixels, n maps, a heads.
"""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from .arrays import as_array, as_image, as_labels, divides
from .cells import cuts, dot, grid_lines, lines, mark, photo, shades, sheet
from .style import COLORS, DIVERGING, HEAT, INK, PAGE, PALE, SEQUENTIAL, describe, panels, styled, tint

GRIDDED = 16  # tokens: maps up to this side show their cells


@styled
def show_maps(
    maps, columns=4, *, titles=None, window=None, query=None, bar=None, low=None, high=None, signed=False, alt=""
):
    """Photographs and maps in rows of `columns`: {title: map}, or a list of maps with `titles`.

    A map is a photograph (h, w, 3), a grey one (h, w) of uint8, bool (h, w), or numbers (h, w). Numbers run from
    white (the smallest of the map) to dark blue; where some are negative, from orange over white (0) to violet.

    window: side of the windows whose borders are drawn, or {title: side}. query: (row, column) to mark.
    bar: label of a colour scale that all maps share, from `low` to `high` (None: the smallest and largest number).
    signed: white is 0 in every map, also where nothing is negative.
    """
    titles, maps = (list(maps), list(maps.values())) if isinstance(maps, dict) else (titles, list(maps))
    if not maps:
        raise ValueError("maps: expected at least one map, got none")
    titles, maps = as_labels("titles", titles, len(maps)), [np.asarray(values) for values in maps]
    if bar:
        found = [as_array(title, values, (None, None)) for title, values in zip(titles, maps, strict=True)]
        low = min(values.min() for values in found) if low is None else low
        high = max(values.max() for values in found) if high is None else high
        fills = [shades(values.astype(float), SEQUENTIAL, low, high) for values in found]
    else:
        fills = [_fill(title, values, signed) for title, values in zip(titles, maps, strict=True)]
    figure, axes = _sheets(fills, min(columns, len(maps)), any("\n" in title for title in titles))
    for panel, title, values, fill in zip(axes.flat, titles, maps, fills, strict=False):
        size = h, w = fill.shape[:2]
        sheet(panel, fill)
        panel.set_title(title, fontsize=10)
        if max(h, w) <= GRIDDED and values.ndim == 2 and values.dtype != np.uint8:
            grid_lines(panel, size, INK if signed else "white", 0.8)
        if side := window.get(title) if isinstance(window, dict) else window:
            lines(panel, cuts(h, side), cuts(w, side), size, INK, 0.8)
        if query is not None:
            mark(panel, *query) if max(size) <= GRIDDED else dot(panel, *query)
    if bar:
        figure.colorbar(ScalarMappable(Normalize(low, high), SEQUENTIAL), ax=axes, shrink=0.85, pad=0.02, label=bar)
    count = f"one picture of {h} × {w} places" if len(maps) == 1 else f"{len(maps)} pictures side by side"
    return describe(figure, alt or f"{'; '.join(dict.fromkeys(titles))}: {count}.")


def _sheets(fills, columns, two_lines):
    """(figure, axes) with room for `fills` in rows of `columns`."""
    rows = -(-len(fills) // columns)
    tall = max(len(fill) / fill.shape[1] for fill in fills)
    small = max(max(fill.shape[:2]) for fill in fills) <= GRIDDED
    width = min(PAGE, (2.2 if small else 3.1) * columns)
    height = (width / columns - 0.16) * tall + (0.6 if two_lines else 0.45)
    figure, axes = panels(rows, columns, (width, rows * height + 0.05))
    for panel in axes.flat[len(fills) :]:
        panel.axis("off")
    return figure, axes


def _fill(title, values, signed):
    """Colours (h, w, 3 or 4) of a photograph, a map of numbers or a map of bool."""
    if values.ndim == 3:
        return as_image(values)
    values = as_array(title, values, (None, None))
    if values.dtype == np.uint8:
        return np.repeat(values[..., None], 3, 2) / 255
    if values.dtype == bool:
        return np.where(values[..., None], tint(COLORS["K"], 0.9), tint(PALE, 1))  # what is looked at: keys
    low, high = float(values.min()), float(values.max())
    limit = 1.1 * max(-low, high) or 1.0
    if low < 0 or signed:
        return shades(values, DIVERGING, -limit, limit)
    return shades(values, SEQUENTIAL, *((low, high) if low < high else (0.0, high or 1.0)))


@styled
def maps_of_images(images, maps, alt=""):
    """Images (n, H, W) in the first row; below, a row for each of `maps` {title: (n, h, w)}, each on its own scale."""
    images = as_array("images", images, (None, None, None))
    rows = {"image": images} | maps
    figure, axes = panels(len(rows), len(images), (PAGE, len(rows) * (PAGE - 1) / len(images) + 0.3))
    for row, (title, values) in zip(axes, rows.items(), strict=True):
        values = as_array(title, values, (len(images), None, None))
        for panel, value in zip(row, values, strict=True):
            panel.imshow(value, "gray" if title == "image" else HEAT, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        row[0].set_ylabel(title, fontsize=10.5)
    return describe(figure, alt or f"{len(images)} images, and below each its heat map: {', '.join(maps)}.")


@styled
def attention_on_image(image, weights_map, query, grid=None, title="", zoom=False):
    """One row of attention weights as a heat map over the photograph it looks at; a square marks the query.

    image (H, W, 3); weights_map (h, w), h and w dividing H and W, NaN where the query can't look (outside its
    window), or bool: what it can see, without weights; query: (row, column) in the map; grid: draw window borders
    every `grid` tokens; zoom: enlarge the part of the map that the query can look at.
    """
    image, weights_map = as_image(image), _map_on(image, weights_map)
    figure, axes = panels(1, 2, (PAGE, 0.45 + 0.46 * PAGE * image.shape[0] / image.shape[1]))
    heat = _overlay(axes[0, 1], image, weights_map, query, grid, title or "where it looks")
    photo(axes[0, 0], image, weights_map.shape, "the query")
    _mark(axes[0, 0], query, weights_map.shape)
    if zoom:
        rows, columns = np.nonzero(~np.isnan(weights_map))
        axes[0, 1].set(xlim=(columns.min() - 1, columns.max() + 2), ylim=(rows.max() + 2, rows.min() - 1))
    if heat:
        figure.colorbar(heat, ax=axes[0, 1], shrink=0.8, pad=0.02, label="attention weight")
    return describe(figure, f"A photograph with one token marked, and {title or 'where this token looks'}.")


@styled
def attention_rows(image, maps, query, titles=None, grid=None, alt=""):
    """Heat maps of several heads over the same photograph: maps (a, h, w), the rest as attention_on_image.

    query: a (row, column), or several if the map holds several rows of weights, such as one for each window.
    Each map has its own scale, from 0 to its largest weight: heads differ in how widely they spread.
    """
    image = as_image(image)
    maps = as_array("maps", maps, (None, None, None))
    titles = as_labels("titles", titles or [f"head {a}" for a in range(len(maps))], len(maps))
    per_row = min(len(maps), 4)
    rows = -(-len(maps) // per_row)
    width = PAGE if per_row > 2 else 3.4 * per_row
    figure, axes = panels(rows, per_row, (width, rows * (width / per_row * image.shape[0] / image.shape[1] + 0.25)))
    for panel, weights_map, title in zip(axes.flat, maps, titles, strict=False):
        _overlay(panel, image, _map_on(image, weights_map), query, grid, title)
    for panel in axes.flat[len(maps) :]:
        panel.axis("off")
    return describe(figure, alt or f"Where a marked token of the picture looks, as heat maps: {', '.join(titles)}.")


def _map_on(image, weights_map):
    weights_map = as_array("weights_map", weights_map, (None, None))
    for name, length, part in zip(("image height", "image width"), image.shape, weights_map.shape, strict=False):
        divides(name, length, part)
    return np.where(weights_map, 1.0, np.nan) if weights_map.dtype == bool else weights_map.astype(float)


def _overlay(axes, image, weights_map, query, grid, title):
    """The photograph in grey under the map; returns what a colour bar needs, None where all weights are equal."""
    h, w = weights_map.shape
    grey = np.repeat(image.mean(2, keepdims=True), 3, 2)
    photo(axes, 0.25 + 0.75 * grey, (h, w), title)
    seen, top = np.nan_to_num(weights_map), np.nanmax(weights_map) or 1.0
    alike = np.nanmin(weights_map) == top
    heat = shades(seen, HEAT, 0, 1.3 * top if alike else top)
    heat[..., 3] = 0.6 if alike else 0.3 + 0.6 * seen / top  # small weights leave the photograph to be seen
    heat[np.isnan(weights_map)] = (1, 1, 1, 0.6)  # out of reach
    axes.imshow(heat, extent=(0, w, h, 0), interpolation="nearest")
    if grid:
        lines(axes, range(grid, h, grid), range(grid, w, grid), (h, w), "white", 1)
    _mark(axes, query, (h, w))
    return None if alike else ScalarMappable(Normalize(0, top), HEAT)


def _mark(axes, query, size):
    """Frame one query (row, column), or several. Raises ValueError for one outside the map of `size`."""
    for row, column in np.atleast_2d(query):
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            raise ValueError(f"query: expected a (row, column) inside the map {size}, got {(int(row), int(column))}")
        mark(axes, row, column) if max(size) <= 28 else dot(axes, row, column, 7)
