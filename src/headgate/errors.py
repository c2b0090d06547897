"""The exceptions of headgate.

Every message says what was wrong, what was expected, what came, and what to do.
"""


class HeadgateError(Exception):
    """Base of every error that headgate raises on purpose."""


class InputError(HeadgateError, ValueError):
    """An argument, an array or a file's content is not what was asked for."""


class MissingExtraError(InputError, ImportError):
    """A library that only a part of headgate needs is not installed."""


class NotFittedError(HeadgateError, ValueError, AttributeError):
    """A model was used before ``fit``; estimators raise one that is also scikit-learn's."""


class ModelFileError(HeadgateError):
    """A model file is truncated, altered, hostile, or written by an unknown version."""


class DivergenceError(HeadgateError, ArithmeticError):
    """Training left the finite or the sensible; the network keeps its last good weights.

    Attributes:
        epoch: 0-based epoch in which it happened.
        update: 0-based update within that epoch.
        loss: the loss that was seen (may be nan or inf).
    """

    def __init__(self, message: str, *, epoch: int, update: int, loss: float) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.update = update
        self.loss = loss


class HeadgateWarning(UserWarning):
    """Something worth knowing that does not stop the work."""
