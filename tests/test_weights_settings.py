"""What stands beside the weights: our metadata, transformers' and timm's config.json."""

import json
from dataclasses import asdict, replace

import pytest

from swin_numpy.config import CONFIGS, SwinConfig
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.settings import read_settings

TRANSFORMERS = {
    "model_type": "swin",
    "architectures": ["SwinForImageClassification"],
    "image_size": 192,
    "patch_size": 2,
    "num_channels": 1,
    "embed_dim": 24,
    "depths": [2, 2, 1],
    "num_heads": [1, 2, 4],
    "window_size": 6,
    "mlp_ratio": 2.5,
    "qkv_bias": False,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.2,
    "drop_path_rate": 0.3,
    "use_absolute_embeddings": False,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "id2label": {"0": "cat"},
}
EXPECTED = {
    "version": 1,
    "img_size": 192,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 24,
    "depths": (2, 2, 1),
    "num_heads": (1, 2, 4),
    "window_size": 6,
    "mlp_ratio": 2.5,
    "qkv_bias": False,
    "drop_rate": 0.1,
    "attn_drop_rate": 0.2,
    "drop_path_rate": 0.3,
    "ape": False,
}


def read(settings, **more):
    return read_settings({"config.json": json.dumps(settings)} | more)


def test_our_own_metadata_says_everything_and_comes_first():
    config = SwinConfig(img_size=(32, 64), window_size=(7, 7, 14, 7), version=2, always_shift=True)
    own = {"config": json.dumps(asdict(config))}
    assert read_settings(own) == read(TRANSFORMERS, **own) == vars(config)
    assert read_settings({}) == read_settings({"format": "pt"}) == {}


def test_transformers_fields():
    assert read(TRANSFORMERS) == EXPECTED
    sizes = {"image_size": [64, 128], "use_absolute_embeddings": True}
    assert read(TRANSFORMERS | sizes) == EXPECTED | {"img_size": (64, 128), "ape": True}
    assert read(TRANSFORMERS | {"image_size": [64, 64]})["img_size"] == 64
    second = {"model_type": "swinv2", "pretrained_window_sizes": [3, 3, 2]}
    assert read(TRANSFORMERS | second) == EXPECTED | {"version": 2, "pretrained_window_sizes": (3, 3, 2)}
    few = {"model_type": "swin", "window_size": 12}
    assert read(few) == {"version": 1, "window_size": 12}


def test_transformers_first_version_never_shrinks_a_window():
    assert read(TRANSFORMERS | {"image_size": 40})["img_size"] is None  # grids 20, 10, 5
    assert read(TRANSFORMERS | {"image_size": 40, "model_type": "swinv2"})["img_size"] == 40
    assert read(TRANSFORMERS | {"image_size": 40, "use_absolute_embeddings": True})["img_size"] == 40


@pytest.mark.parametrize("place", ["encoder", "backbone_config", "vision_config"])
@pytest.mark.parametrize("kind", ["swin", "donut-swin", "maskformer-swin"])
def test_a_larger_model_s_swin(place, kind):
    config = {"model_type": "vision-encoder-decoder", place: TRANSFORMERS | {"model_type": kind}, "depths": [9]}
    assert read(config) == EXPECTED


@pytest.mark.parametrize(("field", "value"), [("hidden_act", "relu"), ("layer_norm_eps", 1e-6)])
def test_what_our_model_cannot_do_is_refused(field, value):
    with pytest.raises(CheckpointError, match=rf"config\.json has {field}={value!r}; every published Swin has"):
        read(TRANSFORMERS | {field: value})


TIMM = {
    "swin_tiny_patch4_window7_224": "swin_tiny_patch4_window7_224",
    "swin_base_patch4_window12_384.ms_in22k": "swin_base_patch4_window12_384",
    "swin_s3_small_224": "swin_s3_small_224",
    "swinv2_small_window16_256": "swinv2_small_patch4_window16_256",
    "swinv2_large_window12to24_192to384.ms_in22k": "swinv2_large_patch4_window12to24_192to384",
}


@pytest.mark.parametrize("architecture", TIMM)
def test_timm_s_architectures_are_our_presets(architecture):
    preset = CONFIGS[TIMM[architecture]]
    found = read(
        {"architecture": architecture, "num_classes": 10, "pretrained_cfg": {"first_conv": "patch_embed.proj"}}
    )
    assert found == {
        name: getattr(preset, name) for name in ("version", "img_size", "window_size", "pretrained_window_sizes")
    }


def test_timm_s_changes_of_an_architecture():
    config = {
        "architecture": "swin_tiny_patch4_window7_224",
        "pretrained_cfg": {"input_size": [3, 288, 288]},
        "model_args": {"window_size": [9, 9, 9, 18], "embed_dim": 48, "act_layer": "gelu"},
    }
    found = read(config)
    assert found["window_size"] == (9, 9, 9, 18) and found["img_size"] == 288 and found["embed_dim"] == 48
    assert read(config | {"pretrained_cfg": {"input_size": [3, 64, 128]}})["img_size"] == (64, 128)
    assert read(config | {"pretrained_cfg": None, "model_args": None})["window_size"] == 7


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}, {"architecture": "resnet50"}, {"encoder": "swin"}])
def test_settings_of_something_else_say_nothing(config):
    assert read(config) == {}


DAMAGED = [
    "",
    "no json",
    "[1, 2]",
    "3",
    "[" * 100_000,
    '{"model_type": [], "architecture": 1}',
    '{"model_type": "swin", "depths": 5}',
    '{"architecture": "swin_s3_tiny_224", "model_args": 5}',
    json.dumps(TRANSFORMERS | {"image_size": "a"}),
    json.dumps(TRANSFORMERS | {"depths": [1] * 200_000}),
    json.dumps(TRANSFORMERS | {"window_size": [1, 2]}),
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_settings_are_one_error(text):
    with pytest.raises(CheckpointError, match=r"its config\.json holds no settings") as caught:
        read_settings({"config.json": text})
    assert len(str(caught.value)) < 500 and str(caught.value).isprintable()
    with pytest.raises(CheckpointError, match=r"its metadata holds no SwinConfig"):
        read_settings({"config": text or "x"})


def test_a_config_with_a_window_for_each_stage_survives_json():
    config = replace(CONFIGS["swin_s3_base_224"], img_size=None)
    assert SwinConfig(**read_settings({"config": json.dumps(asdict(config))})) == config
