"""The one look of all pictures: colours with a fixed meaning, type sizes, saving.

Nothing here changes Matplotlib's global settings, and no figure is registered with pyplot: a drawing function
returns its figure, and a notebook cell that ends with it shows it once, as PNG.
"""

from functools import wraps
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from swin_numpy.runtime.replace import replace_file

GALLERY = Path(__file__).parent / "gallery"
PAGE = 9.4  # inches: the width of a notebook's page
DPI = 110
HEAVY = 100_000  # bytes from which a PNG (one with a photograph in it) is stored with a palette of 256 colours

# Okabe and Ito's palette: told apart with any kind of colour vision.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, INK, GREY = "#0072B2", "#D55E00", "#CC79A7", "#222222", "#8A8A8A"

# The same colour for the same thing in every picture.
COLORS = {
    "X": GREY,
    "Q": BLUE,
    "K": VERMILION,
    "V": GREEN,
    "Z": PURPLE,
    "NumPy": BLUE,
    "PyTorch": VERMILION,
    "global": INK,
    "W-MSA": SKY,
    "SW-MSA": ORANGE,
    "LN": GREY,
    "MLP": GREEN,
    "merging": PURPLE,
    "embed": YELLOW,
    "head": GREY,
}
SEAM = VERMILION  # where a shifted map was glued together
QUERY = VERMILION  # the token that asks
MASKED = "#3A3A3A"  # pairs of tokens that may not see each other
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, GREY)  # lines that have no colour of their own
WINDOWS = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILION, BLUE, GREY, INK)

DASHES = {"linestyle": (0, (4, 3)), "linewidth": 1.4}  # of lines that only help

SEQUENTIAL = "Blues"  # 0 … 1
HEAT = "inferno"  # weights laid over a photograph
DIVERGING = "PuOr"  # always centred at 0

STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib; has √, ᵀ, · and Greek
    "mathtext.fontset": "dejavusans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": DPI,
    "axes.edgecolor": "#666666",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 2,
    "svg.hashsalt": "swin",  # the same SVG, byte for byte, each time
    "svg.fonttype": "path",
}


class Drawing(Figure):
    """A Matplotlib figure that a notebook shows as PNG, whether pyplot is loaded or not."""

    def _repr_png_(self):
        return png_bytes(self)


def styled(draw):
    """Decorator: run the drawing function `draw` with STYLE on Matplotlib's defaults, and only there."""

    @wraps(draw)
    def in_style(*args, **kwargs):
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return in_style


@styled
def png_bytes(figure):
    """The figure as PNG at DPI: bytes, the same for the same figure. Heavy ones get 256 colours."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    if buffer.tell() > HEAVY:
        light = Image.open(buffer).convert("RGB").quantize(256, kmeans=1)
        buffer = BytesIO()
        light.save(buffer, "png", optimize=True)
    return buffer.getvalue()


@styled
def save(figure, name, folder=GALLERY):
    """Write folder/name.png and folder/name.svg, byte for byte the same for the same figure.

    Returns the two paths. Raises ValueError where `name` is not a plain file name without an ending, and OSError where
    a file can't be written: an old one then stays as it was.
    """
    if not name or Path(name).name != name or Path(name).suffix:
        raise ValueError(f"name: expected a file name without folder or ending, such as 'masks', got {name!r}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    replace_file(png, lambda temporary: temporary.write_bytes(png_bytes(figure)))
    replace_file(svg, lambda temporary: figure.savefig(temporary, format="svg", dpi=72, metadata={"Date": None}))
    return png, svg


def panels(rows=1, columns=1, size=(PAGE, 3.6), **options):
    """(figure, axes (rows, columns)): subplots that keep their labels inside the page. `size` in inches."""
    figure = Drawing(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def canvas(width, height):
    """(figure, axes) of an empty sheet whose data coordinates are inches from the top left corner."""
    figure = Drawing(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def tint(color, strength=0.35):
    """`color` mixed with white: strength 0 is white, 1 the colour itself. Returns (r, g, b)."""
    return tuple(1 - strength * (1 - np.array(to_rgb(color))))


def ink_on(color):
    """Black or white: the one to be read on `color`."""
    return "black" if np.dot(to_rgb(color), (0.299, 0.587, 0.114)) > 0.5 else "white"


def window_color(row, column, strength=0.45):
    """The tint of the window at (row, column) of the grid of windows: neighbours always differ."""
    return tint(WINDOWS[2 * (row % 2) + column % 2], strength)
