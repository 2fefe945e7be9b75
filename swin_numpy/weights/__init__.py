"""Checkpoint files and everything between a file and a model: names, shapes, configuration, adapting."""
