"""Does a checkpoint fit a model? What its names and shapes determine, and what contradicts the model.

This file imports nothing else of the package, so that layers can check a state dict without a checkpoint reader.
"""

import math
import re
import warnings

import numpy as np

SHOWN = 3  # names of each kind that a message lists
LONGEST = 1500  # characters of a message


class CheckpointError(ValueError):
    """A checkpoint that is damaged, not understood, or made for another model.

    The message is one line: control characters are escaped, and of a very long message only both ends are kept.
    """

    def __init__(self, message):
        text = printable(message)
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
        super().__init__(text)


def printable(text):
    """`text` with every character that doesn't print (control characters, line ends) as its Python escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def check_state(state, shapes, strict=True):
    """Raise one CheckpointError that lists everything that keeps `state` from fitting a model.

    state    {official name: array or tensor}
    shapes   {official name: shape}, what the model has
    strict   False: names may be missing or unexpected, but every array that is there must fit, and one must be there
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
    """One UserWarning for each of {name: array or tensor} that holds NaN or infinity. where: starts its text."""
    for name, value in state.items():
        finite = abs(value) < math.inf  # NaN compares as false
        if not finite.all():
            count = int((~finite).sum())
            warnings.warn(f"{where}{listed([name])} holds {count} NaN or infinite values", stacklevel=3)


def listed(items):
    """'a, b, c and 5 more', in one line whatever the names are."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(printable(str(item)[:200]) for item in items[:SHOWN]) + more


def as_array(value, name="array"):
    """A NumPy array or PyTorch tensor as a NumPy array of float16, float32 or float64; bfloat16, float8 → float32.

    Shares memory with `value` where no conversion is needed. Raises CheckpointError, which names `name`, for anything
    else.
    """
    given = value
    if hasattr(value, "detach"):  # a tensor, recognised by what it can do, so that PyTorch isn't needed here
        try:
            value = value.detach().cpu()
            narrow = str(value.dtype).startswith(("torch.bfloat16", "torch.float8"))  # NumPy has no such types
            value = (value.float() if narrow else value).numpy()
        except Exception as error:  # sparse, quantised, without data: PyTorch raises many types
            raise CheckpointError(f"{listed([name])}: expected a dense tensor, got {_kind(given)}") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.dtype.itemsize > 8:
        raise CheckpointError(f"{listed([name])}: expected floating-point numbers, got {_kind(given)}")
    return np.asarray(value, dtype=value.dtype.newbyteorder("="))


def _kind(value):
    return f"an array of {value.dtype}" if hasattr(value, "dtype") else type(value).__name__


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
        return "; none of the model's names is in it: if they are another library's, use convert_state_dict"
    theirs, ours = read_sizes(shapes_of(state)), read_sizes(shapes)
    other = [field for field in ours if field in theirs and theirs[field] != ours[field]]
    if "version" in other:
        return f"; it is a V{theirs['version']} checkpoint and the model is V{ours['version']}"
    if not other:
        return ""
    values = ", ".join(f"{field}={theirs[field]} (the model has {ours[field]})" for field in other)
    return f"; it was made with {values}: build the model with that{_way_round(other)}"


def _way_round(other):
    if other == ["num_classes"]:
        return ", or take its head.weight and head.bias out and load with strict=False"
    if other == ["window_size"]:
        return ", or resize its tables with resize_position_bias"
    return ""


# ---- what names and shapes determine ------------------------------------------------------------------------------


def shapes_of(state):
    """{name: shape} of everything in `state` that has a shape."""
    return {str(name): tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}


def read_sizes(shapes):
    """The fields of SwinConfig that {official name: shape} determines; what can't be determined is left out.

    `window_size` is that of the tables: one int, or one for each stage. A stage's window may have shrunk to its grid.
    Accepts any names and shapes, those of a damaged checkpoint or of a single module included.
    """
    blocks = _blocks(shapes)
    if not blocks:
        return {}
    firsts = [stage[min(stage)] for stage in blocks]
    sizes = {"depths": tuple(max(stage) + 1 for stage in blocks)}
    if "attn.logit_scale" in firsts[0]:
        sizes["version"] = 2
    elif "attn.relative_position_bias_table" in firsts[0]:
        sizes["version"] = 1
    sizes["qkv_bias"] = "attn.qkv.bias" in firsts[0] or "attn.q_bias" in firsts[0]
    sizes["ape"] = "absolute_pos_embed" in shapes
    sizes["patch_norm"] = "patch_embed.norm.weight" in shapes
    sizes["num_classes"] = (shapes.get("head.weight") or (0,))[0]
    return sizes | _patch_sizes(shapes) | _attention_sizes(firsts) | _mlp_ratio(firsts[-1])


def window_of_table(rows):
    """M of a table of (2M - 1)² rows, or 0 where no window has that many."""
    side = math.isqrt(rows)
    return (side + 1) // 2 if side * side == rows and side % 2 else 0


def one_if_same(values):
    """(7, 7, 7) → 7; (7, 7, 14) stays."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def _blocks(shapes):
    """blocks[stage][index] = {name within the block: shape}; stages in order, up to the first gap."""
    found = {}
    for name, shape in shapes.items():
        if match := re.fullmatch(r"layers\.([0-9]{1,3})\.blocks\.([0-9]{1,3})\.(.+)", name):
            stage, index, leaf = int(match[1]), int(match[2]), match[3]
            found.setdefault(stage, {}).setdefault(index, {})[leaf] = shape
    stages = []
    while len(stages) in found:
        stages.append(found[len(stages)])
    return stages


def _patch_sizes(shapes):
    kernel = shapes.get("patch_embed.proj.weight", ())
    if len(kernel) != 4:
        return {}
    return {"embed_dim": kernel[0], "in_chans": kernel[1], "patch_size": kernel[2]}


def _attention_sizes(firsts):
    """Heads and windows. A V1 table has (2M - 1)² rows and a column for each head."""
    scales = [block.get("attn.logit_scale", ()) for block in firsts]
    if all(len(scale) == 3 for scale in scales):
        return {"num_heads": tuple(scale[0] for scale in scales)}
    tables = [block.get("attn.relative_position_bias_table", ()) for block in firsts]
    if not all(len(table) == 2 for table in tables):
        return {}
    windows = [window_of_table(rows) for rows, _ in tables]
    heads = {"num_heads": tuple(columns for _, columns in tables)}
    return heads | ({"window_size": one_if_same(windows)} if all(windows) else {})


def _mlp_ratio(block):
    """Hidden width / width of the last stage, which is closest to a ratio such as 3.3 that was rounded down."""
    weight = block.get("mlp.fc1.weight", ())
    if len(weight) != 2 or not all(weight):
        return {}
    hidden, width = weight
    ratio = hidden / width
    return {"mlp_ratio": ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)}
