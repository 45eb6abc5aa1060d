"""The templates of labels and annotations: Go's text/template as Prometheus' rule files use it.

    parse("{{ $labels.stage }} took {{ $value | humanizeDuration }}").render(labels={"stage": "llm"}, value=2.5)

Prints what Prometheus prints, number by number and error by error: with semantics 2 what promtool 2.42 does, with
semantics 3 that and what came since. Parsed once, a usual annotation renders in tens of microseconds. Rendering is
pure, never raises, and ends: its output, its steps and its nesting are bounded (see `execute`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.template import parser
from otel_latency.rules.template.execute import ExecutionError, Trees, execute
from otel_latency.rules.template.functions import FUNCTIONS
from otel_latency.rules.template.quoting import to_bytes
from otel_latency.rules.template.values import Context, Query, Struct

__all__ = ["Template", "parse"]

_VALUE_TYPES: Mapping[Semantics, str] = {2: "float64", 3: "interface {}"}
_NO_LABELS: Mapping[str, str] = MappingProxyType({})


def parse(text: str, *, alert: str = "", semantics: Semantics = 3) -> Template:
    """Raises ExpressionError with Go's words for what is wrong; *alert* is named by errors while expanding."""
    name = f"__alert_{alert}"
    functions = _FUNCTION_NAMES[semantics]
    bodies = parser.parse(text, name=name, functions=functions, has_else_with=semantics >= 3)
    return Template(Trees(name, text, bodies), semantics)


class Template:
    """A parsed text, ready to be filled in any number of times."""

    __slots__ = ("_data_type", "_semantics", "_trees")

    def __init__(self, trees: Trees, semantics: Semantics) -> None:
        self._trees = trees
        self._semantics = semantics
        self._data_type = (
            "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string;"
            f" Value {_VALUE_TYPES[semantics]} }}"
        )

    def render(
        self,
        *,
        labels: Mapping[str, str],
        value: float,
        external_labels: Mapping[str, str] = _NO_LABELS,
        external_url: str = "",
        query: Query | None = None,
        now: float | None = None,
    ) -> str:
        """The text, or `<error expanding template: ...>` in its place.

        *query* answers an expression with samples at the time of the evaluation, which is *now* in Unix seconds.
        """
        fields = {
            "Labels": dict(labels),
            "ExternalLabels": dict(external_labels),
            "ExternalURL": external_url,
            "Value": float(value),
        }
        variables = zip(parser.VARIABLES[1:], fields.values(), strict=True)
        context = Context(self._semantics, external_url, query, now)
        try:
            text = execute(self._trees, Struct(self._data_type, fields), variables, context)
        except ExecutionError as error:
            text = self._failed(str(error))
        except RecursionError:
            text = self._failed(f"template: {self._trees.name}: nests too deeply")
        # A text cut inside of a character ends here: what leaves is valid UTF-8.
        return text if text.isascii() else to_bytes(text).decode("utf-8", "replace")

    def _failed(self, fact: str) -> str:
        return f"<error expanding template: error executing template {self._trees.name}: {fact}>"


_FUNCTION_NAMES: Mapping[Semantics, frozenset[str]] = {
    2: frozenset(name for name, function in FUNCTIONS.items() if function.since <= 2),
    3: frozenset(FUNCTIONS),
}
