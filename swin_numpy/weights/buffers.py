"""Buffers that other libraries' files hold beside the parameters, though sizes alone determine them."""

import math

import numpy as np

from ..windows import relative_coordinates, relative_position_index, shift_mask
from .check import CheckpointError, one_if_same

DERIVED = ("attn_mask", "relative_position_index", "relative_coords_table")


def derived_buffers(config, to):
    """{official name: array} of the buffers that `to` ("microsoft", "torchvision") saves.

    Raises CheckpointError where there are none: Microsoft's masks belong to one image size, which whole windows must
    fill, and torchvision's windows don't shrink.
    """
    if to == "microsoft" and config.img_size is None and not config.always_shift:
        raise CheckpointError("Microsoft's masks belong to one image size: pass a config with img_size")
    if to == "torchvision" and config.windows != config.window_sizes:
        raise CheckpointError(
            f"torchvision's windows don't shrink, and at img_size={config.img_size} these do: {config.windows} from "
            f"window_size={config.window_size}"
        )
    buffers = {}
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            found = _block_buffers(config, stage, block, to)
            buffers |= {f"layers.{stage}.blocks.{block}.{name}": value for name, value in found.items()}
    return buffers


def _block_buffers(config, stage, block, to):
    window = config.windows[stage]
    index = relative_position_index(window)
    buffers = {"attn.relative_position_index": index.reshape(-1) if to == "torchvision" else index}
    if config.version == 2:
        offsets = relative_coordinates(window, config.pretrained_window_sizes[stage])
        buffers["attn.relative_coords_table"] = offsets.reshape(1, 2 * window - 1, 2 * window - 1, 2)
    if to == "microsoft" and block % 2 and _has_mask(config, stage):
        h, w = config.grids[stage]
        if h % window or w % window:
            raise CheckpointError(
                f"Microsoft's code needs whole windows: stage {stage} of img_size={config.img_size} has a map of "
                f"{h}x{w} tokens and windows of {window}"
            )
        buffers["attn_mask"] = shift_mask(h, w, window, window // 2)
    return buffers


def _has_mask(config, stage):
    """Does Microsoft's classification code save a mask for the shifted blocks of this stage? Its detector never does.

    A stage whose grid's smaller side fits in one window isn't shifted.
    """
    shrinks = config.img_size is not None and min(config.grids[stage]) <= config.window_sizes[stage]
    return not config.always_shift and not shrinks and config.window_sizes[stage] > 1


def read_buffers(buffers, patch_size, saves_masks):
    """The fields of SwinConfig that derived buffers determine, and what else they show; see `infer`.

    buffers       {official name: array}
    saves_masks   whether the library that saved them saves a mask for every stage that it shifts
    returns       {} if there are none. V2's windows and pretrained_window_sizes, which its weights don't show, can be
                  read here and nowhere else, and so can an image that isn't square: a mask shows how many
                  windows a row has.
    raises        CheckpointError for a buffer that no window and no image has
    """
    found = {}
    indices = [name for name in buffers if name.endswith("relative_position_index")]
    windows = {_stage(name): _window_of_index(name, buffers[name].shape) for name in indices}
    if windows and sorted(windows) == list(range(len(windows))):
        found["windows"] = tuple(windows[stage] for stage in range(len(windows)))
    tables = {_stage(name): name for name in buffers if name.endswith("relative_coords_table")}
    if tables and sorted(tables) == sorted(windows):
        sizes = [_pretrained_window(tables[s], buffers[tables[s]], windows[s]) for s in range(len(windows))]
        found["pretrained_window_sizes"] = tuple(sizes)
    masks = [name for name in buffers if name.endswith("attn_mask")]
    shiftable = any(".blocks.1." in name and windows[_stage(name)] > 1 for name in indices)
    if saves_masks and not masks and shiftable:
        found["unshifted"] = True
    if masks:
        rows, columns = _grid_of_mask(masks[0], buffers[masks[0]])
        scale = 2 ** _stage(masks[0]) * patch_size
        found["img_size"] = one_if_same((rows * scale, columns * scale))
    return found


def check_buffers(buffers, config):
    """Raise CheckpointError where the shape of a derived buffer, or what a mask separates, contradicts `config`."""
    for name, value in buffers.items():
        stage = _stage(name)
        if stage >= len(config.depths):
            continue  # that is said of its weights
        window = config.windows[stage]
        if name.endswith("relative_position_index"):
            fits = value.shape in ((window**2, window**2), (window**4,))
        elif name.endswith("relative_coords_table"):
            fits = value.shape == (1, 2 * window - 1, 2 * window - 1, 2)
        else:
            fits = _is_mask(value, config, stage)
        if not fits:
            raise CheckpointError(
                f"{name} of shape {value.shape} isn't that of windows of {window} at img_size={config.img_size}: "
                "the file contradicts itself"
            )
    masked = {_stage(name) for name in buffers if name.endswith("attn_mask")}
    expected = {stage for stage, depth in enumerate(config.depths) if depth > 1 and _has_mask(config, stage)}
    if masked and masked != expected:
        raise CheckpointError(
            f"stages {sorted(masked)} have a shift mask, and at img_size={config.img_size} stages {sorted(expected)} "
            "have one: the file contradicts itself"
        )


def _is_mask(value, config, stage):
    """Maps of 16x64 tokens have as many windows as maps of 32x32: only what the mask separates says which."""
    h, w = config.grids[stage] or (0, 0)
    window = config.windows[stage]
    if not _has_mask(config, stage) or h % window or w % window:
        return False
    return np.array_equal(value != 0, shift_mask(h, w, window, window // 2) != 0)


def _stage(name):
    return int(name.split(".")[1])


def _window_of_index(name, shape):
    """M of an index table (M·M, M·M), or (M·M·M·M,) as torchvision flattens it."""
    window = math.isqrt(math.isqrt(math.prod(shape)))
    if not window or shape not in ((window**2, window**2), (window**4,)):
        raise CheckpointError(f"{name}: expected shape (M·M, M·M) for windows of M x M, got {shape}")
    return window


def _pretrained_window(name, table, window):
    """Undo `relative_coordinates`; 0 stands for the same window."""
    largest = float(table.max()) if table.dtype.kind == "f" and table.size else math.nan
    if window == 1:
        return 0  # its one offset is 0
    if not 0 < largest < 10:
        raise CheckpointError(f"{name}: expected V2's offsets on a log scale, got a largest value of {largest}")
    pretrained = 1 + round(8 * (window - 1) / (8**largest - 1))
    return 0 if pretrained == window else pretrained


def _grid_of_mask(name, mask):
    """(rows, columns) in tokens of the map that a shift mask (windows, M·M, M·M) was made for.

    Windows are numbered row by row. The last of a row is the first that lies across the seam, in which some tokens
    must not see each other.
    """
    window = math.isqrt(mask.shape[1]) if mask.ndim == 3 else 0
    if not window or mask.shape[1:] != (window**2, window**2):
        raise CheckpointError(f"{name}: expected a shift mask (windows, M·M, M·M), got shape {mask.shape}")
    across = np.flatnonzero(mask.any(axis=(1, 2)))
    columns = int(across[0]) + 1 if across.size else 0
    if not columns or len(mask) % columns:
        raise CheckpointError(f"{name}: no cyclic shift has this mask; pass img_size=… and leave it out of the file")
    return len(mask) // columns * window, columns * window
