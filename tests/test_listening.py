"""Who can reach an address."""

from __future__ import annotations

import pytest

from otel_latency.listening import is_loopback

HOSTS = {
    "127.0.0.1": True,
    "127.8.8.8": True,
    "::1": True,
    "localhost": True,
    "0.0.0.0": False,
    "::": False,
    "192.168.1.1": False,
    "fe80::1%eth0": False,
    "collector": False,
    "": False,
}


@pytest.mark.parametrize(("host", "expected"), HOSTS.items(), ids=repr)
def test_is_loopback(host, expected):
    """Only loopback addresses and localhost are known to be out of reach of others."""
    assert is_loopback(host) is expected
