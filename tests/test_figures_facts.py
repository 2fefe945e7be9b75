"""What the gallery shows: windows, masks, multiply-adds of the real package, and the chapters' own examples."""

import numpy as np
import pytest

import swin_numpy
from figures import facts, pictures
from tests.drawings import RNG, grown, same_window, tiles


def test_who_sees_whom_is_the_true_windows():
    for shift in (0, 2):
        assert np.array_equal(facts.who_sees_whom(8, 8, 4, shift), same_window(8, 4, shift))


def test_sides_of_the_seam_give_the_real_mask():
    labels = tiles(facts.sides_of_the_seam(14, 21, 3), 7)
    mask = swin_numpy.shift_mask(14, 21, 7, 3)
    assert np.array_equal(mask != 0, labels[:, :, None] != labels[:, None])


def test_multiply_adds_are_the_papers():
    """Table 1 of the paper: 4.5 G for Swin-T, 8.7 G for Swin-S, 15.4 G for Swin-B, 47.0 G for Swin-B at 384."""
    names = (
        "tiny_patch4_window7_224",
        "small_patch4_window7_224",
        "base_patch4_window7_224",
        "base_patch4_window12_384",
    )
    for name, published in zip(names, (4.5, 8.7, 15.4, 47.0), strict=True):
        ours = sum(facts.multiply_adds(swin_numpy.get_config(f"swin_{name}")).values()) / 1e9
        assert abs(ours - published) < 0.1, (name, ours)


def test_row_on_map_reads_the_row_of_the_query():
    weights = RNG.random((4, 3, 16, 16))  # an 8 x 8 map in windows of 4 x 4
    maps = facts.row_on_map(weights, (5, 2), (8, 8), 4)
    assert np.array_equal(maps[:, 4:, :4].reshape(3, 16), weights[2, :, 6])
    assert np.isnan(maps).sum() == 3 * 48


def test_attention_weights_are_those_of_the_model():
    gallery = pictures.Gallery()
    weights = facts.attention_weights(gallery.model, gallery.images, 2, 4)
    assert weights.shape == (4, 12, 49, 49)
    assert np.allclose(weights.sum(-1), 1, atol=1e-5)


def test_seen_after_grows_by_half_a_window():
    assert np.array_equal(facts.seen_after(4, 16, 4, 2, (5, 5)), grown(2))
    assert np.array_equal(facts.seen_after(4, 16, 4, 0, (5, 5)), grown(0))


def test_offsets_fold_to_the_index_of_the_package():
    rows, columns = facts.token_offsets(3)
    assert np.array_equal((rows + 2) * 5 + columns + 2, swin_numpy.relative_position_index(3))


def test_examples_are_those_of_the_chapters():
    words, _, X, W_Q = facts.from_chapter("01", "words red X W_Q").values()
    assert words == ["red", "fox", "eats", "grapes"] and X.shape == (4, 4)
    assert np.array_equal((X @ W_Q)[2], W_Q[2] + W_Q[3])  # as the chapter says: eats is an act, about food
    tokens = facts.from_chapter("00", "rows pixels patches W_embed tokens")["tokens"]
    assert tokens.shape == (16, 2) and tokens[1].tolist() == [1, 1]  # as the chapter says


def test_a_name_that_a_chapter_lacks_is_refused():
    with pytest.raises(ValueError, match="nothing_of_that_name"):
        facts.from_chapter("01", "red X nothing_of_that_name")
