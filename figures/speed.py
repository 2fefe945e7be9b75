"""Pictures of time: what `make bench` measured, profiles, gains, the machine's limit."""

import numpy as np
from matplotlib.ticker import NullFormatter

from .arrays import as_array
from .measure import color_of
from .style import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    ink_on,
    panels,
    styled,
    tint,
)

PARTS = (BLUE, SKY, ORANGE, GREEN, YELLOW, VERMILION, PURPLE, GREY, INK)


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


PEERS = "s--", "^:", "v-."


@styled
def bench(report):
    """One panel for each run of `report` (what `python -m tests.benchmarks --json` wrote), two for the growth."""
    runs, growth, batches = report["runs"], report.get("growth"), report.get("batches")
    if not runs and not growth:
        raise ValueError("report: expected at least one run, or growth, got neither")
    count = len(runs) + bool(growth) + bool(batches)
    columns = min(2, count)
    rows = -(-count // columns)
    figure, axes = panels(rows, columns, (PAGE, 3.4 * rows))
    axes = list(np.ravel(axes))
    for axis, run in zip(axes, runs, strict=False):
        _bars(axis, run)
    if growth:
        _growth(axes[len(runs)], growth)
    if batches:
        _batches(axes[count - 1], batches)
    for axis in axes[count:]:
        axis.set_axis_off()
    where = report["device"] if report["device"] != "cpu" else report["machine"].split("; ")[-1]
    figure.supxlabel(
        f"x…: times as long as the quickest grey one · {where} · {report['threads']} threads · {report['date']}",
        fontsize=9,
        color="#555555",
    )
    return figure


def _bars(axis, run):
    """A bar for each contender, its middle half as a line, its ratio to the quickest peer behind it."""
    names = list(run["summary"])[::-1]
    low, middle, high = 1000 * np.array([run["summary"][name]["seconds"] for name in names]).T
    colors = [color_of(name) if "twin" in name else "#8A8A8A" for name in names]
    axis.barh(names, middle, color=colors, xerr=[middle - low, high - middle], ecolor=INK)
    for row, name in enumerate(names):
        text = f"{middle[row]:.0f} ms, x{run['summary'][name]['ratio'][1]:.2f}"
        axis.text(high[row] + 0.02 * high.max(), row, text, va="center", fontsize=8.5)
    axis.set_xlim(0, 1.45 * high.max())
    axis.set(title=f"{run['what']}, batch {run['batch']}, {run['dtype']}\n{run['model']}", xlabel="milliseconds")


def _growth(axis, growth):
    for index, (name, seconds) in enumerate(growth["seconds"].items()):
        label = f"{name}: pixels^{growth['exponents'][name]:.2f}"
        axis.plot(growth["sides"], seconds, "o-", color=color_of(name, index), label=label, markersize=4.5)
    axis.set(xscale="log", yscale="log", title="growth with the image, batch 1", xlabel="side of the image in pixels")
    axis.set_xticks(growth["sides"], [str(side) for side in growth["sides"]])
    axis.set_xticks([], minor=True)
    axis.set_ylabel("seconds")
    axis.grid(True)
    axis.set_ylim(top=100 * axis.get_ylim()[1])  # room for the legend
    axis.legend(fontsize=8, handlelength=1.2, loc="upper left")


def _batches(axis, batches):
    for index, (name, seconds) in enumerate(batches["seconds"].items()):
        ours = "twin" in name
        color, marker = (color_of(name), "o-") if ours else ("#8A8A8A", PEERS[index % len(PEERS)])
        axis.plot(batches["batches"], 1000 * np.array(seconds), marker, color=color, label=name, markersize=4.5)
    axis.set(xscale="log", title="growth with the batch", xlabel="images at once", ylabel="milliseconds an image")
    axis.set_xticks(batches["batches"], [str(batch) for batch in batches["batches"]])
    axis.set_xticks([], minor=True)
    axis.set_ylim(bottom=0)
    axis.grid(True)
    axis.legend(fontsize=8, ncols=2)
