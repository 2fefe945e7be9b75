"""Sliders and step buttons. On a page without a running kernel a still picture stands in their place."""

from html import escape
from io import BytesIO
from textwrap import wrap

import numpy as np
from IPython.display import display
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw, ImageFont

from figures.style import png_bytes, styled

QUICK = 110  # dots per inch of a picture that is about to be replaced
PAGE = 1034  # pixels: the width of a notebook's page
FITS = {"max_width": "100%", "max_height": "500px"}  # with its controls, on a screen of 1280 x 800
LETTERS, LINE = 17, 24  # pixels: size of the type, height of a line


def slider(draw, **ranges):
    """Show `draw(name=value, …)`, a figure, under a slider for each name: name=(low, high[, step[, start]]).

    Whole numbers give a slider of whole numbers. On a page without a running kernel the first picture stays.
    """
    from ipywidgets import FloatSlider, HBox, Image, IntSlider, Layout, VBox

    bars = {}
    for name, (low, high, *rest) in ranges.items():
        step, start = [*rest, *(1, low)[len(rest) :]]
        kind = IntSlider if all(isinstance(value, int) for value in (low, high, step)) else FloatSlider
        bars[name] = kind(value=start, min=low, max=high, step=step, description=name, continuous_update=False)

    def figure():
        return draw(**{name: bar.value for name, bar in bars.items()})

    first = figure()
    picture = Image(value=quick_png(first), format="png", layout=Layout(**FITS))

    def redraw(_):
        picture.value = quick_png(figure())

    for bar in bars.values():
        bar.observe(redraw, "value")
    show(VBox([HBox(list(bars.values()), layout=Layout(flex_flow="row wrap")), picture]), png_bytes(first), alt(first))


def steps(beats):
    """Show one beat at a time, with buttons: beats is a list of (title, sentence, figure or PNG as bytes).

    On a page without a running kernel all pictures stand below each other, each under its title and sentence.
    """
    from ipywidgets import HTML, Button, HBox, Image, Layout, Play, VBox

    if not beats:
        raise ValueError("beats: expected at least one (title, sentence, picture), got none")
    stills = [quick_png(picture) for _, _, picture in beats]
    text, picture = HTML(), Image(format="png", layout=Layout(**FITS))
    back, on = Button(description="◀ Previous"), Button(description="Next ▶")
    play = Play(min=0, max=len(beats) - 1, interval=2000, show_repeat=False)

    def turn(_=None):
        title, sentence, _ = beats[play.value]
        text.value = f"<b>{play.value + 1} of {len(beats)} · {escape(title)}</b><br>{escape(sentence)}"
        picture.value = stills[play.value]
        back.disabled, on.disabled = play.value == 0, play.value == len(beats) - 1

    play.observe(turn, "value")
    back.on_click(lambda _: setattr(play, "value", max(play.value - 1, 0)))
    on.on_click(lambda _: setattr(play, "value", min(play.value + 1, len(beats) - 1)))
    turn()
    words = " ".join(f"{k} · {title}: {sentence}" for k, (title, sentence, _) in enumerate(beats, 1))
    show(VBox([HBox([back, play, on]), text, picture]), one_below_the_other(beats, stills), words)


def show(widget, still, words):
    """Display one output: `widget` where a kernel runs, else the PNG `still`, described by `words`."""
    data = widget._repr_mimebundle_() | {"image/png": still, "text/plain": words}
    display(data, raw=True, metadata={"image/png": {"alt": words}})


@styled
def quick_png(picture):
    """A figure as PNG, in a tenth of a second: no palette, little compression. Bytes stay as they are."""
    if isinstance(picture, bytes):
        return picture
    picture.set_dpi(QUICK)
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    buffer = BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def alt(picture):
    """What a figure says that it shows."""
    return getattr(picture, "alt", None) or "picture"


def one_below_the_other(beats, stills):
    """All beats as one PNG of 256 colours, in as many columns as the page has room for."""
    images = [Image.open(BytesIO(still)).convert("RGB") for still in stills]
    width = max(image.width for image in images)
    columns = max(1, PAGE // width)
    bold, plain = (
        ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{kind}.ttf", LETTERS) for kind in ("-Bold", "")
    )
    texts = [wrap(sentence, int(width / (0.58 * LETTERS))) for _, sentence, _ in beats]
    head = LINE * (2 + max(map(len, texts)))
    height = head + max(image.height for image in images)
    rows = -(-len(beats) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for k, ((title, _, _), lines, image) in enumerate(zip(beats, texts, images, strict=True)):
        x, y = k % columns * width, k // columns * height
        pen.text((x + 8, y + LINE // 2), f"{k + 1} · {title}", fill="black", font=bold)
        pen.text((x + 8, y + LINE * 3 // 2), "\n".join(lines), fill="black", font=plain)
        sheet.paste(image, (x, y + head))
    buffer = BytesIO()
    sheet.quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()
