"""Does a checkpoint fit a model? Asked before anything of it is used."""

import math
import warnings

from .shapes import read_sizes, shapes_of

SHOWN = 3  # names of each kind that a message lists


class CheckpointError(ValueError):
    """A checkpoint that is damaged, not understood, or made for another model. The message is one line."""


def check_state(state, shapes, strict=True):
    """Raise one CheckpointError that says everything that keeps `state` from fitting a model.

    state    {official name: array or tensor}
    shapes   {official name: shape}, what the model has
    strict   False: names may be missing or too many, but what is there must fit, and something must be there
    returns  (missing, unexpected), two lists of names; both are empty if strict
    """
    missing = [name for name in shapes if name not in state]
    unexpected = [str(name) for name in state if name not in shapes]
    unfit = [text for name in shapes if name in state and (text := _misfit(name, state[name], shapes[name]))]
    nothing_there = bool(shapes) and len(missing) == len(shapes)
    if unfit or nothing_there or (strict and (missing or unexpected)):
        lists = (("mis-shaped", unfit), ("missing", missing), ("unexpected", unexpected))
        found = "; ".join(f"{len(items)} {kind}: {listed(items)}" for kind, items in lists if items)
        raise CheckpointError(f"checkpoint doesn't fit the model: {found}{_likely_reason(state, shapes)}")
    return missing, unexpected


def warn_not_finite(state, where=""):
    """One UserWarning for each of {name: array or tensor} that holds NaN or infinity."""
    for name, value in state.items():
        finite = abs(value) < math.inf  # no NaN is less than anything
        if not finite.all():
            count = int((~finite).sum())
            warnings.warn(f"{where}{listed([name])} holds {count} NaN or infinite values", stacklevel=3)


def listed(items):
    """'a, b, c and 5 more', in one line whatever the names are."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(ascii(item[:200])[1:-1] for item in items[:SHOWN]) + more


def _misfit(name, value, shape):
    """'name (expected …, got …)', or '' where `value` is a floating-point array of that shape."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return f"{name} (expected an array, got {type(value).__name__})"
    if tuple(value.shape) != tuple(shape):
        return f"{name} (expected {tuple(shape)}, got {tuple(value.shape)})"
    if getattr(value.dtype, "kind", "") != "f" and "float" not in str(value.dtype):  # numpy's, torch.bfloat16
        return f"{name} (expected floating-point numbers, got {value.dtype})"
    return ""


def _likely_reason(state, shapes):
    if not any(name in shapes for name in state):
        return "; not one of the model's names is there: if they are another library's, use convert_state_dict"
    theirs, ours = read_sizes(shapes_of(state)), read_sizes(shapes)
    other = [field for field in ours if field in theirs and theirs[field] != ours[field]]
    if "version" in other:
        return f"; it is a V{theirs['version']} checkpoint and the model is V{ours['version']}"
    if "window_size" in other and "window_sizes" in other:
        other.remove("window_sizes")  # the same once more
    if not other:
        return ""
    values = ", ".join(f"{field}={theirs[field]} (the model has {ours[field]})" for field in other)
    return f"; it was made with {values}: build the model with that{_way_round(other)}"


def _way_round(other):
    if other == ["num_classes"]:
        return ", or take its head.weight and head.bias out and load with strict=False"
    if other == ["window_size"]:
        return ", or fit its tables with resize_position_bias"
    return ""
