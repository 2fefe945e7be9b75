"""Run both twins on a picture and say how far apart they are, step by step: `python -m swin_torch.compare PICTURE`.

In the two packages, only this file and tour.py run both twins.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

import swin_numpy
from swin_numpy.__main__ import add_model_options, find_model, read_picture
from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.environment import environment
from swin_numpy.runtime.replace import write_text
from swin_numpy.runtime.trace import record

from .model import SwinTransformer

# The largest relative difference that passes, at any step: above what rounding gave wherever it was measured.
BOUNDS = {"float64": 1e-9, "float32": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}

EXAMPLES = """examples:
  python -m swin_torch.compare figures/photos/chelsea.jpg
  python -m swin_torch.compare holiday.jpg --dtype float64 --details
  python -m swin_torch.compare holiday.jpg --device cuda --dtype bfloat16 --save runs/bfloat16
  python -m swin_torch.compare holiday.jpg --weights base.safetensors
  python -m swin_torch.compare holiday.jpg --pretrained swin_base_patch4_window7_224
"""


@dataclass(frozen=True)
class Row:
    """One step of both twins. absolute: the largest difference; relative: the same divided by the largest value."""

    name: str
    what: str
    shape: tuple
    absolute: float
    relative: float
    numpy_seconds: float
    torch_seconds: float


def compare(numpy_model, torch_model, images, details=False):
    """Run both twins on `images`, a NumPy array (n, c, H, W), and return one Row for every step.

    The models must hold the same weights. The PyTorch twin may be on any device and have any dtype; it is measured
    against the NumPy twin in that one's own dtype. details: also the layers inside the blocks.
    Raises ValueError if an output of the two has different shapes.
    """
    parameter = next(torch_model.parameters())
    inputs = torch.from_numpy(images).to(parameter)
    images = images.astype(numpy_model.norm.weight.dtype)
    finish = torch.cuda.synchronize if parameter.is_cuda else (lambda: None)
    with torch.inference_mode():
        torch_model.eval()(inputs)  # the first run also pays for what PyTorch sets up once
        torch_steps = record(torch_model, inputs, details, finish, title="PyTorch")
    numpy_steps = record(numpy_model.eval(), images, details, title="NumPy")
    return [measure(*steps) for steps in zip(numpy_steps, torch_steps, strict=True)]


def measure(numpy_step, torch_step):
    """The Row of one step: a Step of the NumPy twin and the same of the PyTorch twin."""
    expected, got = numpy_step.output, torch_step.output.double().cpu().numpy()
    if expected.shape != got.shape:
        raise ValueError(f"{numpy_step.name}: NumPy gives {expected.shape}, PyTorch {got.shape}")
    absolute = np.abs(expected - got).max()
    relative = absolute / np.abs(expected).max()
    return Row(numpy_step.name, numpy_step.what, expected.shape, float(absolute), float(relative),
               numpy_step.seconds, torch_step.seconds)  # fmt: skip


def print_table(rows):
    """Print the rows, and the time of the whole model."""
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
    """(whether the twins agree in every row, one sentence that says so). dtype: the PyTorch twin's, a key of BOUNDS."""
    row = worst(rows)
    agree = row.relative <= BOUNDS[dtype]
    word = "agree" if agree else "DISAGREE"
    sign = "<=" if agree else "not <="
    return agree, (
        f"The twins {word} at all {len(rows)} steps: largest relative difference {row.relative:.1e} at {row.name}, "
        f"{sign} {BOUNDS[dtype]:.0e}, the bound for {dtype}."
    )


def make_twins(config, dtype="float32", device="cpu", state=None, seed=0):
    """(NumPy model, PyTorch model) with the same weights.

    state: {official name: array}; None: random weights, drawn from `seed`, with which V2's blocks do something too.
    For float16 and bfloat16 the NumPy twin computes in float32. Raises ValueError for a device that doesn't exist.
    """
    device = find_device(device, dtype)
    numpy_model = swin_numpy.SwinTransformer(config, seed, np.float64 if dtype == "float64" else np.float32)
    torch_model = SwinTransformer(config, seed).to(device, getattr(torch, dtype))
    if state is None and config.version == 2:
        state = _awake(numpy_model.state_dict())
    if state is not None:
        numpy_model.load_state_dict(state)
        torch_model.load_state_dict(state)
    return numpy_model, torch_model


def _awake(state):
    """V2's norms start at 0 and its blocks as the identity, which would hide a disagreement: start the norms at 1."""
    norms = {name: np.ones_like(state[name]) for name in state if name.endswith(("norm1.weight", "norm2.weight"))}
    return state | norms


def find_device(name, dtype):
    """The torch.device called `name`. Raises ValueError if this machine doesn't have it or it lacks `dtype`."""
    there = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    kind, _, index = name.partition(":")
    if kind not in there or (
        index and not (kind == "cuda" and index.isdigit() and int(index) < torch.cuda.device_count())
    ):
        raise ValueError(f"device {name!r} doesn't exist here; this machine has: {', '.join(there)}")
    if kind == "mps" and dtype == "float64":
        raise ValueError("device 'mps' has no float64; choose --dtype float32 or --device cpu")
    return torch.device(name)


def _save(folder, rows, about):
    """Write the table as JSON into `folder`, and a picture of it if the drawings are there."""
    folder = Path(folder)
    report = {**about, "rows": [asdict(row) for row in rows]}
    write_text(folder / "report.json", json.dumps(report, indent=1) + "\n")
    if find_spec("figures") is None:
        print(f"Saved report.json in {folder}; its picture needs a clone of the repository, which has the drawings")
        return
    from figures import save as save_figure  # Matplotlib takes a second to import: only where it is wanted
    from figures.measure import disagreement

    figure = disagreement([row.name for row in rows], {about["dtype"]: np.array([row.relative for row in rows])})
    save_figure(figure, "disagreement", folder)
    print(f"Saved report.json and disagreement.png in {folder}")


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m swin_torch.compare",
        description="Take a picture through Swin Transformer twice, in NumPy and in PyTorch, and compare every step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("picture", help="a JPEG, PNG, WebP or other picture file, of any size and mode")
    parser.add_argument("--device", default="cpu", help="of the PyTorch twin: cpu, cuda, cuda:1 or mps (default: cpu)")
    parser.add_argument("--dtype", choices=list(BOUNDS), default="float32", help="of the PyTorch twin; the NumPy twin "
                        "computes in float64 if this is float64, else in float32 (default: float32)")  # fmt: skip
    add_model_options(parser)
    parser.add_argument("--full", action="store_true", help="don't resize or crop: take the picture at its own size")
    parser.add_argument("--details", action="store_true", help="also the layers inside every block")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: %(default)s)")
    parser.add_argument("--save", metavar="DIR", help="write the table (JSON) and a picture of it there")
    return parser.parse_args(arguments)


def _compare_on_picture(args):
    """Print the table and the verdict; the exit status. Raises ValueError or OSError for what can't be done."""
    find_device(args.device, args.dtype)
    if args.save:
        Path(args.save).mkdir(parents=True, exist_ok=True)  # if that fails, say so before the work
    found = find_model(args.model, args.weights, args.pretrained)
    images = read_picture(args.picture, found, args.full)
    numpy_model, torch_model = make_twins(found.config, args.dtype, args.device, found.state, args.seed)
    where = environment("numpy", "torch")
    print(where)
    print(f"{found.title} on {args.device}, {args.dtype}; {args.picture} as {images.shape}")
    rows = compare(numpy_model, torch_model, images, args.details)
    print_table(rows)
    agree, sentence = verdict(rows, args.dtype)
    print(sentence)
    if args.save:
        about = {"environment": where, "device": device_name(args.device), "dtype": args.dtype, "model": found.title}
        _save(args.save, rows, about)
    return 0 if agree else 1


def device_name(name):
    """What the device called `name` is: the GPU's model, or "cpu", "mps"."""
    return torch.cuda.get_device_name(name) if name.startswith("cuda") else name


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = _parse(arguments)
    return exit_status("python -m swin_torch.compare", lambda: _compare_on_picture(args))


if __name__ == "__main__":
    sys.exit(main())
