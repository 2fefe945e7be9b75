"""The one look of all pictures: one colour, one meaning. Colours, type sizes, saving, alt texts.

Nothing here changes Matplotlib's global settings, and no figure is registered with pyplot: a drawing function
returns its figure, and a notebook cell that ends with it shows it once.
"""

from contextlib import contextmanager
from contextvars import ContextVar
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
DPI, COLOURS = 220, 64  # line art: sharp on a screen of twice the usual density; it needs few colours
PHOTO_DPI, PHOTO_COLOURS = 130, 256  # pictures with a photograph in them, which cost far more bytes
SCREEN = 96  # pixels an inch at which a browser shows a picture

# Colours are chosen to differ with deuteranopia too (a test simulates it): blue or yellow, light or dark.
INK, GREY, PALE, MASKED = "#222222", "#8A8A8A", "#EFEFEF", "#2B2B2B"
NOTE = "#555555"  # small print

COLORS = {
    "X": "#C8C8C8",
    "Q": "#0072B2",
    "K": "#E69F00",
    "V": "#2E7D32",
    "Z": "#AA3377",
    "NumPy": "#6A3D9A",  # the two packages: these colours mean nothing else
    "PyTorch": "#D55E00",
    "global": INK,
    "SW-MSA": "#BFA100",
    "W-MSA": "#56B4E9",
}
QUERY = COLORS["Q"]  # the token that asks
SEAM = INK  # dashed, on white: as no other line
PARTS = {  # of a model
    "attention": COLORS["W-MSA"],
    "norm": "#C8C8C8",
    "MLP": "#3F8F7F",
    "merging": "#8A4B20",
    "embedding": "#F3C9A5",
    "head": "#222222",
}
REGIONS = (PALE, "#FFD966", "#9CCBEB", "#6F8196")  # labels 0 to 3: stayed, wrapped sideways, upwards, both
HATCHES = ("", "//", "\\\\", "xx")  # the same, where no digit can be written
WINDOWS = ("#7CC8F2", "#FFE14D", "#2F5D8A", "#A87420")  # (even, odd) row and column of windows
ENTRIES = ("#BFDDF5", "#FFF0B3", "#84B4DC", "#E8C14A", "#F4F4F4", "#3F76AB", "#BDBDBD", "#A8741A", "#7F7F7F")
CYCLE = ("#0072B2", "#E69F00", "#222222", "#56B4E9", "#8C510A", "#CC79A7")  # lines without a meaning
MARKERS = "osD^vP*"  # so that lines differ by more than colour
SEQUENTIAL = "Blues"  # 0 … 1
HEAT = "inferno"  # weights laid over a photograph
DIVERGING = "PuOr"  # always centred at 0
DASHES = {"linestyle": (0, (4, 3)), "linewidth": 1.4}  # of lines that only help

STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib; has √, ᵀ, · and Greek
    "mathtext.fontset": "dejavusans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlepad": 6,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": SCREEN,
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
    """A Matplotlib figure that a notebook shows as PNG, with or without pyplot. `alt` says in words what it shows."""

    alt = ""

    def _repr_png_(self):
        width, height = (self.get_size_inches() * SCREEN).round().astype(int).tolist()
        return png_bytes(self), {"width": width, "height": height, "alt": self.alt}


def describe(figure, alt):
    """Give `figure` its alternative text, one or two sentences, and return it."""
    figure.alt = " ".join(alt.split())
    return figure


def styled(draw):
    """Decorator: run the drawing function `draw` with STYLE on Matplotlib's defaults, and only there."""

    @wraps(draw)
    def in_style(*args, **kwargs):
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return in_style


@styled
def png_bytes(figure, quick=False):
    """The figure as PNG: bytes, the same for the same figure, in at most 256 colours.

    quick: at a screen's density and without looking for the best colours, for sliders that must answer at once.
    """
    dpi, colours = (PHOTO_DPI, PHOTO_COLOURS) if has_photograph(figure) else (DPI, COLOURS)
    buffer, dpi = BytesIO(), SCREEN if quick else dpi
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    if quick:
        return buffer.getvalue()
    light, buffer = Image.open(buffer).convert("RGB").quantize(colours, kmeans=1), BytesIO()
    light.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def has_photograph(figure):
    """Whether a photograph is part of the figure."""
    return any(min(image.get_array().shape[:2]) >= 100 for axes in figure.axes for image in axes.images)


@styled
def save(figure, name, folder=GALLERY):
    """Write folder/name.png and folder/name.svg, byte for byte the same for the same figure; alt text inside.

    Returns the two paths. Raises ValueError where `name` is not a plain file name without an ending, and OSError where
    a file can't be written: an old one then stays as it was.
    """
    if not name or Path(name).name != name or Path(name).suffix:
        raise ValueError(f"name: expected a file name without folder or ending, such as 'masks', got {name!r}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    replace_file(png, lambda temporary: temporary.write_bytes(png_bytes(figure)))
    metadata = {"Date": None, "Title": figure.alt}
    replace_file(svg, lambda temporary: figure.savefig(temporary, format="svg", dpi=72, metadata=metadata))
    return png, svg


@contextmanager
def drawn_on(figure):
    """Inside, the next drawing takes `figure` again, wiped clean, instead of a new one: for sliders."""
    token = _sheet.set(figure)
    try:
        yield
    finally:
        _sheet.reset(token)


_sheet = ContextVar("_sheet", default=None)


def _figure(size, layout=None):
    figure = _sheet.get()
    if figure is None:
        return Drawing(figsize=size, layout=layout)
    _sheet.set(None)
    figure.clear()
    figure.set_size_inches(size)
    figure.set_layout_engine(layout)
    return figure


def panels(rows=1, columns=1, size=(PAGE, 3.6), **options):
    """(figure, axes (rows, columns)): subplots that keep their labels inside the page. `size` in inches."""
    figure = _figure(size, "constrained")
    figure.get_layout_engine().set(w_pad=0.11, h_pad=0.12)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def canvas(width, height):
    """(figure, axes) of an empty sheet whose data coordinates are inches from the top left corner."""
    figure = _figure((width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def tint(color, strength=0.5):
    """`color` mixed with white: strength 0 is white, 1 the colour itself. Returns (r, g, b)."""
    return tuple(1 - strength * (1 - np.array(to_rgb(color))))


def ink_on(color):
    """Black or white: the one to be read on `color`."""
    return "black" if np.dot(to_rgb(color), (0.299, 0.587, 0.114)) > 0.5 else "white"


def window_color(row, column, strength=0.6):
    """The tint of the window at (row, column) of the grid of windows: neighbours always differ."""
    return tint(WINDOWS[2 * (row % 2) + column % 2], strength)


def line_style(index):
    """Colour, marker and dash of the index-th line without a meaning: from the seventh on the dash changes."""
    dashes = ("-", "--", ":")[index // len(CYCLE) % 3]
    return {"color": CYCLE[index % len(CYCLE)], "marker": MARKERS[index % len(MARKERS)], "linestyle": dashes}
