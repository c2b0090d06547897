"""Labels of any type as numbers from 0, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from ..checks import as_number, shown
from ..errors import InputError

Int64 = npt.NDArray[np.int64]

BALANCED = "balanced"
_KINDS = ("bool", "int", "float", "str")


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of a fit, sorted: class k is ``classes[k]``.

    Attributes:
        classes: (C,) of the labels' own dtype.
    """

    classes: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def learn(cls, y: Any, classes: Any = None) -> Labels:
        """The classes in ``y``, or ``classes`` where more are to come.

        Raises:
            InputError: a label is missing, is a number with a fraction, fewer than two classes
                are there, or ``classes`` lacks one that stands in ``y``.
        """
        found = _sorted(as_labels(y))
        if classes is not None:
            named = _sorted(as_labels(classes, "classes"))
            absent = [label for label in found.tolist() if label not in set(named.tolist())]
            if absent:
                raise InputError(f"y has the label {shown(absent[0])}, which classes does not name")
            found = named
        if len(found) < 2:
            raise InputError(
                f"y holds one class, {shown(found.tolist()[0])}; a classifier needs examples of "
                "two or more, or their names in classes= of partial_fit"
            )
        return cls(found)

    def encode(self, y: Any, name: str = "y") -> Int64:
        """(N,) class numbers of the labels ``y``.

        Raises:
            InputError: a label is missing or was not among those of the fit.
        """
        labels = as_labels(y, name)
        numbers = {label: k for k, label in enumerate(self.classes.tolist())}
        codes = [numbers.get(label, -1) for label in labels.tolist()]
        if -1 in codes:
            at = codes.index(-1)
            raise InputError(
                f"{name}[{at}] is {shown(labels.tolist()[at])}, a class that the fit did not know "
                f"(it knows {shown(self.classes.tolist())}); name all classes at first, with "
                "partial_fit(X, y, classes=...), or fit anew"
            )
        return np.array(codes, np.int64)

    def decode(self, codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The labels of class numbers."""
        return np.asarray(self.classes[codes])

    def weights(self, class_weight: Any, codes: Int64) -> tuple[float, ...] | None:
        """A weight for each class, for ``class_weights`` of ``Network.fit``.

        Args:
            class_weight: None; "balanced" for N / (C * count of the class), as scikit-learn has
                it; a dict from label to weight, in which a class that is absent weighs 1.
            codes: (N,) the class numbers of the training part.
        """
        if class_weight is None:
            return None
        if isinstance(class_weight, Mapping):
            given = dict(class_weight)
            known = set(self.classes.tolist())
            strange = [label for label in given if label not in known]
            if strange:
                raise InputError(
                    f"class_weight names {shown(strange[0])}, which is no class; the classes are "
                    f"{shown(self.classes.tolist())}"
                )
            return tuple(float(given.get(label, 1.0)) for label in self.classes.tolist())
        counts = np.bincount(codes, minlength=len(self))
        seen = np.count_nonzero(counts)
        return tuple(float(len(codes) / (seen * count)) if count else 1.0 for count in counts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"dtype": self.classes.dtype.str, "classes": self.classes.tolist()}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Labels:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: these cannot be classes.
        """
        values, dtype = facts["classes"], facts["dtype"]
        plain = isinstance(values, list) and len({type(value) for value in values}) == 1
        if not plain or type(values[0]).__name__ not in _KINDS or not isinstance(dtype, str):
            raise InputError(f"the classes cannot be {shown(values)}")
        made = np.dtype(dtype)
        classes = np.array(values, dtype=made)
        if made.kind not in "bifuUO" or classes.tolist() != values or len(set(values)) < 2:
            raise InputError(f"the classes cannot be {shown(values)} of dtype {shown(dtype)}")
        return cls(classes)


def check_class_weight(value: Any) -> None:
    """Raise InputError unless ``value`` is None, "balanced" or a dict of weights."""
    if value is None or (isinstance(value, str) and value == BALANCED):
        return
    if not isinstance(value, Mapping):
        raise InputError(
            f"class_weight must be None, 'balanced' or a dict from label to weight, got "
            f"{shown(value)}"
        )
    for label, weight in value.items():
        if not 0 <= as_number(weight) < np.inf:
            raise InputError(
                f"class_weight of {shown(label)} must be a number of at least 0, got "
                f"{shown(weight)}"
            )


def as_labels(y: Any, name: str = "y") -> npt.NDArray[Any]:
    """``y`` as a 1-D array of labels, none of which is missing.

    Raises:
        InputError: it is None, has another shape, or a label is missing or cannot be one.
    """
    if y is None:
        raise InputError(
            "fit requires y to be passed, but the target y is None; pass a label for each example"
        )
    several = isinstance(y, Iterable) or hasattr(y, "__array__")
    if not several or isinstance(y, (str, bytes, Mapping)):
        raise InputError(f"{name} must be a list or array of labels, got {shown(y)}")
    array = _as_array(y, name)
    if array.ndim != 1:
        try:
            array = column_or_1d(array, warn=True)
        except ValueError as error:
            raise InputError(f"{name} must hold one label for each example: {error}") from None
    if len(array) == 0:
        raise InputError(f"{name} is empty; pass a label for each example")
    _check_present(array, name)
    _check_kind(array, name)
    return array


def _as_array(y: Any, name: str) -> npt.NDArray[Any]:
    try:
        array = np.asarray(y)
    except ValueError:  # lists of several lengths
        raise InputError(
            f"{name} must hold one label for each example, not lists of them"
        ) from None
    texts = isinstance(y, (list, tuple)) and array.dtype.kind in "SU"
    if texts and any(not isinstance(label, str) for label in y):
        # NumPy has made texts of the numbers beside texts
        array = np.empty(len(y), dtype=object)
        array[:] = y
    if array.dtype.kind == "O" and array.ndim == 1:  # scalars of NumPy as those of Python
        array = array.copy()
        array[:] = [label.item() if isinstance(label, np.generic) else label for label in array]
    return array


def _check_present(array: npt.NDArray[Any], name: str) -> None:
    for k, label in enumerate(array.tolist() if array.dtype.kind in "fO" else ()):
        if label is None:
            what = "None"
        elif isinstance(label, float) and not np.isfinite(label):
            what = "NaN" if np.isnan(label) else "inf"
        else:
            continue
        raise InputError(
            f"Input {name} contains {what}, at index {k}: every example needs a label; leave out "
            "those that have none"
        )


def _check_kind(array: npt.NDArray[Any], name: str) -> None:
    if array.dtype.kind == "O":
        types = sorted({type(label).__name__ for label in array.tolist()})
        if len(types) > 1 or types[0] not in _KINDS:
            raise InputError(
                f"the labels in {name} must be of one type, texts or whole numbers, got "
                f"{' and '.join(types)}"
            )
    elif array.dtype.kind not in "bifuU":
        raise InputError(f"labels must be texts or whole numbers, got dtype {array.dtype}")
    if array.dtype.kind == "f" and type_of_target(array).startswith("continuous"):
        raise InputError(
            f"Unknown label type: continuous. {name} holds numbers with fractions, which are no "
            "classes; use a regressor, or make classes of them"
        )


def _sorted(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.unique(labels))
