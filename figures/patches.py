"""Pictures of patches: the grid on a photograph, one patch as a row of numbers, what is cut out.

Shapes: h x w patches of p x p pixels, p = patch_size.
"""

import numpy as np

from .arrays import as_array, as_image, grid_of
from .cells import decimals_of, grid_lines, lines, mark, number, numbers, photo, sheet, write
from .style import ENTRIES, INK, PAGE, describe, panels, styled, tint


@styled
def patch_grid(image, patch_size, zoom=None):
    """The patch grid on a photograph: image (H, W, 3), p dividing H and W.

    zoom: (row, column, side), in patches, of a square that is shown enlarged at the right, pixel by pixel.
    """
    image = as_image(image)
    h, w = grid_of(image, patch_size)
    width = PAGE if zoom else 5.2
    figure, axes = panels(1, 2 if zoom else 1, (width, 0.4 + width * (0.485 if zoom else 0.96) * h / w))
    title = f"{h} × {w} patches of {patch_size} × {patch_size} pixels"
    photo(axes[0, 0], image, (h, w), title)
    lines(axes[0, 0], range(1, h), range(1, w), (h, w), "white", 0.4 if h > 20 else 0.8)
    if zoom:
        row, column, side = zoom
        if row < 0 or column < 0 or side < 1 or row + side > h or column + side > w:
            raise ValueError(f"zoom: expected (row, column, side) inside {h} x {w} patches, got {tuple(zoom)}")
        part = image[row * patch_size : (row + side) * patch_size, column * patch_size : (column + side) * patch_size]
        mark(axes[0, 0], row, column, side, INK)
        photo(axes[0, 1], part, (side, side), f"enlarged: {side} × {side} patches, each one token")
        lines(axes[0, 1], range(side + 1), range(side + 1), (side, side), "white", 2.4)
    return describe(figure, f"A photograph under a grid of {title}{', and a part of it enlarged' * bool(zoom)}.")


@styled
def patch_to_row(image, patch_size, index, row):
    """One patch becoming one row of numbers: where it lies, its pixels, its three colour planes, the row.

    image (H, W, 3); index: (row, column) of the patch; row (3·p·p,), the numbers in the order (c p1 p2),
    shown as they are: pass what the model sees. Raises ValueError where the shapes don't fit.
    """
    image, p = as_image(image), patch_size
    h, w = grid_of(image, p)
    row = as_array("row", row, (3 * p * p,))
    i, j = index
    if not (0 <= i < h and 0 <= j < w):
        raise ValueError(f"index: expected a (row, column) inside {h} x {w} patches, got {tuple(index)}")
    pixels, decimals = image[i * p : (i + 1) * p, j * p : (j + 1) * p], decimals_of(row)
    figure, axes = panels(1, 5, (PAGE, 3.9), width_ratios=(1.1, 0.8, 1.15, 1.15, 1.15))
    figure.get_layout_engine().set(rect=(0, 0.42, 1, 0.58))
    photo(axes[0, 0], image, (h, w), f"patch ({i}, {j})")
    side = max(1, h // 20)  # a frame that can be seen however small the patch
    mark(axes[0, 0], max(i - side // 2, 0), max(j - side // 2, 0), side, INK)
    photo(axes[0, 1], pixels, (p, p), f"{p} × {p} pixels")
    for channel, name in enumerate(("red", "green", "blue")):
        strip = figure.add_axes((0.1, 0.27 - 0.11 * channel, 0.88, 0.085))
        shade = 1 - 0.75 * pixels[..., channel, None] * (1 - np.eye(3)[channel])
        plane = row.reshape(3, p, p)[channel]
        for panel, values, fill in (
            (axes[0, 2 + channel], plane, shade),
            (strip, plane.reshape(1, -1), shade.reshape(1, -1, 3)),
        ):
            sheet(panel, fill)
            grid_lines(panel, values.shape, width=0.8)
            for a, b in np.ndindex(values.shape if p <= 4 else (0, 0)):
                write(panel, number(values[a, b], decimals), b + 0.5, a + 0.5, size=8.5)
        axes[0, 2 + channel].set_title(f"{name} plane")
        strip.set_aspect("auto")
        first = channel * p * p
        write(strip, f"{first} … {first + p * p - 1}", -0.15, 0.5, size=9, ha="right")
    note = f"the row: {3 * p * p} numbers, one plane after the other, each row by row"
    figure.text(0.54, 0.385, note, fontsize=11, ha="center")
    return describe(figure, f"Patch ({i}, {j}) of a photograph, its three colour planes, and the row made of them.")


@styled
def patches_of_grid(values, patch_size, titles=("", "")):
    """A map (H, W) of numbers with its patches in colour, and beside it the grid of token numbers.

    patch_size p; sides that p doesn't divide leave narrow patches at the right and at the bottom.
    """
    values = as_array("values", values, (None, None))
    H, W = values.shape
    rows, columns = np.arange(H) // patch_size, np.arange(W) // patch_size
    tokens = np.arange(-(-H // patch_size) * -(-W // patch_size)).reshape(-(-H // patch_size), -1)
    palette = np.array([tint(color, 1) for color in ENTRIES])[tokens % len(ENTRIES)]
    figure, axes = panels(1, 2, (0.6 + 0.44 * (W + tokens.shape[1] * patch_size), 0.55 + 0.44 * H))
    fill = palette[rows][:, columns]
    sheet(axes[0, 0], fill, titles[0])
    grid_lines(axes[0, 0], (H, W))
    lines(axes[0, 0], range(0, H + 1, patch_size), range(0, W + 1, patch_size), (H, W), INK, 1.6)
    numbers(axes[0, 0], values, fill, 10)
    sheet(axes[0, 1], palette, titles[1])
    grid_lines(axes[0, 1], tokens.shape, INK, 1.6)
    numbers(axes[0, 1], tokens, palette, 12)
    return describe(figure, f"{H} × {W} pixels in patches of {patch_size} × {patch_size}, and the token of each patch.")


@styled
def cropped(image, top, left, size, after):
    """A photograph (H, W, 3) with the square that is cut out of it, and beside it what the model gets (h, w, 3)."""
    image, after = as_image(image), as_image(after)
    H, W = image.shape[:2]
    width, tall = 8.6, H / W
    figure, axes = panels(1, 2, (width, width * tall / (1 + tall) + 0.35), width_ratios=(1, tall))
    sheet(axes[0, 0], image, f"resized: {H} × {W}")
    mark(axes[0, 0], top, left, size, INK)
    sheet(axes[0, 1], after, f"cut out: {after.shape[0]} × {after.shape[1]}")
    return describe(figure, f"A photograph of {H} × {W} pixels with a frame around its middle, and what is cut out.")
