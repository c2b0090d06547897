"""One module a library; each runs in a process of its own (``python -m peers.torch_peer``)."""
