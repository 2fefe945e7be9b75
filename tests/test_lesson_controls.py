"""Sliders and step buttons without a browser: what they show, what stays on a page without a kernel."""

from base64 import b64decode
from io import BytesIO

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from figures import measure, style
from figures.block import block_diagram
from figures.maps import show_maps
from figures.style import SCREEN, describe, panels, png_bytes
from notebooks import build
from notebooks.lesson import controls


@pytest.fixture
def shown(monkeypatch):
    """(data, metadata) of what is displayed, the widget among the data."""
    screen, show = [], controls.show
    monkeypatch.setattr(controls, "display", lambda data, raw, metadata: screen.append((data, metadata)))

    def remember(widget, *rest):
        show(widget, *rest)
        assert screen[-1][0][build.WIDGET]["model_id"] == widget.model_id
        screen[-1][0]["widget"] = widget

    monkeypatch.setattr(controls, "show", remember)
    return screen


def draw(a, b):
    figure, axes = panels(size=(4, 2))
    axes[0, 0].imshow(np.full((2, 2), a / 10), vmin=0, vmax=1)
    axes[0, 0].set_title(f"{a} {b}")
    return describe(figure, f"a is {a}, b is {b}")


def widgets(data, kind):
    """The widgets of one kind inside the displayed one, in order."""

    def inside(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from inside(child)

    return [widget for widget in inside(data["widget"]) if isinstance(widget, kind)]


def picture(data):
    return widgets(data, ipywidgets.Image)[0].value


def test_slider_draws_the_start_and_follows_the_sliders(shown):
    controls.slider(draw, a=(1, 5), b=(0.0, 1.0, 0.25, 0.5))
    ((data, metadata),) = shown
    a, b = widgets(data, ipywidgets.IntSlider) + widgets(data, ipywidgets.FloatSlider)
    assert (a.value, a.min, a.max, a.step) == (1, 1, 5, 1) and (b.value, b.step) == (0.5, 0.25)
    assert picture(data) == png_bytes(draw(1, 0.5), quick=True)
    assert metadata["image/png"] == draw(1, 0.5)._repr_png_()[1] and data["text/plain"] == "a is 1, b is 0.5"
    a.value = 4
    assert picture(data) == png_bytes(draw(4, 0.5), quick=True) != png_bytes(draw(1, 0.5), quick=True)


def test_slider_starts_where_it_is_told(shown):
    controls.slider(lambda x: draw(x, 0), x=(0, 8, 2, 6))
    bar = widgets(shown[0][0], ipywidgets.IntSlider)[0]
    assert (bar.value, bar.step) == (6, 2)


def test_still_picture_of_full_quality_stays_where_no_kernel_runs(shown):
    controls.slider(draw, a=(1, 5), b=(0, 1))
    assert b64decode(shown[0][0]["image/png"]) == png_bytes(draw(1, 0))


BEATS = [("Walls", "Windows have walls.", draw(1, 0)), ("Roll", "The map moves.", png_bytes(draw(9, 0), quick=True))]


def test_steps_go_on_and_back(shown):
    controls.steps(BEATS)
    data = shown[0][0]
    text, (back, on) = widgets(data, ipywidgets.Label)[0], widgets(data, ipywidgets.Button)
    assert text.value == "1 of 2"
    assert back.disabled and not on.disabled and picture(data) == png_bytes(BEATS[0][2], quick=True)
    on.click()
    assert text.value == "2 of 2" and picture(data) == BEATS[1][2] and on.disabled and not back.disabled
    on.click()
    assert "2 of 2" in text.value  # the last stays
    back.click()
    assert "1 of 2" in text.value
    widgets(data, ipywidgets.Play)[0].value = 1
    assert "2 of 2" in text.value


@pytest.mark.parametrize(("width", "columns"), [(4, 2), (9.4, 1)])
def test_steps_leave_all_beats_in_one_picture(shown, width, columns):
    figures = [panels(size=(width, 2))[0] for _ in range(3)]
    for k, figure in enumerate(figures):
        figure.axes[0].set_facecolor(["red", "lime", "blue"][k])
    controls.steps([(f"Beat {k}", "A sentence.", figure) for k, figure in enumerate(figures)])
    data, metadata = shown[0]
    sheet = Image.open(BytesIO(b64decode(data["image/png"]))).convert("RGB")
    assert sheet.size == (int(width * SCREEN) * columns, 2 * SCREEN * -(-3 // columns))
    one = sheet.width // columns
    middles = [(k % columns * one + one // 2, k // columns * 2 * SCREEN + SCREEN) for k in range(3)]
    assert [sheet.getpixel(middle) for middle in middles] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert metadata["image/png"]["alt"] == "Beat 0: A sentence. Beat 1: A sentence. Beat 2: A sentence."


def test_steps_need_a_beat():
    with pytest.raises(ValueError, match="at least one"):
        controls.steps([])


def test_slider_draws_on_the_same_figure_again(shown, monkeypatch):
    made, drawing = [], style.Drawing
    monkeypatch.setattr(style, "Drawing", lambda **options: made.append(drawing(**options)) or made[-1])
    controls.slider(draw, a=(1, 5), b=(0, 1))
    a, b = widgets(shown[0][0], ipywidgets.IntSlider)
    a.value, b.value = 3, 1
    assert len(made) == 1
    assert picture(shown[0][0]) == png_bytes(draw(3, 1), quick=True) and len(made) == 2


@pytest.mark.parametrize("first, then", [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0)])
def test_a_figure_that_is_used_again_looks_like_a_new_one(first, then):
    def bars():
        return measure.bars({"a": 1.0, "b": 2.0}, "metres", "{:.0f}")

    def maps():
        return show_maps([np.eye(3), np.ones((3, 3))], columns=2, titles=["one", "two"])

    def sheet():
        return block_diagram(1, "W-MSA")

    kinds = bars, maps, sheet
    wanted, old = png_bytes(kinds[then](), quick=True), kinds[first]()
    with style.drawn_on(old):
        new = kinds[then]()
    assert new is old and png_bytes(new, quick=True) == wanted
