"""What a model's classes are called."""

from pathlib import Path

from ..training.fashion_mnist import CLASSES


def class_names(config):
    """The names of the classes of a model for ImageNet-1k or Fashion-MNIST, in order; None for any other.

    1,000 classes are taken for ImageNet's. Source: imagenet_classes.LICENSE.txt.
    """
    if is_fashion(config):
        return CLASSES
    if config.num_classes == 1000:
        return tuple(Path(__file__).with_name("imagenet_classes.txt").read_text(encoding="utf-8").splitlines())
    return None


def is_fashion(config):
    """Is that a model for Fashion-MNIST: one channel, ten classes, 28x28 pixels?"""
    return (config.in_chans, config.num_classes, config.image_shape) == (1, len(CLASSES), (28, 28))
