"""The chapters: their sources as notebooks without outputs, their titles, headings and anchors."""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


class Refused(Exception):
    """A chapter that must not be committed as it is. The message is one line."""


def sources(only=()):
    """Paths of the sources, in order; `only`: numbers such as "03", or nothing for all."""
    found = sorted((FOLDER / "source").glob("[0-9][0-9]_*.py"))
    unknown = set(only) - {path.name[:2] for path in found}
    if unknown:
        raise Refused(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(p.name[:2] for p in found)}")
    return [path for path in found if not only or path.name[:2] in only]


def target(source):
    """notebooks/03_name.ipynb of notebooks/source/03_name.py."""
    return FOLDER / f"{source.stem}.ipynb"


def read_source(source):
    """The chapter as a notebook without outputs, with cell ids made of the cells' text."""
    notebook, seen = nbformat.v4.new_notebook(metadata=METADATA), {}
    for cell in jupytext.read(source, fmt="py:percent").cells:
        text = cell.source
        copy = seen[text] = seen.get(text, 0) + 1
        make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        name = hashlib.sha256(f"{copy}{cell.cell_type}{text}".encode()).hexdigest()[:8]
        notebook.cells.append(make(text, id=name, metadata=folding(cell)))
    return notebook


def folding(cell):
    """The metadata that a cell keeps: whether its code is folded away (`# %% jupyter={"source_hidden": true}`)."""
    folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
    return {"jupyter": {"source_hidden": True}} if folded else {}


def title(source):
    """ "Self-attention" of a chapter whose first heading is "# 01 · Self-attention". Raises Refused for another one."""
    first = next(iter(headings(source)), "nothing")
    number, _, name = first.partition(" · ")
    if number != source.name[:2] or not name:
        raise Refused(f"{source.name}: expected '# {source.name[:2]} · Title' as the first heading, got {first!r}")
    return name


def headings(source):
    """Texts of all Markdown headings of a chapter."""
    return [line.lstrip("#").strip() for line in prose(source) if re.match(r"#{1,6} ", line)]


def anchors(source):
    """All fragments that a link to the chapter may end with: of its headings, and of any <a id="…">."""
    plain = [anchor(heading) for heading in headings(source) if is_plain(heading)]
    return plain + [name for line in prose(source) for name in re.findall(r'<a (?:id|name)="([^"]+)"', line)]


def prose(source):
    """The lines of all Markdown cells of a chapter."""
    return prose_of(source.read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def prose_of(text):
    """As `prose`, of a chapter's text: one page asks for the headings of a chapter a hundred times."""
    cells = [cell.source for cell in jupytext.reads(text, fmt="py:percent").cells if cell.cell_type == "markdown"]
    return [line for cell in cells for line in cell.splitlines()]


def is_plain(heading):
    """Whether Jupyter, nbconvert and GitHub all make the same fragment of a heading."""
    return heading.isascii() and not re.search(r'["<>`*_$\\[\]]', heading)


def anchor(heading):
    """The fragment that JupyterLab, nbconvert and GitHub give a heading: blanks become dashes, the rest stays.

    Raises Refused for anything but plain ASCII: browsers encode the rest, and JupyterLab then doesn't find it.
    """
    if not is_plain(heading):
        raise Refused(f"heading {heading!r}: plain ASCII without markup is wanted, such as 'Q04: Along which axis?'")
    return heading.replace(" ", "-")
