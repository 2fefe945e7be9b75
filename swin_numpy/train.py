"""Train the NumPy twin: `python -m swin_numpy.train`. The PyTorch twin of this file is swin_torch/train.py."""

import sys
from itertools import chain

import numpy as np

from .functional import cross_entropy, cross_entropy_backward
from .layers import seed_dropout
from .model import SwinTransformer
from .optim import AdamW, clip_grad_norm
from .runtime import threads
from .runtime.environment import environment
from .training.loop import first_weights, main
from .weights.check import check_state, shapes_of

PARTS = 2  # of a batch: each on a core of its own, one after the other if there is but one


class Trainer:
    """A model, its optimiser, and one step after the other.

    config: a SwinConfig; recipe: a swin_numpy.training.loop.Recipe; dtype: np.float32 or np.float64.
    """

    rank, ranks = 0, 1  # one process; the PyTorch twin can be several

    def __init__(self, config, recipe, dtype=np.float32):
        self.model_config, self.recipe = config, recipe
        self.model, self.dtype = SwinTransformer(config, recipe.seed, dtype), np.dtype(dtype)
        self.model.load_state_dict(first_weights(shapes_of(self.weights()), recipe))
        self.models = [self.model, *(self.model.replica() for _ in range(1, PARTS))]  # the same parameters
        self.parameters = [[parameter for _, parameter in model.named_parameters()] for model in self.models]
        self.optimizer = AdamW(self.model.named_parameters(), recipe.base_lr, weight_decay=recipe.weight_decay)
        self.losses = []

    @property
    def steps(self):
        """How many steps were taken."""
        return len(self.losses)

    def step(self, images, labels, lr):
        """One step on images (n, c, H, W) and labels (n,). Returns how many it classified correctly."""
        self.optimizer.lr = lr
        losses, right = [0.0] * PARTS, [0] * PARTS
        for parameter in chain(*self.parameters):
            parameter.grad = None

        def forward_and_backward(part):
            share = slice(part, None, PARTS)
            losses[part], right[part] = self.gradients(part, images[share], labels[share], len(images))

        threads.run(forward_and_backward, range(min(PARTS, len(images))))
        threads.run(lambda same: add_gradients(*same), zip(*self.parameters, strict=True))
        self.losses.append(sum(losses))
        clip_grad_norm(self.parameters[0], self.recipe.clip_grad)
        self.optimizer.step()
        return sum(right)

    def gradients(self, part, images, labels, batch_size):
        """Forward and backward of one part of a batch. Returns its share of the loss, and how many are right."""
        model, smoothing, share = self.models[part], self.recipe.label_smoothing, len(images) / batch_size
        seed_dropout(model, (self.recipe.seed, self.steps, part))  # dropout depends on the step and the part alone
        if not model.training:
            model.train()
        logits = model(images.astype(self.dtype))
        model.backward(share * cross_entropy_backward(logits, labels, smoothing))
        loss = share * float(cross_entropy(logits, labels, smoothing))
        return loss, int((logits.argmax(axis=1) == labels).sum())

    def logits(self, images):
        """images (n, c, H, W) → logits (n, classes)."""
        return self.model.eval()(images.astype(self.dtype))

    def weights(self):
        """{official name: array}."""
        return self.model.state_dict()

    def state_dict(self):
        """{name: array}: everything that the next step depends on."""
        state = {f"model.{name}": value for name, value in self.weights().items()}
        state |= {f"optimizer.{name}": value for name, value in self.optimizer.state_dict().items()}
        return state | {"losses": np.array(self.losses)}

    def load_state_dict(self, state):
        """Take what `state_dict` gave. Raises CheckpointError if it was another model's, and changes nothing."""
        own = shapes_of(self.state_dict())
        check_state(state, own | {"losses": (np.size(state.get("losses", ())),)})
        self.model.load_state_dict(under("model.", state))
        self.optimizer.load_state_dict(under("optimizer.", state))
        self.losses = state["losses"].tolist()

    def __str__(self):
        parameters = sum(value.size for value in self.weights().values())
        return f"NumPy twin, {parameters:,} parameters; {environment('numpy')}"


def add_gradients(parameter, *others):
    for other in others:
        if other.grad is not None:
            parameter.accumulate(other.grad)


def under(prefix, state):
    """The entries whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def options(parser):
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: %(default)s")


def make_trainer(config, recipe, args):
    return Trainer(config, recipe, np.dtype(args.dtype).type)


def run(arguments=None):
    return main(make_trainer, "python -m swin_numpy.train", arguments, options)


if __name__ == "__main__":
    sys.exit(run())
