"""Run the NumPy reference on a picture: `python -m swin_numpy PICTURE`."""

import argparse
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image

from .config import CONFIGS, SwinConfig, get_config
from .functional import softmax
from .model import SwinTransformer
from .pictures.classes import class_names, is_fashion, names_in
from .pictures.images import ImageError, load_image, preprocess, to_array
from .pictures.preprocessing import Preprocessing
from .runtime.command import exit_status
from .runtime.environment import environment
from .runtime.trace import record
from .training.fashion_mnist import SIDE, standardise
from .weights.hub import fetch
from .weights.load import load_checkpoint, load_with_config
from .weights.published import PUBLISHED

MODEL = "swin_tiny_patch4_window7_224"

EXAMPLES = """examples:
  python -m swin_numpy figures/photos/chelsea.jpg
  python -m swin_numpy holiday.png --pretrained    Swin-T with its published weights, from the Hugging Face hub
  python -m swin_numpy holiday.png --pretrained swinv2_tiny_patch4_window8_256
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
    """Add --model, --weights and --pretrained to an argparse parser."""
    models = f"one of: {', '.join(CONFIGS)} (default: the model in --weights, or {MODEL})"
    parser.add_argument("--model", metavar="NAME", help=models)
    files = ".safetensors, .npz or what torch.save wrote; without one the weights are random"
    parser.add_argument("--weights", metavar="FILE", help=files)
    published = f"published weights (default: {MODEL}'s), downloaded once: one of --model's names, owner/repository on "
    published += "the Hugging Face hub, or a folder; pictures are prepared as their repository says"
    parser.add_argument("--pretrained", metavar="NAME", nargs="?", const=MODEL, help=published)


def _show(args):
    """Print every step and the most probable classes. Raises ValueError or OSError for what can't be done."""
    if args.top < 1:
        raise ValueError(f"--top: expected at least 1, got {args.top}")
    found = find_model(args.model, args.weights, args.pretrained)
    model = SwinTransformer(found.config, args.seed, np.dtype(args.dtype))
    if found.state is not None:
        model.load_state_dict(found.state)
    images = read_picture(args.picture, found, args.full).astype(args.dtype)
    print(environment("numpy"))
    print(f"{found.title}, {args.dtype}, {args.picture} as {images.shape}")
    print(f"{'step':24} {'what':24} {'shape':>18} {'mean':>9} {'spread':>9} {'ms':>8}")
    for step in record(model, images, args.details, title=found.title):
        x, shape = step.output, "x".join(map(str, step.output.shape))
        milliseconds = 1000 * step.seconds
        print(f"{step.name:24} {step.what:24} {shape:>18} {x.mean():9.4f} {x.std():9.4f} {milliseconds:8.2f}")
    if found.config.num_classes:
        print_top(x[0], args.top, found.classes, trained=found.state is not None)
    else:
        print(f"The model has no head, so its output is {x.shape[1]} features, not classes.")


class Found(NamedTuple):
    """A model that the command line asks for. state: {official name: array}, or None for random weights."""

    config: SwinConfig
    state: dict | None
    title: str
    classes: tuple[str, ...] | None
    preprocessing: Preprocessing | None = None  # None: as published for models of that size


def find_model(name=None, weights=None, pretrained=None):
    """--model, --weights and --pretrained, any of which may be None → Found."""
    if pretrained is not None:
        if name is not None or weights is not None:
            raise ValueError("--pretrained brings model and weights: leave out --model and --weights")
        return _find_published(pretrained)
    if name is None and weights is not None:
        state, config = load_with_config(weights)
        return Found(config, state, str(weights), class_names(config))
    config = get_config(name or MODEL)
    state = None if weights is None else load_checkpoint(weights)
    return Found(config, state, name or MODEL, class_names(config))


def _find_published(name):
    folder = fetch(name)
    state, config = load_with_config(folder)
    title = f"{name}, weights of {PUBLISHED[name].repo}" if name in PUBLISHED else f"weights of {name}"
    preprocessing = Preprocessing.from_pretrained(folder, config.image_shape)
    return Found(config, state, title, names_in(folder, config), preprocessing)


def read_picture(path, found, full):
    """The picture in the file `path` as images (1, channels, H, W), float32, for a model that find_model found.

    It is preprocessed as published for that model, or, with `full`, taken at its own size. Raises ImageError for a file
    that isn't a picture and for a model with neither 3 channels nor Fashion-MNIST's one.
    """
    config, preprocessing = found.config, found.preprocessing
    image = load_image(path)
    if is_fashion(config):
        grey = image.convert("L") if full else image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return standardise(np.asarray(grey)[None])  # Fashion-MNIST shows bright things on black
    if config.in_chans != 3:
        raise ImageError(
            f"{str(path)!r}: the model takes {config.in_chans} channels, and this command can't make those from a "
            "picture; call the model from Python"
        )
    if preprocessing is not None:
        return to_array(image, preprocessing.mean, preprocessing.std) if full else preprocessing(image)
    return to_array(image) if full else preprocess(image, config.image_shape or 224)


def print_top(logits, count, names, trained=True):
    """Print the classes with the largest probability, by name where names are known. logits: (classes,)."""
    probabilities = softmax(logits.astype(np.float64))
    best = np.argsort(-probabilities)[:count]
    print("most probable classes:")
    for i in best:
        print(f"  {probabilities[i]:7.2%}  {i}{' ' + names[i] if names else ''}")
    if not trained:
        print("The weights are random, so the classes mean nothing; --pretrained downloads trained ones.")
    elif not names:
        print(f"What its {len(logits):,} classes are called isn't said with the weights.")


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = _parse(arguments)
    return exit_status("python -m swin_numpy", lambda: _show(args))


if __name__ == "__main__":
    sys.exit(main())
