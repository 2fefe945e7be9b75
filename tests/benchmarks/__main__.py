"""`make bench`: how long the twins take beside each other, as ratios measured in one run, and how much memory."""

import argparse

import numpy as np
import torch

import swin_numpy.train
import swin_torch.train
from swin_numpy.config import CONFIGS, get_config
from swin_numpy.environment import environment
from swin_numpy.training import MODEL, Recipe

from .measure import interleaved, peak_memory, table

TRAINED = [(MODEL, 64), ("swin_tiny_patch4_window7_224", 4)]

ONE_FORWARD = """
import numpy as np
from swin_numpy import SwinTransformer, get_config
model = SwinTransformer(get_config({model!r}))
model(np.zeros(({batch}, model.config.in_chans, *model.config.image_shape), np.float32))
"""
TWO_STEPS = """
import numpy as np
from swin_numpy import get_config
from {package}.train import Trainer
from swin_numpy.training import Recipe
config = get_config({model!r})
trainer = Trainer(config, Recipe())
images = np.ones(({batch}, config.in_chans, *config.image_shape), np.float32)
for _ in range(2):
    trainer.step(images, np.zeros({batch}, int), 1e-3)
"""


def examples(config, batch):
    """Random images (batch, c, H, W) and labels (batch,)."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, config.in_chans, *config.image_shape), dtype=np.float32)
    return images, rng.integers(0, config.num_classes, batch)


def forward(name, batch):
    """{twin: a call that takes `batch` random images through the model}."""
    config = get_config(name)
    images, _ = examples(config, batch)
    numpy_model, torch_model = swin_numpy.SwinTransformer(config), swin_torch.SwinTransformer(config).eval()

    def torch_forward():
        with torch.inference_mode():
            torch_model(torch.from_numpy(images))

    return {"NumPy twin": lambda: numpy_model(images), "PyTorch twin": torch_forward}


def training(name, batch):
    """{twin: a call that takes one training step: forward, backward, clipping, AdamW}."""
    config = get_config(name)
    images, labels = examples(config, batch)
    ours, theirs = (package.train.Trainer(config, Recipe()) for package in (swin_numpy, swin_torch))
    return {
        "NumPy twin": lambda: ours.step(images, labels, 1e-3),
        "PyTorch twin": lambda: theirs.step(images, labels, 1e-3),
    }


def main():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", default="swin_tiny_patch4_window7_224", choices=CONFIGS, help="of the forward")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="of the forward")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", choices=("forward", "training"), help="leave the other out")
    args = parser.parse_args()
    print(f"{environment('numpy', 'torch')}; PyTorch on {torch.get_num_threads()} threads\n")
    if args.only != "training":
        bench_forward(args)
    if args.only != "forward":
        bench_training(args)


def bench_forward(args):
    for batch in args.batch:
        title = f"{args.model}, forward, float32, batch {batch}"
        print("\n".join(table(title, interleaved(forward(args.model, batch), args.repeats), "PyTorch twin")))
    for batch in args.batch:
        memory = peak_memory(ONE_FORWARD.format(model=args.model, batch=batch))
        print(f"peak memory of the NumPy forward, batch {batch}, whole process: {memory:.0f} MB")


def bench_training(args):
    for name, batch in TRAINED:
        title = f"{name}, training step, float32, batch {batch}"
        print("\n".join(table(title, interleaved(training(name, batch), args.repeats), "PyTorch twin")))
        memory = [
            peak_memory(TWO_STEPS.format(package=package, model=name, batch=batch))
            for package in ("swin_numpy", "swin_torch")
        ]
        print("  peak memory of training, whole process: NumPy {:.0f} MB, PyTorch {:.0f} MB".format(*memory))


if __name__ == "__main__":
    main()
