"""Training: the epoch loop, history, callbacks, progress."""
