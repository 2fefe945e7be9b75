"""Pictures of chapter 13: agreement by layer, how NaN spreads, profiles, gains, growth, roofline."""

import numpy as np
from matplotlib.ticker import NullFormatter

from .measure import _apart, color_of
from .style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    as_array,
    ink_on,
    panels,
    styled,
    tint,
)

PARTS = (BLUE, SKY, ORANGE, GREEN, YELLOW, VERMILION, PURPLE, GREY, INK)
DASHES = {"linestyle": (0, (4, 3)), "linewidth": 1.2}


@styled
def agreement(names, differences, steps):
    """Largest relative difference after each layer, one line for each dtype, on a log scale.

    names (n,); differences {dtype: (n,)}; steps {dtype: number}: the dtype's rounding step (the gap
    between 1 and the next number), drawn as a dashed line of the dtype's colour.
    Exact agreement, 0, has no place on a log scale: the line has a gap there.
    """
    figure, axes = panels(1, 1, (PAGE, 4.2))
    panel, places = axes[0, 0], np.arange(len(names))
    for index, (name, values) in enumerate(differences.items()):
        values, color = as_array(name, values, (len(names),)), CYCLE[index % len(CYCLE)]
        panel.plot(places, np.where(values > 0, values, np.nan), "o-", color=color, markersize=4.5, label=name)
        panel.axhline(steps[name], color=color, **DASHES)
        panel.text(len(names) - 0.4, steps[name], f"step of {name}", color=color, fontsize=8.5, va="center")
    panel.set(yscale="log", ylabel="largest relative difference", xticks=places, xlim=(-0.5, len(names) - 0.5))
    panel.set_xticklabels(names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8.5)
    panel.grid(True, axis="y")
    figure.legend(loc="outside upper center", ncols=len(differences))
    return figure


@styled
def spread(maps, titles):
    """Which tokens are NaN, map by map: maps, a list of (h, w) of bool; dark is NaN. The share stands below each."""
    figure, axes = panels(1, len(maps), (PAGE, 0.7 + PAGE / len(maps)))
    for panel, bad, title in zip(axes[0], maps, titles, strict=True):
        bad = as_array(title, bad, (None, None)).astype(bool)
        colors = np.where(bad[..., None], VERMILION_RGB, tint(SKY, 0.35))
        panel.imshow(colors, interpolation="nearest")
        panel.set_title(title, fontsize=9.5)
        panel.set(xticks=(), yticks=())
        panel.set_xlabel(f"{100 * bad.mean():.2g}% NaN", fontsize=9.5)
    return figure


VERMILION_RGB = tint(VERMILION, 1)


@styled
def profile(seconds):
    """Where the time of a run goes: seconds {run: {part: seconds}}, one bar for each run, the same parts in each.

    A part is written into its piece of the bar (its share of the run), and named in the legend.
    """
    runs = list(seconds)
    parts = list(seconds[runs[0]])
    figure, axes = panels(1, 1, (PAGE, 1.5 + 0.62 * len(runs)))
    panel = axes[0, 0]
    for run in runs:
        if list(seconds[run]) != parts:
            raise ValueError(f"{run}: expected the parts {parts}, got {list(seconds[run])}")
    start = np.zeros(len(runs))
    totals = np.array([sum(seconds[run].values()) for run in runs])
    for index, part in enumerate(parts):
        values, color = np.array([seconds[run][part] for run in runs]), PARTS[index % len(PARTS)]
        panel.barh(range(len(runs)), 1000 * values, left=1000 * start, color=color, height=0.72, label=part)
        for place, (left, width, total) in enumerate(zip(start, values, totals, strict=True)):
            if width > 0.045 * totals.max():
                middle = 1000 * (left + width / 2)
                text = f"{width / total:.0%}"
                panel.text(middle, place, text, color=ink_on(color), ha="center", va="center", fontsize=9)
        start += values
    panel.set(yticks=range(len(runs)), yticklabels=runs, xlabel="milliseconds")
    panel.invert_yaxis()
    panel.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=min(4, len(parts)), fontsize=9)
    return figure


@styled
def gains(ratios):
    """How many times as fast each step is: ratios {step: (low, middle, high)}; the line at 1 is "no gain".

    The dot is the middle, the bar the spread from low to high. Log scale: twice as fast and half as fast lie equally
    far from the line.
    """
    if not ratios:
        raise ValueError("ratios: expected at least one step, got none")
    values = as_array("ratios", list(ratios.values()), (len(ratios), 3))
    if not ((values[:, 0] <= values[:, 1]) & (values[:, 1] <= values[:, 2]) & (values[:, 0] > 0)).all():
        raise ValueError("ratios: expected 0 < low <= middle <= high for each step")
    figure, axes = panels(1, 1, (PAGE, 1 + 0.38 * len(ratios)))
    panel, places = axes[0, 0], np.arange(len(ratios))
    panel.axvline(1, color=INK, **DASHES)
    panel.hlines(places, values[:, 0], values[:, 2], color=tint(BLUE, 0.45), linewidth=6)
    panel.plot(values[:, 1], places, "o", color=BLUE, markersize=8)
    for place, middle in enumerate(values[:, 1]):
        panel.annotate(f"{middle:.2f}", (middle, place), (0, 8), textcoords="offset points", ha="center", fontsize=9,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
    low, high = min(values.min(), 0.8), max(values.max(), 1.25)
    panel.set(xscale="log", yticks=places, yticklabels=list(ratios), ylim=(len(ratios) - 0.5, -0.8))
    panel.set(xlim=(low / 1.15, high * 1.15), xlabel="times as fast as the plain way (1: no gain)")
    ticks = [t for t in (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32, 64) if low / 1.1 <= t <= high * 1.1]
    panel.set_xticks(ticks, [f"{t:g}" for t in ticks])
    panel.set_xticks([], minor=True)
    panel.grid(True, axis="x")
    return figure


@styled
def by_size(sizes, series, xlabel, ylabel, marks=None):
    """Curves over sizes on two log axes: series {name: values (s,)}, NaN where nothing was measured.

    marks: {text: size}, a dashed upright line for each.
    """
    sizes = as_array("sizes", sizes, (None,))
    figure, axes = panels(1, 1, (7.6, 3.8))
    panel = axes[0, 0]
    for index, (name, values) in enumerate(series.items()):
        values = as_array(name, values, sizes.shape)
        panel.plot(sizes, values, "o-", color=color_of(name, index), label=name, markersize=4.5)
    for text, size in (marks or {}).items():
        panel.axvline(size, color=GREY, **DASHES)
        panel.annotate(text, (size, 1), (4, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                       fontsize=9, color="#555555", va="bottom", ha="center")  # fmt: skip
    panel.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    for axis_part in (panel.yaxis.set_major_formatter, panel.yaxis.set_minor_formatter):
        axis_part(lambda value, _: f"{value:g}")
    places = _apart(sizes)
    panel.set_xticks(places, [short_number(place) for place in places])
    panel.set_xticks([], minor=True)
    panel.grid(True)
    if len(series) > 1:
        panel.legend()
    return figure


def short_number(value):
    """3136 → "3136", 65536 → "66k", 2097152 → "2.1M"."""
    if value < 1e4:
        return f"{value:g}"
    return f"{value / 1e3:.0f}k" if value < 1e6 else f"{value / 1e6:.1f}M"


@styled
def growth(sides, seconds, memory, crossing=None):
    """Time and memory of one layer against the side of the map, on log axes: two panels, the same sides.

    seconds, memory (bytes): {name: values (s,)}, NaN where it was not run. crossing: (side in the time panel, side in
    the memory panel), None where there is none.
    """
    sides = as_array("sides", sides, (None,))
    figure, axes = panels(1, 2, (PAGE, 3.9))
    both = ((seconds, "time", "milliseconds", 1000), (memory, "memory at its peak", "megabytes", 1e-6))
    for panel, (series, title, unit, factor), cross in zip(axes[0], both, crossing or (None, None), strict=True):
        for index, (name, values) in enumerate(series.items()):
            values = factor * as_array(name, values, sides.shape)
            panel.plot(sides, values, "o-", color=color_of(name, index), label=name, markersize=4)
        if cross is not None:
            panel.axvline(cross, color=GREY, **DASHES)
            panel.annotate(f" equal at {cross:.0f}", (cross, 0.02), xycoords=("data", "axes fraction"), fontsize=9)
        panel.set(xscale="log", yscale="log", title=title, xlabel="side of the map in tokens", ylabel=unit)
        places = _apart(sides)
        panel.set_xticks(places, [f"{place:g}" for place in places])
        panel.set_xticks([], minor=True)
        panel.grid(True)
        panel.legend(fontsize=8.5)
    return figure


@styled
def roofline(peak, bandwidth, parts):
    """How far parts are from the machine's limit. peak in operations a second, bandwidth in bytes a second.

    parts: {name: (operations, bytes, seconds)}. Across: operations for each byte moved; up: operations a second.
    The roof is min(peak, bandwidth · operations per byte).
    """
    figure, axes = panels(1, 1, (PAGE, 4.4))
    panel = axes[0, 0]
    points = {name: (work / moved, work / seconds) for name, (work, moved, seconds) in parts.items()}
    across = [x for x, _ in points.values()] + [peak / bandwidth]
    x = np.geomspace(min(across) / 3, max(across) * 6, 200)
    roof = f"the roof: {peak / 1e9:.0f} GFLOP/s,\n{bandwidth / 1e9:.1f} GB/s"
    panel.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=INK, label=roof)
    panel.axvline(peak / bandwidth, color=GREY, **DASHES)
    for index, (name, (work_per_byte, rate)) in enumerate(points.items()):
        color = PARTS[index % len(PARTS)]
        highest = min(peak, bandwidth * work_per_byte)
        panel.plot([work_per_byte] * 2, [rate / 1e9, highest / 1e9], color=color, linewidth=1, linestyle=":")
        panel.plot(work_per_byte, rate / 1e9, "o", color=color, mec=INK, mew=0.6, markersize=8,
                   label=f"{name}: {rate / highest:.0%} of its roof")  # fmt: skip
    rates = [rate for _, rate in points.values()]
    panel.set(xscale="log", yscale="log", ylim=(min(rates) / 3e9, max(peak, *rates) * 2.5 / 1e9), xlim=(x[0], x[-1]))
    panel.set(xlabel="operations for each byte moved", ylabel="10⁹ operations a second")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(True)
    figure.legend(loc="outside right upper", fontsize=9)
    return figure
