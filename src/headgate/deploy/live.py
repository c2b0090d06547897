"""Live models: a value in, a prediction out, and learning on the way in constant memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from ..checks import check_flags, shown
from ..errors import InputError
from ..network import Network
from .live_network import LiveNetwork


class Live(Protocol):
    """What follows one sequence with a model.

    Attributes:
        reads_text: its values are texts, not numbers.
        loss: the loss before the last update; None where nothing was learned.
    """

    reads_text: bool
    loss: float | None

    @property
    def networks(self) -> list[Network]:
        """Whose weights it uses."""

    def step(self, value: Any) -> Any:
        """The prediction after one more value; an InputError leaves everything as it was."""

    def state(self) -> dict[str, Any]:
        """As JSON-able values; what goes on from it makes the same predictions."""

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; where it is none, an InputError leaves all as it was."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, with what it has learned."""


def live(model: Any, *, learn: bool = False, **options: Any) -> Any:
    """A model that reads values as they come: ``hg.live(model).step(value)`` predicts.

    Args:
        model: a Network that can run step by step, a GRUForecaster of one series or a
            LanguageModel.
        learn: learn from every value: from a forecaster's or a network's last values, which are
            known by then, in constant memory. A network whose outputs are no values of its inputs
            learns from steps that bring their target, ``{"x": ..., "y": ...}``.
        **options: with learn: learning_rate=1e-3, and of a Network window=20, the steps that an
            update learns from. Of a GRUForecaster horizon=1, steps to forecast, and id, which of
            several series goes on. Of a LanguageModel top=5, how many tokens are told.

    Returns:
        A live model: ``step(value)``; ``state()`` and ``resume(state)``; ``save(path)``. Of a
        Network the value is as :meth:`Stream.step` takes it and the prediction is (O,) float32; a
        forecaster takes a number, the next of its series, and gives (horizon,) float64; a language
        model takes a text and gives the likeliest next tokens with their probabilities. An update
        that diverges is undone, with a HeadgateWarning.

    Raises:
        InputError: this model cannot run live, and why; or an option is unknown or out of range.
    """
    check_flags(learn=learn)
    try:
        return _class_for(model)(model, learn=learn, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        name = str(error).rsplit("'", 2)[-2]
        raise InputError(f"a live {type(model).__name__} has no option {name!r}") from None


def _class_for(model: Any) -> Any:
    if isinstance(model, Network):
        return LiveNetwork  # without the libraries that estimators need, which take a second
    from ..models.base import Estimator
    from ..models.forecasting.forecaster import GRUForecaster
    from ..models.texts.language_model import LanguageModel
    from .live_forecaster import LiveForecaster
    from .live_language import LiveLanguage

    if isinstance(model, Estimator):
        model.require_fitted("live")
    if isinstance(model, GRUForecaster):
        return LiveForecaster
    if isinstance(model, LanguageModel):
        return LiveLanguage
    if isinstance(model, Estimator):
        raise InputError(
            f"a {type(model).__name__} cannot run live: it reads whole sequences, in both "
            "directions, so nothing can be said before their end; a Network built with "
            "readout='last' or 'every' says something after every step"
        )
    raise InputError(f"expected a Network or a fitted estimator, got {shown(model)}")
