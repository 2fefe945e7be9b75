"""The whole model: every option, every step, twin against twin; sizes, seeds, parameter counts, memory."""

import warnings
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import swin_numpy
import swin_torch
from swin_numpy import CONFIGS, SwinConfig, get_config
from tests.benchmarks.measure import peak_memory
from tests.twin import (
    PACKAGES,
    WHICH,
    assert_same_steps,
    assert_twins,
    inputs_for,
    normal,
    record,
    relative,
    run,
    tensor,
    twins,
)

BASE = SwinConfig(
    img_size=(32, 48), num_classes=5, embed_dim=8, depths=(2, 2), num_heads=(2, 4), window_size=4, drop_path_rate=0.2
)
OPTIONS = {
    "as it is": {},
    "ape": {"ape": True},
    "no patch norm": {"patch_norm": False},
    "no qkv bias": {"qkv_bias": False},
    "no head": {"num_classes": 0},
    "grey images": {"in_chans": 1},
    "patches of 2": {"patch_size": 2},
    "narrow MLP": {"mlp_ratio": 2.5},
    "square": {"img_size": 32},
    "any size": {"img_size": None},
    "window of 3, padded": {"window_size": 3},
    "window shrinks": {"window_size": 7, "img_size": (16, 24)},
    "one window": {"window_size": 8, "img_size": (32, 32)},
    "odd grids, padded": {"img_size": (37, 51), "window_size": 3},
    "dropout rates": {"drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.3},
    "one stage": {"depths": (3,), "num_heads": (2,), "pretrained_window_sizes": (0,)},
    "three stages": {"depths": (1, 2, 3), "num_heads": (1, 2, 4), "pretrained_window_sizes": (0, 0, 0)},
    "V2": {"version": 2},
    "V2, no qkv bias, odd grids": {"version": 2, "qkv_bias": False, "img_size": (37, 51), "window_size": 3},
    "V2, any size": {"version": 2, "img_size": None},
    "V2, window shrinks": {"version": 2, "window_size": 7, "img_size": (16, 24), "pretrained_window_sizes": (5, 2)},
    "V2, three stages": {
        "version": 2,
        "depths": (1, 2, 3),
        "num_heads": (1, 2, 4),
        "pretrained_window_sizes": (0, 3, 5),
    },
    "all at once": {
        "ape": True,
        "patch_norm": False,
        "qkv_bias": False,
        "num_classes": 0,
        "in_chans": 1,
        "patch_size": 2,
        "mlp_ratio": 2.5,
        "window_size": 3,
        "img_size": (17, 26),
    },
}


def models(config, seed=0, dtype=np.float64):
    return twins(lambda swin: swin.SwinTransformer(config), seed, dtype)


def images_for(config, n=2, size=None, dtype=np.float64):
    return normal(n, config.in_chans, *(size or config.image_shape or (32, 48)), dtype=dtype)


# Twins


@pytest.mark.parametrize("options", OPTIONS)
def test_twins_at_every_step(options):
    config = replace(BASE, **OPTIONS[options])
    output = assert_same_steps(*models(config), images_for(config))
    assert output.shape == (2, config.num_classes or config.widths[-1])


@pytest.mark.parametrize("options", [name for name in OPTIONS if not OPTIONS[name].get("ape")])  # its size is fixed
@pytest.mark.parametrize("size", [(32, 48), (48, 32), (16, 16), (30, 50), (5, 70)])
def test_twins_at_another_size_than_the_built_one(options, size):
    config = replace(BASE, **OPTIONS[options])
    assert_same_steps(*models(config), images_for(config, size=size))


@settings(max_examples=25)
@given(
    st.fixed_dictionaries(
        {
            "img_size": st.one_of(st.none(), st.integers(4, 40), st.tuples(st.integers(4, 40), st.integers(4, 40))),
            "patch_size": st.integers(1, 4),
            "in_chans": st.integers(1, 4),
            "num_classes": st.integers(0, 3),
            "window_size": st.integers(1, 7),
            "mlp_ratio": st.sampled_from([0.5, 1, 2.5, 4.0]),
            "qkv_bias": st.booleans(),
            "patch_norm": st.booleans(),
            "version": st.integers(1, 2),
            "pretrained_window_sizes": st.tuples(st.integers(0, 9), st.integers(0, 9)),
            "embed_dim": st.sampled_from([4, 12]),
        }
    ),
    st.tuples(st.integers(1, 33), st.integers(1, 33)),
)
def test_twins_with_any_options(options, size):
    config = replace(BASE, **options)
    assert_same_steps(*models(config), images_for(config, size=size))


@pytest.mark.parametrize("name", CONFIGS)
def test_twins_of_the_published_depths_and_heads(name):
    """T, S, B and L, V1 and V2, with all their blocks, heads and windows, but thin and on few pixels."""
    config = get_config(name)
    thin = replace(config, embed_dim=2 * config.num_heads[0], img_size=(4 * 26, 4 * 14), num_classes=10)
    assert_same_steps(*models(thin), images_for(thin))


def test_twins_swin_t_itself():
    config = CONFIGS["swin_tiny_patch4_window7_224"]
    assert_same_steps(*models(config), images_for(config, n=1))


def test_twins_swin_t_itself_in_float32():
    config = CONFIGS["swin_tiny_patch4_window7_224"]
    ours = swin_numpy.SwinTransformer(config)
    theirs = swin_torch.SwinTransformer(config).eval()
    assert_same_steps(ours, theirs, images_for(config, n=1, dtype=np.float32), bound=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_twins_in_float32(options):
    config = replace(BASE, **OPTIONS[options])
    assert_same_steps(*models(config, dtype=np.float32), images_for(config, dtype=np.float32), bound=1e-5)


# What the model is made of, and what its outputs are


@WHICH
@pytest.mark.parametrize(
    ("size", "grids"),
    [
        ((32, 48), [(8, 12), (4, 6), (2, 3)]),
        ((30, 50), [(8, 13), (4, 7), (2, 4)]),
        ((5, 70), [(2, 18), (1, 9), (1, 5)]),
    ],
)
def test_stages_give_their_tokens_and_grids(which, size, grids):
    config = replace(BASE, **OPTIONS["three stages"])
    model = models(config)[which]
    with torch.no_grad():
        stages = model.forward_stages(*inputs_for([swin_numpy, swin_torch][which], images_for(config, size=size)))
    assert [grid for _, grid in stages] == grids
    assert [tuple(x.shape) for x, _ in stages] == [(2, h * w, 8 * 2**i) for i, (h, w) in enumerate(grids)]
    for _, grid in stages:
        assert type(grid) is tuple and all(type(side) is int for side in grid)


@WHICH
def test_a_stage_gives_what_it_computed_before_merging_and_norm(which):
    model, package = models(BASE)[which], [swin_numpy, swin_torch][which]
    images = inputs_for(package, images_for(BASE))
    _, steps = record(model, *images)
    with torch.no_grad():
        stages = model.forward_stages(*images)
    for i, (x, _) in enumerate(stages):
        np.testing.assert_array_equal(x, steps[f"layers.{i}.blocks.1"])
    np.testing.assert_array_equal(steps["layers.0.downsample"][0].shape, (2, 4 * 6, 16))


@WHICH
def test_logits_are_the_head_on_the_mean_of_normed_tokens(which):
    model, package = models(BASE)[which], [swin_numpy, swin_torch][which]
    images = images_for(BASE)
    state = {name: tensor(np.asarray(value)) for name, value in model.state_dict().items()}
    with torch.no_grad():
        x = tensor(np.asarray(model.forward_stages(*inputs_for(package, images))[-1][0]))
    normed = torch.nn.functional.layer_norm(x, (16,), state["norm.weight"], state["norm.bias"])
    features = normed.mean(dim=1)
    assert relative(run(model, images), features @ state["head.weight"].T + state["head.bias"]) < 1e-12

    headless = models(replace(BASE, num_classes=0))[which]
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("head")}
    headless.load_state_dict(weights)
    assert relative(run(headless, images), features) < 1e-12


@WHICH
def test_ape_is_added_to_the_normed_patches(which):
    config = replace(BASE, ape=True)
    model, package = models(config)[which], [swin_numpy, swin_torch][which]
    images = inputs_for(package, images_for(config))
    _, steps = record(model, *images)
    position = np.asarray(model.state_dict()["absolute_pos_embed"])
    assert position.shape == (1, 8 * 12, 8)
    assert relative(steps["pos_drop"], np.asarray(steps["patch_embed.norm"]) + position) < 1e-15


@WHICH
@pytest.mark.parametrize("version", [1, 2])
def test_every_layer_runs_once(which, version):
    """A layer that exists but is passed by would carry weights in vain."""
    model, package = models(replace(BASE, version=version))[which], [swin_numpy, swin_torch][which]
    _, steps = record(model, *inputs_for(package, images_for(BASE)))
    names = {name for name, module in model.named_modules() if type(module).__name__ != "ModuleList"}
    assert set(steps) == names


@WHICH
def test_samples_know_nothing_of_each_other(which):
    model, images = models(BASE)[which], images_for(BASE, n=3)
    together = run(model, images)
    for i in range(3):
        assert relative(run(model, images[i : i + 1]), together[i : i + 1]) < 1e-13
    assert relative(together[0], together[1]) > 1e-3


@WHICH
def test_every_pixel_counts(which):
    """Also those at the right and the bottom, where a size that patches don't fit could be cut off."""
    config = replace(BASE, img_size=None)
    model, images = models(config)[which], images_for(config, n=1, size=(13, 18))
    before = run(model, images)
    for row, column in [(0, 0), (12, 0), (0, 17), (12, 17)]:
        changed = images.copy()
        changed[0, :, row, column] += normal(3)
        assert relative(run(model, changed), before) > 1e-6


@PACKAGES
def test_shifts_come_by_turns_and_merging_ends_a_stage(package):
    config = replace(BASE, depths=(3, 2), window_size=2)
    model = package.SwinTransformer(config)
    for stage, grid in zip(model.layers, config.grids, strict=True):
        assert [block.shift_for(grid) for block in stage.blocks] == [(0, 0), (1, 1), (0, 0)][: len(stage.blocks)]
    assert model.layers[0].downsample is not None and model.layers[1].downsample is None
    assert "layers.0.downsample.reduction.weight" in model.state_dict()


@PACKAGES
@pytest.mark.parametrize("version", [1, 2])
def test_rates_reach_their_layers(package, version):
    config = replace(BASE, version=version, drop_rate=0.1, attn_drop_rate=0.2, drop_path_rate=0.3)
    model = package.SwinTransformer(config)
    assert model.pos_drop.p == 0.1
    blocks = [block for stage in model.layers for block in stage.blocks]
    assert [block.drop_path1.drop_prob for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [block.drop_path2.drop_prob for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3])
    for block in blocks:
        assert (block.attn.attn_drop.p, block.attn.proj_drop.p) == (0.2, 0.1)
        assert (block.mlp.drop1.p, block.mlp.drop2.p) == (0.1, 0.1)


# Weights


@pytest.mark.parametrize("options", OPTIONS)
def test_weights_go_both_ways_by_name(options):
    config = replace(BASE, **OPTIONS[options])
    ours, theirs = swin_numpy.SwinTransformer(config, 1), swin_torch.SwinTransformer(config, 2).eval()
    images = images_for(config, dtype=np.float32)
    assert relative(ours(images), run(theirs, images)) > 1e-3
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()}, strict=True)
    assert_twins(ours(images), tensor(run(theirs, images)), 1e-5)
    other = swin_torch.SwinTransformer(config, 3).eval()
    ours.load_state_dict({k: v.numpy() for k, v in other.state_dict().items()}, strict=True)
    assert_twins(ours(images), tensor(run(other, images)), 1e-5)
    ours.load_state_dict(theirs.state_dict())  # torch tensors as they are
    assert_twins(ours(images), tensor(run(theirs, images)), 1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_names_order_shapes_and_types_are_the_same(options):
    config = replace(BASE, **OPTIONS[options])
    ours, theirs = (swin.SwinTransformer(config) for swin in (swin_numpy, swin_torch))
    shapes = [{name: tuple(value.shape) for name, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert {name for name, _ in theirs.named_parameters()} == set(shapes[0])  # derived buffers are not in it
    assert {value.dtype for value in ours.state_dict().values()} == {np.dtype(np.float32)}
    assert {value.dtype for value in theirs.state_dict().values()} == {torch.float32}


@PACKAGES
@pytest.mark.parametrize("options", OPTIONS)
def test_options_show_in_the_names_and_shapes(package, options):
    config = replace(BASE, **OPTIONS[options])
    shapes = {name: tuple(value.shape) for name, value in package.SwinTransformer(config).state_dict().items()}
    assert ("patch_embed.norm.weight" in shapes) == config.patch_norm
    assert ("absolute_pos_embed" in shapes) == config.ape
    biases = {1: {"qkv.bias"}, 2: {"q_bias", "v_bias"}}[config.version] if config.qkv_bias else set()
    first = "layers.0.blocks.0.attn."
    assert {name for name in ("qkv.bias", "q_bias", "k_bias", "v_bias") if first + name in shapes} == biases
    assert shapes.get("head.weight", (0,))[0] == config.num_classes
    assert shapes["patch_embed.proj.weight"] == (8, config.in_chans, config.patch_size, config.patch_size)
    assert shapes["layers.0.blocks.0.mlp.fc1.weight"] == (int(8 * config.mlp_ratio), 8)
    assert len({name.split(".")[1] for name in shapes if name.startswith("layers.")}) == len(config.depths)
    for stage, depth in enumerate(config.depths):
        window, heads = config.windows[stage], config.num_heads[stage]
        own = [("attn.relative_position_bias_table", ((2 * window - 1) ** 2, heads)),
               ("attn.cpb_mlp.2.weight", (heads, 512))]  # fmt: skip
        for version, (bias, shape) in enumerate(own, start=1):
            found = shapes.get(f"layers.{stage}.blocks.{depth - 1}.{bias}")
            assert found == (shape if version == config.version else None)
            assert f"layers.{stage}.blocks.{depth}.{bias}" not in shapes


@PACKAGES
def test_names_and_shapes_are_the_official_ones(package):
    model = package.SwinTransformer(replace(BASE, ape=True))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    block = {
        "norm1.weight": (8,),
        "norm1.bias": (8,),
        "attn.relative_position_bias_table": (49, 2),
        "attn.qkv.weight": (24, 8),
        "attn.qkv.bias": (24,),
        "attn.proj.weight": (8, 8),
        "attn.proj.bias": (8,),
        "norm2.weight": (8,),
        "norm2.bias": (8,),
        "mlp.fc1.weight": (32, 8),
        "mlp.fc1.bias": (32,),
        "mlp.fc2.weight": (8, 32),
        "mlp.fc2.bias": (8,),
    }
    rest = {
        "absolute_pos_embed": (1, 96, 8),
        "patch_embed.proj.weight": (8, 3, 4, 4),
        "patch_embed.proj.bias": (8,),
        "patch_embed.norm.weight": (8,),
        "patch_embed.norm.bias": (8,),
        "layers.0.downsample.reduction.weight": (16, 32),
        "layers.0.downsample.norm.weight": (32,),
        "layers.0.downsample.norm.bias": (32,),
        "norm.weight": (16,),
        "norm.bias": (16,),
        "head.weight": (5, 16),
        "head.bias": (5,),
    }
    first = {name.removeprefix("layers.0.blocks.1."): s for name, s in shapes.items() if "layers.0.blocks.1." in name}
    assert first == block
    assert {name: shape for name, shape in shapes.items() if "blocks" not in name} == rest


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_gives_the_same_weights_in_both_packages(seed, version):
    config = replace(BASE, ape=True, version=version)
    states = [swin.SwinTransformer(config, seed).state_dict() for swin in (swin_numpy, swin_torch, swin_numpy)]
    other = swin_numpy.SwinTransformer(config, seed + 1).state_dict()
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name].numpy())
        np.testing.assert_array_equal(value, states[2][name])
        if value.ndim > 1 and "logit_scale" not in name:
            assert not np.array_equal(value, other[name])


@PACKAGES
def test_initial_weights_are_the_published_ones(package):
    state = package.SwinTransformer(replace(BASE, embed_dim=64, ape=True)).state_dict()
    for name, value in state.items():
        value = np.asarray(value)
        if name.startswith("patch_embed.proj"):
            assert np.abs(value).max() <= 1 / np.sqrt(48)  # the convolution's own default
        elif value.ndim >= 2:
            assert value.std() == pytest.approx(0.02, rel=0.15) and abs(value.mean()) < 0.003
        else:
            np.testing.assert_array_equal(value, 1 if name.endswith("weight") else 0)


def test_numpy_dtype():
    for dtype in (np.float32, np.float64):
        model = swin_numpy.SwinTransformer(BASE, dtype=dtype)
        assert {value.dtype for value in model.state_dict().values()} == {np.dtype(dtype)}
        assert model(images_for(BASE, dtype=dtype)).dtype == dtype
    same = swin_numpy.SwinTransformer(BASE).state_dict()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, same[name])


# Modes


def arrays_in(model):
    return {
        (name, key): id(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, np.ndarray | list | tuple | dict)
    }


def test_eval_keeps_nothing():
    model = swin_numpy.SwinTransformer(BASE)
    before = {name: sorted(vars(module)) for name, module in model.named_modules()}, arrays_in(model)
    model(images_for(BASE, dtype=np.float32))
    assert before == ({name: sorted(vars(module)) for name, module in model.named_modules()}, arrays_in(model))


@WHICH
def test_eval_drops_nothing_and_training_does(which):
    config = replace(BASE, drop_rate=0.3, attn_drop_rate=0.3, drop_path_rate=0.3)
    model, images = models(config)[which], images_for(config)
    plain = models(BASE)[which]
    np.testing.assert_array_equal(run(model, images), run(plain, images))
    model.train()
    assert relative(run(model, images), run(plain, images)) > 1e-3
    model.eval()
    np.testing.assert_array_equal(run(model, images), run(plain, images))


def test_numpy_training_is_repeatable_by_seed():
    config = replace(BASE, drop_rate=0.3, attn_drop_rate=0.3, drop_path_rate=0.3)
    images = images_for(config, dtype=np.float32)
    runs = [swin_numpy.SwinTransformer(config, 5).train() for _ in range(2)]
    first = runs[0](images)
    np.testing.assert_array_equal(first, runs[1](images))
    assert not np.array_equal(first, runs[0](images))  # each forward draws anew


@WHICH
def test_images_stay_as_they_are(which):
    model, images = models(BASE)[which], images_for(BASE)
    before = images.copy()
    run(model, images)
    np.testing.assert_array_equal(images, before)


# Bad input


@WHICH
@pytest.mark.parametrize(
    ("shape", "got"),
    [((2, 1, 32, 48), r"\(2, 1, 32, 48\)"), ((3, 32, 48), r"\(3, 32, 48\)"), ((2, 32, 48, 3), r"\(2, 32")],
)
def test_images_of_a_wrong_shape(which, shape, got):
    model, images = models(BASE)[which], inputs_for([swin_numpy, swin_torch][which], normal(*shape))
    for call in (model, model.forward_stages):
        with pytest.raises(ValueError, match=rf"images: expected shape \(n, 3, H, W\), got {got}"):
            call(*images)


@WHICH
@pytest.mark.parametrize("size", [(48, 32), (64, 24), (32, 52), (16, 48)])
def test_an_absolute_position_embedding_has_one_size(which, size):
    """Also where the number of patches would happen to fit."""
    model = models(replace(BASE, ape=True))[which]
    with pytest.raises(ValueError, match=f"for 8x12 patches can't serve {-(-size[0] // 4)}x{-(-size[1] // 4)}"):
        run(model, images_for(BASE, size=size))


@PACKAGES
def test_config_of_a_wrong_kind(package):
    with pytest.raises(TypeError, match="config: expected a SwinConfig, got 'swin_tiny_patch4_window7_224'"):
        package.SwinTransformer("swin_tiny_patch4_window7_224")


def test_dtype_of_a_wrong_kind():
    with pytest.raises(ValueError, match="dtype: expected float32 or float64, got int32"):
        swin_numpy.SwinTransformer(BASE, dtype=np.int32)


# Counts and memory

COUNTS = {
    "swin_tiny_patch4_window7_224": 28_288_354,
    "swin_small_patch4_window7_224": 49_606_258,
    "swin_base_patch4_window7_224": 87_768_224,
    "swin_large_patch4_window7_224": 196_532_476,
    # V2: as timm's models. torchvision's have 4416, 9024 and 12032 more, the key's third of a bias that it sets to zero
    "swinv2_tiny_patch4_window8_256": 28_347_154,
    "swinv2_tiny_patch4_window16_256": 28_347_154,
    "swinv2_small_patch4_window8_256": 49_728_418,
    "swinv2_small_patch4_window16_256": 49_728_418,
    "swinv2_base_patch4_window8_256": 87_918_816,
    "swinv2_base_patch4_window16_256": 87_918_816,
    "swinv2_base_patch4_window12_192": 109_280_841,
    "swinv2_base_patch4_window12to16_192to256": 87_918_816,
    "swinv2_base_patch4_window12to24_192to384": 87_918_816,
    "swinv2_large_patch4_window12_192": 228_772_549,
    "swinv2_large_patch4_window12to16_192to256": 196_739_932,
    "swinv2_large_patch4_window12to24_192to384": 196_739_932,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_papers(name):
    with patch("swin_torch.model.init_weights"), torch.device("meta"):  # shapes without memory
        model = swin_torch.SwinTransformer(get_config(name))
    assert sum(value.numel() for value in model.parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_patch4_window8_256"])
def test_parameter_counts_in_numpy(name):
    model = swin_numpy.SwinTransformer(get_config(name))
    assert sum(value.size for _, value in model.named_parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_by_hand(name):
    c = get_config(name)
    total = c.embed_dim * (c.in_chans * c.patch_size**2 + 1) + 2 * c.embed_dim
    for C, depth, heads in zip(c.widths, c.depths, c.num_heads, strict=True):
        bias = (2 * c.window_size - 1) ** 2 * heads
        if c.version == 2:
            bias = 512 * (2 + 1) + 512 * heads + heads - C  # a small network, a scale for each head, no bias of the key
        total += depth * (3 * C * (C + 1) + C * (C + 1) + bias + 4 * C * (C + 1) + C * (4 * C + 1) + 4 * C)
    for C in c.widths[:-1]:
        total += 4 * C * 2 * C + 2 * {1: 4 * C, 2: 2 * C}[c.version]
    assert total + 2 * c.widths[-1] + (c.widths[-1] + 1) * c.num_classes == COUNTS[name]


ONE_FORWARD = """
import sys
import numpy as np
from swin_numpy import SwinTransformer, get_config
SwinTransformer(get_config("swin_tiny_patch4_window7_224"))(np.ones((1, 3, 224, 224), np.float32))
assert "torch" not in sys.modules
"""


def test_peak_memory_of_a_forward():
    """The whole process: interpreter, libraries, 113 MB of weights, and one image's way through Swin-T."""
    assert peak_memory(ONE_FORWARD) < 400


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("way", ["assign", "to_empty", "to_empty in a wrapper"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_model_made_without_memory_is_whole_once_it_is_loaded(version, way, dtype):
    """The index and V2's table of offsets are in no checkpoint: they have to be made again."""
    config = SwinConfig(
        img_size=28,
        embed_dim=8,
        depths=(2,),
        num_heads=(2,),
        window_size=3,
        version=version,
        pretrained_window_sizes=(2,),
    )
    expected, images = swin_torch.SwinTransformer(config).to(dtype).eval(), torch.ones(2, 3, 28, 28, dtype=dtype)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")
        model = swin_torch.SwinTransformer(config).to(dtype).eval()
    if way == "assign":
        model.load_state_dict(expected.state_dict(), assign=True)
    else:
        model.to_empty(device="cpu")
        for buffer in model.buffers():
            buffer.fill_(-1)
        whole = torch.nn.Sequential(model) if "wrapper" in way else model
        prefix = "0." if "wrapper" in way else ""
        whole.load_state_dict({prefix + name: value for name, value in expected.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected(images))
    assert all(ours.dtype == theirs.dtype for ours, theirs in zip(model.buffers(), expected.buffers(), strict=True))
