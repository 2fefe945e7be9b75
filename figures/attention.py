"""Pictures of self-attention: from X to Q, K, V, to scores, to weights, to Z, and over a photograph.

Shapes: n tokens, c channels, d head width, a heads, i queries, j keys, h x w a grid of tokens.
"""

import numpy as np

from .arrays import as_array, as_labels
from .cells import CELL, arrow, label_width, matrix, number, shades, write
from .style import COLORS, DIVERGING, INK, PAGE, SEQUENTIAL, canvas, ink_on, panels, styled, tint

GAP = 0.5  # inches between the matrices of an equation: room for × or =


@styled
def matrix_product(A, B, product, names=("X", "W_Q", "Q"), tokens=None):
    """A · B = product, every number in its cell. A (n, c), B (c, d), product (n, d); tokens: n row labels.

    `names` are the three names, written as titles; Q, K, V, X and Z get their colours.
    Raises ValueError where the shapes don't fit together.
    """
    return _equations([_fitting(A, B, product, names)], as_labels("tokens", tokens, len(A)))


@styled
def qkv(X, W_Q, W_K, W_V, Q, K, V, tokens=None):
    """X·W_Q = Q, X·W_K = K and X·W_V = V, one below the other, with every number in its cell.

    X (n, c); W_Q, W_K, W_V (c, d); Q, K, V (n, d); tokens: n row labels. Raises ValueError for other shapes.
    """
    rows = [
        _fitting(X, W, product, ("X", f"W_{name}", name))
        for name, W, product in (("Q", W_Q, Q), ("K", W_K, K), ("V", W_V, V))
    ]
    return _equations(rows, as_labels("tokens", tokens, len(X)))


def _fitting(A, B, product, names):
    A = as_array(names[0], A, (None, None))
    B = as_array(names[1], B, (A.shape[1], None))
    return A, B, as_array(names[2], product, (A.shape[0], B.shape[1])), names


def _equations(rows, tokens):
    """One equation A × B = C a row; all rows of the same shapes."""
    A, B, product, _ = rows[0]
    left = label_width(tokens) + 0.1
    cell_width = min(CELL[0], (PAGE - left - 2 * GAP - 0.1) / (A.shape[1] + B.shape[1] + product.shape[1]))
    cell = (max(cell_width, 0.46), CELL[1])
    decimals = 2 if cell[0] > 0.52 else 1
    height = max(len(A), len(B)) * cell[1] + 0.42
    width = left + (A.shape[1] + B.shape[1] + product.shape[1]) * cell[0] + 2 * GAP + 0.1
    figure, axes = canvas(width, len(rows) * height + 0.05)
    for index, (A, B, product, names) in enumerate(rows):
        middle, x = index * height + 0.36 + (height - 0.42) / 2, left
        for values, name, sign in zip((A, B, product), names, ("×", "=", ""), strict=True):
            corner = (x, middle - len(values) * cell[1] / 2)
            labels = tokens if name == names[0] else None
            color = COLORS.get(name, COLORS.get(name.removeprefix("W_"), COLORS["X"]))
            end = matrix(axes, values, corner, color, labels, title=_math(name), cell=cell, decimals=decimals)
            write(axes, sign, end[0] + GAP / 2, middle, size=15)
            x = end[0] + GAP
    return figure


def _math(name):
    """W_Q with its index below the line."""
    return f"${name}$" if "_" in name or "^" in name else name


@styled
def scores(QK, row_labels=None, column_labels=None, title="QKᵀ: every query with every key"):
    """The matrix QKᵀ (i, j), rows named as queries and columns as keys, colours centred at zero."""
    QK = as_array("QK", QK, (None, None))
    rows = as_labels("row_labels", row_labels, QK.shape[0])
    columns = as_labels("column_labels", column_labels, QK.shape[1])
    limit = float(np.abs(QK).max()) or 1.0
    cell = (max(CELL[0], label_width(columns)), CELL[1])
    left, width = label_width(rows) + 0.55, max(len(columns) * cell[0], 3.2)
    figure, axes = canvas(left + width + 0.15, len(rows) * cell[1] + 1.15)
    start = left + (width - len(columns) * cell[0]) / 2
    fill = shades(QK, DIVERGING, -2 * limit, 2 * limit)  # the colour map's dark ends would hide numbers
    x, y = matrix(axes, QK, (start, 0.95), fill, rows, columns, cell=cell)
    write(axes, title, (start + x) / 2, 0.2, size=11)
    write(axes, "keys j", (start + x) / 2, 0.5, COLORS["K"])
    write(axes, "queries i", start - label_width(rows) - 0.2, (0.95 + y) / 2, COLORS["Q"], rotation=90)
    return figure


@styled
def softmax_steps(raw, scaled, weights, labels=None):
    """Scores QKᵀ → scores / √d → softmax of each row, with the sum of each row of weights beside it.

    raw, scaled, weights (i, j): the three matrices; labels: names of the rows (and, if i = j, the columns).
    """
    raw = as_array("raw", raw, (None, None))
    scaled, weights = as_array("scaled", scaled, raw.shape), as_array("weights", weights, raw.shape)
    labels = as_labels("labels", labels, len(raw))
    columns = labels if raw.shape[0] == raw.shape[1] else as_labels("keys", None, raw.shape[1])
    left, gap, sums = label_width(labels) + 0.1, 0.75, 0.75
    cell_width = max(min(0.6, (PAGE - left - 2 * gap - sums) / (3 * raw.shape[1])), 0.48, label_width(columns, 9))
    cell, top = (cell_width, CELL[1]), 0.68
    figure, axes = canvas(left + 3 * raw.shape[1] * cell[0] + 2 * gap + sums, top + len(raw) * cell[1] + 0.15)
    limit = 2 * float(np.abs(raw).max() or 1)
    steps = (
        (raw, shades(raw, DIVERGING, -limit, limit), "$QK^T$", "÷ √d"),
        (scaled, shades(scaled, DIVERGING, -limit, limit), "$QK^T/\\sqrt{d}$", "softmax"),
        (weights, shades(weights, SEQUENTIAL, 0, 1.3), "weights", ""),
    )
    x, middle = left, top + len(raw) * cell[1] / 2
    for step, (values, fill, title, sign) in enumerate(steps):
        end = matrix(axes, values, (x, top), fill, labels if step == 0 else None, columns, title, cell)
        if sign:
            arrow(axes, (end[0] + 0.1, middle), (end[0] + gap - 0.1, middle))
            write(axes, sign, end[0] + gap / 2, middle - 0.17, size=9.5)
        x = end[0] + gap
    write(axes, "row sum", end[0] + sums / 2, top - 0.06, va="bottom", size=9.5)
    for i, total in enumerate(weights.sum(1)):
        write(axes, f"= {number(total, 2)}", end[0] + sums / 2, top + (i + 0.5) * cell[1])
    return figure


@styled
def weighted_sum(weights_row, V, Z_row, labels=None):
    """One row of Z as the weighted sum of the rows of V: the wider the arrow, the larger the weight.

    weights_row (j,); V (j, d); Z_row (d,); labels: j names of the tokens.
    """
    weights_row = as_array("weights_row", weights_row, (None,))
    V = as_array("V", V, (len(weights_row), None))
    Z_row = as_array("Z_row", Z_row, (V.shape[1],))
    labels = as_labels("labels", labels, len(V))
    left, reach = label_width(labels) + 0.1, 2.1
    pitch, top, block = 0.56, 0.42, V.shape[1] * CELL[0]
    figure, axes = canvas(left + block + reach + max(block, 1.9) + 0.2, top + len(V) * pitch + 0.05)
    middle = top + (len(V) * pitch - pitch + CELL[1]) / 2
    start, stop = left + block + 0.08, left + block + reach - 0.1
    for j, (weight, row) in enumerate(zip(weights_row, V, strict=True)):
        y = top + j * pitch
        matrix(axes, row[None], (left, y), COLORS["V"], [labels[j]], title="V" if j == 0 else "")
        at, goal = y + CELL[1] / 2, middle + (j - (len(V) - 1) / 2) * 0.07
        arrow(
            axes,
            (start, at),
            (stop, goal),
            tint(INK, 0.65),
            0.4 + 8 * max(weight, 0),
            head=10 + 8 * max(weight, 0),
        )
        bubble = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        where = 0.3  # along the arrow, where the arrows are still apart
        x, y = start + where * (stop - start), at + where * (goal - at)
        write(axes, f"× {number(weight, 2)}", x, y, bbox=bubble, zorder=6)
    corner = (left + block + reach, middle - CELL[1] / 2)
    end = matrix(axes, Z_row[None], corner, COLORS["Z"], title="Z")
    write(axes, "sum of weight × row of V", corner[0], end[1] + 0.18, ha="left")
    return figure


@styled
def heads(weights, labels=None):
    """The weights (a, i, j) of several heads side by side, each a matrix from 0 (white) to 1 (dark)."""
    weights = as_array("weights", weights, (None, None, None))
    labels = as_labels("labels", labels, weights.shape[1])
    columns = labels if weights.shape[1] == weights.shape[2] else as_labels("keys", None, weights.shape[2])
    per_row = min(len(weights), 4)
    rows = -(-len(weights) // per_row)
    side = PAGE / per_row
    figure, axes = panels(rows, per_row, (PAGE, rows * (side + 0.25)))
    few = weights.shape[1] * per_row <= 24
    for head, panel in enumerate(axes.flat):
        if head >= len(weights):
            panel.axis("off")
            continue
        fill = shades(weights[head], SEQUENTIAL, 0, max(1.0, weights.max()) * 1.1)
        panel.imshow(fill, interpolation="nearest")
        panel.set_title(f"head {head}")
        if weights.shape[1] <= 16:
            panel.set_xticks(range(len(columns)), columns)
            panel.set_yticks(range(len(labels)), labels)
        panel.tick_params(length=0)
        for i, j in np.ndindex(weights[head].shape if few else (0, 0)):
            write(panel, number(weights[head, i, j], 2), j, i, ink_on(fill[i, j][:3]), 9)
        panel.set_xlabel("keys j", color=COLORS["K"])
        if head % per_row == 0:
            panel.set_ylabel("queries i", color=COLORS["Q"])
    return figure


@styled
def temperature(scores_row, temperatures, labels=None):
    """softmax(scores / T) of one row of scores (j,), as bars, for each T in `temperatures`."""
    scores_row = as_array("scores_row", scores_row, (None,))
    if min(temperatures) <= 0:
        raise ValueError(f"temperatures: expected numbers above 0, got {min(temperatures)}")
    labels = as_labels("labels", labels, len(scores_row))
    figure, axes = panels(1, len(temperatures), (PAGE, 2.6), sharey=True)
    for panel, T in zip(axes[0], temperatures, strict=True):
        weights = np.exp((scores_row - scores_row.max()) / T)
        weights = weights / weights.sum()
        panel.bar(labels, weights, color=COLORS["Q"], width=0.7)
        for j, weight in enumerate(weights):
            panel.text(j, weight + 0.02, number(weight, 2), ha="center", fontsize=9)
        panel.set(title=f"T = {T:g}", ylim=(0, 1.12), yticks=(0, 0.5, 1))
        panel.tick_params(axis="x", length=0)
    axes[0, 0].set_ylabel("weight")
    figure.supxlabel("keys j", fontsize=10)
    return figure
