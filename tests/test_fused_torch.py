"""use_attention("fused") in PyTorch: the plain way's results and gradients, nothing kept too long, one graph."""

import copy
import warnings
from collections import Counter

import numpy as np
import pytest
import torch

import swin_torch
from swin_numpy import SwinConfig
from swin_torch import Backbone, SwinTransformer, fused
from swin_torch import fused_training as training
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


def gradients(model, images, upstream, kind, **options):
    """Logits and the gradients of images and all parameters that want one."""
    logits = model.use_attention(kind)(images)
    wanted = [images, *(parameter for parameter in model.parameters() if parameter.requires_grad)]
    return [logits.detach(), *torch.autograd.grad(logits, wanted, upstream, **options)]


def nodes(output):
    """How often each kind of node stands in the graph that made `output`."""
    found, left = {}, [output.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found[node] = node.name()
            left += [following for following, _ in node.next_functions]
    return Counter(found.values())


OURS = "LinearBackward", "MlpBackward", "AttentionBackward"


@VERSIONS
@pytest.mark.parametrize("case", ["shifted", "every map padded", "shrunk window"])
def test_same_gradients_in_float32(case, version):
    model, images = model_of(case, version).float().train(), images_of(case).float().requires_grad_()
    upstream = tensor(normal(3, 5, seed=1)).float()
    plain, fast = (gradients(model, images, upstream, kind) for kind in ("plain", "fused"))
    for ours, theirs in zip(fast, plain, strict=True):
        assert relative(ours, theirs) <= BOUNDS["float32"]


@VERSIONS
def test_gradients_in_float32_at_the_sizes_of_swin_t(version):
    """Where products are large enough for all that oneDNN has; float64 on the plain path is exact beside it."""
    one = dict(embed_dim=96, depths=(2, 2), num_heads=(3, 6), window_size=7, img_size=56, num_classes=5)
    model = SwinTransformer(SwinConfig(**one, drop_path_rate=0.0, version=version, pretrained_window_sizes=(0, 0)))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: 0.2 * value for name, value in random_state(shapes, seed=3).items()})
    images, upstream = tensor(normal(2, 3, 56, 56)), tensor(normal(2, 5, seed=1))
    exact = gradients(model.double().train(), images.requires_grad_(), upstream, "plain")
    images = images.detach().float().requires_grad_()
    plain, fast = (gradients(model.float(), images, upstream.float(), kind) for kind in ("plain", "fused"))
    for ours, theirs, true in zip(fast, plain, exact, strict=True):
        assert relative(ours.double(), true) <= max(BOUNDS["float32"], 2 * relative(theirs.double(), true))


@VERSIONS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_on_a_processor_takes_nodes_of_its_own(dtype, version):
    model, images = model_of(version=version).to(dtype).use_attention("fused").train(), images_of().to(dtype)
    found = nodes(model(images))
    assert [found[name] for name in OURS] == [2 * 5 + 1, 5, 5]
    with torch.autocast("cpu", torch.bfloat16):
        assert not set(OURS) & set(nodes(model(images)))
    assert not set(OURS) & set(nodes(model.bfloat16()(images.bfloat16())))


def test_dropout_leaves_its_part_to_pytorch():
    model, images = model_of(attn_drop_rate=0.1).use_attention("fused"), images_of()
    assert [nodes(model.train()(images))[name] for name in OURS] == [2 * 5 + 1, 5, 0]
    assert [nodes(model.eval()(images))[name] for name in OURS] == [2 * 5 + 1, 5, 5]
    model = model_of(drop_rate=0.1).use_attention("fused")
    assert [nodes(model.train()(images))[name] for name in OURS] == [4 * 5 + 1, 0, 5]


@VERSIONS
def test_weights_of_mixed_types_give_the_error_of_the_plain_way(version):
    model, images = model_of(version=version), images_of()
    model.layers[0].blocks[0].mlp.fc2.float()
    errors = []
    for kind in ("plain", "fused"):
        with pytest.raises(RuntimeError) as raised:
            model.use_attention(kind)(images)
        errors.append(str(raised.value))
    assert errors[0] == errors[1]


@VERSIONS
@pytest.mark.parametrize("frozen", ["weight", "bias", "attn", "mlp", "norm", "layers.0", "table", "cpb", "scale"])
def test_gradients_beside_frozen_parameters(frozen, version):
    model, images = model_of(version=version), images_of().requires_grad_()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen not in name)
    upstream = tensor(normal(3, 5, seed=1))
    plain, fast = (gradients(model, images, upstream, kind) for kind in ("plain", "fused"))
    for ours, theirs in zip(fast, plain, strict=True):
        assert relative(ours, theirs) <= 1e-9


@VERSIONS
def test_backward_twice_through_one_graph(version):
    model, images = model_of(version=version).use_attention("fused"), images_of()
    logits = model(images)
    first, second = (
        torch.autograd.grad(logits, list(model.parameters()), tensor(normal(3, 5, seed=1)), retain_graph=True)
        for _ in range(2)
    )
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("case, version", [("shifted", 1), ("every map padded", 1), ("shifted", 2)])
def test_gradients_of_gradients(case, version):
    """Not for V2 with padding: the second derivative of a length is infinite at zero, on the plain way, too."""
    model, images = model_of(case, version), images_of(case).requires_grad_()
    upstream, found = tensor(normal(3, 5, seed=1)).requires_grad_(), {}
    for kind in ("plain", "fused"):
        first = torch.autograd.grad(model.use_attention(kind)(images), list(model.parameters()), upstream,
                                    create_graph=True)  # fmt: skip
        penalty = sum((g * tensor(normal(*g.shape, seed=i))).sum() for i, g in enumerate(first))
        asked = [images, upstream, *(p for p in model.parameters() if p is not model.head.bias)]
        found[kind] = [*(g.detach() for g in first), *torch.autograd.grad(penalty, asked)]
    for ours, theirs in zip(found["fused"], found["plain"], strict=True):
        assert relative(ours, theirs) <= 1e-9


@VERSIONS
def test_a_batch_of_upstream_gradients(version):
    model, images = model_of(version=version), images_of()
    many = tensor(normal(4, 3, 5, seed=1))
    wanted, found = list(model.parameters()), {}
    for kind in ("plain", "fused"):
        logits = model.use_attention(kind)(images)
        found[kind] = torch.autograd.grad(logits, wanted, many, is_grads_batched=True)
    for ours, theirs in zip(found["fused"], found["plain"], strict=True):
        assert relative(ours, theirs) <= 1e-9


def test_flops_of_a_backward_are_counted():
    from torch.utils.flop_counter import FlopCounterMode

    model, images, flops = model_of(), images_of(), {}
    for kind in ("plain", "fused"):
        logits = model.use_attention(kind)(images)
        with FlopCounterMode(display=False) as counter:
            logits.sum().backward()
        flops[kind] = counter.get_total_flops()
    assert flops["fused"] >= flops["plain"] > 1e6  # what is computed again counts, too


@VERSIONS
def test_autocast_around_backward_alone(version):
    model, images = model_of(version=version).float(), images_of().float().requires_grad_()
    upstream = tensor(normal(3, 5, seed=1)).float()
    plain = gradients(model, images, upstream, "plain")
    logits = model.use_attention("fused")(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(logits, [images, *model.parameters()], upstream)
    for ours, theirs in zip(found, plain[1:], strict=True):
        assert relative(ours, theirs) <= BOUNDS["bfloat16"]


@VERSIONS
def test_gradients_with_checkpoints(version):
    from torch.utils.checkpoint import checkpoint

    model, images = model_of(version=version), images_of().requires_grad_()
    upstream = tensor(normal(3, 5, seed=1))
    plain = gradients(model, images, upstream, "plain")
    logits = checkpoint(model.use_attention("fused"), images, use_reentrant=False)
    found = torch.autograd.grad(logits, [images, *model.parameters()], upstream)
    for ours, theirs in zip(found, plain[1:], strict=True):
        assert relative(ours, theirs) <= 1e-9


def test_a_weight_that_changed_before_backward_is_an_error():
    model, images = model_of().use_attention("fused"), images_of()
    logits = model(images)
    with torch.no_grad():
        model.layers[0].blocks[0].mlp.fc1.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.sum().backward()


@pytest.mark.parametrize("enabled", [True, False])
def test_tokens_move_once_a_block_where_windows_fit(enabled):
    for case, moves in ("shifted", [3, 4]), ("every map padded", [4, 6]):
        model, images = model_of(case).use_attention("fused"), images_of(case)
        with torch.set_grad_enabled(enabled), torch.profiler.profile() as profile:
            model(images)
        counts = {event.key: event.count for event in profile.key_averages()}
        assert counts["aten::index_select"] == sum(moves)


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
        assert relative(fused._attend(block, x, grid), block.attend(x, grid)) <= 1e-12


@pytest.mark.parametrize("onednn", [True, False])
@VERSIONS
def test_with_and_without_onednn(version, onednn, monkeypatch):
    """In float32 on a processor, oneDNN computes the linear layers, if this PyTorch has it."""
    model, images = model_of(version=version), images_of()
    plain, _ = both(model, images)
    monkeypatch.setattr(training, "ONEDNN", training.ONEDNN and onednn)
    with torch.inference_mode(), torch.profiler.profile() as profile:
        fast = model.float()(images.float())
    assert relative(fast, plain) < BOUNDS["float32"]
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts.get("mkldnn::_linear_pointwise", 0) == (4 * 5 + 1 if training.ONEDNN else 0)  # blocks, merging


def test_only_a_processor_without_gradients_works_in_groups(monkeypatch):
    """Groups fit into its cache; everywhere else more calls cost more."""
    model, images = model_of().use_attention("fused"), images_of(n=4)
    monkeypatch.setattr(fused, "AT_ONCE", 12 * 12 * 32)  # one image of the first stage
    counts = []
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled), torch.profiler.profile() as profile:
            model(images)
        counts.append({event.key: event.count for event in profile.key_averages()}["aten::gelu"])
    assert counts == [2 * 4 + 3 * 2, 2 + 3]


@VERSIONS
def test_sparse_weights_are_not_given_to_onednn(version):
    model, images = model_of(version=version).float(), images_of().float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls them beta
        for layer in model.layers:
            for block in layer.blocks:
                block.mlp.fc2.weight = torch.nn.Parameter(block.mlp.fc2.weight.detach().to_sparse_csr())
        with torch.no_grad():  # inference mode has no sparse products
            plain, fast = (model.use_attention(kind)(images) for kind in ("plain", "fused"))
    assert relative(fast, plain) <= BOUNDS["float32"]


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
    torch.testing.assert_close(again, before)
    CHANGES[change](model)
    plain, fast = both(model, images.to(next(model.parameters()).dtype))
    assert relative(plain, before) > 1e-9  # it did change
    assert relative(fast, plain) <= (1e-5 if change == "float32" else 1e-12)


def test_what_is_kept_is_used_again_and_goes_with_its_module():
    model, images = model_of().use_attention("fused"), images_of()
    attn = model.layers[0].blocks[1].attn
    with torch.inference_mode():
        model(images)
        first = [entry[1] for entry in fused._kept[attn].values()]
        model(images)
        assert all(entry[1] is one for entry, one in zip(fused._kept[attn].values(), first, strict=True))
    count = len(fused._kept)
    del model, attn
    assert len(fused._kept) < count


def test_what_is_kept_fits_one_geometry():
    model = model_of("odd sizes")
    for n, size in ((1, (45, 70)), (3, (45, 70)), (3, (70, 45)), (2, (24, 48)), (1, (45, 70))):
        plain, fast = both(model, tensor(normal(n, 3, *size)))
        assert relative(fast, plain) <= 1e-12


def test_training_after_inference_mode():
    """What inference made must serve autograd, which takes no tensors of inference mode."""
    fused._known_geometry.cache_clear()
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
    with torch.no_grad():
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
        torch.testing.assert_close(other(images), expected)
    assert all(layer.fast_forward is fused.forward for layer in other.layers)


@pytest.mark.parametrize("kind", ["flash", "", None, True, 1])
def test_other_kinds_are_refused(kind):
    model = model_of()
    with pytest.raises(ValueError, match='expected "plain" or "fused"'):
        model.use_attention(kind)
    assert all(layer.fast_forward is None for layer in model.layers)


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


# What isn't exactly as it was made: each of these changes a model, and must change what the fast path gives as well.


class Adapter(torch.nn.Module):
    """A layer with something added to it that keeps its names, as LoRA does."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down, self.up = (
            torch.nn.Parameter(0.3 * tensor(normal(*shape, seed=9)))
            for shape in ((layer.in_features, 2), (2, layer.out_features))
        )

    weight = property(lambda self: self.layer.weight)
    bias = property(lambda self: self.layer.bias)
    in_features = property(lambda self: self.layer.in_features)
    out_features = property(lambda self: self.layer.out_features)

    def forward(self, x):
        return self.layer(x) + x @ self.down @ self.up


class Times(torch.nn.Module):
    """A parametrization with a number of its own."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(1.5))

    def forward(self, weight):
        return self.factor * weight


class Loud(torch.Tensor):
    """A tensor whose linear layers come out twice as large: what stands behind a weight can be anything."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        args = [arg.as_subclass(torch.Tensor) if isinstance(arg, Loud) else arg for arg in args]
        result = function(*args, **(kwargs or {}))
        return 2 * result if function is torch.nn.functional.linear else result


def replace(model, path, make):
    """The part of `model` called `path` becomes make(part)."""
    parent, _, name = path.rpartition(".")
    part = model.get_submodule(path)
    setattr(model.get_submodule(parent), name, make(part))


def bent(x):
    """Another x, in a way that no norm undoes."""
    return x + 0.3 * x * x


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


def swap_method(part, name, method):
    setattr(part, name, method)


BLOCK = "layers.1.blocks.1"
PLACES = "", ".norm1", ".attn", ".attn.qkv", ".attn.proj", ".attn.attn_drop", ".mlp", ".mlp.fc1", ".mlp.drop1", ".norm2"
CHANGED = {
    "an adapter on qkv": lambda m: replace(m, BLOCK + ".attn.qkv", Adapter),
    "an adapter on fc1": lambda m: replace(m, BLOCK + ".mlp.fc1", Adapter),
    "another norm": lambda m: replace(m, BLOCK + ".norm1", lambda _: torch.nn.Identity()),
    "a known layer at another place": lambda m: replace(m, BLOCK + ".mlp.drop1", lambda _: torch.nn.ReLU()),
    "a block in a wrapper": lambda m: replace(m, BLOCK, lambda block: Wrapper(block)),
    "parametrized table": lambda m: parametrize(m.get_submodule(BLOCK + ".attn"), "relative_position_bias_table"),
    "parametrized weight": lambda m: parametrize(m.get_submodule(BLOCK + ".attn.proj"), "weight"),
    "weight norm": lambda m: weight_norm(m.get_submodule(BLOCK + ".mlp.fc2")),
    "weight norm of old": lambda m: old_weight_norm(m.get_submodule(BLOCK + ".attn.qkv")),
    "pruned": lambda m: prune(m.get_submodule(BLOCK + ".mlp.fc1")),
    "another bias": lambda m: swap_method(
        m.get_submodule(BLOCK + ".attn"), "relative_position_bias", lambda: tensor(normal(4, 9, 9, seed=4))
    ),
    "another shift": lambda m: swap_method(m.get_submodule(BLOCK), "shift_for", lambda grid: (2, 1)),
    "a tensor of another class": lambda m: loud_weight(m.get_submodule(BLOCK + ".mlp.fc1")),
    **{f"subclass of {BLOCK}{at}": lambda m, at=at: replace(m, BLOCK + at, subclass) for at in PLACES},
    **{f"forward of {BLOCK}{at}": lambda m, at=at: patch_forward(m.get_submodule(BLOCK + at)) for at in PLACES},
    **{
        f"hook on {BLOCK}{at}": lambda m, at=at: m.get_submodule(BLOCK + at).register_forward_hook(
            lambda part, inputs, output: bent(output)
        )
        for at in PLACES
    },
    **{
        f"pre-hook on {BLOCK}{at}": lambda m, at=at: m.get_submodule(BLOCK + at).register_forward_pre_hook(
            lambda part, inputs: (bent(inputs[0]), *inputs[1:])
        )
        for at in PLACES
    },
}


class Wrapper(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block, self.dim, self.mlp = block, block.dim, block.mlp

    def forward(self, x, grid):
        return x - self.block(x, grid)


def parametrize(part, name):
    torch.nn.utils.parametrize.register_parametrization(part, name, Times().double())


def weight_norm(part):
    torch.nn.utils.parametrizations.weight_norm(part)
    part.parametrizations.weight.original0.data *= 1.5


def old_weight_norm(part):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(part)
    part.weight_g.data *= 1.5


def prune(part):
    import torch.nn.utils.prune

    torch.nn.utils.prune.l1_unstructured(part, "weight", 0.5)
    part.weight_orig.data *= 1.5  # what the hook makes of it is computed only when the layer is called


def loud_weight(part):
    part._parameters["weight"] = part.weight.detach().as_subclass(Loud)


def results(model, images, upstream):
    """(logits without gradients, logits with them, every parameter's gradient)."""
    with torch.no_grad():
        first = model(images)
    second = model(images)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [first, second.detach(), *torch.autograd.grad((second * upstream).sum(), wanted, materialize_grads=True)]


@pytest.mark.parametrize("change", CHANGED)
def test_what_was_changed_is_computed_the_plain_way(change):
    images, upstream = images_of(), tensor(normal(3, 5, seed=1))
    model = model_of(version=1 + (len(change) % 2 and "table" not in change))
    before = both(model, images)[0]
    CHANGED[change](model)
    expected = results(model.use_attention("plain"), images, upstream)
    found = results(model.use_attention("fused"), images, upstream)
    assert relative(expected[0], before) > 1e-6  # it does change what the model gives
    for ours, plain in zip(found, expected, strict=True):
        assert relative(ours, plain) <= 1e-9
    x = tensor(normal(2, 36, 16))
    assert not fused.applies(model.layers[1].blocks, x)
    assert fused.applies(model.layers[0].blocks, tensor(normal(2, 36, 8)))  # the other stage is as it was


MERGING = "layers.0.downsample"
CHANGED_MERGINGS = {
    "an adapter": lambda m: replace(m, MERGING + ".reduction", Adapter),
    "another norm": lambda m: replace(m, MERGING + ".norm", lambda _: torch.nn.Identity()),
    "subclass of the reduction": lambda m: replace(m, MERGING + ".reduction", subclass),
    "forward of the norm": lambda m: patch_forward(m.get_submodule(MERGING + ".norm")),
    "parametrized": lambda m: parametrize(m.get_submodule(MERGING + ".reduction"), "weight"),
    "a tensor of another class": lambda m: loud_weight(m.get_submodule(MERGING + ".reduction")),
    "neighbours": lambda m: swap_method(
        m.get_submodule(MERGING), "neighbours", lambda x, grid: (2 * x.reshape(len(x), -1, 32), (6, 6))
    ),
    "hook": lambda m: m.get_submodule(MERGING).register_forward_hook(
        lambda part, inputs, output: (bent(output[0]), output[1])
    ),
    "hook on the norm": lambda m: m.get_submodule(MERGING + ".norm").register_forward_hook(
        lambda part, inputs, output: bent(output)
    ),
    "pre-hook on the reduction": lambda m: m.get_submodule(MERGING + ".reduction").register_forward_pre_hook(
        lambda part, inputs: (bent(inputs[0]),)
    ),
}


@VERSIONS
@pytest.mark.parametrize("change", CHANGED_MERGINGS)
def test_a_merging_that_was_changed_is_computed_the_plain_way(change, version):
    images, upstream, model = images_of(), tensor(normal(3, 5, seed=1)), model_of(version=version)
    before, x = both(model, images)[0], tensor(normal(2, 144, 8))
    assert fused.applies([model.layers[0].downsample], x)
    CHANGED_MERGINGS[change](model)
    expected = results(model.use_attention("plain"), images, upstream)
    found = results(model.use_attention("fused"), images, upstream)
    undone = version == 2 and change in ("parametrized", "a tensor of another class")  # twice as much, then the norm
    assert undone or relative(expected[0], before) > 1e-6  # it does change what the model gives
    for ours, plain in zip(found, expected, strict=True):
        assert relative(ours, plain) <= 1e-9
    assert not fused.applies([model.layers[0].downsample], x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(64, 8, 24), (64, 32, 8), (4, 8, 24), (9, 5, 1), (1, 1, 3), (7, 1, 1)])
def test_gradient_of_a_weight(sizes, dtype):
    tokens, inner, outer = sizes
    dy, x = tensor(normal(tokens, outer)).to(dtype), tensor(normal(tokens, inner, seed=1)).to(dtype)
    found = training.weight_gradient(dy, x)
    assert found.shape == (outer, inner) and found.dtype == dtype and found.is_contiguous()
    assert relative(found, dy.mT @ x) <= (1e-12 if dtype == torch.float64 else 1e-5)


def test_an_upstream_gradient_that_is_one_number_repeated():
    x, weight = (tensor(normal(*shape)).float().requires_grad_() for shape in ((2, 9, 8), (6, 8)))
    expected = torch.autograd.grad((x @ weight.mT).sum(), [x, weight])
    found = torch.autograd.grad(training.Linear.apply(x, weight, None).sum(), [x, weight])
    assert all(relative(ours, theirs) <= 1e-5 for ours, theirs in zip(found, expected, strict=True))


CLASSES = {
    "attention": (swin_torch.window_attention.WindowAttention, "forward", lambda self, x, mask=None: 0.5 * x),
    "its bias": (
        swin_torch.window_attention.WindowAttention,
        "relative_position_bias",
        lambda self: self.relative_position_bias_table.new_zeros(self.num_heads, 1, 1),
    ),
    "mlp": (swin_torch.layers.Mlp, "forward", lambda self, x: 0.5 * x),
    "linear": (torch.nn.Linear, "forward", lambda self, x: torch.nn.functional.linear(2 * x, self.weight)),
    "block": (swin_torch.block.SwinTransformerBlock, "shift_for", lambda self, grid: (0, 0)),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_class_whose_methods_were_changed_is_computed_the_plain_way(case, monkeypatch):
    cls, name, method = CLASSES[case]
    model, images = model_of(), images_of()
    before = both(model, images)[0]
    monkeypatch.setattr(cls, name, method)
    plain, fast = both(model, images)
    assert relative(plain, before) > 1e-6 and relative(fast, plain) <= 1e-12
    monkeypatch.undo()
    assert fused.applies(model.layers[0].blocks, tensor(normal(2, 36, 8)))


GLOBAL = {
    "forward hook": torch.nn.modules.module.register_module_forward_hook,
    "forward pre-hook": torch.nn.modules.module.register_module_forward_pre_hook,
    "backward hook": torch.nn.modules.module.register_module_full_backward_hook,
    "backward pre-hook": torch.nn.modules.module.register_module_full_backward_pre_hook,
}


@pytest.mark.parametrize("case", GLOBAL)
def test_global_hooks_fire_for_every_part(case):
    model, images, seen = model_of(), images_of(), {}
    for kind in ("plain", "fused"):
        fired = seen[kind] = []
        with GLOBAL[case](lambda part, *_, fired=fired: fired.append(type(part).__name__)):
            model.use_attention(kind)(images.requires_grad_()).sum().backward()
    assert seen["fused"] == seen["plain"] and "WindowAttention" in seen["plain"]


@VERSIONS
@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hooks_inside_a_block_fire(version, register):
    model, images, seen = model_of(version=version), images_of(), {}
    for kind in ("plain", "fused"):
        fired = seen[kind] = []
        part = model.use_attention(kind).get_submodule(BLOCK + ".attn")
        with getattr(part, register)(lambda part, *gradients, fired=fired: fired.append(gradients[-1][0])):
            model(images).square().sum().backward()
    assert len(seen["plain"]) == 1 and relative(seen["fused"][0], seen["plain"][0]) <= 1e-9


def test_a_hook_on_a_whole_stage_costs_no_speed():
    model, seen = model_of(), []
    model.layers[1].register_forward_hook(lambda part, inputs, output: seen.append(output))
    both(model, images_of())
    assert len(seen) == 2 and relative(seen[1], seen[0]) <= 1e-12
    assert fused.applies(model.layers[1].blocks, seen[0])


ORDINARY = {
    "evaluation": lambda model: model,
    "training": lambda model: model.train(),
    "float16": lambda model: model.half(),
    "a copy": copy.deepcopy,
    "dropout": lambda model: model_of(drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1),
    "no qkv bias": lambda model: model_of(qkv_bias=False),
    "no qkv bias, V2": lambda model: model_of(version=2, qkv_bias=False),
    "V2": lambda model: model_of(version=2),
    "hooks that are gone": lambda model: (model.layers[0].blocks[0].register_forward_hook(print).remove(), model)[1],
    "frozen": lambda model: model.requires_grad_(False),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_the_fast_path_is_taken_by_every_ordinary_model(case, monkeypatch):
    model = ORDINARY[case](model_of()).use_attention("fused")
    taken, forward = [], fused.forward
    for layer in model.layers:
        layer.fast_forward = lambda blocks, x, grid: (taken.append(grid), forward(blocks, x, grid))[1]
    images = images_of().to(model.patch_embed.proj.weight)
    model(images)
    with torch.inference_mode():
        model(images)
    with torch.device("cpu"):  # a default device is a mode, but one that changes nothing here
        model(images)
    assert taken == 3 * [(12, 12), (6, 6)]


# Who doesn't compute numbers at once, or looks at each operation


@VERSIONS
def test_vmap_and_gradients_of_each_sample(version):
    model, images = model_of(version=version).use_attention("fused"), images_of()
    plain = copy.deepcopy(model).use_attention("plain")
    state = {name: value.detach() for name, value in model.named_parameters()}

    def loss(state, image, module):
        return torch.func.functional_call(module, state, (image[None],)).square().sum()

    for_each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, None))
    found, expected = for_each(state, images, model), for_each(state, images, plain)
    for name, gradient in found.items():
        assert gradient.shape[0] == len(images) and relative(gradient, expected[name]) <= 1e-9
    with torch.no_grad():
        logits = torch.func.vmap(lambda image: model(image[None])[0])(images)
        assert relative(logits, plain(images)) <= 1e-12


@VERSIONS
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_derivatives_forward(version):
    model, images, along = model_of(version=version), images_of(), tensor(normal(3, 3, 48, 48, seed=5))
    step = 1e-6
    with torch.no_grad():
        plain = model.use_attention("plain")
        expected = (plain(images + step * along) - plain(images - step * along)) / (2 * step)
    model.use_attention("fused")
    _, tangent = torch.func.jvp(model, (images,), (along,))
    assert relative(tangent.detach(), expected) <= 1e-6
    with torch.autograd.forward_ad.dual_level(), torch.no_grad():
        dual = torch.autograd.forward_ad.make_dual(images, along)
        assert relative(torch.autograd.forward_ad.unpack_dual(model(dual)).tangent, expected) <= 1e-6


@VERSIONS
def test_flop_counters_count_the_same(version):
    from torch.utils.flop_counter import FlopCounterMode

    model, images, flops = model_of(version=version).float(), images_of().float(), {}
    for kind in ("plain", "fused"):
        for enabled in (False, True):
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(enabled):
                model.use_attention(kind)(images)
            flops[kind, enabled] = counter.get_total_flops()
    assert len(set(flops.values())) == 1 and flops["plain", True] > 1e6


class Doubling(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return 2 * result if function is torch.nn.functional.gelu else result


def test_a_mode_that_changes_operations_changes_them():
    model, images = model_of(), images_of()
    before = both(model, images)[0]
    with Doubling():
        plain, fast = both(model, images)
    assert relative(plain, before) > 1e-6 and relative(fast, plain) <= 1e-12


@VERSIONS
def test_fake_tensors_leave_nothing_behind(version):
    from torch._subclasses.fake_tensor import FakeTensorMode

    model, images = model_of(version=version).use_attention("fused"), images_of()
    with torch.no_grad():
        with FakeTensorMode(allow_non_fake_inputs=True):
            assert model(torch.empty(3, 3, 48, 48, dtype=torch.float64)).shape == (3, 5)
        plain, fast = both(model, images)
    assert type(fast) is torch.Tensor and relative(fast, plain) <= 1e-12


@VERSIONS
def test_autocast_before_and_after_float32(version):
    model, images = model_of(version=version).float(), images_of().float()
    plain, fast = both(model, images)
    assert relative(fast, plain) <= BOUNDS["float32"]
    for _ in range(2):
        with torch.inference_mode():
            with torch.autocast("cpu", torch.bfloat16):
                rough = model(images)
            assert rough.dtype == torch.bfloat16 and relative(rough.float(), plain) <= BOUNDS["bfloat16"]
            torch.testing.assert_close(model(images), fast)


@VERSIONS
@pytest.mark.parametrize("buffer", ["relative_position_index", "relative_coords_table"])
def test_buffers_are_among_what_a_kept_bias_is_made_of(version, buffer):
    model, images = model_of(version=version).use_attention("fused"), images_of()
    attn = model.get_submodule(BLOCK + ".attn")
    if not hasattr(attn, buffer):
        pytest.skip("V1 has no such table")
    with torch.inference_mode():
        before = model(images)
        table = getattr(attn, buffer)
        setattr(attn, buffer, table.flip(0))
    plain, fast = both(model, images)
    assert relative(plain, before) > 1e-6 and relative(fast, plain) <= 1e-12


def one_stage(version):
    """The smallest model that shifts: what is traced takes long with many blocks."""
    model = model_of(version=version, img_size=24, depths=(2,), num_heads=(2,))
    return model, tensor(normal(2, 3, 24, 24))


@VERSIONS
@pytest.mark.parametrize("kind, strict", [("plain", False), ("fused", False), ("fused", True)])
def test_exported_for_any_batch(kind, strict, version):
    model, images = one_stage(version)
    batch = torch.export.Dim("batch", min=1, max=9)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            model.use_attention(kind), (images,), dynamic_shapes=({0: batch},), strict=strict
        ).module()
        for n in (1, 2, 5):
            more = tensor(normal(n, 3, 24, 24, seed=n))
            assert relative(program(more), model(more)) <= 1e-12


@VERSIONS
@pytest.mark.parametrize("kind", ["plain", "fused"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*deprecated:DeprecationWarning")
def test_traced_for_any_batch(kind, version):
    model, images = one_stage(version)
    traced = torch.jit.trace(model.use_attention(kind), images, check_trace=False)
    for n in (1, 2, 5):
        more = tensor(normal(n, 3, 24, 24, seed=n))
        assert relative(traced(more).detach(), model(more).detach()) <= 1e-12


@VERSIONS
@pytest.mark.parametrize("kind", ["plain", "fused"])
def test_onnx_for_any_batch(kind, version, tmp_path):
    for needed in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: export to ONNX is not tested here")
    import onnxruntime

    model, images = one_stage(version)
    model, images = model.float().use_attention(kind), images.float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (images,),
            tmp_path / "swin.onnx",
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "swin.onnx", providers=["CPUExecutionProvider"])
    for n in (1, 2, 5):
        more = tensor(normal(n, 3, 24, 24, seed=n)).float()
        with torch.no_grad():
            expected = model.use_attention("plain")(more)
        (found,) = session.run(None, {session.get_inputs()[0].name: more.numpy()})
        assert relative(torch.from_numpy(found), expected) <= BOUNDS["float32"]


@pytest.mark.parametrize("kind", ["plain", "fused"])
def test_the_same_errors(kind):
    layer = model_of().use_attention(kind).layers[0]
    for x, grid, error in (
        (tensor(normal(2, 9, 8)), (3, 4), ValueError),
        (tensor(normal(2, 12, 7)), (3, 4), ValueError),
        (tensor(normal(2, 12, 8)).numpy(), (3, 4), TypeError),
        (tensor(normal(2, 12, 8)).float(), (3, 4), RuntimeError),
    ):
        with pytest.raises(error) as raised:
            layer(x, grid)
        with pytest.raises(error) as plain:
            layer.blocks[0](x, grid)
        assert str(raised.value) == str(plain.value)


def test_a_batch_of_no_images():
    model = model_of()
    found = [model.use_attention(kind).layers[0](torch.empty(0, 36, 8).double(), (6, 6)) for kind in ("plain", "fused")]
    assert all(x.shape == (0, 36, 8) for x in found)


@pytest.mark.parametrize("change", ["an adapter on qkv", f"hook on {BLOCK}.attn", f"forward of {BLOCK}.mlp"])
def test_compiled_with_a_change_inside(change):
    """Adapters and hooks that are there when it is compiled work as on the plain path."""
    torch._dynamo.reset()
    model, images = model_of(depths=(1, 2)), images_of()
    CHANGED[change](model)
    with torch.no_grad():
        expected = model(images)
        found = torch.compile(model.use_attention("fused"), backend="eager")(images)
    assert relative(found, expected) <= 1e-12
