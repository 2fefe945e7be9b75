"""From a picture file to the array that a model takes, and back to a picture.

    load_image(path)    file → PIL image, RGB, upright
    preprocess(image)   PIL image → images (1, 3, H, W), float32, at the size a model was published for
    to_array(image)     the same at the size the picture has
    denormalise(images) images → pixels to draw, (N, H, W, 3), uint8

Pillow reads and resizes, NumPy does the rest.
"""

import warnings
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, UnidentifiedImageError

# Mean and standard deviation of ImageNet's red, green and blue, on a scale of 0 to 1.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# What Pillow decodes by itself. It would start another program, Ghostscript, for a PostScript file of any name.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "TGA", "ICO", "PCX", "SGI", "MPO")
MAX_PIXELS = 100_000_000  # a larger picture is refused before any of it is decoded

ORIENTATION = 0x0112  # the EXIF tag that says how to turn a picture upright; 1 or no tag: it is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """A picture that can't be used. The message is one line: what was expected, what was found, what to do."""


def load_image(path):
    """The picture in the file `path` as a PIL image in mode RGB, upright as its EXIF orientation says.

    Transparent parts are laid on white. 16-bit grey keeps its high byte; float grey runs from 0 to 1 or from 0 to 255.
    Of an animation the first frame is read. Colour profiles are ignored, as in the official code. No file makes another
    program start.

    Raises ImageError for a path that isn't a file, a file that isn't a picture in one of FORMATS or is cut off, and for
    a picture without pixels or with more than MAX_PIXELS.
    """
    try:
        return _read(Path(path))
    except ImageError as error:
        raise ImageError(f"{str(path)!r}: {error}") from None
    except UnidentifiedImageError as error:
        raise ImageError(f"{str(path)!r}: expected a picture such as PNG or JPEG; check the file") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds for broken files
        came = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{str(path)!r}: expected a complete picture, got: {came}; check the file") from error


def preprocess(image, size=224, crop=None):
    """A PIL image → (1, 3, H, W), float32: the preprocessing with which the published ImageNet models are evaluated.

    size    (H, W), or one number for a square
    crop    True: resize to 256/224 · size, keeping the proportions, then cut `size` out of the centre
            False: resize straight to `size`, whatever the proportions
            None: as the model published for that size, that is, False from 384 on

    Bicubic as Pillow does it, which smooths where it shrinks; other libraries' bicubic gives other numbers.
    Source: github.com/microsoft/Swin-Transformer, build_transform in data/build.py and TEST.CROP in configs/.

    Raises TypeError if `image` isn't a PIL image; ValueError for a size that isn't one; ImageError if the picture has
    no pixels, or would have more than MAX_PIXELS on the way because it is so long and thin.
    """
    height, width = size = _pair(size)
    if crop is None:
        crop = max(height, width) < 384
    return to_array(resize(image, size, (int(256 / 224 * height), int(256 / 224 * width)) if crop else None))


def resize(image, size, cover=None, interpolation="bicubic"):
    """A PIL image → an RGB PIL image of `size`, (H, W).

    cover           (H, W): resize, keeping the proportions, until that is covered, and cut `size` out of the centre.
                    None: resize straight to `size`
    interpolation   Pillow's name of it, in lower case
    raises          as `preprocess`
    """
    height, width = _pair(size)
    image = _to_rgb(_check_image(image))
    resample = Image.Resampling[interpolation.upper()]
    if cover is None:
        _check_size(width, height)
        return image.resize((width, height), resample)
    image = _resize_to_cover(image, *cover, resample)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def to_array(image, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """A PIL image → (1, 3, H, W), float32, normalised with the mean and deviation of each channel, at the size it has.

    Raises TypeError if `image` isn't a PIL image; ImageError if it has no pixels.
    """
    mean, std = (np.asarray(values, dtype=np.float32) for values in (mean, std))
    pixels = np.asarray(_to_rgb(_check_image(image)), dtype=np.float32) / 255
    return np.ascontiguousarray(rearrange((pixels - mean) / std, "h w c -> 1 c h w"))


def denormalise(images, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Normalised images (N, 3, H, W) → pixels to draw, (N, H, W, 3), uint8: the inverse of `to_array`.

    Values darker than black or brighter than white are clipped. Raises ValueError for another shape, for NaN
    and for infinity.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: expected shape (N, 3, H, W), got {images.shape}")
    if not np.isfinite(images).all():
        raise ValueError("images: expected finite numbers, got NaN or infinity")
    pixels = rearrange(images, "n c h w -> n h w c") * np.asarray(std) + np.asarray(mean)
    return np.ascontiguousarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _read(path):
    if not path.is_file():
        came = "a directory" if path.is_dir() else "no such file"
        raise ImageError(f"expected a picture file, got {came}; check the path")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's are about odd metadata, and about sizes, which we check
        # Pillow 13.0 scrambles grey TIFF pictures that lie on their side if it opens the file itself.
        with path.open("rb") as file, Image.open(file, formats=_formats()) as image:
            _check_size(*image.size)
            image.load()
            picture = _to_rgb(_upright(image))
    picture.info.clear()  # with the EXIF data, by which someone could turn it again
    return picture


def _formats():
    """Those of FORMATS that this version of Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _upright(image):
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # unreadable EXIF data says nothing about which side is up
        orientation = None
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image):
    """Any mode Pillow has → RGB, transparent parts on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _to_8_bit(image):
    """Grey in 16-bit integers ("I;16", "I") or floats ("F") → L, or LA where one value means transparent.

    Pillow's own convert("L") clips some of these modes at 255, which turns a 16-bit picture white.
    """
    values = np.asarray(image)
    if image.mode == "F":
        grey, limits = (values * np.float32(255) if values.max() <= 1 else values), "0 to 1 or 0 to 255"
    else:
        grey, limits = values // 256, "0 to 65535"  # the high byte, as Pillow takes it of 16-bit colour
    if not (grey.min() >= 0 and grey.max() <= 255):
        came = f"{values.min()} to {values.max()}"
        raise ImageError(f"expected grey from {limits}, got {came}; rescale the picture")
    grey8 = Image.fromarray(np.rint(grey).astype(np.uint8))
    if isinstance(transparent := image.info.get("transparency"), int):
        grey8.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey8


def _resize_to_cover(image, height, width, resample):
    """Resize to the smallest size that keeps the proportions and covers (height, width)."""
    if height * image.width >= width * image.height:
        width = int(height * image.width / image.height)
    else:
        height = int(width * image.height / image.width)
    _check_size(width, height)
    return image.resize((width, height), resample)


def _check_size(width, height):
    if width * height > MAX_PIXELS:
        came = f"{width} x {height}"
        raise ImageError(f"expected at most {MAX_PIXELS:,} pixels, got {came}; crop it or scale it down")


def _check_image(image):
    if not isinstance(image, Image.Image):
        raise TypeError(f"expected a PIL image, got {type(image).__name__}; load_image(path) reads one")
    if 0 in image.size:
        raise ImageError(f"expected a picture with pixels, got {image.width} x {image.height}")
    return image


def _pair(size):
    """One number or (H, W) → (H, W)."""
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and side >= 1 for side in pair):
        raise ValueError(f"size: expected a whole number above 0 or (height, width), got {size!r}")
    return pair
