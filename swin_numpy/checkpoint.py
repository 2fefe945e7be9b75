"""Checkpoints: what a model starts from, what it reads and what it writes."""

import numpy as np

from .initial import initial_state

__all__ = ["check_state", "initial_state"]


def check_state(state, shapes, strict=True):
    """Raise ValueError that lists the names that are missing, unexpected or of another shape."""
    wrong = [f"{name} is missing" for name in shapes if name not in state and strict]
    wrong += [f"{name} is unexpected" for name in state if name not in shapes and strict]
    wrong += [
        f"{name}: expected {tuple(shapes[name])}, got {np.shape(state[name])}"
        for name in shapes
        if name in state and tuple(np.shape(state[name])) != tuple(shapes[name])
    ]
    if wrong:
        raise ValueError("; ".join(wrong[:8]))
