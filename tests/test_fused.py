"""The fast path against the plain one: every geometry, everything that may be changed, and that it disturbs nothing."""

import copy
import threading

import numpy as np
import pytest

from swin_numpy import Backbone, SwinConfig, SwinTransformer, fused
from swin_numpy.block import SwinTransformerBlock
from swin_numpy.fast import training
from swin_numpy.layers import Linear, Mlp, ReLU
from swin_numpy.module import Module, Parameter
from swin_numpy.runtime import threads
from swin_numpy.window_attention import WindowAttention
from tests.twin import normal, random_state, relative

SMALL = SwinConfig(
    img_size=28, patch_size=2, in_chans=2, num_classes=5, embed_dim=8, depths=(2, 3), num_heads=(2, 4), window_size=4
)


def model_of(dtype=np.float64, **fields):
    """A fused model of which no parameter is at its initial value."""
    config = SMALL if not fields else SwinConfig(**{**vars(SMALL), **fields})
    model = SwinTransformer(config, dtype=dtype)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    model.load_state_dict(random_state(shapes, seed=1))
    return model.use_attention("fused")


def images_of(model, n=3, shape=None, seed=0):
    H, W = shape or model.config.image_shape
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, model.config.in_chans, H, W)).astype(model.head.weight.dtype)


def plain(model, images):
    result = model.use_attention("plain").forward_stages(images), model(images)
    model.use_attention("fused")
    return result


GEOMETRIES = {
    "shift and padding": ({}, None),
    "fits": ({"img_size": 32}, None),
    "rectangle": ({"img_size": (40, 24)}, None),
    "any size, odd": ({"img_size": None}, (37, 51)),
    "any size, one window high": ({"img_size": None}, (7, 60)),
    "window shrunk": ({"img_size": 12, "window_size": 7}, None),
    "another size than built for": ({}, (30, 46)),
    "position embedding": ({"ape": True}, None),
    "no qkv bias, no patch norm": ({"qkv_bias": False, "patch_norm": False}, None),
    "mlp of odd width": ({"mlp_ratio": 2.6, "window_size": 5}, None),
    "two stages of one window": ({"img_size": 16, "window_size": 7, "patch_size": 4}, None),
    "odd numbers of heads": ({"embed_dim": 6, "num_heads": (3, 1)}, None),
}


@pytest.mark.parametrize("few", [0, 60, 10**6])  # tokens of which the cores share heads and channels, not windows
@pytest.mark.parametrize("version, n", [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-10), (np.float32, 1e-4)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_fused_equals_plain(geometry, dtype, bound, version, n, few, monkeypatch):
    monkeypatch.setattr(fused, "GROUP", 500)  # several groups, also of these small maps
    monkeypatch.setattr(fused, "FEW", few)
    fields, shape = GEOMETRIES[geometry]
    model = model_of(dtype, version=version, **fields)
    images = images_of(model, n, shape)
    stages, logits = plain(model, images)
    assert relative(model(images), logits) < bound and model(images).dtype == dtype
    for (x, grid), (expected, expected_grid) in zip(model.forward_stages(images), stages, strict=True):
        assert grid == expected_grid and relative(x, expected) < bound


@pytest.mark.parametrize("version", [1, 2])
def test_swin_tiny_scaled_down(version):
    model = model_of(
        version=version, depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), img_size=112, patch_size=4, window_size=7
    )
    images = images_of(model, 2)
    assert relative(model(images), plain(model, images)[1]) < 1e-10


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("scale", [1, 30, 3000])
def test_large_scores_have_their_maximum_subtracted(scale, version):
    """Scores of thousands would overflow exp. In float64, rounding grows with the sthreads."""
    model = model_of(version=version)
    for layer in model.layers:
        for block in layer.blocks:
            block.attn.qkv.weight[...] *= scale**0.5
            if version == 2:
                block.attn.logit_scale[...] += np.log(scale)  # up to 100, so there too some scores are above 60
    images = images_of(model)
    assert relative(model(images), plain(model, images)[1]) < 1e-10 * scale


def test_exponentials_of_any_scores():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, 3, 4, 4))
    for case in (scores, scores + 1000, scores - 1000, 1e3 * scores, scores - 100 * (1 - np.eye(4))):
        got = case.copy()
        sums = fused.exponentials(got)
        expected = np.exp(case - case.max(-2, keepdims=True))
        assert relative(got / sums, expected / expected.sum(-2, keepdims=True)) < 1e-12
    assert np.isnan(fused.exponentials(np.full((1, 1, 2, 2), np.nan))).all()


@pytest.mark.parametrize("scale", [1, 10, 1000])
def test_no_exponential_is_subnormal(scale):
    """A processor multiplies such numbers a hundred times more slowly, and a mask of -100 makes many of them."""
    scores = (scale * np.random.default_rng(0).standard_normal((2, 3, 4, 4))).astype(np.float32)
    scores[..., :2, 2:] -= 100
    fused.exponentials(scores)
    assert scores.min() > 1e5 * np.finfo(np.float32).tiny


@pytest.mark.parametrize("few", [0, 10**6])
def test_the_same_digits_on_any_number_of_threads_and_again(few, monkeypatch):
    monkeypatch.setattr(fused, "GROUP", 500)
    monkeypatch.setattr(fused, "FEW", few)
    model = model_of(np.float32)
    images = images_of(model)
    found = []
    for count in (1, 2, 5, 1):
        monkeypatch.setattr(threads, "worker_count", lambda count=count: count)
        threads._pool.cache_clear()
        found += [model(images) for _ in range(3)]
    threads._pool.cache_clear()
    assert all(np.array_equal(found[0], other) for other in found)


def test_nothing_that_was_given_or_returned_is_written_to():
    model = model_of()
    images = images_of(model)
    before, state = images.copy(), copy.deepcopy(model.state_dict())
    first = model.forward_stages(images)
    kept = [x.copy() for x, _ in first]
    model.forward_stages(images[::-1] + 1)
    assert np.array_equal(images, before)
    assert all(np.array_equal(x, old) for (x, _), old in zip(first, kept, strict=True))
    assert all(np.array_equal(value, state[name]) for name, value in model.state_dict().items())


def test_two_threads_at_once(monkeypatch):
    monkeypatch.setattr(threads, "worker_count", lambda: 2)
    models, found = [model_of(), model_of(img_size=32, window_size=5)], {}
    expected = [model(images_of(model)) for model in models]

    def work(i):
        found[i] = [models[i % 2](images_of(models[i % 2])) for _ in range(5)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(got, expected[i % 2]) for i, results in found.items() for got in results)


@pytest.mark.parametrize("version", [1, 2])
def test_changed_weights_are_seen(version):
    model = model_of(version=version)
    images = images_of(model)
    model(images)
    for name, parameter in model.named_parameters():
        parameter += 0.01 * np.random.default_rng(len(name)).standard_normal(parameter.shape)
    assert relative(model(images), plain(model, images)[1]) < 1e-10
    model.to(np.float32)
    assert model(images.astype(np.float32)).dtype == np.float32


def test_hooks_fire_as_on_the_plain_path():
    def seen_by(kind):
        model, seen = model_of().use_attention(kind), []
        parts = dict(model.named_modules())
        for name in ("layers.0.blocks.1", "layers.1.blocks.0.attn", "layers.1.blocks.2.mlp.fc1", "layers.1", "head"):
            parts[name].register_forward_hook(lambda part, inputs, y, name=name: seen.append((name, inputs[0], y)))
        model(images_of(model))
        return seen

    ours, expected = seen_by("fused"), seen_by("plain")
    assert [name for name, *_ in ours] == [name for name, *_ in expected] and len(ours) == 5
    for (_, x, y), (_, expected_x, expected_y) in zip(ours, expected, strict=True):
        assert relative(x, expected_x) < 1e-10 and relative(y, expected_y) < 1e-10


# What isn't exactly as it was made: each of these changes a model, and must change what the fast path gives as well.


class Adapter(Module):
    """A layer with something added to it that keeps its names, as LoRA does."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down, self.up = (Parameter(0.3 * normal(size, 2)) for size in layer.weight.shape[::-1])

    weight = property(lambda self: self.layer.weight)
    bias = property(lambda self: self.layer.bias)

    def forward(self, x):
        return self.layer(x) + x @ self.down @ self.up.T


def bent(x):
    """Another x, in a way that no norm undoes."""
    return (bent(x[0]), *x[1:]) if isinstance(x, tuple) else x + 0.3 * x * x


def replace(model, path, make):
    """The part of `model` called `path` becomes make(part)."""
    parent, _, name = path.rpartition(".")
    parent = dict(model.named_modules())[parent]
    setattr(parent, name, make(getattr(parent, name)))


def subclass(part):
    """The same part, of a class of its own that gives something else."""

    class Bending(type(part)):
        def forward(self, *inputs):
            return bent(super().forward(*inputs))

    part.__class__ = Bending
    return part


def patch_forward(part):
    """A forward of its own, as an attribute of the part."""
    forward = part.forward
    part.forward = lambda *inputs: bent(forward(*inputs))
    return part


def with_float32(name):
    def change(part):
        setattr(part, name, Parameter(getattr(part, name).astype(np.float32)))
        return part

    return change


def set_bias(attn):
    attn.relative_position_bias = lambda: normal(attn.num_heads, 16, 16)
    return attn


def no_shift(block):
    block.shift_for = lambda grid: (1, 2)
    return block


ATTN, MLP = "layers.1.blocks.1.attn", "layers.1.blocks.1.mlp"
PLACES = [f"{ATTN}.qkv", f"{ATTN}.attn_drop", f"{ATTN}.proj", ATTN, f"{MLP}.fc1", f"{MLP}.drop1", MLP]
PLACES += ["layers.1.blocks.1.norm1", "layers.1.blocks.1.norm2", "layers.0.downsample.norm", "patch_embed.norm"]
CHANGED = {
    "an adapter on qkv": (f"{ATTN}.qkv", Adapter),
    "an adapter on fc1": (f"{MLP}.fc1", Adapter),
    "an adapter on reduction": ("layers.0.downsample.reduction", Adapter),
    "a known layer at another place": (f"{MLP}.drop1", lambda _: ReLU()),
    "another bias": (ATTN, set_bias),
    **{f"subclass of {path}": (path, subclass) for path in [*PLACES, "layers.0.downsample", "patch_embed"]},
    **{f"forward of {path}": (path, patch_forward) for path in [*PLACES, "layers.0.downsample", "patch_embed"]},
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("change", CHANGED)
def test_what_was_changed_is_computed_the_plain_way(change, version):
    model = model_of(version=version)
    images = images_of(model)
    before = model(images)
    replace(model, *CHANGED[change])
    model.use_attention("fused")
    fast, (_, expected) = model(images), plain(model, images)
    assert relative(expected, before) > 1e-6 and relative(fast, expected) < 1e-10


@pytest.mark.parametrize("change", [subclass, patch_forward, no_shift])
def test_a_changed_block_is_computed_the_plain_way(change):
    model = model_of(img_size=None)
    images = images_of(model, shape=(30, 46))
    before = model(images)
    model.layers[0].blocks[1] = change(model.layers[0].blocks[1])
    fast, (_, expected) = model(images), plain(model, images)
    assert relative(expected, before) > 1e-6 and relative(fast, expected) < 1e-10


CLASSES = {
    "attention": (WindowAttention, "forward", lambda self, x, mask=None: 0.5 * x),
    "its bias": (WindowAttention, "relative_position_bias", lambda self: np.zeros((self.num_heads, 1, 1))),
    "mlp": (Mlp, "forward", lambda self, x: 0.5 * x),
    "linear": (Linear, "forward", lambda self, x: 2 * x @ self.weight.T),
    "block": (SwinTransformerBlock, "shift_for", lambda self, grid: (0, 0)),
    "every part": (Module, "__call__", lambda self, *inputs: self.forward(*inputs[:1], *inputs[1:])),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_class_whose_methods_were_changed_is_computed_the_plain_way(case, monkeypatch):
    cls, name, method = CLASSES[case]
    model = model_of()
    block, x = model.layers[0].blocks[0], normal(2, 196, 8)
    assert fused.applies(block, x, (14, 14))
    monkeypatch.setattr(cls, name, method)
    images = images_of(model)
    assert relative(model(images), plain(model, images)[1]) < 1e-10
    assert not fused.applies(block, x, (14, 14))
    monkeypatch.undo()
    assert fused.applies(block, x, (14, 14))


@pytest.mark.parametrize(
    "name", ["norm2.weight", "attn.qkv.bias", "mlp.fc2.weight", "attn.relative_position_bias_table"]
)
def test_parameters_of_two_dtypes_are_computed_the_plain_way(name):
    model = model_of()
    path, _, parameter = name.rpartition(".")
    replace(model, f"layers.1.blocks.1.{path}", with_float32(parameter))
    images = images_of(model)
    assert not fused.applies(model.layers[1].blocks[1], normal(1, 49, 16))
    assert np.array_equal(
        *(model.use_attention(kind).layers[1].blocks[1](normal(2, 49, 16), (7, 7)) for kind in ("plain", "fused"))
    )
    assert relative(model(images), plain(model, images)[1]) < 1e-10


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, ">f4"])
def test_other_dtypes_are_computed_the_plain_way(dtype):
    block, x = model_of(np.float32).layers[0].blocks[1], normal(2, 196, 8).astype(dtype)
    assert not fused.applies(block, x, (14, 14))
    assert not fused.applies(block, normal(2, 196, 8), (14, 14))  # float64 tokens for float32 weights
    assert fused.applies(block, normal(2, 196, 8).astype(np.float32), (14, 14))


def test_arrays_of_other_classes_are_computed_the_plain_way():
    block = model_of().layers[0].blocks[1]
    for x in (Parameter(normal(2, 196, 8)), np.ma.masked_array(normal(2, 196, 8)), np.zeros((0, 196, 8)), None, 3.0):
        assert not fused.applies(block, x, (14, 14))
    assert not fused.applies(block)
    assert fused.applies(block, normal(2, 196, 8), (14, 14))


ORDINARY = {
    "as made": {},
    "V2": {"version": 2},
    "no qkv bias": {"qkv_bias": False},
    "no qkv bias, V2": {"version": 2, "qkv_bias": False},
    "no patch norm": {"patch_norm": False},
    "dropout": {"drop_rate": 0.1, "attn_drop_rate": 0.1, "drop_path_rate": 0.1},
    "a position embedding": {"ape": True},
}


@pytest.mark.parametrize(
    "alter", [lambda model: model, copy.deepcopy, lambda model: model.to(np.float32), Module.replica]
)
@pytest.mark.parametrize("case", ORDINARY)
def test_the_fast_path_is_taken_by_every_ordinary_model(case, alter, monkeypatch):
    model = alter(model_of(**ORDINARY[case]))
    taken = []
    fast = {
        cls: lambda *inputs, way=way: (taken.append(type(inputs[0])), way(*inputs))[1]
        for cls, way in fused._FAST.items()
    }
    monkeypatch.setattr(fused, "_FAST", fast)
    for _ in range(2):  # the second time with something kept
        taken.clear()
        model(images_of(model))
        parts = [type(part) for _, part in model.named_modules() if type(part) in fast]
        assert sorted(taken, key=str) == sorted(parts, key=str) and len(taken) == 7


def test_a_batch_of_no_images():
    model = model_of()
    assert model(np.zeros((0, 2, 28, 28))).shape == (0, 5)
    assert model.layers[0](np.zeros((0, 196, 8)), (14, 14)).shape == (0, 196, 8)


@pytest.mark.parametrize("kind", ["plain", "fused"])
def test_the_same_errors(kind):
    model = model_of().use_attention(kind)
    block, merging = model.layers[0].blocks[0], model.layers[0].downsample
    calls = [
        (part, inputs)
        for part in (block, merging)
        for inputs in (
            (normal(2, 9, 8), (3, 4)),
            (normal(2, 12, 7), (3, 4)),
            (normal(2, 12, 8).tolist(), (3, 4)),
            (normal(2, 12, 8), (3.0, 4)),
            (normal(2, 12, 8),),
        )
    ]
    calls += [(model.patch_embed, (images,)) for images in (normal(1, 3, 8, 8), normal(2, 8, 8), None)]
    for part, inputs in calls:
        with pytest.raises((TypeError, ValueError)) as raised:
            part(*inputs)
        with pytest.raises((TypeError, ValueError)) as expected:
            part.forward(*inputs)
        assert (
            type(raised.value) is type(expected.value)
            and str(raised.value).split("()")[-1] == str(expected.value).split("()")[-1]
        )


@pytest.mark.parametrize("version", [1, 2])
def test_a_kept_bias_follows_all_that_it_is_made_of(version):
    model = model_of(version=version)
    images = images_of(model)
    model(images)
    names = ["relative_position_index"] + ["relative_coords_table"] * (version == 2)
    for name in names:
        before = model(images)
        for layer in model.layers:
            for block in layer.blocks:
                setattr(block.attn, name, getattr(block.attn, name)[::-1].copy())
        fast, (_, expected) = model(images), plain(model, images)
        assert relative(expected, before) > 1e-6 and relative(fast, expected) < 1e-10


def test_a_kept_bias_is_of_the_models_dtype():
    """The same numbers in float32 and float64: but what V2's small network makes of them differs in its last digits."""
    model = model_of(np.float32, version=2)
    model(images_of(model))
    model.to(np.float64)
    images = images_of(model)
    assert relative(model(images), plain(model, images)[1]) < 1e-12


def test_a_kept_bias_is_used_again():
    model = model_of()
    attn, images = model.layers[0].blocks[1].attn, images_of(model)
    model(images)
    first = attn._kept_bias
    model(images[::-1])
    assert attn._kept_bias is first and first[2].shape == (4, 2, 16, 16)
    model(images_of(model, shape=(28, 20)))
    assert attn._kept_bias is not first


# Training: outputs, and the gradient of every parameter, after a random gradient of the logits.


def step(model, images, kind="fused", kind_of_backward=None, seed=5):
    """One forward and backward of a copy: {name: gradient}, and the logits and the gradient of the images."""
    model = copy.deepcopy(model).use_attention(kind).train()
    model.zero_grad()
    logits = model(images)
    dlogits = np.random.default_rng(seed).standard_normal(logits.shape).astype(logits.dtype)
    dimages = model.use_attention(kind_of_backward or kind).backward(dlogits)
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return found | {"logits": logits, "images": dimages}


def worst(found, expected):
    return max(relative(found[name], expected[name]) for name in expected)


def way(model):
    """How many of the blocks kept what the fast path's backward needs."""
    blocks = [part for _, part in model.named_modules() if isinstance(part, SwinTransformerBlock)]
    return sum(isinstance(block._saved, training.Kept) for block in blocks)


@pytest.mark.parametrize("group", [1, 700, 10**6])
@pytest.mark.parametrize("version, n", [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-12), (np.float32, 5e-5)])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_training_equals_plain(geometry, dtype, bound, version, n, group, monkeypatch):
    monkeypatch.setattr(training, "GROUP", group)
    fields, shape = GEOMETRIES[geometry]
    model = model_of(dtype, version=version, drop_path_rate=0.4, **fields)
    images = images_of(model, n, shape)
    found, expected = step(model, images), step(model, images, "plain")
    assert worst(found, expected) < bound and found.keys() == expected.keys()
    assert all(value.dtype == dtype for value in found.values())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-12), (np.float32, 5e-5)])
def test_training_of_swin_tiny_scaled_down(version, dtype, bound):
    """Large enough for several pieces of GELU, and for several groups of the size that is used."""
    model = model_of(dtype, version=version, embed_dim=32, num_heads=(1, 2), img_size=224, window_size=7)
    images = images_of(model, 2)
    model.train()(images)
    assert way(model) == 5 and len(model.layers[0].blocks[0]._saved.values[1]) > 1
    assert worst(step(model, images), step(model, images, "plain")) < bound


@pytest.mark.parametrize("scale", [30, 3000])
@pytest.mark.parametrize("version", [1, 2])
def test_training_with_large_scores(scale, version):
    model = model_of(version=version)
    for layer in model.layers:
        for block in layer.blocks:
            block.attn.qkv.weight[...] *= scale**0.5
            if version == 2:
                block.attn.logit_scale[...] += np.log(scale)  # beyond log(100), where it has no gradient
    images = images_of(model)
    assert worst(step(model, images), step(model, images, "plain")) < 1e-11 * scale


def test_training_draws_what_the_plain_path_draws():
    """Step after step, and where only one of both branches is dropped."""
    model = model_of(drop_path_rate=0.5)
    model.layers[1].blocks[1].drop_path1.drop_prob = 0
    images = images_of(model)
    both = [copy.deepcopy(model).use_attention(kind).train() for kind in ("fused", "plain")]
    logits = [[one(images) for _ in range(3)] for one in both]
    assert all(relative(fast, expected) < 1e-12 for fast, expected in zip(*logits, strict=True))
    assert relative(logits[0][0], logits[0][1]) > 1e-3


@pytest.mark.parametrize("name", ["drop_rate", "attn_drop_rate"])
def test_dropout_is_left_to_the_plain_path(name):
    model = model_of(**{name: 0.3})
    images = images_of(model)
    assert worst(step(model, images), step(model, images, "plain")) < 1e-12
    model.train()(images)
    assert way(model) == 0


def test_backward_follows_the_forward_that_came_last():
    model = model_of(drop_path_rate=0.4)
    images = images_of(model)
    expected = step(model, images, "plain")
    assert worst(step(model, images, "fused", "plain"), expected) < 1e-12
    assert all(np.array_equal(step(model, images, "plain", "fused")[name], value) for name, value in expected.items())
    model.train()(images)
    model.use_attention("plain")(images)
    assert way(model) == 0
    model.use_attention("fused")(images)
    assert way(model) == 5
    block = model.layers[0].blocks[0]
    with pytest.raises(ValueError, match=r"WindowAttention\.backward needs what forward saves"):
        block.attn.backward(normal(3, 16, 16, 8))
    model.eval()
    with pytest.raises(ValueError, match=r"SwinTransformerBlock\.backward needs what forward saves"):
        block.backward(normal(3, 196, 8))


@pytest.mark.parametrize("version", [1, 2])
def test_gradients_add_up_and_backward_can_be_called_again(version):
    model = model_of(version=version).train()
    images = images_of(model)
    logits = model(images)
    first = model.backward(logits)
    once = {name: parameter.grad.copy() for name, parameter in model.named_parameters()}
    assert np.array_equal(model.backward(logits), first)
    assert all(relative(parameter.grad, 2 * once[name]) < 1e-15 for name, parameter in model.named_parameters())
    model.zero_grad()
    model.backward(2 * logits)
    assert (
        worst({name: value.grad for name, value in model.named_parameters()}, {k: 2 * v for k, v in once.items()})
        < 1e-13
    )


def test_training_writes_to_nothing_that_was_given_or_returned():
    model = model_of(drop_path_rate=0.4).train()
    block, x, dy = model.layers[0].blocks[1], normal(3, 196, 8), normal(3, 196, 8)
    given = x.copy(), dy.copy()
    y = block(x, (14, 14))
    kept = y.copy()
    dx = block.backward(dy)
    kept_dx = dx.copy()
    block.backward(block(x + 1, (14, 14)))
    assert all(map(np.array_equal, (x, dy, y, dx), (*given, kept, kept_dx)))


def test_training_gives_the_same_digits_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(training, "GROUP", 500)
    model = model_of(np.float32, drop_path_rate=0.4)
    images, found = images_of(model), []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "worker_count", lambda count=count: count)
        threads._pool.cache_clear()
        found += [step(model, images) for _ in range(2)]
    threads._pool.cache_clear()
    assert all(np.array_equal(found[0][name], other[name]) for other in found for name in other)


def test_a_replica_has_its_own_gradients():
    model = model_of(drop_path_rate=0.0).train()
    images, other = images_of(model), model.replica()
    model.backward(model(images))
    assert all(parameter.grad is None for _, parameter in other.named_parameters())
    other.backward(other(images))
    pairs = zip(model.named_parameters(), other.named_parameters(), strict=True)
    assert all(np.array_equal(one.grad, two.grad) and one.grad is not two.grad for (_, one), (_, two) in pairs)


def patch_backward(part):
    """A backward of its own, as an attribute of the part."""
    backward = part.backward
    part.backward = lambda dy: bent(backward(dy))
    return part


CHANGED_IN_TRAINING = {name: change for name, change in CHANGED.items() if " of " in name}
CHANGED_IN_TRAINING |= {f"backward of {path}": (path, patch_backward) for path in PLACES}


@pytest.mark.parametrize("change", CHANGED_IN_TRAINING)
def test_what_was_changed_is_trained_the_plain_way(change):
    model = model_of(drop_path_rate=0.0)
    images = images_of(model)
    before = step(model, images, "plain")
    replace(model, *CHANGED_IN_TRAINING[change])
    with_change = {}
    for kind in ("fused", "plain"):
        model.use_attention(kind).train().zero_grad()
        logits = model(images)
        dimages = model.backward(np.random.default_rng(5).standard_normal(logits.shape))
        gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        with_change[kind] = gradients | {"images": dimages}
    assert relative(with_change["plain"]["images"], before["images"]) > 1e-6
    assert worst(with_change["fused"], with_change["plain"]) < 1e-10


@pytest.mark.parametrize("cls, name", [(Mlp, "backward"), (SwinTransformerBlock, "backward"), (Linear, "backward")])
def test_a_class_whose_backward_was_changed_is_trained_the_plain_way(cls, name, monkeypatch):
    own = getattr(cls, name)
    monkeypatch.setattr(cls, name, lambda self, dy: 2 * own(self, dy))
    model = model_of()
    images = images_of(model)
    model.train()(images)
    assert way(model) == 0
    assert worst(step(model, images), step(model, images, "plain")) < 1e-12


def test_a_part_in_evaluation_mode_is_computed_the_plain_way():
    model = model_of().train()
    images = images_of(model)
    model.layers[1].blocks[1].mlp.eval()
    model(images)
    assert way(model) == 4


def test_a_block_with_a_backward_of_its_own_is_trained_the_plain_way():
    model = model_of().train()
    block, x, dy = patch_backward(model.layers[1].blocks[1]), normal(2, 49, 16), normal(2, 49, 16)
    block(x, (7, 7))
    assert way(model) == 0 and relative(block.backward(dy), bent(type(block).backward(block, dy))) < 1e-15


def test_inputs_that_the_fast_path_does_not_know_are_trained_the_plain_way():
    model = model_of().train()
    block = model.layers[0].blocks[0]
    block(normal(2, 196, 8).astype(np.float32), (14, 14))
    assert way(model) == 0
    with pytest.raises(ValueError, match="tokens of a 3x4 grid"):
        block(normal(2, 9, 8), (3, 4))


def test_backbone_and_wrong_kinds():
    backbone = Backbone(SMALL).use_attention("fused")
    images = np.random.default_rng(0).standard_normal((2, 2, 28, 28), dtype=np.float32)
    maps = backbone(images)
    for got, expected in zip(maps, backbone.use_attention("plain")(images), strict=True):
        assert relative(got, expected) < 1e-4
    with pytest.raises(ValueError, match='expected "plain" or "fused", got \'quick\''):
        backbone.use_attention("quick")
    with pytest.raises(ValueError, match=r"tokens of a 3x4 grid: expected shape \(n, 12, 8\), got \(2, 9, 8\)"):
        model_of().layers[0].blocks[0](np.zeros((2, 9, 8)), (3, 4))
