"""Execute notebooks/source/*.py into notebooks/*.ipynb, and write notebooks/QUESTIONS.md.

python -m notebooks.build                 all chapters
python -m notebooks.build --only 03       one of them (may be repeated)
python -m notebooks.build --check         run nothing; fail if an .ipynb or QUESTIONS.md is behind its source
python -m notebooks.build --questions     write QUESTIONS.md only
"""

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm
from traitlets import default

FOLDER = Path(__file__).parent
SOURCES = FOLDER / "source"
QUESTIONS = FOLDER / "QUESTIONS.md"
LARGEST = 1_000_000  # bytes of an .ipynb
SECONDS = 300  # for one cell
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|usr|opt|mnt|private|var)/|\b[A-Z]:\\")
TITLES = {
    "00": "Start here",
    "01": "Self-attention",
    "02": "Patch embedding",
    "03": "Window attention",
    "04": "Relative position bias",
    "05": "Shifted windows",
    "06": "The Swin block",
    "07": "Patch merging",
    "08": "The whole model",
    "09": "The backward pass",
    "10": "Training",
    "11": "Published weights, other sizes, looking inside",
    "12": "Swin V2",
    "13": "Speed",
}


class Refused(Exception):
    """A chapter that must not be committed as it is. The message is one line."""


class ThisPython(AsyncKernelManager):
    """Starts kernels with the Python that runs the build, whatever "python3" is on this machine."""

    @default("kernel_spec_manager")
    def no_kernel_folders(self):
        return KernelSpecManager(kernel_dirs=[])


def chapters(only=()):
    """Paths of the sources, in order; `only`: numbers such as "03", or nothing for all."""
    found = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
    unknown = set(only) - {path.name[:2] for path in found}
    if unknown:
        raise Refused(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(p.name[:2] for p in found)}")
    return [path for path in found if not only or path.name[:2] in only]


def target(source):
    """notebooks/03_name.ipynb of notebooks/source/03_name.py."""
    return FOLDER / f"{source.stem}.ipynb"


def read_source(source):
    """The chapter as a notebook without outputs, with cell ids made of the cells' text."""
    read = jupytext.read(source, fmt="py:percent")
    notebook = nbformat.v4.new_notebook(metadata=METADATA)
    seen = {}
    for cell in read.cells:
        text = cell.source
        copy = seen[text] = seen.get(text, 0) + 1
        make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        name = hashlib.sha256(f"{copy}{cell.cell_type}{text}".encode()).hexdigest()[:8]
        notebook.cells.append(make(text, id=name))
    return notebook


def run(notebook, progress=None):
    """Execute `notebook` in place, in the folder of the chapters, with this Python and this repository's packages.

    Raises Refused with the cell and its error if a cell fails.
    """
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": str(FOLDER)}},
        kernel_manager_class=ThisPython,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        timeout=SECONDS,
        coalesce_streams=True,
        record_timing=False,
    )
    if progress is not None:
        client.on_cell_executed = lambda **_: progress.update()
    paths = [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        client.execute(env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    except CellExecutionError as error:
        raise Refused(f"a cell failed:\n{error}") from None
    return notebook


def clean(notebook):
    """Take out what differs from run to run or needs a live kernel: widgets, versions, metadata."""
    notebook.metadata = nbformat.from_dict(METADATA)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.metadata, cell.execution_count = nbformat.from_dict({}), count
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    return notebook


def refuse(notebook):
    """Raise Refused if the notebook holds errors, warnings, absolute paths, stale counts, or too many bytes."""
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        where = f"code cell {count} ({cell.source.splitlines()[0] if cell.source else 'empty'})"
        if cell.execution_count != count:
            raise Refused(f"{where} carries the number {cell.execution_count}")
        for output in cell.outputs:
            refuse_output(where, output)
    for cell in notebook.cells:
        if path := ABSOLUTE.search(cell.source):
            raise Refused(f"a cell holds an absolute path: {cell.source[path.start() : path.start() + 60]!r}")
    if notebook.metadata != METADATA:
        raise Refused("its metadata are not those that the build gives it")
    size = len(nbformat.writes(notebook).encode())
    if size > LARGEST:
        raise Refused(f"{size:,} bytes; at most {LARGEST:,} are wanted: fewer or smaller pictures")


def refuse_output(where, output):
    text = readable(output)
    if output.output_type == "error" or output.get("name") == "stderr":
        raise Refused(f"{where} wrote to stderr: {text[:200]!r}")
    if re.search(r"\b\w*Warning:", text):
        raise Refused(f"{where} shows a warning: {text[:200]!r}")
    if path := ABSOLUTE.search(text):
        raise Refused(f"{where} shows an absolute path: {text[path.start() : path.start() + 60]!r}")
    if WIDGET in output.get("data", {}):
        raise Refused(f"{where} shows a widget, which needs a running kernel")


def readable(output):
    """The text of one output: a stream, or whatever of its data is text."""
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    parts = [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return output.get("text", "") + "\n".join("".join(part) for part in parts)


def build(source, progress=None):
    """Execute one source and write its .ipynb. Raises Refused with the chapter's name."""
    notebook = read_source(source)
    try:
        clean(run(notebook, progress))
        refuse(notebook)
    except Refused as error:
        raise Refused(f"{source.name}: {error}") from None
    target(source).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def behind(source):
    """Why the .ipynb of `source` can't be committed as it is, as one line; None if it can."""
    path = target(source)
    if not path.is_file():
        return f"{path.name} is missing"
    made, now = nbformat.read(path, as_version=4), read_source(source)
    if [cell_text(cell) for cell in made.cells] != [cell_text(cell) for cell in now.cells]:
        return f"{path.name} is not what source/{source.name} says now"
    try:
        refuse(made)
    except Refused as error:
        return f"{path.name}: {error}"
    return None


def cell_text(cell):
    return cell.cell_type, cell.id, cell.source


def headings(source):
    """Texts of all Markdown headings of a chapter."""
    cells = [cell.source for cell in read_source(source).cells if cell.cell_type == "markdown"]
    return [line.lstrip("#").strip() for cell in cells for line in cell.splitlines() if re.match(r"#{1,6} ", line)]


def anchor(heading):
    """The fragment that JupyterLab, nbconvert and GitHub give a heading: blanks become dashes, the rest stays.

    Raises Refused for anything but plain ASCII: browsers encode the rest, and JupyterLab then doesn't find it.
    """
    if not heading.isascii() or re.search(r'["<>`*_$\\[\]]', heading):
        raise Refused(f"heading {heading!r}: plain ASCII without markup is wanted, such as 'Q04: Along which axis?'")
    return heading.replace(" ", "-")


def answers():
    """{question id: (chapter's source, heading)}. Raises Refused where two headings answer one question."""
    found = {}
    for source in chapters():
        for heading in headings(source):
            if match := re.match(r"Q\d\d\b", heading):
                if match[0] in found:
                    raise Refused(f"{match[0]} has two headings: in {found[match[0]][0].name} and {source.name}")
                anchor(heading)
                found[match[0]] = source, heading
    return found


def questions():
    """The learners' questions: a list of dicts with id, chapter, question, zh and sources (where it was asked)."""
    return json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))


def questions_page():
    """The text of QUESTIONS.md."""
    asked, answered = questions(), answers()
    ready = sum(question["id"] in answered for question in asked)
    lines = [
        "# Questions that learners ask · 学习者常问的问题",
        "",
        f"{len(asked)} questions, collected from issue trackers and forums; {ready} are answered so far, each by a cell"
        " that you can run.",
        "",
        f"共 {len(asked)} 个问题，来自各项目的 issue 和论坛；目前已回答 {ready} 个，每个答案都是一个可以运行的单元格。",
        "",
        "In JupyterLab: open this page with a right click, *Open With*, *Markdown Preview*. The first click on a link"
        " opens the chapter, a second one jumps to the answer.",
        "",
        "Made by `python -m notebooks.build` from `questions.json` and the chapters' headings.",
    ]
    for number in sorted({question["chapter"] for question in asked}):
        lines += ["", f"## {number} · {TITLES[number]}", ""]
        for question in asked:
            if question["chapter"] == number:
                lines += entry(question, answered.get(question["id"]))
    return "\n".join(lines) + "\n"


def entry(question, answer):
    """Two lines of QUESTIONS.md: English with the link, Chinese below it."""
    if answer is None:
        link = f"*coming in chapter {question['chapter']}*"
    else:
        source, heading = answer
        link = f"[{target(source).stem}](<{target(source).name}#{anchor(heading)}>)"
    return [f"- **{question['id']}** {question['question']} → {link}  ", f"  {question['zh']}"]


def main(arguments=None):
    """Command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.build",
        description="Execute notebooks/source/*.py into notebooks/*.ipynb, and write notebooks/QUESTIONS.md.",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NN", help="this chapter only; repeatable")
    parser.add_argument("--check", action="store_true", help="run nothing; fail if something is behind its source")
    parser.add_argument("--questions", action="store_true", help="write QUESTIONS.md only")
    options = parser.parse_args(arguments)
    try:
        return check(options.only) if options.check else build_all(options.only, options.questions)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1


def build_all(only, questions_only):
    sources = [] if questions_only else chapters(only)
    cells = {source: sum(cell.cell_type == "code" for cell in read_source(source).cells) for source in sources}
    with tqdm(total=sum(cells.values()), unit="cell", disable=not sources) as progress:
        for source in sources:
            progress.set_description(source.stem)
            build(source, progress)
    QUESTIONS.write_text(questions_page(), encoding="utf-8")
    return 0


def check(only):
    wrong = [reason for source in chapters(only) if (reason := behind(source))]
    if not QUESTIONS.is_file() or QUESTIONS.read_text(encoding="utf-8") != questions_page():
        wrong.append("QUESTIONS.md is not what questions.json and the chapters say now")
    for reason in wrong:
        print(f"{reason}: run python -m notebooks.build", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
