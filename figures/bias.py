"""Pictures of the relative position bias: offsets, the index into the table, the table itself.

Shapes: M the window's side, m = M·M tokens in a window, a heads, (2M - 1)² offsets between two tokens.
"""

import math

import numpy as np
from matplotlib.patches import Rectangle

from .arrays import as_array, as_labels
from .cells import decimals_of, grid_lines, mark, number, numbers, shades, sheet, write
from .style import DIVERGING, ENTRIES, INK, PAGE, QUERY, SEQUENTIAL, describe, ink_on, panels, styled, tint

AROUND = "columns from query to key", "rows from query to key"


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
    alt = f"Tables of all {len(rows)} × {len(rows)} pairs of tokens in a window: row offset, column offset"
    return describe(figure, f"{alt}{', and the index they are folded into' * (index is not None)}.")


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
    mark(axes[0, 1], query // window_size - 0.5, query % window_size - 0.5)
    alt = f"The index of each of {m} × {m} pairs, and the row of token {query} laid out as a window of {window_size} × "
    return describe(figure, f"{alt}{window_size} tokens.")


@styled
def gather(index, table):
    """A table of biases (rows, columns), and the matrix B (m, m) that is read from it: index (m, m) of int.

    Entry k stands at row k // columns of the table. Pairs with the same entry have its colour.
    """
    index, table = as_array("index", index, (None, None)), as_array("table", table, (None, None))
    entry = np.arange(table.size).reshape(table.shape)
    sheets = [
        ("the table, one bias an offset", entry, table),
        ("B: the bias of each pair", index, table.ravel()[index]),
    ]
    figure = _entries(sheets)
    return describe(figure, f"A table of {table.size} biases, and the {index.size} pairs that read from it.")


@styled
def gather_and_scatter(index, gradient, table):
    """Which entry each pair (i, j) reads, the pairs' gradients, and their sums as the table's gradient.

    index (m, m) of int; gradient (m, m); table (rows, columns): the sums, entry k at row k // columns. Pairs
    with the same entry have the same colour as that entry.
    """
    index, table = as_array("index", index, (None, None)), as_array("table", table, (None, None))
    gradient = as_array("gradient", gradient, index.shape)
    entry = np.arange(table.size).reshape(table.shape)
    sheets = [
        ("forward: entry read by (i, j)", index, index),
        ("backward: gradient of B[i, j]", index, gradient),
        ("sums: gradient of the table", entry, table),
    ]
    return describe(_entries(sheets), "Pairs that read the same entry of a table, and send it their gradients.")


def _entries(sheets):
    """Sheets (title, entries, values) side by side, a cell in the colour of its entry; from the tenth they repeat."""
    figure, axes = panels(1, len(sheets), (3.13 * len(sheets), 3.5), width_ratios=[len(e) for _, e, _ in sheets])
    palette = np.array([tint(color, 1) for color in ENTRIES])
    for panel, (title, entries, values) in zip(axes[0], sheets, strict=True):
        fill = palette[entries % len(ENTRIES)]
        sheet(panel, fill)
        panel.set_title(title, fontsize=10.5)
        grid_lines(panel, values.shape, width=1.2)
        numbers(panel, values, fill, decimals=decimals_of(values, 1))
    return figure


def _table(axes, values, cmap, low, high, title, below="key token j"):
    """A square table of int on `axes`, numbers in its cells where they fit."""
    fill = shades(values.astype(float), cmap, low, high)
    axes.imshow(fill, interpolation="nearest")
    if len(values) <= 16:
        for i, j in np.ndindex(values.shape):
            size = 10 if len(values) <= 9 else 8.5
            write(axes, number(values[i, j], 0), j, i, ink_on(fill[i, j][:3]), size)
        axes.set(xticks=range(values.shape[1]), yticks=range(len(values)))
    axes.set(title=title, xlabel=below)
    axes.tick_params(length=0)


def _frame(axes, column, row, width, height):
    """Outline cells of a table from (row, column): the row of one query."""
    for stroke, paint in ((5.4, INK), (4.2, "white"), (2.2, QUERY)):
        at = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(at, width, height, fill=False, edgecolor=paint, lw=stroke, clip_on=False, zorder=5))


@styled
def bias_tables(table, titles=None):
    """The bias of every offset, one map for each head: table ((2M - 1)², a), the query at the centre.

    The key at the right of the centre is right of the query, and so on. (The table's index grows with
    query - key, so each map is turned by 180°.) One scale for all heads, white at zero.
    """
    heads = _seen_from_query(table)
    titles = as_labels("titles", titles or [f"head {head}" for head in range(len(heads))], len(heads))
    figure = _by_offset(dict(zip(titles, heads, strict=True)), 4, AROUND)
    return describe(figure, f"The bias of {len(heads)} heads by the offset from the query, which is in the middle.")


@styled
def tables_before_after(before, after):
    """A bias table above, the same for another window below, a column for each head (at most four are drawn).

    before ((2M-1)², a), after ((2M'-1)², a); drawn as by bias_tables, each map as large as its window.
    """
    old, new = _seen_from_query(before), _seen_from_query(after)
    heads = min(len(old), len(new), 4)
    maps = {f"head {a}, window {(len(old[a]) + 1) // 2}": old[a] for a in range(heads)}
    maps |= {f"head {a}, window {(len(new[a]) + 1) // 2} ": new[a] for a in range(heads)}  # the blank: may be equal
    figure = _by_offset(maps, heads, AROUND)
    return describe(figure, "Bias tables of some heads, above as they were, below resized for another window.")


@styled
def offset_maps(maps, known=0, columns=4, label="bias"):
    """Biases by offset, laid out as the table is, query - key: {title: (2·rows - 1, 2·columns - 1)}, to one scale.

    A frame holds the offsets up to `known`: 0 for that of a token with itself.
    """
    figure = _by_offset(maps, columns, ("column offset", "row offset"), known, label)
    return describe(figure, f"Biases by row and column offset, to one scale: {', '.join(maps)}.")


def _seen_from_query(table):
    """(a, 2M - 1, 2M - 1) of a table ((2M - 1)², a): what lies right of the centre is right of the query."""
    table = as_array("table", table, (None, None))
    side = math.isqrt(len(table))
    if side**2 != len(table) or side % 2 == 0:
        raise ValueError(f"table: expected (2M - 1)² rows, such as 169 for M = 7, got {len(table)}")
    return table.T.reshape(-1, side, side)[:, ::-1, ::-1]


def _by_offset(maps, columns, axis_labels, known=0, label="bias added to the score"):
    """Maps {title: (rows, columns)} around offset (0, 0), each token as large; white at zero where signs differ."""
    if not maps:
        raise ValueError("maps: expected {title: map}, got none")
    maps = {title: as_array(title, values, (None, None)) for title, values in maps.items()}
    low, high = (float(edge(values)) for edge, values in ((f, [f(m) for m in maps.values()]) for f in (np.min, np.max)))
    if low < 0 < high or low == high:
        low, high = -(max(-low, high) or 1.0), max(-low, high) or 1.0
    cmap = DIVERGING if low == -high else SEQUENTIAL
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    tall, wide = (max(values.shape[axis] for values in maps.values()) / 2 + 0.3 for axis in (0, 1))
    size = (PAGE, rows * (0.86 * PAGE / columns * tall / wide + 0.3) + 0.6)
    figure, axes = panels(rows, columns, (min(PAGE, 2.6 * columns + 2), size[1]) if columns < 3 else size)
    for panel in axes.flat[len(maps) :]:
        panel.axis("off")
    for panel, (title, values) in zip(axes.flat, maps.items(), strict=False):
        h, w = (side // 2 for side in values.shape)
        extent = (-w - 0.5, w + 0.5, h + 0.5, -h - 0.5)
        shown = panel.imshow(values, cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest")
        mark(panel, -known - 0.5, -known - 0.5, 2 * known + 1)
        panel.set(xlim=(-wide, wide), ylim=(tall, -tall), xticks=(-w, 0, w), yticks=(-h, 0, h))
        panel.set_title(title.strip(), fontsize=10.5)
    figure.supxlabel(axis_labels[0], fontsize=10)
    figure.supylabel(axis_labels[1], fontsize=10)
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02, label=label)
    return figure
