"""docs/cheat_sheet.py: its formulas against real models, and the committed page against what it writes now."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import swin_torch
from swin_numpy import CONFIGS, SwinConfig

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("cheat_sheet", ROOT / "docs" / "cheat_sheet.py")
sheet = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sheet)

SMALL = SwinConfig(
    img_size=(56, 112), embed_dim=12, depths=(2, 2), num_heads=(2, 4), num_classes=7, window_size=7, mlp_ratio=3.0
)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "large" not in name and "base" not in name])
def test_parameters_are_those_of_the_model(name):
    model = swin_torch.SwinTransformer(CONFIGS[name])
    assert sheet.parameters(CONFIGS[name]) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("version", [1, 2])
def test_multiply_adds_are_those_that_pytorch_counts(version):
    config = SwinConfig(**{**vars(SMALL), "version": version})
    model = swin_torch.SwinTransformer(config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 56, 112))
    bias_networks = 2 * sum(
        2 * 512 * (2 * M - 1) ** 2 + 512 * a * (2 * M - 1) ** 2
        for M, a in zip(config.windows, config.num_heads, strict=True)
    )
    assert counter.get_total_flops() / 2 == sheet.multiply_adds(config) + (version == 2) * bias_networks


def test_page_and_poster_are_what_the_command_writes():
    assert sheet.PAGE.read_text(encoding="utf-8") == sheet.page(), "run `python docs/cheat_sheet.py`"
    assert all((ROOT / "figures" / "gallery" / f"cheat_sheet.{kind}").is_file() for kind in ("png", "svg", "pdf"))
    sheet.draw()
