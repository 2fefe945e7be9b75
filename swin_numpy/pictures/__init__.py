"""From a picture file to the array that a model takes, and the names of its classes."""
