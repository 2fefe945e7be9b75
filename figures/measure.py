"""Plots of numbers: curves, bars, how far the twins are apart."""

import re

import numpy as np
from matplotlib.ticker import NullFormatter

from .arrays import as_array, as_labels
from .style import COLORS, CYCLE, DASHES, GREY, NOTE, PAGE, describe, line_style, panels, styled

MEANT = [name for name in COLORS if len(name) > 1]  # SW-MSA before W-MSA: the first that is found counts


def color_of(name, index=0):
    """The colour of what `name` speaks of (W-MSA, NumPy, …), or the index-th of the cycle."""
    known = next((known for known in MEANT if known.lower() in name.lower()), None)
    return COLORS[known] if known else CYCLE[index % len(CYCLE)]


def look_of(name, index=0, points=0):
    """Colour, marker and dash of a line of `points` points; beyond 30 there are no markers."""
    look = line_style(index) | {"color": color_of(name, index)}
    return look | ({"marker": ""} if points > 30 else {"markersize": 5})


@styled
def curves(
    plots, xlabel="", ylabel="", *, x=None, logx=False, logy=False, marks=None, guides=None, title="", note="", alt=""
):
    """Lines over the same places: {name: values (n,)}, or {title: {name: values}} for plots side by side.

    x (n,): the places, by default 0 … n - 1. NaN leaves a gap. ylabel: one label, or one for each plot.
    marks: {label: place}, dashed upright lines, or {title: {label: place}}. guides: {label: values}, up to three grey
    lines that explain the curves. note: a line of text below. The same name has the same colour in each plot.
    """
    nested = bool(plots) and all(isinstance(series, dict) for series in plots.values())
    plots = plots if nested else {title: plots}
    if not all(plots.values()):
        raise ValueError("plots: expected at least one curve, got none")
    names = list(dict.fromkeys(name for series in plots.values() for name in series))
    figure, axes = panels(1, len(plots), (7, 3.6) if len(plots) == 1 else (PAGE, 3.6))
    if len(names) == 1 and not nested:  # what would stand alone in a legend
        ylabel = ylabel or names[0]
    marks = marks or {}
    apart = any(isinstance(places, dict) for places in marks.values())  # marks of their own for each plot
    ylabels = [ylabel] * len(plots) if isinstance(ylabel, str) else as_labels("ylabel", ylabel, len(plots))
    for panel, (heading, series), label in zip(axes[0], plots.items(), ylabels, strict=True):
        for name, values in series.items():
            values = as_array(name or heading, values, (None,) if x is None else (len(x),))
            places = np.arange(len(values)) if x is None else x
            panel.plot(places, values, label=name, **look_of(name, names.index(name), len(values)))
        _guide(panel, guides or {}, x)
        panel.set(xlabel=xlabel, ylabel=label, title=heading)
        panel.set(xscale="log" if logx else "linear", yscale="log" if logy else "linear")
        _mark(panel, marks.get(heading, {}) if apart else marks)
        _ticks(panel, x, logx, logy)
        panel.grid(True)
    _legend(figure, axes[0], list(plots.values()))
    if note:
        figure.supxlabel(note, fontsize=9, color=NOTE)
    what = " and ".join(filter(None, dict.fromkeys([*plots, *ylabels]))) or "numbers"
    drawn = f": {', '.join(filter(None, names))}" if any(names) else ""
    return describe(figure, alt or f"Curves of {what} over {xlabel or 'their number'}{drawn}.")


def _guide(panel, guides, x):
    """Grey lines, as far as they lie within the reach of the curves."""
    low, high = (panel.dataLim.intervaly[0] / 5, panel.dataLim.intervaly[1] * 5)
    for (label, values), dashes in zip(guides.items(), ("--", "-.", ":"), strict=False):
        values = as_array(label, values, (len(x),))
        within = np.where((values > low) & (values < high), values, np.nan)
        panel.plot(x, within, dashes, color=GREY, linewidth=1.4, zorder=1, label=label)


def _mark(panel, marks):
    for label, place in marks.items():
        panel.axvline(place, color=GREY, **DASHES)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        panel.annotate(label, (place, 1), (-3, -2), **where, fontsize=9, color=NOTE, ha="right", va="top")


def _ticks(panel, x, logx, logy):
    """Plain numbers on log axes, as many as have room."""
    if logx:
        places = _apart(x)
        panel.set_xticks(places, [short_number(place) for place in places])
        panel.set_xticks([], minor=True)
    if logy:
        low, high = panel.get_ylim()
        if 1e-3 < low and high < 1e5:
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.yaxis.set_minor_formatter(_few if high < 20 * low else NullFormatter())


def _few(value, _):
    """Of the numbers between two powers of ten those that begin with 2 or 5."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _legend(figure, axes, plots):
    """One legend above plots with the same curves, else one in each, beside it if long; none for a single curve."""
    alike = all(list(series) == list(plots[0]) for series in plots)
    if len(plots) > 1 and alike and len(plots[0]) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        return
    for panel in axes:
        if len(panel.get_legend_handles_labels()[1]) > 4 and len(axes) == 1:
            figure.legend(loc="outside right upper")
        elif len(panel.get_legend_handles_labels()[1]) > 1:
            panel.legend()


def _apart(sides):
    """Those of `sides` that have room for a label each on a log axis."""
    room, kept = np.log(max(sides) / min(sides)) / 7, []
    for side in sorted(sides):
        if not kept or np.log(side / kept[-1]) >= room:
            kept.append(side)
    return kept


def short_number(value):
    """3136 → "3136", 65536 → "66k", 2097152 → "2.1M", 1e-05 → "1e-05"."""
    if value < 1e4:
        return f"{value:g}"
    return f"{value / 1e3:.0f}k" if value < 1e6 else f"{value / 1e6:.1f}M"


@styled
def disagreement(names, differences, ylabel="largest |NumPy − PyTorch|", steps=None):
    """How far the twins are apart after each layer, on a log scale: names (n,), differences {dtype: (n,)}.

    names: as in a state dict, such as "layers.2.blocks.5"; layers of one stage are joined under its name.
    Exact agreement (0) has no place on a log scale: it is drawn as a hollow point on the lower edge.
    steps {dtype: number}: the dtype's rounding step (from 1 to the next number), a dashed line of the dtype's colour.
    """
    names, steps = list(names), steps or {}
    figure, axes = panels(1, 1, (PAGE, 4.0))
    panel = axes[0, 0]
    series = {name: as_array(name, values, (len(names),)) for name, values in differences.items()}
    above = [value for values in (*series.values(), list(steps.values())) for value in values if value > 0]
    floor = min(above, default=1e-16) / 100
    for index, (name, values) in enumerate(series.items()):
        look = look_of(name, index)
        panel.plot(np.where(values > 0, values, floor), label=name, **look)
        zeros = np.flatnonzero(np.asarray(values) == 0)
        panel.plot(zeros, np.full(len(zeros), floor), "o", mfc="white", mec=look["color"], markersize=7, zorder=4)
        if name in steps:
            panel.axhline(steps[name], color=look["color"], **DASHES)
            panel.text(len(names) - 0.4, steps[name], f"step of {name}", color=look["color"], fontsize=9, va="center")
    panel.set(yscale="log", ylabel=ylabel, xlim=(-0.5, len(names) - 0.5))
    panel.set_ylim(10 ** np.floor(np.log10(floor)), 10 ** np.ceil(np.log10(max(above, default=1)) + 0.2))
    _layers(panel, names)
    panel.grid(True, axis="y")
    figure.legend(loc="outside upper center", ncols=len(series))
    shown = " ".join(ylabel.split())
    worst = ", ".join(f"{name} {max(values):.1e}" for name, values in series.items())
    return describe(figure, f"The twins after each of {len(names)} layers: {shown}. The largest: {worst}.")


def _layers(panel, names):
    """The x axis of layers: "block 0", "merging" … under the name of their stage."""
    stages = [match[1] if (match := re.match(r"(layers\.\d+)\.", name)) else "" for name in names]
    short = [re.sub(r"^layers\.\d+\.", "", name).replace("downsample", "merging") for name in names]
    short = [text.replace("blocks.", "block ").replace("patch_embed", "patches") for text in short]
    turned = max(map(len, short)) * len(short) > 95
    options = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    panel.set_xticks(range(len(names)), short, fontsize=9, **options)
    for stage in filter(None, dict.fromkeys(stages)):
        first, count = stages.index(stage), stages.count(stage)
        panel.axvspan(first - 0.45, first + count - 0.55, color=GREY, alpha=0.1, lw=0)
        where = {"xycoords": panel.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        panel.annotate(stage, (first + (count - 1) / 2, 0.02), fontsize=9, color=NOTE, **where)


@styled
def bars(values, xlabel="", title="", form="{:.3g}"):
    """Horizontal bars with their numbers beside them: values {name: number}, the first at the top."""
    if not values:
        raise ValueError("values: expected at least one bar, got none")
    figure, axes = panels(1, 1, (7, 0.95 + 0.36 * len(values)))
    panel = axes[0, 0]
    names, lengths = as_labels("values", values, len(values)), list(values.values())
    panel.barh(range(len(names)), lengths, color=[color_of(name, 0) for name in names], height=0.68)
    for place, length in enumerate(lengths):
        panel.text(max(length, 0), place, "  " + form.format(length), va="center", fontsize=9.5)
    panel.set(yticks=range(len(names)), yticklabels=names, xlabel=xlabel, title=title)
    panel.set_xlim(min(0, *lengths), max(*lengths, 1e-300) * 1.18)
    panel.invert_yaxis()
    panel.tick_params(axis="y", length=0)
    listed = ", ".join(f"{name} {form.format(length)}" for name, length in values.items())
    return describe(figure, f"Bars of {title or xlabel or 'numbers'}: {listed}.")
