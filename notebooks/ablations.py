"""Train the small Swin again and again, each time with one thing changed: `python -m notebooks.ablations`.

Chapter 10 draws what comes out, notebooks/data/ablations.json. Each run is stored as soon as it ends; started again,
the script goes on with the runs that are missing.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from swin_numpy.config import CONFIGS, SwinConfig
from swin_numpy.runtime.command import exit_status
from swin_numpy.runtime.environment import environment
from swin_numpy.runtime.replace import write_text
from swin_numpy.training.fashion_mnist import CLASSES, MODEL, SUBSET, FashionMNIST, fashion_mnist
from swin_numpy.training.loop import accuracy, train_epoch
from swin_numpy.training.recipe import Recipe

RESULTS = Path(__file__).parent / "data" / "ablations.json"
EXAMPLES = """examples:
  python -m notebooks.ablations                          all runs that are not in the file yet
  python -m notebooks.ablations --minutes 60             start no other run after an hour
  python -m notebooks.ablations --only full no_shift     these variants only
  python -m notebooks.ablations --list                   what there is, and what is done
"""
EVERY = 12  # steps whose mean loss is one point of the stored curve


def nothing(trainer):
    """Train as the recipe says."""


def no_shift(trainer):
    """Every block keeps the plain windows."""
    for block in blocks(trainer):
        block.shift_size = block.shift_on_other_grids = 0


def no_mask(trainer):
    """Windows shift, but tokens from both sides of the seam attend to each other."""
    for block in blocks(trainer):
        block.mask_for = lambda grid, x: None  # shifted all the same


def no_bias(trainer):
    """The bias tables are zero and stay so."""
    for block in blocks(trainer):
        block.attn.relative_position_bias_table.requires_grad_(False).zero_()


def decay_all(trainer):
    """Weight decay on norms, biases and tables too."""
    for group in trainer.optimizer.param_groups:
        group["weight_decay"] = trainer.recipe.weight_decay


def sgd(trainer):
    """A gradient step with momentum, without decay."""
    import torch

    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), trainer.recipe.base_lr, momentum=0.9)


def convnet(trainer):
    """Another model altogether, with first weights of its own."""
    import torch

    from swin_torch.train import make_optimizer

    torch.manual_seed(trainer.recipe.seed)
    trainer.model = trainer.network = resnet()
    trainer.optimizer = make_optimizer(trainer.model, trainer.recipe)


def resnet():
    """The ResNet that is trained in the Swin's place."""
    from notebooks import convnet  # here: it needs PyTorch

    return convnet.resnet()


def blocks(trainer):
    """All blocks of the trainer's model, first stage first."""
    return [block for layer in trainer.model.layers for block in layer.blocks]


@dataclass(frozen=True)
class Variant:
    """One thing that is changed. says: in words; group: with which others it is compared, on how many seeds;
    change: what is done to the Trainer; recipe: fields of Recipe; images: how many to train on, None for all;
    length: of the run, as a share of the usual; config: of the model, where it isn't that of the small Swin.
    """

    says: str
    group: str
    seeds: int = 1
    change: callable = nothing
    recipe: dict = field(default_factory=dict)
    images: int | None = None
    length: float = 1.0
    config: dict | None = None


def short(change=nothing, optimizer="AdamW", **recipe):
    """A run of half the length, for questions of optimiser, learning rate and batch."""
    full = Recipe(**recipe)
    warmup = "warm-up" if full.warmup_epochs else "no warm-up"
    batch = f", batch of {full.batch_size}" if "batch_size" in recipe else ""
    return Variant(f"{optimizer}, rate {full.base_lr:g}, {warmup}{batch}", "recipe", 2, change, recipe, length=1 / 2)


RATE = Recipe().base_lr
RESNET = {"model": "ResNet-20", "width": 15}
# In the order of importance. Groups are trained one after the other, each seed by seed: whenever the script is
# stopped, seeds are complete.
VARIANTS = {
    "full": Variant("everything on", "parts", 3),
    "no_shift": Variant("no block shifts its windows", "parts", 3, no_shift),
    "no_mask": Variant("shifted, but no pair is masked", "parts", 3, no_mask),
    "no_bias": Variant("bias tables stay zero", "parts", 3, no_bias),
    "no_augmentation": Variant("every image as it is", "training", 2, recipe={"augmented": False}),
    "published_init": Variant("first weights of spread 0.02", "training", 2, recipe={"init": "published"}),
    "decay": Variant("weight decay 1", "training", 2, recipe={"weight_decay": 1.0}),
    "decay_all": Variant("weight decay 1, of all parameters", "training", 2, decay_all, {"weight_decay": 1.0}),
    "images_2000": Variant("2,000 images, as many steps", "sizes", 2, images=2_000),
    "images_500": Variant("500 images, as many steps", "sizes", 2, images=500),
    "adamw": short(),
    "adamw_fast": short(base_lr=4 * RATE),
    "adamw_fast_cold": short(base_lr=4 * RATE, warmup_epochs=0),
    "sgd_fast": short(sgd, "SGD", base_lr=0.2),
    "batch_256_fast": short(batch_size=256, base_lr=4 * RATE),
    "convnet": Variant("a ResNet of its size", "convnet", 3, convnet, config=RESNET),
    "convnet_500": Variant("ResNet, 500 images, as many steps", "convnet", 2, convnet, images=500, config=RESNET),
}


def plan(only=()):
    """(name, seed) of all runs, or of the variants in `only`, in the order in which they are trained."""
    groups = list(dict.fromkeys(variant.group for variant in VARIANTS.values()))
    runs = [(name, seed) for name, variant in VARIANTS.items() for seed in range(variant.seeds)]
    runs.sort(key=lambda run: (groups.index(VARIANTS[run[0]].group), run[1]))  # stable: else as in VARIANTS
    return [run for run in runs if not only or run[0] in only]


def recipe_of(variant, seed, epochs, images):
    """The Recipe for as many steps as `epochs` epochs of all `images` make, if its batches are 64."""
    recipe = Recipe(**{"seed": seed} | variant.recipe)
    times = images // (variant.images or images)  # how much more often each image is seen
    length = round(epochs * variant.length * times)
    warmup = min(times * recipe.warmup_epochs, length // 2)
    return replace(recipe, epochs=max(length, 1), warmup_epochs=warmup)


def few_images(data, count):
    """The first count / 10 images of each class."""
    each = count // len(CLASSES)
    chosen = np.sort(np.concatenate([np.flatnonzero(data.labels == k)[:each] for k in range(len(CLASSES))]))
    return FashionMNIST(data.images[chosen], data.labels[chosen], f"{len(chosen):,} of the {data.source}")


def identity(name, seed, epochs, train):
    """{what the run's numbers depend on}, as JSON gives it back: a run is done if the file has the same."""
    variant = VARIANTS[name]
    recipe = recipe_of(variant, seed, epochs, len(train.labels))
    about = {"variant": name, "says": variant.says, "group": variant.group, "seed": seed}
    about |= {"images": variant.images or len(train.labels), "data": train.source}
    return json.loads(
        json.dumps(about | {"recipe": asdict(recipe), "config": variant.config or asdict(CONFIGS[MODEL])})
    )


def train_variant(about, train, test):
    """Train one run. Returns {key: value} of what came out."""
    import torch  # here: chapter 10 reads and draws the results without it

    from swin_torch.train import Trainer

    variant, recipe = VARIANTS[about["variant"]], Recipe(**about["recipe"])
    if variant.images:
        train = few_images(train, variant.images)
    trainer = Trainer(CONFIGS[MODEL], recipe)
    with torch.no_grad():
        variant.change(trainer)
    start, steps, results = time.perf_counter(), recipe.steps_per_epoch(len(train.labels)), []
    often = max(1, 10_000 // len(train.labels))  # epochs from one test to the next
    for epoch in tqdm(range(1, recipe.epochs + 1), desc=f"{about['variant']}, seed {recipe.seed}", disable=None):
        train_epoch(trainer, train, lambda: None, sys.maxsize)
        if epoch % often == 0 or epoch == recipe.epochs:
            results.append([epoch * steps, round(accuracy(trainer, test), 4)])
    return {
        "steps": trainer.steps,
        "loss": means(trainer.losses),
        "test_accuracy": results,  # [step, accuracy]
        "train_accuracy": round(accuracy(trainer, few_images(train, min(2_000, len(train.labels)))), 4),
        "table_size": spread(trainer, "relative_position_bias_table"),
        "norm_weights": spread(trainer, "norm1.weight"),
        "seconds": round(time.perf_counter() - start),
    }


def means(losses):
    """The mean of every EVERY losses; a rest that is shorter is left out."""
    whole = len(losses) // EVERY * EVERY
    return np.reshape(losses[:whole], (-1, EVERY)).mean(axis=1).round(4).tolist()


def spread(trainer, ending):
    """Root of the mean square of all parameters whose names end so; None if there are none."""
    values = [value.ravel() for name, value in trainer.weights().items() if name.endswith(ending)]
    return round(float(np.sqrt(np.mean(np.concatenate(values) ** 2))), 5) if values else None


def read_results(path=RESULTS):
    """The runs in the file, or [] if there is none."""
    return json.loads(Path(path).read_text("utf-8"))["runs"] if Path(path).exists() else []


def write_results(path, runs):
    """Write the runs to the file, a line for each. Whenever the script is killed, the file is whole."""
    order = {run: place for place, run in enumerate(plan())}
    runs = sorted(runs, key=lambda run: order.get((run["variant"], run["seed"]), len(order)))
    lines = ",\n".join(json.dumps(run) for run in runs)
    write_text(path, f'{{"every": {EVERY}, "runs": [\n{lines}\n]}}\n')


def missing(path, only, epochs, train):
    """What `identity` says of the runs that are not in the file yet."""
    done = read_results(path)
    wanted = [identity(name, seed, epochs, train) for name, seed in plan(only)]
    return [about for about in wanted if not any(agrees(run, about) for run in done)]


def agrees(run, about):
    """Has `run` everything that `about` says?"""
    kinds = {"recipe": Recipe, "config": SwinConfig}
    run = {key: filled(value, kinds[key]) if key in kinds else value for key, value in run.items()}
    return all(run.get(key) == value for key, value in about.items())


def filled(stored, kind):
    """The stored fields of a Recipe or SwinConfig; those that it got after the run had their default values."""
    defaults = json.loads(json.dumps(asdict(kind())))
    return defaults | stored if stored.keys() <= defaults.keys() else stored


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    args = _parse(arguments)
    return exit_status("python -m notebooks.ablations", lambda: _train_missing(args))


def _train_missing(args):
    """Train what isn't in the file yet, and add each run to the file as soon as it ends."""
    from swin_torch.train import set_threads

    set_threads(args.threads)
    train, test = (fashion_mnist(SUBSET, split) for split in ("train", "test"))
    waiting = missing(args.out, args.only, args.epochs, train)
    print(f"{len(plan(args.only)) - len(waiting)} runs done, {len(waiting)} to do; {environment('numpy', 'torch')}")
    if args.list:
        print("\n".join(f"{about['variant']}, seed {about['seed']}: {about['says']}" for about in waiting))
        return 0
    start = time.perf_counter()
    for about in waiting:
        if args.minutes is not None and time.perf_counter() - start > 60 * args.minutes:
            print("time is up; the same command goes on")
            break
        run = about | train_variant(about, train, test)
        run |= {"command": f"python -m notebooks.ablations --only {about['variant']} --epochs {args.epochs}"}
        run |= {"environment": environment("numpy", "torch"), "threads": args.threads}
        same = {key: about[key] for key in ("variant", "seed")}
        others = [old for old in read_results(args.out) if not agrees(old, same)]
        write_results(args.out, [*others, run])
        print(
            f"{about['variant']}, seed {about['seed']}: {run['test_accuracy'][-1][1]:.2%}, {run['seconds']} s",
            flush=True,
        )
    return 0


def _positive(text):
    """A whole number from 1 up, for argparse."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return int(text)


def _minutes(text):
    """A number above 0, for argparse."""
    minutes = float(text)
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return minutes


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.ablations",
        description="Train variants of the small Swin on the bundled subset, several seeds each.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=(), metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--epochs", type=_positive, default=6, help="of a run on all images (default: %(default)s)")
    parser.add_argument("--minutes", type=_minutes, metavar="M", help="start no other run after so many")
    parser.add_argument(
        "--threads", type=_positive, default=1, metavar="N", help="processor cores (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS, metavar="FILE", help="default: notebooks/data/ablations.json"
    )
    parser.add_argument("--list", action="store_true", help="train nothing, say what is missing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
