"""use_attention("fused") in PyTorch: the plain way's results and gradients, nothing kept too long, one graph."""

import copy
import warnings

import numpy as np
import pytest
import torch

from swin_numpy import SwinConfig
from swin_torch import Backbone, SwinTransformer, fused
from swin_torch.compare import BOUNDS
from tests.twin import normal, random_state, relative, tensor

TWO = dict(embed_dim=8, depths=(2, 3), num_heads=(2, 4), num_classes=5, drop_path_rate=0.0, window_size=3)
# name: (options, size of the images)
CASES = {
    "shifted": (dict(img_size=48), (48, 48)),
    "rectangle": (dict(img_size=(24, 48)), (24, 48)),
    "every map padded": (dict(img_size=(40, 56)), (40, 56)),
    "odd sizes": (dict(img_size=None), (45, 70)),
    "built for another size": (dict(img_size=48), (45, 70)),
    "one window, no shift": (dict(img_size=32, window_size=7), (32, 32)),
    "shrunk window": (dict(img_size=56, window_size=14), (56, 56)),
    "one row of windows": (dict(img_size=None), (12, 70)),
    "even window": (dict(img_size=64, window_size=4), (64, 64)),
    "no qkv bias": (dict(img_size=48, qkv_bias=False), (48, 48)),
}
RUNS = pytest.mark.parametrize("case", CASES)
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def model_of(case="shifted", version=1, **more):
    """A float64 model in evaluation mode, every weight random."""
    config = SwinConfig(**{**TWO, **CASES[case][0], **more}, version=version, pretrained_window_sizes=(0, 0))
    model = SwinTransformer(config).double().eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(random_state(shapes, seed=3))
    return model


def images_of(case="shifted", n=3):
    return tensor(normal(n, 3, *CASES[case][1]))


def both(model, images):
    """(plain, fused) logits."""
    with torch.inference_mode():
        return [model.use_attention(kind)(images) for kind in ("plain", "fused")]


@VERSIONS
@RUNS
def test_same_logits_without_gradients(case, version):
    plain, fast = both(model_of(case, version), images_of(case))
    assert relative(fast, plain) <= 1e-12


@pytest.mark.parametrize("at_once", [1, 8 * 6 * 32, 10**9])
def test_same_logits_in_groups_of_any_size(at_once, monkeypatch):
    monkeypatch.setattr(fused, "AT_ONCE", at_once)
    plain, fast = both(model_of(), images_of(n=5))
    assert relative(fast, plain) <= 1e-12


@VERSIONS
@RUNS
def test_same_gradients(case, version):
    model, images = model_of(case, version).train(), images_of(case).requires_grad_()
    upstream = tensor(normal(3, 5, seed=1))
    found = {}
    for kind in ("plain", "fused"):
        logits = model.use_attention(kind)(images)
        found[kind] = [logits.detach(), *torch.autograd.grad((logits * upstream).sum(), [images, *model.parameters()])]
    for fast, plain in zip(found["fused"], found["plain"], strict=True):
        assert relative(fast, plain) <= 1e-9


def test_gradient_of_the_gather():
    there, back = fused.places((6, 9), 3, (1, 2), torch.device("cpu"))
    x = tensor(normal(2, 54, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fused.Gather.apply(x, there, back), x)
    assert torch.equal(fused.Gather.apply(fused.Gather.apply(x, there, back), back, there), x)


def test_the_block_itself_is_an_oracle_of_attend():
    model = model_of("odd sizes")
    block, grid = model.layers[0].blocks[1], (11, 8)
    x = tensor(normal(2, 88, 8))
    with torch.no_grad():
        assert relative(fused.attend(block, x, grid), block.attend(x, grid)) <= 1e-12


@pytest.mark.parametrize("onednn", [True, False])
@VERSIONS
def test_with_and_without_onednn(version, onednn, monkeypatch):
    """In float32 on a processor, oneDNN has the linear layers, if this PyTorch has it."""
    calls = []
    layer = torch.nn.Linear.forward
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: (calls.append(self), layer(self, x))[1])
    model, images = model_of(version=version), images_of()
    plain, _ = both(model, images)
    calls.clear()
    monkeypatch.setattr(fused, "ONEDNN", fused.ONEDNN and onednn)
    with torch.inference_mode():
        fast = model.float()(images.float())
    assert relative(fast, plain) < BOUNDS["float32"]
    blocks = {part for part in model.layers.modules() if type(part).__name__ == "Mlp"}
    assert any(part.fc1 in calls for part in blocks) != fused.ONEDNN


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@VERSIONS
def test_other_dtypes_within_their_bounds(dtype, version):
    model, images = model_of(version=version), images_of()
    with torch.inference_mode():
        exact = model(images)
        rough = model.to(getattr(torch, dtype)).use_attention("fused")(images.to(getattr(torch, dtype)))
    assert rough.dtype == getattr(torch, dtype)
    assert relative(rough.double(), exact) <= BOUNDS[dtype]


def by_optimizer(model):
    loss = model(images_of()).square().sum()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    loss.backward()
    optimizer.step()


def by_load(model):
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(random_state(shapes, seed=9))


def by_data(model):
    for parameter in model.parameters():
        parameter.data.mul_(1.5)  # PyTorch counts no version here


CHANGES = {
    "load_state_dict": by_load,
    "an optimizer's step": by_optimizer,
    "data": by_data,
    "float32": lambda model: model.float(),
    "train and eval": lambda model: (model.train(), by_data(model), model.eval()),
}


@VERSIONS
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_kept_follows_the_weights(change, version):
    model, images = model_of(version=version).use_attention("fused"), images_of()
    with torch.inference_mode():
        before = model(images)
        again = model(images)
    assert torch.equal(before, again)
    CHANGES[change](model)
    plain, fast = both(model, images.to(next(model.parameters()).dtype))
    assert relative(plain, before) > 1e-9  # it did change
    assert relative(fast, plain) <= (1e-5 if change == "float32" else 1e-12)


def test_what_is_kept_is_used_again_and_goes_with_its_module():
    model, images = model_of().use_attention("fused"), images_of()
    attn = model.layers[0].blocks[1].attn
    with torch.inference_mode():
        model(images)
        first = [entry[1] for entry in fused.kept[attn].values()]
        model(images)
        assert all(entry[1] is one for entry, one in zip(fused.kept[attn].values(), first, strict=True))
    count = len(fused.kept)
    del model, attn
    assert len(fused.kept) < count


def test_what_is_kept_fits_one_geometry():
    model = model_of("odd sizes")
    for n, size in ((1, (45, 70)), (3, (45, 70)), (3, (70, 45)), (2, (24, 48)), (1, (45, 70))):
        plain, fast = both(model, tensor(normal(n, 3, *size)))
        assert relative(fast, plain) <= 1e-12


def test_training_after_inference_mode():
    """What inference made must serve autograd, which takes no tensors of inference mode."""
    fused.known_geometry.cache_clear()
    model, images = model_of().use_attention("fused"), images_of()
    with torch.inference_mode():
        model(images)
    model.train()(images).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_dropout_of_attention_is_that_of_sdpa(monkeypatch):
    """With dropout the two ways draw other numbers: the share and the mean must be right."""
    model = model_of(attn_drop_rate=0.5)
    seen, true = [], torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **kwargs):
        seen.append(args[4])
        return true(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    model.use_attention("fused").train()(images_of())
    assert set(seen) == {0.5}
    seen.clear()
    model.eval()(images_of())
    assert set(seen) == {0.0}


def test_dropout_and_drop_path_draw_as_the_plain_way_does():
    """But for attn_drop, they are the same modules in the same order."""
    model, images = model_of(drop_rate=0.3, drop_path_rate=0.4).float().train(), images_of().float()
    for enabled in (True, False):  # without gradients, but training: oneDNN's tensors know no dropout
        found = []
        for kind in ("plain", "fused"):
            torch.manual_seed(0)
            with torch.set_grad_enabled(enabled):
                found.append(model.use_attention(kind)(images).detach())
        if enabled:  # in groups the numbers would be drawn in another order
            assert relative(found[1], found[0]) <= 1e-5
        assert torch.isfinite(found[1]).all()


def test_a_switch_changes_nothing_else():
    model = model_of()
    names, text = list(model.state_dict()), str(model)
    assert model.use_attention("fused") is model
    assert list(model.state_dict()) == names and str(model) == text
    images = images_of()
    with torch.inference_mode():
        expected = model(images)
        other = copy.deepcopy(model)
        for parameter in model.parameters():
            parameter.data.zero_()
        assert torch.equal(other(images), expected)
    assert all(layer.attention == "fused" for layer in other.layers)


@VERSIONS
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_hear_what_they_hear_the_plain_way(version, register):
    model, images = model_of(version=version), images_of()
    plain, fast = both(model, images)
    found = {}
    for kind in ("plain", "fused"):
        part = model.use_attention(kind).layers[1].blocks[2].attn.qkv
        hook = getattr(part, register)(lambda part, inputs, *_, kind=kind: found.update({kind: inputs[0]}))
        with torch.inference_mode():
            assert relative(model(images), plain) <= 1e-12
            hook.remove()
            assert torch.equal(model(images), plain if kind == "plain" else fast)
    assert relative(found["fused"], found["plain"]) <= 1e-12


@pytest.mark.parametrize("kind", ["flash", "", None, True, 1])
def test_other_kinds_are_refused(kind):
    model = model_of()
    with pytest.raises(ValueError, match='expected "plain" or "fused"'):
        model.use_attention(kind)
    assert all(layer.attention == "plain" for layer in model.layers)


def test_backbone_and_stages():
    model = Backbone(SwinConfig(**TWO, img_size=48, pretrained_window_sizes=(0, 0))).double().eval()
    images = images_of()
    plain, fast = both(model, images)
    for a, b in zip(fast, plain, strict=True):
        assert relative(a, b) <= 1e-12
    before = images.clone()
    with torch.inference_mode():
        stages = model.forward_stages(images)
    assert torch.equal(images, before) and len(stages) == 2


@VERSIONS
def test_compiles_to_one_graph(version):
    """aot_eager traces all that a real compiler would get, forward and backward, and needs no compiler."""
    torch._dynamo.reset()
    one = dict(TWO, depths=(2,), num_heads=(2,), img_size=24)
    model = SwinTransformer(SwinConfig(**one, version=version, pretrained_window_sizes=(0,))).double()
    images = tensor(normal(2, 3, 24, 24))
    with torch.no_grad():
        expected = model(images)
    compiled = torch.compile(model.use_attention("fused"), fullgraph=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of a cache that is left out
        logits = compiled(images)
    logits.square().sum().backward()
    assert relative(logits.detach(), expected) <= 1e-12
    assert np.isfinite(model.patch_embed.proj.weight.grad.numpy()).all()
