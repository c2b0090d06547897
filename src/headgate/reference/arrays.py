"""What every file of the reference needs: the array type, the sigmoid, and checks of shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Array = NDArray[Any]  # float64, or float32 where dtype= asked for it
Steps = NDArray[np.bool_]  # (N, T), true where a sequence has a step


def sigmoid(a: ArrayLike) -> Array:
    """1 / (1 + exp(-a)), elementwise, in the floating type of ``a``; never overflows."""
    a = np.asarray(a)
    e = np.exp(-np.abs(a))  # in [0, 1] whatever the sign of a
    return np.asarray(np.where(a >= 0, 1.0, e) / (1.0 + e))


def keep(where: Steps, array: Array, otherwise: Array | float = 0.0) -> Array:
    """``array`` where ``where`` is true, else ``otherwise``, in the type of ``array``.

    ``where`` gets trailing axes until it has as many as ``array``.
    """
    shape = where.shape + (1,) * (array.ndim - where.ndim)
    return np.where(where.reshape(shape), array, otherwise).astype(array.dtype, copy=False)


def expect(name: str, array: Array, shape: tuple[int | None, ...], meaning: str) -> None:
    """Raise InputError unless ``array`` has this shape; None stands for any size."""
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        sizes = ", ".join("any" if s is None else str(s) for s in shape)
        raise InputError(f"{name} must have shape {meaning} = ({sizes}), got {array.shape}")


def valid_steps(lengths: ArrayLike | None, n: int, t: int) -> Steps:
    """(N, T), true where a sequence has a step; ``lengths`` (N,) in 0..T, None is T for all."""
    if lengths is None:
        return np.ones((n, t), dtype=np.bool_)
    sizes = np.asarray(lengths)
    if sizes.shape != (n,) or not np.issubdtype(sizes.dtype, np.integer):
        raise InputError(
            f"lengths must be {n} integers, one for each sequence, got {sizes.dtype} of shape "
            f"{sizes.shape}"
        )
    if n and (sizes.min() < 0 or sizes.max() > t):
        raise InputError(f"lengths must be in 0..{t}, got {sizes.min()}..{sizes.max()}")
    return np.asarray(np.arange(t) < sizes[:, None])
