"""The shapes of a model, without building it."""

from dataclasses import replace

import pytest

from swin_numpy.config import CONFIGS, SwinConfig
from swin_numpy.weights.shapes import model_shapes
from tests.twin import PACKAGES

SMALL = SwinConfig(img_size=(36, 60), embed_dim=6, depths=(2, 1, 3), num_heads=(1, 2, 3), window_size=4, num_classes=5)
CHANGES = [
    {},
    {"version": 2},
    {"qkv_bias": False},
    {"version": 2, "qkv_bias": False},
    {"patch_norm": False, "ape": True, "in_chans": 2, "patch_size": 3},
    {"mlp_ratio": 2.7, "num_classes": 0},
    {"window_size": (3, 4, 7), "img_size": None},
    {"window_size": (3, 4, 7)},
    {"window_size": (3, 4, 7), "always_shift": True},
    {"depths": (1,), "num_heads": (2,)},
]


def shapes_of_model(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@PACKAGES
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_shapes_are_those_of_the_model(package, change):
    config = replace(SMALL, **change)
    assert model_shapes(config) == shapes_of_model(package.SwinTransformer(config))
    stages = range(len(config.depths))
    for norms in (tuple(stages), (len(config.depths) - 1,)):
        assert model_shapes(config, norms) == shapes_of_model(package.Backbone(config, norms))
    assert model_shapes(config, ()) == shapes_of_model(package.Backbone(config, norm=False))


def test_a_gigantic_model_takes_no_memory():
    config = replace(CONFIGS["swin_large_patch4_window12_384"], embed_dim=192 * 10**9, window_size=10**6, img_size=None)
    assert model_shapes(config)["layers.0.blocks.0.attn.relative_position_bias_table"] == ((2 * 10**6 - 1) ** 2, 6)
