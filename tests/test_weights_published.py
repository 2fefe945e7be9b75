"""The table of published weights against the configurations that they are for."""

import json
import math
from dataclasses import fields

import pytest

from swin_numpy import CONFIGS, PUBLISHED, SwinConfig
from swin_numpy.weights.settings import read_settings
from swin_numpy.weights.shapes import model_shapes


def test_every_preset_but_ours_is_published():
    assert set(CONFIGS) - set(PUBLISHED) == {"swin_fashion_patch2_window7_28"}
    assert set(PUBLISHED) <= set(CONFIGS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_configuration_has_as_many_parameters_as_were_published(name):
    millions = sum(math.prod(shape) for shape in model_shapes(CONFIGS[name]).values()) / 1e6
    digits = 1 if CONFIGS[name].num_classes == 21841 else 2  # of the published number
    assert round(millions, digits) == PUBLISHED[name].parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_repository_s_architecture_is_the_preset(name):
    """timm names a repository as the architecture, a dot, and what it was trained on."""
    owner, architecture, trained_on = PUBLISHED[name].repo.replace("/", ".").split(".")
    told = read_settings({"config.json": json.dumps({"architecture": architecture})})
    assert owner == "timm" and {"version", "window_size", "img_size", "pretrained_window_sizes"} <= told.keys()
    assert all(getattr(CONFIGS[name], field.name) == told.get(field.name, getattr(CONFIGS[name], field.name))
               for field in fields(SwinConfig))  # fmt: skip
    assert trained_on == ("ms_in22k" if CONFIGS[name].num_classes == 21841 else trained_on)
    assert trained_on.endswith("in1k") == (CONFIGS[name].num_classes == 1000) == (PUBLISHED[name].top1 is not None)


def test_larger_models_of_a_kind_are_better():
    """A slip in a row of the table would most likely break this order."""
    for order in (
        ["swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224", "swin_base_patch4_window7_224"],
        ["swin_base_patch4_window7_224", "swin_base_patch4_window12_384", "swin_large_patch4_window12_384"],
        ["swin_s3_tiny_224", "swin_s3_small_224", "swin_s3_base_224"],
        [f"swinv2_{size}_patch4_window8_256" for size in ("tiny", "small", "base")],
        [f"swinv2_{size}_patch4_window16_256" for size in ("tiny", "small", "base")],
        [f"swinv2_{size}_patch4_window12to16_192to256" for size in ("base", "large")],
        [f"swinv2_{size}_patch4_window12to24_192to384" for size in ("base", "large")],
    ):
        rates = [PUBLISHED[name].top1 for name in order]
        assert rates == sorted(rates) and rates[0] > 80
    assert {entry.licence for entry in PUBLISHED.values()} == {"MIT"}
