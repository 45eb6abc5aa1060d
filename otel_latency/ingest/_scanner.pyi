from collections.abc import Mapping

from otel_latency.ingest.scanner import Context, Convert, Interests, Resolve
from otel_latency.records import SpanRow

class Scanner:
    def __init__(
        self,
        attributes: Interests,
        events: Interests,
        context: Context,
        resolve: Resolve,
        convert: Convert,
    ) -> None: ...
    def scan(self, body: bytes, /) -> tuple[list[SpanRow], Mapping[str, int]]: ...
    def forget(self) -> None: ...
