"""What a model's gates do while it reads one example of one's own: a series, a text, a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_size, check_tuple, shown
from ..data.frames import show_stamps
from ..data.inputs import by_input
from ..data.panel import complete
from ..data.samples import as_values
from ..data.sentences import as_sentences, sentence_table, words_of
from ..errors import InputError
from ..network import Network
from .base import Estimator

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

GATES = ("reset", "update", "input", "forget", "output")


@dataclass(frozen=True)
class Look:
    """One example, and what one layer's gates did at each of its steps.

    Attributes:
        layer: the layer; layers: all whose gates can be looked at.
        kind: of its cell, "gru" or "lstm".
        gates: (T, H) by name: reset and update of a GRU, input, forget and output of an LSTM.
        attention: (T,) the weight of each step in the read-out, or None.
        labels: (T,) what each step is: a token, a stamp; None for numbers from 1.
        are_tokens: whether labels are tokens.
        values: (R,) the numbers that were read, by name, in their own units.
        places: (R,) where they stand among the steps, from 1 on: several may make a step.
        networks: how many the model averages; these are the gates of the first.
    """

    layer: str
    layers: list[str]
    kind: str
    gates: dict[str, Float32]
    attention: Float32 | None = None
    labels: list[str] | None = None
    are_tokens: bool = False
    values: dict[str, Float64] = field(default_factory=dict)
    places: Float64 = field(default_factory=lambda: np.zeros(0))
    networks: int = 1

    def __len__(self) -> int:
        return len(next(iter(self.gates.values())))

    def last(self, steps: int) -> Look:
        """The last few steps alone."""
        skipped = max(len(self) - check_size("steps", steps), 0)
        kept = self.places > skipped + 0.5
        return Look(
            self.layer,
            self.layers,
            self.kind,
            {name: gate[skipped:] for name, gate in self.gates.items()},
            None if self.attention is None else self.attention[skipped:],
            None if self.labels is None else self.labels[skipped:],
            self.are_tokens,
            {name: values[kept] for name, values in self.values.items()},
            self.places[kept] - skipped,
            self.networks,
        )

    def plot(self, *, units: Sequence[int] = (), title: str = "") -> Any:
        """Draw the values, the gates as heat-maps over time and the attention; returns the Figure.

        Args:
            units: which of the layer's units, from 1 on; all by default.
            title: the layer by default.
        """
        from ..gate_plots import look_figure

        return look_figure(self, self._units(units), title)

    def table(self, units: Sequence[int] = ()) -> dict[str, list[Any]]:
        """Columns by name, a row for each step: the value, the attention, each gate's mean, and
        ``<gate>_<unit>`` for every unit."""
        chosen = self._units(units)
        columns: dict[str, list[Any]] = {"step": list(range(1, len(self) + 1))}
        if self.labels is not None:
            columns["token" if self.are_tokens else "at"] = list(self.labels)
        if len(self.places) == len(self):
            columns |= {f"value_{name}": list(map(float, v)) for name, v in self.values.items()}
        if self.attention is not None:
            columns["attention"] = self.attention.tolist()
        for name, gate in self.gates.items():
            columns[name] = gate[:, chosen].mean(axis=1).tolist()
        for name, gate in self.gates.items():
            columns |= {f"{name}_{unit + 1}": gate[:, unit].tolist() for unit in chosen}
        return columns

    def _units(self, units: Sequence[int]) -> list[int]:
        size = next(iter(self.gates.values())).shape[1]
        return [check_size("a unit", unit, maximum=size) - 1 for unit in units] or [*range(size)]


def look(
    model: Any,
    data: Any = None,
    *,
    layer: str | None = None,
    id: Any = None,
    names: Sequence[str] = (),
    labels: Sequence[str] | None = None,
) -> Look:
    """What the gates of a model do over one example.

    Args:
        model: a Network or a fitted estimator, with a GRU or an LSTM in it.
        data: one sequence (T,) or (T, I) for a Network, a SequenceClassifier or a
            SequenceRegressor; a text for a TextClassifier or a LanguageModel; a sentence, as a
            text or a list of tokens, for a SequenceTagger; for a GRUForecaster data as ``predict``
            takes them, of which the last window is read, by default those of the fit.
        layer: the one to look at, such as "gru_l1" or "gru_l0_reverse"; the first by default.
        id: which of a forecaster's series; the first by default.
        names: of the columns of a sequence.
        labels: what the steps of a sequence are called, such as stamps.

    Raises:
        InputError: the model has no gates, or the data do not fit it.
    """
    from .forecasting.forecaster import GRUForecaster

    names = check_tuple("names", names, str)
    if labels is not None:
        labels = [str(label) for label in check_tuple("labels", labels)]
    if isinstance(model, Network):
        return _of_network(model, data, layer, names, labels)
    if not isinstance(model, Estimator):
        raise InputError(f"expected a Network or a fitted estimator, got {shown(model)}")
    model.require_fitted("look")
    if isinstance(model, GRUForecaster):
        return _of_forecaster(model, data, layer, id)
    members: Any = model
    networks = members.members_.networks
    more: dict[str, Any] = {"networks": len(networks)}
    table: Any
    if hasattr(model, "features_"):
        tokens = words_of(data) if isinstance(data, str) else data
        table = sentence_table(members.features_, as_sentences([tokens]), None)
        more |= {"labels": list(tokens), "are_tokens": True}
    elif hasattr(model, "reading_") and hasattr(members.reading_, "split"):
        split = members.reading_.split(_text(data))
        table = members.reading_.table([split])
        more |= {"labels": members.reading_.cut(split)[0], "are_tokens": True}
    elif hasattr(model, "writing_"):
        indices = members.writing_.prompt(_text(data))
        table = [np.array(indices)]
        names = [members.writing_.name(index) for index in indices]
        more |= {"labels": ["⏎" if name == "\n" else name for name in names], "are_tokens": True}
    else:
        sequence = _sequence(data)
        table = members._read([sequence])
        steps = int(table.lengths[0])
        more |= _values(sequence, steps / len(sequence), names)
        if labels is not None and steps == len(_labels(labels, sequence)):
            more["labels"] = list(labels)
    if more.get("labels") == []:
        raise InputError("nothing is left of the text to look at; pass one with words")
    return _looked(networks[0], table, layer, more)


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise InputError(f"expected a text, got {shown(data)}")
    return data


def _sequence(data: Any) -> Float64:
    """One sequence as (T, I) float64."""
    array = np.asarray(as_values("the sequence", data), np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.size:
        raise InputError(f"expected one sequence (T,) or (T, I), got shape {array.shape}")
    return array


def _labels(labels: Sequence[str], sequence: Float64) -> Sequence[str]:
    if len(labels) != len(sequence):
        raise InputError(f"there are {len(sequence)} steps, but {len(labels)} labels")
    return labels


def _values(sequence: Float64, steps_per_row: float, names: Sequence[str] = ()) -> dict[str, Any]:
    count, width = sequence.shape
    if len(names) != width:
        names = [f"x{k + 1}" if width > 1 else "x" for k in range(width)]
    places = 0.5 + (np.arange(count) + 0.5) * steps_per_row
    return {"values": dict(zip(names, sequence.T, strict=True)), "places": places}


def _of_network(
    network: Network,
    data: Any,
    layer: str | None,
    names: Sequence[str],
    labels: Sequence[str] | None,
) -> Look:
    more: dict[str, Any] = {}
    inputs = by_input(data, network.spec)
    given = {}
    for item in network.spec.inputs:
        if item.kind == "values":
            sequence = _sequence(inputs[item.name])
            given[item.name] = sequence[None].astype(np.float32)
            more |= _values(sequence, 1.0, names)
            if labels is not None:
                more["labels"] = list(_labels(labels, sequence))
        else:
            given[item.name] = np.asarray(inputs[item.name])[None]
            if len(inputs) == 1:
                more |= {"labels": [str(t) for t in given[item.name][0]], "are_tokens": True}
    return _looked(network, given, layer, more)


def _of_forecaster(model: Any, data: Any, layer: str | None, id: Any) -> Look:
    from .forecasting.continuation import known_of
    from .forecasting.lines import windows_at

    panel = model.panel_
    if data is not None:
        panel, _ = complete(model.read_like(data), model.missing)
    ids = [str(name) for name in panel.ids]
    if id is not None and str(id) not in ids:
        raise InputError(f"there is no series {id!r}; there are {', '.join(ids[:5]) or 'no ids'}")
    k = 0 if id is None else ids.index(str(id))
    panel = panel.choose([k])
    known, cut = known_of(model, panel), model.cut_
    lines = model.features_.lines(panel, known.phase)
    # where covariates are known ahead, the last window before the data's end that knows them
    ahead = cut.ahead * cut.segment if cut.knows_ahead else 0
    windows = windows_at(lines, np.array([0]), lines.lengths - ahead, cut)
    if not len(windows):
        raise InputError(
            f"the data have {int(lines.lengths[0])} values, but this model reads at least the "
            f"last {cut.least + ahead}; bring more of the series"
        )
    if known.treatment.log[0] and panel.values.min() <= 0:
        raise InputError(
            "the data hold values of zero or below, but this model was fitted to positive ones and "
            "works with their logarithms"
        )
    table = known.treatment.table(lines, windows, cut)
    first = int(table.starts[0])
    rows = slice(first, first + int(table.lengths[0]) * cut.segment)
    more = _values(panel.values[rows, None], 1 / cut.segment, [panel.value_name])
    if panel.times is not None:
        more["labels"] = show_stamps(panel.times[rows][:: cut.segment], panel.style)
    else:
        more["labels"] = [str(row + 1) for row in range(rows.start, rows.stop, cut.segment)]
    more["networks"] = len(model.ensemble_.networks)
    return _looked(model.ensemble_.networks[0], table, layer, more)


def _looked(network: Network, X: Any, layer: str | None, more: Mapping[str, Any]) -> Look:
    stacks = network.spec.recurrent()
    if not any(stack.kind != "rnn" for stack in stacks):
        what = "its cells are plain RNNs" if stacks else "it has no recurrent layer"
        raise InputError(f"this network has no gates: {what}; a GRU or an LSTM has some")
    found = network.gates(X)
    layers = found if isinstance(found, dict) else {found.layer: found}
    gated = {
        name: {key: gates[key][0] for key in GATES if key in gates}
        for name, gates in layers.items()
    }
    names = [name for name, gates in gated.items() if gates]
    if layer is not None and layer not in names:
        raise InputError(f"there is no layer {shown(layer)} with gates; there are {names}")
    chosen = names[0] if layer is None else layer
    attention = None
    if any(item.kind == "attention" for item in network.spec.layers):
        weights = network.attention(X)
        attention = (next(iter(weights.values())) if isinstance(weights, dict) else weights)[0]
    kind = "gru" if "update" in gated[chosen] else "lstm"
    return Look(chosen, names, kind, gated[chosen], attention, **more)
