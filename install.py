"""Installs what `make` needs into .venv, after saying how much will be fetched and for what. Called by the Makefile.

install.py say GOAL …                   how much these goals of make will fetch; fetches nothing
install.py run | torch | lab | dev      install one part
--torch auto | cpu | cuda | none        which PyTorch: auto takes the small CPU build where there is no NVIDIA card
"""

import argparse
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CONTENTS = {  # part: what is in it, and about how many megabytes its wheels are, without torch's
    "run": ("NumPy, Matplotlib, Pillow, huggingface_hub", 59),
    "lab": ("JupyterLab", 50),
    "dev": ("pytest, ruff, transformers as a model to compare with, Playwright, JupyterLite", 107),
}
PROBES = {"run": "matplotlib", "lab": "jupyterlab", "dev": "pytest", "torch": "torch"}  # there once it is installed
GOALS = {"lab": ["run", "torch", "lab"]}
GOALS |= {goal: ["run", "torch"] for goal in ("tour", "figures", "explainer")}
GOALS |= {goal: ["run", "torch", "lab", "dev"] for goal in ("test", "bench", "notebooks", "lint")}


def choose_torch(wanted):
    """(what it is, megabytes, arguments of pip) of the PyTorch to install. Raises ValueError if it can't be had."""
    card = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists()
    if platform.system() != "Linux":
        return "PyTorch", 120, []  # the plain one is small there
    if wanted == "cuda" or (wanted == "auto" and card):
        return "PyTorch with what an NVIDIA card needs", 3000, []
    if reachable(CPU_INDEX):
        return "PyTorch's CPU build", 200, ["--index-url", CPU_INDEX]
    if wanted == "cpu":
        raise ValueError(f"TORCH=cpu: {CPU_INDEX} can't be reached; TORCH=auto takes the build of your own index")
    return f"PyTorch as your index has it ({CPU_INDEX}, with the small CPU build, can't be reached)", 3000, []


def reachable(address):
    """Whether the package index answers within five seconds."""
    try:
        return urlopen(f"{address}/torch/", timeout=5).status == 200
    except (OSError, ValueError):
        return False


def installed(part, wanted="auto"):
    """Whether a part is there already; for torch, in the build that is wanted."""
    if find_spec(PROBES[part]) is None:
        return False
    if part != "torch" or wanted in ("auto", "none"):
        return True
    version = (Path(find_spec("torch").origin).parent / "version.py").read_text(encoding="utf-8")
    return ("cuda: Optional[str] = None" in version) == (wanted == "cpu")


def say(goals, wanted):
    """Print what is still to be fetched for these goals of make."""
    goals = goals or ["tour"]
    parts = [part for part in PROBES if any(part in GOALS.get(goal, ["run"]) for goal in goals)]
    missing = [part for part in ("run", "torch", "lab", "dev") if part in parts and not installed(part, wanted)]
    if wanted == "none":
        missing = [part for part in missing if part != "torch"]
    sizes = [choose_torch(wanted)[:2] if part == "torch" else CONTENTS[part] for part in missing]
    if sizes:
        print(f"To fetch into .venv, once: at most about {sum(size for _, size in sizes):,} MB")
        for what, size in sizes:
            print(f"  {size:5,} MB  {what}")
    if "torch" in missing:
        print("TORCH=none leaves PyTorch out; TORCH=cpu and TORCH=cuda choose its build.")


def install(part, wanted):
    """Install one part of CONTENTS, or torch."""
    arguments = ["-r", str(ROOT / ("requirements.txt" if part == "run" else f"requirements-{part}.txt"))]
    if part == "torch":
        if installed("torch", wanted):
            return
        arguments += choose_torch(wanted)[2] + ["--force-reinstall"] * (find_spec("torch") is not None)
    pip(arguments)
    if part == "run":
        pip(["--no-deps", "--editable", str(ROOT)])


def pip(arguments):
    """Run pip install with these arguments; leave with its status if it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if status := subprocess.run(command).returncode:
        sys.exit(status)


def main(arguments=None):
    """Command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="install.py", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("say", *PROBES))
    parser.add_argument("goals", nargs="*")
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda", "none"), default="auto")
    options = parser.parse_args(arguments)
    try:
        say(options.goals, options.torch) if options.what == "say" else install(options.what, options.torch)
    except ValueError as error:
        print(f"install.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
