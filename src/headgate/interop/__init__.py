"""Models that come from PyTorch, Keras and ONNX, or go there.

Files named after a neighbour import its library at their top, and are imported where they are
used: through ``headgate.torch``, ``headgate.keras`` and ``headgate.onnx``, which say what to
install.
"""
