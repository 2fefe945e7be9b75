"""What PyTorch's own machinery makes of the model: traced, exported, deferred. The plain model is the oracle."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from swin_numpy import SwinConfig
from swin_torch import Backbone, SwinTransformer

SMALL = SwinConfig(
    img_size=56, embed_dim=24, depths=(2, 1), num_heads=(2, 4), num_classes=7, window_size=7, drop_path_rate=0.0,
    pretrained_window_sizes=(0, 0),
)  # fmt: skip
VERSIONS = pytest.mark.parametrize("version", [1, 2])
SIZES = pytest.mark.parametrize("img_size", [56, None], ids=["built for 56", "any size"])
pytestmark = pytest.mark.filterwarnings("ignore")  # the tracers' own


def model_of(version=1, **fields):
    """A model of which no parameter is at its initial value."""
    model = SwinTransformer(replace(SMALL, version=version, **fields)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


def assert_same(got, expected, bound=1e-6):
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= bound * expected.abs().max()


@VERSIONS
@SIZES
@torch.no_grad()
def test_a_trace_takes_batches_of_any_size(version, img_size):
    model = model_of(version, img_size=img_size)
    traced = torch.jit.trace(model, images(2, 3, 56, 56))
    for n in (1, 2, 5):
        assert_same(traced(images(n, 3, 56, 56)), model(images(n, 3, 56, 56)))


@torch.no_grad()
def test_a_traced_backbone_on_padded_maps():
    backbone = Backbone(replace(SMALL, img_size=None)).eval()
    traced = torch.jit.trace(backbone, images(2, 3, 50, 70))
    for got, expected in zip(traced(images(3, 3, 50, 70)), backbone(images(3, 3, 50, 70)), strict=True):
        assert_same(got, expected)


@pytest.mark.parametrize(("version", "strict"), [(1, False), (2, False), (2, True)])
@torch.no_grad()
def test_an_export_takes_batches_of_any_size(version, strict):
    model, batch = model_of(version), torch.export.Dim("batch", min=1, max=16)
    shapes = ({0: batch},)
    exported = torch.export.export(model, (images(2, 3, 56, 56),), dynamic_shapes=shapes, strict=strict).module()
    for n in (1, 3, 16):
        assert_same(exported(images(n, 3, 56, 56)), model(images(n, 3, 56, 56)))


@VERSIONS
@torch.no_grad()
def test_an_export_takes_images_of_any_size_that_needs_no_padding(version):
    """Whether a map is padded decides what is computed, so sides must be multiples of 4 · window · 2."""
    model = model_of(version, img_size=None)
    h, w = torch.export.Dim("h", min=2, max=16), torch.export.Dim("w", min=2, max=16)
    exported = torch.export.export(model, (images(2, 3, 168, 112),), dynamic_shapes=({2: 56 * h, 3: 56 * w},)).module()
    for side in ((112, 112), (224, 168)):
        assert_same(exported(images(2, 3, *side)), model(images(2, 3, *side)))
    with pytest.raises(Exception, match="images"):
        exported(images(2, 3, 100, 112))


def test_an_export_of_sides_that_may_need_padding_says_which_sides_need_the_same():
    """It isn't made, instead of going wrong at other sides."""
    sides = {2: torch.export.Dim("h", min=120, max=512), 3: torch.export.Dim("w", min=120, max=512)}
    with pytest.raises(torch._dynamo.exc.UserError, match=r"(?s)Suggested fixes:.*h = 56\*_h - 18"):
        torch.export.export(model_of(1, img_size=None), (images(2, 3, 150, 210),), dynamic_shapes=(sides,))


@VERSIONS
@pytest.mark.parametrize("dynamo", [True, False], ids=["torch.export", "legacy"])
@torch.no_grad()
def test_onnx_in_onnxruntime_is_the_model(version, dynamo, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, file = model_of(version), str(tmp_path / "swin.onnx")
    dynamic = {"dynamic_shapes": ({0: torch.export.Dim("batch", min=1, max=16)},)}
    if not dynamo:
        dynamic = {"dynamic_axes": {"images": {0: "batch"}, "logits": {0: "batch"}}}
    names = {"input_names": ["images"], "output_names": ["logits"]}
    torch.onnx.export(model, (images(2, 3, 56, 56),), file, dynamo=dynamo, verbose=False, **names, **dynamic)
    session = runtime.InferenceSession(file)
    for n in (1, 3, 7):
        (logits,) = session.run(None, {"images": images(n, 3, 56, 56).numpy()})
        assert_same(torch.from_numpy(logits), model(images(n, 3, 56, 56)), 1e-4)


class Blocks(torch.fx.Tracer):
    """Looks into the model and its stages, but not into their parts."""

    def is_leaf_module(self, module, name):
        ours = type(module).__module__.startswith(("swin_torch.block", "swin_torch.patches"))
        return ours or super().is_leaf_module(module, name)


@VERSIONS
@torch.no_grad()
def test_torch_fx_sees_the_blocks(version):
    model = model_of(version)
    graph = Blocks().trace(model)
    targets = [node.target for node in graph.nodes if node.op == "call_module"]
    assert targets[:2] == ["patch_embed", "pos_drop"] and "layers.1.blocks.0" in targets
    traced = torch.fx.GraphModule(model, graph)
    assert_same(traced(images(3, 3, 56, 56)), model(images(3, 3, 56, 56)))


@VERSIONS
@torch.no_grad()
def test_torch_fx_cannot_see_through_the_whole_model_and_says_what_can(version):
    """Its Proxies have no sizes. torch.export traces with an example, and what it makes is a graph of torch.fx."""
    model = model_of(version)
    with pytest.raises(TypeError, match=r"images: torch.fx traces without sizes, .* use the graph of torch.export"):
        torch.fx.symbolic_trace(model)
    graph = torch.export.export(model, (images(2, 3, 56, 56),)).module()
    assert isinstance(graph, torch.fx.GraphModule)
    assert any(node.target == torch.ops.aten.softmax.int for node in graph.graph.nodes)
    assert_same(graph(images(2, 3, 56, 56)), model(images(2, 3, 56, 56)))


@VERSIONS
@torch.no_grad()
def test_a_model_made_without_memory_is_filled_from_a_checkpoint(version):
    filled = model_of(version)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.device("meta"):
            empty = SwinTransformer(filled.config).eval()
        empty.load_state_dict(filled.state_dict(), assign=True)
    assert not any(value.is_meta for value in (*empty.parameters(), *empty.buffers()))
    assert_same(empty(images(2, 3, 56, 56)), filled(images(2, 3, 56, 56)), 0)


@VERSIONS
@torch.no_grad()
def test_to_empty_then_load(version):
    filled = model_of(version)
    empty = SwinTransformer(filled.config).eval().to("meta").to_empty(device="cpu")
    for buffer in empty.buffers():
        buffer.fill_(3)  # what was in memory
    empty.load_state_dict(filled.state_dict())
    assert_same(empty(images(2, 3, 56, 56)), filled(images(2, 3, 56, 56)), 0)


@VERSIONS
def test_loading_leaves_the_type_of_the_buffers(version):
    model = model_of(version).double()
    model.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    assert all(value.dtype in (torch.float64, torch.int64) for value in model.buffers())


@VERSIONS
def test_counted_flops_are_those_of_the_formula(version):
    """PyTorch's counter sees the convolution and every product; two for each multiplication."""
    from torch.utils.flop_counter import FlopCounterMode

    config = replace(SMALL, version=version)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model_of(version)(images(1, 3, 56, 56))
    multiplications = 196 * 48 * 24 + 49 * 4 * 24 * 48 + 48 * 7
    for depth, c, heads, tokens in zip(config.depths, config.widths, config.num_heads, (196, 49), strict=True):
        multiplications += depth * (tokens * 12 * c * c + 2 * tokens * 49 * c)
        multiplications += depth * 169 * 512 * (2 + heads) * (version == 2)
    assert counter.get_total_flops() == 2 * multiplications


@VERSIONS
def test_no_images(version):
    model = model_of(version)
    assert model(torch.zeros(0, 3, 56, 56)).shape == (0, 7)
    assert np.prod([*model.forward_stages(torch.zeros(0, 3, 56, 56))[-1][0].shape]) == 0
