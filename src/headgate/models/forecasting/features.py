"""Covariates and categories as columns that a network reads beside the target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.panel import Panel
from ...errors import InputError
from .lines import Float64, Int64, Lines

Float32 = npt.NDArray[np.float32]
MOST_CATEGORIES = 256  # in all: each is a column


@dataclass(frozen=True)
class Features:
    """What stands beside the target: past covariates, those known ahead, one column a category.

    Attributes:
        past, future, static: names, in the columns' order.
        mean, scale: of each past and future covariate over the training data of all series.
        categories: of each static column, in their order.
    """

    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()

    @property
    def columns(self) -> int:
        """With the target."""
        return 1 + len(self.past) + len(self.future) + sum(map(len, self.categories))

    @property
    def hidden(self) -> int:
        """Columns that are not known ahead, the target first."""
        return 1 + len(self.past)

    @classmethod
    def learn(cls, panel: Panel) -> Features:
        """Means, scales and categories of a complete panel."""
        both = np.concatenate([panel.past, panel.future], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # refused by name when scaled
            mean, scale = both.mean(axis=0), both.std(axis=0)
        categories = tuple(tuple(sorted(set(column.tolist()))) for column in panel.static.T)
        count = sum(map(len, categories))
        if count > MOST_CATEGORIES:
            raise InputError(
                f"the static columns {', '.join(panel.static_names)} hold {count} categories, at "
                f"most {MOST_CATEGORIES} are possible; leave out those that name single series"
            )
        return cls(
            panel.past_names, panel.future_names, panel.static_names, tuple(mean.tolist()),
            tuple(np.where(scale > 0, scale, 1.0).tolist()), categories,
        )  # fmt: skip

    def lines(self, panel: Panel, phase: Int64) -> Lines:
        """The numbers of a complete panel whose series begin at ``phase``."""
        both = np.concatenate([panel.past, panel.future], axis=1)
        static = np.repeat(self._one_hot(panel), panel.lengths, axis=0)
        known = np.concatenate([self._scaled(both), static], axis=1, dtype=np.float32)
        return Lines(panel.values, panel.bounds, phase, known)

    def ahead(self, panel: Panel, future: Float64) -> Float32:
        """(M, H, K) columns for the steps after a panel, from its known covariates (M, H, F)."""
        count, steps, _ = future.shape
        past = np.zeros((count, steps, len(self.past)))
        both = np.concatenate([past, future], axis=2)
        static = np.repeat(self._one_hot(panel)[:, None], steps, axis=1)
        return np.concatenate([self._scaled(both), static], axis=2, dtype=np.float32)

    def _scaled(self, both: Float64) -> Float32:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.asarray((both - np.array(self.mean)) / np.array(self.scale), np.float32)
        odd = ~np.isfinite(scaled).all(axis=tuple(range(scaled.ndim - 1)))
        if odd.any():
            name = (self.past + self.future)[int(odd.argmax())]
            raise InputError(
                f"covariate {name!r} holds values too far from those of the training data to be "
                "read; correct them, or scale the column"
            )
        return scaled

    def _one_hot(self, panel: Panel) -> Float32:
        """(M, C)"""
        parts = [np.zeros((len(panel), 0), np.float32)]
        for name, known, column in zip(self.static, self.categories, panel.static.T, strict=True):
            found = np.array([known.index(c) if c in known else -1 for c in column.tolist()])
            new = np.flatnonzero(found < 0)
            if len(new):
                k = int(new[0])
                raise InputError(
                    f"{panel.name(k)} has category {column[k]!r} in column {name!r}, which the "
                    f"training data did not have; known are {', '.join(known[:12])}; fit again "
                    "with series of that category"
                )
            parts.append(np.eye(len(known), dtype=np.float32)[found])
        return np.concatenate(parts, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Features:
        """The inverse of :meth:`to_dict`."""
        past, future, static = (tuple(map(str, facts[k])) for k in ("past", "future", "static"))
        mean, scale = (tuple(map(float, facts[key])) for key in ("mean", "scale"))
        categories = tuple(tuple(map(str, known)) for known in facts["categories"])
        features = cls(past, future, static, mean, scale, categories)
        covariates = len(features.past) + len(features.future)
        if {len(features.mean), len(features.scale)} != {covariates} or len(categories) != len(
            features.static
        ):
            raise ValueError("covariates and their scales differ in number")
        return features
