"""Pictures of the relative position bias: offsets, the index into the table, the table itself.

Shapes: M the window's side, m = M·M tokens in a window, a heads, (2M - 1)² offsets between two tokens.
"""

import math

import numpy as np

from .cells import number, shades, write
from .style import DIVERGING, PAGE, QUERY, SEQUENTIAL, as_array, ink_on, panels, styled


@styled
def offsets(rows, columns, index=None):
    """Row offset and column offset of each pair of tokens, and the index they are folded into.

    rows, columns, index (m, m) of int; query i down, key j across. Without `index` only offsets.
    """
    rows = as_array("rows", rows, (None, None))
    columns = as_array("columns", columns, rows.shape)
    tables = [
        (rows, "row offset\nquery row − key row"),
        (columns, "column offset\nquery column − key column"),
    ]
    if index is not None:
        tables.append((as_array("index", index, rows.shape), "index into the table"))
    figure, axes = panels(1, len(tables), (PAGE, 0.7 + PAGE / len(tables)))
    for panel, (table, title) in zip(axes[0], tables, strict=True):
        signed = table.min() < 0
        limit = 2.2 * max(abs(table.min()), table.max(), 1)
        _table(panel, table, DIVERGING if signed else SEQUENTIAL, -limit if signed else 0, limit, title)
    axes[0, 0].set_ylabel("query token i")
    return figure


@styled
def relative_index(index, window_size):
    """The index table (M², M²) beside one of its rows, unfolded to the window of that query.

    index: int, 0 … (2M - 1)² - 1. Pairs with the same offset share a number, and so share a bias.
    """
    m = window_size**2
    index = as_array("index", index, (m, m))
    query = (m - 1) // 2
    figure, axes = panels(1, 2, (PAGE, 0.42 * PAGE + 0.7), width_ratios=(1.25, 1))
    top = 1.6 * (2 * window_size - 1) ** 2
    _table(axes[0, 0], index, SEQUENTIAL, 0, top, f"index of each pair, {m} × {m}")
    axes[0, 0].set_ylabel("query token i")
    row = index[query].reshape(window_size, window_size)
    _table(axes[0, 1], row, SEQUENTIAL, 0, top, f"row i = {query}, laid out as the window", "key column")
    axes[0, 1].set_ylabel("key row")
    _frame(axes[0, 0], 0, query, m, 1)
    _frame(axes[0, 1], query % window_size, query // window_size, 1, 1)
    return figure


@styled
def bias_tables(table, titles=None):
    """The bias of every offset, one map for each head: table ((2M - 1)², a), the query at the centre.

    The key at the right of the centre is right of the query, and so on. (The table's index grows with
    query - key, so each map is turned by 180°.) One scale for all heads, white at zero.
    """
    table = as_array("table", table, (None, None))
    side = math.isqrt(len(table))
    if side**2 != len(table) or side % 2 == 0:
        raise ValueError(f"table: expected (2M - 1)² rows, such as 169 for M = 7, got {len(table)}")
    count, per_row = table.shape[1], min(table.shape[1], 4)
    titles = titles or [f"head {head}" for head in range(count)]
    rows, reach = -(-count // per_row), side // 2
    figure, axes = panels(rows, per_row, (PAGE, rows * (0.86 * PAGE / per_row + 0.3) + 0.6), sharex=True, sharey=True)
    limit = float(np.abs(table).max()) or 1.0
    for head, panel in enumerate(axes.flat):
        if head >= count:
            panel.axis("off")
            continue
        view = table[:, head].reshape(side, side)[::-1, ::-1]
        extent = (-reach - 0.5, reach + 0.5, reach + 0.5, -reach - 0.5)
        shown = panel.imshow(view, DIVERGING, vmin=-limit, vmax=limit, extent=extent, interpolation="nearest")
        panel.set(title=titles[head], xticks=(-reach, 0, reach), yticks=(-reach, 0, reach))
        _frame(panel, 0, 0, 1, 1)
    figure.supxlabel("columns from query to key", fontsize=10)
    figure.supylabel("rows from query to key", fontsize=10)
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02, label="bias added to the score")
    return figure


def _table(axes, values, cmap, low, high, title, below="key token j"):
    """A square table of int on `axes`, numbers in its cells where they fit."""
    fill = shades(values.astype(float), cmap, low, high)
    axes.imshow(fill, interpolation="nearest")
    if len(values) <= 16:
        for i, j in np.ndindex(values.shape):
            size = 10 if len(values) <= 9 else 7.5
            write(axes, number(values[i, j], 0), j, i, ink_on(fill[i, j][:3]), size)
        axes.set(xticks=range(values.shape[1]), yticks=range(len(values)))
    axes.set(title=title, xlabel=below)
    axes.tick_params(length=0)


def _frame(axes, column, row, width, height):
    """Outline the cells from (row, column): where the query is."""
    xs = (column - 0.5, column + width - 0.5)
    ys = (row - 0.5, row + height - 0.5)
    axes.plot(
        [xs[0], xs[1], xs[1], xs[0], xs[0]],
        [ys[0], ys[0], ys[1], ys[1], ys[0]],
        color=QUERY,
        lw=2.2,
        clip_on=False,
    )
