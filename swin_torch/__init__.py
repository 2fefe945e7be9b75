"""Swin Transformer in PyTorch: the twin of `swin_numpy`, file for file."""

from importlib.util import find_spec

if find_spec("torch") is None:  # with this name `python -m swin_torch.compare` prints one line, and no traceback
    raise ImportError("it needs PyTorch: pip install torch", name=__name__)

from .attention import Attention, multi_head_self_attention, self_attention
from .backbone import Backbone
from .block import SwinTransformerBlock, SwinTransformerBlockV2
from .layers import Mlp
from .model import BasicLayer, SwinTransformer
from .patches import PatchEmbed, PatchMerging, PatchMergingV2
from .window_attention import WindowAttention, WindowAttentionV2
from .windows import (
    cyclic_shift,
    pad_to_multiple,
    relative_coordinates,
    relative_position_index,
    shift_mask,
    window_partition,
    window_reverse,
)
