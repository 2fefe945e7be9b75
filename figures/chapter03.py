"""Pictures of chapter 03: which window each token of a map ends up in."""

import numpy as np

from .cells import lines, numbers, sheet
from .style import PAGE, WINDOWS, as_array, panels, styled, tint


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
