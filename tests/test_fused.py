"""The fused way against the plain one: every geometry, and that it disturbs nothing."""

import copy
import os
import threading

import numpy as np
import pytest

from swin_numpy import Backbone, SwinConfig, SwinTransformer, fused
from swin_numpy.runtime import threads as cores
from tests.twin import random_state, relative

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
def test_large_scores_take_the_careful_way(scale, version):
    """Scores of thousands would overflow exp. In float64, rounding grows with the scores."""
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


@pytest.mark.parametrize("few", [0, 10**6])
def test_the_same_digits_on_any_number_of_threads_and_again(few, monkeypatch):
    monkeypatch.setattr(fused, "GROUP", 500)
    monkeypatch.setattr(fused, "FEW", few)
    model = model_of(np.float32)
    images = images_of(model)
    found = []
    for count in (1, 2, 5, 1):
        monkeypatch.setattr(cores, "threads", lambda count=count: count)
        cores.pool.cache_clear()
        found += [model(images) for _ in range(3)]
    cores.pool.cache_clear()
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
    monkeypatch.setattr(cores, "threads", lambda: 2)
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


def test_hooks_hear_what_they_hear_the_plain_way():
    def heard(kind):
        model, seen = model_of().use_attention(kind), []
        parts = dict(model.named_modules())
        for name in ("layers.0.blocks.1", "layers.1.blocks.0.attn", "layers.1.blocks.2.mlp.fc1", "layers.1"):
            parts[name].register_forward_hook(lambda part, inputs, y, name=name: seen.append((name, inputs[0], y)))
        model(images_of(model))
        return seen

    ours, expected = heard("fused"), heard("plain")
    assert [name for name, *_ in ours] == [name for name, *_ in expected] and len(ours) == 4
    for (_, x, y), (_, expected_x, expected_y) in zip(ours, expected, strict=True):
        assert relative(x, expected_x) < 1e-10 and relative(y, expected_y) < 1e-10


def test_training_goes_the_plain_way():
    model = model_of(drop_path_rate=0.0).train()
    images = images_of(model)
    logits = model(images)
    dimages = model.backward(logits)
    model.use_attention("plain")
    assert np.array_equal(model(images), logits) and np.array_equal(model.backward(logits), dimages)


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_makes_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(cores, "threads", lambda: 2)
    done = []
    cores.run(done.append, range(4))
    child = os.fork()
    if child == 0:
        done.clear()
        cores.run(done.append, range(4))
        os._exit(0 if sorted(done) == [0, 1, 2, 3] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_one_thread_asked_for_is_one_thread(monkeypatch):
    cores.threads.cache_clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    seen = set()
    cores.run(lambda _: seen.add(threading.get_ident()), range(8))
    cores.threads.cache_clear()
    assert seen == {threading.get_ident()}


def test_what_goes_wrong_in_a_helper_is_raised(monkeypatch):
    monkeypatch.setattr(cores, "threads", lambda: 2)
    cores.pool.cache_clear()

    def work(task):
        if task == 1:
            raise ValueError("task 1")

    with pytest.raises(ValueError, match="task 1"):
        cores.run(work, range(3))
    nested = []
    cores.run(lambda i: cores.run(lambda j: nested.append((i, j)), range(3)), range(3))
    assert len(nested) == 9


def test_products_have_their_threads_back_afterwards(monkeypatch):
    if not cores.blas():
        pytest.skip("another BLAS than OpenBLAS")
    monkeypatch.setattr(cores, "threads", lambda: 2)
    get, put = cores.blas()
    before, inside = get(), []
    put(2)
    cores.run(lambda _: inside.append(get()), range(4))
    after = get()
    put(before)
    assert inside == [1] * 4 and after == 2
