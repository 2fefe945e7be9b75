"""What every chapter imports: both twins' source side by side, checks, exercises with hints, sliders, step buttons.

from lesson import agree, check, contents, side_by_side, slider, solution
"""

import re
import sys
from pathlib import Path

import numpy as np
from IPython.display import Markdown, display

from .controls import slider, steps
from .evidence import compare_runs, compare_times, fresh_and_trained, moved, unmoved
from .exercises import check, solution
from .published import published
from .twins import side_by_side, there_and_back

FOLDER = Path(__file__).parents[1]
if str(FOLDER.parent) not in sys.path:
    sys.path.append(str(FOLDER.parent))  # the chapters draw with figures/, which isn't installed with the packages


def agree(what, a, b, bound=1e-10, models=()):
    """Assert that two arrays or tensors are the same but for rounding, and print by how much they differ.

    The difference is relative: max |a - b| / max |b|. Raises AssertionError for another shape, for NaN, or if the
    difference exceeds `bound`; and if a parameter of one of the `models` that made a and b is still all zeros or all
    ones: models that agree with fresh biases and norms may still treat them differently. `moved` moves them.
    """
    for model in models:
        names = unmoved(model)
        assert not names, f"{what}: {names[0]} and {len(names) - 1} more are still zeros or ones: call moved(...) first"
    a, b = as_float64(a), as_float64(b)
    assert a.shape == b.shape, f"{what}: expected one shape, got {a.shape} and {b.shape}"
    with np.errstate(invalid="ignore"):  # inf - inf: the comparison below decides
        gap = np.where(a == b, 0.0, np.abs(a - b))
    largest = gap.max(initial=0) / (np.abs(b[np.isfinite(b)]).max(initial=0) or 1.0)
    assert largest <= bound, f"{what}: largest relative difference {largest:.2g}, expected at most {bound:g}"
    print(f"✓ {what}: same shape {a.shape}, largest relative difference {largest:.2g}")


def as_float64(values):
    """An array, a tensor (on any device, with or without gradient) or a list as a float64 array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def contents():
    """Show the chapters there are, as links, with the minutes that the core of each takes to read."""
    lines = []
    for path in sources():
        title = path.read_text(encoding="utf-8").split("# # ", 1)[1].splitlines()[0]
        chapter = FOLDER / f"{path.stem}.ipynb"
        core = chapter.exists() and re.search(r"\*Core (\d+) min", chapter.read_text(encoding="utf-8"))
        lines.append(f"- [{title}]({chapter.name})" + (f" · core {core[1]} min" if core else ""))
    display(Markdown("\n".join(lines)))


def sources():
    """Paths of the chapters' sources, in order."""
    return sorted((FOLDER / "source").glob("[0-9][0-9]_*.py"))
