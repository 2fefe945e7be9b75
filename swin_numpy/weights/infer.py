"""Which configuration a checkpoint was made for, as far as names and shapes tell."""

import math
from dataclasses import fields

from ..config import CONFIGS, SwinConfig
from .check import CheckpointError, read_sizes, shapes_of

NEEDED = ("version", "patch_size", "in_chans", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio")
SAME = (*(set(NEEDED) - {"in_chans"}), "qkv_bias", "ape", "patch_norm")  # what makes it a published model


def infer_config(state, **known):
    """The SwinConfig that a checkpoint was made for.

    state    {official name: array or tensor}
    known    fields of SwinConfig that you know, such as img_size=448; they come before what is inferred
    raises   CheckpointError that says which field to pass, if one can be neither read nor assumed;
             TypeError for a `known` that is no field

    What shapes don't tell:

    img_size                 The grid of the absolute position embedding, or of a stage whose window shrank to it
                             (taken as square), tells it. Else a published model of the same sizes does. Else it is
                             None for V1: any size. With square images that the official code accepts, that makes
                             the same logits. For V2 it must be passed, as a V2 window shrinks without a trace.
    window_size              V2: must be passed; its weights are the same for all windows.
    pretrained_window_sizes  V2: from a published model of the same sizes, and if there are several that differ, it
                             must be passed. Else 0, that is, the same window as now.
    drop_path_rate           from a published model of the same sizes
    """
    check_fields(known)
    shapes = shapes_of(state)
    sizes = read_sizes(shapes)
    windows = sizes.pop("window_sizes", ())
    sizes |= known
    for field in NEEDED:
        if field not in sizes:
            raise UntoldError(field)
    presets = [preset for preset in CONFIGS.values() if all(getattr(preset, name) == sizes[name] for name in SAME)]
    if "img_size" not in sizes:
        sizes["img_size"] = _img_size(sizes, windows, shapes, presets)
    _take("drop_path_rate", sizes, presets)
    if sizes["version"] == 2 and not _take("pretrained_window_sizes", sizes, presets) and presets:
        raise UntoldError("pretrained_window_sizes")
    try:
        return SwinConfig(**{"pretrained_window_sizes": (0,) * len(sizes["depths"])} | sizes)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"no model has the checkpoint's sizes: {error}") from error


class UntoldError(CheckpointError):
    """A configuration that a checkpoint doesn't tell. `field`: what of it."""

    def __init__(self, field):
        super().__init__(f"the checkpoint's names and shapes don't tell its {field}: pass {field}=…")
        self.field = field


def check_fields(known):
    if wrong := sorted(known.keys() - {field.name for field in fields(SwinConfig)}):
        raise TypeError(f"not fields of SwinConfig: {', '.join(wrong)}")


def _take(field, sizes, presets):
    """Fill in what is not known but the same in all `presets`. Returns whether it is known now."""
    values = {getattr(config, field) for config in presets}
    if field not in sizes and len(values) == 1:
        sizes[field] = values.pop()
    return field in sizes


def _img_size(sizes, windows, shapes, presets):
    """An int or None; raises where assuming one would change logits without a word."""
    if sizes["ape"]:
        tokens = (*shapes.get("absolute_pos_embed", ()), 0, 0)[1]
        if math.isqrt(tokens) ** 2 != tokens:
            raise UntoldError("img_size")
        return math.isqrt(tokens) * sizes["patch_size"]
    for stage, window in enumerate(windows):
        if window < sizes["window_size"]:  # it shrank to this stage's grid
            return window * 2**stage * sizes["patch_size"]
    if _take("img_size", sizes, presets):
        return sizes["img_size"]
    if sizes["version"] == 2:
        raise UntoldError("img_size")
    return None
