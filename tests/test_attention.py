"""Self-attention from its definition: against PyTorch's own attention, against loops, and twin against twin."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import swin_numpy
import swin_torch
from swin_numpy.functional import softmax
from tests.twin import PACKAGES, assert_twins, both, inputs_for, normal, relative, tensor

STEPS = ("Q", "K", "V", "scores", "weights", "Z")


def given(*lead, tokens=5, c=6, d_k=4, d_v=3, seed=0):
    return (normal(*lead, tokens, c, seed=seed), *(normal(c, d, seed=seed + i) for i, d in enumerate((d_k, d_k, d_v))))


def square(*lead, tokens=5, c=6):
    return normal(*lead, tokens, c), *(normal(c, c, seed=seed) for seed in range(1, 5))


def run(package, name, *inputs):
    """One package's function on arrays; every step comes back as an array."""
    result = getattr(package, name)(*inputs_for(package, *inputs))
    return {step: np.asarray(getattr(result, step)) for step in STEPS}


MASKS = {
    "none": None,
    "-100": np.where(normal(5, 5, seed=8) > 0.5, -100.0, 0.0),
    "-inf": np.triu(np.full((5, 5), -np.inf), 1),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_twins_at_every_step(lead, mask):
    ours, theirs = both("self_attention", *given(*lead), MASKS[mask])
    for step in STEPS:
        if step == "scores" and mask == "-inf":
            np.testing.assert_array_equal(np.isinf(ours.scores), theirs.scores.isinf().numpy())
        else:
            assert_twins(getattr(ours, step), getattr(theirs, step))


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_multi_head_twins_at_every_step(lead, heads):
    ours, theirs = both("multi_head_self_attention", *square(*lead), heads, MASKS["-100"])
    for step in STEPS:
        assert_twins(getattr(ours, step), getattr(theirs, step))
    assert ours.weights.shape == (*lead, heads, 5, 5) and ours.Z.shape == (*lead, 5, 6)


@PACKAGES
def test_definition_number_by_number(package):
    X, W_Q, W_K, W_V = given(tokens=4)
    a = run(package, "self_attention", X, W_Q, W_K, W_V)
    for i in range(4):
        q = [sum(X[i, c] * W_Q[c, d] for c in range(6)) for d in range(4)]
        k = [[sum(X[j, c] * W_K[c, d] for c in range(6)) for d in range(4)] for j in range(4)]
        v = [[sum(X[j, c] * W_V[c, d] for c in range(6)) for d in range(3)] for j in range(4)]
        scores = [sum(q[d] * k[j][d] for d in range(4)) / math.sqrt(4) for j in range(4)]
        weights = [math.exp(s) / sum(map(math.exp, scores)) for s in scores]
        z = [sum(weights[j] * v[j][d] for j in range(4)) for d in range(3)]
        for step, row in zip(STEPS, (q, k[i], v[i], scores, weights, z), strict=True):
            np.testing.assert_allclose(a[step][i], row, rtol=1e-12, atol=1e-14)


@PACKAGES
@pytest.mark.parametrize("mask", MASKS)
def test_equals_pytorchs_own_attention(package, mask):
    X, W_Q, W_K, W_V = given(2)
    a = run(package, "self_attention", X, W_Q, W_K, W_V, MASKS[mask])
    Z = scaled_dot_product_attention(*map(tensor, (X @ W_Q, X @ W_K, X @ W_V)), tensor(MASKS[mask]))
    assert relative(a["Z"], Z) < 1e-12


def multihead_attention(W_Q, W_K, W_V, W_O, heads):
    """torch.nn.MultiheadAttention with these matrices."""
    layer = torch.nn.MultiheadAttention(len(W_Q), heads, bias=False, batch_first=True, dtype=torch.float64)
    layer.load_state_dict({"in_proj_weight": tensor(np.hstack([W_Q, W_K, W_V]).T), "out_proj.weight": tensor(W_O.T)})
    return layer.eval()


@PACKAGES
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_equals_pytorchs_multihead_attention(package, heads):
    X, *W = square(2)
    a = run(package, "multi_head_self_attention", X, *W, heads, MASKS["-100"])
    x = tensor(X)
    with torch.no_grad():
        attend = multihead_attention(*W, heads)
        Z, weights = attend(x, x, x, attn_mask=tensor(MASKS["-100"]), average_attn_weights=False)
    assert relative(a["Z"], Z) < 1e-12 and relative(a["weights"], weights) < 1e-12


@PACKAGES
def test_every_row_of_weights_sums_to_one_and_hidden_keys_get_nothing(package):
    mask = MASKS["-inf"]
    a = run(package, "self_attention", *given(2), mask)
    np.testing.assert_allclose(a["weights"].sum(-1), 1, rtol=1e-14)
    assert (a["weights"][:, np.isinf(mask)] == 0).all() and (a["weights"][:, mask == 0] > 0).all()


@PACKAGES
def test_permuted_tokens_give_permuted_output(package):
    X, *W = given(2, tokens=7)
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    straight, permuted = run(package, "self_attention", X, *W), run(package, "self_attention", X[:, order], *W)
    assert relative(permuted["Z"], straight["Z"][:, order]) < 1e-13
    assert relative(permuted["weights"], straight["weights"][:, order][:, :, order]) < 1e-13
    assert relative(straight["Z"][:, order], straight["Z"]) > 0.1


@PACKAGES
def test_one_head_is_plain_attention_followed_by_w_o(package):
    X, W_Q, W_K, W_V, W_O = square(2)
    one = run(package, "multi_head_self_attention", X, W_Q, W_K, W_V, W_O, 1)
    plain = run(package, "self_attention", X, W_Q, W_K, W_V)
    assert relative(one["Z"], plain["Z"] @ W_O) < 1e-13


@PACKAGES
def test_a_head_sees_its_own_columns_only(package):
    X, W_Q, W_K, W_V, _ = square(2)
    a = run(package, "multi_head_self_attention", X, W_Q, W_K, W_V, np.eye(6), 3)
    for head in range(3):
        own = slice(2 * head, 2 * head + 2)
        alone = run(package, "self_attention", X, W_Q[:, own], W_K[:, own], W_V[:, own])
        assert relative(a["Z"][..., own], alone["Z"]) < 1e-13
        assert relative(a["weights"][:, head], alone["weights"]) < 1e-13


def test_float32_twins():
    inputs = [value.astype(np.float32) for value in given(2)]
    ours, theirs = both("self_attention", *inputs)
    for step in STEPS:
        assert getattr(ours, step).dtype == np.float32
        assert_twins(getattr(ours, step), getattr(theirs, step), bound=1e-5)


@PACKAGES
def test_the_result_cannot_be_changed(package):
    result = package.self_attention(*inputs_for(package, *given()))
    with pytest.raises(AttributeError):
        result.Z = 0


@PACKAGES
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("X", lambda x: x[0], r"X: expected shape \(\.\.\., tokens, channels\), got \(6,\)"),
        ("W_Q", lambda w: w[:5], r"W_Q: expected shape \(6, d_k\), got \(5, 6\)"),
        ("W_K", lambda w: w[None], r"W_K: expected shape \(6, 6\), got \(1, 6, 6\)"),
        ("W_V", lambda w: w[:, 0], r"W_V: expected shape \(6, d_v\), got \(6,\)"),
        ("W_K", lambda w: w[:, :3], r"W_K: expected shape \(6, 6\), got \(6, 3\)"),
        ("W_V", lambda w: w[:, :5], r"num_heads: expected a divisor of the widths \(6, 5\) of W_Q and W_V, got 2"),
        ("W_O", lambda w: w[:5], r"W_O: expected shape \(6, c\), got \(5, 6\)"),
        ("mask", lambda m: m[:, :4], r"mask: expected a shape that broadcasts to .*, got \(5, 4\)"),
        ("mask", lambda m: np.stack([m] * 3), r"mask: expected a shape that broadcasts to .*, got \(3, 5, 5\)"),
        ("heads", lambda _: 4, r"num_heads: expected a divisor of the widths \(6, 6\) of W_Q and W_V, got 4"),
        ("heads", lambda _: 0, "num_heads: expected at least 1, got 0"),
    ],
)
def test_shapes_that_do_not_go_together(package, name, change, message):
    values = dict(zip(("X", "W_Q", "W_K", "W_V", "W_O"), square(), strict=True)) | {"heads": 2, "mask": MASKS["-100"]}
    values[name] = change(values[name])
    with pytest.raises(ValueError, match=message):
        run(package, "multi_head_self_attention", *values.values())
    if "W_O" not in message and "heads" not in message:
        plain = [values[key] for key in ("X", "W_Q", "W_K", "W_V", "mask")]
        with pytest.raises(ValueError, match=message):
            run(package, "self_attention", *plain)


def test_softmax_is_the_one_of_functional():
    a = swin_numpy.self_attention(*given())
    np.testing.assert_array_equal(a.weights, softmax(a.scores))


# Masks, and what must be refused


BOTH = pytest.mark.parametrize("heads", [None, 2], ids=["one head", "two heads"])


def attention(package, mask, heads, dtype=np.float64):
    """The result for 5 tokens of 6 channels, two images, as arrays."""
    X, W = normal(2, 5, 6, dtype=dtype), [normal(6, 6, seed=i, dtype=dtype) for i in range(4)]
    name = "self_attention" if heads is None else "multi_head_self_attention"
    weights = W[:3] if heads is None else [*W, heads]
    return getattr(package, name)(*inputs_for(package, X, *weights), mask=inputs_for(package, mask)[0])


@PACKAGES
@BOTH
def test_true_keeps_a_key_as_in_pytorchs_own_attention(package, heads):
    keep = np.random.default_rng(2).random((2, 1, 5, 5) if heads else (2, 5, 5)) < 0.6
    keep[..., range(5), range(5)] = True  # PyTorch's own gives zeros for a query without keys, where ours gives NaN
    result = attention(package, keep, heads)
    Q, K, V = (tensor(np.asarray(value)) for value in (result.Q, result.K, result.V))
    expected = torch.nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=tensor(keep))
    got = np.asarray(result.weights) @ np.asarray(result.V)
    assert relative(got, expected) < 1e-12
    assert not np.asarray(result.weights)[~np.broadcast_to(keep, result.weights.shape)].any()


@PACKAGES
@BOTH
def test_a_mask_takes_the_type_of_the_scores(package, heads):
    result = attention(package, np.zeros((5, 5)), heads, np.float32)
    assert str(result.Z.dtype).endswith("float32")


@PACKAGES
@BOTH
def test_masks_of_other_kinds_are_refused(package, heads):
    with pytest.raises(TypeError, match=r"mask: expected booleans \(True: keep\) or numbers to add .*, got int64"):
        attention(package, np.eye(5, dtype=np.int64), heads)
    other = swin_torch if package is swin_numpy else swin_numpy
    with pytest.raises(TypeError, match="mask: expected a"):
        X, W = inputs_for(package, normal(5, 6), normal(6, 6))
        package.self_attention(X, W, W, W, inputs_for(other, np.zeros((5, 5)))[0])


@PACKAGES
def test_a_wrong_number_of_heads_spoils_no_later_call(package):
    """einops remembers patterns by their sizes, and 3.0 == 3."""
    X, W = inputs_for(package, normal(4, 9), normal(9, 9))
    for heads in (3.0, True, "3", None):
        with pytest.raises(TypeError, match="num_heads: expected a whole number"):
            package.multi_head_self_attention(X, W, W, W, W, heads)
    assert package.multi_head_self_attention(X, W, W, W, W, np.int64(3)).Q.shape == (3, 4, 3)


@PACKAGES
def test_arrays_of_wrong_kinds(package):
    X, W = inputs_for(package, normal(4, 6), normal(6, 6))
    with pytest.raises(TypeError, match=r"X: expected a .*, got list"):
        package.self_attention(normal(4, 6).tolist(), W, W, W)
    with pytest.raises(TypeError, match="X: expected real numbers, got complex128"):
        package.self_attention(X + 0j, W, W, W)
    with pytest.raises(TypeError, match="W_V: expected real numbers, got complex128"):
        package.self_attention(X, W, W, W + 0j)
