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

MAX_EPOCHS = 500
PATIENCE = 20  # epochs at least; more where an epoch has few updates


@dataclass
class Ensemble:
    """Networks whose predictions are averaged.

    Attributes:
        networks: one or more, of one spec.
    """

    networks: list[Network] = field(default_factory=list)

    @classmethod
    def fresh(cls, spec: NetworkSpec, members: int, seed: int) -> Ensemble:
        """Untrained networks that predict zero: their heads start from zero.

        Zero stands for the naive forecast of a treatment, so that little training means a
        forecast near the naive one.
        """
        networks = []
        for member in range(members):
            network = Network(spec, seed=seed * 1000 + member)
            weights = network.state_dict()
            for name in ("head.weight", "head.bias"):
                weights[name] = np.zeros_like(weights[name])
            network.load_state_dict(weights)
            networks.append(network)
        return cls(networks)

    def fit(
        self, table: SampleTable, *, epochs: int, validation: SampleTable | None = None,
        progress: bool | str = "auto", **options: Any,
    ) -> History:  # fmt: skip
        """Train every member; with ``validation`` each keeps the weights of its best epoch.

        Returns:
            The members' history averaged; ``best_epoch`` is their median.
        """
        updates = -(-len(table) // int(options.get("batch_size", 32)))
        patience = max(PATIENCE, 100 // updates)
        histories = [
            network.fit(
                table,
                epochs=epochs,
                validation_data=validation,
                early_stopping=None if validation is None else patience,
                progress=progress,
                **options,
            )
            for network in self.networks
        ]
        shortest = min(len(history.loss) for history in histories)
        best = [history.best_epoch for history in histories if history.best_epoch is not None]
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
        """(N, H) float64, the members' mean."""
        return np.asarray(
            np.mean([np.asarray(n.predict(table), np.float64) for n in self.networks], axis=0)
        )

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The first member's parameters by name, the others' as ``extra.member<k>.<name>``."""
        tensors = self.networks[0].state_dict()
        for k, network in enumerate(self.networks[1:], 1):
            tensors |= {f"extra.member{k}.{n}": a for n, a in network.state_dict().items()}
        return tensors

    @classmethod
    def from_tensors(cls, spec: NetworkSpec, tensors: Mapping[str, Any], members: int) -> Ensemble:
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
        return cls(networks)
