"""Networks in plain NumPy: the readable definition, and the oracle of every kernel.

Shape letters: N batch, T time, I inputs, H hidden units, G gates, L layers, D directions,
F features, O outputs. Inside this package ``*`` is elementwise and ``@`` is a matrix product;
rows of a batch are row vectors, so "W x" of the papers is ``x @ W.T``. Gates stand in PyTorch's
order: r, z, n in a GRU, i, f, g, o in an LSTM.

    cells      one step of each cell, forward and backward, and the one loop over time
    gru        a GRU layer alone: the functions to read first, or to check other code against
    layers     what stands around the recurrence: dense, embedding, dropout, read-outs
    losses     mean losses and their gradients
    crf        a conditional random field: the loss of whole sequences of classes
    networks   a whole NetworkSpec: stacks of layers, and the graph

Every backward pass is written by hand from the equations that ``docs/equations.md`` derives.
Everything runs in float64 unless ``dtype=np.float32`` asks for a plain float32 evaluation.
"""

from .arrays import Array, sigmoid
from .cells import (
    CELLS,
    Gates,
    GRUCell,
    LSTMCell,
    RecurrentCache,
    RecurrentGradients,
    RNNCell,
    recurrent_backward,
    recurrent_forward,
)
from .crf import crf_loss_and_gradients, crf_marginals, crf_sums
from .gru import GRUCache, gru_backward, gru_forward, gru_gates, gru_step
from .layers import (
    DenseCache,
    attention_backward,
    attention_forward,
    dense_backward,
    dense_forward,
    embedding_backward,
    embedding_forward,
    last_backward,
    last_forward,
    max_backward,
    max_forward,
    mean_backward,
    mean_forward,
)
from .losses import HUBER_DELTA, LOSSES, loss_and_gradient
from .networks import network_forward, network_gradients, network_hidden_gradients

__all__ = [
    "CELLS",
    "HUBER_DELTA",
    "LOSSES",
    "Array",
    "DenseCache",
    "GRUCache",
    "GRUCell",
    "Gates",
    "LSTMCell",
    "RNNCell",
    "RecurrentCache",
    "RecurrentGradients",
    "attention_backward",
    "attention_forward",
    "crf_loss_and_gradients",
    "crf_marginals",
    "crf_sums",
    "dense_backward",
    "dense_forward",
    "embedding_backward",
    "embedding_forward",
    "gru_backward",
    "gru_forward",
    "gru_gates",
    "gru_step",
    "last_backward",
    "last_forward",
    "loss_and_gradient",
    "max_backward",
    "max_forward",
    "mean_backward",
    "mean_forward",
    "network_forward",
    "network_gradients",
    "network_hidden_gradients",
    "recurrent_backward",
    "recurrent_forward",
    "sigmoid",
]
