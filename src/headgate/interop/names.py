"""Names of layers of networks that come from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Container

from ..checks import RESERVED_NAMES

INPUTS = ("x", "tokens")  # what the inputs of such networks are named


def part_name(path: str, kind: str, taken: Container[str]) -> str:
    """A name for a layer whose place in a model is ``path`` ("encoder.gru", "0", "").

    It is the path as far as parts of a network may be named so, else ``kind``; none of ``taken``.
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", path) or kind
    name = (name if name[0].isalpha() else f"{kind}{name}")[:50]
    while name in taken or name in (*RESERVED_NAMES, *INPUTS):
        name += "_"
    return name
