"""headgate beside Keras: models and weights from there and back, and Keras's model files."""

from .errors import MissingExtraError
from .extras import require

try:
    require("keras", "keras", "headgate.keras")
except ModuleNotFoundError as error:  # of another library: the backend that Keras is set to
    raise MissingExtraError(
        f"Keras is installed, but the backend that it is set to needs {error.name}, which is not; "
        "choose one that is with the environment variable KERAS_BACKEND (torch, jax, tensorflow), "
        f"or install {error.name}"
    ) from None

from .interop.keras.export import to_keras
from .interop.keras.files import load
from .interop.keras.layers import get_weights, set_weights
from .interop.keras.models import from_keras, unmasked

__all__ = ["from_keras", "get_weights", "load", "set_weights", "to_keras", "unmasked"]
