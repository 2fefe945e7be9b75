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
from tests.test_weights_names import openmmlab
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


def transformers_backbone(config, folder):
    """A SwinBackbone in float64 with random weights, saved in `folder`."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    theirs = transformers.SwinBackbone(transformers_config(config)).double().eval()
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    theirs.load_state_dict({name: tensor(value) for name, value in random_state(shapes, seed=3).items()})
    theirs.save_pretrained(folder)
    return theirs


FULL = {"img_size": 224, "window_size": 7, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}


@PACKAGES
@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({"window_size": 2}, [(96, 128), (100, 132), (101, 131)]),  # every map is padded
        (FULL, [(224, 224), (64, 96), (28, 300), (31, 33)]),  # one window: exactly, or less than that
        (FULL | {"window_size": 4, "img_size": 64}, [(64, 64), (32, 64)]),  # Microsoft's classifier would shrink it
    ],
    ids=["padded", "one window", "window above the map"],
)
def test_maps_are_those_of_transformers_which_shifts_every_map(tmp_path, fields, sizes, package):
    theirs = transformers_backbone(replace(CONFIG, **fields), tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors"):  # with and without its config.json
        with pytest.warns(UserWarning, match="adapted: the norm before the head is left out$"):  # unused there too
            model = package.Backbone.from_checkpoint(path)
        assert model.config.always_shift and model.config.img_size is None
        for kind in ("plain", "fused"):
            model.use_attention(kind)
            for size in sizes:
                images = normal(2, 3, *size)
                with torch.no_grad():
                    expected = [x.numpy() for x in theirs(tensor(images)).feature_maps]
                found = maps_of(model, images)
                assert len(found) == len(expected) == 4
                for ours, other in zip(found, expected, strict=True):
                    assert_close(ours, other)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [(56, 88), (28, 28), (12, 20)])
def test_twins_that_always_shift(size, version):
    config = replace(CONFIG, always_shift=True, version=version, depths=(2, 2, 2, 2), window_size=4)
    ours, theirs = twins(lambda package: package.Backbone(config))
    images = normal(2, 3, *size)
    maps = assert_same_steps(ours, theirs, images)
    never = twins(lambda package: package.Backbone(replace(config, always_shift=False)))[0]
    assert relative(maps[-1], never(images)[-1]) > 1e-3  # it makes a difference here
    inputs = tensor(images).requires_grad_()
    upstream = [normal(*x.shape, seed=i) for i, x in enumerate(ours.train()(images))]
    dimages = ours.backward(upstream)
    sum((x * tensor(dy)).sum() for x, dy in zip(theirs(inputs), upstream, strict=True)).backward()
    assert relative(dimages, inputs.grad.numpy()) < 1e-10


@PACKAGES
def test_a_model_that_always_shifts_never_shrinks_its_window(package):
    config = replace(CONFIG, always_shift=True, img_size=16, window_size=4)
    for model in (package.SwinTransformer(config), package.SwinTransformer(replace(config, img_size=None))):
        blocks = [block for layer in model.layers for block in layer.blocks]
        assert [block.window_size for block in blocks] == [4] * 6
        assert [tuple(block.shift_for((2, 3))) for block in blocks] == [(0, 0), (2, 2), (0, 0), (2, 2), (0, 0), (0, 0)]


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


# ---- which backbones always shift --------------------------------------------------------------------------------


def saved(path, state, prefix="", **beside):
    """torch.save of arrays under a prefix, with others beside."""
    state = {prefix + name: value for name, value in state.items()} | beside
    torch.save({"state_dict": {name: torch.from_numpy(np.array(value)) for name, value in state.items()}}, path)
    return path


@PACKAGES
def test_norms_of_stages_mean_that_its_code_always_shifts(tmp_path, package):
    path = saved(tmp_path / "a.pth", detector_state())
    found = package.Backbone.from_checkpoint(path)
    assert found.config.always_shift and found.config.window_size == 3
    assert not package.Backbone.from_checkpoint(path, always_shift=False).config.always_shift
    three = saved(tmp_path / "b.pth", detector_state(norms=(3,)))
    assert package.Backbone.from_checkpoint(three, out_indices=(3,)).config.always_shift
    classifier = {name: value for name, value in detector_state(norms=()).items()}
    with pytest.warns(UserWarning, match="new and untrained"):
        assert not package.Backbone.from_checkpoint(saved(tmp_path / "c.pth", classifier)).config.always_shift


@PACKAGES
def test_our_own_file_says_so_itself(tmp_path, package):
    for always in (True, False):
        model = twins(lambda swin, always=always: swin.Backbone(replace(CONFIG, always_shift=always)))[0]
        save_checkpoint(tmp_path / "a.npz", model.state_dict(), {"config": model.config})
        found = package.Backbone.from_checkpoint(tmp_path / "a.npz")
        assert found.config == model.config and found.config.always_shift is always
        for ours, other in zip(maps_of(found, normal(1, 3, 8, 8)), model(normal(1, 3, 8, 8)), strict=True):
            assert_close(ours, other)


@PACKAGES
def test_a_detector_with_a_position_embedding_keeps_its_size(tmp_path, package):
    """Its embedding has the shape (1, C, H, W), and its windows don't shrink."""
    config = replace(CONFIG, ape=True, img_size=16, always_shift=True)
    model = twins(lambda swin: swin.Backbone(config))[0]
    state = dict(model.state_dict())
    state["absolute_pos_embed"] = state["absolute_pos_embed"].reshape(1, 4, 4, 8).transpose(0, 3, 1, 2)
    found = package.Backbone.from_checkpoint(saved(tmp_path / "a.pth", state, "backbone."))
    assert (found.config.img_size, found.config.windows, found.config.always_shift) == (16, (3, 3, 3, 3), True)
    for ours, other in zip(maps_of(found, normal(1, 3, 16, 16)), model(normal(1, 3, 16, 16)), strict=True):
        assert_close(ours, other)
    with pytest.warns(UserWarning, match="absolute_pos_embed from 4x4 to 5x7 patches"):
        package.Backbone.from_checkpoint(tmp_path / "a.pth", img_size=(20, 28))


# ---- what a backbone has no use for ------------------------------------------------------------------------------

ONE = np.ones(3)
BESIDE = {
    "SimMIM": ("encoder.", {"encoder.mask_token": ONE, "decoder.0.weight": ONE}),
    "Donut": ("encoder.model.", {"decoder.model.layers.0.fc1.weight": ONE, "encoder.extra": ONE}),
    "detectron2": ("backbone.bottom_up.", {"backbone.fpn_output2.weight": ONE, "roi_heads.box_head.fc1.weight": ONE}),
    "detectron2's backbone": ("bottom_up.", {"fpn_lateral2.bias": ONE}),
    "Swin-Unet": ("swin_unet.", {"swin_unet.layers_up.1.blocks.0.norm1.weight": ONE, "swin_unet.norm_up.bias": ONE,
                                 "swin_unet.concat_back_dim.1.weight": ONE, "swin_unet.output.weight": ONE}),
    "Lightning": ("model.", {"criterion.weight": ONE, "metric.count": np.array(3)}),
    "teacher": ("teacher.backbone.", {"teacher.head.mlp.0.weight": ONE, "student.backbone.mask_token": ONE}),
    "another head": ("", {"head.1.weight": ONE, "head.mlp.fc.bias": ONE}),
    "a head of convolutions": ("module.", {"module.head.weight": np.ones((2, 3, 1, 1)), "module.head.bias": ONE}),
}  # fmt: skip


@PACKAGES
@pytest.mark.parametrize(("prefix", "beside"), BESIDE.values(), ids=BESIDE)
def test_what_a_backbone_has_no_use_for_is_left_out_with_one_warning(tmp_path, package, prefix, beside):
    state = detector_state()
    path = saved(tmp_path / "a.pth", state, prefix, **beside)
    with pytest.warns(UserWarning, match="adapted: ") as said:
        model = package.Backbone.from_checkpoint(path)
    assert len(said) == 1
    text = str(said[0].message)
    heads = [name for name in beside if name.startswith(prefix + "head.") and name.count(".") == prefix.count(".") + 1]
    if strangers := [name for name in beside if name not in heads]:
        assert f"{len(strangers)} arrays that a backbone has no use for are left out: {strangers[0]}" in text
    assert ("the head of 2 classes is left out" in text) == bool(heads)
    assert_holds(model, state)
    with pytest.raises(CheckpointError):
        package.SwinTransformer.from_checkpoint(path)


@PACKAGES
@pytest.mark.parametrize(
    "name", ["layers.0.blocks.0.attn.extra", "layers.3.blocks.0.norm3.weight", "patch_embed.norm.running_mean"]
)
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_what_would_change_the_maps_is_not_left_out(tmp_path, package, name, prefix):
    path = saved(tmp_path / "a.pth", detector_state() | {name: ONE}, prefix, neck=ONE)
    with pytest.raises(CheckpointError, match=f"1 names of no Swin Transformer known here: {prefix}{name}$"):
        package.Backbone.from_checkpoint(path)


@PACKAGES
def test_a_detector_of_openmmlab(tmp_path, package):
    state = detector_state()
    theirs = openmmlab(state, 1)
    path = saved(tmp_path / "a.pth", theirs, "backbone.", **{"neck.lateral_convs.0.conv.weight": ONE})
    with pytest.warns(UserWarning, match="1 arrays that a backbone has no use for"):
        model = package.Backbone.from_checkpoint(path)
    assert_holds(model, state)
    assert model.config.always_shift
    with pytest.raises(CheckpointError, match=r"1 names .*: backbone\.stages\.0\.blocks\.0\.gamma$"):
        package.Backbone.from_checkpoint(
            saved(tmp_path / "b.pth", theirs, "backbone.", **{"backbone.stages.0.blocks.0.gamma": ONE})
        )


@PACKAGES
@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("indices", [(4,), (-1,), 3, "0"])
def test_out_indices_that_are_wrong_are_said(tmp_path, package, indices):
    path = saved(tmp_path / "a.pth", detector_state())
    with pytest.raises(ValueError, match=r"out_indices: expected numbers of stages"):
        package.Backbone.from_checkpoint(path, out_indices=indices)
