"""Every exception of ours. Each subclasses the builtin that a caller would already catch.

OtelLatencyError
 +-- ConfigError (ValueError)        a file or variable is wrong: place, fact, cure; exit code 2
 +-- DecodeError (ValueError)        a request body cannot be read at all
 |    +-- BodyTooLarge               ... because a limit was reached
 |    +-- UnsupportedEncoding        ... because of how it is compressed
 +-- Overloaded (RuntimeError)       the agent asks the sender to come back later
 +-- StageTimeout (TimeoutError)     work took longer than the timeout that its author asked for
 +-- CircuitOpen (ConnectionError)    a provider failed so often that it is not asked for a while
 +-- AgentEnded (RuntimeError)       an agent that we started is gone, and why
"""

from __future__ import annotations


class OtelLatencyError(Exception):
    """Base of all our errors; `exit_code` is what a command ends with."""

    exit_code = 1


class ConfigError(OtelLatencyError, ValueError):
    """The configuration is wrong; the text is one line: file, key path, fact and cure."""

    exit_code = 2


class DecodeError(OtelLatencyError, ValueError):
    """A request cannot be decoded; nothing of it was taken."""


class BodyTooLarge(DecodeError):
    """A request is larger than a limit allows, before or after decompression."""


class UnsupportedEncoding(DecodeError):
    """A request is compressed in a way that is not taken, or more than once."""


class Overloaded(OtelLatencyError, RuntimeError):
    """The agent cannot take this request now; `retry_after` is seconds, never above 2."""

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class AgentEnded(OtelLatencyError, RuntimeError):
    """An agent that we started did not start well, or ended by itself; the text ends with its last words."""


class StageTimeout(OtelLatencyError, TimeoutError):
    """A turn, stage or LLM call ran over its own timeout; `timeout` is seconds."""

    def __init__(self, name: str, timeout: float) -> None:
        super().__init__(f"{name} took longer than its timeout of {timeout:g} s")
        self.name = name
        self.timeout = timeout

    def __reduce__(self) -> tuple[type[StageTimeout], tuple[str, float]]:
        return type(self), (self.name, self.timeout)


class CircuitOpen(OtelLatencyError, ConnectionError):
    """A provider's circuit breaker is open; `retry_after` is the seconds until it is asked again."""

    def __init__(self, provider: str, retry_after: float) -> None:
        super().__init__(f"{provider} is not called: its circuit is open for another {retry_after:.3g} s")
        self.provider = provider
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[CircuitOpen], tuple[str, float]]:
        return type(self), (self.provider, self.retry_after)
