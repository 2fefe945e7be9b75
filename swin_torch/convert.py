"""Rewrite a checkpoint under other names or in another format: `python -m swin_torch.convert IN OUT`.

It stands here because reading what torch.save wrote needs PyTorch; everything else needs only NumPy.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.replace import replace_file
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.export import LIBRARIES, export_state_dict
from swin_numpy.weights.files import read_file, save_checkpoint
from swin_numpy.weights.infer import UntoldError
from swin_numpy.weights.load import load_checkpoint, load_with_config
from swin_numpy.weights.names import convert_state_dict

NAMINGS = ("official", *LIBRARIES)
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")

EXAMPLES = """examples:
  python -m swin_torch.convert swin_tiny_patch4_window7_224.pth tiny.safetensors
  python -m swin_torch.convert model.safetensors tiny.npz
  python -m swin_torch.convert tiny.safetensors tiny.pth --to torchvision
  python -m swin_torch.convert tiny.safetensors tiny.pth --to microsoft --img-size 224
  python -m swin_torch.convert v2.safetensors v2.pth --to torchvision --window-size 8 --img-size 256
"""


def parse(arguments):
    """The command line's arguments, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m swin_torch.convert",
        description="Rewrite a checkpoint of Microsoft's code, timm, torchvision, transformers, OpenMMLab or ours.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="IN", help=".safetensors, .npz, a file of torch.save, or a folder of the hub")
    parser.add_argument("target", metavar="OUT", help="a name that ends in .safetensors, .npz, .pth or .pt")
    parser.add_argument("--to", choices=NAMINGS, default="official",
                        help="whose names (default: %(default)s, Microsoft's less derived buffers)")  # fmt: skip
    parser.add_argument("--img-size", type=_ints, metavar="N", help="built size, or H,W, if the file doesn't say")
    parser.add_argument("--window-size", type=_ints, metavar="M", help="window, or M,M,…, if the file doesn't say (V2)")
    return parser.parse_args(arguments)


def convert(source, target, to="official", **known):
    """Read `source`, write `target`; returns what was read, {official name: array}.

    known    fields of SwinConfig that the file doesn't determine
    raises   CheckpointError, ValueError or OSError; then nothing is written. Nor is it if the new file, read again,
             isn't the same weights.
    """
    target = Path(target)
    if target.suffix not in SUFFIXES:
        raise ValueError(f"{target}: expected a name that ends in {', '.join(SUFFIXES)}")
    try:
        state, config = load_with_config(source, **known)
    except UntoldError:
        state, config = load_checkpoint(source), None  # most namings do without
    names = state if to == "official" else export_state_dict(state, to, config)
    _write(target, names, to, config, lambda written: _check_same(written, state, f"{to} names in {target.suffix}"))
    return state


def _write(path, names, to, config, check):
    """As the library's own loader wants it: Microsoft's looks for the weights under "model"."""
    if path.suffix in (".pth", ".pt"):
        tensors = {name: torch.from_numpy(value) for name, value in names.items()}
        saved = {"model": tensors} if to == "microsoft" else tensors
        replace_file(path, lambda temporary: (torch.save(saved, temporary), check(temporary)))
    else:
        metadata = {"format": "pt"} if to != "official" else {"config": config} if config else {}
        save_checkpoint(path, names, metadata, check)  # transformers doesn't read a file without a format


def _check_same(path, state, what):
    """Raise CheckpointError unless the file, read again, gives the same weights."""
    found = convert_state_dict(read_file(path)[0])
    if found.keys() != state.keys() or not all(np.array_equal(found[n], state[n], equal_nan=True) for n in state):
        raise CheckpointError(f"{what} would not give these weights back")


def _ints(text):
    """ "224" → 224; "64,256" → (64, 256)."""
    values = tuple(int(value) for value in text.split(","))
    return values[0] if len(values) == 1 else values


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = parse(arguments)
    known = {"img_size": args.img_size, "window_size": args.window_size}
    known = {field: value for field, value in known.items() if value is not None}

    def work():
        state = convert(args.source, args.target, args.to, **known)
        numbers = sum(value.size for value in state.values())
        print(f"{args.target}: {len(state)} parameters, {numbers:,} numbers, {args.to} names")

    return exit_status("python -m swin_torch.convert", work)


if __name__ == "__main__":
    sys.exit(main())
