"""Four libraries' names, there and back."""

import re

import numpy as np
import pytest

import swin_numpy
from swin_numpy.config import SwinConfig
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.export import export_state_dict
from swin_numpy.weights.names import convert_state_dict, translate
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


# ---- OpenMMLab: mmdetection, mmsegmentation, mmpretrain -----------------------------------------------------------


def openmmlab(state, version):
    """Official names and channels as OpenMMLab has them, written down for itself: by loops, and by names one by one."""
    theirs = {}
    for name, value in state.items():
        if ".downsample." in name and not (version == 2 and ".norm." in name):
            value = in_unfold_order(value)
        if version == 2 and ".downsample." in name:
            name = re.sub(r"layers\.(\d+)", lambda match: f"layers.{int(match[1]) + 1}", name)
        for ours, other in {
            "layers.": "stages.",
            "patch_embed.proj": "patch_embed.projection",
            ".attn.": ".attn.w_msa.",
            ".mlp.fc1.": ".ffn.layers.0.0.",
            ".mlp.fc2.": ".ffn.layers.1.",
        }.items():
            name = name.replace(ours, other)
        theirs[name] = value
    return theirs


def in_unfold_order(value):
    """The last axis, from the official order of the four neighbours to torch.nn.Unfold's, number by number."""
    channels = value.shape[-1] // 4
    result = np.empty_like(value)
    for row in range(2):
        for column in range(2):
            for c in range(channels):
                official = (2 * column + row) * channels + c  # down a column first
                result[..., c * 4 + 2 * row + column] = value[..., official]
    return result


def test_unfold_order_is_that_of_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 5))  # n h w c
    weight = np.random.default_rng(1).normal(size=(10, 20))
    merging = swin_numpy.PatchMerging(5)
    merging.to(np.float64).load_state_dict(
        {"reduction.weight": weight, "norm.weight": np.ones(20), "norm.bias": np.zeros(20)}
    )
    expected, _ = merging(x.reshape(1, 24, 5), (4, 6))
    columns = torch.nn.Unfold(2, stride=2)(torch.from_numpy(x).permute(0, 3, 1, 2)).mT.numpy()  # n l 4c
    columns = (columns - columns.mean(-1, keepdims=True)) / np.sqrt(columns.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(columns @ in_unfold_order(weight).T, expected, rtol=0, atol=1e-12)


@both
@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_openmmlab_s_names_and_channel_order(version, prefix):
    state = random_state(official_shapes(version))
    state = {name: value for name, value in state.items() if not name.startswith(("norm.", "head."))}
    norms = {
        f"norm{stage}.{leaf}": np.full(24 * 2**stage, 2.5 + stage) for stage in (0, 1) for leaf in ("weight", "bias")
    }
    theirs = openmmlab(state | norms, version)
    assert "stages.1.blocks.0.ffn.layers.0.0.weight" in theirs and "layers.0.blocks.0.norm1.bias" not in theirs
    index = {f"{prefix}stages.0.blocks.0.attn.w_msa.relative_position_index": np.zeros((49, 49), int)}
    assert_same(convert_state_dict({prefix + name: v for name, v in theirs.items()} | index), state | norms)


def test_mmpretrain_s_classifier_has_its_norm_under_the_last_stage_s_name():
    state = random_state(official_shapes(1))
    theirs = openmmlab(state, 1)
    theirs = {name.replace("norm.", "norm1.") if re.match(r"norm\.", name) else name: v for name, v in theirs.items()}
    theirs = {
        name.replace("head.", "head.fc.") if "head." in name else "backbone." + name: v for name, v in theirs.items()
    }
    assert_same(convert_state_dict(theirs), state)
    without = {name: value for name, value in theirs.items() if "head" not in name}
    assert "norm1.weight" in convert_state_dict(without)  # a backbone of one output


# ---- what translating gives ---------------------------------------------------------------------------------------


@both
@each
def test_buffers_get_official_names_and_their_numbers(version, naming):
    theirs = random_state(peer_shapes(version, naming))
    _, buffers, unknown, key = translate(strip_trunk(theirs))
    assert not unknown and key.startswith(naming)
    derived = {name: value for name, value in theirs.items() if name.endswith(DERIVED)}
    assert len(buffers) == len(derived)
    assert all(re.fullmatch(r"layers\.\d\.blocks\.\d\.(attn\.relative_\w+|attn_mask)", name) for name in buffers)
    numbers = sorted(float(np.sum(value)) for value in derived.values())
    assert sorted(float(np.sum(value)) for value in buffers.values()) == numbers


def strip_trunk(state):
    return {re.sub(r"^swin(v2)?\.", "", name): value for name, value in state.items()}


def test_a_derived_buffer_elsewhere_is_left_out():
    state = random_state(official_shapes(1))
    found, buffers, unknown, _ = translate(state | {"attn_mask": np.zeros(3), "layers.0.relative_position_index": None})
    assert found.keys() == state.keys() and not buffers and not unknown


def test_a_position_embedding_of_the_detection_code_becomes_one_row_for_each_patch():
    embedding = np.random.default_rng(0).normal(size=(1, 24, 3, 5))
    found = convert_state_dict(random_state(official_shapes(1)) | {"absolute_pos_embed": embedding})[
        "absolute_pos_embed"
    ]
    assert found.shape == (1, 15, 24)
    for row in range(3):
        for column in range(5):
            np.testing.assert_array_equal(found[0, row * 5 + column], embedding[0, :, row, column])


def test_maskformer_s_norms_are_numbered_from_0():
    state = {"hidden_states_norms.0.weight": np.ones(3), "hidden_states_norms.1.bias": np.ones(3)}
    assert convert_state_dict(state).keys() == {"norm0.weight", "norm1.bias"}


@pytest.mark.parametrize(
    "name",
    [
        "layers.0.downsample.norm.weight.x",
        "layers.01.blocks.0.norm1.weight",
        "layers.0.blocks.0.norm3.weight",
        "layers.0.blocks.0.mlp.fc3.weight",
        "layers.1000.blocks.0.norm1.weight",
        "patch_embed.norm.running_mean",
        "features.0.0.weight",
        "stages.0.blocks.0.norm1.weight",
        "head.fc.weight.fc",
        "\x1b[31mred",
    ],
)
def test_names_that_are_almost_right_are_unknown(name):
    assert "1 names of no Swin Transformer known here" in complaint(
        random_state(official_shapes(1)) | {name: np.zeros(3)}
    )


def test_torchvision_s_stages_are_odd_and_its_mergings_even():
    theirs = random_state(peer_shapes(1, "torchvision"))
    for name in ("features.2.0.norm1.weight", "features.1.norm.weight", "features.0.reduction.weight"):
        assert "1 names" in complaint(theirs | {name: np.zeros(3)})


def test_bytes_that_would_colour_a_terminal_are_escaped():
    message = complaint(random_state(official_shapes(1)) | {"\x1b[31mred\r\n": np.zeros(3)})
    assert "\\x1b[31mred\\r\\n" in message and message.isprintable()
