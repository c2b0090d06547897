"""The only place that reorders gates, splits or merges biases, or negates update gates.

Every library writes the same cell down differently. A file for each turns its way into headgate's,
which is PyTorch's, and back; ``docs/conventions.md`` has them side by side.

    headgate   a GRU's rows r, z, n, an LSTM's i, f, g, o; weight_ih (GH, I), weight_hh (GH, H);
               two biases; keep-form
    keras      columns z, r, h and i, f, c, o; kernel (I, GH), recurrent_kernel (H, GH); keep-form;
               bias (GH,), of a GRU with reset_after=True (2, 3H)
    onnx       rows z, r, h and i, o, f, c; W (GH, I), R (GH, H), B (2GH,): input biases, then
               recurrent ones; keep-form; linear_before_reset=1 is reset_after=True
    textbook   W_r, W_z, W, each (H, H + I), over [h; x], one bias (H,) each; keep- or update-form

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
