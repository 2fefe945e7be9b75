"""The web site in a real browser: every page opens, every link leads somewhere, and nothing is fetched from elsewhere.

Skipped where what it needs isn't installed: `make site` brings Sphinx and playwright, the browser is the system's own
Chromium or Chrome (BROWSER names another).
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

ROOT = Path(__file__).parent.parent
HTML = ROOT / "docs" / "build" / "html"
CHROMES = (os.environ.get("BROWSER"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROME = next((path for name in CHROMES if name and (path := shutil.which(name))), None)
MISSING = [name for name in ("sphinx", "myst_nb", "pagefind", "playwright") if find_spec(name) is None]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
PHONE = {"width": 390, "height": 844}
FACTS = """() => ({
  wide: document.documentElement.scrollWidth - innerWidth,
  formulas: document.querySelectorAll(".math").length,
  typeset: document.querySelectorAll(".math mjx-container").length,
  broken: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  errors: [...document.querySelectorAll("mjx-merror")].map(e => e.textContent),
})"""
FOCUS = """() => { const e = document.activeElement, style = getComputedStyle(e); return {
  at: e === document.body ? null : e.getAttribute("href") ?? e.className,
  name: (e.ariaLabel || e.title || e.textContent).trim(),
  seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
} }"""
PAIRS = """() => [...document.querySelectorAll('.cell_output div[style*="display:flex"]')]
  .map(row => [...row.children].map(pane => ({
    top: pane.getBoundingClientRect().top, name: pane.querySelector("small")?.textContent})))
  .filter(panes => panes.length === 2)"""

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} missing: `make site` installs what it needs"
)
in_browser = pytest.mark.skipif(CHROME is None, reason="no Chromium or Chrome on this machine")


@pytest.fixture(scope="module")
def build():
    """The finished process of `make site`, which does nothing if nothing is newer than the site."""
    command = [sys.executable, ROOT / "docs" / "make_site.py", "--if-needed"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def pages(build):
    """Names of all pages, such as "notebooks/QUESTIONS.html"."""
    found = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html"))
    return [name for name in found if not re.search(r"(^|/)(_static|pagefind|lite)/", name)]


class Silent(SimpleHTTPRequestHandler):
    """A server of files that doesn't list every request."""

    def log_message(self, *_):
        pass


class Parsed(HTMLParser):
    """ids, links and pictures of one page."""

    def __init__(self, name):
        super().__init__()
        self.ids, self.links, self.pictures = set(), [], []
        self.feed((HTML / name).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        have = dict(attributes)
        self.ids |= {have[name] for name in ("id", "name") if have.get(name)}
        if tag in ("a", "link") and have.get("href"):
            self.links.append(have["href"])
        if tag == "img":
            self.pictures.append((have.get("src"), have.get("alt")))


@pytest.fixture(scope="module")
def parsed(pages):
    return {name: Parsed(name) for name in pages}


@pytest.fixture(scope="module")
def address(pages):
    """Where the site is served on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        chrome = tool.chromium.launch(executable_path=CHROME, args=FLAGS)
        yield chrome
        chrome.close()


@pytest.fixture(scope="module")
def visits(browser, address, pages):
    """{page: what was seen of it on a phone: console, requests to elsewhere, FACTS}."""
    context, seen = browser.new_context(viewport=PHONE), {}
    tab = context.new_page()
    said, asked = [], []
    tab.on("console", lambda message: message.type in ("error", "warning") and said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("requestfailed", lambda request: "ABORTED" in request.failure or said.append(f"failed: {request.url}"))
    context.on("request", lambda request: request.url.startswith(("http", "ws")) and asked.append(request.url))
    for name in pages:
        said.clear(), asked.clear()
        tab.goto(address + name, wait_until="load")
        tab.evaluate("() => window.MathJax?.startup?.promise")
        seen[name] = tab.evaluate(FACTS) | {
            "console": list(said),
            "elsewhere": [url for url in asked if not url.startswith(address)],
        }
    context.close()
    return seen


def different(visits, key, expected):
    return {name: seen[key] for name, seen in visits.items() if seen[key] != expected}


def test_the_site_builds_without_a_warning(build):
    assert build.returncode == 0 and build.stderr == "", build.stderr[-3000:]


def test_every_chapter_and_every_module_has_a_page(pages):
    chapters = {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    modules = {
        f"api/{package}/" + path.relative_to(ROOT).with_suffix(".html").as_posix().replace("/", ".")
        for package in ("swin_numpy", "swin_torch")
        for path in (ROOT / package).rglob("*.py")
        if not path.name.startswith("__")
    }
    assert chapters | modules <= set(pages) and len(chapters) > 10 and len(modules) > 20


def test_every_link_inside_the_site_has_its_target(parsed):
    missing = set()
    for name, page in parsed.items():
        for link in page.links:
            path, fragment = urldefrag(urljoin(name, link))
            if re.match(r"[a-z]+:", path):
                continue
            path = unquote(path.partition("?")[0])
            if not (HTML / path).is_file() or (
                fragment and path in parsed and unquote(fragment) not in parsed[path].ids
            ):
                missing.add((name, link))
    assert not missing


def test_every_question_that_has_an_answer_links_to_it(parsed):
    answered = re.findall(r"\]\(<(\w+)\.ipynb#", (ROOT / "notebooks" / "QUESTIONS.md").read_text(encoding="utf-8"))
    links = [link for link in parsed["notebooks/QUESTIONS.html"].links if re.match(r"\d\d_\w+\.html#.", link)]
    assert [link.partition(".html")[0] for link in links] == answered and len(links) > 50


def test_every_picture_says_what_it_shows(parsed):
    pictures = [(name, *picture) for name, page in parsed.items() for picture in page.pictures]
    assert not [found for found in pictures if not found[2] or re.search(r"\.(png|svg|gif)$", found[2])]
    assert len(pictures) > 50


def test_every_chapter_offers_its_own_notebook(parsed):
    for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert path.name in parsed[f"notebooks/{path.stem}.html"].links
        assert path.name in parsed[f"zh_CN/notebooks/{path.stem}.html"].links
        assert (HTML / "notebooks" / path.name).read_bytes() == path.read_bytes()
        chinese = (HTML / "zh_CN" / "notebooks" / path.name).read_text(encoding="utf-8")
        assert '"enter"' in chinese and "](../" in chinese


@in_browser
def test_no_page_has_an_error_in_its_console(visits):
    assert not different(visits, "console", [])


@in_browser
def test_no_page_asks_anyone_else_for_anything(visits):
    assert not different(visits, "elsewhere", [])


@in_browser
def test_no_page_scrolls_sideways_on_a_phone(visits):
    assert not {name: seen["wide"] for name, seen in visits.items() if seen["wide"] > 0}


@in_browser
def test_every_formula_is_set_and_every_picture_arrives(visits):
    assert not different(visits, "errors", []) and not different(visits, "broken", [])
    assert not {name for name, seen in visits.items() if seen["formulas"] != seen["typeset"]}
    assert sum(seen["formulas"] for seen in visits.values()) > 100


@in_browser
@pytest.mark.parametrize(
    ("start", "word", "page"),
    [("", "mask", "/notebooks/05_"), ("zh_CN/index.html", "掩码", "/zh_CN/notebooks/QUESTIONS")],
)
def test_search_finds(start, word, page, browser, address):
    tab = browser.new_page(viewport=PHONE)
    tab.goto(address + start)
    tab.keyboard.press("Control+K")
    tab.keyboard.type(word)
    tab.keyboard.press("Enter")
    found = tab.locator(f'#search-results > ol > li > a[href*="{page}"]').first
    found.wait_for()  # Sphinx lists what it found one by one
    assert tab.evaluate(FACTS)["wide"] <= 0
    found.click()
    tab.wait_for_load_state()
    assert word in tab.text_content("article").lower()
    tab.close()


@in_browser
def test_search_of_one_language_finds_no_page_of_the_other(browser, address):
    tab = browser.new_page()
    for start in ("", "zh_CN/"):
        tab.goto(f"{address}{start}search.html?q=softmax")
        tab.wait_for_selector("#search-results li a")
        links = tab.eval_on_selector_all("#search-results a", "found => found.map(a => a.href)")
        assert {"/zh_CN/" in link for link in links} == {bool(start)}
    tab.close()


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_language_switch_leads_to_the_same_place_and_back(width, browser, address):
    tab = browser.new_page(viewport={"width": width, "height": 844})
    tab.goto(f"{address}notebooks/01_self_attention.html#several-heads")
    for label, where in (("中文", "zh_CN/"), ("English", "")):
        box = tab.get_by_text(label, exact=True).bounding_box()
        assert box["y"] >= 0 and box["x"] + box["width"] <= width
        tab.get_by_text(label, exact=True).click()
        tab.wait_for_url(f"{address}{where}notebooks/01_self_attention.html#several-heads")
        assert tab.evaluate("document.getElementById('several-heads') !== null")
    tab.close()


@in_browser
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_the_explainer_of_the_chinese_site_is_chinese(language, browser, address):
    tab = browser.new_page(locale=language)
    for name, chinese in (("zh_CN/explainer.html", True), ("explainer.html", language == "zh-CN")):
        tab.goto(address + name)
        assert (tab.text_content("h1") == "看得见、摸得着的 Swin Transformer") is chinese
    tab.close()


def test_a_heading_has_the_same_anchors_in_both_languages(parsed):
    for name in (name for name in parsed if re.match(r"notebooks/\d\d_", name)):
        headings = re.findall(r'<section id="([^"]+)"', (HTML / name).read_text(encoding="utf-8"))[1:]
        assert headings and not set(headings) - parsed[f"zh_CN/{name}"].ids


@in_browser
def test_search_works_without_a_server(browser, pages):
    tab = browser.new_page()
    tab.goto((HTML / "search.html").as_uri() + "?q=mask")
    tab.wait_for_selector('#search-results a[href*="05_"]')
    tab.close()


@in_browser
@pytest.mark.parametrize(("width", "beside"), [(1280, True), (390, False)])
def test_twins_stand_side_by_side_and_are_stacked_on_a_phone(width, beside, browser, address, pages):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    found = []
    for name in (name for name in pages if name.startswith("notebooks/0")):
        tab.goto(address + name)
        found += tab.evaluate(PAIRS)
    tab.close()
    assert len(found) > 5
    assert all(left["name"] and right["name"] for left, right in found)
    assert all((left["top"] == right["top"]) == beside for left, right in found)


@in_browser
def test_the_keyboard_reaches_everything_on_the_start_page(browser, address):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(address)
    reached = []
    for _ in range(200):
        tab.keyboard.press("Tab")
        focus = tab.evaluate(FOCUS)
        if focus["at"] is None:
            break
        reached.append(focus)
    tab.close()
    wanted = ["#main-content", "search-button", "theme-switch", "notebooks/00_", "notebooks/QUESTIONS", "CHANGELOG"]
    assert not [name for name in wanted if not any(name in focus["at"] for focus in reached)], reached
    assert not [focus for focus in reached if not focus["name"]]
    assert not [focus for focus in reached if not focus["seen"]]
