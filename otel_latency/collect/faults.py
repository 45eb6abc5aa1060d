"""Other people's exceptions in words that may be shown.

Their messages are not: a database driver puts the address with its password there. Kind and place of an exception
are enough to find it; our own messages are clean by rule.
"""

from __future__ import annotations

import os
import traceback
from pathlib import PurePath

from otel_latency.errors import OtelLatencyError


def describe(error: BaseException) -> str:
    """`ValueError at ops.py:41`: the innermost line that raised it, and the system's own words for an OSError."""
    if isinstance(error, OtelLatencyError):
        return str(error)
    words = f" ({os.strerror(error.errno).lower()})" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{words}{_place(error)}"


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f" at {PurePath(error.filename or '?').name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
