"""How gradients change the weights: AdamW, its learning rate schedule, gradient clipping.

The arithmetic is that of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_; the recipe is that of
the official config.py and optimizer.py.
"""

import math

import numpy as np

from .gelu import scratch
from .module import plain
from .runtime.threads import share_out
from .weights.check import check_state

# What isn't decayed, though it has two or more axes. The last two are V2's.
NO_DECAY = ("relative_position_bias_table", "absolute_pos_embed", "cpb_mlp", "logit_scale")


def no_decay(name, parameter):
    """Is this parameter excluded from weight decay? Norms, biases, bias tables and position embeddings are."""
    return parameter.ndim <= 1 or name.endswith(".bias") or any(word in name for word in NO_DECAY)


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    named_parameters: (name, Parameter) pairs, as `model.named_parameters()` gives them; `step` changes them in place.
        Call `model.to` before this, not after: it replaces them.
    lr: learning rate; set `optimizer.lr` before each step to follow a schedule.
    betas: how much of the running means of the gradient and of its square is kept in each step.
    eps: keeps the division from overflowing. weight_decay: for all parameters but those that `no_decay` excludes.
    """

    def __init__(self, named_parameters, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05):
        self.parameters = dict(named_parameters)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.steps = dict.fromkeys(self.parameters, 0)
        self.mean = {name: np.zeros_like(value, subok=False) for name, value in self.parameters.items()}
        self.square = {name: np.zeros_like(value, subok=False) for name, value in self.parameters.items()}

    def step(self):
        """Update every parameter that has a gradient."""
        share_out(self.update, [name for name, parameter in self.parameters.items() if parameter.grad is not None])

    def update(self, name):
        """Update one parameter in pieces that fit into the cache."""
        parameter = self.parameters[name]
        self.steps[name] += 1
        # Both means start at 0. In the first steps they are too small by these factors.
        mean_scale = 1 - self.betas[0] ** self.steps[name]
        square_scale = 1 - self.betas[1] ** self.steps[name]
        decay = 0 if no_decay(name, parameter) else self.lr * self.weight_decay
        for piece in pieces(parameter, parameter.grad, self.mean[name], self.square[name]):
            self.update_piece(*piece, decay, mean_scale, square_scale)

    def update_piece(self, parameter, gradient, mean, square, decay, mean_scale, square_scale):
        """The arithmetic of one step, in place, on flat arrays of one length."""
        beta1, beta2 = self.betas
        change = np.subtract(gradient, mean, out=scratch("change", mean.shape, mean.dtype))
        change *= 1 - beta1
        mean += change
        np.multiply(gradient, gradient, out=change)
        change *= 1 - beta2
        square *= beta2
        square += change

        parameter *= 1 - decay
        np.sqrt(square, out=change)
        change /= math.sqrt(square_scale)
        change += self.eps
        np.divide(mean, change, out=change)
        change *= self.lr / mean_scale
        parameter -= change

    def state_dict(self):
        """{"step.NAME", "mean.NAME", "square.NAME": array}, to resume exactly. The arrays are not copied."""
        state = {f"step.{name}": np.array(float(steps)) for name, steps in self.steps.items()}
        state |= {f"mean.{name}": value for name, value in self.mean.items()}
        return state | {f"square.{name}": value for name, value in self.square.items()}

    def load_state_dict(self, state):
        """Load what `state_dict` returned, all or nothing. Raises CheckpointError if it is for other parameters."""
        own = self.state_dict()
        check_state(state, {name: value.shape for name, value in own.items()})
        for name in self.parameters:
            self.steps[name] = int(state[f"step.{name}"])
            self.mean[name][...] = state[f"mean.{name}"]
            self.square[name][...] = state[f"square.{name}"]


def pieces(*arrays, size=2**17):
    """Yield matching pieces of arrays of the same shape, as flat views of `size` numbers, which fit into the cache."""
    flat = [plain(array).reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, size):
        yield [array[start : start + size] for array in flat]


def cosine_schedule(step, total_steps, warmup_steps, base_lr, min_lr=0.0, warmup_lr=0.0):
    """The learning rate at `step` = 0, 1, …: a line from warmup_lr up to base_lr, then half a cosine down to min_lr.

    It reaches base_lr at warmup_steps and min_lr at total_steps, and stays there.
    """
    if step < warmup_steps:
        return warmup_lr + (base_lr - warmup_lr) * step / warmup_steps
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1)
    return min_lr + (base_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


def clip_grad_norm(parameters, max_norm):
    """Scale all gradients, in place and by one factor, so that their common norm is at most `max_norm`.

    Returns the norm before: the root of the sum of all squares.
    """
    gradients = [plain(parameter.grad) for parameter in parameters if parameter.grad is not None]
    norms = dict.fromkeys(range(len(gradients)))
    share_out(lambda i: norms.update({i: _norm(gradients[i])}), norms)
    norm = math.hypot(*norms.values())
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # not `factor < 1`: a NaN in one gradient must show in all
        share_out(lambda gradient: np.multiply(gradient, factor, out=gradient), gradients)
    return norm


def _norm(x, size=2**12):
    """The root of the sum of all squares, in pieces of `size` numbers: long float32 sums drift."""
    x = x.reshape(-1)
    whole = len(x) // size * size
    squares = np.vecdot(*2 * [x[:whole].reshape(-1, size)]).sum(dtype=float) + float(x[whole:] @ x[whole:])
    return math.sqrt(squares)
