"""What the tests of figures/ share: made-up inputs, and the checks that every picture must pass."""

import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from figures import style

RNG = np.random.default_rng(0)
YY, XX = np.mgrid[:224, :224]
IMAGE = np.stack((XX % 256, YY % 256, (XX + YY) // 2 % 256), 2).astype(np.uint8)
GRID = np.arange(64).reshape(8, 8)


def every(pictures):
    """Parametrize a test by the functions {name: draw}."""
    return pytest.mark.parametrize("draw", pictures.values(), ids=list(pictures))


def check_page(draw):
    """Draw, and assert that no warning, a margin, no text on another, all of it readable on a page of 800 pixels."""
    written, to_page = [], Text.draw

    def note(text, renderer):
        to_page(text, renderer)
        if text.get_visible() and text.get_text().strip():
            written.append((text, text.get_window_extent(renderer)))

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        patch.setattr(Text, "draw", note)
        figure = draw()
        assert isinstance(figure, Figure)
        assert len(figure.alt) > 25 and figure.alt.endswith((".", ". ")), f"alt text: {figure.alt!r}"
        FigureCanvasAgg(figure).draw()
    width, height = figure.get_size_inches() * figure.dpi
    assert width <= (style.PAGE + 0.25) * figure.dpi
    for index, (text, box) in enumerate(written):
        edge = min(box.x0, box.y0, width - box.x1, height - box.y1)
        assert edge >= 4, f"{text.get_text()!r} comes as near as {edge:.1f} pixels to the edge"
        assert text.get_fontsize() * 800 / (72 * style.PAGE) >= 9.5, f"{text.get_text()!r} on a page of 800 pixels"
        for other, their in written[index + 1 :]:
            if {text.get_rotation(), other.get_rotation()} <= {0, 90}:
                across = min(box.x1, their.x1) - max(box.x0, their.x0)
                down = min(box.y1, their.y1) - max(box.y0, their.y0)
                assert min(across, down) < 2, f"{text.get_text()!r} over {other.get_text()!r}"


def refused(draw):
    """Assert that `draw` raises a ValueError of one line that says what was expected."""
    with pytest.raises(ValueError, match=r"expected|inhomogeneous") as error:
        draw()
    assert "\n" not in str(error.value)


def words(axes):
    """The texts written on `axes`, without titles and labels."""
    return [text.get_text() for text in axes.texts]


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def fill_of(axes):
    """The colours (H, W, 3) or numbers (H, W) of the first image on `axes`."""
    values = np.asarray(axes.images[0].get_array())
    return values[..., :3] if values.ndim == 3 else values


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rolled_labels(h, w, shift):
    return 2 * (np.arange(h) >= h - shift)[:, None] + (np.arange(w) >= w - shift)[None]


def tiles(x, M):
    h, w = x.shape
    return x.reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(-1, M * M)


def toy_mask(h, w, M, shift):
    labels = tiles(rolled_labels(h, w, shift), M)
    return np.where(labels[:, :, None] != labels[:, None], -100.0, 0.0)


def index_parts(M):
    """(row offsets, column offsets, index) of all pairs in a window of M x M."""
    row, column = np.divmod(np.arange(M * M), M)
    rows, columns = row[:, None] - row[None], column[:, None] - column[None]
    return rows, columns, (rows + M - 1) * (2 * M - 1) + columns + M - 1


def same_window(side, M, shift=0):
    part = np.searchsorted(range(shift or M, side, M), np.arange(side), "right")
    window = (part[:, None] * side + part[None]).ravel()
    return window[:, None] == window[None]


def grown(shift):
    """How far token (5, 5) of a 16 x 16 map has seen after 1 to 4 blocks of windows of 4."""
    seen, maps = np.arange(256) == 5 * 16 + 5, []
    for block in range(4):
        seen = same_window(16, 4, shift if block % 2 else 0)[seen].any(0)
        maps.append(seen.reshape(16, 16))
    return maps
