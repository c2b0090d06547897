"""PyTorch: its recurrent modules on the engine, and whole networks both ways."""
