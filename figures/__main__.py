"""Draw figures/gallery again: `python -m figures` (or `make figures`)."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from swin_numpy.config import CONFIGS
from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.replace import replace_file

from .animation import shift_gif
from .photographs import PHOTOS
from .pictures import NEEDS_TORCH, NEEDS_WEIGHTS, PICTURES, Gallery
from .style import GALLERY, save

EXAMPLES = """examples:
  python -m figures
  python -m figures --only masks cyclic_shift
  python -m figures --weights swin_tiny_patch4_window7_224.pth     also those that need a trained model
"""


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m figures",
        description="Draw the pictures of figures/gallery, each as PNG and SVG.",
        epilog=EXAMPLES + "\npictures: " + " · ".join(PICTURES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=PICTURES, help="draw these and no others")
    parser.add_argument("--folder", type=Path, default=GALLERY, help="where they go (default: figures/gallery)")
    parser.add_argument("--model", choices=CONFIGS, metavar="NAME", default=Gallery.name, help="default: %(default)s")
    parser.add_argument("--weights", metavar="FILE", help="checkpoint of that model; without one, some are left out")
    parser.add_argument("--photo", choices=PHOTOS, default=Gallery.photo, help="default: %(default)s")
    return parser.parse_args(arguments)


def left_out(name, args):
    """Why `name` can't be drawn, or None."""
    if name in NEEDS_WEIGHTS and not args.weights:
        return "needs --weights"
    if name in NEEDS_TORCH and find_spec("torch") is None:
        return "needs PyTorch"
    return None


def contents(alts):
    """The page of the gallery: each picture {file: alternative text}, with what it shows."""
    shown = [f"## {file}\n\n![{alt}]({file})\n\n{alt}" for file, alt in alts.items()]
    return "\n\n".join(["# Gallery\n\nMade by `python -m figures`. All are there as SVG too.", *shown]) + "\n"


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = parse(arguments)
    return exit_status("python -m figures", lambda: draw(args))


def draw(args):
    """Draw what the arguments say. Raises ValueError or OSError for what can't be done."""
    gallery = Gallery(args.model, args.weights, args.photo)
    names = args.only or list(PICTURES)
    reasons = {name: left_out(name, args) for name in names}
    alts = {}
    for name in tqdm([name for name in names if not reasons[name]], unit="picture"):
        figure = PICTURES[name](gallery)
        alts[f"{name}.png"] = figure.alt
        save(figure, name, args.folder)
    if "cyclic_shift" in names:
        animation = shift_gif(gallery.pixels)
        replace_file(args.folder / "cyclic_shift.gif", lambda temporary: temporary.write_bytes(animation))
    if not args.only:
        alts = {"cyclic_shift.gif": alts["cyclic_shift_beats.png"], **alts}
        replace_file(args.folder / "README.md", lambda temporary: temporary.write_text(contents(alts), "utf-8"))
    for name, reason in reasons.items():
        if reason:
            print(f"{name}: left out, {reason}")
    print(f"{sum(reason is None for reason in reasons.values())} pictures in {args.folder}")


if __name__ == "__main__":
    sys.exit(main())
