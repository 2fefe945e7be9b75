"""The pages beside the code: their links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "notebooks/data/README.md", "figures/photos/LICENSES.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page):
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing


def test_the_readme_names_every_make_target_that_help_does():
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"tour", "test", "lab", "bench", "figures", "notebooks", "lint"} <= set(targets)
    assert all(f"make {name}" in readme or f"`{name}`" in readme for name in targets if name not in ("help", "clean"))


SPEC = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
readme = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme)


def test_the_readme_has_the_lengths_of_the_files_as_they_are():
    assert readme.part(readme.README.read_text(encoding="utf-8"), "files") == readme.files(), "run docs/readme.py"


@pytest.mark.slow
def test_the_readme_shows_the_tour_as_it_is_printed():
    """But for what depends on the machine: differences in the last digit, and times."""

    def steps(text):
        return re.sub(r"\d+\.\d+(e-\d+)?", "#", re.sub(r" +", " ", text))

    shown = readme.part(readme.README.read_text(encoding="utf-8"), "tour")
    assert re.sub(r" at [a-z.0-9]+,", "", steps(shown)) == re.sub(r" at [a-z.0-9]+,", "", steps(readme.tour()))
    assert "The twins agree" in shown and len(shown.splitlines()) == 10


def test_the_readme_is_filled_in_place_by_place():
    text = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert readme.filled(text, x="new\\1") == text.replace("old", "new\\1")
    assert readme.part(text, "x") == "old"
    for wrong in ("", text + text):
        with pytest.raises(ValueError, match="expected one place for 'x'"):
            readme.filled(wrong, x="new")


def test_the_pages_of_the_repository_name_every_room():
    """CONTRIBUTING is a map: a folder or package that is new must be on it."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [path.parent.relative_to(ROOT) for path in (ROOT / "swin_numpy").glob("*/__init__.py")]
    assert rooms and all(f"`{room}/`" in page for room in (*rooms, "swin_torch", "figures", "docs", "tests"))
