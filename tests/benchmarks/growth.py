"""How time grows with the image: Swin against global attention, and the exponent that fits. And with the batch."""

from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch.nn.functional import scaled_dot_product_attention

import swin_numpy
from swin_torch import SwinTransformer

from .contenders import examples, finish, numpy_models, torch_forward, torch_models

SIDES = (112, 224, 448, 896)
BATCHES = {"cpu": (1, 2, 4, 8, 16), "gpu": (1, 4, 16, 64, 256)}


def exponent(sides, seconds):
    """e in time ~ pixels^e, by least squares in log-log; NaN for fewer than two sides."""
    if len(sides) < 2:
        return float("nan")
    pixels = 2 * np.log(np.asarray(sides, float))
    return float(np.polyfit(pixels, np.log(seconds), 1)[0])


def growing(config, side, device, dtype):
    """{name: call} on one image of side x side: Swin whole, and one layer of attention each way on its first grid."""
    config = replace(config, img_size=None)
    model = SwinTransformer(config).use_attention("fused").eval().to(device, dtype)
    block = model.layers[0].blocks[0]
    image = torch.randn(1, config.in_chans, side, side, device=device, dtype=dtype)
    grid = (-(-side // config.patch_size),) * 2
    tokens = torch.randn(1, grid[0] * grid[1], config.embed_dim, device=device, dtype=dtype)
    calls = {
        "Swin, PyTorch twin": lambda: model(image),
        "W-MSA, one layer": lambda: block.attend(tokens, grid),
        "global attention, one layer": lambda: everywhere(block.attn, tokens),
    }
    if image.device.type == "cpu" and dtype == torch.float32:
        reference, pixels = swin_numpy.SwinTransformer(config).use_attention("fused"), image.numpy()
        calls["Swin, NumPy twin"] = lambda: reference(pixels)
    return {name: waiting(call, device) for name, call in calls.items()}


def batched(config, batch, device, dtype):
    """{name: call} on so many images at once: all contenders but the plain twins."""
    images, _ = examples(config, batch)
    calls = {name: torch_forward(model, images, device, dtype) for name, model in torch_models(config)[0].items()}
    if torch.device(device).type == "cpu" and dtype == torch.float32:
        calls |= {name: lambda model=model: model(images) for name, model in numpy_models(config).items()}
    return {name: call for name, call in calls.items() if "plain" not in name}


def everywhere(attn, x):
    """The same layer with every token looking at every other: PyTorch's fused attention, which stores no scores.

    Split by hand, since `attn.project` takes windows of its own size only.
    """
    q, k, v = rearrange(attn.qkv(x), "n l (three a d) -> three n a l d", three=3, a=attn.num_heads)
    return attn.proj(rearrange(scaled_dot_product_attention(q, k, v), "n a l d -> n l (a d)"))


def waiting(call, device):
    """`call` without gradients, returning when the device is done."""

    def wrapped():
        with torch.inference_mode():
            call()
        finish(device)

    return wrapped
