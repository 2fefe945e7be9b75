"""Both twins with the weights of torchvision's, timm's and transformers' models: same logits, same stages; and back.

At any size each family has its own habits. torchvision does what our img_size=None does. timm rolls before it
pads, so it is compared where nothing needs padding. transformers shrinks a window at call time, so it is compared
where every map is larger than a window; its V2 shrinks it when built, to sides that it rounds down after merging.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy import SwinConfig, convert_state_dict, export_state_dict, infer_config
from tests.families import FAMILIES, NEEDS_TORCHVISION, assert_close, peer, peer_outputs
from tests.twin import PACKAGES, inputs_for, normal, random_state

TWO = dict(embed_dim=8, depths=(2, 3), num_heads=(2, 4), num_classes=5, drop_path_rate=0.0)
FOUR = dict(embed_dim=4, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), num_classes=5, drop_path_rate=0.0)

# name: (families, options, size of the images)
BUILT = {
    "last stage is one window": (FAMILIES, dict(TWO, img_size=56, window_size=7), (56, 56)),
    "even window": (FAMILIES, dict(TWO, img_size=64, window_size=4, mlp_ratio=2.0), (64, 64)),
    "four stages": (FAMILIES, dict(FOUR, img_size=64, window_size=2), (64, 64)),
    "grey, no qkv bias": (FAMILIES[1:], dict(TWO, img_size=32, window_size=4, in_chans=1, qkv_bias=False), (32, 32)),
    "windows shrink": (("timm",), dict(TWO, img_size=56, window_size=14), (56, 56)),
    "a window for each stage": (("timm",), dict(FOUR, img_size=64, window_size=(4, 2, 4, 2)), (64, 64)),
    "Swin-S3's windows": (("timm",), dict(FOUR, img_size=224, window_size=(7, 7, 14, 7)), (224, 224)),
}
ANY = {
    "100x132, every stage padded": (("torchvision",), dict(FOUR, window_size=7), (100, 132)),
    "100x132, smaller windows": (FAMILIES[::2], dict(FOUR, window_size=3), (100, 132)),
    "100x132, even windows": (("torchvision",), dict(FOUR, window_size=4), (100, 132)),
    "52x36, maps smaller than a window": (("torchvision",), dict(FOUR, window_size=7), (52, 36)),
    "52x36, odd maps": (("torchvision",), dict(FOUR, window_size=4), (52, 36)),
    "52x36, two stages": (FAMILIES[::2], dict(TWO, window_size=4), (52, 36)),
}
CASES = BUILT | {
    name: (families, dict(options, img_size=None), size) for name, (families, options, size) in ANY.items()
}

# transformers is what `make test` installs, so with it every option gets a turn.
ONE = ("transformers",)
SMALL = dict(embed_dim=12, depths=(2, 2), num_heads=(2, 3), num_classes=5)
SWIN_T = dict(embed_dim=24, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), num_classes=9)
SWIN_B = dict(embed_dim=16, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), num_classes=9)
THREE = dict(SMALL, depths=(1, 2, 3), num_heads=(1, 2, 4))
CASES |= {
    "rectangle": (ONE, dict(SMALL, img_size=(32, 48), window_size=3), (32, 48)),
    "last stage is one window high": (ONE, dict(SMALL, img_size=(56, 84)), (56, 84)),
    "every map padded": (ONE, dict(SMALL, img_size=(60, 100), window_size=7), (60, 100)),
    "patches padded": (ONE, dict(SMALL, img_size=(45, 70), window_size=3), (45, 70)),
    "odd sides merged": (ONE, dict(SMALL, img_size=(52, 84), window_size=4), (52, 84)),
    "three stages": (ONE, dict(THREE, img_size=(60, 100), window_size=3), (60, 100)),
    "one stage of one block": (ONE, dict(SMALL, depths=(1,), num_heads=(2,), img_size=16, window_size=2), (16, 16)),
    "ape": (ONE, dict(SMALL, img_size=32, window_size=4, ape=True), (32, 32)),
    "narrow MLP": (ONE, dict(SMALL, img_size=(32, 48), window_size=3, mlp_ratio=2.5), (32, 48)),
    "no qkv bias": (ONE, dict(SMALL, img_size=(32, 48), window_size=3, qkv_bias=False), (32, 48)),
    "patches of 2": (ONE, dict(SMALL, img_size=(16, 24), window_size=3, in_chans=1, patch_size=2), (16, 24)),
    "any size, padded": (ONE, dict(SMALL, img_size=None, window_size=4), (45, 70)),
    "built for another size": (ONE, dict(SMALL, img_size=(32, 32), window_size=3), (45, 70)),
    "Swin-T at 224": (ONE, dict(SWIN_T, img_size=224), (224, 224)),
    "Swin-B at 96": (ONE, dict(SWIN_B, img_size=96, window_size=3), (96, 96)),
}

# Version 2 of the same, and what it has of its own. torchvision can't be told of a window of pre-training.
OF_BOTH = [*BUILT, *ANY, "rectangle", "patches padded", "any size, padded", "odd sides merged", "no qkv bias"]
CASES |= {f"V2, {name}": (CASES[name][0], dict(CASES[name][1], version=2), CASES[name][2]) for name in OF_BOTH}
PRETRAINED = {"pretrained_window_sizes": (4, 3)}
TUNED = dict(TWO, version=2, img_size=64, window_size=8) | PRETRAINED
SWIN_V2_T = dict(SWIN_T, version=2, img_size=128, window_size=8, pretrained_window_sizes=(6, 6, 6, 3))
CASES |= {
    "V2, another window than at pre-training": (FAMILIES[1:], TUNED, (64, 64)),
    "V2, Swin-T at 128, last stage is one window": (FAMILIES[1:], SWIN_V2_T, (128, 128)),
}
RUNS = [(case, family) for case, (families, _, _) in CASES.items() for family in families]


def config_of(case):
    options = CASES[case][1]
    return SwinConfig(**{"pretrained_window_sizes": (0,) * len(options["depths"])} | options)


def untold(config):
    """The fields that a V2 state dict doesn't determine."""
    names = ("img_size", "window_size", "pretrained_window_sizes") if config.version == 2 else ()
    return {name: getattr(config, name) for name in names}


@PACKAGES
@pytest.mark.parametrize(("case", "family"), RUNS)
def test_logits_and_stages_are_theirs(case, family, package):
    config, size = config_of(case), CASES[case][2]
    theirs = peer(family, config)
    images = normal(2, config.in_chans, *size)
    logits, stages = peer_outputs(family, theirs, images)
    model = package.SwinTransformer(config)
    model = (model.double() if package is swin_torch else model.to(np.float64)).eval()
    model.load_state_dict(convert_state_dict(theirs.state_dict()))
    with torch.no_grad():
        inputs = inputs_for(package, images)
        assert_close(model(*inputs), logits)
        found = model.forward_stages(*inputs)
    assert len(found) == len(stages) == len(config.depths)
    for (tokens, _), expected in zip(found, stages, strict=True):
        assert_close(tokens, expected)


@pytest.mark.parametrize(("case", "family"), [(case, family) for case, family in RUNS if "windows shrink" not in case])
def test_their_strict_loader_takes_what_we_export_and_gives_it_back(case, family):
    config = config_of(case)
    theirs = peer(family, config)
    state = swin_numpy.SwinTransformer(config, seed=5).state_dict()
    exported = export_state_dict(state, family, config)
    theirs.float().load_state_dict({name: torch.from_numpy(value) for name, value in exported.items()}, strict=True)
    back = convert_state_dict(theirs.state_dict())
    assert back.keys() == state.keys()
    for name, value in back.items():
        np.testing.assert_array_equal(value, state[name])


@NEEDS_TORCHVISION
def test_torchvision_takes_the_window_of_pre_training_from_our_file():
    """It has no option for that, but what we export holds the coordinates that it takes."""
    config = config_of("V2, another window than at pre-training")
    model = swin_numpy.SwinTransformer(config, dtype=np.float64)
    model.load_state_dict(random_state({name: value.shape for name, value in model.state_dict().items()}))
    theirs = peer("torchvision", config)
    exported = export_state_dict(model.state_dict(), "torchvision", config)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in exported.items()}, strict=True)
    images = normal(2, 3, 64, 64)
    assert_close(model(images), peer_outputs("torchvision", theirs, images)[0])


@PACKAGES
@pytest.mark.parametrize("case", ["four stages", "V2, four stages"])
@pytest.mark.parametrize("family", FAMILIES)
def test_their_saved_file_becomes_a_model(tmp_path, family, case, package):
    config = config_of(case)
    theirs = peer(family, config)
    torch.save({"model": theirs.state_dict(), "epoch": 3}, tmp_path / "theirs.pth")
    model = package.SwinTransformer.from_checkpoint(tmp_path / "theirs.pth", **{"img_size": 64} | untold(config))
    assert replace(model.config, drop_path_rate=0.0) == config
    images = normal(1, 3, 64, 64)
    logits, _ = peer_outputs(family, theirs, images)
    with torch.no_grad():
        assert_close(model(*inputs_for(package, images)), logits)


@pytest.mark.parametrize("case", ["four stages", "V2, four stages"])
def test_a_folder_of_theirs_is_read(tmp_path, case):
    """What `save_pretrained` writes; V1's names on disk are not those in memory."""
    theirs = peer("transformers", config_of(case))
    theirs.save_pretrained(tmp_path)
    state = swin_numpy.load_checkpoint(tmp_path / "model.safetensors")
    expected = convert_state_dict(theirs.state_dict())
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)


HUB = {
    "V1": dict(FOUR, img_size=64, window_size=2),
    "V1, images that it can't take": dict(FOUR, img_size=64, window_size=4),  # its V1 tables don't shrink
    "V1, not square": dict(TWO, img_size=(64, 96), window_size=3),
    "V1, position embedding": dict(TWO, img_size=(64, 96), window_size=3, ape=True),
    "V2": dict(FOUR, img_size=64, window_size=4, version=2),
    "V2, another window than at pre-training": dict(TWO, version=2, img_size=64, window_size=8) | PRETRAINED,
}


@PACKAGES
@pytest.mark.parametrize("shards", ["1GB", "20KB"])
@pytest.mark.parametrize("case", HUB)
def test_a_folder_of_the_hub_says_all_that_its_model_needs(tmp_path, case, shards, package):
    config = SwinConfig(**{"pretrained_window_sizes": (0,) * len(HUB[case]["depths"])} | HUB[case])
    theirs = peer("transformers", config)
    theirs.save_pretrained(tmp_path, max_shard_size=shards)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards == "20KB")
    model = package.SwinTransformer.from_checkpoint(tmp_path)
    fits = config.version == 2 or config.windows == config.window_sizes
    expected = config if fits else replace(config, img_size=None)
    assert replace(model.config, drop_path_rate=0.0) == expected
    images = normal(2, 3, *(config.image_shape if fits else (128, 128)))
    with torch.no_grad():
        assert_close(model(*inputs_for(package, images)), peer_outputs("transformers", theirs, images)[0])


@pytest.mark.parametrize("name", ["swin_s3_tiny_224", "swinv2_tiny_window8_256"])
def test_a_folder_of_timm_s(tmp_path, name):
    """As it uploads a model to the hub: its config.json names the architecture, which V2's windows need."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from timm.models._hub import save_for_hf

    theirs = timm.create_model(name, num_classes=3).eval()
    save_for_hf(theirs, tmp_path)
    model = swin_torch.SwinTransformer.from_checkpoint(tmp_path)
    preset = name.replace("_window", "_patch4_window")
    expected = swin_numpy.CONFIGS[name if name in swin_numpy.CONFIGS else preset]
    assert replace(model.config, num_classes=1000) == expected
    images = torch.from_numpy(normal(1, 3, *model.config.image_shape, dtype=np.float32))
    with torch.no_grad():
        assert_close(model(images), theirs(images).numpy(), 1e-4)


@pytest.mark.parametrize("case", [case for case, (_, _, size) in CASES.items() if size[0] == size[1]])
def test_an_inferred_configuration_gives_the_same_logits(case):
    config = config_of(case)
    model = swin_numpy.SwinTransformer(config, seed=5, dtype=np.float64)
    other = swin_numpy.SwinTransformer(infer_config(model.state_dict(), **untold(config)), dtype=np.float64)
    other.load_state_dict(model.state_dict())
    images = normal(1, config.in_chans, *CASES[case][2])
    assert_close(other(images), model(images))
