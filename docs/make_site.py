"""Build the web site docs/build/html: gather the pages, run Sphinx, index them for the search. Uses no network.

python docs/make_site.py               build all; any warning is an error
python docs/make_site.py --if-needed   only if something is newer than what was built
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import jinja2

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
SOURCE, STATIC, HTML = (DOCS / "build" / name for name in ("source", "static", "html"))
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
EXPLAINER = DOCS / "explainer" / "build.py"
LINK = re.compile(r"\[([^\[\]]*)\]\((<[^>\n]+>|[^)\s]+)\)")
MEDIA = (".png", ".svg", ".gif", ".pdf", ".html")
PACKAGES = ("swin_numpy", "swin_torch")
SHOWN = {".py": "python", ".json": "json", ".toml": "toml", ".md": "markdown", ".txt": "text", "": "text"}
CHAPTER_BAR = (
    '<p class="chapter-bar"><a href="{name}" download>Open in JupyterLab</a>: save this notebook in the folder'
    " <code>notebooks</code> of the project and run <code>make lab</code></p>\n"
)


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


def relinked(text, path, wanted):
    """The Markdown of the file `path` with its links to files turned into links to pages of the site.

    A link to a folder becomes plain text, one to a missing file stays, and Sphinx complains of it.
    """

    def new(match):
        label, target = match[1], match[2].strip("<>")
        page, anchor = linked(target, path, wanted)
        if page is None:
            return label if target and (ROOT / path.parent / target).is_dir() else match[0]
        if Path(page).suffix in MEDIA:
            return f"[{label}](<{page}>)" + "{.external}" * page.endswith(".html")
        source = (ROOT / path.parent / target.partition("#")[0]).resolve()
        if anchor and f'id=\\"{anchor}\\"' in source.read_text(encoding="utf-8"):  # an <a id="…"> in a cell
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


def chapter(path, wanted):
    """The notebook at `path` as the site shows it: links to pages, and the notebook itself to download."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    here, heading = path.relative_to(ROOT), ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked(source, here, wanted)
            heading = (re.findall(r"^#+ (.+)$", source, re.MULTILINE) or [heading])[-1]
            continue
        if cell["metadata"].get("jupyter", {}).get("source_hidden"):
            cell["metadata"]["tags"] = ["hide-input"]
        for output in cell["outputs"]:
            for kind, relink in (("text/markdown", relinked), ("text/html", relinked_html)):
                if text := output.get("data", {}).get(kind):
                    output["data"][kind] = relink("".join(text), here, wanted)
        cell["metadata"]["mystnb"] = {"image": {"alt": alt_text(cell) or f"Picture of the section “{heading}”"}}
    first = notebook["cells"][0]
    title, _, rest = first["source"].partition("\n")
    first["source"] = f"{title}\n\n{CHAPTER_BAR.format(name=path.name)}\n{rest}"
    return json.dumps(notebook, ensure_ascii=False)


def alt_text(cell):
    """What the pictures that a cell shows say of themselves, in the metadata of the outputs."""
    about = [about for output in cell["outputs"] for about in output.get("metadata", {}).values()]
    return " ".join(data["alt"] for data in about if isinstance(data, dict) and "alt" in data)


def times(path):
    """The line "Core 18 min · all of it …" that a chapter opens with, or ""."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = re.search(r"^\*(Core \d+ min\b.*)\*$", "".join(cells[0]["source"]), re.MULTILINE)
    return found[1] if found else ""


def file_page(path):
    """A page that shows one text file of the repository."""
    text = (ROOT / path).read_text(encoding="utf-8").rstrip()
    fence, kind = "`" * 10, SHOWN[path.suffix]
    return f"---\norphan: true\n---\n\n# {path.as_posix()}\n\n{fence}{{code-block}} {kind}\n{text}\n{fence}\n"


def gather():
    """Write docs/build/source and docs/build/static: everything that Sphinx reads."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.rmtree(STATIC, ignore_errors=True)
    wanted = set()
    for path in chapters():
        write(SOURCE / "notebooks" / path.name, chapter(path, wanted))
    about = {
        "animation": next(name for name in ANIMATION if (ROOT / name).exists()),
        "explainer": EXPLAINER.exists(),
        "chapters": {path.stem: times(path) for path in chapters()},
        "pages": [path.stem for path in sorted(DOCS.glob("*.md")) if path.stem != "index"],
    }
    for path in [*PAGES, *(page.relative_to(ROOT).as_posix() for page in sorted(DOCS.glob("*.md")))]:
        text = (ROOT / path).read_text(encoding="utf-8")
        if path == "docs/index.md":
            text = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(about)
        write(SOURCE / f"{page_of(Path(path))}.md", relinked(text, Path(path), wanted))
    done = set()
    while missing := wanted - done:
        for path in missing:
            write(SOURCE / f"files/{path}.md", file_page(path))
        done |= missing
    shutil.copytree(
        ROOT / "figures" / "gallery",
        SOURCE / "figures" / "gallery",
        ignore=shutil.ignore_patterns("*.md"),
        dirs_exist_ok=True,
    )
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
    gather()
    shutil.rmtree(HTML, ignore_errors=True)
    editions = [("en", HTML), *((path.name, HTML / path.name) for path in sorted(DOCS.glob("locale/*/")))]
    made = [run_sphinx(language, out) for language, out in editions]
    if EXPLAINER.exists():
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        subprocess.run([sys.executable, EXPLAINER], check=True, env={**os.environ, "PYTHONPATH": paths})
        for _, out in editions:
            shutil.copy(DOCS / "build" / "explainer.html", out)
    search = ["--site", HTML, "--root-selector", "article", "--exclude-selectors", ".headerlink, #source", "--silent"]
    subprocess.run([sys.executable, "-m", "pagefind", *search], check=True)
    for sphinx in made:
        sphinx.check_returncode()  # only now: what a warning was about can be looked at
    DONE.touch()


def run_sphinx(language, out):
    """The finished process that made one edition; the chapters to download lie beside their pages."""
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", "-c", DOCS]
    doctrees = DOCS / "build" / f"doctrees-{language}"
    done = subprocess.run([*command, "-d", doctrees, SOURCE, out], env={**os.environ, "SITE_LANGUAGE": language})
    for path in chapters():
        shutil.copy(path, out / "notebooks")
    return done


def current():
    """Is docs/build/html newer than everything that it is made of?"""
    made = [path for name in INPUTS for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
    made = [path for path in made if not {"build", "__pycache__"} & set(path.relative_to(ROOT).parts)]
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
