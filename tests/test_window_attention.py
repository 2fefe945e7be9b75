"""W-MSA and SW-MSA: one window against PyTorch's own attention, every number against loops, twin against twin."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import swin_numpy
import swin_torch
from tests.twin import (
    PACKAGES,
    WHICH,
    assert_same_steps,
    both,
    inputs_for,
    normal,
    record,
    relative,
    run,
    tensor,
    twins,
)

DIM, HEADS = 12, 3


def pair_of_modules(window=(3, 4), qkv_bias=True, seed=0, dtype=np.float64):
    return twins(lambda swin: swin.WindowAttention(DIM, window, HEADS, qkv_bias), seed, dtype)


def without_bias(module):
    """The same module with an empty bias table."""
    state = dict(module.state_dict())
    state["relative_position_bias_table"] = 0 * state["relative_position_bias_table"]
    module.load_state_dict(state)
    return module


def random_mask(k, m):
    return np.where(normal(k, m, m, seed=3) > 0.3, -100.0, 0.0)


@pytest.mark.parametrize("masked", [False, True], ids=["W-MSA", "SW-MSA"])
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("window", [3, (3, 4), (1, 5), 1])
def test_twins_at_every_step(window, qkv_bias, masked):
    ours, theirs = pair_of_modules(window, qkv_bias)
    m = math.prod(ours.window_size)
    steps = assert_same_steps(ours, theirs, normal(2, 6, m, DIM), random_mask(6, m) if masked else None)
    assert steps.shape == (2, 6, m, DIM)


def test_twins_in_float32():
    ours, theirs = pair_of_modules(dtype=np.float32)
    mask = random_mask(6, 12).astype(np.float32)
    assert_same_steps(ours, theirs, normal(2, 6, 12, DIM, dtype=np.float32), mask, bound=1e-5)


@WHICH
def test_every_number_against_loops(which):
    module = pair_of_modules((2, 3))[which]
    state = {name: np.asarray(value) for name, value in module.state_dict().items()}
    x, mask = normal(2, 4, 6, DIM), random_mask(4, 6)
    d = DIM // HEADS
    expected = np.empty_like(x)
    for n, k in itertools.product(range(2), range(4)):
        rows = x[n, k] @ state["qkv.weight"].T + state["qkv.bias"]
        q, key, v = rows[:, :DIM], rows[:, DIM : 2 * DIM], rows[:, 2 * DIM :]  # official order: all q, all k, all v
        z = np.empty((6, DIM))
        for head, i in itertools.product(range(HEADS), range(6)):
            own = slice(head * d, (head + 1) * d)
            scores = np.empty(6)
            for j in range(6):
                up, left = i // 3 - j // 3, i % 3 - j % 3
                bias = state["relative_position_bias_table"].reshape(3, 5, HEADS)[up + 1, left + 2, head]
                scores[j] = q[i, own] @ key[j, own] / math.sqrt(d) + bias + mask[k, i, j]
            weights = np.exp(scores - scores.max())
            z[i, own] = weights / weights.sum() @ v[:, own]
        expected[n, k] = z @ state["proj.weight"].T + state["proj.bias"]
    assert relative(run(module, x, mask), expected) < 1e-13


@WHICH
def test_without_bias_a_window_is_pytorchs_multihead_attention(which):
    module = without_bias(pair_of_modules()[which])
    state = {name: tensor(np.asarray(value)) for name, value in module.state_dict().items()}
    layer = torch.nn.MultiheadAttention(DIM, HEADS, batch_first=True, dtype=torch.float64).eval()
    layer.load_state_dict(
        {
            "in_proj_weight": state["qkv.weight"],
            "in_proj_bias": state["qkv.bias"],
            "out_proj.weight": state["proj.weight"],
            "out_proj.bias": state["proj.bias"],
        }
    )
    x = normal(2, 1, 12, DIM)
    with torch.no_grad():
        expected = layer(*[tensor(x[:, 0])] * 3, need_weights=False)[0]
    assert relative(run(module, x)[:, 0], expected) < 1e-12


@WHICH
def test_with_bias_a_window_is_attention_whose_mask_is_the_bias(which):
    module = pair_of_modules()[which]
    x = normal(2, 3, 12, DIM)
    output, steps = record(module, *inputs_for([swin_numpy, swin_torch][which], x))
    qkv = tensor(np.asarray(steps["qkv"])).reshape(2, 3, 12, 3, HEADS, DIM // HEADS).permute(3, 0, 1, 4, 2, 5)
    bias = tensor(np.asarray(module.relative_position_bias().detach() if which else module.relative_position_bias()))
    heads = scaled_dot_product_attention(*qkv, attn_mask=bias)
    z = heads.transpose(2, 3).reshape(2, 3, 12, DIM).numpy()
    state = {name: np.asarray(value) for name, value in module.state_dict().items()}
    assert relative(np.asarray(output), z @ state["proj.weight"].T + state["proj.bias"]) < 1e-12


@WHICH
def test_order_of_tokens_matters_only_through_the_bias(which):
    x = normal(2, 3, 12, DIM)
    order = np.random.default_rng(5).permutation(12)
    with_bias = pair_of_modules()[which]
    assert relative(run(with_bias, x[:, :, order]), run(with_bias, x)[:, :, order]) > 1e-2
    plain = without_bias(with_bias)
    assert relative(run(plain, x[:, :, order]), run(plain, x)[:, :, order]) < 1e-13


@WHICH
def test_windows_and_samples_know_nothing_of_each_other(which):
    module = pair_of_modules()[which]
    x = normal(2, 3, 12, DIM)
    changed = x.copy()
    changed[1, 2] += 1
    difference = np.abs(run(module, changed) - run(module, x)).max(axis=(2, 3))
    assert difference[1, 2] > 0.1
    difference[1, 2] = 0
    assert not difference.any()


@WHICH
def test_a_hidden_key_changes_nothing(which):
    module = pair_of_modules()[which]
    x = normal(1, 2, 12, DIM)
    mask = np.zeros((2, 12, 12))
    mask[0, :3, 7] = -100  # in window 0, the first three queries don't see key 7
    changed = x.copy()
    changed[:, :, 7] += 1
    difference = np.abs(run(module, changed, mask) - run(module, x, mask)).max(axis=(0, 3))
    assert difference[0, :3].max() < 1e-12
    assert difference[0, 3:].min() > 1e-4 and difference[1].min() > 1e-4


def test_bias_is_the_tables_entry_for_each_offset_and_head():
    ours, theirs = pair_of_modules((2, 3))
    table = np.asarray(ours.state_dict()["relative_position_bias_table"]).reshape(3, 5, HEADS)
    for bias in (ours.relative_position_bias(), theirs.relative_position_bias().detach().numpy()):
        assert bias.shape == (HEADS, 6, 6)
        for a, i, j in itertools.product(range(HEADS), range(6), range(6)):
            assert bias[a, i, j] == table[i // 3 - j // 3 + 1, i % 3 - j % 3 + 2, a]


def test_parameters_have_the_official_names_and_shapes():
    for swin in (swin_numpy, swin_torch):
        shapes = {name: tuple(value.shape) for name, value in swin.WindowAttention(12, 3, 2).state_dict().items()}
        assert shapes == {
            "relative_position_bias_table": (25, 2),
            "qkv.weight": (36, 12),
            "qkv.bias": (36,),
            "proj.weight": (12, 12),
            "proj.bias": (12,),
        }
        assert "qkv.bias" not in swin.WindowAttention(12, 3, 2, qkv_bias=False).state_dict()


def test_dropout_sits_on_the_weights_and_on_the_output():
    for swin in (swin_numpy, swin_torch):
        module = swin.WindowAttention(12, 2, 3, True, 0.25, 0.5)
        assert (module.attn_drop.p, module.proj_drop.p) == (0.25, 0.5)
        _, steps = record(module.eval(), *inputs_for(swin, normal(2, 5, 4, 12, dtype=np.float32)))
        assert tuple(steps["attn_drop"].shape) == (2, 5, 3, 4, 4)
        np.testing.assert_allclose(steps["attn_drop"].sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(steps["proj_drop"], steps["proj"])


def test_attention_dropout_drops_weights_and_scales_the_rest():
    x = normal(4, 5, 4, 12, dtype=np.float32)
    for swin in (swin_numpy, swin_torch):
        module = swin.WindowAttention(12, 2, 3, attn_drop=0.25)
        sure = record(module.eval(), *inputs_for(swin, x))[1]["attn_drop"]
        dropped = record(module.train(), *inputs_for(swin, x))[1]["attn_drop"]
        ratio = np.asarray(dropped) / np.asarray(sure)
        kept = ratio != 0
        np.testing.assert_allclose(ratio[kept], 1 / 0.75, rtol=1e-5)
        assert kept.mean() == pytest.approx(0.75, abs=0.05)


WRONG = {
    "no windows axis": ((normal(2, 12, DIM),), r"windows \(n, k, 12, 12\), got shape \(2, 12, 12\)"),
    "tokens": ((normal(2, 3, 9, DIM),), r"windows \(n, k, 12, 12\), got shape \(2, 3, 9, 12\)"),
    "one token": ((normal(2, 3, 1, DIM),), r"windows \(n, k, 12, 12\), got shape \(2, 3, 1, 12\)"),
    "channels": ((normal(2, 3, 12, 1),), r"windows \(n, k, 12, 12\), got shape \(2, 3, 12, 1\)"),
    "mask of one": ((normal(2, 3, 12, DIM), np.zeros((12, 12))), r"mask: expected \(3, 12, 12\), got .* \(12, 12\)"),
    "mask of few": ((normal(2, 3, 12, DIM), np.zeros((1, 12, 12))), r"mask: expected \(3, 12, 12\), got .* \(1, 12"),
}


@WHICH
@pytest.mark.parametrize("case", WRONG)
def test_wrong_shapes(which, case):
    inputs, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        run(pair_of_modules()[which], *inputs)


@PACKAGES
def test_heads_must_share_the_channels(package):
    with pytest.raises(ValueError, match="num_heads: expected a divisor of dim=12, got 5"):
        package.WindowAttention(12, 3, 5)
    with pytest.raises(ValueError, match="num_heads: expected a divisor of dim=12, got 0"):
        package.WindowAttention(12, 3, 0)
    with pytest.raises(ValueError, match="window size: expected at least 1, got 0x0"):
        package.WindowAttention(12, 0, 3)


def test_mask_of_the_shift_fits_as_it_is():
    ours, theirs = pair_of_modules((2, 3))
    masks = both("shift_mask", 4, 9, (2, 3), 1)
    assert_same_steps(ours, theirs, normal(2, 6, 6, DIM), masks[0].astype(float))
