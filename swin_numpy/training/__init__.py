"""The training run around a step: recipe, loop, files of a run, Fashion-MNIST."""
