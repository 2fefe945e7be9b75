"""PatchEmbed against a convolution, PatchMerging against the official slices, and twin against twin."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, pad
from torch.nn.functional import layer_norm as torch_layer_norm
from torch.nn.utils import prune

import swin_numpy
import swin_torch
from tests.twin import PACKAGES, WHICH, assert_same_steps, inputs_for, normal, relative, run, tensor, twins


def embeddings(patch=4, channels=3, norm=True, dtype=np.float64):
    return twins(lambda swin: swin.PatchEmbed(patch, channels, 8, norm), dtype=dtype)


def mergings(dim=3, dtype=np.float64, version=1):
    make = lambda swin: {1: swin.PatchMerging, 2: swin.PatchMergingV2}[version](dim)
    return twins(make, dtype=dtype)


VERSIONS = pytest.mark.parametrize("version", [1, 2])


def weights(module):
    return {name: tensor(np.asarray(value)) for name, value in module.state_dict().items()}


# PatchEmbed


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(
    ("patch", "H", "W", "grid"),
    [
        (4, 12, 20, (3, 5)),
        (4, 13, 18, (4, 5)),
        (2, 6, 4, (3, 2)),
        (2, 5, 7, (3, 4)),
        (3, 1, 2, (1, 1)),
        (1, 3, 2, (3, 2)),
    ],
)
def test_embedding_twins_at_every_step(patch, H, W, grid, channels, norm):
    tokens, got = assert_same_steps(*embeddings(patch, channels, norm), normal(2, channels, H, W))
    assert got == grid and tokens.shape == (2, grid[0] * grid[1], 8)


@WHICH
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(("H", "W"), [(12, 20), (13, 18)])
def test_embedding_is_a_convolution(which, norm, H, W):
    module = embeddings(norm=norm)[which]
    w, images = weights(module), normal(2, 3, H, W)
    padded = pad(tensor(images), (0, -W % 4, 0, -H % 4))  # zeros at the right and the bottom
    expected = conv2d(padded, w["proj.weight"], w["proj.bias"], stride=4).flatten(2).transpose(1, 2)
    if norm:
        expected = torch_layer_norm(expected, (8,), w["norm.weight"], w["norm.bias"], 1e-5)
    assert relative(run(module, images), expected) < 1e-12


@WHICH
def test_a_token_sees_its_own_patch_only(which):
    module = embeddings()[which]
    images = normal(2, 3, 12, 20)
    changed = images.copy()
    changed[1, 0, 7, 9] += 1  # in patch row 1, column 2 of 5
    difference = np.abs(run(module, changed) - run(module, images)).max(-1)
    assert difference[1, 7] > 1e-3
    difference[1, 7] = 0
    assert not difference.any()


def test_embedding_twins_in_float32():
    assert_same_steps(*embeddings(dtype=np.float32), normal(2, 3, 13, 18, dtype=np.float32), bound=1e-5)


@PACKAGES
def test_embedding_has_the_official_names_and_shapes(package):
    shapes = {name: tuple(value.shape) for name, value in package.PatchEmbed().state_dict().items()}
    assert shapes == {
        "proj.weight": (96, 3, 4, 4),
        "proj.bias": (96,),
        "norm.weight": (96,),
        "norm.bias": (96,),
    }
    assert "norm.weight" not in package.PatchEmbed(patch_norm=False).state_dict()


@WHICH
@pytest.mark.parametrize(
    ("shape", "got"),
    [
        ((3, 8, 8), r"\(3, 8, 8\)"),
        ((2, 8, 8, 3), r"\(2, 8, 8, 3\)"),
        ((2, 1, 8, 8), r"\(2, 1, 8, 8\)"),
        ((2, 3, 0, 8), r"\(2, 3, 0, 8\)"),
        ((2, 3, 8, 0), r"\(2, 3, 8, 0\)"),
    ],
)
def test_images_of_a_wrong_shape(which, shape, got):
    with pytest.raises(ValueError, match=rf"images: expected shape \(n, 3, H, W\), got {got}"):
        run(embeddings()[which], normal(*shape))


@WHICH
def test_images_of_a_wrong_kind(which):
    package, other = ([swin_numpy, swin_torch][i] for i in (which, 1 - which))
    module, images = embeddings(dtype=np.float32)[which], normal(2, 3, 8, 8, dtype=np.float32)
    with pytest.raises(TypeError, match=r"images: expected a (NumPy array|torch tensor), got list"):
        module(images.tolist())
    with pytest.raises(TypeError, match=r"images: expected a (NumPy array, got Tensor|torch tensor, got ndarray)"):
        module(*inputs_for(other, images))
    for kind in (np.float64, np.float16, np.uint8):
        message = f"images: expected float32, the type of the weights, got {np.dtype(kind)}"
        with pytest.raises(TypeError, match=message):
            module(*inputs_for(package, images.astype(kind)))
    with pytest.raises(TypeError, match="images: expected real numbers, got complex64"):
        module(*inputs_for(package, images.astype(np.complex64)))


def test_autocast_converts_images_of_another_type():
    module, images = embeddings(dtype=np.float32)[1], normal(2, 3, 8, 8, dtype=np.float32)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        tokens, _ = module(torch.from_numpy(images).bfloat16())
    assert relative(tokens.float(), run(module, images)) < 0.05


def test_hooks_and_pruning_of_the_projection_take_effect():
    """The convolution is called as a module, not its weights read from outside."""
    images, heard = normal(2, 3, 8, 12), []
    for module in embeddings():
        module.proj.register_forward_hook(lambda module, inputs, output: heard.append(tuple(output.shape)))
        run(module, images)
    assert heard == [(2, 8, 2, 3)] * 2
    before = run(module, images)
    prune.l1_unstructured(module.proj, "weight", 0.5)
    assert relative(run(module, images), before) > 1e-2


@WHICH
def test_a_batch_of_no_images(which):
    tokens = run(embeddings()[which], normal(0, 3, 8, 12))
    assert tokens.shape == (0, 6, 8)
    assert run(mergings()[which], normal(0, 6, 3), (2, 3)).shape == (0, 2, 6)


@PACKAGES
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: p.PatchEmbed(in_chans=0), ValueError, "in_chans: expected at least 1, got 0"),
        (lambda p: p.PatchEmbed(patch_size=2.0), TypeError, "patch_size: expected a whole number, got 2.0"),
        (lambda p: p.PatchEmbed(embed_dim=-3), ValueError, "embed_dim: expected at least 1, got -3"),
        (lambda p: p.PatchMerging(0), ValueError, "dim: expected at least 1, got 0"),
        (lambda p: p.PatchMergingV2(1.5), TypeError, "dim: expected a whole number, got 1.5"),
    ],
)
def test_sizes_that_make_no_sense(package, make, error, message):
    with pytest.raises(error, match=message):
        make(package)


# PatchMerging


@VERSIONS
@pytest.mark.parametrize("grid", [(4, 6), (3, 6), (4, 5), (5, 3), (1, 1), (1, 4)])
def test_merging_twins_at_every_step(grid, version):
    tokens, half = assert_same_steps(*mergings(version=version), normal(2, grid[0] * grid[1], 3), grid)
    assert half == ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
    assert tokens.shape == (2, half[0] * half[1], 6)


@WHICH
@VERSIONS
@pytest.mark.parametrize("grid", [(4, 6), (5, 6), (3, 7)])
def test_merging_is_the_official_order(which, grid, version):
    module = mergings(version=version)[which]
    w, x = weights(module), normal(2, grid[0] * grid[1], 3)
    image = tensor(x).view(2, *grid, 3)
    image = pad(image, (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
    # Top left, bottom left, top right, bottom right: the row offset runs fastest
    four = [image[:, 0::2, 0::2], image[:, 1::2, 0::2], image[:, 0::2, 1::2], image[:, 1::2, 1::2]]
    neighbours = torch.cat(four, -1).flatten(1, 2)
    norm = lambda x: torch_layer_norm(x, x.shape[-1:], w["norm.weight"], w["norm.bias"], 1e-5)
    reduce = lambda x: x @ w["reduction.weight"].T
    expected = reduce(norm(neighbours)) if version == 1 else norm(reduce(neighbours))
    assert relative(run(module, x, grid), expected) < 1e-12


def test_merging_twins_in_float32():
    assert_same_steps(*mergings(dtype=np.float32), normal(2, 35, 3, dtype=np.float32), (5, 7), bound=1e-5)


@PACKAGES
def test_merging_has_the_official_names_and_shapes(package):
    shapes = {name: tuple(value.shape) for name, value in package.PatchMerging(6).state_dict().items()}
    assert shapes == {"reduction.weight": (12, 24), "norm.weight": (24,), "norm.bias": (24,)}
    shapes = {name: tuple(value.shape) for name, value in package.PatchMergingV2(6).state_dict().items()}
    assert shapes == {"reduction.weight": (12, 24), "norm.weight": (12,), "norm.bias": (12,)}


@WHICH
@VERSIONS
@pytest.mark.parametrize(
    ("shape", "grid", "message"),
    [
        ((2, 24, 3), (5, 5), r"tokens of a 5x5 grid: expected shape \(n, 25, 3\), got \(2, 24, 3\)"),
        ((2, 24, 4), (4, 6), r"tokens of a 4x6 grid: expected shape \(n, 24, 3\), got \(2, 24, 4\)"),
        ((2, 24, 1), (4, 6), r"tokens of a 4x6 grid: expected shape \(n, 24, 3\), got \(2, 24, 1\)"),
        ((24, 3), (4, 6), r"tokens of a 4x6 grid: expected shape \(n, 24, 3\), got \(24, 3\)"),
        ((2, 4, 6, 3), (4, 6), r"got \(2, 4, 6, 3\)"),
        ((2, 24, 3), (-4, -6), "grid: expected at least 1, got -4"),
    ],
)
def test_tokens_of_a_wrong_shape(which, version, shape, grid, message):
    with pytest.raises(ValueError, match=message):
        run(mergings(version=version)[which], normal(*shape), grid)


@WHICH
def test_a_grid_is_a_pair_of_ints(which):
    for grid in (24.0, 24, (4.0, 6.0), (2, 3, 4)):
        with pytest.raises(
            TypeError, match=r"grid: expected (a whole number( or a pair of them)?|\(rows, columns\)), got"
        ):
            run(mergings()[which], normal(2, 24, 3), grid)
