"""Every length of side from 1 to 130 through a model for any size."""

import numpy as np
import pytest
import torch

from swin_numpy import SwinConfig, convert_state_dict
from tests.families import NEEDS_TORCHVISION, assert_close, peer, peer_outputs
from tests.twin import PACKAGES, inputs_for, normal, relative, tensor, twins

SIZES = dict(img_size=None, embed_dim=4, depths=(2, 2), num_heads=(1, 2), num_classes=3, patch_size=2)
# Rows from 1 to 130 and columns from 130 to 1; rows beside few columns
SIDES = [(rows, 131 - rows) for rows in range(1, 131)] + [(rows, 1 + rows * 7 % 12) for rows in range(1, 131, 3)]


def config_of(window):
    return SwinConfig(**SIZES, window_size=window, pretrained_window_sizes=(0, 0))


def both(config, state=None):
    """Both twins, with `state` or random weights."""
    ours, theirs = twins(lambda package: package.SwinTransformer(config))
    if state is not None:
        ours.load_state_dict(state)
        theirs.load_state_dict(state)
    return ours, theirs


def outputs(model, images):
    with torch.no_grad():
        return np.asarray(model(images))


@pytest.mark.parametrize("window", [3, 4])
def test_twins_agree_at_every_length(window):
    ours, theirs = both(config_of(window))
    for size in SIDES:
        images = normal(1, 3, *size)
        expected = outputs(ours, images)
        assert np.isfinite(expected).all()
        assert relative(outputs(theirs, tensor(images)), expected) < 1e-10, size


def padded(images, to):
    """Zeros at the right and the bottom: torchvision's patches would drop what doesn't fill one."""
    rows, columns = (-side % to for side in images.shape[2:])
    return np.pad(images, ((0, 0), (0, 0), (0, rows), (0, columns)))


@NEEDS_TORCHVISION
@pytest.mark.parametrize("window", [3, 4])
def test_every_length_is_torchvision_s(window):
    theirs = peer("torchvision", config_of(window))
    ours, _ = both(config_of(window), convert_state_dict(theirs.state_dict()))
    for size in SIDES:
        images = normal(1, 3, *size)
        logits, _ = peer_outputs("torchvision", theirs, padded(images, 2))
        assert_close(ours(images), logits)


def test_every_length_is_transformers_s():
    """Where all maps are larger than a window; else that library shrinks windows at each call."""
    config = config_of(2)
    theirs = peer("transformers", config)
    ours, _ = both(config, convert_state_dict(theirs.state_dict()))
    large = [size for size in SIDES if min(size) > 8]
    assert len(large) > 110
    for size in large:
        images = normal(1, 3, *size)
        logits, _ = peer_outputs("transformers", theirs, images)
        assert_close(ours(images), logits)


@PACKAGES
@pytest.mark.parametrize("size", [(0, 8), (8, 0)])
def test_no_pixels_are_refused(size, package):
    model = package.SwinTransformer(config_of(3))
    with pytest.raises(ValueError, match=r"images: expected shape \(n, 3, H, W\)"):
        model(*inputs_for(package, normal(1, 3, *size)))
