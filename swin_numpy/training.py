"""What training is, whatever library does the arithmetic: the recipe, the loop, the run's files, the command line.

A trainer (swin_numpy/train.py, swin_torch/train.py) knows how to take one step; `fit` calls it.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .checkpoint import CheckpointError, read_file, save_checkpoint
from .config import CONFIGS, get_config
from .data import SUBSET, batches, fashion_mnist, normalise
from .optim import cosine_schedule

EXAMPLES = """examples:
  {prog} --out runs/mine               on the full set if its files are there, else on the subset that ships
  {prog} --data subset --epochs 8      on the subset
  {prog} --out runs/mine --resume      go on where a stopped run was
"""
MODEL = "swin_fashion_patch2_window7_28"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: AdamW, linear warm-up, cosine, as in the official code, for a small data set."""

    epochs: int = 20
    batch_size: int = 128
    base_lr: float = 2e-3
    min_lr: float = 1e-5
    warmup_lr: float = 1e-6
    warmup_epochs: int = 1
    weight_decay: float = 0.05
    clip_grad: float = 5.0
    label_smoothing: float = 0.1
    augmented: bool = True
    seed: int = 0

    def learning_rate(self, step, steps_per_epoch):
        """Of the given step, counted from 0 over all epochs."""
        total, warmup = self.epochs * steps_per_epoch, self.warmup_epochs * steps_per_epoch
        return cosine_schedule(step, total, warmup, self.base_lr, self.min_lr, self.warmup_lr)


def fit(trainer, recipe, train, test, folder, save_every=200):
    """Train until the recipe's last epoch; go on from where `trainer` is. Returns the accuracy on `test`.

    Every `save_every` steps and after every epoch the run is written to folder/last.safetensors, in one
    piece or not at all; at the end the weights alone to folder/model.safetensors.
    """
    per_epoch = len(train.labels) // recipe.batch_size
    while trainer.steps < recipe.epochs * per_epoch:
        epoch, start = divmod(trainer.steps, per_epoch)
        train_epoch(trainer, recipe, train, epoch, start, lambda: save_run(trainer, recipe, folder), save_every)
        save_run(trainer, recipe, folder)
        if trainer.rank == 0:
            loss = np.mean(trainer.losses[-per_epoch:])
            print(f"epoch {epoch + 1:3}/{recipe.epochs}  loss {loss:.4f}  test accuracy {accuracy(trainer, test):.2%}")
    return accuracy(trainer, test)


def train_epoch(trainer, recipe, train, epoch, start, save, save_every):
    """The rest of one epoch, from its step `start` on."""
    per_epoch = len(train.labels) // recipe.batch_size
    rest = batches(
        train.images, train.labels, recipe.batch_size, recipe.seed, epoch,
        start=start, augmented=recipe.augmented, rank=trainer.rank, ranks=trainer.ranks,
    )  # fmt: skip
    right = seen = 0
    hidden = True if trainer.rank else None  # one bar, however many processes; none in a log file
    with tqdm(rest, desc=f"epoch {epoch + 1}", total=per_epoch, initial=start, leave=False, disable=hidden) as bar:
        for images, labels in bar:
            correct = trainer.step(images, labels, recipe.learning_rate(trainer.steps, per_epoch))
            right, seen = right + correct, seen + len(labels)
            bar.set_postfix(loss=f"{np.mean(trainer.losses[-50:]):.3f}", accuracy=f"{right / seen:.1%}")
            if trainer.steps % save_every == 0:
                save()


def accuracy(trainer, data, batch_size=500):
    """The share of `data` that the model classifies correctly."""
    return float(np.mean(predictions(trainer, data.images, batch_size) == data.labels))


def predictions(trainer, images, batch_size=500):
    """The most probable class of every image (n, 28, 28) uint8."""
    parts = range(0, len(images), batch_size)
    return np.concatenate([trainer.logits(normalise(images[i : i + batch_size])).argmax(axis=1) for i in parts])


# ---- a run's files ---------------------------------------------------------------------------------------------


def save_run(trainer, recipe, folder):
    """Everything that `resume` needs, in one file that is replaced in one move."""
    if trainer.rank == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        about = {"recipe": json.dumps(asdict(recipe)), "config": json.dumps(asdict(trainer.model_config))}
        save_checkpoint(Path(folder) / "last.safetensors", trainer.state_dict(), about)


def resume(trainer, recipe, folder):
    """Bring `trainer` to where the run in `folder` was written last. Raises CheckpointError if it can't be."""
    path = Path(folder) / "last.safetensors"
    if not path.exists():
        raise CheckpointError(f"{path}: no run to go on with; start one without --resume")
    state, about = read_file(path)
    was = json.loads(about.get("recipe", "{}"))
    other = [name for name, value in asdict(recipe).items() if was.get(name) != value]
    if other:
        given = ", ".join(f"{name}={was.get(name)}" for name in other)
        raise CheckpointError(f"{path}: that run has {given}; --resume needs the same options")
    trainer.load_state_dict(state)


# ---- the command line --------------------------------------------------------------------------------------------


def main(make_trainer, prog, arguments=None, more_options=lambda parser: None):
    """Read the command line, train, and say what came out. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train a small Swin on Fashion-MNIST.",
        epilog=EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", help="folder with the IDX files, or 'subset' for the 10,000 that ship")
    parser.add_argument(
        "--out", default=f"runs/{prog.split()[-1]}", metavar="DIR", help="of the run (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, exactly")
    parser.add_argument("--model", default=MODEL, choices=[name for name in CONFIGS if "fashion" in name])
    for name, default in asdict(Recipe()).items():
        if name != "augmented":
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, metavar="X",
                                help="default: %(default)s")  # fmt: skip
    parser.add_argument("--no-augmentation", dest="augmented", action="store_false", help="show every image as it is")
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="default: %(default)s")
    more_options(parser)
    args = parser.parse_args(arguments)
    try:
        return run(make_trainer, args)
    except KeyboardInterrupt:
        print(f"\nStopped. Go on with: {prog} … --out {args.out} --resume", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2


def run(make_trainer, args):
    recipe = Recipe(**{name: getattr(args, name) for name in asdict(Recipe())})
    folder = SUBSET if args.data == "subset" else args.data
    train, test = (fashion_mnist(folder, split) for split in ("train", "test"))
    trainer = make_trainer(get_config(args.model), recipe, args)
    if args.resume:
        resume(trainer, recipe, args.out)
    if trainer.rank == 0:
        print(f"{trainer}\ntrain: {train.source}\ntest: {test.source}")
    start = time.perf_counter()
    result = fit(trainer, recipe, train, test, args.out, args.save_every)
    if trainer.rank == 0:
        seconds = time.perf_counter() - start
        about = {"config": json.dumps(asdict(trainer.model_config)), "recipe": json.dumps(asdict(recipe)),
                 "trained_with": str(trainer), "data": train.source, "test_accuracy": f"{result:.4f}",
                 "seconds": f"{seconds:.0f}"}  # fmt: skip
        path = Path(args.out) / "model.safetensors"
        save_checkpoint(path, trainer.weights(), about)
        print(f"test accuracy {result:.2%} after {seconds:.0f} s; weights in {path}")
    return 0
