"""The Swin block. Shift + mask against attention over the true, unequal windows, which needs neither."""

import math
from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity, gelu, layer_norm, linear, relu

import swin_numpy
import swin_torch
from tests.twin import PACKAGES, WHICH, assert_same_steps, inputs_for, normal, record, relative, run, tensor, twins

DIM, HEADS = 6, 2


def blocks(built=None, window=4, shift=2, seed=0, dtype=np.float64, version=1, **options):
    name = "SwinTransformerBlock" if version == 1 else "SwinTransformerBlockV2"
    make = lambda swin: getattr(swin, name)(
        DIM, HEADS, input_resolution=built, window_size=window, shift_size=shift, **options
    )
    return twins(make, seed, dtype)


VERSIONS = pytest.mark.parametrize("version", [1, 2])


def tokens(grid, n=2, dtype=np.float64):
    return normal(n, grid[0] * grid[1], DIM, dtype=dtype)


# The oracle: no roll, no mask, no equal windows, no einops


def attention_in(state, x, rows, columns, M):
    """Attention among the tokens x (n, m, c) that lie at (rows, columns) of the image, with relative position bias."""
    version2 = "attn.logit_scale" in state
    biases = state.get("attn.qkv.bias")
    if version2:
        biases = torch.cat([state["attn.q_bias"], torch.zeros(DIM, dtype=torch.float64), state["attn.v_bias"]])
    qkv = linear(tensor(x), state["attn.qkv.weight"], biases).numpy()
    q, k, v = np.split(qkv, 3, axis=-1)
    up, left = rows[:, None] - rows, columns[:, None] - columns
    bias = (asked_for_bias if version2 else looked_up_bias)(state, up, left, M)  # (i, j, a)
    heads = []
    for a in range(HEADS):
        own = slice(a * DIM // HEADS, (a + 1) * DIM // HEADS)
        scores = np.einsum("nid,njd->nij", q[..., own], k[..., own]) / np.sqrt(DIM / HEADS)
        if version2:
            scores = cosine_similarity(tensor(q[:, :, None, own]), tensor(k[:, None, :, own]), dim=-1).numpy()
            scores = scores * np.exp(state["attn.logit_scale"].numpy()[a])
        scores = scores + bias[..., a]
        weights = np.exp(scores)
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., own])
    return linear(tensor(np.concatenate(heads, -1)), state["attn.proj.weight"], state["attn.proj.bias"]).numpy()


def looked_up_bias(state, up, left, M):
    table = state["attn.relative_position_bias_table"].numpy().reshape(2 * M - 1, 2 * M - 1, HEADS)
    return table[up + M - 1, left + M - 1]


def asked_for_bias(state, up, left, M):
    """V2: offsets in windows of 8, log-spaced, through a small network."""
    x = torch.tensor(np.stack([up, left], -1)) * 8 / max(M - 1, 1)
    x = (torch.sign(x) * torch.log(1 + x.abs()) / math.log(8)).float().double()
    hidden = relu(linear(x, state["attn.cpb_mlp.0.weight"], state["attn.cpb_mlp.0.bias"]))
    return 16 * torch.sigmoid(linear(hidden, state["attn.cpb_mlp.2.weight"])).numpy()


def attention_over_true_windows(state, x, grid, M, shift):
    """What W-MSA and SW-MSA mean: windows that begin at `shift`, cut off at the borders of the (padded) image."""
    H, W = grid
    image = np.zeros((len(x), -(-H // M) * M, -(-W // M) * M, DIM))
    image[:, :H, :W] = x.reshape(-1, H, W, DIM)
    windows = defaultdict(list)
    for row, column in product(*map(range, image.shape[1:3])):
        windows[(row - shift[0]) // M, (column - shift[1]) // M].append((row, column))
    out = np.empty_like(image)
    for members in windows.values():
        rows, columns = np.array(members).T
        out[:, rows, columns] = attention_in(state, image[:, rows, columns], rows, columns, M)
    return out[:, :H, :W].reshape(x.shape)


def whole_block(state, x, grid, M, shift):
    """Equation 3 of the paper: two branches, each normed first, each added to what came in. V2: normed last."""
    norm = lambda name, x: layer_norm(tensor(x), (DIM,), state[f"{name}.weight"], state[f"{name}.bias"]).numpy()
    attention = lambda x: attention_over_true_windows(state, x, grid, M, shift)
    if "attn.logit_scale" in state:
        x = x + norm("norm1", attention(x))
        return x + norm("norm2", whole_mlp(state, x))
    x = x + attention(norm("norm1", x))
    return x + whole_mlp(state, norm("norm2", x))


def whole_mlp(state, x):
    hidden = gelu(linear(tensor(x), state["mlp.fc1.weight"], state["mlp.fc1.bias"]))
    return linear(hidden, state["mlp.fc2.weight"], state["mlp.fc2.bias"]).numpy()


def state_of(module):
    return {name: tensor(np.asarray(value)) for name, value in module.state_dict().items()}


# built grid, window, shift, called grid -> window in use, shift of (rows, columns)
RULES = [
    ((8, 12), 4, 2, (8, 12), 4, (2, 2)),
    ((8, 12), 4, 0, (8, 12), 4, (0, 0)),
    ((9, 14), 4, 2, (9, 14), 4, (2, 2)),  # padded to 12x16
    ((5, 6), 3, 1, (5, 6), 3, (1, 1)),
    ((4, 12), 4, 2, (4, 12), 4, (0, 0)),  # official code: the smaller side is one window, nothing is shifted
    ((12, 4), 4, 2, (12, 4), 4, (0, 0)),
    ((3, 12), 4, 2, (3, 12), 3, (0, 0)),  # and the window shrinks to it
    ((7, 3), 4, 2, (7, 3), 3, (0, 0)),
    (None, 4, 2, (8, 12), 4, (2, 2)),
    (None, 4, 2, (4, 12), 4, (0, 2)),  # any size: only the axis that is one window stays
    (None, 4, 2, (12, 3), 4, (2, 0)),
    (None, 4, 2, (3, 4), 4, (0, 0)),
    (None, 4, 2, (5, 5), 4, (2, 2)),
    (None, 4, 0, (5, 5), 4, (0, 0)),
    ((8, 12), 4, 2, (4, 9), 4, (0, 2)),  # built for another size: as for any size
    ((8, 12), 4, 2, (12, 8), 4, (2, 2)),
    ((4, 12), 4, 2, (8, 8), 4, (2, 2)),
    ((3, 12), 4, 2, (8, 8), 3, (1, 1)),  # the window stays shrunk, the shift is half of it
    ((3, 12), 4, 2, (3, 9), 3, (0, 1)),
    ((1, 5), 4, 2, (6, 6), 1, (0, 0)),
    ((3, 12), 4, 0, (8, 8), 3, (0, 0)),
]


@WHICH
@VERSIONS
@pytest.mark.parametrize(("built", "window", "shift", "grid", "used", "shifted"), RULES)
def test_shift_and_mask_are_attention_over_the_true_windows(which, version, built, window, shift, grid, used, shifted):
    block = blocks(built, window, shift, version=version)[which]
    assert block.window_size == used and tuple(block.shift_for(grid)) == shifted
    x = tokens(grid)
    with torch.no_grad():
        attended = np.asarray(block.attend(*inputs_for([swin_numpy, swin_torch][which], x), grid))
    assert relative(attended, attention_over_true_windows(state_of(block), x, grid, used, shifted)) < 1e-12
    assert relative(run(block, x, grid), whole_block(state_of(block), x, grid, used, shifted)) < 1e-12


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.data())
def test_any_grid_window_and_shift(H, W, window, data):
    shift = data.draw(st.integers(0, window - 1))
    ours, theirs = blocks(None, window, shift)
    x = tokens((H, W))
    output = assert_same_steps(ours, theirs, x, (H, W))
    shifted = (shift if window < H else 0, shift if window < W else 0)
    assert relative(output, whole_block(state_of(ours), x, (H, W), window, shifted)) < 1e-12


@VERSIONS
@pytest.mark.parametrize(("built", "window", "shift", "grid", "used", "shifted"), RULES)
def test_twins_at_every_step(version, built, window, shift, grid, used, shifted):
    assert_same_steps(*blocks(built, window, shift, version=version), tokens(grid), grid)


@pytest.mark.parametrize("options", [{"qkv_bias": False}, {"mlp_ratio": 2.5}, {"mlp_ratio": 0.5}], ids=str)
def test_twins_with_options(options):
    ours, theirs = blocks(**options)
    assert_same_steps(ours, theirs, tokens((8, 9)), (8, 9))
    hidden = len(ours.mlp.fc1.bias)
    assert hidden == int(DIM * options.get("mlp_ratio", 4))
    assert ("attn.qkv.bias" in ours.state_dict()) == options.get("qkv_bias", True)


def test_twins_in_float32():
    ours, theirs = blocks((8, 12), dtype=np.float32)
    output = assert_same_steps(ours, theirs, tokens((8, 12), dtype=np.float32), (8, 12), bound=1e-5)
    assert output.dtype == np.float32  # the mask takes the type of the tokens


@WHICH
@VERSIONS
def test_half_precision_stays_half_precision(which, version):
    """A mask of float32 would turn all that follows into float32, or be refused by PyTorch."""
    grid = (8, 12) if version == 1 else (7, 12)  # V2: padding's keys are zeros, which have no direction
    expected = run(blocks(grid, version=version)[which], tokens(grid), grid)
    block = blocks(grid, dtype=np.float16, version=version)[which]
    output = run(block, tokens(grid, dtype=np.float16), grid)
    assert output.dtype == np.float16 and relative(output.astype(float), expected) < 2e-2


@WHICH
def test_one_window_is_plain_attention_over_the_whole_map(which):
    """A window as large as the map: every token sees every other, as in a transformer without windows."""
    block = blocks(None, 5, 2)[which]
    x = tokens((5, 5))
    state = state_of(block)
    rows, columns = np.divmod(np.arange(25), 5)
    with torch.no_grad():
        attended = np.asarray(block.attend(*inputs_for([swin_numpy, swin_torch][which], x), (5, 5)))
    assert relative(attended, attention_in(state, x, rows, columns, 5)) < 1e-12


@WHICH
@pytest.mark.parametrize("shift", [0, 2])
def test_how_far_a_token_sees(which, shift):
    """One block carries a change no further than the token's true window, however near the seam's other side is."""
    block = blocks((8, 8), 4, shift)[which]
    x = tokens((8, 8), n=1)
    changed = x.copy()
    changed[0, 0] += normal(DIM)  # the top left corner
    reached = np.abs(run(block, changed, (8, 8)) - run(block, x, (8, 8))).max(-1).reshape(8, 8) > 1e-9
    side = 4 if shift == 0 else 2
    assert reached[:side, :side].all() and reached.sum() == side * side


@WHICH
def test_a_list_is_a_grid_too(which):
    block = blocks([4, 12])[which]
    same = blocks((4, 12))[which]
    x = tokens((4, 12))
    np.testing.assert_array_equal(run(block, x, [4, 12]), run(same, x, (4, 12)))
    np.testing.assert_array_equal(run(block, x, (4, 12)), run(same, x, (4, 12)))


@PACKAGES
@VERSIONS
def test_drop_path_takes_the_branches_never_the_residual(package, version):
    torch.manual_seed(0)
    Block = package.SwinTransformerBlock if version == 1 else package.SwinTransformerBlockV2
    block = Block(DIM, HEADS, window_size=4, drop_path=0.5).train()
    x = tokens((4, 4), n=64, dtype=np.float32)
    branch1 = lambda x: block.attend(block.norm1(x), (4, 4)) if version == 1 else block.norm1(block.attend(x, (4, 4)))
    branch2 = lambda x: block.mlp(block.norm2(x)) if version == 1 else block.norm2(block.mlp(x))
    with torch.no_grad():
        attended = np.asarray(branch1(inputs_for(package, x)[0]))
        got = run(block, x, (4, 4))
        kinds = set()
        for first, second in product((0, 1), repeat=2):  # attention kept or dropped, MLP kept or dropped
            y = x + 2 * first * attended
            y = y + 2 * second * np.asarray(branch2(inputs_for(package, y)[0]))
            hits = np.abs(got - y).max(axis=(1, 2)) < 1e-5
            assert hits.any()
            kinds |= {(first, second, i) for i in np.flatnonzero(hits)}
    assert len(kinds) == 64  # every sample is one of the four


@PACKAGES
@pytest.mark.parametrize("name", ["SwinTransformerBlock", "SwinTransformerBlockV2"])
def test_rates_reach_their_layers(package, name):
    block = getattr(package, name)(DIM, HEADS, drop=0.1, attn_drop=0.2, drop_path=0.3)
    assert block.attn.attn_drop.p == 0.2
    assert [layer.p for layer in (block.attn.proj_drop, block.mlp.drop1, block.mlp.drop2)] == [0.1] * 3
    assert block.drop_path1.drop_prob == block.drop_path2.drop_prob == 0.3


def test_every_layer_runs():
    ours, theirs = blocks()
    for block in (ours, theirs):
        package = swin_numpy if block is ours else swin_torch
        _, steps = record(block, *inputs_for(package, tokens((8, 8))), (8, 8))
        assert set(steps) == {name for name, _ in block.named_modules()}


@WHICH
@VERSIONS
def test_the_input_stays_as_it_is(which, version):
    block, x = blocks(version=version)[which], tokens((8, 8))
    before = x.copy()
    run(block, x, (8, 8))
    np.testing.assert_array_equal(x, before)


@WHICH
@VERSIONS
@pytest.mark.parametrize(
    ("shape", "grid", "message"),
    [
        ((2, 64, 6), (8, 9), r"tokens of a 8x9 grid: expected shape \(n, 72, 6\), got \(2, 64, 6\)"),
        ((2, 64, 1), (8, 8), r"tokens of a 8x8 grid: expected shape \(n, 64, 6\), got \(2, 64, 1\)"),
        ((2, 8, 8, 6), (8, 8), r"got \(2, 8, 8, 6\)"),
        ((64, 6), (8, 8), r"got \(64, 6\)"),
    ],
)
def test_tokens_that_do_not_fit(which, version, shape, grid, message):
    with pytest.raises(ValueError, match=message):
        run(blocks(version=version)[which], normal(*shape), grid)


@PACKAGES
def test_version_2_s_pre_training_reaches_its_attention(package):
    for built, window, pretrained in (((8, 8), 4, 0), ((8, 8), 4, 6), ((3, 8), 4, 0)):
        block = package.SwinTransformerBlockV2(
            DIM, HEADS, input_resolution=built, window_size=window, pretrained_window_size=pretrained
        )
        used = min(window, *built)  # a window that shrinks measures its own offsets, if not told another
        expected = package.relative_coordinates(used, pretrained or used)
        np.testing.assert_array_equal(block.attn.relative_coords_table, expected)


@PACKAGES
def test_version_2_starts_as_the_identity(package):
    """Its norms start at zero, as in the official code; with them anywhere else, that's over."""
    block = package.SwinTransformerBlockV2(DIM, HEADS, window_size=4, shift_size=2)
    package.layers.init_weights(block)
    x = tokens((7, 9), dtype=np.float32)
    np.testing.assert_array_equal(run(block, x, (7, 9)), x)


@WHICH
@VERSIONS
def test_a_grid_is_a_pair_of_whole_numbers(which, version):
    for grid in (8, (8.0, 8.0), (64,), "88"):
        with pytest.raises(TypeError, match="grid: expected"):
            run(blocks(version=version)[which], normal(2, 64, 6), grid)
    assert run(blocks(version=version)[which], normal(2, 64, 6), (8, 8)).shape == (2, 64, 6)
    assert run(blocks(version=version)[which], normal(0, 64, 6), (8, 8)).shape == (0, 64, 6)


@PACKAGES
def test_blocks_that_cannot_be(package):
    with pytest.raises(ValueError, match="num_heads: expected a divisor of dim=6, got 4"):
        package.SwinTransformerBlock(6, 4)
    with pytest.raises(ValueError, match="shift_size: expected 0 <= shift < window_size=4, got 4"):
        package.SwinTransformerBlock(6, 2, window_size=4, shift_size=4)
    with pytest.raises(ValueError, match="shift_size: expected at least 0, got -1"):
        package.SwinTransformerBlock(6, 2, window_size=4, shift_size=-1)
    with pytest.raises(TypeError, match=r"shift_size: expected a whole number, got 1\.5"):
        package.SwinTransformerBlock(6, 2, window_size=4, shift_size=1.5)
    for built in (8, (8,), (8, 8, 8), (8.0, 8)):
        with pytest.raises(TypeError, match="input_resolution: expected"):
            package.SwinTransformerBlock(6, 2, input_resolution=built)
    for rate in (1.0, -1, float("nan")):
        with pytest.raises(ValueError, match=f"drop_prob: expected 0 <= rate < 1, got {rate}"):
            package.SwinTransformerBlock(6, 2, drop_path=rate)
        with pytest.raises(ValueError, match=f"drop: expected 0 <= rate < 1, got {rate}|proj_drop"):
            package.SwinTransformerBlock(6, 2, drop=rate)
