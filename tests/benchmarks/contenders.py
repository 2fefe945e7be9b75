"""Who takes part: both twins, plain and fused, and those of timm, torchvision and transformers that are installed."""

import numpy as np
import torch

import swin_numpy
import swin_torch
from swin_numpy.optim import no_decay
from tests import families

PEERS = {"timm": families._timm, "torchvision": families._torchvision, "transformers": families._transformers}


def peers(config):
    """({name: model}, {name: why it is not there}) of the peers, with the sizes of `config`."""
    found, missing = {}, {}
    for name, make in PEERS.items():
        try:
            found[name] = make(config)
        except (ImportError, RuntimeError, ValueError) as error:  # RuntimeError: made for another version of PyTorch
            missing[name] = str(error).splitlines()[0]
    return found, missing


def torch_models(config, compiled=False):
    """({name: model}, missing): our twin plain and fused, the peers, and with `compiled` each of them once more."""
    models, missing = peers(config)
    ours = {f"PyTorch twin, {kind}": swin_torch.SwinTransformer(config).use_attention(kind) for kind in KINDS}
    models = ours | models
    if compiled:
        models |= {f"{name}, compiled": torch.compile(model, mode="reduce-overhead") for name, model in models.items()}
    return models, missing


KINDS = ("plain", "fused")


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
        with torch.inference_mode():
            model(images)
        finish(device)

    return call


def torch_step(model, images, labels, device, dtype):
    """A call that takes one training step as the Trainer does: forward, backward, clipping, AdamW."""
    model = model.to(device, dtype).train()
    images, labels = torch.from_numpy(images).to(device, dtype), torch.from_numpy(labels).to(device)
    decay = [[p for name, p in model.named_parameters() if no_decay(name, p) == which] for which in (False, True)]
    optimizer = torch.optim.AdamW(
        [{"params": decay[0], "weight_decay": 0.05}, {"params": decay[1], "weight_decay": 0}], lr=1e-3
    )

    def call():
        logits = model(images)
        loss = torch.nn.functional.cross_entropy(getattr(logits, "logits", logits), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        finish(device)

    return call


def finish(device):
    """A GPU works on while Python goes ahead: wait for it, or only the launching is timed."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
