"""The steps of a model, in both twins and both versions: what each is, its output, the time it took."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy.config import SwinConfig
from swin_numpy.runtime.trace import record

CONFIG = SwinConfig(
    img_size=(32, 48), in_chans=2, num_classes=3, embed_dim=4, depths=(2, 2), num_heads=(1, 2), window_size=4, ape=True
)
PACKAGES = pytest.mark.parametrize("package", [swin_numpy, swin_torch], ids=["numpy", "torch"])
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def images(package):
    x = np.random.default_rng(0).normal(size=(2, 2, 32, 48)).astype(np.float32)
    return x if package is swin_numpy else torch.from_numpy(x)


@PACKAGES
@VERSIONS
@pytest.mark.parametrize("kind", ["plain", "fused"])
def test_every_step_says_what_it_is(package, version, kind):
    model = package.SwinTransformer(replace(CONFIG, version=version)).eval().use_attention(kind)
    with torch.no_grad():
        steps, logits = record(model, images(package)), model(images(package))
    assert [(step.name, step.what) for step in steps] == [
        ("patch_embed", "patches to tokens"),
        ("layers.0.blocks.0", "W-MSA block"),
        ("layers.0.blocks.1", "SW-MSA block, shift 2"),
        ("layers.0.downsample", "patch merging"),
        ("layers.1.blocks.0", "W-MSA block"),
        ("layers.1.blocks.1", "W-MSA block"),  # its map is as low as one window
        ("norm", "LayerNorm"),
        ("mean", "mean over tokens"),
        ("head", "Linear"),
    ]
    assert [tuple(step.output.shape) for step in steps] == (
        [(2, 96, 4)] * 3 + [(2, 24, 8)] * 4 + [(2, 8), (2, 3)]
    )  # fmt: skip
    assert all(step.seconds >= 0 for step in steps)
    # Not to the bit: a second call may lie elsewhere in memory, and a BLAS may then add in another order.
    np.testing.assert_allclose(np.asarray(steps[-1].output), np.asarray(logits), rtol=0, atol=1e-6)


@PACKAGES
@VERSIONS
def test_an_unequal_shift_names_both_axes(package, version):
    """At any size an axis that fits in one window isn't shifted."""
    model = package.SwinTransformer(replace(CONFIG, img_size=None, ape=False, version=version)).eval()
    steps = record(model, images(package)[:, :, :16])
    assert steps[2].what == "SW-MSA block, shift (0, 2)"


@PACKAGES
@VERSIONS
def test_details_are_the_layers_inside_the_blocks(package, version):
    model = package.SwinTransformer(replace(CONFIG, version=version, drop_rate=0.1)).eval()
    steps = {step.name: step for step in record(model, images(package), details=True)}
    assert steps["layers.0.blocks.0.attn"].what == "attention"
    assert {"layers.0.blocks.1.attn.qkv", "layers.0.blocks.1.mlp.fc1", "layers.0.blocks.1.norm2"} <= set(steps)
    assert not any("drop" in name.rsplit(".", 1)[-1] for name in steps if "downsample" not in name)
    assert "layers.0" not in steps and "pos_drop" not in steps


@PACKAGES
def test_the_mean_is_what_the_head_gets_and_hooks_are_removed(package):
    model = package.SwinTransformer(CONFIG).eval()
    calls = []
    steps = {step.name: step for step in record(model, images(package), finish=lambda: calls.append(1))}
    assert len(calls) == len(steps) - 1 == 8
    difference = steps["mean"].output - steps["norm"].output.mean(1)
    assert abs(difference).max().item() < 1e-6 and steps["mean"].seconds == 0
    before = len(calls)
    model(images(package))
    assert len(calls) == before


@PACKAGES
def test_hooks_are_removed_after_an_error_too(package):
    model = package.SwinTransformer(CONFIG).eval()
    with pytest.raises(ValueError):
        record(model, images(package)[:, :1])
    assert len(record(model, images(package))) == 9
