"""From a file to the weights of the model that is wanted: what can be adapted is adapted, and it is said.

load_fitted(path)      for a SwinTransformer
load_backbone(path)    for a Backbone, also from a detector's checkpoint
fit_state(state, …)    the adapting alone
"""

import math
import re
import warnings
from dataclasses import replace

import numpy as np

from .check import check_state, window_of_table
from .files import find_config, naming, official, read_file
from .infer import UntoldError, check_fields
from .initial import initial_state
from .names import unwrapped
from .resize import adapt_channels, resize_absolute_position_embedding, resize_position_bias


def load_fitted(path, config=None, **fields):
    """Read a file and adapt it → ({official name: array}, the SwinConfig that it now fits).

    config    the SwinConfig that is wanted; None: the one that the file was made for
    fields    fields of SwinConfig that are wanted otherwise, or that the file doesn't tell
    raises    as load_checkpoint; CheckpointError if the file doesn't tell a field, or contradicts itself
    warns     UserWarning that lists what was adapted; see `fit_state`
    """
    raw, metadata = read_file(path)
    state, config, own, changes = _with_config(path, raw, metadata, config, fields)
    state, more = fit_state(state, config, own)
    _say(path, changes + more)
    return state, config


def load_backbone(path, config=None, norms=None, **fields):
    """The same for a Backbone. Of a detector's or segmenter's checkpoint only what is under "backbone." is taken.

    norms    numbers of the stages whose outputs are normed; None: all
    returns  ({name: array}, SwinConfig with num_classes=0)

    The classifier's norm and head are left out. A file without norm0, norm1, … gets them as they start: 1 and 0.
    """
    raw, metadata = read_file(path)
    raw, changes = _part(raw, "backbone.", path)
    state, config, own, bias_changes = _with_config(path, raw, metadata, config, {**fields, "num_classes": 0})
    state, more = fit_state(state, config, own)
    state, norm_changes = _fit_norms(state, config, range(len(config.depths)) if norms is None else norms)
    _say(path, changes + bias_changes + more + norm_changes)
    return state, config


def fit_state(state, config, own=None):
    """Weights made for one configuration, adapted to another. → ({official name: array}, list of what was changed)

    config   the SwinConfig that is wanted
    own      the one that `state` was made for. Only an absolute position embedding needs it, if its grid isn't square.

    The head is made anew if it has another number of classes; the bias tables are resized if their windows differ,
    the absolute position embedding if its grid does; the patch convolution is folded or repeated if the number of
    channels differs. Everything else stays as it is: load_state_dict says what doesn't fit.
    """
    state, changes = dict(state), []
    for adapt in (_fit_channels, _fit_positions, _fit_tables, _fit_head):
        changes += adapt(state, config, own)
    return state, changes


# ---- what is adapted: each changes `state` and returns sentences -------------------------------------------------


def _fit_channels(state, config, own):
    name = "patch_embed.proj.weight"
    weight = state.get(name, np.zeros(0))
    if weight.ndim != 4 or 0 in weight.shape or weight.shape[1] == config.in_chans:
        return []
    state[name] = adapt_channels(weight, config.in_chans)
    return [f"{name} from {weight.shape[1]} to {config.in_chans} channels"]


def _fit_positions(state, config, own):
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


def _fit_tables(state, config, own):
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


def _fit_head(state, config, own):
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


def _fit_norms(state, config, wanted):
    """Norms of stages' outputs instead of the classifier's norm."""
    there = [name for name in state if re.match(r"norm\d+\.", name)]
    expected = {f"norm{i}.{leaf}": (config.widths[i],) for i in wanted for leaf in ("weight", "bias")}
    state, changes = dict(state), []
    if "norm.weight" in state and "norm.bias" in state:
        del state["norm.weight"], state["norm.bias"]
        changes.append("the norm before the head is left out")
    if not there and expected:
        state |= initial_state(expected)
        stages = ", ".join(f"norm{i}" for i in wanted)
        changes.append(f"{stages} are new and untrained")
    if left_out := [name for name in there if name not in expected and name in _norm_names(config)]:
        changes.append(f"{', '.join(sorted({name.partition('.')[0] for name in left_out}))} left out")
    return {name: value for name, value in state.items() if name not in left_out}, changes


def _norm_names(config):
    return {f"norm{i}.{leaf}" for i in range(len(config.depths)) for leaf in ("weight", "bias")}


def _say(path, changes):
    if changes:
        warnings.warn(f"{path}: adapted: {'; '.join(changes)}", stacklevel=4)


# ---- what a file is for ------------------------------------------------------------------------------------------


def _part(raw, prefix, path):
    """Of a state dict the names that start with `prefix`, if there are any → (state, sentences)."""
    with naming(path):
        raw = unwrapped(raw)
    part = {name: value for name, value in raw.items() if str(name).startswith(prefix)}
    if not part or len(part) == len(raw):
        return raw, []
    return part, [f"{len(raw) - len(part)} arrays that are not under {prefix} are left out"]


def _with_config(path, raw, metadata, config, fields):
    """(state in official names, the wanted configuration, the file's own or None, sentences)."""
    check_fields(fields)
    state = official(raw, path)
    with naming(path):
        try:
            own = _own_config(raw, metadata, state, fields)
            check_outline(state, own)
        except UntoldError:
            if config is None:
                raise
            own = None  # what was given will do
    wanted = replace(config or own, **fields)
    said = config is not None or "pretrained_window_sizes" in fields
    wanted, changes = _fit_offsets(wanted, own, said)
    return state, wanted, own, changes


def _fit_offsets(config, own, said):
    """V2 at other windows: its network goes on to see offsets on the scale it knows, if nobody `said` otherwise."""
    unknown = own is None or (own.version, own.depths) != (2, config.depths)
    if config.version != 2 or unknown or _scales(config) == _scales(own):
        return config, []
    if said:
        return config, [f"V2's bias stretched from windows {_scales(own)} to {_scales(config)}"]
    return replace(config, pretrained_window_sizes=_scales(own)), [f"pretrained_window_sizes={_scales(own)}"]


def _scales(config):
    """The window of each stage that V2's offsets are measured by."""
    return tuple(before or now for before, now in zip(config.pretrained_window_sizes, config.windows, strict=True))


def _own_config(raw, metadata, state, fields):
    """What the file was made for; of `fields` only those are believed that it doesn't tell."""
    known = {}
    while True:
        try:
            return find_config(raw, metadata, state, **known)
        except UntoldError as error:
            if error.field not in fields:
                raise
            known[error.field] = fields[error.field]


def check_outline(state, config):
    """Raise CheckpointError where an array contradicts `config` so that a model of that size mustn't be built.

    One damaged shape can make a configuration of any size. What every block has must be there before memory is
    taken for it.
    """
    shapes = {}
    for stage, width in enumerate(config.widths):
        for block in range(config.depths[stage]):
            shapes[f"layers.{stage}.blocks.{block}.norm1.weight"] = (width,)
            shapes[f"layers.{stage}.blocks.{block}.mlp.fc1.weight"] = (int(width * config.mlp_ratio), width)
    if config.num_classes:
        shapes["head.weight"] = (config.num_classes, config.widths[-1])
    check_state({name: state[name] for name in shapes if name in state}, shapes)
