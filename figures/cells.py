"""What the pictures are built of: matrices with numbers, boxes, arrows, frames around windows."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from .style import INK, ink_on, tint, window_color

CELL = (0.56, 0.36)  # inches: room for "-0.53" at 10 points


def shades(values, cmap, low, high):
    """Colours (..., 4) of `values` (...) on the colour map `cmap` from `low` to `high`; NaN is white."""
    colors = colormaps[cmap](Normalize(low, high)(np.nan_to_num(values, nan=low)))
    colors[np.isnan(values)] = 1
    return colors


def matrix(axes, values, corner, fill, rows=None, columns=None, title="", cell=CELL, decimals=2):
    """Draw `values` (n, m) with its top left at `corner` (x, y); returns the (x, y) of its bottom right.

    fill: one colour, or an array (n, m, 3 or 4) of colours. rows, columns: labels left and above. All on a
    `canvas`, whose unit is the inch. NaN leaves its cell empty; None for `decimals` writes no numbers.
    """
    (x, y), (width, height) = corner, cell
    n, m = values.shape
    if decimals and np.array_equal(values, np.rint(values), equal_nan=True):
        decimals = 0  # whole numbers are there to be followed by hand
    fill = np.broadcast_to(tint(fill), (n, m, 3)) if isinstance(fill, str) else np.asarray(fill)
    for i, j in np.ndindex(n, m):
        at = (x + j * width, y + i * height)
        axes.add_patch(Rectangle(at, width, height, facecolor=fill[i, j], edgecolor="white", linewidth=1))
        if decimals is not None and not np.isnan(values[i, j]):
            write(
                axes,
                number(values[i, j], decimals),
                at[0] + width / 2,
                at[1] + height / 2,
                ink_on(fill[i, j][:3]),
            )
    for i, label in enumerate(rows or ()):
        write(axes, label, x - 0.08, y + (i + 0.5) * height, ha="right")
    for j, label in enumerate(columns or ()):
        write(axes, label, x + (j + 0.5) * width, y - 0.06, va="bottom")
    write(axes, title, x + m * width / 2, y - (0.3 if columns else 0.08), va="bottom", size=11)
    return x + m * width, y + n * height


def number(value, decimals):
    """`value` as text with a true minus sign and without a negative zero."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def write(axes, text, x, y, color=INK, size=10, ha="center", va="center", **options):
    """Text at (x, y); returns it. An empty text draws nothing."""
    return axes.text(x, y, text, color=color, fontsize=size, ha=ha, va=va, **options) if text else None


def label_width(labels, size=10):
    """Inches that the longest of `labels` takes, roughly: for margins."""
    return max((len(label) for label in labels or ()), default=0) * size * 0.0092 + 0.12


def box(axes, text, x, y, width, height, color, size=10, rotation=0, strength=0.35):
    """A rounded box with `text`, its top left at (x, y)."""
    axes.add_patch(
        FancyBboxPatch(
            (x + 0.04, y + 0.04),
            width - 0.08,
            height - 0.08,
            boxstyle="round,pad=0.04,rounding_size=0.07",
            facecolor=tint(color, strength),
            edgecolor=color,
            linewidth=1.2,
        )
    )
    write(axes, text, x + width / 2, y + height / 2, size=size, rotation=rotation, linespacing=1.3)


def arrow(axes, start, end, color=INK, width=1.3, bend=0.0, head=9):
    """An arrow from `start` (x, y) to `end`; `bend` curves it."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=head,
            linewidth=width,
            color=color,
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def path(axes, points, color=INK, width=1.3):
    """A line along `points` [(x, y), …] that ends in an arrow: residual connections."""
    xs, ys = zip(*points[:-1], strict=True)
    axes.plot(xs, ys, color=color, linewidth=width, solid_capstyle="butt", solid_joinstyle="miter")
    arrow(axes, points[-2], points[-1], color, width)


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


def numbers(axes, values, fill, size=9.5, decimals=0):
    """Write `values` (H, W) into the cells of a `sheet` coloured by `fill` (H, W, 3 or 4)."""
    for i, j in np.ndindex(values.shape):
        text = number(values[i, j], decimals)
        write(axes, text, j + 0.5, i + 0.5, ink_on(fill[i, j][:3]), size)


def cuts(length, window, shift=0):
    """Borders of windows along an axis: 0, …, length. Shifted windows leave a narrow first and last."""
    inner = range(shift, length, window) if shift else range(window, length, window)
    return [0, *inner, length]


def window_fill(height, width, window, shift=0, strength=0.45):
    """Colours (height, width, 3) of the cells of a map by the window they lie in; neighbours differ."""
    rows, columns = (np.searchsorted(cuts(n, window, shift)[1:-1], np.arange(n), "right") for n in (height, width))
    return np.array([[window_color(r, c, strength) for c in columns] for r in rows])


def mark(axes, row, column, color, side=1, width=2.4):
    """Outline the square of `side` cells whose top left cell is (row, column) of a `sheet`."""
    for stroke, paint in ((width + 1.8, "white"), (width, color)):
        axes.add_patch(Rectangle((column, row), side, side, fill=False, edgecolor=paint, linewidth=stroke, zorder=5))


def photo(axes, image, extent, title):
    """A photograph on axes counted in tokens: extent (h, w)."""
    axes.imshow(image, extent=(0, extent[1], extent[0], 0))
    axes.set(xlim=(0, extent[1]), ylim=(extent[0], 0))
    axes.set_title(title, fontsize=10.5)
    axes.axis("off")


def decimals_of(values):
    """Decimals that show `values`: none for whole numbers."""
    return 0 if np.array_equal(values, np.round(values)) else 2
