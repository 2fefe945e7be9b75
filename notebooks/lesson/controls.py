"""Sliders and step buttons. On a page without a running kernel a still picture stands in their place."""

from base64 import b64encode
from io import BytesIO

from IPython.display import display
from PIL import Image as Picture

from figures.style import PAGE, SCREEN, drawn_on, png_bytes

FITS = {"max_width": "100%", "max_height": "500px"}  # with its controls, on a screen of 1280 x 800


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
    picture = Image(value=png_bytes(first, quick=True), format="png", layout=Layout(**FITS))

    def redraw(_):
        with drawn_on(first):
            picture.value = png_bytes(figure(), quick=True)

    for bar in bars.values():
        bar.observe(redraw, "value")
    show(VBox([HBox(list(bars.values()), layout=Layout(flex_flow="row wrap")), picture]), *first._repr_png_())


def steps(beats):
    """Show one beat at a time, with buttons: beats is a list of (title, sentence, figure or PNG as bytes).

    The pictures carry their titles and sentences themselves; here these make the alternative text. On a page without a
    running kernel all pictures stand together. Raises ValueError for no beat at all.
    """
    from ipywidgets import Button, HBox, Image, Label, Layout, Play, VBox

    if not beats:
        raise ValueError("beats: expected at least one (title, sentence, picture), got none")
    stills = [picture if isinstance(picture, bytes) else png_bytes(picture, quick=True) for _, _, picture in beats]
    place, picture = Label(), Image(format="png", layout=Layout(**FITS))
    back, on = Button(description="◀ Previous"), Button(description="Next ▶")
    play = Play(min=0, max=len(beats) - 1, interval=2500, show_repeat=False)

    def turn(_=None):
        place.value = f"{play.value + 1} of {len(beats)}"
        picture.value = stills[play.value]
        back.disabled, on.disabled = play.value == 0, play.value == len(beats) - 1

    play.observe(turn, "value")
    back.on_click(lambda _: setattr(play, "value", max(play.value - 1, 0)))
    on.on_click(lambda _: setattr(play, "value", min(play.value + 1, len(beats) - 1)))
    turn()
    words = " ".join(f"{title}: {sentence}" for title, sentence, _ in beats)
    show(VBox([HBox([back, play, on, place]), picture]), all_in_one(stills), {"alt": words})


def show(widget, still, metadata):
    """Display one output: `widget` where a kernel runs, else the PNG `still`; metadata["alt"] says what it shows."""
    picture = b64encode(still).decode()  # as text: kernels in a browser send no bytes
    data = widget._repr_mimebundle_() | {"image/png": picture, "text/plain": metadata["alt"]}
    display(data, raw=True, metadata={"image/png": metadata})


def all_in_one(stills):
    """PNGs as one PNG of 256 colours, row by row, in as many columns as a page has room for."""
    pictures = [Picture.open(BytesIO(still)).convert("RGB") for still in stills]
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    columns = min(len(stills), max(1, int(PAGE * SCREEN) // width))
    sheet = Picture.new("RGB", (columns * width, -(-len(stills) // columns) * height), "white")
    for k, picture in enumerate(pictures):
        sheet.paste(picture, (k % columns * width, k // columns * height))
    buffer = BytesIO()
    sheet.quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()
