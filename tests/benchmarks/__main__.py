"""`make bench`: how long the twins take beside each other and beside other people's Swin, as ratios of one run.

Contenders take turns, call by call, so that a slow moment of the machine hits all alike; ratios are medians over the
rounds. Peers (timm, torchvision, transformers) take part where they are installed; the report says which are missing.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

import swin_numpy.train
import swin_torch.train
from swin_numpy.config import CONFIGS, get_config
from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.environment import environment
from swin_numpy.runtime.replace import write_text
from swin_numpy.training.fashion_mnist import MODEL
from swin_numpy.training.recipe import Recipe
from swin_torch.compare import device_name, find_device

from .contenders import KINDS, examples, numpy_models, torch_forward, torch_models, torch_step
from .growth import BATCHES, SIDES, batched, exponent, growing
from .measure import interleaved, peak_memory, summary, table

PARTS = ("forward", "training", "memory", "growth")
SWIN_T = "swin_tiny_patch4_window7_224"
EXAMPLES = """examples:
  python -m tests.benchmarks --quick                          a minute: is it worth a longer look?
  python -m tests.benchmarks --only forward --batch 1 8
  python -m tests.benchmarks --json runs/bench.json --plot runs/bench.png
  python -m tests.benchmarks --device cuda --dtype float32 tf32 float16 bfloat16 --batch 1 32 128
        --model swin_tiny_patch4_window7_224 swin_base_patch4_window7_224 --compile
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
from {package}.train import ParallelTrainer
from swin_numpy.training.recipe import Recipe
config = get_config({model!r})
trainer = ParallelTrainer(config, Recipe())
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
    parser.add_argument("--model", nargs="+", choices=CONFIGS, metavar="NAME", default=[SWIN_T], help="of the forward "
                        "and, on a GPU, of training; default: Swin-T at 224")  # fmt: skip
    parser.add_argument("--batch", type=int, nargs="+", help="of the forward (default: 1 8; on a GPU 1 32 128)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; on a GPU the NumPy twin stays out")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "tf32", "float16", "bfloat16"), default=["float32"],
                        help="tf32: float32 with products in TensorFloat-32 (default: float32)")  # fmt: skip
    parser.add_argument("--compile", action="store_true", help="PyTorch models also through torch.compile, with CUDA "
                        "graphs on a GPU; on a processor it needs a C compiler")  # fmt: skip
    parser.add_argument("--repeats", type=int, help="rounds (default: 11, or 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, batch 1, images up to 448, no memory")
    parser.add_argument("--json", metavar="FILE", help="write all times and what they were measured on there")
    parser.add_argument("--plot", metavar="FILE", help="draw the results there (PNG or SVG)")
    args = parser.parse_args(arguments)
    args.gpu = args.device != "cpu"
    args.repeats = args.repeats or (3 if args.quick else 11)
    args.batch = args.batch or ([1] if args.quick else [1, 32, 128] if args.gpu else [1, 8])
    if args.quick:
        args.only = [part for part in args.only if part != "memory"]
    if min(args.batch) < 1 or args.repeats < 2:
        parser.error("--batch: expected at least 1; --repeats: at least 2")
    return args


def set_dtype(name):
    """Switch TensorFloat-32 on or off; the torch.dtype that `name` stands for."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    return torch.float32 if name == "tf32" else getattr(torch, name)


def runs(args):
    """What is to be timed: dicts that begin with what it is and end with the calls."""
    for model in args.model:
        config = get_config(model)
        for name in args.dtype:
            dtype = set_dtype(name)
            for batch in args.batch if "forward" in args.only else ():
                images, _ = examples(config, batch)
                models, missing = torch_models(config, args.compile)
                calls = {who: torch_forward(each, images, args.device, dtype) for who, each in models.items()}
                if not args.gpu and name == "float32":
                    calls |= {who: partial(each, images) for who, each in numpy_models(config).items()}
                yield about("forward", model, batch, name), calls, missing
    if "training" not in args.only:
        return
    for model, batch in [(model, batch) for model in args.model for batch in ([32] if args.gpu else [4])]:
        config = get_config(model)
        for name in (name for name in args.dtype if name in ("float32", "tf32", "bfloat16")):
            dtype = set_dtype(name)
            images, labels = examples(config, batch)
            models, missing = torch_models(config, args.compile)
            calls = {who: torch_step(each, images, labels, args.device, dtype) for who, each in models.items()}
            if not args.gpu and name == "float32":
                calls["NumPy twin, plain"] = trainer_step(swin_numpy, config, images, labels)
            yield about("training step", model, batch, name), calls, missing
    if not args.gpu:
        config = get_config(MODEL)
        images, labels = examples(config, 64)
        packages = {"PyTorch twin, plain": swin_torch, "NumPy twin, plain": swin_numpy}
        calls = {who: trainer_step(package, config, images, labels) for who, package in packages.items()}
        yield about("training step", MODEL, 64, "float32"), calls, {}


def about(what, model, batch, dtype):
    """What identifies a run in the results."""
    return {"what": what, "model": model, "batch": batch, "dtype": dtype}


def trainer_step(package, config, images, labels):
    """A call that takes one training step."""
    trainer = package.train.ParallelTrainer(config, Recipe())
    return lambda: trainer.step(images, labels, 1e-3)


def time_runs(args):
    """Time every run, print its table, and return the results."""
    results = []
    for run, calls, missing in runs(args):
        seconds = interleaved(calls, args.repeats)
        title = f"{run['model']}, {run['what']}, {run['dtype']}, batch {run['batch']}, {args.device}"
        reference = best_peer(seconds)
        print("\n".join(table(title, seconds, reference)))
        for name, why in missing.items():
            print(f"  {name:34} NOT HERE: {why}")
        memory = {who: gpu_memory(call) for who, call in calls.items()} if args.gpu else {}
        for who, megabytes in memory.items():
            print(f"  {who:34} {megabytes:9.0f} MB of the GPU's memory at most")
        results.append({**run, "reference": reference, "missing": missing, "seconds": seconds,
                        "summary": summary(seconds, reference), "gpu_memory_mb": memory})  # fmt: skip
    return results


def best_peer(seconds):
    """The quickest of other people's models, or our plain PyTorch twin where there is none; eager."""
    peers = [name for name in seconds if "twin" not in name and "compiled" not in name]
    return min(peers, key=lambda name: sorted(seconds[name])[len(seconds[name]) // 2], default="PyTorch twin, plain")


def gpu_memory(call):
    """Most of the GPU's memory that a call takes, in MB."""
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() / 2**20


def process_memory(args):
    """Peak memory of whole processes, in MB: NumPy's forward, and training of both."""
    found = {}
    for batch in args.batch:
        for kind in KINDS:
            code = ONE_FORWARD.format(model=args.model[0], batch=batch, kind=kind)
            found[f"NumPy forward, {kind}, batch {batch}"] = peak_memory(code)
    for package in ("swin_numpy", "swin_torch"):
        found[f"training step, {package}, batch 4"] = peak_memory(
            TWO_STEPS.format(package=package, model=args.model[0], batch=4)
        )
    print("peak memory of the whole process")
    for name, megabytes in found.items():
        print(f"  {name:34} {megabytes:9.0f} MB")
    return found


def time_growth(args):
    """Time sides of SIDES, print them, and return seconds and exponents."""
    config, sides = get_config(args.model[0]), SIDES[:-1] if args.quick else SIDES
    dtype, seconds = set_dtype(args.dtype[0]), {}
    for side in sides:
        times = interleaved(growing(config, side, args.device, dtype), 3)
        for name, values in times.items():
            seconds.setdefault(name, []).append(sorted(values)[1])
    exponents = {name: exponent(sides, values) for name, values in seconds.items()}
    print(f"growth with the image, {args.model[0]}, batch 1, sides {', '.join(map(str, sides))}")
    for name, values in seconds.items():
        listed = "  ".join(f"{1000 * value:9.1f}" for value in values)
        print(f"  {name:34} {listed} ms   time ~ pixels^{exponents[name]:.2f}")
    return {"sides": list(sides), "seconds": seconds, "exponents": exponents}


def time_batches(args):
    """Seconds for one image in batches of several sizes."""
    config, batches = get_config(args.model[0]), BATCHES["gpu" if args.gpu else "cpu"][: 3 if args.quick else None]
    dtype, seconds = set_dtype(args.dtype[0]), {}
    for batch in batches:
        times = interleaved(batched(config, batch, args.device, dtype), 3)
        for name, values in times.items():
            seconds.setdefault(name, []).append(sorted(values)[1] / batch)
    print(f"growth with the batch, {args.model[0]}, ms an image in batches of {', '.join(map(str, batches))}")
    for name, values in seconds.items():
        print(f"  {name:34} " + "  ".join(f"{1000 * value:9.1f}" for value in values))
    return {"batches": list(batches), "seconds": seconds}


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = parse(arguments)
    return exit_status("python -m tests.benchmarks", lambda: measure_all(args, arguments))


def measure_all(args, arguments):
    """Measure and print what the arguments say. Raises ValueError or OSError for what can't be done."""
    find_device(args.device, args.dtype[0])
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)  # if that fails, say so before the work
    where = environment("numpy", "torch", "timm", "torchvision", "transformers")
    report = {
        "machine": where,
        "device": device_name(args.device),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["python -m tests.benchmarks", *(sys.argv[1:] if arguments is None else arguments)]),
    }
    print(f"{where}; PyTorch on {report['threads']} threads, {report['device']}\n")
    report["runs"] = time_runs(args)
    report["memory_mb"] = process_memory(args) if "memory" in args.only and not args.gpu else {}
    report["growth"] = time_growth(args) if "growth" in args.only else {}
    report["batches"] = time_batches(args) if "growth" in args.only else {}
    if args.json:
        write_text(args.json, json.dumps(report, indent=1) + "\n")
    if args.plot:
        from figures.speed import bench

        bench(report).savefig(args.plot)


if __name__ == "__main__":
    sys.exit(main())
