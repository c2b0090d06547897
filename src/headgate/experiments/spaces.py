"""Search spaces: which values the parameters of an estimator may take in a search."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import as_number, check_flags, parse_json, shown
from ..data.decoding import read_text
from ..errors import InputError
from ..models.base import Estimator

Value = bool | int | float | str | None
# What would make the scores of two trials incomparable, or is no question of quality.
FIXED = {
    "horizon": "scores of different horizons do not compare",
    "missing": "scores of series that were filled differently do not compare",
    "unit": "perplexities of different tokens do not compare",
    "min_count": "perplexities of different vocabularies do not compare",
    "max_vocabulary": "perplexities of different vocabularies do not compare",
    "cleaning": "pass an estimator with the cleaning instead",
    "class_weight": "pass an estimator with the weights instead",
    "levels": "pass an estimator with the levels instead",
    "seed": "a search for a lucky seed finds nothing that lasts",
    "progress": "it changes no result",
}
FIXED_IN = {"min_count": ("LanguageModel",)}  # elsewhere they may be searched
EXAMPLE = '{"hidden_size": [8, 64], "learning_rate": {"low": 0.0003, "high": 0.01, "log": true}}'


@dataclass(frozen=True)
class Dimension:
    """The values of one parameter: some choices, or a range with both ends in it.

    Attributes:
        low, high: of a range; two ints for a range of ints.
        log: whether the range is even in the logarithm.
        choices: in place of a range.
    """

    low: int | float = 0
    high: int | float = 0
    log: bool = False
    choices: tuple[Value, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether this is a range of ints."""
        return not self.choices and isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, place: float) -> Value:
        """The value at ``place`` from 0 to 1: each choice, or int, has an equal part of that."""
        place = min(max(place, 0.0), 1.0)
        if self.choices:
            return self.choices[min(int(place * len(self.choices)), len(self.choices) - 1)]
        low, high = self._ends()
        value = math.exp(low + place * (high - low)) if self.log else low + place * (high - low)
        if self.whole:
            return min(max(round(value), int(self.low)), int(self.high))
        return min(max(value, self.low), self.high)

    def place(self, value: Value) -> float:
        """The inverse of :meth:`at`: the middle of the part that ``value`` has."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices)
        low, high = self._ends()
        number = as_number(value)
        return ((math.log(number) if self.log else number) - low) / (high - low)

    def grid(self, most: int) -> list[Value]:
        """All choices, or up to ``most`` values of a range, evenly apart."""
        if self.choices:
            return list(self.choices)
        places = np.linspace(0, 1, most) if most > 1 else np.array([0.5])
        return list(dict.fromkeys(self.at(float(place)) for place in places))

    def suggest(self, trial: Any, name: str) -> Any:
        """The value that a trial of Optuna has for the parameter ``name``."""
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        suggest = trial.suggest_int if self.whole else trial.suggest_float
        return suggest(name, self.low, self.high, log=self.log)

    def distribution(self) -> Any:
        """The same as Optuna has it."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices:
            return CategoricalDistribution(self.choices)
        kind = IntDistribution if self.whole else FloatDistribution
        return kind(self.low, self.high, log=self.log)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """As a search-space file has it."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.log}

    def _ends(self) -> tuple[float, float]:
        """Of the line on which places are even; each end of a range of ints has a whole part."""
        half = 0.5 if self.whole else 0.0
        low, high = self.low - half, self.high + half
        return (math.log(low), math.log(high)) if self.log else (low, high)


Space = dict[str, Dimension]


def read_space(path: Path) -> Any:
    """The content of a search-space file, JSON or TOML by its ending.

    Raises:
        InputError: it cannot be read.
    """
    text = read_text(path, None)
    if path.suffix.lower() == ".toml":
        try:
            toml = importlib.import_module("tomllib")
        except ImportError:  # before Python 3.11
            raise InputError(f"{path}: TOML is read from Python 3.11 on; write JSON") from None
        try:
            return toml.loads(text)
        except toml.TOMLDecodeError as error:
            raise InputError(f"{path} is not TOML: {error}") from None
    return parse_json(text, str(path))


def parse_space(given: Any, estimator: Estimator) -> Space:
    """A search space for ``estimator`` as a user writes it.

    Args:
        given: name -> {"low", "high", "log"}, [low, high] or {"choices": [...]}.

    Raises:
        InputError: a name is none of the estimator's parameters, a range is empty or of the wrong
            type, or the estimator refuses an end or a choice.
    """
    if not isinstance(given, Mapping):
        raise InputError(
            f"a search space must be an object of names, such as {EXAMPLE}; got {shown(given)}"
        )
    if not given:
        raise InputError(f"the search space is empty; name a parameter or more, such as {EXAMPLE}")
    name = type(estimator).__name__
    known = [each for each in estimator.get_params() if not _why_fixed(each, name)]
    space = {}
    for parameter, entry in given.items():
        if parameter not in known:
            reason = _why_fixed(parameter, name)
            what = f"cannot be searched ({reason})" if reason else f"is no parameter of {name}"
            raise InputError(f"{shown(parameter)} {what}; there are {', '.join(known)}")
        space[parameter] = _dimension(parameter, entry, _kinds(estimator, parameter))
    for parameter, dimension in space.items():
        for value in dimension.choices or (dimension.low, dimension.high):
            _try(estimator, parameter, value)
    return space


def _why_fixed(parameter: str, estimator: str) -> str:
    if estimator not in FIXED_IN.get(parameter, (estimator,)):
        return ""
    return FIXED.get(parameter, "")


def _kinds(estimator: Estimator, parameter: str) -> set[str]:
    """What the parameter may be, from the estimator's own signature: "int", "float", ..."""
    signature = inspect.signature(type(estimator).__init__)
    return {kind.strip() for kind in str(signature.parameters[parameter].annotation).split("|")}


def _try(estimator: Estimator, parameter: str, value: Value) -> None:
    copy = type(estimator)(**estimator.get_params()).set_params(**{parameter: value})
    try:
        copy.check_parameters()
    except InputError as error:
        raise InputError(f"in the search space {error}") from None


def _dimension(name: str, entry: Any, kinds: set[str]) -> Dimension:
    if isinstance(entry, Dimension):
        return entry
    if isinstance(entry, (list, tuple)):
        if len(entry) != 2 or not all(math.isfinite(as_number(end)) for end in entry):
            raise InputError(
                f"{name}: [low, high] must be two numbers, got {shown(entry)}; for anything else "
                'write {"choices": [...]}'
            )
        entry = {"low": entry[0], "high": entry[1]}
    if not isinstance(entry, Mapping):
        raise InputError(
            f'{name} must be [low, high], {{"low": ..., "high": ..., "log": true}} or '
            f'{{"choices": [...]}}, got {shown(entry)}'
        )
    if set(entry) == {"choices"}:
        return Dimension(choices=_choices(name, entry["choices"]))
    unknown = sorted(map(str, set(entry) - {"low", "high", "log"}))
    if unknown or not {"low", "high"} <= set(entry):
        raise InputError(
            f'{name} must have "low" and "high", and may have "log", or "choices" alone; '
            f"it has {', '.join(map(repr, map(str, entry))) or 'nothing'}"
        )
    return _range(name, entry, kinds)


def _choices(name: str, given: Any) -> tuple[Value, ...]:
    if not isinstance(given, (list, tuple)) or not given:
        raise InputError(f"{name}: choices must be a list of one or more, got {shown(given)}")
    for choice in given:
        number = isinstance(choice, (int, float)) and math.isfinite(choice)
        if not (choice is None or isinstance(choice, str) or number):
            raise InputError(
                f"{name}: a choice must be a finite number, a text, true, false or null, "
                f"got {shown(choice)}"
            )
    if len(set(given)) < len(given):
        raise InputError(f"{name}: a choice stands twice in {shown(list(given))}")
    return tuple(given)


def _range(name: str, entry: Mapping[str, Any], kinds: set[str]) -> Dimension:
    if not kinds & {"int", "float"}:
        raise InputError(f'{name} has no range of numbers; write {{"choices": [...]}}')
    check_flags(**{f"{name}: log": entry.get("log", False)})
    ends = [as_number(entry[end]) for end in ("low", "high")]
    if not all(map(math.isfinite, ends)):
        raise InputError(
            f"{name}: low and high must be finite numbers, got {shown(entry['low'])} and "
            f"{shown(entry['high'])}"
        )
    low, high = ends
    if low > high:
        raise InputError(f"{name}: low is {low:g} and high is {high:g}; exchange them")
    log = bool(entry.get("log", False))
    if log and low <= 0:
        raise InputError(f"{name}: a logarithmic range begins above 0, got low={low:g}")
    if "float" in kinds:
        return Dimension(low, high, log) if low < high else Dimension(choices=(low,))
    if low % 1 or high % 1:
        raise InputError(f"{name} is a whole number, got the range {low:g} to {high:g}")
    if low == high:
        return Dimension(choices=(int(low),))
    return Dimension(int(low), int(high), log)
