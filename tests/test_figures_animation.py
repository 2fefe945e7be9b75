"""The cyclic shift in six beats: what each shows, one after the other, in a file small enough for a page."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from figures import animation, style
from figures.cells import cuts
from tests.drawings import IMAGE, check_page, every, refused, rolled_labels, words

BEATS = animation.shift_beats(IMAGE)
PICTURES = {beat.title: lambda beat=beat: beat.figure for beat in BEATS} | {
    "strip": lambda: animation.shift_strip(IMAGE),
    "toy": lambda: animation.shift_beats(IMAGE, 4, 2, 1)[4].figure,
}
PIXELS = animation.PIXELS


@every(PICTURES)
def test_it_reads_well(draw):
    check_page(draw)


def seen(beat, M=4):
    """The map (side, side, 3) that a beat shows, put together from its windows."""
    images = [image for image in beat.figure.axes[0].images if image.get_array().shape[0] == M * PIXELS]
    whole = np.zeros((8 * PIXELS, 8 * PIXELS, 3))
    for k, image in enumerate(images):
        i, j = divmod(k, 8 // M)
        place = np.s_[i * M * PIXELS : (i + 1) * M * PIXELS, j * M * PIXELS : (j + 1) * M * PIXELS]
        whole[place] = image.get_array()
    return whole


def test_six_beats_in_this_order():
    assert [beat.title for beat in BEATS] == ["Walls", "Roll", "Seam", "Cut", "Mask", "Roll back"]
    assert all(beat.sentence in beat.figure.alt for beat in BEATS)


def test_the_map_is_rolled_and_rolled_back():
    walls, roll, joined, cut, mask, back = map(seen, BEATS)
    assert walls.max() > 200 and np.array_equal(walls, back)
    for moved in (roll, joined, cut, mask):
        assert np.array_equal(moved, np.roll(walls, (-2 * PIXELS, -2 * PIXELS), (0, 1)))


def test_labels_and_mask_are_those_of_the_rolled_map():
    labels = rolled_labels(8, 8, 2)
    by_window = [str(n) for n in labels.reshape(2, 4, 2, 4).swapaxes(1, 2).ravel()]
    for beat in BEATS[2:5]:
        assert words(beat.figure.axes[0]) == by_window
    dark = BEATS[4].figure.axes[0].images[-1].get_array()[..., 3] > 0.8  # the last window, which holds the query
    assert np.array_equal(dark, labels[4:, 4:] != 0)


def test_the_walls_move_and_two_neighbours_meet():
    def walls(beat):
        return {line[0][0] for lines in beat.figure.axes[0].collections for line in lines.get_segments()}

    assert set(cuts(8, 4)) <= walls(BEATS[0]) and 4 in walls(BEATS[1])
    assert cuts(8, 4) == [0, 4, 8] and cuts(8, 4, 2) == [0, 2, 6, 8]
    first, second = (3, 3), (3, 4)  # as they are marked in the first and the last beat
    for beat in (BEATS[0], BEATS[5]):
        places = {(patch.get_y(), patch.get_x()) for patch in beat.figure.axes[0].patches}
        assert places == {first, second}
    assert first[1] // 4 != second[1] // 4 and (first[1] - 2) // 4 == (second[1] - 2) // 4


def test_the_gif_stands_on_each_beat_and_is_small():
    data = animation.shift_gif(IMAGE)
    film = Image.open(BytesIO(data))
    times = []
    for frame in range(film.n_frames):
        film.seek(frame)
        times.append(film.info["duration"])
    assert sum(time >= 1500 for time in times) == 6 and film.info["loop"] == 0
    assert sum(time < 100 for time in times) == 3 * animation.BETWEEN
    assert len(data) < 1_000_000 and film.width >= 400


def test_the_gif_of_the_gallery_is_small():
    assert (style.GALLERY / "cyclic_shift.gif").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    "draw",
    [
        lambda: animation.shift_beats(IMAGE, 8, 3, 1),
        lambda: animation.shift_beats(IMAGE, 8, 4, 4),
        lambda: animation.shift_beats(IMAGE[:4, :4]),
        lambda: animation.shift_beats(IMAGE[..., 0]),
    ],
)
def test_wrong_input_is_refused_in_one_line(draw):
    refused(draw)
