"""Run a model and keep the output of every step. It works with both twins: all it needs is `register_forward_hook`."""

import time
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True)
class Step:
    """One step of a model: its dotted name, what it is in a few words, its output, and the seconds that it took."""

    name: str
    what: str
    output: Any
    seconds: float


def record(model, images, details=False, finish=lambda: None, title=""):
    """Run `model(images)` and return its Steps in order, from "patch_embed" to "head".

    images    (n, c, H, W), an array of the model's own library
    details   also the layers inside the blocks
    finish    called before each reading of the clock: torch.cuda.synchronize waits until a GPU has finished its work
    title     of the progress bar
    """
    watched = [(name, module) for name, module in model.named_modules() if name and _is_step(name, details)]
    bar = tqdm(total=len(watched), desc=title, unit=" steps", leave=False, disable=None)
    steps = []
    clock = time.perf_counter()

    def watch(name):
        def hook(module, inputs, output):
            nonlocal clock
            finish()
            seconds, clock = time.perf_counter() - clock, time.perf_counter()
            if name == "head":
                steps.append(Step("mean", "mean over tokens", inputs[0], 0.0))
            output = output[0] if isinstance(output, tuple) else output
            steps.append(Step(name, _describe(module, inputs), output, seconds))
            bar.update()

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in watched]
    try:
        model(images)
    finally:
        bar.close()
        for hook in hooks:
            hook.remove()
    return steps


def _is_step(name, details):
    """The steps of a model: its parts, and in the stages each block and patch merging."""
    parts = name.split(".")
    if parts[0] != "layers":
        return len(parts) == 1 and name not in ("pos_drop", "layers")
    if "blocks" in parts:
        return len(parts) == 4 or (details and len(parts) > 4 and "drop" not in parts[-1])
    return parts[-1] == "downsample"


def _describe(module, inputs):
    """What a step is, in a few words. V1 and V2 have the same steps."""
    kind = type(module).__name__.removesuffix("V2")
    if kind == "SwinTransformerBlock":
        down, right = module.shift_for(inputs[1])
        shift = f"{down}" if down == right else f"({down}, {right})"
        return "W-MSA block" if (down, right) == (0, 0) else f"SW-MSA block, shift {shift}"
    names = {"PatchEmbed": "patches to tokens", "PatchMerging": "patch merging", "WindowAttention": "attention"}
    return names.get(kind, kind)
