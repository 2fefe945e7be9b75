"""Buffers that sizes alone determine: made for others, read from others' files, and held against the rest."""

from dataclasses import replace

import numpy as np
import pytest

from swin_numpy.config import SwinConfig
from swin_numpy.weights.buffers import check_buffers, derived_buffers, read_buffers
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.export import export_state_dict
from swin_numpy.windows import shift_mask
from tests.peer_names import official_shapes, random_state

BASE = SwinConfig(img_size=64, embed_dim=6, depths=(2, 3, 2, 2), num_heads=(1, 2, 3, 4), window_size=4, num_classes=3)


def config(version, **fields):
    sizes = dict(img_size=56, embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10, version=version)
    return SwinConfig(**sizes | dict(pretrained_window_sizes=(0, 0)) | fields)


# ---- made --------------------------------------------------------------------------------------------------------


def test_masks_and_index_tables_hold_what_the_shapes_promise():
    """By loops: the pixel pairs that may see each other, and the offset between two tokens."""
    exported = export_state_dict(random_state(official_shapes(1)), "microsoft", config(1))
    mask = exported["layers.0.blocks.1.attn_mask"]
    index = exported["layers.0.blocks.1.attn.relative_position_index"]
    assert "layers.0.blocks.0.attn_mask" not in exported and "layers.1.blocks.1.attn_mask" not in exported
    tokens = [(row, column) for row in range(7) for column in range(7)]
    for i, (row_i, column_i) in enumerate(tokens):
        for j, (row_j, column_j) in enumerate(tokens):
            assert index[i, j] == (row_i - row_j + 6) * 13 + column_i - column_j + 6
            together = (row_i < 4) == (row_j < 4) and (column_i < 4) == (column_j < 4)
            assert mask[3, i, j] == (0 if together else -100)
    assert not mask[0].any()
    flat = export_state_dict(random_state(official_shapes(1)), "torchvision", config(1))
    np.testing.assert_array_equal(flat["features.1.1.attn.relative_position_index"], index.reshape(-1))


def test_coordinates_of_version_2():
    state = random_state(official_shapes(2))
    name = "layers.1.blocks.0.attn.relative_coords_table"
    table = export_state_dict(state, "microsoft", config(2))[name]
    assert table[0, 12, 0, 0] == pytest.approx(np.log2(9) / 3)  # one window away: 8, on a log scale
    assert table[0, 0, 6, 0] == pytest.approx(-np.log2(9) / 3) and table[0, 0, 6, 1] == 0
    assert table[0, 6, 7, 1] == pytest.approx(np.log2(1 + 8 / 6) / 3)
    table = export_state_dict(state, "microsoft", config(2, pretrained_window_sizes=(7, 4)))[name]
    assert table[0, 12, 0, 0] == pytest.approx(np.log2(17) / 3)


@pytest.mark.parametrize("window", [1, 2])
def test_a_window_of_one_token_is_never_shifted(window):
    made = derived_buffers(replace(BASE, window_size=window), "microsoft")
    assert any(name.endswith("attn_mask") for name in made) == (window > 1)
    assert made["layers.0.blocks.0.attn.relative_position_index"].shape == (window**2, window**2)


def test_what_has_no_derived_buffers():
    with pytest.raises(CheckpointError, match="pass a config with img_size"):
        derived_buffers(replace(BASE, img_size=None), "microsoft")
    with pytest.raises(CheckpointError, match=r"stage 1 of img_size=72 has a map of 9x9 tokens and windows of 4"):
        derived_buffers(replace(BASE, img_size=72, depths=(1, 2, 1, 1)), "microsoft")
    with pytest.raises(CheckpointError, match=r"torchvision's windows don't shrink.*\(4, 4, 4, 2\) from window_size=4"):
        derived_buffers(BASE, "torchvision")
    detector = derived_buffers(replace(BASE, img_size=None, always_shift=True), "microsoft")
    assert {name.rpartition(".")[2] for name in detector} == {"relative_position_index"}


# ---- read --------------------------------------------------------------------------------------------------------

SIZES = {
    "square": 64,
    "wide": (64, 256),
    "tall": (128, 64),
    "32 times as wide": (32, 1024),
    "large": (256, 128),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("img_size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("window", [2, 4, (4, 4, 2, 2)])
def test_images_and_windows_are_read_from_what_was_made(img_size, window, version):
    pretrained = (0, 5, 3, 0)
    made = replace(BASE, img_size=img_size, window_size=window, version=version, pretrained_window_sizes=pretrained)
    buffers = derived_buffers(made, "microsoft")
    found = read_buffers(buffers, 4, saves_masks=True)
    assert found["windows"] == made.windows and found["img_size"] == img_size
    assert ("pretrained_window_sizes" in found) == (version == 2)
    if version == 2:
        for before, now, window in zip(found["pretrained_window_sizes"], pretrained, made.windows, strict=True):
            assert before == now or (now in (0, window) and before == 0) or window == 1
    check_buffers(buffers, made)


def test_without_a_mask_where_masks_are_saved_nothing_is_shifted():
    one_window = derived_buffers(replace(BASE, img_size=(16, 64), depths=(2, 2, 2, 1)), "microsoft")
    assert read_buffers(one_window, 4, saves_masks=True) == {"windows": (4, 2, 1, 1), "unshifted": True}
    assert read_buffers(one_window, 4, saves_masks=False) == {"windows": (4, 2, 1, 1)}
    first_blocks = derived_buffers(replace(BASE, depths=(1, 1, 1, 1)), "microsoft")
    assert "unshifted" not in read_buffers(first_blocks, 4, saves_masks=True)
    single = derived_buffers(replace(BASE, window_size=1), "microsoft")
    assert "unshifted" not in read_buffers(single, 4, saves_masks=True)
    assert read_buffers({}, 4, saves_masks=True) == {}


def test_torchvision_s_flat_tables_are_read_too():
    made = replace(BASE, img_size=None, version=2, window_size=(3, 4, 5, 6))
    assert read_buffers(derived_buffers(made, "torchvision"), 4, saves_masks=False)["windows"] == (3, 4, 5, 6)


INDEX, MASK = "layers.0.blocks.0.attn.relative_position_index", "layers.0.blocks.1.attn_mask"
COORDS = "layers.0.blocks.1.attn.relative_coords_table"
NONSENSE = {
    "index of no window": {INDEX: np.zeros((16, 15), int)},
    "index of nothing": {INDEX: np.zeros((0, 3), int)},
    "index of no square window": {INDEX: np.zeros((15, 15), int)},
    "mask of no window": {MASK: np.zeros((16, 15, 15))},
    "mask that is flat": {MASK: np.zeros(16)},
    "mask without a seam": {MASK: np.zeros((16, 16, 16))},
    "mask of half a row": {MASK: -np.ones((16, 16, 16)) * (np.arange(16) == 4)[:, None, None]},
    "offsets of nothing": {COORDS: np.zeros(0)},
    "offsets that are NaN": {COORDS: np.full((1, 7, 7, 2), np.nan)},
    "offsets without a largest": {COORDS: np.zeros((1, 7, 7, 2))},
    "offsets that are integers": {COORDS: np.ones((1, 7, 7, 2), int)},
    "offsets that are text": {COORDS: np.array(["a"])},
}


@pytest.mark.parametrize("wrong", NONSENSE.values(), ids=NONSENSE)
def test_buffers_that_make_no_sense_are_errors(wrong):
    made = derived_buffers(replace(BASE, version=2), "microsoft")
    with pytest.raises(CheckpointError, match=next(iter(wrong))):
        read_buffers(made | wrong, 4, saves_masks=True)


CONTRADICTIONS = {
    "another window": {"layers.1.blocks.0.attn.relative_position_index": np.zeros((9, 9), int)},
    "another window's offsets": {"layers.1.blocks.0.attn.relative_coords_table": np.ones((1, 5, 5, 2))},
    "a mask of another image": {"layers.1.blocks.1.attn_mask": np.zeros((9, 16, 16))},
    "a mask of as many windows": {"layers.0.blocks.1.attn_mask": shift_mask(8, 32, 4, 2)},
    "a mask of another shift": {"layers.0.blocks.1.attn_mask": shift_mask(16, 16, 4, 1)},
    "a mask where nothing is shifted": {"layers.2.blocks.1.attn_mask": np.zeros((1, 16, 16))},
}


@pytest.mark.parametrize("wrong", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_buffer_that_contradicts_the_rest_is_an_error(wrong):
    made = replace(BASE, version=2)
    with pytest.raises(CheckpointError, match=rf"{next(iter(wrong))} of shape .*the file contradicts itself"):
        check_buffers(derived_buffers(made, "microsoft") | wrong, made)


def test_a_mask_that_is_missing_contradicts_the_others():
    buffers = {
        n: v for n, v in derived_buffers(BASE, "microsoft").items() if not n.startswith("layers.1.blocks.1.attn_m")
    }
    with pytest.raises(
        CheckpointError, match=r"stages \[0\] have a shift mask, and at img_size=64 stages \[0, 1\] have"
    ):
        check_buffers(buffers, BASE)
    none = {name: value for name, value in buffers.items() if "mask" not in name}
    check_buffers(none, BASE)  # a library that saves none
    check_buffers(
        none | {"layers.7.blocks.0.attn.relative_position_index": np.zeros((1, 1))}, BASE
    )  # its weights say it
