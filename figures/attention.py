"""Pictures of self-attention on small matrices: from X to Q, K, V, to scores, to weights, to Z.

Shapes: n tokens, c channels, d head width, a heads, i queries, j keys.
"""

import numpy as np

from .arrays import as_array, as_labels
from .cells import arrow, label_width, number, shades, write
from .matrices import CELL, Matrix, draw_matrix, matrices
from .style import COLORS, INK, PAGE, SEQUENTIAL, canvas, describe, ink_on, panels, styled, tint


@styled
def matrix_product(A, B, product, names=("X", "W_Q", "Q"), tokens=None):
    """A · B = product, every number in its cell. A (n, c), B (c, d), product (n, d); tokens: n row labels.

    `names` are the three names, written as titles; Q, K, V, X and Z get their colours.
    Raises ValueError where the shapes don't fit together.
    """
    alt = f"{names[0]} times {names[1]} is {names[2]}, every number in its cell."
    return matrices(_product(A, B, product, names, as_labels("tokens", tokens, len(A))), alt=alt)


@styled
def qkv(X, W_Q, W_K, W_V, Q, K, V, tokens=None, channels=None):
    """X·W_Q = Q, X·W_K = K and X·W_V = V, one below the other, with every number in its cell.

    X (n, c); W_Q, W_K, W_V (c, d); Q, K, V (n, d); tokens: n row labels; channels: {"X": c names, "Q": d names, …} of
    columns, by default their numbers. Raises ValueError for other shapes.
    """
    tokens, channels = as_labels("tokens", tokens, len(X)), channels or {}
    lines = [
        _product(X, W, product, ("X", f"W_{name}", name), tokens, channels.get("X"), channels.get(name))
        for name, W, product in (("Q", W_Q, Q), ("K", W_K, K), ("V", W_V, V))
    ]
    alt = f"Three matrix products make queries, keys and values of the {len(tokens)} tokens {', '.join(tokens)}."
    return matrices(*lines, alt=alt)


def _product(A, B, product, names, tokens, across=None, out=None):
    """The line A × B = product, with the names of A's columns and of the product's."""
    A = as_array(names[0], A, (None, None))
    B = as_array(names[1], B, (A.shape[1], None))
    product = as_array(names[2], product, (A.shape[0], B.shape[1]))
    across, out = across or [f"{c}" for c in range(A.shape[1])], out or [f"{d}" for d in range(B.shape[1])]
    parts = (A, tokens, across), (B, across if len(across[0]) > 2 else None, out), (product, None, out)
    drawn = [Matrix(name, values, None, *labels) for name, (values, *labels) in zip(names, parts, strict=True)]
    return [drawn[0], "×", drawn[1], "=", drawn[2]]


@styled
def scores(QK, row_labels=None, column_labels=None, title="QKᵀ: every query with every key"):
    """The matrix QKᵀ (i, j), rows named as queries and columns as keys, colours centred at zero."""
    QK = as_array("QK", QK, (None, None))
    rows = as_labels("row_labels", row_labels, QK.shape[0])
    columns = as_labels("column_labels", column_labels, QK.shape[1])
    cell = (max(CELL[0], label_width(columns)), CELL[1])
    left, width = label_width(rows) + 0.55, max(len(columns) * cell[0], 0.1 * len(title))
    figure, axes = canvas(left + width + 0.2, len(rows) * cell[1] + 1.15)
    start = left + (width - len(columns) * cell[0]) / 2
    x, y = draw_matrix(axes, Matrix("", QK, "signed", rows, columns), (start, 0.95), cell)
    write(axes, title, left + width / 2, 0.22, size=11)
    write(axes, "keys j", (start + x) / 2, 0.52, COLORS["K"], weight="bold")
    write(axes, "queries i", start - label_width(rows) - 0.2, (0.95 + y) / 2, COLORS["Q"], rotation=90, weight="bold")
    i, j = np.unravel_index(QK.argmax(), QK.shape)
    return describe(figure, f"Matrix of scores, a row a query, a column a key. Largest: {rows[i]} with {columns[j]}.")


@styled
def softmax_steps(raw, scaled, weights, labels=None):
    """Scores QKᵀ → scores / √d → softmax of each row, with the sum of each row of weights beside it.

    raw, scaled, weights (i, j): the three matrices; labels: names of the rows (and, if i = j, the columns).
    """
    raw = as_array("raw", raw, (None, None))
    scaled, weights = as_array("scaled", scaled, raw.shape), as_array("weights", weights, raw.shape)
    rows = as_labels("labels", labels, len(raw))
    columns = rows if raw.shape[0] == raw.shape[1] else as_labels("keys", None, raw.shape[1])
    line = [
        Matrix("QK^T", raw, "signed", rows, columns),
        "÷ √d\n→",
        Matrix("QK^T/\\sqrt{d}", scaled, "signed", None, columns),
        "softmax\n→",
        Matrix("weights", weights, "weights", None, columns),
        "",
        Matrix("row sum", weights.sum(1, keepdims=True), "white", None, [""], decimals=2),
    ]
    alt = "Scores, scores divided by the root of d, and weights: after the softmax each row adds up to 1."
    return matrices(line, alt=alt)


@styled
def weighted_sum(weights_row, V, Z_row, labels=None):
    """One row of Z as the weighted sum of the rows of V: the wider the arrow, the larger the weight.

    weights_row (j,); V (j, d); Z_row (d,); labels: j names of the tokens.
    """
    weights_row = as_array("weights_row", weights_row, (None,))
    V = as_array("V", V, (len(weights_row), None))
    Z_row = as_array("Z_row", Z_row, (V.shape[1],))
    labels = as_labels("labels", labels, len(V))
    left, reach = label_width(labels) + 0.15, 2.3
    pitch, top, block = 0.56, 0.45, V.shape[1] * CELL[0]
    figure, axes = canvas(left + block + reach + max(block, 1.9) + 0.2, top + len(V) * pitch + 0.05)
    middle = top + (len(V) * pitch - pitch + CELL[1]) / 2
    start, stop = left + block + 0.08, left + block + reach - 0.1
    for j, (weight, row) in enumerate(zip(weights_row, V, strict=True)):
        y = top + j * pitch
        draw_matrix(axes, Matrix("" if j else "V", row[None], COLORS["V"], [labels[j]]), (left, y))
        at, goal = y + CELL[1] / 2, middle + (j - (len(V) - 1) / 2) * 0.09
        strength = max(weight, 0)
        arrow(axes, (start, at), (stop, goal), tint(INK, 0.65), 0.4 + 8 * strength, head=10 + 8 * strength)
        x, y = start + 0.3 * (stop - start), at + 0.3 * (goal - at)  # where the arrows are still apart
        bubble = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        write(axes, f"× {number(weight, 2)}", x, y, bbox=bubble, zorder=6)
    corner = (left + block + reach, middle - CELL[1] / 2)
    end = draw_matrix(axes, Matrix("Z", Z_row[None], COLORS["Z"]), corner)
    write(axes, "sum of weight × row of V", corner[0], end[1] + 0.2, ha="left")
    shares = ", ".join(f"{label} {number(w, 2)}" for label, w in zip(labels, weights_row, strict=True))
    return describe(figure, f"A row of Z is the sum of the rows of V, each times its weight: {shares}.")


@styled
def heads(weights, labels=None):
    """The weights (a, i, j) of several heads side by side, each a matrix from 0 (white) to 1 (dark)."""
    weights = as_array("weights", weights, (None, None, None))
    labels = as_labels("labels", labels, weights.shape[1])
    columns = labels if weights.shape[1] == weights.shape[2] else as_labels("keys", None, weights.shape[2])
    per_row = min(len(weights), 4)
    rows = -(-len(weights) // per_row)
    side = PAGE / max(per_row, 2.5)
    figure, axes = panels(rows, per_row, (side * per_row, rows * (side + 0.25)))
    few = weights.shape[1] * per_row <= 24
    for head, panel in enumerate(axes.flat):
        if head >= len(weights):
            panel.axis("off")
            continue
        fill = shades(weights[head], SEQUENTIAL, 0, max(1.0, weights.max()) * 1.2)
        panel.imshow(fill, interpolation="nearest")
        panel.set_title(f"head {head}")
        if weights.shape[1] <= 16:
            panel.set_xticks(range(len(columns)), columns)
            panel.set_yticks(range(len(labels)), labels)
        panel.tick_params(length=0)
        for i, j in np.ndindex(weights[head].shape if few else (0, 0)):
            write(panel, number(weights[head, i, j], 2), j, i, ink_on(fill[i, j][:3]), 10)
        panel.set_xlabel("keys j", color=COLORS["K"], weight="bold")
        if head % per_row == 0:
            panel.set_ylabel("queries i", color=COLORS["Q"], weight="bold")
    return describe(figure, f"The weights of {len(weights)} heads as matrices, a row a query, a column a key.")


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
    rising = ", ".join(f"{T:g}" for T in temperatures)
    return describe(figure, f"The weights of one query at temperatures {rising}: the higher, the more alike they are.")
