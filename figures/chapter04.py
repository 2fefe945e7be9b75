"""Pictures of chapter 04 only: photographs in a row, bias tables of any shape, where a query looks."""

import numpy as np

from .cells import mark, shades, sheet
from .style import DIVERGING, PAGE, QUERY, SEQUENTIAL, as_array, as_image, panels, styled


@styled
def photographs(images, titles):
    """Photographs (H, W, 3) side by side, each with its title."""
    images = list(images)
    height, width = np.shape(images[0])[:2]
    side = 2.5  # inches: small photographs, small notebooks
    figure, axes = panels(1, len(images), (side * len(images), 0.25 + side * height / width))
    for panel, image, title in zip(axes[0], images, titles, strict=True):
        panel.imshow(as_image(image))
        panel.set_title(title, fontsize=10.5)
        panel.axis("off")
    return figure


@styled
def offset_maps(maps, titles):
    """Bias of every offset, one head each: maps (2·rows - 1, 2·columns - 1), laid out as the table is, query - key.

    They may have different shapes; one colour scale for all, white at zero; a frame marks offset (0, 0).
    """
    maps = [as_array(title, values, (None, None)) for values, title in zip(maps, titles, strict=True)]
    wide = [values.shape[1] for values in maps]
    unit = (PAGE - 1.9) / sum(wide)
    figure, axes = panels(1, len(maps), (PAGE, 0.95 + unit * max(len(values) for values in maps)), width_ratios=wide)
    limit = max(float(np.abs(values).max()) for values in maps) or 1.0
    for panel, values, title in zip(axes[0], maps, titles, strict=True):
        h, w = (side // 2 for side in values.shape)
        extent = (-w - 0.5, w + 0.5, h + 0.5, -h - 0.5)
        shown = panel.imshow(values, DIVERGING, vmin=-limit, vmax=limit, extent=extent, interpolation="nearest")
        panel.plot([-0.5, 0.5, 0.5, -0.5, -0.5], [-0.5, -0.5, 0.5, 0.5, -0.5], color=QUERY, lw=2.2)
        panel.set(xticks=(-w, 0, w), yticks=(-h, 0, h), xlabel="column offset")
        panel.set_title(title, fontsize=10.5)
    axes[0, 0].set_ylabel("row offset")
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02, label="bias")
    return figure


@styled
def looks_from(maps, query, titles):
    """Attention weights (h, w) of one query (row, column), each map by itself and without a photograph."""
    figure, axes = panels(1, len(maps), (2.3 * len(maps), 2.6))
    for panel, values, title in zip(axes[0], maps, titles, strict=True):
        values = as_array(title, values, (None, None))
        sheet(panel, shades(values.astype(float), SEQUENTIAL, 0, float(values.max()) * 1.2))
        mark(panel, *query, QUERY)
        panel.set_title(title, fontsize=10.5)
        for edge in range(values.shape[0] + 1):
            panel.axhline(edge, color="white", lw=0.8)
            panel.axvline(edge, color="white", lw=0.8)
    return figure
