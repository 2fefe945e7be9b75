"""Plots of measurements: cost against image size, disagreement of the twins, curves, bars."""

import numpy as np
from matplotlib.ticker import FixedLocator, NullFormatter

from .style import COLORS, CYCLE, PAGE, as_array, as_labels, panels, styled


def color_of(name, index=0):
    """The colour of what `name` speaks of (W-MSA, NumPy, …), or the index-th of the cycle."""
    for known in sorted(COLORS, key=len, reverse=True):  # SW-MSA before W-MSA
        if len(known) > 1 and known.lower() in name.lower():
            return COLORS[known]
    return CYCLE[index % len(CYCLE)]


@styled
def cost(sides, formulas, measured=None, machine=""):
    """Cost of attention against the side of the image: the formula, and beside it what was measured. Log-log.

    sides (s,) in pixels; formulas: {name: multiply-adds (s,)}; measured: {name: seconds (s,)}, NaN where
    it was not run; machine: where, as a line of text. The same name has the same colour in both plots.
    """
    sides = as_array("sides", sides, (None,))
    plots = [(formulas, "what the formula says", "multiply-adds")]
    if measured:
        plots.append((measured, "what was measured", "seconds"))
    figure, axes = panels(1, len(plots), (PAGE if measured else 6, 3.7))
    for panel, (series, title, unit) in zip(axes[0], plots, strict=True):
        for index, (name, values) in enumerate(series.items()):
            values = as_array(name, values, sides.shape)
            panel.plot(sides, values, "o-", color=color_of(name, index), label=name, markersize=4.5)
        panel.set(xscale="log", yscale="log", title=title, xlabel="side of the image in pixels", ylabel=unit)
        panel.xaxis.set_major_locator(FixedLocator(_apart(sides)))
        panel.set_xticks([], minor=True)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(True)
        panel.legend()
    if machine:
        figure.supxlabel(machine, fontsize=9, color="#555555")
    return figure


def _apart(sides):
    """Those of `sides` that have room for a label each on a log axis."""
    room, kept = np.log(max(sides) / min(sides)) / 7, []
    for side in sorted(sides):
        if not kept or np.log(side / kept[-1]) >= room:
            kept.append(side)
    return kept


@styled
def disagreement(names, differences, ylabel="largest |NumPy − PyTorch|"):
    """How far the twins are apart after each layer, on a log scale: names (n,), differences {dtype: (n,)}.

    Exact agreement (0) has no place on a log scale: it is drawn as a hollow point on the lower edge.
    """
    names = list(names)
    figure, axes = panels(1, 1, (PAGE, 3.8))
    panel = axes[0, 0]
    series = {name: as_array(name, values, (len(names),)) for name, values in differences.items()}
    above = [value for values in series.values() for value in values if value > 0]
    floor = min(above, default=1e-16) / 10
    for index, (name, values) in enumerate(series.items()):
        color = CYCLE[index % len(CYCLE)]
        panel.plot(np.where(values > 0, values, floor), "o-", color=color, label=name, markersize=5)
        zeros = np.flatnonzero(np.asarray(values) == 0)
        panel.plot(zeros, np.full(len(zeros), floor), "o", mfc="white", mec=color, markersize=7, zorder=4)
    panel.set(yscale="log", ylabel=ylabel, xticks=range(len(names)))
    longest = max(map(len, names))
    turned = longest * len(names) > 95
    panel.set_xticklabels(names, rotation=40 if turned else 0, ha="right" if turned else "center")
    if turned:
        for label in panel.get_xticklabels():
            label.set_rotation_mode("anchor")
    panel.set_ylim(10 ** np.floor(np.log10(floor)), 10 ** np.ceil(np.log10(max(above, default=1)) + 0.2))
    panel.grid(True, axis="y")
    figure.legend(loc="outside right upper")
    return figure


@styled
def curves(series, xlabel="step", ylabel="", log=False, x=None, title=""):
    """Lines, one for each name: series {name: values (n,)}; x (n,): their places, by default 0 … n - 1."""
    if not series:
        raise ValueError("series: expected at least one curve, got none")
    figure, axes = panels(1, 1, (7, 3.6))
    panel = axes[0, 0]
    for index, (name, values) in enumerate(series.items()):
        values = as_array(name, values, (None,) if x is None else (len(x),))
        places = np.arange(len(values)) if x is None else x
        style = "-" if len(values) > 30 else "o-"
        panel.plot(places, values, style, color=color_of(name, index), label=name, markersize=4)
    panel.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear", title=title)
    panel.grid(True)
    if len(series) > 1 or next(iter(series)):
        panel.legend()
    return figure


@styled
def bars(values, xlabel="", title="", form="{:.3g}"):
    """Horizontal bars with their numbers beside them: values {name: number}, the first at the top."""
    if not values:
        raise ValueError("values: expected at least one bar, got none")
    figure, axes = panels(1, 1, (7, 0.9 + 0.36 * len(values)))
    panel = axes[0, 0]
    names, lengths = as_labels("values", values, len(values)), list(values.values())
    colors = [color_of(name, 0) for name in names]
    panel.barh(range(len(names)), lengths, color=colors, height=0.68)
    for place, length in enumerate(lengths):
        panel.text(max(length, 0), place, "  " + form.format(length), va="center", fontsize=9.5)
    panel.set(yticks=range(len(names)), yticklabels=names, xlabel=xlabel, title=title)
    panel.set_xlim(min(0, *lengths), max(*lengths, 1e-300) * 1.18)
    panel.invert_yaxis()
    panel.tick_params(axis="y", length=0)
    return figure
