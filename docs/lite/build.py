"""Build the chapters that run in the page, docs/build/lite: JupyterLite, with Python compiled for browsers (Pyodide).

python -m docs.lite.build                     pages that fetch Pyodide from where its makers keep it
python -m docs.lite.build --pyodide FOLDER    pages that need no network: FOLDER is an unpacked release of Pyodide
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from importlib.metadata import files
from pathlib import Path

from jupyterlite_pyodide_kernel.constants import PYODIDE_VERSION

from .edition import LINK, edition

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUT = ROOT / "docs" / "build" / "lite"
LEFT_OUT = {"10": "trains", "11": "reads large files of weights", "13": "measures how fast this computer is"}
NAME = "swin-twice-in-the-page"  # the wheel with the project's code, as the page's own pip knows it
FROM_PYODIDE = ("micropip", "ipython", "jedi", "numpy", "matplotlib", "pillow", "threadpoolctl", "tqdm")
FROM_PYPI = ("einops", "ipywidgets", "jupyterlab_widgets", "comm")
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
IN_WHEEL = ("swin_numpy", "swin_torch", "figures", "notebooks")  # swin_torch is read as text, for side_by_side
NOT_IN_WHEEL = ("gallery", "__pycache__", ".ipynb_checkpoints", "*.ipynb", "lab", "build.py")
KERNEL = "@jupyterlite/pyodide-kernel-extension"
EXTENSIONS = {"jupyterlite-pyodide-kernel": KERNEL, "jupyterlab_widgets": "@jupyter-widgets/jupyterlab-manager"}


class Refused(Exception):
    """Why it can't be built, in one line."""


def chapters():
    """Paths of the executed chapters that can run in the page, in order."""
    found = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if path.name[:2] not in LEFT_OUT]


def build(out=OUT, pyodide=None):
    """Write the pages to the folder `out`, anew. pyodide: a folder, or None for pages that fetch it themselves.

    Raises Refused if the folder lacks something, CalledProcessError if pip or JupyterLite fails.
    """
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        contents(work / "files")
        wheels = work / "pypi"
        wheels.mkdir()
        project_wheel(wheels)
        pins = [f"-c{ROOT / name}" for name in ("requirements.txt", "requirements-lab.txt", "requirements-lite.txt")]
        download([*pins, *FROM_PYPI], wheels)
        if pyodide is not None:
            offline(Path(pyodide), work / "static" / "pyodide")
        write(work / "jupyter-lite.json", json.dumps(settings(offline=pyodide is not None)))
        write(work / "jupyter_lite_config.json", json.dumps({"LiteBuildConfig": parts()}))
        shutil.copy(ROOT / "notebooks" / "lab" / "overrides.json", work)
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "jupyterlite_core.app", "build", "--lite-dir", work, "--output-dir", out]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True)
        if done.returncode:
            raise Refused(f"JupyterLite failed:\n{done.stdout}{done.stderr}")
    page = out / "notebooks" / "index.html"
    script = f"<script type=module>\n{(HERE / 'progress.js').read_text(encoding='utf-8')}</script>\n</body>"
    write(page, page.read_text(encoding="utf-8").replace("</body>", script))


def settings(offline):
    """What jupyter-lite.json says."""
    kernel = {"loadPyodideOptions": {"packages": list(FROM_PYODIDE)}, "disablePyPIFallback": offline}
    about = {"appName": "Swin Transformer, written twice", "appUrl": "./tree", "exposeAppInBrowser": True}
    about |= {"litePluginSettings": {f"{KERNEL}:kernel": kernel}}
    return {"jupyter-lite-schema-version": 0, "jupyter-config-data": about}


def parts():
    """What jupyter_lite_config.json says: of all that is installed, only what the pages need goes into them."""
    found = []
    for distribution, name in EXTENSIONS.items():
        ending = f"labextensions/{name}/package.json"
        found += [str(path.locate().parent) for path in files(distribution) if path.as_posix().endswith(ending)]
    about = {"federated_extensions": found, "ignore_sys_prefix": ["federated_extensions"], "no_sourcemaps": True}
    return about | {"apps": ["notebooks", "tree", "edit"], "no_unused_shared_packages": True}


# What a reader opens


def contents(folder):
    """Write the chapters to `folder`, and the files of the project that they link to."""
    held = {path.relative_to(ROOT) for path in chapters()} | linked()
    for path in held:
        content = (ROOT / path).read_bytes()
        if path.suffix == ".ipynb":
            notebook = edition(json.loads(content), lambda target: beside_chapters(target) in held)
            content = json.dumps(notebook, ensure_ascii=False)
        write(folder / path, content)


def linked():
    """Files that the chapters link to, other chapters left out; and all that `side_by_side` may link to."""
    cells = [cell for path in chapters() for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    targets = {beside_chapters(match[2].strip("<>").partition("#")[0]) for t in texts for match in LINK.finditer(t)}
    found = {path for path in targets if (ROOT / path).is_file() and path.suffix != ".ipynb"}
    return found | {
        path.relative_to(ROOT) for name in ("swin_numpy", "swin_torch") for path in (ROOT / name).rglob("*.py")
    }


def beside_chapters(target):
    """The file that a link in a chapter leads to, relative to the root."""
    return Path(os.path.normpath(Path("notebooks") / target))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


# What the chapters import


def project_wheel(folder):
    """Write the wheel that the first cell of a chapter installs: code, data, exercises."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    wheel = folder / f"{NAME.replace('-', '_')}-{version}-py3-none-any.whl"
    info = f"{NAME.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {name}\n" for name in ("numpy", "matplotlib", "pillow", "threadpoolctl", "tqdm"))
    needs += "".join(f"Requires-Dist: {name}\n" for name in FROM_PYPI)
    skip = shutil.ignore_patterns(*NOT_IN_WHEEL)
    with tempfile.TemporaryDirectory() as copy, zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in IN_WHEEL:
            shutil.copytree(ROOT / package, Path(copy) / package, ignore=skip)
        shutil.copytree(HERE / "safetensors", Path(copy) / "safetensors", ignore=skip)
        shutil.copy(HERE / "start_chapter.py", copy)
        write(Path(copy) / info / "METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n{needs}")
        write(Path(copy) / info / "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        write(Path(copy) / info / "RECORD", "")
        for path in sorted(Path(copy).rglob("*")):
            archive.write(path, path.relative_to(copy))


def download(arguments, folder):
    """Let pip fetch pure Python wheels for the page's Python into `folder`."""
    fit = [
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.14",
        "--platform=any",
        "--implementation=py",
        "--abi=none",
    ]
    fetched = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *fit]
    subprocess.run([*command, "-d", fetched, *arguments], check=True)
    names = [path.rename(folder / path.name) for path in fetched.iterdir()]
    fetched.rmdir()
    return names


def offline(pyodide, folder):
    """Copy what the chapters need of a release of Pyodide; pure Python packages that it lacks come from PyPI.

    Raises Refused if it lacks anything else.
    """
    folder.mkdir(parents=True)
    if missing := [name for name in (*CORE, "pyodide-lock.json") if not (pyodide / name).is_file()]:
        raise Refused(f"{pyodide}: expected the files of Pyodide {PYODIDE_VERSION}, but {missing[0]} isn't there")
    for name in CORE:
        shutil.copy(pyodide / name, folder)
    lock = json.loads((pyodide / "pyodide-lock.json").read_text(encoding="utf-8"))
    packages = {name: lock["packages"][name] for name in closure(lock["packages"])}
    wanted = []
    for name, package in packages.items():
        if (pyodide / package["file_name"]).is_file():
            shutil.copy(pyodide / package["file_name"], folder)
        elif package["file_name"].endswith("-none-any.whl"):
            wanted.append(f"{name}=={package['version']}")
        else:
            raise Refused(f"{pyodide}: {package['file_name']}, which the chapters need, isn't there")
    if wanted:
        download(wanted, folder)
    for package in packages.values():
        path = folder / package["file_name"]
        package["sha256"] = sha256(path.read_bytes()).hexdigest()  # PyPI's wheel holds the tests, too
    write(folder / "pyodide-lock.json", json.dumps(lock | {"packages": packages}))


def closure(packages, names=FROM_PYODIDE):
    """The packages `names` of a lock file and all that they depend on."""
    found, left = {}, list(names)
    by_name = {normal(name): name for name in packages}
    while left:
        name = normal(left.pop())
        if name not in by_name:
            raise Refused(f"this release of Pyodide has no package {name}: expected {PYODIDE_VERSION}")
        if name not in found:
            found[name] = by_name[name]
            left += packages[by_name[name]]["depends"]
    return sorted(found.values())


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments=None):
    """Command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.lite.build", description=__doc__.splitlines()[0])
    parser.add_argument("--pyodide", metavar="FOLDER", help="make pages that need no network, with this Pyodide")
    options = parser.parse_args(arguments)
    try:
        build(pyodide=options.pyodide)
    except Refused as error:
        print(f"the pages aren't built: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"the pages aren't built: {' '.join(map(str, error.cmd[1:4]))} failed, see above", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file()) / 1e6
    print(f"{OUT.relative_to(ROOT)}: {len(chapters())} chapters, {size:.0f} MB; `make site` links them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
