"""Addresses that servers listen on: how they are written, who can reach them, and why one cannot be had."""

from __future__ import annotations

import errno
import ipaddress
import os

from otel_latency.errors import ConfigError


def in_url(host: str) -> str:
    """*host* as it stands in a URL or a Host header: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach *host*: an address, or a name as it stands in a configuration."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def cannot_listen(section: str, host: str, port: int, error: OSError) -> ConfigError:
    """What to raise when the listener of *section* got *error* for its address."""
    # asyncio repeats the address in its text, and numbers below 0 are the resolver's: the number says which to ask.
    fact = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or "refused"
    cure = f"set {section}.host to an address of this machine"
    if error.errno in (errno.EADDRINUSE, errno.EACCES):
        cure = f"end what listens there, or set {section}.host and {section}.port"
    return ConfigError(f"{section}: cannot listen on {in_url(host)}:{port}: {fact}: {cure}")
