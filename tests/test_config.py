"""SwinConfig: the published presets, what follows from the fields, and what is refused."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from swin_numpy.config import CONFIGS, SwinConfig, config_from_dict, get_config

# Table 7 of the paper: C, heads (C / 32 in the first stage), depths. Last: stochastic depth of the official training.
PAPER = {
    "swin_tiny_patch4_window7_224": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 224, 0.2),
    "swin_small_patch4_window7_224": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7, 224, 0.3),
    "swin_base_patch4_window7_224": (128, (2, 2, 18, 2), (4, 8, 16, 32), 7, 224, 0.5),
    "swin_base_patch4_window12_384": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 384, 0.5),
    "swin_large_patch4_window7_224": (192, (2, 2, 18, 2), (6, 12, 24, 48), 7, 224, 0.2),
    "swin_large_patch4_window12_384": (192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 384, 0.2),
}

# S3: sizes and windows as in timm, which has the published weights.
PAPER |= {
    "swin_s3_tiny_224": (96, (2, 2, 6, 2), (3, 6, 12, 24), (7, 7, 14, 7), 224, 0.1),
    "swin_s3_small_224": (96, (2, 2, 18, 2), (3, 6, 12, 24), (14, 14, 14, 7), 224, 0.1),
    "swin_s3_base_224": (96, (2, 2, 30, 2), (3, 6, 12, 24), (7, 7, 14, 7), 224, 0.1),
}

# V2: the official training configurations.
PAPER |= {
    "swinv2_tiny_patch4_window8_256": (96, (2, 2, 6, 2), (3, 6, 12, 24), 8, 256, 0.2),
    "swinv2_tiny_patch4_window16_256": (96, (2, 2, 6, 2), (3, 6, 12, 24), 16, 256, 0.2),
    "swinv2_small_patch4_window8_256": (96, (2, 2, 18, 2), (3, 6, 12, 24), 8, 256, 0.3),
    "swinv2_small_patch4_window16_256": (96, (2, 2, 18, 2), (3, 6, 12, 24), 16, 256, 0.3),
    "swinv2_base_patch4_window8_256": (128, (2, 2, 18, 2), (4, 8, 16, 32), 8, 256, 0.5),
    "swinv2_base_patch4_window16_256": (128, (2, 2, 18, 2), (4, 8, 16, 32), 16, 256, 0.5),
    "swinv2_base_patch4_window12_192": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 192, 0.2),
    "swinv2_base_patch4_window12to16_192to256": (128, (2, 2, 18, 2), (4, 8, 16, 32), 16, 256, 0.2),
    "swinv2_base_patch4_window12to24_192to384": (128, (2, 2, 18, 2), (4, 8, 16, 32), 24, 384, 0.2),
    "swinv2_large_patch4_window12_192": (192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 192, 0.2),
    "swinv2_large_patch4_window12to16_192to256": (192, (2, 2, 18, 2), (6, 12, 24, 48), 16, 256, 0.2),
    "swinv2_large_patch4_window12to24_192to384": (192, (2, 2, 18, 2), (6, 12, 24, 48), 24, 384, 0.2),
}


@pytest.mark.parametrize("name", PAPER)
def test_presets_are_the_published_ones(name):
    config = get_config(name)
    width, depths, heads, window, size, drop_path = PAPER[name]
    assert config.version == 1 + name.startswith("swinv2")
    assert config.pretrained_window_sizes == ((12, 12, 12, 6) if "12to" in name else (0, 0, 0, 0))
    assert config.num_classes == (21841 if name.endswith("_192") else 1000)  # the 192x192 ones know ImageNet-22k
    assert (config.embed_dim, config.depths, config.num_heads) == (width, depths, heads)
    assert (config.window_size, config.img_size, config.drop_path_rate) == (window, size, drop_path)
    assert all(w // h == 32 for w, h in zip(config.widths, config.num_heads, strict=True))
    rest = {field.name: field.default for field in fields(SwinConfig)}
    for field in ("patch_size", "in_chans", "mlp_ratio", "qkv_bias", "drop_rate", "ape", "patch_norm"):
        assert getattr(config, field) == rest[field]


def test_all_presets_are_there():
    assert {name for name in CONFIGS if "fashion" not in name} == set(PAPER)


def test_windows_of_the_published_models_shrink_in_the_last_stages():
    windows = {name: get_config(name).windows for name in PAPER}
    assert windows["swin_tiny_patch4_window7_224"] == (7, 7, 7, 7)
    assert windows["swinv2_tiny_patch4_window16_256"] == (16, 16, 16, 8)
    assert windows["swinv2_base_patch4_window12_192"] == (12, 12, 12, 6)  # what its fine-tuned models are told
    assert SwinConfig(img_size=None).windows == (7, 7, 7, 7)
    assert SwinConfig(img_size=(64, 224)).windows == (7, 7, 4, 2)
    assert SwinConfig(img_size=(64, 224), always_shift=True).windows == (7, 7, 7, 7)


def test_a_window_for_each_stage():
    config = SwinConfig(window_size=[7, 7, 14, 7], img_size=112)
    assert config.window_size == config.window_sizes == (7, 7, 14, 7)
    assert config.windows == (7, 7, 7, 4)
    assert replace(config, img_size=None).windows == (7, 7, 14, 7)
    same = SwinConfig(window_size=(12,) * 4)
    assert same == SwinConfig(window_size=12) and same.window_sizes == (12,) * 4
    one = SwinConfig(window_size=(5,), depths=(2,), num_heads=(3,))
    assert one.window_size == 5
    assert config_from_dict({"window_size": [7, 7, 14, 7]}).window_size == (7, 7, 14, 7)


def test_fields_and_defaults():
    """The names and values that other people's code relies on."""
    assert {field.name: field.default for field in fields(SwinConfig)} == {
        "img_size": 224,
        "patch_size": 4,
        "in_chans": 3,
        "num_classes": 1000,
        "embed_dim": 96,
        "depths": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "window_size": 7,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.1,
        "ape": False,
        "patch_norm": True,
        "version": 1,
        "pretrained_window_sizes": (0, 0, 0, 0),
        "always_shift": False,
    }


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown model 'swin_huge'; expected one of: .*swin_large_patch4"):
        get_config("swin_huge")


def test_lists_become_tuples_so_that_equal_configs_are_equal():
    config = SwinConfig(img_size=[32, 64], depths=[2, 2], num_heads=[1, 2], pretrained_window_sizes=[0, 0])
    assert config == SwinConfig(img_size=(32, 64), depths=(2, 2), num_heads=(1, 2))
    assert hash(config) == hash(SwinConfig(img_size=(32, 64), depths=(2, 2), num_heads=(1, 2)))


def test_frozen_and_replaced():
    config = SwinConfig()
    with pytest.raises(FrozenInstanceError):
        config.depths = (1,)
    assert replace(config, window_size=12).window_size == 12 and config.window_size == 7


def test_pretrained_windows_follow_the_number_of_stages_if_they_are_all_one():
    assert SwinConfig(depths=(2, 2), num_heads=(3, 6)).pretrained_window_sizes == (0, 0)
    assert SwinConfig(depths=(2, 2), num_heads=(3, 6), pretrained_window_sizes=(8,)).pretrained_window_sizes == (8, 8)


def test_widths_double():
    assert SwinConfig().widths == (96, 192, 384, 768)
    assert SwinConfig(embed_dim=10, depths=(1,), num_heads=(5,)).widths == (10,)


@pytest.mark.parametrize(
    ("size", "patch", "grids"),
    [
        (224, 4, ((56, 56), (28, 28), (14, 14), (7, 7))),
        ((224, 448), 4, ((56, 112), (28, 56), (14, 28), (7, 14))),
        ((30, 50), 4, ((8, 13), (4, 7), (2, 4), (1, 2))),
        (2, 2, ((1, 1), (1, 1), (1, 1), (1, 1))),
        (None, 4, (None, None, None, None)),
    ],
)
def test_grids_are_rounded_up(size, patch, grids):
    config = SwinConfig(img_size=size, patch_size=patch)
    assert config.grids == grids


def test_image_shape_is_height_and_width():
    assert SwinConfig().image_shape == (224, 224)
    assert SwinConfig(img_size=(32, 64)).image_shape == (32, 64)
    assert SwinConfig(img_size=None).image_shape is None


def test_drop_path_rates_rise_linearly_over_all_blocks():
    rates = SwinConfig(drop_path_rate=0.22).drop_path_rates
    assert [len(stage) for stage in rates] == [2, 2, 6, 2]
    flat = [rate for stage in rates for rate in stage]
    assert flat == pytest.approx([0.02 * block for block in range(12)])
    assert flat[0] == 0 and flat[-1] == 0.22
    assert SwinConfig(depths=(1,), num_heads=(3,)).drop_path_rates == ((0.0,),)


WRONG = [
    ({"patch_size": 0}, ValueError, "patch_size: expected at least 1, got 0"),
    ({"patch_size": 4.0}, TypeError, r"patch_size: expected an int, got 4\.0"),
    ({"in_chans": True}, TypeError, "in_chans: expected an int, got True"),
    ({"num_classes": -1}, ValueError, "num_classes: expected at least 0, got -1"),
    ({"embed_dim": "96"}, TypeError, "embed_dim: expected an int, got '96'"),
    ({"window_size": -7}, ValueError, "window_size: expected at least 1, got -7"),
    ({"window_size": (7, 7)}, ValueError, r"window_size: expected 4 values, one for each stage .*, got \(7, 7\)"),
    ({"window_size": (7, 7, 14, 0)}, ValueError, "window_size: expected at least 1, got 0"),
    ({"window_size": (7, 7, 14, 7.0)}, TypeError, r"window_size: expected an int, got 7\.0"),
    ({"window_size": 7.0}, TypeError, r"window_size: expected an int, or one for each stage, got 7\.0"),
    ({"window_size": True}, TypeError, "window_size: expected an int, got True"),
    ({"always_shift": 1}, TypeError, "always_shift: expected True or False, got 1"),
    ({"depths": (1,) * 17}, ValueError, "depths: expected at most 16 stages, got 17"),
    ({"num_heads": (1,) * 200_000}, ValueError, r"num_heads: expected 4 values, .{1,120}$"),
    ({"depths": ()}, ValueError, r"depths: expected at least one stage, got \(\)"),
    ({"depths": (2, 2, 0, 2)}, ValueError, "depths: expected at least 1, got 0"),
    ({"depths": (2, 2, 6)}, ValueError, r"num_heads: expected 3 values, .*depths=\(2, 2, 6\), got \(3, 6, 12, 24\)"),
    ({"depths": 4}, TypeError, "depths: expected a tuple of ints, got 4"),
    ({"depths": "2262"}, TypeError, "depths: expected an int, got '2'"),
    ({"num_heads": (5, 6, 12, 24)}, ValueError, "num_heads: stage 0 has 96 channels, which 5 heads can't share"),
    ({"num_heads": (3, 6, 12, 0)}, ValueError, "num_heads: expected at least 1, got 0"),
    ({"num_heads": None}, TypeError, "num_heads: expected a tuple of ints, got None"),
    ({"pretrained_window_sizes": (1, 2)}, ValueError, r"pretrained_window_sizes: expected 4 values.*got \(1, 2\)"),
    ({"drop_rate": 1.0}, ValueError, r"drop_rate: expected 0 <= rate < 1, got 1\.0"),
    ({"attn_drop_rate": -0.1}, ValueError, r"attn_drop_rate: expected 0 <= rate < 1, got -0\.1"),
    ({"drop_path_rate": float("nan")}, ValueError, "drop_path_rate: expected 0 <= rate < 1, got nan"),
    ({"drop_path_rate": "0.1"}, TypeError, r"drop_path_rate: expected a number, got '0\.1'"),
    ({"drop_rate": None}, TypeError, "drop_rate: expected a number, got None"),
    ({"mlp_ratio": 0}, ValueError, "mlp_ratio: expected a number above 0, got 0"),
    ({"mlp_ratio": float("nan")}, ValueError, "mlp_ratio: expected a number above 0, got nan"),
    ({"mlp_ratio": float("inf")}, ValueError, "mlp_ratio: expected a number above 0, got inf"),
    ({"mlp_ratio": "4"}, TypeError, "mlp_ratio: expected a number, got '4'"),
    ({"version": 3}, ValueError, "version: expected 1 or 2, got 3"),
    ({"img_size": 0}, ValueError, "img_size: expected at least 1, got 0"),
    ({"img_size": (224, 0)}, ValueError, "img_size: expected at least 1, got 0"),
    (
        {"img_size": (3, 224, 224)},
        ValueError,
        r"img_size: expected an int, \(height, width\) or None, got \(3, 224, 224\)",
    ),
    ({"img_size": 224.0}, TypeError, r"img_size: expected an int, \(height, width\) or None, got 224\.0"),
    ({"img_size": (224.0, 224)}, TypeError, r"img_size: expected an int, got 224\.0"),
    ({"img_size": None, "ape": True}, ValueError, "ape=True needs img_size"),
    ({"qkv_bias": "no"}, TypeError, "qkv_bias: expected True or False, got 'no'"),
    ({"patch_norm": None}, TypeError, "patch_norm: expected True or False, got None"),
    ({"ape": 1}, TypeError, "ape: expected True or False, got 1"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG, ids=[str(wrong[0]) for wrong in WRONG])
def test_errors_name_the_field_what_was_expected_and_what_came(change, error, message):
    with pytest.raises(error, match=message):
        SwinConfig(**change)


def test_from_a_dict_such_as_json_gives():
    config = config_from_dict({"img_size": [32, 64], "depths": [2, 2], "num_heads": [3, 6], "drop_path_rate": 0})
    assert config == SwinConfig(img_size=(32, 64), depths=(2, 2), num_heads=(3, 6), drop_path_rate=0)
    with pytest.raises(ValueError, match="not fields of SwinConfig: depth, heads"):
        config_from_dict({"heads": 3, "depth": 2, "img_size": 224})
