"""Pictures of training: curves in step, mistakes, runs of several seeds."""

import textwrap

import numpy as np

from .arrays import as_array
from .cells import lines, numbers, shades, sheet
from .measure import color_of, look_of
from .style import CYCLE, GREY, NOTE, PAGE, SEQUENTIAL, describe, panels, styled


@styled
def in_step(losses, differences):
    """Two loss curves {name: (s,)} on each other, and differences {name: (s,)} on a log scale.

    Where two are exactly the same, the difference has no place on a log scale and its point is left out.
    """
    steps = len(next(iter(losses.values())))
    figure, axes = panels(1, 2, (PAGE, 3.4))
    left, right = axes[0]
    for (name, values), style, width in zip(losses.items(), ("-", ":"), (6, 2), strict=True):
        values = as_array(name, values, (steps,))
        left.plot(values, style, color=color_of(name), linewidth=width, alpha=0.45 if style == "-" else 1, label=name)
    for (name, values), color, marker in zip(differences.items(), CYCLE[1:], "os^", strict=False):
        values = as_array(name, values, (steps,))
        right.plot(np.where(values > 0, values, np.nan), marker, color=color, markersize=4.5, label=name)
    seen = np.concatenate([np.asarray(values) for values in differences.values()])
    low, high = (np.log10(edge(seen[seen > 0], initial=1e-16)) for edge in (np.min, np.max))
    left.set(title="loss", xlabel="step")
    right.set(title="difference", xlabel="step", yscale="log", ylim=(10 ** np.floor(low), 10 ** np.ceil(high + 1)))
    for panel in (left, right):
        panel.grid(True)
        panel.legend()
    alt = f"The losses of {' and '.join(losses)} over {steps} steps, one on the other, and their differences: at most"
    return describe(figure, f"{alt} {np.nanmax(seen):.1e}.")


@styled
def confusion(counts, names):
    """How many images of class i (row) were taken for class j (column): counts (c, c) of int, names (c,).

    The diagonal, what is right, is grey: its large numbers would leave no colour for the mistakes.
    """
    names = list(names)
    counts = as_array("counts", counts, (len(names), len(names)))
    wrong = np.where(np.eye(len(names), dtype=bool), 0, counts)
    fill = shades(wrong.astype(float), SEQUENTIAL, 0, 1.4 * max(wrong.max(), 1))
    fill[np.eye(len(names), dtype=bool)] = (0.88, 0.88, 0.88, 1)
    figure, axes = panels(1, 1, (7.6, 5.4))
    panel = axes[0, 0]
    sheet(panel, fill)
    lines(panel, range(len(names) + 1), range(len(names) + 1), counts.shape, "white", 1)
    numbers(panel, counts, fill, size=9.5)
    panel.axis("on")
    panel.set_aspect("auto")
    middles = np.arange(len(names)) + 0.5
    panel.set_xticks(middles, names, rotation=40, ha="right", rotation_mode="anchor")
    panel.set_yticks(middles, names)
    panel.set(xlabel="the model says", ylabel="it is")
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    worst = np.unravel_index(wrong.argmax(), wrong.shape)
    alt = f"Which of {len(names)} classes are taken for which. Most often, {wrong.max()} times, {names[worst[0]]} for"
    return describe(figure, f"{alt} {names[worst[1]]}.")


@styled
def seeds(results, xlabel=""):
    """One line for each of `results` {name: [a number for each seed]}: its seeds as points, their mean as a bar.

    The band is the span of the first one's seeds: what lies in it may be chance. Without results the picture says so.
    """
    figure, axes = panels(1, 1, (PAGE, 1.0 + 0.42 * max(len(results), 1)))
    panel = axes[0, 0]
    if not results:
        return _nothing_yet(figure, panel)
    first = next(iter(results.values()))
    panel.axvspan(min(first), max(first), color=GREY, alpha=0.22, linewidth=0)
    for place, values in enumerate(results.values()):
        color = CYCLE[place % len(CYCLE)]
        panel.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color=color, linewidth=3)
        panel.plot(values, [place] * len(values), "o", color=color, markersize=7.5, markeredgecolor="white")
    panel.set(yticks=range(len(results)), yticklabels=results, ylim=(len(results) - 0.5, -0.5), xlabel=xlabel)
    panel.grid(True, axis="x")
    panel.tick_params(axis="y", length=0)
    means = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in results.items())
    return describe(figure, f"Runs with several seeds, {xlabel}; their means: {means}.")


@styled
def runs(series, xlabel="images seen", ylabel="loss"):
    """Curves of runs, {name: [(x, y) for each seed]}, a line for each seed.

    Up to four names share one plot; of more, each has a plot of its own, with the first one in grey behind it.
    """
    if not series:
        return _nothing_yet(*_one_panel())
    if len(series) <= 4:
        figure, panel = _one_panel()
        for place, (name, found) in enumerate(series.items()):
            _run(panel, found, **look_of(name, place, 99), label=name)
        panel.set(xlabel=xlabel, ylabel=ylabel)
        panel.grid(True)
        figure.legend(loc="outside right upper")
    else:
        (first, baseline), *others = series.items()
        figure, axes = panels(
            -(-len(others) // 4), 4, (PAGE, 0.4 + 2.2 * -(-len(others) // 4)), sharex=True, sharey=True
        )
        for panel in axes.flat[len(others) :]:
            panel.axis("off")
        for panel, (name, found) in zip(axes.flat, others, strict=False):
            _run(panel, baseline, color=GREY, label=first)
            _run(panel, found, color=CYCLE[0])
            panel.set_title(textwrap.fill(name, 24), fontsize=10)
            panel.grid(True)
        figure.supxlabel(f"{xlabel}; grey: {first}", fontsize=10)
        figure.supylabel(ylabel, fontsize=10)
    return describe(figure, f"Curves of {ylabel} over {xlabel}, a line for each seed: {', '.join(series)}.")


def _one_panel():
    figure, axes = panels(1, 1, (PAGE, 3.9))
    return figure, axes[0, 0]


def _run(panel, found, label=None, **look):
    for k, (x, y) in enumerate(found):
        panel.plot(x, y, **{"linewidth": 1.6, **look}, label=None if k else label)


def _nothing_yet(figure, panel):
    text = "not trained yet: python -m notebooks.ablations"
    panel.text(0.5, 0.5, text, ha="center", va="center", color=NOTE)
    panel.axis("off")
    return describe(figure, f"An empty picture: {text}.")
