"""Pictures of chapter 11: bias tables before and after resizing, rows after pad and roll, crops, maps on one scale."""

import math

import numpy as np

from .cells import lines, mark, sheet, write
from .style import (
    DIVERGING,
    GREY,
    INK,
    ORANGE,
    PAGE,
    QUERY,
    SEAM,
    SEQUENTIAL,
    SKY,
    as_array,
    as_image,
    panels,
    styled,
    tint,
)


@styled
def tables_before_after(before, after):
    """A bias table above, the same for another window below, a column for each head (at most four are drawn).

    before ((2M-1)², a), after ((2M'-1)², a). The query is at the centre; a key at the right of it is right of the
    query. One scale for all, white at zero, and each map as large as its window.
    """
    before, after = as_array("before", before, (None, None)), as_array("after", after, (None, None))
    heads = min(before.shape[1], after.shape[1], 4)
    figure, axes = panels(2, heads, (min(PAGE, 2.5 * heads + 2), 5.2), sharex=True, sharey=True)
    limit = float(max(np.abs(before).max(), np.abs(after).max())) or 1.0
    reach = max(_side(before), _side(after)) // 2 + 0.5
    for row, (table, name) in enumerate(((before, "before"), (after, "after"))):
        side = _side(table)
        edge = side / 2
        for head in range(heads):
            view = table[:, head].reshape(side, side)[::-1, ::-1]  # the index grows with query - key
            extent = (-edge, edge, edge, -edge)
            panel = axes[row, head]
            shown = panel.imshow(view, DIVERGING, vmin=-limit, vmax=limit, extent=extent, interpolation="nearest")
            panel.plot(0, 0, "o", color=QUERY, mec="white", ms=6)
            panel.set(xlim=(-reach, reach), ylim=(reach, -reach))
            panel.set_title(f"head {head}, {name}: window {(side + 1) // 2}", fontsize=10)
    figure.supxlabel("columns from query to key", fontsize=10)
    figure.supylabel("rows from query to key", fontsize=10)
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02, label="bias added to the score")
    return figure


def _side(table):
    side = math.isqrt(len(table))
    if side**2 != len(table) or side % 2 == 0:
        raise ValueError(f"table: expected (2M - 1)² rows, such as 169 for M = 7, got {len(table)}")
    return side


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
def cropped(image, top, left, size, after):
    """A photograph (H, W, 3) with the square that is cut out of it, and beside it what the model gets (h, w, 3)."""
    image, after = as_image(image), as_image(after)
    H, W = image.shape[:2]
    width, tall = 8.6, H / W
    figure, axes = panels(1, 2, (width, width * tall / (1 + tall) + 0.3), width_ratios=(1, tall))
    sheet(axes[0, 0], image, f"resized: {H} × {W}")
    mark(axes[0, 0], top, left, QUERY, size, 2)
    sheet(axes[0, 1], after, f"cut out: {after.shape[0]} × {after.shape[1]}")
    return figure


@styled
def maps_on_one_scale(maps, label, columns=4, low=None, high=None):
    """{title: map (h, w)} in rows, from white (`low`) to dark (`high`), all on the one scale that is drawn beside them.

    low, high: None for the smallest and the largest number of all the maps.
    """
    maps = {title: as_array(title, values, (None, None)) for title, values in maps.items()}
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    low = min(values.min() for values in maps.values()) if low is None else low
    high = max(values.max() for values in maps.values()) if high is None else high
    figure, axes = panels(rows, columns, (PAGE, rows * ((PAGE - 1.2) / columns + 0.2)))
    for panel in axes.ravel():
        panel.axis("off")
    for panel, (title, values) in zip(axes.ravel(), maps.items(), strict=False):
        shown = panel.imshow(values, SEQUENTIAL, vmin=low, vmax=high, interpolation="nearest")
        panel.set_title(title, fontsize=10)
    figure.colorbar(shown, ax=axes, shrink=0.85, pad=0.02, label=label)
    return figure
