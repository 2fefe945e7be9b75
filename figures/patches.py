"""Pictures of patches: the grid on a photograph, one patch as a row of numbers, what is cut out.

Shapes: h x w patches of p x p pixels, p = patch_size.
"""

import numpy as np

from .arrays import as_array, as_image, grid_of
from .cells import decimals_of, lines, mark, number, numbers, photo, sheet, write
from .style import INK, PAGE, QUERY, WINDOWS, panels, styled, tint


@styled
def patch_grid(image, patch_size, zoom=None):
    """The patch grid on a photograph: image (H, W, 3), p dividing H and W.

    zoom: (row, column, side), in patches, of a square that is shown enlarged at the right, pixel by pixel.
    """
    image = as_image(image)
    h, w = grid_of(image, patch_size)
    figure, axes = panels(1, 2 if zoom else 1, (PAGE if zoom else PAGE / 2, 0.32 + 0.485 * PAGE * h / w))
    photo(axes[0, 0], image, (h, w), f"{h} × {w} patches of {patch_size} × {patch_size} pixels")
    lines(axes[0, 0], range(1, h), range(1, w), (h, w), "white", 0.4)
    if zoom:
        row, column, side = zoom
        if row < 0 or column < 0 or side < 1 or row + side > h or column + side > w:
            raise ValueError(f"zoom: expected (row, column, side) inside {h} x {w} patches, got {tuple(zoom)}")
        part = image[row * patch_size : (row + side) * patch_size, column * patch_size : (column + side) * patch_size]
        mark(axes[0, 0], row, column, QUERY, side)
        photo(axes[0, 1], part, (side, side), f"enlarged: {side} × {side} patches")
        lines(axes[0, 1], range(side + 1), range(side + 1), (side, side), "white", 2)
    return figure


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
    pixels = image[i * p : (i + 1) * p, j * p : (j + 1) * p]
    figure, axes = panels(1, 5, (PAGE, 3.1), width_ratios=(1.1, 0.8, 1.15, 1.15, 1.15))
    figure.get_layout_engine().set(rect=(0, 0.28, 1, 0.72))
    strip = figure.add_axes((0.02, 0.04, 0.96, 0.15))
    photo(axes[0, 0], image, (h, w), f"patch ({i}, {j})")
    side = max(1, h // 20)  # a frame that can be seen however small the patch
    mark(axes[0, 0], max(i - side // 2, 0), max(j - side // 2, 0), QUERY, side)
    photo(axes[0, 1], pixels, (p, p), f"{p} × {p} pixels")
    planes = row.reshape(3, p, p)
    fills = []
    for channel, name in enumerate(("red", "green", "blue")):
        shade = np.zeros((p, p, 3))
        shade[...] = 1 - 0.75 * pixels[..., channel, None] * (1 - np.eye(3)[channel])
        fills.append(shade.reshape(p * p, 3))
        sheet(axes[0, 2 + channel], shade, name)
        numbers(axes[0, 2 + channel], planes[channel], shade, 8 if p <= 4 else 6, decimals_of(row))
    strip.imshow(np.concatenate(fills)[None], extent=(0, 3 * p * p, 1, 0), aspect="auto", interpolation="nearest")
    strip.vlines(range(1, 3 * p * p), 0, 1, color="white", linewidth=0.6)
    strip.vlines((p * p, 2 * p * p), 0, 1, color=INK, linewidth=2)
    for place, value in enumerate(row if p <= 4 else ()):
        write(strip, number(value, decimals_of(row)), place + 0.5, 0.5, size=8, rotation=90)
    strip.set_title(f"the row: {3 * p * p} numbers, red plane, green plane, blue plane, each row by row")
    strip.axis("off")
    return figure


@styled
def patches_of_grid(values, patch_size, titles=("", "")):
    """A map (H, W) of numbers with its patches in colour, and beside it the grid of token numbers.

    patch_size p; sides that p doesn't divide leave narrow patches at the right and at the bottom.
    """
    values = as_array("values", values, (None, None))
    H, W = values.shape
    rows, columns = np.arange(H) // patch_size, np.arange(W) // patch_size
    tokens = np.arange(-(-H // patch_size) * -(-W // patch_size)).reshape(-(-H // patch_size), -1)
    palette = np.array([tint(color, 0.45) for color in WINDOWS])
    figure, axes = panels(1, 2, (0.6 + 0.44 * (W + tokens.shape[1] * patch_size), 0.5 + 0.44 * H))
    fill = palette[tokens[rows][:, columns] % len(WINDOWS)]
    sheet(axes[0, 0], fill, titles[0])
    lines(axes[0, 0], range(H + 1), range(W + 1), (H, W), "white", 1)
    lines(axes[0, 0], range(0, H + 1, patch_size), range(0, W + 1, patch_size), (H, W), INK, 1.6)
    numbers(axes[0, 0], values, fill, 10)
    sheet(axes[0, 1], palette[tokens % len(WINDOWS)], titles[1])
    lines(axes[0, 1], range(len(tokens) + 1), range(tokens.shape[1] + 1), tokens.shape, INK, 1.6)
    numbers(axes[0, 1], tokens, palette[tokens % len(WINDOWS)], 12)
    return figure


@styled
def cropped(image, top, left, size, after):
    """A photograph (H, W, 3) with the square that is cut out of it, and beside it what the model gets (h, w, 3)."""
    image, after = as_image(image), as_image(after)
    H, W = image.shape[:2]
    width, tall = 8.6, H / W
    figure, axes = panels(1, 2, (width, width * tall / (1 + tall) + 0.3), width_ratios=(1, tall))
    sheet(axes[0, 0], image, f"resized: {H} × {W}")
    mark(axes[0, 0], top, left, QUERY, size, 2)
    sheet(axes[0, 1], after, f"cut out: {after.shape[0]} × {after.shape[1]}")
    return figure
