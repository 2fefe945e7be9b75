"""The reader's road: how long chapters take, where their first picture stands, how far apart pictures are."""

import re

import nbformat
import pytest

from notebooks.chapters import sources, target
from notebooks.reading_time import PICTURES, times

CHAPTERS = [target(source) for source in sources()]


def notebook(path):
    return nbformat.read(path, as_version=4)


def core(path):
    """The cells of the core: all before the first heading that starts with "Deeper"."""
    cells = notebook(path).cells
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown" and re.search(r"^#+ (\d+\s*·\s*)?Deeper", cell.source, re.MULTILINE):
            return cells[:number]
    return cells


def has_picture(cell):
    if cell.cell_type == "markdown":
        return "![" in cell.source
    return any(kind in output.get("data", {}) for output in cell.outputs for kind in PICTURES)


def is_exercise(cell):
    return re.search(r"\b(check|solution)\(", cell.source) or re.match(r"\*\*\d\d\.\d\*\*", cell.source)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem[:2])
def test_a_core_takes_at_most_twenty_minutes_and_the_first_page_thirty(path):
    minutes, _ = times(notebook(path))
    assert minutes <= (30 if path.stem.startswith("00") else 20)


def test_all_cores_together_take_an_afternoon_and_everything_less_than_twelve_hours():
    minutes = [times(notebook(path)) for path in CHAPTERS]
    assert sum(core for core, _ in minutes) <= 3.5 * 60
    assert sum(whole for _, whole in minutes) <= 12 * 60


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem[:2])
def test_the_first_screen_holds_a_picture(path):
    shown = [
        c for c in notebook(path).cells if not c.metadata.get("jupyter", {}).get("source_hidden") or has_picture(c)
    ]
    assert any(map(has_picture, shown[:2]))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem[:2])
def test_no_long_stretch_of_a_core_is_without_a_picture(path):
    stretch = 0
    for cell in core(path):
        stretch = 0 if has_picture(cell) else stretch + (not is_exercise(cell))
        assert stretch <= 12, cell.source[:80]


def test_the_first_page_lists_the_chapters_with_their_times():
    outputs = str([cell.get("outputs", "") for cell in notebook(CHAPTERS[0]).cells])
    for path in CHAPTERS[1:]:
        assert f"({path.name}) · core {times(notebook(path))[0]:.0f} min" in outputs, "run notebooks.build --only 00"
