"""Checkpoint files: read, written, refused."""

import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from swin_numpy.weights.check import CheckpointError, check_state
from swin_numpy.weights.files import read_file, save_checkpoint
from swin_numpy.weights.load import load_checkpoint
from swin_numpy.weights.names import convert_state_dict
from tests.peer_names import NAMINGS, official_shapes, peer_shapes, random_state

ROOT = Path(__file__).parent.parent
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
    assert_same(load_checkpoint(tmp_path / "a.pth"), convert_state_dict(theirs))


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
        (b"hello, world, this is a text", "not a checkpoint"),
        (b"PK\x03\x04 but no zip", "not a checkpoint"),
        (b"\x80\x04 but no pickle", "not a checkpoint"),
        ((9).to_bytes(8, "little") + b'{"a": [1]', "not a checkpoint"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (3,)}", "not a checkpoint"),
        (pickle.dumps({"head.bias": [1.0, 2.0]}), "not a checkpoint"),
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
        "import sys; from swin_numpy.weights.load import load_checkpoint\n"
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


def test_metadata_of_an_npz_that_is_no_dict(tmp_path, state):
    np.savez(tmp_path / "a.npz", __metadata__=np.array("[1]"), **state)
    complaint(tmp_path / "a.npz")


def test_an_npz_of_numpy_s_own_has_no_metadata(tmp_path, state):
    np.savez_compressed(tmp_path / "a.npz", **state)
    assert_same(load_checkpoint(tmp_path / "a.npz"), state)
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert len(file.namelist()) == len(state)


# ---- every type that .safetensors has -----------------------------------------------------------------------------

TYPES = [
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "bfloat16"),
    *("float32", "float64", "complex64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"),
]


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_safetensors_is_read_number_by_number(tmp_path, name):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    dtype = getattr(torch, name)
    codes = torch.arange(256, dtype=torch.uint8)
    if dtype.itemsize > 1:
        codes = torch.from_numpy(np.random.default_rng(0).integers(256, size=256 * dtype.itemsize, dtype=np.uint8))
    value = (codes % 2).bool() if name == "bool" else codes.view(dtype)
    before, after = torch.arange(3, dtype=torch.int64), torch.tensor(2.5, dtype=torch.float64)  # so that places matter
    state = {"a": before, "b": value.reshape(2, -1), "c": after, "d": value[:0]}
    safetensors.save_file(state, tmp_path / "a.safetensors")
    found, _ = read_file(tmp_path / "a.safetensors")
    narrow = name.startswith(("bfloat16", "float8"))
    expected = (value.float() if narrow else value).numpy().reshape(2, -1)
    np.testing.assert_array_equal(found["b"], expected)
    assert found["b"].dtype == expected.dtype and found["d"].shape == (0,)
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert found["c"].shape == () and found["c"] == 2.5


@pytest.mark.parametrize("kind", ["F4", "F6_E2M3"])
def test_types_of_part_of_a_byte_are_refused(tmp_path, kind):
    bits = int(kind[1])
    header = json.dumps({"a": {"dtype": kind, "shape": [8], "data_offsets": [0, bits]}}).encode()
    header += b" " * (-len(header) % 8)
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(bits))
    assert f"a: {kind} is not a type of whole bytes" in complaint(tmp_path / "a.safetensors", read_file)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_half_precision_weights_beside_an_index_of_integers(tmp_path, suffix):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    theirs = {
        name: torch.from_numpy(value).bfloat16() if value.dtype.kind == "f" else torch.from_numpy(value)
        for name, value in random_state(peer_shapes(1, "microsoft"), np.float32).items()
    }
    theirs["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    write = safetensors.save_file if suffix == ".safetensors" else torch.save
    write(theirs, tmp_path / f"a{suffix}")
    found = load_checkpoint(tmp_path / f"a{suffix}")
    assert found.keys() == official_shapes(1).keys()
    assert_same(found, {name: theirs[name].float().numpy() for name in found})


# ---- folders and shards -------------------------------------------------------------------------------------------


def shards_of(folder, state, count=3, suffix=".safetensors"):
    """The state in `count` files and the index that lists them."""
    names, index = sorted(state), {}
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    for i in range(count):
        file = f"{stem}-{i + 1:05}-of-{count:05}{suffix}"
        part = {name: state[name] for name in names[i::count]}
        write = save_file if suffix == ".safetensors" else torch_save
        write(part, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"metadata": {"total_size": 9}, "weight_map": index}))
    return folder / f"{stem}{suffix}.index.json", index


def torch_save(state, path):
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(value.copy()) for name, value in state.items()}, path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "anything.npz", "model.pth"])
def test_a_folder_with_a_file(tmp_path, state, name):
    if name.endswith("npz"):
        np.savez(tmp_path / name, **state)
    else:
        (save_file if "safe" in name else torch_save)(state, tmp_path / name)
    (tmp_path / "README.md").write_text("hello")
    assert_same(load_checkpoint(tmp_path), state)
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert read_file(tmp_path)[1]["config.json"] == '{"a": 1}'
    assert "config.json" not in read_file(tmp_path / name)[1]


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("count", [2, 3])
def test_shards_are_put_together(tmp_path, state, suffix, count):
    index, _ = shards_of(tmp_path, state, count, suffix)
    assert_same(load_checkpoint(index), state)
    assert_same(load_checkpoint(tmp_path), state)


def test_the_whole_file_comes_before_shards_and_others(tmp_path, state):
    shards_of(tmp_path, {"head.bias": np.zeros(3, np.float32)})
    torch_save({"head.bias": np.zeros(3, np.float32)}, tmp_path / "pytorch_model.bin")
    save_file(state, tmp_path / "model.safetensors")
    assert_same(load_checkpoint(tmp_path), state)


def test_a_shard_alone_is_refused(tmp_path, state):
    _, index = shards_of(tmp_path, state, 3)
    said = complaint(tmp_path / next(iter(index.values())))
    assert "one shard of 3: pass its folder, or the .index.json beside it" in said
    save_file(state, tmp_path / "model-00001-of-00001.safetensors")
    assert_same(load_checkpoint(tmp_path / "model-00001-of-00001.safetensors"), state)


def test_indices_that_are_wrong(tmp_path, state):
    path, index = shards_of(tmp_path, state, 3)
    second = "model-00002-of-00003.safetensors"
    whole = (tmp_path / second).read_bytes()
    (tmp_path / second).write_bytes(whole[:200])
    assert f"{second}: a damaged file" in complaint(path)
    (tmp_path / second).unlink()
    assert f"the shard '{second}' is not beside it" in complaint(path)
    (tmp_path / second).write_bytes(whole)
    path.write_text(json.dumps({"weight_map": index | {"norm9.bias": second, "norm8.bias": second}}))
    assert "its shards lack 2 names that it lists, such as 'norm8.bias'" in complaint(path)
    save_file(state, tmp_path.parent / "elsewhere.safetensors")
    path.write_text(json.dumps({"weight_map": dict.fromkeys(state, "../elsewhere.safetensors")}))
    assert "is not beside it" in complaint(path)
    for text in ("[1]}", '{"a": 3}}', '{"a": "b"', "{}}", "[" * 10**5):
        path.write_text('{"weight_map": ' + text)
        complaint(path)


def test_folders_and_files_without_weights(tmp_path, state):
    assert "a folder without a checkpoint; expected model.safetensors" in complaint(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    assert "a folder without a checkpoint" in complaint(tmp_path)
    assert "settings, without weights: pass the folder that holds both" in complaint(tmp_path / "config.json")
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, **state)
    assert "a folder of 2 checkpoints (a.npz, b.npz" in complaint(tmp_path)


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    assert "not a regular file" in complaint(tmp_path / "a.safetensors")
    assert "not a regular file" in complaint(Path("/dev/zero"))
    assert "a folder without a checkpoint" in complaint(tmp_path)
    (tmp_path / "link.npz").symlink_to(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "link.npz")


@pytest.mark.parametrize("name", ["a\nb\x1b[2J.npz", "n" * 250 + ".npz", "ünïcode.npz"])
def test_the_file_s_name_is_in_the_message_and_cannot_do_harm(tmp_path, name):
    (tmp_path / name).write_bytes(b"x" * 50)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / name)
    end = name[-20:].replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert str(caught.value).isprintable() and end in str(caught.value)


def test_a_message_is_never_long(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"{i}" + "x" * 5_000: np.zeros(2) for i in range(50)})
    assert len(complaint(tmp_path / "a.npz")) < 2000
    error = CheckpointError("start " + "x" * 10_000 + " end")
    assert len(str(error)) < 2000 and str(error).startswith("start") and str(error).endswith("end")


# ---- memory bounded by what a file holds --------------------------------------------------------------------------


def bomb(path, kind):
    """A small file that claims to hold a lot."""
    torch = pytest.importorskip("torch")
    if kind == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, **{"patch_embed.proj.weight": np.zeros(70_000_000, "f4")})
    elif kind == "header":
        with zipfile.ZipFile(path, "w") as file:
            start = io.BytesIO()
            np.lib.format.write_array_header_1_0(start, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
            file.writestr("a.npy", start.getvalue() + b"x" * 100)
    elif kind == "expanded":
        torch.save({"layers.0.blocks.0.norm1.weight": torch.zeros(1).expand(10**12)}, path)
    elif kind == "expanded in lists":
        torch.save({"model": {"a": [(torch.zeros(1).expand(10**12),)]}, "state_dict": {}}, path)
    elif kind == "expanded many times":
        torch.save({f"a{i}": torch.zeros(1, dtype=torch.bfloat16).expand(10**8) for i in range(100)}, path)
    elif kind == "deflated":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("archive/data.pkl", pickle.dumps({}))
            file.writestr("archive/data/0", bytes(280_000_000))


@pytest.mark.parametrize("kind", ["npz", "header", "expanded", "expanded in lists", "expanded many times", "deflated"])
def test_files_that_claim_more_than_they_hold(tmp_path, kind):
    bomb(tmp_path / "a.pth", kind)
    tracemalloc.start()
    try:
        assert "claim" in complaint(tmp_path / "a.pth")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_weights_of_zeros_still_compress(tmp_path, state):
    zeros = {name: np.zeros((1000, *value.shape), np.float32) for name, value in state.items() if name == "norm.bias"}
    np.savez_compressed(tmp_path / "a.npz", **zeros)
    assert_same(read_file(tmp_path / "a.npz")[0], zeros)


def test_a_tensor_that_is_shared_counts_as_often_as_it_is_there(tmp_path):
    torch = pytest.importorskip("torch")
    one = torch.randn(10, 48)
    torch.save({"head.weight": one, "copy": one}, tmp_path / "a.pth")
    assert set(read_file(tmp_path / "a.pth")[0]) == {"head.weight", "copy"}


# ---- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_check_may_refuse_what_was_written(tmp_path, state, suffix):
    path, seen = tmp_path / f"a{suffix}", []
    save_checkpoint(path, state, check=lambda written: seen.append(read_file(written)[0]))
    assert_same(seen[0], state)
    with pytest.raises(CheckpointError, match="no"):
        save_checkpoint(path, {"head.bias": np.zeros(3)}, check=refuse)
    assert_same(load_checkpoint(path), state)
    assert os.listdir(tmp_path) == [path.name]


def refuse(_):
    raise CheckpointError("no")
