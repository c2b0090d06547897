"""``load``: a model file made live again, whatever it holds."""

from __future__ import annotations

import os
from typing import Any

from ..errors import ModelFileError
from ..model_file import load_model
from ..network import Network


def load(path: str | os.PathLike[str]) -> Any:
    """The Network or estimator that was saved at ``path``.

    Raises:
        ModelFileError: the file is missing, truncated, altered, or from an unknown version.
    """
    file = load_model(path)
    kind = file.extra.get("estimator", {}).get("kind") if "estimator" in file.extra else None
    if kind is None:
        return Network.from_file(file)
    if kind == "GRUForecaster":
        from .forecaster import GRUForecaster

        return GRUForecaster.from_file(file)
    raise ModelFileError(f"{path} holds an estimator of kind {kind!r}, unknown to this version")
