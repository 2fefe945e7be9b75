"""python -m swin_numpy PICTURE, and what compare and tour share with it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import swin_numpy
from figures import photo_path
from swin_numpy import CONFIGS, SwinConfig, save_checkpoint
from swin_numpy.__main__ import main
from swin_numpy.pictures.classes import class_names, names_in
from swin_numpy.training.fashion_mnist import CLASSES, SUBSET, fashion_mnist, standardise

PHOTO = str(photo_path("chelsea"))
SMALL = SwinConfig(img_size=32, embed_dim=8, depths=(1, 1), num_heads=(2, 4), window_size=4, drop_path_rate=0.0)
FASHION = CONFIGS["swin_fashion_patch2_window7_28"]


def saved(path, config, seed=3, with_config=True):
    """A file of random weights with a head that says something, and the model."""
    model = swin_numpy.SwinTransformer(config, seed)
    if model.head is not None:
        model.head.weight[...] = np.random.default_rng(seed).normal(size=model.head.weight.shape)
    save_checkpoint(path, model.state_dict(), {"config": config} if with_config else {})
    return model


def run(capsys, *arguments):
    """(exit status, stdout, stderr)"""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_names_of_classes():
    names = class_names(SMALL)
    assert len(names) == len(set(names)) == 1000 and all(name == name.strip() for name in names)
    assert (names[0], names[285], names[999]) == ("tench", "Egyptian cat", "toilet tissue")
    assert class_names(FASHION) == CLASSES
    assert class_names(SwinConfig(num_classes=10)) is None
    assert class_names(SwinConfig(num_classes=21841)) is None


def test_the_names_licence_stands_beside_them():
    text = (Path(swin_numpy.__file__).parent / "pictures" / "imagenet_classes.LICENSE.txt").read_text()
    assert "torchvision" in text and "Redistribution and use in source and binary forms" in text


@pytest.mark.parametrize("with_config", [True, False])
def test_the_model_comes_from_the_weights_and_classes_have_names(tmp_path, capsys, with_config):
    model = saved(tmp_path / "a.npz", SMALL, with_config=with_config)
    size = 32 if with_config else 224  # nothing else tells the size of this model
    images = swin_numpy.preprocess(swin_numpy.load_image(PHOTO), size)
    logits = model(images)[0]
    status, out, _ = run(capsys, PHOTO, "--weights", tmp_path / "a.npz", "--top", 3)
    assert status == 0 and f"(1, 3, {size}, {size})" in out
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    best = np.argsort(-logits)[:3]
    expected = [f"{probabilities[i]:7.2%}  {i} {class_names(SMALL)[i]}" for i in best]
    assert [line.strip() for line in out.splitlines()[-3:]] == [line.strip() for line in expected]


def test_a_fashion_model_takes_any_picture_as_grey_28x28(tmp_path, capsys):
    model = saved(tmp_path / "a.safetensors", FASHION)
    picture = fashion_mnist(SUBSET, "test").images[5]
    Image.fromarray(picture).save(tmp_path / "a.png")
    status, out, _ = run(capsys, tmp_path / "a.png", "--weights", tmp_path / "a.safetensors", "--top", 1)
    best = model(standardise(picture[None]))[0].argmax()
    assert status == 0 and out.splitlines()[-1].endswith(f" {best} {CLASSES[best]}")
    assert run(capsys, PHOTO, "--weights", tmp_path / "a.safetensors")[0] == 0


def test_a_model_without_a_head_gives_no_classes(tmp_path, capsys):
    saved(tmp_path / "a.npz", replace(SMALL, num_classes=0))
    status, out, _ = run(capsys, PHOTO, "--weights", tmp_path / "a.npz")
    assert status == 0 and "16 features, not classes" in out and "most probable" not in out


def test_what_cannot_be_done_is_said_in_one_line(tmp_path, capsys):
    saved(tmp_path / "a.npz", replace(SMALL, in_chans=4))
    (tmp_path / "text.npz").write_text("not a checkpoint")
    for arguments, said in [
        ((PHOTO, "--weights", tmp_path / "a.npz"), "the model takes 4 channels"),
        ((PHOTO, "--weights", tmp_path / "text.npz"), "not a checkpoint"),
        ((PHOTO, "--weights", tmp_path / "nowhere.npz"), "nowhere.npz"),
        ((PHOTO, "--weights", tmp_path / "a.npz", "--model", "swin_tiny_patch4_window7_224"), "depths=(1, 1)"),
        ((PHOTO, "--model", "swin_giant"), "unknown model"),
        ((tmp_path / "nowhere.png", "--weights", tmp_path / "a.npz"), "nowhere.png"),
    ]:
        status, _, error = run(capsys, *arguments)
        assert status == 2 and said in error and error.count("\n") == 1, error


def test_compare_takes_the_model_from_the_weights_too(tmp_path, capsys):
    compare = pytest.importorskip("swin_torch.compare")
    saved(tmp_path / "a.npz", SMALL)
    assert compare.main([PHOTO, "--weights", str(tmp_path / "a.npz"), "--dtype", "float64"]) == 0
    assert f"{tmp_path / 'a.npz'} on cpu, float64" in capsys.readouterr().out


# ---- --pretrained ----------------------------------------------------------------------------------------------


TIMM = {  # a small Swin as timm uploads it
    "architecture": "swin_tiny_patch4_window7_224",
    "pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 0.5, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
    "model_args": {"img_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
}


@pytest.fixture
def published(hub, tmp_path, monkeypatch):
    """upload(repo, settings, config) → the model; the cache is a new one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    def upload(repo, settings=TIMM, config=SMALL):
        model = saved(tmp_path / "model.safetensors", config, with_config=False)
        weights = (tmp_path / "model.safetensors").read_bytes()
        hub.upload(repo, {"config.json": json.dumps(settings).encode(), "model.safetensors": weights})
        return model

    upload.hub = hub
    return upload


def test_published_weights_name_the_picture(published, tmp_path, capsys):
    """Pictures are prepared as their repository says."""
    model = published("timm/swin_tiny_patch4_window7_224.ms_in1k")
    picture = swin_numpy.load_image(PHOTO)
    picture = picture.resize((64 * picture.width // picture.height, 64), Image.Resampling.BICUBIC)
    left = round((picture.width - 32) / 2)
    pixels = np.asarray(picture.crop((left, 16, left + 32, 48)), np.float32) / 255
    images = (pixels - np.float32([0.5, 0.4, 0.3])) / np.float32([0.2, 0.3, 0.4])
    logits = model(np.ascontiguousarray(images.transpose(2, 0, 1)[None]))[0]
    status, out, error = run(capsys, PHOTO, "--top", 2, "--pretrained")
    best = np.argsort(-logits)[:2]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    expected = [f"{shares[i]:7.2%}  {i} {class_names(SMALL)[i]}" for i in best]
    assert status == 0 and [line.strip() for line in out.splitlines()[-2:]] == [line.strip() for line in expected]
    assert "swin_tiny_patch4_window7_224, weights of timm/swin_tiny_patch4_window7_224.ms_in1k" in out
    assert "MB to " in error and "random" not in out
    status, out, _ = run(capsys, PHOTO, "--full", "--pretrained", "swin_tiny_patch4_window7_224")
    assert status == 0 and "(1, 3, 300, 451)" in out


def test_names_of_classes_come_with_the_weights_or_not_at_all(published, capsys):
    three = replace(SMALL, num_classes=3)
    labels = {"id2label": {"2": "c", "0": "a", "1": "b"}}
    published("somebody/labelled", TIMM | labels, three)
    status, out, _ = run(capsys, PHOTO, "--pretrained", "somebody/labelled")
    assert status == 0 and sorted(line.split()[1:] for line in out.splitlines()[-3:]) == [
        ["0", "a"],
        ["1", "b"],
        ["2", "c"],
    ]
    published("somebody/nameless", TIMM, three)
    status, out, _ = run(capsys, PHOTO, "--pretrained", "somebody/nameless")
    assert status == 0 and out.splitlines()[-1] == "What its 3 classes are called isn't said with the weights."


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"id2label": {"10": "k", **{str(i): "abcdefghij"[i] for i in range(10)}}}, tuple("abcdefghijk")),
        ({"label_names": ["n1", "n2"], "label_descriptions": {"n1": "cat", "n2": "dog"}}, ("cat", "dog")),
        ({"pretrained_cfg": {"label_names": ["n1", "n2"], "label_descriptions": {"n2": "dog"}}}, ("n1", "dog")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None),
        ({"id2label": {}}, None),
        ({}, None),
    ],
)
def test_names_in_a_folder(tmp_path, settings, names):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert names_in(tmp_path, SwinConfig(num_classes=len(names or "ab"))) == names
    assert names_in(tmp_path, SwinConfig(num_classes=7)) is None
    assert names_in(tmp_path, SwinConfig()) == class_names(SwinConfig())
    assert names_in(tmp_path / "nowhere", SwinConfig()) == class_names(SwinConfig())


def test_published_weights_that_cannot_be_had_are_one_line(published, capsys):
    published.hub.close()
    for arguments, said in [
        (("--pretrained",), "timm/swin_tiny_patch4_window7_224.ms_in1k: it couldn't be fetched"),
        (("--pretrained", "swin_giant"), "expected a folder, owner/repository on the hub"),
        (("--pretrained", "a/b", "--weights", "c.pth"), "leave out --model and --weights"),
        (("--pretrained", "a/b", "--model", "c"), "leave out --model and --weights"),
    ]:
        status, out, error = run(capsys, PHOTO, *arguments)
        assert status == 2 and said in error and error.count("\n") == 1 and not out, error


def test_compare_and_the_tour_take_published_weights(published, capsys, tmp_path):
    compare, tour = pytest.importorskip("swin_torch.compare"), pytest.importorskip("swin_torch.tour")
    sizes = TIMM["model_args"] | {"depths": [2, 1], "img_size": 112}
    settings = TIMM | {"pretrained_cfg": {"input_size": [3, 112, 112]}, "model_args": sizes}
    published("timm/swin_tiny_patch4_window7_224.ms_in1k", settings, replace(SMALL, depths=(2, 1), img_size=112))
    assert compare.main([PHOTO, "--pretrained"]) == 0
    out = capsys.readouterr().out
    assert "weights of timm/swin_tiny_patch4_window7_224.ms_in1k on cpu" in out and "The twins agree" in out
    assert tour.main(["--save", str(tmp_path / "tour"), "--pretrained"]) == 0
    out = capsys.readouterr().out
    assert "The twins agree" in out and "most probable classes" in out and "random, seed" not in out
    assert len(list((tmp_path / "tour").glob("*.png"))) == 4
    published.hub.close()
    assert tour.main(["--pretrained", "somebody/else"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
