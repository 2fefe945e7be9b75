"""Source beside source: both twins, or a step and its backward. Read as text: PyTorch need not be installed."""

import ast
import importlib
import re
import textwrap
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape
from inspect import cleandoc
from itertools import groupby
from pathlib import Path

from IPython.display import display

from figures.style import COLORS

ROOT = Path(__file__).parents[2]
COLUMN = 46  # characters: two columns fit beside JupyterLab's file browser, one fits on a phone
STRING = r"""[rbf]*"(?:\\.|[^"\\])*"|[rbf]*'(?:\\.|[^'\\])*'"""
TOKEN = re.compile(rf"#.*|{STRING}|\d[\w.]*|\w+|\s+|[-+*/@=<>!:]=|\*\*|->|[^\w\s]")


def side_by_side(name):
    """Show the source of `name` in swin_numpy and swin_torch, such as "windows.window_partition".

    Lines that both share stand once; in the others the words that differ are marked. Docstrings are folded away.
    The text is that of the files as they are now. Raises ValueError if swin_numpy has no such name.
    """
    module, *path = name.split(".")
    ours, theirs = source_of("swin_numpy", module, path), source_of("swin_torch", module, path)
    if ours is None:
        raise ValueError(f"unknown name {name!r}; expected module.function or module.Class.method of swin_numpy")
    if theirs is None:
        display(Listing([ours], [("", ours.code, [])], f"; in PyTorch: {built_in(path)}"))
    elif ours.code == theirs.code:
        display(Listing([ours, theirs], [("", ours.code, [])], ": the same to the letter"))
    else:
        display(Listing([ours, theirs], list(aligned(ours.code, theirs.code))))


def there_and_back(name):
    """Show the source of a step of swin_numpy and of its backward beside it, such as "block.Mlp.forward".

    The backward of `forward` is called `backward`, that of any other name `name_backward`.
    Raises ValueError if swin_numpy lacks one of the two.
    """
    module, *path = name.split(".")
    back = [*path[:-1], "backward" if path[-1] == "forward" else f"{path[-1]}_backward"]
    step, its_backward = source_of("swin_numpy", module, path), source_of("swin_numpy", module, back)
    if step is None or its_backward is None:
        raise ValueError(f"expected {name} and {'.'.join([module, *back])} in swin_numpy, found one of them at most")
    segments = [("differ", step.code, its_backward.code)]
    display(Listing([step, its_backward], segments, heads=("forward", "backward")))


# Finding the source


@dataclass
class Source:
    """A definition as text: where it stands, its docstrings, and its lines without them."""

    file: str
    doc: list
    code: list


def source_of(package, module, path):
    """The Source of the definition at `path` in package/module.py, or None if that package doesn't define it.

    Follows imports within the package and, for methods, base classes.
    """
    found = find(package, module, path)
    if found is None:
        return None
    module, node = found
    lines = file_of(package, module).read_text(encoding="utf-8").splitlines()
    docs, drop = [], set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(part)):
            docs.append(doc if part is node else f"{part.name}: {doc}")
            first, last = part.body[0].lineno, part.body[0].end_lineno
            drop.update(range(first, last + 1 + (not lines[last].strip())))  # and an empty line below
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    kept = [lines[k - 1] for k in range(start, node.end_lineno + 1) if k not in drop]
    return Source(f"{package}/{module.replace('.', '/')}.py", docs, textwrap.dedent("\n".join(kept)).splitlines())


def file_of(package, module):
    """The file of a module, such as ("swin_numpy", "weights.load")."""
    return ROOT / package / f"{module.replace('.', '/')}.py"


def find(package, module, path):
    """(module, node) of the definition at `path`, wherever in `package` it stands, or None."""
    if not file_of(package, module).is_file():
        return None
    name, *rest = path
    for node in ast.parse(file_of(package, module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and name in [alias.name for alias in node.names]:
            return find(package, ".".join([*module.split(".")[:-1], node.module]), path)
        if getattr(node, "name", None) == name:
            return find_member(package, module, node, rest)
    return None


def find_member(package, module, node, path):
    """(module, node) of the definition at `path` in the class `node` or a class that it is made from, or None."""
    if not path:
        return module, node
    for part in node.body:
        if getattr(part, "name", None) == path[0]:
            return find_member(package, module, part, path[1:])
    bases = [base.id for base in getattr(node, "bases", []) if isinstance(base, ast.Name)]
    return next(filter(None, (find(package, module, [base, *path]) for base in bases)), None)


def built_in(path):
    """What PyTorch calls the same thing."""
    for place in ("torch.nn.functional", "torch.nn", "torch.optim"):
        try:
            if hasattr(importlib.import_module(place), path[0]):
                return f"{place}.{path[0]}"
        except ImportError:
            return "built in"
    return "autograd"


# Comparing


def aligned(ours, theirs):
    """Yield (kind, our lines, their lines): kind "" for lines that are the same, "differ" for the others."""
    for kind, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        yield ("" if kind == "equal" else "differ"), ours[a:b], theirs[c:d]


def marked(ours, theirs):
    """Both as lists of lines of (token, whether it differs from the other side)."""
    left, right = ([TOKEN.findall(line) for line in lines] for lines in (ours, theirs))
    words = [[token for line in side for token in line if not token.isspace()] for side in (left, right)]
    same = [set(), set()]
    for i, j, size in SequenceMatcher(None, *words, autojunk=False).get_matching_blocks():
        same[0].update(range(i, i + size))
        same[1].update(range(j, j + size))
    return tuple(mark(side, where) for side, where in zip((left, right), same, strict=True))


def mark(lines, same):
    """Tokens with True where they differ, None for blanks; `same`: numbers of the tokens, blanks not counted."""
    count = iter(range(sum(map(len, lines))))
    return [[(token, None if token.isspace() else next(count) not in same) for token in line] for line in lines]


def unmarked(lines):
    """The tokens of each line, none of them marked as different."""
    return [[(token, False) for token in TOKEN.findall(line)] for line in lines]


# Breaking long lines


def broken(tokens, column=COLUMN):
    """A line of (token, mark) as several of at most `column` characters, never broken inside a word.

    Breaks after blanks and opening brackets, outside of as many brackets as can be; a comment goes above its line.
    """
    if width(tokens) <= column:
        return [tokens]
    indent = tokens.pop(0)[0] if tokens[0][0].isspace() else ""
    if tokens[-1][0].startswith("#"):
        *code, (comment, differs) = tokens
        room = column - len(indent) - 2
        above = [[(indent, False), (f"# {line}", differs)] for line in textwrap.wrap(comment.lstrip("# "), room)]
        while code and code[-1][0].isspace():
            code.pop()
        return above + (broken([(indent, False), *code], column) if code else [])
    lines, here, margin = [], [], indent
    parts = in_parts(tokens, column - len(indent) - 8)
    while parts:
        room, taken = column - len(margin), 0
        fits = [k for k in range(1, len(parts) + 1) if width(flat(parts[:k])) <= room] or [1]
        if len(fits) < len(parts):
            late = [k for k in fits if width(flat(parts[:k])) >= room / 2] or fits[-1:]
            taken = min(late, key=lambda k: (parts[k - 1][1], -k))
        here, parts = parts[: taken or len(parts)], parts[taken or len(parts) :]
        lines.append([(margin, False), *flat(here)])
        margin = indent + " " * (8 if tokens[-1][0] == ":" else 4)
    return lines


def in_parts(tokens, longest):
    """[(tokens, cost)]: what may not be broken, and what a break behind it costs: the brackets that are open there.

    A last resort are breaks inside a string longer than `longest`, behind the = of an argument, before a dot.
    """
    parts, here, depth = [], [], 0
    for k, (token, differs) in enumerate(tokens):
        depth += (token in "([{") - (token in ")]}")
        *words, token = re.findall(r"\S+\s*", token) if token[-1] in "\"'" and len(token) > longest else [token]
        for word in words:
            parts.append(([*here, (word, differs)], depth + 20))
            here = []
        here.append((token, differs))
        following = "".join(next_token for next_token, _ in tokens[k + 1 : k + 3])
        if token.isspace() or token in "([{":
            parts.append((here, depth + 5 * (token == "[")))
        elif token == "=" and not following.startswith(" "):
            parts.append((here, depth + 10))
        elif re.match(r"\.[A-Za-z_]", following):
            parts.append((here, depth + 15))
        else:
            continue
        here = []
    return [*parts, (here, depth)] if here else parts


def flat(parts):
    """The tokens of all parts, one after the other."""
    return [token for tokens, _ in parts for token in tokens]


def width(tokens):
    """How many columns tokens take."""
    return len("".join(token for token, _ in tokens).rstrip())


# Showing


class Listing:
    """Segments of (kind, our lines, their lines) as HTML, and as plain text where there is no HTML.

    It reads without any style, since code hosts strip style attributes: then what stands side by side is stacked.
    """

    def __init__(self, sources, segments, note="", heads=("NumPy only", "PyTorch only")):
        self.files = list(dict.fromkeys(source.file for source in sources))
        self.docs = [source.doc for source in sources]
        self.segments, self.note, self.heads = segments, note, heads

    def _repr_html_(self):
        links = " and ".join(f'<a href="../{file}">{file}</a>' for file in self.files)
        body = "".join(self._segment(*segment) for segment in self.segments)
        return f"<div><p><b>{links}</b>{escape(self.note)}</p>{self._docs()}{body}</div>"

    def _docs(self):
        ours, theirs = self.docs[0], self.docs[-1]
        if ours == theirs:
            return folded("docstring", ours)
        return folded(f"docstring, {self.heads[0]}", ours) + folded(f"docstring, {self.heads[1]}", theirs)

    def _segment(self, kind, ours, theirs):
        if not kind:
            head = "both" if len(self.segments) > 1 else ""
            return pane(head, "#8888", unmarked(ours))
        colors = [COLORS["NumPy"], COLORS["PyTorch"]]
        compare = marked if self.heads[0] == "NumPy only" and ours and theirs else lambda *sides: map(unmarked, sides)
        panes = [pane(*parts) for parts in zip(self.heads, colors, compare(ours, theirs), strict=True) if parts[-1]]
        return f'<div style="display:flex; flex-wrap:wrap">{"".join(panes)}</div>'

    def __repr__(self):
        room = max(map(len, self.heads))
        lines = [f"{' and '.join(self.files)}{self.note}", ""]
        for kind, ours, theirs in self.segments:
            for head, side in zip(self.heads, (ours, theirs), strict=True) if kind else [("", ours)]:
                lines += [f"{head.ljust(room)} | {line}" for line in side]
        return "\n".join(lines)


def pane(head, color, lines):
    """Lines of (token, mark) under a heading, beside a rule in `color`."""
    text = "\n".join(html_of(part) for line in lines for part in broken(line))
    style = f"flex:1 1 370px; min-width:0; border-left:3px solid {color}; padding-left:8px; margin:2px 0"
    code = f'<pre style="margin:0; white-space:pre; overflow-x:auto; text-align:left">{text}</pre>'
    return f'<div style="{style}">{f"<small>{head}</small>" if head else ""}{code}</div>'


def html_of(tokens):
    """One line as HTML; words that differ, and the blanks between them, are one mark."""
    marks = [differs for _, differs in tokens]
    for k in range(1, len(marks) - 1):
        if marks[k] is None:
            marks[k] = marks[k - 1] and marks[k + 1]
    out = ""
    for differs, run in groupby(zip(tokens, marks, strict=True), key=lambda pair: bool(pair[1])):
        text = escape("".join(token for (token, _), _ in run), quote=False)
        out += f'<mark style="background:#E69F0055; color:inherit"><b>{text}</b></mark>' if differs else text
    return out.rstrip()


def folded(summary, docs):
    """Docstrings, folded away until the summary is clicked."""
    paragraphs = [part for doc in docs for part in cleandoc(doc).split("\n\n")]
    body = "".join(f"<p>{escape(' '.join(part.split()), quote=False)}</p>" for part in paragraphs)
    return f"<details><summary>{summary}</summary>{body}</details>" if body else ""
