"""check_state: one message that says everything."""

import numpy as np
import pytest

from swin_numpy.weights.check import CheckpointError, check_state, read_sizes
from tests.peer_names import official_shapes, random_state

V1, V2 = official_shapes(1), official_shapes(2)


def complaint(state, shapes=V1, strict=True):
    with pytest.raises(CheckpointError) as caught:
        check_state(state, shapes, strict)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("shapes", [V1, V2])
def test_what_fits_passes(shapes):
    assert check_state(random_state(shapes), shapes) == ([], [])
    assert check_state(random_state(shapes, np.float32), shapes) == ([], [])


def test_torch_tensors_pass():
    torch = pytest.importorskip("torch")
    state = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in V1.items()}
    assert check_state(state, V1) == ([], [])


def test_missing_unexpected_and_misshaped_are_all_in_one_message():
    state = random_state(V1)
    del state["norm.bias"]
    state["fc.weight"] = np.zeros(3)
    state["head.bias"] = np.zeros((10, 1))
    message = complaint(state)
    assert "1 missing: norm.bias" in message
    assert "1 unexpected: fc.weight" in message
    assert "1 mis-shaped: head.bias (expected (10,), got (10, 1))" in message


def test_long_lists_are_counted_not_printed():
    message = complaint({"norm.weight": np.zeros(48)})
    assert f"{len(V1) - 1} missing" in message and f"and {len(V1) - 4} more" in message
    assert len(message) < 400


def test_odd_names_keep_the_message_short_and_on_one_line():
    message = complaint(random_state(V1) | {"a\nb" * 1000: np.zeros(3), 5: np.zeros(3)})
    assert "2 unexpected: a" in message and ", 5" in message and len(message) < 600


@pytest.mark.parametrize("wrong", [None, 3, [1.0], "text"])
def test_what_is_no_array_is_named(wrong):
    message = complaint(random_state(V1) | {"head.bias": wrong})
    assert f"head.bias (expected an array, got {type(wrong).__name__})" in message


@pytest.mark.parametrize("dtype", [np.int64, bool, complex, object])
def test_what_is_no_floating_point_array_is_named(dtype):
    message = complaint(random_state(V1) | {"head.bias": np.zeros(10, dtype)})
    assert "head.bias (expected floating-point numbers" in message


def test_not_strict_lets_names_be_missing_or_too_many_but_not_misshaped():
    state = random_state(V1)
    del state["head.bias"]
    state["fc.weight"] = np.zeros(3)
    assert check_state(state, V1, strict=False) == (["head.bias"], ["fc.weight"])
    assert "norm.bias" in complaint(state | {"norm.bias": np.zeros(3)}, strict=False)


@pytest.mark.parametrize("state", [{}, {"features.0.0.weight": np.zeros(3)}])
def test_nothing_in_common_is_an_error_even_if_not_strict(state):
    assert "convert_state_dict" in complaint(state, strict=False)


def shapes_with(name, *sides):
    return V1 | {key: sides for key in V1 if key.endswith(name)}


REASONS = {
    "window_size=12 (the model has 7)": {
        f"layers.{stage}.blocks.{index}.attn.relative_position_bias_table": (23 * 23, heads)
        for stage, heads in enumerate((2, 4))
        for index in range(2)
    },
    "window_size=(7, 5) (the model has 7)": {
        f"layers.1.blocks.{index}.attn.relative_position_bias_table": (81, 4) for index in range(2)
    },
    "num_classes=21841 (the model has 10)": {"head.weight": (21841, 48), "head.bias": (21841,)},
    "embed_dim=32 (the model has 24)": {"patch_embed.proj.weight": (32, 3, 4, 4)},
    "in_chans=1 (the model has 3)": {"patch_embed.proj.weight": (24, 1, 4, 4)},
    "patch_size=2 (the model has 4)": {"patch_embed.proj.weight": (24, 3, 2, 2)},
    "mlp_ratio=2.0 (the model has 4.0)": {"layers.1.blocks.0.mlp.fc1.weight": (96, 48)},
    "num_heads=(3, 4) (the model has (2, 4))": {
        "layers.0.blocks.0.attn.relative_position_bias_table": (169, 3),
    },
    "depths=(2, 3) (the model has (2, 2))": {"layers.1.blocks.2.norm1.weight": (48,)},
    "ape=True (the model has False)": {"absolute_pos_embed": (1, 196, 24)},
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_likely_reason_is_said(reason):
    assert f"it was made with {reason}" in complaint(random_state(V1 | REASONS[reason]))


def test_a_way_round_is_offered():
    heads = {"head.weight": (5, 48), "head.bias": (5,)}
    assert "take its head.weight" in complaint(random_state(V1 | heads))
    windows = REASONS["window_size=12 (the model has 7)"]
    assert "resize_position_bias" in complaint(random_state(V1 | windows))


@pytest.mark.parametrize(("ours", "theirs", "said"), [(V1, V2, "V2 checkpoint"), (V2, V1, "V1 checkpoint")])
def test_the_other_version_is_recognised(ours, theirs, said):
    assert said in complaint(random_state(theirs), ours)


def test_a_module_alone():
    shapes = {"qkv.weight": (72, 24), "relative_position_bias_table": (169, 2)}
    assert check_state(random_state(shapes), shapes) == ([], [])
    state = random_state(shapes | {"relative_position_bias_table": (529, 2)})
    assert "relative_position_bias_table (expected (169, 2), got (529, 2))" in complaint(state, shapes)


def test_read_sizes():
    sizes = dict(version=1, embed_dim=24, in_chans=3, patch_size=4, depths=(2, 2), num_heads=(2, 4), num_classes=10)
    options = dict(mlp_ratio=4.0, qkv_bias=True, ape=False, patch_norm=True)
    assert read_sizes(V1) == sizes | options | dict(window_size=7)
    assert read_sizes(V2) == sizes | options | dict(version=2)


@pytest.mark.parametrize("ratio", [0.5, 1 / 3, 2.7, 3.3, 4.0])
@pytest.mark.parametrize("width", [4, 24, 96, 100])
def test_a_ratio_that_rounds_gives_every_stage_its_width_again(ratio, width):
    widths = [width * 2**stage for stage in range(4)]
    shapes = {f"layers.{stage}.blocks.0.mlp.fc1.weight": (int(wide * ratio), wide) for stage, wide in enumerate(widths)}
    found = read_sizes(shapes)["mlp_ratio"]
    assert [int(wide * found) for wide in widths] == [int(wide * ratio) for wide in widths]


@pytest.mark.parametrize("shape", [(0, 24), (96, 0), (0, 0), (96,), ()])
def test_no_ratio_is_read_from_an_mlp_without_width(shape):
    weight = {"layers.1.blocks.0.mlp.fc1.weight": shape}
    assert "mlp_ratio" in read_sizes(V1) and "mlp_ratio" not in read_sizes(V1 | weight)


def test_a_gap_in_the_blocks_counts_and_a_table_of_no_window_is_left_out():
    gap = {name: shape for name, shape in V1.items() if not name.startswith("layers.1.blocks.0.")}
    assert read_sizes(gap)["depths"] == (2, 2)
    odd = V1 | {f"layers.{stage}.blocks.0.attn.relative_position_bias_table": (144, 2) for stage in range(2)}
    assert "window_size" not in read_sizes(odd)


def test_a_quotient_that_rounds_down_still_gives_the_width():
    assert int(7 * (61 / 7)) == 60  # so the quotient itself would not do
    assert int(7 * read_sizes({"layers.0.blocks.0.mlp.fc1.weight": (61, 7)})["mlp_ratio"]) == 61
