"""Buffers that other libraries' files hold beside the parameters, though sizes alone determine them."""

import math

from ..windows import relative_coordinates, relative_position_index, shift_mask
from .check import CheckpointError

DERIVED = ("attn_mask", "relative_position_index", "relative_coords_table")


def derived_buffers(config, to):
    """{name in the official places: array} of the buffers that `to` ("microsoft", "torchvision") saves.

    Raises CheckpointError where there are none: Microsoft's masks belong to one image size, and torchvision has
    one window for all stages.
    """
    if to == "microsoft" and config.img_size is None:
        raise CheckpointError("Microsoft's masks belong to one image size: pass a config with img_size")
    if to == "torchvision" and config.img_size is not None and min(config.grids[-1]) < config.window_size:
        raise CheckpointError(
            f"torchvision's windows don't shrink: the last stage's grid {config.grids[-1]} needs one below "
            f"window_size={config.window_size}"
        )
    buffers = {}
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            found = _block_buffers(config, stage, block, to)
            buffers |= {f"layers.{stage}.blocks.{block}.{name}": value for name, value in found.items()}
    return buffers


def _block_buffers(config, stage, block, to):
    grid = config.grids[stage]
    whole = to == "microsoft" and min(grid) <= config.window_size  # one window: it shrinks and isn't shifted
    window = min(grid) if whole else config.window_size
    index = relative_position_index(window)
    buffers = {"attn.relative_position_index": index.reshape(-1) if to == "torchvision" else index}
    if config.version == 2:
        offsets = relative_coordinates(window, config.pretrained_window_sizes[stage])
        buffers["attn.relative_coords_table"] = offsets.reshape(1, 2 * window - 1, 2 * window - 1, 2)
    if to == "microsoft" and block % 2 and window // 2 and not whole:
        buffers["attn_mask"] = shift_mask(*grid, window, window // 2)
    return buffers


def read_buffers(state):
    """The fields of SwinConfig that derived buffers tell: {} if there are none, or if they make no sense.

    state: {name: array or tensor} in Microsoft's or torchvision's names. V2's window_size and
    pretrained_window_sizes, which its weights don't tell, can be read here and nowhere else.
    """
    windows = _windows(state)
    if not windows:
        return {}
    found = {"window_size": windows[0]}
    tables = [_buffer(state, stage, "relative_coords_table") for stage in range(len(windows))]
    if all(_holds_numbers(table) for table in tables):
        pairs = zip(windows, tables, strict=True)
        found["pretrained_window_sizes"] = tuple(_pretrained_window(window, table) for window, table in pairs)
    mask = getattr(state.get("layers.0.blocks.1.attn_mask"), "shape", ())
    patch = getattr(state.get("patch_embed.proj.weight"), "shape", ())
    if len(mask) == 3 and len(patch) == 4 and math.isqrt(mask[0]) ** 2 == mask[0]:
        found["img_size"] = math.isqrt(mask[0]) * windows[0] * patch[2]  # as many windows up as across
    return found


def _holds_numbers(table):
    return hasattr(table, "shape") and "float" in str(table.dtype) and math.prod(table.shape) > 0


def _windows(state):
    """Window of each stage, from index tables (M·M, M·M), or flattened as torchvision does."""
    windows = []
    for stage in range(16):
        shape = tuple(getattr(_buffer(state, stage, "relative_position_index"), "shape", ()))
        side = math.isqrt(math.isqrt(math.prod(shape)))
        if not shape or side == 0 or side**4 != math.prod(shape):
            break
        windows.append(side)
    return windows


def _buffer(state, stage, leaf):
    """Of a stage's first block, in Microsoft's or torchvision's names; None if there is none."""
    return state.get(f"layers.{stage}.blocks.0.attn.{leaf}", state.get(f"features.{2 * stage + 1}.0.attn.{leaf}"))


def _pretrained_window(window, table):
    """Undo `relative_coordinates`; 0 stands for the same window."""
    largest = float(table.max())
    if window < 2 or not 0 < largest < 10:
        return 0
    pretrained = 1 + round(8 * (window - 1) / (8**largest - 1))
    return 0 if pretrained == window else pretrained
