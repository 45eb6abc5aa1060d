"""Secrets in files of their own, as orchestrators mount them: one line of text, read when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from otel_latency.config.values import Secret
from otel_latency.errors import ConfigError

_MAX_SECRET: Final = 64 << 10


def read_secret(place: str, file: str) -> Secret:
    """What is in *file*, without white space around it; *place* is the key that names it. Raises ConfigError."""
    try:
        with Path(file).open("rb") as source:
            text = source.read(_MAX_SECRET).decode().strip()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{place}: the file cannot be read ({reason}): check the name and its rights") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: the file is not UTF-8: is it the right one?") from None
    if not text.isprintable() or not text:
        raise ConfigError(f"{place}: the file holds not one line of text: write the secret alone into it")
    return Secret(text)
