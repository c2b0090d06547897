"""What an experiment learns from: the task that data are for, and what of them is held out.

``open_data`` reads files, frames, arrays and texts. Every kind of data has a training part to learn
from, a validation part to choose by, and a test part that nothing is chosen on.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..checks import check_choice, check_size, shown
from ..data.columns import may_be_time
from ..data.decoding import expand, read_text
from ..data.examples import Examples, is_ts, read_examples
from ..data.held_out import FRACTION, check_classes, stratified
from ..data.panel import Panel
from ..data.panel_frames import as_panel
from ..data.tables import read_table
from ..data.text_files import is_table, read_corpus
from ..errors import HeadgateWarning, InputError

Int64 = npt.NDArray[np.int64]
Pairs = tuple[list[Any], list[Any]]

TASKS = ("forecast", "classify", "text")
TEST_STEPS = 0.2  # of a series, at its end; as much for each of many
LEAST_STEPS = 4  # of a series that are learned from
LEAST_TEXT = 400  # characters, so that a tenth says anything
# What names parts of a file, by task; an option of one task alone settles it.
ROLES = {
    "forecast": ("time", "target", "id", "freq"),
    "classify": ("text", "label", "label_until", "header"),
    "text": ("text",),
}


@dataclass(frozen=True, eq=False)
class SeriesData:
    """One or more series, each cut in order of time: learn, choose, test.

    Attributes:
        name: what the data are called.
        panel: M series, whole; values that are missing are nan.
        learned: (M,) steps from the start that are learned from.
        seen: (M,) steps before the test part: those, and the validation part behind them.
        how: what is held out, in words.
    """

    task: ClassVar[str] = "forecast"
    name: str
    panel: Panel
    learned: Int64
    seen: Int64
    how: str

    @property
    def train(self) -> Panel:
        """What is learned from."""
        return self.panel.cut(0, self.learned)

    @property
    def before_test(self) -> Panel:
        """The training and the validation part."""
        return self.panel.cut(0, self.seen)


@dataclass(frozen=True, eq=False)
class ClassData:
    """Texts or sequences with a label each; parts are (items, labels).

    Attributes:
        name: what the data are called.
        are_texts: whether the items are texts; else they are (T, I) arrays.
        train, validation, test: of every class the same share, as far as it goes.
        how: what is held out, in words.
    """

    task: ClassVar[str] = "classify"
    name: str
    are_texts: bool
    train: Pairs
    validation: Pairs
    test: Pairs
    how: str

    @property
    def classes(self) -> list[Any]:
        """What is learned, in order."""
        return sorted({*self.train[1], *self.validation[1]}, key=str)


@dataclass(frozen=True, eq=False)
class TextData:
    """A running text, cut into three: learn, choose, test.

    Attributes:
        name: what the data are called.
        train, validation, test: texts, one behind the other.
        how: what is held out, in words.
    """

    task: ClassVar[str] = "text"
    name: str
    train: str
    validation: str
    test: str
    how: str


Data = SeriesData | ClassData | TextData


def open_data(
    data: Any,
    *,
    task: str | None = None,
    horizon: int = 12,
    seed: int = 0,
    test: str | Path | Sequence[str | Path] = (),
    encoding: str | None = None,
    **roles: Any,
) -> Data:
    """Read ``data``, find out what task they are for, and hold parts out.

    Args:
        data: a path, or several of one class each; a frame, a 1-D array or a Series (forecast);
            a pair (items, labels) of texts or sequences (classify); a text (text).
        task: one of TASKS; None to find out.
        horizon: steps to forecast; the validation and the test part of a series have at least
            as many.
        seed: of what is drawn.
        test: file of examples to test on, or several, instead of a tenth of DATA.
        encoding: of the files; UTF-8 by default.
        **roles: time, target, id, freq (forecast); text, label, label_until, header (classify);
            text, a table's column (text): as ``as_panel``, ``read_texts`` and ``read_corpus`` take
            them. None is not given.

    Raises:
        InputError: the data cannot be read, are for no task or too short for it; says what was
            looked for.
    """
    if task is not None:
        check_choice("task", task, TASKS)
    given = {name: value for name, value in roles.items() if value is not None}
    task = _task_of_roles(given, task)
    horizon = check_size("horizon", horizon, maximum=1 << 20)
    paths = _paths(data)
    if paths is None:
        return _from_python(data, task, horizon, seed, given)
    task = _task_of_roles(given, task or _task_of_files(paths, encoding))
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    if test and task != "classify":
        raise InputError(
            f"test files go with --task classify; of this data ({task}) the end is held out"
        )
    if task == "classify":
        given = {"encoding": encoding, **given}
        own = [Path(path) for path in ([test] if isinstance(test, (str, Path)) else test)]
        tested = read_examples(own, given) if own else None
        return hold_out_examples(name, read_examples(paths, given), seed, tested)
    if len(paths) > 1:
        raise InputError(
            f"{len(paths)} files are read as one for each class (--task classify); for "
            f"--task {task} name one"
        )
    if task == "text":
        lines = read_corpus(paths[0], column=given.get("text"), encoding=encoding)
        return hold_out_text(name, "\n".join(lines))
    table = read_table(paths[0], encoding=encoding)
    return hold_out_steps(name, as_panel(table, **given), horizon)


# -- what the data are -----------------------------------------------------------------------


def _task_of_roles(given: Mapping[str, Any], task: str | None) -> str | None:
    """The task whose options were given; options of another one are refused."""
    for name in given:
        owners = [owner for owner, names in ROLES.items() if name in names]
        if not owners:
            known = ", ".join(dict.fromkeys(name for names in ROLES.values() for name in names))
            raise InputError(f"there is no option {shown(name)}; it must be one of {known}")
        if task is not None and task not in owners:
            raise InputError(
                f"{name}={shown(given[name])} goes with the task {owners[0]}, not with {task}; "
                "leave one of them out"
            )
        if len(owners) == 1:
            task = owners[0]
    return task


def _paths(data: Any) -> list[Path] | None:
    """The files that ``data`` names, or None where it is something else."""
    if isinstance(data, Path):
        return [expand(data)]
    if isinstance(data, str):
        return None if "\n" in data or len(data) > LEAST_TEXT else [expand(data)]
    if isinstance(data, (list, tuple)) and data and all(isinstance(p, Path) for p in data):
        return [expand(path) for path in data]
    return None


def _task_of_files(paths: Sequence[Path], encoding: str | None) -> str:
    if len(paths) > 1 or is_ts(paths[0]):
        return "classify"
    if is_table(paths[0]):
        return "classify" if _has_texts(paths[0], encoding) else "forecast"
    return "classify" if _begin_with_labels(read_text(paths[0], encoding)) else "text"


def _has_texts(path: Path, encoding: str | None) -> bool:
    """Whether a table has a column of texts, most of which differ, that are no dates."""
    import narwhals as nw

    frame = nw.from_native(read_table(path, encoding=encoding), eager_only=True)
    for name in frame.columns:
        column = frame[name].drop_nulls()
        if column.dtype == nw.String and not may_be_time(column, name):
            numbers = column.str.strip_chars().str.contains(r"^[-+]?[\d.,]+(e[-+]?\d+)?%?$")
            if numbers.mean() < 0.5 and column.n_unique() > len(column) / 2:
                return True
    return False


def _begin_with_labels(text: str) -> bool:
    """Whether lines look like 'label text' or have a tab: few first words, and nearly all again."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if lines and all(line.count("\t") == 1 for line in lines):
        return True
    pairs = [line.partition(" ") for line in lines]
    counts = Counter(first for first, _, _ in pairs)
    once = sum(count == 1 for count in counts.values())
    bare = sum(not rest for _, _, rest in pairs)
    return 2 <= len(counts) <= len(lines) / 2 and 5 * once <= len(counts) and 10 * bare < len(lines)


def _from_python(
    data: Any, task: str | None, horizon: int, seed: int, given: Mapping[str, Any]
) -> Data:
    from ..models.labels import as_labels  # brings scikit-learn, which files do not need

    if isinstance(data, (SeriesData, ClassData, TextData)):
        return data
    if given and task != "forecast":
        raise InputError(f"{next(iter(given))} is for tables in files; leave it out")
    if isinstance(data, str):
        if task not in (None, "text"):
            raise InputError(f"a text in place of a file is for task='text', not for {task!r}")
        return hold_out_text("the text", data)
    if task == "classify" or (task is None and isinstance(data, tuple)):
        if not isinstance(data, tuple) or len(data) != 2:
            raise InputError(
                "to classify, data must be a pair (items, labels) or the path of a file, got "
                f"{type(data).__name__}"
            )
        if not isinstance(data[0], Iterable) or isinstance(data[0], str):
            raise InputError(f"the items must be a list of texts or arrays, got {shown(data[0])}")
        items, labels = list(data[0]), as_labels(data[1], "labels").tolist()
        if len(items) != len(labels):
            raise InputError(f"there are {len(items)} items, but {len(labels)} labels")
        texts = all(isinstance(item, str) for item in items)
        return hold_out_examples(
            "the examples", Examples(items, labels, list(range(len(items))), texts), seed
        )
    if task == "text":
        raise InputError(f"the corpus must be a text or a file's path, got {type(data).__name__}")
    if data is None:
        raise InputError(
            "there are no data; pass a table with a numeric series, labelled texts or sequences, "
            "or a running text"
        )
    return hold_out_steps("the series", as_panel(data, **given), horizon)


# -- what is held out ------------------------------------------------------------------------


def hold_out_steps(name: str, panel: Panel, horizon: int) -> SeriesData:
    """The last fifth of each series for the test, a tenth before it for validation.

    Each has at least ``horizon`` steps. Of several series those that are too short are left out,
    which a warning says.

    Raises:
        InputError: no series is long enough.
    """
    lengths = panel.lengths
    test = np.maximum(np.round(lengths * TEST_STEPS).astype(np.int64), horizon)
    validation = np.maximum(np.round(lengths * FRACTION).astype(np.int64), horizon)
    learned = lengths - test - validation
    long = learned >= max(LEAST_STEPS, horizon + 1)
    if not long.any():
        k = int(np.argmax(lengths))
        who = panel.name(k) if len(panel) == 1 else f"the longest series ({panel.name(k)})"
        raise InputError(
            f"{who} of {name} has {lengths[k]} values; with horizon={horizon} at least "
            f"{3 * horizon + LEAST_STEPS} are needed, to learn from, to choose by and to test on; "
            "bring more data or ask for a shorter horizon"
        )
    if not long.all():
        warnings.warn(
            f"{int((~long).sum())} of {len(panel)} series are too short to hold out twice "
            f"{horizon} steps; they are left out",
            HeadgateWarning,
            stacklevel=3,
        )
        panel, learned, validation = panel.choose(long), learned[long], validation[long]
    share = f"{TEST_STEPS:.0%} (at least {horizon} steps) at the end of"
    how = f"{share} {'each series' if len(panel) > 1 else 'the series'}"
    return SeriesData(name, panel, learned, learned + validation, how)


def hold_out_examples(
    name: str, examples: Examples, seed: int, tested: Examples | None = None
) -> ClassData:
    """A tenth of each class for the test, unless ``tested`` is; a tenth of the rest to choose by.

    Raises:
        InputError: there is one class alone, or the test is of another kind.
    """
    check_classes(examples.labels or [])
    if tested is None:
        split = stratified(examples.labels or [], seed)
        rest, test, how = examples.take(split.train), examples.take(split.test), split.how
    else:
        if tested.are_texts != examples.are_texts:
            raise InputError("the test file and DATA must both be texts, or both be sequences")
        rest, test = examples.all(), tested.all()
        how = "a file of its own"
    remaining = replace(examples, items=rest[0], labels=rest[1])
    with warnings.catch_warnings():  # what there is to say was said of the test part
        warnings.simplefilter("ignore", HeadgateWarning)
        inner = stratified(rest[1], seed + 1)
    if not inner.test:
        raise InputError(
            f"no class of {name} has three examples, one each to learn from, to choose by and to "
            "test on; bring more examples"
        )
    return ClassData(
        name, examples.are_texts, remaining.take(inner.train), remaining.take(inner.test), test, how
    )


def hold_out_text(name: str, text: str) -> TextData:
    """The last tenth for the test, the tenth before it for validation.

    Raises:
        InputError: the text is too short for that.
    """
    if len(text) < LEAST_TEXT:
        raise InputError(
            f"{name} has {len(text)} characters; at least {LEAST_TEXT} are needed to hold a tenth "
            "out for the test and another to choose by; bring more text"
        )
    tenth = int(len(text) * FRACTION)
    first, second = len(text) - 2 * tenth, len(text) - tenth
    return TextData(name, text[:first], text[first:second], text[second:], "the last tenth")
