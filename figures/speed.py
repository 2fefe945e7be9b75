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

    Left of the line at 1 is quicker than timm, torchvision and transformers, not compiled. The dot is the median, the
    bar the middle half; beside it the milliseconds. The grey strip is the floor: the same products and nothing else.
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
        reference = run["summary"][run["reference"]]["seconds"][1]
        for numbers in run.get("floor", {}).values():
            floor = numbers["seconds"][1] / reference
            panel.fill_between([0, floor], place + 0.5, place + len(run["summary"]) + 0.5, color=PALE, linewidth=0)
            ratios.append(floor)
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
    floors = "; grey: its products alone" if any(run.get("floor") for run in runs) else ""
    panel.set(
        ylim=(place - 0.6, -0.8),
        xlim=(0 if floors else 0.9 * min(ratios), 1.1 * max(ratios)),
        xlabel=f"times as long as the quickest peer that isn't compiled (1){floors}",
    )
    panel.grid(True, axis="x")
    panel.tick_params(axis="y", length=0)
    _where(figure, report)
    ours = [f"{name} {found['ratio'][1]:.2f}" for name, found in runs[0]["summary"].items() if "twin" in name]
    alt = (
        f"Times of {len(runs)} runs in multiples of the quickest of timm, torchvision and transformers, none compiled. "
    )
    return describe(figure, f"{alt}{runs[0]['what'].capitalize()}, batch {runs[0]['batch']}: {', '.join(ours)}.")


@styled
def throughput(report):
    """Images a second in every format, at the largest batch that was measured: a report of a GPU, which has many runs.

    A row for each model, forward on the left and training on the right.
    """
    runs = [run for run in report["runs"] if not run["compiled"]]
    if not runs:
        raise ValueError("report: expected at least one run, got none")
    models, whats = (list(dict.fromkeys(run[key] for run in runs)) for key in ("model", "what"))
    names = list(dict.fromkeys(name for run in runs for name in run["summary"]))
    looks = {
        name: look_of(name, index) | {"linestyle": "-" if "twin" in name else ":"} for index, name in enumerate(names)
    }
    looks |= {name: look | {"linestyle": "--"} for name, look in looks.items() if "plain" in name}
    figure, axes = panels(len(models), len(whats), (PAGE, 0.8 + 2.3 * len(models)))
    for model, row in zip(models, axes, strict=True):
        for what, panel in zip(whats, row, strict=True):
            here = [run for run in runs if run["model"] == model and run["what"] == what]
            batch = max((run["batch"] for run in here), default=0)
            here = [run for run in here if run["batch"] == batch]
            for name in names:
                points = [
                    (run["dtype"], run["batch"] / run["summary"][name]["seconds"][1])
                    for run in here
                    if name in run["summary"]
                ]
                if points:
                    panel.plot(*zip(*points, strict=True), label=name, **looks[name])
            panel.set(
                title=f"{model}\n{what}, batch {batch}" if here else f"{model}\nnot measured", ylabel="images a second"
            )
            panel.set_ylim(bottom=0)
            panel.grid(True)
    handles = {
        label: handle for panel in axes.flat for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=3, fontsize=9)
    _where(figure, report)
    return describe(figure, f"Images a second of {', '.join(names)} in {len(runs)} runs, {', '.join(models)}.")


@styled
def growth(report):
    """How time and memory grow with the image, and time with the batch, as `python -m tests.benchmarks` measured it."""
    image, batch = report.get("growth") or {}, report.get("batches") or {}
    plots = [("sides", image.get("seconds"), "growth with the image", "seconds", 1)]
    plots.append(("sides", image.get("memory_mb"), "memory of the process", "MB", 1))
    plots.append(("batches", batch.get("seconds"), "growth with the batch", "milliseconds an image", 1000))
    plots = [plot for plot in plots if plot[1]]
    if not plots:
        raise ValueError("report: expected growth or batches, got neither")
    figure, axes = panels(1, len(plots), (PAGE, 4.6))
    for panel, (kind, found, title, unit, factor) in zip(axes[0], plots, strict=True):
        x = (image if kind == "sides" else batch)[kind]
        for index, (name, values) in enumerate(found.items()):
            label = f"{name}: e = {_exponent(x, values):.2f}" if unit == "seconds" else name
            look = (
                look_of(name, index) if "twin" in name or "layer" in name else {"color": GREY, "marker": MARKERS[index]}
            )
            values = np.array([np.nan if value is None else value for value in values], float)
            panel.plot(x, factor * values, label=label, **look)
        panel.set(xscale="log", yscale="log" if kind == "sides" else "linear", title=title)
        panel.set_xticks(x, [f"{value:g}" for value in x], rotation=60 if len(x) > 4 else 0)
        panel.set_xticks([], minor=True)
        panel.set(xlabel="side in pixels" if kind == "sides" else "images at once", ylabel=unit)
        if kind == "batches":
            panel.set_ylim(bottom=0)
        panel.grid(True)
        panel.legend(fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.3))
    _where(figure, report)
    alt = "Curves of time and memory against the side of the image, on log axes, and of time against the batch size."
    return describe(figure, alt)


def _exponent(sides, seconds, start=448):
    """e in time ~ pixels^e from `start` pixels a side on, by least squares in log-log; NaN for fewer than two sides."""
    there = [(side, value) for side, value in zip(sides, seconds, strict=True) if side >= start and value is not None]
    if len(there) < 2:
        return float("nan")
    sides, seconds = np.log(np.array(there, float)).T
    return float(np.polyfit(2 * sides, seconds, 1)[0])


def _where(figure, report):
    """The machine, below the picture."""
    machine = report["device"] if report["device"] != "cpu" else report["machine"].split("; ")[-1]
    figure.supxlabel(f"{machine} · {report['threads']} threads · {report['date']}", fontsize=9, color=NOTE)
