"""Other people's exceptions in words."""

import errno

import pytest

from otel_latency.collect.faults import describe
from otel_latency.errors import ConfigError


def boom(error):
    raise error


PLACE = f"test_faults.py:{boom.__code__.co_firstlineno + 1}"


FAULTS = {
    "message is kept back": (ValueError("postgres://user:hunter2@db"), f"ValueError at {PLACE}"),
    "the system's words": (
        OSError(errno.ECONNREFUSED, "db:hunter2"),
        f"ConnectionRefusedError (connection refused) at {PLACE}",
    ),
    "OSError without number": (OSError("hunter2"), f"OSError at {PLACE}"),
    "ours": (ConfigError("web.port: 'x' is not a port"), "web.port: 'x' is not a port"),
    "syntax": (SyntaxError("invalid", ("/srv/shop/ops.py", 7, 1, "x =")), "SyntaxError at ops.py:7"),
}


@pytest.mark.parametrize(("error", "expected"), FAULTS.values(), ids=FAULTS)
def test_describe(error, expected):
    """An exception is described by kind and place; only our own messages are repeated."""
    with pytest.raises(type(error)) as caught:
        boom(error)
    assert expected == describe(caught.value)


def test_never_raised():
    """An exception that was never raised has no place."""
    assert "ValueError" == describe(ValueError("hunter2"))
