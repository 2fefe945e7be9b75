"""Pictures of chapter 02: photographs and maps of one channel in a row, filters, patches of a grid."""

import numpy as np

from .cells import lines, numbers, shades, sheet
from .style import DIVERGING, INK, PAGE, WINDOWS, as_array, as_image, panels, styled, tint


@styled
def maps_in_a_row(maps):
    """{title: map} side by side: (h, w, 3) is a photograph, (h, w) one channel, violet above 0, orange below."""
    drawn = {title: _fill(title, values) for title, values in maps.items()}
    width = min(PAGE, 2.05 * len(maps))
    height = width / len(maps) * max(fill.shape[0] / fill.shape[1] for fill in drawn.values())
    figure, axes = panels(1, len(maps), (width, height + 0.35))
    for panel, (title, fill) in zip(axes[0], drawn.items(), strict=True):
        sheet(panel, fill, title)
    return figure


def _fill(title, values):
    """The colours of one map: a photograph (h, w, 3) keeps its own."""
    if np.ndim(values) == 3:
        return as_image(values)
    values = as_array(title, values, (None, None))
    limit = 1.2 * float(np.abs(values).max()) or 1.0
    return shades(values, DIVERGING, -limit, limit)


@styled
def filters(weights, titles, per_row=8):
    """Small filters (n, h, w) in rows of `per_row`, each on its own scale: violet above 0, white at 0, orange below."""
    weights = as_array("weights", weights, (len(titles), None, None))
    rows = -(-len(weights) // per_row)
    side = PAGE / per_row
    figure, axes = panels(rows, per_row, (PAGE, rows * (0.72 * side * weights.shape[1] / weights.shape[2] + 0.33)))
    for panel in axes.flat[len(weights) :]:
        panel.axis("off")
    for panel, values, title in zip(axes.flat, weights, titles, strict=False):
        sheet(panel, _fill(title, values), title)
        lines(panel, range(len(values) + 1), range(values.shape[1] + 1), values.shape, INK, 0.6)
    return figure


@styled
def patches_of_grid(values, patch_size, titles=("", "")):
    """A map (H, W) of numbers with its patches in colour, and beside it the grid of token numbers.

    patch_size p; sides that p doesn't divide leave narrow patches at the right and at the bottom.
    """
    values = as_array("values", values, (None, None))
    H, W = values.shape
    rows, columns = np.arange(H) // patch_size, np.arange(W) // patch_size
    tokens = np.arange(-(-H // patch_size) * -(-W // patch_size)).reshape(-(-H // patch_size), -1)
    palette = np.array([tint(color, 0.45) for color in WINDOWS])
    figure, axes = panels(1, 2, (0.6 + 0.44 * (W + tokens.shape[1] * patch_size), 0.5 + 0.44 * H))
    fill = palette[tokens[rows][:, columns] % len(WINDOWS)]
    sheet(axes[0, 0], fill, titles[0])
    lines(axes[0, 0], range(H + 1), range(W + 1), (H, W), "white", 1)
    lines(axes[0, 0], range(0, H + 1, patch_size), range(0, W + 1, patch_size), (H, W), INK, 1.6)
    numbers(axes[0, 0], values, fill, 10)
    sheet(axes[0, 1], palette[tokens % len(WINDOWS)], titles[1])
    lines(axes[0, 1], range(len(tokens) + 1), range(tokens.shape[1] + 1), tokens.shape, INK, 1.6)
    numbers(axes[0, 1], tokens, palette[tokens % len(WINDOWS)], 12)
    return figure
