"""What the pictures are built of: cells with numbers, boxes, arrows, walls of windows, the seam, the query's mark."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from .style import HATCHES, INK, QUERY, REGIONS, ink_on, tint, window_color


def shades(values, cmap, low, high):
    """Colours (..., 4) of `values` (...) on the colour map `cmap` from `low` to `high`; NaN is white."""
    colors = colormaps[cmap](Normalize(low, high)(np.nan_to_num(values, nan=low)))
    colors[np.isnan(values)] = 1
    return colors


def number(value, decimals):
    """`value` as text with a true minus sign and without a negative zero."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def decimals_of(values, most=2):
    """Decimals that show `values`: none for whole numbers, `most` otherwise."""
    return 0 if np.array_equal(values, np.rint(values), equal_nan=True) else most


def write(axes, text, x, y, color=INK, size=10, ha="center", va="center", **options):
    """Text at (x, y); returns it. An empty text draws nothing."""
    return axes.text(x, y, text, color=color, fontsize=size, ha=ha, va=va, **options) if text else None


def label_width(labels, size=10):
    """Inches that the longest of `labels` takes, roughly: for margins."""
    return max((len(label) for label in labels or ()), default=0) * size * 0.0092 + 0.12


# On a canvas, whose unit is the inch


def box(axes, text, x, y, width, height, color, size=10, rotation=0, strength=0.5):
    """A rounded box with `text`, its top left at (x, y)."""
    shape = FancyBboxPatch((x + 0.04, y + 0.04), width - 0.08, height - 0.08)
    shape.set(boxstyle="round,pad=0.04,rounding_size=0.07", facecolor=tint(color, strength), edgecolor=color, lw=1.2)
    axes.add_patch(shape)
    write(axes, text, x + width / 2, y + height / 2, size=size, rotation=rotation, linespacing=1.3)


def arrow(axes, start, end, color=INK, width=1.3, head=9):
    """An arrow from `start` (x, y) to `end`."""
    options = {"arrowstyle": "-|>", "mutation_scale": head, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, linewidth=width, color=color, **options))


def path(axes, points, color=INK, width=1.3):
    """A line along `points` [(x, y), …] that ends in an arrow."""
    xs, ys = zip(*points[:-1], strict=True)
    axes.plot(xs, ys, color=color, linewidth=width, solid_capstyle="butt", solid_joinstyle="miter")
    arrow(axes, points[-2], points[-1], color, width)


# On a sheet, whose unit is the cell


def sheet(axes, fill, title=""):
    """Turn `axes` into a grid of square cells coloured by `fill` (H, W, 3 or 4); (0, 0) is top left."""
    height, width = fill.shape[:2]
    axes.imshow(fill, extent=(0, width, height, 0), interpolation="nearest")
    axes.set(xlim=(-0.03, width + 0.03), ylim=(height + 0.03, -0.03), title=title)
    axes.axis("off")


def lines(axes, rows, columns, extent, color=INK, width=1.0, casing=None):
    """Lines at the heights `rows` and the places `columns` across `extent` (H, W); `casing` outlines them."""
    for stroke, paint in ((width + 1.6, casing), (width, color)):
        if paint is not None:
            axes.hlines(rows, 0, extent[1], color=paint, linewidth=stroke, clip_on=False)
            axes.vlines(columns, 0, extent[0], color=paint, linewidth=stroke, clip_on=False)


def seam(axes, rows, columns, extent):
    """The seam, where a rolled map was glued together: black and white dashes, as no other line has."""
    for stroke, paint, dashes in ((5.2, INK, "solid"), (3.4, "white", (0, (1.6, 1.2)))):
        options = {"color": paint, "linewidth": stroke, "linestyle": dashes, "clip_on": False, "zorder": 4}
        axes.hlines(rows, 0, extent[1], **options)
        axes.vlines(columns, 0, extent[0], **options)


def grid_lines(axes, size, color="white", width=1.0):
    """The borders of all cells of a sheet of `size` (H, W)."""
    lines(axes, range(size[0] + 1), range(size[1] + 1), size, color, width)


def numbers(axes, values, fill, size=9.5, decimals=0):
    """Write `values` (H, W) into the cells of a `sheet` coloured by `fill` (H, W, 3 or 4); NaN stays empty."""
    for i, j in np.argwhere(~np.isnan(values.astype(float))):
        write(axes, number(values[i, j], decimals), j + 0.5, i + 0.5, ink_on(fill[i, j][:3]), size)


def cuts(length, window, shift=0):
    """Borders of windows along an axis: 0, …, length. Shifted windows leave a narrow first and last."""
    inner = range(shift, length, window) if shift else range(window, length, window)
    return [0, *inner, length]


def window_fill(height, width, window, shift=0, strength=0.6):
    """Colours (height, width, 3) of the cells of a map by the window they lie in; neighbours differ."""
    rows, columns = (np.searchsorted(cuts(n, window, shift)[1:-1], np.arange(n), "right") for n in (height, width))
    return np.array([[window_color(r, c, strength) for c in columns] for r in rows])


def region_fill(labels):
    """Colours (..., 3) of region labels 0 to 3, the same in every picture."""
    return np.array([tint(color, 1) for color in REGIONS])[labels]


def hatch_regions(axes, labels):
    """Hatch the regions 1 to 3 of `labels` (H, W), each its way: for photographs, where no digit can stand."""
    for label in range(1, 4):
        rows, columns = np.nonzero(labels == label)
        if len(rows):
            at, size = (columns.min(), rows.min()), (np.ptp(columns) + 1, np.ptp(rows) + 1)
            axes.add_patch(Rectangle(at, *size, fill=False, hatch=HATCHES[label], edgecolor=INK, alpha=0.35, lw=0))


def mark(axes, row, column, side=1, color=QUERY, width=2.4):
    """Frame the square of `side` cells whose top left cell is (row, column), inside a white and a black casing."""
    for stroke, paint in ((width + 3.6, INK), (width + 2.2, "white"), (width, color)):
        axes.add_patch(Rectangle((column, row), side, side, fill=False, edgecolor=paint, linewidth=stroke, zorder=5))


def dot(axes, row, column, size=9):
    """Mark the query where tokens are too small for a frame: its colour inside a white and a black casing."""
    for diameter, paint in ((size + 4, INK), (size + 2, "white"), (size, QUERY)):
        axes.plot(column + 0.5, row + 0.5, "o", color=paint, ms=diameter, mec="none", zorder=6)


def photo(axes, image, extent, title=""):
    """A photograph on axes counted in tokens: extent (h, w)."""
    axes.imshow(image, extent=(0, extent[1], extent[0], 0))
    axes.set(xlim=(0, extent[1]), ylim=(extent[0], 0))
    axes.set_title(title, fontsize=10.5)
    axes.axis("off")
