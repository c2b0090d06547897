"""``headgate.onnx.export``: which graph a model becomes, and its file.

A model is told by the name of its class, as in model files: estimators stand beside this room and
are not imported, but read by the attributes that they document.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto

from ...checks import check_flags
from ...data.vocabulary import PADDING, UNKNOWN
from ...errors import InputError
from ...files import check_target, write_beside_and_rename
from . import sequences, texts
from .export import (
    OPSET,
    check_opset,
    check_weights,
    model_of,
    network_model,
    states_in,
    states_out,
)
from .forecasts import forecaster_graph
from .graph import Graph
from .members import Ensemble


class Options(NamedTuple):
    """Those of :func:`export` that not every model has."""

    lengths: bool = False
    state: bool = False
    network_only: bool = False
    horizon: int | None = None
    level: Any = None


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    opset: int = OPSET,
    lengths: bool = False,
    state: bool = False,
    network_only: bool = False,
    horizon: int | None = None,
    level: Any = None,
) -> None:
    """Write a model as an ONNX file that takes what its ``predict`` takes and gives what it gives.

    Of a Network, inputs have its inputs' names: values (N, T, I) float32, tokens (N, T) or
    (N, T, K) int64. The output ``y`` is ``predict``'s, (N, T, O) or (N, O), softmax and sigmoid
    included; with ``task="tagging"`` the output ``path`` (N, T) int64 is ``decode``'s.

    Of an estimator, raw values go in and what it predicts comes out: scaling, members and labels
    are in the graph. ``docs/onnx.md`` lists inputs and outputs of each. Texts go in as numbers of
    tokens, and how a text becomes these is in the file's metadata.

    N and T may have any size from 1, whatever the model was trained with. The file is checked
    before it is written, and written whole or not at all; its metadata hold the network's spec.

    Args:
        model: a :class:`headgate.Network` or a fitted estimator.
        path: of the file, such as "model.onnx".
        opset: of ONNX, 14 to 22.
        lengths: an input ``lengths`` (N,) int64, from 1 to T, beside the others: what stands past
            a sequence's length is not read, and outputs there are zero. Not of a forecaster.
        state: of a Network or a LanguageModel: an input for each part of each recurrent stack's
            initial state, (L*D, N, H), such as ``state.gru``, or ``state.lstm.h`` and
            ``state.lstm.c``; and an output for what it is after each sequence's last step,
            ``next_state.gru``, ...: so that a sequence can be run step by step.
        network_only: of a TextClassifier or a LanguageModel with n-grams: leave these out, and
            with them the part of the prediction that they have. Without it such a model is refused.
        horizon: of a GRUForecaster: steps that are forecast; by default the trained ones.
        level: of a GRUForecaster: coverages in percent of the intervals; none by default.

    Raises:
        NotFittedError: an estimator before ``fit``.
        InputError: the model or an option cannot be written.
        HeadgateError: the file cannot be written; what was there before is unchanged.
    """
    check_flags(lengths=lengths, state=state, network_only=network_only)
    target = check_target(path)
    options = Options(lengths, state, network_only, horizon, level)
    write_beside_and_rename(target, onnx_model(model, opset, options).SerializeToString())


def onnx_model(model: Any, opset: int, options: Options) -> ModelProto:
    """What :func:`export` writes."""
    names = [cls.__name__ for cls in type(model).__mro__ if cls.__module__.startswith("headgate.")]
    name = next((name for name in names if name in KINDS), None)
    if name is None:
        raise InputError(
            f"expected a Network or a fitted estimator, got {type(model).__name__}; load a model "
            "file with headgate.load first"
        )
    write, known = KINDS[name]
    for option, value in options._asdict().items():
        if value is not getattr(Options(), option) and option not in known:
            owners = [kind for kind, (_, has) in KINDS.items() if option in has]
            raise InputError(
                f"{option} goes with {' or '.join(owners)}, not with {name}; leave it out"
            )
    if write is None:
        flags = {"lengths": options.lengths, "state": options.state}
        return network_model(model.spec, model.state_dict(), opset=opset, **flags)
    model.require_fitted("export")
    graph = Graph(check_opset(opset))
    ensemble = _ensemble(model)
    facts = write(graph, ensemble, model, options)
    described = f"{name}: {len(ensemble.tensors)} networks of {len(ensemble.spec.layers)} layers"
    shared = {"headgate.model": name, "headgate.spec": ensemble.spec.to_json()}
    more = {f"headgate.{key}": json.dumps(fact, ensure_ascii=False) for key, fact in facts.items()}
    return model_of(graph, described, shared | more)


def _ensemble(model: Any) -> Ensemble:
    members = getattr(model, "ensemble_", None) or model.members_
    tensors = [network.state_dict() for network in members.networks]
    check_weights({f"{k}.{name}": a for k, own in enumerate(tensors) for name, a in own.items()})
    return Ensemble(members.spec, tensors)


def _labels(model: Any) -> list[Any]:
    return list(model.labels_.classes.tolist())


Facts = dict[str, Any]  # the file's metadata beside what all have


def _sequence_classifier(graph: Graph, ensemble: Ensemble, model: Any, options: Options) -> Facts:
    sequences.classifier_graph(
        graph, ensemble, model.reading_, model.labels_.classes, options.lengths
    )
    return {"labels": _labels(model)}


def _sequence_regressor(graph: Graph, ensemble: Ensemble, model: Any, options: Options) -> Facts:
    targets = model.shift_, model.scale_
    sequences.regressor_graph(
        graph, ensemble, model.reading_, targets, model.single_, options.lengths
    )
    return {}


def _without_names(reading: dict[str, Any]) -> dict[str, Any]:
    """How texts become tokens; the tokens' names stand beside it, in the order of their numbers."""
    return {key: fact for key, fact in reading.items() if key != "vocabulary"}


def _refuse_ngrams(model: Any, network_only: bool, without: str) -> None:
    if model is not None and not network_only:
        raise InputError(
            "the n-grams beside the networks cannot be in an ONNX graph, and without them the "
            f"numbers are others; pass network_only=True for the networks' part alone, or {without}"
        )


def _text_classifier(graph: Graph, ensemble: Ensemble, model: Any, options: Options) -> Facts:
    _refuse_ngrams(model.ngrams_, options.network_only, "fit with ngrams=False")
    classes = model.labels_.classes
    texts.classifier_graph(graph, ensemble, classes, options.lengths)
    return {
        "labels": _labels(model), "reading": _without_names(model.reading_.to_dict()),
        "vocabulary": list(model.reading_.vocabulary.names),
    }  # fmt: skip


def _tagger(graph: Graph, ensemble: Ensemble, model: Any, options: Options) -> Facts:
    classes = model.labels_.classes
    off = np.zeros(len(classes))
    if model.boldness_:
        off = np.where(classes == "O", model.boldness_, 0.0)
    allowed = model.allowed_
    texts.tagger_graph(graph, ensemble, classes, off, allowed, options.lengths)
    return {"labels": _labels(model), "vocabulary": list(model.features_.vocabulary.names)}


def _language_model(graph: Graph, ensemble: Ensemble, model: Any, options: Options) -> Facts:
    _refuse_ngrams(model.ngram_, options.network_only, "fit with ngram_order=0")
    starts = states_in(graph, ensemble.spec) if options.state else None
    never = (PADDING, UNKNOWN)
    ends = texts.language_graph(graph, ensemble, starts, never, options.lengths)
    if options.state:
        states_out(graph, ensemble.spec, ends)
    names = list(model.writing_.vocabulary.names)
    return {"reading": _without_names(model.writing_.to_dict()), "vocabulary": names}


def _forecaster(graph: Graph, ensemble: Ensemble, model: Any, options: Options) -> Facts:
    return forecaster_graph(graph, ensemble, model, options.horizon, options.level)


Write = Callable[[Graph, Ensemble, Any, Options], Facts]

# By class: what writes its graph, and its options.
KINDS: dict[str, tuple[Write | None, tuple[str, ...]]] = {
    "Network": (None, ("lengths", "state")),
    "SequenceClassifier": (_sequence_classifier, ("lengths",)),
    "SequenceRegressor": (_sequence_regressor, ("lengths",)),
    "TextClassifier": (_text_classifier, ("lengths", "network_only")),
    "SequenceTagger": (_tagger, ("lengths",)),
    "LanguageModel": (_language_model, ("lengths", "state", "network_only")),
    "GRUForecaster": (_forecaster, ("horizon", "level")),
}
