"""``load``: a model file made live again, whatever it holds."""

from __future__ import annotations

import importlib
import os
from typing import Any

from ..errors import HeadgateError, ModelFileError
from ..model_file import load_model
from ..network import Network

# The name of an estimator in a model file, and the module that has a class of that name.
ESTIMATORS = {
    "GRUForecaster": "forecasting.forecaster",
    "SequenceClassifier": "sequences.estimators",
    "SequenceRegressor": "sequences.estimators",
    "LanguageModel": "texts.language_model",
    "SequenceTagger": "texts.tagger",
    "TextClassifier": "texts.classifier",
}


def load(path: str | os.PathLike[str]) -> Any:
    """The Network or estimator that was saved at ``path``.

    Raises:
        ModelFileError: the file is missing, truncated, altered, or from an unknown version.
    """
    file = load_model(path)
    estimator = file.extra.get("estimator")
    if estimator is None:
        try:
            return Network.from_file(file)
        except (HeadgateError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(
                f"{path} is broken: its network cannot be rebuilt ({error}); save it again"
            ) from None
    kind = estimator.get("kind") if isinstance(estimator, dict) else estimator
    if isinstance(kind, str) and kind in ESTIMATORS:
        module = importlib.import_module(f".{ESTIMATORS[kind]}", __package__)
        return getattr(module, kind).from_file(file)
    raise ModelFileError(f"{path} holds an estimator of kind {kind!r}, unknown to this version")
