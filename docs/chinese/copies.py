"""The pages in Chinese: README.zh-CN.md, docs/zh/*.md, notebooks/zh/*, docs/explainer/texts.zh.json.

Outputs of chapters are copied, nothing is executed.
"""

import json
import os
import re
from pathlib import Path

from .catalogues import ROOT, TIMES, missing, pages, translations, wanted
from .messages import LINK, translated

NO_COPY = {"index", "site"}  # parts of the site alone
HTML_LINK = re.compile(r'\b(?:href|src)="(?P<target>[^"]+)"')
TO_CHINESE, TO_ENGLISH = "[中文]", "[English]"
# English and Chinese notebooks read the same files by the same relative paths.
ENTER = """# 与英文版在同一个文件夹 notebooks/ 里运行，相对路径和 import 都不变
import os

if os.path.basename(os.getcwd()) == "zh":
    os.chdir("..")"""


def copy_of(path):
    """Where the Chinese copy of a page lies; None for what has none."""
    if path.stem in NO_COPY or not is_page(path):
        return None
    if path.suffix == ".json":
        return path.with_suffix(".zh.json")
    return ROOT / "README.zh-CN.md" if path.parent == ROOT else path.parent / "zh" / path.name


def is_page(path):
    """Whether a file is a page that has a catalogue."""
    return path in pages().values()


def lookup(name):
    """A function from a message of the page to its Chinese, or None."""
    return lambda message: translations(name).get((None, message))


def texts(name):
    """{key: Chinese} of texts that are no page, English where the Chinese is missing."""
    return {key: translations(name).get((key, english), english) for key, english in wanted(name)}


def word(key, **values):
    """A text of docs/site.json in Chinese, with its values put in."""
    return texts("site")[key].format(**values)


def markdown(path, text=None):
    """The Chinese text of a page of Markdown, with the links of the English one."""
    text = path.read_text(encoding="utf-8") if text is None else text
    return translated(text, lookup(path.stem), anchors=True)


def notebook(path):
    """The Chinese notebook of a chapter, as plain data, with the links of the English one."""
    made = json.loads(path.read_text(encoding="utf-8"))
    for cell in made["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            times = TIMES.search(text)
            text = markdown(path, TIMES.sub("", text))
            if times:
                title, _, rest = text.partition("\n\n")
                text = f"{title}\n\n*{in_chinese(times)}*\n\n{rest}"
            cell["source"] = text
    return made


def in_chinese(times):
    """The line of reading times, a match of TIMES."""
    running = word("times.minutes", minutes=times[4]) if times[4] else word("times.short")
    return word("times", core=times[2], whole=times[3], running=running)


def notice(name):
    """What a page says of the messages that are still English, or ""."""
    left = len(missing(name))
    return f"*{word('untranslated', count=left)}*" if left else ""


def moved(text, pattern, path):
    """The text with its links, found by `pattern`, led from the copy of `path` to what they lead to from `path`."""
    here = copy_of(path).parent

    def new(match):
        target = match["target"] or ""
        file, mark, fragment = target.strip("<>").partition("#")
        if not file or re.match(r"[a-z]+:", file):
            return match[0]
        found = Path(os.path.normpath(path.parent / file))
        found = copy_of(found) or found
        link = f"{os.path.relpath(found, here)}{'/' * file.endswith('/')}{mark}{fragment}"
        return match[0].replace(target, f"<{link}>" if target.startswith("<") else link)

    return pattern.sub(new, text)


def text_of_copy(path):
    """The whole text of the Chinese copy of a page."""
    if path.suffix == ".json":
        return json.dumps(texts("explainer"), ensure_ascii=False, indent=2) + "\n"
    english = f"{TO_ENGLISH}({os.path.relpath(path, copy_of(path).parent)})"
    if path.suffix == ".md":
        text = moved(markdown(path), LINK, path)
        title, _, rest = text.partition("\n\n")
        if rest.startswith(TO_CHINESE):
            rest = rest.partition("\n\n")[2]
        return "\n\n".join(filter(None, [title, english, notice(path.stem), rest]))
    made = notebook(path)
    for cell in made["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = moved(cell["source"], LINK, path)
        for output in cell.get("outputs", ()):
            for kind, pattern in (("text/markdown", LINK), ("text/html", HTML_LINK)):
                if text := output.get("data", {}).get(kind):
                    output["data"][kind] = moved("".join(text), pattern, path)
    first = made["cells"][0]
    title, _, rest = first["source"].partition("\n\n")
    first["source"] = "\n\n".join(filter(None, [title, english, notice(path.stem), rest]))
    place = next(k for k, cell in enumerate(made["cells"]) if cell["cell_type"] == "code")
    made["cells"].insert(place, entering())
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


def entering():
    """The folded cell with which a Chinese chapter goes to the folder of the English ones."""
    metadata = {"jupyter": {"source_hidden": True}}
    return {
        "cell_type": "code",
        "id": "enter",
        "metadata": metadata,
        "execution_count": None,
        "outputs": [],
        "source": ENTER,
    }


def originals():
    """{copy: the English page that it is made of}."""
    return {copy: path for path in pages().values() if (copy := copy_of(path))}


def stale():
    """The copies that aren't what they should be."""
    return [
        path
        for path, original in originals().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text_of_copy(original)
    ]


def write(missing=True):
    """Write every stale copy; missing=False: not those that aren't there. Returns their paths."""
    written = [path for path in stale() if missing or path.is_file()]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of_copy(originals()[path]), encoding="utf-8")
    return written
