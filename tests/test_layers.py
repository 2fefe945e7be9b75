"""The layers: NumPy's against those that PyTorch has, and Swin's own twin against twin."""

import numpy as np
import pytest
import torch

import swin_numpy
import swin_numpy.layers
import swin_torch
import swin_torch.layers
from swin_numpy.layers import seed_dropout
from tests.twin import PACKAGES, WHICH, assert_same_steps, inputs_for, normal, relative, run, tensor, twins

NN = torch.nn


def three_layers(package):
    return package.Sequential(package.Linear(6, 4), package.ReLU(), package.Linear(4, 5, bias=False))


@pytest.mark.parametrize(
    ("ours", "theirs", "inputs"),
    [
        (lambda: swin_numpy.layers.Linear(5, 7), lambda: NN.Linear(5, 7), [normal(2, 3, 5)]),
        (lambda: swin_numpy.layers.Linear(5, 7, bias=False), lambda: NN.Linear(5, 7, bias=False), [normal(2, 3, 5)]),
        (lambda: swin_numpy.layers.LayerNorm(6), lambda: NN.LayerNorm(6), [normal(2, 3, 6)]),
        (swin_numpy.layers.ReLU, NN.ReLU, [normal(2, 3, 6)]),
        (swin_numpy.layers.Sigmoid, NN.Sigmoid, [normal(2, 3, 6)]),
        (lambda: three_layers(swin_numpy.layers), lambda: three_layers(NN), [normal(2, 3, 6)]),
        (lambda: swin_numpy.layers.Dropout(0.5), lambda: NN.Dropout(0.5), [normal(2, 3, 6)]),
        (lambda: swin_numpy.layers.Conv2d(3, 8, 4, 4), lambda: NN.Conv2d(3, 8, 4, 4), [normal(2, 3, 8, 12)]),
    ],
    ids=["Linear", "Linear without bias", "LayerNorm", "ReLU", "Sigmoid", "Sequential", "Dropout in eval", "Conv2d"],
)
def test_what_pytorch_already_has(ours, theirs, inputs):
    both = twins(lambda swin: ours() if swin is swin_numpy else theirs())
    assert_same_steps(*both, *inputs)


def test_conv2d_knows_no_overlap():
    with pytest.raises(ValueError, match="stride: expected the kernel size 4, got 2"):
        swin_numpy.layers.Conv2d(3, 8, 4, 2)


# Mlp


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_mlp_twins_at_every_step(dtype):
    both = twins(lambda swin: swin.Mlp(5, 12), dtype=dtype)
    assert_same_steps(*both, normal(2, 3, 5, dtype=dtype), bound=1e-10 if dtype == np.float64 else 1e-5)


@WHICH
def test_mlp_is_linear_gelu_linear(which):
    module = twins(lambda swin: swin.Mlp(5, 12))[which]
    w = {name: tensor(np.asarray(value)) for name, value in module.state_dict().items()}
    x = normal(2, 3, 5)
    hidden = tensor(x) @ w["fc1.weight"].T + w["fc1.bias"]
    expected = (hidden * (1 + torch.erf(hidden / 2**0.5)) / 2) @ w["fc2.weight"].T + w["fc2.bias"]
    assert relative(run(module, x), expected) < 1e-13


@PACKAGES
def test_mlp_drops_both_hidden_and_output_numbers(package):
    module = package.Mlp(5, 12, 0.25).train()
    seen = {}
    for name in ("drop1", "drop2"):
        getattr(module, name).register_forward_hook(lambda m, i, o, name=name: seen.update({name: (i[0], o)}))
    run(module, normal(50, 5, dtype=np.float32))
    for name, width in (("drop1", 12), ("drop2", 5)):
        before, after = (np.asarray(value.detach() if package is swin_torch else value) for value in seen[name])
        assert before.shape == (50, width)
        kept = after != 0
        np.testing.assert_allclose(after[kept], before[kept] / 0.75, rtol=1e-5)
        assert kept.mean() == pytest.approx(0.75, abs=0.1)


# Dropout and DropPath


@PACKAGES
@pytest.mark.parametrize("name", ["Dropout", "DropPath"])
def test_off_in_eval_mode_and_at_rate_zero(package, name):
    x = normal(40, 3)
    kind = getattr(package.layers, name)
    np.testing.assert_array_equal(run(kind(0.5).eval(), x), x)
    np.testing.assert_array_equal(run(kind(0.0).train(), x), x)
    assert not np.array_equal(run(kind(0.5).train(), x), x)


@PACKAGES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("drop", [0.1, 0.5, 0.8])
def test_drop_path_drops_whole_samples_and_keeps_the_mean(package, drop, dtype):
    torch.manual_seed(0)
    x = 1 + np.abs(normal(4000, 2, 3, dtype=dtype))
    y = run(package.layers.DropPath(drop).train(), x)
    assert y.dtype == dtype and y.shape == x.shape
    kept = (y != 0).all(axis=(1, 2))
    assert (kept | (y == 0).all(axis=(1, 2))).all()  # a sample goes as a whole, or not at all
    np.testing.assert_allclose(y[kept], x[kept] / (1 - drop), rtol=1e-6)
    assert kept.mean() == pytest.approx(1 - drop, abs=4 * (drop * (1 - drop) / 4000) ** 0.5)
    assert y.mean() == pytest.approx(x.mean(), rel=0.1)


@PACKAGES
def test_dropout_drops_single_numbers_and_keeps_the_mean(package):
    torch.manual_seed(0)
    x = 1 + np.abs(normal(200, 30))
    y = run(package.layers.Dropout(0.3).train(), x)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / 0.7, rtol=1e-12)
    assert kept.mean() == pytest.approx(0.7, abs=0.025)
    assert 0 < kept[0].mean() < 1 and 0 < kept[:, 0].mean() < 1
    assert y.mean() == pytest.approx(x.mean(), rel=0.05)


def test_numpy_dropout_is_repeatable_and_each_layer_has_numbers_of_its_own():
    x = np.ones((200, 30))
    model = swin_numpy.Mlp(30, 30, 0.5).train()

    def masks(seed):
        seed_dropout(model, seed)
        return model.drop1(x), model.drop2(x), model.drop1(x)

    first, again, other = masks(3), masks(3), masks((3, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in ((first[0], first[1]), (first[0], first[2]), (first[0], other[0])):
        assert (a == b).mean() == pytest.approx(0.5, abs=0.05)  # no more alike than chance makes them


# Initial values


@PACKAGES
def test_init_weights_is_the_published_initialisation(package):
    module = package.Mlp(64, 256)
    package.layers.init_weights(module, 3)
    state = {name: np.asarray(value) for name, value in module.state_dict().items()}
    for name in ("fc1", "fc2"):
        assert state[f"{name}.weight"].std() == pytest.approx(0.02, rel=0.03)
        assert state[f"{name}.weight"].mean() == pytest.approx(0, abs=0.001)
        assert not state[f"{name}.bias"].any()


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_init_weights_gives_both_twins_the_same(seed):
    states = []
    for package in (swin_numpy, swin_torch, swin_numpy):
        module = package.Mlp(6, 8)
        package.layers.init_weights(module, seed)
        states.append({name: np.asarray(value).copy() for name, value in module.state_dict().items()})
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])
        np.testing.assert_array_equal(value, states[2][name])


@PACKAGES
def test_wrong_width(package):
    with pytest.raises((ValueError, RuntimeError)):  # PyTorch's own layers raise RuntimeError
        run(package.Mlp(5, 12).eval(), *map(np.asarray, inputs_for(swin_numpy, normal(2, 4, dtype=np.float32))))


@pytest.mark.parametrize("name", ["Dropout", "DropPath"])
def test_two_layers_never_draw_the_same_numbers(name):
    x = np.ones((1000, 1))
    first, second = (getattr(swin_numpy.layers, name)(0.5).train() for _ in range(2))
    assert (first(x) == second(x)).mean() == pytest.approx(0.5, abs=0.08)


def test_layers_made_by_themselves_have_the_published_initial_values():
    layers = swin_numpy.layers
    linear, conv, norm = layers.Linear(80, 100), layers.Conv2d(3, 96, 4, 4), layers.LayerNorm(7)
    for weight in (linear.weight, conv.weight):
        assert weight.std() == pytest.approx(0.02, rel=0.05) and abs(weight.mean()) < 0.001
        assert weight.dtype == np.float32
    assert not linear.bias.any() and not conv.bias.any() and not norm.bias.any() and (norm.weight == 1).all()
    attention = swin_numpy.WindowAttention(24, 7, 3)
    assert attention.relative_position_bias_table.std() == pytest.approx(0.02, rel=0.15)


@PACKAGES
def test_a_lone_v2_attention_starts_at_a_scale_of_10(package):
    attention = package.WindowAttentionV2(24, 3, 4)
    np.testing.assert_allclose(np.exp(np.asarray(attention.logit_scale.tolist())), np.full((4, 1, 1), 10), rtol=1e-6)
    assert not np.asarray(attention.q_bias.tolist()).any() and not np.asarray(attention.v_bias.tolist()).any()


@PACKAGES
def test_rates_that_make_no_sense(package):
    for rate in (1.0, 1, -0.1, 2, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="drop_prob: expected 0 <= rate < 1"):
            package.layers.DropPath(rate)
        with pytest.raises(ValueError, match="drop: expected 0 <= rate < 1"):
            package.Mlp(3, 4, rate)
    with pytest.raises(ValueError, match="p: expected 0 <= rate < 1"):
        swin_numpy.layers.Dropout(1.0)


LAYERS = {
    "Linear": (lambda: swin_numpy.layers.Linear(4, 4), (2, 4)),
    "LayerNorm": (lambda: swin_numpy.layers.LayerNorm(4), (2, 4)),
    "Conv2d": (lambda: swin_numpy.layers.Conv2d(3, 4, 2, 2), (2, 3, 4, 4)),
    "ReLU": (swin_numpy.layers.ReLU, (2, 4)),
    "Sigmoid": (swin_numpy.layers.Sigmoid, (2, 4)),
    "Dropout": (lambda: swin_numpy.layers.Dropout(0.5), (2, 4)),
    "DropPath": (lambda: swin_numpy.layers.DropPath(0.5), (2, 4)),
    "Mlp": (lambda: swin_numpy.Mlp(4, 8), (2, 4)),
    "PatchEmbed": (lambda: swin_numpy.PatchEmbed(2, 3, 4), (2, 3, 4, 4)),
    "WindowAttention": (lambda: swin_numpy.WindowAttention(4, 2, 2), (2, 3, 4, 4)),
    "WindowAttentionV2": (lambda: swin_numpy.WindowAttentionV2(4, 2, 2), (2, 3, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_backward_needs_a_forward_in_training_mode(name):
    make, shape = LAYERS[name]
    layer, x = make(), normal(*shape, dtype=np.float32)
    output = lambda: first if isinstance(first := layer(x), np.ndarray) else first[0]
    y = output()  # a new layer is in evaluation mode
    with pytest.raises(ValueError, match=r"needs what forward saves in training mode: train\(\), forward, backward"):
        layer.backward(y)
    layer.train()
    assert layer.backward(output()).shape == shape
    layer.eval()
    with pytest.raises(ValueError, match="needs what forward saves"):
        layer.backward(y)
