"""python -m swin_numpy PICTURE, and what compare shares with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import swin_numpy
from figures import photo_path
from swin_numpy import CONFIGS, SwinConfig, save_checkpoint
from swin_numpy.__main__ import main
from swin_numpy.pictures.classes import class_names
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
