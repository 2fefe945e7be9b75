"""Preprocessing that belongs to weights, against timm's transforms and transformers' image processor."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import swin_numpy
from figures import photo_path
from swin_numpy import CheckpointError, Preprocessing, load_image, preprocess

PICTURES = {
    "landscape": load_image(photo_path("chelsea")),
    "portrait": load_image(photo_path("chelsea")).rotate(90, expand=True).resize((211, 333)),
    "smaller than the model's": load_image(photo_path("chelsea")).resize((100, 61)),
}


def written(folder, **files):
    for name, settings in files.items():
        (folder / f"{name}.json").write_text(json.dumps(settings))
    return folder


TIMM = {
    "architecture": "swin_tiny_patch4_window7_224",
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
}
TIMM_CHANGES = {
    "as Swin-T's": {},
    "384, nothing cut off but the ends": {"input_size": [3, 384, 384], "crop_pct": 1.0},
    "another mean and interpolation": {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1], "interpolation": "bilinear"},
    "256": {"input_size": [3, 256, 256], "crop_pct": 0.95},
}


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("change", TIMM_CHANGES)
def test_as_timm_prepares_it(tmp_path, change, picture):
    data = pytest.importorskip("timm.data", reason="timm is not installed: its transforms are not compared here")
    config = TIMM["pretrained_cfg"] | TIMM_CHANGES[change]
    written(tmp_path, config=TIMM | {"pretrained_cfg": config})
    transform = data.create_transform(**data.resolve_data_config({}, pretrained_cfg=config))
    found = Preprocessing.from_pretrained(tmp_path)(PICTURES[picture])
    expected = transform(PICTURES[picture]).numpy()[None]
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5


def test_timm_s_numbers_are_read(tmp_path):
    config = TIMM["pretrained_cfg"]
    written(tmp_path, config=TIMM)
    assert Preprocessing.from_pretrained(tmp_path) == Preprocessing(
        (224, 224), (248, 248), "bicubic", tuple(config["mean"]), tuple(config["std"])
    )
    assert Preprocessing.from_pretrained(tmp_path, size=384).cover == (426, 426)
    assert Preprocessing.from_pretrained(tmp_path, size=(192, 288)).cover == (213, 320)
    old = {"architecture": "swin_tiny_patch4_window7_224"} | config  # before 2023 it stood one level higher
    assert Preprocessing.from_pretrained(written(tmp_path, config=old)).cover == (248, 248)
    bare = {"architecture": "swin_tiny_patch4_window7_224", "pretrained_cfg": {"input_size": [3, 224, 224]}}
    assert Preprocessing.from_pretrained(written(tmp_path, config=bare)).cover == (256, 256)  # timm's 0.875


VIT = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
VIT_CHANGES = {
    "as Swin-T's": {},
    "not square, bilinear": {"size": {"height": 96, "width": 160}, "resample": 2},
    "not normalised": {"do_normalize": False},
    "its own defaults": {
        "size": {"height": 224, "width": 224},
        "resample": None,
        "image_mean": None,
        "image_std": None,
    },
}


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("change", VIT_CHANGES)
def test_as_transformers_prepares_it(tmp_path, change, picture):
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    settings = {name: value for name, value in (VIT | VIT_CHANGES[change]).items() if value is not None}
    written(tmp_path, preprocessor_config=settings, config={"model_type": "swin", "image_size": 192})
    theirs = ViTImageProcessorPil.from_pretrained(tmp_path)
    expected = np.stack(theirs(PICTURES[picture])["pixel_values"])
    found = Preprocessing.from_pretrained(tmp_path)(PICTURES[picture])
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5


def test_older_settings_of_transformers(tmp_path):
    """As they stand in microsoft/swin-tiny-patch4-window7-224."""
    old = {"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor", "size": 224}
    old |= {name: VIT[name] for name in ("resample", "image_mean", "image_std")}
    found = Preprocessing.from_pretrained(written(tmp_path, preprocessor_config=old))
    assert found == Preprocessing(cover=None, mean=tuple(old["image_mean"]), std=tuple(old["image_std"]))
    assert Preprocessing.from_pretrained(tmp_path, size=(96, 64)) == replace(found, size=(96, 64))


@pytest.mark.parametrize("size", [192, 224, 384])
def test_without_a_word_of_it_as_microsoft_s_code(tmp_path, size):
    (tmp_path / "swin.pth").write_bytes(b"")
    picture = PICTURES["landscape"]
    assert np.array_equal(Preprocessing.from_pretrained(tmp_path, size)(picture), preprocess(picture, size))
    assert Preprocessing.from_pretrained(tmp_path) == Preprocessing()
    assert np.array_equal(Preprocessing()(picture), preprocess(picture))
    written(tmp_path, config={"model_type": "swin", "image_size": size})
    assert Preprocessing.from_pretrained(tmp_path).size == (size, size)
    written(tmp_path, config={"model_type": "swin", "image_size": [size, 256]})
    assert Preprocessing.from_pretrained(tmp_path).size == (size, 256)


def test_the_interpolation_is_used_where_it_crops_and_where_not():
    picture = PICTURES["landscape"]
    large = picture.resize((60, int(60 * picture.height / picture.width)), Image.Resampling.BILINEAR)
    assert large.height == 39  # so that 39 rows are covered by a picture of the same proportions
    left, top = round((large.width - 32) / 2), round((large.height - 24) / 2)
    cut = large.crop((left, top, left + 32, top + 24))
    found = Preprocessing((24, 32), (39, 60), "bilinear")(picture)
    assert np.array_equal(found, swin_numpy.to_array(cut))
    straight = picture.resize((32, 24), Image.Resampling.BOX)
    assert np.array_equal(Preprocessing((24, 32), None, "box")(picture), swin_numpy.to_array(straight))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"preprocessor_config": {"image_processor_type": "DonutImageProcessor"}}, "image_processor_type='DonutIm"),
        ({"preprocessor_config": VIT | {"do_rescale": False}}, "do_rescale=False"),
        ({"preprocessor_config": VIT | {"do_resize": False}}, "do_resize=False"),
        ({"preprocessor_config": VIT | {"rescale_factor": 1}}, "rescale_factor=1"),
        ({"preprocessor_config": VIT | {"size": {"shortest_edge": 224}}}, "can't be read"),
        ({"config": {"architecture": "swin", "pretrained_cfg": {"crop_mode": "squash"}}}, "crop_mode='squash'"),
        ({"config": {"architecture": "swin", "pretrained_cfg": {"interpolation": "random"}}}, "interpolation='random'"),
        ({"config": {"architecture": "swin"}}, "can't be read"),
        ({"config": ["swin"]}, "can't be read"),
    ],
)
def test_steps_that_are_not_ours_are_refused(tmp_path, files, said):
    with pytest.raises(CheckpointError, match=said) as error:
        Preprocessing.from_pretrained(written(tmp_path, **files))
    assert str(tmp_path) in str(error.value)


def test_a_mean_of_its_own_there_and_back():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    mean, std = (0.2, 0.5, 0.7), (0.5, 0.1, 0.3)
    images = swin_numpy.to_array(image, mean, std)
    pixels = np.asarray(image, dtype=np.float64) / 255
    assert np.abs(images[0].transpose(1, 2, 0) - (pixels - mean) / std).max() < 1e-5
    assert np.array_equal(swin_numpy.denormalise(images, mean, std)[0], np.asarray(image))
