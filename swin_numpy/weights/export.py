"""Official names → another library's, for its own loader."""

import re

import numpy as np

from .buffers import derived_buffers
from .check import CheckpointError, one_if_same, read_sizes, shapes_of
from .infer import infer_config
from .names import NAMINGS, convert_state_dict, is_version2, theirs, thirds

LIBRARIES = ("microsoft", "timm", "torchvision", "transformers", "transformers_classic")
_BESIDE_TRUNK = ("classifier.", "hidden_states_norms.")  # transformers: not under "swin."


def export_state_dict(state, to, config=None):
    """Official names → another library's, such that its strict loader finds all it wants and nothing else.

    state    {official name: array or tensor}
    to       "microsoft", "timm", "torchvision", "transformers" (as a model of version 5 has them in memory) or
             "transformers_classic" (version 4 and files; `from_pretrained` of both versions reads them)
    config   the model's SwinConfig. Only "microsoft" and "torchvision" need it, for their derived buffers. Left out, it
             is inferred; `infer_config` says what can't be.
    returns  {their name: array}
    raises   ValueError for another `to`; CheckpointError for names that aren't official, for a config whose windows
             aren't the state's, where the library has no such model ("torchvision" windows and
             "transformers" V1 tables don't shrink to the grid), or where a derived buffer can't be made ("microsoft"
             masks need img_size)

    A model with a window for each stage keeps its shapes; of these libraries only timm can build one.
    """
    if to not in LIBRARIES:
        raise ValueError(f"to: expected one of {', '.join(LIBRARIES)}, got {to!r}")
    state = convert_state_dict(state)
    config = config or (infer_config(state) if _needs_config(state, to) else None)
    _check_windows(state, to, config)
    buffers = derived_buffers(config, to) if to in ("microsoft", "torchvision") else {}
    version2, naming = is_version2(state), NAMINGS[to]
    if to == "transformers" and version2:
        naming = NAMINGS["transformers_classic"]
    if naming.in_parts:
        state = _in_parts(state)
    elif to == "torchvision" and version2:
        state = _with_key_bias(state)
    trunk = ("swinv2." if version2 else "swin.") if naming.in_parts else ""
    renamed = {theirs(name, naming): value for name, value in (state | buffers).items()}
    return {name if name.startswith(_BESIDE_TRUNK) else trunk + name: value for name, value in renamed.items()}


def _needs_config(state, to):
    windows_differ = not isinstance(read_sizes(shapes_of(state)).get("window_size", 0), int)
    return to in ("microsoft", "torchvision") or (to != "timm" and windows_differ)


def _check_windows(state, to, config):
    windows = read_sizes(shapes_of(state)).get("window_size")
    if config is None or windows is None:
        return
    if windows != one_if_same(config.windows):
        raise CheckpointError(
            f"config: its windows are {config.windows}, and the state's tables have {windows}: "
            "pass the window_size and img_size that it was made for"
        )
    if config.windows != config.window_sizes and to not in ("microsoft", "timm"):
        library = to.removesuffix("_classic")
        raise CheckpointError(f"in {library}, V1's tables don't shrink to the grid, and these did: {config.windows}")


def _in_parts(state):
    parts = {}
    for name, value in state.items():
        if match := re.fullmatch(r"(.+\.attn\.)qkv\.(weight|bias)", name):
            for part, third in zip("qkv", thirds(value, name), strict=True):
                parts[f"{match[1]}{part}.{match[2]}"] = third
        else:
            parts[re.sub(r"\.attn\.([qv])_bias$", r".attn.\1.bias", name)] = value
    return parts


def _with_key_bias(state):
    """The way back from torchvision's V2 to its one bias for query, key (zero) and value."""
    whole = {}
    for name, value in state.items():
        block = name[: -len("q_bias")]
        if name.endswith(".attn.q_bias") and block + "v_bias" in state:
            whole[block + "qkv.bias"] = np.concatenate([value, np.zeros_like(value), state[block + "v_bias"]])
        elif not name.endswith(".attn.v_bias"):
            whole[name] = value
    return whole
