"""The version in use, without an import upwards."""

from __future__ import annotations

import sys


def version() -> str:
    """Of the package that this file belongs to, which is loaded whenever this file is."""
    return str(sys.modules[__name__.partition(".")[0]].__version__)
