"""The Chinese edition: gated pages are Chinese throughout, nothing that must stay is lost, the copies are in step."""

import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from babel.messages.pofile import read_po
from markdown_it import MarkdownIt

from docs.chinese import __main__ as command
from docs.chinese import catalogues, copies, messages, wording
from notebooks import build, chapters

PAGES = [name for name, path in catalogues.pages().items() if path.suffix != ".json"]
MARKDOWN = [name for name in PAGES if catalogues.pages()[name].suffix == ".md"]
CHAPTERS = [name for name in PAGES if name not in MARKDOWN]
SENTENCE = (
    "74 questions, nearly all from GitHub threads that `questions.json` names, "
    "each answered by a cell that you can run."
)


@pytest.fixture(autouse=True)
def forget():
    """What a test wrote into another folder is not read again in the next."""
    yield
    catalogues.translations.cache_clear()


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A copy of the catalogues that may be changed."""
    shutil.copytree(catalogues.FOLDER, tmp_path / "po")
    monkeypatch.setattr(catalogues, "FOLDER", tmp_path / "po")
    catalogues.translations.cache_clear()
    return tmp_path


# The gate


@pytest.mark.parametrize("name", catalogues.GATED)
def test_gated_page_is_chinese_from_the_first_word_to_the_last(name):
    faults = catalogues.faults(name)
    assert not faults, "translate what is new or changed: python -m docs.chinese export …\n" + "\n".join(faults)


@pytest.mark.parametrize("name", catalogues.pages())
def test_wording_and_terms(name):
    translations = catalogues.translations(name).items()
    faults = [(zh, found) for (_, en), zh in translations if (found := wording.faults(en, zh, name))]
    assert not faults


def test_what_stands_on_several_pages_has_one_name():
    """Titles and headings; a single word of a table may be a name in one place and a word in another."""
    names = {}
    for page in PAGES:
        for (_, english), chinese in catalogues.translations(page).items():
            if len(english.split()) > 3:
                names.setdefault(english, set()).add(chinese)
    assert len(names) > 500 and not {english: found for english, found in names.items() if len(found) > 1}


def test_the_gate_falls_when_an_english_sentence_changes(tmp_path):
    page = catalogues.pages()["QUESTIONS"]
    changed = tmp_path / page.name
    text = page.read_text(encoding="utf-8")
    changed.write_text(text, encoding="utf-8")
    assert catalogues.faults("QUESTIONS", changed) == []
    new = SENTENCE.replace("each answered", "each of them answered")
    assert SENTENCE in text
    changed.write_text(text.replace(SENTENCE, new), encoding="utf-8")
    assert catalogues.faults("QUESTIONS", changed) == [f"QUESTIONS: changed\n  now: {new}\n  was: {SENTENCE}"]


def test_the_gate_falls_for_new_fuzzy_and_obsolete_messages(tmp_path, folder):
    page = catalogues.pages()["QUESTIONS"]
    text = page.read_text(encoding="utf-8")
    longer, shorter = tmp_path / "longer.md", tmp_path / "shorter.md"
    longer.write_text(f"{text}\nWindows everywhere, wherever one looks!\n", encoding="utf-8")
    assert catalogues.faults("QUESTIONS", longer) == ["QUESTIONS: new\n  now: Windows everywhere, wherever one looks!"]
    shorter.write_text(text.replace(SENTENCE, ""), encoding="utf-8")
    assert catalogues.faults("QUESTIONS", shorter) == [f"QUESTIONS: obsolete\n  was: {SENTENCE}"]
    catalog = catalogues.catalogue("QUESTIONS")
    catalog.get(SENTENCE).flags.add("fuzzy")
    catalogues.save("QUESTIONS", catalog)
    catalogues.translations.cache_clear()
    assert catalogues.faults("QUESTIONS") == [f"QUESTIONS: fuzzy\n  now: {SENTENCE}"]


def test_a_changed_sentence_is_fuzzy_and_keeps_what_it_was(tmp_path, folder, monkeypatch):
    page = catalogues.pages()["QUESTIONS"]
    changed = tmp_path / page.name
    new = SENTENCE.replace("nearly all", "mostly")
    changed.write_text(page.read_text(encoding="utf-8").replace(SENTENCE, new), encoding="utf-8")
    monkeypatch.setattr(catalogues, "pages", lambda: {"QUESTIONS": changed})
    catalogues.update("QUESTIONS")
    entry = catalogues.update("QUESTIONS").get(new)  # once more: nothing is lost
    assert entry.fuzzy and entry.string and catalogues.previous(entry) == SENTENCE
    assert catalogues.faults("QUESTIONS") == [f"QUESTIONS: changed\n  now: {new}\n  was: {SENTENCE}"]
    assert copies.lookup("QUESTIONS")(new) is None  # English where the Chinese may be wrong


# Messages


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_message_is_put_back_where_it_was(name):
    text = catalogues.pages()[name].read_text(encoding="utf-8")
    assert same_page(messages.translated(text, lambda message: message), text)


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_message_of_a_chapter_is_put_back_where_it_was(name):
    for cell in chapters.read_source(chapters.FOLDER / "source" / f"{name}.py").cells:
        assert same_page(messages.translated(cell.source, lambda message: message), cell.source)


def same_page(one, other):
    html = [MarkdownIt("commonmark").enable("table").render(text) for text in (one, other)]
    return re.sub(r"\s+", " ", html[0]) == re.sub(r"\s+", " ", html[1])


def test_messages_of_a_page():
    text = """# A title

A paragraph on
two lines, with `code` and [a link](page.md#there).

- an item [x](<a b.md>)
  that goes on
  - `code alone`

| a head | 中文 | [name](a/name.py) |
|---|---|---|
| [test](name.py) | 1 × 2 | a \\| b, say |

$$ not = prose $$

```
no prose either
```
"""
    found = messages.messages(text)
    assert found == [
        "A title",
        "A paragraph on two lines, with `code` and [a link](1).",
        "an item [x](1) that goes on",
        "a head",
        "[test](1)",
        "a | b, say",
    ]
    new = ["标题", "看[链接](1)和 `code`。", "一项 [x](1)", "头", "[测试](1)", "甲 | 乙"]
    chinese = dict(zip(found, new, strict=True))
    assert (
        messages.translated(text, chinese.get, anchors=True)
        == """# 标题

看[链接](page.md#there)和 `code`。

- 一项 [x](<a b.md>)
  - `code alone`

| 头 | 中文 | [name](a/name.py) |
|---|---|---|
| [测试](name.py) | 1 × 2 | 甲 \\| 乙 |

$$ not = prose $$

```
no prose either
```
"""
    )


def test_a_heading_keeps_its_english_anchor():
    text = "# Title\n\n## Q01: Why `this`?\n\ntext\n"
    made = messages.translated(text, {"Q01: Why `this`?": "Q01：为什么？"}.get, anchors=True)
    assert made == '# Title\n\n<a id="Q01:-Why-this?"></a>\n\n## Q01：为什么？\n\ntext\n'


# Wording

GOOD = ("The mask is `M`, see [05](1): **$x$ tokens**.", "掩码是 `M`，见 [05](1)：**$x$ 个 token**。")


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ("掩码是 M，见 [05](1)：**$x$ 个 token**。", "code"),
        ("掩码是 `M`，见 [05](1)：**$y$ 个 token**。", "formula"),
        ("掩码是 `M`，见 05：**$x$ 个 token**。", "links"),
        ("掩码是 `M`，见 [05](2)：**$x$ 个 token**。", "links"),
        ("掩码是 `M`，见 [05](1)：$x$ 个 token。", "emphasis"),
        ("掩码是 `M`，见 [05](1)：**$x$ 个 token。**是的", "emphasis"),
        ("掩码是`M`，见 [05](1)：**$x$ 个 token**。", "a space is missing"),
        ("掩码是 `M`，见 [05](1)：**$x$ 个token**。", "a space is missing"),
        ("掩码是 `M`, 在这里, 见 [05](1)：**$x$ 个 token**。", "Chinese punctuation"),
        ("掩码 (是 `M` 吗)，见 [05](1)：**$x$ 个 token**。", "Chinese punctuation"),
        ("掩码是 `M` ，见 [05](1)：**$x$ 个 token**。", "a space beside"),
        ("遮罩（掩码）是 `M`，见 [05](1)：**$x$ 个 token**。", "mask: not 遮罩"),
        ("它是 `M`，见 [05](1)：**$x$ 个 token**。", "mask: expected 掩码"),
        ("The mask is `M`, see [05](1): **$x$ tokens**.", "left in English"),
    ],
)
def test_a_damaged_translation_is_refused(wrong, fault):
    assert wording.faults(*GOOD) == []
    found = wording.faults(GOOD[0], wrong)
    assert found and found[0].startswith(fault), found


def test_the_glossary_names_the_terms():
    terms = wording.glossary()
    assert terms["relative position bias"] == ["相对位置偏置"] and terms["shifted window"] == ["移位窗口"]
    assert terms["token"] == ["token", "词元", "token"] and len(terms) > 30
    assert wording.terms("Shifted windows move.", "移位窗口会动。") == []  # the window in it is no second term
    assert wording.terms("`mask` is $mask$, a window_size", "这是数") == []


# The command


def test_export_and_import(folder, capsys):
    catalog = catalogues.catalogue("QUESTIONS")
    chinese = catalog.get(SENTENCE).string
    catalog.get(SENTENCE).string = ""
    catalogues.save("QUESTIONS", catalog)
    file = folder / "list.json"
    assert command.main(["export", "QUESTIONS", str(file)]) == 0
    (entry,) = json.loads(file.read_text(encoding="utf-8"))
    assert entry["en"] == SENTENCE
    file.write_text(json.dumps([entry | {"zh": "一些 问题,"}]), encoding="utf-8")
    assert command.main(["import", "QUESTIONS", str(file)]) == 1
    assert "Chinese punctuation is wanted" in capsys.readouterr().err
    assert not catalogues.catalogue("QUESTIONS").get(SENTENCE).string
    file.write_text(json.dumps([entry | {"zh": chinese}]), encoding="utf-8")
    assert command.main(["import", "QUESTIONS", str(file)]) == 0
    assert catalogues.catalogue("QUESTIONS").get(SENTENCE).string == chinese
    stale = [{"id": 1, "en": "no such sentence", "zh": "没有这句话"}]
    file.write_text(json.dumps(stale), encoding="utf-8")
    assert command.main(["import", "QUESTIONS", str(file)]) == 1 and "export again" in capsys.readouterr().err


def test_an_update_without_a_change_changes_nothing(folder):
    before = (catalogues.FOLDER / "explainer.po").read_bytes()
    catalogues.update("explainer")
    assert (catalogues.FOLDER / "explainer.po").read_bytes() == before


def test_an_unknown_page_is_named(capsys):
    assert command.main(["update", "nothing"]) == 2 and "found nothing" in capsys.readouterr().err


# The copies


def test_copies_are_in_step():
    needed = {copies.copy_of(catalogues.pages()[name]) for name in catalogues.GATED}
    stale = [path.name for path in copies.stale() if path.is_file() or path in needed]
    assert not stale, "run python -m docs.chinese write"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chinese_chapter_has_the_code_and_outputs_of_the_english_one(name):
    path = catalogues.pages()[name]
    english = nbformat.read(path, as_version=4)
    chinese = nbformat.reads(copies.text_of_copy(path), as_version=4)
    nbformat.validate(chinese)
    entering = next(k for k, cell in enumerate(chinese.cells) if cell.cell_type == "code")
    assert chinese.cells.pop(entering).source == copies.ENTER
    for ours, theirs in zip(chinese.cells, english.cells, strict=True):
        assert ours.id == theirs.id and ours.metadata == theirs.metadata
        if ours.cell_type == "code":
            assert ours.source == theirs.source
            assert [without_links(output) for output in ours.outputs] == [without_links(o) for o in theirs.outputs]
    assert len(nbformat.writes(chinese).encode()) < build.LARGEST * 1.05


def without_links(output):
    return re.sub(r"\.\./|notebooks/zh/", "", json.dumps(output))


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_copy_lead_somewhere_and_stay_in_the_language(name):
    path = catalogues.pages()[name]
    target = copies.copy_of(path)
    if target is None:
        return
    originals = copies.originals()
    text = copies.text_of_copy(path)
    if path.suffix == ".ipynb":
        outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", ())]
        parts = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        parts += ["".join(output.get("data", {}).get("text/markdown", "")) for output in outputs]
        parts += re.findall(r'href=\\"([^"#]+)\\"', json.dumps(outputs)) and [
            f"[x]({link})" for link in re.findall(r'href=\\"([^"]+)\\"', json.dumps(outputs))
        ]
        text = "\n".join(parts)
    links = [match["target"].strip("<>") for match in messages.LINK.finditer(text) if match["target"]]
    links = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    found = [(target.parent / link).resolve() for link in links]
    assert found and not [link for link in found if link not in originals and not link.exists()]
    english = [originals[copy] for copy in originals if originals[copy] in found]
    assert english == [path]  # the link to the English page, below the title


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_english_anchor_is_in_the_chinese_chapter(name):
    path = catalogues.pages()[name]
    text = "\n".join("".join(c["source"]) for c in copies.notebook(path)["cells"] if c["cell_type"] == "markdown")
    wanted = chapters.anchors(chapters.FOLDER / "source" / f"{name}.py")[1:]  # all but the title's
    assert wanted and set(wanted) <= set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.slow
def test_a_chinese_chapter_runs_in_its_own_folder(monkeypatch):
    """Up to its first picture: what it imports and reads lies beside the English chapters."""
    notebook = nbformat.reads(copies.text_of_copy(catalogues.pages()["01_self_attention"]), as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:3]
    (chapters.FOLDER / "zh").mkdir(exist_ok=True)
    real = chapters.FOLDER
    notebook.cells.append(nbformat.v4.new_code_cell("import os, lesson; print(os.getcwd(), lesson.__file__)"))

    class Zh:
        FOLDER = real / "zh"

    monkeypatch.setattr(build, "chapters", Zh)
    monkeypatch.setenv("PYTHONPATH", str(real.parent))
    made = build.run(notebook)
    assert made.cells[-1].outputs[0].text.split() == [str(real), str(real / "lesson" / "__init__.py")]


def test_sphinx_finds_the_same_messages(tmp_path):
    """What `sphinx-build -b gettext` extracts from a chapter and a page is what we extract, but for formulas."""
    pytest.importorskip("sphinx", reason="Sphinx isn't installed (make site installs it)")
    docs = chapters.FOLDER.parent / "docs"
    source = docs / "build" / "source-en"
    files = {
        "05_shifted_windows": source / "notebooks" / "05_shifted_windows.ipynb",
        "glossary": source / "glossary.md",
    }
    pages = catalogues.pages()
    if not all(path.exists() and path.stat().st_mtime > pages[name].stat().st_mtime for name, path in files.items()):
        pytest.skip("the pages aren't gathered, or older than the chapters: run make site")
    build_site = [sys.executable, "-m", "sphinx", "-q", "-b", "gettext", "-c", docs, source, tmp_path, *files.values()]
    subprocess.run(build_site, check=True, capture_output=True)
    for name, path in files.items():
        template = tmp_path / f"{path.relative_to(source).parts[0].removesuffix('.md')}.pot"
        with template.open("rb") as lines:
            found = {plain(m.id) for m in read_po(lines) if any(name in place for place, _ in m.locations)}
        ours = {plain(message) for _, message in catalogues.translations(name)}
        assert len(ours) > 80 and ours <= found
        further = [text for text in found - ours if messages.is_prose(f"{text}") and not text.startswith("\\hat")]
        alts = re.findall(r"!\[([^]]*)\]", path.read_text(encoding="utf-8"))
        assert [text for text in further if text not in alts and not text.startswith("*Core ")] == []


def plain(message):
    """A message without the targets of its links and with single blanks: there the two may differ."""
    return re.sub(r"\s+", " ", re.sub(r"\]\([^)]*\)", "]", message)).strip()
