"""TextClassifier, SequenceTagger and LanguageModel as graphs: numbers of tokens in.

Cutting texts into tokens and numbering them is not in a graph; what it takes is in the file's
metadata. Nor are counted n-grams, which stand beside some of these networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .crf import best_path, chain_of
from .graph import Array, Graph
from .members import (
    Ensemble,
    give_class,
    give_probabilities,
    labels_of,
    mean_of,
    member_outputs,
    reals,
)
from .network import network_inputs, network_nodes

SMALLEST = 1e-30  # of a probability whose logarithm is taken, as in SequenceTagger
FORBIDDEN = -1e9  # as in headgate.viterbi


def classifier_graph(graph: Graph, ensemble: Ensemble, classes: Array, lengths: bool) -> None:
    """Outputs ``probabilities`` (N, C) and ``label`` (N,)."""
    inputs = network_inputs(graph, ensemble.spec, lengths)
    give_class(graph, mean_of(graph, member_outputs(graph, ensemble, inputs)), classes)


def tagger_graph(
    graph: Graph, ensemble: Ensemble, classes: Array, off: Array, allowed: Array | None,
    lengths: bool,
) -> None:  # fmt: skip
    """Outputs ``probabilities`` (N, T, C) and ``tag`` (N, T), "" past each length.

    Args:
        off: (C,) what each tag's log-probability is lowered by.
        allowed: (C + 1, C) which tag may follow which, last the beginning; None for all.
    """
    inputs = network_inputs(graph, ensemble.spec, lengths)
    mean = mean_of(graph, member_outputs(graph, ensemble, inputs))
    give_probabilities(graph, mean, ("N", "T", len(classes)))
    least = graph.op("Max", [mean, reals(graph, "least_probability", SMALLEST)], "at_least")
    logs = graph.op("Log", [least], "logs")
    scores = graph.op("Sub", [logs, reals(graph, "off", off)], "scores")
    if allowed is None:
        codes = graph.op("ArgMax", [scores], "codes", axis=2, keepdims=0)
    else:
        forbidden = np.where(allowed, 0.0, FORBIDDEN)
        weights = {
            "transitions": forbidden[:-1], "start": forbidden[-1], "end": np.zeros(len(classes)),
        }  # fmt: skip
        chain = chain_of(graph, "tags", scores, inputs.batch.lengths, weights, "double")
        codes = best_path(graph, chain)
    tags, kind = labels_of(graph, codes, classes)
    if inputs.batch.valid and kind == "string":
        empty = graph.weight("no_tag", np.array("", object))
        tags = graph.op("Where", [inputs.batch.valid, tags, empty], "tags_kept")
    graph.gives(tags, kind, ("N", "T"), "tag")


def language_graph(
    graph: Graph, ensemble: Ensemble, starts: Mapping[str, list[str]] | None,
    never: Sequence[int], lengths: bool,
) -> dict[str, list[str]]:  # fmt: skip
    """Output ``probabilities`` (N, T, V) of the token after each; returns the ends of the state.

    Args:
        never: numbers of tokens that cannot be written: they have no probability, and the others'
            add up to 1.
    """
    spec = ensemble.spec
    inputs = network_inputs(graph, spec, lengths)
    made = network_nodes(graph, spec, ensemble.tensors[0], inputs, starts)
    can = np.ones(spec.output_size, np.float32)
    can[list(never)] = 0
    written = graph.op("Mul", [made.predictions, graph.weight("can_be_written", can)], "written")
    total = graph.reduce("ReduceSum", written, -1, "written_sum", keep=True)
    # past a length all are zero
    least = graph.op("Max", [total, graph.number("least_sum", SMALLEST)], "written_sum_safe")
    y = graph.op("Div", [written, least], "of_written")
    graph.gives(y, "float", ("N", "T", spec.output_size), "probabilities")
    return made.ends
