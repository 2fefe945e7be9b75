"""What stands beside a file's weights and says what they are for: our own metadata, or a library's config.json."""

import json
from dataclasses import fields, replace

from ..config import CONFIGS, SwinConfig, config_from_dict
from .check import CheckpointError

# transformers' names of our fields (SwinConfig and Swinv2Config there)
_TRANSFORMERS = {
    "image_size": "img_size",
    "patch_size": "patch_size",
    "num_channels": "in_chans",
    "embed_dim": "embed_dim",
    "depths": "depths",
    "num_heads": "num_heads",
    "window_size": "window_size",
    "pretrained_window_sizes": "pretrained_window_sizes",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "hidden_dropout_prob": "drop_rate",
    "attention_probs_dropout_prob": "attn_drop_rate",
    "drop_path_rate": "drop_path_rate",
    "use_absolute_embeddings": "ape",
}
_TRANSFORMERS_VERSIONS = {"swin": 1, "maskformer-swin": 1, "donut-swin": 1, "swinv2": 2}
_ELSEWHERE = ("encoder", "backbone_config", "vision_config")  # where a larger model's settings hold its Swin's
_FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-5}  # what our model can't be told


def read_settings(settings):
    """The fields of SwinConfig that a file's metadata or a folder's config.json gives; {} if neither says anything.

    settings   {"config": JSON of a SwinConfig, "config.json": text of that file}, both optional
    raises     CheckpointError where they are damaged, or describe a model that ours can't be
    """
    try:
        if "config" in settings:
            return vars(config_from_dict(json.loads(settings["config"])))
        return _of_library(json.loads(settings.get("config.json", "{}")))
    except CheckpointError:
        raise
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        kind, where = ("SwinConfig", "metadata") if "config" in settings else ("settings", "config.json")
        raise CheckpointError(f"its {where} holds no {kind} ({text})") from error


def _of_library(config):
    for place in _ELSEWHERE:
        if isinstance(config.get(place), dict) and config[place].get("model_type") in _TRANSFORMERS_VERSIONS:
            config = config[place]
    if config.get("model_type") in _TRANSFORMERS_VERSIONS:
        return _of_transformers(config)
    return _of_timm(config) if "architecture" in config else {}


def _of_transformers(config):
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise CheckpointError(f"config.json has {name}={config[name]!r}; every published Swin has {value!r}")
    found = {ours: config[theirs] for theirs, ours in _TRANSFORMERS.items() if theirs in config}
    found["version"] = _TRANSFORMERS_VERSIONS[config["model_type"]]
    config = SwinConfig(**_with_one_side(found))
    if config.version == 1 and config.windows != config.window_sizes and not config.ape:
        config = replace(config, img_size=None)  # its V1 tables don't shrink: images of that size can't go through
    return _checked(config, found)


def _of_timm(config):
    """A published architecture by its name, and what was changed of it."""
    name = str(config["architecture"]).partition(".")[0]
    preset = CONFIGS.get(name) or CONFIGS.get(name.replace("_window", "_patch4_window", 1))
    if preset is None:
        return {}
    size = (config.get("pretrained_cfg") or {}).get("input_size")
    changed = {"img_size": size[1:]} if size else {}
    names = {field.name for field in fields(SwinConfig)}
    changed |= {name: value for name, value in (config.get("model_args") or {}).items() if name in names}
    known = ("version", "img_size", "window_size", "pretrained_window_sizes", *changed)
    return _checked(replace(preset, **_with_one_side(changed)), known)


def settings_of(config, to):
    """The way back from `read_settings`: the config.json of "transformers" or "timm" for a SwinConfig → dict."""
    if not config.patch_norm or (to == "timm" and config.ape):
        raise CheckpointError(f"{to} can't be told {'ape=True' if config.patch_norm else 'patch_norm=False'}")
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(config).items()}
    if config.version == 1:
        values.pop("pretrained_window_sizes")
    if to == "timm":
        return _for_timm(config, values)
    if not isinstance(config.window_size, int):
        raise CheckpointError(f"transformers has one window_size for all stages, here they are {config.window_size}")
    kind = "Swin" if config.version == 1 else "Swinv2"
    found = {theirs: values[ours] for theirs, ours in _TRANSFORMERS.items() if values.get(ours) is not None}
    labels = {"id2label": {str(i): f"LABEL_{i}" for i in range(config.num_classes)}}
    return {"model_type": kind.lower(), "architectures": [f"{kind}ForImageClassification"]} | found | labels


def _for_timm(config, values):
    """Any of its architectures of that version, and all sizes as changes of it."""
    if config.image_shape is None:
        raise CheckpointError("timm's models have a size: build the model with img_size")
    if len(config.windows) == 2 and not isinstance(config.window_size, int):
        raise CheckpointError(f"timm takes two windows, here {config.window_size}, for the height and width of one")
    names = ("img_size", "window_size", "pretrained_window_sizes", "patch_size", "embed_dim", "depths", "num_heads")
    names += ("mlp_ratio", "qkv_bias", "attn_drop_rate", "drop_path_rate")
    ends = {"first_conv": "patch_embed.proj", "classifier": "head.fc", "num_classes": config.num_classes}
    return {
        "architecture": "swin_tiny_patch4_window7_224" if config.version == 1 else "swinv2_tiny_window8_256",
        "num_classes": config.num_classes,
        "num_features": config.widths[-1],
        "pretrained_cfg": {"input_size": [config.in_chans, *config.image_shape], "fixed_input_size": True} | ends,
        "model_args": {name: values[name] for name in names if name in values} | {"in_chans": config.in_chans},
    }


def _with_one_side(found):
    """Square images by their one side: [224, 224] → 224."""
    size = found.get("img_size")
    return found | ({"img_size": size[0]} if isinstance(size, list) and len(set(size)) == 1 else {})


def _checked(config, names):
    return {name: getattr(config, name) for name in names}
