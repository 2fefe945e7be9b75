"""The benchmark's own arithmetic, its picture, and that its contenders compute the same. No test looks at a clock."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from figures.speed import bench, throughput
from figures.speed import growth as growth_picture
from swin_numpy import SwinConfig, get_config
from swin_numpy.runtime import threads
from swin_torch import WindowAttention
from tests.benchmarks import __main__ as command
from tests.benchmarks import contenders, floor, machine, measure, plans
from tests.benchmarks.__main__ import best_peer, parse, set_dtype
from tests.benchmarks.growth import batched, everywhere, exponent, exponents, growing
from tests.benchmarks.measure import interleaved, summary, table
from tests.twin import relative

SMALL = SwinConfig(img_size=32, embed_dim=8, depths=(2,), num_heads=(2,), window_size=4, num_classes=3,
                   pretrained_window_sizes=(0,))  # fmt: skip


def test_calls_take_turns_and_each_has_settled_before_it_is_timed(monkeypatch):
    order, now = [], [0.0]
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def call(name):
        order.append(name)
        now[0] += measure.SETTLE / 2.5 if name == "quick" else 2 * measure.SETTLE

    times = interleaved({name: partial(call, name) for name in ("quick", "slow")}, repeats=2)
    assert order == ["quick", "quick", "quick", "quick", "slow", "slow"] * 2  # the last call of each is timed
    assert times["slow"] == pytest.approx([2 * measure.SETTLE] * 2)


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
        "floor: products alone, PyTorch": [0.5, 0.5],
    }
    assert best_peer(times) == "b"
    assert best_peer(times, compiled=True) == "b, compiled"
    assert best_peer({"a": [1]}, compiled=True) is None
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
    lone = WindowAttention(attn.dim, 1, attn.num_heads).double()
    lone.qkv, lone.proj = attn.qkv, attn.proj
    x = torch.randn(2, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        attn.relative_position_bias_table.zero_()
        assert relative(everywhere(lone, x), attn(x[:, None])[:, 0]) <= 1e-12


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


def test_no_round_begins_when_the_time_is_up():
    assert len(interleaved({"a": lambda: None}, repeats=50, seconds=0)["a"]) == 3


def test_exponents_below_and_above():
    sides, above = (112, 224, 448, 896), lambda side: (side * side) ** 1.0
    seconds = [1.0, 1.0, above(448) / above(448), above(896) / above(448)]
    found = exponents(sides, {"a": seconds, "slow": [1.0, 16.0, None, None]})
    assert found["a"] == {"below": pytest.approx(0), "above": pytest.approx(1)}
    assert found["slow"]["below"] == pytest.approx(2) and np.isnan(found["slow"]["above"])


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swin_base_patch4_window12_384"])
def test_products_of_the_floor_are_those_that_pytorch_counts(name):
    from torch.utils.flop_counter import FlopCounterMode

    import swin_torch

    config = get_config(name)
    with torch.device("meta"):
        model, image = swin_torch.SwinTransformer(config), torch.zeros(1, 3, *config.image_shape)
    with FlopCounterMode(display=False) as counter:
        model.eval()(image)
    assert floor.gflop(config, 1) == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-9)
    assert floor.gflop(config, 2, training=True) == pytest.approx(6 * floor.gflop(config, 1))


@pytest.mark.parametrize("training", [False, True])
def test_floors_make_every_product(training, monkeypatch):
    operations = []
    monkeypatch.setattr(threads, "share_out", lambda work, tasks: [work(task) for task in tasks])
    matmul = np.matmul
    monkeypatch.setattr(
        np, "matmul", lambda a, b, out: operations.append(2 * a.size * b.shape[-1]) or matmul(a, b, out=out)
    )
    floor.numpy_floor(SMALL, 3, training)()
    assert sum(operations) == pytest.approx(1e9 * floor.gflop(SMALL, 3, training))
    floor.torch_floor(SMALL, 3, "cpu", torch.float32, training)()


def test_numbers_of_a_floor_do_not_grow_from_call_to_call(monkeypatch):
    monkeypatch.setattr(threads, "share_out", lambda work, tasks: [work(task) for task in tasks])
    call = floor.numpy_floor(SMALL, 1, training=True)
    with np.errstate(over="raise", invalid="raise"):
        for _ in range(50):
            call()


def test_the_machine_says_which_kernels_it_takes():
    found = machine.details()
    assert any(library["internal_api"] == "openblas" for library in found["blas"]) or found["blas"]
    assert "unknown" not in found["onednn"]
    text = "\n".join(machine.lines({**found, "forced": {"OPENBLAS_CORETYPE": "Haswell"}}))
    assert "WARNING: OPENBLAS_CORETYPE=Haswell" in text and found["torch_kernels"] in text
    share = machine.Others().share()
    assert share is None or 0 <= share <= 1


def test_a_forced_kernel_is_dropped_and_the_command_says_so():
    command_line = [sys.executable, "-m", "tests.benchmarks", "--help"]
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}
    run = partial(subprocess.run, capture_output=True, text=True, check=True, env=environment)
    assert run(command_line).stdout.startswith("OPENBLAS_CORETYPE=Haswell, OPENBLAS_L2_SIZE=512 would force a kernel")
    assert run([*command_line, "--keep-environment"]).stdout.startswith("usage:")


def test_the_plan_of_a_gpu_has_every_combination():
    runs = plans.gpu(["a", "b"], [1, 32, 128], plans.DTYPES, True)
    plain = [run for run in runs if not run.compiled]
    assert len({(run.what, run.model, run.dtype, run.batch) for run in plain}) == len(plain) == 2 * 4 * (3 + 2)
    assert {run.what for run in runs if run.compiled} == {"forward", "training step"}


def test_the_gpu_plan_runs_without_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(contenders.torch, "compile", lambda model, **options: model)
    arguments = ["--rehearse", "--repeats", "2", "--batch", "32", "--model", plans.TINY2]
    files = ["--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]
    assert command.main([*arguments, *files, "--only", "agreement", "forward", "training"]) == 0
    report = json.loads((tmp_path / "a.json").read_text())
    assert {run["what"] for run in report["runs"]} == {"forward", "training step"}
    assert {run["dtype"] for run in report["runs"]} == set(plans.DTYPES) and not report["left_out"]
    assert all(found["agree"] and found["relative"] for found in report["agreement"]) and len(report["agreement"]) == 4
    some = next(run for run in report["runs"] if run["compiled"])
    assert "PyTorch twin, fused, compiled" in some["summary"] and some["floor"]
    assert "agree at all" in capsys.readouterr().out and (tmp_path / "a.png").stat().st_size > 1000
    assert len(throughput(report).axes) == 2


def test_when_the_time_is_up_runs_are_left_out_and_named(tmp_path, capsys):
    arguments = ["--rehearse", "--minutes", "1e-9", "--only", "forward", "--batch", "1", "--dtype", "float32"]
    assert command.main([*arguments, "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]) == 0
    report = json.loads((tmp_path / "a.json").read_text())
    assert not report["runs"] and report["left_out"] and "left out" in capsys.readouterr().out


def test_what_fails_is_named_and_the_others_go_on():
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    missing, slow = {}, lambda: time.sleep(5)
    assert list(command.able({"a": lambda: None, "b": fail, "c": slow}, missing, 0.2)) == ["a"]
    assert missing["b"].startswith("OutOfMemoryError: CUDA out of memory")
    assert missing["c"] == "TimeoutError: not done in 0.2 s"


def test_what_is_measured_is_kept_when_a_later_run_ends_the_program(tmp_path, monkeypatch):
    again, calls_of = [], command.calls_of

    def once(run, args):
        again.append(run)
        if len(again) > 1:
            raise KeyboardInterrupt
        return calls_of(run, args)

    monkeypatch.setattr(command, "calls_of", once)
    arguments = ["--rehearse", "--only", "forward", "--batch", "1", "--dtype", "float32", "--repeats", "2"]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        raise SystemExit(
            command.main([*arguments, "--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")])
        )
    assert len(json.loads((tmp_path / "a.json").read_text())["runs"]) == 1


def test_picture_of_a_report():
    times = {"PyTorch twin, fused": [1.0, 1.1, 1.2], "timm": [1.5, 1.6, 1.4]}
    found = summary(times, "timm")
    run = {"what": "forward", "model": "swin", "batch": 1, "dtype": "float32", "summary": found, "reference": "timm"}
    run["floor"] = summary({"floor: products alone, PyTorch": [0.75, 0.75, 0.75]}, "floor: products alone, PyTorch")
    growth = {"sides": [112, 224, 448], "seconds": {"NumPy twin": [1.0, 4.0, None]}, "memory_mb": {},
              "exponents": {"NumPy twin": {"below": 1.0, "above": 1.0}}}  # fmt: skip
    where = {"device": "cpu", "machine": "Python 3; Linux, some CPU", "threads": 2, "date": "today"}
    batches = {"batches": [1, 2, 8], "seconds": {"PyTorch twin, fused": [0.1, 0.09, 0.08], "timm": [0.1, 0.1, 0.1]}}
    report = {**where, "runs": [run, run], "growth": growth, "batches": batches}
    (panel,) = bench(report).axes
    dots = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([run["summary"][name]["ratio"][1] for name in run["summary"]] * 2)
    assert [text.get_text() for text in panel.texts][1:3] == ["1100 ms", "1500 ms"]
    assert panel.collections[0].get_paths()[0].vertices[:, 0].max() == pytest.approx(0.75 / 1.5)  # the floor
    by_image, by_batch = growth_picture(report).axes
    assert by_image.lines[0].get_ydata()[:2].tolist() == [1, 4]
    assert by_batch.lines[0].get_ydata().tolist() == pytest.approx([100, 90, 80])
    with pytest.raises(ValueError, match="expected at least one run"):
        bench({**where, "runs": []})
    with pytest.raises(ValueError, match="expected growth or batches"):
        growth_picture({**where, "runs": [run], "growth": {}})
