"""Small matrices with every number in its cell, in rows with signs between them: A × B = C."""

from dataclasses import dataclass, field

import numpy as np
from matplotlib.patches import Rectangle

from .arrays import as_array, as_labels
from .cells import label_width, number, shades, write
from .style import COLORS, DIVERGING, INK, MASKED, PAGE, QUERY, SEQUENTIAL, canvas, describe, ink_on, styled, tint

CELL = (0.56, 0.36)  # inches at most: room for "-0.53" at 10 points
SIGN = 0.42  # inches that a sign of one character takes


@dataclass
class Matrix:
    """A matrix to draw: `values` (n, m) under its `name`; NaN leaves a cell empty.

    fill: None for the colour of its name (Q, K, V, …), another colour, "signed" (white at 0, orange below, violet
    above), "weights" (white at 0, dark blue at 1), or an array (n, m, 3 or 4) of colours.
    rows, columns: labels at the left and above. marks: cells (i, j) to frame, as a query is. masked: (n, m) of bool,
    cells drawn dark. decimals: None for as many as needed.
    """

    name: str
    values: np.ndarray
    fill: object = None
    rows: list | None = None
    columns: list | None = None
    marks: list = field(default_factory=list)
    masked: np.ndarray | None = None
    decimals: int | None = None

    def __post_init__(self):
        self.values = as_array(self.name, self.values, (None, None)).astype(float)
        n, m = self.values.shape
        self.rows = self.rows and as_labels(f"rows of {self.name}", self.rows, n)
        self.columns = self.columns and as_labels(f"columns of {self.name}", self.columns, m)
        self.masked = np.zeros((n, m), bool) if self.masked is None else as_array("masked", self.masked, (n, m))
        if self.decimals is None:
            self.decimals = _decimals(self.values)

    @property
    def texts(self):
        """{(i, j): text} of the cells that hold a number."""
        known = np.argwhere(~np.isnan(self.values))
        return {(int(i), int(j)): number(self.values[i, j], self.decimals) for i, j in known}

    def colors(self):
        """(n, m, 3) colours of the cells."""
        size = self.values.shape
        if isinstance(self.fill, np.ndarray):
            fill = self.fill[..., :3].copy()
        elif self.fill == "signed":
            limit = 1.7 * (np.nanmax(np.abs(self.values)) or 1)  # the colour map's dark ends would hide numbers
            fill = shades(self.values, DIVERGING, -limit, limit)[..., :3]
        elif self.fill == "weights":
            fill = shades(self.values, SEQUENTIAL, 0, max(1.0, np.nanmax(self.values)) * 1.2)[..., :3]
        else:
            name = self.name.removeprefix("W_")[:1]
            fill = np.broadcast_to(tint(self.fill or COLORS.get(name, COLORS["X"])), (*size, 3)).copy()
        fill[self.masked] = tint(MASKED, 1)
        return fill


@styled
def matrices(*lines, alt="", note=""):
    """Rows of matrices with signs between: each line is a list of `Matrix` and text such as "×", "=", "softmax →".

    All cells have one size, as large as the page allows. note: a line of text below. Raises ValueError where a line
    doesn't fit on a page.
    """
    if not lines or not all(any(isinstance(item, Matrix) for item in line) for line in lines):
        raise ValueError("lines: expected at least one list of Matrix and signs, with a Matrix in each")
    cell = _cell(lines)
    tops = [_above(line) for line in lines]
    heights = [top + max(_rows(line)) * cell[1] + 0.1 for top, line in zip(tops, lines, strict=True)]
    widths = [sum(_width(item, cell) for item in line) for line in lines]
    figure, axes = canvas(max(*widths, 2.5) + 0.3, sum(heights) + (0.32 if note else 0.08))
    y = 0.05
    for line, top, height, width in zip(lines, tops, heights, widths, strict=True):
        x = 0.15 + (max(*widths, 2.5) - width) / 2 * (len(lines) == 1)
        middle = y + top + max(_rows(line)) * cell[1] / 2
        for item in line:
            if isinstance(item, Matrix):
                left = x + (label_width(item.rows) if item.rows else 0)
                draw_matrix(axes, item, (left, middle - len(item.values) * cell[1] / 2), cell)
            else:
                write(
                    axes, item, x + _width(item, cell) / 2, middle, size=15 if len(item) == 1 else 10, linespacing=1.1
                )
            x += _width(item, cell)
        y += height
    write(axes, note, 0.15, y + 0.06, ha="left", size=9.5)
    names = [item.name if isinstance(item, Matrix) else item for line in lines for item in line]
    return describe(figure, alt or f"Matrices with their numbers: {' '.join(names)}.")


def _decimals(values):
    """As few decimals as show the numbers exactly, at most two."""
    return next((d for d in (0, 1) if np.allclose(values, np.round(values, d), atol=1e-9, equal_nan=True)), 2)


def _rows(line):
    return [len(item.values) for item in line if isinstance(item, Matrix)]


def _above(line):
    """Inches above the tallest matrix of a line: its name, and the labels of its columns."""
    return 0.3 + 0.22 * any(isinstance(item, Matrix) and bool(item.columns) for item in line)


def _width(item, cell):
    if isinstance(item, Matrix):
        return (label_width(item.rows) if item.rows else 0) + item.values.shape[1] * cell[0]
    return max(SIGN, label_width(item.split("\n")) + 0.05) if item.strip() else 0.15


def _cell(lines):
    """(width, height) of all cells, so that the widest line fits on the page."""
    found = [item for line in lines for item in line if isinstance(item, Matrix)]
    longest = max((len(text) for item in found for text in item.texts.values()), default=1)
    need = max(0.085 * longest + 0.12, *(0.9 * label_width(item.columns, 9) - 0.1 for item in found), 0.3)
    room = min(
        (PAGE - 0.1 - sum(_width(item, (0, 0)) for item in line))
        / sum(item.values.shape[1] for item in line if isinstance(item, Matrix))
        for line in lines
    )
    if room < need - 0.02:
        raise ValueError(f"lines: expected cells of {need:.2f} inches to fit on a page, there is room for {room:.2f}")
    return min(max(need, CELL[0]), room), CELL[1]


def draw_matrix(axes, item, corner, cell=CELL):
    """Draw a `Matrix` on a canvas with its top left at `corner` (x, y); returns the (x, y) of its bottom right."""
    (x, y), (width, height), fill, (n, m), texts = corner, cell, item.colors(), item.values.shape, item.texts
    for i, j in np.ndindex(n, m):
        at = (x + j * width, y + i * height)
        axes.add_patch(Rectangle(at, width, height, facecolor=fill[i, j], edgecolor="white", linewidth=1))
        write(axes, texts.get((i, j), ""), at[0] + width / 2, at[1] + height / 2, ink_on(fill[i, j]))
    for i, j in item.marks:
        for stroke, paint in ((5.4, INK), (4.2, "white"), (2.2, QUERY)):
            at = (x + j * width, y + i * height)
            axes.add_patch(Rectangle(at, width, height, fill=False, edgecolor=paint, lw=stroke, zorder=5))
    for i, label in enumerate(item.rows or ()):
        write(axes, label, x - 0.08, y + (i + 0.5) * height, ha="right")
    for j, label in enumerate(item.columns or ()):
        write(axes, label, x + (j + 0.5) * width, y - 0.05, va="bottom", size=9)
    name = f"${item.name}$" if "_" in item.name or "^" in item.name else item.name  # W_Q with its index below
    write(axes, name, x + m * width / 2, y - (0.25 if item.columns else 0.07), va="bottom", size=11)
    return x + m * width, y + n * height
