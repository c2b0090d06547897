"""headgate inside PyTorch: the loops of PyTorch's own peer, on ``headgate.torch``'s modules."""

from __future__ import annotations

from typing import Any

import jobs

from peers.common import Result, serve
from peers.torch_peer import TorchPeer


class HeadgateTorchPeer(TorchPeer):
    name = "headgate-torch"

    def __init__(self) -> None:
        super().__init__()
        import headgate
        import headgate.torch

        self.modules = {"gru": headgate.torch.GRU, "lstm": headgate.torch.LSTM}
        self.version = f"{headgate.__version__} in PyTorch {self.version}"
        self.jobs = {"step": self.step, "one_step": self.one_step}

    def model(
        self, weights: jobs.Weights, cell: str = "gru", options: dict[str, Any] | None = None
    ) -> tuple[Any, Any]:
        if (options or {}).get("reset_after") is False:
            hidden = weights["gru.weight_hh_l0"].shape[1]
            weights = {**weights, "gru.bias_hh_l0": weights["gru.bias_hh_l0"][: 2 * hidden]}
        return super().model(weights, cell, options)

    def step(self, *args: Any, **options: Any) -> Result:
        return super().step(*args, **options) | {"how": "headgate.torch, Adam (fused)"}


if __name__ == "__main__":
    serve(HeadgateTorchPeer)
