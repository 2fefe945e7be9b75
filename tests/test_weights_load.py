"""from_checkpoint: a file's model, or the same weights in another one; and loading whole or not at all."""

import json
import tracemalloc
import warnings
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy import CheckpointError, SwinConfig, resize_absolute_position_embedding, resize_position_bias
from swin_numpy.weights.export import export_state_dict
from swin_numpy.weights.files import save_checkpoint
from swin_numpy.weights.load import load_checkpoint, load_with_config
from swin_numpy.weights.resize import adapt_channels
from tests.peer_names import official_shapes
from tests.peer_names import random_state as random_numbers
from tests.test_weights_files import SUFFIXES, complaint, damaged_bytes
from tests.twin import PACKAGES, inputs_for, normal, random_state, relative, run

CONFIG = SwinConfig(
    img_size=(32, 48),
    num_classes=5,
    embed_dim=8,
    depths=(2, 2),
    num_heads=(2, 4),
    window_size=3,
    drop_path_rate=0.2,
    ape=True,
)
TABLES = [f"layers.{stage}.blocks.{block}.attn.relative_position_bias_table" for stage in (0, 1) for block in (0, 1)]


def state_of(config, dtype=np.float32):
    """Random weights, none at its initial value."""
    shapes = {name: value.shape for name, value in swin_numpy.SwinTransformer(config).state_dict().items()}
    return {name: value.astype(dtype) for name, value in random_state(shapes, seed=4).items()}


@pytest.fixture
def path(tmp_path):
    """A file with its configuration in it."""
    save_checkpoint(tmp_path / "a.npz", state_of(CONFIG), {"config": CONFIG})
    return tmp_path / "a.npz"


def arrays(model):
    return {name: np.asarray(value).copy() for name, value in model.state_dict().items()}


def assert_same(found, expected, but=()):
    assert found.keys() == expected.keys()
    for name in found.keys() - set(but):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def adapted(package, path, *args, **fields):
    """(model, what the one warning says was changed)"""
    with pytest.warns(UserWarning, match="adapted: ") as said:
        model = package.SwinTransformer.from_checkpoint(path, *args, **fields)
    assert len(said) == 1
    assert str(said[0].message).startswith(f"{path}: adapted: ")
    return model, str(said[0].message).removeprefix(f"{path}: adapted: ")


# ---- the model of a file -----------------------------------------------------------------------------------------


@PACKAGES
@pytest.mark.parametrize("config", [None, CONFIG])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_model_of_a_file(tmp_path, package, config, dtype):
    path, state = tmp_path / "a.safetensors", state_of(CONFIG, dtype)
    save_checkpoint(path, state, {"config": CONFIG})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = package.SwinTransformer.from_checkpoint(path, config)
    assert model.config == CONFIG and not model.training
    assert_same(arrays(model), state)
    expected = "float64" if dtype == np.float64 else "float32"
    assert {value.dtype.name for value in arrays(model).values()} == {expected}


@PACKAGES
def test_a_config_changes_what_leaves_no_trace_without_a_word(path, package):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = package.SwinTransformer.from_checkpoint(path, drop_path_rate=0.4, drop_rate=0.1)
    assert model.config == replace(CONFIG, drop_path_rate=0.4, drop_rate=0.1)


@PACKAGES
def test_fields_that_the_file_does_not_tell(tmp_path, package):
    path = tmp_path / "a.npz"
    save_checkpoint(path, state_of(CONFIG))  # without its configuration: 8x12 patches could be any grid of 96
    with pytest.raises(CheckpointError, match=r"a\.npz: .* don't determine its img_size: pass img_size="):
        package.SwinTransformer.from_checkpoint(path)
    for given in ({"img_size": (32, 48)}, {"config": CONFIG}):
        model = package.SwinTransformer.from_checkpoint(path, **given)
        assert model.config.img_size == (32, 48)
        assert_same(arrays(model), state_of(CONFIG))
    model, said = adapted(package, path, img_size=(32, 48), num_classes=7, window_size=4)  # it tells the other two
    assert said == "4 bias tables from window 3 to 4; the head is new and untrained: 7 classes, the file has 5"


@PACKAGES
def test_what_is_no_field(path, package):
    with pytest.raises(TypeError, match="not fields of SwinConfig: window"):
        package.SwinTransformer.from_checkpoint(path, window=3)
    with pytest.raises(ValueError, match="window_size: expected at least 1"):
        package.SwinTransformer.from_checkpoint(path, window_size=0)


# ---- another model with the same weights ---------------------------------------------------------------------------


@PACKAGES
def test_another_head(path, package):
    model, said = adapted(package, path, num_classes=7)
    head = ("head.weight", "head.bias")
    assert said == "the head is new and untrained: 7 classes, the file has 5"
    assert_same(arrays(model), state_of(CONFIG) | {name: arrays(model)[name] for name in head})
    fresh = arrays(package.SwinTransformer(model.config, seed=0))
    assert_same({name: arrays(model)[name] for name in head}, {name: fresh[name] for name in head})
    assert fresh["head.weight"].std() > 0.01
    headless, said = adapted(package, path, num_classes=0)
    assert said == "the head of 5 classes is left out"
    assert_same(arrays(headless), {name: v for name, v in state_of(CONFIG).items() if name not in head})


@PACKAGES
def test_a_head_for_a_file_without_one(tmp_path, package):
    config = replace(CONFIG, num_classes=0)
    save_checkpoint(tmp_path / "a.npz", state_of(config), {"config": config})
    model, said = adapted(package, tmp_path / "a.npz", num_classes=5)
    assert said == "the head is new and untrained: 5 classes, the file has none"
    assert_same(arrays(model), state_of(config) | {name: v for name, v in arrays(model).items() if "head" in name})


@PACKAGES
def test_another_window_and_size(path, package):
    model, said = adapted(package, path, img_size=64, window_size=5)
    assert said == "absolute_pos_embed from 8x12 to 16x16 patches; 4 bias tables from window 3 to 5"
    old = state_of(CONFIG)
    expected = old | {name: resize_position_bias(old[name], 5) for name in TABLES}
    embedding = resize_absolute_position_embedding(old["absolute_pos_embed"], (16, 16), (8, 12))
    assert_same(arrays(model), expected | {"absolute_pos_embed": embedding})
    with torch.no_grad():
        assert model(*inputs_for(package, normal(1, 3, 64, 64, dtype=np.float32))).shape == (1, 5)


@PACKAGES
def test_a_window_shrinks_with_the_grid(path, package):
    model, said = adapted(package, path, img_size=16)  # grids of 4x4 and 2x2: only the second is below the window
    assert "2 bias tables from window 3 to 2" in said
    assert_same(
        {name: arrays(model)[name] for name in TABLES},
        {name: resize_position_bias(state_of(CONFIG)[name], 3 - int("layers.1" in name)) for name in TABLES},
    )


# V2 at another window: nothing is resized, but its network must go on to see offsets on the scale that it knows.
V2 = replace(CONFIG, version=2, ape=False, img_size=(32, 48), window_size=4)  # grids 8x12 and 4x6


@pytest.fixture
def path2(tmp_path):
    save_checkpoint(tmp_path / "v2.npz", state_of(V2), {"config": V2})
    return tmp_path / "v2.npz"


@PACKAGES
def test_version_2_at_another_window_keeps_its_bias(path2, package):
    model, said = adapted(package, path2, img_size=64, window_size=6)
    assert said == "pretrained_window_sizes=(4, 4)"
    assert model.config == replace(V2, img_size=64, window_size=6, pretrained_window_sizes=(4, 4))
    assert_same(arrays(model), state_of(V2))
    large, small = (blocks_bias(m) for m in (model, package.SwinTransformer.from_checkpoint(path2)))
    corner = [row * 6 + column for row in range(4) for column in range(4)]
    np.testing.assert_allclose(large[:, corner][:, :, corner], small, rtol=1e-5)
    with torch.no_grad():
        assert model(*inputs_for(package, normal(1, 3, 64, 64, dtype=np.float32))).shape == (1, 5)


def blocks_bias(model):
    with torch.no_grad():
        return np.asarray(model.layers[1].blocks[0].attn.relative_position_bias())


@PACKAGES
def test_version_2_with_windows_that_shrink_or_were_pre_trained(path2, tmp_path, package):
    model, said = adapted(package, path2, img_size=16)  # grids of 4x4 and 2x2
    assert said == "pretrained_window_sizes=(4, 4)" and model.config.windows == (4, 2)
    tuned = replace(V2, pretrained_window_sizes=(3, 0))
    save_checkpoint(tmp_path / "tuned.npz", state_of(V2), {"config": tuned})
    model, said = adapted(package, tmp_path / "tuned.npz", img_size=None, window_size=5)
    assert model.config.pretrained_window_sizes == (3, 4)  # the first is as before, the second was the file's own


@PACKAGES
def test_version_2_is_taken_at_its_word(path2, package):
    for arguments in ({"config": replace(V2, window_size=5, img_size=None)},
                      {"window_size": 5, "img_size": None, "pretrained_window_sizes": (0, 0)}):  # fmt: skip
        model, said = adapted(package, path2, **arguments)
        assert said == "V2's bias stretched from windows (4, 4) to (5, 5)"
        assert model.config == replace(V2, window_size=5, img_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = package.SwinTransformer.from_checkpoint(path2, img_size=(64, 64)).config  # the same windows
        assert same == replace(V2, img_size=(64, 64))
        told = package.SwinTransformer.from_checkpoint(path2, window_size=5, pretrained_window_sizes=(4, 4)).config
        assert told.pretrained_window_sizes == (4, 4)


@PACKAGES
def test_a_version_2_backbone_at_another_window(path2, package):
    with pytest.warns(UserWarning, match=r"pretrained_window_sizes=\(4, 4\)"):
        backbone = package.Backbone.from_checkpoint(path2, img_size=None, window_size=5)
    assert backbone.config.pretrained_window_sizes == (4, 4)
    with torch.no_grad():
        maps = backbone(*inputs_for(package, normal(1, 3, 37, 51, dtype=np.float32)))
    assert [tuple(x.shape) for x in maps] == [(1, 8, 10, 13), (1, 16, 5, 7)]


@PACKAGES
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(path, package, channels):
    model, said = adapted(package, path, in_chans=channels)
    assert said == f"patch_embed.proj.weight from 3 to {channels} channels"
    old, name = state_of(CONFIG), "patch_embed.proj.weight"
    assert_same(arrays(model), old | {name: adapt_channels(old[name], channels)})


@PACKAGES
def test_a_grid_of_as_many_patches(path, package):
    model, said = adapted(package, path, img_size=(48, 32))
    assert said == "absolute_pos_embed from 8x12 to 12x8 patches"
    old = state_of(CONFIG)["absolute_pos_embed"]
    assert not np.array_equal(arrays(model)["absolute_pos_embed"], old)


@PACKAGES
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"depths": (2, 3)}, r"13 missing: layers\.1\.blocks\.2"),
        ({"embed_dim": 16}, r"it was made with embed_dim=8 \(the model has 16\)"),
        ({"ape": False}, r"1 unexpected: absolute_pos_embed"),
        ({"patch_size": 2, "ape": False}, r"patch_size=4"),
        ({"mlp_ratio": 2.0}, r"mlp_ratio=4\.0"),
        ({"num_heads": (1, 4)}, r"num_heads=\(2, 4\)"),
        ({"qkv_bias": False}, r"4 unexpected: layers\.0\.blocks\.0\.attn\.qkv\.bias"),
    ],
)
def test_what_cannot_be_adapted(path, package, fields, said):
    with pytest.raises(CheckpointError, match=said):
        package.SwinTransformer.from_checkpoint(path, replace(CONFIG, **fields))


@pytest.mark.parametrize("gone", ["head.weight", "head.bias"])
def test_half_a_head_is_no_other_head(tmp_path, gone):
    state = state_of(CONFIG)
    del state[gone]
    save_checkpoint(tmp_path / "a.npz", state)
    for config in (CONFIG, replace(CONFIG, num_classes=7)):
        with pytest.raises(CheckpointError, match="head"):
            swin_numpy.SwinTransformer.from_checkpoint(tmp_path / "a.npz", config)


# ---- what a file says of itself ----------------------------------------------------------------------------------

SMALL = dict(embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10, pretrained_window_sizes=(0, 0))
PUBLIC_V2 = SwinConfig(version=2, img_size=56, window_size=7, **SMALL)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("version", [1, 2])
def test_the_configuration_travels_with_the_file(tmp_path, suffix, version):
    config = SwinConfig(**SMALL, version=version, img_size=(56, 112), drop_path_rate=0.3)
    path = tmp_path / f"a{suffix}"
    state = random_numbers(official_shapes(version), np.float32)
    save_checkpoint(path, state, {"config": config, "note": "ä"})
    found, found_config = load_with_config(path)
    assert_same(found, state)
    assert found_config == config
    assert load_with_config(path, img_size=448)[1] == replace(config, img_size=448)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "holds no SwinConfig"),
        ("[1, 2]", "holds no SwinConfig"),
        ('{"window": 7}', "not fields of SwinConfig: window"),
        ('{"depths": 5}', "holds no SwinConfig"),
        ("[" * 100_000, "holds no SwinConfig"),
        (json.dumps(SMALL | {"embed_dim": 48}), "its metadata says embed_dim=48, its arrays embed_dim=24"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_that_is_none(tmp_path, suffix, text, said):
    state = random_numbers(official_shapes(1), np.float32)
    save_checkpoint(tmp_path / f"a{suffix}", state, {"config": text})
    assert said in complaint(tmp_path / f"a{suffix}", load_with_config)
    assert_same(load_checkpoint(tmp_path / f"a{suffix}"), state)


@pytest.mark.parametrize("naming", ["microsoft", "torchvision"])
@pytest.mark.parametrize("pretrained", [(0, 0), (12, 6), (5, 7)])
def test_derived_buffers_tell_version_2_s_windows(tmp_path, naming, pretrained):
    config = replace(PUBLIC_V2, pretrained_window_sizes=pretrained, window_size=8, img_size=64)
    theirs = export_state_dict(random_numbers(official_shapes(2), np.float32), naming, config)
    save_checkpoint(tmp_path / "a.safetensors", theirs)
    known = {"img_size": 64} if naming == "torchvision" else {}  # has no masks
    state, found = load_with_config(tmp_path / "a.safetensors", **known)
    assert found == config
    assert_same(state, load_checkpoint(tmp_path / "a.safetensors"))


def test_known_fields_that_the_arrays_contradict_are_errors(tmp_path):
    state = random_numbers(official_shapes(1), np.float32)
    save_checkpoint(tmp_path / "a.npz", state)
    for known in ({"window_size": 12}, {"num_classes": 3}, {"embed_dim": 48}, {"depths": (2, 3)}, {"mlp_ratio": 2.0}):
        said = complaint(tmp_path / "a.npz", lambda path, known=known: load_with_config(path, **known))
        assert next(iter(known)) in said or "mis-shaped" in said or "unexpected" in said
    assert load_with_config(tmp_path / "a.npz", img_size=(64, 96), drop_rate=0.5)[1].img_size == (64, 96)


CONTRADICTIONS = {
    "block": lambda s: s | {"layers.0.blocks.1.mlp.fc1.weight": s["layers.0.blocks.1.mlp.fc1.weight"][:-1]},
    "table": lambda s: s | {TABLES[3]: np.zeros((49, 4), np.float32)},
    "heads": lambda s: s | {TABLES[1]: np.zeros((25, 3), np.float32)},
    "merging": lambda s: s | {"layers.0.downsample.norm.bias": np.zeros(8, np.float32)},
    "a stage too many": lambda s: s | {"layers.2.downsample.norm.bias": np.zeros(8, np.float32)},
    "a bias of V2": lambda s: s | {"layers.0.blocks.0.attn.q_bias": np.zeros(8, np.float32)},
    "head": lambda s: s | {"head.bias": np.zeros(4, np.float32)},
    "norm": lambda s: s | {"norm.bias": np.zeros((16, 1), np.float32)},
}


@PACKAGES
@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_every_shape_is_held_against_the_rest(tmp_path, package, change):
    state = change({name: value for name, value in state_of(replace(CONFIG, ape=False)).items()})
    np.savez(tmp_path / "a.npz", **state)
    for call in (package.SwinTransformer.from_checkpoint, load_with_config):
        said = complaint(tmp_path / "a.npz", call)
        assert "mis-shaped" in said or "unexpected" in said


# ---- all the ways that public files wrap a model -------------------------------------------------------------------


def random_model(config):
    """A NumPy model in float64, no parameter at its initial value."""
    model = swin_numpy.SwinTransformer(config, dtype=np.float64)
    model.load_state_dict(random_state({name: value.shape for name, value in model.state_dict().items()}, seed=4))
    return model


def microsoft(config):
    """{their name: array} of a random model as Microsoft's code saves it, buffers and all; and the model."""
    model = random_model(config)
    return export_state_dict(model.state_dict(), "microsoft", config), model


TWO = dict(embed_dim=8, depths=(2, 2), num_heads=(1, 2), num_classes=5, drop_path_rate=0.0)
TUNED = SwinConfig(**TWO, version=2, img_size=64, window_size=8, pretrained_window_sizes=(6, 5))


@PACKAGES
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module._orig_mod.", "encoder.model."])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": {"name": "swin"}, "state_dict": s, "model_ema": {}}])
def test_a_prefix_and_a_wrapper_hide_nothing_of_version_2(tmp_path, package, prefix, wrap):
    theirs, model = microsoft(TUNED)
    saved = wrap({prefix + name: torch.from_numpy(value) for name, value in theirs.items()})
    torch.save(saved, tmp_path / "a.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = package.SwinTransformer.from_checkpoint(tmp_path / "a.pth")
    assert replace(found.config, drop_path_rate=0.0) == TUNED
    images = normal(2, 3, 64, 64)
    assert relative(run(found, images), model(images)) < 1e-12


NOT_SQUARE = {
    "wide, shrunk": dict(img_size=(64, 256), window_size=4, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4)),
    "wide, one window in the last stage": dict(img_size=(32, 128), window_size=4),
    "tall": dict(img_size=(128, 64), window_size=4),
    "three stages": dict(img_size=(64, 192), window_size=8, depths=(2, 2, 2), num_heads=(1, 2, 2)),
    "a window for each stage": dict(img_size=(64, 128), window_size=(4, 8)),
}


@PACKAGES
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("fields", NOT_SQUARE.values(), ids=NOT_SQUARE)
def test_images_that_are_not_square_are_read_from_the_masks(tmp_path, package, fields, version):
    config = SwinConfig(**TWO | fields | {"version": version})
    theirs, model = microsoft(config)
    torch.save({"model": {name: torch.from_numpy(value) for name, value in theirs.items()}}, tmp_path / "a.pth")
    images = normal(2, 3, *config.img_size)
    for given in ({}, {"img_size": config.img_size}):
        found = package.SwinTransformer.from_checkpoint(tmp_path / "a.pth", **given)
        assert (found.config.img_size, found.config.windows) == (config.img_size, config.windows)
        assert relative(run(found, images), model(images)) < 1e-12
    again = export_state_dict(load_checkpoint(tmp_path / "a.pth"), "microsoft", found.config)
    assert again.keys() == theirs.keys() and all(np.array_equal(again[name], theirs[name]) for name in theirs)


@PACKAGES
def test_where_no_mask_shows_the_size_it_is_asked_for_or_said_to_be_assumed(tmp_path, package):
    config = SwinConfig(**TWO, img_size=(16, 64), window_size=4)  # grids 4x16 and 2x8: nothing is shifted
    theirs, model = microsoft(config)
    np.savez(tmp_path / "a.npz", **theirs)
    assert "pass img_size=" in complaint(tmp_path / "a.npz", package.SwinTransformer.from_checkpoint)
    found = package.SwinTransformer.from_checkpoint(tmp_path / "a.npz", img_size=(16, 64))
    images = normal(2, 3, 16, 64)
    assert relative(run(found, images), model(images)) < 1e-12
    np.savez(tmp_path / "b.npz", **model.state_dict())  # no buffers at all
    with pytest.warns(UserWarning, match=r"b\.npz: its images are assumed to be square: img_size=16$") as said:
        assumed = package.SwinTransformer.from_checkpoint(tmp_path / "b.npz")
    assert assumed.config.img_size == 16 and len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = package.SwinTransformer.from_checkpoint(tmp_path / "b.npz", img_size=(16, 64))
    assert told.config.img_size == (16, 64) and relative(run(told, images), model(images)) < 1e-12


WINDOWS = [(7, 7, 14, 7), (14, 14, 14, 7), (2, 3, 4, 5), (7, 3, 3, 3), (4, 4, 2, 2)]


@PACKAGES
@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("to", ["official", "microsoft", "timm", "torchvision", "transformers", "transformers_classic"])
def test_a_window_for_each_stage_in_every_naming(tmp_path, package, windows, to):
    size = 224 if max(windows) == 14 else 120  # in the second, no map is filled by windows
    if (to, size) == ("microsoft", 120):
        pytest.skip("Microsoft's masks need whole windows")
    config = SwinConfig(
        img_size=size if size == 224 else None,
        embed_dim=4,
        depths=(2, 2, 2, 2),
        num_heads=(1, 1, 2, 2),
        window_size=windows,
        num_classes=3,
    )
    model = random_model(config)
    theirs = model.state_dict() if to == "official" else export_state_dict(model.state_dict(), to, config)
    np.savez(tmp_path / "a.npz", **theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a size that is assumed
        found = package.SwinTransformer.from_checkpoint(tmp_path / "a.npz")
    assert_same(arrays(found), arrays(model))
    images = normal(1, 3, size, size)
    assert relative(run(found, images), model(images)) < 1e-12


def test_tables_are_resized_only_if_the_caller_asks(tmp_path):
    config = replace(CONFIG, ape=False, img_size=None, window_size=(3, 5))
    save_checkpoint(tmp_path / "a.npz", state_of(config))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = swin_numpy.SwinTransformer.from_checkpoint(tmp_path / "a.npz")
        assert_same(arrays(same), state_of(config))
        again = swin_numpy.SwinTransformer.from_checkpoint(tmp_path / "a.npz", window_size=(3, 5), img_size=96)
        assert_same(arrays(again), state_of(config))
    model, said = adapted(swin_numpy, tmp_path / "a.npz", window_size=4)
    assert said == "2 bias tables from window 3 to 4; 2 bias tables from window 5 to 4"
    assert model.config.window_size == 4


def test_a_table_of_no_square_window(tmp_path):
    state = state_of(replace(CONFIG, ape=False))
    np.savez(tmp_path / "a.npz", **state | {name: np.zeros((13 * 9, 2), np.float32) for name in TABLES[:2]})
    said = complaint(tmp_path / "a.npz", swin_numpy.SwinTransformer.from_checkpoint)
    assert f"{TABLES[0]}: expected shape ((2M-1)², heads) for a square window of M x M, got (117, 2)" in said


# ---- memory bounded by what a file holds ---------------------------------------------------------------------------


OWN = replace(CONFIG, ape=False)
SECOND = replace(OWN, version=2, img_size=None, window_size=3)


def without(word, state):
    return {name: value for name, value in state.items() if word not in name}


def wide_tables(state):
    return {n: np.zeros((399**2, v.shape[1]), np.float32) if "table" in n else v for n, v in state.items()}


CLAIMS = {  # (arrays, configuration in the metadata)
    "window 200": lambda state: (wide_tables(state), None),
    "V2's window 3000": lambda _: (state_of(SECOND), replace(SECOND, window_size=3000)),
    "channels": lambda state: (without("patch_embed.proj", state), replace(OWN, in_chans=2 * 10**7)),
    "stages": lambda state: (state, '{"depths": [' + "1," * 199_999 + "1]}"),
    "blocks": lambda state: ({"head.bias": state["head.bias"]}, replace(OWN, depths=(2, 10**9))),
    "width": lambda state: ({"norm.bias": state["norm.bias"]}, replace(OWN, embed_dim=10**9)),
    "MLP": lambda state: (state, replace(OWN, mlp_ratio=1e12)),
    "classes": lambda state: (without("head", state), replace(OWN, num_classes=10**12)),
    "image": lambda state: (state, replace(OWN, ape=True, img_size=10**9)),
}


@PACKAGES
@pytest.mark.parametrize("kind", CLAIMS)
def test_a_file_that_asks_for_a_gigantic_model_is_refused_before(tmp_path, package, kind, monkeypatch):
    state, config = CLAIMS[kind](state_of(OWN))
    save_checkpoint(tmp_path / "a.safetensors", state, {"config": config} if config else {})
    monkeypatch.setattr(package.SwinTransformer, "__init__", lambda *_: pytest.fail("it was built"))
    tracemalloc.start()
    try:
        complaint(tmp_path / "a.safetensors", package.SwinTransformer.from_checkpoint)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


# ---- damage --------------------------------------------------------------------------------------------------------

TINY = replace(CONFIG, embed_dim=4, num_heads=(1, 2), ape=False, img_size=16)


def damage(state, rng):
    """`state` with one thing wrong."""
    name = str(rng.choice(list(state)))
    value = state[name]
    return [
        {key: array for key, array in state.items() if key != name},
        state | {name: value.reshape(-1)},
        state | {name: value.reshape(-1, *[1] * (value.ndim - 1))},
        state | {name: value[:-1]},
        state | {name: value[..., :0]},
        state | {name: np.concatenate([value, value])},
        state | {name: value.astype(np.int64)},
        state | {name + "0": value},
        state | {name.replace("blocks.1", "blocks.101").replace("layers.1", "layers.11"): value},
        state | {name: value[None]},
    ][rng.integers(10)]


@PACKAGES
@pytest.mark.parametrize("config", [None, TINY], ids=["inferred", "given"])
def test_damaged_states_are_refused_or_loaded_right(tmp_path, package, config):
    rng = np.random.default_rng(0)
    state, loaded = state_of(TINY), 0
    for _ in range(40):
        damaged = damage(state, rng)
        np.savez(tmp_path / "a.npz", **damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = package.SwinTransformer.from_checkpoint(tmp_path / "a.npz", config)
        except CheckpointError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            continue
        loaded += 1
        found = arrays(model)
        assert sum(v.size for v in found.values()) < 2 * sum(v.size for v in state.values())
        for name in found.keys() & damaged.keys():
            if found[name].shape == damaged[name].shape:
                np.testing.assert_array_equal(found[name], damaged[name])
    assert 0 < loaded < 25


@pytest.mark.parametrize("package", [swin_torch])
def test_damaged_bytes_are_refused_or_loaded(tmp_path, package):
    rng = np.random.default_rng(1)
    path, state = tmp_path / "a.safetensors", state_of(TINY)
    save_checkpoint(path, state, {"config": TINY})
    whole = path.read_bytes()
    for _ in range(100):
        path.write_bytes(damaged_bytes(whole, rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = package.SwinTransformer.from_checkpoint(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
            continue
        assert arrays(model).keys() == state.keys()


def test_a_shape_that_would_ask_for_too_much_memory_is_refused_before(tmp_path, monkeypatch):
    state = state_of(TINY)
    state["patch_embed.proj.weight"] = np.zeros((1_000_000, 1, 1, 1), np.float32)  # a model 1,000,000 channels wide
    np.savez(tmp_path / "a.npz", **state)
    monkeypatch.setattr(swin_numpy.SwinTransformer, "__init__", lambda *_: pytest.fail("it was built"))
    with pytest.raises(CheckpointError, match="mis-shaped"):
        swin_numpy.SwinTransformer.from_checkpoint(tmp_path / "a.npz")


# ---- load_state_dict: whole or not at all --------------------------------------------------------------------------


def hopeless(last):
    """What can't be loaded, put where the last parameter is."""
    return {
        "missing": None,
        "of another shape": np.zeros((2, 2), np.float32),
        "integers": np.zeros(last.shape, np.int64),
        "a list": [0.0] * 5,
        "without data": torch.empty(last.shape, device="meta"),
        "sparse": torch.zeros(last.shape).to_sparse(),
        "too precise": np.zeros(last.shape, np.longdouble),
    }


@PACKAGES
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("case", list(hopeless(np.zeros(5))))
def test_nothing_is_changed_by_what_cannot_be_loaded(package, case, strict):
    model = package.SwinTransformer(CONFIG)
    before, state = arrays(model), state_of(CONFIG)
    last = list(state)[-1]
    state[last] = hopeless(state[last])[case]
    if case == "missing":
        del state[last]
        if not strict:
            return
    with pytest.raises(CheckpointError) as caught:
        model.load_state_dict(state, strict=strict)
    assert last in str(caught.value) and "\n" not in str(caught.value)
    assert_same(arrays(model), before)


@PACKAGES
def test_both_twins_say_the_same(package):
    messages = []
    for swin in (swin_numpy, swin_torch):
        with pytest.raises(CheckpointError) as caught:
            swin.SwinTransformer(CONFIG).load_state_dict(state_of(replace(CONFIG, window_size=2)))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "window_size=2 (the model has 3)" in messages[0]


@PACKAGES
@pytest.mark.parametrize(
    "kind",
    {
        "arrays": lambda value: value,
        "other byte order": lambda value: value.astype(">f8"),
        "backwards in memory": lambda value: np.ascontiguousarray(value[::-1])[::-1],
        "read-only": lambda value: np.lib.stride_tricks.as_strided(value, writeable=False),
        "tensors": torch.from_numpy,
        "parameters": lambda value: torch.nn.Parameter(torch.from_numpy(value)),
        "doubles": lambda value: torch.from_numpy(value).double(),
    }.items(),
    ids=lambda kind: kind[0],
)
def test_arrays_and_tensors_of_all_kinds_are_loaded(package, kind):
    state = state_of(CONFIG)
    model = package.SwinTransformer(CONFIG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        missing, unexpected = model.load_state_dict({name: kind[1](value) for name, value in state.items()})
    assert missing == unexpected == []
    assert_same(arrays(model), state)


@PACKAGES
def test_bfloat16_is_loaded(package):
    state = {name: torch.from_numpy(value).bfloat16() for name, value in state_of(CONFIG).items()}
    model = package.SwinTransformer(CONFIG)
    model.load_state_dict(state)
    assert_same(arrays(model), {name: value.float().numpy() for name, value in state.items()})


@PACKAGES
def test_not_strict_says_what_was_left(package):
    state = state_of(CONFIG)
    weight = state.pop("head.weight")
    model = package.SwinTransformer(CONFIG)
    before = arrays(model)
    missing, unexpected = model.load_state_dict(state | {"fc.weight": weight}, strict=False)
    assert (missing, unexpected) == (["head.weight"], ["fc.weight"])
    assert_same(arrays(model), state | {"head.weight": before["head.weight"]})


@PACKAGES
def test_nan_and_infinity_are_named(package):
    state = state_of(CONFIG)
    state["head.bias"][1:3] = np.nan
    state["norm.weight"] = state["norm.weight"].astype(np.float64)
    state["norm.weight"][0] = 1e300  # too large for float32
    model = package.SwinTransformer(CONFIG)
    with pytest.warns(UserWarning) as said:
        model.load_state_dict(state)
    texts = {str(warning.message) for warning in said}
    assert texts == {"norm.weight holds 1 NaN or infinite values", "head.bias holds 2 NaN or infinite values"}
    assert np.isnan(arrays(model)["head.bias"]).sum() == 2


@pytest.mark.parametrize(
    "read", [load_checkpoint, load_with_config, *(p.SwinTransformer.from_checkpoint for p in (swin_numpy, swin_torch))]
)
def test_nan_in_a_file_is_said_once_whoever_reads_it(tmp_path, read):
    state = state_of(CONFIG)
    state["head.bias"][1:3] = np.nan
    path = tmp_path / "nan.npz"
    save_checkpoint(path, state)
    fields = {} if read is load_checkpoint else {"img_size": CONFIG.img_size}
    with pytest.warns(UserWarning) as said:
        read(path, **fields)
    texts = [str(warning.message) for warning in said if "NaN" in str(warning.message)]
    assert len(texts) == 1 and texts[0].endswith("head.bias holds 2 NaN or infinite values")


def test_pytorch_s_own_ways_still_work():
    state = {name: torch.from_numpy(value) for name, value in state_of(CONFIG).items()}
    model = swin_torch.SwinTransformer(CONFIG)
    assert repr(model.load_state_dict(state)) == "<All keys matched successfully>"
    with torch.device("meta"), patch("swin_torch.model.init_weights"):
        empty = swin_torch.SwinTransformer(CONFIG)
    empty.load_state_dict(state, assign=True)
    assert_same(arrays(empty), state_of(CONFIG))
    assert empty.norm.weight.requires_grad
