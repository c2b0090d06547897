"""A few networks of one spec, trained from different seeds and averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.samples import SampleTable
from ...network import Network
from ...spec import NetworkSpec
from ...training.history import History
from ..members import Members, mean_history, networks_from, seed_of


@dataclass
class Ensemble(Members):
    """Networks whose predictions are averaged.

    Attributes:
        networks: one or more, of one spec.
        quantiles: that they put out for each step; () for one value.
    """

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
            network = Network(spec, seed=seed_of(seed, member))
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
        lowest = np.mean([min(history.val_losses, default=-np.inf) for history in histories])
        history = mean_history(histories)
        if untrained <= lowest:
            history.best_epoch = None
            for network, weights in zip(self.networks, begin, strict=True):
                network.load_state_dict(weights)
        return history

    def predict(self, table: SampleTable) -> npt.NDArray[np.float64]:
        """(N, H, Q) float64, the members' mean; Q is 1 without quantiles."""
        paths = self.mean(table).reshape(len(table), -1, max(len(self.quantiles), 1))
        return np.sort(paths, axis=2)  # networks may let quantiles cross

    @classmethod
    def from_tensors(
        cls, spec: NetworkSpec, tensors: Mapping[str, Any], members: int,
        quantiles: tuple[float, ...] = (),
    ) -> Ensemble:  # fmt: skip
        """The inverse of :meth:`tensors`.

        Raises:
            InputError: a member's tensor is missing, unknown or of a wrong shape.
        """
        return cls(networks_from(spec, tensors, members), quantiles)
