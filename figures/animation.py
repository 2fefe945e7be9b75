"""The cyclic shift in six beats: walls, roll, seam, cut, mask, roll back. As stills, as a strip, as a GIF.

Shapes: a square map of `side` x `side` tokens, windows of M x M, rolled by `shift` tokens; a photograph lies below it.
"""

from io import BytesIO
from typing import NamedTuple

import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image

from .arrays import as_image, in_whole_windows
from .cells import cuts, lines, mark, region_fill, seam, write
from .style import INK, MASKED, PAGE, QUERY, REGIONS, Drawing, describe, ink_on, panels, png_bytes, styled, tint

SHADES = 64  # colours of the GIF
HOLD, STEP = 1800, 60  # milliseconds that a beat stands, and that a picture between two beats does
PIXELS = 12  # of the photograph in the side of a token
BETWEEN = 5  # pictures between two beats
APART = 0.5  # tokens between the windows once they are cut


class Beat(NamedTuple):
    """One beat: a short title, a sentence, and the picture."""

    title: str
    sentence: str
    figure: Drawing


class _Scene:
    """The map, and how to draw it rolled by any number of tokens and cut to any distance."""

    def __init__(self, image, side, window, shift):
        image = as_image(image)
        in_whole_windows(side, side, window)
        if not 0 < shift < window:
            raise ValueError(f"shift: expected 1 to {window - 1} for windows of {window}, got {shift}")
        edge = min(image.shape[:2])
        if edge < side:
            raise ValueError(f"image: expected at least {side} x {side} pixels, got {edge} on its shorter side")
        top, left = ((length - edge) // 2 for length in image.shape[:2])
        square = Image.fromarray((255 * image[top : top + edge, left : left + edge]).round().astype(np.uint8))
        self.image = np.asarray(square.resize((side * PIXELS,) * 2, Image.Resampling.BOX))
        self.side, self.window, self.shift = side, window, shift
        after = np.arange(side) >= side - shift
        self.labels = 2 * after[:, None] + after  # of the rolled map
        self.query = (side - window, side - shift - 1)  # in the window that is cut twice

    def draw(self, axes, rolled=0.0, apart=0.0, walls=0.0, labels=False, glued=False, masked=False, pair=None):
        """Draw the map rolled up and left by `rolled` tokens, its windows `apart`, on empty axes.

        walls: shift of the windows that are drawn. pair: two tokens to mark that can't meet.
        """
        side, window, gap = self.side, self.window, apart
        pixels = np.roll(self.image, (-round(rolled * PIXELS),) * 2, (0, 1))
        count = side // window
        for i, j in np.ndindex(count, count):
            part = tuple(slice(k * window * PIXELS, (k + 1) * window * PIXELS) for k in (i, j))
            x, y = j * (window + gap), i * (window + gap)
            axes.imshow(pixels[part], extent=(x, x + window, y + window, y))
        whole = side + (count - 1) * gap
        if labels or masked:
            self._veil(axes, gap, masked)
        if not gap:
            lines(axes, range(side + 1), range(side + 1), (side, side), "white", 0.5)
            lines(axes, *[cuts(side, window, walls)] * 2, (side, side), INK, 3, casing="white")
        else:
            for i, j in np.ndindex(count, count):
                at = (j * (window + gap), i * (window + gap))
                axes.add_patch(Rectangle(at, window, window, fill=False, edgecolor=INK, linewidth=3))
        if glued:
            seam(axes, (side - self.shift,), (side - self.shift,), (side, side))
        for place in pair or ():
            mark(axes, *place)
        if pair:
            (top, left), (row, column) = pair
            axes.plot([left + 0.5, column + 0.5], [top + 0.5, row + 0.5], color="white", lw=4, zorder=7)
            axes.plot([left + 0.5, column + 0.5], [top + 0.5, row + 0.5], color=QUERY, lw=2, ls=":", zorder=8)
        margin = (self.side + APART * (count - 1) - whole) / 2 + 0.15
        axes.set(xlim=(-margin, whole + margin), ylim=(whole + margin, -margin))
        axes.set_aspect("equal")
        axes.axis("off")

    def _veil(self, axes, gap, masked):
        """The regions in their colours with their labels; of the query's window, what is masked is dark."""
        window, count = self.window, self.side // self.window
        asks = self.labels[self.query]
        for i, j in np.ndindex(count, count):
            labels = self.labels[i * window : (i + 1) * window, j * window : (j + 1) * window]
            x, y = j * (window + gap), i * (window + gap)
            veil = np.concatenate((region_fill(labels), np.where(labels, 0.72, 0.35)[..., None]), 2)
            own = masked and (i, j) == (self.query[0] // window, self.query[1] // window)
            if own:
                veil[labels != asks] = (*tint(MASKED, 1), 0.88)
            axes.imshow(veil, extent=(x, x + window, y + window, y), interpolation="nearest")
            for a, b in np.ndindex(window, window):
                ink = "white" if own and labels[a, b] != asks else ink_on(REGIONS[labels[a, b]])
                write(axes, str(labels[a, b]), x + b + 0.5, y + a + 0.5, ink, 10)
            if own:
                row, column = self.query[0] % window + y, self.query[1] % window + x
                mark(axes, row, column)


def _beats(scene):
    """[(title, sentence, how to draw it)] of the six beats."""
    window, shift = scene.window, scene.shift
    neighbours = [(window - 1, window - 1), (window - 1, window)]
    rolled = {"rolled": shift}
    back = {"walls": shift, "pair": neighbours}
    glued = rolled | {"labels": True, "glued": True}
    return [
        ("Walls", "Two neighbours on both sides of a wall never meet.", {"pair": neighbours}),
        ("Roll", f"The map is rolled up and left by {shift} tokens. The walls stay.", rolled),
        ("Seam", "What left at the top and left was glued on again: the seam.", glued),
        ("Cut", "The map is cut as before: equal windows, one array.", rolled | {"labels": True, "apart": APART}),
        ("Mask", "A token may see only its own label. Dark: masked.", rolled | {"masked": True, "apart": APART}),
        ("Roll back", "All is back. The walls have moved: the two have met.", back),
    ]


@styled
def shift_beats(image, side=8, window=4, shift=2):
    """The six beats of a shifted block as a list of `Beat` (title, sentence, figure without words), for buttons.

    image (H, W, 3): a photograph that lies below the map of side x side tokens. Raises ValueError where the windows
    don't fit the map, or the shift a window.
    """
    scene = _Scene(image, side, window, shift)
    beats = []
    for title, sentence, how in _beats(scene):
        figure, axes = panels(1, 1, (4.6, 4.6))
        scene.draw(axes[0, 0], **how)
        beats.append(Beat(title, sentence, describe(figure, f"{title}: {sentence}")))
    return beats


@styled
def shift_strip(image, side=8, window=4, shift=2):
    """The six beats in one picture, three and three."""
    scene = _Scene(image, side, window, shift)
    figure, axes = panels(2, 3, (PAGE, 7.4))
    for k, (panel, (title, sentence, how)) in enumerate(zip(axes.flat, _beats(scene), strict=True), 1):
        scene.draw(panel, **how)
        panel.set_title(f"{k} · {title}", fontsize=11, weight="bold")
        half = sentence.rfind(" ", 0, 34)
        panel.text(0.5, -0.02, f"{sentence[:half]}\n{sentence[half + 1 :]}", transform=panel.transAxes, ha="center",
                   va="top", fontsize=9.5, linespacing=1.3)  # fmt: skip
    beats = " ".join(f"{title}: {sentence}" for title, sentence, _ in _beats(scene))
    return describe(figure, f"The shifted windows in six beats. {beats}")


@styled
def shift_gif(image, side=8, window=4, shift=2):
    """The six beats as an animated GIF: bytes. Each beat stands long enough to be read."""
    scene, pictures, times = _Scene(image, side, window, shift), [], []
    beats = _beats(scene)
    ease = (1 - np.cos(np.linspace(0, np.pi, BETWEEN + 2)[1:-1])) / 2
    moving = {1: lambda t: {"rolled": t * shift}, 5: lambda t: {"rolled": (1 - t) * shift}}
    moving[3] = lambda t: {"rolled": shift, "labels": True, "apart": t * APART}
    for place, (title, sentence, how) in enumerate(beats):
        for t in ease if place in moving else ():
            pictures.append(_frame(scene, f"{place + 1} · {title}", sentence, moving[place](t)))
            times.append(STEP)
        pictures.append(_frame(scene, f"{place + 1} · {title}", sentence, how))
        times.append(HOLD)
    palette = Image.fromarray(np.concatenate([np.asarray(p) for p in pictures[:: BETWEEN // 2]])).quantize(
        128, kmeans=1
    )
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = BytesIO()
    pictures[0].save(buffer, "gif", save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=True)
    return buffer.getvalue()


def _frame(scene, title, sentence, how):
    """One picture of the film, with its words."""
    figure, axes = panels(1, 1, (4.6, 5.2))
    scene.draw(axes[0, 0], **how)
    axes[0, 0].set_title(title, fontsize=13, weight="bold")
    figure.supxlabel(sentence, fontsize=10.5)
    return Image.open(BytesIO(png_bytes(figure, quick=True))).convert("RGB")
