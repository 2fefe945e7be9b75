"""Exercises of chapter 01, self-attention."""

import numpy as np


def check_1(answer):
    """answer(scores): softmax of each row."""
    scores = np.array([[0.0, np.log(3)], [1.0, 1.0]])
    weights = np.asarray(answer(scores))
    if weights.shape != scores.shape:
        return f"expected the shape of the scores {scores.shape}, got {weights.shape}"
    if not np.allclose(weights.sum(-1), 1):
        return f"each row should sum to 1, but the rows sum to {weights.sum(-1).round(3)}"
    if not np.allclose(weights, [[0.25, 0.75], [0.5, 0.5]]):
        return f"for {scores.round(3).tolist()} expected [[0.25, 0.75], [0.5, 0.5]], got {weights.round(3).tolist()}"


def solution_1(scores):
    exp = np.exp(scores)
    return exp / exp.sum(axis=-1, keepdims=True)


def wrong_1(scores):
    exp = np.exp(scores)
    return exp / exp.sum(axis=0)
