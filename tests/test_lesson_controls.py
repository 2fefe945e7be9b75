"""Sliders and step buttons without a browser: what they show, what stays on a page without a kernel."""

from io import BytesIO

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from figures.style import DPI, panels
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
    figure.alt = f"a is {a}, b is {b}"
    return figure


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
    assert picture(data) == controls.quick_png(draw(1, 0.5))
    assert metadata == {"image/png": {"alt": "a is 1, b is 0.5"}} and data["text/plain"] == "a is 1, b is 0.5"
    a.value = 4
    assert picture(data) == controls.quick_png(draw(4, 0.5)) != controls.quick_png(draw(1, 0.5))


def test_slider_starts_where_it_is_told(shown):
    controls.slider(lambda x: draw(x, 0), x=(0, 8, 2, 6))
    bar = widgets(shown[0][0], ipywidgets.IntSlider)[0]
    assert (bar.value, bar.step) == (6, 2)


def test_still_picture_stays_where_no_kernel_runs(shown):
    controls.slider(draw, a=(1, 5), b=(0, 1))
    assert Image.open(BytesIO(shown[0][0]["image/png"])).size == (4 * DPI, 2 * DPI)


def test_quick_picture_shows_the_same_as_the_good_one():
    quick = np.asarray(Image.open(BytesIO(controls.quick_png(draw(3, 1)))).convert("RGB"), float)
    good = Image.open(BytesIO(draw(3, 1)._repr_png_())).convert("RGB").resize(quick.shape[1::-1])
    assert np.abs(quick - np.asarray(good, float)).mean() < 3
    assert controls.quick_png(b"PNG") == b"PNG"


BEATS = [("Walls", "Windows have walls.", draw(1, 0)), ("Roll", "The map moves.", controls.quick_png(draw(9, 0)))]


def test_steps_go_on_and_back(shown):
    controls.steps(BEATS)
    data = shown[0][0]
    text, (back, on) = widgets(data, ipywidgets.HTML)[0], widgets(data, ipywidgets.Button)
    assert "1 of 2 · Walls" in text.value and "Windows have walls." in text.value
    assert back.disabled and not on.disabled and picture(data) == controls.quick_png(BEATS[0][2])
    on.click()
    assert "2 of 2 · Roll" in text.value and picture(data) == BEATS[1][2] and on.disabled and not back.disabled
    on.click()
    assert "2 of 2" in text.value  # the last stays
    back.click()
    assert "1 of 2" in text.value
    widgets(data, ipywidgets.Play)[0].value = 1
    assert "2 of 2" in text.value


@pytest.mark.parametrize(("width", "columns"), [(4, 2), (9.4, 1)])
def test_steps_leave_all_beats_in_one_picture(shown, width, columns):
    figures = [panels(size=(width, 2))[0] for _ in range(3)]
    controls.steps([(f"Beat {k}", "A sentence. " * 20, figure) for k, figure in enumerate(figures)])
    data, metadata = shown[0]
    sheet = Image.open(BytesIO(data["image/png"]))
    rows = -(-3 // columns)
    assert sheet.width == int(columns * width * controls.QUICK)
    assert sheet.height > rows * 2 * controls.QUICK
    assert "1 · Beat 0: A sentence." in metadata["image/png"]["alt"] and "3 · Beat 2" in metadata["image/png"]["alt"]
    assert np.asarray(sheet.convert("L"))[: sheet.height // rows].min() < 50  # the words


def test_steps_need_a_beat():
    with pytest.raises(ValueError, match="at least one"):
        controls.steps([])
