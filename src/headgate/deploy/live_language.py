"""A language model that follows a text as it comes."""

from __future__ import annotations

import base64
import os
from collections import deque
from collections.abc import Mapping
from typing import Any

from ..checks import check_size, shown
from ..errors import InputError
from ..models.texts.language_model import LanguageModel
from ..network import Network
from .live_network import reading_a_state

TOP = 5


class LiveLanguage:
    """A fitted :class:`headgate.LanguageModel`, piece by piece; see :func:`~.live.live`.

    Each piece is one token or several, and continues the line; an empty one ends the line.
    """

    reads_text = True
    loss = None

    def __init__(self, model: LanguageModel, *, learn: bool = False, top: int = TOP) -> None:
        model.require_fitted("live")
        if learn:
            raise InputError(
                "a LanguageModel does not learn token by token, since its counts need whole texts; "
                "use partial_fit with them"
            )
        self._model, self._top = model, check_size("top", top, maximum=1 << 31)
        order = 1 if model.ngram_ is None else model.ngram_.order
        self._recent: deque[int] = deque([model.writing_.line], maxlen=order)
        self._reader = model.reader(self._recent)

    @property
    def networks(self) -> list[Network]:
        return self._model.members_.networks[:1]

    def step(self, value: Any) -> list[tuple[str, float]]:
        if not isinstance(value, str):
            raise InputError(f"expected a text, got {shown(value)}")
        indices = self._model.writing_.prompt(value)
        for index in indices[1:] or indices:  # all begin with the mark of a line
            self._reader.step(index)
            self._recent.append(index)
        return self._model.likeliest(self._reader.distribution(), self._top)

    def state(self) -> dict[str, Any]:
        stream = base64.b64encode(self._reader.network.to_bytes()).decode()
        return {"stream": stream, "recent": list(self._recent)}

    @reading_a_state()
    def resume(self, state: Mapping[str, Any]) -> None:
        stream = base64.b64decode(state["stream"], validate=True)
        most = len(self._model.writing_) - 1
        recent = [
            check_size("a token", index, minimum=0, maximum=most) for index in state["recent"]
        ]
        if not recent:
            raise InputError("the state has no tokens")
        reader = self._model.reader(recent)  # the n-grams depend on the last few tokens alone
        reader.network.from_bytes(stream)
        self._reader, self._recent = reader, deque(recent, maxlen=self._recent.maxlen)

    def save(self, path: str | os.PathLike[str]) -> None:
        self._model.save(path)
