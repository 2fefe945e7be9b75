"""How pictures are prepared for published weights: it belongs to the weights, and their repository says it.

The steps themselves, such as resizing and normalising, are in images.py.
"""

import json
import math
from dataclasses import dataclass

from PIL import Image

from ..weights.check import CheckpointError
from ..weights.hub import fetch
from .images import IMAGENET_MEAN, IMAGENET_STD, resize, to_array

_MEAN, _STD = (tuple(float(value) for value in values) for values in (IMAGENET_MEAN, IMAGENET_STD))
_ONE = "ViTImageProcessor"  # every published Swin of transformers has this one, under one of its names
_VIT = (_ONE, f"{_ONE}Fast", f"{_ONE}Pil", "ViTFeatureExtractor")


@dataclass(frozen=True)
class Preprocessing:
    """A PIL image → images (1, 3, H, W), float32, as for the published accuracy of a model.

    size            (H, W) in pixels
    cover           (H, W): resize, keeping the proportions, until that is covered, and cut `size` out of the centre;
                    None: resize straight to `size`
    interpolation   Pillow's name of it, in lower case
    mean, std       of red, green and blue, on a scale of 0 to 1

    Calling it raises as `preprocess`.
    """

    size: tuple[int, int] = (224, 224)
    cover: tuple[int, int] | None = (256, 256)
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = _MEAN
    std: tuple[float, ...] = _STD

    def __call__(self, image):
        return to_array(resize(image, self.size, self.cover, self.interpolation), self.mean, self.std)

    @classmethod
    def from_pretrained(cls, name, size=None, revision=None, cache_dir=None, local_files_only=False):
        """As the repository of published weights says.

        name        as for SwinTransformer.from_pretrained, and so are the three last arguments
        size        (H, W), or one number: of the images that you want; None: as it says there, else 224
        raises      as SwinTransformer.from_pretrained; CheckpointError for steps that this class doesn't have

        Read are transformers' preprocessor_config.json and the pretrained_cfg in timm's config.json. Where there is
        neither, it is what Microsoft's code does: see `preprocess`.
        """
        folder = fetch(name, revision, cache_dir, local_files_only)
        size = (size, size) if isinstance(size, int) else size and tuple(size)
        try:
            if settings := _read(folder / "preprocessor_config.json"):
                return _of_transformers(settings, size)
            settings = _read(folder / "config.json")
            return _of_timm(settings, size) if "architecture" in settings else _of_microsoft(settings, size)
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from error
        except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
            raise CheckpointError(f"{folder}: its preprocessing can't be read ({error!r})") from error


def _read(path):
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _of_transformers(settings, size):
    kind = settings.get("image_processor_type") or settings.get("feature_extractor_type") or _ONE
    _expect("preprocessor_config.json", image_processor_type=(kind, _VIT))
    for step in ("do_resize", "do_rescale"):
        _expect("preprocessor_config.json", **{step: (settings.get(step, True), (True,))})
    scale = settings.get("rescale_factor", 1 / 255)
    if not math.isclose(scale, 1 / 255):
        raise CheckpointError(f"preprocessor_config.json has rescale_factor={scale}; expected 1/255")
    told = settings.get("size", 224)
    told = (told["height"], told["width"]) if isinstance(told, dict) else (told, told)
    mean, std = settings.get("image_mean", (0.5,) * 3), settings.get("image_std", (0.5,) * 3)
    if not settings.get("do_normalize", True):
        mean, std = (0.0,) * 3, (1.0,) * 3
    interpolation = Image.Resampling(settings.get("resample", 2)).name.lower()
    return Preprocessing(size or told, None, interpolation, tuple(mean), tuple(std))


def _of_timm(settings, size):
    told = settings.get("pretrained_cfg") or settings
    _expect("config.json", crop_mode=(told.get("crop_mode", "center"), ("center",)))
    interpolation = told.get("interpolation", "bicubic")
    _expect("config.json", interpolation=(interpolation, tuple(kind.name.lower() for kind in Image.Resampling)))
    size = size or tuple(told["input_size"][1:])
    cover = tuple(math.floor(side / told.get("crop_pct", 0.875)) for side in size)
    return Preprocessing(size, cover, interpolation, tuple(told.get("mean", _MEAN)), tuple(told.get("std", _STD)))


def _of_microsoft(settings, size):
    told = settings.get("image_size", 224)
    size = size or (tuple(told) if isinstance(told, list) else (told, told))
    return Preprocessing(size, None if max(size) >= 384 else tuple(int(256 / 224 * side) for side in size))


def _expect(file, **values):
    for name, (value, possible) in values.items():
        if value not in possible:
            raise CheckpointError(f"{file} has {name}={value!r}; expected {' or '.join(map(repr, possible))}")
