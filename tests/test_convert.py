"""python -m swin_torch.convert"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from swin_numpy.weights.files import save_checkpoint  # noqa: E402
from swin_numpy.weights.load import load_checkpoint, load_with_config  # noqa: E402
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


@pytest.mark.parametrize(
    ("source_name", "target", "more"),
    [
        ("source.npz", "a.txt", []),
        ("nothing.npz", "a.npz", []),
        ("text.pth", "a.npz", []),
        ("source.npz", "no/such/folder/a.npz", []),
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
