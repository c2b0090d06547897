"""What a sceptic would try first: the simple predictions that a network has to beat.

Each takes a training part and gives predictions for a test part. Nothing is tuned: these are the
usual settings, for texts those with which the figures in docs/results.md were measured.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.tokens import CJK

LINEAR_TEXT = "TF-IDF + logistic regression"
LINEAR_LETTERS = "one-hot letters + logistic regression"
LINEAR_NUMBERS = "means and deviations + logistic regression"
MAJORITY_CLASS = "majority class"
WORDS = r"(?u)\w+(?:['’]\w+)*|[^\w\s]"  # marks count too: with them it is a point better
MAJORITY_TAG = "majority tag of each token"

Values = Sequence[npt.NDArray[np.float64]]


def majority_class(labels: Sequence[Any], count: int) -> list[Any]:
    """The most frequent of the labels, ``count`` times."""
    return [Counter(labels).most_common(1)[0][0]] * count


def linear_text(
    texts: Sequence[str], labels: Sequence[Any], test: Sequence[str]
) -> tuple[str, list[Any]] | None:
    """Name and predictions of a linear model: TF-IDF of words 1-2, of characters 1-3 in Chinese.

    Texts of one length without blanks (DNA) become one-hot letters by position. None where no
    feature can be made of the texts, such as empty ones.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    if _is_of_one_length(texts, test):
        letters = OneHotEncoder(handle_unknown="ignore")
        model = make_pipeline(letters, LogisticRegression(max_iter=1000))
        model.fit([list(text) for text in texts], list(labels))
        return LINEAR_LETTERS, model.predict([list(text) for text in test]).tolist()
    chinese = _are_unspaced(texts)
    vectorizer = TfidfVectorizer(
        analyzer="char" if chinese else "word",
        ngram_range=(1, 3) if chinese else (1, 2),
        sublinear_tf=True,
        token_pattern=None if chinese else WORDS,
    )
    model = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
    try:
        model.fit(list(texts), list(labels))
    except ValueError:  # an empty vocabulary
        return None
    return LINEAR_TEXT, model.predict(list(test)).tolist()


def linear_sequences(values: Values, labels: Sequence[Any], test: Values) -> tuple[str, list[Any]]:
    """Name and predictions of a linear model on what each channel is like, and the length."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit([_summary(v) for v in values], list(labels))
    return LINEAR_NUMBERS, model.predict([_summary(v) for v in test]).tolist()


def majority_tags(
    tokens: Sequence[Sequence[str]], tags: Sequence[Sequence[Any]], test: Sequence[Sequence[str]]
) -> list[list[Any]]:
    """The tag that each token had most often; the most frequent of all for new tokens."""
    seen: dict[str, Counter[Any]] = {}
    overall: Counter[Any] = Counter()
    for words, own in zip(tokens, tags, strict=True):
        overall.update(own)
        for word, tag in zip(words, own, strict=True):
            seen.setdefault(word, Counter())[tag] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    usual = overall.most_common(1)[0][0]
    return [[best.get(word, usual) for word in words] for words in test]


def _is_of_one_length(texts: Sequence[str], test: Sequence[str]) -> bool:
    lengths = {len(text) for text in texts} | {len(text) for text in test}
    length = next(iter(lengths))
    return len(lengths) == 1 and length > 1 and not any(" " in text for text in texts)


def _are_unspaced(texts: Sequence[str]) -> bool:
    """Whether most letters are of a script without blanks, or hardly any text has a blank."""
    import re

    wide = re.compile(f"[{CJK}]")
    sample = texts[:1000]
    letters = sum(sum(map(str.isalpha, text)) for text in sample)
    if sum(len(wide.findall(text)) for text in sample) > letters / 2:
        return True
    return sum(" " in text.strip() for text in sample) < len(sample) / 10


def _summary(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(5 I + 1,) mean, deviation, first, middle and last value of each channel, and the length."""
    known = np.nan_to_num(values)
    middle = known[len(known) // 2]
    parts = [known.mean(axis=0), known.std(axis=0), known[0], middle, known[-1]]
    return np.concatenate([*parts, [len(known)]])
