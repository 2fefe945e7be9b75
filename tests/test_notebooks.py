"""The chapters: in step with their sources, run from top to bottom, exercises that can be failed, links that lead."""

import inspect
import re

import nbformat
import pytest

from notebooks import build, lesson

CHAPTERS = build.chapters()
names = pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)
EXERCISE_FILES = lesson.FOLDER / "exercises"
EXERCISES = sorted(EXERCISE_FILES.glob("ch*.py"))


def test_there_are_chapters_and_no_notebook_without_a_source():
    assert len(CHAPTERS) >= 9
    assert sorted(build.FOLDER.glob("*.ipynb")) == [build.target(source) for source in CHAPTERS]


@names
def test_notebook_is_in_step_with_its_source(source):
    assert build.behind(source) is None


@names
def test_notebook_reads_well_as_it_is(source):
    """No errors, warnings, absolute paths; not too large; every code cell ran once, in order; pictures are PNG."""
    notebook = nbformat.read(build.target(source), as_version=4)
    nbformat.validate(notebook)
    build.refuse(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = {kind for cell in code for out in cell.outputs for kind in out.get("data", {}) if "image" in kind}
    assert pictures == {"image/png"}


@names
def test_chapter_runs_from_top_to_bottom(source):
    notebook = build.read_source(source)
    build.refuse(build.clean(build.run(notebook)))


@names
def test_chapter_has_what_every_chapter_has(source):
    text = "\n".join(cell.source for cell in build.read_source(source).cells)
    assert text.startswith("# ")
    assert "agree(" in text or "assert " in text
    if source.stem[:2] != "00":
        for part in ("you can explain", "Traps", "Exercises", "read on", "side_by_side(", "check(", "solution("):
            assert part.lower() in text.lower(), f"{source.name} has no {part!r}"


# ---- exercises -------------------------------------------------------------------------------------------------


def exercises():
    """(chapter, number) of every exercise that has a checker."""
    for path in EXERCISES:
        for number in re.findall(r"^def check_(\d+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            yield f"{path.stem[2:]}.{number}"


def wrong_answers():
    """(exercise, name of a wrong answer)."""
    for path in EXERCISES:
        for name in re.findall(r"^(?:def |)(wrong_(\d+)\w*)", path.read_text(encoding="utf-8"), re.MULTILINE):
            yield f"{path.stem[2:]}.{name[1]}", name[0]


@pytest.mark.parametrize("number", list(exercises()))
def test_solution_passes_its_checker(number):
    assert lesson.hint_for(number, lesson.exercise(number, "solution")) is None


@pytest.mark.parametrize(("number", "name"), list(wrong_answers()))
def test_wrong_answer_is_refused_with_a_hint(number, name):
    answer = wrong_answer(number, name)
    hint = lesson.hint_for(number, answer)
    assert hint is not None and hint.startswith(f"✗ {number}: ")
    assert "stopped with" not in hint or "raise" in inspect.getsource(answer)


def wrong_answer(number, name):
    chapter = number.partition(".")[0]
    path = EXERCISE_FILES / f"ch{chapter}.py"
    spec = lesson.importlib.util.spec_from_file_location(path.stem, path)
    module = lesson.importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.mark.parametrize("number", list(exercises()))
def test_every_exercise_has_a_wrong_answer_and_is_in_its_chapter(number):
    assert number in {exercise for exercise, _ in wrong_answers()}
    (source,) = build.chapters([number[:2]])
    text = source.read_text(encoding="utf-8")
    assert f'check("{number}"' in text and f'solution("{number}")' in text


@pytest.mark.parametrize("stub", [lambda *_: None, lambda *_: ..., None, ...])
def test_an_exercise_not_yet_written_is_no_error(stub):
    number = next(exercises())
    assert "not written yet" in lesson.hint_for(number, stub)


# ---- questions -------------------------------------------------------------------------------------------------


def test_questions_page_is_what_the_chapters_say():
    assert build.QUESTIONS.read_text(encoding="utf-8") == build.questions_page()


def test_every_question_is_listed_in_both_languages():
    page = build.QUESTIONS.read_text(encoding="utf-8")
    for question in build.questions():
        assert question["question"] in page and question["zh"] in page


def test_every_link_of_the_questions_leads_to_a_heading():
    links = re.findall(r"\]\(<([^#>]+)#([^>]+)>\)", build.QUESTIONS.read_text(encoding="utf-8"))
    assert len(links) == len(build.answers())
    for file, fragment in links:
        notebook = nbformat.read(build.FOLDER / file, as_version=4)
        found = [
            line.lstrip("#").strip().replace(" ", "-")
            for cell in notebook.cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines()
            if line.startswith("#")
        ]
        assert found.count(fragment) == 1, f"{file}#{fragment}"


def test_the_questions_of_every_written_chapter_are_answered():
    written = {source.stem[:2] for source in CHAPTERS}
    open_ones = {q["id"] for q in build.questions() if q["chapter"] in written} - set(build.answers())
    assert not open_ones


# ---- the helper itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [[1.0, 2.1], [1.0], [1.0, float("nan")]])
def test_agree_can_fail(other):
    with pytest.raises(AssertionError):
        lesson.agree("two rows", [1.0, 2.0], other)


def test_side_by_side_shows_both_sources(capsys):
    table = lesson.Table("t", list(lesson.aligned(["a", "x = np.f()"], ["a", "x = torch.f()"])))
    assert "np.f()" in table._repr_html_() and "torch.f()" in table._repr_html_()
    assert repr(table).splitlines()[2:] == ["        | a", "NumPy   | x = np.f()", "PyTorch | x = torch.f()"]
    with pytest.raises(ValueError, match="unknown name"):
        lesson.side_by_side("windows.no_such_thing")
