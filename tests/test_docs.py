"""The pages beside the code: their links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "notebooks/data/README.md", "figures/photos/LICENSES.md"]


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
