"""JupyterLab as `make lab` starts it, in headless Chromium at 1280 x 800: twin view, sliders, step buttons, links.

Skipped where Chromium or Playwright isn't installed. Works on a copy: JupyterLab saves what it shows.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest

from notebooks import chapters, questions
from notebooks.lesson import twins

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
TIMEOUT = 120_000  # milliseconds, for what should take a few seconds: the machine may be busy
ANSWER = 0.3  # seconds for a slider, on two idle cores
DRAW = """
from lesson import slider, steps
from figures import photo_path, shifted
from swin_numpy import cyclic_shift
from swin_numpy.pictures.images import denormalise, load_image, preprocess

image = denormalise(preprocess(load_image(photo_path("coffee"))))[0]

def shifted_photo(shift):
    return shifted.cyclic_shift(image, cyclic_shift(image[None], 8 * shift)[0], 8 * shift, window_size=56)
"""
NOTEBOOKS = {  # the code of their only cell, and what is there when it has run
    "twins": ('from lesson import side_by_side\nside_by_side("windows.cyclic_shift")', "pre >> text=torch.roll"),
    "slider": (f"{DRAW}\nslider(shifted_photo, shift=(1, 6, 1, 3))", ".widget-image"),
    "steps": (f"{DRAW}\nsteps([(f'Beat {{s}}', f'By {{s}}.', shifted_photo(s)) for s in (1, 2, 3)])", "text=1 of 3"),
}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with the settings of `make lab`, on a copy of the notebooks and one of our own."""
    pytest.importorskip("jupyterlab")
    copy = tmp_path_factory.mktemp("lab")
    shutil.copytree(chapters.FOLDER, copy / "notebooks", ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copytree(chapters.FOLDER.parent / "figures", copy / "figures")  # a link's pictures wouldn't be served
    for package in ("swin_numpy", "swin_torch"):
        (copy / package).symlink_to(chapters.FOLDER.parent / package)
    for name, (code, _) in NOTEBOOKS.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=chapters.METADATA)
        nbformat.write(notebook, copy / "notebooks" / f"{name}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--allow-root", "--no-browser", "--expose-app-in-browser"]
    command += [f"--config={copy / 'notebooks' / 'lab' / 'jupyter_lab_config.py'}", f"--port={port}"]
    command += ["--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.port_retries=0"]
    home = {"HOME": str(copy), "JUPYTER_CONFIG_DIR": str(copy / "config"), "JUPYTER_RUNTIME_DIR": str(copy / "run")}
    environment = {**os.environ, **home, "PYTHONPATH": str(chapters.FOLDER.parent), "OMP_NUM_THREADS": "1"}
    log = (copy / "log").open("w")
    server = subprocess.Popen(command, cwd=copy, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server, copy / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address, server, log):
    for _ in range(300):
        assert server.poll() is None, Path(log).read_text()
        try:
            return urlopen(address).read()
        except OSError:
            time.sleep(0.2)
    raise AssertionError(Path(log).read_text())


def visit(browser, address):
    """A page of 1280 x 800 with the notebook at `address`."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(TIMEOUT)
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    return page


@pytest.fixture
def page(browser, lab, request):
    """The notebook whose name the test's name begins with, its cell run, the file browser open."""
    name = re.match(r"test_(\w+?)_", request.node.name)[1]
    page = visit(browser, f"{lab}/lab/workspaces/{request.node.name.split('[')[0]}/tree/notebooks/{name}.ipynb")
    page.wait_for_selector("text=| Idle")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator(NOTEBOOKS[name][1]).first.wait_for(state="attached")
    assert page.locator(".jp-FileBrowser").is_visible()
    yield page
    page.close()


def pictures(page):
    return page.locator(".jp-OutputArea .widget-image")


def box(element):
    element.scroll_into_view_if_needed()
    return element.bounding_box()


def test_first_chapter_is_in_front_and_nothing_is_asked(browser, lab):
    asked = []
    page = visit(browser, f"{lab}/")
    page.on("request", lambda request: asked.append(request.url))
    assert page.url.endswith(f"/lab/tree/notebooks/{chapters.target(chapters.sources()[0]).name}")
    page.wait_for_selector("text=| Idle")
    page.wait_for_timeout(2000)
    assert page.locator(".jp-Dialog, .Toastify__toast").count() == 0
    assert [url for url in asked if not url.startswith((lab, lab.replace("http", "ws"), "data:", "blob:"))] == []
    page.close()


@pytest.mark.parametrize("source", chapters.sources(), ids=lambda source: source.stem[:2])
def test_first_screen_of_every_chapter_has_a_picture(source, browser, lab):
    page = visit(browser, f"{lab}/lab/workspaces/first{source.stem[:2]}/tree/notebooks/{chapters.target(source).name}")
    picture = page.locator(".jp-Notebook img").first
    picture.wait_for(state="visible")
    for _ in range(60):
        page.wait_for_timeout(500)
        area, frame = page.locator(".jp-NotebookPanel-notebook").first.bounding_box(), picture.bounding_box()
        if frame and frame["height"] > 50:
            break
    assert picture.evaluate("e => e.complete && e.naturalWidth") > 0
    seen = min(frame["y"] + frame["height"], area["y"] + area["height"]) - max(frame["y"], area["y"])
    assert seen > 150, f"only {seen:.0f} pixels of the first picture are on the first screen"
    page.close()


def test_twins_break_no_word_beside_the_file_browser(page):
    listing = page.locator(".jp-OutputArea pre", has_text="np.roll").first
    assert "np.roll(x, (-rows, -columns)," in listing.inner_text()
    panes = page.locator(".jp-OutputArea pre")
    for k in range(3):
        wide, room, lines, height = panes.nth(k).evaluate(
            "e => [e.scrollWidth, e.clientWidth, e.textContent.split('\\n').length, e.clientHeight]"
        )
        assert wide <= room, "a line is cut"
        assert height < (lines + 1) * 20, "a line is broken"
    ours, theirs = (box(panes.nth(k)) for k in (1, 2))
    assert ours["y"] == theirs["y"] and ours["x"] + ours["width"] <= theirs["x"], "the twins aren't side by side"


@pytest.mark.parametrize("width", [390, 1280])
def test_listing_fits_a_page_of_any_width(browser, monkeypatch, width):
    shown = []
    monkeypatch.setattr(twins, "display", shown.append)
    twins.side_by_side("windows.cyclic_shift")
    page = browser.new_page(viewport={"width": width, "height": 800})
    for html in (shown[0]._repr_html_(), re.sub(r' style="[^"]*"', "", shown[0]._repr_html_())):
        page.set_content(f'<meta name="viewport" content="width=device-width"><body style="margin:4px">{html}')
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_twins_link_to_their_sources(page):
    page.locator(".jp-OutputArea a", has_text="swin_torch/windows.py").click()
    page.wait_for_selector(".jp-FileEditor >> text=import torch")


def test_slider_picture_is_in_view_with_its_controls(page):
    picture = pictures(page).first
    picture.evaluate("e => e.closest('.jp-OutputArea').scrollIntoView()")
    page.wait_for_timeout(300)
    area, control = page.locator(".jp-NotebookPanel-notebook").first.bounding_box(), page.locator(".noUi-target").first
    top, frame = control.bounding_box(), picture.bounding_box()
    assert area["y"] <= top["y"] < frame["y"] and frame["y"] + frame["height"] <= area["y"] + area["height"]
    width, height = picture.evaluate("e => [e.naturalWidth, e.naturalHeight]")
    assert frame["width"] / frame["height"] == pytest.approx(width / height, rel=0.02)
    assert frame["width"] > 600


def test_slider_answers_at_once(page):
    handle, picture = page.locator(".noUi-handle").first, pictures(page).first
    handle.focus()
    seconds = []
    for key in ("ArrowRight", "ArrowLeft") * 3:
        before = picture.get_attribute("src")
        start = time.perf_counter()
        page.keyboard.press(key)
        page.wait_for_function("([e, old]) => e.src != old && e.complete", arg=[picture.element_handle(), before])
        seconds.append(time.perf_counter() - start)
    if min(seconds) > ANSWER and os.getloadavg()[0] > os.cpu_count():
        pytest.skip(f"the machine is busy: load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    assert min(seconds) <= ANSWER


def test_steps_go_there_and_back_and_play(page):
    def beat(number):
        page.wait_for_selector(f"text={number} of 3")

    back, on = page.locator("button", has_text="Previous"), page.locator("button", has_text="Next")
    picture, seen = pictures(page).first, []
    beat(1)
    assert back.is_disabled()
    for number in (2, 3):
        seen.append(picture.get_attribute("src"))
        on.click()
        beat(number)
    assert on.is_disabled()
    for number in (2, 1):
        back.click()
        beat(number)
    assert len({*seen, picture.get_attribute("src")}) >= 2
    page.locator(".jupyter-widget-play button, .widget-play button").first.click()
    beat(3)


@pytest.mark.parametrize("folder", ["", "zh/"])
def test_second_click_on_a_question_lands_on_its_answer(folder, browser, lab):
    question, source = next(
        (question, source)
        for question, (source, fragment) in reversed(questions.answers().items())
        if fragment.replace("-", " ") in chapters.target(source).read_text(encoding="utf-8").replace("-", " ")
    )
    page = visit(browser, f"{lab}/lab/workspaces/questions{folder[:2]}/tree/notebooks/twins.ipynb")
    page.wait_for_selector("text=| Idle")
    options = f"{{path: 'notebooks/{folder}QUESTIONS.md', factory: 'Markdown Preview'}}"
    page.evaluate(f"void window.jupyterapp.commands.execute('docmanager:open', {options})")
    link, heading = (
        page.locator(f".jp-MarkdownViewer a[href*='{question}']").first,
        page.locator("h3", has_text=re.compile(f"^{question}[:：]")),
    )
    link.click()  # opens the chapter
    heading.wait_for(state="attached")
    page.wait_for_selector("text=| Idle")
    page.evaluate("window.jupyterapp.commands.execute('application:activate-previous-tab')")
    link.click()
    for _ in range(60):
        page.wait_for_timeout(500)
        if (place := heading.bounding_box()) and 60 < place["y"] < 780:
            break
    assert place and 60 < place["y"] < 780, f"{question} in {source.name} isn't in view"
    page.close()
