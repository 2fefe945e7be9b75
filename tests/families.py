"""Other people's Swin models with random weights, and what their stages give: torchvision, timm, transformers."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from einops import rearrange

from tests.twin import random_state, tensor

FAMILIES = ("torchvision", "timm", "transformers")
NEEDS_TORCHVISION = pytest.mark.skipif(not find_spec("torchvision"), reason="torchvision is not installed")


def peer(family, config):
    """A model of `family` with the sizes of `config`, float64, every weight random. Skips where there is none."""
    pytest.importorskip(family, reason=f"{family} is not installed: its models are not compared here")
    model = {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}[family](config)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    values = {name: tensor(value) for name, value in random_state(shapes, seed=2).items()}
    model.double().load_state_dict(values, strict=False)  # buffers stay as they are
    return model.eval()


def peer_outputs(family, model, images):
    """(logits, the tokens (n, h·w, c) of each stage before its PatchMerging), NumPy arrays."""
    stages = []
    hooks = [part.register_forward_hook(lambda _, __, out: stages.append(_tokens(out))) for part in _stages(model)]
    with torch.no_grad():
        logits = model(tensor(images))
    for hook in hooks:
        hook.remove()
    return (logits.logits if family == "transformers" else logits).numpy(), stages


def _stages(model):
    """What gives a stage's output: its last block."""
    if hasattr(model, "features"):
        return [stage[-1] for stage in model.features[1::2]]
    trunk = getattr(model, "swin", None) or getattr(model, "swinv2", None)  # transformers
    layers = trunk.encoder.layers if trunk else model.layers
    return [layer.blocks[-1] for layer in layers]


def _tokens(output):
    output = output[0] if isinstance(output, tuple) else output
    return (rearrange(output, "n h w c -> n (h w) c") if output.ndim == 4 else output).numpy()


def _torchvision(config):
    from torchvision.models import swin_transformer as peers

    version2 = {"block": peers.SwinTransformerBlockV2, "downsample_layer": peers.PatchMergingV2}
    return peers.SwinTransformer(
        patch_size=[config.patch_size] * 2,
        embed_dim=config.embed_dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=[config.window_size] * 2,
        mlp_ratio=config.mlp_ratio,
        num_classes=config.num_classes,
        **(version2 if config.version == 2 else {}),
    )


def _timm(config):
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    pretrained = {"pretrained_window_sizes": config.pretrained_window_sizes}
    return (SwinTransformerV2 if config.version == 2 else SwinTransformer)(
        img_size=config.img_size,
        patch_size=config.patch_size,
        in_chans=config.in_chans,
        num_classes=config.num_classes,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=config.window_size,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        **(pretrained if config.version == 2 else {}),
    )


def transformers_config(config):
    import transformers

    # V1's eager attention computes its softmax in float32, V2 has no other, which doesn't
    version1 = {"attn_implementation": "sdpa"}
    version2 = {"pretrained_window_sizes": list(config.pretrained_window_sizes)}
    return (transformers.Swinv2Config if config.version == 2 else transformers.SwinConfig)(
        image_size=config.image_shape or (512, 512),  # V2's windows shrink to this, V1's to what comes
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
        out_indices=list(range(1, len(config.depths) + 1)),  # of a backbone; 0 is the patches
        **(version2 if config.version == 2 else version1),
    )


def _transformers(config):
    import transformers

    if config.version == 2:
        return transformers.Swinv2ForImageClassification(transformers_config(config))
    return transformers.SwinForImageClassification(transformers_config(config))


def assert_close(found, expected, bound=1e-9):
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
