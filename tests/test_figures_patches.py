"""Pictures of patches: each in the colour of its token, the frame where the picture is cut."""

import numpy as np
import pytest

from figures import patches
from tests.drawings import (
    IMAGE,
    RNG,
    check_page,
    every,
    fill_of,
    refused,
    words,
)

PICTURES = {
    "patch_grid": lambda: patches.patch_grid(IMAGE, 4, zoom=(20, 30, 6)),
    "patch_to_row": lambda: patches.patch_to_row(IMAGE, 4, (20, 30), RNG.normal(size=48)),
}


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: patches.patch_grid(IMAGE[:223], 4),
        lambda: patches.patch_grid(IMAGE, 4, zoom=(54, 0, 6)),
        lambda: patches.patch_to_row(IMAGE, 4, (0, 0), np.zeros(47)),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)


def test_patches_have_the_colour_of_their_token():
    values = 10 * np.arange(4)[:, None] + np.arange(6)
    figure = patches.patches_of_grid(values, 2, ("pixels", "tokens"))
    left, right = figure.axes
    assert np.array_equal(fill_of(left)[::2, ::2], fill_of(right))
    assert np.array_equal(fill_of(left)[1::2, 1::2], fill_of(right))
    assert len(np.unique(fill_of(right).reshape(-1, 3), axis=0)) == 6
    assert words(left) == [str(value) for value in values.ravel()] and words(right) == list("012345")


def test_a_rest_of_pixels_still_is_a_patch():
    left, right = patches.patches_of_grid(np.zeros((4, 7), int), 2).axes
    assert words(right)[-1] == "7"
    assert np.array_equal(fill_of(left)[3, 6], fill_of(right)[1, 3])


def test_the_frame_lies_where_the_picture_is_cut():
    image = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    large, small = patches.cropped(image, 2, 4, 4, image[2:6, 4:8]).axes
    assert all(frame.get_xy() == (4, 2) and frame.get_width() == 4 for frame in large.patches)
    assert np.allclose(fill_of(large)[2:6, 4:8], fill_of(small))
    assert [axes.get_title() for axes in (large, small)] == ["resized: 8 × 12", "cut out: 4 × 4"]
