"""One line of shapes: what each step makes of an array's axes."""

from .cells import arrow, box, write
from .style import COLORS, PAGE, canvas, describe, styled


@styled
def shape_line(steps):
    """Steps from left to right, the shape that each gives below it; long lines go on in the next row.

    steps: [(name of the step, shape)], the shape a tuple; a name that COLORS knows gets its colour.
    Raises ValueError for an empty list.
    """
    if not steps:
        raise ValueError("steps: expected at least one (name, shape), got none")
    texts = [(name, "(" + ", ".join(map(str, shape)) + ")") for name, shape in steps]
    widths = [0.4 + 0.088 * max(len(name), len(text)) for name, text in texts]
    rows, x = [[]], 0.15
    for step, width in zip(texts, widths, strict=True):
        if x + width > PAGE and rows[-1]:
            rows.append([])
            x = 0.5
        rows[-1].append((x, width, *step))
        x += width + 0.35
    figure, axes = canvas(PAGE, 1.0 * len(rows) + 0.1)
    for i, row in enumerate(rows):
        y = 0.15 + i
        for k, (x, width, name, text) in enumerate(row):
            if k or i:
                arrow(axes, (x - 0.33, y + 0.22), (x - 0.04, y + 0.22))
            box(axes, name, x, y, width, 0.44, COLORS.get(name, COLORS["X"]), size=9.5)
            write(axes, text, x + width / 2, y + 0.62, size=9.5)
    return describe(figure, "The shapes, step by step: " + ", ".join(f"{name} {text}" for name, text in texts) + ".")
