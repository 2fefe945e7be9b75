"""How long the chapters take to read. `python -m notebooks.reading_time [NN …] [--sections]`

170 words of prose a minute, 4 s a line of visible code, 2.5 s a line of printed output, 30 s a picture. Folded code
costs nothing; exercises are left out. Sections whose heading starts with "Deeper", and all below them, aren't core.
"""

import argparse
import re
import sys
from dataclasses import dataclass

import nbformat

from .chapters import Refused, sources, target

PICTURES = ("image/png", "image/svg+xml", "image/gif")
LINE = re.compile(r"^\*Core (\d+) min · all of it (\d+) min · running it (.+)\*\n\n", re.MULTILINE)


@dataclass
class Section:
    """A heading, its level (1 to 4), whether it is core, and how many minutes it takes."""

    level: int
    heading: str
    core: bool
    minutes: float = 0.0


def sections(notebook):
    """The sections of an executed notebook, in order."""
    found, deeper = [Section(1, "", True)], None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for marks, heading in re.findall(r"^(#{1,4}) (.+)$", cell.source, re.MULTILINE):
                if deeper is not None and len(marks) <= deeper:
                    deeper = None
                if deeper is None and starts(heading, "Deeper"):
                    deeper = len(marks)
                found.append(Section(len(marks), heading, deeper is None and not starts(heading, "Exercise")))
        if not re.search(r"\b(check|solution)\(", cell.source):
            found[-1].minutes += minutes(cell)
    return [section for section in found if section.heading or section.minutes]


def starts(heading, word):
    """Whether a heading, its number aside, starts with `word`."""
    return re.match(rf"(\d+\s*·\s*)?{word}", heading) is not None


def minutes(cell):
    """How long one cell takes to read."""
    if cell.cell_type == "markdown":
        text = LINE.sub("", cell.source)
        words = re.sub(r"```.*?```|<[^>]+>|\$[^$]*\$|\]\([^)]*\)", " x ", text, flags=re.DOTALL).split()
        return len(words) / 170 + text.count("![") / 2
    folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
    lines = 0 if folded else len(filled(cell.source))
    return lines * 4 / 60 + sum(map(minutes_of_output, cell.outputs))


def minutes_of_output(output):
    """How long one output takes to look at."""
    data = output.get("data", {})
    if any(kind in data for kind in PICTURES):
        return 1 / 2
    if "text/html" in data:
        return min(60, data["text/html"].count("\n") + 1) * 2.5 / 60
    return len(filled(output.get("text") or data.get("text/plain") or "")) * 2.5 / 60


def filled(text):
    """The lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()]


def times(notebook):
    """(core, all) in minutes."""
    found = sections(notebook)
    return sum(section.minutes for section in found if section.core), sum(section.minutes for section in found)


def line(notebook, seconds):
    """What the build writes under a chapter's title; seconds: how long it took to run."""
    core, whole = times(notebook)
    running = "under a minute" if seconds < 60 else f"{seconds / 60:.0f} min"
    return f"*Core {core:.0f} min · all of it {whole:.0f} min · running it {running}*\n\n"


def write(notebook, seconds):
    """Put the three times under the title of an executed notebook, in place."""
    first = notebook.cells[0]
    heading, rest, below = first.source.partition("\n\n")
    first.source = f"{heading}\n\n{line(notebook, seconds)}{below}" if rest else first.source


def written(notebook):
    """(core, all, running) as the chapter's first lines give them, or None."""
    match = LINE.search(notebook.cells[0].source)
    return match and (int(match[1]), int(match[2]), match[3])


def is_right(notebook):
    """Whether the chapter's first lines give the times that it takes to read."""
    return (written(notebook) or (0, 0))[:2] == tuple(map(round, times(notebook)))


def main(arguments=None):
    """Command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.reading_time", description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", metavar="NN", help="these chapters (default: all)")
    parser.add_argument("--sections", action="store_true", help="every section of them as well")
    options = parser.parse_args(arguments)
    try:
        show(sources(options.only), options.sections)
    except Refused as error:
        print(f"python -m notebooks.reading_time: {error}", file=sys.stderr)
        return 2
    return 0


def show(chosen, every_section):
    """Print the times of the chosen chapters."""
    total = total_core = 0.0
    for source in chosen:
        notebook = nbformat.read(target(source), as_version=4)
        core, whole = times(notebook)
        total, total_core = total + whole, total_core + core
        running = (written(notebook) or (None, None, "?"))[2]
        print(f"{source.stem:24} core {core:3.0f} min, all {whole:3.0f} min, running {running}")
        for section in sections(notebook) if every_section else ():
            mark = "  " if section.core else "· "
            print(f"  {section.minutes:5.1f} {mark}{'  ' * (section.level - 1)}{section.heading[:80]}")
    print(f"{'together':24} core {total_core / 60:.1f} h,   all {total / 60:.1f} h")


if __name__ == "__main__":
    sys.exit(main())
