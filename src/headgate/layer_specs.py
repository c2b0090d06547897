"""The parts of a network as frozen dataclasses: its inputs and its layers.

A layer says what it reads, how wide its output is and which parameters it has; what it computes
is written in ``reference`` and in the engine. ``spec.NetworkSpec`` puts them together.

Shape letters: N batch, T time, I input width, F features, H hidden units, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .checks import (
    MAX_FLOAT,
    as_number,
    check_choice,
    check_flags,
    check_name,
    check_rate,
    check_size,
    check_tuple,
    shown,
)
from .errors import InputError

ACTIVATIONS = ("linear", "relu", "tanh")
NONLINEARITIES = ("tanh", "relu")
INPUT_KINDS = ("values", "tokens")
SCORES = ("additive", "dot")
MAX_LAYERS = 256
MAX_DEPTH = 1024  # layers of a network, those of stacks counted one by one
MAX_VOCABULARY = 1 << 24
MAX_PARAMETERS = (1 << 31) - 1

Shapes = dict[str, tuple[int, ...]]


def store(item: Any, **values: Any) -> None:
    """Store normalised values (np.int64 -> int, list -> tuple) in a frozen dataclass."""
    for name, value in values.items():
        object.__setattr__(item, name, value)


@dataclass(frozen=True)
class InputSpec:
    """A named input with a row for every time step.

    ``kind="values"``: ``size`` features. ``kind="tokens"``: ``size`` integers, which an Embedding
    reads.
    """

    name: str
    size: int
    kind: str = "values"

    def __post_init__(self) -> None:
        check_name("input", self.name)
        store(self, size=check_size(f"the size of input {self.name!r}", self.size))
        check_choice(f"the kind of input {self.name!r}", self.kind, INPUT_KINDS)


@dataclass(frozen=True)
class LayerSpec:
    """What every layer has: a name and the names of the inputs and layers that it reads."""

    kind: ClassVar[str] = ""
    needs_steps: ClassVar[bool] = False  # reads a row for every step, not one vector a sequence
    pools: ClassVar[bool] = False  # puts out one vector a sequence
    joins: ClassVar[bool] = False  # reads two or more
    name: str
    inputs: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name("layer", self.name)
        store(self, inputs=check_tuple(f"inputs of layer {self.name!r}", self.inputs))
        self.check()

    def output_size(self, input_size: int) -> int:
        """Width of the output for inputs that are ``input_size`` wide together."""
        return input_size

    def parameter_shapes(self, input_size: int) -> Shapes:
        """Parameter names (without the layer's name) and shapes, in the engine's order."""
        return {}

    def check(self) -> None:
        """Normalise the options; raise InputError when one is out of range."""

    def check_flag(self, option: str) -> None:
        """Normalise an option that is True or False."""
        value = getattr(self, option)
        check_flags(**{f"{option} of layer {self.name!r}": value})
        store(self, **{option: bool(value)})


# -- recurrent stacks ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Recurrent(LayerSpec):
    """A stack of recurrent layers of one width: (N, T, I) -> (N, T, H), or (N, T, 2H) both ways.

    Layer k, with input u_k, computes h_k = cell(u_k), for ``bidirectional`` in both directions
    side by side, forward first; s_k = h_k + u_k with ``residual`` from the second layer on, else
    h_k; u_{k+1} = dropout(s_k). The output is the last s_k.

    ``dropout``: between layers, a mask for every step and unit. ``input_dropout`` (of the stack's
    input) and ``recurrent_dropout`` (of h where a gate's product reads it; the state that is
    carried on stays whole): one mask a sequence, shared over time and by all gates (Gal and
    Ghahramani 2016, arXiv 1512.05287; Keras draws one for each gate). All of them are inverted.

    ``layer_norm``: each gate's product W x is replaced by norm_ih * (W x - mean) / sqrt(var +
    1e-5), and U h likewise with norm_hh; mean and biased variance over that gate's H units. The
    biases are the shifts (Ba, Kiros and Hinton 2016, arXiv 1607.06450); an LSTM's c is not
    normalised.

    Parameters have PyTorch's names, shapes and gate order. ``gates`` counts the row blocks of
    ``weight_ih``, ``states`` names what is carried from step to step, each (N, H).
    """

    needs_steps = True
    gates: ClassVar[int] = 1
    states: ClassVar[tuple[str, ...]] = ("h",)
    hidden_size: int = 16
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    residual: bool = False
    layer_norm: bool = False

    def check(self) -> None:
        whose = f"of layer {self.name!r}"
        store(
            self,
            hidden_size=check_size(f"hidden_size {whose}", self.hidden_size),
            num_layers=check_size(f"num_layers {whose}", self.num_layers, maximum=MAX_LAYERS),
        )
        for option in ("dropout", "input_dropout", "recurrent_dropout"):
            rate = check_rate(f"{option} {whose}", getattr(self, option))
            store(self, **{option: rate})
        for option in ("bidirectional", "residual", "layer_norm"):
            self.check_flag(option)
        if self.dropout and self.num_layers == 1:
            raise InputError(
                f"dropout {whose} acts between its layers, and there is one; use input_dropout, "
                "recurrent_dropout, a Dropout layer behind it, or num_layers=2"
            )
        if self.residual and self.num_layers == 1:
            raise InputError(
                f"residual=True {whose} acts from its second layer on, and there is one; use "
                "num_layers=2, or leave it out"
            )

    @property
    def cell(self) -> str:
        """The engine's name of the cell."""
        return self.kind

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def bias_hh_size(self) -> int:
        return self.gates * self.hidden_size

    def state_names(self) -> list[str]:
        """What a model file calls the carried states: ``gru``, or ``lstm.h`` and ``lstm.c``."""
        if len(self.states) == 1:
            return [self.name]
        return [f"{self.name}.{part}" for part in self.states]

    def output_size(self, input_size: int) -> int:
        return self.directions * self.hidden_size

    def parameter_shapes(self, input_size: int) -> Shapes:
        h, rows = self.hidden_size, self.gates * self.hidden_size
        shapes: Shapes = {}
        for k in range(self.num_layers):
            width = input_size if k == 0 else self.directions * h
            for suffix in ("", "_reverse")[: self.directions]:
                shapes[f"weight_ih_l{k}{suffix}"] = (rows, width)
                shapes[f"weight_hh_l{k}{suffix}"] = (rows, h)
                shapes[f"bias_ih_l{k}{suffix}"] = (rows,)
                shapes[f"bias_hh_l{k}{suffix}"] = (self.bias_hh_size,)
                if self.layer_norm:
                    shapes[f"norm_ih_l{k}{suffix}"] = (rows,)
                    shapes[f"norm_hh_l{k}{suffix}"] = (rows,)
        return shapes


@dataclass(frozen=True)
class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014): h' = (1 - z) * n + z * h; gates r, z, n.

    ``reset_after=True``: n = tanh(W_n x + b_in + r * (U_n h + b_hn)) (Cho 2014 v1, cuDNN).
    ``reset_after=False``: n = tanh(W_n x + b_in + U_n (r * h)) (Cho 2014 v3, Chung 2014); its
    candidate has one bias, so ``bias_hh`` is (2H,): the third part is absent, not zero.
    """

    kind = "gru"
    gates = 3
    reset_after: bool = True

    def check(self) -> None:
        super().check()
        self.check_flag("reset_after")

    @property
    def cell(self) -> str:
        return "gru" if self.reset_after else "gru_before"

    @property
    def bias_hh_size(self) -> int:
        return (3 if self.reset_after else 2) * self.hidden_size


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Long short-term memory with forget gates (Gers et al. 2000): c' = f * c + i * g,
    h' = o * tanh(c'); gates i, f, g, o. It carries h and c."""

    kind = "lstm"
    gates = 4
    states = ("h", "c")


@dataclass(frozen=True)
class RNN(Recurrent):
    """The plain recurrence (Elman 1990): h' = nonlinearity(W x + b_ih + U h + b_hh)."""

    kind = "rnn"
    nonlinearity: str = "tanh"

    def check(self) -> None:
        super().check()
        check_choice(f"nonlinearity of layer {self.name!r}", self.nonlinearity, NONLINEARITIES)

    @property
    def cell(self) -> str:
        return f"rnn_{self.nonlinearity}"


# -- layers that act on every row ---------------------------------------------------------------


@dataclass(frozen=True)
class Dense(LayerSpec):
    """y = activation(x W^T + b) on every row: (…, I) -> (…, O).

    ``tied``: the name of an embedding of I-wide vectors for O tokens, whose table is W (Press and
    Wolf 2017, arXiv 1608.05859). It is one parameter, the embedding's, which learns from both.
    """

    kind = "dense"
    size: int = 1
    activation: str = "linear"
    tied: str = ""

    def check(self) -> None:
        store(self, size=check_size(f"size of layer {self.name!r}", self.size))
        check_choice(f"activation of layer {self.name!r}", self.activation, ACTIVATIONS)
        if self.tied != "":
            check_name("tied embedding", self.tied)

    def output_size(self, input_size: int) -> int:
        return self.size

    def parameter_shapes(self, input_size: int) -> Shapes:
        weight = {} if self.tied else {"weight": (self.size, input_size)}
        return {**weight, "bias": (self.size,)}


@dataclass(frozen=True)
class Dropout(LayerSpec):
    """Inverted dropout while training (Srivastava et al. 2014); the identity in prediction.

    ``per_sequence=True``: one mask for all steps of a sequence, else one for every step.
    """

    kind = "dropout"
    rate: float = 0.0
    per_sequence: bool = False

    def check(self) -> None:
        store(self, rate=check_rate(f"rate of layer {self.name!r}", self.rate))
        self.check_flag("per_sequence")


@dataclass(frozen=True)
class Embedding(LayerSpec):
    """Rows of a table of V vectors by number: tokens (N, T) -> (N, T, ``size``).

    Of an input of several columns, (N, T, K), it is the sum of their rows, all of the one table:
    a word beside its affixes, or what hashing makes of them (Weinberger et al. 2009).

    The row ``padding_index`` starts at zero and does not learn; ``trainable=False`` freezes all.
    One column reads that row as it stands, several leave it out, as PyTorch's ``Embedding`` and
    ``EmbeddingBag`` do. The others start as N(0, ``initial_scale`` ** 2).
    """

    kind = "embedding"
    vocabulary: int = 1
    size: int = 16
    padding_index: int | None = None
    trainable: bool = True
    initial_scale: float = 1.0

    def check(self) -> None:
        whose = f"of layer {self.name!r}"
        store(
            self,
            vocabulary=check_size(f"vocabulary {whose}", self.vocabulary, maximum=MAX_VOCABULARY),
            size=check_size(f"size {whose}", self.size),
        )
        if self.padding_index is not None:
            last = self.vocabulary - 1
            index = check_size(
                f"padding_index {whose}", self.padding_index, minimum=0, maximum=last
            )
            store(self, padding_index=index)
        self.check_flag("trainable")
        scale = as_number(self.initial_scale)
        if not 0 <= scale <= MAX_FLOAT:
            raise InputError(
                f"initial_scale {whose} must be a finite number of at least 0, got "
                f"{shown(self.initial_scale)}"
            )
        store(self, initial_scale=scale)

    def output_size(self, input_size: int) -> int:
        return self.size

    def parameter_shapes(self, input_size: int) -> Shapes:
        return {"weight": (self.vocabulary, self.size)}


@dataclass(frozen=True)
class Concat(LayerSpec):
    """Its inputs side by side, in their order: widths add up."""

    kind = "concat"
    joins = True


@dataclass(frozen=True)
class Add(LayerSpec):
    """The sum of its inputs, which are of one width: connections around layers (He et al. 2015)."""

    kind = "add"
    joins = True

    def output_size(self, input_size: int) -> int:
        return input_size // len(self.inputs)


@dataclass(frozen=True)
class CRF(LayerSpec):
    """A linear-chain conditional random field (Lafferty, McCallum, Pereira 2001): the last layer.

    (N, T, C) scores of C classes go through it as they are; it has a score ``transitions`` (C, C)
    for going from a class to a class, ``start`` and ``end`` (C,) for the first and the last. The
    probability of a sequence of classes is the softmax, over all of them, of the sum of its
    scores. ``Network.decode`` finds the most probable one.
    """

    kind = "crf"
    needs_steps = True

    def parameter_shapes(self, input_size: int) -> Shapes:
        c = input_size
        return {"transitions": (c, c), "start": (c,), "end": (c,)}


# -- read-outs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadOut(LayerSpec):
    """One vector of each sequence's valid steps: (N, T, F) -> (N, F)."""

    needs_steps = True
    pools = True


@dataclass(frozen=True)
class Last(ReadOut):
    """Each sequence's last valid step.

    Directly behind a bidirectional stack (Dropout between does not matter) it reads what PyTorch
    calls h_n: the forward half at the last valid step, the reverse half at the first step, where
    each has seen the whole sequence.
    """

    kind = "last"


@dataclass(frozen=True)
class Mean(ReadOut):
    """The mean over each sequence's valid steps."""

    kind = "mean"


@dataclass(frozen=True)
class Max(ReadOut):
    """The largest value of each feature over each sequence's valid steps."""

    kind = "max"


@dataclass(frozen=True)
class Attention(ReadOut):
    """A weighted mean of each sequence's valid steps: sum of a_t h_t, the a_t summing to 1.

    ``score="additive"``: a = softmax_t(query . tanh(W h_t + b)), ``size`` rows in W, by default
    F (Bahdanau et al. 2015; Yang et al. 2016). ``score="dot"``: a = softmax_t(q . h_t / sqrt(F))
    with q = W s, s the vector that :class:`Last` would read (Luong et al. 2015, scaled).
    """

    kind = "attention"
    score: str = "additive"
    size: int | None = None

    def check(self) -> None:
        check_choice(f"score of layer {self.name!r}", self.score, SCORES)
        if self.size is None:
            return
        if self.score == "dot":
            raise InputError(
                f"size of layer {self.name!r} goes with score='additive'; with score='dot' the "
                "query is as wide as the steps, so leave size out"
            )
        store(self, size=check_size(f"size of layer {self.name!r}", self.size))

    def parameter_shapes(self, input_size: int) -> Shapes:
        if self.score == "dot":
            return {"weight": (input_size, input_size)}
        size = self.size or input_size
        return {"weight": (size, input_size), "bias": (size,), "query": (size,)}


LAYERS: dict[str, type[LayerSpec]] = {
    layer.kind: layer
    for layer in (
        *(GRU, LSTM, RNN, Dense, Dropout, Embedding, Concat, Add),
        *(Last, Mean, Max, Attention, CRF),
    )
}
