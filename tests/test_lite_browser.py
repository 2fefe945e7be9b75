"""Chapters that run in the page, in headless Chromium, from a server on this machine and nothing else.

Needs a release of Pyodide: the one inside the wheel of open-webui on PyPI (106 MB), of which nothing else is used. It
is fetched once into docs/build; where it can't be, the tests are skipped and say so. LITE=all runs every chapter.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from swin_numpy import SwinTransformer
from swin_numpy.training.fashion_mnist import SUBSET, TRAINED, fashion_mnist, standardise

ROOT = Path(__file__).parents[1]
WHEEL = "open-webui==0.12.4 --hash=sha256:02e9caba96234db3fa17a92e56163b3f7f2b8ca8227fa886b85c178d696483f6"
INSIDE = "open_webui/frontend/pyodide/"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("jupyterlite_core", "jupyterlite_pyodide_kernel", "playwright") if find_spec(name) is None]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
SECONDS = 300  # for what takes half a minute: the machine may be busy
ALL = [*sorted(path.name[:2] for path in (ROOT / "notebooks").glob("0*.ipynb")), "12"]
CHAPTERS = ALL if os.environ.get("LITE") == "all" else ["00", "01", "03", "05"]

NOTEBOOK = "window.jupyterapp?.shell?.currentWidget"
CELLS = f"() => {NOTEBOOK}.content.widgets.map(cell => cell.model.sharedModel.toJSON())"
CLEAR = f"""() => {{ for (const cell of {NOTEBOOK}.content.widgets) if (cell.model.type === "code")
    cell.model.sharedModel.setOutputs([]) }}"""
RUN_ALL = "void window.jupyterapp.commands.execute('notebook:run-all-cells')"
DONE = f"""() => {NOTEBOOK}.content.widgets.every(cell => cell.model.type !== "code" || cell.model.executionCount)
    && {NOTEBOOK}.sessionContext.kernelDisplayStatus === "idle" """
ASK = f"""async code => {{ let text = "";
    const future = {NOTEBOOK}.sessionContext.session.kernel.requestExecute({{ code }});
    future.onIOPub = message => {{ text += message.content.text ?? message.content.evalue ?? "" }};
    await future.done;
    return text }}"""
LOGITS = """
import json
from swin_numpy import SwinTransformer
from swin_numpy.training.fashion_mnist import SUBSET, TRAINED, fashion_mnist, standardise
images = standardise(fashion_mnist(SUBSET, "test").images[:8])
print(json.dumps(SwinTransformer.from_checkpoint(TRAINED)(images).tolist()))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found"),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing: requirements-dev.txt has them"),
]


class Silent(SimpleHTTPRequestHandler):
    """A server of files that doesn't list every request."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def pyodide(tmp_path_factory):
    """The folder with a release of Pyodide."""
    folder = ROOT / "docs" / "build" / f"pyodide-{WHEEL[-8:]}"
    if not folder.exists():
        work = tmp_path_factory.mktemp("wheel")
        (work / "requirements.txt").write_text(WHEEL)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--retries=1", "-q"]
        command += ["-r", work / "requirements.txt", "-d", work]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(
                f"NOT TESTED: chapters in the page. No Pyodide to be had: {done.stderr.strip().splitlines()[-1]}"
            )
        partly = folder.with_suffix(".part")
        partly.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                if name.startswith(INSIDE):
                    (partly / name.removeprefix(INSIDE)).write_bytes(wheel.read(name))
        partly.rename(folder)
    return folder


@pytest.fixture(scope="module")
def address(pyodide, tmp_path_factory):
    """Where the offline edition, just built, is served."""
    from docs.lite import build

    out = tmp_path_factory.mktemp("lite") / "out"
    build.build(out, pyodide)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=out))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        chromium = tool.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(request, browser, address):
    """(number, its page after everything has run, what was seen on the way)."""
    number, seen = request.param, {"asked": [], "said": []}
    name = next((ROOT / "notebooks").glob(f"{number}_*.ipynb")).name
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * SECONDS)
    context.on("request", lambda request: request.url.startswith(("http", "ws")) and seen["asked"].append(request.url))
    page, start = context.new_page(), time.perf_counter()
    page.goto(f"{address}/notebooks/index.html?path=notebooks/{name}")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    seen["said"].append(page.locator("#progress").inner_text())
    page.wait_for_function(f"() => {NOTEBOOK}?.sessionContext?.kernelDisplayStatus === 'idle'")
    page.wait_for_selector("#progress >> text=Python is ready")
    seen["started"] = time.perf_counter() - start
    seen["stored"] = page.evaluate(CELLS)
    page.evaluate(CLEAR)
    page.evaluate(RUN_ALL)
    page.wait_for_function(DONE)
    seen["cells"] = page.evaluate(CELLS)
    seen["ended"] = time.perf_counter() - start
    print(f"\nchapter {number}: Python after {seen['started']:.0f} s, everything run after {seen['ended']:.0f} s")
    yield number, page, seen
    context.close()


def code(cells):
    return [cell for cell in cells if cell["cell_type"] == "code"]


def text(cell):
    """What a cell printed or ended with, pictures left out."""
    outputs = [output for output in cell["outputs"] if "image/png" not in output.get("data", {})]
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def test_every_cell_runs_without_an_error_and_nothing_comes_from_elsewhere(chapter, address):
    _, _, seen = chapter
    errors = [output for cell in code(seen["cells"]) for output in cell["outputs"] if output["output_type"] == "error"]
    assert errors == []
    assert len(code(seen["cells"])) > 20 and all(cell["execution_count"] for cell in code(seen["cells"]))
    assert [url for url in seen["asked"] if not url.startswith((address, address.replace("http", "ws")))] == []


def test_it_says_what_is_going_on(chapter):
    _, page, seen = chapter
    assert re.match(r"(Opening the chapter|Fetching) .*\d s", seen["said"][0])
    assert text(code(seen["cells"])[0]).endswith("Run All Cells.\n")
    assert page.locator("#progress").count() == 0


def test_pictures_appear_where_they_were_stored(chapter):
    _, _, seen = chapter
    stored, now = (
        {
            cell["id"]: str(output["data"]["image/png"])
            for cell in code(seen[when])
            for output in cell["outputs"]
            if "image/png" in output.get("data", {})
        }
        for when in ("stored", "cells")
    )
    assert stored.keys() <= now.keys() and len(stored) > 3
    assert all(picture.startswith("iVBOR") for picture in now.values()), "a PNG isn't sent as base64"


def test_results_are_the_stored_ones(chapter):
    number, page, seen = chapter
    images = standardise(fashion_mnist(SUBSET, "test").images[:8])
    here = SwinTransformer.from_checkpoint(TRAINED)(images)
    assert np.abs(np.array(json.loads(page.evaluate(ASK, LOGITS))) - here).max() < 1e-5
    if number == "00":  # draws no random numbers for PyTorch that would be missing later on
        for cell, again in zip(code(seen["stored"]), code(seen["cells"]), strict=True):
            if cell["outputs"]:
                same_but_for_rounding(text(cell), text(again))


def same_but_for_rounding(stored, now):
    words, numbers = zip(*(split_numbers(part) for part in (stored, now)), strict=True)
    assert words[0] == words[1]
    np.testing.assert_allclose(*numbers, rtol=1e-5, atol=1e-5)


def split_numbers(text):
    """(text with # for each number, the numbers)."""
    number = r"\d+(?:\.\d*)?(?:e[-+]\d+)?"
    return re.sub(number, "#", text), [float(found) for found in re.findall(number, text)]


def test_an_exercise_is_checked(chapter):
    number, page, _ = chapter
    say = f"from lesson import check, exercises; check('{number}.1', exercises.exercise('{number}.1', "
    assert page.evaluate(ASK, say + "'solution'))").startswith(f"✓ {number}.1: right")
    assert page.evaluate(ASK, f"check('{number}.1', lambda *_: 0)").startswith(f"✗ {number}.1:")


def test_sliders_answer(chapter):
    _, page, _ = chapter
    if page.locator(".noUi-handle").count() == 0:
        assert "slider(" not in "".join(cell["source"] for cell in code(page.evaluate(CELLS)))
        return
    handle = page.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    picture = handle.evaluate_handle("e => e.closest('.jp-OutputArea').querySelector('.widget-image')")
    before = picture.get_property("src").json_value()
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("([e, old]) => e.src != old && e.naturalWidth > 100", arg=[picture, before])
