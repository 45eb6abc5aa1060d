"""What commands read: files of text, and durations among their arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

from otel_latency.config.values import Duration
from otel_latency.errors import ConfigError


def text_of(file: str) -> str:
    """What is in *file*. Raises ConfigError, with the name as it was given."""
    try:
        return Path(file).read_text("utf-8-sig")
    except OSError as error:
        fact = f"the file cannot be read ({error.strerror}): check the name and its rights"
        raise ConfigError(f"{file}: {fact}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start} is not UTF-8: save the file as UTF-8") from None


def duration(text: str) -> Duration:
    """For `type=` of an argument."""
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
