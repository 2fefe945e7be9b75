"""The cheat sheet as a poster, A4 landscape: shapes, one window by hand, index and mask, models, V2, traps."""

import numpy as np

from .cells import arrow, box, write
from .matrices import Matrix, draw_matrix
from .style import COLORS, ENTRIES, INK, NOTE, PALE, PARTS, canvas, describe, styled, tint

WIDTH, HEIGHT = 11.7, 8.3  # inches
LINE = 0.185  # between two lines of text


@styled
def poster(stages, models, index, mask, formulas, differences, traps):
    """One page to hang on the wall.

    stages: rows (grid, tokens, heads, windows, kinds) of text, one for each stage; models: rows of text, the first is
    the heading; index, mask: (4, 4) of a window of 2 x 2; formulas, differences, traps: lists of short lines.
    """
    figure, axes = canvas(WIDTH, HEIGHT)
    write(axes, "Swin Transformer on one page", 0.35, 0.38, ha="left", size=19)
    _pipeline(axes, stages, 0.35, 1.0)
    _text(axes, "Formulas", formulas, 0.35, 3.55)
    _text(axes, "V1 → V2", differences, 0.35, 5.95)
    _index(axes, index, 4.6, 3.55)
    _mask(axes, mask, 4.6, 5.95)
    _table(axes, models, 7.5, 3.55)
    _text(axes, "Traps", traps, 7.5, 5.95)
    alt = "Swin Transformer on one page: its stages with their shapes, the formulas, the index of the bias, the mask,"
    return describe(figure, f"{alt} the published models, what V2 changes, and traps.")


def _heading(axes, title, x, y):
    write(axes, title, x, y, ha="left", size=12.5)
    axes.plot([x, x + 0.35], [y + 0.16, y + 0.16], color=COLORS["SW-MSA"], linewidth=2.5)


def _text(axes, title, rows, x, y):
    _heading(axes, title, x, y)
    for i, row in enumerate(rows):
        write(axes, row, x, y + 0.36 + i * LINE, ha="left", size=8.2)


def _pipeline(axes, stages, x, y):
    """image → patch embedding → stages → norm, mean, linear."""
    width, gap = 1.72, 0.42
    box(axes, "image", x, y + 0.2, 0.6, 0.75, COLORS["X"], size=9)
    arrow(axes, (x + 0.62, y + 0.57), (x + 0.8, y + 0.57))
    box(axes, "patches", x + 0.82, y, 0.34, 1.15, PARTS["embedding"], size=9, rotation=90)
    x += 1.16
    for number, (grid, tokens, heads, windows, kinds) in enumerate(stages):
        arrow(axes, (x + 0.03, y + 0.57), (x + 0.2, y + 0.57))
        x += 0.22
        for k, kind in enumerate(kinds):
            color = COLORS["SW-MSA" if kind.startswith("SW") else "W-MSA"]
            box(axes, kind, x, y + k * 0.6, width, 0.55, color, size=9)
        write(axes, f"stage {number + 1}", x + width / 2, y - 0.16, size=10)
        for row, line in enumerate((grid, tokens, heads, windows)):
            write(axes, line, x + width / 2, y + 1.36 + row * LINE, size=8.2)
        x += width
        if number < len(stages) - 1:
            arrow(axes, (x + 0.02, y + 0.57), (x + 0.12, y + 0.57), head=6)
            box(axes, "merging", x + 0.13, y, 0.26, 1.15, PARTS["merging"], size=8.5, rotation=90)
            x += gap - 0.02
    arrow(axes, (x + 0.03, y + 0.57), (x + 0.2, y + 0.57))
    box(axes, "norm, mean, linear", x + 0.22, y, 0.3, 1.15, PARTS["head"], size=8.5, rotation=90)
    write(axes, "logits", x + 0.56, y + 0.57, ha="left", size=9)


def _index(axes, index, x, y):
    _heading(axes, "Bias index, M = 2", x, y)
    fill = np.array([tint(color, 1) for color in ENTRIES])[index]
    draw_matrix(axes, Matrix("", index, fill), (x + 0.15, y + 0.35), cell=(0.36, 0.3))
    write(axes, "(Δrow + M − 1)(2M − 1)", x, y + 1.75, ha="left", size=8.2)
    write(axes, "+ Δcolumn + M − 1,  Δ = query − key", x, y + 1.75 + LINE, ha="left", size=8.2)


def _mask(axes, mask, x, y):
    _heading(axes, "Mask: the last window", x, y)
    draw_matrix(axes, Matrix("", mask, PALE, masked=mask != 0), (x + 0.15, y + 0.35), cell=(0.46, 0.3))
    write(axes, "roll up and left by s = M // 2;", x, y + 1.75, ha="left", size=8.2)
    write(axes, "label = 2·(row ≥ H − s) + (column ≥ W − s);", x, y + 1.75 + LINE, ha="left", size=8.2)
    write(axes, "other label: −100, before the softmax", x, y + 1.75 + 2 * LINE, ha="left", size=8.2)


def _table(axes, rows, x, y):
    _heading(axes, "Models", x, y)
    places = (0, 0.48, 0.78, 1.24, 1.64, 2.38, 3.18)
    for i, row in enumerate(rows):
        for place, cell in zip(places, row, strict=True):
            write(axes, cell, x + place, y + 0.36 + i * LINE, NOTE if i == 0 else INK, ha="left", size=8.2)
