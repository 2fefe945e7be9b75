"""The published initialisation."""

import numpy as np
import pytest

from swin_numpy.weights.initial import initial_state

BLOCK = "layers.0.blocks.0."
V1 = {
    "patch_embed.proj.weight": (64, 3, 4, 4),
    "patch_embed.proj.bias": (64,),
    "patch_embed.norm.weight": (64,),
    "patch_embed.norm.bias": (64,),
    "layers.0.blocks.0.norm1.weight": (64,),
    "layers.0.blocks.0.norm1.bias": (64,),
    "layers.0.blocks.0.attn.relative_position_bias_table": (529, 64),
    "layers.0.blocks.0.attn.qkv.weight": (192, 64),
    "layers.0.blocks.0.attn.qkv.bias": (192,),
    "head.weight": (1000, 64),
}
V2 = V1 | {"layers.0.blocks.0.attn.logit_scale": (2, 1, 1), "layers.0.blocks.0.norm2.weight": (64,)}


def test_names_order_shapes_and_dtype():
    state = initial_state(V1)
    assert {name: value.shape for name, value in state.items()} == V1
    assert list(state) == list(V1)
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("leaf", ["weight", "bias"])
def test_patch_convolution_is_uniform_within_one_over_root_fan_in(leaf):
    value = initial_state(V1)[f"patch_embed.proj.{leaf}"]
    limit = 1 / np.sqrt(48)
    assert np.abs(value).max() <= limit
    assert value.max() > 0.9 * limit and value.min() < -0.9 * limit
    if leaf == "weight":
        assert value.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    "name",
    [
        "head.weight",
        "layers.0.blocks.0.attn.relative_position_bias_table",
        "layers.0.blocks.0.attn.qkv.weight",
    ],
)
def test_matrices_are_normal_with_standard_deviation_0_02(name):
    value = initial_state(V1)[name] / 0.02
    assert value.mean() == pytest.approx(0, abs=0.05)
    assert value.std() == pytest.approx(1, rel=0.05)
    assert (value**4).mean() == pytest.approx(3, rel=0.1)  # a normal distribution's, cut nowhere


def test_norms_biases_and_logit_scale():
    state = initial_state(V1)
    assert (state["patch_embed.norm.weight"] == 1).all()
    assert (state["layers.0.blocks.0.norm1.weight"] == 1).all()
    assert not state["patch_embed.norm.bias"].any() and not state["layers.0.blocks.0.attn.qkv.bias"].any()


@pytest.mark.parametrize("prefix", ["", BLOCK])
def test_v2_block_norms_start_at_zero_and_logit_scale_at_log_10(prefix):
    shapes = {name.removeprefix(BLOCK): shape for name, shape in V2.items() if "blocks" in name}
    state = initial_state({prefix + name: shape for name, shape in shapes.items()})
    assert not state[prefix + "norm1.weight"].any() and not state[prefix + "norm2.weight"].any()
    np.testing.assert_allclose(np.exp(state[prefix + "attn.logit_scale"]), 10, rtol=1e-6)


def test_v2_norms_outside_the_blocks_start_at_one():
    assert (initial_state(V2)["patch_embed.norm.weight"] == 1).all()


def test_a_module_alone_needs_no_prefix():
    state = initial_state({"weight": (24, 3, 4, 4), "bias": (24,)})
    assert state["bias"].any()
    state = initial_state({"weight": (24,), "bias": (24,)})
    assert (state["weight"] == 1).all() and not state["bias"].any()


def test_a_parameter_depends_on_seed_and_name_only():
    state = initial_state(V1, seed=3)
    backwards = initial_state(dict(reversed(V2.items())), seed=3)
    for name in V1:
        if "norm" not in name:
            np.testing.assert_array_equal(state[name], backwards[name])
    other = initial_state(V1, seed=4)
    assert not np.array_equal(state["head.weight"], other["head.weight"])
    alike = initial_state({"a": (5, 5), "b": (5, 5)})
    assert not np.array_equal(alike["a"], alike["b"])


def test_a_seed_below_0_is_named():
    with pytest.raises(ValueError, match=r"^seed: expected a whole number from 0 up, got -1$"):
        initial_state({"weight": (2, 3)}, seed=-1)
