"""Who takes part: both twins, plain and fused, and those of timm, torchvision and transformers that are installed."""

import contextlib
import copy
from functools import partial

import numpy as np
import torch

import swin_numpy
import swin_numpy.train
import swin_torch
import swin_torch.train
from swin_numpy.optim import no_decay
from swin_numpy.training.recipe import Recipe
from tests import families

PEERS = {"timm": families._timm, "torchvision": families._torchvision, "transformers": families._transformers}
KINDS = ("plain", "fused")
COMPILED = "{}, compiled"


def peers(config):
    """({name: model}, {name: why it is not there}) of the peers, with the sizes of `config`."""
    found, missing = {}, {}
    for name, make in PEERS.items():
        try:
            found[name] = make(config)
        except (ImportError, RuntimeError, ValueError) as error:  # RuntimeError: made for another version of PyTorch
            missing[name] = str(error).splitlines()[0]
    return found, missing


def torch_models(config):
    """({name: model}, missing): our twin plain and fused, and the peers."""
    models, missing = peers(config)
    ours = {f"PyTorch twin, {kind}": swin_torch.SwinTransformer(config).use_attention(kind) for kind in KINDS}
    return ours | models, missing


def compiled(model, device, training=False):
    """A copy of `model` through torch.compile.

    For a forward alone: on a processor with its weights frozen, on a GPU with CUDA graphs.
    """
    import torch._inductor.config as settings

    model = copy.deepcopy(model)
    if torch.device(device).type == "cuda":
        return torch.compile(model, mode="default" if training else "reduce-overhead")
    settings.freezing = not training
    return torch.compile(model, dynamic=False)


def numpy_models(config):
    """{name: model} of both paths of the NumPy twin."""
    return {f"NumPy twin, {kind}": swin_numpy.SwinTransformer(config).use_attention(kind) for kind in KINDS}


def examples(config, batch, side=None):
    """Random images (batch, c, H, W) and labels (batch,)."""
    rng = np.random.default_rng(0)
    size = config.image_shape if side is None else (side, side)
    return rng.standard_normal((batch, config.in_chans, *size), dtype=np.float32), rng.integers(
        0, config.num_classes or 1, batch
    )


def torch_forward(model, images, device, dtype):
    """A call that takes `images` through the model and waits for the end."""
    model, images = model.to(device, dtype).eval(), torch.from_numpy(images).to(device, dtype)

    def call():
        with torch.no_grad():  # not inference_mode, under which torch.compile doesn't freeze weights
            model(images)
        finish(device)

    return call


def torch_step(model, images, labels, device, dtype):
    """A call that takes one training step as the Trainer does: forward, backward, clipping, AdamW.

    In half precision with autocast: the weights stay float32, as in real training.
    """
    model, device = model.to(device, torch.float32).train(), torch.device(device)
    images, labels = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    half = dtype in (torch.float16, torch.bfloat16)
    lower = partial(torch.autocast, device.type, dtype) if half else contextlib.nullcontext
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    decay = [[p for name, p in model.named_parameters() if no_decay(name, p) == which] for which in (False, True)]
    optimizer = torch.optim.AdamW(
        [{"params": decay[0], "weight_decay": 0.05}, {"params": decay[1], "weight_decay": 0}], lr=1e-3, fused=True
    )

    def call():
        with lower():
            logits = model(images)
            loss = torch.nn.functional.cross_entropy(getattr(logits, "logits", logits), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
        finish(device)

    return call


def numpy_step(config, images, labels, kind):
    """A call that takes one training step of the NumPy twin."""
    trainer = swin_numpy.train.ParallelTrainer(config, Recipe())
    for model in trainer.models:
        model.use_attention(kind)
    return lambda: trainer.step(images, labels, 1e-3)


def finish(device):
    """A GPU works on while Python goes ahead: wait for it, or only the launching is timed."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
