"""Checkpoints: what a model starts from, what it reads and what it writes."""

from .initial import initial_state

__all__ = ["initial_state"]
