"""Fill in what the README says about the code: `python docs/readme.py` (`make figures` runs it too).

Between two comments in README.md stand the files of the lesson with their lengths, and lines of a real tour.
"""

import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from swin_numpy.runtime.replace import write_text  # noqa: E402

README = ROOT / "README.md"
LESSON = "config attention patches windows window_attention block model backbone".split()
SHOWN = "patch_embed layers.0.blocks.0 layers.0.blocks.1 layers.0.downsample".split()


def files():
    """The lesson's files, each with a link and its number of lines in NumPy and in PyTorch."""
    first = "**The model is these eight files**, each with its number of lines in NumPy and in PyTorch:"
    return f"{first}\n\n{_listed(LESSON[:4])},\n{_listed(LESSON[4:])}."


def _listed(names):
    return ", ".join(f"{_link('swin_numpy', name)}{_lines(name)}" for name in names)


def _link(package, name):
    return f"[{name}]({package}/{name}.py)"


def _lines(name):
    paths = [ROOT / package / f"{name}.py" for package in ("swin_numpy", "swin_torch")]
    counts = [str(len(path.read_text(encoding="utf-8").splitlines())) for path in paths if path.is_file()]
    return f" {' + '.join(counts)}"


def tour():
    """Eight lines of what the tour prints, run here and now."""
    from swin_torch.tour import compare_photograph

    printed = io.StringIO()
    with redirect_stdout(printed):
        compare_photograph()
    return chosen(printed.getvalue())


def chosen(printed):
    """Of the tour's output, the table's head, its first four steps and its last, "…" between, and the verdict."""
    lines = [line.rstrip() for line in printed.splitlines()]
    rows = {line.split()[0]: line for line in lines if line}
    verdict = next(line for line in lines if line.startswith("The twins"))
    kept = [rows["step"], *(rows[name] for name in SHOWN), "…", rows["head"], verdict]
    return "\n".join(["```text", *kept, "```"])


def filled(text, **parts):
    """`text` with each part between its two comments, <!-- name --> and <!-- end of name -->."""
    for name, part in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"
        text, count = re.subn(pattern, lambda found, part=part: found[1] + part + found[2], text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"README.md: expected one place for {name!r}, found {count}")
    return text


def part(text, name):
    """What stands between the two comments of `name`."""
    return re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end of {name} -->", text, re.DOTALL)[1]


def write_chinese():
    """README.zh-CN.md in step, where the tools for it are installed; else a word on how."""
    try:
        from docs.chinese import copies
    except ImportError:
        print("README.zh-CN.md may be behind: `make notebooks LANGUAGE=zh`")
    else:
        copies.write(missing=False)


if __name__ == "__main__":
    write_text(README, filled(README.read_text(encoding="utf-8"), files=files(), tour=tour()))
    write_chinese()
