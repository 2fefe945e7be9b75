"""`make bench`: how long the twins take beside each other and beside other people's Swin, as ratios of one run.

Contenders take turns, call by call, so that a slow moment of the machine hits all alike; ratios are medians over the
rounds. Peers (timm, torchvision, transformers) take part where they are installed, timm's also through torch.compile
where there is a compiler; the report says which are missing. Beside every result stands the floor: the same matrix
products and nothing else.
"""

import argparse
import copy
import json
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from swin_numpy.config import CONFIGS, get_config
from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.environment import environment
from swin_numpy.runtime.replace import write_text
from swin_numpy.runtime.trace import record
from swin_torch.compare import device_name, find_device, make_twins, measure, verdict

from . import machine, plans
from .contenders import (
    COMPILED,
    KINDS,
    compiled,
    examples,
    numpy_models,
    numpy_step,
    torch_forward,
    torch_models,
    torch_step,
)
from .floor import gflop, numpy_floor, torch_floor
from .growth import time_batches, time_growth
from .measure import SETTLE, interleaved, peak_memory, summary, table

PARTS = ("agreement", "forward", "training", "memory", "growth")
FLOOR = "floor: products alone, {}"
EXAMPLES = """examples:
  make bench                                                  everything, about half an hour
  make bench DEVICE=cuda                                      on a GPU, at most 8 minutes
  python -m tests.benchmarks --quick                          two minutes: is it worth a longer look?
  python -m tests.benchmarks --only forward --batch 1 8 --no-compile
  python -m tests.benchmarks --json tests/benchmarks/results/cpu.json --plot figures/gallery/speed.png
"""

ONE_FORWARD = """
import numpy as np
from swin_numpy import SwinTransformer, get_config
model = SwinTransformer(get_config({model!r})).use_attention({kind!r})
model(np.zeros(({batch}, model.config.in_chans, *model.config.image_shape), np.float32))
"""
TWO_STEPS = """
import numpy as np
from swin_numpy import get_config
from swin_{package}.train import ParallelTrainer
from swin_numpy.training.recipe import Recipe
config = get_config({model!r})
trainer = ParallelTrainer(config, Recipe())
for model in getattr(trainer, "models", [trainer.model]):
    model.use_attention({kind!r})
images = np.ones(({batch}, config.in_chans, *config.image_shape), np.float32)
for _ in range(2):
    trainer.step(images, np.zeros({batch}, int), 1e-3)
"""


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    parser.add_argument("--model", nargs="+", choices=CONFIGS, metavar="NAME", help="default: Swin-T at 224; on a GPU "
                        "Swin-T and Swin-B, V1 and V2")  # fmt: skip
    parser.add_argument("--batch", type=int, nargs="+", help="of the forward (default: 1 8; on a GPU 1 32 128)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; on a GPU the NumPy twin is only the "
                        "reference for the agreement")  # fmt: skip
    parser.add_argument("--dtype", nargs="+", choices=plans.DTYPES, help="tf32: float32 with products in "
                        "TensorFloat-32 (default: float32; on a GPU all)")  # fmt: skip
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes; on a "
                        "processor it needs a C++ compiler")  # fmt: skip
    parser.add_argument("--repeats", type=int, help="rounds at most (default: 11, or 3 with --quick)")
    parser.add_argument("--minutes", type=float, help="begin no further run after so many (default: 7 on a GPU)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, batch 1, images up to 448, no memory, "
                        "nothing compiled")  # fmt: skip
    parser.add_argument("--rehearse", action="store_true", help="all that --device cuda does, on the processor with a "
                        "tiny model: shows that it runs; the times mean nothing")  # fmt: skip
    parser.add_argument("--keep-environment", action="store_true", help=f"don't unset {', '.join(machine.FORCING)}")
    parser.add_argument("--json", metavar="FILE", help="all times and what they were measured on "
                        "(default: runs/bench-DEVICE.json)")  # fmt: skip
    parser.add_argument("--plot", metavar="FILE", help="the picture, PNG or SVG (default: runs/bench-DEVICE.png)")
    args = parser.parse_args(arguments)
    return _with_defaults(args, parser)


def _with_defaults(args, parser):
    args.gpu = args.device != "cpu" or args.rehearse
    args.settle = 0 if args.gpu else SETTLE  # no BLAS threads on a GPU, and little time
    args.name = (args.device if args.device != "cpu" or not args.rehearse else "cuda").replace(":", "")
    if args.rehearse:
        args.device, args.name = "cpu", f"{args.name}-rehearsal"
    args.repeats = args.repeats or (3 if args.quick else 11)
    args.minutes = args.minutes or (7 if args.gpu else float("inf"))
    args.batch = args.batch or ([1] if args.quick else [1, 32, 128] if args.gpu else [1, 8])
    args.dtype = args.dtype or (list(plans.DTYPES) if args.gpu else ["float32"])
    args.model = args.model or ([plans.TINY, plans.TINY2, plans.BASE, plans.BASE2] if args.gpu else [plans.TINY])
    args.json = args.json or f"runs/bench-{args.name}.json"
    args.plot = args.plot or f"runs/bench-{args.name}.png"
    if args.quick:
        args.only, args.no_compile = [part for part in args.only if part != "memory"], True
    if min(args.batch) < 1 or args.repeats < 2 or not args.minutes > 0:
        parser.error("--batch: expected at least 1; --repeats: at least 2; --minutes: more than 0")
    return args


def planned(args):
    """The runs that the arguments ask for, most important first."""
    plan = (plans.gpu if args.gpu else plans.cpu)(args.model, args.batch, args.dtype, not args.no_compile)
    wanted = {"forward": "forward" in args.only, "training step": "training" in args.only}
    return [run for run in plan if wanted[run.what]]


def config_of(name, args):
    """The sizes of the model called `name`; with --rehearse those of a tiny one of the same version."""
    config = get_config(name)
    if not args.rehearse:
        return config
    return replace(config, img_size=64, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=config.window_size,
                   num_classes=5, pretrained_window_sizes=(0, 0))  # fmt: skip


@lru_cache(maxsize=1)
def models_of(config):
    """torch_models(config), made once for all runs with one model."""
    return torch_models(config)


def set_dtype(name):
    """Switch TensorFloat-32 on or off; the torch.dtype that `name` stands for."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    return torch.float32 if name == "tf32" else getattr(torch, name)


def calls_of(run, args):
    """({name: call} of a run's contenders and floors, {name: why it isn't there})."""
    config, dtype, training = config_of(run.model, args), set_dtype(run.dtype), run.what != "forward"
    batch = min(run.batch, 2) if args.rehearse else run.batch
    images, labels = examples(config, batch)
    models, missing = models_of(config)
    models, missing = dict(models), dict(missing)
    if run.compiled:
        models |= _compiled_models(models, args, training, missing)
    if training:
        calls = {who: torch_step(each, images, labels, args.device, dtype) for who, each in models.items()}
    else:
        calls = {who: torch_forward(each, images, args.device, dtype) for who, each in models.items()}
    if not args.gpu and run.dtype == "float32":
        if training:
            calls |= {f"NumPy twin, {kind}": numpy_step(config, images, labels, kind) for kind in KINDS}
        else:
            calls |= {who: partial(each, images) for who, each in numpy_models(config).items()}
        calls[FLOOR.format("OpenBLAS")] = numpy_floor(config, batch, training)
    calls[FLOOR.format("PyTorch")] = torch_floor(config, batch, args.device, dtype, training)
    return calls, missing


def _compiled_models(models, args, training, missing):
    """timm's model, and on a GPU ours, through torch.compile. One peer, since compiling takes minutes."""
    if not args.gpu and not (shutil.which("g++") or shutil.which("clang++")):
        missing["torch.compile"] = "no C++ compiler on this machine"
        return {}
    names = [name for name in models if name == "timm" or (args.gpu and "twin" in name)]
    return {COMPILED.format(name): compiled(models[name], args.device, training) for name in names}


def able(calls, missing, seconds):
    """Those of `calls` that run: each is called once, and what fails or takes too long goes into `missing`."""
    for name in list(calls):
        try:
            with time_limit(seconds):
                calls[name]()
        except Exception as error:  # whatever a peer or a compiler raises, the others go on
            del calls[name]
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
            torch.cuda.empty_cache()
    return calls


@contextmanager
def time_limit(seconds):
    """Raise TimeoutError after so many seconds, such as those that a compiler may take. Not on Windows."""

    def stop(*_):
        raise TimeoutError(f"not done in {seconds} s")

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def time_runs(args, until, report, save):
    """Time every run that begins before `until` and print its table: report["runs"], and report["left_out"].

    save() is called after each: what is measured is kept, whatever happens later.
    """
    for run in planned(args):
        if time.perf_counter() > until:
            report["left_out"].append(asdict(run))
            continue
        report["runs"].append(time_run(run, args))
        save()


def time_run(run, args):
    """Time one run and print its table. Returns all that is known of it."""
    started = time.perf_counter()
    calls, missing = calls_of(run, args)
    seconds = interleaved(
        able(calls, missing, 90 if args.gpu else 600), args.repeats, 2 if args.gpu else 120, args.settle
    )
    reference, against = best_peer(seconds), best_peer(seconds, compiled=True)
    floors = {name: values for name, values in seconds.items() if name.startswith("floor")}
    title = f"{run.model}, {run.what}, {run.dtype}, batch {run.batch}, {args.device}"
    print("\n".join(table(title, seconds, reference)))
    work = gflop(config_of(run.model, args), run.batch, run.what != "forward")
    print(f"  {work:.1f} GFLOP in products")
    for name, why in missing.items():
        print(f"  {name:34} NOT HERE: {why}")
    memory = {who: gpu_memory(call) for who, call in calls.items()} if args.gpu else {}
    memory = {who: megabytes for who, megabytes in memory.items() if megabytes}
    for who, megabytes in memory.items():
        print(f"  {who:34} {megabytes:9.0f} MB of the GPU's memory beyond what is there before")
    found = summary({who: values for who, values in seconds.items() if who not in floors}, reference)
    if against:
        for who, numbers in summary(seconds, against).items():
            if who in found:
                found[who]["ratio_to_compiled"] = numbers["ratio"]
    return {
        **asdict(run), "reference": reference, "compiled_reference": against, "missing": missing, "gflop": work,
        "seconds": seconds, "summary": found, "floor": summary(floors, min(floors)) if floors else {},
        "gpu_memory_mb": memory, "took": time.perf_counter() - started,
    }  # fmt: skip


def best_peer(seconds, compiled=False):
    """The quickest of other people's models, eager or compiled.

    Where there is none: our plain PyTorch twin, or None for compiled.
    """
    peers = [
        name for name in seconds
        if "twin" not in name and not name.startswith("floor") and name.endswith(", compiled") == compiled
    ]  # fmt: skip
    return min(peers, key=lambda name: np.median(seconds[name]), default=None if compiled else "PyTorch twin, plain")


def gpu_memory(call):
    """The most that a call adds to the GPU's memory, in MB."""
    if not torch.cuda.is_available():
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def agreement(args):
    """Both twins step by step in every dtype, the NumPy twin as the reference. Prints the verdicts."""
    found = []
    for name in args.model:
        config = config_of(name, args)
        images, _ = examples(config, 1)
        numpy_model, torch_model = make_twins(config, "float32", args.device)
        expected = record(numpy_model.eval(), images, title="NumPy")
        for dtype in args.dtype:
            kind = set_dtype(dtype)
            with torch.inference_mode():
                twin = copy.deepcopy(torch_model).to(kind).eval()
                got = record(twin, torch.from_numpy(images).to(args.device, kind), title="PyTorch")
            rows = [measure(*steps) for steps in zip(expected, got, strict=True)]
            bound = "float16" if dtype == "tf32" else dtype  # both have 10 digits after the point, in base 2
            fine, sentence = verdict(rows, bound)
            print(f"{name}, {dtype}: {sentence}")
            steps = {row.name: row.relative for row in rows}
            found.append({"model": name, "dtype": dtype, "agree": fine, "sentence": sentence, "relative": steps})
    return found


def process_memory(args):
    """Peak memory of whole processes, in MB: NumPy's forward, and training of both."""
    found = {}
    for batch in args.batch:
        for kind in KINDS:
            code = ONE_FORWARD.format(model=args.model[0], batch=batch, kind=kind)
            found[f"NumPy forward, {kind}, batch {batch}"] = peak_memory(code)
    for package in ("numpy", "torch"):
        for kind in KINDS:
            code = TWO_STEPS.format(package=package, model=args.model[0], batch=4, kind=kind)
            found[f"training step, swin_{package}, {kind}, batch 4"] = peak_memory(code)
    print("peak memory of the whole process")
    for name, megabytes in found.items():
        print(f"  {name:40} {megabytes:9.0f} MB")
    return found


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = parse(arguments)
    return exit_status("python -m tests.benchmarks", lambda: measure_all(args, arguments))


def measure_all(args, arguments):
    """Measure and print what the arguments say. Raises ValueError or OSError for what can't be done."""
    find_device(args.device, "float32")
    for path in (args.json, args.plot):
        Path(path).parent.mkdir(parents=True, exist_ok=True)  # if that fails, say so before the work
    where, found, others = (
        environment("numpy", "torch", "timm", "torchvision", "transformers"),
        machine.details(),
        machine.Others(),
    )
    until = time.perf_counter() + 60 * args.minutes
    report = {
        "machine": where,
        "details": found,
        "device": device_name(args.device),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["python -m tests.benchmarks", *(sys.argv[1:] if arguments is None else arguments)]),
    }
    print(f"{where}; PyTorch on {report['threads']} threads, {report['device']}")
    print("\n".join(machine.lines(found)), end="\n\n")
    report |= {"agreement": [], "runs": [], "left_out": [], "memory_mb": {}, "growth": {}, "batches": {}}

    def save():
        report["others"] = others.share()
        write_text(args.json, json.dumps(report, indent=1) + "\n")

    if "agreement" in args.only and args.gpu:
        report["agreement"] = agreement(args)
    time_runs(args, until, report, save)
    if "memory" in args.only and not args.gpu:
        report["memory_mb"] = process_memory(args)
    if "growth" in args.only and time.perf_counter() < until:
        config = config_of(args.model[0], args)
        report["growth"], report["batches"] = time_growth(args, config), time_batches(args, config)
    save()
    conclude(report, args)


def conclude(report, args):
    """Say what was left out and how busy the machine was, and draw the picture."""
    for run in report["left_out"]:
        print(f"left out, {args.minutes:g} minutes were over: {', '.join(map(str, run.values()))}")
    if report["others"] is not None:
        busy = " WARNING: not idle" * (report["others"] > 0.05)
        print(f"other programs took {report['others']:.0%} of the cores' time{busy}")
    if report["runs"]:
        from figures.speed import bench, throughput

        (throughput if args.gpu else bench)(report).savefig(args.plot)
    print(f"written: {args.json}" + f", {args.plot}" * bool(report["runs"]))


if __name__ == "__main__":
    if "--keep-environment" not in sys.argv:
        machine.start_again_unforced(sys.argv[1:])
    sys.exit(main())
