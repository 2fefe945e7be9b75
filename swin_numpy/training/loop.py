"""What training is, whatever library does the arithmetic: the recipe, the loop, the run's files, the command line.

A trainer (swin_numpy/train.py, swin_torch/train.py) knows how to take one step; `fit` calls it.
"""

import argparse
import json
import shlex
import sys
import time
import zlib
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..config import CONFIGS, config_from_dict, get_config
from ..optim import cosine_schedule, no_decay
from ..weights.check import CheckpointError, check_state
from ..weights.files import load_checkpoint, read_file, save_checkpoint
from ..weights.initial import initial_state
from .fashion_mnist import CLASSES, SUBSET, batches, fashion_mnist, normalise

EXAMPLES = """examples:
  {prog} --out runs/mine               on the full set if its files are there, else on the subset that ships
  {prog} --data subset --epochs 8      on the subset
  {prog} --out runs/mine --resume      go on where a stopped run was, with otherwise the same options
  {prog} --config '{{"drop_path_rate": 0.1}}'
The environment variable OMP_NUM_THREADS=1 keeps NumPy and PyTorch to one processor core.
"""
MODEL = "swin_fashion_patch2_window7_28"
TRAINED = SUBSET.with_name(f"{MODEL}.safetensors")  # its weights, after the run that the file's metadata tells of
INITS = "fan_in", "published"


def option(default, text, choices=None):
    """A field of Recipe that is also an option of the command line."""
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: AdamW, linear warm-up, cosine, as in the official code, for a small data set.

    Raises ValueError for numbers that train nothing.
    """

    epochs: int = option(20, "how often each image is seen")
    batch_size: int = option(64, "images a step, over all processes")
    base_lr: float = option(3e-3, "learning rate after the warm-up")
    min_lr: float = option(1e-5, "learning rate at the end")
    warmup_lr: float = option(1e-6, "learning rate of the first step")
    warmup_epochs: int = option(1, "epochs in which the learning rate rises")
    weight_decay: float = option(0.05, "of the layers' matrices, not of norms, biases and tables")
    clip_grad: float = option(5.0, "longest gradient, of all parameters together")
    label_smoothing: float = option(0.1, "share of the target that goes to all classes alike")
    augmented: bool = option(True, "show images moved and mirrored at random")
    max_shift: int = option(1, "furthest that augmentation moves an image, in pixels; 0: it only mirrors")
    init: str = option("fan_in", "spread of the linear layers' first weights: see first_weights", INITS)
    start: str = option("", "file of weights to start from instead, such as another run's model.safetensors")
    seed: int = option(0, "of first weights, order, augmentation and dropout")

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 1), ("warmup_epochs", 0), ("max_shift", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {self.label_smoothing}")
        if self.init not in INITS:
            raise ValueError(f"init: expected one of {', '.join(INITS)}, got {self.init!r}")

    def steps_per_epoch(self, images):
        """How many whole batches so many images make. Raises ValueError if it is none."""
        if images < self.batch_size:
            raise ValueError(f"batch_size: expected at most {images}, the number of images, got {self.batch_size}")
        return images // self.batch_size

    def learning_rate(self, step, steps_per_epoch):
        """Of the given step, counted from 0 over all epochs."""
        total, warmup = self.epochs * steps_per_epoch, self.warmup_epochs * steps_per_epoch
        return cosine_schedule(step, total, warmup, self.base_lr, self.min_lr, self.warmup_lr)


def first_weights(shapes, recipe):
    """{name: shape} → {name: float32 array}: what both twins start from.

    init="published" draws the linear layers' weights with spread 0.02, so a layer's outputs are 0.02·√inputs times
    as large as what it is given: fine with hundreds of inputs, too little with 32. "fan_in" draws them with
    spread 1/√inputs (LeCun et al., Efficient BackProp, 1998): outputs are as large as inputs, whatever the width.
    Its bias tables have spread 1, so that from the first step each head looks in directions of its own.
    With recipe.start, all are read from that file. Raises CheckpointError if it is another model's.
    """
    if recipe.start:
        state = load_checkpoint(recipe.start)
        check_state(state, shapes)
        return {name: state[name].astype(np.float32) for name in shapes}
    state = initial_state(shapes, recipe.seed)
    if recipe.init == "fan_in":
        for name, value in state.items():
            if name.endswith("relative_position_bias_table"):
                value *= np.float32(1 / 0.02)
            elif value.ndim == 2 and not no_decay(name, value):  # the matrices of linear layers
                value *= np.float32(1 / (0.02 * np.sqrt(value.shape[1])))
    return state


def fit(trainer, train, test, folder, save_every=200):
    """Train until the recipe's last epoch; go on from where `trainer` is. Returns the accuracy on `test`.

    Every `save_every` steps and after every epoch the run is written to folder/last.safetensors, in one
    piece or not at all.
    """
    recipe, result = trainer.recipe, None
    per_epoch = recipe.steps_per_epoch(len(train.labels))
    save = partial(save_run, trainer, identity(trainer, train), folder)
    while trainer.steps < recipe.epochs * per_epoch:
        train_epoch(trainer, train, save, save_every)
        if trainer.rank == 0:
            loss, result = np.mean(trainer.losses[-per_epoch:]), accuracy(trainer, test)
            epoch = trainer.steps // per_epoch
            print(f"epoch {epoch:3}/{recipe.epochs}  loss {loss:.4f}  test accuracy {result:.2%}", flush=True)
    return accuracy(trainer, test) if result is None else result


def train_epoch(trainer, train, save, save_every):
    """The rest of the epoch that `trainer` is in."""
    recipe = trainer.recipe
    per_epoch = recipe.steps_per_epoch(len(train.labels))
    epoch, start = divmod(trainer.steps, per_epoch)
    rest = batches(
        train.images, train.labels, recipe.batch_size, recipe.seed, epoch,
        start=start, augmented=recipe.augmented, max_shift=recipe.max_shift, rank=trainer.rank, ranks=trainer.ranks,
    )  # fmt: skip
    right = seen = 0
    hidden = True if trainer.rank else None  # one bar, however many processes; none in a log file
    with tqdm(rest, desc=f"epoch {epoch + 1}", total=per_epoch, initial=start, leave=False, disable=hidden) as bar:
        for images, labels in bar:
            correct = trainer.step(images, labels, recipe.learning_rate(trainer.steps, per_epoch))
            right, seen = right + correct, seen + len(labels)
            bar.set_postfix(loss=f"{np.mean(trainer.losses[-50:]):.3f}", accuracy=f"{right / seen:.1%}")
            if trainer.steps % save_every == 0 or trainer.steps % per_epoch == 0:
                save()


def accuracy(trainer, data, batch_size=500):
    """The share of `data` that the model classifies correctly."""
    return float(np.mean(predictions(trainer, data.images, batch_size) == data.labels))


def predictions(trainer, images, batch_size=500):
    """The most probable class of every image (n, 28, 28) uint8."""
    parts = range(0, len(images), batch_size)
    return np.concatenate([trainer.logits(normalise(images[i : i + batch_size])).argmax(axis=1) for i in parts])


# ---- a run's files ---------------------------------------------------------------------------------------------


def identity(trainer, train):
    """{option: value} on which the run's numbers depend: what --resume must find the same. As JSON gives it back."""
    checksum = zlib.crc32(train.labels.tobytes(), zlib.crc32(train.images.tobytes()))
    data = f"{len(train.labels)} images, CRC-32 {checksum:08x}"
    options = asdict(trainer.recipe) | asdict(trainer.model_config)
    return json.loads(json.dumps(options | {"dtype": str(trainer.dtype), "data": data}))


def save_run(trainer, about, folder):
    """Everything that `resume` needs, in one file that is replaced in one move."""
    if trainer.rank == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_checkpoint(Path(folder) / "last.safetensors", trainer.state_dict(), {"run": json.dumps(about)})


def resume(trainer, train, folder):
    """Bring `trainer` to where the run in `folder` was written last. Raises CheckpointError if it can't be."""
    path = Path(folder) / "last.safetensors"
    if not path.exists():
        raise CheckpointError(f"{path}: no run to go on with; start one without --resume")
    state, metadata = read_file(path)
    was = read_identity(path, metadata)
    other = [f"{name}={was.get(name)}" for name, value in identity(trainer, train).items() if was.get(name) != value]
    if other:
        raise CheckpointError(f"{path}: that run has {', '.join(other)}; --resume needs the same options")
    try:
        trainer.load_state_dict(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_identity(path, metadata):
    try:
        return dict(json.loads(metadata["run"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: no file of a training run, or damaged") from error


# ---- the command line --------------------------------------------------------------------------------------------


def main(make_trainer, prog, arguments=None, more_options=lambda parser: None):
    """Read the command line, train, and say what came out. Returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parse(prog, arguments, more_options)
    try:
        return run(make_trainer, args)
    except KeyboardInterrupt:
        again = [*arguments, *["--resume"] * (not args.resume)]
        print(f"Stopped. What was saved last is kept; go on with: {prog} {shlex.join(again)}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2


def parse(prog, arguments, more_options):
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train a small Swin on Fashion-MNIST.",
        epilog=EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", help="folder with the IDX files, or 'subset' for the 10,000 that ship")
    folder = f"runs/{prog.split()[-1]}"
    parser.add_argument("--out", default=folder, metavar="DIR", help="of the run (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly")
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--model", default=MODEL, choices=[name for name in CONFIGS if "fashion" in name])
    parser.add_argument("--config", default="{}", metavar="JSON",
                        help="fields of SwinConfig that shall be others than the model's")  # fmt: skip
    parser.add_argument("--no-augmentation", dest="augmented", action="store_false", help="show every image as it is")
    for each in fields(Recipe):
        if each.name != "augmented":
            parser.add_argument(
                f"--{each.name.replace('_', '-')}", type=each.type, default=each.default,
                choices=each.metadata["choices"], metavar=None if each.metadata["choices"] else "X",
                help=f"{each.metadata['help']} (default: %(default)s)",
            )  # fmt: skip
    more_options(parser)
    return parser.parse_args(arguments)


def run(make_trainer, args):
    """Do what the arguments say. Raises ValueError or OSError for what can't be done."""
    if args.save_every < 1:
        raise ValueError(f"--save-every: expected at least 1, got {args.save_every}")
    recipe = Recipe(**{each.name: getattr(args, each.name) for each in fields(Recipe)})
    config = changed_config(args.model, args.config)
    folder = SUBSET if args.data == "subset" else args.data
    train, test = (fashion_mnist(folder, split) for split in ("train", "test"))
    trainer = make_trainer(config, recipe, args)
    if args.resume:
        resume(trainer, train, args.out)
    if trainer.rank == 0:
        Path(args.out).mkdir(parents=True, exist_ok=True)  # if it can't be, say so before the work
        print(f"{trainer}\ntrain: {train.source}\ntest: {test.source}", flush=True)
    start = time.perf_counter()
    result = fit(trainer, train, test, args.out, args.save_every)
    if trainer.rank == 0:
        seconds = f"{time.perf_counter() - start:.0f}" + " since --resume" * args.resume
        path = Path(args.out) / "model.safetensors"
        save_checkpoint(path, trainer.weights(), about_model(trainer, train, result, seconds))
        print(f"test accuracy {result:.2%} after {seconds} s; weights in {path}")
    return 0


def about_model(trainer, train, result, seconds):
    """What model.safetensors says about itself; `load_with_config` reads the configuration."""
    recipe = json.dumps(asdict(trainer.recipe))
    return {"config": trainer.model_config, "recipe": recipe, "trained_with": str(trainer), "data": train.source,
            "test_accuracy": f"{result:.4f}", "seconds": seconds}  # fmt: skip


def changed_config(name, changes):
    """The preset called `name` with the fields in the JSON text `changes`. Raises ValueError if it can't be."""
    try:
        config = config_from_dict(asdict(get_config(name)) | dict(json.loads(changes)))
    except (TypeError, ValueError) as error:
        example = 'such as {"drop_path_rate": 0.1}'
        raise ValueError(f"--config: expected JSON with fields of SwinConfig, {example}; {error}") from error
    if (config.in_chans, config.num_classes) != (1, len(CLASSES)):
        raise ValueError(f"--config: Fashion-MNIST needs in_chans=1 and num_classes={len(CLASSES)}")
    return config
