"""The ResNet that chapter 10 compares with the small Swin: its size, its shapes, its layers counted."""

import pytest
import torch
from torch import nn

from notebooks.convnet import Residual, resnet
from swin_numpy.config import CONFIGS
from swin_numpy.training.fashion_mnist import MODEL
from swin_torch import SwinTransformer


def parameters(model):
    return sum(value.numel() for value in model.parameters())


def test_it_has_as_many_parameters_as_the_small_swin_within_one_percent():
    assert parameters(resnet()) == pytest.approx(parameters(SwinTransformer(CONFIGS[MODEL])), rel=0.01)


def test_it_is_a_resnet_20():
    convolutions = [layer for layer in resnet().modules() if isinstance(layer, nn.Conv2d)]
    assert sum(layer.kernel_size == (3, 3) for layer in convolutions) == 19  # and one linear layer
    assert sum(layer.kernel_size == (1, 1) for layer in convolutions) == 2  # where a shortcut changes size


def test_its_maps_are_halved_twice_and_its_logits_are_those_of_each_image_alone():
    sides, model = [], resnet().eval()
    for layer in model:
        if isinstance(layer, Residual):
            layer.register_forward_hook(lambda module, inputs, out: sides.append((out.shape[1], *out.shape[2:])))
    images = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        logits = model(images)
        assert logits.shape == (3, 10)
        assert torch.allclose(model(images[1:2]), logits[1:2], atol=1e-5)
    assert sides[:9] == [(15, 14, 14)] * 3 + [(30, 7, 7)] * 3 + [(60, 4, 4)] * 3


@pytest.mark.parametrize("outputs, stride", [(4, 1), (6, 2)])
def test_a_block_without_weights_passes_its_shortcut_on(outputs, stride):
    block = Residual(4, outputs, stride).eval()
    nn.init.zeros_(block.branch[-1].weight)
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        assert torch.equal(block(x), torch.relu(block.shortcut(x)))
