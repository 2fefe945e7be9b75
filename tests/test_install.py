"""install.py: which PyTorch it takes, and that it says how much is fetched. Fetches nothing."""

import subprocess
import sys

import pytest

from install import CPU_INDEX, ROOT, choose_torch, installed, main, say


@pytest.fixture
def machine(monkeypatch):
    """machine(system, card, index): a computer with such a system, NVIDIA card and reach."""

    def set_up(system="Linux", card=False, index=True):
        monkeypatch.setattr("install.platform.system", lambda: system)
        monkeypatch.setattr("install.shutil.which", lambda name: "/usr/bin/nvidia-smi" if card else None)
        monkeypatch.setattr("install.Path.exists", lambda path: card)
        monkeypatch.setattr("install.reachable", lambda address: index and address == CPU_INDEX)

    return set_up


@pytest.mark.parametrize(
    ("wanted", "card", "index", "megabytes", "arguments"),
    [
        ("auto", False, True, 200, ["--index-url", CPU_INDEX]),
        ("auto", False, False, 3000, []),
        ("auto", True, True, 3000, []),
        ("cpu", True, True, 200, ["--index-url", CPU_INDEX]),
        ("cuda", False, True, 3000, []),
    ],
)
def test_build_of_torch_fits_the_machine(machine, wanted, card, index, megabytes, arguments):
    machine(card=card, index=index)
    assert choose_torch(wanted)[1:] == (megabytes, arguments)


def test_cpu_build_that_cant_be_had_is_said(machine, capsys, monkeypatch):
    machine(index=False)
    monkeypatch.setattr("install.installed", lambda part, wanted="auto": False)
    assert main(["torch", "--torch", "cpu"]) == 2
    assert capsys.readouterr().err.startswith(f"install.py: TORCH=cpu: {CPU_INDEX} can't be reached")


def test_plain_torch_is_small_elsewhere(machine):
    machine(system="Darwin")
    assert choose_torch("auto") == ("PyTorch", 120, [])


@pytest.mark.parametrize(("wanted", "total", "named"), [("none", 59, False), ("auto", 259, True)])
def test_it_says_how_much_and_for_what(machine, monkeypatch, capsys, wanted, total, named):
    machine()
    monkeypatch.setattr("install.installed", lambda part, wanted="auto": False)
    say(["tour"], wanted)
    out = capsys.readouterr().out
    assert f"at most about {total} MB" in out and "NumPy" in out and ("PyTorch's CPU build" in out) == named
    assert total < 150 or wanted != "none"


def test_nothing_is_said_where_all_is_there(monkeypatch, capsys):
    monkeypatch.setattr("install.installed", lambda part, wanted="auto": True)
    say(["tour", "test", "lab"], "auto")
    assert capsys.readouterr().out == ""


def test_installed_torch_is_told_by_its_build():
    torch = pytest.importorskip("torch")
    assert installed("torch") and installed("torch", "cpu") == (torch.version.cuda is None)
    assert installed("torch", "cuda") != installed("torch", "cpu")


@pytest.mark.parametrize("goal", ["tour", "lab"])
def test_torch_none_asks_for_no_torch(goal):
    command = ["make", "-n", "-B", goal, "TORCH=none", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "install.py --torch none run" in done.stdout
    assert "none torch" not in done.stdout and "swin_torch" not in done.stdout
