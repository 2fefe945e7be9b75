"""Whole models: every gradient against autograd and finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy.config import SwinConfig
from tests.gradients import (
    assert_like_autograd,
    assert_like_differences,
    assert_same_gradients,
    make_twins,
    share_masks,
)

# T-shaped and narrow. Grids 24x32, 12x16, 6x8 (padded to 8x8) and 3x4 (its window shrinks, and it is padded).
T_SHAPED = SwinConfig(
    img_size=(48, 64), patch_size=2, num_classes=5, embed_dim=8, depths=(2, 2, 6, 2), num_heads=(2, 2, 4, 4),
    window_size=4, drop_path_rate=0.0,
)  # fmt: skip
SMALL = replace(T_SHAPED, depths=(2, 2), num_heads=(2, 4), img_size=(22, 30), window_size=3)
T_SHAPED_V2 = replace(T_SHAPED, version=2)
SMALL_V2 = replace(SMALL, version=2)
DROP = {"drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.2}

# name: (config, image height and width)
CASES = {
    "T-shaped": (T_SHAPED, (48, 64)),
    "T-shaped, dropout": (replace(T_SHAPED, **DROP), (48, 64)),
    "T-shaped, other size": (T_SHAPED, (37, 51)),
    "padded": (SMALL, (22, 30)),
    "any size": (replace(SMALL, img_size=None), (25, 17)),
    "position embedding, dropout": (replace(SMALL, ape=True, **DROP), (22, 30)),
    "features": (replace(SMALL, num_classes=0), (22, 30)),
    "no biases, no norm": (replace(SMALL, qkv_bias=False, patch_norm=False, in_chans=1), (22, 30)),
    "V2, T-shaped": (T_SHAPED_V2, (48, 64)),
    "V2, T-shaped, other size, dropout": (replace(T_SHAPED_V2, **DROP), (37, 51)),
    "V2, any size": (replace(SMALL_V2, img_size=None, pretrained_window_sizes=(5, 2)), (25, 17)),
    "V2, no biases, no norm": (replace(SMALL_V2, qkv_bias=False, patch_norm=False, in_chans=1), (22, 30)),
    "one stage": (replace(SMALL, depths=(2,), num_heads=(2,), pretrained_window_sizes=(0,)), (22, 30)),
}


def make(config):
    return make_twins(swin_numpy.SwinTransformer(config), swin_torch.SwinTransformer(config))


def images_for(config, size, rng, n=3):
    return rng.normal(size=(n, config.in_chans, *size))


@pytest.mark.parametrize("config, size", CASES.values(), ids=CASES)
def test_against_autograd(config, size, monkeypatch):
    rng = np.random.default_rng(1)
    masks = share_masks(monkeypatch)
    assert_like_autograd(make(config), images_for(config, size, rng), rng=rng)
    assert bool(masks) == (config.drop_rate > 0)


@pytest.mark.parametrize("name", ["padded", "any size", "features", "no biases, no norm", "V2, any size"])
def test_against_finite_differences(name):
    config, size = CASES[name]
    rng = np.random.default_rng(2)
    assert_like_differences(make(config)[0], images_for(config, size, rng), rng=rng)


def test_a_gradient_at_every_stage():
    """As in a backbone, which hands every stage's tokens to what comes after it."""
    rng = np.random.default_rng(3)
    numpy_model, torch_model = make(replace(T_SHAPED, num_classes=0))
    images = images_for(T_SHAPED, (37, 51), rng)
    images_torch = torch.from_numpy(images).requires_grad_()
    expected = [tokens for tokens, _ in torch_model.forward_stages(images_torch)]
    numpy_model.forward_stages(images)
    dstages = [rng.normal(size=tuple(tokens.shape)) for tokens in expected]
    dstages[1] = 0  # nothing looks at this one
    used = [stage for stage in range(4) if stage != 1]
    torch.autograd.backward([expected[s] for s in used], [torch.from_numpy(dstages[s]) for s in used])
    dimages = numpy_model.backward_stages(dstages)
    np.testing.assert_allclose(dimages, images_torch.grad.numpy(), rtol=0, atol=1e-9 * np.abs(dimages).max())
    numpy_model.norm, torch_model.norm = swin_numpy.module.Module(), torch.nn.Identity()  # it had no part in this
    assert_same_gradients(numpy_model, torch_model)


def test_backward_stages_wants_one_gradient_for_each_stage():
    model = make(SMALL)[0]
    stages = model.forward_stages(images_for(SMALL, (22, 30), np.random.default_rng(0)))
    with pytest.raises(ValueError):
        model.backward_stages([stages[-1][0]])


@pytest.mark.parametrize("shape", [(1, 5), (3, 4), (5,)])
def test_a_gradient_of_another_shape(shape):
    model = make(SMALL)[0]
    model(images_for(SMALL, (22, 30), np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"expected the shape that forward returned, \(3, 5\), got "):
        model.backward(np.zeros(shape))


def test_evaluation_mode_keeps_nothing():
    model = make(SMALL)[0].eval()
    images = images_for(SMALL, (22, 30), np.random.default_rng(0))
    model(images)
    assert all(module._saved is None for _, module in model.named_modules())
    with pytest.raises(ValueError, match=r"^SwinTransformer.backward needs"):
        model.backward(np.zeros((3, 5)))


@pytest.mark.parametrize("config", [SMALL, SMALL_V2], ids=["V1", "V2"])
def test_float32_gradients_are_near_the_float64_ones(config):
    rng = np.random.default_rng(4)
    model = make(config)[0]
    images, dlogits = images_for(SMALL, (22, 30), rng), rng.normal(size=(3, 5))
    model(images)
    model.backward(dlogits)
    exact = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.to(np.float32)
    model(images.astype(np.float32))
    assert model.backward(dlogits.astype(np.float32)).dtype == np.float32
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == np.float32
        np.testing.assert_allclose(parameter.grad, exact[name], rtol=0, atol=2e-5 * np.abs(exact[name]).max())
