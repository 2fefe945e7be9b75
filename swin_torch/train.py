"""Train the PyTorch twin: `python -m swin_torch.train`. The NumPy twin of this file is swin_numpy/train.py.

On several processes or machines: `torchrun --nproc-per-node=2 -m swin_torch.train`. Each process takes its share
of every batch and DistributedDataParallel averages the gradients: without dropout and drop path, the
curve is that of one process.
"""

import os
import sys

import numpy as np
import torch
import torch.distributed as distributed
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from swin_numpy.optim import no_decay
from swin_numpy.runtime.environment import environment
from swin_numpy.training.command_line import train
from swin_numpy.training.recipe import first_weights
from swin_numpy.training.runs import check_trainer_state
from swin_numpy.weights.check import shapes_of

from .compare import find_device
from .model import SwinTransformer

MOST_THREADS = 256  # a larger number is hardly meant, and a million of them end the process


class Trainer:
    """A model, its optimiser, and one step after the other.

    config: a SwinConfig; recipe: a swin_numpy.training.recipe.Recipe; device: "cpu", "cuda", …;
    dtype: torch.float32 or torch.float64.
    """

    rank, ranks = 0, 1  # one process; ParallelTrainer can be several

    def __init__(self, config, recipe, device="cpu", dtype=torch.float32):
        self.model_config, self.recipe, self.device, self.dtype = config, recipe, device, dtype
        self.model = SwinTransformer(config, recipe.seed)
        start = first_weights(shapes_of(self.model.state_dict()), recipe)
        self.model.load_state_dict({name: torch.from_numpy(value) for name, value in start.items()})
        self.model.to(device, dtype)
        self.network = self.model
        self.optimizer = make_optimizer(self.model, recipe)
        self.losses = []

    @property
    def steps(self):
        """How many steps were taken."""
        return len(self.losses)

    def step(self, images, labels, lr):
        """One step on images (n, c, H, W) and labels (n,), NumPy arrays. Returns how many it classified correctly."""
        images, labels = torch.from_numpy(images).to(self.device, self.dtype), torch.from_numpy(labels).to(self.device)
        torch.manual_seed(hash((self.recipe.seed, self.steps, self.rank)))  # dropout depends on step and process alone

        logits = self.network.train()(images)
        loss = cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()

        self.losses.append(loss.item())
        return int((logits.argmax(dim=1) == labels).sum())

    def logits(self, images):
        """images (n, c, H, W) → logits (n, classes), NumPy arrays."""
        with torch.inference_mode():
            logits = self.model.eval()(torch.from_numpy(images).to(self.device, self.dtype))
        return logits.cpu().numpy()

    def weights(self):
        """{official name: array}."""
        return {name: value.cpu().numpy() for name, value in self.model.state_dict().items()}

    def state_dict(self):
        """{name: array}: everything that the next step depends on."""
        state = {f"model.{name}": value for name, value in self.weights().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{key}.{name}"] = value.cpu().numpy()
        return state | {"losses": np.array(self.losses)}

    def load_state_dict(self, state):
        """Take what `state_dict` gave. Raises CheckpointError if it doesn't fit or is damaged, and changes nothing."""
        parameters = dict(self.model.named_parameters())
        check_trainer_state(state, _state_shapes(parameters))
        for name, parameter in parameters.items():
            parameter.data.copy_(torch.from_numpy(state[f"model.{name}"]))
            self.optimizer.state[parameter] = {
                key: torch.from_numpy(state[f"optimizer.{key}.{name}"].copy()).to(parameter if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        self.losses = state["losses"].tolist()

    def __str__(self):
        parameters = sum(p.numel() for p in self.model.parameters())
        where = f"{self.device}, {self.ranks} process{'es' * (self.ranks > 1)}"
        return f"PyTorch twin, {parameters:,} parameters, {where}; {environment('numpy', 'torch')}"


class ParallelTrainer(Trainer):
    """The same steps, shared among the processes that torchrun started; a process of its own is one of one."""

    def __init__(self, config, recipe, device="cpu", dtype=torch.float32):
        super().__init__(config, recipe, device, dtype)
        self.rank, self.ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if self.ranks > 1:
            self.network = DistributedDataParallel(self.model)

    def step(self, images, labels, lr):
        """One step on this process's share of a batch. Returns how many images of it were classified correctly."""
        right = super().step(images, labels, lr)
        if self.ranks > 1:
            loss = torch.tensor(self.losses[-1], device=self.device, dtype=torch.float64)
            distributed.all_reduce(loss)
            self.losses[-1] = loss.item() / self.ranks
        return right


def make_optimizer(model, recipe):
    """AdamW at the recipe's rate, without weight decay on norms, biases and bias tables (official optimizer.py:
    set_weight_decay). On a processor in one pass over memory.
    """
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[no_decay(name, parameter)].append(parameter)
    decay = [
        {"params": groups[False], "weight_decay": recipe.weight_decay},
        {"params": groups[True], "weight_decay": 0},
    ]
    on_processor = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return AdamW(decay, lr=recipe.base_lr, fused=on_processor)


def _state_shapes(parameters):
    """{name: shape} of a trainer's state after its first step, without the losses."""
    shapes = {}
    for name, parameter in parameters.items():
        shape = tuple(parameter.shape)
        shapes |= {f"model.{name}": shape, f"optimizer.step.{name}": ()}
        shapes |= {f"optimizer.exp_avg.{name}": shape, f"optimizer.exp_avg_sq.{name}": shape}
    return shapes


def set_threads(number):
    """Let PyTorch use so many processor cores. Raises ValueError unless it is from 1 to MOST_THREADS."""
    if not 1 <= number <= MOST_THREADS:
        raise ValueError(f"--threads: expected 1 to {MOST_THREADS}, got {number}")
    torch.set_num_threads(number)


def _add_options(parser):
    parser.add_argument("--device", default=None, help="cpu, cuda or mps (default: cuda if there is one, else cpu)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=None, metavar="N", help="processor cores to use (default: all)")


def _make_trainer(config, recipe, args):
    if args.threads is not None:
        set_threads(args.threads)
    kind = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and "LOCAL_RANK" in os.environ:
        kind = f"cuda:{os.environ['LOCAL_RANK']}"
    device = find_device(kind, args.dtype)
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return ParallelTrainer(config, recipe, device, getattr(torch, args.dtype))


def main(arguments=None):
    """Run the command with these arguments, by default those of the process. Returns the exit status."""
    try:
        return train(_make_trainer, "python -m swin_torch.train", arguments, _add_options)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
