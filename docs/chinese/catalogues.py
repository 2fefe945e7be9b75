"""The catalogues: one .po for each page, in docs/locale/zh_CN/LC_MESSAGES.

A page is named by its file without folder and suffix: README, 05_shifted_windows, glossary, explainer.
"""

import json
import re
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from babel.messages import Catalog
from babel.messages.pofile import read_po, write_po

from .messages import messages

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "locale" / "zh_CN" / "LC_MESSAGES"
TEXTS = {"explainer": "docs/explainer/texts.json", "site": "docs/site.json"}  # {key: English}

# Pages that are Chinese from the first word to the last. A test fails if one of them isn't.
GATED = (
    "00_swin_in_thirty_minutes",
    "README",
    "01_self_attention",
    "02_patch_embedding",
    "03_window_attention",
    "04_relative_position_bias",
    "05_shifted_windows",
    "06_swin_block",
    "07_patch_merging",
    "08_whole_model",
    "QUESTIONS",
    "cheat_sheet",
    "explainer",
    "from_chinese_notes",
    "glossary",
    "index",
    "site",
)

TIMES = re.compile(r"^\*(Core (\d+) min · all of it (\d+) min · running it (?:(\d+) min|under a minute))\*\n\n", re.M)


def pages():
    """{name of a page: its English file}."""
    files = [*ROOT.glob("docs/*.md"), *sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))]
    files += [ROOT / "README.md", ROOT / "notebooks" / "QUESTIONS.md"]
    return {path.stem: path for path in files} | {name: ROOT / path for name, path in TEXTS.items()}


def wanted(name, path=None):
    """The messages of a page, each once, in order: [(context, English)]; the context is None, or the key of a text.

    path: a file to take instead of the page's own.
    """
    path = path or pages()[name]
    text = path.read_text(encoding="utf-8")
    if name in TEXTS:
        return list(json.loads(text).items())
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join(TIMES.sub("", "".join(cell["source"])) for cell in cells)
    return [(None, message) for message in dict.fromkeys(messages(text))]


def catalogue(name):
    """The catalogue of a page, a babel Catalog; an empty one if there is none yet."""
    path = FOLDER / f"{name}.po"
    if path.is_file():
        with path.open("rb") as file:
            return read_po(file, locale="zh_CN")
    day = datetime(2026, 1, 1, tzinfo=UTC)  # not today: a file that says the same stays the same
    about = {"project": "swin-twice", "version": name, "header_comment": f"# Chinese for the page {name}."}
    about |= {"msgid_bugs_address": "", "last_translator": "", "language_team": "", "fuzzy": False}
    return Catalog("zh_CN", creation_date=day, revision_date=day, **about)


def save(name, catalog):
    for entry in catalog:
        entry.flags &= {"fuzzy"}  # a sentence with a percent sign is no format of Python's
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.po").open("wb") as file:
        write_po(file, catalog, width=100, ignore_obsolete=True)


def update(name):
    """Bring the catalogue of a page in step with its English: what is new has no Chinese, what was changed is fuzzy."""
    template = Catalog("zh_CN")
    for context, english in wanted(name):
        template.add(english, context=context)
    new = catalogue(name)
    new.update(template, update_creation_date=False)
    for entry in new:
        if entry.fuzzy and entry.previous_id:
            entry.user_comments = [f"was: {entry.previous_id[0]}"]  # babel doesn't read its own "#| msgid"
    save(name, new)
    return new


def is_done(message):
    return bool(message.string) and not message.fuzzy


@cache
def translations(name):
    """{(context, English): Chinese} of a page, of what is translated."""
    return {(entry.context, entry.id): entry.string for entry in catalogue(name) if entry.id and is_done(entry)}


def missing(name, path=None):
    """The messages of a page that have no Chinese: [(context, English)]."""
    return [message for message in wanted(name, path) if message not in translations(name)]


def faults(name, path=None):
    """What a gated page lacks, a line or two for each message; old and new English where a sentence was changed."""
    entries = {(entry.context, entry.id): entry for entry in catalogue(name) if entry.id}
    lacking, now = missing(name, path), set(wanted(name, path))
    left = {context_and_id[1]: context_and_id for context_and_id in entries if context_and_id not in now}
    found = []
    for message in lacking:
        entry = entries.get(message)
        old = previous(entry) or next(iter(get_close_matches(message[1], left, 1)), None)
        left.pop(old, None)
        kind = "changed" if old else "fuzzy" if entry is not None and entry.fuzzy else "new"
        found.append(f"{name}: {kind}\n  now: {message[1]}" + f"\n  was: {old}" * bool(old))
    return found + [f"{name}: obsolete\n  was: {english}" for english in left]


def previous(entry):
    """The English that a fuzzy message had before."""
    said = " ".join(entry.user_comments) if entry is not None else ""
    return said.removeprefix("was: ") or None
