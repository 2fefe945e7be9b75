"""The look of all pictures: the same bytes each time, shown once by a notebook, no setting leaks in or out."""

import sys

import matplotlib
import pytest
from IPython.core.formatters import DisplayFormatter

from figures import measure, save, shifted, style, windows
from tests.drawings import IMAGE, rolled_labels

PICTURES = {
    "bars": lambda: measure.bars({"tench": 0.61, "goldfish": 0.3, "great white shark": 0.012}, "probability"),
    "region_labels": lambda: shifted.region_labels(rolled_labels(8, 8, 2), 4),
    "windows_shifted": lambda: windows.windows_on_image(IMAGE, 4, 7, shift=3),
}


def test_saved_bytes_are_the_same_each_time(tmp_path):
    for name in PICTURES:
        first = [path.read_bytes() for path in save(PICTURES[name](), name, tmp_path / "a")]
        again = [path.read_bytes() for path in save(PICTURES[name](), name, tmp_path / "b")]
        assert first == again
        assert len(first[0]) < 220_000
        assert b"<dc:date>" not in first[1]


def test_save_refuses_paths(tmp_path):
    for name in ("", "a/b", "masks.png"):
        with pytest.raises(ValueError, match="file name"):
            save(PICTURES["bars"](), name, tmp_path)


def test_shown_once_by_a_notebook():
    """As PNG, whether pyplot is loaded or not; and pyplot knows of no figure, or it would be shown twice."""
    data, _ = DisplayFormatter().format(PICTURES["bars"]())
    assert data["image/png"].startswith(b"\x89PNG")
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_drawing_leaves_global_settings_alone():
    before = dict(matplotlib.rcParams)
    PICTURES["bars"]()
    assert dict(matplotlib.rcParams) == before


def test_the_readers_settings_do_not_leak_in():
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        other = style.png_bytes(PICTURES["bars"]())
    assert other == style.png_bytes(PICTURES["bars"]())
