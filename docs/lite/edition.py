"""The browser edition of a chapter: its cells run without PyTorch, and where one can't, a note says what it showed.

What needs PyTorch is found in the code, as in `make lab TORCH=none`: see notebooks/lab/without_torch.py.
"""

import ast
import re

from notebooks.lab.without_torch import IMPORTS, WithoutTorch

HEAD = """*This chapter runs in your browser: nothing is installed, and what you type stays in it. Run the cell below
first (click it, then ▶ at the top, or Shift+Enter): it says what it is fetching, and when you can go on. The first time
takes longest. The results further down are stored ones until you run their cells.*"""
START = """# Run me first: fetches the code of the chapters, and what it needs.
import piplite
print("Python is running. Fetching NumPy, Matplotlib and the code of the chapters …")
await piplite.install("swin-twice-in-the-page")
print("Preparing pictures …")
import start_chapter"""
NOTE = "**Needs PyTorch, which doesn't run in a browser.** The code, to be read:"
SHOWED = "What the cell shows where PyTorch is installed:"
LINK = re.compile(r"\[([^\[\]]*)\]\((<[^>\n]+>|[^)\s]+)\)")


def edition(notebook, exists):
    """The executed notebook (as JSON) with a first cell that fetches what it needs, and notes for what needs PyTorch.

    exists(target): whether the edition holds what a link leads to; another link becomes plain text. Stored outputs
    stay, so that the chapter can be read before it runs.
    """
    cells, without = [markdown(HEAD), code(START)], WithoutTorch()
    for cell in notebook["cells"]:
        cells += runnable(cell, without) if cell["cell_type"] == "code" else [markdown("".join(cell["source"]))]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked(cell["source"], exists)
    return notebook | {"cells": cells}


def relinked(text, exists):
    """The Markdown without its links to files that the edition doesn't hold."""

    def new(match):
        target = match[2].strip("<>").partition("#")[0]
        return match[0] if not target or ":" in target or exists(target) else match[1]

    return LINK.sub(new, text)


def markdown(text, attachments=None):
    cell = {"cell_type": "markdown", "metadata": {}, "source": text}
    return cell | ({"attachments": attachments} if attachments else {})


def code(text, metadata=None, outputs=()):
    trusted = {"trusted": True}  # so that the stored outputs are shown whole
    about = {"metadata": (metadata or {}) | trusted, "execution_count": None, "outputs": list(outputs)}
    return {"cell_type": "code", "source": text} | about


def runnable(cell, without):
    """The code cell as cells of the edition: what runs without PyTorch, and a note for the rest."""
    source, metadata, outputs = "".join(cell["source"]), cell["metadata"], [joined(o) for o in cell["outputs"]]
    kept, dropped = without.split(ast.parse(source).body)
    text = without_lines(source, dropped, kept)
    if all(isinstance(statement, IMPORTS) for statement in dropped):
        return [code(text, metadata, outputs)] if kept or not dropped else []
    return [code(text, metadata)] * bool(kept) + [note(source, outputs)]


def joined(output):
    """An output whose texts are strings: the page doesn't take the lists of lines that a file may hold."""
    texts = {
        kind: "".join(value) for kind, value in output.get("data", {}).items() if kind.startswith(("text", "image"))
    }
    return output | ({"data": texts} if texts else {"text": "".join(output["text"])})


def without_lines(source, dropped, kept):
    """The source without the lines of the statements `dropped`, and without the comments just above them."""
    lines = source.splitlines()
    gone = {line for statement in dropped for line in lines_of(statement)}
    if gone & {line for statement in kept for line in lines_of(statement)}:  # one line holds two statements
        return ast.unparse(ast.Module(kept, []))
    for line in sorted(gone):
        while line > 1 and lines[line - 2].startswith("#"):
            gone.add(line := line - 1)
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(t for k, t in enumerate(lines, 1) if k not in gone)).strip("\n")


def lines_of(statement):
    """Numbers of its lines, decorators included."""
    decorators = [decorator.lineno for decorator in getattr(statement, "decorator_list", [])]
    return range(min([statement.lineno, *decorators]), statement.end_lineno + 1)


def note(source, outputs):
    """A Markdown cell with the code and with the text and pictures that it showed."""
    parts, pictures = [NOTE, fenced(source, "python")], {}
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            name = f"picture-{len(pictures)}.png"
            pictures[name] = {"image/png": data["image/png"].replace("\n", "")}
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            parts.append(f"![{alt}](attachment:{name})")
        else:
            text = output.get("text") or data.get("text/plain", "")
            parts.append(data.get("text/markdown") or data.get("text/html") or fenced(text.rstrip("\n")))
    parts[2:2] = [SHOWED] * (len(parts) > 2)
    return markdown("\n\n".join(parts), pictures)


def fenced(text, kind="text"):
    return f"```{kind}\n{text}\n```"
