"""Pictures of chapter 09: the error of finite differences, a table that is read and written back, saliency."""

import numpy as np

from .cells import lines, numbers, sheet
from .measure import color_of
from .style import GREY, PAGE, SEQUENTIAL, WINDOWS, as_array, as_image, panels, styled, tint


@styled
def error_by_step(steps, errors, slopes=()):
    """Error of finite differences against their step, both on log scales: steps (s,), errors {name: (s,)}.

    slopes: up to three (power, factor, label) of dashed lines factor · step^power that explain the curves.
    """
    steps = as_array("steps", steps, (None,))
    figure, axes = panels(1, 1, (7.4, 4.2))
    panel = axes[0, 0]
    for index, (name, values) in enumerate(errors.items()):
        values = as_array(name, values, steps.shape)
        panel.plot(steps, values, "o-", color=color_of(name, index), label=name, markersize=3.5)
    seen = np.concatenate([np.asarray(values) for values in errors.values()])
    low, high = seen[seen > 0].min() / 5, seen.max() * 5
    for (power, factor, label), dashes in zip(slopes, ("--", "-.", ":"), strict=False):
        line = factor * steps ** float(power)
        shown = (line > low) & (line < high)
        panel.plot(steps[shown], line[shown], dashes, color=GREY, linewidth=1.4, zorder=1, label=label)
    panel.set(xscale="log", yscale="log", ylim=(low, high), xlabel="step h", ylabel="relative error")
    panel.grid(True)
    figure.legend(loc="outside right upper")
    return figure


@styled
def gather_and_scatter(index, gradient, table):
    """Which entry each pair (i, j) reads, the pairs' gradients, and their sums as the table's gradient.

    index (m, m) of int; gradient (m, m); table (rows, columns): the sums, entry k at row k // columns. Pairs
    with the same entry have the same colour as that entry.
    """
    index, table = as_array("index", index, (None, None)), as_array("table", table, (None, None))
    gradient = as_array("gradient", gradient, index.shape)
    entry = np.arange(table.size).reshape(table.shape)
    figure, axes = panels(1, 3, (PAGE, 3.5), width_ratios=(*[len(index)] * 2, len(table)))
    sheets = [
        ("forward: entry read by (i, j)", index, index, 0),
        ("backward: gradient of B[i, j]", index, gradient, 1),
        ("sums: gradient of the table", entry, table, 1),
    ]
    colors = _entry_colors(table.size)
    for panel, (title, entries, values, decimals) in zip(axes[0], sheets, strict=True):
        fill = colors[entries]
        sheet(panel, fill, title)
        panel.title.set_fontsize(10.5)
        size = values.shape
        lines(panel, range(size[0] + 1), range(size[1] + 1), size, "white", 1.2)
        numbers(panel, values, fill, decimals=decimals)
    return figure


def _entry_colors(count):
    """`count` light colours (count, 3); from the tenth on they come again."""
    return np.array([tint(WINDOWS[entry % len(WINDOWS)], 0.45) for entry in range(count)])


@styled
def saliency(image, maps):
    """A photograph (H, W, 3) beside maps {title: (h, w)} of numbers >= 0, white (0) to dark (their 99th percentile)."""
    figure, axes = panels(1, 1 + len(maps), (PAGE, PAGE / (1 + len(maps)) + 0.2))
    axes[0, 0].imshow(as_image(image))
    axes[0, 0].set_title("photograph", fontsize=10.5)
    for panel, (title, values) in zip(axes[0, 1:], maps.items(), strict=True):
        values = as_array(title, values, (None, None))
        panel.imshow(values, SEQUENTIAL, vmin=0, vmax=np.percentile(values, 99), interpolation="nearest")
        panel.set_title(title, fontsize=10.5)
    for panel in axes[0]:
        panel.axis("off")
    return figure
