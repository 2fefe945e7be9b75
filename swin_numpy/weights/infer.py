"""Which configuration a checkpoint was made for, as far as its settings, buffers, names and shapes determine it."""

import math
import re
from dataclasses import fields

from ..config import CONFIGS, SwinConfig
from .check import CheckpointError, one_if_same, read_sizes, shapes_of, window_of_table

NEEDED = ("version", "patch_size", "in_chans", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio")
SAME = ("version", "patch_size", "embed_dim", "depths", "num_heads", "mlp_ratio", "qkv_bias", "ape", "patch_norm")


def infer_config(state, **known):
    """The SwinConfig that a checkpoint was made for.

    state    {official name: array or tensor}
    known    fields of SwinConfig that you know, such as img_size=448; they override what is inferred
    raises   CheckpointError that says which field to pass, if one can be neither read nor assumed;
             TypeError for a `known` that isn't a field

    What shapes don't determine:

    img_size                 The grid of the absolute position embedding, or of a stage whose window shrank to it
                             (assumed to be square), determines it. Else a published model of the same sizes does. Else
                             it is None for V1: any size. With square images that the official code accepts, that gives
                             the same logits. For V2 it must be passed, as a V2 window shrinks without a trace.
    window_size              V2: must be passed; its weights are the same for all windows.
    pretrained_window_sizes  V2: from a published model of the same sizes; if there are several that differ, it must be
                             passed. Else 0, that is, the same window as now.
    drop_path_rate           from a published model of the same sizes
    always_shift             True where the outputs of stages have norms of their own (norm0, …), as in a detector
    """
    check_fields(known)
    return infer(shapes_of(state), known, {})[0]


class UntoldError(CheckpointError):
    """A field that a checkpoint doesn't determine. `field`: its name."""

    def __init__(self, field, why="the checkpoint's names and shapes don't determine its {}"):
        super().__init__(f"{why.format(field)}: pass {field}=…")
        self.field = field


def check_fields(known):
    """Raise TypeError for names that aren't fields of SwinConfig, and TypeError or ValueError for a wrong img_size."""
    if wrong := sorted(known.keys() - {field.name for field in fields(SwinConfig)}):
        raise TypeError(f"not fields of SwinConfig: {', '.join(wrong)}")
    SwinConfig(img_size=known.get("img_size"))


def infer(shapes, told, wanted):
    """As infer_config, from shapes, from what a file's settings and buffers say, and from what the caller wants.

    shapes    {official name: shape}
    told      fields that the file says itself; also `windows`, the window of each stage, and `unshifted`: there is no
              shift mask, though its code saves one for every stage that it shifts
    wanted    fields that fill in what nothing else determines
    returns   (SwinConfig, [assumptions in words])
    """
    found = read_sizes(shapes)
    tables = found.pop("window_size", None)
    found |= told
    windows, unshifted = found.pop("windows", None), found.pop("unshifted", False)
    if windows is None and tables is not None:
        windows = (tables,) * len(found["depths"]) if isinstance(tables, int) else tables
    if windows is None and found.get("version") == 1:
        raise CheckpointError(_odd_tables(shapes))
    if "always_shift" not in found and any(re.match(r"norm\d+\.", name) for name in shapes):
        found |= {"always_shift": True} | ({} if found.get("ape") else {"img_size": None})
    if windows is None:
        _fill(found, {name: wanted[name] for name in ("window_size",) if name in wanted})
    presets = [preset for preset in CONFIGS.values() if _is_like(preset, found, windows)]
    _fill(found, _common(presets, ("drop_path_rate", "pretrained_window_sizes")))
    if found.get("ape"):
        _fill(found, _size_of_embedding(shapes, found.get("patch_size", 1)))
    notes = []
    if found.get("always_shift"):
        _fill(found, {"window_size": windows and one_if_same(windows)})
    else:
        _fill(found, _common(presets, ("window_size", "img_size")))
        notes = _undo_shrinking(found, windows, unshifted, wanted)
    if found.get("version") == 2 and not presets:
        _fill(found, {"pretrained_window_sizes": (0,)})
    _fill(found, wanted)
    for field in (*NEEDED, "img_size", *(["pretrained_window_sizes"] if found.get("version") == 2 else [])):
        if field not in found:
            raise UntoldError(field)
    try:
        return SwinConfig(**found), notes
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"no model has the checkpoint's sizes: {error}") from error


def _fill(found, values):
    """Add what isn't found yet and is known."""
    for name, value in values.items():
        if name not in found and (value is not None or name == "img_size"):
            found[name] = value


def _common(presets, names):
    """The fields that are the same in all of `presets`."""
    values = {name: {getattr(preset, name) for preset in presets} for name in names}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def _is_like(preset, found, windows):
    same_window = preset.windows == windows if windows else preset.window_size == found.get("window_size")
    return same_window and all(getattr(preset, name) == found.get(name) for name in SAME)


def _undo_shrinking(found, windows, unshifted, wanted):
    """Fill in window_size and img_size from windows that may have shrunk to the grid → [assumptions in words]."""
    patch = found.get("patch_size") or 1
    if windows and "window_size" not in found:
        given, side = wanted.get("img_size"), _smaller_side(windows, patch)
        if given is not None and _shrunk(windows, given, patch) == windows:
            _fill(found, {"img_size": given})
        shrinks = _shrunk(windows, found.get("img_size", side), patch) == windows
        found["window_size"] = windows[0] if shrinks else one_if_same(windows)
        if shrinks and side and "img_size" not in found and not unshifted and not found.get("ape"):
            found["img_size"] = side
            return [f"its images are assumed to be square: img_size={side}"]
    if found.get("version") == 1 and not found.get("ape") and not unshifted:
        _fill(found, {"img_size": None})
    return []


def _size_of_embedding(shapes, patch):
    tokens = (*shapes.get("absolute_pos_embed", ()), 0, 0)[1]
    side = math.isqrt(tokens)
    return {"img_size": side * patch} if side and side**2 == tokens else {}


def _smaller_side(windows, patch):
    """The smaller side of an image at which the first window that is smaller has its size; None: all are the same."""
    shrunk = [window * 2**stage for stage, window in enumerate(windows) if window < windows[0]]
    return shrunk[0] * patch if shrunk else None


def _shrunk(windows, img_size, patch):
    """The window of each stage, where the first stage's shrinks to the grids of img_size."""
    if img_size is None:
        return (windows[0],) * len(windows)
    side = -(-min(img_size if isinstance(img_size, tuple | list) else (img_size,)) // patch)
    return tuple(min(windows[0], -(-side // 2**stage)) for stage in range(len(windows)))


def _odd_tables(shapes):
    tables = {name: shape for name, shape in shapes.items() if name.endswith("relative_position_bias_table")}
    for name, shape in tables.items():
        if len(shape) != 2 or not window_of_table(shape[0]):
            return f"{name}: expected shape ((2M-1)², heads) for a square window of M x M, got {shape}"
    return "a stage's first block has no relative_position_bias_table"
