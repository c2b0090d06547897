"""headgate beside Keras."""

from .extras import require

require("keras", "keras", "headgate.keras")

__all__: list[str] = []
