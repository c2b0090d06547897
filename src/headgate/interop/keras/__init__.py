"""Keras: its models and layers as networks, and back."""
