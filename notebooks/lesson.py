"""What every chapter imports: both twins' source side by side, checks, exercises with hints, sliders.

from lesson import agree, check, contents, side_by_side, slider, solution
"""

import importlib
import importlib.util
import inspect
import re
import textwrap
from difflib import SequenceMatcher
from html import escape
from itertools import zip_longest
from pathlib import Path

import numpy as np
from IPython.display import HTML, Markdown, display

FOLDER = Path(__file__).parent
COLUMN = 54  # characters in one of two columns of a notebook's page
NARROW = 48  # for tables in which nothing spans both columns: they come out a little narrower
LEFT = 'align="left" style="text-align:left; vertical-align:top"'  # JupyterLab sets tables to the right
MARK = f'width="4%" {LEFT}'  # the column of ≠: JupyterLab makes all columns equally wide unless one is told


def agree(what, a, b, bound=1e-10):
    """Assert that two arrays or tensors are the same but for rounding, and print by how much they differ.

    The difference is relative: max |a - b| / max |b|. Raises AssertionError for another shape, for NaN, or if the
    difference exceeds `bound`.
    """
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


def side_by_side(name):
    """Show the source of `name` in swin_numpy (left) and swin_torch (right), such as "windows.window_partition".

    Lines that both share are shown once, across both columns; rows marked ≠ are what differs. The text comes from
    the packages as they are now. Raises ValueError if swin_numpy has no such name.
    """
    module, *path = name.split(".")
    left = source_of(f"swin_numpy.{module}", path)
    if left is None:
        raise ValueError(f"unknown name {name!r}; expected module.function or module.Class.method of swin_numpy")
    right = source_of(f"swin_torch.{module}", path)
    title = f"swin_numpy/{module}.py and swin_torch/{module}.py"
    if right is None:
        note = f"swin_numpy/{module}.py · PyTorch brings it along: {built_in(path)}"
        display(Table(note, [("", left, left)]))
    elif left == right:
        display(Table(f"{title}: the same to the letter", [("", left, left)]))
    else:
        display(Table(title, list(aligned(left, right))))


def there_and_back(name):
    """Show the source of a step of swin_numpy (left) and of its backward (right), such as "block.Mlp.forward".

    The backward of `forward` is called `backward`, that of any other name `name_backward`.
    Raises ValueError if swin_numpy lacks one of the two.
    """
    module, *path = name.split(".")
    back = [*path[:-1], "backward" if path[-1] == "forward" else f"{path[-1]}_backward"]
    left, right = source_of(f"swin_numpy.{module}", path), source_of(f"swin_numpy.{module}", back)
    if left is None or right is None:
        raise ValueError(f"expected {name} and {'.'.join([module, *back])} in swin_numpy, found one of them at most")
    # Line k of the one is not line k of the other: each is broken by itself, without gaps.
    left, right = ([part for line in lines for part in broken(line, NARROW)] for lines in (left, right))
    display(Table(f"swin_numpy/{module}.py", [("⇄", left, right)], ("forward", "backward"), NARROW))


def source_of(module, path):
    """The lines of source of the object at `path` in `module`, or None if there is none."""
    try:
        found = importlib.import_module(module)
        for part in path:
            found = inspect.getattr_static(found, part) if inspect.isclass(found) else vars(found)[part]
        if not getattr(found, "__module__", module).startswith(module.split(".")[0]):
            return None  # imported from elsewhere
        return textwrap.dedent(inspect.getsource(found)).splitlines()
    except (ImportError, AttributeError, KeyError, TypeError):
        return None


def built_in(path):
    """What PyTorch calls the same thing."""
    import torch

    for place, where in ((torch.nn.functional, "torch.nn.functional"), (torch.nn, "torch.nn")):
        if hasattr(place, path[0]):
            return ".".join([where, *path])
    return "autograd"


def aligned(left, right):
    """Yield (mark, lines on the left, lines on the right): mark "" for lines that are the same, "≠" else."""
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        yield ("" if kind == "equal" else "≠"), left[a:b], right[c:d]


class Table:
    """Rows of (mark, left lines, right lines) as HTML, and as plain text where there is no HTML.

    heads: what stands above the two columns; column: characters in one of them. No style is needed to read it:
    code hosts strip style attributes.
    """

    def __init__(self, title, rows, heads=("NumPy", "PyTorch"), column=COLUMN):
        self.title, self.rows, self.heads, self.column = title, rows, heads, column

    def _repr_html_(self):
        body = "".join(self._row(*row) for row in self.rows)
        if any(mark for mark, _, _ in self.rows):
            heads = "".join(f"<th {LEFT}>{head}</th>" for head in self.heads)
            body = f"<tr><th {MARK}></th>{heads}</tr>" + body
        return f'<p><b>{escape(self.title)}</b></p><table width="100%">{body}</table>'

    def _row(self, mark, left, right):
        if not mark:
            return f'<tr><td {MARK}></td><td {LEFT} colspan="2">{pre(left)}</td></tr>'
        left, right = level(left, right, self.column)
        return f"<tr><td {MARK}><b>{mark}</b></td><td {LEFT}>{pre(left)}</td><td {LEFT}>{pre(right)}</td></tr>"

    def __repr__(self):
        lines, (a, b) = [self.title, ""], (head.ljust(8) for head in self.heads)
        for mark, left, right in self.rows:
            if mark:
                lines += [f"{a}| {line}" for line in left] + [f"{b}| {line}" for line in right]
            else:
                lines += [f"        | {line}" for line in left]
        return "\n".join(lines)


def level(left, right, column=COLUMN):
    """Both sides broken to `column` characters, line k of one at the height of line k of the other."""
    pairs = [(broken(a, column), broken(b, column)) for a, b in zip_longest(left, right, fillvalue="")]
    heights = [max(len(a), len(b)) for a, b in pairs]
    return tuple(
        [
            line
            for pair, height in zip(pairs, heights, strict=True)
            for line in pair[side] + [""] * (height - len(pair[side]))
        ]
        for side in (0, 1)
    )


class CodeWrapper(textwrap.TextWrapper):
    """Breaks a line of code at blanks and behind opening brackets, never inside a word."""

    wordsep_simple_re = re.compile(r"( +|(?<=\()(?=[^)]))")


def broken(line, column=COLUMN):
    """One line of code as several of at most `column` characters, the rest indented further."""
    if len(line) <= column:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    wrapper = CodeWrapper(column, indent, indent + " " * 8, break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(line.lstrip())


def pre(lines):
    text = escape("\n".join(lines), quote=False)
    return f'<pre style="text-align:left; font-family:monospace">{text}</pre>'


class NotWritten(Exception):
    """The learner's function still gives nothing back."""


def check(number, answer):
    """Try `answer` on exercise `number` ("01.2") and say whether it is right, or what is wrong. Never raises."""
    hint = hint_for(number, answer)
    print(f"✓ {number}: right" if hint is None else hint)


def hint_for(number, answer):
    """None if `answer` is right, else one line to print."""
    try:
        hint = exercise(number, "check")(expect_result(answer))
    except NotWritten:
        return f"○ {number}: not written yet. Replace the … above, then run the cell again."
    except Exception as error:
        return f"✗ {number}: your code stopped with {type(error).__name__}: {' '.join(str(error).split())}"
    return None if hint is None else f"✗ {number}: {hint}"


def expect_result(answer):
    """`answer`, made to raise NotWritten where it, or what it returns, is None or Ellipsis."""
    if answer is None or answer is ...:
        raise NotWritten
    if not callable(answer):
        return answer

    def asked(*inputs, **options):
        result = answer(*inputs, **options)
        if result is None or result is ...:
            raise NotWritten
        return result

    return asked


def solution(number):
    """Show the solution of exercise `number`, folded away until it is clicked."""
    code = escape(inspect.getsource(exercise(number, "solution")), quote=False)
    display(HTML(f"<details><summary>Solution of {number}</summary><pre>{code}</pre></details>"))


def exercise(number, kind):
    """The function `kind` ("check" or "solution") of an exercise such as "01.2"."""
    chapter, _, k = number.partition(".")
    spec = importlib.util.spec_from_file_location(f"exercises_ch{chapter}", FOLDER / "exercises" / f"ch{chapter}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, f"{kind}_{k}")


def contents():
    """Show the chapters there are, as links."""
    titles = {path.stem: path.read_text(encoding="utf-8").split("# # ", 1)[1] for path in sources()}
    display(Markdown("\n".join(f"- [{text.splitlines()[0]}]({stem}.ipynb)" for stem, text in titles.items())))


def sources():
    """Paths of the chapters' sources, in order."""
    return sorted((FOLDER / "source").glob("[0-9][0-9]_*.py"))


def slider(draw, **ranges):
    """Show `draw(name=value, …)`, a figure, with a slider for each name: name=(low, high[, step]) or (low, high, step,
    start). On a page without a running kernel the picture of the first values stays.
    """
    from ipywidgets import FloatSlider, IntSlider, VBox

    sliders = {}
    for name, (low, high, *rest) in ranges.items():
        step = rest[0] if rest else 1
        kind = IntSlider if all(isinstance(value, int) for value in (low, high, step)) else FloatSlider
        start = rest[1] if len(rest) > 1 else low
        sliders[name] = kind(value=start, min=low, max=high, step=step, description=name, continuous_update=False)

    def figure():
        return draw(**{name: bar.value for name, bar in sliders.items()})

    display(VBox(list(sliders.values())))
    picture = display(figure(), display_id=True)
    for bar in sliders.values():
        bar.observe(lambda _: picture.update(figure()), "value")
