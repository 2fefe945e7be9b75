"""What stands around a Swin Transformer's weights: the dict of a training run, and words before every name."""

import re
from collections.abc import Mapping

from .check import CheckpointError, listed

# What a training run saves around its weights. Averaged weights come first: they are meant for evaluation.
WRAPPERS = ("state_dict_ema", "model_ema", "teacher", "model", "state_dict", "model_state_dict", "module", "student")
DEEPEST = 8  # wrappers in wrappers

# Names within a model that only a Swin Transformer has, in each naming (see names.py). What stands before is a prefix.
_WITHIN = re.compile(
    r"((?:[^.]+\.)*?)"
    r"(?:layers[._]\d+\.blocks\.\d+\.(?:norm[12]|attn)"
    r"|stages\.\d+\.blocks\.\d+\.(?:norm[12]|attn|ffn)"
    r"|features\.\d+\.\d+\.(?:norm[12]|attn)"
    r"|encoder\.layers\.\d+\.blocks\.\d+\.(?:layernorm_before|layernorm_after|attention|intermediate))\."
)
_WRAPPING = ("module.", "model.", "_orig_mod.", "backbone.")  # where nothing above is found
_BESIDE_TRUNK = ("classifier.", "head.fc.", "hidden_states_norms.")  # transformers and OpenMMLab: beside the prefix
_BETTER, _WORSE = r"ema|teacher", r"student|momentum|_k\."  # of two models in one file


def unwrap(saved):
    """The state dict in what was saved: itself, or what a training run has under "model", "state_dict", ….

    Of several, averaged weights come first; what holds no arrays (settings, an empty dict) is passed over.
    Raises CheckpointError for anything but a dict.
    """
    if not isinstance(saved, Mapping):
        hint = ": pass its state_dict()" if hasattr(saved, "state_dict") else ""
        raise CheckpointError(f"expected a dict of names and arrays, got {type(saved).__name__}{hint}")
    return _with_arrays(saved, set(), DEEPEST) or {
        name: value for name, value in saved.items() if not isinstance(value, Mapping)
    }


def _with_arrays(saved, seen, depth):
    """The first dict in `saved`, by WRAPPERS, that holds an array; None if none does."""
    if not isinstance(saved, Mapping) or id(saved) in seen or not depth:
        return None
    seen.add(id(saved))
    for key in WRAPPERS:
        if found := _with_arrays(saved.get(key), seen, depth - 1):
            return found
    return saved if any(hasattr(value, "shape") for value in saved.values()) else None


def strip_prefix(state):
    """Names without what stands before all of a Swin Transformer's ("module.", "backbone.", "encoder.model.", …).

    returns   (prefix, {name within the model: value}, {other name: value})
    raises    CheckpointError where there are two models and it isn't clear which is meant
    """
    state = {str(name): value for name, value in state.items() if name != "n_averaged"}  # AveragedModel counts
    prefixes = {match[1] for name in state if (match := _WITHIN.match(name))}
    if not prefixes:
        return _strip_wrapping(state)
    prefix = _preferred(prefixes)
    above = prefix[: prefix.rstrip(".").rfind(".") + 1]
    within, beside = {}, {}
    for name, value in state.items():
        if name.startswith(prefix):
            within[re.sub(r"^layers_(\d+)\.", r"layers.\1.", name.removeprefix(prefix))] = value  # timm's features_only
        elif name.startswith(above) and name.removeprefix(above).startswith(_BESIDE_TRUNK):
            within[name.removeprefix(above)] = value
        else:
            beside[name] = value
    return prefix, within, beside


def _preferred(prefixes):
    for ranked in (
        [prefix for prefix in prefixes if re.search(_BETTER, prefix)],
        [prefix for prefix in prefixes if not re.search(_WORSE, prefix)],
        list(prefixes),
    ):
        if len(ranked) == 1:
            return ranked[0]
        if ranked:
            names = listed(sorted(prefix or "no prefix" for prefix in ranked))
            raise CheckpointError(f"{len(ranked)} Swin Transformers in it, under {names}: keep the names of one")


def _strip_wrapping(state):
    """Part of a model, such as its norms alone: strip known words as long as all names have them."""
    prefix = ""
    while word := next((word for word in _WRAPPING if state and all(name.startswith(word) for name in state)), ""):
        state = {name.removeprefix(word): value for name, value in state.items()}
        prefix += word
    return prefix, state, {}
