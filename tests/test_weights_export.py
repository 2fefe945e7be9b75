"""Official names as other libraries' loaders want them."""

from dataclasses import replace

import numpy as np
import pytest

from swin_numpy.config import SwinConfig
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.export import LIBRARIES, export_state_dict
from swin_numpy.weights.names import convert_state_dict
from swin_numpy.weights.shapes import model_shapes
from tests.peer_names import DERIVED, official_shapes, peer_shapes, random_state


def config(version, **fields):
    sizes = dict(img_size=56, embed_dim=24, depths=(2, 2), num_heads=(2, 4), num_classes=10, version=version)
    return SwinConfig(**sizes | dict(pretrained_window_sizes=(0, 0)) | fields)


S3 = SwinConfig(
    img_size=224, embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), window_size=(7, 7, 14, 7), num_classes=3
)


@pytest.mark.parametrize("to", LIBRARIES)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("windows", [(7, 7, 14, 7), (14, 14, 14, 7)])
def test_a_window_for_each_stage_goes_there_and_back(to, version, windows):
    s3 = replace(S3, version=version, window_size=windows)
    state = random_state(model_shapes(s3), np.float32)
    theirs = export_state_dict(state, to, s3)
    found = convert_state_dict(theirs)
    assert found.keys() == state.keys() and all(np.array_equal(found[name], state[name]) for name in state)
    if to in ("microsoft", "torchvision"):
        stages = "layers.2" if to == "microsoft" else "features.5"
        assert theirs[f"{stages}.blocks.1.attn.relative_position_index".replace("5.blocks", "5")].size == 14**4
        assert ("layers.2.blocks.1.attn_mask" in theirs) is False
        assert ("layers.1.blocks.1.attn_mask" in theirs) == (to == "microsoft")


@pytest.mark.parametrize("to", LIBRARIES)
@pytest.mark.parametrize("version", [1, 2])
def test_names_and_shapes_are_those_of_the_library_s_model(to, version):
    exported = export_state_dict(random_state(official_shapes(version)), to, config(version, window_size=7))
    if to == "transformers_classic" and version == 1:  # files on the hub, not the model in memory
        assert "swin.encoder.layers.0.blocks.0.attention.self.query.weight" in exported
        return
    expected = peer_shapes(version, to.removesuffix("_classic"))
    assert {name: value.shape for name, value in exported.items()} == {
        name: shape for name, shape in expected.items() if to in ("microsoft", "torchvision") or name in exported
    }
    assert not [name for name in expected.keys() - exported.keys() if not name.endswith(DERIVED)]


def test_a_config_of_other_windows_is_refused():
    state = random_state(official_shapes(1))
    for to in LIBRARIES:
        with pytest.raises(CheckpointError, match=r"its windows are \(8, 8\), and the state's tables have 7"):
            export_state_dict(state, to, config(1, img_size=None, window_size=8))
    with pytest.raises(CheckpointError, match=r"its windows are \(7, 4\), and the state's tables have 7"):
        export_state_dict(state, "microsoft", config(1, img_size=32))


def test_a_backbone_s_buffers_are_the_detection_code_s():
    shapes = model_shapes(config(1), norms=(0, 1))
    theirs = export_state_dict(random_state(shapes), "microsoft")
    assert set(theirs) - set(shapes) == {
        f"layers.{stage}.blocks.{block}.attn.relative_position_index" for stage in (0, 1) for block in (0, 1)
    }


def test_a_window_that_shrank():
    small = config(1, img_size=32)  # grids 8x8 and 4x4 for windows of 7
    state = random_state(official_shapes(1))
    for name in state:
        if name.startswith("layers.1") and name.endswith("table"):
            state[name] = state[name][:49]
    exported = export_state_dict(state, "microsoft", config(1, img_size=28))
    assert exported["layers.1.blocks.1.attn.relative_position_index"].max() == 48
    assert not any("mask" in name for name in exported)
    for to in ("torchvision", "transformers", "transformers_classic"):  # they have one window for all stages
        with pytest.raises(CheckpointError, match=rf"{to.removesuffix('_classic')}, V1's tables don't shrink"):
            export_state_dict(state, to, small)
        with pytest.raises(CheckpointError, match=rf"{to.removesuffix('_classic')}, V1's tables don't shrink"):
            export_state_dict(state, to)  # as can be seen without a config
    with pytest.raises(CheckpointError, match=r"torchvision's windows don't shrink"):
        export_state_dict(random_state(official_shapes(2)), "torchvision", config(2, img_size=32))


def test_export_refuses_other_names_and_namings():
    with pytest.raises(ValueError, match=r"to: expected one of microsoft, timm"):
        export_state_dict(random_state(official_shapes(1)), "keras")
    with pytest.raises(CheckpointError, match=r"img_size"):
        export_state_dict(random_state(official_shapes(1)), "microsoft")
    with pytest.raises(CheckpointError, match=r"pass window_size="):
        export_state_dict(random_state(official_shapes(2)), "torchvision")
