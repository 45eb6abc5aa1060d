from otel_latency.records import Signal

class CompiledRedactor:
    def __init__(
        self, keys: list[bytes], prefixes: list[bytes], events: list[bytes], event_name: bytes, kept_of_events: bytes, /
    ) -> None: ...
    def redact(self, body: bytes, signal: Signal, /) -> bytes: ...
