"""QUESTIONS.md: what learners ask, each question with a link to the heading or anchor that answers it.

A heading "Q04: Along which axis?" answers question Q04; so does any other heading or <a id="…"> that questions.json
names: {"id": "Q04", "answer": "01#Step-4:-softmax", …}. Entries without an id name what else the chapters answer, traps
included, under other headings. In Chinese: docs/locale/zh_CN/LC_MESSAGES/QUESTIONS.po.
"""

import json
import re

from . import chapters
from .chapters import Refused, anchor, anchors, headings, sources, target, title


def questions():
    """The learners' questions: dicts with id, chapter, question, sources (where it was asked), maybe answer."""
    return [question for question in entries() if "id" in question]


def others():
    """What the chapters answer besides: dicts with chapter, question, answer."""
    return [question for question in entries() if "id" not in question]


def entries():
    return json.loads((chapters.FOLDER / "questions.json").read_text(encoding="utf-8"))


def answers():
    """{question id: (chapter's source, fragment)}. Raises Refused for two answers to one, or a link to nothing."""
    found = {}
    for source in sources():
        for heading in headings(source):
            if match := re.match(r"Q\d\d\b", heading):
                if match[0] in found:
                    raise Refused(f"{match[0]} has two headings: in {found[match[0]][0].name} and {source.name}")
                found[match[0]] = source, anchor(heading)
    for question in questions():
        if "answer" in question:
            if question["id"] in found:
                raise Refused(f"{question['id']} has a heading, and questions.json names another answer")
            found[question["id"]] = named(question)
    return found


def named(question):
    """(source, fragment) of the answer "05#The-seam" that questions.json gives."""
    number, _, fragment = question["answer"].partition("#")
    (source,) = sources([number])
    if fragment not in anchors(source):
        asked = question.get("id", question["question"])
        raise Refused(f"{asked}: questions.json names the answer {fragment!r}, which {source.name} lacks")
    return source, fragment


def page():
    """The text of QUESTIONS.md."""
    asked, answered, besides = questions(), answers(), others()
    lines = [
        "# Questions that learners ask",
        "",
        f"{len(asked)} questions, nearly all from GitHub threads that `questions.json` names, each answered by a"
        " cell that you can run.",
        "",
        f"Without a number: {len(besides)} more that the chapters answer, traps included.",
        "",
        "In JupyterLab: right-click this page, *Open With*, *Markdown Preview*. The first click on a link opens the"
        " chapter, a second one jumps to the answer.",
        "",
        "Made by `python -m notebooks.build` from `questions.json` and the chapters' headings.",
    ]
    for source in sources():
        here = [question for question in asked if question["chapter"] == source.name[:2]]
        more = [question for question in besides if question["chapter"] == source.name[:2]]
        if here or more:
            lines += ["", f"## {source.name[:2]} · {title(source)}", ""]
        for question in here:
            lines.append(entry(question, answered.get(question["id"])))
        for question in more:
            lines.append(entry(question, named(question)))
    return "\n".join(lines) + "\n"


def entry(question, answer):
    """A line of QUESTIONS.md: the question, and the link to its answer."""
    if answer is None:
        link = f"*coming in chapter {question['chapter']}*"
    else:
        source, fragment = answer
        link = f"[{target(source).stem}](<{target(source).name}#{fragment}>)"
    number = f"**{question['id']}** " if "id" in question else ""
    return f"- {number}{question['question']} → {link}"
