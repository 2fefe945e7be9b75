"""`make` recovers from a .venv that was never finished, and says at once that a Python is too old."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(folder, *words):
    shutil.copy(ROOT / "Makefile", folder)
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True)


def interrupted(kind, folder):
    """What Ctrl-C can leave behind."""
    venv = folder / ".venv"
    if kind == "a folder":
        venv.mkdir()
        return
    subprocess.run([sys.executable, "-m", "venv", *["--without-pip"] * (kind == "no pip"), venv], check=True)
    for path in venv.glob("lib/python*/site-packages/pip*"):
        if kind == "half of pip" and path.suffix == ".dist-info":
            shutil.rmtree(path)
    if kind == "no python":
        for path in (venv / "bin").glob("python*"):
            path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nothing", "a folder", "no pip", "half of pip", "no python"])
def test_a_venv_that_was_interrupted_is_made_again(kind, tmp_path):
    if kind != "nothing":
        interrupted(kind, tmp_path)
    done = make(tmp_path, "venv", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    pip = subprocess.run([tmp_path / ".venv/bin/python", "-m", "pip", "--version"], capture_output=True, text=True)
    assert pip.stdout.startswith("pip "), pip.stderr


@pytest.mark.slow
def test_a_good_venv_stays(tmp_path):
    interrupted("whole", tmp_path)
    (tmp_path / ".venv" / "mine").write_text("")
    assert make(tmp_path, "venv", f"PYTHON={sys.executable}").returncode == 0
    assert (tmp_path / ".venv" / "mine").exists()


@pytest.mark.parametrize("target", ["tour", "test", "lab"])
def test_an_old_python_is_refused_at_once(target, tmp_path):
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10); $2"\n')
    old.chmod(0o755)
    for path in (*ROOT.glob("requirements*.txt"), ROOT / "pyproject.toml", ROOT / "install.py"):
        shutil.copy(path, tmp_path)
    done = make(tmp_path, target, f"PYTHON={old}")
    assert done.returncode == 2 and f"Python 3.11 or newer is needed: make PYTHON=python3.12 {target}" in done.stdout
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ((), "swin_torch.tour"),
        (("PRETRAINED=1",), "swin_torch.tour --pretrained"),
        (("PRETRAINED=swin_s3_tiny_224",), "swin_torch.tour --pretrained swin_s3_tiny_224"),
        (("PRETRAINED=1", "TORCH=none"), "swin_numpy figures/photos/chelsea.jpg --pretrained"),
    ],
)
def test_the_tour_with_published_weights(words, command):
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "tour", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.rstrip().endswith(f"python -m {command}"), done.stdout
