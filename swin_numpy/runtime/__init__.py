"""What helps a run and is no part of the model: threads, traces of every step, a line about the machine."""
