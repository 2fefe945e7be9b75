"""Windows, cyclic shift, shift mask and relative positions, each against a loop written from its meaning."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import swin_numpy
import swin_torch
from tests.twin import PACKAGES, assert_twins, both, inputs_for, normal, tensor

TWINS = swin_numpy, swin_torch
side = st.integers(1, 4)


@st.composite
def maps(draw):
    """A map (n, h, w, c) that whole windows cut, the window, and the number of windows on each axis."""
    window, count = (draw(side), draw(side)), (draw(side), draw(side))
    n, c = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return normal(n, window[0] * count[0], window[1] * count[1], c), window, count


@st.composite
def shifts(draw):
    """H, W, window and shift that go together."""
    window, count = (draw(side), draw(side)), (draw(side), draw(side))
    shift = tuple(draw(st.integers(0, m - 1)) for m in window)
    return window[0] * count[0], window[1] * count[1], window, shift


# Partition and reverse


@given(maps())
def test_partition_against_loops(case):
    x, (mh, mw), (kh, kw) = case
    ours, theirs = both("window_partition", x, (mh, mw))
    expected = np.empty((len(x), kh * kw, mh * mw, x.shape[-1]))
    for row, column in itertools.product(range(x.shape[1]), range(x.shape[2])):
        window = row // mh * kw + column // mw
        token = row % mh * mw + column % mw
        expected[:, window, token] = x[:, row, column]
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(theirs, expected)


@given(maps())
def test_reverse_undoes_partition(case):
    x, window, _ = case
    ours, theirs = both("window_partition", x, window)
    np.testing.assert_array_equal(swin_numpy.window_reverse(ours, window, *x.shape[1:3]), x)
    np.testing.assert_array_equal(swin_torch.window_reverse(theirs, window, *x.shape[1:3]), x)


@given(maps())
def test_partition_undoes_reverse(case):
    x, (mh, mw), (kh, kw) = case
    windows = normal(len(x), kh * kw, mh * mw, 2)
    for package, whole in zip(TWINS, both("window_reverse", windows, (mh, mw), kh * mh, kw * mw), strict=True):
        np.testing.assert_array_equal(package.window_partition(whole, (mh, mw)), windows)


@PACKAGES
def test_one_number_makes_square_windows(package):
    (x,) = inputs_for(package, normal(2, 6, 9, 2))
    windows = package.window_partition(x, 3)
    assert tuple(windows.shape) == (2, 6, 9, 2)
    np.testing.assert_array_equal(windows, package.window_partition(x, (3, 3)))
    np.testing.assert_array_equal(windows, package.window_partition(x, [3, 3]))
    np.testing.assert_array_equal(package.window_reverse(windows, 3, 6, 9), x)


# Padding


@given(st.integers(1, 9), st.integers(1, 9), side, side)
def test_padding_adds_zeros_right_and_bottom_and_no_more_than_needed(H, W, mh, mw):
    x = normal(2, H, W, 3)
    for padded in both("pad_to_multiple", x, (mh, mw)):
        padded = np.asarray(padded)
        _, h, w, _ = padded.shape
        assert h % mh == 0 and w % mw == 0 and 0 <= h - H < mh and 0 <= w - W < mw
        np.testing.assert_array_equal(padded[:, :H, :W], x)
        assert not padded[:, H:].any() and not padded[:, :, W:].any()
        assert padded.dtype == x.dtype


# Shift


@given(st.integers(1, 6), st.integers(1, 6), st.integers(-6, 6), st.integers(-6, 6))
def test_shift_moves_up_and_left_and_comes_back(H, W, rows, columns):
    x = normal(2, H, W, 2)
    for package, shifted in zip(TWINS, both("cyclic_shift", x, (rows, columns)), strict=True):
        for row, column in itertools.product(range(H), range(W)):
            expected = x[:, (row + rows) % H, (column + columns) % W]
            np.testing.assert_array_equal(np.asarray(shifted)[:, row, column], expected)
        np.testing.assert_array_equal(package.cyclic_shift(shifted, (-rows, -columns)), x)


@PACKAGES
def test_one_number_shifts_both_axes(package):
    (x,) = inputs_for(package, normal(2, 5, 7, 2))
    np.testing.assert_array_equal(package.cyclic_shift(x, 2), package.cyclic_shift(x, (2, 2)))
    np.testing.assert_array_equal(package.cyclic_shift(x, 0), x)


# Mask


def true_window(position, size, shift):
    """Which of the true, unequal windows of the shifted partition holds this row (or column) of the image.

    Windows begin at shift, shift + size, …; what lies before the first of them is a narrow window of its own (-1).
    """
    return (position - shift) // size


def brute_force_mask(H, W, window, shift):
    """0 where the tokens of one window after the roll are in one true window before it; -100 elsewhere. Loops only."""
    (mh, mw), (rows, columns) = window, shift
    masks = []
    for top, left in itertools.product(range(0, H, mh), range(0, W, mw)):
        homes = []
        for row, column in itertools.product(range(top, top + mh), range(left, left + mw)):
            row, column = (row + rows) % H, (column + columns) % W  # where in the image the token comes from
            homes.append((true_window(row, mh, rows), true_window(column, mw, columns)))
        masks.append([[0.0 if a == b else -100.0 for b in homes] for a in homes])
    return np.array(masks)


@given(shifts())
def test_mask_against_brute_force(case):
    expected = brute_force_mask(*case)
    ours, theirs = both("shift_mask", *case)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(theirs, expected)
    assert ours.dtype == np.float32 and theirs.dtype == torch.float32


@PACKAGES
def test_mask_of_swin_t_has_the_known_shape_and_windows(package):
    mask = np.asarray(package.shift_mask(14, 14, 7, 3))
    assert mask.shape == (4, 49, 49)
    hidden = (mask < 0).sum(axis=(1, 2))
    alone = 49 * 49
    assert hidden[0] == 0  # top left: no seam
    assert hidden[1] == hidden[2] == alone - 28 * 28 - 21 * 21  # one seam: 4 + 3 columns (rows) of 7
    assert hidden[3] == alone - 16 * 16 - 2 * 12 * 12 - 9 * 9  # both seams: 4x4, 4x3, 3x4, 3x3


@PACKAGES
def test_no_shift_hides_nothing(package):
    assert not np.asarray(package.shift_mask(6, 8, (3, 4), 0)).any()


# Relative positions


@pytest.mark.parametrize("window", [1, 2, 3, 7, (1, 4), (3, 2), (2, 5)])
def test_index_is_one_to_one_on_offsets_in_reading_order(window):
    mh, mw = (window, window) if isinstance(window, int) else window
    offsets = list(itertools.product(range(1 - mh, mh), range(1 - mw, mw)))  # by row, then by column
    for index in both("relative_position_index", window):
        index = np.asarray(index)
        assert index.shape == (mh * mw, mh * mw) and index.dtype == np.int64
        for i, j in itertools.product(range(mh * mw), repeat=2):
            offset = i // mw - j // mw, i % mw - j % mw  # from j to i
            assert offsets[index[i, j]] == offset
        assert set(index.ravel()) == set(range(len(offsets)))  # every row of the table is in use


def test_index_by_hand():
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    for index in both("relative_position_index", 2):
        np.testing.assert_array_equal(index, expected)


# Types and errors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_keep_the_type(dtype):
    x = normal(2, 4, 6, 3, dtype=dtype)
    assert_twins(*both("window_partition", x, 2), bound=0)
    assert_twins(*both("window_reverse", normal(2, 6, 4, 3, dtype=dtype), 2, 4, 6), bound=0)
    assert_twins(*both("cyclic_shift", x, 1), bound=0)
    assert_twins(*both("pad_to_multiple", x, 5), bound=0)


x = normal(2, 6, 8, 3)
# V2's coordinates


@pytest.mark.parametrize("pretrained", [0, 1, 4, (5, 2)])
@pytest.mark.parametrize("window", [1, 2, 8, (2, 5)])
def test_relative_coordinates_against_loops(window, pretrained):
    (mh, mw), (ph, pw) = (value if isinstance(value, tuple) else (value, value) for value in (window, pretrained))
    ours, theirs = both("relative_coordinates", window, pretrained)
    assert_twins(ours, theirs, 0)
    assert ours.dtype == np.float32 and ours.shape == ((2 * mh - 1) * (2 * mw - 1), 2)
    index = swin_numpy.relative_position_index(window)
    for i, j in itertools.product(range(mh * mw), repeat=2):
        offsets = (i // mw - j // mw, mh, ph), (i % mw - j % mw, mw, pw)
        for axis, (offset, now, before) in enumerate(offsets):
            x = 8 * offset / max((before or now) - 1, 1)
            expected = math.copysign(math.log(1 + abs(x), 8), x)
            assert ours[index[i, j], axis] == pytest.approx(expected, rel=2e-7)


@pytest.mark.parametrize("window", [2, 7, 8, 16, (3, 8)])
@pytest.mark.parametrize("pretrained", [0, 6, 12])
def test_relative_coordinates_are_those_of_transformers_to_the_last_bit(window, pretrained):
    """Computed as in the official code: every operation rounded to float32."""
    swinv2 = pytest.importorskip("transformers.models.swinv2.modeling_swinv2")
    sizes = [tuple(value) if isinstance(value, tuple) else (value, value) for value in (window, pretrained)]
    config = swinv2.Swinv2Config()
    theirs = swinv2.Swinv2SelfAttention(config, 12, 3, sizes[0], sizes[1]).relative_coords_table.reshape(-1, 2)
    for ours in both("relative_coordinates", window, pretrained):
        np.testing.assert_array_equal(ours, theirs)


def test_relative_coordinates_are_the_papers():
    """At the largest offset log2(9) / 3, a little more than 1; twice the window adds hardly more than a quarter."""
    assert swin_numpy.relative_coordinates(8).max() == np.float32(math.log2(9) / 3)
    assert swin_numpy.relative_coordinates(16, 8).max() == np.float32(math.log2(1 + 8 * 15 / 7) / 3) < 1.4
    np.testing.assert_array_equal(swin_numpy.relative_coordinates(8, 8), swin_numpy.relative_coordinates(8))


WRONG = {
    "not a map": ("window_partition", (x[0], 2), ValueError, r"x: expected shape \(n, h, w, c\), got \(6, 8, 3\)"),
    "no fit": ("window_partition", (x, 4), ValueError, "windows of 4x4 don't fit a map of 6x8"),
    "no fit, columns": ("window_partition", (x, (2, 3)), ValueError, "windows of 2x3 don't fit a map of 6x8"),
    "no window": ("window_partition", (x, 0), ValueError, "size: expected at least 1, got 0"),
    "negative": ("window_partition", (x, (2, -4)), ValueError, "window_size: expected at least 1, got -4"),
    "fraction": ("window_partition", (x, 2.0), TypeError, "window_size: expected a whole number, got 2.0"),
    "three": (
        "window_partition",
        (x, (2, 2, 2)),
        TypeError,
        r"window_size: expected a whole number or a pair of them, got \(2, 2, 2\)",
    ),
    "list": ("window_partition", (x.tolist(), 2), TypeError, "x: expected .*, got list"),
    "windows for another map": (
        "window_reverse",
        (normal(2, 12, 4, 3), 2, 6, 10),
        ValueError,
        r"windows: expected shape \(n, 15, 4, c\), got \(2, 12, 4, 3\)",
    ),
    "windows without n": ("window_reverse", (normal(12, 4, 3), 2, 6, 8), ValueError, r"got \(12, 4, 3\)"),
    "windows don't fit": (
        "window_reverse",
        (normal(2, 12, 4, 3), 2, 6, 9),
        ValueError,
        "windows of 2x2 don't fit .* 6x9",
    ),
    "reverse list": ("window_reverse", ([1, 2], 2, 6, 8), TypeError, "windows: expected .*, got list"),
    "pad": ("pad_to_multiple", (x[0], 4), ValueError, r"x: expected shape \(n, h, w, c\), got \(6, 8, 3\)"),
    "pad to nothing": ("pad_to_multiple", (x, 0), ValueError, "size: expected at least 1, got 0"),
    "shift": ("cyclic_shift", (x[0], 1), ValueError, r"x: expected shape \(n, h, w, c\), got \(6, 8, 3\)"),
    "shift by a half": ("cyclic_shift", (x, 0.5), TypeError, "shift: expected a whole number, got 0.5"),
    "mask": ("shift_mask", (6, 8, 4, 1), ValueError, "windows of 4x4 don't fit a map of 6x8"),
    "shift a whole window": (
        "shift_mask",
        (6, 8, 2, 2),
        ValueError,
        r"0 <= shift < window size \(2, 2\), got \(2, 2\)",
    ),
    "shift whole rows": ("shift_mask", (6, 8, 2, (2, 0)), ValueError, r"0 <= shift < window size .*, got \(2, 0\)"),
    "shift whole columns": ("shift_mask", (6, 8, 2, (0, 2)), ValueError, r"0 <= shift < window size .*, got \(0, 2\)"),
    "negative rows": ("shift_mask", (6, 8, 2, (-1, 0)), ValueError, "shift: expected at least 0, got -1"),
    "negative shift": ("shift_mask", (6, 8, 2, (0, -1)), ValueError, "shift: expected at least 0, got -1"),
    "no map": ("shift_mask", (-8, -8, 4, 2), ValueError, "H, W: expected at least 1, got -8"),
    "half a map": ("shift_mask", (8.0, 8, 4, 2), TypeError, "H, W: expected a whole number, got 8.0"),
    "windows of half a map": (
        "window_reverse",
        (normal(2, 12, 4, 3), 2, 6, 8.0),
        TypeError,
        "H, W: expected a whole number, got 8.0",
    ),
    "pre-trained on nothing": ("relative_coordinates", (7, -3), ValueError, "pretrained_window_size: .*, got -3"),
    "yes": ("cyclic_shift", (x, True), TypeError, "shift: expected a whole number, got True"),
    "complex": ("cyclic_shift", (x.astype(complex), 1), TypeError, "x: expected real numbers, got complex128"),
    "coordinates of nothing": ("relative_coordinates", (0,), ValueError, "size: expected at least 1, got 0"),
    "index of nothing": ("relative_position_index", (0,), ValueError, "size: expected at least 1, got 0"),
}


@PACKAGES
@pytest.mark.parametrize("case", WRONG)
def test_errors_name_what_was_expected_and_what_came(package, case):
    name, inputs, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        getattr(package, name)(*inputs_for(package, *inputs))


@PACKAGES
def test_a_wrong_call_spoils_no_later_one(package):
    """einops remembers patterns by their sizes, and 2.0 == 2: what failed with the one would fail with the other."""
    maps, windows = inputs_for(package, normal(1, 10, 14, 3), normal(1, 35, 4, 3))
    wrong = [
        lambda: package.window_partition(maps, 2.0),
        lambda: package.window_reverse(windows, 2.0, 10, 14),
        lambda: package.window_reverse(windows, 2, 10.0, 14.0),
        lambda: package.shift_mask(10.0, 14.0, 2.0, 1.0),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    assert package.window_partition(maps, 2).shape == (1, 35, 4, 3)
    assert package.window_reverse(windows, 2, 10, 14).shape == (1, 10, 14, 3)
    assert package.shift_mask(10, 14, 2, 1).shape == (35, 4, 4)


@PACKAGES
def test_a_batch_of_no_maps(package):
    (maps,) = inputs_for(package, normal(0, 6, 8, 3))
    assert package.window_partition(package.cyclic_shift(maps, 1), 2).shape == (0, 12, 4, 3)
    assert package.pad_to_multiple(maps, 5).shape == (0, 10, 10, 3)


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="x: expected a NumPy array, got MaskedArray"):
        swin_numpy.window_partition(np.ma.array(x), 2)


@PACKAGES
def test_the_other_package_s_array_is_refused(package):
    other = x if package is swin_torch else tensor(x)
    with pytest.raises(TypeError, match="x: expected"):
        package.window_partition(other, 2)
