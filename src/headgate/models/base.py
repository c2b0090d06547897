"""What the estimators share: scikit-learn's conventions, without its machinery."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError as SklearnNotFittedError

from ..errors import InputError, NotFittedError


class EstimatorNotFittedError(NotFittedError, SklearnNotFittedError):  # type: ignore[misc]
    """An estimator was used before ``fit``: headgate's error and scikit-learn's in one."""


class Estimator(BaseEstimator):  # type: ignore[misc]
    """An estimator whose parameters stand in ``__init__`` and whose facts end in ``_``."""

    def require_fitted(self, what: str) -> None:
        """Raise unless ``fit`` or ``hg.load`` has made this estimator ready for ``what``."""
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise EstimatorNotFittedError(
                f"this {name} is not fitted, so {what} is not possible; call fit(data) first or "
                "load a saved one with headgate.load(path)"
            )

    def __sklearn_is_fitted__(self) -> bool:
        return any(name.endswith("_") and not name.startswith("_") for name in vars(self))

    def set_params(self, **params: Any) -> Estimator:
        """Change parameters by name; returns self.

        Raises:
            InputError: there is no such parameter.
        """
        unknown = sorted(set(params) - set(self.get_params()))
        if unknown:
            raise InputError(
                f"{type(self).__name__} has no parameter {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(self.get_params())}"
            )
        super().set_params(**params)
        return self
