"""python -m swin_torch.convert"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from swin_numpy import SwinConfig, shift_mask  # noqa: E402
from swin_numpy.weights.files import read_file, save_checkpoint  # noqa: E402
from swin_numpy.weights.load import load_checkpoint, load_with_config  # noqa: E402
from swin_numpy.weights.shapes import model_shapes  # noqa: E402
from swin_torch import convert  # noqa: E402
from swin_torch.convert import NAMINGS, main  # noqa: E402
from tests.peer_names import official_shapes, peer_shapes, random_state  # noqa: E402


@pytest.fixture
def source(tmp_path):
    save_checkpoint(tmp_path / "source.npz", random_state(official_shapes(1), np.float32))
    return tmp_path / "source.npz"


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("to", NAMINGS)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".pt"])
def test_there_and_back(source, tmp_path, capsys, to, suffix):
    assert run(source, tmp_path / f"a{suffix}", "--to", to, "--img-size", 56) == 0
    assert run(tmp_path / f"a{suffix}", tmp_path / "b.safetensors") == 0
    assert f"b.safetensors: {len(official_shapes(1))} parameters" in capsys.readouterr().out
    found, expected = load_checkpoint(tmp_path / "b.safetensors"), load_checkpoint(source)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(("to", "wrapper"), [("microsoft", "model"), ("torchvision", None)])
def test_pickles_are_what_the_library_loads(source, tmp_path, to, wrapper):
    assert run(source, tmp_path / "a.pth", "--to", to, "--img-size", 56) == 0
    saved = torch.load(tmp_path / "a.pth", weights_only=True)
    saved = saved[wrapper] if wrapper else saved
    assert {name: tuple(value.shape) for name, value in saved.items()} == peer_shapes(1, to)


def test_what_is_known_is_kept_with_the_file(source, tmp_path):
    assert run(source, tmp_path / "a.safetensors", "--img-size", 56) == 0
    _, config = load_with_config(tmp_path / "a.safetensors")
    assert config.img_size == 56 and config.depths == (2, 2)


def test_version_2_needs_its_window_only_for_derived_buffers(tmp_path, capsys):
    save_checkpoint(tmp_path / "v2.npz", random_state(official_shapes(2), np.float32))
    assert run(tmp_path / "v2.npz", tmp_path / "a.safetensors", "--to", "timm") == 0
    assert run(tmp_path / "v2.npz", tmp_path / "a.safetensors") == 0
    assert run(tmp_path / "v2.npz", tmp_path / "a.pth", "--to", "torchvision") == 2
    assert "window_size" in capsys.readouterr().err
    sizes = ("--window-size", 7, "--img-size", 56)
    assert run(tmp_path / "v2.npz", tmp_path / "a.pth", "--to", "torchvision", *sizes) == 0


RECTANGLE = SwinConfig(img_size=(64, 256), embed_dim=6, depths=(2, 2), num_heads=(1, 2), num_classes=3, window_size=4)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_images_that_are_not_square(tmp_path, suffix):
    """The file's masks are those of 64x256, and so is what a reader finds out from them; a square one has as many."""
    save_checkpoint(tmp_path / "ours.npz", random_state(model_shapes(RECTANGLE), np.float32))
    there, back = tmp_path / f"there{suffix}", tmp_path / f"back{suffix}"
    assert run(tmp_path / "ours.npz", there, "--to", "microsoft", "--img-size", "64,256") == 0
    written = read_file(there)[0]
    for stage, grid in enumerate(RECTANGLE.grids):
        mask = (written.get("model") or written)[f"layers.{stage}.blocks.1.attn_mask"]
        np.testing.assert_array_equal(mask, shift_mask(*grid, 4, 2))
    assert load_with_config(there)[1].img_size == (64, 256)
    assert run(there, back) == 0
    state, expected = load_checkpoint(back), load_checkpoint(tmp_path / "ours.npz")
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)
    if suffix != ".pth":  # which holds nothing but weights
        assert load_with_config(back)[1].img_size == (64, 256)
    assert run(there, back, "--img-size", 128) == 2  # as many pixels, and not the file's


@pytest.mark.parametrize("to", NAMINGS)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_another_window_than_the_file_s_is_refused(source, tmp_path, capsys, suffix, to):
    """Its tables are for windows of 7: a file that says 12 of them could not be read."""
    target = tmp_path / f"a{suffix}"
    target.write_text("what was there")
    assert run(source, target, "--to", to, "--window-size", 12, "--img-size", 96) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "source.npz: " in said and "window_size=7 (the model has 12)" in said
    assert target.read_text() == "what was there"


DAMAGES = {
    "a number": lambda state: state | {"norm.bias": state["norm.bias"] + 1},
    "a name": lambda state: {name: value for name, value in state.items() if name != "norm.bias"},
    "a name too many": lambda state: state | {"norm5.bias": state["norm.bias"]},
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_what_would_not_be_read_back_is_not_written(source, tmp_path, capsys, monkeypatch, suffix, damage):
    right = convert.export_state_dict
    monkeypatch.setattr(convert, "export_state_dict", lambda *arguments: DAMAGES[damage](right(*arguments)))
    target = tmp_path / f"a{suffix}"
    target.write_text("what was there")
    assert run(source, target, "--to", "timm") == 2
    assert f"timm names in {suffix} would not give these weights back" in capsys.readouterr().err
    assert target.read_text() == "what was there"
    assert {file.name for file in tmp_path.iterdir()} == {"source.npz", target.name}


@pytest.mark.parametrize(
    ("source_name", "target", "more"),
    [
        ("source.npz", "a.txt", []),
        ("nothing.npz", "a.npz", []),
        ("text.pth", "a.npz", []),
        ("source.npz", "no/such/folder/a.npz", []),
        ("source.npz", "no/such/folder/a.pth", []),
        ("source.npz", "no/such/folder/a.safetensors", []),
        ("source.npz", "a.pth", ["--to", "microsoft"]),
    ],
)
def test_errors_are_one_line_and_exit_2(source, tmp_path, capsys, source_name, target, more):
    (tmp_path / "text.pth").write_text("hello, hello, hello")
    assert run(tmp_path / source_name, tmp_path / target, *more) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("python -m swin_torch.convert: ") and err.count("\n") == 1
    assert not (tmp_path / target).exists()


def test_from_the_shell(source, tmp_path):
    def shell(*arguments):
        command = [sys.executable, "-m", "swin_torch.convert", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)

    help_text = shell("--help")
    assert help_text.returncode == 0 and "examples:" in help_text.stdout
    assert shell(source, tmp_path / "a.txt").returncode == 2
