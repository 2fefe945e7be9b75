"""Four libraries' names for the same parameters, and the way between them.

Official names are Microsoft's, less the buffers that are derived from sizes (masks, index tables).
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .buffers import DERIVED, derived_buffers
from .check import CheckpointError, as_array, listed, read_sizes, shapes_of
from .infer import infer_config

# What a training run saves around its weights. Averaged weights come first: they are meant for evaluation.
WRAPPERS = ("state_dict_ema", "model_ema", "model", "state_dict", "model_state_dict")
PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.")
TRUNKS = ("", "swin.", "swinv2.")  # transformers: what a model with a head calls the one without
BESIDE_TRUNK = ("classifier.", "hidden_states_norms.")


# ---- the table -------------------------------------------------------------------------------------------------


class Naming(NamedTuple):
    """How a library calls a block, the PatchMerging of a stage, and what it calls differently in it and beside it.

    Where `in_parts`, attn.q, attn.k and attn.v stand for the three parts of the official attn.qkv.
    """

    block: Callable
    merging: Callable
    in_block: dict
    beside: dict
    in_parts: bool = False


def _official_block(stage, block):
    return f"layers.{stage}.blocks.{block}."


def _official_merging(stage):
    return f"layers.{stage}.downsample."


def _transformers(in_block):
    beside = {
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "patch_embed.norm.": "embeddings.norm.",
        "absolute_pos_embed": "embeddings.position_embeddings",
        "norm.": "layernorm.",
        "head.": "classifier.",
    } | {f"norm{stage}.": f"hidden_states_norms.stage{stage + 1}." for stage in range(4)}  # of a backbone
    norms = {"norm1.": "layernorm_before.", "norm2.": "layernorm_after."}
    return Naming(
        lambda stage, block: f"encoder.layers.{stage}.blocks.{block}.",
        lambda stage: f"encoder.layers.{stage}.downsample.",
        norms | in_block,
        beside,
        in_parts=True,
    )


NAMINGS = {
    "microsoft": Naming(_official_block, _official_merging, {}, {}),
    "timm": Naming(  # since 0.9, PatchMerging opens the next stage; files from before have Microsoft's names
        _official_block,
        lambda stage: f"layers.{stage + 1}.downsample.",
        {},
        {"head.": "head.fc."},
    ),
    "torchvision": Naming(  # a PatchMerging is a stage of its own
        lambda stage, block: f"features.{2 * stage + 1}.{block}.",
        lambda stage: f"features.{2 * stage + 2}.",
        {"mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3."},
        {"patch_embed.proj.": "features.0.0.", "patch_embed.norm.": "features.0.2."},
    ),
    "transformers": _transformers(  # since 5.0, and V1 only: the names of a model in memory
        {
            "attn.q.": "attention.q_proj.",
            "attn.k.": "attention.k_proj.",
            "attn.v.": "attention.v_proj.",
            "attn.proj.": "attention.o_proj.",
            "attn.relative_position_bias_table": ("attention.relative_position_bias.relative_position_bias_table"),
        }
    ),
    "transformers_classic": _transformers(  # version 4, all of V2, and files on the hub
        {
            "attn.q.": "attention.self.query.",
            "attn.k.": "attention.self.key.",
            "attn.v.": "attention.self.value.",
            "attn.proj.": "attention.output.dense.",
            "attn.cpb_mlp.": "attention.self.continuous_position_bias_mlp.",
            "attn.": "attention.self.",
            "mlp.fc1.": "intermediate.dense.",
            "mlp.fc2.": "output.dense.",
        }
    ),
}


def _theirs(name, naming):
    """The name that `naming` has for an official one."""
    match = re.fullmatch(r"layers\.(\d+)\.(?:blocks\.(\d+)|downsample)\.(.+)", name)
    if not match:
        return _swap(name, naming.beside)
    stage, block, leaf = match.groups()
    if block is None:
        return naming.merging(int(stage)) + leaf
    return naming.block(int(stage), int(block)) + _swap(leaf, naming.in_block)


def _swap(name, stems):
    for ours, theirs in stems.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _official_names(stages, blocks, in_parts):
    """Every name that a model of so many stages and blocks can have, V1 or V2."""
    maps = ["attn.q", "attn.k", "attn.v"] if in_parts else ["attn.qkv"]
    biases = [] if in_parts else ["attn.q_bias", "attn.v_bias"]
    pairs = ["norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2", "attn.cpb_mlp.0", *maps]
    leaves = [f"{stem}.{leaf}" for stem in pairs for leaf in ("weight", "bias")]
    leaves += ["attn.cpb_mlp.2.weight", "attn.logit_scale", "attn.relative_position_bias_table", *biases]
    for stage in range(stages):
        yield from (_official_block(stage, block) + leaf for block in range(blocks) for leaf in leaves)
        yield from (_official_merging(stage) + leaf for leaf in ("reduction.weight", "norm.weight", "norm.bias"))
    stems = ["patch_embed.proj", "patch_embed.norm", "norm", "head"] + [f"norm{stage}" for stage in range(stages)]
    yield from (f"{stem}.{leaf}" for stem in stems for leaf in ("weight", "bias"))
    yield "absolute_pos_embed"


# ---- theirs to official ----------------------------------------------------------------------------------------


def convert_state_dict(state):
    """Any of the public namings → official names and NumPy arrays.

    state    a state dict of Microsoft's code, timm (before and after 0.9), torchvision or transformers (with or
             without its classification head, version 4 or 5), V1 or V2; bare, or in what a training run saves
             around it, such as {"model": …, "optimizer": …}. There averaged weights are preferred.
    returns  {official name: array}. float16, float32 and float64 stay what they are, bfloat16 becomes float32.
             Arrays may share memory with `state`.
    raises   CheckpointError that lists names it doesn't know, or says what is no array of floating-point numbers

    Only derived buffers are left out, and nothing else.
    """
    state = _without_prefix(_without_buffers(unwrapped(state)))
    official = _dictionary(state)
    unknown = [str(name) for name in state if name not in official]
    if unknown:
        raise CheckpointError(f"{len(unknown)} names of no Swin Transformer known here: {listed(unknown)}")
    found = {}
    for name, value in state.items():
        if official[name] in found:
            raise CheckpointError(f"two arrays for {official[name]}; one of them is {listed([name])}")
        found[official[name]] = as_array(value, name)
    if any(name.startswith("features.") for name in state):
        found = _without_key_bias(found)
    return _join_parts(found)


def unwrapped(state):
    """The state dict inside what a training run saves."""
    for _ in range(len(WRAPPERS)):
        if not isinstance(state, Mapping):
            hint = ": pass its state_dict()" if hasattr(state, "state_dict") else ""
            raise CheckpointError(f"expected a dict of names and arrays, got {type(state).__name__}{hint}")
        inner = next((key for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            break
        state = state[inner]
    return state


def _without_buffers(state):
    kept = {}
    for name, value in state.items():
        if name != "n_averaged" and str(name).rpartition(".")[2] not in DERIVED:  # AveragedModel counts
            kept[name] = value
    if not kept:
        raise CheckpointError("there are no parameters in it")
    return kept


def _without_prefix(state):
    """What wraps a model (DataParallel, torch.compile, a detector) puts a word before every name."""
    while prefix := next((p for p in PREFIXES if all(str(name).startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _dictionary(state):
    """{their name: official name} for the library that the names of `state` come from."""
    names = [name for name in state if isinstance(name, str)]
    most = max((int(number) for name in names for number in re.findall(r"\d{1,3}", name)), default=0) + 1
    found = {}
    for key in _recognised(names):
        naming = NAMINGS[key]
        for official in _official_names(min(most, 16), min(most, 128), naming.in_parts):
            theirs = _theirs(official, naming)
            found |= {trunk + theirs: official for trunk in (TRUNKS if naming.in_parts else ("",))}
    return found


def _recognised(names):
    """The namings to look names up in. Where two know a name, the last is right."""
    if any(name.startswith("features.") for name in names):
        return ["torchvision"]
    if any(re.match(r"(swin\.|swinv2\.)?(embeddings|encoder|layernorm|hidden_states_norms)\.", name) for name in names):
        return ["transformers", "transformers_classic"]
    mergings = {stage for name in names for stage in re.findall(r"^layers\.(\d+)\.downsample\.", name)}
    opens_a_stage = mergings and "0" not in mergings
    return ["microsoft", "timm"] if opens_a_stage else ["timm", "microsoft"]


def _join_parts(state):
    """Query, key and value as one linear map, and its bias, as the official code of that version has them."""
    version2 = _is_version2(state)
    joined, parts = {}, {}
    for name, value in state.items():
        match = re.fullmatch(r"(.+\.attn\.)([qkv])\.(weight|bias)", name)
        if match and version2 and match[3] == "bias" and match[2] != "k":
            joined[f"{match[1]}{match[2]}_bias"] = value
        elif match:
            parts.setdefault(f"{match[1]}qkv.{match[3]}", {})[match[2]] = value
        else:
            joined[name] = value
    return joined | {name: _concatenated(name, three) for name, three in parts.items()}


def _without_key_bias(state):
    """torchvision's V2 has one bias for query, key and value, and makes the key's zero whenever it is used."""
    split = {}
    for name, value in state.items():
        if name.endswith(".attn.qkv.bias") and _is_version2(state):
            query, _, split[name.replace("qkv.bias", "v_bias")] = _thirds(value, name)
            split[name.replace("qkv.bias", "q_bias")] = query
        else:
            split[name] = value
    return split


def _concatenated(name, three):
    shapes = [three[part].shape for part in "qkv" if part in three]
    if len(shapes) < 3 or len(set(shapes)) > 1 or shapes[0] == ():
        raise CheckpointError(f"{name}: expected query, key and value of one shape, got {shapes}")
    return np.concatenate([three[part] for part in "qkv"])


def _thirds(value, name):
    if value.ndim == 0 or len(value) % 3:
        raise CheckpointError(f"{name}: expected as many rows for query, key and value, got shape {value.shape}")
    return np.split(value, 3)


def _is_version2(state):
    return any(name.endswith(".attn.logit_scale") for name in state)


# ---- official to theirs ----------------------------------------------------------------------------------------


def export_state_dict(state, to, config=None):
    """Official names → another library's, such that its strict loader finds all it wants and nothing else.

    state    {official name: array or tensor}
    to       "microsoft", "timm", "torchvision", "transformers" (as a model of version 5 has them in memory) or
             "transformers_classic" (version 4 and files; `from_pretrained` of both versions reads them)
    config   the model's SwinConfig. Only "microsoft" and "torchvision" need it, for their derived buffers. If it
             is not given it is inferred; see `infer_config` for what can't be.
    returns  {their name: array}
    raises   ValueError for another `to`; CheckpointError for names that aren't official, or where the library
             has no such model ("torchvision" and "transformers" windows don't shrink to the grid), or a derived
             buffer lacks what it is made from ("microsoft" masks need img_size)
    """
    if to not in NAMINGS:
        raise ValueError(f"to: expected one of {', '.join(NAMINGS)}, got {to!r}")
    state = convert_state_dict(state)
    _check_windows(state, to)
    official = state
    if NAMINGS[to].in_parts:
        state = _in_parts(state)
    elif to == "torchvision" and _is_version2(state):
        state = _with_key_bias(state)
    if to in ("microsoft", "torchvision"):
        state = state | derived_buffers(config or infer_config(official), to)
    naming = NAMINGS["transformers_classic" if to == "transformers" and _is_version2(state) else to]
    trunk = ("swinv2." if _is_version2(state) else "swin.") if naming.in_parts else ""
    renamed = {_theirs(name, naming): value for name, value in state.items()}
    return {name if name.startswith(BESIDE_TRUNK) else trunk + name: value for name, value in renamed.items()}


def _check_windows(state, to):
    windows = read_sizes(shapes_of(state)).get("window_sizes", ())
    if len(set(windows)) > 1 and to not in ("microsoft", "timm"):
        raise CheckpointError(f"{to}'s windows don't shrink to the grid, and these did: {windows}")


def _in_parts(state):
    parts = {}
    for name, value in state.items():
        if match := re.fullmatch(r"(.+\.attn\.)qkv\.(weight|bias)", name):
            for part, third in zip("qkv", _thirds(value, name), strict=True):
                parts[f"{match[1]}{part}.{match[2]}"] = third
        else:
            parts[re.sub(r"\.attn\.([qv])_bias$", r".attn.\1.bias", name)] = value
    return parts


def _with_key_bias(state):
    """The way back from `_without_key_bias`."""
    whole = {}
    for name, value in state.items():
        block = name[: -len("q_bias")]
        if name.endswith(".attn.q_bias") and block + "v_bias" in state:
            whole[block + "qkv.bias"] = np.concatenate([value, np.zeros_like(value), state[block + "v_bias"]])
        elif not name.endswith(".attn.v_bias"):
            whole[name] = value
    return whole
