"""How well sequences and texts are learned with the defaults: the table in docs/results.md.

    HEADGATE_DATA=folder python benchmarks/text_scores.py [--only NAME,NAME] [--seeds 3]

Each row is a mean over seeds with its spread, beside the target and the baseline that a sceptic
would try first. Nothing is chosen on a test part: it is looked at once, by the fitted model.

A new row is a function from a seed to a :class:`Result`, and a line in ``JOBS``.
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from text_baselines import crf_f1

import headgate as hg
from headgate.data.sequence_files import read_sequences
from headgate.data.tagged_files import read_sentences
from headgate.data.text_files import read_texts
from headgate.models.baselines import linear_text, majority_tags
from headgate.models.texts.spans import token_accuracy

DATA = Path(os.environ.get("HEADGATE_DATA", "../shared/data"))


class Result(NamedTuple):
    """Of one seed.

    Attributes:
        score: on the test part, in the job's unit.
        seconds: that ``fit`` took.
        baseline: of the job's baseline on the same test part; None where it has none.
        note: more to say of it.
    """

    score: float
    seconds: float
    baseline: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Job:
    """A row of the table.

    Attributes:
        run: trains with a seed and looks at the test part.
        unit: "%", "F1 %", "nats", "perplexity", ...
        target: to reach; None for where the baseline decides.
        margin: where it does, how far above it.
        seconds: that training may take on two cores.
        baseline: its name.
        lower: whether lower scores are better.
    """

    run: Callable[[int], Result]
    unit: str
    target: float | None
    seconds: float
    baseline: str = ""
    lower: bool = False
    margin: float = 0.0


def timed(fit: Callable[[], Any]) -> float:
    """Seconds that ``fit`` takes."""
    begin = time.perf_counter()
    fit()
    return time.perf_counter() - begin


# -- sequences of values ------------------------------------------------------------------------


def sequences(folder: str, name: str, seed: int) -> Result:
    """A data set of the UEA archive, with the split that it comes with."""
    train, test = (
        read_sequences(DATA / folder / f"{name}_{part}.ts") for part in ("TRAIN", "TEST")
    )
    model = hg.SequenceClassifier(seed=seed)
    seconds = timed(lambda: model.fit(train.values, train.labels))
    return Result(100 * model.score(test.values, test.labels), seconds)


# -- texts --------------------------------------------------------------------------------------


class Split(NamedTuple):
    """Texts and labels to learn from, and the test part."""

    texts: list[str]
    labels: list[str]
    test: list[str]
    truth: list[str]


def tenth(*names: str, **options: Any) -> Callable[[], Split]:
    """Every tenth text of files without a split of their own is for the test."""

    def read() -> Split:
        found = read_texts([DATA / name for name in names], **options)
        assert found.labels is not None
        rows = list(zip(found.texts, found.labels, found.positions, strict=True))
        learned = [row for row in rows if row[2] % 10]
        test = [row for row in rows if row[2] % 10 == 0]
        return Split(
            [row[0] for row in learned], [row[1] for row in learned],
            [row[0] for row in test], [row[1] for row in test],
        )  # fmt: skip

    return read


def own_split(train: str, test: str, **options: Any) -> Callable[[], Split]:
    """The split that a data set comes with."""

    def read() -> Split:
        learned, held = (read_texts([DATA / name], **options) for name in (train, test))
        assert learned.labels is not None
        assert held.labels is not None
        return Split(learned.texts, learned.labels, held.texts, held.labels)

    return read


def texts(read: Callable[[], Split], seed: int) -> Result:
    """Texts of classes, beside TF-IDF with logistic regression (one-hot letters for DNA)."""
    split = read()
    model = hg.TextClassifier(seed=seed, progress=False)
    seconds = timed(lambda: model.fit(split.texts, split.labels))
    linear = linear_text(split.texts, split.labels, split.test)
    assert linear is not None
    hits = [ours == theirs for ours, theirs in zip(linear[1], split.truth, strict=True)]
    return Result(100 * model.score(split.test, split.truth), seconds, 100 * sum(hits) / len(hits))


def text_job(read: Callable[[], Split], target: float, seconds: float) -> Job:
    """A row of texts."""
    return Job(lambda seed: texts(read, seed), "%", target, seconds, "linear")


TEXTS = {
    "rt_polarity": text_job(
        tenth("rt_polarity/rt-polarity.neg", "rt_polarity/rt-polarity.pos", encoding="cp1252"),
        80.5, 60,
    ),
    "sst2": text_job(own_split("sst2/stsa.binary.train", "sst2/stsa.binary.test"), 82.0, 60),
    "trec": text_job(
        own_split("trec/TREC.train", "trec/TREC.test", label_until=":", encoding="latin-1"),
        92.0, 30,
    ),
    "waimai_10k": text_job(
        tenth("waimai_10k/waimai_10k.csv", text="review", label="label"), 91.0, 60
    ),
    "thucnews_headlines": text_job(
        own_split("thucnews_headlines/dev.txt", "thucnews_headlines/test.txt"), 87.0, 90
    ),
    "splice_junction": text_job(
        tenth("splice_junction/splice.csv", text="sequence", label="label"), 96.5, 30
    ),
}  # fmt: skip


# -- tagged sentences ---------------------------------------------------------------------------


def wnut17(seed: int) -> Result:
    """Names of six kinds in what people write, F1 of whole spans; its own split."""
    train, test = (
        read_sentences(DATA / "wnut17" / name)
        for name in ("wnut17train.conll", "emerging.test.annotated")
    )
    model = hg.SequenceTagger(seed=seed, progress=False)
    seconds = timed(lambda: model.fit(train.tokens, train.tags))
    baseline = crf_f1(train, test) if seed == 0 else None  # it has no seed
    return Result(
        100 * model.score(test.tokens, test.tags),
        seconds,
        None if baseline is None else 100 * baseline,
    )


def chinese_parts_of_speech(seed: int) -> Result:
    """Universal parts of speech, share of right tokens; 500 sentences to learn from."""
    train, test = (
        read_sentences(DATA / "ud_chinese_gsdsimp" / f"zh_gsdsimp-ud-{part}.conllu.gz")
        for part in ("dev", "test")
    )
    model = hg.SequenceTagger(seed=seed, progress=False)
    seconds = timed(lambda: model.fit(train.tokens, train.tags))
    usual = majority_tags(train.tokens, train.tags or [], test.tokens)
    baseline = 100 * token_accuracy(test.tags or [], usual)
    return Result(100 * model.score(test.tokens, test.tags), seconds, baseline)


# -- language models ----------------------------------------------------------------------------


def tatoeba() -> tuple[list[str], list[str]]:
    """The Chinese column; every 10th line is held out."""
    with gzip.open(DATA / "tatoeba_en_zh" / "cmn.txt.gz", "rt", encoding="utf-8") as file:
        lines = [line.split("\t")[1] for line in file]
    return [line for k, line in enumerate(lines) if k % 10], lines[::10]


def running(path: str) -> tuple[str, str]:
    """A text; its last tenth is held out."""
    text = (DATA / path).read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    return text[:cut], text[cut:]


def language(texts: tuple[Any, Any], seed: int, unit: str, nats: bool, **options: Any) -> Result:
    """The nats a token, or by how much less the perplexity is than that of n-grams, in %.

    All of them are over the same tokens of the same vocabulary, ends of lines included; those that
    it does not have are one token, "unknown". The n-grams are interpolated Kneser-Ney of order 6.
    """
    model = hg.LanguageModel(unit, seed=seed, progress=False, **options)
    seconds = timed(lambda: model.fit(texts[0]))
    found = model.evaluate(texts[1])
    assert found.ngram is not None
    note = (
        f"perplexity {found.perplexity:.2f}, network alone {found.network:.2f}, n-gram "
        f"{found.ngram:.2f}, unigram {found.unigram:.1f}; {found.tokens} tokens, "
        f"{100 * found.unknown:.1f} % unknown"
    )
    if isinstance(texts[1], list):
        learned = set(texts[0])
        new = [line for line in texts[1] if line not in learned]
        apart = model.evaluate(new)
        assert apart.ngram is not None
        note += (
            f"; {100 * (1 - len(new) / len(texts[1])):.1f} % of the lines also stand in the part "
            f"learned, without them {100 * (1 - apart.perplexity / apart.ngram):.1f} % below"
        )
    if nats:
        alone = f"network alone {np.log(found.network):.3f} nats; "
        return Result(found.nats, seconds, float(np.log(found.ngram)), alone + note)
    return Result(100 * (1 - found.perplexity / found.ngram), seconds, note=note)


def shakespeare(seed: int, **options: Any) -> Result:
    return language(running("tinyshakespeare/input.txt"), seed, "char", True, **options)


JOBS = TEXTS | {
    "japanese_vowels": Job(
        lambda seed: sequences("japanese_vowels", "JapaneseVowels", seed), "%", 98.4, 10
    ),
    "pickup_gesture": Job(
        lambda seed: sequences("pickup_gesture", "PickupGestureWiimoteZ", seed), "%", 75, 30
    ),
    "wnut17": Job(wnut17, "F1 %", None, 180, "linear CRF"),
    "ud_chinese_gsdsimp": Job(
        chinese_parts_of_speech, "%", None, 60, "usual tag of the word", margin=8
    ),
    "tinyshakespeare": Job(shakespeare, "nats", 1.60, 180, "n-gram", lower=True),
    "tinyshakespeare_15": Job(
        lambda seed: shakespeare(seed, hidden_size=512, minutes=13),
        "nats",
        1.50,
        900,
        "n-gram",
        lower=True,
    ),
    "tatoeba_chars": Job(
        lambda seed: language(tatoeba(), seed, "auto", False), "% below n-gram", 15, 180
    ),
    "tatoeba_words": Job(
        lambda seed: language(tatoeba(), seed, "jieba", False), "% below n-gram", 15, 180
    ),
    "luxun": Job(
        lambda seed: language(running("luxun/luxun_stories.txt"), seed, "auto", False),
        "% below n-gram",
        15,
        300,
    ),
}


# -- the table ----------------------------------------------------------------------------------


def line(name: str, job: Job, results: list[Result]) -> str:
    """A row as text: mean, spread, time, baseline, and whether the target was reached."""
    scores = np.array([result.score for result in results])
    seconds = np.array([result.seconds for result in results])
    text = f"{name:<20} {scores.mean():7.3f} +- {np.ptp(scores) / 2:.3f} {job.unit:<10}"
    text += f" {seconds.mean():6.1f} s (at most {job.seconds:g})"
    baselines = [result.baseline for result in results if result.baseline is not None]
    if baselines:
        text += f"  {job.baseline} {np.mean(baselines):.3f}"
        if job.target is None:
            by = (scores.mean() - np.mean(baselines)) * (-1 if job.lower else 1)
            text += f", beaten by {by:.3f}: {'MISSED' if by <= 0 or by < job.margin else 'reached'}"
    elif job.baseline:
        text += f"  {job.baseline}: not measured, a library is missing"
    if job.target is not None:
        missed = scores.mean() > job.target if job.lower else scores.mean() < job.target
        text += f"  target {job.target:g}: {'MISSED' if missed else 'reached'}"
    text += " TOO SLOW" if seconds.mean() > job.seconds else ""
    notes = [f"\n    seed {k}: {r.note}" for k, r in enumerate(results) if r.note]
    return text + "".join(notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(JOBS), help="names with commas between them")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    unknown = sorted(set(names) - set(JOBS))
    if unknown:
        parser.error(f"unknown: {unknown}; known are: {', '.join(JOBS)}")
    for name in names:
        results = [JOBS[name].run(seed) for seed in range(arguments.seeds)]
        print(line(name, JOBS[name], results), flush=True)


if __name__ == "__main__":
    main()
