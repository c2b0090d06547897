"""``hg.Network.from_torch``: modules as people write them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="reads PyTorch's modules, and it is not installed")

import numpy as np  # noqa: E402
import oracles  # noqa: E402
import tolerances  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import headgate as hg  # noqa: E402
import headgate.torch  # noqa: E402

pytestmark = pytest.mark.neighbours


class Model(nn.Module):
    """Layers under the names that tutorials give them, and any forward."""

    def __init__(self, forward: Any, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, x: Any) -> Any:
        return self.run(self, x)


def model(forward: Any, cell: Any = nn.GRU, out: int = 3, **options: Any) -> Model:
    """Two linear layers behind a recurrent one of four inputs."""
    torch.manual_seed(0)
    options = {"batch_first": True, **options}
    gru = cell(4, 6, **options)
    width = 12 if gru.bidirectional else 6
    return Model(
        forward, gru=gru, drop=nn.Dropout(0.3), fc=nn.Linear(width, 5), fc2=nn.Linear(5, out)
    )


def layers_of(net: hg.Network) -> list[str]:
    """Kinds, with what activations they have."""
    return [
        f"{layer.kind} {getattr(layer, 'activation', '')}".replace("linear", "").strip()
        for layer in net.spec.layers
    ]


def check(
    module: nn.Module, net: hg.Network, *, time_first: bool = False, log: bool = False
) -> None:
    """A batch of another size than those that the module was looked at with."""
    x = torch.randn(6, 11, 4) * 2
    with torch.no_grad():
        expected = module.eval()(x.transpose(0, 1) if time_first else x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    if time_first and expected.ndim == 3:
        expected = expected.transpose(0, 1)
    expected = expected.exp() if log else expected
    got = net.predict(x.numpy())
    oracles.assert_forward_close(
        got.reshape(expected.shape), expected.numpy(), tolerances.TORCH_FLOAT32
    )


FORWARDS: dict[str, tuple[Any, dict[str, Any], list[str], str]] = {
    "last step": (
        lambda m, x: m.fc2(F.relu(m.fc(m.drop(m.gru(x)[0][:, -1, :])))),
        {},
        ["gru", "last", "dropout", "dense relu", "dense"],
        "regression",
    ),
    "h_n": (
        lambda m, x: m.fc2(m.fc(m.gru(x)[1][-1])),
        {"num_layers": 2, "dropout": 0.2},
        ["gru", "last", "dense", "dense"],
        "regression",
    ),
    "relu of the states": (
        lambda m, x: m.fc2(torch.tanh(m.fc(torch.relu(m.gru(x)[0][:, -1])))),
        {},
        ["gru", "last", "dense relu", "dense tanh", "dense"],
        "regression",
    ),
    "every step": (
        lambda m, x: (m.fc2(m.fc(m.gru(x)[0])), "a state"),
        {"cell": nn.LSTM},
        ["lstm", "dense", "dense"],
        "regression",
    ),
    "the head's last step": (
        lambda m, x: m.fc2(m.fc(m.gru(x)[0]))[:, -1],
        {"cell": nn.RNN, "nonlinearity": "relu"},
        ["rnn", "dense", "dense", "last"],
        "regression",
    ),
    "mean of activations": (
        lambda m, x: m.fc2(m.fc(torch.relu(m.gru(x)[0]).mean(1))),
        {},
        ["gru", "dense relu", "mean", "dense", "dense"],
        "regression",
    ),
    "pooled maximum": (
        lambda m, x: m.fc2(m.fc(F.adaptive_max_pool1d(m.gru(x)[0].permute(0, 2, 1), 1).squeeze(2))),
        {"bidirectional": True},
        ["gru", "max", "dense", "dense"],
        "regression",
    ),
    "last step of both directions": (
        lambda m, x: m.fc2(m.fc(m.gru(x)[0][:, -1])).softmax(1),
        {"bidirectional": True},
        ["gru", "dense", "last", "dense", "dense"],
        "classification",
    ),
    "probabilities of one output": (
        lambda m, x: torch.sigmoid(m.fc2(m.fc(m.gru(x)[0][:, -1])).squeeze(1)),
        {"out": 1},
        ["gru", "last", "dense", "dense"],
        "binary",
    ),
    "a ReLU at the end": (
        lambda m, x: torch.relu(m.fc2(m.fc(m.gru(x)[0][:, -1]))),
        {"bias": False},
        ["gru", "last", "dense", "dense relu"],
        "regression",
    ),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_whatever_forward_is_like(name: str) -> None:
    forward, options, layers, task = FORWARDS[name]
    module = model(forward, **options)
    net = hg.Network.from_torch(module)
    assert layers_of(net) == layers
    assert net.spec.task == task
    check(module, net)


def test_both_directions_ends() -> None:
    def run(m: Any, x: Any) -> Any:
        _, (h, _) = m.gru(x)
        return F.log_softmax(m.fc2(m.fc(torch.cat([h[-2], h[-1]], 1))), 1)

    module = model(run, nn.LSTM, bidirectional=True, num_layers=2)
    net = hg.Network.from_torch(module)
    assert layers_of(net) == ["lstm", "last", "dense", "dense"]
    assert net.spec.task == "classification"
    check(module, net, log=True)


@pytest.mark.parametrize(
    "merge",
    [
        lambda out, h: out[:, :, :6] + out[:, :, 6:],
        lambda out, h: (h[-2] + h[-1]) / 2,
        lambda out, h: h[-1],
        lambda out, h: out[:, -1, :6],
        lambda out, h: out.view(*out.shape[:2], 2, 6).sum(2).max(1).values,
        lambda out, h: torch.tanh(h[-2].relu() + h[-1].relu()),
        lambda out, h: (out[:, -1, :6].tanh() + out[:, -1, 6:].tanh()) / 2,
    ],
)
def test_two_directions_that_become_one(merge: Any) -> None:
    torch.manual_seed(0)
    module = Model(
        lambda m, x: m.fc(merge(*m.gru(x))),
        gru=nn.GRU(4, 6, batch_first=True, bidirectional=True),
        fc=nn.Linear(6, 2),
    )
    check(module, hg.Network.from_torch(module))


def ends(out: Any) -> Any:
    return torch.cat([out[:, -1, :6], out[:, 0, 6:]], 1)


def test_dropout_keeps_the_directions_apart() -> None:
    torch.manual_seed(0)
    module = Model(
        lambda m, x: m.fc(ends(m.drop(m.gru(x)[0]))),
        gru=nn.GRU(4, 6, batch_first=True, bidirectional=True),
        drop=nn.Dropout(0.2),
        fc=nn.Linear(12, 2),
    )
    net = hg.Network.from_torch(module)
    assert layers_of(net) == ["gru", "dropout", "last", "dense"]
    check(module, net)


def test_wrappers_of_modules_are_looked_through() -> None:
    module = model(lambda m, x: m.fc2(m.fc(m.gru(x)[0][:, -1])))
    plain = hg.Network.from_torch(module)
    for wrapped in (torch.compile(module, backend="eager"), nn.DataParallel(module)):
        net = hg.Network.from_torch(wrapped)
        assert net.spec == plain.spec
        assert np.array_equal(net.get_vector(), plain.get_vector())


def test_dropout_of_one_layer_drops_nothing() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        layer = nn.GRU(4, 6, dropout=0.2)
    check(layer, hg.Network.from_torch(layer), time_first=True)


@pytest.mark.parametrize(
    "read", [lambda o, h: o[-1], lambda o, h: h, lambda o, h: o, lambda o, h: o.view(-1, 6)]
)
def test_time_first(read: Any) -> None:
    module = model(lambda m, x: m.fc2(m.fc(read(*m.gru(x)))), batch_first=False)
    net = hg.Network.from_torch(module)
    if net.spec.pooled:
        module.run = lambda m, x: m.fc2(m.fc(m.gru(x)[0][-1]))
    else:
        module.run = lambda m, x: m.fc2(m.fc(m.gru(x)[0]))
    check(module, net, time_first=True)


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(4, 6),
        nn.GRU(4, 17, 2, bidirectional=True, bias=False, batch_first=True),
        nn.LSTM(4, 3, 2, batch_first=True),
        nn.RNN(4, 3, nonlinearity="relu"),
        headgate.torch.GRU(4, 5, 2, reset_after=False, batch_first=True, dropout=0.2),
        headgate.torch.LSTM(4, 5, layer_norm=True, recurrent_dropout=0.3, batch_first=True),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::headgate.HeadgateWarning")
def test_a_recurrent_layer_alone(layer: Any) -> None:
    net = hg.Network.from_torch(layer)
    (only,) = net.spec.layers
    kind = only.kind
    for name, parameter in layer.named_parameters():
        assert np.array_equal(net.state_dict()[f"{kind}.{name}"], parameter.detach().numpy())
    for option in ("reset_after", "layer_norm", "recurrent_dropout", "dropout", "nonlinearity"):
        if hasattr(layer, option) and hasattr(only, option):
            assert getattr(only, option) == getattr(layer, option)
    check(layer, net, time_first=not layer.batch_first)


class Take(nn.Module):
    def forward(self, made: Any) -> Any:
        return made[0][:, -1]


def test_a_sequential_with_tokens() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Embedding.from_pretrained(torch.randn(9, 4), padding_idx=0),
        nn.Dropout(0.1),
        nn.GRU(4, 6, batch_first=True),
        Take(),
        nn.Linear(6, 4),
        nn.ReLU(),
        nn.Linear(4, 2),
        nn.Softmax(-1),
    )
    net = hg.Network.from_torch(module)
    assert layers_of(net) == ["embedding", "dropout", "gru", "last", "dense relu", "dense"]
    embedding: Any = net.spec.layers[0]
    assert (embedding.padding_index, embedding.trainable, net.spec.task) == (
        0,
        False,
        "classification",
    )
    x = torch.randint(9, (5, 8))
    oracles.assert_forward_close(
        net.predict(x.numpy()), module.eval()(x).detach().numpy(), tolerances.TORCH_FLOAT32
    )


def test_a_language_model_with_tied_weights_and_flat_outputs() -> None:
    torch.manual_seed(0)
    module = Model(
        lambda m, x: m.decoder(m.rnn(m.encoder(x))[0]).view(-1, 9),
        encoder=nn.Embedding(9, 6),
        rnn=nn.LSTM(6, 6),
        decoder=nn.Linear(6, 9),
    )
    module.decoder.weight = module.encoder.weight
    net = hg.Network.from_torch(module, task="classification")
    assert "decoder.weight" not in net.state_dict()
    x = torch.randint(9, (5, 8))
    expected = module(x.T).view(8, 5, 9).transpose(0, 1).softmax(-1).detach()
    oracles.assert_forward_close(net.predict(x.numpy()), expected.numpy(), tolerances.TORCH_FLOAT32)


class Packed(nn.Module):
    def __init__(self, *, careful: bool) -> None:
        super().__init__()
        self.gru, self.fc = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 2)
        self.careful = careful

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        out, h = self.gru(packed)
        out, _ = pad_packed_sequence(out, batch_first=True)
        return self.fc(h[-1] if self.careful else out[:, -1])


def test_lengths_are_tried_too() -> None:
    torch.manual_seed(0)
    module = Packed(careful=True)
    net = hg.Network.from_torch(module)
    x, lengths = torch.randn(4, 9, 4), torch.tensor([9, 5, 5, 1])
    oracles.assert_forward_close(
        net.predict(x.numpy(), lengths=lengths.numpy()),
        module(x, lengths).detach().numpy(),
        tolerances.TORCH_FLOAT32,
    )
    # a padded batch's last column is not each sample's last step
    with pytest.raises(hg.InputError, match="between 'gru' and 'fc' is none of what"):
        hg.Network.from_torch(Packed(careful=False))


def test_what_to_torch_made_comes_back_as_it_was() -> None:
    for options in ({"readout": "attention"}, {"task": "tagging", "readout": "every"}):
        net = hg.Network(
            input_size=2,
            vocabulary=7,
            embedding_size=3,
            token_columns=2,
            hidden_size=4,
            num_layers=2,
            residual=True,
            output_size=3,
            seed=0,
            **options,
        )
        again = hg.Network.from_torch(net.to_torch())
        assert again.spec == net.spec
        assert np.array_equal(again.get_vector(), net.get_vector())


def test_a_module_in_float64_is_rounded() -> None:
    module = model(lambda m, x: m.fc2(m.fc(m.gru(x)[0]))).double()
    net = hg.Network.from_torch(module)
    assert np.array_equal(net.state_dict()["fc.bias"], module.fc.bias.detach().float().numpy())
    check(module.float(), net)


def test_the_module_is_left_as_it_was() -> None:
    module = model(lambda m, x: m.fc2(m.fc(m.drop(m.gru(x)[0]))), num_layers=2, dropout=0.2)
    module.fc.eval()
    module.fc.weight.requires_grad_(False)
    module.train(True)
    module.fc.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    hg.Network.from_torch(module)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [part.training for part in module.modules()] == [True, True, True, False, True]
    assert [p.requires_grad for p in module.fc.parameters()] == [False, True]
    assert not any(part._forward_hooks for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_hidden_function_is_found_where_values_do_not_show_it() -> None:
    """Outputs that are always positive, a head of zeros: what stands behind them is seen."""
    for function, found in ((torch.relu, "dense relu"), (lambda x: x, "dense")):
        module = model(lambda m, x, f=function: f(m.fc2(m.fc(m.gru(x)[0][:, -1]))))
        module.fc2.weight.data.zero_()
        module.fc2.bias.data.fill_(100.0)
        assert layers_of(hg.Network.from_torch(module))[-1] == found


def test_a_given_spec_takes_weights_by_order() -> None:
    torch.manual_seed(0)
    module = Model(None, rnn=nn.GRU(4, 6, bias=False), out=nn.Linear(6, 1))
    net = hg.Network.from_torch(module, spec=hg.NetworkSpec.stacked(4, 6, 1), seed=0)
    assert np.array_equal(net.state_dict()["head.weight"], module.out.weight.detach().numpy())
    assert not net.state_dict()["gru.bias_hh_l0"].any()
    with pytest.raises(hg.InputError) as caught:
        hg.Network.from_torch(module, spec=hg.NetworkSpec.stacked(4, 6, 1, cell="lstm"))
    assert (
        "nor are its layers ['gru', 'dense'] those of the spec in order, ['lstm', 'dense']"
        in str(caught.value)
    )


def carried(m: Any, x: Any) -> Any:
    """Goes on from the call before, as long as the batch is as large."""
    h = getattr(m, "h", None)
    out, m.h = m.gru(x, None if h is None or h.shape[1] != len(x) else h)
    return out


def ends_of(m: Any, x: Any, there: Any) -> Any:
    """Lengths are found in the input."""
    sizes = there.sum(1).clamp(min=1)
    packed = pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=False)
    return m.gru(packed)[1][-1]


DIFFER = "each of its layers does what a network's would, but its outputs differ by up to "
SPEC = "; build the spec yourself and pass spec=, whose weights are then taken without a run"
KNOWN = f"; layers that have one are Embedding, GRU, LSTM, RNN, Linear, Dropout{SPEC}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "gru", "module must be a torch.nn.Module, got str"),
        (nn.ReLU, "this ReLU has no layer with weights; known are Embedding, GRU, LSTM, RNN, "),
        (
            lambda: nn.GRUCell(3, 4),
            f"the module is a GRUCell, which has no counterpart in headgate{KNOWN}",
        ),
        (
            lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU()),
            f"'1' is a PReLU, which has no counterpart in headgate{KNOWN}",
        ),
        (
            lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False)),
            f"'1' is a BatchNorm1d, which has no counterpart in headgate{KNOWN}",
        ),
        (
            lambda: nn.Sequential(nn.Linear(3, 4), nn.AlphaDropout()),
            f"'1' is a AlphaDropout, which has no counterpart in headgate{KNOWN}",
        ),
        (
            lambda: Model(lambda m, x: x, fc=nn.Linear(3, 4), w=Holder()),
            f"'w' has parameters of its own, ['query'], that no layer here has{KNOWN}",
        ),
        (lambda: nn.LSTM(4, 6, proj_size=2), "'LSTM' has proj_size=2; headgate has no projections"),
        (
            lambda: nn.GRU(4, 6).bfloat16(),
            "weight_ih_l0 of 'GRU' is torch.bfloat16; convert the module with .float() first",
        ),
        (
            lambda: nn.Sequential(WithMore(3, 4)),
            "'0' has parameters that no WithMore has: ['lora']; make its weight a plain one first",
        ),
        (lambda: nn.LazyLinear(4), "'LazyLinear' has no sizes yet; run the module once before"),
        (
            lambda: nn.Embedding(4, 3, max_norm=1.0),
            "'Embedding' has max_norm=1.0; headgate does not renormalise",
        ),
        (
            lambda: model(lambda m, x: 1 / 0),
            "given values (N, T, 4), it raised ZeroDivisionError: ",
        ),
        (
            lambda: model(lambda m, x: m.gru(m.gru(x)[0][:, :, :4])[0]),
            "layer 'gru' was run more than once in one call of the module; ",
        ),
        (
            lambda: model(lambda m, x: {"y": m.gru(x)[0]}),
            "the module returns dict, expected a tensor",
        ),
        (
            lambda: model(lambda m, x: m.gru(x)[0] / 0),
            "the module puts out values that are not finite",
        ),
        (
            lambda: model(lambda m, x: m.fc2(F.gelu(m.fc(m.gru(x)[0])))),
            "given values (N, T, 4), what it does between 'fc' and 'fc2' is none of what",
        ),
        (
            lambda: model(lambda m, x: m.fc(m.gru(x)[0][:, 0])),
            "what it does between 'gru' and 'fc' is none of what",
        ),
        (
            lambda: model(lambda m, x: m.gru(x - x.mean(1, keepdim=True))),
            "between its input and 'gru' it changes the numbers; a network here reads them as",
        ),
        (
            lambda: model(lambda m, x: m.gru(x, torch.ones(1, len(x), 6))[0]),
            "each of its layers does what a network's would, but its outputs differ by up to ",
        ),
        (
            lambda: model(lambda m, x: m.gru(x, torch.randn(1, len(x), 6))[0]),
            "(does it begin with a state that is not zero, change from call to call, read ",
        ),
        (lambda: model(carried), DIFFER),
        (lambda: model(lambda m, x: m.fc(m.gru(x[:, -10:])[0][:, -1])), DIFFER),
        (lambda: model(lambda m, x: m.fc(ends_of(m, x, x.abs().sum(2) > 0))), DIFFER),
        (
            lambda: Model(
                lambda m, x: ends_of(m, m.embedding(x), x != 0),
                embedding=nn.Embedding(1000, 4),
                gru=nn.GRU(4, 6, batch_first=True),
            ),
            DIFFER,
        ),
        (
            lambda: model(lambda m, x: m.fc2(F.relu6(m.fc(m.gru(x)[0])))),
            "what it does between 'fc' and 'fc2' is none of what",
        ),
        (
            lambda: model(lambda m, x: m.fc2(m.fc(m.gru(x)[0])).clamp(-20, 20)),
            "what it does behind 'fc2' is none of what",
        ),
        (
            lambda: model(lambda m, x: m.gru(x.clamp(-9, 9))[0]),
            "between its input and 'gru' it changes the numbers",
        ),
        (
            lambda: model(lambda m, x: m.gru(x.mul_(2))[0]),
            "between its input and 'gru' it changes the numbers",
        ),
        (
            lambda: model(lambda m, x: m.fc2(m.fc(m.gru(x)[0][:, -1])) + 1e-3),
            "what it does behind 'fc2' is none of what",
        ),
        (
            lambda: model(lambda m, x: m.fc2(m.fc(m.gru(x)[0])).softmax(-1), out=1),
            "the module ends with a softmax of one output, which is always the same",
        ),
        (  # a batch taken for time
            lambda: model(lambda m, x: m.fc(m.gru(x)[0][:, -1]), batch_first=False),
            "what it does between 'gru' and 'fc' is none of what",
        ),
    ],
)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(hg.InputError) as caught:
        hg.Network.from_torch(make())
    assert message in str(caught.value)


class WithMore(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.lora = nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize(
    ("linear", "message"),
    [
        (lambda: nn.LazyLinear(4), "parameter 'weight' has no values yet; run the module once"),
        (lambda: nn.Linear(3, 4, device="meta"), "parameter 'weight' has no values yet"),
        (lambda: nn.Linear(3, 4, dtype=torch.complex64), "'weight' is torch.complex64; headgate's"),
    ],
)
def test_weights_without_values_are_not_taken(linear: Any, message: str) -> None:
    spec = hg.NetworkSpec((hg.InputSpec("x", 3),), (hg.Dense("d", ("x",), size=4),))
    with pytest.raises(hg.InputError, match=message):
        hg.Network.from_torch(nn.Sequential(linear()), spec=spec)


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(3))


def test_a_task_that_the_end_contradicts() -> None:
    module = model(lambda m, x: m.gru(x)[0].softmax(-1))
    with pytest.raises(hg.InputError) as caught:
        hg.Network.from_torch(module, task="binary")
    assert str(caught.value) == (
        "the module ends with a softmax, so that the task is 'classification'; got task='binary'"
    )


def test_safetensors_of_either_side(tmp_path: Path) -> None:
    """``safetensors.torch`` opens headgate's files, and what it writes opens here."""
    net = hg.Network(input_size=4, hidden_size=6, num_layers=2, bidirectional=True, readout="every")
    net.save(tmp_path / "net.safetensors")
    tensors = load_file(tmp_path / "net.safetensors")
    gru = nn.GRU(4, 6, 2, bidirectional=True, batch_first=True)
    gru.load_state_dict(
        {k.removeprefix("gru."): v for k, v in tensors.items() if k.startswith("gru.")}
    )
    x = torch.randn(3, 7, 4)
    states, _ = gru(x)
    head = torch.nn.functional.linear(states, tensors["head.weight"], tensors["head.bias"])
    oracles.assert_forward_close(
        net.predict(x.numpy()), head.detach().numpy(), tolerances.TORCH_FLOAT32
    )
    path = tmp_path / "module.safetensors"
    save_file(gru.state_dict(), path)
    got = hg.Network.from_safetensors(path).predict(x.numpy())
    oracles.assert_forward_close(got, states.detach().numpy(), tolerances.TORCH_FLOAT32)
    module = model(lambda m, x: m.fc2(torch.relu(m.fc(m.gru(x)[0][:, -1])))).bfloat16()
    save_file(module.state_dict(), path)
    got = hg.Network.from_safetensors(path, readout="last", activation="relu").predict(x.numpy())
    expected = module.float()(x).detach().numpy()
    oracles.assert_forward_close(got, expected, tolerances.TORCH_FLOAT32)
