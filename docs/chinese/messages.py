"""The messages of a page of Markdown: paragraphs, headings, list items, table cells, comments of shell commands.

The target of a link stands in a message as a number: "see [chapter 05](1)". So a page that moves or a heading that is
renamed changes no message, and no translation can break a link.
"""

import re
from html import escape
from itertools import pairwise

from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

PARSER = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin).use(amsmath_plugin)
LABEL = re.compile(r"\(.*\)=$")  # of MyST
DIRECTIVE = re.compile(r":{2,}|:[\w-]+:|\(.*\)=$|.*\{%")  # lines of MyST and Jinja, which aren't prose
TITLE = re.compile(r"(:{3,}\{grid-item-card\} |:caption: )(.+)()$|()(\S.*)( <[\w/]+>)$")  # but in these there are some
COMMENT = re.compile(r"((?:.*\s)?# +)(\S.*)$")  # in a block of shell commands
CODE = r"(`+)(?:(?!`).)+\1|\$[^$]+\$"
TARGET = r"\]\((?P<target><[^>\n]+>|[^()\s]*(?:\([^()]*\)[^()\s]*)*)\)"
LINK = re.compile(rf"{CODE}|{TARGET}")
CHINESE = re.compile(r"[\u3400-\u9fff]")


def messages(text):
    """The messages of a page, in order; what stands twice is named twice."""
    found = []
    translated(text, found.append)
    return found


def translated(text, lookup, anchors=False):
    """The page with each message replaced by `lookup(message)`, a string, or None for those that stay as they are.

    anchors: put the English anchor of each heading but the title's above it, as <a id="…">.
    """
    lines = text.split("\n")
    for start, end, new in reversed(list(changes(lines, lookup, anchors))):
        lines[start:end] = new
    return "\n".join(lines)


def changes(lines, lookup, anchors):
    """(first line, line after the last, lines to put there), in order."""
    found, rows = [], {}
    tokens = PARSER.parse("\n".join("" if DIRECTIVE.match(line) else line for line in lines))
    for before, token in pairwise(tokens):
        if token.type != "inline":
            continue
        start, end = token.map
        if before.type in ("th_open", "td_open"):
            rows.setdefault(start, []).append(new_text(token.content, lookup))
            continue
        new = new_text(token.content, lookup)
        if anchors and before.type == "heading_open" and before.tag != "h1":
            above = start - (start > 0 and LABEL.match(lines[start - 1]) is not None)
            found.append((above, above, [f'<a id="{escape(anchor(token.content), quote=False)}"></a>', ""]))
        if new is not None:
            prefix = lines[start][: lines[start].index(token.content.split("\n")[0])]
            further = re.sub(r"[^\s>]", " ", prefix)
            new = [(further if k else prefix) + line for k, line in enumerate(new.split("\n"))]
            found.append((start, end, new))
    found += [(row, row + 1, [new_row(lines[row], cells)]) for row, cells in rows.items()]
    for fence in (token for token in tokens if token.type == "fence" and token.info == "sh"):
        for number in range(fence.map[0] + 1, fence.map[1] - 1):
            if (match := COMMENT.match(lines[number])) and (new := new_text(match[2], lookup)) is not None:
                found.append((number, number + 1, [match[1] + new]))
    for number, line in enumerate(lines):
        if match := TITLE.match(line):
            before, title, after = (part for part in match.groups() if part is not None)
            if (new := new_text(title, lookup)) is not None:
                found.append((number, number + 1, [before + new + after]))
    return sorted(found)


def new_text(content, lookup):
    """What becomes of one piece of Markdown, with its links; None if it stays as it is."""
    message, targets = message_of(content)
    new = lookup(message) if is_prose(content) else None
    return new and LINK.sub(
        lambda match: f"]({targets[int(match['target']) - 1]})" if match["target"] else match[0], new
    )


def message_of(content):
    """(the message, the targets of its links)."""
    content = re.sub(r"[ \t]*\n[ \t]*", " ", re.sub(r"(?:  +|\\)\n[ \t]*", "\0", content)).replace("\0", "  \n")
    targets = []

    def number(match):
        if match["target"] is None:
            return match[0]
        targets.append(match["target"])
        return f"]({len(targets)})"

    return LINK.sub(number, content), targets


def is_prose(content):
    """Whether there is anything to translate: words that aren't Chinese, code, formulas, or names of files."""
    words = re.sub(rf"{CODE}|<[^>]+>|\[(?P<name>\w+)\]\([^()]*?\b(?P=name)(?:\.\w+)?\)|{TARGET}", " ", content)
    return re.search(r"[A-Za-z]*[a-z]{2}", words) is not None and not CHINESE.search(content)


def new_row(line, cells):
    """A row of a table with new cells; None for one that stays."""
    parts = re.split(r"(?<!\\)\|", line)
    first = 1 if line.lstrip().startswith("|") else 0
    for k, new in enumerate(cells, first):
        if new is not None:
            parts[k] = f" {new} ".replace("|", "\\|")
    return "|".join(parts)


def anchor(heading):
    """The fragment that JupyterLab gives a heading."""
    return re.sub(r"[`*$\\]", "", heading).replace(" ", "-")
