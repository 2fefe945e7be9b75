"""The command line of both trainers: `python -m swin_numpy.train` and `python -m swin_torch.train`."""

import argparse
import json
import math
import shlex
import sys
import time
from dataclasses import asdict, fields
from functools import partial

import numpy as np

from ..config import CONFIGS, config_from_dict, get_config
from ..runtime.command import exit_status
from ..weights.files import save_checkpoint
from ..weights.shapes import model_shapes
from .fashion_mnist import CLASSES, MODEL, SIDE, SUBSET, fashion_mnist, hold_out
from .loop import accuracy, fit
from .recipe import INITS, Recipe
from .runs import LAST, WEIGHTS, folder_of_run, resume

EXAMPLES = """examples:
  {prog} --out runs/mine               on the full set if its files are there, else on the subset that ships
  {prog} --data subset --epochs 8      on the subset
  {prog} --out runs/mine --resume      go on where a stopped run was, with otherwise the same options
  {prog} --validation 5000             watch 5,000 training images instead, and see the test images once, at the end
  {prog} --config '{{"drop_path_rate": 0.1}}'
The environment variable OMP_NUM_THREADS=1 keeps NumPy and PyTorch to one processor core.
"""
MOST_PARAMETERS, MOST_BLOCKS = 200_000_000, 1000  # Swin-L has 197 million and 24


def train(make_trainer, prog, arguments=None, more_options=lambda parser: None):
    """Read the command line, train, and print the result. Returns the exit status.

    make_trainer(config, recipe, args)   returns the trainer
    more_options(parser)                 adds the options that only this trainer has
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parse(prog, arguments, more_options)
    return exit_status(prog, partial(_train, make_trainer, prog, arguments, args))


def _parse(prog, arguments, more_options):
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train a small Swin on Fashion-MNIST.",
        epilog=EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="DIR", help="folder with the IDX files, or 'subset' for the 10,000 that ship")
    parser.add_argument("--validation", type=int, default=0, metavar="N",
                        help="hold out the last N training images and measure on them after each epoch, so that the "
                        "test images choose nothing (default: %(default)s, measure on the test images)")  # fmt: skip
    out = f"runs/{prog.split()[-1]}"
    parser.add_argument("--out", default=out, metavar="DIR", help="folder of the run (default: %(default)s)")
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out (bit for bit on the same machine and threads)",
    )
    again.add_argument("--overwrite", action="store_true", help="start over, even if --out holds a run")
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--model", default=MODEL, choices=[name for name in CONFIGS if "fashion" in name])
    parser.add_argument("--config", default="{}", metavar="JSON",
                        help='fields of SwinConfig to change in --model, such as {"drop_path_rate": 0.1}')  # fmt: skip
    parser.add_argument("--no-augmentation", dest="augmented", action="store_false", help="show every image as it is")
    for each in fields(Recipe):
        if each.name != "augmented":
            choices = INITS if each.name == "init" else None
            parser.add_argument(
                f"--{each.name.replace('_', '-')}", type=each.type, default=each.default, choices=choices,
                metavar=None if choices else "X", help=f"{each.metadata['help']} (default: %(default)s)",
            )  # fmt: skip
    more_options(parser)
    return parser.parse_args(arguments)


def _train(make_trainer, prog, arguments, args):
    """Do what the arguments say; the exit status. Raises ValueError or OSError for what can't be done."""
    if not 1 <= args.save_every:
        raise ValueError(f"--save-every: expected at least 1, got {args.save_every}")
    recipe = Recipe(**{each.name: getattr(args, each.name) for each in fields(Recipe)})
    config = _changed_config(args.model, args.config)
    source = SUBSET if args.data == "subset" else args.data
    data = {split: fashion_mnist(source, split) for split in ("train", "test")}
    if args.validation:
        data["train"], data["validation"] = hold_out(data["train"], args.validation)
    recipe.steps_per_epoch(len(data["train"].labels))
    trainer = make_trainer(config, recipe, args)
    with np.errstate(all="ignore"):  # `fit` itself notices when numbers run away
        if trainer.rank:
            return _run(trainer, data, args.out, args)
        with folder_of_run(args.out, args.resume, args.overwrite) as folder:
            try:
                return _run(trainer, data, folder, args)
            except KeyboardInterrupt:
                print(_after_stop(prog, arguments, args, folder), file=sys.stderr)
                return 130


def _run(trainer, data, folder, args):
    """data: {"train": FashionMNIST, "test": …} and, with --validation, "validation"."""
    train = data["train"]
    watched = "validation" if args.validation else "test"
    if args.resume:
        resume(trainer, train, folder)
    if trainer.rank == 0:
        print(f"{trainer}", *(f"{name}: {part.source}" for name, part in data.items()), sep="\n", flush=True)
    start = time.perf_counter()
    accuracies = {watched: fit(trainer, train, data[watched], folder, args.save_every, watched)}
    if trainer.rank == 0:
        seconds, since = f"{time.perf_counter() - start:.0f}", " since --resume" * args.resume
        path = folder / WEIGHTS
        if "test" not in accuracies:
            accuracies["test"] = accuracy(trainer, data["test"])
        save_checkpoint(path, trainer.weights(), _about_model(trainer, train, accuracies, seconds + since))
        reached = ", ".join(f"{name} accuracy {value:.2%}" for name, value in accuracies.items())
        print(f"{reached} after {seconds} s{since}; weights in {path}")
    return 0


def _after_stop(prog, arguments, args, folder):
    """What Ctrl-C leaves behind, and the command that goes on."""
    if not (folder / LAST).exists():
        return "Stopped before anything was saved: there is nothing to resume."
    kept = [word for word in arguments if word not in ("--resume", "--overwrite")]
    return f"Stopped. What was saved last is kept; go on with: {prog} {shlex.join([*kept, '--resume'])}"


def _about_model(trainer, train, accuracies, seconds):
    """The metadata of model.safetensors; `load_with_config` reads the configuration."""
    recipe = json.dumps(asdict(trainer.recipe))
    about = {"config": trainer.model_config, "recipe": recipe, "trained_with": str(trainer), "data": train.source}
    return about | {f"{name}_accuracy": f"{value:.4f}" for name, value in accuracies.items()} | {"seconds": seconds}


def _changed_config(name, changes):
    """The preset called `name` with the fields in the JSON text `changes`. Raises ValueError if that makes no model."""
    try:
        config = config_from_dict(asdict(get_config(name)) | dict(json.loads(changes)))
    except (TypeError, ValueError, RecursionError) as error:
        example = 'such as {"drop_path_rate": 0.1}'
        raise ValueError(f"--config: expected JSON with fields of SwinConfig, {example}; {error}") from error
    if (config.in_chans, config.num_classes) != (1, len(CLASSES)):
        raise ValueError(f"--config: Fashion-MNIST needs in_chans=1 and num_classes={len(CLASSES)}")
    if config.image_shape not in ((SIDE, SIDE), None):
        raise ValueError(f"--config: Fashion-MNIST needs img_size={SIDE} or null, got {config.img_size}")
    _check_size(config)
    return config


def _check_size(config):
    """Raise ValueError for a model too large to be meant, before any of it is made."""
    if sum(config.depths) > MOST_BLOCKS:
        raise ValueError(f"--config: expected at most {MOST_BLOCKS} blocks, got {sum(config.depths)}")
    pairs = sum(depth * window**4 for depth, window in zip(config.depths, config.windows, strict=True))
    try:
        parameters = sum(map(math.prod, model_shapes(config).values()))
    except OverflowError:  # a width beyond what a float can hold
        parameters = math.inf
    if max(parameters, pairs) > MOST_PARAMETERS:
        raise ValueError(
            f"--config: expected a model of at most {MOST_PARAMETERS:,} parameters, and as many pairs of tokens in "
            f"windows; it has {parameters:,} and {pairs:,}"
        )
