"""Every exception of ours. Each subclasses the builtin that a caller would already catch.

OtelLatencyError
 +-- ConfigError (ValueError)        a file or variable is wrong: place, fact, cure; exit code 2
 +-- ExpressionError (ValueError)    an expression or template is not of our language; knows the place in the text
 +-- EvaluationError (ValueError)    an expression is right, but the series of this moment do not fit it
 +-- NotifyError (ConnectionError)   a notification was not accepted; knows whether trying again may help
 +-- ForwardError (ConnectionError)  a destination did not take a request; knows whether trying again may help
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


class ExpressionError(OtelLatencyError, ValueError):
    """An expression, template or duration cannot be taken; `at` is the offset of the culprit in its text."""

    def __init__(self, fact: str, at: int = 0) -> None:
        super().__init__(fact)
        self.fact = fact
        self.at = at


class EvaluationError(OtelLatencyError, ValueError):
    """An expression has no result now, such as when two series match where one may; it may have one later."""


class NotifyError(OtelLatencyError, ConnectionError):
    """A notification was not accepted. `retry_after` is seconds, when the far side said; no secret is in the text."""

    def __init__(self, fact: str, *, is_transient: bool, retry_after: float | None = None) -> None:
        super().__init__(fact)
        self.is_transient = is_transient
        self.retry_after = retry_after


class ForwardError(OtelLatencyError, ConnectionError):
    """A destination did not take a request; no secret is in the text.

    `reason` is the word under which it is counted, such as `http_400`; `retry_after` is seconds, when the far side
    said; `may_have_arrived` when nothing was heard after the request had been sent.
    """

    def __init__(
        self,
        fact: str,
        *,
        reason: str,
        is_transient: bool = False,
        retry_after: float | None = None,
        may_have_arrived: bool = False,
        is_about_tls: bool = False,
    ) -> None:
        super().__init__(fact)
        self.reason = reason
        self.is_transient = is_transient
        self.retry_after = retry_after
        self.may_have_arrived = may_have_arrived
        self.is_about_tls = is_about_tls


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
