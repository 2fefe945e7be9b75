"""Build the web site docs/build/html: gather the pages, run Sphinx, index them for the search. Uses no network.

python docs/make_site.py               build all; any warning is an error
python docs/make_site.py --if-needed   only if something is newer than what was built
"""

import argparse
import html
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import files
from pathlib import Path

import jinja2
from docutils.nodes import make_id

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from docs.chinese import copies  # noqa: E402

STATIC, HTML = (DOCS / "build" / name for name in ("static", "html"))
EDITIONS = {"en": HTML, "zh_CN": HTML / "zh_CN"}
DONE = DOCS / "build" / "done"
INPUTS = ["docs", "figures/gallery", "notebooks", "swin_numpy", "swin_torch", "CHANGELOG.md", "CONTRIBUTING.md"]
PAGES = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "figures/gallery/README.md",
    "notebooks/QUESTIONS.md",
]  # beside the chapters and docs/*.md
MATHJAX = ["tex-chtml.js", "output/chtml/fonts/woff-v2/"]
ANIMATION = ["figures/gallery/cyclic_shift.gif", "figures/gallery/cyclic_shift_photograph.png"]
LITE = DOCS / "build" / "lite"  # chapters that run in the page, if `make lite` made them
EXPLAINER = DOCS / "explainer" / "build.py"
LINK = re.compile(r"\[([^\[\]]*)\]\((<[^>\n]+>|[^)\s]+)\)")
MEDIA = (".png", ".svg", ".gif", ".pdf", ".html")
RUN = '<a href="{up}lite/notebooks/index.html?path=notebooks/{name}">{run}</a> · '
PACKAGES = ("swin_numpy", "swin_torch")
SHOWN = {".py": "python", ".json": "json", ".toml": "toml", ".md": "markdown", ".txt": "text", "": "text"}
CHAPTER_BAR = '<p class="chapter-bar">{run}<a href="{name}" download>{lab}</a>: {how}</p>\n'
ANCHOR = re.compile(r'<a id="([^"]+)"></a>\n\n#+ (.+)')  # as docs/chinese writes them


def chapters():
    """Paths of the executed chapters, in order."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def page_of(path):
    """Where the site keeps what stands at `path` (relative to the root), without suffix; None if it has no page."""
    if path.suffix == ".py" and path.parts[0] in PACKAGES:
        module = path.with_suffix("").as_posix().removesuffix("/__init__").replace("/", ".")
        return f"api/{path.parts[0]}/{module}"
    if path.parent == Path("docs"):
        return path.stem
    if path.as_posix() in PAGES or (ROOT / path) in chapters():
        return path.with_suffix("").as_posix()
    if path.suffix in SHOWN and (ROOT / path).is_file():
        return f"files/{path.as_posix()}"
    return None


def linked(target, path, wanted):
    """Where a link to `target` in the file `path` leads on the site: (page relative to the page of `path`, anchor).

    The page is a path without suffix, or a whole one for pictures and the like; it is None for what is on no page, and
    for other sites. `wanted`: a set that collects the files for which a page has to be made.
    """
    target, _, anchor = target.partition("#")
    found = Path(os.path.relpath(ROOT / path.parent / target, ROOT))
    if not target or re.match(r"[a-z]+:", target) or not (ROOT / found).exists():
        return None, anchor
    if (ROOT / found).is_relative_to(EXPLAINER.parent):
        page = "explainer.html"
    else:
        page = found.as_posix() if found.suffix in MEDIA else page_of(found)
    if page and page.startswith("files/"):
        wanted.add(found)
    return page and os.path.relpath(page, Path(page_of(path)).parent), anchor


def relinked(text, path, wanted, language="en"):
    """The Markdown of the file `path` with its links to files turned into links to pages of the site.

    A link to a folder becomes plain text, one to a missing file stays, and Sphinx complains of it. In other languages
    links lead to the <a id="…"> that keeps the English anchor of a heading.
    """

    def new(match):
        label, target = match[1], match[2].strip("<>")
        if target.startswith("#") and language != "en":
            target = path.name + target
        page, anchor = linked(target, path, wanted)
        if page is None:
            return label if target and (ROOT / path.parent / target).is_dir() else match[0]
        if Path(page).suffix in MEDIA:
            return f"[{label}](<{page}>)" + "{.external}" * page.endswith(".html")
        source = (ROOT / path.parent / target.partition("#")[0]).resolve()
        named = language != "en" or f'id=\\"{anchor}\\"' in source.read_text(encoding="utf-8")  # an <a id="…">
        if anchor and named:
            return f"[{label}](<{page}.html#{anchor}>){{.external}}"
        suffix = ".ipynb" if source in chapters() else ".md"
        return f"[{label}](<{page}{suffix}{'#' if anchor else ''}{anchor}>)"

    return LINK.sub(new, text)


def relinked_html(text, path, wanted):
    """The same for the HTML that a cell printed."""

    def new(match):
        page, anchor = linked(match[1], path, wanted)
        if page is None:
            return match[0]
        return f'href="{page}{"" if Path(page).suffix in MEDIA else ".html"}{"#" if anchor else ""}{anchor}"'

    return re.sub(r'href="([^"]+)"', new, text)


def chapter(path, wanted, language):
    """The notebook at `path` as the site shows it: links to pages, and the notebook itself to download."""
    notebook = json.loads(path.read_text(encoding="utf-8")) if language == "en" else copies.notebook(path)
    here, heading, words = path.relative_to(ROOT), "", words_in(language)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked(with_ids(source), here, wanted, language)
            heading = (re.findall(r"^#+ (.+)$", source, re.MULTILINE) or [heading])[-1]
            continue
        if cell["metadata"].get("jupyter", {}).get("source_hidden"):
            cell["metadata"]["tags"] = ["hide-input"]
        for output in cell["outputs"]:
            for kind, relink in (("text/markdown", relinked), ("text/html", relinked_html)):
                if text := output.get("data", {}).get(kind):
                    output["data"][kind] = relink("".join(text), here, wanted)
        cell["metadata"]["mystnb"] = {"image": {"alt": alt_text(cell) or words["picture"].format(heading=heading)}}
    first = notebook["cells"][0]
    how = words["chapter.how"].format(folder="<code>notebooks</code>", command="<code>make lab</code>")
    up = os.path.relpath(HTML, EDITIONS[language] / "notebooks") + "/"
    runs = (LITE / "files" / "notebooks" / path.name).exists()
    run = RUN.format(up=up, name=path.name, run=words["chapter.run"]) if runs else ""
    bar = CHAPTER_BAR.format(name=path.name, run=run, lab=words["chapter.lab"], how=how)
    first["source"] = below_title(first["source"], notice(path, language), bar)
    return json.dumps(notebook, ensure_ascii=False)


def words_in(language):
    """{key: text} of docs/site.json in one language."""
    english = json.loads((DOCS / "site.json").read_text(encoding="utf-8"))
    return english if language == "en" else copies.texts("site")


def notice(path, language):
    """What a page says of itself if it isn't translated, or not to its end."""
    if language == "en":
        return ""
    return copies.notice(path.stem) if copies.is_page(path) else f"*{words_in(language)['untranslated.page']}*"


def below_title(text, *parts):
    """The Markdown with these paragraphs put below its first line."""
    title, _, rest = text.partition("\n")
    return "\n\n".join([title, *filter(None, parts), rest])


def with_ids(text):
    """The Markdown of a translation, whose headings can also be found by the ids that Sphinx gives the English ones."""

    def new(match):
        ours, theirs = (make_id(html.unescape(text)) for text in match.groups())
        return match[0] if ours == theirs else f'<a id="{ours}"></a>{match[0]}'

    return ANCHOR.sub(new, text)


def alt_text(cell):
    """What the pictures that a cell shows say of themselves, in the metadata of the outputs."""
    about = [about for output in cell["outputs"] for about in output.get("metadata", {}).values()]
    return " ".join(data["alt"] for data in about if isinstance(data, dict) and "alt" in data)


def times(path, language):
    """The line "Core 18 min · all of it …" that a chapter opens with, or ""."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = copies.TIMES.search("".join(cells[0]["source"]))
    return "" if found is None else found[1] if language == "en" else copies.in_chinese(found)


def file_page(path):
    """A page that shows one text file of the repository."""
    text = (ROOT / path).read_text(encoding="utf-8").rstrip()
    fence, kind = "`" * 10, SHOWN[path.suffix]
    return f"---\norphan: true\n---\n\n# {path.as_posix()}\n\n{fence}{{code-block}} {kind}\n{text}\n{fence}\n"


def gather(language):
    """Write the folder that Sphinx reads for one edition, all but STATIC. Returns it."""
    source = DOCS / "build" / f"source-{language}"
    shutil.rmtree(source, ignore_errors=True)
    wanted = set()
    for path in chapters():
        write(source / "notebooks" / path.name, chapter(path, wanted, language))
    about = {
        "animation": next(name for name in ANIMATION if (ROOT / name).exists()),
        "explainer": EXPLAINER.exists(),
        "chapters": {path.stem: times(path, language) for path in chapters()},
        "pages": [path.stem for path in sorted(DOCS.glob("*.md")) if path.stem != "index"],
    }
    for path in [*PAGES, *(page.relative_to(ROOT).as_posix() for page in sorted(DOCS.glob("*.md")))]:
        text = page_text(ROOT / path, language)
        if path == "docs/index.md":
            text = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(about)
        write(source / f"{page_of(Path(path))}.md", relinked(text, Path(path), wanted, language))
    done = set()
    while missing := wanted - done:
        for path in missing:
            write(source / f"files/{path}.md", file_page(path))
        done |= missing
    shutil.copytree(
        ROOT / "figures" / "gallery",
        source / "figures" / "gallery",
        ignore=shutil.ignore_patterns("*.md"),
        dirs_exist_ok=True,
    )
    return source


def page_text(path, language):
    """The Markdown of a page in one language; English, and said so, where it isn't translated."""
    if language == "en" or not copies.is_page(path):
        text = path.read_text(encoding="utf-8")
    else:
        text = with_ids(copies.markdown(path))
    return below_title(text, said) if (said := notice(path, language)) else text


def gather_static():
    """Write STATIC: MathJax's own files."""
    shutil.rmtree(STATIC, ignore_errors=True)
    for file in files("sphinx-mathjax-offline"):
        _, _, name = file.as_posix().partition("static/mathjax/")
        if name.startswith(tuple(MATHJAX)):
            write(STATIC / "mathjax" / name, Path(file.locate()).read_bytes())


def write(path, content):
    """Write text or bytes, making the folders that are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def build():
    """Gather, run Sphinx with warnings as errors, and index the pages. Raises CalledProcessError if one fails."""
    DONE.unlink(missing_ok=True)
    gather_static()
    shutil.rmtree(HTML, ignore_errors=True)
    with ThreadPoolExecutor(len(EDITIONS)) as pool:
        made = list(pool.map(edition, EDITIONS))
    if EXPLAINER.exists():
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        subprocess.run([sys.executable, EXPLAINER], check=True, env={**os.environ, "PYTHONPATH": paths})
        page = (DOCS / "build" / "explainer.html").read_text(encoding="utf-8")
        for language, out in EDITIONS.items():
            write(out / "explainer.html", page.replace('lang="en"', f'lang="{language.replace("_", "-")}"', 1))
    search = ["--site", HTML, "--root-selector", "article", "--exclude-selectors", ".headerlink, #source", "--silent"]
    subprocess.run([sys.executable, "-m", "pagefind", *search], check=True)
    if LITE.exists():  # after the index: these pages are no text to search
        shutil.copytree(LITE, HTML / "lite")
    for sphinx in made:
        sphinx.check_returncode()  # only now: what a warning was about can be looked at
    DONE.touch()


def edition(language):
    """The finished process in which Sphinx made one edition; the chapters to download lie beside their pages."""
    out = EDITIONS[language]
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", "-c", DOCS]
    command += ["-d", DOCS / "build" / f"doctrees-{language}", gather(language), out]
    done = subprocess.run(command, env={**os.environ, "SITE_LANGUAGE": language})
    for path in chapters():
        if language == "en":
            shutil.copy(path, out / "notebooks")
        else:
            write(out / "notebooks" / path.name, copies.text_of_copy(path))
    return done


def current():
    """Is docs/build/html newer than everything that it is made of?"""
    made = [path for name in INPUTS for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
    made = [path for path in made if not {"build", "__pycache__"} & set(path.relative_to(ROOT).parts)]
    made += [path for path in [LITE / "index.html"] if path.exists()]
    return DONE.exists() and max(path.stat().st_mtime for path in made) < DONE.stat().st_mtime


def main(arguments=None):
    """Command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the web site docs/build/html.")
    parser.add_argument("--if-needed", action="store_true", help="only if something is newer than what was built")
    options = parser.parse_args(arguments)
    if options.if_needed and current():
        return 0
    try:
        build()
    except subprocess.CalledProcessError as error:
        print(f"the site isn't built: {' '.join(map(str, error.cmd[:4]))} … failed, see above", file=sys.stderr)
        return 1
    folder = HTML.relative_to(ROOT)
    print(f"{folder}/index.html; to search it: python3 -m http.server --directory {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
