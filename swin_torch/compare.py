"""Run both twins on a picture and say how far apart they are, step by step: `python -m swin_torch.compare PICTURE`.

The one room of this package that knows both twins.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import swin_numpy
from swin_numpy.__main__ import add_model_options, find_model, read_picture
from swin_numpy.runtime.environment import environment
from swin_numpy.runtime.trace import record

from .model import SwinTransformer

# The largest relative difference that rounding alone explains, at any step of any published model.
BOUNDS = {"float64": 1e-9, "float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}

EXAMPLES = """examples:
  python -m swin_torch.compare figures/photos/chelsea.jpg
  python -m swin_torch.compare holiday.jpg --dtype float64 --details
  python -m swin_torch.compare holiday.jpg --device cuda --dtype bfloat16 --save runs/bfloat16
  python -m swin_torch.compare holiday.jpg --weights base.safetensors
"""


@dataclass(frozen=True)
class Row:
    """One step of both twins. absolute: the largest difference; relative: that over the largest number."""

    name: str
    what: str
    shape: tuple
    absolute: float
    relative: float
    numpy_seconds: float
    torch_seconds: float


def compare(numpy_model, torch_model, images, details=False):
    """Run both twins on `images` (n, c, H, W, a NumPy array) and return one Row for every step.

    The models must hold the same weights. The PyTorch twin may be on any device and of any dtype; the NumPy
    twin, in its own dtype, is what it is measured against.
    """
    parameter = next(torch_model.parameters())
    inputs = torch.from_numpy(images).to(parameter)
    images = images.astype(numpy_model.norm.weight.dtype)
    finish = torch.cuda.synchronize if parameter.is_cuda else (lambda: None)
    with torch.inference_mode():
        torch_model.eval()(inputs)  # the first run of anything also pays for what it sets up
        torch_steps = record(torch_model, inputs, details, finish, title="PyTorch")
    numpy_steps = record(numpy_model.eval(), images, details, title="NumPy")
    return [measure(*steps) for steps in zip(numpy_steps, torch_steps, strict=True)]


def measure(numpy_step, torch_step):
    expected, got = numpy_step.output, torch_step.output.double().cpu().numpy()
    if expected.shape != got.shape:
        raise ValueError(f"{numpy_step.name}: NumPy gives {expected.shape}, PyTorch {got.shape}")
    absolute = np.abs(expected - got).max()
    relative = absolute / np.abs(expected).max()
    return Row(numpy_step.name, numpy_step.what, expected.shape, float(absolute), float(relative),
               numpy_step.seconds, torch_step.seconds)  # fmt: skip


def print_table(rows):
    print(
        f"{'step':24} {'what':22} {'shape':>14} {'largest diff':>12} {'relative':>9} {'NumPy ms':>9} {'PyTorch ms':>10}"
    )
    for row in rows:
        shape = "x".join(map(str, row.shape))
        times = f"{1000 * row.numpy_seconds:9.2f} {1000 * row.torch_seconds:10.2f}"
        print(f"{row.name:24} {row.what:22} {shape:>14} {row.absolute:12.1e} {row.relative:9.1e} {times}")
    numpy_time, torch_time = sum(r.numpy_seconds for r in rows), sum(r.torch_seconds for r in rows)
    print(f"{'whole model':24} {'':22} {'':>14} {'':>12} {'':>9} {1000 * numpy_time:9.2f} {1000 * torch_time:10.2f}")


def worst(rows):
    """The row with the largest relative difference; NaN counts as largest."""
    return max(rows, key=lambda row: np.inf if np.isnan(row.relative) else row.relative)


def verdict(rows, dtype):
    """(do the twins agree, one sentence that says so)."""
    row = worst(rows)
    agree = row.relative <= BOUNDS[dtype]
    word = "agree" if agree else "DISAGREE"
    sign = "<=" if agree else "not <="
    return agree, (
        f"The twins {word} at all {len(rows)} steps: largest relative difference {row.relative:.1e} at {row.name}, "
        f"{sign} {BOUNDS[dtype]:.0e}, the bound for {dtype}."
    )


def make_twins(config, dtype="float32", device="cpu", state=None, seed=0):
    """Both twins with the same weights: `state` (official names), or the random ones that `seed` gives (see `awake`).

    For float16 and bfloat16 the NumPy twin computes in float32. Raises ValueError for a device that is not there.
    """
    device = find_device(device, dtype)
    numpy_model = swin_numpy.SwinTransformer(config, seed, np.float64 if dtype == "float64" else np.float32)
    torch_model = SwinTransformer(config, seed).to(device, getattr(torch, dtype))
    if state is None and config.version == 2:
        state = awake(numpy_model.state_dict())
    if state is not None:
        numpy_model.load_state_dict(state)
        torch_model.load_state_dict(state)
    return numpy_model, torch_model


def awake(state):
    """V2's blocks start as the identity, as their norms start at 0: it couldn't be seen whether the blocks agree."""
    norms = {name: np.ones_like(state[name]) for name in state if name.endswith(("norm1.weight", "norm2.weight"))}
    return state | norms


def find_device(name, dtype):
    """A torch.device that exists and can do `dtype`. Raises ValueError that says what there is instead."""
    there = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    kind, _, index = name.partition(":")
    if kind not in there or (
        index and not (kind == "cuda" and index.isdigit() and int(index) < torch.cuda.device_count())
    ):
        raise ValueError(f"device {name!r} is not there; this machine has: {', '.join(there)}")
    if kind == "mps" and dtype == "float64":
        raise ValueError("device 'mps' has no float64; choose --dtype float32 or --device cpu")
    return torch.device(name)


def save(folder, rows, about):
    """Write the table as JSON and a picture of it into `folder`."""
    from figures import save as save_figure  # Matplotlib takes a second to import: only where it is wanted
    from figures.measure import disagreement

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = {**about, "rows": [asdict(row) for row in rows]}
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    figure = disagreement([row.name for row in rows], {about["dtype"]: np.array([row.relative for row in rows])})
    save_figure(figure, "disagreement", folder)
    print(f"Saved report.json and disagreement.png in {folder}")


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m swin_torch.compare",
        description="Take a picture through Swin Transformer twice, in NumPy and in PyTorch, and compare every step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("picture", help="JPEG, PNG or anything else that Pillow reads, of any size and mode")
    parser.add_argument("--device", default="cpu", help="of the PyTorch twin: cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument("--dtype", choices=list(BOUNDS), default="float32", help="of the PyTorch twin; the NumPy twin "
                        "computes in float64 if this is float64, else in float32 (default: float32)")  # fmt: skip
    add_model_options(parser)
    parser.add_argument("--full", action="store_true", help="don't resize or crop: take the picture at its own size")
    parser.add_argument("--details", action="store_true", help="also the layers inside every block")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: 0)")
    parser.add_argument("--save", metavar="DIR", help="write the table (JSON) and a picture of it there")
    return parser.parse_args(arguments)


def run(args):
    """Do what the arguments say; True if the twins agree. Raises ValueError or OSError for what can't be done."""
    find_device(args.device, args.dtype)
    config, state, title = find_model(args.model, args.weights)
    images = read_picture(args.picture, config, args.full)
    numpy_model, torch_model = make_twins(config, args.dtype, args.device, state, args.seed)
    where = environment("numpy", "torch")
    print(where)
    print(f"{title} on {args.device}, {args.dtype}; {args.picture} as {images.shape}")
    rows = compare(numpy_model, torch_model, images, args.details)
    print_table(rows)
    agree, sentence = verdict(rows, args.dtype)
    print(sentence)
    if args.save:
        about = {"environment": where, "device": device_name(args.device), "dtype": args.dtype, "model": title}
        save(args.save, rows, about)
    return agree


def device_name(name):
    return torch.cuda.get_device_name(name) if name.startswith("cuda") else name


def main(arguments=None):
    args = parse(arguments)
    try:
        return 0 if run(args) else 1
    except (ValueError, OSError) as error:
        print(f"python -m swin_torch.compare: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
