"""What a model's classes are called."""

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


def is_fashion(config):
    """Whether a SwinConfig is for Fashion-MNIST: one channel, ten classes, 28x28 pixels."""
    return (config.in_chans, config.num_classes, config.image_shape) == (1, len(CLASSES), (SIDE, SIDE))
