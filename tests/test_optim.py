"""AdamW, schedule and clipping against PyTorch's; the published exclusions; exact resumption."""

import math

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy.config import SwinConfig
from swin_numpy.functional import cross_entropy, cross_entropy_backward
from swin_numpy.module import Module, Parameter
from swin_numpy.optim import AdamW, clip_grad_norm, cosine_schedule, no_decay
from swin_numpy.weights.check import CheckpointError
from tests.gradients import share_masks

SMALL = SwinConfig(
    img_size=(14, 18),
    patch_size=2,
    num_classes=5,
    embed_dim=8,
    depths=(2, 2),
    num_heads=(2, 4),
    window_size=3,
    ape=True,
)
SHAPES = {"fc.weight": (4, 5), "fc.bias": (4,), "relative_position_bias_table": (9, 2), "conv.weight": (3, 2, 2, 2)}


def some_parameters(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {name: Parameter(rng.normal(size=shape).astype(dtype)) for name, shape in SHAPES.items()}


def torch_groups(parameters, weight_decay):
    """The published exclusions, for torch.optim.AdamW."""
    free = [value for name, value in parameters if no_decay(name, value)]
    decayed = [value for name, value in parameters if not no_decay(name, value)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def give_gradients(parameters, step, skip=()):
    rng = np.random.default_rng([7, step])
    for name, parameter in parameters.items():
        parameter.grad = None if name in skip else rng.normal(size=parameter.shape) * 10.0 ** rng.integers(-9, 3)


@pytest.mark.parametrize(
    "options", [{}, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}, {"weight_decay": 0.0}]
)
def test_fifty_steps_of_adamw_are_pytorchs(options):
    ours, decay = some_parameters(), options.get("weight_decay", 0.05)
    theirs = {name: torch.nn.Parameter(torch.from_numpy(np.array(value))) for name, value in ours.items()}
    optimizer = AdamW(ours.items(), lr=0.1, **options)
    torch_optimizer = torch.optim.AdamW(torch_groups(theirs.items(), decay), lr=0.1, **options)
    for step in range(50):
        optimizer.lr = 0.1 / (1 + step)
        for group in torch_optimizer.param_groups:
            group["lr"] = optimizer.lr
        give_gradients(ours, step, skip=["fc.weight"] if step in (0, 1, 30) else [])  # PyTorch counts each one's steps
        for name, value in theirs.items():
            value.grad = None if ours[name].grad is None else torch.from_numpy(ours[name].grad)
        optimizer.step()
        torch_optimizer.step()
        for name, value in theirs.items():
            assert type(ours[name]) is Parameter
            np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_more_numbers_than_one_piece_holds():
    """AdamW works on pieces of 2^17 numbers: all of them must move, each with its own means."""
    rng = np.random.default_rng(0)
    value = rng.normal(size=(3, 2**17 + 7))
    ours = {"weight": Parameter(value)}
    theirs = torch.nn.Parameter(torch.from_numpy(value.copy()))
    optimizer = AdamW(ours.items(), lr=0.1)
    torch_optimizer = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.05)
    for _ in range(3):
        ours["weight"].grad = rng.normal(size=value.shape)
        theirs.grad = torch.from_numpy(ours["weight"].grad.copy())
        optimizer.step()
        torch_optimizer.step()
    np.testing.assert_allclose(ours["weight"], theirs.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_the_first_step_goes_lr_against_the_sign_of_the_gradient():
    """Algorithm 2 by hand: both means are then the gradient and its square."""
    parameter = Parameter(np.array([[1.0, -2.0, 3.0]]))
    parameter.grad = np.array([[5.0, -0.1, 1e-3]])
    AdamW([("weight", parameter)], lr=0.01, weight_decay=0.5).step()
    np.testing.assert_allclose(parameter, np.array([[1, -2, 3]]) * (1 - 0.01 * 0.5) - [[0.01, -0.01, 0.01]], atol=1e-6)


def test_the_gradient_and_a_parameter_without_one_are_left_alone():
    parameters = some_parameters()
    give_gradients(parameters, 0, skip=["fc.bias"])
    gradient, bias = parameters["fc.weight"].grad.copy(), np.array(parameters["fc.bias"])
    AdamW(parameters.items(), lr=0.1).step()
    np.testing.assert_array_equal(parameters["fc.weight"].grad, gradient)
    np.testing.assert_array_equal(parameters["fc.bias"], bias)


def test_what_decays():
    """Against the paper's rule spelled out: the matrices of linear layers, the patch convolution and merging."""
    model = swin_numpy.SwinTransformer(SMALL)
    kept = {name for name, parameter in model.named_parameters() if not no_decay(name, parameter)}
    kinds = {name.split(".", 4)[-1] if ".blocks." in name else name for name in kept}
    assert kinds == {
        "patch_embed.proj.weight", "attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight",
        "layers.0.downsample.reduction.weight", "head.weight",
    }  # fmt: skip
    theirs = swin_torch.SwinTransformer(SMALL).named_parameters()
    assert kept == {name for name, parameter in theirs if not no_decay(name, parameter)}


@pytest.mark.parametrize(
    "name, shape",
    [("layers.0.blocks.0.attn.logit_scale", (2, 1, 1)), ("layers.0.blocks.0.attn.cpb_mlp.0.weight", (512, 2))],
)
def test_v2s_own_parameters_do_not_decay(name, shape):
    assert no_decay(name, np.zeros(shape))


def test_float32_stays_float32():
    parameters = some_parameters(dtype=np.float32)
    optimizer = AdamW(parameters.items(), lr=0.1)
    for parameter in parameters.values():
        parameter.grad = np.ones_like(parameter, subok=False)
    optimizer.step()
    clip_grad_norm(parameters.values(), 0.1)
    assert {value.dtype for value in parameters.values()} == {np.dtype(np.float32)}
    assert {value.dtype for value in [*optimizer.mean.values(), *optimizer.square.values()]} == {np.dtype(np.float32)}
    assert {value.grad.dtype for value in parameters.values()} == {np.dtype(np.float32)}


def test_resumed_is_bit_identical():
    straight, before = some_parameters(), some_parameters()
    one, two = AdamW(straight.items(), lr=0.1), AdamW(before.items(), lr=0.1)
    for step in range(10):
        skip = ["fc.bias"] if step < 3 else []
        for parameters, optimizer in ((straight, one), (before, two)):
            give_gradients(parameters, step, skip)
            optimizer.step()
        if step == 4:
            saved = {name: np.array(value) for name, value in two.state_dict().items()}
            before = {name: Parameter(np.array(value)) for name, value in before.items()}
            two = AdamW(before.items(), lr=0.1)
            two.load_state_dict(saved)
    for name in straight:
        np.testing.assert_array_equal(straight[name], before[name])


def test_another_models_state_changes_nothing():
    optimizer = AdamW(some_parameters().items(), lr=0.1)
    state = {name: np.array(value) + 1 for name, value in optimizer.state_dict().items()}
    for wrong in (
        {name: value for name, value in state.items() if name != "mean.fc.bias"},
        state | {"square.fc.bias": np.ones(3)},
        state | {"mean.other": np.ones(3)},
    ):
        with pytest.raises(CheckpointError, match=r"fc.bias|other"):
            optimizer.load_state_dict(wrong)
    assert not any(value.any() for value in optimizer.state_dict().values())


@pytest.mark.parametrize("max_norm", [0.5, 1e3])
def test_clipping_is_pytorchs(max_norm):
    ours = some_parameters()
    give_gradients(ours, 0, skip=["fc.bias"])
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(value))) for value in ours.values()]
    for tensor, value in zip(theirs, ours.values(), strict=True):
        tensor.grad = None if value.grad is None else torch.from_numpy(value.grad.copy())
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm).item()
    assert clip_grad_norm(ours.values(), max_norm) == pytest.approx(expected, rel=1e-14)
    for tensor, value in zip(theirs, ours.values(), strict=True):
        if value.grad is not None:
            np.testing.assert_allclose(value.grad, tensor.grad.numpy(), rtol=1e-14)


def test_the_norm_of_many_gradients_in_float32():
    parameter = Parameter(np.zeros(3_000_000, np.float32))
    parameter.grad = np.full(3_000_000, 0.1, np.float32)
    assert clip_grad_norm([parameter], 1e9) == pytest.approx(np.float32(0.1) * 3e6**0.5, rel=1e-6)


def test_clipping_hides_no_broken_gradient():
    parameters = some_parameters()
    give_gradients(parameters, 0)
    parameters["fc.bias"].grad[0] = np.nan
    assert math.isnan(clip_grad_norm(parameters.values(), 1.0))
    assert all(np.isnan(parameter.grad).all() for parameter in parameters.values())
    assert clip_grad_norm([Parameter(np.ones(2))], 1.0) == 0


def test_clipping_a_whole_model_leaves_one_length():
    rng = np.random.default_rng(0)
    model = swin_numpy.SwinTransformer(SMALL, dtype=np.float64).train()
    model.backward(100 * rng.normal(size=model(rng.normal(size=(2, 3, 14, 18))).shape))
    parameters = [parameter for _, parameter in model.named_parameters()]
    assert clip_grad_norm(parameters, 5.0) > 5
    assert clip_grad_norm(parameters, 5.0) == pytest.approx(5, rel=1e-6)


def test_the_schedule():
    rate = lambda step: cosine_schedule(step, total_steps=110, warmup_steps=10, base_lr=1.0, min_lr=0.1, warmup_lr=0.2)
    assert [rate(0), rate(5), rate(10), rate(60), rate(110)] == pytest.approx([0.2, 0.6, 1.0, 0.55, 0.1])
    rates = [rate(step) for step in range(111)]
    assert (np.diff(rates[:11]) > 0).all() and (np.diff(rates[10:]) < 0).all()
    assert rate(500) == pytest.approx(0.1)  # past the end it stays there
    assert cosine_schedule(0, 5, 0, 1.0) == 1 and cosine_schedule(3, 3, 3, 1.0) == 1  # no warm-up; nothing but


def test_the_ends_of_the_schedule():
    rate = lambda step, total, warmup: cosine_schedule(step, total, warmup, 1.0, min_lr=0.1, warmup_lr=0.2)
    assert rate(0, 10, 0) == 1  # no warm-up: the first step has the full rate
    assert rate(0, 10, 4) == 0.2 and rate(4, 10, 4) == 1  # warm-up starts at warmup_lr and ends at base_lr
    assert rate(9, 10, 4) > 0.1 and rate(10, 10, 4) == rate(11, 10, 4) == pytest.approx(0.1, abs=1e-15)
    assert rate(0, 1, 0) == 1 and rate(1, 1, 0) == pytest.approx(0.1, abs=1e-15)
    assert rate(3, 4, 4) == pytest.approx(0.8) and rate(4, 4, 4) == 1  # nothing but warm-up
    assert rate(0, 0, 0) == 1
    assert cosine_schedule(0, 10, 5, 1.0) == 0 and cosine_schedule(10, 10, 5, 1.0) == pytest.approx(0, abs=1e-15)


def test_the_cosine_is_pytorchs():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.02)
    for step in range(41):
        expected = optimizer.param_groups[0]["lr"]
        assert cosine_schedule(step + 7, 47, 7, 0.3, 0.02, 0.1) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        cosine.step()


@pytest.mark.parametrize("options", [{}, {"drop_rate": 0.1, "attn_drop_rate": 0.1}], ids=["DropPath", "dropout too"])
def test_one_hundred_training_steps_in_step_with_pytorch(options, monkeypatch):
    """The same start, batches and masks, float64: both loss curves and the weights at the end lie on each other."""
    share_masks(monkeypatch)
    config = SwinConfig(
        img_size=12, patch_size=2, in_chans=1, num_classes=4, embed_dim=8, depths=(2, 2), num_heads=(2, 2),
        window_size=3, drop_path_rate=0.2, **options,
    )  # fmt: skip
    ours = swin_numpy.SwinTransformer(config, dtype=np.float64).train()
    theirs = swin_torch.SwinTransformer(config).double().train()
    optimizer = AdamW(ours.named_parameters(), lr=0)
    torch_optimizer = torch.optim.AdamW(torch_groups(list(theirs.named_parameters()), 0.05), lr=0)
    losses, torch_losses, norms = [], [], []
    for step in range(100):
        lr = cosine_schedule(step, 100, 10, base_lr=5e-3, min_lr=1e-5, warmup_lr=1e-5)
        images, labels = stripes(step)

        logits = ours(images)
        losses.append(cross_entropy(logits, labels, label_smoothing=0.1))
        ours.zero_grad()
        ours.backward(cross_entropy_backward(logits, labels, label_smoothing=0.1))
        norms.append(clip_grad_norm([parameter for _, parameter in ours.named_parameters()], 1.0))
        optimizer.lr = lr
        optimizer.step()

        logits = theirs(torch.from_numpy(images))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), label_smoothing=0.1)
        torch_optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in torch_optimizer.param_groups:
            group["lr"] = lr
        torch_optimizer.step()
        torch_losses.append(loss.item())

    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])  # it learned something,
    assert min(norms) < 1 < max(norms)  # and clipping had its part
    assert np.abs(np.subtract(losses, torch_losses)).max() < 1e-8
    state = ours.state_dict()
    for name, tensor in theirs.named_parameters():
        np.testing.assert_allclose(state[name], tensor.detach().numpy(), rtol=0, atol=1e-8)


def stripes(seed, n=8):
    """Noise in which one of four stripes is brighter: images (n, 1, 12, 12) and its number."""
    rng = np.random.default_rng([1, seed])
    images, labels = rng.normal(size=(n, 1, 12, 12)), rng.integers(0, 4, n)
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label : 3 * label + 3] += 1.5
    return images, labels


def test_update_in_place_keeps_the_modules_parameter():
    class One(Module):
        def __init__(self):
            super().__init__()
            self.weight = Parameter(np.ones((2, 2)))

    module = One()
    module.weight.accumulate(np.ones((2, 2)))
    before = module.weight
    AdamW(module.named_parameters(), lr=0.1).step()
    assert module.weight is before and (before < 1).all() and before.grad is not None
