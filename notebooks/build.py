"""Execute notebooks/source/*.py into notebooks/*.ipynb, and write notebooks/QUESTIONS.md and the Chinese copies.

python -m notebooks.build                 all chapters
python -m notebooks.build --only 03       one of them (may be repeated)
python -m notebooks.build --jobs 2        two chapters at a time (then their timings mean less)
python -m notebooks.build --check         run nothing; fail if an .ipynb or QUESTIONS.md is behind its source
python -m notebooks.build --questions     write QUESTIONS.md only
"""

import argparse
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm
from traitlets import default

from docs.chinese import copies

from . import chapters, questions, reading_time
from .chapters import METADATA, Refused, folding, read_source, sources, target

LARGEST = 1_000_000  # bytes of an .ipynb
SECONDS = 300  # for one cell
WIDGET = "application/vnd.jupyter.widget-view+json"
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|usr|opt|mnt|private|var)/|\b[A-Z]:\\")


class ThisPython(AsyncKernelManager):
    """Starts kernels with the Python that runs the build, whatever "python3" is on this machine."""

    @default("kernel_spec_manager")
    def no_kernel_folders(self):
        return KernelSpecManager(kernel_dirs=[])


def run(notebook, progress=None):
    """Execute `notebook` in place, in the folder of the chapters, with this Python and this repository's packages.

    Raises Refused with the cell and its error if a cell fails.
    """
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": str(chapters.FOLDER)}},
        kernel_manager_class=ThisPython,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        timeout=SECONDS,
        coalesce_streams=True,
        record_timing=False,
    )
    if progress is not None:
        client.on_cell_executed = lambda **_: progress.update()
    paths = [str(chapters.FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        client.execute(env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    except CellExecutionError as error:
        raise Refused(f"a cell failed:\n{error}") from None
    finally:
        if not (loop := ensure_event_loop()).is_running():  # nbclient's own, which nobody else closes
            loop.close()
    return notebook


def clean(notebook):
    """Take out what differs from run to run or needs a live kernel: widgets, versions, metadata."""
    notebook.metadata = nbformat.from_dict(METADATA)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.metadata, cell.execution_count = nbformat.from_dict(folding(cell)), count
        cell.outputs = [output for output in cell.outputs if set(output.get("data", ())) - {"text/plain"} != {WIDGET}]
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET, None)  # the still picture that comes with it stays
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
    """Raise Refused for an output with an error, a warning or an absolute path."""
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
    notebook, start = read_source(source), perf_counter()
    try:
        clean(run(notebook, progress))
        reading_time.write(notebook, seconds=perf_counter() - start)
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
    if not reading_time.is_right(made):
        return f"{path.name} gives other reading times than it takes"
    try:
        refuse(made)
    except Refused as error:
        return f"{path.name}: {error}"
    return None


def cell_text(cell):
    """What must be equal in a source and its notebook for the notebook not to be behind."""
    return cell.cell_type, cell.id, reading_time.LINE.sub("", cell.source), folding(cell)


def main(arguments=None):
    """Command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.build",
        description="Execute notebooks/source/*.py into notebooks/*.ipynb, and write notebooks/QUESTIONS.md.",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NN", help="this chapter only; repeatable")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many chapters at a time (default: 1)")
    parser.add_argument("--check", action="store_true", help="run nothing; fail if something is behind its source")
    parser.add_argument("--questions", action="store_true", help="write QUESTIONS.md only")
    options = parser.parse_args(arguments)
    try:
        return (
            check(options.only)
            if options.check
            else build_all([] if options.questions else sources(options.only), options.jobs)
        )
    except Refused as error:
        print(error, file=sys.stderr)
        return 1


def build_all(chosen, jobs):
    """Execute the chosen sources and write QUESTIONS.md. Returns the exit status."""
    cells = sum(cell.cell_type == "code" for source in chosen for cell in read_source(source).cells)
    # The first chapter comes last: it shows the reading times of the others.
    with tqdm(total=cells, unit="cell", disable=not chosen) as progress, ThreadPoolExecutor(jobs) as pool:
        list(
            pool.map(lambda source: build(source, progress), sorted(chosen, key=lambda source: source != sources()[0]))
        )
    questions_path().write_text(questions.page(), encoding="utf-8")
    copies.write(missing=False)
    return 0


def check(only):
    """Say what is behind its source; run nothing. Returns the exit status."""
    wrong = [reason for source in sources(only) if (reason := behind(source))]
    if not questions_path().is_file() or questions_path().read_text(encoding="utf-8") != questions.page():
        wrong.append("QUESTIONS.md is not what questions.json and the chapters say now")
    for reason in wrong:
        print(f"{reason}: run python -m notebooks.build", file=sys.stderr)
    return 1 if wrong else 0


def questions_path():
    """Where the page of questions is written."""
    return chapters.FOLDER / "QUESTIONS.md"


if __name__ == "__main__":
    sys.exit(main())
