"""What a model's classes are called."""

import json
from pathlib import Path

from ..training.fashion_mnist import CLASSES, SIDE


def class_names(config):
    """The names of the classes, in order, of a model for ImageNet-1k or Fashion-MNIST; None for any other SwinConfig.

    A model with 1,000 classes is assumed to be for ImageNet. Source: imagenet_classes.LICENSE.txt.
    """
    if is_fashion(config):
        return CLASSES
    if config.num_classes == 1000:
        return tuple(Path(__file__).with_name("imagenet_classes.txt").read_text(encoding="utf-8").splitlines())
    return None


def names_in(folder, config):
    """The names of the classes that a repository of the hub gives in its config.json, in order; else class_names'.

    folder   where it was downloaded to; see `swin_numpy.weights.hub.fetch`
    config   the SwinConfig of the model: names for another number of classes than it has are not used
    """
    path = Path(folder) / "config.json"
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    timm = settings.get("pretrained_cfg") or settings
    words = settings.get("label_descriptions") or timm.get("label_descriptions") or {}
    found = settings.get("label_names") or timm.get("label_names") or _in_order(settings.get("id2label") or {})
    found = tuple(words.get(name, name) for name in found)
    return found if found and len(found) == config.num_classes else class_names(config)


def _in_order(labels):
    """{"0": name, "1": name, …} → names; () for transformers' stopgaps LABEL_0, LABEL_1, …."""
    names = [labels[key] for key in sorted(labels, key=int)]
    return () if names == [f"LABEL_{i}" for i in range(len(names))] else names


def is_fashion(config):
    """Whether a SwinConfig is for Fashion-MNIST: one channel, ten classes, 28x28 pixels."""
    return (config.in_chans, config.num_classes, config.image_shape) == (1, len(CLASSES), (SIDE, SIDE))
