"""save_pretrained: a folder that transformers, timm and we read again, with the same logits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy import CheckpointError, SwinConfig
from tests.twin import PACKAGES, inputs_for, normal, random_state, relative

TWO = SwinConfig(img_size=64, embed_dim=12, depths=(2, 3), num_heads=(2, 3), window_size=4, num_classes=5)
BOTH, ONE = ("transformers", "timm"), ("transformers",)
CASES = {  # name: (the libraries that have such a model, its configuration)
    "V1": (BOTH, TWO),
    "V2": (BOTH, replace(TWO, version=2)),
    "V2, another window than at pre-training": (
        BOTH,
        replace(TWO, version=2, window_size=8, pretrained_window_sizes=(4, 2)),
    ),
    "grey, not square, no qkv bias": (BOTH, replace(TWO, img_size=(64, 96), in_chans=1, qkv_bias=False, mlp_ratio=2.5)),
    "no head": (BOTH, replace(TWO, num_classes=0)),
    "two classes": (BOTH, replace(TWO, num_classes=2)),
    "patches of 2": (BOTH, replace(TWO, img_size=32, patch_size=2)),
    "position embedding": (ONE, replace(TWO, ape=True)),
    "any size": (ONE, replace(TWO, img_size=None)),
    "windows shrink": (BOTH[1:], replace(TWO, img_size=56, window_size=14)),
    "a window for each of three stages": (
        BOTH[1:],
        replace(TWO, depths=(1, 2, 1), num_heads=(2, 3, 6), window_size=(4, 2, 4), pretrained_window_sizes=(0, 0, 0)),
    ),
}
RUNS = [(case, library) for case, (libraries, _) in CASES.items() for library in libraries]


def model_of(config, package=swin_torch):
    """In evaluation mode, every weight random, float32."""
    model = package.SwinTransformer(config).eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    state = {name: value.astype(np.float32) for name, value in random_state(shapes, seed=6).items()}
    model.load_state_dict(
        {name: torch.from_numpy(value) for name, value in state.items()} if package is swin_torch else state
    )
    return model


def logits_of(model, images):
    package = swin_torch if isinstance(model, torch.nn.Module) else swin_numpy
    with torch.no_grad():
        return np.asarray(model(*inputs_for(package, images)))


def theirs(library, folder):
    """The model that the library's own loader makes of the folder; it must find all it wants and nothing else."""
    if library == "timm":
        timm = pytest.importorskip("timm", reason="timm is not installed: what it reads is not tested here")
        return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    from transformers import AutoModelForImageClassification

    model, info = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


@PACKAGES
@pytest.mark.parametrize(("case", "library"), RUNS)
def test_the_library_s_loader_gives_the_same_logits_and_so_do_we(tmp_path, case, library, package):
    config = CASES[case][1]
    model = model_of(config, package)
    model.save_pretrained(tmp_path / "new" / "folder", library)
    images = normal(2, config.in_chans, *(config.image_shape or (64, 96)), dtype=np.float32)
    logits = logits_of(model, images)
    back = package.SwinTransformer.from_pretrained(tmp_path / "new" / "folder")
    assert back.config == config and np.array_equal(logits_of(back, images), logits)
    with torch.no_grad():
        output = theirs(library, tmp_path / "new" / "folder")(torch.from_numpy(images))
    assert relative((output if library == "timm" else output.logits).numpy(), logits) < 1e-5


def test_timm_takes_the_file_too(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed: what it reads is not tested here")
    config = swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
    model = model_of(replace(config, num_classes=3))
    model.save_pretrained(tmp_path, "timm")
    other = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=3, checkpoint_path=tmp_path / "model.safetensors"
    )
    images = normal(1, 3, 224, 224, dtype=np.float32)
    assert relative(logits_of(other.eval(), images), logits_of(model, images)) < 1e-5


def test_transformers_is_the_default_and_dropout_is_kept(tmp_path):
    config = replace(TWO, drop_rate=0.1, attn_drop_rate=0.2, drop_path_rate=0.3)
    model_of(config).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["SwinForImageClassification"]
    assert swin_torch.SwinTransformer.from_pretrained(tmp_path).config == config


REFUSED = {
    ("transformers", "windows shrink"): "in transformers, V1's tables don't shrink to the grid",
    ("transformers", "a window for each of three stages"): "transformers has one window_size for all stages",
    ("timm", "position embedding"): "timm can't be told ape=True",
    ("timm", "any size"): "timm's models have a size: build the model with img_size",
}


@pytest.mark.parametrize(("library", "case"), REFUSED)
def test_what_a_library_has_no_model_for_is_refused(tmp_path, library, case):
    assert library not in CASES[case][0]
    with pytest.raises(CheckpointError, match=REFUSED[library, case]):
        model_of(CASES[case][1]).save_pretrained(tmp_path / "new", library)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("library", "change", "said"),
    [
        ("transformers", {"always_shift": True}, r"transformers can't be told always_shift=True"),
        ("timm", {"always_shift": True}, r"timm can't be told always_shift=True"),
        ("transformers", {"patch_norm": False}, r"transformers can't be told patch_norm=False"),
        ("timm", {"window_size": (4, 2)}, r"timm takes two windows, here \(4, 2\), for the height and width of one"),
    ],
)
def test_and_so_is_any_field_without_words(tmp_path, library, change, said):
    with pytest.raises(CheckpointError, match=said):
        model_of(replace(TWO, **change)).save_pretrained(tmp_path / "new", library)
    assert not (tmp_path / "new").exists()


@PACKAGES
def test_other_libraries_and_backbones_are_refused(tmp_path, package):
    with pytest.raises(ValueError, match='to: expected "transformers" or "timm", got \'microsoft\''):
        package.SwinTransformer(TWO).save_pretrained(tmp_path, "microsoft")
    with pytest.raises(CheckpointError, match="save_pretrained writes classifiers"):
        package.Backbone(TWO).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
