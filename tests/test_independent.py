"""The whole model against an independent implementation, that of `transformers`, with the same random weights.

Two twins from one hand can share a mistake; a third from another hand hardly shares it too. Where a map is smaller
than a window that library has no defined result, so every grid here is at least one window large.
"""

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy import SwinConfig
from swin_numpy.checkpoint import convert_state_dict
from tests.twin import WHICH, inputs_for, normal, random_state, relative, run, tensor

transformers = pytest.importorskip("transformers", reason="transformers is not installed: no independent Swin here")

SMALL = {"num_classes": 5, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 3)}
SWIN_T = {"num_classes": 9, "embed_dim": 24, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}
SWIN_B = {"num_classes": 9, "embed_dim": 16, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)}

# name: (options, size of the images that come; None: what the model is built for)
CASES = {
    "two stages": ({**SMALL, "img_size": (32, 48), "window_size": 3}, None),
    "last stage is one window": ({**SMALL, "img_size": (56, 56)}, None),
    "last stage is one window high": ({**SMALL, "img_size": (56, 84)}, None),
    "every map padded": ({**SMALL, "img_size": (60, 100), "window_size": 7}, None),
    "patches padded": ({**SMALL, "img_size": (45, 70), "window_size": 3}, None),
    "odd sides merged": ({**SMALL, "img_size": (52, 84), "window_size": 4}, None),
    "three stages": (
        {**SMALL, "depths": (1, 2, 3), "num_heads": (1, 2, 4), "img_size": (60, 100), "window_size": 3},
        None,
    ),
    "ape": ({**SMALL, "img_size": (32, 32), "window_size": 4, "ape": True}, None),
    "no qkv bias": ({**SMALL, "img_size": (32, 48), "window_size": 3, "qkv_bias": False}, None),
    "narrow MLP": ({**SMALL, "img_size": (32, 48), "window_size": 3, "mlp_ratio": 2.5}, None),
    "grey, patches of 2": ({**SMALL, "img_size": (16, 24), "window_size": 3, "in_chans": 1, "patch_size": 2}, None),
    "any size": ({**SMALL, "img_size": None, "window_size": 3}, (32, 48)),
    "any size, padded": ({**SMALL, "img_size": None, "window_size": 4}, (45, 70)),
    "built for another size": ({**SMALL, "img_size": (32, 32), "window_size": 3}, (45, 70)),
    "Swin-T at 224": ({**SWIN_T, "img_size": 224}, None),
    "Swin-B at 96": ({**SWIN_B, "img_size": 96, "window_size": 3}, None),
}


def independent(config):
    """transformers' model for `config`, with random weights that are nowhere at their initial value."""
    theirs = transformers.SwinForImageClassification(
        transformers.SwinConfig(
            image_size=config.image_shape or (32, 32),
            patch_size=config.patch_size,
            num_channels=config.in_chans,
            embed_dim=config.embed_dim,
            depths=list(config.depths),
            num_heads=list(config.num_heads),
            window_size=config.window_size,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=config.qkv_bias,
            use_absolute_embeddings=config.ape,
            num_labels=config.num_classes,
            attn_implementation="sdpa",  # the other one computes its softmax in float32
        )
    )
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    theirs.double().load_state_dict({name: tensor(value) for name, value in random_state(shapes, seed=2).items()})
    return theirs.eval()


def outputs(theirs, images):
    """(logits, the output of each stage before PatchMerging) of transformers' model."""
    stages = []
    for layer in theirs.swin.encoder.layers:
        layer.blocks[-1].register_forward_hook(lambda m, i, out: stages.append(out[0] if type(out) is tuple else out))
    with torch.no_grad():
        return theirs(tensor(images)).logits.numpy(), [x.numpy() for x in stages]


@WHICH
@pytest.mark.parametrize("case", CASES)
def test_stages_and_logits(case, which):
    options, size = CASES[case]
    config, package = SwinConfig(**options), [swin_numpy, swin_torch][which]
    assert all(min(grid) >= config.window_size for grid in config.grids if grid)
    theirs = independent(config)
    state = convert_state_dict(theirs.state_dict())
    model = package.SwinTransformer(config)
    model = model.double() if which else model.to(np.float64)
    model.eval().load_state_dict({name: inputs_for(package, value)[0] for name, value in state.items()})

    images = normal(2, config.in_chans, *(size or config.image_shape))
    logits, stages = outputs(theirs, images)
    with torch.no_grad():
        ours = model.forward_stages(*inputs_for(package, images))
    assert len(ours) == len(stages) == len(config.depths)
    for (x, _), expected in zip(ours, stages, strict=True):
        assert relative(np.asarray(x), expected) < 1e-9
    assert relative(run(model, images), logits) < 1e-9
