"""Every module's backward against autograd of its twin and against finite differences."""

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy import layers
from swin_numpy.windows import shift_mask
from swin_torch import layers as torch_layers
from tests.gradients import assert_like_autograd, assert_like_differences, make_twins, share_masks


def twins_of(name, *arguments, **options):
    return getattr(swin_numpy, name)(*arguments, **options), getattr(swin_torch, name)(*arguments, **options)


def block(version=1, **options):
    return twins_of("SwinTransformerBlock" + "V2" * (version == 2), 8, 2, **options)


MASK = shift_mask(6, 9, 3, (1, 1)).astype(float)

# name: (how to make the twins, shape of x, further arguments)
CASES = {
    "Linear": (lambda: (layers.Linear(5, 4), torch.nn.Linear(5, 4)), (2, 3, 5), ()),
    "Linear, no bias": (lambda: (layers.Linear(5, 4, False), torch.nn.Linear(5, 4, False)), (2, 3, 5), ()),
    "Conv2d": (lambda: (layers.Conv2d(3, 5, 2, 2), torch.nn.Conv2d(3, 5, 2, 2)), (2, 3, 4, 6), ()),
    "LayerNorm": (lambda: (layers.LayerNorm(6), torch.nn.LayerNorm(6)), (2, 3, 6), ()),
    "Mlp": (lambda: twins_of("Mlp", 6, 9), (2, 5, 6), ()),
    "Mlp, dropout": (lambda: twins_of("Mlp", 6, 9, 0.3), (2, 5, 6), ()),
    "PatchEmbed": (lambda: twins_of("PatchEmbed", 4, 3, 10), (2, 3, 8, 12), ()),
    "PatchEmbed, padded": (lambda: twins_of("PatchEmbed", 4, 3, 10), (2, 3, 7, 9), ()),
    "PatchEmbed, no norm": (lambda: twins_of("PatchEmbed", 2, 1, 6, False), (2, 1, 6, 3), ()),
    "PatchMerging": (lambda: twins_of("PatchMerging", 5), (2, 4 * 6, 5), ((4, 6),)),
    "PatchMerging, odd": (lambda: twins_of("PatchMerging", 5), (2, 3 * 5, 5), ((3, 5),)),
    "PatchMerging, odd rows": (lambda: twins_of("PatchMerging", 5), (2, 3 * 4, 5), ((3, 4),)),
    "W-MSA": (lambda: twins_of("WindowAttention", 8, 3, 2), (2, 6, 9, 8), ()),
    "W-MSA, no qkv bias": (lambda: twins_of("WindowAttention", 8, 3, 2, qkv_bias=False), (2, 6, 9, 8), ()),
    "W-MSA, oblong": (lambda: twins_of("WindowAttention", 12, (2, 3), 3), (2, 4, 6, 12), ()),
    "W-MSA, dropout": (lambda: twins_of("WindowAttention", 8, 3, 2, attn_drop=0.3, proj_drop=0.2), (2, 6, 9, 8), ()),
    "SW-MSA": (lambda: twins_of("WindowAttention", 8, 3, 2), (2, 6, 9, 8), (MASK,)),
    "V2 PatchMerging": (lambda: twins_of("PatchMergingV2", 5), (2, 4 * 6, 5), ((4, 6),)),
    "V2 PatchMerging, odd": (lambda: twins_of("PatchMergingV2", 5), (2, 3 * 5, 5), ((3, 5),)),
    "V2 W-MSA": (lambda: twins_of("WindowAttentionV2", 8, 3, 2), (2, 6, 9, 8), ()),
    "V2 W-MSA, no qkv bias": (lambda: twins_of("WindowAttentionV2", 8, 3, 2, qkv_bias=False), (2, 6, 9, 8), ()),
    "V2 W-MSA, oblong": (lambda: twins_of("WindowAttentionV2", 12, (2, 3), 3), (2, 4, 6, 12), ()),
    "V2 W-MSA, dropout": (
        lambda: twins_of("WindowAttentionV2", 8, 3, 2, attn_drop=0.3, proj_drop=0.2), (2, 6, 9, 8), ()
    ),
    "V2 SW-MSA, other window": (
        lambda: twins_of("WindowAttentionV2", 8, 3, 2, pretrained_window_size=2), (2, 6, 9, 8), (MASK,)
    ),
    "V2 block": (lambda: block(2, input_resolution=(6, 9), window_size=3), (2, 6 * 9, 8), ((6, 9),)),
    "V2 block, shift": (lambda: block(2, input_resolution=(6, 9), window_size=3, shift_size=1), (2, 54, 8), ((6, 9),)),
    "V2 block, shift, padding": (lambda: block(2, window_size=4, shift_size=2), (2, 5 * 7, 8), ((5, 7),)),
    "V2 block, padding, no qkv bias": (lambda: block(2, window_size=4, qkv_bias=False), (2, 5 * 7, 8), ((5, 7),)),
    "V2 block, window shrunk": (
        lambda: block(2, input_resolution=(3, 7), window_size=4, shift_size=2), (2, 3 * 7, 8), ((3, 7),)
    ),
    "V2 block, dropout": (
        lambda: block(2, window_size=3, shift_size=1, drop=0.2, attn_drop=0.2, drop_path=0.4), (4, 35, 8), ((5, 7),)
    ),
    "block": (lambda: block(input_resolution=(6, 9), window_size=3), (2, 6 * 9, 8), ((6, 9),)),
    "block, shift": (lambda: block(input_resolution=(6, 9), window_size=3, shift_size=1), (2, 54, 8), ((6, 9),)),
    "block, padding": (lambda: block(window_size=3), (2, 5 * 7, 8), ((5, 7),)),
    "block, shift, padding": (lambda: block(window_size=4, shift_size=2), (2, 5 * 7, 8), ((5, 7),)),
    "block, one axis shifted": (lambda: block(window_size=4, shift_size=2), (2, 3 * 9, 8), ((3, 9),)),
    "block, window shrunk": (
        lambda: block(input_resolution=(3, 7), window_size=4, shift_size=2), (2, 3 * 7, 8), ((3, 7),)
    ),
    "block, other size": (
        lambda: block(input_resolution=(6, 9), window_size=3, shift_size=1), (2, 7 * 5, 8), ((7, 5),)
    ),
    "block, dropout": (
        lambda: block(window_size=3, shift_size=1, drop=0.2, attn_drop=0.2, drop_path=0.4), (4, 35, 8), ((5, 7),)
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    """(twins, x, further arguments, rng)"""
    make, shape, others = CASES[request.param]
    rng = np.random.default_rng(0)
    return make_twins(*make()), rng.normal(size=shape), others, rng


def test_against_autograd(case, monkeypatch):
    twins, x, others, rng = case
    share_masks(monkeypatch)
    assert_like_autograd(twins, x, *others, rng=rng)


def test_against_finite_differences(case, monkeypatch):
    (module, _), x, others, rng = case
    monkeypatch.setattr(layers, "keep_mask", same_mask_again)
    assert_like_differences(module, x, *others, rng=rng)


def same_mask_again(rng, shape, drop, dtype, draw=layers.keep_mask):
    return draw(np.random.default_rng(1), shape, drop, dtype)


def test_a_batch_seen_twice_counts_twice(case, monkeypatch):
    (module, _), x, others, rng = case
    monkeypatch.setattr(layers, "keep_mask", same_mask_again)
    once = {}
    dy = None
    for _ in range(2):
        y = module(x, *others)
        y = y[0] if isinstance(y, tuple) else y
        dy = rng.normal(size=y.shape) if dy is None else dy
        module.backward(dy)
        once = once or {name: parameter.grad.copy() for name, parameter in module.named_parameters()}
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad, 2 * once[name], rtol=1e-12)
    module.zero_grad()
    assert all(parameter.grad is None for _, parameter in module.named_parameters())


def test_evaluation_mode_keeps_nothing(case):
    (module, _), x, others, rng = case
    y = module(x, *others)
    dy = rng.normal(size=(y[0] if isinstance(y, tuple) else y).shape)
    module.eval()  # what training mode kept is gone at once
    with pytest.raises(ValueError, match=r"backward needs .* training mode"):
        module.backward(dy)
    module(x, *others)
    assert all(below._saved is None for _, below in module.named_modules())
    with pytest.raises(ValueError, match=r"backward needs .* training mode"):
        module.backward(dy)
    assert all(parameter.grad is None for _, parameter in module.named_parameters())


def test_backward_before_any_forward():
    with pytest.raises(ValueError, match=r"^Linear.backward needs what forward saves in training mode"):
        layers.Linear(3, 2).train().backward(np.zeros((1, 2)))


def test_beyond_its_limit_version_2_s_scale_has_no_gradient():
    twins = make_twins(*twins_of("WindowAttentionV2", 8, 3, 2))
    rng = np.random.default_rng(0)
    for attention in twins:
        state = dict(attention.state_dict())
        state["logit_scale"] = np.array([5.0, 4.0]).reshape(2, 1, 1)  # log 100 is 4.6
        attention.load_state_dict({name: torch.as_tensor(np.asarray(value)) for name, value in state.items()})
    x = 0.3 * rng.normal(size=(2, 6, 9, 8))
    assert_like_autograd(twins, x, rng=rng)
    assert_like_differences(twins[0], x, rng=rng, bound=1e-5)  # steep, so its slopes bend
    first, second = twins[0].logit_scale.grad.ravel()
    assert first == 0 != second


def test_without_dropout_its_backward_is_the_identity():
    dy = np.random.default_rng(0).normal(size=(2, 3, 4))
    for layer in (layers.Dropout(0), layers.DropPath(0)):
        assert layer.train().backward(dy) is dy


@pytest.mark.parametrize("kind", ["Dropout", "DropPath"])
def test_dropout_uses_the_mask_of_its_forward(kind, monkeypatch):
    rng = np.random.default_rng(0)
    masks = share_masks(monkeypatch)
    theirs = torch.nn.Dropout(0.4) if kind == "Dropout" else torch_layers.DropPath(0.4)
    twins = make_twins(getattr(layers, kind)(0.4), theirs)
    assert_like_autograd(twins, rng.normal(size=(40, 5, 4)), rng=rng)
    (mask,) = masks
    assert mask.shape == ((40, 5, 4) if kind == "Dropout" else (40, 1, 1))
    assert set(np.unique(mask)) == {0, 1 / (1 - 0.4)}


def test_gradients_have_the_parameters_type():
    rng = np.random.default_rng(0)
    module = swin_numpy.SwinTransformerBlock(8, 2, window_size=3, shift_size=1, drop=0.1, drop_path=0.1).train()
    y = module(rng.normal(size=(2, 35, 8)).astype(np.float32), (5, 7))
    dx = module.backward(y)
    assert dx.dtype == np.float32
    assert {parameter.grad.dtype for _, parameter in module.named_parameters()} == {np.dtype(np.float32)}
