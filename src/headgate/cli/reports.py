"""What the commands that train on texts print and write: score tables, reports, pictures."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from ..errors import HeadgateError, HeadgateWarning, InputError
from ..files import write_beside_and_rename
from ..models.loading import load
from ..models.neural import NeuralEstimator
from ..version import __version__
from .output import all_or_none, console, make_folder, write_json

FILE_ENDINGS = {
    ".conll", ".conllu", ".csv", ".data", ".gz", ".parquet", ".pq", ".ts", ".tsv", ".txt",
}  # fmt: skip
NAME = "headgate"
_FILES = ("model.safetensors", "report.json", "learning_curve.png")
_CONFUSION = "confusion.png"

Scores = Mapping[str, Mapping[str, float]]


def epochs_shown(progress: bool | None) -> bool | str:
    """What ``progress`` of an estimator is: lines where a person watches, or on request."""
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    return "epochs" if progress else False


def check_one_test(test: Sequence[Any], every: int | None) -> None:
    """Raise InputError where both ``--test`` and ``--test-every`` were given."""
    if test and every is not None:
        raise InputError("--test and --test-every exclude each other; pass one of them")


def load_as(path: Path, kinds: tuple[type, ...], command: str) -> Any:
    """The estimator in a model file, if it is of one of the kinds.

    Raises:
        InputError: it is another.
        ModelFileError: it cannot be read.
    """
    model = load(path)
    if not isinstance(model, kinds):
        raise InputError(
            f"{path} holds a {type(model).__name__}, expected a {kinds[0].__name__} as "
            f"headgate {command} train writes it; see headgate info"
        )
    return model


def as_file(what: str) -> Path | None:
    """The argument as a file where it names one; None where it is a text.

    Raises:
        InputError: it looks like a file's name, and there is none; or it is a folder.
    """
    try:
        path = Path(what).expanduser()
        if what and path.is_file():
            return path
        is_folder = os.sep in what and path.is_dir()
    except (OSError, RuntimeError, ValueError):  # a text of any length and content
        return None
    if is_folder:
        raise InputError(f"{what} is a folder, expected a file or a text; name a file in it")
    if what and not any(map(str.isspace, what)) and path.suffix.lower() in FILE_ENDINGS:
        raise InputError(
            f"there is no file {what}; check the name and the folder, or put a blank into a text "
            "that ends like a file's name"
        )
    return None


def score_table(scores: Scores, *, percent: bool = True, low: bool = False) -> Table:
    """Rows of scores, the best of each column in bold.

    Args:
        percent: whether scores are shares.
        low: whether lower is better.
    """
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    metrics = list(next(iter(scores.values())))
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    best = {m: (min if low else max)(row[m] for row in scores.values()) for m in metrics}
    for name, row in scores.items():
        cells = [
            Text(
                f"{100 * row[m]:.1f} %" if percent else f"{row[m]:.4g}",
                style="bold" if row[m] == best[m] else "",
            )
            for m in metrics
        ]
        table.add_row(name, *cells)
    return table


def verdict(scores: Scores, metric: str, *, low: bool = False) -> str:
    """Who is best, and by how much it is ahead of the best other."""
    others = {name: row[metric] for name, row in scores.items() if name != NAME}
    if not others:
        return ""
    own = scores[NAME][metric]
    other, value = (min if low else max)(others.items(), key=lambda item: item[1])
    if own == value:
        return f"No better than {other}."
    ahead = own < value if low else own > value
    if low:
        share = 100 * abs(1 - own / value)
        return f"{share:.1f} % {'lower' if ahead else 'higher'} than {other}."
    return f"{100 * abs(own - value):.1f} points {'above' if ahead else 'below'} {other}."


def warn_of_new(names: Sequence[Any], known: Sequence[Any], what: str) -> None:
    """Say which of the test part's labels were never learned."""
    strange = sorted({str(name) for name in names} - {str(name) for name in known})
    if strange:
        count = sum(str(name) in set(strange) for name in names)
        shown = ", ".join(map(repr, strange[:3])) + (" ..." if len(strange) > 3 else "")
        warnings.warn(
            f"the test part has {what} that were not learned: {shown}; {count} "
            f"{'is' if count == 1 else 'are'} counted as missed",
            HeadgateWarning,
            stacklevel=2,
        )


def report(
    data: dict[str, Any],
    model: NeuralEstimator,
    test: dict[str, Any],
    files: Sequence[str],
    **more: Any,
) -> dict[str, Any]:
    """The content of report.json."""
    history = model.history_.to_dict()
    return {
        "headgate": __version__,
        "data": data,
        "parameters": {name: _plain(value) for name, value in model.get_params().items()},
        "fit": {
            "seconds": round(model.seconds_, 3),
            "epochs": len(model.history_.losses),
            "validation_score": model.validation_score_,
            **more,
            "history": history,
        },
        "test": test,
        "files": list(files),
    }


def write_trained(
    folder: Path,
    model: NeuralEstimator,
    facts: dict[str, Any],
    test: dict[str, Any],
    *,
    score_name: str,
    taken: tuple[Sequence[Any], Sequence[Any], str] | None = None,
) -> str:
    """Write the model, its report and its pictures, all or none; returns their names.

    Args:
        facts, test: of the data, and what was measured, for report.json.
        score_name: of the learning curve's second axis.
        taken: (truth, found, title) of a confusion matrix; without it one of an earlier run in
            this folder goes, since it would be taken for this model's.

    Raises:
        HeadgateError: the system refused; the old files are unchanged.
    """
    files = [*_FILES, *([_CONFUSION] if taken else [])]
    with all_or_none(folder, files) as staging:
        model.save(staging / "model.safetensors")
        draw_learning(staging / "learning_curve.png", model, score_name)
        if taken:
            draw_confusion(staging / _CONFUSION, *taken)
        write_json(staging / "report.json", report(facts, model, test, files))
    if not taken:
        (folder / _CONFUSION).unlink(missing_ok=True)
    return ", ".join(files)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return value.item() if isinstance(value, np.generic) else value


def draw_learning(path: Path, model: NeuralEstimator, score_name: str) -> None:
    """The learning curve of a fitted estimator."""
    from ..class_plots import learning_figure
    from ..plots import save_figure

    history = model.history_
    figure = learning_figure(
        history.loss,
        history.val_loss,
        history.val_scores,
        best_epoch=history.best_epoch,
        score_name=score_name,
    )
    save_figure(figure, path)


def confusion(truth: Sequence[Any], found: Sequence[Any]) -> tuple[list[str], npt.NDArray[Any]]:
    """The classes (C,), sorted, and how often each (rows) was taken for which: (C, C)."""
    names = sorted({str(name) for name in (*truth, *found)})
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, ([place[str(t)] for t in truth], [place[str(f)] for f in found]), 1)
    return names, counts


def draw_confusion(path: Path, truth: Sequence[Any], found: Sequence[Any], title: str) -> None:
    """The confusion matrix as a picture."""
    from ..class_plots import confusion_figure
    from ..plots import save_figure

    names, counts = confusion(truth, found)
    save_figure(confusion_figure(counts, names, title), path)


def say_fitted(model: NeuralEstimator, more: str = "") -> None:
    """One line: how long training took."""
    epochs = count_of(len(model.history_.losses), "epoch")
    console().print(f"fitted in {model.seconds_:.1f} s, {epochs}{more}")


def write_out(out: Path | None, content: bytes, what: str) -> None:
    """Write to the file, or to standard output, in UTF-8."""
    if out is None:
        if sys.stdout is None:  # closed by the caller: headgate ... >&-
            raise HeadgateError("standard output is closed; name a file with --out")
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return
    if out.parent != Path():
        make_folder(out.parent)
    write_beside_and_rename(out, content)
    console().print(f"{what} written to {out}")


def say_parts(name: str, train: int, test: int, unit: str, how: str) -> None:
    """One line: what was learned from and what tested on."""
    tested = f"tested on {test:,} ({how})" if test else "nothing held out to test on"
    console().print(f"{name}: learned from {count_of(train, unit)}, {tested}")


def count_of(count: int, unit: str) -> str:
    """A count and its unit: "1 line", "2,000 lines"."""
    return f"{count:,} {unit}{'s' * (count != 1)}"
