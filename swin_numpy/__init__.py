"""Swin Transformer from scratch in NumPy. The PyTorch twin is `swin_torch`, file for file."""

from .attention import Attention, multi_head_self_attention, self_attention
from .backbone import Backbone
from .block import SwinTransformerBlock, SwinTransformerBlockV2
from .config import CONFIGS, SwinConfig, get_config
from .layers import Mlp
from .model import BasicLayer, SwinTransformer
from .patches import PatchEmbed, PatchMerging, PatchMergingV2
from .pictures.images import ImageError, denormalise, load_image, preprocess, to_array
from .pictures.preprocessing import Preprocessing
from .weights.adapt import adapt_state
from .weights.check import CheckpointError
from .weights.export import export_state_dict
from .weights.files import save_checkpoint
from .weights.hub import HubError
from .weights.infer import infer_config
from .weights.initial import initial_state
from .weights.load import load_checkpoint, load_with_config
from .weights.names import convert_state_dict
from .weights.published import PUBLISHED
from .weights.resize import adapt_channels, resize_absolute_position_embedding, resize_position_bias
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
