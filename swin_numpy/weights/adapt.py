"""Weights made for one configuration, adapted to another: what can be adapted is adapted, and listed."""

import math
import re
from dataclasses import replace

import numpy as np

from .check import window_of_table
from .initial import initial_state
from .resize import adapt_channels, resize_absolute_position_embedding, resize_position_bias


def adapt_state(state, config, own=None):
    """Weights made for one configuration, adapted to another → ({official name: array}, [what was changed, in words])

    config   the SwinConfig that is wanted
    own      the one that `state` was made for. Only an absolute position embedding needs it, if its grid isn't square.

    The head is made anew if it has another number of classes; the bias tables are resized if their windows differ,
    the absolute position embedding if its grid does; the patch convolution is folded or repeated if the number of
    channels differs. Everything else stays as it is: load_state_dict says what doesn't fit.
    """
    state, changes = dict(state), []
    for adapt in (_adapt_channels, _adapt_positions, _adapt_tables, _adapt_head):
        changes += adapt(state, config, own)
    return state, changes


def adapt_offsets(config, own, said):
    """V2 at other windows: its network goes on seeing offsets on the scale it knows, if nobody `said` otherwise.

    config   the SwinConfig that is wanted; own: the one that the weights were made for
    returns  (the config, with pretrained_window_sizes set where that keeps the scale, [what was changed, in words])
    """
    if config.version != 2 or (own.version, own.depths) != (2, config.depths) or _scales(config) == _scales(own):
        return config, []
    if said:
        return config, [f"V2's bias stretched from windows {_scales(own)} to {_scales(config)}"]
    return replace(config, pretrained_window_sizes=_scales(own)), [f"pretrained_window_sizes={_scales(own)}"]


def adapt_norms(state, config, wanted):
    """For a Backbone: norms of the stages' outputs instead of the classifier's norm.

    wanted   numbers of the stages whose output has a norm
    returns  ({official name: array}, [what was changed, in words])
    """
    there = [name for name in state if re.match(r"norm\d+\.", name)]
    expected = {f"norm{i}.{leaf}": (config.widths[i],) for i in wanted for leaf in ("weight", "bias")}
    left_out = [name for name in there if name not in expected and int(name[4:].split(".")[0]) < len(config.depths)]
    state, changes = {name: value for name, value in state.items() if name not in left_out}, []
    if "norm.weight" in state and "norm.bias" in state:
        del state["norm.weight"], state["norm.bias"]
        changes.append("the norm before the head is left out")
    if not there and expected:
        state |= initial_state(expected)
        changes.append(f"{', '.join(f'norm{i}' for i in wanted)} are new and untrained")
    if left_out:
        changes.append(f"{', '.join(sorted({name.partition('.')[0] for name in left_out}))} left out")
    return state, changes


def _scales(config):
    """The window of each stage that V2's offsets are measured by."""
    return tuple(before or now for before, now in zip(config.pretrained_window_sizes, config.windows, strict=True))


# ---- what is adapted: each changes `state` and returns sentences -------------------------------------------------


def _adapt_channels(state, config, own):
    name = "patch_embed.proj.weight"
    weight = state.get(name, np.zeros(0))
    if weight.ndim != 4 or 0 in weight.shape or weight.shape[1] == config.in_chans:
        return []
    state[name] = adapt_channels(weight, config.in_chans)
    return [f"{name} from {weight.shape[1]} to {config.in_chans} channels"]


def _adapt_positions(state, config, own):
    name = "absolute_pos_embed"
    embedding = state.get(name, np.zeros(0))
    if not config.ape or embedding.ndim != 3 or embedding.shape[0] != 1:
        return []
    patches, new = embedding.shape[1], config.grids[0]
    old = own.grids[0] if own and own.ape else (math.isqrt(patches),) * 2
    if old == new or old[0] * old[1] != patches or not patches:
        return []
    state[name] = resize_absolute_position_embedding(embedding, new, old)
    return [f"{name} from {old[0]}x{old[1]} to {new[0]}x{new[1]} patches"]


def _adapt_tables(state, config, own):
    windows = {}  # {(old, new): how many tables}
    for name, table in state.items():
        stage = re.match(r"layers\.(\d+)\..*\.relative_position_bias_table$", name)
        old = window_of_table(table.shape[0]) if table.ndim == 2 else 0
        if not stage or not old or int(stage[1]) >= len(config.depths):
            continue
        new = config.windows[int(stage[1])]
        if old != new:
            state[name] = resize_position_bias(table, new)
            windows[old, new] = windows.get((old, new), 0) + 1
    return [f"{count} bias tables from window {old} to {new}" for (old, new), count in windows.items()]


def _adapt_head(state, config, own):
    weight, bias = state.get("head.weight"), state.get("head.bias")
    if (weight is None) != (bias is None):
        return []  # damaged
    classes = 0 if weight is None else weight.shape[0] if weight.ndim == 2 else None
    if classes is None or classes == config.num_classes or (classes and bias.shape != (classes,)):
        return []
    state.pop("head.weight", None)
    state.pop("head.bias", None)
    if config.num_classes == 0:
        return [f"the head of {classes} classes is left out"]
    state |= initial_state({"head.weight": (config.num_classes, config.widths[-1]), "head.bias": (config.num_classes,)})
    return [f"the head is new and untrained: {config.num_classes} classes, the file has {classes or 'none'}"]
