"""What is published says the same everywhere, and the packages hold what they need."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
PACKAGES = ("swin_numpy", "swin_torch", "figures")


def cited(field):
    """The value of a top-level field of CITATION.cff."""
    return re.search(rf'^{field}: "?(.+?)"?$', CITATION, re.MULTILINE)[1]


def test_version_changelog_and_citation_agree():
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == PROJECT["version"] == cited("version")


def test_citation_and_package_name_the_same_people_licence_and_subject():
    assert [author["name"] for author in PROJECT["authors"]] == re.findall(r"^  - name: (.+)$", CITATION, re.MULTILINE)
    assert PROJECT["license"] == cited("license") and PROJECT["description"] == cited("abstract")
    assert (ROOT / "README.md").read_text(encoding="utf-8").startswith(f"# {cited('title')}\n")
    assert set(re.findall(r"^  - ([^:\n]+)$", CITATION, re.MULTILINE)) <= set(PROJECT["keywords"])


def test_what_both_requirements_files_pin_has_one_version():
    pins = {}
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt"):
        for package, version in re.findall(r"^([\w\[\]-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.M):
            assert pins.setdefault(package, version) == version, f"{package} in {name}"
    assert len(pins) > 20


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the sdist and the wheel made of a copy of the sources, without network."""
    if missing := [name for name in ("build", "twine", "setuptools") if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} missing: `make site` installs what it needs")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def test_twine_finds_no_fault(built):
    command = [sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout


def test_wheel_and_sdist_hold_every_module(built):
    modules = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as inside:
        assert modules <= set(inside.namelist())
        metadata = next(inside.read(name) for name in inside.namelist() if name.endswith("METADATA")).decode()
    with tarfile.open(sdist) as inside:
        assert modules <= {name.partition("/")[2] for name in inside.getnames()}
    assert "\nAuthor: Seed 076a8730 maintainers\n" in metadata and "\nLicense-Expression: MIT\n" in metadata


def test_what_is_installed_runs_without_the_repository(built, tmp_path):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    program = (
        "import numpy as np, swin_numpy, figures.photographs\n"
        "from swin_numpy.pictures.classes import class_names\n"
        "model = swin_numpy.SwinTransformer(swin_numpy.SwinConfig(img_size=28, patch_size=2, embed_dim=12,\n"
        "    depths=(2, 2), num_heads=(2, 2), window_size=7, num_classes=10), seed=0)\n"
        "names = class_names(swin_numpy.SwinConfig())\n"
        "print(model(np.zeros((2, 3, 28, 28), np.float32)).shape, len(names), swin_numpy.__file__)\n"
        "print(all(figures.photographs.photo_path(name).is_file() for name in figures.photographs.PHOTOS))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n{program}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("(2, 10) 1000 ") and str(tmp_path) in done.stdout and done.stdout.endswith("True\n")
