"""Which configuration a checkpoint was made for."""

from dataclasses import replace

import numpy as np
import pytest

from swin_numpy.config import CONFIGS, SwinConfig
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.infer import infer_config
from tests.peer_names import official_shapes, random_state

SMALL = dict(embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10, pretrained_window_sizes=(0, 0))


def fields(config):
    return {name: value for name, value in vars(config).items() if "rate" not in name}


def shape_state(config):
    """A state of zeros that takes no memory, with a V1 model's shapes."""
    shapes = {"patch_embed.proj.weight": (config.embed_dim, config.in_chans, config.patch_size, config.patch_size)}
    shapes["norm.weight"] = (config.widths[-1],)
    if config.patch_norm:
        shapes["patch_embed.norm.weight"] = (config.embed_dim,)
    if config.ape:
        rows, columns = config.grids[0]
        shapes["absolute_pos_embed"] = (1, rows * columns, config.embed_dim)
    for stage, (depth, width, heads) in enumerate(zip(config.depths, config.widths, config.num_heads, strict=True)):
        window = config.windows[stage]
        for block in range(depth):
            place = f"layers.{stage}.blocks.{block}."
            shapes[place + "mlp.fc1.weight"] = (int(width * config.mlp_ratio), width)
            shapes[place + "attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
            if config.qkv_bias:
                shapes[place + "attn.qkv.bias"] = (3 * width,)
    if config.num_classes:
        shapes["head.weight"] = (config.num_classes, config.widths[-1])
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


V1_NAMES = [name for name, config in CONFIGS.items() if config.version == 1]


@pytest.mark.parametrize("name", V1_NAMES)
@pytest.mark.parametrize("changes", [{}, {"num_classes": 10}, {"num_classes": 0}, {"in_chans": 1}])
def test_published_models_are_recognised(name, changes):
    config = replace(CONFIGS[name], **changes)
    assert infer_config(shape_state(config)) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"patch_size": 2},
        {"depths": (1, 3, 2), "num_heads": (1, 2, 4), "pretrained_window_sizes": (0, 0, 0)},
        {"embed_dim": 48},
        {"window_size": 5},
        {"mlp_ratio": 2.7},
        {"qkv_bias": False},
        {"patch_norm": False},
        {"num_heads": (2, 4, 8, 16), "embed_dim": 64},
    ],
)
def test_other_models_take_any_size(changes):
    config = replace(SwinConfig(), img_size=None, **changes)
    found = infer_config(shape_state(config))
    assert fields(replace(found, mlp_ratio=4.0)) == fields(replace(config, mlp_ratio=4.0))
    assert found.mlp_ratio == pytest.approx(config.mlp_ratio, rel=1e-2)


@pytest.mark.parametrize(("img_size", "window"), [(224, 12), (192, 7), (64, 7), (256, 16), (32, 8)])
def test_a_window_that_shrank_tells_the_image_size(img_size, window):
    config = SwinConfig(img_size=img_size, window_size=window)
    found = infer_config(shape_state(config))
    assert found.img_size == img_size
    assert found.window_size == min(window, img_size // 4)


@pytest.mark.parametrize("img_size", [224, 96])
def test_a_position_embedding_tells_the_image_size(img_size):
    config = SwinConfig(img_size=img_size, ape=True)
    assert fields(infer_config(shape_state(config))) == fields(config)
    with pytest.raises(CheckpointError, match="pass img_size="):
        infer_config(shape_state(replace(config, img_size=(96, 64))))


def test_what_is_known_comes_first():
    state = shape_state(CONFIGS["swin_tiny_patch4_window7_224"])
    assert infer_config(state, img_size=448) == replace(CONFIGS["swin_tiny_patch4_window7_224"], img_size=448)
    assert infer_config(state, num_classes=5).num_classes == 5
    assert infer_config(state, img_size=None).img_size is None
    assert infer_config(state, drop_path_rate=0.7).drop_path_rate == 0.7
    with pytest.raises(TypeError, match="not fields of SwinConfig: window"):
        infer_config(state, window=7)


@pytest.mark.parametrize("gone", ["patch_embed.proj.weight", "mlp.fc1.weight", "bias_table", "layers"])
def test_what_is_not_told_is_asked_for(gone):
    state = {key: v for key, v in shape_state(SwinConfig()).items() if gone not in key}
    with pytest.raises(CheckpointError, match=r"don't determine its \w+: pass \w+="):
        infer_config(state)


def test_sizes_of_no_model_are_refused():
    state = shape_state(SwinConfig())
    for key in state:
        if key.endswith("table"):
            state[key] = np.zeros((169, 5), np.float32)
    with pytest.raises(CheckpointError, match="no model has the checkpoint's sizes: num_heads"):
        infer_config(state)


# Published V2 models that differ in nothing that weights show.
V2 = replace(SwinConfig(), version=2, img_size=56, window_size=7, **SMALL)
V2_PRESETS = {
    "one": replace(V2, window_size=8, img_size=256, drop_path_rate=0.25),
    "other": replace(V2, window_size=16, img_size=256),
    "tuned": replace(V2, window_size=16, img_size=256, pretrained_window_sizes=(12, 6)),
    "larger": replace(V2, window_size=24, img_size=384, pretrained_window_sizes=(12, 6)),
}


def test_version_2_asks_for_what_leaves_no_trace(monkeypatch):
    monkeypatch.setattr("swin_numpy.weights.infer.CONFIGS", V2_PRESETS)
    state = random_state(official_shapes(2))
    with pytest.raises(CheckpointError, match="pass window_size="):
        infer_config(state)
    with pytest.raises(CheckpointError, match="pass img_size="):
        infer_config(state, window_size=7)
    assert infer_config(state, window_size=7, img_size=56) == V2
    assert infer_config(state, window_size=8) == V2_PRESETS["one"]
    with pytest.raises(CheckpointError, match="pass pretrained_window_sizes="):
        infer_config(state, window_size=16)
    assert infer_config(state, window_size=16, pretrained_window_sizes=(0, 0)) == V2_PRESETS["other"]
    assert infer_config(state, window_size=24) == V2_PRESETS["larger"]


@pytest.mark.parametrize(("windows", "found"), [(3, 3), ((3, 4), (3, 4))])
def test_a_detector_s_windows_are_one_int_where_they_are_the_same(windows, found):
    state = shape_state(SwinConfig(**SMALL, img_size=None, window_size=windows))
    config = infer_config(state | {"norm0.weight": np.zeros(24)})
    assert config.always_shift and config.img_size is None and config.window_size == found
