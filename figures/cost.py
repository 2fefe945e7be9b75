"""Pictures of what a model costs: parameters and multiply-adds by part and by block, growth with the image."""

from matplotlib.patches import Patch

from .arrays import as_array
from .measure import color_of, curves
from .style import COLORS, DASHES, GREY, PAGE, PARTS, describe, panels, styled


@styled
def parts(names, parameters, operations):
    """Parameters and multiply-adds by part of the model: names (n,), parameters (n,), operations (n,)."""
    names = list(names)
    figure, axes = panels(1, 2, (PAGE, 1.0 + 0.34 * len(names)), sharey=True)
    titles = ("parameters", "multiply-adds in matrix products")
    for panel, values, title in zip(axes[0], (parameters, operations), titles, strict=True):
        values = as_array(title, values, (len(names),))
        total = values.sum() or 1
        panel.barh(range(len(names)), values, color=[_part_color(*part) for part in enumerate(names)], height=0.68)
        for place, value in enumerate(values):
            panel.text(value, place, f"  {short(value)} · {_percent(value / total)}", va="center", fontsize=9.5)
        panel.set(title=f"{title}: {short(values.sum())}", yticks=range(len(names)), yticklabels=names)
        panel.set_xlim(0, max(values.max(), 1) * 1.45)
        panel.xaxis.set_visible(False)
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(axis="y", length=0)
    axes[0, 0].invert_yaxis()
    shares = ", ".join(
        f"{name} {_percent(n / (sum(parameters) or 1))}" for name, n in zip(names, parameters, strict=True)
    )
    return describe(figure, f"Bars of parameters and multiply-adds by part. Of the parameters: {shares}.")


def _part_color(index, name):
    return next((color for part, color in PARTS.items() if part.lower() in name.lower()), color_of(name, index))


def _percent(share):
    return "< 1%" if 0 < share < 0.005 else f"{share:.0%}"


@styled
def cost_by_block(stages, kinds, parameters, operations):
    """Parameters and multiply-adds, a bar for each block; all four are lists (blocks,).

    stages: the stage of each block, counted from 1; kinds: "W-MSA" or "SW-MSA", which gives the colour.
    """
    count = len(stages)
    figure, axes = panels(1, 2, (PAGE, 3.0))
    titles = "parameters of each block", "multiply-adds of each block"
    for panel, title, values in zip(axes[0], titles, (parameters, operations), strict=True):
        values = as_array(title, values, (count,))
        panel.bar(range(count), values, color=[COLORS[kind] for kind in kinds], width=0.8)
        for block in range(1, count):
            if stages[block] != stages[block - 1]:
                panel.axvline(block - 0.5, color=GREY, **DASHES)
        for stage in sorted(set(stages)):
            blocks = [block for block in range(count) if stages[block] == stage]
            panel.text(sum(blocks) / len(blocks), values.max() * 1.06, f"stage {stage}", ha="center", fontsize=9)
        panel.set(title=title, xlabel="block", xticks=range(count), ylim=(0, values.max() * 1.17))
        panel.yaxis.set_major_formatter(lambda value, _: short(value))
    handles = [Patch(color=COLORS[kind], label=kind) for kind in ("W-MSA", "SW-MSA") if kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return describe(
        figure, f"Bars of parameters and of multiply-adds for each of {count} blocks in {len(set(stages))} stages."
    )


def short(value):
    """A large number in a few characters: 28.3 M."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:g}"


@styled
def cost(sides, formulas, measured=None, machine="", marks=None):
    """Cost of attention against the side of the image: the formula, and beside it what was measured. Log-log.

    sides (s,) in pixels; formulas: {name: multiply-adds (s,)}; measured: {name: seconds (s,)}, NaN where it was not
    run; machine: where, as a line of text; marks: {label: side} in the measured plot. A name has one colour.
    """
    plots = {"what the formula says": formulas} | ({"what was measured": measured} if measured else {})
    units = ["multiply-adds", "seconds"][: len(plots)]
    marks = {"what was measured": marks or {}}
    figure = curves(
        plots, "side of the image in pixels", units, x=sides, logx=True, logy=True, note=machine, marks=marks
    )
    return describe(figure, f"Cost of {' and '.join(formulas)} against the side of the image, on logarithmic axes.")
