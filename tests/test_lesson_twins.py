"""Source beside source: what is shown once, what is marked, how long lines break, and that torch isn't needed."""

import re
import subprocess
import sys
from html import unescape

import pytest

from notebooks import chapters
from notebooks.lesson import twins

SHOWN = sorted(
    set(
        re.findall(
            r'^\s*(side_by_side|there_and_back)\("([\w.]+)"\)',
            "\n".join(source.read_text(encoding="utf-8") for source in chapters.sources()),
            re.MULTILINE,
        )
    )
)


@pytest.fixture
def shown(monkeypatch):
    """What is displayed."""
    screen = []
    monkeypatch.setattr(twins, "display", screen.append)
    return screen


def panes(html):
    """[(heading, text without marks)] of a listing."""
    found = re.findall(r"(?:<small>([^<]*)</small>)?<pre[^>]*>(.*?)</pre>", html, re.DOTALL)
    return [(head, unescape(re.sub("<[^>]+>", "", text))) for head, text in found]


def marks(html):
    return [unescape(text) for text in re.findall(r"<mark[^>]*><b>(.*?)</b>", html)]


def test_the_same_text_stands_once(shown):
    twins.side_by_side("windows.window_partition")
    html, text = shown[0]._repr_html_(), repr(shown[0])
    assert "the same to the letter" in html and html.count("def window_p") == 1 == text.count("def window_p")
    assert marks(html) == [] and [head for head, _ in panes(html)] == [""]
    assert '<a href="../swin_numpy/windows.py">' in html and '<a href="../swin_torch/windows.py">' in html


def test_only_the_words_that_differ_are_marked(shown):
    twins.side_by_side("windows.cyclic_shift")
    html, text = shown[0]._repr_html_(), repr(shown[0])
    assert [head for head, _ in panes(html)] == ["both", "NumPy only", "PyTorch only"]
    assert marks(html) == ["np", "axis", "torch", "dims"]
    assert "NumPy only   |     return np.roll(" in text and "PyTorch only |     return torch.roll(" in text


def test_what_one_side_alone_has_is_not_marked_word_by_word(shown):
    twins.side_by_side("block.SwinTransformerBlock.forward")
    html = shown[0]._repr_html_()
    assert [head for head, _ in panes(html)] == ["both", "NumPy only", "both"] and marks(html) == []


def test_docstring_is_folded(shown):
    twins.side_by_side("windows.cyclic_shift")
    html = shown[0]._repr_html_()
    fold = re.search(r"<details><summary>docstring</summary>(.*?)</details>", html, re.DOTALL)[1]
    assert "Roll the map up" in fold and "Roll the map" not in html.replace(fold, "")


def test_it_reads_without_styles(shown):
    twins.side_by_side("windows.cyclic_shift")
    html = shown[0]._repr_html_()
    bare = re.sub(r' style="[^"]*"', "", html)
    assert panes(bare) == panes(html) and "style" not in bare


@pytest.mark.parametrize(("show", "name"), SHOWN)
def test_no_listing_of_a_chapter_is_wider_than_a_phone_or_breaks_a_word(shown, show, name):
    getattr(twins, show)(name)
    lines = [line for _, text in panes(shown[0]._repr_html_()) for line in text.splitlines()]
    assert max(map(len, lines)) <= twins.COLUMN == 46
    words = set(re.findall(r"[\w.]*\w", repr(shown[0])))
    assert {word for line in lines for word in re.findall(r"\w+", line)} <= {
        part for word in words for part in re.findall(r"\w+", word)
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("short = line", ["short = line"]),
        ("    x = one(two, three, four(five), six)", ["    x = one(two, three, ", "        four(five), six)"]),
        ("if aaaaaaaa(bbbbbbbbbb) and cccccc:", ["if aaaaaaaa(bbbbbbbbbb) and ", "        cccccc:"]),
        ("    x = y  # why it is so and not else", ["    # why it is so and not", "    # else", "    x = y"]),
        ("    # why it is so and not otherwise", ["    # why it is so and not", "    # otherwise"]),
        ('raise Error("one two three four five six")', ['raise Error("one two three ', '    four five six")']),
        ("total(weight=self.weight, size=3.25)", ["total(weight=self.weight, ", "    size=3.25)"]),
        ("a.bbbbbbbbbbbbb.ccccccccccc.ddddddddd", ["a.bbbbbbbbbbbbb.ccccccccccc", "    .ddddddddd"]),
    ],
)
def test_long_lines_break_where_a_reader_would(line, expected):
    (tokens,) = twins.unmarked([line])
    assert ["".join(token for token, _ in part) for part in twins.broken(tokens, 28)] == expected


def test_it_says_what_pytorch_calls_it(shown):
    for name, theirs in (
        ("functional.softmax", "torch.nn.functional.softmax"),
        ("functional.softmax_backward", "autograd"),
        ("optim.AdamW.update", "torch.optim.AdamW"),
    ):
        twins.side_by_side(name)
        assert f"in PyTorch: {theirs}</p>" in shown[-1]._repr_html_()


def test_inherited_and_imported_definitions_are_found():
    assert twins.source_of("swin_numpy", "backbone", ["SwinTransformer", "forward"]).file == "swin_numpy/model.py"
    inherited = twins.source_of("swin_numpy", "patches", ["PatchMergingV2", "neighbours"])
    assert inherited == twins.source_of("swin_numpy", "patches", ["PatchMerging", "neighbours"])


def test_unknown_names_are_refused(shown):
    for name in ("block.Nothing", "nothing.at_all", "block.SwinTransformerBlock.nothing"):
        with pytest.raises(ValueError, match="unknown name"):
            twins.side_by_side(name)


def test_there_and_back_shows_a_step_and_its_backward_under_their_names(shown):
    for name in ("block.SwinTransformerBlock.forward", "functional.softmax"):
        twins.there_and_back(name)
        html, text = shown[-1]._repr_html_(), repr(shown[-1])
        (head, left), (other, right) = panes(html)
        assert (head, other) == ("forward", "backward") and marks(html) == []
        assert "backward" not in left and "backward(" in right
        assert "forward  | def " in text and "backward | def " in text
    with pytest.raises(ValueError, match="one of them at most"):
        twins.there_and_back("windows.window_partition")


def test_torch_is_not_needed():
    code = (
        "import sys\n"
        "class NotThere:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, NotThere())\n"
        "from notebooks.lesson import twins\n"
        "twins.display = lambda shown: print(repr(shown))\n"
        "twins.side_by_side('windows.cyclic_shift'); twins.side_by_side('functional.softmax')"
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=twins.ROOT, capture_output=True, text=True, check=True).stdout
    assert "torch.roll(" in out and "in PyTorch: built in" in out
