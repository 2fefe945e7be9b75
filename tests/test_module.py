"""Parameter and Module: what NumPy lacks of torch.nn, held against what torch.nn does."""

import inspect
import math

import numpy as np
import pytest
import torch

import swin_numpy.module
import swin_torch.module
from swin_numpy.layers import Dropout, LayerNorm, Linear
from swin_numpy.module import Module, Parameter, plain
from tests.twin import normal


class Tree(Module):
    """A list of modules, a module in a module, a parameter of its own, something that is None."""

    def __init__(self):
        super().__init__()
        self.table = Parameter(np.arange(6.0).reshape(2, 3))
        self.layers = [Linear(3, 2), Linear(2, 3, bias=False)]
        self.norm = LayerNorm(3)
        self.nothing = None
        self.index = np.arange(4)
        self.drop = Dropout(0.5)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.drop(self.norm(x + self.table[0]))


NAMES = ["table", "layers.0.weight", "layers.0.bias", "layers.1.weight", "norm.weight", "norm.bias"]


# Parameter


def test_a_parameter_is_its_value_and_carries_a_gradient():
    p = Parameter(np.array([1.0, 2.0], np.float32))
    np.testing.assert_array_equal(p, [1, 2])
    assert p.dtype == np.float32 and p.grad is None
    p.grad = np.ones(2)
    assert p.grad.sum() == 2


def test_a_parameter_owns_its_numbers():
    value = np.zeros(3)
    p = Parameter(value)
    value += 1
    assert not p.any()


@pytest.mark.parametrize(
    "compute",
    [
        lambda p: p + 1,
        lambda p: 2 * p,
        lambda p: p @ p.T,
        lambda p: np.ones((4, 2)) @ p,
        lambda p: np.exp(p),
        lambda p: p.sum(axis=0),
        lambda p: np.add.reduce(p),
        lambda p: np.maximum(p, 0, out=np.empty((2, 3))),
    ],
)
def test_arithmetic_gives_plain_arrays_with_the_right_numbers(compute):
    value = normal(2, 3)
    got = compute(Parameter(value))
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, compute(value))


def test_changing_a_parameter_in_place_leaves_it_one():
    p = same = Parameter(np.ones(3))
    p -= 0.25
    p[...] *= 2
    assert p is same and type(p) is Parameter
    np.testing.assert_array_equal(p, 1.5)


def test_plain_shares_the_memory():
    p = Parameter(np.ones(3))
    plain(p)[0] = 7
    assert p[0] == 7 and type(plain(p)) is np.ndarray
    x = np.ones(2)
    assert plain(x) is x and plain(5) == 5


def test_a_view_of_a_parameter_does_not_inherit_its_gradient():
    p = Parameter(np.ones((2, 3)))
    p.grad = np.ones((2, 3))
    assert p[0].grad is None and p.T.grad is None


# Names


def test_names_are_dotted_and_in_order():
    tree = Tree()
    assert [name for name, _ in tree.named_parameters()] == NAMES
    assert list(tree.state_dict()) == NAMES
    assert all(type(p) is Parameter for _, p in tree.named_parameters())
    assert [name for name, _ in tree.named_modules()] == ["", "layers.0", "layers.1", "norm", "drop"]
    assert dict(tree.named_modules())["layers.1"] is tree.layers[1]


def test_state_dict_is_the_parameters_own_memory():
    tree = Tree()
    state = tree.state_dict()
    assert all(type(value) is np.ndarray for value in state.values())
    state["norm.weight"][:] = 7
    assert (tree.norm.weight == 7).all()


# Loading


def random_state(tree):
    return {name: normal(*value.shape, seed=i) for i, (name, value) in enumerate(tree.state_dict().items())}


def test_load_copies_by_name():
    tree, other = Tree(), Tree()
    parameters = dict(tree.named_parameters())
    state = random_state(tree)
    tree.load_state_dict(dict(reversed(state.items())))
    for name, value in tree.state_dict().items():
        np.testing.assert_array_equal(value, state[name].astype(value.dtype))
        assert dict(tree.named_parameters())[name] is parameters[name]  # an optimiser may hold it
        assert not np.shares_memory(value, state[name])
    other.load_state_dict(tree.state_dict())
    np.testing.assert_array_equal(other(np.ones((1, 3))), tree(np.ones((1, 3))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.bias"), "norm.bias"),
        (lambda s: s.update({"norm.more": np.ones(3)}), "norm.more"),
        (lambda s: s.update({"norm.bias": np.ones(4)}), r"norm\.bias.*\(?3.*\(?4"),
        (lambda s: s.update({"layers.0.weight": np.ones((3, 2))}), "layers.0.weight"),
    ],
    ids=["missing", "unexpected", "another length", "transposed"],
)
def test_all_or_nothing(change, message):
    tree = Tree()
    before = {name: value.copy() for name, value in tree.state_dict().items()}
    state = random_state(tree)
    change(state)
    with pytest.raises(ValueError, match=message):
        tree.load_state_dict(state)
    for name, value in tree.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_not_strict_leaves_out_names_but_never_bends_shapes():
    tree = Tree()
    before = tree.norm.bias.copy()
    state = random_state(tree)
    del state["norm.bias"]
    state["unknown"] = np.ones(3)
    tree.load_state_dict(state, strict=False)
    np.testing.assert_array_equal(tree.table, state["table"])
    np.testing.assert_array_equal(tree.norm.bias, before)
    with pytest.raises(ValueError, match="table"):
        tree.load_state_dict({"table": np.ones((3, 2))}, strict=False)


# Modes, hooks, types


def test_starts_in_eval_mode_and_switches_everything():
    tree = Tree()
    assert not any(module.training for _, module in tree.named_modules())
    assert tree.train() is tree and all(module.training for _, module in tree.named_modules())
    assert tree.eval() is tree and not any(module.training for _, module in tree.named_modules())


def test_mode_reaches_dropout():
    tree, x = Tree(), normal(50, 3)
    np.testing.assert_array_equal(tree(x), tree(x))
    tree.train()
    assert (tree(x) == 0).any()


def test_hook_sees_inputs_and_output_until_it_is_removed():
    tree, x, seen = Tree(), normal(2, 3), []
    hook = tree.layers[1].register_forward_hook(lambda *what: seen.append(what))
    tree(x)
    (module, (given,), output) = seen[0]
    assert module is tree.layers[1]
    np.testing.assert_array_equal(given, tree.layers[0](x))
    np.testing.assert_array_equal(output, tree.layers[1](given))
    del seen[:]
    hook.remove()
    tree(x)
    assert not seen


def test_hooks_run_in_the_order_they_came():
    tree, seen = Tree(), []
    tree.register_forward_hook(lambda *_: seen.append("first"))
    tree.register_forward_hook(lambda *_: seen.append("second"))
    tree(normal(1, 3))
    assert seen == ["first", "second"]


def test_zero_grad():
    tree = Tree()
    for _, p in tree.named_parameters():
        p.grad = np.ones(p.shape)
    tree.zero_grad()
    assert all(p.grad is None for _, p in tree.named_parameters())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_turns_every_parameter_and_keeps_the_numbers(dtype):
    tree = Tree()
    before = {name: value.copy() for name, value in tree.state_dict().items()}
    assert tree.to(dtype) is tree
    for name, value in tree.state_dict().items():
        assert value.dtype == dtype
        np.testing.assert_allclose(value, before[name], rtol=1e-6)
    assert tree.index.dtype == np.int64
    assert tree(normal(2, 3, dtype=dtype)).dtype == dtype


# The checks that both twins share


MODULES = pytest.mark.parametrize("module", [swin_numpy.module, swin_torch.module], ids=["numpy", "torch"])


def given(module, value):
    return torch.from_numpy(value) if module is swin_torch.module else value


@MODULES
def test_check_shape(module):
    x = given(module, normal(2, 3, 4))
    assert module.check_shape("x", x, "n", 3, "c") is None
    assert module.check_shape("x", given(module, normal(0, 3, 4)), "n", 3, "c") is None  # no images
    for axes, expected in (
        (("n", 3), r"\(n, 3\)"),
        (("n", 4, "c"), r"\(n, 4, c\)"),
        ((2, 3, 4, "c"), r"\(2, 3, 4, c\)"),
    ):
        with pytest.raises(ValueError, match=rf"^tokens: expected shape {expected}, got \(2, 3, 4\)$"):
            module.check_shape("tokens", x, *axes)
    with pytest.raises(ValueError, match=r"got \(2, 3, 0\)"):
        module.check_shape("x", given(module, normal(2, 3, 0)), "n", 3, "c")


@MODULES
def test_check_whole(module):
    assert [module.check_whole("k", value) for value in (1, np.int64(3), np.uint8(200))] == [1, 3, 200]
    assert type(module.check_whole("k", np.int64(3))) is int
    assert module.check_whole("k", 0, 0) == 0 and module.check_whole("k", -5, -math.inf) == -5
    for value in (1.0, np.float32(2), "3", None, True, [1], np.arange(2)):
        with pytest.raises(TypeError, match=r"^k: expected a whole number, got "):
            module.check_whole("k", value)
    for value, least in ((0, 1), (-1, 0), (4, 5)):
        with pytest.raises(ValueError, match=f"^k: expected at least {least}, got {value}$"):
            module.check_whole("k", value, least)


@MODULES
def test_added(module):
    scores = given(module, normal(2, 2, dtype=np.float32))
    keep = np.array([[True, False], [True, True]])
    got = np.asarray(module.added(given(module, keep), scores))
    np.testing.assert_array_equal(got, np.float32([[0, -np.inf], [0, 0]]))
    got = np.asarray(module.added(given(module, np.array([[0.0, -100.0]])), scores))
    assert got.dtype == np.float32 and got.tolist() == [[0, -100]]
    for wrong, message in (
        (given(module, np.eye(2, dtype=int)), "mask: expected booleans"),
        ([[True]], "mask: expected a"),
    ):
        with pytest.raises(TypeError, match=message):
            module.added(wrong, scores)


def test_both_twins_document_the_same_checks():
    for name in ("check_shape", "check_array", "check_whole", "check_rate", "added"):
        ours, theirs = getattr(swin_numpy.module, name), getattr(swin_torch.module, name)
        assert ours.__doc__ == theirs.__doc__ and inspect.signature(ours) == inspect.signature(theirs)
