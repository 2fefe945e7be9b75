"""The layers that Swin adds to PyTorch's own."""

import torch
from torch.nn import Dropout, Linear, Module
from torch.nn.functional import gelu

from swin_numpy.weights.initial import initial_state

from .module import check_rate, check_whole


class DropPath(Module):
    """Stochastic depth (Huang et al. 2016): in training, drop the branch for whole samples. x (n, ...) → same.

    drop_prob: the probability for each sample; the others are divided by 1 - drop_prob.
    """

    def __init__(self, drop_prob=0.0):
        super().__init__()
        check_rate("drop_prob", drop_prob)
        self.drop_prob = drop_prob

    def forward(self, x):
        """x (n, ...) → same."""
        if self.drop_prob == 0 or not self.training:
            return x
        one_a_sample = (x.shape[0],) + (1,) * (x.ndim - 1)
        mask = keep_mask(one_a_sample, self.drop_prob, x)
        return x * mask


def keep_mask(shape, drop, like):
    """An array of 0 (with probability `drop`) and 1/(1 - drop), whose mean is 1: nothing is lost on average."""
    return (torch.rand(shape, device=like.device) >= drop).to(like.dtype) / (1 - drop)


class Mlp(Module):
    """Linear, GELU, Linear: what a block does to each token separately. x (..., in_features) → same.

    hidden_features: width in the middle. drop: rate of the dropout after GELU and at the end.
    """

    def __init__(self, in_features, hidden_features, drop=0.0):
        super().__init__()
        check_rate("drop", drop)
        check_whole("hidden_features", hidden_features)
        self.fc1 = Linear(in_features, hidden_features)
        self.fc2 = Linear(hidden_features, in_features)
        self.drop1 = Dropout(drop)
        self.drop2 = Dropout(drop)

    def forward(self, x):
        """x (..., in_features) → same."""
        x = self.fc1(x)
        y = gelu(x)
        return self.drop2(self.fc2(self.drop1(y)))


def undrawn():
    """A context in which layers get no numbers for their weights, for weights that are loaded next."""
    return torch.device("meta")  # nor memory: they must be loaded with assign=True


def init_weights(module, seed=0):
    """Give `module` the published initial values. The same seed gives the same numbers in both packages.

    Raises ValueError for a seed below 0.
    """
    if any(parameter.is_meta for parameter in module.parameters()):
        return  # without memory there is nothing to fill: load_state_dict will
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    values = initial_state(shapes, seed)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
