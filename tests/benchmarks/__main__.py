"""`make bench`: how long the twins take beside each other, as ratios measured in one run, and how much memory."""

import argparse

import numpy as np
import torch

import swin_numpy
import swin_torch
from swin_numpy.config import CONFIGS, get_config
from swin_numpy.environment import environment

from .measure import interleaved, peak_memory, table

ONE_FORWARD = """
import numpy as np
from swin_numpy import SwinTransformer, get_config
model = SwinTransformer(get_config({model!r}))
model(np.zeros(({batch}, 3, *model.config.image_shape), np.float32))
"""


def forward(name, batch):
    """{twin: a call that takes `batch` random images through the model}."""
    config = get_config(name)
    images = np.random.default_rng(0).standard_normal((batch, 3, *config.image_shape), dtype=np.float32)
    numpy_model, torch_model = swin_numpy.SwinTransformer(config), swin_torch.SwinTransformer(config).eval()

    def torch_forward():
        with torch.inference_mode():
            torch_model(torch.from_numpy(images))

    return {"NumPy twin": lambda: numpy_model(images), "PyTorch twin": torch_forward}


def main():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", default="swin_tiny_patch4_window7_224", choices=CONFIGS)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    print(f"{environment('numpy', 'torch')}; PyTorch on {torch.get_num_threads()} threads\n")
    for batch in args.batch:
        title = f"{args.model}, forward, float32, batch {batch}"
        print("\n".join(table(title, interleaved(forward(args.model, batch), args.repeats), "PyTorch twin")))
    for batch in args.batch:
        memory = peak_memory(ONE_FORWARD.format(model=args.model, batch=batch))
        print(f"peak memory of the NumPy forward, batch {batch}, whole process: {memory:.0f} MB")


if __name__ == "__main__":
    main()
