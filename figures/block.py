"""Pictures of a Swin block: its steps, its two residual connections, the branches that drop path keeps."""

import numpy as np

from .arrays import as_array
from .cells import arrow, box, lines, path, write
from .style import COLORS, GREY, INK, PAGE, PALE, PARTS, canvas, describe, panels, styled, tint


@styled
def block_diagram(version=1, kind="SW-MSA"):
    """One block with the shapes on its arrows, and below it what happens inside the attention box.

    version: 1 (norm before) or 2 (norm after, on the branch); kind: "W-MSA" or "SW-MSA".
    """
    if version not in (1, 2) or kind not in ("W-MSA", "SW-MSA"):
        raise ValueError(f"expected version 1 or 2 and kind 'W-MSA' or 'SW-MSA', got {version!r} and {kind!r}")
    figure, axes = canvas(PAGE, 3.8)
    middle = 1.15
    write(axes, f"a block, version {version}", 0.15, 0.24, ha="left", size=11)
    write(axes, "(N, H·W, C)", 0.1, middle + 0.02, ha="left", size=9.5)
    end = one_block(axes, 1.02, middle, kind, version, gap=0.36, scale=1.45)
    arrow(axes, (end, middle), (end + 0.3, middle))
    write(axes, "(N, H·W, C)", end + 0.34, middle + 0.02, ha="left", size=9.5)
    y, steps = 2.6, _attention_steps(kind, version)
    write(axes, f"inside {kind}", 0.15, y - 0.6, ha="left", size=11)
    unit = (PAGE - 0.3 - 0.22 * (len(steps) - 1)) / (len(steps) + 0.5)
    x = 0.15
    for index, (text, shape, color) in enumerate(steps):
        width = 1.5 * unit if "attention" in text else unit
        box(axes, text, x, y - 0.38, width, 0.76, color, 9.5)
        write(axes, shape, x + width / 2, y + 0.62, size=9.5, linespacing=1.3)
        if index:
            arrow(axes, (x - 0.22, y), (x, y))
        x += width + 0.22
    note = "k windows of m = M² tokens; the shape under a box is what comes out of it"
    write(axes, note, 0.15, y + 1.0, ha="left", size=9.5)
    order = "norm, attention, add; norm, MLP, add" if version == 1 else "attention, norm, add; MLP, norm, add"
    inside = ", ".join(text.replace("\n", " ") for text, _, _ in steps)
    return describe(figure, f"A block of version {version}: {order}. Inside {kind}: {inside}.")


def one_block(axes, x, middle, kind, version, gap=0.17, scale=1.0):
    """Draw a block from left to right, with its two residual connections; returns the x where it ends."""
    lead, split = gap * 1.5, x + gap * 0.6
    arrow(axes, (x, middle), (x + lead, middle))
    x += lead
    for step, (text, width, color) in enumerate(_steps(kind, version)):
        if text == "+":
            above, at = middle - 0.62, x + width / 2
            path(axes, [(split, middle), (split, above), (at, above), (at, middle - 0.17)])
            axes.plot([at], [middle], "o", ms=17, mfc="white", mec=INK, mew=1.2)
            write(axes, "+", at, middle - 0.01, size=13)
            x += width
            split = x + gap * 0.6
            if step == 5:
                return x
        else:
            box(axes, text, x, middle - 0.3, width * scale, 0.6, color, 10)
            x += width * scale
        arrow(axes, (x, middle), (x + (lead if text == "+" else gap), middle))
        x += lead if text == "+" else gap
    return x


def _steps(kind, version):
    """(text, width in inches, colour) of what a block is made of, in order."""
    norm, attention, add = ("norm", 0.52, PARTS["norm"]), (kind, 0.8, COLORS[kind]), ("+", 0.26, INK)
    mlp = ("MLP", 0.54, PARTS["MLP"])
    return (norm, attention, add, norm, mlp, add) if version == 1 else (attention, norm, add, mlp, norm, add)


def _attention_steps(kind, version):
    """(text, shape that comes out, colour) of the steps inside W-MSA or SW-MSA."""
    shifted, color = kind == "SW-MSA", COLORS[kind]
    attention = "attention in\neach window\n+ bias" + (" + mask" if shifted else "")
    roll = [("cyclic\nshift", "(N, H, W, C)", PARTS["norm"])] if shifted else []
    back = [("shift\nback", "(N, H, W, C)", PARTS["norm"])] if shifted else []
    if version == 2:
        attention = f"cosine {attention}"
    return [
        ("as a map", "(N, H, W, C)", PARTS["norm"]),
        *roll,
        ("partition", "(N, k, m, C)", color),
        (attention, "(N, k, m, C)", color),
        ("reverse", "(N, H, W, C)", color),
        *back,
        ("as tokens", "(N, H·W, C)", PARTS["norm"]),
    ]


@styled
def kept_branches(kept, title=""):
    """Which branches of which sample drop path kept: kept (samples, blocks, 2) of bool; left attention, right MLP."""
    kept = as_array("kept", kept, (None, None, 2))
    samples, blocks, _ = kept.shape
    figure, axes = panels(1, 1, (PAGE * 0.8, 1.45 + 0.2 * samples))
    colors = np.array([tint(PARTS["attention"], 1), tint(PARTS["MLP"], 1)])
    fill = np.where(kept[..., None], colors, tint(PALE, 1)).reshape(samples, 2 * blocks, 3)
    panel = axes[0, 0]
    panel.imshow(fill, aspect="auto", interpolation="nearest", extent=(0, 2 * blocks, samples, 0))
    lines(panel, range(samples + 1), range(0, 2 * blocks + 1, 2), (samples, 2 * blocks), "white", 2)
    panel.set(xticks=np.arange(1, 2 * blocks, 2), xticklabels=range(blocks), yticks=np.arange(samples) + 0.5)
    panel.set(yticklabels=range(samples), xlabel="block", ylabel="sample", title=title)
    panel.tick_params(length=0)
    for name, color in (("attention kept", PARTS["attention"]), ("MLP kept", PARTS["MLP"]), ("dropped", PALE)):
        panel.plot([], [], "s", color=color, mec=GREY, label=name)
    figure.legend(loc="outside lower center", ncols=3)
    share = kept.mean()
    return describe(figure, f"{samples} samples in {blocks} blocks: which branches drop path kept, {share:.0%} of all.")
