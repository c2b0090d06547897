"""The only place that reorders gates, splits or merges biases, or negates update gates.

Every library writes the same cell down differently. This file turns the four common ways into
headgate's, which is PyTorch's, and back. ``docs/conventions.md`` has them side by side.

    headgate   rows r, z, n; weight_ih (3H, I), weight_hh (3H, H); two biases; keep-form
    Keras      columns z, r, h; kernel (I, 3H), recurrent_kernel (H, 3H); keep-form;
               bias (2, 3H) for reset_after=True, (3H,) for reset_after=False
    ONNX       rows z, r, h; W (3H, I), R (3H, H), B (6H,): input biases, then recurrent ones;
               keep-form; linear_before_reset=1 is reset_after=True
    textbooks  W_r, W_z, W, each (H, H + I), over [h; x], one bias (H,) each; keep- or update-form

Keep-form is h' = (1 - z) * n + z * h, update-form h' = (1 - z) * h + z * n. Since
1 - s(a) = s(-a), negating W_z, U_z and b_z turns one exactly into the other.

Shape letters: I inputs, H hidden units. Functions return new arrays, never views, in the floating
type that came in. Conversions are exact but for one thing: where a format has fewer biases,
two are added into one, and the sum is rounded to the arrays' type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

Array = NDArray[Any]

__all__ = [
    "GRUWeights",
    "KerasWeights",
    "OnnxWeights",
    "TextbookWeights",
    "flip_update_gate",
    "from_keras",
    "from_onnx",
    "from_textbook",
    "gru_weights",
    "merge_biases",
    "to_keras",
    "to_onnx",
    "to_textbook",
]


class GRUWeights(NamedTuple):
    """One GRU layer as headgate and PyTorch keep it: rows r, z, n, keep-form.

    ``weight_ih`` (3H, I), ``weight_hh`` (3H, H), ``bias_ih`` (3H,), ``bias_hh`` (3H,), or (2H,)
    for reset_after=False, whose candidate has one bias only.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array

    @property
    def input_size(self) -> int:
        return int(self.weight_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        return int(self.weight_hh.shape[1])

    @property
    def reset_after(self) -> bool:
        return len(self.bias_hh) == 3 * self.hidden_size


class KerasWeights(NamedTuple):
    """One Keras GRU layer, in the order of ``layer.get_weights()``: columns z, r, h."""

    kernel: Array
    recurrent_kernel: Array
    bias: Array


class OnnxWeights(NamedTuple):
    """One direction of an ONNX GRU operator: rows z, r, h; its first axis is not kept here."""

    W: Array
    R: Array
    B: Array


class TextbookWeights(NamedTuple):
    """One matrix (H, H + I) over [h; x] and one bias (H,) for each gate and the candidate."""

    W_r: Array
    W_z: Array
    W: Array
    b_r: Array
    b_z: Array
    b: Array


# -- headgate's own layout -------------------------------------------------------------------


def gru_weights(
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    *,
    reset_after: bool = True,
) -> GRUWeights:
    """Checked copies of a layer's four arrays; a bias that is None is zeros.

    For reset_after=False ``bias_hh`` may come as (2H,), or as (3H,): its third part is then added
    into ``bias_ih``. Raises InputError when shapes or types do not fit.
    """
    w, u = _floats("weight_ih", weight_ih), _floats("weight_hh", weight_hh)
    h = _hidden_size("weight_hh", u, rows=True)
    _expect("weight_ih", w, (3 * h, None), "(3H, I)", "check hidden_size and transposition")
    dtype = np.result_type(w, u)
    b_ih = _bias("bias_ih", bias_ih, (3 * h,), "(3H,)", dtype)
    if bias_hh is None:
        b_hh = np.zeros((3 if reset_after else 2) * h, dtype)
    elif reset_after:
        b_hh = _bias("bias_hh", bias_hh, (3 * h,), "(3H,) for reset_after=True", dtype)
    else:
        b_hh = _floats("bias_hh", bias_hh)
        if b_hh.shape not in ((2 * h,), (3 * h,)):
            raise InputError(
                f"bias_hh must have shape (2H,) = ({2 * h},), or (3H,) = ({3 * h},), for "
                f"reset_after=False, got {b_hh.shape}"
            )
        if len(b_hh) == 3 * h:
            b_ih[2 * h :] = _sum(b_ih[2 * h :], b_hh[2 * h :])
            b_hh = b_hh[: 2 * h]
        b_hh = b_hh.astype(dtype)
    return GRUWeights(w.astype(dtype), u.astype(dtype), b_ih, b_hh)


def flip_update_gate(weights: GRUWeights) -> GRUWeights:
    """Update-form to keep-form or back, exactly: W_z, U_z and both b_z negated."""
    h = weights.hidden_size
    flipped = GRUWeights(*(np.array(part) for part in weights))
    for part in flipped:
        part[h : 2 * h] *= -1
    return flipped


def merge_biases(bias_ih: ArrayLike, bias_hh: ArrayLike) -> Array:
    """The one bias (3H,) that equals both, where two stand beside each other in a sum.

    That holds for r and z always, and for n under reset_after=False, whose ``bias_hh`` is (2H,).
    Under reset_after=True the reset gate multiplies the candidate's second bias, so it must be
    zero; InputError says so when it is not.
    """
    ih, hh = _floats("bias_ih", bias_ih), _floats("bias_hh", bias_hh)
    if ih.ndim != 1 or len(ih) % 3 or hh.shape not in ((len(ih),), (len(ih) // 3 * 2,)):
        raise InputError(
            f"biases must have shapes (3H,) and (3H,) or (2H,), got {ih.shape} and {hh.shape}"
        )
    h = len(ih) // 3
    if len(hh) == 3 * h and np.any(hh[2 * h :] != 0):
        raise InputError(
            "the candidate's recurrent bias is not zero, and under reset_after=True the reset "
            "gate multiplies it, so a format with one bias cannot hold it; train with "
            "reset_after=False, or export to a format with two biases"
        )
    merged: Array = ih.copy()
    merged[: 2 * h] = _sum(ih[: 2 * h], hh[: 2 * h])
    return merged


# -- Keras -----------------------------------------------------------------------------------


def from_keras(
    kernel: ArrayLike,
    recurrent_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    reset_after: bool = True,
) -> GRUWeights:
    """What ``keras.layers.GRU(...).get_weights()`` gives, as headgate's layer.

    ``kernel`` (I, 3H), ``recurrent_kernel`` (H, 3H); ``bias`` (2, 3H) for reset_after=True
    (Keras's default), (3H,) for False, None for use_bias=False.
    """
    k, u = _floats("kernel", kernel), _floats("recurrent_kernel", recurrent_kernel)
    h = _hidden_size("recurrent_kernel", u, rows=False)
    _expect("kernel", k, (None, 3 * h), "(I, 3H)", "pass get_weights()[0] as it is")
    b_ih: Array | None = None
    b_hh: Array | None = None
    if bias is not None:
        b = _floats("bias", bias)
        if reset_after:
            hint = "a bias of shape (3H,) belongs to reset_after=False"
            _expect("bias", b, (2, 3 * h), "(2, 3H) for reset_after=True", hint)
            b_ih, b_hh = _swap(b[0]), _swap(b[1])
        else:
            hint = "a bias of shape (2, 3H) belongs to reset_after=True"
            _expect("bias", b, (3 * h,), "(3H,) for reset_after=False", hint)
            b_ih = _swap(b)
    return gru_weights(_swap(k.T), _swap(u.T), b_ih, b_hh, reset_after=reset_after)


def to_keras(weights: GRUWeights) -> KerasWeights:
    """A headgate layer as ``set_weights`` of a Keras GRU with the same reset_after takes it."""
    w, u, b_ih, b_hh = weights
    if weights.reset_after:
        bias = np.stack([_swap(b_ih), _swap(b_hh)])
    else:
        bias = _swap(merge_biases(b_ih, b_hh))
    return KerasWeights(_packed(_swap(w).T), _packed(_swap(u).T), bias)


# -- ONNX ------------------------------------------------------------------------------------


def from_onnx(
    W: ArrayLike, R: ArrayLike, B: ArrayLike | None = None, *, reset_after: bool
) -> GRUWeights:
    """One direction of an ONNX GRU operator, as headgate's layer.

    ``W`` (3H, I), ``R`` (3H, H), ``B`` (6H,) or None: pass ``W[d]`` for direction d, since the
    operator's inputs have a direction axis in front. ``reset_after`` is its linear_before_reset,
    whose default is 0, False.
    """
    w, u = _floats("W", W), _floats("R", R)
    direction = "index the direction axis, W[0], R[0], B[0]"
    h = _hidden_size("R", u, rows=True, hint=direction)
    _expect("W", w, (3 * h, None), "(3H, I)", direction)
    b_ih = b_hh = None
    if B is not None:
        b = _floats("B", B)
        _expect("B", b, (6 * h,), "(6H,)", direction)
        b_ih, b_hh = _swap(b[: 3 * h]), _swap(b[3 * h :])
    return gru_weights(_swap(w), _swap(u), b_ih, b_hh, reset_after=reset_after)


def to_onnx(weights: GRUWeights) -> OnnxWeights:
    """A headgate layer as W (3H, I), R (3H, H), B (6H,); add a direction axis in front.

    The operator's ``linear_before_reset`` must be ``int(weights.reset_after)``.
    """
    w, u, b_ih, b_hh = weights
    missing = np.zeros(len(b_ih) - len(b_hh), b_hh.dtype)  # the candidate's, for reset_after=False
    both = np.concatenate([_swap(b_ih), _swap(np.concatenate([b_hh, missing]))])
    return OnnxWeights(_swap(w), _swap(u), both)


# -- textbooks -------------------------------------------------------------------------------


def from_textbook(
    W_r: ArrayLike,
    W_z: ArrayLike,
    W: ArrayLike,
    b_r: ArrayLike | None = None,
    b_z: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    update_form: bool,
    reset_after: bool = False,
) -> GRUWeights:
    """Matrices (H, H + I) over [h; x], with a bias (H,) each or None, as headgate's layer.

    Args:
        update_form: True for h' = (1 - z) * h + z * n, False for h' = (1 - z) * n + z * h. Books
            differ, and nothing in the arrays tells, so it has no default.
        reset_after: False for n = tanh(W [r * h; x] + b), as the books have it; True when the
            reset gate multiplies the product of W's left half with h instead.
    """
    parts = {"W_r": _floats("W_r", W_r), "W_z": _floats("W_z", W_z), "W": _floats("W", W)}
    shape = parts["W"].shape
    if len(shape) != 2 or shape[1] <= shape[0]:
        raise InputError(
            f"W must have shape (H, H + I) with at least one input, got {shape}; its columns "
            "belong to h first and then to x"
        )
    h = shape[0]
    for name, part in parts.items():
        _expect(name, part, shape, "(H, H + I)", "all three have the same shape")
    dtype = np.result_type(*parts.values())
    biases = [
        _bias(name, value, (h,), "(H,)", dtype)
        for name, value in (("b_r", b_r), ("b_z", b_z), ("b", b))
    ]
    stacked = np.concatenate(list(parts.values()))
    weights = gru_weights(
        stacked[:, h:], stacked[:, :h], np.concatenate(biases), reset_after=reset_after
    )
    return flip_update_gate(weights) if update_form else weights


def to_textbook(weights: GRUWeights, *, update_form: bool) -> TextbookWeights:
    """A headgate layer as three matrices (H, H + I) over [h; x] and three biases (H,).

    Raises InputError for a reset_after=True layer whose candidate has a recurrent bias: one bias
    cannot say what the reset gate multiplies and what not.
    """
    if update_form:
        weights = flip_update_gate(weights)
    both = np.concatenate([weights.weight_hh, weights.weight_ih], axis=1)
    bias = merge_biases(weights.bias_ih, weights.bias_hh)
    matrices = (part.copy() for part in np.split(both, 3))
    return TextbookWeights(*matrices, *(part.copy() for part in np.split(bias, 3)))


# -- the pieces ------------------------------------------------------------------------------


def _swap(array: Array) -> Array:
    """Rows r, z, n as z, r, n, and the other way round: the same exchange both ways."""
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])


def _sum(a: Array, b: Array) -> Array:
    total = a.astype(np.float64) + b.astype(np.float64)
    return np.asarray(total, a.dtype)


def _packed(array: Array) -> Array:
    return np.array(array, order="C")


def _floats(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{name} must hold floating-point numbers, got {array.dtype}; pass float32 or float64"
        )
    return array


def _bias(
    name: str, value: ArrayLike | None, shape: tuple[int, ...], meaning: str, dtype: Any
) -> Array:
    if value is None:
        return np.zeros(shape, dtype)
    array = _floats(name, value)
    _expect(name, array, shape, meaning, "pass None where there is no bias")
    return array.astype(dtype)


def _hidden_size(name: str, array: Array, *, rows: bool, hint: str = "check transposition") -> int:
    shape = array.shape
    long, short = (0, 1) if rows else (1, 0)
    if array.ndim != 2 or shape[long] != 3 * shape[short] or shape[short] == 0:
        meaning = "(3H, H)" if rows else "(H, 3H)"
        raise InputError(f"{name} must have shape {meaning}, got {shape}; {hint}")
    return int(shape[short])


def _expect(name: str, array: Array, shape: Iterable[int | None], meaning: str, hint: str) -> None:
    want = tuple(shape)
    if array.ndim != len(want) or any(
        w is not None and w != got for w, got in zip(want, array.shape, strict=True)
    ):
        sizes = ", ".join("any" if w is None else str(w) for w in want)
        sizes += "," if len(want) == 1 else ""
        raise InputError(f"{name} must have shape {meaning} = ({sizes}), got {array.shape}; {hint}")
