"""The only place that reorders gates, splits or merges biases, or negates update gates.

Every library writes the same cell down differently. A file for each turns its way into headgate's,
which is PyTorch's, and back; ``docs/conventions.md`` has them side by side. ``conventions.py``
knows them by name and reads whole stacks, for ``Network.from_weights`` and ``to_weights``.

    headgate      a GRU's rows r, z, n, an LSTM's i, f, g, o; weight_ih (GH, I), weight_hh (GH, H);
                  two biases; keep-form
    pytorch       the same; reset gate after the product only
    keras         columns z, r, h and i, f, c, o; bias (GH,), of a GRU with reset_after=True (2, 3H)
    onnx          rows z, r, h and i, o, f, c; B (2GH,); linear_before_reset=1 is reset_after=True
    tensorflow1   columns over [x, h], r, u and a candidate, i, j, f, o; reset before the product
    flax          a matrix for each gate (linen), or columns r, z, n and i, f, g, o (nnx)
    mlx           PyTorch's rows; one bias, and a second one for a GRU's candidate
    haste         columns z, r, g and i, g, f, o
    rtneural      Keras's, as lists in JSON
    dynet         z, r, h apart in update-form; rows i, f, o, g; reset before the product
    textbook      W_r, W_z, W, each (H, H + I), over [h; x]; keep- or update-form

Keep-form is h' = (1 - z) * n + z * h, update-form h' = (1 - z) * h + z * n. Since
1 - s(a) = s(-a), negating W_z, U_z and b_z turns one exactly into the other.

Shape letters: I inputs, H hidden units, G gates: 3 of a GRU, 4 of an LSTM, 1 of a plain RNN, so the
shape of the recurrent weights tells the cell. Functions return new arrays, never views, in the
floating type that came in. Conversions are exact but for one thing: where a format has fewer
biases, two are added into one, and the sum is rounded to the arrays' type.
"""

from .conventions import CONVENTIONS, read_dense, read_stack, write_stack
from .dynet import from_dynet, to_dynet
from .flax import from_flax, to_flax, to_nnx
from .haste import from_haste, to_haste
from .keras import KerasWeights, from_keras, from_rtneural, to_keras, to_rtneural
from .layer import CellWeights, cell_weights, flip_update_gate, merge_biases
from .mlx import from_mlx, to_mlx
from .onnx import OnnxWeights, from_onnx, to_onnx
from .pytorch import from_pytorch, to_pytorch
from .tensorflow1 import from_tensorflow1, to_tensorflow1
from .textbook import TextbookWeights, from_textbook, to_textbook

__all__ = [
    "CONVENTIONS",
    "CellWeights",
    "KerasWeights",
    "OnnxWeights",
    "TextbookWeights",
    "cell_weights",
    "flip_update_gate",
    "from_dynet",
    "from_flax",
    "from_haste",
    "from_keras",
    "from_mlx",
    "from_onnx",
    "from_pytorch",
    "from_rtneural",
    "from_tensorflow1",
    "from_textbook",
    "merge_biases",
    "read_dense",
    "read_stack",
    "to_dynet",
    "to_flax",
    "to_haste",
    "to_keras",
    "to_mlx",
    "to_nnx",
    "to_onnx",
    "to_pytorch",
    "to_rtneural",
    "to_tensorflow1",
    "to_textbook",
    "write_stack",
]
