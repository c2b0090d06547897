"""A few networks of one spec, trained from different seeds and averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.samples import SampleTable
from ..network import Network
from ..spec import NetworkSpec
from ..training.history import History


@dataclass
class Ensemble:
    """Networks whose predictions are averaged.

    Attributes:
        networks: one or more, of one spec.
        quantiles: that they put out for each step; () for one value.
    """

    networks: list[Network] = field(default_factory=list)
    quantiles: tuple[float, ...] = ()

    @classmethod
    def fresh(
        cls, spec: NetworkSpec, members: int, seed: int, quantiles: tuple[float, ...] = ()
    ) -> Ensemble:
        """Untrained networks that predict zero: their heads start from zero.

        Zero stands for the naive forecast of a treatment; see :meth:`begin_with`.
        """
        networks = []
        for member in range(members):
            network = Network(spec, seed=seed * 1000 + member)
            weights = network.state_dict()
            for name in ("head.weight", "head.bias"):
                weights[name] = np.zeros_like(weights[name])
            network.load_state_dict(weights)
            networks.append(network)
        return cls(networks, quantiles)

    def first(self, members: int) -> Ensemble:
        """The first few members."""
        return Ensemble(self.networks[:members], self.quantiles)

    def begin_with(self, path: npt.NDArray[np.float32]) -> None:
        """Let untrained networks predict ``path`` (H * Q,) whatever they read.

        So little training means a forecast near it, and a drift need not be learned.
        """
        for network in self.networks:
            weights = network.state_dict()
            weights["head.bias"] = path.astype(np.float32)
            network.load_state_dict(weights)

    def fit(
        self, table: SampleTable, *, epochs: int, validation: SampleTable | None = None,
        **options: Any,
    ) -> History:  # fmt: skip
        """Train every member; with ``validation`` each keeps the weights of its best epoch.

        Returns:
            The members' history averaged; ``best_epoch`` is their median, and None where the
            validation loss was never below that of the untrained networks, which are kept.
        """
        begin = [network.state_dict() for network in self.networks]
        untrained = np.inf
        if validation is not None:
            chosen = {key: options[key] for key in ("loss", "quantiles")}
            untrained = float(np.mean([n.evaluate(validation, **chosen) for n in self.networks]))
        # The rate falls to zero, so that late epochs are worth waiting for: no early end.
        patience = None if validation is None else max(epochs, 1)
        histories = [
            network.fit(
                table,
                epochs=epochs,
                validation_data=validation,
                early_stopping=patience,
                **options,
            )
            for network in self.networks
        ]
        shortest = min(len(history.loss) for history in histories)
        best = [history.best_epoch for history in histories if history.best_epoch is not None]
        lowest = np.mean([min(history.val_losses, default=-np.inf) for history in histories])
        if untrained <= lowest:
            best = []
            for network, weights in zip(self.networks, begin, strict=True):
                network.load_state_dict(weights)
        return History(
            losses=np.mean([history.loss[:shortest] for history in histories], axis=0).tolist(),
            val_losses=np.mean([h.val_loss[:shortest] for h in histories], axis=0).tolist()
            if validation is not None
            else [],
            seconds=sum(history.seconds for history in histories),
            best_epoch=int(np.median(best)) if best else None,
            stopped_early=any(history.stopped_early for history in histories),
        )

    def predict(self, table: SampleTable) -> npt.NDArray[np.float64]:
        """(N, H, Q) float64, the members' mean; Q is 1 without quantiles."""
        mean = np.mean([np.asarray(n.predict(table), np.float64) for n in self.networks], axis=0)
        paths = mean.reshape(len(table), -1, max(len(self.quantiles), 1))
        return np.sort(paths, axis=2)  # networks may let quantiles cross

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The first member's parameters by name, the others' as ``extra.member<k>.<name>``."""
        tensors = self.networks[0].state_dict()
        for k, network in enumerate(self.networks[1:], 1):
            tensors |= {f"extra.member{k}.{n}": a for n, a in network.state_dict().items()}
        return tensors

    @classmethod
    def from_tensors(
        cls, spec: NetworkSpec, tensors: Mapping[str, Any], members: int,
        quantiles: tuple[float, ...] = (),
    ) -> Ensemble:  # fmt: skip
        """The inverse of :meth:`tensors`.

        Raises:
            InputError: a member's tensor is missing, unknown or of a wrong shape.
        """
        networks = []
        for k in range(members):
            prefix = f"extra.member{k}." if k else ""
            names = spec.parameter_shapes() if k == 0 else tensors
            network = Network(spec, seed=k)
            network.load_state_dict(
                {n.removeprefix(prefix): tensors[n] for n in names if n.startswith(prefix)}
            )
            networks.append(network)
        return cls(networks, quantiles)
