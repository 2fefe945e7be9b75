"""Feature maps for detection and segmentation."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import swin_numpy
import swin_torch
from swin_numpy import SwinConfig, save_checkpoint
from swin_numpy.weights.check import CheckpointError
from tests.families import assert_close, transformers_config
from tests.peer_names import random_state as random_numbers
from tests.twin import PACKAGES, WHICH, assert_same_steps, inputs_for, normal, random_state, relative, tensor, twins

CONFIG = SwinConfig(
    img_size=None,
    num_classes=5,
    embed_dim=8,
    depths=(2, 2, 1, 1),
    num_heads=(1, 2, 2, 4),
    window_size=3,
    drop_path_rate=0.0,
)
ODD = (52, 36)


def backbones(*args, version=1, **kwargs):
    return twins(lambda package: package.Backbone(replace(CONFIG, version=version), *args, **kwargs))


def maps_of(model, images):
    package = swin_torch if isinstance(model, torch.nn.Module) else swin_numpy
    with torch.no_grad():
        return [np.asarray(x) for x in model(*inputs_for(package, images))]


# ---- stages -----------------------------------------------------------------------------------------------------


@WHICH
@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (1, 3), (0,), [2], (3,)])
def test_stages_that_are_asked_for(which, indices):
    model = twins(lambda package: package.SwinTransformer(CONFIG))[which]
    images = inputs_for([swin_numpy, swin_torch][which], normal(2, 3, *ODD))
    ran = []
    for i, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda *_, i=i: ran.append(i))
        if layer.downsample is not None:
            layer.downsample.register_forward_hook(lambda *_, i=i: ran.append(i + 0.5))
    with torch.no_grad():
        everything = model.forward_stages(*images)
        assert ran == [0, 0.5, 1, 1.5, 2, 2.5, 3]
        ran.clear()
        found = model.forward_stages(*images, indices)
    assert ran == [step / 2 for step in range(2 * indices[-1] + 1)]  # and nothing that only later stages need
    assert [grid for _, grid in found] == [everything[i][1] for i in indices]
    for (x, _), i in zip(found, indices, strict=True):
        np.testing.assert_array_equal(x, everything[i][0])


@PACKAGES
@pytest.mark.parametrize("indices", [(), (4,), (-1,), (1, 0), (1, 1), 2, "01", (None,), ([0],), (0.5,)])
def test_stages_that_are_not_there(package, indices):
    model = package.SwinTransformer(CONFIG)
    for call in (lambda x: model.forward_stages(x, indices), lambda _: package.Backbone(CONFIG, indices)):
        with pytest.raises(ValueError, match="out_indices: expected"):
            call(*inputs_for(package, normal(1, 3, 8, 8)))


# ---- maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("indices", [None, (1, 2)])
@pytest.mark.parametrize("size", [(64, 96), ODD, (5, 7)])
def test_twins(size, indices, norm, version):
    maps = assert_same_steps(*backbones(indices, norm, version=version), normal(2, 3, *size))
    strides = {i: 4 * 2**i for i in (indices or range(4))}
    expected = [(2, 8 * 2**i, -(-size[0] // s), -(-size[1] // s)) for i, s in strides.items()]
    assert [x.shape for x in maps] == expected


@WHICH
def test_maps_are_the_normed_stages_with_channels_first(which):
    model = backbones()[which]
    images = normal(2, 3, *ODD)
    state = {name: np.asarray(value) for name, value in model.state_dict().items()}
    with torch.no_grad():
        stages = model.forward_stages(*inputs_for([swin_numpy, swin_torch][which], images))
    for i, ((tokens, (h, w)), found) in enumerate(zip(stages, maps_of(model, images), strict=True)):
        x = np.asarray(tokens)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        x = x * state[f"norm{i}.weight"] + state[f"norm{i}.bias"]
        for row, column in [(0, 0), (h - 1, 0), (0, w - 1), (h // 2, w // 2)]:
            assert relative(found[:, :, row, column], x[:, row * w + column]) < 1e-12


@PACKAGES
def test_names_are_the_official_detector_s(package):
    names = package.Backbone(CONFIG).state_dict().keys()
    classifier = package.SwinTransformer(CONFIG).state_dict().keys()
    own = {f"norm{i}.{leaf}" for i in range(4) for leaf in ("weight", "bias")}
    gone = {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert set(names) == set(classifier) - gone | own
    assert not own & package.Backbone(CONFIG, norm=False).state_dict().keys()
    some = package.Backbone(CONFIG, (1, 3)).state_dict().keys()
    assert own & some == {f"norm{i}.{leaf}" for i in (1, 3) for leaf in ("weight", "bias")}


def test_maps_are_those_of_transformers(tmp_path):
    """Also at a size at which every map is padded."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = replace(CONFIG, window_size=2)
    theirs = transformers.SwinBackbone(transformers_config(config)).double().eval()
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    theirs.load_state_dict({name: tensor(value) for name, value in random_state(shapes, seed=3).items()})
    theirs.save_pretrained(tmp_path)
    for package in (swin_numpy, swin_torch):
        with pytest.warns(
            UserWarning, match="adapted: the norm before the head is left out$"
        ):  # it has one all the same
            model = package.Backbone.from_checkpoint(tmp_path / "model.safetensors")
        for size in [(96, 128), (100, 132), (101, 131)]:
            images = normal(2, 3, *size)
            with torch.no_grad():
                expected = [x.numpy() for x in theirs(tensor(images)).feature_maps]
            found = maps_of(model, images)
            assert len(found) == len(expected) == 4
            for ours, other in zip(found, expected, strict=True):
                assert_close(ours, other)


# ---- backward ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("indices", [None, (0, 2), (1,)])
def test_gradients_are_autograd_s(indices, norm, version):
    ours, theirs = backbones(indices, norm, version=version)
    images = normal(2, 3, *ODD)
    inputs = tensor(images).requires_grad_()
    maps = ours.train()(images)
    upstream = [normal(*x.shape, seed=i) for i, x in enumerate(maps)]
    dimages = ours.backward(upstream)
    sum((x * tensor(dy)).sum() for x, dy in zip(theirs(inputs), upstream, strict=True)).backward()
    assert relative(dimages, inputs.grad.numpy()) < 1e-10
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert (parameter.grad is None) == (gradients[name] is None), name  # later stages have none
        if parameter.grad is not None:
            assert relative(parameter.grad, gradients[name].numpy()) < 1e-9, name


def test_gradients_of_some_stages_tokens():
    ours, theirs = twins(lambda package: package.SwinTransformer(CONFIG))
    images = normal(1, 3, *ODD)
    inputs = tensor(images).requires_grad_()
    stages = ours.train().forward_stages(images, (0, 2))
    upstream = [normal(*x.shape, seed=i) for i, (x, _) in enumerate(stages)]
    dimages = ours.backward_stages(upstream, (0, 2))
    found = theirs.forward_stages(inputs, (0, 2))
    sum((x * tensor(dy)).sum() for (x, _), dy in zip(found, upstream, strict=True)).backward()
    assert relative(dimages, inputs.grad.numpy()) < 1e-10


def test_gradients_of_another_shape_are_refused():
    model = backbones()[0].train()
    maps = model(normal(1, 3, *ODD))
    with pytest.raises(ValueError, match="gradient: expected the shape"):
        model.backward([*maps[:3], maps[3][:, :, :1]])
    with pytest.raises(ValueError, match="zip"):
        model.backward(maps[:3])


# ---- files ------------------------------------------------------------------------------------------------------


def detector_state(norms=range(4)):
    """What official detection code saves under "backbone.", with random numbers."""
    model = swin_numpy.Backbone(CONFIG)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    state = random_numbers(shapes)
    return {name: v for name, v in state.items() if not name.startswith("norm") or int(name[4]) in norms}


def assert_holds(model, state):
    for name, value in state.items():
        np.testing.assert_array_equal(np.asarray(model.state_dict()[name]), value, err_msg=name)


@PACKAGES
def test_a_whole_detector_s_file(tmp_path, package):
    state = detector_state()
    beside = {"neck.conv.weight": torch.zeros(3), "rpn_head.conv.bias": torch.zeros(2)}
    saved = {f"backbone.{name}": torch.from_numpy(value) for name, value in state.items()} | beside
    torch.save({"state_dict": saved, "meta": {"epoch": 3}}, tmp_path / "a.pth")
    with pytest.warns(
        UserWarning,
        match=r"2 arrays that a backbone has no use for are left out: neck\.conv\.weight, rpn_head\.conv\.bias$",
    ):
        model = package.Backbone.from_checkpoint(tmp_path / "a.pth")
    assert_holds(model, state)
    assert not model.training and model.out_indices == (0, 1, 2, 3)


@PACKAGES
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_backbone_s_file_alone(tmp_path, package, prefix):
    state = detector_state()
    save_file({prefix + name: value for name, value in state.items()}, tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = package.Backbone.from_checkpoint(tmp_path / "a.safetensors", window_size=3)
    assert_holds(model, state)
    assert {str(value.dtype).removeprefix("torch.") for value in model.state_dict().values()} == {"float64"}


@PACKAGES
def test_a_file_of_fewer_norms(tmp_path, package):
    """As detectors with three levels save it."""
    state = detector_state(norms=(1, 2, 3))
    save_file(state, tmp_path / "a.safetensors")
    assert_holds(package.Backbone.from_checkpoint(tmp_path / "a.safetensors", out_indices=(1, 2, 3)), state)
    with pytest.raises(CheckpointError, match=r"2 missing: norm0\.weight, norm0\.bias"):
        package.Backbone.from_checkpoint(tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match=r"norm1 left out"):
        model = package.Backbone.from_checkpoint(tmp_path / "a.safetensors", out_indices=(2, 3))
    assert_holds(model, {name: value for name, value in state.items() if not name.startswith("norm1.")})


@PACKAGES
@pytest.mark.parametrize("norm", [True, False])
def test_a_classifier_s_file(tmp_path, package, norm):
    classifier = twins(lambda swin: swin.SwinTransformer(CONFIG))[0]
    save_checkpoint(tmp_path / "a.npz", classifier.state_dict(), {"config": CONFIG})
    with pytest.warns(UserWarning, match="head of 5 classes is left out; the norm before the head is left out") as said:
        model = package.Backbone.from_checkpoint(tmp_path / "a.npz", norm=norm)
    assert ("norm0, norm1, norm2, norm3 are new and untrained" in str(said[0].message)) == norm
    assert len(said) == 1
    images = normal(2, 3, *ODD)
    for found, (x, (h, w)) in zip(maps_of(model, images), classifier.forward_stages(images), strict=True):
        if norm:
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        assert_close(found, x.reshape(2, h, w, -1).transpose(0, 3, 1, 2), 1e-12)


@PACKAGES
def test_a_damaged_file(tmp_path, package):
    state = detector_state()
    save_file({name: v for name, v in state.items() if name != "norm1.bias"}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing: norm1\.bias"):
        package.Backbone.from_checkpoint(tmp_path / "a.safetensors")
    save_file(state | {"norm7.bias": np.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"norm7\.bias"):
        package.Backbone.from_checkpoint(tmp_path / "a.safetensors")


@PACKAGES
def test_a_config_of_a_wrong_kind(package):
    with pytest.raises(TypeError, match="config: expected a SwinConfig"):
        package.Backbone({"embed_dim": 8})
