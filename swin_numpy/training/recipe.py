"""The recipe of a training run and the weights that it starts from: what both twins have in common."""

from dataclasses import dataclass, field, fields

import numpy as np

from ..optim import cosine_schedule, no_decay
from ..weights.check import check_state
from ..weights.initial import initial_state
from ..weights.load import load_checkpoint
from .fashion_mnist import SIDE

INITS = "fan_in", "published"


def _option(default, least, most, text):
    """A number in the recipe and on the command line, with the range that makes sense."""
    return field(default=default, metadata={"least": least, "most": most, "help": text})


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: AdamW, linear warm-up, cosine, as in the official config.py, for a small data set.

    Raises TypeError or ValueError for a value with which training makes no sense: the message names the field.
    """

    epochs: int = _option(20, 1, 10**6, "passes over the training images")
    batch_size: int = _option(64, 1, 10**6, "images in each step, over all processes")
    base_lr: float = _option(3e-3, 0, 10, "learning rate after the warm-up")
    min_lr: float = _option(1e-5, 0, 10, "learning rate at the end")
    warmup_lr: float = _option(1e-6, 0, 10, "learning rate of the first step")
    warmup_epochs: int = _option(1, 0, 10**6, "epochs in which the learning rate rises; at most all of them")
    weight_decay: float = _option(0.05, 0, 100, "of the layers' matrices, not of norms, biases and tables")
    clip_grad: float = _option(5.0, 1e-9, 1e12, "largest norm of the gradient of all parameters together")
    label_smoothing: float = _option(0.1, 0, 1, "share of the target that is spread evenly over all classes")
    augmented: bool = field(default=True, metadata={"help": "move and mirror the images at random"})
    max_shift: int = _option(1, 0, SIDE - 1, "furthest that augmentation moves an image, in pixels; 0: only mirror it")
    init: str = field(default="fan_in", metadata={"help": "how the first weights are drawn: see first_weights"})
    start: str = field(default="", metadata={"help": "weights to start from, such as another run's model.safetensors"})
    seed: int = _option(0, 0, 2**32 - 1, "of first weights, order, augmentation and dropout")

    def __post_init__(self):
        for each in fields(self):
            value = getattr(self, each.name)
            if "least" in each.metadata:
                _check_number(each.name, value, each.type, each.metadata["least"], each.metadata["most"])
            elif not isinstance(value, each.type):
                raise TypeError(f"{each.name}: expected {each.type.__name__}, got {value!r}")
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs: expected at most epochs={self.epochs}, got {self.warmup_epochs}")
        if self.init not in INITS:
            raise ValueError(f"init: expected one of {', '.join(INITS)}, got {self.init!r}")

    def steps_per_epoch(self, images):
        """How many whole batches so many images make. Raises ValueError if there isn't one."""
        if images < self.batch_size:
            raise ValueError(f"batch_size: expected at most {images}, the number of images, got {self.batch_size}")
        return images // self.batch_size

    def learning_rate(self, step, steps_per_epoch):
        """Of the given step, counted from 0 over all epochs."""
        total, warmup = self.epochs * steps_per_epoch, self.warmup_epochs * steps_per_epoch
        return cosine_schedule(step, total, warmup, self.base_lr, self.min_lr, self.warmup_lr)


def first_weights(shapes, recipe):
    """{name: shape} → {name: float32 array}: what both twins start from.

    init="published" draws the weights of linear layers with standard deviation 0.02, which scales a layer's output by
    0.02·√inputs: fine with hundreds of inputs, too little with 32. "fan_in" draws them with 1/√inputs (LeCun et al.,
    Efficient BackProp, 1998), so that the output is as large as the input, whatever the width. Its bias tables have
    standard deviation 1, so that each head looks in a direction of its own from the first step on.
    With recipe.start, all weights are read from that file. Raises CheckpointError if it is another model's.
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


def _check_number(name, value, kind, least, most):
    """Raise unless `value` is a number of that kind from `least` to `most`; NaN never is."""
    allowed, expected = (int, "a whole number") if kind is int else (int | float, "a number")
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name}: expected {expected} from {least:,} to {most:,}, got {value}")
