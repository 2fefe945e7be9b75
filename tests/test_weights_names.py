"""Four libraries' names, there and back."""

import re

import numpy as np
import pytest

from swin_numpy.config import SwinConfig
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.names import convert_state_dict, export_state_dict
from tests.peer_names import DERIVED, NAMINGS, official_shapes, peer_shapes, random_state


def config(version, **fields):
    sizes = dict(img_size=56, embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10, version=version)
    return SwinConfig(**sizes | dict(pretrained_window_sizes=(0, 0)) | fields)


def shapes(state):
    return {name: value.shape for name, value in state.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def complaint(state):
    with pytest.raises(CheckpointError) as caught:
        convert_state_dict(state)
    assert "\n" not in str(caught.value)
    return str(caught.value)


both = pytest.mark.parametrize("version", [1, 2])
each = pytest.mark.parametrize("naming", NAMINGS)


@both
@each
def test_theirs_to_official_names_and_shapes(version, naming):
    assert shapes(convert_state_dict(random_state(peer_shapes(version, naming)))) == official_shapes(version)


@both
@each
def test_official_to_theirs_is_all_their_strict_loader_wants(version, naming):
    exported = export_state_dict(random_state(official_shapes(version)), naming, config(version))
    assert shapes(exported) == peer_shapes(version, naming)


@both
@pytest.mark.parametrize("naming", [*NAMINGS, "transformers_classic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back(version, naming, dtype):
    state = random_state(official_shapes(version), dtype)
    found = convert_state_dict(export_state_dict(state, naming, config(version)))
    assert_same(found, state)
    assert {value.dtype for value in found.values()} == {np.dtype(dtype)}


@both
@each
def test_back_and_there(version, naming):
    theirs = random_state(peer_shapes(version, naming))
    for name in theirs:
        if naming == "torchvision" and version == 2 and name.endswith("qkv.bias"):
            theirs[name][len(theirs[name]) // 3 : -len(theirs[name]) // 3] = 0  # the key's, as it is in use
    found = export_state_dict(convert_state_dict(theirs), naming, config(version))
    assert_same(without_derived(found), without_derived(theirs))


def without_derived(state):
    return {name: value for name, value in state.items() if not name.endswith(DERIVED)}


# Pairs that a shape cannot tell apart, so that only knowing the libraries can.
ALIKE = {
    "timm": {
        "layers.1.downsample.norm.weight": "layers.0.downsample.norm.weight",
        "layers.0.blocks.1.norm2.weight": "layers.0.blocks.1.norm2.weight",
        "head.fc.bias": "head.bias",
    },
    "torchvision": {
        "features.0.2.bias": "patch_embed.norm.bias",
        "features.2.norm.bias": "layers.0.downsample.norm.bias",
        "features.3.1.norm1.bias": "layers.1.blocks.1.norm1.bias",
        "features.1.0.norm2.bias": "layers.0.blocks.0.norm2.bias",
        "features.3.0.mlp.3.bias": "layers.1.blocks.0.mlp.fc2.bias",
        "features.3.0.attn.proj.bias": "layers.1.blocks.0.attn.proj.bias",
    },
}
ALIKE_TRANSFORMERS = {
    "embeddings.norm.bias": "patch_embed.norm.bias",
    "layernorm.weight": "norm.weight",
    "encoder.layers.1.blocks.0.layernorm_before.bias": "layers.1.blocks.0.norm1.bias",
    "encoder.layers.1.blocks.0.layernorm_after.bias": "layers.1.blocks.0.norm2.bias",
    "encoder.layers.0.downsample.norm.weight": "layers.0.downsample.norm.weight",
}


@both
@pytest.mark.parametrize("naming", ["timm", "torchvision", "transformers"])
def test_names_of_one_shape_are_not_mixed_up(version, naming):
    theirs = random_state(peer_shapes(version, naming))
    trunk = {1: "swin.", 2: "swinv2."}[version]
    pairs = ALIKE.get(naming) or {trunk + name: official for name, official in ALIKE_TRANSFORMERS.items()}
    official = convert_state_dict(theirs)
    for name, ours in pairs.items():
        np.testing.assert_array_equal(official[ours], theirs[name], err_msg=name)


def test_transformers_query_key_value_become_rows_in_that_order():
    theirs = random_state(peer_shapes(1, "transformers"))
    block = "swin.encoder.layers.1.blocks.0.attention."
    official = convert_state_dict(theirs)
    for leaf in ("weight", "bias"):
        expected = np.concatenate([theirs[f"{block}{part}_proj.{leaf}"] for part in "qkv"])
        np.testing.assert_array_equal(official[f"layers.1.blocks.0.attn.qkv.{leaf}"], expected)
    np.testing.assert_array_equal(official["layers.1.blocks.0.attn.proj.weight"], theirs[block + "o_proj.weight"])
    theirs = random_state(peer_shapes(2, "transformers"))
    block = "swinv2.encoder.layers.1.blocks.0."
    official = convert_state_dict(theirs)
    for part, leaf in {"q": "attention.self.query", "v": "attention.self.value"}.items():
        np.testing.assert_array_equal(official[f"layers.1.blocks.0.attn.{part}_bias"], theirs[f"{block}{leaf}.bias"])
    for ours, leaf in {"attn.proj": "attention.output.dense", "mlp.fc2": "output.dense"}.items():
        np.testing.assert_array_equal(official[f"layers.1.blocks.0.{ours}.bias"], theirs[f"{block}{leaf}.bias"])


def test_torchvision_v2_bias_is_split_and_its_key_third_not_used():
    theirs = random_state(peer_shapes(2, "torchvision"))
    query, _, value = np.split(theirs["features.3.1.attn.qkv.bias"], 3)
    official = convert_state_dict(theirs)
    np.testing.assert_array_equal(official["layers.1.blocks.1.attn.q_bias"], query)
    np.testing.assert_array_equal(official["layers.1.blocks.1.attn.v_bias"], value)
    back = export_state_dict(official, "torchvision", config(2))["features.3.1.attn.qkv.bias"]
    np.testing.assert_array_equal(back, np.concatenate([query, np.zeros_like(query), value]))


def test_elsewhere_in_version_2_a_key_bias_is_not_dropped_in_silence():
    state = random_state(official_shapes(2) | {"layers.0.blocks.0.attn.qkv.bias": (72,)})
    assert convert_state_dict(state).keys() == state.keys()


CLASSIC = {  # what transformers 4 calls what version 5 renamed
    ".attention.q_proj.": ".attention.self.query.",
    ".attention.k_proj.": ".attention.self.key.",
    ".attention.v_proj.": ".attention.self.value.",
    ".attention.o_proj.": ".attention.output.dense.",
    ".attention.relative_position_bias.": ".attention.self.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}


def classic(name):
    for new, old in CLASSIC.items():
        name = name.replace(new, old)
    return name


def test_classic_names_of_transformers():
    new = random_state(peer_shapes(1, "transformers"))
    old = {classic(name): value for name, value in new.items()}
    old["swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"] = np.zeros((49, 49), int)
    assert_same(convert_state_dict(old), convert_state_dict(new))
    exported = export_state_dict(convert_state_dict(new), "transformers_classic")
    assert exported.keys() == {classic(name) for name in new}


@both
def test_transformers_models_without_a_head_have_no_prefix(version):
    theirs = random_state(peer_shapes(version, "transformers"))
    bare = {re.sub(r"^swin(v2)?\.", "", name): value for name, value in theirs.items() if "classifier" not in name}
    official = convert_state_dict(bare)
    whole = convert_state_dict(theirs)
    assert_same(official, {name: value for name, value in whole.items() if not name.startswith("head.")})


@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize("head", ["head", "head.fc"])
@pytest.mark.parametrize("opens", [True, False])
def test_timm_with_merging_at_the_start_or_the_end_of_a_stage(stages, head, opens):
    official, theirs = {}, {}
    for stage in range(stages):
        official[f"layers.{stage}.blocks.0.norm1.bias"] = np.full(3, 10.0 + stage)
        theirs[f"layers.{stage}.blocks.0.norm1.bias"] = np.full(3, 10.0 + stage)
    for stage in range(stages - 1):
        official[f"layers.{stage}.downsample.norm.bias"] = np.full(6, 20.0 + stage)
        theirs[f"layers.{stage + opens}.downsample.norm.bias"] = np.full(6, 20.0 + stage)
    official["head.bias"] = theirs[f"{head}.bias"] = np.full(2, 30.0)
    assert_same(convert_state_dict(theirs), official)


def test_a_backbone_cut_off_after_a_merging_is_not_taken_for_timm():
    names = ["layers.0.blocks.0.norm1.bias", "layers.1.blocks.0.norm1.bias"]
    names += ["layers.0.downsample.norm.bias", "layers.1.downsample.norm.bias"]
    state = {name: np.full(3, number + 0.5) for number, name in enumerate(names)}
    assert_same(convert_state_dict(state), state)


def test_norms_of_a_backbone_keep_their_names():
    state = {f"norm{stage}.{leaf}": np.full(3, stage + 0.5) for stage in range(4) for leaf in ("weight", "bias")}
    theirs = {f"backbone.{name}": value for name, value in state.items()}
    assert_same(convert_state_dict(theirs), state)
    names = export_state_dict(state, "transformers").keys()
    assert "hidden_states_norms.stage4.weight" in names and "hidden_states_norms.stage0.weight" not in names
    assert_same(convert_state_dict(export_state_dict(state, "transformers")), state)


def test_an_absolute_position_embedding_has_a_name_too():
    state = random_state(official_shapes(1) | {"absolute_pos_embed": (1, 196, 24)})
    for naming in ("microsoft", "timm", "transformers"):
        assert_same(convert_state_dict(export_state_dict(state, naming, config(1, ape=True))), state)
    assert "swin.embeddings.position_embeddings" in export_state_dict(state, "transformers")


# ---- what a training run saves around it ------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "model_ema", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module._orig_mod.", "backbone."])
@both
def test_wrappers_and_prefixes(key, prefix, version):
    for naming in NAMINGS:
        theirs = random_state(peer_shapes(version, naming))
        inner = {prefix + name: value for name, value in theirs.items()}
        saved = {"epoch": 3, "optimizer": {"state": {}}, "config": object(), key: inner}
        assert_same(convert_state_dict(saved), convert_state_dict(theirs))


def test_wrappers_in_wrappers_and_averaged_weights_first():
    first, second = random_state(official_shapes(1)), random_state(official_shapes(1), np.float32)
    assert_same(convert_state_dict({"state_dict": {"model": first}}), first)
    averaged = {"n_averaged": np.array(7)} | {f"module.{name}": value for name, value in first.items()}
    assert_same(convert_state_dict({"model": second, "model_ema": averaged}), first)


def test_a_wrapper_in_itself_ends():
    saved = {}
    saved["model"] = saved
    complaint(saved)


# ---- what is refused --------------------------------------------------------------------------------------------


@both
@each
def test_a_name_that_is_not_known_is_named(version, naming):
    state = random_state(peer_shapes(version, naming)) | {"decoder.0.weight": np.zeros(3), "fc.bias": np.zeros(3)}
    assert "2 names of no Swin Transformer known here: decoder.0.weight, fc.bias" in complaint(state)


def test_another_model_altogether():
    names = [f"layer{i}.{j}.conv{k}.weight" for i in range(4) for j in range(2) for k in range(2)]
    message = complaint({name: np.zeros(3) for name in names})
    assert "16 names" in message and "and 13 more" in message


@pytest.mark.parametrize("state", [{}, {"model": {}}, {"relative_position_index": np.zeros(3)}])
def test_no_parameters(state):
    assert "no parameters" in complaint(state)


@pytest.mark.parametrize("state", [None, 3, [("a", 1)], np.zeros(3)])
def test_no_dict(state):
    assert "expected a dict" in complaint(state)


def test_a_model_instead_of_its_state_dict():
    torch = pytest.importorskip("torch")
    assert "pass its state_dict()" in complaint(torch.nn.Linear(2, 3))


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "text",
        [1.0],
        np.zeros(10, int),
        np.zeros(10, bool),
        np.zeros(10, complex),
        np.zeros(10, np.longdouble),
        np.zeros(10, object),
    ],
)
def test_values_that_are_no_floating_point_arrays(value):
    message = complaint(random_state(official_shapes(1)) | {"head.bias": value})
    assert "head.bias: expected floating-point numbers" in message


def test_names_that_are_no_text():
    assert "names of no Swin" in complaint(random_state(official_shapes(1)) | {3: np.zeros(3)})


def test_two_names_for_one_array():
    state = random_state(official_shapes(1))
    assert "two arrays for head.bias" in complaint(state | {"head.fc.bias": state["head.bias"]})


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_query_key_and_value_belong_together(part):
    theirs = random_state(peer_shapes(1, "transformers"))
    name = f"swin.encoder.layers.1.blocks.0.attention.{part}_proj.weight"
    shape = theirs.pop(name).shape
    assert "layers.1.blocks.0.attn.qkv.weight: expected query, key and value" in complaint(theirs)
    assert "of one shape" in complaint(theirs | {name: np.zeros((shape[0] + 1, shape[1]))})
    numbers = {name.replace(f"{part}_proj", f"{other}_proj"): np.zeros(()) for other in "qkv"}
    assert "of one shape" in complaint(theirs | numbers)


def test_a_key_bias_in_version_2_is_not_dropped_in_silence():
    theirs = random_state(peer_shapes(2, "transformers"))
    theirs["swinv2.encoder.layers.0.blocks.0.attention.self.key.bias"] = np.zeros(24)
    assert "expected query, key and value" in complaint(theirs)


def test_a_bias_that_has_no_thirds():
    theirs = random_state(peer_shapes(2, "torchvision"))
    assert "as many rows" in complaint(theirs | {"features.1.0.attn.qkv.bias": np.zeros(71)})


def test_export_refuses_other_names_and_namings():
    with pytest.raises(ValueError, match=r"to: expected one of microsoft, timm"):
        export_state_dict(random_state(official_shapes(1)), "keras")
    with pytest.raises(CheckpointError, match=r"img_size"):
        export_state_dict(random_state(official_shapes(1)), "microsoft")
    with pytest.raises(CheckpointError, match=r"pass window_size="):
        export_state_dict(random_state(official_shapes(2)), "torchvision")


# ---- arrays -----------------------------------------------------------------------------------------------------


def test_tensors_of_any_kind():
    torch = pytest.importorskip("torch")
    values = torch.randn(10, dtype=torch.float64)
    kinds = {torch.float64: np.float64, torch.float32: np.float32, torch.float16: np.float16}
    for kind, expected in (kinds | {torch.bfloat16: np.float32}).items():
        tensor = torch.nn.Parameter(values.to(kind))
        found = convert_state_dict({"head.bias": tensor})["head.bias"]
        assert found.dtype == expected
        np.testing.assert_array_equal(found, tensor.detach().to(torch.float64).numpy())
    for odd in (torch.zeros(10, dtype=torch.int64), torch.zeros(10).to_sparse(), torch.zeros(10, device="meta")):
        assert "head.bias: expected" in complaint({"head.bias": odd})


def test_byte_order_becomes_the_machine_s():
    values = np.random.default_rng(0).normal(size=10)
    found = convert_state_dict({"head.bias": values.astype(">f8")})["head.bias"]
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, values)


# ---- derived buffers --------------------------------------------------------------------------------------------


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


def test_a_window_that_shrank():
    small = config(1, img_size=32)  # grids 8x8 and 4x4 for windows of 7
    state = random_state(official_shapes(1))
    for name in state:
        if name.startswith("layers.1") and name.endswith("table"):
            state[name] = state[name][:49]
    exported = export_state_dict(state, "microsoft", config(1, img_size=28))
    assert exported["layers.1.blocks.1.attn.relative_position_index"].max() == 48
    assert not any("mask" in name for name in exported)
    for to in ("torchvision", "transformers", "transformers_classic"):  # they have one window for all stages
        with pytest.raises(CheckpointError, match=rf"{to}'s windows don't shrink"):
            export_state_dict(state, to, small)
    with pytest.raises(CheckpointError, match=r"torchvision's windows don't shrink"):
        export_state_dict(random_state(official_shapes(2)), "torchvision", config(2, img_size=32))
