"""What a Swin Transformer is made of, as plain data: `SwinConfig` and the published presets.

Field names are those of the official code (github.com/microsoft/Swin-Transformer).
"""

import math
import reprlib
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class SwinConfig:
    """The sizes and options of one model. Immutable; `replace(config, window_size=12)` makes another.

    img_size                 side of a square image, (height, width), or None: any size at each call
    patch_size               side of a patch in pixels
    in_chans, num_classes    channels of the image; classes of the head (0: no head, features come out)
    embed_dim                C, channels in the first stage; stage s has C · 2^s
    depths, num_heads        blocks and attention heads of each stage
    window_size              M: a window holds M x M tokens; or one M for each stage, as in Swin-S3: (7, 7, 14, 7)
    mlp_ratio                hidden width of the MLP / its input width
    qkv_bias                 learn a bias for query, key and value
    drop_rate, attn_drop_rate, drop_path_rate
                             dropout of features, of attention weights, and the last block's stochastic depth
    ape                      add an absolute position embedding to the patches
    patch_norm               layer norm after the patch embedding
    version                  1 (Liu et al. 2021) or 2 (Liu et al. 2022)
    pretrained_window_sizes  V2: window of each stage at pre-training; 0: the same window as now
    always_shift             shift even a map that fits in one window, and never shrink a window: so do detectors
                             (Microsoft's, mmdetection, transformers' SwinBackbone), and no classifier

    Raises TypeError or ValueError that names the field, what was expected and what came.
    """

    img_size: int | tuple[int, int] | None = 224
    patch_size: int = 4
    in_chans: int = 3
    num_classes: int = 1000
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int | tuple[int, ...] = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    ape: bool = False
    patch_norm: bool = True
    version: int = 1
    pretrained_window_sizes: tuple[int, ...] = (0, 0, 0, 0)
    always_shift: bool = False

    def __post_init__(self):
        for name in ("depths", "num_heads", "pretrained_window_sizes"):
            object.__setattr__(self, name, _tuple(name, getattr(self, name), "a tuple of ints"))
        if self.img_size is not None and not isinstance(self.img_size, int):
            object.__setattr__(self, "img_size", _tuple("img_size", self.img_size, _IMG_SIZE))
        if not isinstance(self.window_size, int):
            windows = _tuple("window_size", self.window_size, "an int, or one for each stage")
            same = len(windows) == len(self.depths) and len(set(windows)) == 1
            object.__setattr__(self, "window_size", windows[0] if same else windows)
        if len(set(self.pretrained_window_sizes)) == 1:  # one value for all stages, however many there are
            same = self.pretrained_window_sizes[:1] * len(self.depths)
            object.__setattr__(self, "pretrained_window_sizes", same)
        _check(self)

    @property
    def image_shape(self):
        """(H, W) in pixels that the model is built for, or None."""
        return (self.img_size, self.img_size) if isinstance(self.img_size, int) else self.img_size

    @property
    def widths(self):
        """Channels of each stage: C, 2C, 4C, …"""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    @property
    def grids(self):
        """(h, w) in tokens of each stage at the built size; (None, None, …) if there is none."""
        if self.image_shape is None:
            return (None,) * len(self.depths)
        grid = tuple(-(-side // self.patch_size) for side in self.image_shape)  # rounded up: nothing is cut off
        grids = [grid]
        for _ in self.depths[1:]:
            grids.append(tuple(-(-side // 2) for side in grids[-1]))
        return tuple(grids)

    @property
    def window_sizes(self):
        """window_size of each stage, before any of them shrinks."""
        return (self.window_size,) * len(self.depths) if isinstance(self.window_size, int) else self.window_size

    @property
    def windows(self):
        """The window of each stage at the built size: it shrinks where the grid's smaller side is less."""
        if self.always_shift or self.image_shape is None:
            return self.window_sizes
        return tuple(min(window, *grid) for window, grid in zip(self.window_sizes, self.grids, strict=True))

    @property
    def drop_path_rates(self):
        """Stochastic depth of every block, one tuple a stage: from 0 in the first block up to drop_path_rate."""
        last = max(sum(self.depths) - 1, 1)
        rates = iter(self.drop_path_rate * block / last for block in range(sum(self.depths)))
        return tuple(tuple(next(rates) for _ in range(depth)) for depth in self.depths)


_IMG_SIZE = "an int, (height, width) or None"
_MOST_STAGES = 16  # each doubles the width: what has more is a damaged file


def _tuple(name, value, expected):
    try:
        return tuple(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {value!r}") from None


def _check(config):
    """Raise where `config` describes no model."""
    for name in ("patch_size", "in_chans", "embed_dim"):
        _check_int(name, getattr(config, name), least=1)
    _check_int("num_classes", config.num_classes, least=0)
    if not config.depths:
        raise ValueError("depths: expected at least one stage, got ()")
    if len(config.depths) > _MOST_STAGES:
        raise ValueError(f"depths: expected at most {_MOST_STAGES} stages, got {len(config.depths)}")
    for name, values, least in (
        ("depths", config.depths, 1),
        ("num_heads", config.num_heads, 1),
        ("window_size", config.window_sizes, 1),
        ("pretrained_window_sizes", config.pretrained_window_sizes, 0),
    ):
        if len(values) != len(config.depths):
            raise ValueError(
                f"{name}: expected {len(config.depths)} values, one for each stage of depths={config.depths}, "
                f"got {reprlib.repr(values)}"
            )
        for value in values:
            _check_int(name, value, least)
    for stage, (width, heads) in enumerate(zip(config.widths, config.num_heads, strict=True)):
        if width % heads:
            raise ValueError(f"num_heads: stage {stage} has {width} channels, which {heads} heads can't share")
    if config.version not in (1, 2):
        raise ValueError(f"version: expected 1 or 2, got {config.version!r}")
    _check_options(config)
    _check_img_size(config)


def _check_options(config):
    for name in ("qkv_bias", "ape", "patch_norm", "always_shift"):
        if not isinstance(getattr(config, name), bool):
            raise TypeError(f"{name}: expected True or False, got {getattr(config, name)!r}")
    for name in ("drop_rate", "attn_drop_rate", "drop_path_rate", "mlp_ratio"):
        if not isinstance(getattr(config, name), int | float):
            raise TypeError(f"{name}: expected a number, got {getattr(config, name)!r}")
    for name in ("drop_rate", "attn_drop_rate", "drop_path_rate"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name}: expected 0 <= rate < 1, got {getattr(config, name)}")
    if not 0 < config.mlp_ratio < math.inf:
        raise ValueError(f"mlp_ratio: expected a number above 0, got {config.mlp_ratio}")


def _check_img_size(config):
    if config.image_shape is None:
        if config.ape:
            raise ValueError("ape=True needs img_size: an absolute position embedding has one row for each patch")
        return
    if len(config.image_shape) != 2:
        raise ValueError(f"img_size: expected {_IMG_SIZE}, got {config.img_size}")
    for side in config.image_shape:
        _check_int("img_size", side, least=1)


def _check_int(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


_TINY = SwinConfig(drop_path_rate=0.2)
_SMALL = replace(_TINY, depths=(2, 2, 18, 2), drop_path_rate=0.3)
_BASE = replace(_SMALL, embed_dim=128, num_heads=(4, 8, 16, 32), drop_path_rate=0.5)
_LARGE = replace(_BASE, embed_dim=192, num_heads=(6, 12, 24, 48), drop_path_rate=0.2)

# A Swin for Fashion-MNIST that is small but leaves nothing out: 14x14 tokens in four windows, shifted in every other
# block; then 7x7 tokens, which are one window.
_FASHION = SwinConfig(
    img_size=28,
    patch_size=2,
    in_chans=1,
    num_classes=10,
    embed_dim=32,
    depths=(2, 4),
    num_heads=(2, 4),
    window_size=7,
    drop_path_rate=0.0,
)

# V2: T, S and B trained at 256x256; B and L trained at 192x192 on ImageNet-22k, then tuned at larger windows on 1k.
_V2 = {"version": 2, "img_size": 256, "window_size": 8}
_TINY_V2, _SMALL_V2, _BASE_V2 = (replace(config, **_V2) for config in (_TINY, _SMALL, _BASE))
_BASE_192 = replace(_BASE_V2, img_size=192, window_size=12, num_classes=21841, drop_path_rate=0.2)
_LARGE_192 = replace(_LARGE, version=2, img_size=192, window_size=12, num_classes=21841)
_TO_256 = {"img_size": 256, "window_size": 16, "num_classes": 1000, "pretrained_window_sizes": (12, 12, 12, 6)}
_TO_384 = _TO_256 | {"img_size": 384, "window_size": 24}

# Published models, on ImageNet-1k but where said otherwise; drop_path_rate as in the official training configurations.
# S3 (Chen et al. 2021, "Searching the Search Space of Vision Transformer"), sizes as in timm: a window for each stage.
# The last is ours.
CONFIGS = {
    "swin_tiny_patch4_window7_224": _TINY,
    "swin_small_patch4_window7_224": _SMALL,
    "swin_base_patch4_window7_224": _BASE,
    "swin_base_patch4_window12_384": replace(_BASE, img_size=384, window_size=12),
    "swin_large_patch4_window7_224": _LARGE,
    "swin_large_patch4_window12_384": replace(_LARGE, img_size=384, window_size=12),
    "swin_s3_tiny_224": replace(_TINY, window_size=(7, 7, 14, 7), drop_path_rate=0.1),
    "swin_s3_small_224": replace(_SMALL, window_size=(14, 14, 14, 7), drop_path_rate=0.1),
    "swin_s3_base_224": replace(_SMALL, depths=(2, 2, 30, 2), window_size=(7, 7, 14, 7), drop_path_rate=0.1),
    "swinv2_tiny_patch4_window8_256": _TINY_V2,
    "swinv2_tiny_patch4_window16_256": replace(_TINY_V2, window_size=16),
    "swinv2_small_patch4_window8_256": _SMALL_V2,
    "swinv2_small_patch4_window16_256": replace(_SMALL_V2, window_size=16),
    "swinv2_base_patch4_window8_256": _BASE_V2,
    "swinv2_base_patch4_window16_256": replace(_BASE_V2, window_size=16),
    "swinv2_base_patch4_window12_192": _BASE_192,
    "swinv2_base_patch4_window12to16_192to256": replace(_BASE_192, **_TO_256),
    "swinv2_base_patch4_window12to24_192to384": replace(_BASE_192, **_TO_384),
    "swinv2_large_patch4_window12_192": _LARGE_192,
    "swinv2_large_patch4_window12to16_192to256": replace(_LARGE_192, **_TO_256),
    "swinv2_large_patch4_window12to24_192to384": replace(_LARGE_192, **_TO_384),
    "swin_fashion_patch2_window7_28": _FASHION,
}


def get_config(name):
    """The preset called `name`. Raises ValueError that lists the names there are."""
    if name not in CONFIGS:
        raise ValueError(f"unknown model {name!r}; expected one of: {', '.join(CONFIGS)}")
    return CONFIGS[name]


def config_from_dict(values):
    """A SwinConfig from a plain dict, such as JSON gives. Raises ValueError for names that are no fields."""
    unknown = sorted(set(values) - {field.name for field in fields(SwinConfig)})
    if unknown:
        raise ValueError(f"not fields of SwinConfig: {', '.join(unknown)}")
    return SwinConfig(**values)
