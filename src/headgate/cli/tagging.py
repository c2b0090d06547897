"""``headgate tag``."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.held_out import Split, check_classes, drawn, every_kth
from ..data.sentences import words_of
from ..data.tagged_files import Sentences, read_sentences
from ..models.baselines import MAJORITY_TAG, majority_tags
from ..models.texts.spans import are_span_tags, span_f1, token_accuracy
from ..models.texts.tagger import SequenceTagger
from .output import console, make_folder, working
from .reports import (
    NAME,
    Scores,
    as_file,
    check_one_test,
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

F1, ACCURACY, NEW = "entity F1", "token accuracy", "accuracy on new tokens"


def train_tagger(
    data: Path,
    out: Path,
    *,
    reading: dict[str, Any],
    test: Sequence[Path],
    test_every: int | None,
    progress: bool | None,
    parameters: dict[str, Any],
) -> None:
    """Fit on one part, test on the other beside the majority tags, write all that to ``out``.

    Raises:
        HeadgateError: for anything that the user can put right; nothing is half written.
    """
    check_one_test(test, test_every)
    model = SequenceTagger(progress=epochs_shown(progress), **parameters)
    model.check_parameters()
    sentences = read_sentences(data, **reading)
    counts = check_classes(_flat(sentences.tags or []), "tokens", "--tag-column")
    split, tested = _parts(sentences, test, test_every, reading, parameters["seed"])
    train = _take(sentences, split.train)
    folder = make_folder(out)
    model.fit(train.tokens, train.tags)
    with working("the baseline"):
        scores, found = _scores(model, train, tested)
    facts = {
        "file": data.name,
        "sentences": len(sentences.tokens),
        "tokens": sum(counts.values()),
        "tags": dict(sorted(counts.items())),
        "learned": len(train.tokens),
        "tested": len(tested.tokens),
        "held_out": split.how,
    }
    written = write_trained(
        folder,
        model,
        facts,
        {"scores": scores} if scores else {"skipped": "nothing was held out"},
        score_name=f"validation {_metric(scores)}",
        taken=(_flat(tested.tags or []), found, data.name) if found else None,
    )
    say_parts(data.name, len(train.tokens), len(tested.tokens), "sentence", split.how)
    say_fitted(model)
    show = console()
    if scores:
        show.print()
        show.print(score_table(scores))
        show.print(f"\n{_metric(scores)}: {verdict(scores, _metric(scores))}")
    show.print(f"\nwritten to {folder}: {written}")


def _parts(
    sentences: Sentences,
    test: Sequence[Path],
    every: int | None,
    reading: dict[str, Any],
    seed: int,
) -> tuple[Split, Sentences]:
    """The training rows, and the test part, of files of its own or held out."""
    count = len(sentences.tokens)
    if test:
        parts = [read_sentences(path, **reading) for path in test]
        tags = [tags for part in parts for tags in part.tags or []]
        others = Sentences([tokens for part in parts for tokens in part.tokens], tags)
        how = ", ".join(path.name for path in test)
        split = Split(list(range(count)), [], how)
    else:
        split = drawn(count, seed) if every is None else every_kth(range(count), every)
        others = _take(sentences, split.test)
    learned = _flat(_take(sentences, split.train).tags or [])
    warn_of_new(_flat(others.tags or []), learned, "tags")
    return split, others


def _take(sentences: Sentences, rows: Sequence[int]) -> Sentences:
    assert sentences.tags is not None
    return Sentences([sentences.tokens[k] for k in rows], [sentences.tags[k] for k in rows])


def _flat(tags: Sequence[Sequence[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(tags))


def _metric(scores: Scores) -> str:
    return F1 if F1 in scores.get(NAME, {}) else ACCURACY


def _scores(model: SequenceTagger, train: Sentences, test: Sentences) -> tuple[Scores, list[str]]:
    """The model's scores and its baseline's, and the model's tags in a row."""
    if not test.tokens:
        return {}, []
    assert train.tags is not None
    assert test.tags is not None
    known = {token for tokens in train.tokens for token in tokens}
    rows = {
        NAME: model.predict(test.tokens),
        MAJORITY_TAG: majority_tags(train.tokens, train.tags, test.tokens),
    }
    spans = are_span_tags({*_flat(train.tags)})
    scores = {}
    for name, tags in rows.items():
        pairs = [
            (right, found)
            for tokens, truth, own in zip(test.tokens, test.tags, tags, strict=True)
            for token, right, found in zip(tokens, truth, own, strict=True)
            if token not in known
        ]
        own_scores = {F1: span_f1(test.tags, tags)} if spans else {}
        own_scores[ACCURACY] = token_accuracy(test.tags, tags)
        if pairs:
            own_scores[NEW] = Counter(a == b for a, b in pairs)[True] / len(pairs)
        scores[name] = own_scores
    return scores, _flat(rows[NAME])


# -- predict -------------------------------------------------------------------------------


def predict_tags(model: Path, what: str, out: Path | None, *, reading: dict[str, Any]) -> None:
    """Tag a sentence or a file; a token and its tag in each line, as CoNLL files have it.

    Raises:
        HeadgateError: for anything that the user can put right.
    """
    tagger = load_as(model, (SequenceTagger,), "tag")
    path = as_file(what)
    if path is None:
        sentences = Sentences([words_of(what)], None)
    else:
        sentences = read_sentences(path, tagged=False, **reading)
    found = tagger.predict(sentences.tokens)
    blocks = [
        "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
        for tokens, tags in zip(sentences.tokens, found, strict=True)
    ]
    write_out(out, "\n".join(blocks).encode(), f"{len(blocks)} sentences")
    if sentences.tags is not None:
        spans = are_span_tags(tagger.classes_.tolist())
        name, measure = (F1, span_f1) if spans else (ACCURACY, token_accuracy)
        print(f"{name} {100 * measure(sentences.tags, found):.1f} %", file=sys.stderr)
