"""What commands read."""

import argparse

import pytest

from otel_latency.cli.inputs import duration, text_of
from otel_latency.errors import ConfigError


def test_text(tmp_path):
    """A byte order mark is no text; a file that cannot be read is told by its name."""
    (tmp_path / "a").write_bytes("\ufeffé".encode())
    (tmp_path / "b").write_bytes(b"ab\xff")
    assert text_of(str(tmp_path / "a")) == "é"
    for name, fact in {"b": "byte 2 is not UTF-8", "c": r"the file cannot be read \(No such file"}.items():
        with pytest.raises(ConfigError, match=f"/{name}: {fact}"):
            text_of(str(tmp_path / name))


def test_duration():
    """A duration is in seconds; the parser tells what is none."""
    assert duration("1m") == 60.0
    with pytest.raises(argparse.ArgumentTypeError, match="'soon' is not a duration"):
        duration("soon")
