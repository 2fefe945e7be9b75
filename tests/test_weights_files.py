"""Checkpoint files and the configurations they were made for."""

import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from swin_numpy.config import CONFIGS, SwinConfig
from swin_numpy.weights import files as checkpoint
from swin_numpy.weights.check import CheckpointError, check_state
from swin_numpy.weights.files import load_checkpoint, load_with_config, save_checkpoint
from swin_numpy.weights.infer import infer_config
from swin_numpy.weights.names import export_state_dict
from tests.peer_names import NAMINGS, official_shapes, peer_shapes, random_state

ROOT = Path(__file__).parent.parent
SMALL = dict(embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10, pretrained_window_sizes=(0, 0))
SUFFIXES = [".safetensors", ".npz"]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == value.dtype


def complaint(path, call=load_checkpoint):
    with pytest.raises(CheckpointError) as caught:
        call(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.fixture(scope="module")
def state():
    return random_state(official_shapes(1), np.float32)


# ---- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_saved_is_loaded(tmp_path, version, suffix, dtype):
    state = random_state(official_shapes(version), dtype)
    save_checkpoint(tmp_path / f"a{suffix}", state)
    assert_same(load_checkpoint(tmp_path / f"a{suffix}"), state)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_content_decides_not_the_suffix(tmp_path, state, suffix):
    save_checkpoint(tmp_path / f"a{suffix}", state)
    for name in ("a", "a.bin", "a.npz", "a.safetensors", "a.pth"):
        os.replace(next(tmp_path.iterdir()), tmp_path / name)
        assert_same(load_checkpoint(str(tmp_path / name)), state)


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("wrapper", [None, "model"])
@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_torch_save(tmp_path, naming, wrapper, legacy):
    torch = pytest.importorskip("torch")
    theirs = random_state(peer_shapes(1, naming), np.float32)
    tensors = {name: torch.from_numpy(value) for name, value in theirs.items()}
    saved = {wrapper: tensors, "epoch": 3, "lr": 0.1, "args": {"batch": [1, 2]}} if wrapper else tensors
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert_same(load_checkpoint(tmp_path / "a.pth"), checkpoint.convert_state_dict(theirs))


def test_bfloat16_in_safetensors(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {"head.weight": torch.randn(10, 48).bfloat16(), "head.bias": torch.randn(10).half()}
    tensors["norm.weight"] = torch.randn(48).double()
    safetensors.save_file(tensors, tmp_path / "a.safetensors")
    found = load_checkpoint(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["head.weight"], tensors["head.weight"].float().numpy())
    np.testing.assert_array_equal(found["head.bias"], tensors["head.bias"].numpy())
    np.testing.assert_array_equal(found["norm.weight"], tensors["norm.weight"].numpy())
    found["head.bias"][0] = 1  # not read-only


def test_tensors_and_arrays_with_strides_are_saved(tmp_path):
    torch = pytest.importorskip("torch")
    tensor = torch.randn(48, 10).T
    save_checkpoint(tmp_path / "a.safetensors", {"head.weight": tensor, "norm.weight": np.arange(6.0)[::-2]})
    found = load_checkpoint(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["head.weight"], tensor.numpy())
    np.testing.assert_array_equal(found["norm.weight"], [5, 3, 1])


def test_nan_and_infinity_are_named(tmp_path, state):
    broken = {name: value.copy() for name, value in state.items()}
    broken["head.bias"][2:4] = np.nan
    broken["norm.weight"][0] = -np.inf
    save_checkpoint(tmp_path / "a.npz", broken)
    with pytest.warns(UserWarning, match="holds") as warned:
        load_checkpoint(tmp_path / "a.npz")
    said = " ".join(str(warning.message) for warning in warned)
    assert "head.bias holds 2 NaN" in said and "norm.weight holds 1 NaN" in said and len(warned) == 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_write_that_fails_leaves_the_old_file(tmp_path, state, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    save_checkpoint(path, state)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"norm.bias": np.zeros(3, np.float32)})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert_same(load_checkpoint(path), state)


def test_what_cannot_be_saved(tmp_path, state):
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz"):
        save_checkpoint(tmp_path / "a.pth", state)
    with pytest.raises(CheckpointError, match=r"head\.bias: expected floating-point numbers"):
        save_checkpoint(tmp_path / "a.npz", state | {"head.bias": [1, 2]})
    with pytest.raises(TypeError, match="expected a str or a SwinConfig"):
        save_checkpoint(tmp_path / "a.npz", state, {"epoch": 3})
    assert not list(tmp_path.iterdir())


# ---- files that are none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"hello, world, this is a text", "no checkpoint"),
        (b"PK\x03\x04 but no zip", "no checkpoint"),
        (b"\x80\x04 but no pickle", "no checkpoint"),
        ((9).to_bytes(8, "little") + b'{"a": [1]', "no checkpoint"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (3,)}", "no checkpoint"),
        (pickle.dumps({"head.bias": [1.0, 2.0]}), "no checkpoint"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, content, said):
    pytest.importorskip("torch")
    for suffix in (".pth", ".npz", ".safetensors", ""):
        (tmp_path / f"a{suffix}").write_bytes(content)
        assert said in complaint(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("content", "said"),
    [([1, 2], "expected a dict"), ({"head.bias": [1.0]}, "head.bias: expected floating-point numbers, got list")],
)
def test_torch_files_that_hold_something_else(tmp_path, content, said):
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "a.pth")
    assert said in complaint(tmp_path / "a.pth")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "a.npz")


class Hostile:
    """Pickled, it runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


def hostile_files(folder, marker, state):
    """Pickles that would touch `marker`: bare, as torch.save writes them, and in an .npz."""
    torch = pytest.importorskip("torch")
    content = {"model": {"head.bias": torch.zeros(10), "norm.bias": Hostile(marker)}}
    (folder / "bare.pth").write_bytes(pickle.dumps(content))
    torch.save(content, folder / "zip.pth")
    torch.save(content, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(folder / "objects.npz", **state, evil=np.array([Hostile(marker)], dtype=object))
    return sorted(folder.iterdir())


def test_hostile_pickles_are_refused_and_not_run(tmp_path, state):
    marker = tmp_path / "marker"
    (tmp_path / "files").mkdir()
    files = hostile_files(tmp_path / "files", marker, state)
    assert len(files) == 4
    for path in files:
        complaint(path)
        assert not marker.exists()
    pickle.loads((tmp_path / "files" / "bare.pth").read_bytes())
    assert marker.exists()  # the trap works


def test_python_objects_beside_the_weights_are_explained(tmp_path, state):
    torch = pytest.importorskip("torch")
    torch.save({"model": {}, "config": Path("a")}, tmp_path / "a.pth")
    assert "save its weights alone" in complaint(tmp_path / "a.pth")


def test_without_pytorch_the_way_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # import torch now raises ImportError
    (tmp_path / "a.pth").write_bytes(pickle.dumps({}))
    assert "python -m swin_torch.convert" in complaint(tmp_path / "a.pth")


def test_reading_without_pickles_never_imports_torch(tmp_path, state):
    for suffix in SUFFIXES:
        save_checkpoint(tmp_path / f"a{suffix}", state)
    code = (
        "import sys; from swin_numpy.weights.files import load_checkpoint\n"
        "for path in sys.argv[1:]: load_checkpoint(path)\n"
        "assert 'torch' not in sys.modules"
    )
    files = [str(path) for path in tmp_path.iterdir()]
    subprocess.run([sys.executable, "-c", code, *files], check=True, cwd=ROOT)


# ---- 1,000 damaged files ----------------------------------------------------------------------------------------

TINY = {
    "layers.0.blocks.0.attn.relative_position_bias_table": (9, 1),
    "layers.0.blocks.0.attn.qkv.weight": (6, 2),
    "layers.0.blocks.0.norm1.bias": (2,),
    "head.weight": (3, 2),
}


def written(path, state, kind):
    """Bytes of `state` in a file of that kind."""
    if kind in SUFFIXES:
        save_file(state, path) if kind == ".safetensors" else np.savez(path.open("wb"), **state)
    else:
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(value.copy()) for name, value in state.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == ".pth")
    return path.read_bytes()


def damaged_state(state, rng):
    """A state with one thing wrong, or none."""
    name = str(rng.choice(list(state)))
    value = state[name]
    return [
        {key: array for key, array in state.items() if key != name},
        state | {name: value.reshape(-1)},
        state | {name: value[:-1]},
        state | {name: value.astype(rng.choice([np.float16, np.float64, np.int64, np.uint8, np.bool_]))},
        state | {name + ".extra": value},
        state | {"epoch": np.array(3)},
        state | {name: np.full_like(value, np.nan)},
        {key.replace("layers", "layer"): array for key, array in state.items()},
        state,
    ][rng.integers(9)]


def damaged_bytes(content, rng):
    content = bytearray(content)
    how = rng.integers(5)
    if how == 0:
        return bytes(content[: rng.integers(len(content))])
    if how == 1:
        start = rng.integers(len(content))
        return bytes(content[:start] + content[start + rng.integers(1, 50) :])
    if how == 2:
        return bytes(content) + rng.bytes(rng.integers(1, 50))
    if how == 3:  # many flips where headers are
        for place in rng.integers(min(len(content), 400), size=4):
            content[place] ^= 1 << rng.integers(8)
        return bytes(content)
    content[rng.integers(len(content))] = rng.integers(256)
    return bytes(content)


@pytest.mark.parametrize("kind", [*SUFFIXES, ".pth", "legacy.pth"])
def test_damaged_files_are_refused_or_loaded_right(tmp_path, kind):
    """A CheckpointError, or floating-point arrays that fit; never anything else."""
    rng = np.random.default_rng(list(kind.encode()))
    path = tmp_path / f"a{kind}"
    state = random_state(TINY, np.float32)
    contents = [written(path, damaged_state(state, rng), kind) for _ in range(25)]
    whole = written(path, state, kind)
    contents += [damaged_bytes(whole, rng) for _ in range(225)]
    loaded = 0
    for content in contents:
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = load_checkpoint(path)
            check_state(found, TINY)
        except CheckpointError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            continue
        loaded += 1
        assert {name: value.shape for name, value in found.items()} == TINY
        assert all(value.dtype in (np.float16, np.float32, np.float64) for value in found.values())
        if kind == ".npz" and content not in contents[:25]:  # the one kind that sums up what it holds
            assert_same(found, state)
    assert 0 < loaded < 240  # both ways were gone
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing was run that wrote


# ---- configurations ---------------------------------------------------------------------------------------------


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
        window = min(config.window_size, *(config.grids[stage] or [config.window_size]))
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
    with pytest.raises(CheckpointError, match=r"don't tell its \w+: pass \w+="):
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


@pytest.mark.parametrize("naming", ["microsoft", "torchvision"])
@pytest.mark.parametrize("pretrained", [(0, 0), (12, 6), (5, 7)])
def test_derived_buffers_tell_version_2_s_windows(tmp_path, naming, pretrained):
    config = replace(V2, pretrained_window_sizes=pretrained, window_size=8, img_size=64)
    theirs = export_state_dict(random_state(official_shapes(2), np.float32), naming, config)
    save_file(theirs, tmp_path / "a.safetensors")
    known = {"img_size": 64} if naming == "torchvision" else {}  # has no masks
    state, found = load_with_config(tmp_path / "a.safetensors", **known)
    assert found == config
    assert_same(state, load_checkpoint(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("table", [np.zeros(0), np.full((1, 15, 15, 2), np.nan), np.array(["a"]), np.zeros(3, int)])
def test_derived_buffers_that_make_no_sense_tell_nothing(tmp_path, table):
    theirs = export_state_dict(random_state(official_shapes(2), np.float32), "microsoft", V2)
    theirs["layers.0.blocks.0.attn.relative_coords_table"] = table
    np.savez(tmp_path / "a.npz", **theirs)
    assert load_with_config(tmp_path / "a.npz")[1] == V2
    theirs["layers.0.blocks.0.attn.relative_position_index"] = np.zeros((0, 3))
    np.savez(tmp_path / "a.npz", **theirs)
    assert "pass window_size=" in complaint(tmp_path / "a.npz", load_with_config)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("version", [1, 2])
def test_the_configuration_travels_with_the_file(tmp_path, suffix, version):
    config = SwinConfig(**SMALL, version=version, img_size=(56, 112), drop_path_rate=0.3)
    path = tmp_path / f"a{suffix}"
    state = random_state(official_shapes(version), np.float32)
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
def test_metadata_that_is_none(tmp_path, state, suffix, text, said):
    save_checkpoint(tmp_path / f"a{suffix}", state, {"config": text})
    assert said in complaint(tmp_path / f"a{suffix}", load_with_config)
    assert_same(load_checkpoint(tmp_path / f"a{suffix}"), state)


def test_metadata_of_an_npz_that_is_no_dict(tmp_path, state):
    np.savez(tmp_path / "a.npz", __metadata__=np.array("[1]"), **state)
    complaint(tmp_path / "a.npz")


def test_an_npz_of_numpy_s_own_has_no_metadata(tmp_path, state):
    np.savez_compressed(tmp_path / "a.npz", **state)
    assert_same(load_checkpoint(tmp_path / "a.npz"), state)
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert len(file.namelist()) == len(state)
