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
    return twins(lambda swin: swin.WindowAttention(DIM, window, HEADS, qkv_bias=qkv_bias), seed, dtype)


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
        module = swin.WindowAttention(12, 2, 3, attn_drop=0.25, proj_drop=0.5)
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
    "no windows axis": ((normal(2, 12, DIM),), r"windows: expected shape \(n, k, 12, 12\), got \(2, 12, 12\)"),
    "tokens": ((normal(2, 3, 9, DIM),), r"windows: expected shape \(n, k, 12, 12\), got \(2, 3, 9, 12\)"),
    "one token": ((normal(2, 3, 1, DIM),), r"windows: expected shape \(n, k, 12, 12\), got \(2, 3, 1, 12\)"),
    "channels": ((normal(2, 3, 12, 1),), r"windows: expected shape \(n, k, 12, 12\), got \(2, 3, 12, 1\)"),
    "mask of one": (
        (normal(2, 3, 12, DIM), np.zeros((12, 12))),
        r"mask: expected shape \(3, 12, 12\), got \(12, 12\)",
    ),
    "mask of few": (
        (normal(2, 3, 12, DIM), np.zeros((1, 12, 12))),
        r"mask: expected shape \(3, 12, 12\), got \(1, 12, 12\)",
    ),
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
    with pytest.raises(ValueError, match="num_heads: expected at least 1, got 0"):
        package.WindowAttention(12, 3, 0)
    with pytest.raises(ValueError, match="window_size: expected at least 1, got 0"):
        package.WindowAttention(12, 0, 3)


def test_mask_of_the_shift_fits_as_it_is():
    ours, theirs = pair_of_modules((2, 3))
    masks = both("shift_mask", 4, 9, (2, 3), 1)
    assert_same_steps(ours, theirs, normal(2, 6, 6, DIM), masks[0].astype(float))


@WHICH
@pytest.mark.parametrize("masked", [False, True], ids=["W-MSA", "SW-MSA"])
@pytest.mark.parametrize("version", [1, 2])
def test_attention_weights_are_those_of_the_forward(which, version, masked):
    module = (pair_of_modules() if version == 1 else version_2())[which]
    package = [swin_numpy, swin_torch][which]
    inputs = inputs_for(package, normal(2, 6, 12, DIM), *[random_mask(6, 12)] * masked)
    _, steps = record(module, *inputs)
    with torch.no_grad():
        weights = np.asarray(module.attention_weights(*inputs))
    assert weights.shape == (2, 6, HEADS, 12, 12)
    np.testing.assert_array_equal(weights, steps["attn_drop"])


@PACKAGES
def test_options_are_named(package):
    """Positions that differ between versions would be mistaken for each other."""
    for Attention in (package.WindowAttention, package.WindowAttentionV2):
        with pytest.raises(TypeError, match="positional"):
            Attention(12, 3, 2, True)
    with pytest.raises(TypeError, match="pretrained_window_size"):
        package.SwinTransformerBlock(12, 2, pretrained_window_size=3)


@WHICH
@pytest.mark.parametrize("version", [1, 2])
def test_a_boolean_mask_keeps_where_it_is_true(which, version):
    module = (pair_of_modules() if version == 1 else version_2())[which]
    x, keep = normal(2, 3, 12, DIM), np.random.default_rng(1).random((3, 12, 12)) < 0.7
    keep[:, range(12), range(12)] = True
    np.testing.assert_array_equal(run(module, x, keep), run(module, x, np.where(keep, 0.0, -np.inf)))
    assert relative(run(module, x, keep), run(module, x)) > 1e-2
    with pytest.raises(TypeError, match=r"mask: expected booleans .*, got int64"):
        run(module, x, keep.astype(np.int64))


@WHICH
def test_a_mask_of_float64_leaves_float32_as_it_is(which):
    module = pair_of_modules(dtype=np.float32)[which]
    assert run(module, normal(2, 6, 12, DIM, dtype=np.float32), random_mask(6, 12)).dtype == np.float32


@PACKAGES
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((12.0, 3, 2), {}, TypeError, "dim: expected a whole number, got 12.0"),
        ((12, 3, 2.0), {}, TypeError, "num_heads: expected a whole number, got 2.0"),
        ((12, 3.0, 2), {}, TypeError, "window_size: expected a whole number, got 3.0"),
        ((12, 3, 2), {"attn_drop": float("nan")}, ValueError, "attn_drop: expected 0 <= rate < 1, got nan"),
        ((12, 3, 2), {"proj_drop": 2}, ValueError, "proj_drop: expected 0 <= rate < 1, got 2"),
    ],
)
def test_arguments_that_make_no_sense(package, arguments, options, error, message):
    for Attention in (package.WindowAttention, package.WindowAttentionV2):
        with pytest.raises(error, match=message):
            Attention(*arguments, **options)


@WHICH
@pytest.mark.parametrize("version", [1, 2])
def test_no_images_and_no_windows(which, version):
    module = (pair_of_modules() if version == 1 else version_2())[which]
    assert run(module, normal(0, 3, 12, DIM)).shape == (0, 3, 12, DIM)


@pytest.mark.parametrize("how", ["meta, then assign", "to_empty, then load"])
@pytest.mark.parametrize("version", [1, 2])
def test_buffers_that_no_file_holds_are_made_anew(version, how):
    """Deferred initialisation leaves them without values, and load_state_dict can't find them in the file."""
    make = lambda: (swin_torch.WindowAttention if version == 1 else swin_torch.WindowAttentionV2)(DIM, (3, 4), HEADS)
    filled = make().eval()
    with torch.device("meta"):
        empty = make().eval()
    if how == "to_empty, then load":
        empty = empty.to_empty(device="cpu")
        for buffer in empty.buffers():
            buffer.fill_(99)
    empty.load_state_dict(filled.state_dict(), assign=how != "to_empty, then load")
    x = normal(2, 3, 12, DIM, dtype=np.float32)
    np.testing.assert_array_equal(run(empty, x), run(filled, x))


# Version 2


def version_2(window=(3, 4), qkv_bias=True, pretrained=0, dtype=np.float64):
    make = lambda swin: swin.WindowAttentionV2(DIM, window, HEADS, qkv_bias=qkv_bias, pretrained_window_size=pretrained)
    return twins(make, dtype=dtype)


def with_values(module, **values):
    state = {name: np.asarray(value).copy() for name, value in module.state_dict().items()}
    for name, value in values.items():
        state[name][...] = value
    module.load_state_dict({name: tensor(value) for name, value in state.items()})
    return module


@pytest.mark.parametrize("masked", [False, True], ids=["W-MSA", "SW-MSA"])
@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize(("window", "pretrained"), [(3, 0), ((3, 4), 2), ((1, 5), (2, 3)), (1, 0)])
def test_version_2_twins_at_every_step(window, pretrained, qkv_bias, masked):
    ours, theirs = version_2(window, qkv_bias, pretrained)
    m = math.prod(ours.window_size)
    steps = assert_same_steps(ours, theirs, normal(2, 6, m, DIM), random_mask(6, m) if masked else None)
    assert steps.shape == (2, 6, m, DIM)


@WHICH
@pytest.mark.parametrize("pretrained", [0, 5])
def test_version_2_every_number_against_loops(which, pretrained):
    module = with_values(version_2((2, 3), True, pretrained)[which], logit_scale=np.array([[[1.0]], [[4.0]], [[5.0]]]))
    state = {name: np.asarray(value) for name, value in module.state_dict().items()}
    x, mask = normal(2, 4, 6, DIM), random_mask(4, 6)
    x[0, 1, 2] = 0  # as a token of padding: without a bias its key has no direction
    d = DIM // HEADS
    expected = np.empty_like(x)
    for n, k in itertools.product(range(2), range(4)):
        rows = x[n, k] @ state["qkv.weight"].T
        q, key, v = rows[:, :DIM] + state["q_bias"], rows[:, DIM : 2 * DIM], rows[:, 2 * DIM :] + state["v_bias"]
        z = np.empty((6, DIM))
        for head, i in itertools.product(range(HEADS), range(6)):
            own = slice(head * d, (head + 1) * d)
            scores = np.empty(6)
            for j in range(6):
                lengths = np.linalg.norm(q[i, own]) * np.linalg.norm(key[j, own])
                cosine = q[i, own] @ key[j, own] / lengths if lengths else 0
                scale = min(math.exp(state["logit_scale"][head, 0, 0]), 100)
                bias = bias_by_hand(state, (i // 3 - j // 3, i % 3 - j % 3), (2, 3), pretrained)[head]
                scores[j] = scale * cosine + bias + mask[k, i, j]
            weights = np.exp(scores - scores.max())
            z[i, own] = weights / weights.sum() @ v[:, own]
        expected[n, k] = z @ state["proj.weight"].T + state["proj.bias"]
    assert relative(run(module, x, mask), expected) < 1e-12


def bias_by_hand(state, offset, window, pretrained):
    """What the small network says of one offset (rows, columns), a number for each head."""
    hidden = state["cpb_mlp.0.bias"].copy()
    for axis in (0, 1):
        x = 8 * offset[axis] / ((pretrained or window[axis]) - 1)
        hidden += state["cpb_mlp.0.weight"][:, axis] * np.float32(math.copysign(math.log(1 + abs(x), 8), x))
    said = state["cpb_mlp.2.weight"] @ np.where(hidden > 0, hidden, 0)
    return 16 / (1 + np.exp(-said))


@WHICH
def test_version_2_bias_goes_on_where_a_larger_window_adds_offsets(which):
    """With the window of pre-training, offsets that both windows have keep their bias; without, it is stretched."""
    small, large, stretched = (version_2(*options)[which] for options in ((3,), (5, True, 3), (5,)))
    biases = [np.asarray(module.relative_position_bias().detach() if which else module.relative_position_bias())
              for module in (small, large, stretched)]  # fmt: skip
    corner = [row * 5 + column for row in range(3) for column in range(3)]
    assert relative(biases[1][:, corner][:, :, corner], biases[0]) < 1e-15
    assert relative(biases[2][:, corner][:, :, corner], biases[0]) > 1e-2
    ends = np.ix_(range(HEADS), [0, 4, 20, 24], [0, 4, 20, 24])  # the corners of the larger window
    assert relative(biases[2][ends], biases[0][:, [0, 2, 6, 8]][:, :, [0, 2, 6, 8]]) < 1e-15


@WHICH
def test_version_2_cares_for_directions_only(which):
    """Queries and keys that are longer, each token's by its own factor, give the same weights."""
    module = with_values(version_2()[which], q_bias=0, v_bias=0)
    x = normal(2, 3, 12, DIM)
    factors = np.exp(normal(2, 3, 12, 1, seed=2))
    package = [swin_numpy, swin_torch][which]
    weights = [np.asarray(record(module, *inputs_for(package, y))[1]["attn_drop"]) for y in (x, factors * x)]
    assert relative(*weights) < 1e-13
    assert relative(run(module, factors * x), run(module, x)) > 1e-2  # the values do grow


@WHICH
def test_version_2_scale_stops_at_100(which):
    x = normal(2, 3, 12, DIM)
    limit, beyond, below = (
        run(with_values(version_2()[which], logit_scale=value), x) for value in (math.log(100), 9.0, math.log(99))
    )
    np.testing.assert_array_equal(limit, beyond)
    assert relative(below, limit) > 1e-6


@WHICH
def test_version_2_in_half_precision_takes_padding(which):
    """There 1e-12 is 0, and a key of zeros divided by that is no number."""
    x = normal(1, 2, 12, DIM)
    x[0, 0, 6:] = 0
    output = run(version_2(dtype=np.float16)[which], x.astype(np.float16))
    assert output.dtype == np.float16
    assert relative(output.astype(float), run(version_2()[which], x)) < 2e-2


def test_version_2_parameters_have_the_official_names_and_shapes():
    for swin in (swin_numpy, swin_torch):
        shapes = {name: tuple(value.shape) for name, value in swin.WindowAttentionV2(12, 3, 2).state_dict().items()}
        assert shapes == {
            "logit_scale": (2, 1, 1),
            "cpb_mlp.0.weight": (512, 2),
            "cpb_mlp.0.bias": (512,),
            "cpb_mlp.2.weight": (2, 512),
            "q_bias": (12,),
            "v_bias": (12,),
            "qkv.weight": (36, 12),
            "proj.weight": (12, 12),
            "proj.bias": (12,),
        }
        assert not {"q_bias", "v_bias"} & set(swin.WindowAttentionV2(12, 3, 2, qkv_bias=False).state_dict())


@WHICH
@pytest.mark.parametrize("case", WRONG)
def test_version_2_wrong_shapes(which, case):
    inputs, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        run(version_2()[which], *inputs)


def test_version_2_dropout_sits_on_the_weights_and_on_the_output():
    for swin in (swin_numpy, swin_torch):
        module = swin.WindowAttentionV2(12, 2, 3, attn_drop=0.25, proj_drop=0.5)
        assert (module.attn_drop.p, module.proj_drop.p) == (0.25, 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_version_2_gradient_of_a_scale_of_exactly_100(dtype):
    """At the limit itself PyTorch's clamp passes the gradient on; beyond it, there is none."""
    ours, theirs = version_2(dtype=dtype)
    x, dy = normal(2, 3, 12, DIM, dtype=dtype), normal(2, 3, 12, DIM, seed=1, dtype=dtype)
    values = np.array([math.log(100), math.log(101), math.log(99)]).reshape(HEADS, 1, 1)
    for module in (ours, theirs):
        with_values(module, logit_scale=values)
    ours.train()(x)
    ours.backward(dy)
    theirs.train()(tensor(x)).backward(tensor(dy))
    got, expected = ours.logit_scale.grad, theirs.logit_scale.grad
    assert relative(got, expected) < (1e-3 if dtype == np.float32 else 1e-10)
    assert got[0] != 0 and got[1] == 0 and got[2] != 0
