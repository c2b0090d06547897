"""The state of a live model in a file, so that a stream goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ..checks import parse_json, shown
from ..errors import HeadgateError, InputError
from ..files import check_path, write_beside_and_rename
from ..network import Network
from .live import Live

FORMAT = 1
LARGEST = 1 << 26  # bytes


class StateFile:
    """Reads and writes the state of one live model.

    A state belongs to the weights with which it was made, or which were learned from them.

    Args:
        path: of the file; nothing need be there yet.
    """

    def __init__(self, path: str | os.PathLike[str], live: Live) -> None:
        self._path, self._live = check_path(path), live
        self._begin = _weights(live.networks)

    def load(self) -> bool:
        """Go on from the state in the file; False where there is no file.

        Raises:
            InputError: it is no state, truncated, or of another model; nothing has changed.
        """
        try:
            size = os.path.getsize(self._path)
            content = Path(self._path).read_bytes() if size <= LARGEST else b""
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read the state {self._path}: {reason}") from None
        advice = f"remove {self._path} to begin anew, or name another file"
        try:
            facts = parse_json(content.decode("utf-8"), "the state")
            body, kind, weights = facts["state"], facts["kind"], facts["weights"]
            if facts["format"] != FORMAT or facts["sha256"] != _digest(_canonical(body)):
                raise InputError("its parts do not fit each other")
        except (InputError, ValueError, TypeError, KeyError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"{self._path} is no state of a stream, or it is truncated or altered ({what}); "
                f"{advice}"
            ) from None
        if kind != self._kind() or self._begin not in weights:
            raise InputError(
                f"{self._path} is the state of another model ({shown(kind)}); {advice}"
            )
        try:
            self._live.resume(body)
        except HeadgateError as error:
            raise InputError(f"{self._path} cannot be gone on from: {error}; {advice}") from None
        return True

    def save(self) -> None:
        """Write the state, whole or not at all.

        Raises:
            HeadgateError: the file cannot be written.
        """
        body = self._live.state()
        facts: dict[str, Any] = {
            "format": FORMAT,
            "kind": self._kind(),
            # those it began with too: a stream that learned may begin again with these
            "weights": sorted({self._begin, _weights(self._live.networks)}),
            "sha256": _digest(_canonical(body)),
            "state": body,
        }
        write_beside_and_rename(self._path, json.dumps(facts).encode())

    def _kind(self) -> str:
        return type(self._live).__name__


def _weights(networks: list[Network]) -> str:
    """A digest of specs and weights."""
    parts = [networks[0].spec.to_json().encode()]
    parts += [network.get_vector().astype("<f4").tobytes() for network in networks]
    return _digest(b"".join(parts))


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
