"""What a sceptic would try first on tagged sentences: a linear CRF.

    HEADGATE_DATA=folder python benchmarks/text_baselines.py

prints the CRF's F1 on wnut17's development part, by which ``C1`` and ``C2`` were chosen.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from headgate.data.tagged_files import Sentences, read_sentences
from headgate.models.texts.spans import span_f1

DATA = Path(os.environ.get("HEADGATE_DATA", "../shared/data"))
C1, C2 = 0.0, 0.01  # weights of the L1 and L2 penalties
ITERATIONS = 100  # python-crfsuite's L-BFGS


def features(tokens: Sequence[str], t: int) -> list[str]:
    """The usual ones (sklearn-crfsuite's tutorial, without parts of speech)."""
    word = tokens[t]
    found = [
        "bias", f"word={word.lower()}", f"last3={word[-3:]}", f"last2={word[-2:]}",
        f"upper={word.isupper()}", f"title={word.istitle()}", f"digit={word.isdigit()}",
    ]  # fmt: skip
    for step, end in ((-1, "BOS"), (1, "EOS")):
        if not 0 <= t + step < len(tokens):
            found.append(end)
            continue
        other = tokens[t + step]
        found += [
            f"{step}:word={other.lower()}", f"{step}:title={other.istitle()}",
            f"{step}:upper={other.isupper()}",
        ]  # fmt: skip
    return found


def crf_f1(train: Sentences, test: Sentences, c1: float = C1, c2: float = C2) -> float | None:
    """F1 of spans of a linear-chain CRF; None where python-crfsuite is not installed."""
    try:
        import pycrfsuite
    except ImportError:
        return None
    assert train.tags is not None
    assert test.tags is not None
    trainer = pycrfsuite.Trainer(verbose=False)
    for tokens, tags in zip(train.tokens, train.tags, strict=True):
        trainer.append([features(tokens, t) for t in range(len(tokens))], tags)
    trainer.set_params(
        {"c1": c1, "c2": c2, "max_iterations": ITERATIONS, "feature.possible_transitions": True}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "crf")
        trainer.train(path)
        tagger = pycrfsuite.Tagger()
        tagger.open(path)
        found = [tagger.tag([features(s, t) for t in range(len(s))]) for s in test.tokens]
        tagger.close()
    return span_f1(test.tags, found)


def main() -> None:
    train, dev = (
        read_sentences(DATA / "wnut17" / name)
        for name in ("wnut17train.conll", "emerging.dev.conll")
    )
    for c1 in (0.0, 0.003, 0.01, 0.03, 0.1):
        for c2 in (0.001, 0.01, 0.1):
            f1 = crf_f1(train, dev, c1, c2)
            if f1 is None:
                sys.exit("python-crfsuite is missing; install it with: pip install python-crfsuite")
            print(f"c1 {c1:<6} c2 {c2:<6} F1 {100 * f1:.2f} %", flush=True)


if __name__ == "__main__":
    main()
