"""Pictures of chapter 08: what each block of a model costs."""

from matplotlib.patches import Patch

from .model import short
from .style import COLORS, GREY, PAGE, as_array, panels, styled


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
                panel.axvline(block - 0.5, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        for stage in sorted(set(stages)):
            blocks = [block for block in range(count) if stages[block] == stage]
            middle = sum(blocks) / len(blocks)
            panel.text(middle, values.max() * 1.06, f"stage {stage}", ha="center", fontsize=9)
        panel.set(title=title, xlabel="block", xticks=range(count), ylim=(0, values.max() * 1.17))
        panel.yaxis.set_major_formatter(lambda value, _: short(value))
    handles = [Patch(color=COLORS[kind], label=kind) for kind in ("W-MSA", "SW-MSA")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
