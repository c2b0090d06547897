"""Studies of Optuna: where they are kept, what they are of, and who samples.

Optuna is the extra ``tune``, imported where it is used.
"""

from __future__ import annotations

import contextlib
import math
import re
import time as clock
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import as_number, check_choice, check_size, shown
from ..errors import InputError
from ..extras import require
from ..files import check_target
from .spaces import Space

if TYPE_CHECKING:
    import optuna

TUNE = "a search"  # what needs Optuna, in messages
SAMPLERS = ("tpe", "random", "grid", "cmaes", "whales")
NAME = "headgate"  # of a study by default
FACTS = "headgate"  # the attribute with what a study is of
MOST_POINTS = 100_000  # of a grid
STARTUP = 10  # trials before the sampler, or the pruner, knows enough


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing by itself."""
    optuna = require("optuna", "tune", TUNE)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


# -- budgets -----------------------------------------------------------------------------------


@dataclass
class Budget:
    """How long to search: so many trials, so many minutes, or what comes first.

    Raises:
        InputError: a budget of nothing, or none at all.
    """

    trials: int | None = 100
    minutes: float | None = None
    _begin: float = field(default_factory=clock.perf_counter, repr=False)

    def __post_init__(self) -> None:
        if self.trials is None and self.minutes is None:
            raise InputError("a search needs a budget; pass trials or minutes")
        if self.trials is not None:
            self.trials = check_size("trials", self.trials, maximum=1 << 24)
        if self.minutes is not None and not 0 < as_number(self.minutes) < math.inf:
            raise InputError(
                f"minutes must be a finite number above 0, got {shown(self.minutes)}; leave it "
                "out for a number of trials"
            )

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return clock.perf_counter() - self._begin

    def begun(self) -> Budget:
        """The same, from now on."""
        return Budget(self.trials, self.minutes)

    def share(self, done: int) -> float:
        """How much is used after ``done`` trials, from 0 on; from 1 on there is none left."""
        by_trials = done / self.trials if self.trials else 0.0
        return max(by_trials, self.seconds / (60 * self.minutes) if self.minutes else 0.0)


# -- samplers ----------------------------------------------------------------------------------


def make_sampler(name: str, space: Space, budget: Budget, seed: int, done: int) -> Any:
    """A sampler by its name; each run of a study draws other numbers.

    Args:
        done: trials that the study has already.

    Raises:
        InputError: there is no such sampler, or the grid is too large.
        HeadgateError: the sampler needs a library that is not installed.
    """
    check_choice("sampler", name, SAMPLERS)
    samplers = require("optuna", "tune", TUNE).samplers
    if name == "tpe":
        return samplers.TPESampler(seed=seed + done, multivariate=True, n_startup_trials=STARTUP)
    if name == "random":
        return samplers.RandomSampler(seed=seed + done)
    if name == "cmaes":
        require("cmaes", "tune", TUNE)
        return samplers.CmaEsSampler(
            seed=seed + done, n_startup_trials=STARTUP, warn_independent_sampling=False
        )
    if name == "grid":
        return samplers.GridSampler(grid(space, budget.trials or 100), seed=seed)
    from .whales import WhaleSampler

    return WhaleSampler(space, budget.share, seed=seed)


def grid(space: Space, trials: int) -> dict[str, list[Any]]:
    """All choices, and of each range as many values as ``trials`` allow, two at least.

    Raises:
        InputError: there are too many points even so.
    """
    points = {name: dimension.grid(2) for name, dimension in space.items()}
    for values in range(3, trials + 1):
        finer = {name: dimension.grid(values) for name, dimension in space.items()}
        if _size(finer) > trials:
            break
        points = finer
    if _size(points) > MOST_POINTS:
        raise InputError(
            f"a grid over {', '.join(space)} has {_size(points):,} points, of at most "
            f"{MOST_POINTS:,}; name fewer parameters or choices, or take another sampler"
        )
    return points


def _size(points: Mapping[str, list[Any]]) -> int:
    return math.prod(len(values) for values in points.values())


# -- storage -----------------------------------------------------------------------------------


def storage_url(storage: str | Path) -> str:
    """A URL as Optuna takes it; a plain path is a file of SQLite.

    Raises:
        InputError: it is a folder, or in one that is not there.
    """
    text = str(storage)
    url = text if "://" in text else f"sqlite:///{Path(text).expanduser()}"
    if url.startswith("sqlite:///"):
        check_target(url.removeprefix("sqlite:///").partition("?")[0])
    return url


def _opened(url: str) -> Any:
    """The storage at a URL. SQLite waits for the disk at every write, a dozen times in a trial;
    with a log written ahead it does so seldom, and loses nothing when a process ends."""
    if not url.startswith("sqlite:///"):
        return url
    from sqlalchemy import event

    def connected(connection: Any, record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage = require("optuna", "tune", TUNE).storages.RDBStorage(url)
    event.listen(storage.engine, "connect", connected)
    storage.engine.dispose()  # connections from before that
    return storage


def open_study(
    storage: str | Path | None, name: str | None, facts: Mapping[str, Any]
) -> optuna.Study:
    """A new study, or the one of that name in the storage, if it is of the same thing.

    Args:
        facts: JSON-able, what the study is of.

    Raises:
        InputError: the study is of something else; the storage cannot be opened.
    """
    library = require("optuna", "tune", TUNE)
    pruner = library.pruners.MedianPruner(n_startup_trials=STARTUP)
    name = name or NAME
    try:
        study: optuna.Study = library.create_study(
            storage=None if storage is None else _opened(storage_url(storage)),
            study_name=name,
            pruner=pruner,
            load_if_exists=True,
        )
        known = study.user_attrs.get(FACTS)
        if known is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(FACTS, dict(facts))
            return study
    except InputError:
        raise
    except Exception as error:  # of whatever database, driver or URL
        raise InputError(
            f"the storage {_public(storage)!r} cannot be opened: {_first_line(error)}; expected a "
            "file of SQLite (study.db) or a URL such as sqlite:///study.db or "
            "postgresql://user:password@host/name"
        ) from None
    if known != facts:
        first = next((key for key in facts if (known or {}).get(key) != facts[key]), "version")
        what = "is not of headgate tune" if known is None else f"has not the same {first}"
        raise InputError(
            f"the study {name!r} in {_public(storage)} {what}; go on with what it was made for, "
            "name another study (--study), or another storage"
        )
    return study


def _first_line(error: Exception) -> str:
    return _public((str(error).strip().splitlines() or [type(error).__name__])[0])


def _public(text: object) -> str:
    """What may be shown and logged: the password of a URL may not."""
    return re.sub(r"(://[^:/@\s]*):[^\s]*@", r"\1:***@", str(text))
