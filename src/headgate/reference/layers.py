"""What stands around the recurrence: dense, embedding, and what reads a sequence as one vector.

``x`` is (N, T, F), ``valid`` (N, T) says which steps exist, and nothing of the others is read:
the gradient there is zero. Each backward pass takes what its forward pass returned beside the
output.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .arrays import Array, Steps, expect, keep

# -- dense ---------------------------------------------------------------------------------------


class DenseCache(NamedTuple):
    """What ``dense_forward`` leaves for ``dense_backward``."""

    x: Array
    weight: Array
    outputs: Array
    activation: str


def dense_forward(
    x: Array, weight: Array, bias: Array, activation: str = "linear"
) -> tuple[Array, DenseCache]:
    """activation(x W^T + b): x (..., I), weight (O, I), bias (O,) give (..., O).

    ``activation`` is ``linear``, ``relu`` or ``tanh``.
    """
    expect("weight", weight, (None, x.shape[-1]), "(O, I)")
    expect("bias", bias, (len(weight),), "(O,)")
    a = x @ weight.T + bias
    if activation == "relu":
        a = np.maximum(a, 0)
    elif activation == "tanh":
        a = np.tanh(a)
    elif activation != "linear":
        raise InputError(f"activation must be 'linear', 'relu' or 'tanh', got {activation!r}")
    return a, DenseCache(x, weight, a, activation)


def dense_backward(cache: DenseCache, grad_outputs: Array) -> dict[str, Array]:
    """Gradients ``x, weight, bias`` for dLoss/d(outputs) (..., O); relu has slope 0 at 0."""
    x, weight, outputs, activation = cache
    da = grad_outputs
    if activation == "relu":
        da = np.where(outputs > 0, da, 0.0).astype(outputs.dtype)
    elif activation == "tanh":
        da = da * (1 - outputs * outputs)
    flat = da.reshape(-1, da.shape[-1])
    return {
        "x": da @ weight,
        "weight": flat.T @ x.reshape(-1, x.shape[-1]),
        "bias": flat.sum(axis=0),
    }


# -- embedding -----------------------------------------------------------------------------------


class EmbeddingCache(NamedTuple):
    """What ``embedding_forward`` leaves for ``embedding_backward``."""

    tokens: NDArray[np.int64]
    valid: Steps
    shape: tuple[int, ...]
    padding_index: int | None


def embedding_forward(
    tokens: ArrayLike, valid: Steps, weight: Array, padding_index: int | None = None
) -> tuple[Array, EmbeddingCache]:
    """Row ``tokens[n, t]`` of weight (V, S) at every step: (N, T) integers give (N, T, S).

    Zero past each length. The row of ``padding_index`` is read like any other and gets no
    gradient, as in ``torch.nn.Embedding``. Of several columns, (N, T, K), it is the sum of their
    rows, without that of ``padding_index``, as in ``torch.nn.EmbeddingBag(mode="sum")``. Raises
    InputError for tokens outside 0..V-1.
    """
    numbers = np.asarray(tokens)
    bag = numbers.ndim == 3
    expect("tokens", numbers[:, :, 0] if bag else numbers, valid.shape, "(N, T)")
    if not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(f"tokens must be integers, got {numbers.dtype}")
    numbers = keep(valid, numbers, 0).astype(np.int64)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= len(weight)):
        raise InputError(
            f"tokens must be in 0..{len(weight) - 1}, got {numbers.min()}..{numbers.max()}"
        )
    cache = EmbeddingCache(numbers, valid, weight.shape, padding_index)
    rows = weight[numbers]
    if bag:
        left_out = -1 if padding_index is None else padding_index
        rows = keep(numbers != left_out, rows).sum(axis=2)
    return keep(valid, rows), cache


def embedding_backward(cache: EmbeddingCache, grad_outputs: Array) -> Array:
    """The gradient of weight (V, S)."""
    grad = np.zeros(cache.shape, grad_outputs.dtype)
    tokens, arriving = cache.tokens[cache.valid], grad_outputs[cache.valid]
    for column in tokens.reshape(len(tokens), -1).T:
        np.add.at(grad, column, arriving)
    if cache.padding_index is not None:
        grad[cache.padding_index] = 0.0
    return grad


# -- one vector of a sequence --------------------------------------------------------------------


def last_forward(x: Array, valid: Steps, split: int | None = None) -> Array:
    """The last valid step of each sequence, (N, F).

    The features from ``split`` on are read at step 0 instead. Behind a bidirectional layer this
    is what has seen the whole sequence: the forward half at its end, the reverse half at its
    start (PyTorch's h_n).
    """
    check_not_empty("last", valid)
    split = x.shape[-1] if split is None else split
    ends = x[np.arange(len(x)), valid.sum(axis=1) - 1]
    return np.concatenate([ends[:, :split], x[:, 0, split:]], axis=1)


def last_backward(grad: Array, valid: Steps, split: int | None = None) -> Array:
    """dLoss/dx (N, T, F) for dLoss/d(output) (N, F)."""
    split = grad.shape[-1] if split is None else split
    d_x = np.zeros((*valid.shape, grad.shape[-1]), grad.dtype)
    d_x[np.arange(len(grad)), valid.sum(axis=1) - 1, :split] = grad[:, :split]
    d_x[:, 0, split:] = grad[:, split:]
    return d_x


def mean_forward(x: Array, valid: Steps) -> Array:
    """The mean over the valid steps, (N, F)."""
    check_not_empty("mean", valid)
    return np.asarray(keep(valid, x).sum(axis=1) / valid.sum(axis=1)[:, None].astype(x.dtype))


def mean_backward(grad: Array, valid: Steps) -> Array:
    """dLoss/dx (N, T, F) for dLoss/d(output) (N, F)."""
    share = grad / valid.sum(axis=1)[:, None].astype(grad.dtype)
    return keep(valid, np.repeat(share[:, None], valid.shape[1], axis=1))


def max_forward(x: Array, valid: Steps) -> tuple[Array, NDArray[np.int64]]:
    """The maximum of each feature over the valid steps, (N, F), and the steps it came from.

    Of several equal maxima the first counts.
    """
    check_not_empty("max", valid)
    steps = keep(valid, x, -np.inf).argmax(axis=1)
    return np.take_along_axis(x, steps[:, None], axis=1)[:, 0], steps


def max_backward(grad: Array, steps: NDArray[np.int64], valid: Steps) -> Array:
    """dLoss/dx (N, T, F) for dLoss/d(output) (N, F): all of it to where the maximum came from."""
    d_x = np.zeros((*valid.shape, grad.shape[-1]), grad.dtype)
    np.put_along_axis(d_x, steps[:, None], grad[:, None], axis=1)
    return d_x


class AttentionCache(NamedTuple):
    """What ``attention_forward`` leaves for ``attention_backward``.

    ``weights`` (N, T) are the attention over steps. ``inner`` is tanh(W h_t + b) (N, T, A) of the
    additive score, and q = W s (N, F) of the other one, whose ``summary`` is s.
    """

    x: Array
    valid: Steps
    tensors: dict[str, Array]
    weights: Array
    inner: Array
    summary: Array
    split: int | None


def attention_forward(
    x: Array, valid: Steps, tensors: dict[str, Array], split: int | None = None
) -> tuple[Array, AttentionCache]:
    """The mean of the valid steps, weighted by how well each answers a query: (N, F).

    With h_t the step's features and a_t the softmax over the valid steps of a score, the output
    is the sum of a_t h_t. Which score is told by the tensors:

        additive   v . tanh(W h_t + b)     ``weight`` (A, F), ``bias`` (A,), ``query`` (A,)
        dot        (W s) . h_t / sqrt(F)   ``weight`` (F, F); s is what ``last_forward`` reads

    Additive: Bahdanau et al. 2015, arXiv 1409.0473, with the learned query of Yang et al. 2016,
    "Hierarchical attention networks". Dot: Luong et al. 2015, arXiv 1508.04025, its "general"
    score, scaled as in Vaswani et al. 2017, arXiv 1706.03762.
    """
    check_not_empty("attention", valid)
    x = keep(valid, x)
    weight = tensors["weight"]
    if "query" in tensors:
        summary = x[:, :0, 0]
        inner = np.tanh(x @ weight.T + tensors["bias"])
        scores = inner @ tensors["query"]
    else:
        summary = last_forward(x, valid, split)
        inner = summary @ weight.T
        scores = np.einsum("nf,ntf->nt", inner, x) / np.sqrt(x.dtype.type(x.shape[-1]))
    scores = keep(valid, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    outputs = np.einsum("nt,ntf->nf", weights, x)
    return outputs, AttentionCache(x, valid, tensors, weights, inner, summary, split)


def attention_backward(cache: AttentionCache, grad: Array) -> dict[str, Array]:
    """Gradients ``x`` (N, T, F) and of the tensors by name, for dLoss/d(output) (N, F)."""
    x, valid, tensors, weights, inner, summary, split = cache
    weight = tensors["weight"]
    d_x = weights[:, :, None] * grad[:, None]
    d_weights = np.einsum("nf,ntf->nt", grad, x)
    # through the softmax: what raises one step's share lowers that of the others
    d_scores = weights * (d_weights - (weights * d_weights).sum(axis=1, keepdims=True))
    if "query" in tensors:
        d_a = d_scores[:, :, None] * tensors["query"] * (1 - inner * inner)
        return {
            "x": d_x + d_a @ weight,
            "weight": np.einsum("nta,ntf->af", d_a, x),
            "bias": d_a.sum(axis=(0, 1)),
            "query": np.einsum("nt,nta->a", d_scores, inner),
        }
    d_scores = d_scores / np.sqrt(x.dtype.type(x.shape[-1]))
    d_query = np.einsum("nt,ntf->nf", d_scores, x)
    d_x = d_x + d_scores[:, :, None] * inner[:, None]
    d_x = d_x + last_backward(d_query @ weight, valid, split)
    return {"x": d_x, "weight": d_query.T @ summary}


def check_not_empty(layer: str, valid: Steps) -> None:
    if not valid.any(axis=1).all():
        raise InputError(f"a {layer!r} layer needs one step at least; drop empty sequences")
