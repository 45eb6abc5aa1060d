"""The door for samples: what may go on to the table and to /metrics, as it must look there.

A sample that cannot be exported is dropped alone, with a reason that names it; label values are made clean and short.
Names are Prometheus' without colons, which belong to recording rules.

Cost: about 2 us per sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from math import isfinite
from typing import Any, Final, NamedTuple

from otel_latency.records import Sample

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,199}")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,99}")
_RESERVED: Final = "otel_latency_"
_MAX_LABEL_VALUE: Final = 200


class Validated(NamedTuple):
    """The good samples of one poll, and in words what was wrong with the others; empty when nothing was."""

    samples: list[Sample]
    fault: str


def validate(samples: Iterable[Any], *, limit: int, is_ours: bool) -> Validated:
    """Take at most *limit* samples. Names that begin with `otel_latency_` are taken only if *is_ours*."""
    taken = list(islice(samples, limit + 1))
    good: list[Sample] = []
    faults = [f"more than {limit} samples: the rest is dropped"] if len(taken) > limit else []
    for sample in taken[:limit]:
        try:
            good.append(_checked(sample, is_ours=is_ours))
        except ValueError as error:
            faults.append(str(error))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Validated(good, faults[0] + more if faults else "")


def _checked(sample: Any, *, is_ours: bool) -> Sample:
    """*sample* fit for export; raises ValueError with the reason why it is not."""
    if not isinstance(sample, Sample):
        raise ValueError(f"a {type(sample).__name__} is no Sample")  # noqa: TRY004 - one error for one cause
    name = sample.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r:.100} is not a metric name: use letters, digits and _")
    if name.startswith(_RESERVED) and not is_ours:
        raise ValueError(f"{name} begins with {_RESERVED}, which is the agent's: choose another name")
    if sample.is_counter and not name.endswith("_total"):
        raise ValueError(f"{name} is a counter: let its name end in _total")
    return Sample(name, _number(name, sample.value), _labels(sample), sample.is_counter, str(sample.help))


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} has a {type(value).__name__} for a value") from None
    if not isfinite(number):
        raise ValueError(f"{name} is {number}")
    return number


def _labels(sample: Sample) -> dict[str, str]:
    for key in sample.labels:
        if not isinstance(key, str) or not _LABEL.fullmatch(key):
            raise ValueError(f"{sample.name} has the label {key!r:.100}: use letters, digits and _")
    return {key: _clean(str(value)) for key, value in sample.labels.items()}


def _clean(text: str) -> str:
    """*text* as UTF-8 can carry it, and no longer than a label should be."""
    return text[:_MAX_LABEL_VALUE].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
