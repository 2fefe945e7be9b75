"""Rewrite a checkpoint under other names or in another format: `python -m swin_torch.convert IN OUT`.

It stands here because reading what torch.save wrote needs PyTorch; everything else needs only NumPy.
"""

import argparse
import sys
from pathlib import Path

import torch

from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.replace import replace_file
from swin_numpy.weights.check import CheckpointError
from swin_numpy.weights.files import load_checkpoint, load_with_config, save_checkpoint
from swin_numpy.weights.names import export_state_dict

NAMINGS = ("official", "microsoft", "timm", "torchvision", "transformers", "transformers_classic")

EXAMPLES = """examples:
  python -m swin_torch.convert swin_tiny_patch4_window7_224.pth tiny.safetensors
  python -m swin_torch.convert model.safetensors tiny.npz
  python -m swin_torch.convert tiny.safetensors tiny.pth --to torchvision
  python -m swin_torch.convert tiny.safetensors tiny.pth --to microsoft --img-size 224
  python -m swin_torch.convert v2.safetensors v2.pth --to torchvision --window-size 8 --img-size 256
"""


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m swin_torch.convert",
        description="Rewrite a checkpoint of Microsoft's code, timm, torchvision, transformers or this package.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="IN", help=".safetensors, .npz or a file of torch.save; found by content")
    parser.add_argument("target", metavar="OUT", help="a name that ends in .safetensors, .npz, .pth or .pt")
    parser.add_argument("--to", choices=NAMINGS, default="official",
                        help="whose names (default: %(default)s, Microsoft's less derived buffers)")  # fmt: skip
    parser.add_argument("--img-size", type=int, metavar="N", help="built size, if the file doesn't tell")
    parser.add_argument("--window-size", type=int, metavar="M", help="window, if the file doesn't tell (V2)")
    return parser.parse_args(arguments)


def convert(source, target, to="official", **known):
    """Read `source`, write `target`; returns what was read, {official name: array}.

    known: fields of SwinConfig that the file doesn't tell. Raises CheckpointError, ValueError or OSError.
    """
    target = Path(target)
    if target.suffix not in (".safetensors", ".npz", ".pth", ".pt"):
        raise ValueError(f"{target}: expected a name that ends in .safetensors, .npz, .pth or .pt")
    try:
        state, config = load_with_config(source, **known)
    except CheckpointError:
        state, config = load_checkpoint(source), None  # its configuration is not told: most namings do without
    names = state if to == "official" else export_state_dict(state, to, config)
    if target.suffix in (".pth", ".pt"):
        save_pickle(target, names, to)
    else:
        metadata = {"format": "pt"} if to != "official" else {"config": config} if config else {}
        save_checkpoint(target, names, metadata)  # transformers doesn't read a file without a format
    return state


def save_pickle(path, state, to):
    """As the library's own loader wants it: Microsoft's looks for the weights under "model"."""
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    replace_file(path, lambda temporary: torch.save({"model": tensors} if to == "microsoft" else tensors, temporary))


def main(arguments=None):
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
