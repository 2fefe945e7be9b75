"""`python -m swin_numpy`, `python -m swin_torch.compare`, `make tour`: what they print, and one line for bad input."""

import json
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import swin_numpy.__main__ as numpy_command
from figures import photo_path
from swin_numpy import SwinTransformer
from swin_numpy.config import CONFIGS
from swin_torch import SwinTransformer as SwinTransformerTorch
from swin_torch import compare, tour

SMALL = replace(
    CONFIGS["swin_tiny_patch4_window7_224"], img_size=56, embed_dim=8, num_heads=(1, 2, 4, 8), depths=(2, 2, 2, 2)
)


@pytest.fixture
def small(monkeypatch):
    """A preset that takes no time."""
    monkeypatch.setitem(CONFIGS, "small", SMALL)
    return "small"


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 75, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def bomb(path):
    """A PNG of 60,000 x 60,000 pixels, or so its header says."""
    Image.new("L", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


def test_numpy_command_shows_every_step(small, picture, capsys):
    assert numpy_command.main([str(picture), "--model", small]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    for name in ("patch_embed", "layers.0.blocks.1", "layers.2.downsample", "norm", "mean", "head"):
        assert name in names
    assert any("SW-MSA block, shift 3" in line for line in lines)
    assert "random" in lines[-1]


def test_numpy_command_at_the_picture_s_own_size(small, picture, capsys):
    assert numpy_command.main([str(picture), "--model", small, "--full", "--details"]) == 0
    out = capsys.readouterr().out
    assert "(1, 3, 60, 75)" in out
    assert "1x285x8" in out  # 15 x 19 patches: 75 pixels are 18.75 patches, and nothing is cut off
    assert "layers.0.blocks.0.attn.qkv" in out


def test_numpy_command_without_pytorch(picture):
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] == 'torch':\n"
        "            raise ImportError('torch is not installed')\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from swin_numpy.__main__ import main\n"
        f"sys.exit(main([{str(picture)!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "1x49x768" in result.stdout


@pytest.mark.parametrize("command", [numpy_command.main, compare.main])
@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "bomb", "folder", "model", "weights"])
def test_bad_input_gets_one_line_and_status_2(command, kind, small, picture, tmp_path, capsys):
    path, options = tmp_path / "bad.png", ["--model", small]
    if kind == "text":
        path.write_text("no picture")
    elif kind == "truncated":
        path.write_bytes(picture.read_bytes()[:2000])
    elif kind == "bomb":
        bomb(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "model":
        path, options = picture, ["--model", "swin_giant"]
    elif kind == "weights":
        path, options = picture, ["--model", small, "--weights", str(tmp_path / "none.safetensors")]
    assert command([str(path), *options]) == 2
    message = capsys.readouterr().err
    assert len(message.strip().splitlines()) == 1
    assert {"model": "swin_giant", "weights": "none.safetensors"}.get(kind, "bad.png") in message


@pytest.mark.parametrize("option", ["--top", "--seed"])
def test_a_number_that_makes_no_sense_is_named(option, small, picture, capsys):
    assert numpy_command.main([str(picture), "--model", small, option, "-1"]) == 2
    assert f"{option.strip('-')}: expected" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cpu:1", "cuda:x"])
def test_a_device_that_is_not_there(device, small, picture, capsys):
    assert compare.main([str(picture), "--model", small, "--device", device]) == 2
    assert "this machine has: cpu" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", list(compare.BOUNDS))
def test_compare_in_every_dtype(dtype, small, picture, tmp_path, capsys):
    assert compare.main([str(picture), "--model", small, "--dtype", dtype, "--save", str(tmp_path / "out")]) == 0
    assert "The twins agree at all 15 steps" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["dtype"] == dtype and len(report["rows"]) == 15
    assert (tmp_path / "out" / "disagreement.png").exists()
    if dtype != "float64":
        assert report["rows"][-1]["relative"] > 0  # a comparison of something with itself would give 0


def test_compare_notices_a_difference(small, picture, monkeypatch, capsys):
    make = compare.make_twins

    def broken(*args):
        numpy_model, torch_model = make(*args)
        with torch.no_grad():
            torch_model.layers[1].blocks[0].attn.relative_position_bias_table[0, 0] += 1
        return numpy_model, torch_model

    monkeypatch.setattr(compare, "make_twins", broken)
    assert compare.main([str(picture), "--model", small]) == 1
    assert "The twins DISAGREE" in capsys.readouterr().out


def test_weights_are_loaded_into_both_twins(small, picture, tmp_path, capsys):
    from swin_numpy.weights.files import save_checkpoint

    model = SwinTransformer(SMALL, seed=5)
    save_checkpoint(tmp_path / "weights.safetensors", model.state_dict())
    rows = []
    for options in ([], ["--weights", str(tmp_path / "weights.safetensors")], ["--seed", "5"]):
        assert compare.main([str(picture), "--model", small, "--save", str(tmp_path / "out"), *options]) == 0
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        rows.append([row["absolute"] for row in report["rows"]])
    assert rows[1] == rows[2] != rows[0]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_is_a_disagreement_wherever_it_stands(place):
    rows = [compare.Row("head", "Linear", (1,), 0.0, 1e-9, 0, 0)] * 3
    assert compare.verdict(rows, "float32")[0]
    rows[place] = replace(rows[place], relative=float("nan"))
    assert not compare.verdict(rows, "float32")[0]


@pytest.mark.parametrize("module", ["swin_numpy", "swin_torch.compare", "swin_torch.tour"])
def test_help_has_what_one_needs(module):
    result = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "usage" in result.stdout and (module == "swin_torch.tour" or "examples:" in result.stdout)


def test_the_tour_draws_its_pictures_and_reports(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(CONFIGS, tour.MODEL, replace(SMALL, img_size=112))
    assert tour.main(["--save", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "The twins agree" in out
    for name in ("1_patches", "2_windows", "3_masks", "4_attention"):
        assert (tmp_path / f"{name}.png").exists() and f"{name}.png" in out


def test_the_tour_fails_where_the_twins_disagree(monkeypatch, tmp_path):
    monkeypatch.setitem(CONFIGS, tour.MODEL, replace(SMALL, img_size=112))
    monkeypatch.setitem(compare.BOUNDS, "float32", 0)
    assert tour.main(["--save", str(tmp_path)]) == 1


def test_the_tour_fails_where_the_twins_answer_differently(monkeypatch, tmp_path, capsys):
    class Biased:
        def from_checkpoint(path):
            model = SwinTransformerTorch.from_checkpoint(path)
            with torch.no_grad():
                model.head.bias[0] += 100
            return model

    monkeypatch.setitem(CONFIGS, tour.MODEL, replace(SMALL, img_size=112))
    monkeypatch.setattr(tour, "SwinTransformer", Biased)
    assert tour.main(["--save", str(tmp_path)]) == 1
    assert "The twins agree" in capsys.readouterr().out


def test_the_photograph_of_the_tour_ships():
    assert photo_path(tour.PHOTO).exists()
