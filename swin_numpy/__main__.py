"""Run the NumPy reference on a picture: `python -m swin_numpy PICTURE`."""

import argparse
import sys

import numpy as np
from PIL import Image

from .config import CONFIGS, get_config
from .functional import softmax
from .model import SwinTransformer
from .pictures.classes import class_names, is_fashion
from .pictures.images import ImageError, load_image, preprocess, to_array
from .runtime.command import exit_status
from .runtime.environment import environment
from .runtime.trace import record
from .training.fashion_mnist import SIDE, standardise
from .weights.load import load_checkpoint, load_with_config

MODEL = "swin_tiny_patch4_window7_224"

EXAMPLES = """examples:
  python -m swin_numpy figures/photos/chelsea.jpg
  python -m swin_numpy holiday.png --model swin_base_patch4_window7_224
  python -m swin_numpy holiday.png --full          the whole picture at its own size
  python -m swin_numpy holiday.png --weights swin_tiny_patch4_window7_224.pth --top 5
  python -m swin_numpy shoe.png --weights runs/swin_numpy.train/model.safetensors
"""


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m swin_numpy",
        description="Take a picture through Swin Transformer in pure NumPy and show every step.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("picture", help="a JPEG, PNG, WebP or other picture file, of any size and mode")
    add_model_options(parser)
    parser.add_argument("--full", action="store_true", help="don't resize or crop: take the picture at its own size")
    parser.add_argument("--details", action="store_true", help="also the layers inside every block")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: %(default)s)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes to print (default: %(default)s)")
    return parser.parse_args(arguments)


def add_model_options(parser):
    """Add --model and --weights to an argparse parser."""
    models = f"one of: {', '.join(CONFIGS)} (default: the model in --weights, or {MODEL})"
    parser.add_argument("--model", metavar="NAME", help=models)
    files = ".safetensors, .npz or what torch.save wrote; without one the weights are random"
    parser.add_argument("--weights", metavar="FILE", help=files)


def _show(args):
    """Print every step and the most probable classes. Raises ValueError or OSError for what can't be done."""
    if args.top < 1:
        raise ValueError(f"--top: expected at least 1, got {args.top}")
    config, state, title = find_model(args.model, args.weights)
    model = SwinTransformer(config, args.seed, np.dtype(args.dtype))
    if state is not None:
        model.load_state_dict(state)
    images = read_picture(args.picture, config, args.full).astype(args.dtype)
    print(environment("numpy"))
    print(f"{title}, {args.dtype}, {args.picture} as {images.shape}")
    print(f"{'step':24} {'what':24} {'shape':>18} {'mean':>9} {'spread':>9} {'ms':>8}")
    for step in record(model, images, args.details, title=title):
        x, shape = step.output, "x".join(map(str, step.output.shape))
        milliseconds = 1000 * step.seconds
        print(f"{step.name:24} {step.what:24} {shape:>18} {x.mean():9.4f} {x.std():9.4f} {milliseconds:8.2f}")
    if config.num_classes:
        _print_top(x[0], args.top, class_names(config), trained=state is not None)
    else:
        print(f"The model has no head, so its output is {x.shape[1]} features, not classes.")


def find_model(name, weights):
    """--model and --weights, either may be None → (SwinConfig, {official name: array} or None, title)."""
    if name is None and weights is not None:
        state, config = load_with_config(weights)
        return config, state, str(weights)
    config = get_config(name or MODEL)
    return config, None if weights is None else load_checkpoint(weights), name or MODEL


def read_picture(path, config, full):
    """The picture in the file `path` as images (1, channels, H, W), float32.

    It is preprocessed as published for that model, or, with `full`, taken at its own size. Raises ImageError for a file
    that isn't a picture and for a model with neither 3 channels nor Fashion-MNIST's one.
    """
    image = load_image(path)
    if is_fashion(config):
        grey = image.convert("L") if full else image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return standardise(np.asarray(grey)[None])  # Fashion-MNIST shows bright things on black
    if config.in_chans != 3:
        raise ImageError(
            f"{str(path)!r}: the model takes {config.in_chans} channels, and this command can't make those from a "
            "picture; call the model from Python"
        )
    return to_array(image) if full else preprocess(image, config.image_shape or 224)


def _print_top(logits, count, names, trained):
    """The classes with the largest probability, by name where names are known."""
    probabilities = softmax(logits.astype(np.float64))
    best = np.argsort(-probabilities)[:count]
    print("most probable classes:")
    for i in best:
        print(f"  {probabilities[i]:7.2%}  {i}{' ' + names[i] if names else ''}")
    if not trained:
        print("The weights are random, so the classes mean nothing; --weights FILE loads trained ones.")


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = _parse(arguments)
    return exit_status("python -m swin_numpy", lambda: _show(args))


if __name__ == "__main__":
    sys.exit(main())
