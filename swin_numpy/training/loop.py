"""The training loop: epochs of steps, whatever library takes them.

A trainer (swin_numpy/train.py, swin_torch/train.py) knows how to take one step; `fit` calls it.
"""

import math
from functools import partial

import numpy as np
from tqdm import tqdm

from .fashion_mnist import batches, standardise
from .runs import Diverged, identity, save_run


def fit(trainer, train, watched, folder, save_every=200, called="test"):
    """Train until the recipe's last epoch, from wherever `trainer` is. Returns the accuracy on `watched`.

    train         FashionMNIST
    watched       FashionMNIST on which the accuracy is measured after every epoch, and what it is called
    folder        every `save_every` steps and after every epoch the run is written to folder/last.safetensors, in one
                  piece or not at all
    raises        Diverged when the loss or a weight is NaN or infinite; what was saved before stays as it was
    """
    recipe, result = trainer.recipe, None
    per_epoch = recipe.steps_per_epoch(len(train.labels))
    save = partial(save_run, trainer, identity(trainer, train), folder)
    while trainer.steps < recipe.epochs * per_epoch:
        train_epoch(trainer, train, save, save_every)
        if trainer.rank == 0:
            loss, result = np.mean(trainer.losses[-per_epoch:]), accuracy(trainer, watched)
            epoch = trainer.steps // per_epoch
            print(f"epoch {epoch:3}/{recipe.epochs}  loss {loss:.4f}  {called} accuracy {result:.2%}", flush=True)
    return accuracy(trainer, watched) if result is None else result


def train_epoch(trainer, train, save, save_every):
    """Take the remaining steps of the epoch that `trainer` is in. save() is called every `save_every` steps."""
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
            _check_loss(trainer)
            right, seen = right + correct, seen + len(labels)
            bar.set_postfix(loss=f"{np.mean(trainer.losses[-50:]):.3f}", accuracy=f"{right / seen:.1%}")
            if trainer.steps % save_every == 0 or trainer.steps % per_epoch == 0:
                save()


def accuracy(trainer, data, batch_size=500):
    """The share of `data`, a FashionMNIST, that the model classifies correctly."""
    return float(np.mean(predictions(trainer, data.images, batch_size) == data.labels))


def predictions(trainer, images, batch_size=500):
    """The most probable class of every image: (n, 28, 28) uint8 → (n,) int."""
    parts = range(0, len(images), batch_size)
    return np.concatenate([trainer.logits(standardise(images[i : i + batch_size])).argmax(axis=1) for i in parts])


def _check_loss(trainer):
    if not math.isfinite(trainer.losses[-1]):
        raise Diverged(f"the loss of step {trainer.steps} is {trainer.losses[-1]}")
