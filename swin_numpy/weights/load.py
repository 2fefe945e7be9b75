"""From a file to the weights of a model: read → unwrap → strip the prefix → translate → infer → adapt → check."""

import re
import warnings
from dataclasses import replace

from .adapt import adapt_norms, adapt_offsets, adapt_state
from .buffers import check_buffers, read_buffers
from .check import CheckpointError, check_state, listed, printable, read_sizes, shapes_of, warn_not_finite
from .files import naming, read_file
from .infer import check_fields, infer
from .names import convert_state_dict, refuse_unknown, translate
from .settings import read_settings
from .shapes import model_shapes
from .unwrap import strip_prefix, unwrap

MOST_BYTES = 1 << 30  # of index tables, which a model makes for itself: M⁴ numbers for windows of M x M


def load_checkpoint(path):
    """Read a file in any of the public namings → {official name: array}.

    path     a file or a folder; see `read_file`
    returns  {official name: float16, float32 or float64 array}; see `convert_state_dict`
    raises   CheckpointError, one line, for whatever is wrong with the file; OSError where it can't be opened
    warns    UserWarning that names the arrays that hold NaN or infinity
    """
    raw, _ = read_file(path)
    with naming(path):
        state = convert_state_dict(raw)
    warn_not_finite(state, f"{printable(path)}: ")
    return state


def load_with_config(path, **known):
    """Read a file and find the configuration it was made for → ({official name: array}, SwinConfig).

    known    fields of SwinConfig that you know. They override the file's settings (its own metadata, as
             `save_checkpoint` writes it, or a config.json beside it), derived buffers, and names and shapes
             (`infer_config`), but a value that the arrays contradict is an error.
    raises   as load_checkpoint, and CheckpointError that says which field to pass
    warns    as load_checkpoint, and of what had to be assumed
    """
    return load_weights(path, adapt=False, **known)


def load_weights(path, config=None, norms=None, adapt=True, **fields):
    """Read a file and adapt it to the model that is wanted → ({official name: array}, the SwinConfig that it fits).

    path     a file or a folder; see `read_file`
    config   the SwinConfig that is wanted; None: the one that the file was made for
    norms    None: for a SwinTransformer. Else for a Backbone: numbers of the stages whose output has a norm, or "all".
             What a backbone has no use for (a classifier's norm and head, a detector's neck, a decoder) is left out,
             and a file without norm0, norm1, … gets them as they start: 1 and 0.
    adapt    False: `fields` are what the file was made for, and nothing is changed or left out
    fields   fields of SwinConfig that are wanted otherwise, or that the file doesn't determine
    raises   as load_checkpoint; CheckpointError if the file doesn't determine a field, or contradicts itself
    warns    UserWarning: one that lists all that was adapted and left out, one for each assumption, and one for each
             array that holds NaN or infinity
    """
    check_fields(fields)
    if not isinstance(norms, tuple | list | None) and norms != "all":
        raise ValueError(f"out_indices: expected numbers of stages, got {norms!r}")
    raw, settings = read_file(path)
    with naming(path):
        prefix, within, beside = strip_prefix(unwrap(raw))
        state, buffers, unknown, library = translate(within)
        told = _told(state, buffers, settings, saves_masks=library == "microsoft")
        changes = _leave_out(state, prefix, unknown, beside, backbone=norms is not None)
        own, assumed = infer(shapes_of(state), told, (vars(config) if config else {}) | fields)
        if norms is not None:
            fields = fields | {"num_classes": 0}
        wanted = replace(config or own, **fields)
        _check_own(state, buffers, own if adapt else wanted)
        if adapt:
            said = config is not None or "pretrained_window_sizes" in fields
            wanted, more = adapt_offsets(wanted, own, said)
            state, adapted = adapt_state(state, wanted, own)
            changes += more + adapted
            if norms is not None:
                norms = [stage for stage in range(len(wanted.depths)) if norms == "all" or stage in norms]
                state, adapted = adapt_norms(state, wanted, norms)
                changes += adapted
            check_state(state, model_shapes(wanted, norms))
    _warn(path, assumed, changes)
    if not adapt:  # else the model's load_state_dict does
        warn_not_finite(state, f"{printable(path)}: ")
    return state, wanted


def _leave_out(state, prefix, unknown, beside, backbone):
    """Refuse names that no Swin Transformer has. For a backbone, only those among its own parts; drop the rest."""
    strangers = [prefix + name for name in unknown] + list(beside)
    if not backbone:
        refuse_unknown(strangers)
        return []
    within = r"((layers|stages|features|encoder\.layers)\.\d|patch_embed\.|embeddings\.(?!mask_token))"
    refuse_unknown([prefix + name for name in unknown if re.match(within, name)])
    changes = [f"{len(strangers)} arrays that a backbone has no use for are left out: {listed(strangers)}"]
    changes = changes if strangers else []
    if head := {name: state.pop(name) for name in list(state) if name.startswith("head.")}:
        classes = head.get("head.weight", head.get("head.bias")).shape[:1]
        changes.append(f"the head of {classes[0] if classes else 'no'} classes is left out")
    return changes


def _told(state, buffers, settings, saves_masks):
    """What a file says of its configuration beside its arrays, see `infer`. Contradictions are errors."""
    told, sizes = read_settings(settings), read_sizes(shapes_of(state))
    where = "metadata" if "config" in settings else "config.json"
    for field, value in told.items():
        if field not in ("window_size", "mlp_ratio") and sizes.get(field, value) != value:
            raise CheckpointError(f"its {where} says {field}={value}, its arrays {field}={sizes[field]}")
    found = read_buffers(buffers, sizes.get("patch_size", 1), saves_masks)
    if told.get("img_size", found.get("img_size")) != found.get("img_size", told.get("img_size")):
        raise CheckpointError(
            f"its {where} says img_size={told['img_size']}, its shift masks img_size={found['img_size']}"
        )
    return found | told


def _check_own(state, buffers, config):
    """Raise CheckpointError where any array contradicts `config`, or where its model would take far more memory."""
    if (depths := read_sizes(shapes_of(state)).get("depths", config.depths)) != config.depths:
        raise CheckpointError(f"its arrays have depths={depths}, not {config.depths}")
    if sum(config.depths) > len(state):
        raise CheckpointError(f"{len(state)} arrays are too few for the {sum(config.depths)} blocks it claims")
    index = sum(depth * window**4 * 8 for depth, window in zip(config.depths, config.windows, strict=True))
    if index > max(MOST_BYTES, 100 * sum(value.nbytes for value in state.values())):
        raise CheckpointError(f"windows of {config.windows}: their index tables alone would take {index:,} bytes")
    stages = range(len(config.depths))
    shapes = model_shapes(config) | model_shapes(config, stages)
    check_state(state, {name: shape for name, shape in shapes.items() if name in state})
    check_buffers(buffers, config)


def _warn(path, assumed, changes):
    path = printable(path)
    for note in assumed:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    if changes:
        warnings.warn(f"{path}: adapted: {'; '.join(changes)}", stacklevel=4)
