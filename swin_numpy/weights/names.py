"""Five libraries' names for the same parameters, and the way between them.

Official names are Microsoft's, less the buffers that are derived from sizes (masks, index tables).
A new naming is one more entry of NAMINGS.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from .buffers import DERIVED
from .check import CheckpointError, as_array, listed
from .unwrap import strip_prefix, unwrap

# ---- the table -------------------------------------------------------------------------------------------------


class Naming(NamedTuple):
    """How a library names a block, the PatchMerging after a stage, and what it names differently in it and beside it.

    {stage} and {block} stand for our numbers, from 0; {next} is {stage} + 1, {odd} 2·{stage} + 1, {even} 2·{stage} + 2.
    in_parts: attn.q, attn.k and attn.v stand for the three parts of the official attn.qkv.
    unfold: PatchMerging takes its channels in the order of torch.nn.Unfold.
    """

    block: str = "layers.{stage}.blocks.{block}."
    merging: str = "layers.{stage}.downsample."
    in_block: Mapping = MappingProxyType({})
    beside: Mapping = MappingProxyType({})
    in_parts: bool = False
    unfold: bool = False


def _transformers(in_block):
    beside = {
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "patch_embed.norm.": "embeddings.norm.",
        "absolute_pos_embed": "embeddings.position_embeddings",
        "norm.": "layernorm.",
        "head.": "classifier.",
    } | {f"norm{stage}.": f"hidden_states_norms.stage{stage + 1}." for stage in range(16)}  # of a backbone
    return Naming(
        "encoder.layers.{stage}.blocks.{block}.",
        "encoder.layers.{stage}.downsample.",
        {"norm1.": "layernorm_before.", "norm2.": "layernorm_after."} | in_block,
        beside,
        in_parts=True,
    )


_OPENMMLAB = Naming(  # mmdetection, mmsegmentation, mmpretrain
    "stages.{stage}.blocks.{block}.",
    "stages.{stage}.downsample.",
    {"attn.": "attn.w_msa.", "mlp.fc1.": "ffn.layers.0.0.", "mlp.fc2.": "ffn.layers.1."},
    {"patch_embed.proj.": "patch_embed.projection.", "head.": "head.fc."},
    unfold=True,
)

NAMINGS = {
    "microsoft": Naming(),
    "timm": Naming(  # since 0.9, PatchMerging opens the next stage; files from before have Microsoft's names
        merging="layers.{next}.downsample.", beside={"head.": "head.fc."}
    ),
    "torchvision": Naming(  # a PatchMerging is a stage of its own
        "features.{odd}.{block}.",
        "features.{even}.",
        {"mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3."},
        {"patch_embed.proj.": "features.0.0.", "patch_embed.norm.": "features.0.2."},
    ),
    "transformers": _transformers(  # since 5.0, and V1 only: the names of a model in memory
        {
            "attn.q.": "attention.q_proj.",
            "attn.k.": "attention.k_proj.",
            "attn.v.": "attention.v_proj.",
            "attn.proj.": "attention.o_proj.",
            "attn.": "attention.relative_position_bias.",
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
    "openmmlab": _OPENMMLAB,
    "openmmlab_v2": _OPENMMLAB._replace(merging="stages.{next}.downsample."),  # its V2 opens stages with PatchMerging
}

_KNOWN = re.compile(
    r"(layers\.[0-9]{1,3}\.blocks\.[0-9]{1,3}\.("
    r"(norm[12]|attn\.(proj|qkv|q|k|v|cpb_mlp\.0)|mlp\.fc[12])\.(weight|bias)"
    r"|attn\.(cpb_mlp\.2\.weight|logit_scale|relative_position_bias_table|[qv]_bias"
    r"|relative_position_index|relative_coords_table)|attn_mask)"
    r"|layers\.[0-9]{1,3}\.downsample\.(reduction\.weight|norm\.(weight|bias))"
    r"|(patch_embed\.(proj|norm)|norm[0-9]{0,2}|head)\.(weight|bias)|absolute_pos_embed)"
)


def theirs(name, naming):
    """The name that `naming` has for an official one."""
    match = re.fullmatch(r"layers\.(\d+)\.(?:blocks\.(\d+)|downsample)\.(.+)", name)
    if not match:
        return _swap(name, naming.beside)
    stage, block, leaf = int(match[1]), match[2], match[3]
    numbers = {"stage": stage, "next": stage + 1, "odd": 2 * stage + 1, "even": 2 * stage + 2}
    if block is None:
        return naming.merging.format(**numbers) + leaf
    return naming.block.format(block=int(block), **numbers) + _swap(leaf, naming.in_block)


def _ours(name, naming):
    """The official name of what `naming` calls `name`; None if it has no such name."""
    candidates = [_swap(name, _reverse(naming.beside))]
    if block := re.fullmatch(_pattern(naming.block), name):
        leaf = _swap(block["leaf"], _reverse(naming.in_block))
        candidates.append(f"layers.{_stage(block)}.blocks.{block['block']}.{leaf}")
    if merging := re.fullmatch(_pattern(naming.merging), name):
        candidates.append(f"layers.{_stage(merging)}.downsample.{merging['leaf']}")
    return next((c for c in candidates if _KNOWN.fullmatch(c) and theirs(c, naming) == name), None)


def _pattern(template):
    return re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9]{1,3})", template.replace(".", r"\.")) + "(?P<leaf>.+)"


def _stage(match):
    """Our number of a stage; a wrong one where theirs isn't possible, which the way back finds."""
    numbers = match.groupdict()
    if "stage" in numbers:
        return int(numbers["stage"])
    if "next" in numbers:
        return max(int(numbers["next"]) - 1, 0)
    return max(int(numbers.get("odd") or numbers.get("even")) - 1, 0) // 2


def _swap(name, stems):
    for old, new in stems.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _reverse(stems):
    return {theirs: ours for ours, theirs in stems.items()}


# ---- theirs to official ----------------------------------------------------------------------------------------


def convert_state_dict(state):
    """Any of the public namings → official names and NumPy arrays.

    state    a state dict of Microsoft's code, timm (before and after 0.9), torchvision, transformers (with or without
             its classification head, version 4 or 5), mmdetection, mmsegmentation or mmpretrain, V1 or V2; bare, under
             a prefix, or in what a training run saves around it, such as {"model": …, "optimizer": …}. Averaged weights
             are preferred there.
    returns  {official name: array}. float16, float32 and float64 keep their type, bfloat16 becomes float32.
             Arrays may share memory with `state`.
    raises   CheckpointError that lists unknown names, or names a value that isn't a floating-point array

    Only derived buffers are left out, and nothing else. A state dict in official names whose PatchMerging was permuted
    to the channel order of torch.nn.Unfold (OpenMMLab's) can't be recognised: its shapes are the same.
    """
    prefix, within, beside = strip_prefix(unwrap(state))
    found, _, unknown, _ = translate(within)
    refuse_unknown([prefix + name for name in unknown] + list(beside))
    return found


def refuse_unknown(names):
    """Raise CheckpointError that lists `names`, if there are any."""
    if names:
        raise CheckpointError(f"{len(names)} names of no Swin Transformer known here: {listed(names)}")


def translate(state):
    """Names of one library → official ones.

    state     {name within the model: array or tensor}; see `strip_prefix`
    returns   ({official name: array}, {official name of a derived buffer: array}, [unknown names], key of NAMINGS)
    raises    CheckpointError for values that aren't floating-point arrays, parts that don't belong together, and where
              no parameter is left
    """
    key, known = _recognised(state)
    found, buffers, unknown = {}, {}, []
    for name, value in state.items():
        official = known.get(name)
        if name.rpartition(".")[2] in DERIVED:
            if official and hasattr(value, "shape"):
                buffers[official] = _buffer(value, name)
        elif official is None:
            unknown.append(name)
        elif official in found:
            raise CheckpointError(f"two arrays for {official}; one of them is {listed([name])}")
        else:
            found[official] = as_array(value, name)
    if not found and not unknown:
        raise CheckpointError("there are no parameters in it")
    return _in_official_form(found, NAMINGS[key]), buffers, unknown, key


def _recognised(names):
    """(key of the naming that knows most of `names`, {name: official name} of those that it knows)."""
    families = [
        ["timm", "microsoft"] if _opens_a_stage(names, "layers") else ["microsoft", "timm"],
        ["openmmlab_v2", "openmmlab"] if _opens_a_stage(names, "stages") else ["openmmlab", "openmmlab_v2"],
        ["torchvision"],
        ["transformers_classic", "transformers"],
    ]
    return max(((keys[0], _known(names, keys)) for keys in families), key=lambda family: len(family[1]))


def _known(names, keys):
    """{name: official name}, by the first naming that knows the name."""
    found = {}
    for name in names:
        if official := next((o for key in keys if (o := _ours(_alias(name), NAMINGS[key]))), None):
            found[name] = official
    return found


def _opens_a_stage(names, stages):
    mergings = {stage for name in names for stage in re.findall(rf"^{stages}\.(\d+)\.downsample\.", name)}
    return bool(mergings) and "0" not in mergings


def _alias(name):
    """transformers' MaskFormer numbers its norms from 0; files of SwinBackbone have "swin." before some names only."""
    name = re.sub(r"^swin(v2)?\.", "", name)
    number = re.match(r"hidden_states_norms\.(\d+)\.", name)
    return name.replace(number[0], f"hidden_states_norms.stage{int(number[1]) + 1}.") if number else name


def _buffer(value, name):
    """A derived buffer as an array, of integers or floating-point numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.numpy() if not value.is_floating_point() else as_array(value, name)
    return np.asarray(value)


def _in_official_form(state, naming):
    """The same arrays as the official code has them: qkv in one, V2 without a bias for keys, merging in its order."""
    if naming.unfold:
        state = _name_classifier_norm(_in_official_order(state))
    if naming is NAMINGS["torchvision"] and is_version2(state):
        state = _without_key_bias(state)
    if (embedding := state.get("absolute_pos_embed")) is not None and embedding.ndim == 4:  # detection code: 1 c h w
        state["absolute_pos_embed"] = embedding.reshape(*embedding.shape[:2], -1).swapaxes(1, 2)
    return _join_parts(state)


def _in_official_order(state):
    """The four neighbours that PatchMerging joins: Unfold has channel 4c + position, the official code position·C + c.

    Unfold goes through a row first, the official code down a column. V2's norm comes after the linear map and keeps
    its order.
    """
    ordered = {}
    for name, value in state.items():
        joins = name.endswith("reduction.weight") or (".downsample.norm." in name and not is_version2(state))
        if joins and value.ndim and value.shape[-1] % 4 == 0:
            parts = value.reshape(*value.shape[:-1], -1, 4)[..., [0, 2, 1, 3]]
            value = parts.swapaxes(-1, -2).reshape(value.shape)
        ordered[name] = value
    return ordered


def _name_classifier_norm(state):
    """mmpretrain's classifier calls its one norm, that of the last stage, as a detector does: norm3."""
    norms = {name.partition(".")[0] for name in state if re.match(r"norm\d", name)}
    if "head.weight" not in state or len(norms) != 1:
        return state
    return {re.sub(r"^norm\d+\.", "norm.", name): value for name, value in state.items()}


def _join_parts(state):
    """Query, key and value as one linear map, and its bias, as the official code of that version has them."""
    version2 = is_version2(state)
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
    """torchvision's V2 has one bias for query, key and value, and sets the key's to zero whenever it is used."""
    split = {}
    for name, value in state.items():
        if name.endswith(".attn.qkv.bias"):
            query, _, split[name.replace("qkv.bias", "v_bias")] = thirds(value, name)
            split[name.replace("qkv.bias", "q_bias")] = query
        else:
            split[name] = value
    return split


def _concatenated(name, three):
    shapes = [three[part].shape for part in "qkv" if part in three]
    if len(shapes) < 3 or len(set(shapes)) > 1 or shapes[0] == ():
        raise CheckpointError(f"{name}: expected query, key and value of one shape, got {shapes}")
    return np.concatenate([three[part] for part in "qkv"])


def thirds(value, name):
    """The rows of query, key and value. Raises CheckpointError that names `name` where there are no three."""
    if value.ndim == 0 or len(value) % 3:
        raise CheckpointError(f"{name}: expected as many rows for query, key and value, got shape {value.shape}")
    return np.split(value, 3)


def is_version2(state):
    """Does a state dict in official names belong to V2?"""
    return any(name.endswith(".attn.logit_scale") for name in state)
