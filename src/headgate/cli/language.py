"""``headgate text``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.held_out import FRACTION, drawn, every_kth, ordinal
from ..data.text_files import is_table, read_corpus
from ..errors import HeadgateError, HeadgateWarning
from ..models.texts.language_model import LanguageModel
from .output import console, make_folder, working
from .reports import (
    NAME,
    Scores,
    check_one_test,
    epochs_shown,
    load_as,
    say_fitted,
    say_parts,
    score_table,
    verdict,
    write_trained,
)

PERPLEXITY = "perplexity"
LEAST_TEXT = 200  # characters of a running text: of less nothing is held out

Corpus = str | list[str]


def train_language(
    corpus: Path,
    out: Path,
    *,
    column: str | None,
    lines: bool,
    encoding: str | None,
    test: Sequence[Path],
    test_every: int | None,
    progress: bool | None,
    parameters: dict[str, Any],
) -> None:
    """Fit on one part, test on the other beside n-grams, write all that to ``out``.

    Raises:
        HeadgateError: for anything that the user can put right; nothing is half written.
    """
    check_one_test(test, test_every)
    model = LanguageModel(progress=epochs_shown(progress), **parameters)
    model.check_parameters()
    found = read_corpus(corpus, column=column, encoding=encoding)
    apart = lines or column is not None or is_table(corpus) or test_every is not None
    if test:
        others = [
            line for path in test for line in read_corpus(path, column=column, encoding=encoding)
        ]
        learned, tested = _as_corpus(found, apart), _as_corpus(others, apart)
        how = ", ".join(path.name for path in test)
    else:
        learned, tested, how = _hold_out(found, apart, test_every, parameters["seed"])
    folder = make_folder(out)
    model.fit(learned)
    scores: Scores = {}
    details: dict[str, Any] = {"skipped": "nothing was held out"}
    if tested:
        with working("the held-out text"):
            measured = model.evaluate(tested)
        scores = {
            NAME: {PERPLEXITY: measured.perplexity},
            "  its network alone": {PERPLEXITY: measured.network},
            **_ngrams(model, measured),
            "unigram": {PERPLEXITY: measured.unigram},
        }
        details = {
            "scores": {name.strip(): row for name, row in scores.items()},
            "nats": measured.nats,
            "tokens": measured.tokens,
            "unknown": measured.unknown,
        }
    facts = {
        "file": corpus.name,
        "texts": "lines" if apart else "one",
        "learned": len(learned),
        "tested": len(tested),
        "held_out": how,
    }
    written = write_trained(folder, model, facts, details, score_name="validation score")
    unit = "line" if apart else "character"
    say_parts(corpus.name, len(learned), len(tested), unit, how)
    _say(model, scores, details)
    console().print(f"\nwritten to {folder}: {written}")
    console().print(
        "model.safetensors holds the training text, from which its n-grams are counted: keep it "
        "where that text may be"
    )


def _ngrams(model: LanguageModel, measured: Any) -> dict[str, dict[str, float]]:
    if model.ngram_ is None:
        return {}
    return {f"{model.ngram_.order}-gram (Kneser-Ney)": {PERPLEXITY: measured.ngram}}


def _as_corpus(lines: list[str], apart: bool) -> Corpus:
    return lines if apart else "\n".join(lines) + "\n"


def _hold_out(
    lines: list[str], apart: bool, every: int | None, seed: int
) -> tuple[Corpus, Corpus, str]:
    """What is learned, what is tested, and how that came about: a tenth, the end of a text."""
    if apart:
        rows = [k for k, line in enumerate(lines) if line.strip()]
        if every is None:
            split = drawn(len(rows), seed)
            learned, tested = [rows[k] for k in split.train], [rows[k] for k in split.test]
            how = "a tenth of the lines, drawn"
        else:
            split = every_kth(rows, every)
            learned, tested = [rows[k] for k in split.train], [rows[k] for k in split.test]
            how = f"every {ordinal(every)} line, from the first on"
        return [lines[k] for k in learned], [lines[k] for k in tested], how
    text = "\n".join(lines) + "\n"
    if len(text) < LEAST_TEXT:
        warnings.warn(
            f"{len(text)} characters are too few to hold some out, so nothing is tested; add text",
            HeadgateWarning,
            stacklevel=2,
        )
        return text, "", "the text is too short"
    cut = len(text) - int(len(text) * FRACTION)
    return text[:cut], text[cut:], "the last tenth"


def _say(model: LanguageModel, scores: Scores, details: dict[str, Any]) -> None:
    say_fitted(model, f", {len(model.writing_):,} different {_unit(model)}")
    if model.validation_score_ is None and model.ngram_ is not None:
        console().print("too short to weigh the network and its n-grams: both count alike")
    if not scores:
        return
    show = console()
    show.print()
    show.print(score_table(scores, percent=False, low=True))
    own = {name: row for name, row in scores.items() if not name.startswith(" ")}
    unknown = 100 * details["unknown"]
    more = f" {unknown:.1f} % of its tokens are unknown." if unknown >= 0.05 else ""
    show.print(
        f"\n{verdict(own, PERPLEXITY, low=True)} {details['nats']:.3f} nats for each of "
        f"{details['tokens']:,} tokens.{more}"
    )


def _unit(model: LanguageModel) -> str:
    kind = model.writing_.tokenizer.kind
    return {"char": "characters", "subword": "pieces of words"}.get(kind, "words and marks")


# -- a fitted model ------------------------------------------------------------------------


def show_next(model: Path, prompt: str, count: int, gates: bool) -> None:
    """Print the likeliest next tokens; with ``gates`` what the gates did at each token."""
    language = load_as(model, (LanguageModel,), "text")
    show = console()
    if gates:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("token", no_wrap=True)
        table.add_column("reset", justify="right")
        table.add_column("update", justify="right")
        table.add_column("likeliest next", no_wrap=True)
        for reading in language.gates(prompt, 3):
            likely = "  ".join(f"{_shown(token)} {p:.2f}" for token, p in reading.next)
            table.add_row(
                _shown(reading.token), f"{reading.reset:.2f}", f"{reading.update:.2f}", likely
            )
        show.print(table)
        show.print("\nreset: 0 forgets the old state; update: 1 keeps it (means over all units)\n")
    for token, p in language.next(prompt, count):
        show.print(f"{p:.4f}  {_shown(token)}")


def _shown(token: str) -> str:
    """A token that can be seen: blanks and line ends by name."""
    return {"\n": "⏎", " ": "␣", "\t": "⇥"}.get(token, token)


def generate(model: Path, prompt: str, length: int, **options: Any) -> None:
    """Print the prompt and what follows it, as it is drawn."""
    language = load_as(model, (LanguageModel,), "text")
    pieces = language.stream(prompt, length, **options)
    if sys.stdout is None:  # closed by the caller: headgate ... >&-
        raise HeadgateError("standard output is closed")
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
