"""What is published says the same everywhere, and the packages hold what they need."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
PACKAGES = ("swin_numpy", "swin_torch")


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
    for name in sorted(path.name for path in ROOT.glob("requirements*.txt")):
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


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """run(*words, without="…") → a finished process: a command of the wheel, away from the clone, without a package."""
    site, elsewhere = tmp_path_factory.mktemp("site-packages"), tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    others = [Path(path) for path in sys.path if path.endswith("-packages")]  # numpy, torch and so on

    def run(*words, without=None):
        lent = tmp_path_factory.mktemp("lent")
        for path in (path for folder in others for path in folder.iterdir()):
            if path.name != without and not (lent / path.name).exists():
                (lent / path.name).symlink_to(path)
        before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
        env = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{lent}", "PYTHONDONTWRITEBYTECODE": "1"}
        how = "-c" if "\n" in words[0] else "-m"  # -S: what an editable install links to is out of sight
        command = [sys.executable, "-S", how, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, env=env)
        assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before  # nothing is written there
        return done

    run.folder = elsewhere
    return run


def test_the_wheel_installs_these_two_packages_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        assert {name.split("/")[0] for name in wheel.namelist() if ".dist-info" not in name} == set(PACKAGES)


def test_what_is_installed_runs_without_the_repository(installed):
    done = installed("""
import importlib.util
import numpy as np, swin_numpy
from swin_numpy.pictures.classes import class_names
assert importlib.util.find_spec("figures") is None
model = swin_numpy.SwinTransformer(swin_numpy.SwinConfig(img_size=28, patch_size=2, embed_dim=12,
    depths=(2, 2), num_heads=(2, 2), window_size=7, num_classes=10), seed=0)
names = class_names(swin_numpy.SwinConfig())
print(model(np.zeros((2, 3, 28, 28), np.float32)).shape, len(names), swin_numpy.__file__)
""")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("(2, 10) 1000 ") and "site-packages" in done.stdout


def one_line(done, *words):
    """The one line on stderr of a command that could not do it."""
    assert done.returncode and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    return done


def test_the_commands_of_what_is_installed_work_or_say_what_they_need(installed):
    picture = installed.folder / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(picture)
    for command in (["swin_numpy", picture], ["swin_torch.compare", picture, "--save", "runs/mine"]):
        done = installed(*command)
        assert done.returncode == 0 and not done.stderr, done.stderr
    assert "its picture needs a clone" in done.stdout
    assert [path.name for path in (installed.folder / "runs" / "mine").iterdir()] == ["report.json"]
    one_line(installed("swin_torch.tour"), "needs a clone of the repository")
    one_line(installed("figures"), "No module named figures")
    for package in PACKAGES:
        assert one_line(installed(f"{package}.train", "--data", "subset"), "comes with a clone").returncode == 2
    assert one_line(installed("swin_torch.convert", "nowhere.pth", "a.npz"), "nowhere.pth").returncode == 2


@pytest.mark.parametrize("command", ["compare", "tour", "convert", "train"])
def test_without_pytorch_one_line_says_so(installed, command):
    one_line(installed(f"swin_torch.{command}", without="torch"), "needs PyTorch: pip install torch")


def test_the_numpy_package_runs_without_pytorch_and_matplotlib(installed):
    for package in ("torch", "matplotlib"):
        assert installed("swin_numpy", "--help", without=package).returncode == 0
