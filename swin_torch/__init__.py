"""Swin Transformer in PyTorch: the twin of `swin_numpy`, file for file."""

from .attention import Attention, multi_head_self_attention, self_attention
from .backbone import Backbone
from .block import SwinTransformerBlock
from .layers import Mlp
from .model import BasicLayer, SwinTransformer
from .patches import PatchEmbed, PatchMerging
from .window_attention import WindowAttention
from .windows import (
    cyclic_shift,
    pad_to_multiple,
    relative_position_index,
    shift_mask,
    window_partition,
    window_reverse,
)
