"""How time and memory grow with the image, and with the batch: Swin, its peers, and global attention beside them."""

import subprocess
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch.nn.functional import scaled_dot_product_attention

import swin_numpy
from swin_torch import SwinTransformer, WindowAttention

from .contenders import PEERS, examples, finish, numpy_models, torch_forward, torch_models
from .measure import interleaved, peak_memory

SIDES = (112, 224, 448, 672, 896, 1344)
LINEAR_FROM = 448  # below, fixed costs flatten the curve
BATCHES = {"cpu": (1, 4, 16, 64), "gpu": (1, 4, 16, 64, 256)}
TOO_SLOW = 2.0  # seconds: what takes longer than this isn't tried on the next larger image

ONE_IMAGE = {
    "NumPy twin, fused": """
import numpy as np
from swin_numpy import SwinTransformer, SwinConfig
SwinTransformer({config}).use_attention("fused")(np.zeros((1, {config}.in_chans, {side}, {side}), np.float32))
""",
    "PyTorch twin, fused": """
import torch
from swin_numpy import SwinConfig
from swin_torch import SwinTransformer
with torch.inference_mode():
    SwinTransformer({config}).use_attention("fused").eval()(torch.zeros(1, {config}.in_chans, {side}, {side}))
""",
    "timm": """
import torch
from dataclasses import replace
from swin_numpy import SwinConfig
from tests.families import _timm
with torch.inference_mode():
    _timm(replace({config}, img_size={side})).eval()(torch.zeros(1, {config}.in_chans, {side}, {side}))
""",
}


def exponent(sides, seconds):
    """e in time ~ pixels^e, by least squares in log-log; NaN for fewer than two sides."""
    if len(sides) < 2:
        return float("nan")
    pixels = 2 * np.log(np.asarray(sides, float))
    return float(np.polyfit(pixels, np.log(seconds), 1)[0])


def exponents(sides, seconds):
    """{name: {"below": e up to LINEAR_FROM, "above": e from there}} for {name: seconds, None where not measured}."""
    found = {}
    for name, values in seconds.items():
        there = [(side, value) for side, value in zip(sides, values, strict=True) if value is not None]
        parts = {
            "below": [pair for pair in there if pair[0] <= LINEAR_FROM],
            "above": [pair for pair in there if pair[0] >= LINEAR_FROM],
        }
        found[name] = {
            which: exponent(*zip(*part, strict=True)) if part else float("nan") for which, part in parts.items()
        }
    return found


def growing(config, side, device, dtype):
    """{name: call} on one image of side x side: whole models, and one layer of attention each way on its first grid."""
    free = replace(config, img_size=None)
    model = SwinTransformer(free).use_attention("fused").eval().to(device, dtype)
    block = model.layers[0].blocks[0]
    lone = WindowAttention(config.embed_dim, 1, config.num_heads[0], qkv_bias=config.qkv_bias).to(device, dtype)
    image = torch.randn(1, config.in_chans, side, side, device=device, dtype=dtype)
    grid = (-(-side // config.patch_size),) * 2
    tokens = torch.randn(1, grid[0] * grid[1], config.embed_dim, device=device, dtype=dtype)
    calls = {
        "PyTorch twin, fused": lambda: model(image),
        "W-MSA, one layer": lambda: block.attend(tokens, grid),
        "global attention, one layer": lambda: everywhere(lone, tokens),
    }
    if image.device.type == "cpu" and dtype == torch.float32:
        reference, pixels = swin_numpy.SwinTransformer(free).use_attention("fused"), image.numpy()
        calls["NumPy twin, fused"] = lambda: reference(pixels)
    for name, make in PEERS.items():
        try:  # not installed, or not made for images of this size
            peer = make(replace(config, img_size=side)).eval().to(device, dtype)
            with torch.inference_mode():
                peer(image)
        except Exception:
            continue
        calls[name] = lambda peer=peer: peer(image)
    return {name: waiting(call, device) for name, call in calls.items()}


def batched(config, batch, device, dtype):
    """{name: call} on so many images at once: all contenders but the plain twins."""
    images, _ = examples(config, batch)
    calls = {name: torch_forward(model, images, device, dtype) for name, model in torch_models(config)[0].items()}
    if torch.device(device).type == "cpu" and dtype == torch.float32:
        calls |= {name: lambda model=model: model(images) for name, model in numpy_models(config).items()}
    return {name: call for name, call in calls.items() if "plain" not in name}


def everywhere(attn, x):
    """Every token looking at every other, x (n, l, c) → same: PyTorch's fused attention, which stores no scores.

    attn: a WindowAttention of window 1. A window of the whole map would hold a bias for every pair of tokens.
    """
    windows = attn.project(rearrange(x, "n l c -> n l 1 c"))
    q, k, v = (rearrange(part, "n l a 1 d -> n a l d") for part in windows)
    return attn.proj(rearrange(scaled_dot_product_attention(q, k, v), "n a l d -> n l (a d)"))


def waiting(call, device):
    """`call` without gradients, returning when the device is done."""

    def wrapped():
        with torch.inference_mode():
            call()
        finish(device)

    return wrapped


def time_growth(args, config):
    """Time sides of SIDES, print them, and return seconds and exponents; on a processor also memory."""
    sides = SIDES[:3] if args.quick or args.rehearse else SIDES
    seconds, slow = {}, set()
    for index, side in enumerate(sides):
        calls = {
            name: call for name, call in growing(config, side, args.device, torch.float32).items() if name not in slow
        }
        for name, values in interleaved(calls, 3, settle=args.settle).items():
            middle = sorted(values)[1]
            seconds.setdefault(name, [None] * len(sides))[index] = middle
            slow |= {name} if middle > TOO_SLOW and "layer" in name else set()
    found = exponents(sides, seconds)
    print(
        f"growth with the image, batch 1, sides {', '.join(map(str, sides))}; "
        f"time ~ pixels^e up to {LINEAR_FROM} and from there"
    )
    for name, values in seconds.items():
        listed = "  ".join("        -" if value is None else f"{1000 * value:9.1f}" for value in values)
        print(f"  {name:28} {listed} ms   e = {found[name]['below']:.2f}, {found[name]['above']:.2f}")
    memory = {} if args.gpu or args.quick else memory_growth(config, sides)
    return {"sides": list(sides), "seconds": seconds, "exponents": found, "memory_mb": memory}


def memory_growth(config, sides):
    """{name: peak memory in MB of a process that takes one image of each side through a model}."""
    config, found = replace(config, img_size=None), {}
    for name, code in ONE_IMAGE.items():
        for index, side in enumerate(sides):
            try:
                value = peak_memory(code.format(config=config, side=side))
            except (OSError, subprocess.CalledProcessError):  # timm is not installed, or not made for this size
                continue
            found.setdefault(name, [None] * len(sides))[index] = value
    print("peak memory of the whole process, MB")
    for name, values in found.items():
        print(f"  {name:28} " + "  ".join("        -" if value is None else f"{value:9.0f}" for value in values))
    return found


def time_batches(args, config):
    """Seconds for one image in batches of several sizes."""
    batches = BATCHES["gpu" if args.gpu and not args.rehearse else "cpu"][: 3 if args.quick or args.rehearse else None]
    seconds = {}
    for batch in batches:
        times = interleaved(batched(config, batch, args.device, torch.float32), 3, settle=args.settle)
        for name, values in times.items():
            seconds.setdefault(name, []).append(sorted(values)[1] / batch)
    print(f"growth with the batch, ms an image in batches of {', '.join(map(str, batches))}")
    for name, values in seconds.items():
        print(f"  {name:34} " + "  ".join(f"{1000 * value:9.1f}" for value in values))
    return {"batches": list(batches), "seconds": seconds}
