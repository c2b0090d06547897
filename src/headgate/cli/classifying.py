"""``headgate classify``."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.examples import Examples, is_ts, read_examples
from ..data.held_out import Split, check_classes, every_kth, stratified
from ..errors import InputError
from ..models.baselines import MAJORITY_CLASS, linear_sequences, linear_text, majority_class
from ..models.sequences.estimators import SequenceClassifier
from ..models.texts.classifier import TextClassifier
from .output import console, make_folder, working
from .reports import (
    NAME,
    Scores,
    as_file,
    check_one_test,
    confusion,
    epochs_shown,
    load_as,
    say_fitted,
    say_parts,
    score_table,
    verdict,
    warn_of_new,
    write_out,
    write_trained,
)

ACCURACY, F1 = "accuracy", "macro F1"
SHOWN = 10  # classes of a single text


def train_classifier(
    data: Sequence[Path],
    out: Path,
    *,
    reading: dict[str, Any],
    test: Sequence[Path],
    test_every: int | None,
    tokens: str,
    progress: bool | None,
    parameters: dict[str, Any],
) -> None:
    """Fit on one part, test on the other beside the baselines, write all that to ``out``.

    Raises:
        HeadgateError: for anything that the user can put right; nothing is half written.
    """
    check_one_test(test, test_every)
    shown = epochs_shown(progress)
    model: Any
    if any(map(is_ts, data)):
        model = SequenceClassifier(progress=shown, **parameters)
    else:
        model = TextClassifier(tokens=tokens, progress=shown, **parameters)
    model.check_parameters()
    examples = read_examples(data, reading)
    counts = check_classes(examples.labels or [])
    split, tested = _parts(examples, data, test, test_every, reading, parameters["seed"])
    train = examples.take(split.train)
    check_classes(train[1])
    folder = make_folder(out)
    model.fit(*train)
    with working("the baselines"):
        scores, found = _scores(model, train, tested, examples.are_texts)
    name = data[0].name if len(data) == 1 else f"{len(data)} files"
    facts = {
        "files": [path.name for path in data],
        "examples": len(examples.items),
        "classes": {str(label): count for label, count in sorted(counts.items())},
        "learned": len(train[0]),
        "tested": len(tested[0]),
        "held_out": split.how,
    }
    written = write_trained(
        folder,
        model,
        facts,
        _details(scores, tested[1], found),
        score_name="validation accuracy",
        taken=(tested[1], found, name) if found else None,
    )
    say_parts(name, len(train[0]), len(tested[0]), "example", split.how)
    _say(model, scores, len(tested[0]))
    console().print(f"\nwritten to {folder}: {written}")


def _parts(
    examples: Examples,
    data: Sequence[Path],
    test: Sequence[Path],
    every: int | None,
    reading: dict[str, Any],
    seed: int,
) -> tuple[Split, tuple[list[Any], list[str]]]:
    """The training rows, and the test part, of files of its own or held out."""
    if test:
        others = read_examples(test, reading)
        if others.are_texts != examples.are_texts:
            raise InputError(f"{test[0]} and {data[0]} must both be texts, or both .ts sequences")
        warn_of_new(others.labels or [], examples.labels or [], "classes")
        how = ", ".join(path.name for path in test)
        return Split(list(range(len(examples.items))), [], how), (
            others.items, others.labels or [],
        )  # fmt: skip
    if every is not None:
        split = every_kth(examples.positions, every)
    else:
        split = stratified(examples.labels or [], seed)
    return split, examples.take(split.test)


def _scores(
    model: Any,
    train: tuple[list[Any], list[str]],
    test: tuple[list[Any], list[str]],
    are_texts: bool,
) -> tuple[Scores, list[str]]:
    """Accuracy and macro F1 of the model and its baselines, and the model's predictions."""
    if not test[0]:
        return {}, []
    found = [str(label) for label in model.predict(test[0])]
    rows = {NAME: found}
    linear = (linear_text if are_texts else linear_sequences)(*train, test[0])
    if linear is not None:
        rows[linear[0]] = linear[1]
    rows[MAJORITY_CLASS] = majority_class(train[1], len(test[0]))
    return {name: _measured(test[1], labels) for name, labels in rows.items()}, found


def _measured(truth: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    from sklearn.metrics import f1_score

    right = sum(a == b for a, b in zip(truth, found, strict=True))
    f1 = f1_score(truth, found, labels=sorted(set(truth)), average="macro", zero_division=0)
    return {ACCURACY: right / len(truth), F1: float(f1)}


def _details(scores: Scores, truth: Sequence[str], found: Sequence[str]) -> dict[str, Any]:
    if not found:
        return {"skipped": "nothing was held out"}
    from sklearn.metrics import precision_recall_fscore_support

    names, counts = confusion(truth, found)
    each = precision_recall_fscore_support(truth, found, labels=names, zero_division=0)
    return {
        "scores": scores,
        "classes": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "examples": int(n)}
            for name, p, r, f, n in zip(names, *each, strict=True)
        },
        "confusion": {
            "rows are true, columns predicted": names,
            "counts": counts.tolist(),
        },
    }


def _say(model: Any, scores: Scores, tested: int) -> None:
    say_fitted(model)
    if not scores:
        return
    show = console()
    show.print()
    show.print(score_table(scores))
    share = (scores[NAME][ACCURACY] * tested + 1) / (tested + 2)  # never quite 0 or 1
    error = 100 * math.sqrt(share * (1 - share) / tested)
    show.print(f"\n{verdict(scores, ACCURACY)} Chance alone moves an accuracy by ± {error:.1f}.")


# -- predict -------------------------------------------------------------------------------


def predict_classes(
    model: Path, what: str, out: Path | None, *, reading: dict[str, Any], explain: bool
) -> None:
    """Classify a text, or a file's; a table of classes, or CSV for a file.

    Raises:
        HeadgateError: for anything that the user can put right.
    """
    classifier = load_as(model, (TextClassifier, SequenceClassifier), "classify")
    path = as_file(what)
    are_texts = isinstance(classifier, TextClassifier)
    if path is None:
        if not are_texts:
            raise InputError(f"{model} classifies sequences; name a .ts file, not a text")
        if explain:
            _explain(classifier, what)
        else:
            _say_one(classifier, what)
        return
    if explain:
        raise InputError(f"--explain takes a text, and {path} is a file; put the text in quotes")
    if is_ts(path) == are_texts:
        expected = "texts" if are_texts else "a .ts file"
        raise InputError(f"{model} classifies {'texts' if are_texts else 'sequences'}, but {path} "
                         f"is none such; expected {expected}")  # fmt: skip
    labelled = bool(reading.pop("labelled"))
    examples = read_examples([path], reading, labelled)
    probabilities = np.asarray(classifier.predict_proba(examples.items))
    labels = classifier.classes_[probabilities.argmax(axis=1)].tolist()
    _write_rows(out, examples, labels, probabilities.max(axis=1))
    if examples.labels is not None:
        truth = examples.labels
        right = np.mean([str(a) == str(b) for a, b in zip(truth, labels, strict=True)])
        print(f"accuracy {100 * right:.1f} % of {len(truth)}", file=sys.stderr)


def _write_rows(
    out: Path | None, examples: Examples, labels: list[Any], certain: np.ndarray[Any, Any]
) -> None:
    import polars as pl

    columns: dict[str, Any] = {"text": examples.items} if examples.are_texts else {}
    columns["row"] = [position + 1 for position in examples.positions]
    if examples.labels is not None:
        columns["label"] = examples.labels
    columns |= {"predicted": [str(label) for label in labels], "probability": certain}
    frame = pl.DataFrame({"row": columns.pop("row"), **columns})
    buffer = io.BytesIO()
    frame.with_columns(pl.col("probability").round(4)).write_csv(buffer)
    write_out(out, buffer.getvalue(), f"{len(labels)} predictions")


def _say_one(classifier: Any, text: str) -> None:
    (row,) = np.asarray(classifier.predict_proba([text]))
    for k in np.argsort(-row)[:SHOWN]:
        console().print(f"{row[k]:.3f}  {classifier.classes_[k]}")


def _explain(classifier: Any, text: str) -> None:
    from rich.table import Table

    found = classifier.explain(text)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("token", no_wrap=True)
    table.add_column("attention", justify="right")
    table.add_column("up to here", no_wrap=True)
    for token, weight, row in zip(found.tokens, found.attention, found.running, strict=True):
        best = int(np.argmax(row))
        table.add_row(token, f"{weight:.3f}", f"{row[best]:.3f} {found.classes[best]}")
    if found.tokens:
        console().print(table)
        console().print()
    _say_one(classifier, text)
