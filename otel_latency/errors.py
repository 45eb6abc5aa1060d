"""Every exception of ours. Each subclasses the builtin that a caller would already catch.

    OtelLatencyError
     +-- ConfigError (ValueError)        a file or variable is wrong: place, fact, cure; exit code 2
     +-- DecodeError (ValueError)        a request body cannot be read at all
     |    +-- BodyTooLarge               ... because a limit was reached
     |    +-- UnsupportedEncoding        ... because of how it is compressed
     +-- Overloaded (RuntimeError)       the agent asks the sender to come back later
"""


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
