"""The benchmark's own arithmetic, its picture, and that its contenders compute the same. No test looks at a clock."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from figures.speed import bench
from figures.speed import growth as growth_picture
from swin_numpy import SwinConfig
from tests.benchmarks import contenders
from tests.benchmarks.__main__ import best_peer, parse, set_dtype
from tests.benchmarks.growth import batched, everywhere, exponent, growing
from tests.benchmarks.measure import interleaved, summary, table
from tests.twin import relative

SMALL = SwinConfig(img_size=32, embed_dim=8, depths=(2,), num_heads=(2,), window_size=4, num_classes=3,
                   pretrained_window_sizes=(0,))  # fmt: skip


def test_calls_take_turns():
    order = []
    times = interleaved({name: lambda name=name: order.append(name) for name in "abc"}, repeats=2)
    assert order == list("aabbcc" * 2)  # the first of two calls isn't timed
    assert all(len(seconds) == 2 for seconds in times.values())


def test_ratios_are_those_of_one_round():
    times = {"fast": [1.0, 10.0, 2.0, 1.0], "slow": [2.0, 20.0, 4.0, 2.0]}
    found = summary(times, "fast")
    assert found["slow"]["ratio"] == [2.0, 2.0, 2.0] and found["fast"]["ratio"] == [1.0, 1.0, 1.0]
    assert found["slow"]["seconds"][1] == 3.0
    assert "2.00 x fast" in list(table("title", times, "fast"))[2]


def test_the_reference_is_the_quickest_peer_that_is_not_compiled():
    times = {
        "PyTorch twin, plain": [1, 1],
        "a": [5, 4],
        "b": [3, 4],
        "b, compiled": [1, 1],
        "NumPy twin, plain": [1, 1],
    }
    assert best_peer(times) == "b"
    assert best_peer({"PyTorch twin, plain": [1], "NumPy twin, plain": [0.5]}) == "PyTorch twin, plain"


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_exponent_of_pixels(power):
    sides = (112, 224, 448)
    assert exponent(sides, [3e-7 * (side * side) ** power for side in sides]) == pytest.approx(power)
    assert np.isnan(exponent((112,), [1.0]))


def test_contenders_run_and_missing_ones_are_named():
    models, missing = contenders.torch_models(SMALL)
    assert set(missing) | set(models) == {*contenders.PEERS, "PyTorch twin, plain", "PyTorch twin, fused"}
    images, labels = contenders.examples(SMALL, 2)
    for model in models.values():
        contenders.torch_forward(model, images, "cpu", torch.float32)()
        before = next(model.parameters()).detach().clone()
        contenders.torch_step(model, images, labels, "cpu", torch.float32)()
        assert not torch.equal(before, next(model.parameters()))
    plain, fused = (model(images) for model in contenders.numpy_models(SMALL).values())
    assert relative(fused, plain) <= 1e-5


def test_global_attention_is_that_of_one_window():
    for call in growing(SMALL, 32, "cpu", torch.float32).values():
        call()
    attn = contenders.torch_models(SMALL)[0]["PyTorch twin, plain"].layers[0].blocks[0].attn.double()
    x = torch.randn(2, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        attn.relative_position_bias_table.zero_()
        assert relative(everywhere(attn, x), attn(x[:, None])[:, 0]) <= 1e-12


@pytest.mark.parametrize("version", [1, 2])
def test_batches_have_all_contenders_but_the_plain_ones(version):
    config = replace(SMALL, version=version)
    calls = batched(config, 2, "cpu", torch.float32)
    assert {"PyTorch twin, fused", "NumPy twin, fused"} <= set(calls) and not any("plain" in name for name in calls)
    for call in calls.values():
        call()


def test_tf32_is_a_setting_of_float32():
    assert set_dtype("tf32") == torch.float32 and torch.backends.cuda.matmul.allow_tf32
    assert set_dtype("float32") == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
    assert set_dtype("bfloat16") == torch.bfloat16


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--repeats", "1"], ["--only", "nothing"]])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit):
        parse(arguments)


def test_picture_of_a_report():
    times = {"PyTorch twin, fused": [1.0, 1.1, 1.2], "timm": [1.5, 1.6, 1.4]}
    run = {"what": "forward", "model": "swin", "batch": 1, "dtype": "float32", "summary": summary(times, "timm")}
    growth = {"sides": [112, 224], "seconds": {"Swin": [1.0, 4.0]}, "exponents": {"Swin": 1.0}}
    where = {"device": "cpu", "machine": "Python 3; Linux, some CPU", "threads": 2, "date": "today"}
    batches = {"batches": [1, 2, 8], "seconds": {"PyTorch twin, fused": [0.1, 0.09, 0.08], "timm": [0.1, 0.1, 0.1]}}
    report = {**where, "runs": [run, run], "growth": growth, "batches": batches}
    (panel,) = bench(report).axes
    dots = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([run["summary"][name]["ratio"][1] for name in run["summary"]] * 2)
    assert [text.get_text() for text in panel.texts][1:3] == ["1100 ms", "1500 ms"]
    by_image, by_batch = growth_picture(report).axes
    assert by_image.lines[0].get_ydata().tolist() == [1, 4]
    assert by_batch.lines[0].get_ydata().tolist() == pytest.approx([100, 90, 80])
    with pytest.raises(ValueError, match="expected at least one run"):
        bench({**where, "runs": []})
    with pytest.raises(ValueError, match="expected growth or batches"):
        growth_picture({**where, "runs": [run], "growth": {}})
