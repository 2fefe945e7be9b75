"""Run the NumPy reference on a picture: `python -m swin_numpy PICTURE`."""

import argparse
import sys
import warnings

import numpy as np

from .checkpoint import load_checkpoint
from .config import CONFIGS, get_config
from .environment import environment
from .functional import softmax
from .images import load_image, preprocess, to_array
from .model import SwinTransformer
from .record import record

EXAMPLES = """examples:
  python -m swin_numpy figures/photos/chelsea.jpg
  python -m swin_numpy holiday.png --model swin_base_patch4_window7_224
  python -m swin_numpy holiday.png --full          the whole picture at its own size
  python -m swin_numpy holiday.png --weights swin_tiny_patch4_window7_224.pth --top 5
"""


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m swin_numpy",
        description="Take a picture through Swin Transformer in pure NumPy and show every step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("picture", help="JPEG, PNG or anything else that Pillow reads, of any size and mode")
    parser.add_argument("--model", default="swin_tiny_patch4_window7_224", metavar="NAME",
                        help=f"one of: {', '.join(CONFIGS)} (default: %(default)s)")  # fmt: skip
    parser.add_argument("--weights", metavar="FILE", help="checkpoint; without one the weights are random")
    parser.add_argument("--full", action="store_true", help="don't resize or crop: take the picture at its own size")
    parser.add_argument("--details", action="store_true", help="also the layers inside every block")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: 0)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many classes to print (default: 5)")
    return parser.parse_args(arguments)


def run(args):
    """Do what the arguments say. Raises ValueError or OSError for what can't be done."""
    model = build(get_config(args.model), args)
    images = read_picture(args.picture, model.config, args.full).astype(args.dtype)
    print(environment("numpy"))
    print(f"{args.model}, {args.dtype}, {args.picture} as {images.shape}")
    print(f"{'step':24} {'what':24} {'shape':>18} {'mean':>9} {'spread':>9} {'ms':>8}")
    for step in record(model, images, args.details, title=args.model):
        x, shape = step.output, "x".join(map(str, step.output.shape))
        milliseconds = 1000 * step.seconds
        print(f"{step.name:24} {step.what:24} {shape:>18} {x.mean():9.4f} {x.std():9.4f} {milliseconds:8.2f}")
    print_top(x[0], args.top, trained=args.weights is not None)


def build(config, args):
    model = SwinTransformer(config, seed=args.seed)
    if args.weights:
        model.load_state_dict(load_checkpoint(args.weights))
    return model.to(args.dtype)


def read_picture(path, config, full):
    """images (1, 3, H, W): the published preprocessing, or the picture as it is."""
    image = load_image(path)
    return to_array(image) if full else preprocess(image, config.image_shape)


def print_top(logits, count, trained):
    """The classes with the largest probability."""
    probabilities = softmax(logits.astype(np.float64))
    best = np.argsort(-probabilities)[:count]
    print("most probable classes: " + ", ".join(f"{i} ({probabilities[i]:.2%})" for i in best))
    if not trained:
        print("The weights are random, so the classes mean nothing; --weights FILE loads trained ones.")


def main(arguments=None):
    args = parse(arguments)
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"python -m swin_numpy: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("default", category=UserWarning)
    sys.exit(main())
