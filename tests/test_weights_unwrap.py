"""What stands around a model's weights: wrappers and prefixes."""

import numpy as np
import pytest

from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.names import convert_state_dict
from swin_numpy.weights.unwrap import strip_prefix, unwrap
from tests.peer_names import NAMINGS, official_shapes, peer_shapes, random_state

V1 = random_state(official_shapes(1))
OTHER = {name: value + 1 for name, value in V1.items()}


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# ---- wrappers ----------------------------------------------------------------------------------------------------

WRAPPED = {
    "nothing": lambda state: state,
    "model and optimizer": lambda state: {"model": state, "optimizer": {"state": {0: np.zeros(3)}}, "epoch": 3},
    "settings under model": lambda state: {"model": {"name": "swin", "depths": [2, 2]}, "state_dict": state},
    "empty average": lambda state: {"model": state, "model_ema": {}, "state_dict_ema": None},
    "average of settings": lambda state: {"model_ema": {"decay": 0.99}, "model": {"state_dict": state}},
    "averaged first": lambda state: {"model": OTHER, "model_ema": {"module": state}},
    "timm's average": lambda state: {"state_dict": OTHER, "state_dict_ema": state},
    "teacher first": lambda state: {"student": OTHER, "teacher": {"state_dict": state}},
    "deepspeed": lambda state: {"module": state, "ds_config": {"a": 1}},
    "lightning": lambda state: {"state_dict": state, "hyper_parameters": {"model": "swin"}, "loops": {"fit": {}}},
    "deep": lambda state: {"model": {"model": {"state_dict": {"model": state}}}},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_the_weights_are_found(wrap):
    assert unwrap(wrap(V1)) is V1 or unwrap(wrap(V1)) == V1


def test_wrappers_that_never_end_or_branch_without_end():
    saved = {}
    saved["model"] = saved
    assert unwrap(saved) == {}
    deep = V1
    for _ in range(10_000):
        deep = {"model": deep}
    assert unwrap(deep) == {}
    many = {"epoch": 1}
    for _ in range(200):  # 2^200 ways, if none were remembered
        many = {"model": many, "state_dict": many, "module": many}
    assert unwrap(many) == {}
    assert unwrap({"epoch": 3, "model": {"epoch": 3}}) == {"epoch": 3}


@pytest.mark.parametrize("saved", [None, 3, [V1], np.zeros(3)])
def test_anything_but_a_dict_is_refused(saved):
    with pytest.raises(CheckpointError, match=f"expected a dict of names and arrays, got {type(saved).__name__}"):
        unwrap(saved)


# ---- prefixes ----------------------------------------------------------------------------------------------------

PREFIXES = [
    "",
    "module.",
    "model.",
    "_orig_mod.",
    "backbone.",
    "module._orig_mod.model.",
    "encoder.",  # SimMIM, MoBY
    "encoder.model.",  # Donut
    "backbone.bottom_up.",  # detectron2
    "swin_unet.",
    "teacher.backbone.",
    "model.pixel_level_module.encoder.",
    "a.b.c.d.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("version", [1, 2])
def test_any_prefix_is_stripped_in_any_naming(prefix, naming, version):
    theirs = random_state(peer_shapes(version, naming))
    assert_same(convert_state_dict(prefixed(prefix, theirs)), convert_state_dict(theirs))


@pytest.mark.parametrize("prefix", PREFIXES[1:])
def test_what_stands_beside_is_kept_apart(prefix):
    beside = {"neck.conv.weight": np.zeros(3), "criterion.weight": np.ones(2), "backbone2.norm.weight": np.ones(3)}
    found, within, others = strip_prefix(prefixed(prefix, V1) | beside)
    assert found == prefix and within.keys() == V1.keys() and others == beside


def test_one_stranger_does_not_hide_the_prefix():
    with pytest.raises(CheckpointError) as caught:
        convert_state_dict(prefixed("model.", V1) | {"criterion.weight": np.ones(5)})
    assert str(caught.value) == "1 names of no Swin Transformer known here: criterion.weight"
    with pytest.raises(CheckpointError, match=r"known here: model\.head\.mlp\.weight, criterion\.weight$"):
        convert_state_dict(prefixed("model.", V1 | {"head.mlp.weight": np.ones(5)}) | {"criterion.weight": np.ones(5)})


@pytest.mark.parametrize("names", [["norm0.weight", "norm3.bias"], ["patch_embed.proj.weight"], ["head.bias"]])
@pytest.mark.parametrize("prefix", ["", "module.", "module.model.backbone."])
def test_a_part_of_a_model_under_known_words(names, prefix):
    state = {name: np.zeros(2) for name in names}
    assert strip_prefix(prefixed(prefix, state)) == (prefix, state, {})


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("teacher.", "student."),
        ("model_ema.", "model."),
        ("ema.module.", ""),
        ("encoder.", "encoder_k."),
        ("net.", "momentum_net."),
    ],
)
def test_of_two_models_the_averaged_or_the_main_one(better, worse):
    for state in (prefixed(better, V1) | prefixed(worse, OTHER), prefixed(worse, OTHER) | prefixed(better, V1)):
        prefix, within, others = strip_prefix(state)
        assert prefix == better and len(others) == len(OTHER)
        assert_same(within, V1)


@pytest.mark.parametrize(("one", "two"), [("a.", "b."), ("", "c."), ("teacher.a.", "teacher.b."), ("ema.", "teacher.")])
def test_two_models_of_equal_rank_are_refused(one, two):
    with pytest.raises(CheckpointError, match=r"2 Swin Transformers in it, under .*keep the names of one"):
        strip_prefix(prefixed(one, V1) | prefixed(two, OTHER))


def test_other_networks_beside_are_not_taken_for_a_swin():
    vit = {"patch_embed.proj.weight": np.zeros((4, 3, 2, 2)), "blocks.0.norm1.weight": np.zeros(4)}
    cnn = {"features.0.0.weight": np.zeros((4, 3, 3, 3)), "features.1.0.block.0.weight": np.zeros(3)}
    text = {"encoder.layers.0.self_attn.weight": np.zeros(3), "layers.0.norm1.weight": np.zeros(3)}
    state = prefixed("visual.", V1)
    for name, other in {"vit.": vit, "cnn.": cnn, "text.": text}.items():
        state |= prefixed(name, other)
    prefix, within, others = strip_prefix(state)
    assert prefix == "visual." and within.keys() == V1.keys() and len(others) == 6


def test_names_of_timms_features_only():
    timm = random_state(peer_shapes(1, "timm"))
    theirs, expected = {name.replace("layers.", "layers_", 1): v for name, v in timm.items()}, convert_state_dict(timm)
    assert_same(convert_state_dict(theirs), expected)
    assert_same(convert_state_dict(prefixed("model.", theirs)), expected)


def test_transformers_classifier_stands_beside_its_trunk():
    theirs = random_state(peer_shapes(1, "transformers"))
    for prefix in ("", "module.", "a.b."):
        assert "head.bias" in convert_state_dict(prefixed(prefix, theirs))
    beside = {"classifier.bias": np.zeros(3), "a.decoder.bias": np.ones(2)}
    prefix, _, others = strip_prefix(prefixed("a.", theirs) | beside)
    assert prefix == "a.swin." and set(others) == {"classifier.bias", "a.decoder.bias"}
