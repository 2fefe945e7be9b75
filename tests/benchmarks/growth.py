"""How time grows with the image: Swin against global attention, and the exponent that fits."""

from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch.nn.functional import scaled_dot_product_attention

from swin_torch import SwinTransformer

from .contenders import finish

SIDES = (112, 224, 448, 896)


def exponent(sides, seconds):
    """e in time ~ pixels^e, by least squares in log-log; NaN for fewer than two sides."""
    if len(sides) < 2:
        return float("nan")
    pixels = 2 * np.log(np.asarray(sides, float))
    return float(np.polyfit(pixels, np.log(seconds), 1)[0])


def growing(config, side, device, dtype):
    """{name: call} on one image of side x side: Swin whole, and one layer of attention each way on its first grid."""
    model = SwinTransformer(replace(config, img_size=None)).use_attention("fused").eval().to(device, dtype)
    block = model.layers[0].blocks[0]
    image = torch.randn(1, config.in_chans, side, side, device=device, dtype=dtype)
    grid = (-(-side // config.patch_size),) * 2
    tokens = torch.randn(1, grid[0] * grid[1], config.embed_dim, device=device, dtype=dtype)
    calls = {
        "Swin": lambda: model(image),
        "W-MSA, one layer": lambda: block.attend(tokens, grid),
        "global attention, one layer": lambda: everywhere(block.attn, tokens),
    }
    return {name: waiting(call, device) for name, call in calls.items()}


def everywhere(attn, x):
    """The same layer with every token looking at every other: PyTorch's fused attention, which stores no scores."""
    q, k, v = rearrange(attn.qkv(x), "n l (three a d) -> three n a l d", three=3, a=attn.num_heads)
    return attn.proj(rearrange(scaled_dot_product_attention(q, k, v), "n a l d -> n l (a d)"))


def waiting(call, device):
    def wrapped():
        with torch.inference_mode():
            call()
        finish(device)

    return wrapped
