"""Pictures of time: what `make bench` measured, profiles, gains, the machine's limit."""

import numpy as np
from matplotlib.ticker import NullFormatter

from .arrays import as_array
from .measure import color_of, look_of
from .style import CYCLE, DASHES, GREY, INK, MARKERS, NOTE, PAGE, PALE, WINDOWS, describe, ink_on, panels, styled, tint

PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # behind a number that a line would cross
PIECES = (*CYCLE, WINDOWS[1], GREY, PALE)  # parts of a bar


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
        values, color = np.array([seconds[run][part] for run in runs]), PIECES[index % len(PIECES)]
        panel.barh(range(len(runs)), 1e3 * values, left=1e3 * start, color=color, ec="white", height=0.72, label=part)
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
    most = ", ".join(f"{run}: {max(seconds[run], key=seconds[run].get)}" for run in runs)
    return describe(figure, f"Where the time goes, as bars in pieces. The largest piece of {most}.")


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
    panel.hlines(places, values[:, 0], values[:, 2], color=tint(CYCLE[0]), linewidth=6)
    panel.plot(values[:, 1], places, "o", color=CYCLE[0], markersize=8)
    for place, middle in enumerate(values[:, 1]):
        panel.annotate(f"{middle:.2f}", (middle, place), (0, 8), textcoords="offset points", ha="center", fontsize=9,
                       bbox=PAPER)  # fmt: skip
    low, high = min(values.min(), 0.8), max(values.max(), 1.25)
    panel.set(xscale="log", yticks=places, yticklabels=list(ratios), ylim=(len(ratios) - 0.5, -0.8))
    panel.set(xlim=(low / 1.15, high * 1.15), xlabel="times as fast as plain (1: no gain)")
    ticks = [t for t in (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32, 64) if low / 1.1 <= t <= high * 1.1]
    panel.set_xticks(ticks, [f"{t:g}" for t in ticks])
    panel.set_xticks([], minor=True)
    panel.grid(True, axis="x")
    listed = ", ".join(f"{name} {middle:.2f}" for name, (_, middle, _) in ratios.items())
    return describe(figure, f"How many times as fast each step is, with its spread: {listed}.")


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
        color, highest = PIECES[index % len(PIECES)], min(peak, bandwidth * work_per_byte)
        panel.plot([work_per_byte] * 2, [rate / 1e9, highest / 1e9], color=color, linewidth=1, linestyle=":")
        look = {"marker": MARKERS[index % len(MARKERS)], "linestyle": "", "color": color, "mec": INK, "mew": 0.6}
        panel.plot(work_per_byte, rate / 1e9, **look, markersize=8, label=f"{name}: {rate / highest:.0%} of its roof")
    rates = [rate for _, rate in points.values()]
    panel.set(xscale="log", yscale="log", ylim=(min(rates) / 3e9, max(peak, *rates) * 2.5 / 1e9), xlim=(x[0], x[-1]))
    panel.set(xlabel="operations for each byte moved", ylabel="10⁹ operations a second")
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(True)
    figure.legend(loc="outside right upper", fontsize=9)
    return describe(figure, f"Operations a second of {', '.join(parts)} under the limit of the machine, on log axes.")


@styled
def bench(report):
    """Every run of `report` (what `python -m tests.benchmarks --json` wrote): time in multiples of the quickest peer's.

    Left of the line at 1 is quicker than timm, torchvision and transformers. The dot is the median, the bar the middle
    half; beside it the milliseconds.
    """
    runs = report["runs"]
    if not runs:
        raise ValueError("report: expected at least one run, got none")
    rows = sum(len(run["summary"]) + 1.6 for run in runs)
    figure, axes = panels(1, 1, (PAGE, 0.9 + 0.27 * rows))
    panel, place, ticks, ratios = axes[0, 0], 0, [], [1]
    for run in runs:
        heading = f"{run['what']}, batch {run['batch']}, {run['dtype']}: {run['model']}"
        at = {"transform": panel.get_yaxis_transform(), "va": "center", "bbox": PAPER, "zorder": 4}
        panel.text(0.005, place, heading, weight="bold", fontsize=9.5, **at)
        for row, (name, found) in enumerate(run["summary"].items(), 1):
            low, middle, high = found["ratio"]
            color = color_of(name) if "twin" in name else GREY
            panel.plot([low, high], [place + row] * 2, color=color, linewidth=3, solid_capstyle="butt")
            panel.plot(middle, place + row, "o", color=color, markersize=7)
            text = f"{1000 * found['seconds'][1]:.0f} ms"
            panel.annotate(
                text, (high, place + row), (7, 0), textcoords="offset points", va="center", fontsize=9, bbox=PAPER
            )
            ticks.append((place + row, name))
            ratios += [low, high]
        place += len(run["summary"]) + 1.6
    panel.axvline(1, color=INK, **DASHES)
    panel.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    panel.set(
        ylim=(place - 0.6, -0.8),
        xlim=(0.9 * min(ratios), 1.1 * max(ratios)),
        xlabel="times as long as the quickest peer (1)",
    )
    panel.grid(True, axis="x")
    panel.tick_params(axis="y", length=0)
    _where(figure, report)
    ours = [f"{name} {found['ratio'][1]:.2f}" for name, found in runs[0]["summary"].items() if "twin" in name]
    alt = f"Times of {len(runs)} runs as multiples of the quickest of timm, torchvision and transformers. "
    return describe(figure, f"{alt}{runs[0]['what'].capitalize()}, batch {runs[0]['batch']}: {', '.join(ours)}.")


@styled
def growth(report):
    """How time grows with the image and with the batch, as `python -m tests.benchmarks --json` measured it."""
    found = {"growth with the image": report.get("growth"), "growth with the batch": report.get("batches")}
    found = {title: part for title, part in found.items() if part}
    if not found:
        raise ValueError("report: expected growth or batches, got neither")
    figure, axes = panels(1, len(found), (PAGE, 4.4))
    for panel, (title, part) in zip(axes[0], found.items(), strict=True):
        by_image = "sides" in part
        x = part["sides"] if by_image else part["batches"]
        for index, (name, seconds) in enumerate(part["seconds"].items()):
            label = f"{name}: pixels^{part['exponents'][name]:.2f}" if by_image else name
            look = look_of(name, index) if by_image or "twin" in name else {"color": GREY, "marker": MARKERS[index]}
            panel.plot(x, np.array(seconds) * (1 if by_image else 1000), label=label, **look)
        panel.set(xscale="log", yscale="log" if by_image else "linear", title=title)
        panel.set_xticks(x, [f"{value:g}" for value in x])
        panel.set_xticks([], minor=True)
        unit = ("side of the image in pixels", "seconds") if by_image else ("images at once", "milliseconds an image")
        panel.set(xlabel=unit[0], ylabel=unit[1])
        if not by_image:
            panel.set_ylim(bottom=0)
        panel.grid(True)
        panel.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    _where(figure, report)
    return describe(figure, "Curves of time against the side of the image, on log axes, and against the batch size.")


def _where(figure, report):
    """The machine, below the picture."""
    machine = report["device"] if report["device"] != "cpu" else report["machine"].split("; ")[-1]
    figure.supxlabel(f"{machine} · {report['threads']} threads · {report['date']}", fontsize=9, color=NOTE)
