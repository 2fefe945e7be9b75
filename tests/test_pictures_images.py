"""swin_numpy.pictures.images against pixels worked out by hand, Pillow's own bicubic, and torch for the arithmetic."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from figures import PHOTOS, photo_path
from swin_numpy.pictures.images import (
    FORMATS,
    MAX_PIXELS,
    ORIENTATION,
    ImageError,
    denormalise,
    load_image,
    preprocess,
    to_array,
)

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
BICUBIC = Image.Resampling.BICUBIC


@pytest.fixture(autouse=True)
def no_warning_leaks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "unclosed (<socket|event loop)")  # of other tests, collected while these run
        yield


def random_image(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def load(tmp_path, image, suffix=".png", **options):
    """What load_image reads after Pillow has saved `image`, as a list of rows of (r, g, b)."""
    path = tmp_path / f"picture{suffix}"
    image.save(path, **options)
    return pixels_of(path)


def pixels_of(path):
    picture = load_image(path)
    assert type(picture) is Image.Image and picture.mode == "RGB"
    return [[tuple(pixel) for pixel in row] for row in np.asarray(picture).tolist()]


def png(width, height, depth, colour_type, rows, extra=()):
    """The bytes of a PNG file written by hand: also such as Pillow doesn't write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def refused(path, *words):
    """load_image(path) raises ImageError, in one line that names the path and has these words."""
    with pytest.raises(ImageError) as caught:
        load_image(path)
    message = str(caught.value)
    assert "\n" not in message and repr(str(path)) in message and "expected" in message
    assert "<_io" not in message  # Pillow names the file object, which says nothing
    for word in words:
        assert word in message
    return message


# --- modes ---


def test_colour_is_kept(tmp_path):
    image = random_image(5, 3)
    assert load(tmp_path, image) == [[tuple(p) for p in row] for row in np.asarray(image).tolist()]


def test_grey_becomes_three_equal_channels(tmp_path):
    image = Image.fromarray(np.array([[0, 77, 255]], np.uint8))
    assert load(tmp_path, image) == [[BLACK, (77, 77, 77), WHITE]]


def test_one_bit(tmp_path):
    image = Image.fromarray(np.array([[True, False]]))
    assert image.mode == "1" and load(tmp_path, image) == [[WHITE, BLACK]]


def test_rgba_lies_on_white(tmp_path):
    image = Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8))
    assert load(tmp_path, image) == [[RED, WHITE, (204, 204, 204)]]  # 51 is a fifth: 255 - 51


def test_grey_with_alpha_lies_on_white(tmp_path):
    image = Image.fromarray(np.array([[[100, 255], [100, 0], [0, 51]]], np.uint8), "LA")
    assert load(tmp_path, image) == [[(100, 100, 100), WHITE, (204, 204, 204)]]


def test_palette(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, 0, 255, 0, 10, 20, 30])
    image.putdata([2, 0, 1])
    assert load(tmp_path, image) == [[(10, 20, 30), RED, (0, 255, 0)]]
    assert load(tmp_path, image, transparency=0) == [[(10, 20, 30), WHITE, (0, 255, 0)]]
    assert load(tmp_path, image, ".gif", transparency=0) == [[(10, 20, 30), WHITE, (0, 255, 0)]]
    half = bytes([51, 255, 0])  # an alpha for each colour of the palette
    assert load(tmp_path, image, transparency=half) == [[WHITE, (255, 204, 204), (0, 255, 0)]]


def test_one_colour_that_means_transparent(tmp_path):
    image = Image.fromarray(np.array([[RED, (1, 2, 3)]], np.uint8))
    assert load(tmp_path, image, transparency=RED) == [[WHITE, (1, 2, 3)]]
    grey = Image.fromarray(np.array([[7, 8]], np.uint8))
    assert load(tmp_path, grey, transparency=7) == [[WHITE, (8, 8, 8)]]


def test_cmyk(tmp_path):
    image = Image.fromarray(np.array([[[0, 255, 255, 0], [0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8), "CMYK")
    assert load(tmp_path, image, ".tiff") == [[RED, WHITE, BLACK]]
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # a JPEG of that kind is stored inverted
    assert np.abs(np.array(load(tmp_path, image, ".jpg")) - RED).max() <= 3


def test_ycbcr_jpeg(tmp_path):
    image = Image.new("YCbCr", (8, 8), (76, 85, 255))
    assert np.abs(np.array(load(tmp_path, image, ".jpg")) - RED).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    image = Image.fromarray(np.array([[0, 255, 0x8000, 0xFFFF]], np.uint16))
    assert image.mode == "I;16"
    assert load(tmp_path, image, suffix) == [[BLACK, BLACK, (128, 128, 128), WHITE]]


def test_16_bit_grey_in_big_endian_tiff(tmp_path):
    image = Image.frombytes("I;16B", (2, 1), b"\x80\x01\xff\x00")
    assert load(tmp_path, image, ".tiff") == [[(128, 128, 128), WHITE]]


def test_16_bit_grey_of_a_pgm(tmp_path):
    (tmp_path / "p.pgm").write_bytes(b"P5 2 1 65535\n\x80\x00\xff\xff")
    with Image.open(tmp_path / "p.pgm") as image:
        assert image.mode == "I"
    assert pixels_of(tmp_path / "p.pgm") == [[(128, 128, 128), WHITE]]


def test_16_bit_grey_with_one_transparent_value(tmp_path):
    rows = b"\0" + struct.pack(">3H", 0x8000, 0x8001, 0x4000)
    (tmp_path / "p.png").write_bytes(png(3, 1, 16, 0, rows, [(b"tRNS", struct.pack(">H", 0x8001))]))
    assert pixels_of(tmp_path / "p.png") == [[(128, 128, 128), WHITE, (64, 64, 64)]]


def test_16_bit_colour_and_grey_keep_the_same_byte(tmp_path):
    values = np.arange(0, 65536, 37, dtype=">u2")
    colour, grey = tmp_path / "colour.png", tmp_path / "grey.png"
    rows = np.repeat(values, 3).tobytes()
    colour.write_bytes(png(len(values), 1, 16, 2, b"\0" + rows))
    grey.write_bytes(png(len(values), 1, 16, 0, b"\0" + values.tobytes()))
    assert pixels_of(colour) == pixels_of(grey) == [[(v >> 8,) * 3 for v in values.tolist()]]


def test_16_bit_colour_with_alpha(tmp_path):
    row = b"\0" + struct.pack(">8H", 0xFFFF, 0, 0, 0xFFFF, 0x1234, 0, 0, 0)
    (tmp_path / "p.png").write_bytes(png(2, 1, 16, 6, row))
    assert pixels_of(tmp_path / "p.png") == [[RED, WHITE]]


def test_float_grey(tmp_path):
    image = Image.fromarray(np.array([[0, 0.2, 1]], np.float32))
    assert image.mode == "F" and load(tmp_path, image, ".tiff") == [[BLACK, (51, 51, 51), WHITE]]
    image = Image.fromarray(np.array([[0, 50.6, 255]], np.float32))
    assert load(tmp_path, image, ".tiff") == [[BLACK, (51, 51, 51), WHITE]]


@pytest.mark.parametrize("values", [[0, 256], [-0.1, 1], [0, np.nan], [0, np.inf]])
def test_float_grey_of_unknown_range(tmp_path, values):
    path = tmp_path / "p.tiff"
    Image.fromarray(np.array([values], np.float32)).save(path)
    refused(path, "0 to 1 or 0 to 255")


@pytest.mark.parametrize("values", [[-1, 5], [0, 65536]])
def test_integers_beyond_16_bit(tmp_path, values):
    path = tmp_path / "p.tiff"
    Image.fromarray(np.array([values], np.int32)).save(path)
    refused(path, "0 to 65535", f"{values[0]} to {values[1]}")


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLACK, WHITE)]
    pixels = load(tmp_path, frames[0], ".gif", save_all=True, append_images=frames[1:])
    assert pixels == [[RED] * 4] * 4


# --- which side is up ---

# What a camera stores so that the tag's instruction turns it upright (EXIF 2.3), as array operations.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),  # shown turned clockwise, so stored turned anticlockwise
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_orientation(tmp_path, orientation, suffix, mode):
    upright = np.random.default_rng(1).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    if mode != "RGB":
        upright = upright[..., :1].repeat(3, axis=2)
    stored = np.ascontiguousarray(STORED[orientation](upright))
    grey = stored[..., 0]
    image = Image.fromarray({"RGB": stored, "L": grey, "I;16": grey.astype(np.uint16) * 256}[mode])
    assert image.mode == mode
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert np.array_equal(load(tmp_path, image, suffix, exif=exif), upright)


def test_orientation_is_not_applied_twice(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    random_image(4, 2).save(tmp_path / "p.jpg", exif=exif)
    picture = load_image(tmp_path / "p.jpg")
    assert picture.size == (2, 4) and not picture.getexif() and not picture.info


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0", b"Exif\0\0MM"])
def test_broken_exif_does_not_break_the_picture(tmp_path, exif, suffix):
    assert load(tmp_path, Image.new("RGB", (4, 2)), suffix, exif=exif) == [[BLACK] * 4] * 2


def test_orientation_beside_a_broken_tag(tmp_path):
    """Pillow 13's exif_transpose raises where the position (tag 0x011f) is text. 6 still means a turn."""
    tags = struct.pack(">HHII", 0x011F, 2, 6, 38) + struct.pack(">HHIHH", ORIENTATION, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + tags + b"\0\0\0\0hello\0"
    Image.new("RGB", (4, 2)).save(tmp_path / "p.jpg", exif=exif)
    assert load_image(tmp_path / "p.jpg").size == (2, 4)


# --- formats ---

WRITTEN = {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA", "ICO", "PCX", "SGI", "MPO"}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_named_format_is_read_whatever_the_file_is_called(tmp_path, kind):
    image = Image.new("RGB", (32, 32), RED)
    try:
        image.save(tmp_path / "picture.x", kind)
    except (KeyError, OSError):
        assert kind not in WRITTEN
        pytest.skip(f"this Pillow doesn't write {kind}")
    assert np.abs(np.array(pixels_of(tmp_path / "picture.x")) - RED).max() <= 3


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
PROGRAMS = {
    "EPS": EPS,
    "EPS with a DOS header": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(EPS)) + bytes(20) + EPS,
    "PDF": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 64, 64, 72) + bytes(20),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
}


@pytest.mark.parametrize("suffix", [".jpg", ".eps", ".ps", ""])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_picture_starts_another_program(tmp_path, kind, suffix, monkeypatch):
    ran = tmp_path / "ran"
    for program in ("gs", "gswin64c", "convert", "djpeg", "ffmpeg"):
        path = tmp_path / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {ran}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / f"picture{suffix}").write_bytes(PROGRAMS[kind])
    refused(tmp_path / f"picture{suffix}", "check the file")
    assert not ran.exists()


def test_a_pillow_that_lacks_a_format_reads_the_others(tmp_path, monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.OPEN, "WEBP", raising=False)
    assert load(tmp_path, Image.new("RGB", (2, 1), RED)) == [[RED, RED]]


# --- what is no picture ---


def test_missing(tmp_path):
    refused(tmp_path / "no\nsuch.png", "no such file")


def test_directory(tmp_path):
    refused(tmp_path, "directory")


@pytest.mark.parametrize("content", [b"", b"This is text.\n", b"\0" * 1000, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_not_a_picture(tmp_path, content, suffix):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(content)
    refused(path, "check the file")


def test_a_reason_of_two_lines_becomes_one(tmp_path, monkeypatch):
    def fail(file, formats):
        raise RuntimeError("first line\n  second line")

    monkeypatch.setattr(Image, "open", fail)
    (tmp_path / "p.png").write_bytes(b"")
    refused(tmp_path / "p.png", "first line second line")


def test_path_too_long(tmp_path):
    refused(tmp_path / ("x" * 5000), "check the")


@pytest.mark.parametrize("side", [60000, 12000, 10001])
def test_bomb(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, 8, 2, b""))
    assert side**2 > MAX_PIXELS
    refused(path, "pixels")


def test_up_to_our_limit_pillow_does_not_warn(tmp_path):
    """Pillow itself warns from 89 million pixels on. Here the size passes; the pixels are missing."""
    side = 9999
    assert Image.MAX_IMAGE_PIXELS < side**2 < MAX_PIXELS
    (tmp_path / "p.png").write_bytes(png(side, side, 1, 0, b""))
    refused(tmp_path / "p.png", "truncated")


@pytest.mark.parametrize("content", [png(0, 5, 8, 0, b""), b"P6 0 5 255\n", b"P6 5 0 255\n"])
def test_zero_size(tmp_path, content):
    path = tmp_path / "p.png"
    path.write_bytes(content)
    refused(path)


def saved(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM"])
def test_cut_off_at_every_length(tmp_path, kind):
    """Each beginning of a file is refused, or only the trailer is missing and all pixels are there."""
    content = saved(random_image(9, 7), kind)
    path = tmp_path / "p"
    path.write_bytes(content)
    whole = pixels_of(path)
    read = 0
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            assert pixels_of(path) == whole
            read += 1
        except ImageError:
            refused(path, "check the file")
    assert read < 25  # the last bytes of PNG, for example, are an empty chunk and checksums


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF"]))
def test_damaged_bytes_never_raise_anything_else(tmp_path, data, kind):
    content = bytearray(saved(random_image(9, 7), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "p"
    path.write_bytes(bytes(content))
    try:
        assert load_image(path).mode == "RGB"
    except ImageError as error:
        assert "\n" not in str(error)


# --- preprocess ---


def normalised(image):
    """float64, written as the formula."""
    pixels = np.asarray(image, dtype=np.float64).transpose(2, 0, 1)[None] / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return (pixels - mean[:, None, None]) / std[:, None, None]


# (width, height) of the picture, the size it is resized to for 224, and where the centre crop begins.
# torchvision's rules: the long side is cut to whole pixels, half a pixel is rounded to even.
CROPS = [
    ((256, 256), (256, 256), (16, 16)),
    ((451, 300), (384, 256), (80, 16)),
    ((300, 451), (256, 384), (16, 80)),
    ((100, 53), (483, 256), (130, 16)),
    ((1, 1), (256, 256), (16, 16)),
    ((3, 500), (256, 42666), (16, 21221)),
    ((500, 3), (42666, 256), (21221, 16)),
    ((224, 224), (256, 256), (16, 16)),
    ((257, 256), (257, 256), (16, 16)),
    ((259, 256), (259, 256), (18, 16)),
    ((256, 257), (256, 257), (16, 16)),
    ((256, 259), (256, 259), (16, 18)),
]


@pytest.mark.parametrize("size, resized, corner", CROPS)
def test_preprocess_crops_the_centre(size, resized, corner):
    image = random_image(*size)
    left, top = corner
    large = np.asarray(image.resize(resized, BICUBIC))
    expected = normalised(large[top : top + 224, left : left + 224])
    images = preprocess(image)
    assert images.shape == (1, 3, 224, 224) and images.dtype == np.float32 and images.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size, resized", [(224, 256), (192, 219), (256, 292), (384, 438), (1, 1)])
def test_preprocess_resizes_as_the_official_code(size, resized):
    image = random_image(60, 60)
    start = round((resized - size) / 2)
    large = np.asarray(image.resize((resized, resized), BICUBIC))
    expected = normalised(large[start : start + size, start : start + size])
    np.testing.assert_allclose(preprocess(image, size, crop=True), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(451, 300), (1, 1), (3, 500), (384, 384)])
def test_384_is_resized_without_a_crop(size):
    image = random_image(*size)
    expected = normalised(image.resize((384, 384), BICUBIC))
    np.testing.assert_allclose(preprocess(image, 384), expected, rtol=0, atol=1e-6)
    assert np.array_equal(preprocess(image, 384), preprocess(image, 384, crop=False))


def test_crop_by_default_below_384():
    image = random_image(451, 300)
    assert np.array_equal(preprocess(image, 256), preprocess(image, 256, crop=True))
    assert not np.array_equal(preprocess(image, 256), preprocess(image, 256, crop=False))


@pytest.mark.parametrize("picture", [(451, 300), (300, 451), (64, 64)])
@pytest.mark.parametrize("crop", [True, False])
def test_size_may_be_oblong(picture, crop):
    images = preprocess(random_image(*picture), (112, 224), crop)
    assert images.shape == (1, 3, 112, 224)
    if not crop:
        expected = normalised(random_image(*picture).resize((224, 112), BICUBIC))
        np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)


def test_oblong_crop_keeps_the_proportions():
    """A ramp along x whose slope after preprocessing says by what factor it was enlarged."""
    ramp = np.broadcast_to(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], (300, 400, 3))
    images = preprocess(Image.fromarray(np.ascontiguousarray(ramp)), (112, 224), crop=True)
    columns = denormalise(images)[0, 0, :, 0].astype(float)
    assert np.ptp(denormalise(images)[0].astype(int), axis=0).max() == 0
    # 400 x 300 covers 256 x 128 as 256 x 192: 224 of 256 columns are left of the ramp
    assert columns[-1] - columns[0] == pytest.approx(255 * 223 / 256, abs=2)


def test_arithmetic_is_that_of_torch():
    """ToTensor and Normalize in float32, to the last bit."""
    torch = pytest.importorskip("torch")
    image = random_image(40, 30)
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).to(torch.float32).div(255)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = x.sub_(mean[:, None, None]).div_(std[:, None, None])[None]
    assert np.array_equal(to_array(image), expected.numpy())


def test_channels_are_red_green_blue():
    images = to_array(Image.new("RGB", (2, 3), RED))
    assert images.shape == (1, 3, 3, 2)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(images[0, :, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "F", "I"])
def test_every_mode_is_taken(mode):
    image = Image.new(mode, (5, 4))
    assert preprocess(image, 8).shape == (1, 3, 8, 8)
    assert to_array(image).shape == (1, 3, 4, 5)


def test_denormalise_turns_to_array_round():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(denormalise(to_array(Image.fromarray(every)))[0], every)
    batch = np.concatenate([to_array(random_image(5, 3, seed)) for seed in (1, 2)])
    expected = np.stack([np.asarray(random_image(5, 3, seed)) for seed in (1, 2)])
    assert np.array_equal(denormalise(batch), expected) and denormalise(batch).dtype == np.uint8


def test_denormalise_clips():
    images = np.array([-100.0, 100.0, 0.0]).reshape(1, 3, 1, 1)
    assert denormalise(images).tolist() == [[[[0, 255, round(0.406 * 255)]]]]


@pytest.mark.parametrize("images", [np.zeros((3, 4, 4)), np.zeros((1, 4, 4, 3)), np.full((1, 3, 2, 2), np.nan)])
def test_denormalise_refuses(images):
    with pytest.raises(ValueError, match="expected"):
        denormalise(images)


@pytest.mark.parametrize("size", [0, -1, 2.5, "224", (224,), (1, 2, 3), (0, 5), None])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="size: expected"):
        preprocess(random_image(4, 4), size)


def test_no_image():
    for function in (preprocess, to_array):
        with pytest.raises(TypeError, match="load_image"):
            function("cat.jpg")
        with pytest.raises(ImageError, match="0 x 5"):
            function(Image.new("RGB", (0, 5)))


def test_too_long_and_thin():
    with pytest.raises(ImageError, match="scale it down"):
        preprocess(Image.new("RGB", (1, 10000)), 224)
    with pytest.raises(ImageError, match="scale it down"):
        preprocess(Image.new("RGB", (1, 1)), 20000)


# --- the photographs ---


@pytest.mark.parametrize("name", PHOTOS)
def test_photograph(name):
    path = photo_path(name)
    assert path.stat().st_size < 80_000
    picture = load_image(path)
    assert 224 <= min(picture.size) and max(picture.size) <= 512
    assert denormalise(preprocess(picture)).std() > 20  # there is something to see
    assert f"`{path.name}`" in (path.parent / "LICENSES.md").read_text(encoding="utf-8")


def test_photographs_differ_in_shape_and_there_are_some():
    assert len(PHOTOS) >= 3
    assert len({load_image(path).size for path in PHOTOS.values()}) > 1


def test_unknown_photograph():
    with pytest.raises(ValueError, match="astronaut, camera, chelsea, coffee"):
        photo_path("dog")
