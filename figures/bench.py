"""What `make bench --json` measured, as a picture: who takes how long, and how time grows with the image."""

import numpy as np

from .measure import color_of
from .style import INK, PAGE, panels, styled

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
