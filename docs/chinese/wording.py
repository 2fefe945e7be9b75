"""What a translation must keep, how Chinese is set, and that a term of the glossary is always called the same."""

import re
from functools import cache

from .catalogues import ROOT
from .messages import CHINESE, CODE, LINK, PARSER

HAN = CHINESE.pattern
TAG = r"</?\w[^>]*>"
KEPT = {
    "code": re.compile(r"`[^`]+`"),
    "formula": re.compile(r"(?<!`)\$[^$]+\$"),
    "HTML": re.compile(TAG),
    "placeholder": re.compile(r"\{\w+\}"),
    "question": re.compile(r"\*\*Q\d\d\*\*"),
}
# Words of the glossary that also mean something else in English: a rule for them would be wrong too often.
AMBIGUOUS = {"block", "head", "key", "query", "value", "label", "score", "twin", "seam", "projection", "MLP", "MAC"}
# What other books call a term that has one name here. English: what isn't to be found in the Chinese beside it.
AVOIDED = {
    "shifted window": ("滑动窗口", "移动窗口", "偏移窗口", "平移窗口", "位移窗口"),
    "cyclic shift": ("循环平移", "循环位移", "循环偏移"),
    "patch merging": ("图块合并", "图像块合并", "块合并层", "切片合并"),
    "mask": ("掩膜", "遮罩", "蒙版", "掩模"),
    "layer norm": ("层标准化", "层规范化"),
    "residual": ("残余", "余差"),
    "relative position bias": ("相对位置偏差", "相对位置编码偏置", "相对位置偏移"),
    "token": ("令牌", "标记", "记号"),
    "window": ("视窗",),
    "attention": ("注意机制", "关注度机制"),
    "softmax": ("软最大",),
    "gradient": ("斜率",),
}


def faults(english, chinese, page=""):
    """What is wrong with a translation, a line for each fault. On the glossary's page, its words stay English."""
    if english == chinese:
        sentence = re.search(r"[a-z]{2,} [a-z]{3,}|[a-z]{3,} [a-z]{2,}", re.sub(CODE, "", english))  # not axes: kh mh
        return ["left in English"] if sentence and page != "glossary" else []
    found = [f"{what}: {lost}" for what, lost in lost_parts(english, chinese)]
    if not CHINESE.search(chinese):
        found.append("no Chinese in it")
    return found + setting(chinese) + terms(english, chinese)


def lost_parts(english, chinese):
    """(what, which) of everything that only one of the two has."""
    for what, pattern in KEPT.items():
        ours, theirs = (set(map(normal, pattern.findall(text))) for text in (english, chinese))
        if ours != theirs:
            yield what, ", ".join(sorted(ours ^ theirs))
    ours, theirs = (
        sorted(filter(None, (match["target"] for match in LINK.finditer(text)))) for text in (english, chinese)
    )
    if ours != theirs:
        yield "links", f"expected {ours}, found {theirs}"
    ours, theirs = (emphasis(text) for text in (english, chinese))
    if ours != theirs:
        yield "emphasis", f"expected {ours} of (*, **), found {theirs} (a mark beside 。，： or （） doesn't close)"


def normal(text):
    return re.sub(r"\s+", "", text)


def emphasis(text):
    """How often *…* and **…** work."""
    kinds = [child.type for token in PARSER.parse(text) for child in token.children or ()]
    return kinds.count("em_open"), kinds.count("strong_open")


def setting(chinese):
    """Faults of punctuation and spaces."""
    text = re.sub(rf"{TAG}|\]\(\d+\)|[\[\]*]", "", re.sub(r"`[^`]+`", "`x`", re.sub(r"\$[^$]+\$", "$x$", chinese)))
    rules = {
        "a space is missing": rf"{HAN}[A-Za-z0-9`${{]|[A-Za-z0-9`$%}}]{HAN}",
        "Chinese punctuation is wanted": rf"{HAN}[,;:?!]|{HAN}\.(?![\w.])|\([^()]*{HAN}[^()]*\)",
        "a space beside Chinese punctuation": r" [，。；：？！、）》”]|[，。；：、（《“] ",
        "two spaces": r"\S  +\S",
    }
    matches = {fault: re.search(pattern, text) for fault, pattern in rules.items()}
    return [f"{fault}: …{around(text, match)}…" for fault, match in matches.items() if match]


def around(text, match):
    return text[max(match.start() - 8, 0) : match.end() + 8]


def terms(english, chinese):
    """Terms of the glossary that the English has and the Chinese calls otherwise."""
    found, text = [], re.sub(rf"{CODE}|{TAG}|\{{\w+\}}", " ", english)
    for title in re.findall(r"\*[^*]+\*", english):
        text = text.replace(title, " ") if title in chinese else text  # the title of a paper stays English
    for term, names in glossary().items():
        text, count = re.subn(pattern(term), " ", text, flags=re.IGNORECASE)
        if count and not any(name.lower() in chinese.lower() for name in names):
            found.append(f"{term}: expected {' or '.join(names)}")
    for term, names in AVOIDED.items():
        if re.search(pattern(term), english, re.IGNORECASE):
            found += [f"{term}: not {name}" for name in names if name in chinese]
    return found


def pattern(term):
    return rf"(?<![\w-]){re.escape(term)}(?:s|es|ed|ing)?(?![\w-])"


@cache
def glossary():
    """{English term: the Chinese names that it may have}, the longest term first."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    found = {}
    for word, chinese in re.findall(r"^\| ([^|`]+) \| ([^|]+) \|", text, re.MULTILINE):
        word = re.sub(r" \(.*\)", "", word)
        if word != "word" and "," not in word and word not in AMBIGUOUS:
            found[word] = re.findall(r"[^（），、]+", chinese) + [word] * (word in chinese)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))
