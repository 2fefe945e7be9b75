"""The chapters: in step with their source, executable, light, without leftovers; questions, exercises, helpers."""

import json
import re
import subprocess
import sys
from contextlib import nullcontext

import nbformat
import pytest
from jupyter_core.utils import ensure_event_loop
from nbconvert.filters import markdown2html

from notebooks import build, chapters, lesson, questions, reading_time

SOURCES = chapters.sources()
EXERCISES = sorted(
    f"{path.stem[2:]}.{k}"
    for path in (chapters.FOLDER / "exercises").glob("ch??.py")
    for k in re.findall(r"^def check_(\d+)", path.read_text(encoding="utf-8"), re.MULTILINE)
)
each_chapter = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
each_exercise = pytest.mark.parametrize("number", EXERCISES)


# The chapters


@each_chapter
def test_committed_notebook_is_what_the_build_makes_of_its_source(source):
    assert build.behind(source) is None


@each_chapter
def test_chapter_runs_and_shows_what_the_committed_page_shows(source):
    made = build.clean(build.run(chapters.read_source(source)))
    build.refuse(made)
    committed = nbformat.read(chapters.target(source), as_version=4)
    for fresh, saved in zip(made.cells, committed.cells, strict=True):
        assert shape_of(fresh) == shape_of(saved), f"stale output of:\n{saved.source}"


def shape_of(cell):
    """What each output is, and the source code it shows; not its numbers, which differ from machine to machine."""
    shown = [(out.output_type, out.get("data", {})) for out in cell.get("outputs", [])]
    return [(kind, sorted(data), data.get("text/html"), data.get("text/markdown")) for kind, data in shown]


@each_chapter
def test_chapter_says_first_what_it_teaches_and_last_where_to_read_on(source):
    assert chapters.headings(source)[0].startswith(f"{source.name[:2]} · ")
    assert "After this chapter you can" in chapters.read_source(source).cells[0].source
    assert chapters.headings(source)[-1] == "Where to read on"


@each_chapter
def test_links_between_pages_lead_somewhere(source):
    last = SOURCES[-1].name[:2]
    for cell in chapters.read_source(source).cells:
        for name, fragment in re.findall(r"\]\(([\w./-]*)(#[^)\s]*)?\)", cell.source):
            if re.match(r"\d\d_", name) and name[:2] > last:
                continue  # a chapter that is still to come
            page = chapters.FOLDER / name if name else chapters.target(source)
            assert page.is_file(), f"no such file: {name}"
            assert not fragment or fragment[1:] in anchors(page), f"no such heading: {name}{fragment}"


@each_chapter
def test_every_picture_says_what_it_shows(source):
    cells = nbformat.read(chapters.target(source), as_version=4).cells
    outputs = [(cell, output) for cell in cells for output in cell.get("outputs", [])]
    silent = [
        cell.source.splitlines()[-1]
        for cell, output in outputs
        if "image/png" in output.get("data", {})
        and len(output.metadata.get("image/png", {}).get("alt", "").split()) < 4
    ]
    assert silent == [], "pictures without an alternative text (figures.style.describe)"


def test_contents_of_the_first_chapter_names_all():
    first = nbformat.read(chapters.target(SOURCES[0]), as_version=4)
    shown = "".join(build.readable(output) for cell in first.cells for output in cell.get("outputs", []))
    assert [path.stem for path in SOURCES if f"({path.stem}.ipynb)" not in shown] == []


# The questions


def anchors(page):
    """Ids that nbconvert, which shares nothing with the build, gives the headings of a page."""
    source = chapters.FOLDER / "source" / f"{page.stem}.py"
    cells = chapters.read_source(source).cells if source.is_file() else nbformat.read(page, as_version=4).cells
    html = "".join(markdown2html(cell.source) for cell in cells if cell.cell_type == "markdown")
    return set(re.findall(r'<(?:h\d|a) id="([^"]*)"', html))


def test_questions_page_is_up_to_date_and_has_all_questions():
    page = build.questions_path().read_text(encoding="utf-8")
    assert page == questions.page()
    ids = [question["id"] for question in questions.questions()]
    assert ids == [f"Q{number:02}" for number in range(1, 75)]  # without gaps, in the order of the chapters
    for question in questions.questions():
        assert question["question"] in page
        assert question["chapter"] in {source.name[:2] for source in SOURCES}


def test_every_link_of_the_questions_page_leads_to_a_heading_that_is_there():
    links = re.findall(r"(?m)^- .*\(<([\w.]+)#([^>]+)>\)$", build.questions_path().read_text(encoding="utf-8"))
    assert len(links) == len(questions.answers()) + len(questions.others())
    assert questions.answers() and questions.others()
    for page, fragment in links:
        assert fragment in anchors(chapters.FOLDER / page)


def test_a_chapter_that_is_there_answers_its_questions():
    written, answered = {path.name[:2] for path in SOURCES}, questions.answers()
    due = {question["id"] for question in questions.questions() if question["chapter"] in written}
    assert due - answered.keys() == set()


def test_question_without_answer_is_said_to_be_coming():
    question = {"id": "Q99", "chapter": "11", "question": "Why?"}
    assert "coming in chapter 11" in questions.entry(question, None)


# The exercises


def tries(kind, number):
    """{name: function} of an exercise's "wrong" or "right" answers, such as wrong_2 and wrong_2_rows."""
    names = lesson.exercises.exercise(number, "check").__globals__
    return {name: names[name] for name in names if re.fullmatch(rf"{kind}_{number[3:]}(_\w+)?", name)}


@each_exercise
def test_solution_is_right_and_typical_mistakes_get_a_hint(number):
    assert lesson.exercises.hint_for(number, lesson.exercises.exercise(number, "solution")) is None
    wrong = tries("wrong", number)
    assert wrong, "no wrong answer to try"
    for name, answer in wrong.items():
        hint = lesson.exercises.hint_for(number, answer)
        assert hint and hint.startswith(f"✗ {number}: ") and len(hint) > 20, f"{name} was accepted: {hint}"
        assert "your code stopped" not in hint, f"{name}: {hint}"


@each_exercise
def test_right_answers_in_another_style_are_accepted(number):
    for name, answer in tries("right", number).items():
        hint = lesson.exercises.hint_for(number, answer)
        assert hint is None, f"{name}: {hint}"


@each_exercise
def test_stub_is_not_called_wrong_and_an_error_is_shown(number):
    def stops(*inputs):
        raise KeyError("lost")

    assert "not written yet" in lesson.exercises.hint_for(number, lambda *inputs: None)
    assert "not written yet" in lesson.exercises.hint_for(number, ...)
    assert "KeyError: 'lost'" in lesson.exercises.hint_for(number, stops)


@each_exercise
def test_exercise_stands_in_its_chapter(number):
    source = next(path for path in SOURCES if path.name[:2] == number[:2]).read_text(encoding="utf-8")
    assert f'check("{number}", ' in source and f'solution("{number}")' in source


@each_chapter
def test_every_exercise_of_a_chapter_has_a_checker(source):
    asked = set(re.findall(r'check\("(\d\d\.\d)"', source.read_text(encoding="utf-8")))
    assert asked == {number for number in EXERCISES if number[:2] == source.name[:2]}


def test_solution_is_folded_away(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson.exercises, "display", shown.append)
    lesson.solution(EXERCISES[0])
    assert re.match(r"<details><summary>.*</summary><pre>def solution_", shown[0].data)


def test_check_prints_and_never_raises(capsys):
    lesson.check(EXERCISES[0], lesson.exercises.exercise(EXERCISES[0], "solution"))
    lesson.check("00.77", lambda: 1)
    assert capsys.readouterr().out.count("\n") == 2


# build


def page(*outputs, source="1 + 1", count=1):
    cell = nbformat.v4.new_code_cell(source, execution_count=count, outputs=list(outputs), id="a")
    return nbformat.v4.new_notebook(metadata=chapters.METADATA, cells=[cell])


def test_clean_page_is_not_refused():
    build.refuse(page(nbformat.v4.new_output("stream", text="https://arxiv.org/abs/2103.14030, h/2·w/2, and/or")))


@pytest.mark.parametrize(
    ("notebook", "message"),
    [
        (page(nbformat.v4.new_output("stream", name="stderr", text="x")), "stderr"),
        (page(nbformat.v4.new_output("error", ename="ValueError", evalue="no")), "ValueError"),
        (page(nbformat.v4.new_output("stream", text="UserWarning: slow")), "warning"),
        (page(nbformat.v4.new_output("stream", text="saved in /home/me/x.png")), "absolute path"),
        (page(nbformat.v4.new_output("display_data", data={"text/html": r"C:\Users"})), "absolute path"),
        (page(source="open('/tmp/x')"), "absolute path"),
        (page(nbformat.v4.new_output("display_data", data={build.WIDGET: {}})), "widget"),
        (page(nbformat.v4.new_output("display_data", data={"image/png": "A" * build.LARGEST})), "bytes"),
        (page(count=3), "number 3"),
        (nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "mine", "display_name": "Mine"}}), "metadata"),
    ],
)
def test_refuse(notebook, message):
    with pytest.raises(chapters.Refused, match=message):
        build.refuse(notebook)


def test_clean_takes_out_widgets_counts_and_versions():
    result = nbformat.v4.new_output("execute_result", data={"text/plain": "2"}, execution_count=7)
    notebook = page(nbformat.v4.new_output("display_data", data={build.WIDGET: {}}), result, count=7)
    still = nbformat.v4.new_output("display_data", data={build.WIDGET: {}, "text/plain": "x", "image/png": "A"})
    notebook.cells[0].outputs.append(still)
    notebook.metadata["widgets"], notebook.cells[0].metadata["execution"] = {}, {"started": "now"}
    build.refuse(build.clean(notebook))
    assert [out.output_type for out in notebook.cells[0].outputs] == ["execute_result", "display_data"]
    assert set(notebook.cells[0].outputs[1].data) == {"text/plain", "image/png"}
    assert notebook.cells[0].outputs[0].execution_count == 1 and notebook.cells[0].metadata == {}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A book of one small chapter."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "01_small.py").write_text(
        "# %% [markdown]\n# # 01 · Small\n#\n# ### Q04: Which?\n\n# %%\n1 + 1\n"
    )
    (tmp_path / "questions.json").write_text(json.dumps(questions.questions()), encoding="utf-8")
    monkeypatch.setattr(chapters, "FOLDER", tmp_path)
    return tmp_path


def test_build_check_and_build_again(folder, capsys):
    assert build.main(["--check"]) == 1
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    first = (folder / "01_small.ipynb").read_bytes()
    assert build.main(["--only", "01"]) == 0
    assert (folder / "01_small.ipynb").read_bytes() == first
    assert "[01_small](<01_small.ipynb#Q04:-Which?>)" in (folder / "QUESTIONS.md").read_text(encoding="utf-8")
    saved = first.replace(b'"outputs": [', b'"outputs": [{"name": "stderr", "output_type": "stream", "text": "x"}, ')
    (folder / "01_small.ipynb").write_bytes(saved)
    assert build.main(["--check"]) == 1
    assert "wrote to stderr" in capsys.readouterr().err
    source = folder / "source" / "01_small.py"
    source.write_text(source.read_text(encoding="utf-8").replace("1 + 1", "1 + 2"), encoding="utf-8")
    assert build.main(["--check"]) == 1
    assert "not what source/01_small.py says now" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["1 + 1", "1 / 0"])
def test_a_run_leaves_no_event_loop_open(code):
    loop = ensure_event_loop()
    with nullcontext() if code == "1 + 1" else pytest.raises(chapters.Refused, match="a cell failed"):
        build.run(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]))
    assert loop.is_closed()


def test_folded_cells_stay_folded_and_nothing_else_is_kept(folder):
    source = folder / "source" / "01_small.py"
    source.write_text(
        '# %% [markdown]\n# # 01 · Small\n\n# %% jupyter={"source_hidden": true} tags=["x"]\n1\n\n# %%\n2\n'
    )
    assert build.main(["--only", "01"]) == 0
    cells = nbformat.read(folder / "01_small.ipynb", as_version=4).cells
    assert [cell.metadata for cell in cells] == [{}, {"jupyter": {"source_hidden": True}}, {}]
    assert build.main(["--check"]) == 0
    source.write_text(source.read_text(encoding="utf-8").replace("true", "false"), encoding="utf-8")
    assert build.main(["--check"]) == 1


def test_titles_are_read_from_the_chapters(folder):
    source = folder / "source" / "01_small.py"
    assert chapters.title(source) == "Small"
    assert "## 01 · Small" in questions.page()
    for text in ("# %% [markdown]\n# # 02 · Small\n", "# %% [markdown]\n# # Small\n", "# %%\n1\n"):
        source.write_text(text)
        with pytest.raises(chapters.Refused, match="expected '# 01 · Title'"):
            chapters.title(source)


def test_any_heading_or_anchor_can_answer_a_question(folder):
    source = folder / "source" / "01_small.py"
    text = source.read_text(encoding="utf-8") + '\n# %% [markdown]\n# ## Three bits\n# <a id="why"></a>Because.\n'
    source.write_text(text, encoding="utf-8")
    asked = {"id": "Q05", "chapter": "01", "question": "Why?", "sources": []}
    for answer, found in (("01#Three-bits", "Three-bits"), ("01#why", "why")):
        (folder / "questions.json").write_text(json.dumps([asked | {"answer": answer}]), encoding="utf-8")
        assert questions.answers()["Q05"] == (source, found)
        assert f"(<01_small.ipynb#{found}>)" in questions.page()
    for question, message in (
        (asked | {"answer": "01#Four-bits"}, "'Four-bits', which 01_small.py lacks"),
        (asked | {"answer": "02#Three-bits"}, "no chapter 02"),
        (asked | {"answer": "01#why", "id": "Q04"}, "Q04 has a heading, and"),
    ):
        (folder / "questions.json").write_text(json.dumps([question]), encoding="utf-8")
        with pytest.raises(chapters.Refused, match=message):
            questions.answers()


def test_what_a_chapter_answers_under_another_heading_is_listed_without_a_number(folder):
    besides = {"chapter": "01", "question": "Which one?", "answer": "01#Q04:-Which?"}
    (folder / "questions.json").write_text(json.dumps([besides]), encoding="utf-8")
    assert questions.page().splitlines()[-1] == "- Which one? → [01_small](<01_small.ipynb#Q04:-Which?>)"
    besides["answer"] = "01#Four-bits"
    (folder / "questions.json").write_text(json.dumps([besides]), encoding="utf-8")
    with pytest.raises(chapters.Refused, match=r"Which one\?: .*'Four-bits', which 01_small.py lacks"):
        questions.page()


def test_chapters_can_be_built_at_the_same_time(folder):
    for number in ("02", "03"):
        (folder / "source" / f"{number}_next.py").write_text(
            f"# %% [markdown]\n# # {number} · Next\n\n# %%\n{number[1]}\n"
        )
    assert build.main(["--jobs", "2"]) == 0
    assert build.main(["--check"]) == 0
    assert "".join(nbformat.read(folder / "03_next.ipynb", as_version=4).cells[1].outputs[0].data["text/plain"]) == "3"


# reading_time


def test_reading_time_by_hand():
    cell, output = nbformat.v4.new_code_cell, nbformat.v4.new_output
    shown = [output("display_data", data={"image/png": "A"}), output("stream", text="1\n\n2\n")]
    folded = {"jupyter": {"source_hidden": True}}
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# 01 · Title\n\n" + "word " * 166),  # 170 words: a minute
            cell("a\n\nb", outputs=shown),  # 2 lines, 2 printed lines, a picture: 8 + 5 + 30 s
            cell(
                "a\nb", metadata=folded, outputs=[output("display_data", data={"text/html": "\n" * 99})]
            ),  # 60 lines at most
            nbformat.v4.new_markdown_cell("## 2 · Exercises"),
            cell("check('01.1', 1)\n" * 50),  # not counted
            nbformat.v4.new_markdown_cell("## Deeper: traps"),
            nbformat.v4.new_markdown_cell("### One"),
            cell("x\n" * 15),  # a minute
            nbformat.v4.new_markdown_cell("## Where to read on\n\n![A picture](a.png)"),
        ]
    )
    words = {"Exercises": 4, "Deeper": 3, "One": 2, "Where": 8}
    core = 1 + 43 / 60 + 150 / 60 + words["Where"] / 170 + 0.5
    whole = core + (words["Exercises"] + words["Deeper"] + words["One"]) / 170 + 1
    assert reading_time.times(notebook) == pytest.approx((core, whole))
    assert [section.core for section in reading_time.sections(notebook)] == [True, False, False, False, True]
    before = reading_time.times(notebook)
    reading_time.write(notebook, seconds=130)
    assert "# 01 · Title\n\n*Core 5 min · all of it 6 min · running it 2 min*\n\nword" in notebook.cells[0].source
    assert reading_time.times(notebook) == before and reading_time.is_right(notebook)
    notebook.cells[0].source += " word" * 170
    assert not reading_time.is_right(notebook)


def test_reading_time_prints_every_chapter(capsys):
    assert reading_time.main([]) == 0
    out = capsys.readouterr().out
    assert all(source.stem in out for source in SOURCES) and "together" in out
    assert reading_time.main(["77"]) == 2
    assert reading_time.main(["05", "--sections"]) == 0
    assert "Traps" in capsys.readouterr().out


def test_cell_ids_stay_when_another_cell_is_added(folder):
    source = folder / "source" / "01_small.py"
    before = chapters.read_source(source).cells
    source.write_text("# %%\n0\n\n" + source.read_text(encoding="utf-8") + "\n# %%\n1 + 1\n", encoding="utf-8")
    after = [cell.id for cell in chapters.read_source(source).cells]
    assert after[1:3] == [cell.id for cell in before]
    assert len(set(after)) == len(after) == 4  # the same text twice still has two ids


def test_build_refuses_in_one_line(folder, capsys):
    source = folder / "source" / "01_small.py"
    source.write_text("# %%\nimport warnings\nwarnings.warn('slow')\n")
    assert build.main(["--only", "01"]) == 1
    source.write_text("# %%\n1 / 0\n")
    assert build.main(["--only", "01"]) == 1
    assert build.main(["--only", "77"]) == 1
    source.write_text("# %% [markdown]\n# ### Q04 · Which?\n")
    assert build.main(["--questions"]) == 1
    source.write_text("# %% [markdown]\n# ### Q04: Which?\n# ### Q04: Why?\n")
    assert build.main(["--questions"]) == 1
    errors = capsys.readouterr().err
    for message in ("01_small.py: code cell 1", "ZeroDivisionError", "no chapter 77", "plain ASCII", "two headings"):
        assert message in errors
    assert not (folder / "01_small.ipynb").exists()


def test_help():
    command = [sys.executable, "-m", "notebooks.build", "--help"]
    out = subprocess.run(command, cwd=chapters.FOLDER.parent, capture_output=True, text=True, check=True).stdout
    assert "--only" in out and "--check" in out and "QUESTIONS.md" in out
