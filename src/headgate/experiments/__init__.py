"""Experiments on a person's own data: kinds of networks side by side, and options tried out."""
