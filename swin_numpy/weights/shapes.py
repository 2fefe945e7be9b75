"""What official names and shapes tell about the model they belong to."""

import math
import re


def shapes_of(state):
    """{name: shape} of everything in `state` that has a shape."""
    return {str(name): tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}


def read_sizes(shapes):
    """The fields of SwinConfig that {official name: shape} tells; what it doesn't tell is left out.

    One key is no field: `window_sizes`, the window of each stage (V1), as a stage's window may have shrunk to
    its grid. Takes any names and shapes, those of a damaged checkpoint or of one module alone as well.
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


def _blocks(shapes):
    """blocks[stage][index] = {name within the block: shape}; stages in order, as far as they are unbroken."""
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
    if not all(len(table) == 2 and window_of_table(table[0]) for table in tables):
        return {}
    windows = tuple(window_of_table(rows) for rows, _ in tables)
    heads = tuple(columns for _, columns in tables)
    return {"num_heads": heads, "window_size": windows[0], "window_sizes": windows}


def window_of_table(rows):
    """M of a table of (2M - 1)² rows, or 0 where no window has that many."""
    side = math.isqrt(rows)
    return (side + 1) // 2 if side * side == rows and side % 2 else 0


def _mlp_ratio(block):
    """Hidden width / width of the last stage: it tells most of a ratio such as 3.3 that was rounded down."""
    weight = block.get("mlp.fc1.weight", ())
    if len(weight) != 2 or not all(weight):
        return {}
    hidden, width = weight
    ratio = hidden / width
    return {"mlp_ratio": ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)}
