"""A model as the folder of a hub repository, config.json and model.safetensors, for another library to load."""

import json
import re
from dataclasses import replace
from pathlib import Path

from ..runtime.replace import write_text
from .check import CheckpointError, shapes_of
from .export import export_state_dict
from .files import save_checkpoint
from .infer import infer
from .names import convert_state_dict
from .settings import read_settings, settings_of

_IN_TRAINING = {"drop_rate": 0.0, "attn_drop_rate": 0.0, "drop_path_rate": 0.0}


def save_folder(folder, state, config, to="transformers"):
    """Write config.json and model.safetensors into `folder`, which is made if it isn't there.

    state    {official name: array or tensor}
    config   the model's SwinConfig
    to       "transformers": transformers.AutoModelForImageClassification.from_pretrained(folder) reads it;
             "timm": timm.create_model("local-dir:" + folder, pretrained=True), or with checkpoint_path=
    raises   ValueError for another `to`; CheckpointError where that library has no such model, and for a Backbone's
             weights; OSError where it can't be written

    `hf upload OWNER/NAME FOLDER`, a command of huggingface_hub, puts it on the hub.
    """
    if to not in ("transformers", "timm"):
        raise ValueError(f'to: expected "transformers" or "timm", got {to!r}')
    if any(re.match(r"norm\d", name) for name in state):
        raise CheckpointError("a backbone's weights: save_pretrained writes classifiers, save_checkpoint writes both")
    state = convert_state_dict(state)
    names = export_state_dict(state, "transformers_classic" if to == "transformers" else to, config)
    settings = json.dumps(settings_of(config, to), indent=2)
    _check_said(settings, state, config, to)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / "model.safetensors", names, {"format": "pt"})
    write_text(folder / "config.json", settings + "\n")


def _check_said(settings, state, config, to):
    """Raise CheckpointError that names the fields of SwinConfig for which these settings have no words."""
    said, _ = infer(shapes_of(state), read_settings({"config.json": settings}), {})
    said, config = replace(said, **_IN_TRAINING), replace(config, **_IN_TRAINING)
    if lost := [f"{name}={value!r}" for name, value in vars(config).items() if getattr(said, name) != value]:
        raise CheckpointError(f"{to} can't be told {', '.join(lost)}")
