"""The gallery: from the real package, by the command."""

import re
from pathlib import Path

import pytest

from figures import pictures, style
from figures.__main__ import main
from tests.drawings import check_page

ROOT = Path(__file__).parent.parent
SLOW = {"cost", "disagreement"}  # they measure
GALLERY = pictures.Gallery()  # random weights do for a test


def test_the_command_draws_what_it_is_asked_for(tmp_path, capsys):
    main(["--only", "masks", "attention_on_photograph", "--folder", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks.png", "masks.svg"]
    assert "attention_on_photograph: left out, needs --weights" in capsys.readouterr().out


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "masks.png").mkdir()
    for only, options in (
        ("bias_tables", ["--folder", str(tmp_path), "--weights", str(tmp_path / "none.npz")]),
        ("masks", ["--folder", str(tmp_path / "file" / "gallery")]),
        ("masks", ["--folder", str(tmp_path)]),
    ):
        assert main(["--only", only, *options]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("python -m figures: ") and str(tmp_path) in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "masks.png"]


@pytest.mark.parametrize("name", sorted(set(pictures.PICTURES) - SLOW))
def test_gallery_picture_reads_well(name):
    check_page(lambda: pictures.PICTURES[name](GALLERY))


def test_gallery_is_complete_and_every_file_is_drawn_by_a_function():
    """The animation is made with the picture of the same name; what needs weights isn't part of the repository."""
    drawn = set(pictures.PICTURES) - pictures.NEEDS_WEIGHTS
    files = {path.name for path in style.GALLERY.iterdir() if path.stem != "cheat_sheet"}  # which docs/ writes
    assert files == {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")} | {"cyclic_shift.gif", "README.md"}


@pytest.mark.parametrize(
    "page", [style.GALLERY / "README.md", ROOT / "README.md", *(ROOT / "notebooks/source").glob("*.py")]
)
def test_every_picture_on_a_page_has_an_alt_text(page):
    for alt, file in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert len(alt.split()) >= 6 and Path(file).name not in alt, f"{file}: {alt!r}"


def test_the_page_of_the_gallery_has_the_alt_texts_of_the_code():
    page = (style.GALLERY / "README.md").read_text(encoding="utf-8")
    for name in ("architecture", "masks", "one_window", "speed", "speed_growth"):
        assert f"![{pictures.PICTURES[name](GALLERY).alt}]({name}.png)" in page
