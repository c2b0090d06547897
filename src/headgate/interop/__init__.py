"""Models that come from PyTorch, Keras and ONNX, or go there.

The rooms import their neighbour's library at the top of their files, and are imported where they
are used: through ``headgate.torch``, ``headgate.keras`` and ``headgate.onnx``, which say what to
install.
"""
