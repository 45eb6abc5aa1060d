"""Python programs in processes of their own, as applications run the library."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

PATIENCE = 60


def start(program, endpoint, *options, **variables):
    """A Python process that runs *program*, logs everything to stderr, and sends to *endpoint*."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.Popen(
        [sys.executable, *options, "-c", "import logging; logging.basicConfig(level=1)\n" + dedent(program)],
        env=environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, *, quiet=True):
    """Its output; it must have ended well, and when *quiet* said nothing on stderr."""
    output, errors = process.communicate(timeout=PATIENCE)
    assert (0, "") == (process.returncode, errors if quiet else ""), errors
    return output
