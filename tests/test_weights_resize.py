"""Weights for another window, image, or number of channels."""

import numpy as np
import pytest

from swin_numpy.weights.resize import adapt_channels, resize_absolute_position_embedding, resize_position_bias

RNG = np.random.default_rng(0)


def torch_bicubic(x, size):
    """x (h, w, c) through PyTorch's own interpolation."""
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(x).permute(2, 0, 1)[None]
    image = torch.nn.functional.interpolate(image, size=size, mode="bicubic", align_corners=False)
    return image[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("old", "new"), [(7, 12), (12, 7), (7, 8), (8, 24), (3, 2), (2, 1), (1, 4), (7, 7)])
def test_position_bias_is_resized_as_torch_does(old, new):
    table = RNG.normal(size=((2 * old - 1) ** 2, 3))
    expected = torch_bicubic(table.reshape(2 * old - 1, 2 * old - 1, 3), (2 * new - 1, 2 * new - 1))
    found = resize_position_bias(table, new)
    assert found.shape == ((2 * new - 1) ** 2, 3)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("old", "new"), [((4, 6), (8, 3)), ((5, 5), (7, 9)), ((2, 9), (9, 2))])
def test_position_embedding_is_resized_as_torch_does(old, new):
    embedding = RNG.normal(size=(1, old[0] * old[1], 5))
    expected = torch_bicubic(embedding.reshape(*old, 5), new).reshape(1, -1, 5)
    found = resize_absolute_position_embedding(embedding, new, old_grid=old)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    if old[0] == old[1]:
        np.testing.assert_array_equal(found, resize_absolute_position_embedding(embedding, new))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_same_window_gives_the_same_numbers_and_types_stay(dtype):
    table = RNG.normal(size=(169, 3)).astype(dtype)
    np.testing.assert_array_equal(resize_position_bias(table, 7), table)
    assert resize_position_bias(table, 9).dtype == dtype
    weight = RNG.normal(size=(4, 3, 2, 2)).astype(dtype)
    for in_chans in (1, 2, 3, 5):
        assert adapt_channels(weight, in_chans).dtype == dtype


def test_symmetry_survives():
    table = RNG.normal(size=(13, 13, 2))
    table = (table + table[::-1, ::-1]).reshape(169, 2)  # the bias from i to j is that from j to i
    found = resize_position_bias(table, 12).reshape(23, 23, 2)
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("in_chans", [1, 2, 3, 4, 6, 7])
def test_an_image_equal_in_all_channels_gives_the_same_tokens(in_chans):
    weight = RNG.normal(size=(6, 3, 4, 4))
    patch = RNG.normal(size=(4, 4))
    found = adapt_channels(weight, in_chans)
    assert found.shape == (6, in_chans, 4, 4)
    np.testing.assert_allclose((found * patch).sum((1, 2, 3)), (weight * patch).sum((1, 2, 3)), rtol=1e-12)


def test_channels_repeat_in_turn():
    weight = RNG.normal(size=(6, 3, 4, 4))
    found = adapt_channels(weight, 4)
    np.testing.assert_array_equal(found[:, 3], weight[:, 0] / 2)
    np.testing.assert_array_equal(found[:, 1], weight[:, 1])
    np.testing.assert_array_equal(adapt_channels(weight, 3), weight)


@pytest.mark.parametrize(
    "call",
    [
        lambda: resize_position_bias(np.zeros((168, 3)), 7),
        lambda: resize_position_bias(np.zeros((144, 3)), 7),
        lambda: resize_position_bias(np.zeros(169), 7),
        lambda: resize_position_bias(np.zeros((169, 3)), 0),
        lambda: resize_position_bias(np.zeros((169, 3)), 7.0),
        lambda: resize_absolute_position_embedding(np.zeros((1, 24, 5)), 7),
        lambda: resize_absolute_position_embedding(np.zeros((2, 25, 5)), 7),
        lambda: resize_absolute_position_embedding(np.zeros((1, 24, 5)), (4, 0), old_grid=(4, 6)),
        lambda: adapt_channels(np.zeros((4, 3, 2)), 3),
        lambda: adapt_channels(np.zeros((4, 0, 2, 2)), 3),
        lambda: adapt_channels(np.zeros((4, 3, 2, 2)), 0),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(ValueError, match=r"expected|don't fill a grid"):
        call()
