"""A step of a turn: retrieval, speech to text, whatever should have a latency of its own."""

from __future__ import annotations

from typing import Final

from opentelemetry.util.types import AttributeValue

from otel_latency.instrument.attributes import carried
from otel_latency.instrument.span import After, Timed


class Stage(Timed):
    """Times a step, as a decorator, in `with` or in `async with`.

    *budget* (seconds) is soft: recorded, and `otel_latency.over_budget` when it did not suffice. *timeout* (seconds)
    raises `StageTimeout`; see `otel_latency.instrument.span` for when. *after* names what the step waited for:
    `after=(llm, "first_sentence")`, or a list of such pairs.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        /,
        *,
        budget: float | None = None,
        timeout: float | None = None,
        after: After | list[After] | None = None,
        **attributes: AttributeValue | None,
    ) -> None:
        super().__init__(name, budget, timeout, after, carried(attributes) if attributes else None)


stage: Final = Stage
