"""Train the NumPy twin: `python -m swin_numpy.train`. The PyTorch twin of this file is swin_torch/train.py."""

import sys

import numpy as np

from .functional import cross_entropy, cross_entropy_backward
from .layers import seed_dropout
from .model import SwinTransformer
from .optim import AdamW, clip_grad_norm
from .runtime import threads
from .runtime.environment import environment
from .training.command_line import train
from .training.recipe import first_weights
from .training.runs import check_trainer_state
from .weights.check import shapes_of


class Trainer:
    """A model, its optimiser, and one step after the other.

    config: a SwinConfig; recipe: a swin_numpy.training.recipe.Recipe; dtype: np.float32 or np.float64.
    """

    rank, ranks = 0, 1  # one process; the PyTorch twin can be several

    def __init__(self, config, recipe, dtype=np.float32):
        self.model_config, self.recipe, self.dtype = config, recipe, np.dtype(dtype)
        self.model = SwinTransformer(config, recipe.seed, dtype)
        self.model.load_state_dict(first_weights(shapes_of(self.weights()), recipe))
        self.parameters = [parameter for _, parameter in self.model.named_parameters()]
        self.optimizer = AdamW(self.model.named_parameters(), recipe.base_lr, weight_decay=recipe.weight_decay)
        self.losses = []

    @property
    def steps(self):
        """How many steps were taken."""
        return len(self.losses)

    def step(self, images, labels, lr):
        """One step on images (n, c, H, W) and labels (n,). Returns how many it classified correctly."""
        images, smoothing = images.astype(self.dtype), self.recipe.label_smoothing
        seed_dropout(self.model, (self.recipe.seed, self.steps, self.rank))  # dropout depends on the step alone

        logits = self.model.train()(images)
        loss = cross_entropy(logits, labels, smoothing)
        self.model.zero_grad()
        self.model.backward(cross_entropy_backward(logits, labels, smoothing))
        clip_grad_norm(self.parameters, self.recipe.clip_grad)
        self.optimizer.lr = lr
        self.optimizer.step()

        self.losses.append(float(loss))
        return int((logits.argmax(axis=1) == labels).sum())

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
        """Take what `state_dict` gave. Raises CheckpointError if it doesn't fit or is damaged, and changes nothing."""
        own = self.state_dict()
        own.pop("losses")
        check_trainer_state(state, shapes_of(own))
        self.model.load_state_dict(_under("model.", state))
        self.optimizer.load_state_dict(_under("optimizer.", state))
        self.losses = state["losses"].tolist()

    def __str__(self):
        parameters = sum(value.size for value in self.weights().values())
        return f"NumPy twin, {parameters:,} parameters; {environment('numpy')}"


class ParallelTrainer(Trainer):
    """The same steps, each in two halves of the batch: one on a core of its own, or both in turn if there is but one.

    The results are the same on any number of cores. They differ from Trainer's in the last digits, by the fast
    path's order of sums and its GELU, and in dropout's random numbers.
    """

    PARTS = 2

    def __init__(self, config, recipe, dtype=np.float32):
        super().__init__(config, recipe, dtype)
        self.model.use_attention("fused")
        self.models = [self.model, *(self.model.replica() for _ in range(1, self.PARTS))]  # the same parameters
        self.copies = [[parameter for _, parameter in model.named_parameters()] for model in self.models]

    def step(self, images, labels, lr):
        """One step on images (n, c, H, W) and labels (n,). Returns how many it classified correctly."""
        losses, right = [0.0] * self.PARTS, [0] * self.PARTS

        def forward_and_backward(part):
            share = slice(part, None, self.PARTS)
            losses[part], right[part] = self._gradients(part, images[share], labels[share], len(images))

        for model in self.models:
            model.zero_grad()
        threads.share_out(forward_and_backward, range(min(self.PARTS, len(images))))
        threads.share_out(lambda same: _add_gradients(*same), zip(*self.copies, strict=True))
        clip_grad_norm(self.parameters, self.recipe.clip_grad)
        self.optimizer.lr = lr
        self.optimizer.step()
        self.losses.append(sum(losses))
        return sum(right)

    def _gradients(self, part, images, labels, batch_size):
        """Forward and backward of one part of a batch. Returns its share of the loss, and how many are right."""
        model, smoothing, share = self.models[part], self.recipe.label_smoothing, len(images) / batch_size
        seed_dropout(model, (self.recipe.seed, self.steps, part))
        logits = model.train()(images.astype(self.dtype))
        model.backward(share * cross_entropy_backward(logits, labels, smoothing))
        loss = share * float(cross_entropy(logits, labels, smoothing))
        return loss, int((logits.argmax(axis=1) == labels).sum())


def _add_gradients(parameter, *others):
    for other in others:
        if parameter.grad is None or other.grad is None:
            parameter.grad = other.grad if parameter.grad is None else parameter.grad
        else:
            parameter.grad += other.grad  # in place: 100 MB of new memory would cost as much as the sum


def _under(prefix, state):
    """The entries whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _add_options(parser):
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: %(default)s")


def _make_trainer(config, recipe, args):
    return ParallelTrainer(config, recipe, np.dtype(args.dtype).type)


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    return train(_make_trainer, "python -m swin_numpy.train", arguments, _add_options)


if __name__ == "__main__":
    sys.exit(main())
