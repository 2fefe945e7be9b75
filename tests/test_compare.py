"""What compares the twins: both get the same weights in both versions, and long sums don't look like a difference."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from swin_numpy import SwinConfig, SwinTransformer
from swin_torch.compare import BOUNDS, compare, find_device, make_twins, verdict, worst

CONFIG = SwinConfig(
    img_size=32, embed_dim=8, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=5, drop_path_rate=0.0
)


def moved(config, seed=1):
    """{name: array} with every parameter off its initial value."""
    rng = np.random.default_rng(seed)
    state = SwinTransformer(config).state_dict()
    return {name: value + rng.normal(0, 0.1, value.shape).astype(value.dtype) for name, value in state.items()}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_twins_get_the_given_weights_and_no_other(version, dtype):
    """V2's norms are moved off 0 only where there is no file: a file's weights are used as they are."""
    state = moved(replace(CONFIG, version=version))
    norms = {name: np.zeros_like(value) for name, value in state.items() if name.endswith("norm2.weight")}
    numpy_model, torch_model = make_twins(replace(CONFIG, version=version), dtype, state=state | norms)
    for name, value in numpy_model.state_dict().items():
        np.testing.assert_array_equal(value, (state | norms)[name])
        np.testing.assert_array_equal(torch_model.state_dict()[name].numpy(), value)
        assert str(value.dtype) == dtype


@pytest.mark.parametrize("version", [1, 2])
def test_random_twins_follow_the_seed_and_every_block_does_something(version):
    config = replace(CONFIG, version=version)
    numpy_model, torch_model = make_twins(config, seed=4)
    expected = SwinTransformer(config, 4).state_dict()
    for name, value in numpy_model.state_dict().items():
        np.testing.assert_array_equal(torch_model.state_dict()[name].numpy(), value)
        if not name.endswith(("norm1.weight", "norm2.weight")):
            np.testing.assert_array_equal(value, expected[name])
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    tokens, grid = numpy_model.embed(images)
    assert np.abs(numpy_model.layers[0].blocks[0](tokens, grid) - tokens).max() > 1e-3


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", BOUNDS)
def test_twins_agree_within_the_bound_of_their_dtype(version, dtype):
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 40)).astype(np.float32)
    rows = compare(*make_twins(replace(CONFIG, version=version), dtype), images)
    agree, sentence = verdict(rows, dtype)
    assert agree, sentence


def test_the_mean_over_a_long_picture_of_one_colour_is_exact():
    """A white picture of 512x512 gives 65,536 tokens that are nearly alike: their sum in float32 must not drift."""
    config = replace(CONFIG, img_size=None, patch_size=2, depths=(1,), num_heads=(2,), pretrained_window_sizes=(0,))
    white = np.full((1, 3, 512, 512), 2.5, np.float32)
    rows = {row.name: row for row in compare(*make_twins(config), white)}
    assert rows["mean"].shape == (1, 8) and worst(list(rows.values())).relative < 3e-6
    float64 = SwinTransformer(config, dtype=np.float64)
    logits, exact = SwinTransformer(config)(white), float64(white.astype(np.float64))
    assert np.abs(logits - exact).max() < 1e-6 * np.abs(exact).max()


def test_a_device_that_does_not_exist():
    assert find_device("cpu", "float64") == torch.device("cpu")
    for name in ("cpu:1", "tpu", "cuda:77", "cuda:x", ""):
        with pytest.raises(ValueError, match="doesn't exist here; this machine has: cpu"):
            find_device(name, "float32")
