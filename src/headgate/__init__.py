"""headgate: GRU networks that train in milliseconds and run in microseconds.

Public names load on first use (PEP 562), so importing the package costs little more than NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

_HOMES = {
    "errors": (
        "DivergenceError",
        "HeadgateError",
        "HeadgateWarning",
        "InputError",
        "MissingExtraError",
        "ModelFileError",
        "NotFittedError",
    ),
    "spec": (
        "Add",
        "Attention",
        "CRF",
        "Concat",
        "Dense",
        "Dropout",
        "Embedding",
        "GRU",
        "InputSpec",
        "LSTM",
        "Last",
        "LayerSpec",
        "Max",
        "Mean",
        "NetworkSpec",
        "RNN",
        "Recurrent",
        "ScalingSpec",
    ),
    "kernels": (
        "available_isas",
        "get_num_threads",
        "isa",
        "set_isa",
        "set_num_threads",
    ),
    "data.cleaning": ("Cleaning",),
    "data.chains": ("viterbi",),
    "data.samples": ("SampleTable",),
    "data.windows": ("windows",),
    "training.callbacks": (
        "CallbackEnv",
        "EarlyStopException",
        "early_stopping",
        "log_evaluation",
        "record_evaluation",
    ),
    "training.history": ("History",),
    "network": ("Network",),
    "models.inside": ("look",),
    "experiments.comparison": ("compare",),
    "experiments.tuning": ("tune",),
    "models.loading": ("load",),
    "deploy.live": ("live",),
    "models.forecasting.forecaster": ("GRUForecaster",),
    "models.sequences.estimators": ("SequenceClassifier", "SequenceRegressor"),
    "models.texts.language_model": ("LanguageModel",),
    "models.texts.tagger": ("SequenceTagger",),
    "models.texts.classifier": ("TextClassifier",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("reference", "gate_layout")
_NEIGHBOURS = ("torch", "keras", "onnx")  # need what may not be installed: not in __all__

__all__ = ["__version__", *sorted(_HOME_OF), *_MODULES]

if TYPE_CHECKING:
    from . import gate_layout as gate_layout
    from . import reference as reference
    from .data.chains import viterbi as viterbi
    from .data.cleaning import Cleaning as Cleaning
    from .data.samples import SampleTable as SampleTable
    from .data.windows import windows as windows
    from .deploy.live import live as live
    from .errors import DivergenceError as DivergenceError
    from .errors import HeadgateError as HeadgateError
    from .errors import HeadgateWarning as HeadgateWarning
    from .errors import InputError as InputError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import ModelFileError as ModelFileError
    from .errors import NotFittedError as NotFittedError
    from .experiments.comparison import compare as compare
    from .experiments.tuning import tune as tune
    from .kernels import available_isas as available_isas
    from .kernels import get_num_threads as get_num_threads
    from .kernels import isa as isa
    from .kernels import set_isa as set_isa
    from .kernels import set_num_threads as set_num_threads
    from .models.forecasting.forecaster import GRUForecaster as GRUForecaster
    from .models.inside import look as look
    from .models.loading import load as load
    from .models.sequences.estimators import SequenceClassifier as SequenceClassifier
    from .models.sequences.estimators import SequenceRegressor as SequenceRegressor
    from .models.texts.classifier import TextClassifier as TextClassifier
    from .models.texts.language_model import LanguageModel as LanguageModel
    from .models.texts.tagger import SequenceTagger as SequenceTagger
    from .network import Network as Network
    from .spec import CRF as CRF
    from .spec import GRU as GRU
    from .spec import LSTM as LSTM
    from .spec import RNN as RNN
    from .spec import Add as Add
    from .spec import Attention as Attention
    from .spec import Concat as Concat
    from .spec import Dense as Dense
    from .spec import Dropout as Dropout
    from .spec import Embedding as Embedding
    from .spec import InputSpec as InputSpec
    from .spec import Last as Last
    from .spec import LayerSpec as LayerSpec
    from .spec import Max as Max
    from .spec import Mean as Mean
    from .spec import NetworkSpec as NetworkSpec
    from .spec import Recurrent as Recurrent
    from .spec import ScalingSpec as ScalingSpec
    from .training.callbacks import CallbackEnv as CallbackEnv
    from .training.callbacks import EarlyStopException as EarlyStopException
    from .training.callbacks import early_stopping as early_stopping
    from .training.callbacks import log_evaluation as log_evaluation
    from .training.callbacks import record_evaluation as record_evaluation
    from .training.history import History as History


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None and name not in _MODULES + _NEIGHBOURS:
        raise AttributeError(f"module 'headgate' has no attribute {name!r}")
    module = importlib.import_module(f".{home or name}", __name__)
    value = getattr(module, name) if home else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
