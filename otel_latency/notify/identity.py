"""Which alert, which group: the same names for them as Alertmanager has, so that both can feed one receiver.

An alert is its label set: a fingerprint of 64 bits, and a place in the order of a notification. A group is the labels
that its alerts are put together by; its key is text, and what PagerDuty calls the deduplication key is made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cmp_to_key, lru_cache
from typing import Final

from otel_latency.records import Alert

_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_CACHED: Final = 2048
_ALL_LABELS: Final = "..."
_ESCAPES: Final = {
    '"': r"\"",
    "\\": r"\\",
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
}


def fingerprint(labels: Mapping[str, str]) -> str:
    """FNV-1a over the sorted labels, each name and value ended by 0xff; 16 hex digits."""
    return _fingerprint(tuple(sorted(labels.items())))


def in_order(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """As Alertmanager lists them: by job, then instance (those without come last), then by their labels."""
    return tuple(sorted(alerts, key=cmp_to_key(_compare_alerts)))


def group_labels(labels: Mapping[str, str], group_by: Sequence[str]) -> dict[str, str]:
    """The labels that say which group an alert belongs to; `...` stands for all of them."""
    names = labels if _ALL_LABELS in group_by else group_by
    return {name: labels[name] for name in sorted(names) if name in labels}


def group_key(labels: Mapping[str, str]) -> str:
    """The group's name, as Alertmanager's root route gives it: `{}:{alertname="P99High", stage="llm"}`."""
    return _group_key(tuple(sorted(labels.items())))


def dedup_key(key: str) -> str:
    """A group's key where one of fixed length is wanted."""
    return hashlib.sha256(key.encode()).hexdigest()


# An alert that fires is named anew every minute, and for each notifier: hence the caches.


@lru_cache(_CACHED)
def _fingerprint(labels: tuple[tuple[str, str], ...]) -> str:
    digest = _FNV_OFFSET
    for name, value in labels:
        for byte in b"%b\xff%b\xff" % (name.encode(), value.encode()):
            digest = (digest ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"


@lru_cache(_CACHED)
def _group_key(labels: tuple[tuple[str, str], ...]) -> str:
    pairs = ", ".join(f"{name}={_quote(value)}" for name, value in labels)
    return f"{{}}:{{{pairs}}}"


def _compare_alerts(one: Alert, other: Alert) -> int:
    return _compare(one.labels, other.labels)


def _compare(one: Mapping[str, str], other: Mapping[str, str]) -> int:
    for name in ("job", "instance"):
        if one.get(name) != other.get(name):
            return _sign(_missing_last(one, name), _missing_last(other, name))
    if len(one) != len(other):
        return len(one) - len(other)
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            return _sign(_missing_first(one, name), _missing_first(other, name))
    return 0


def _missing_last(labels: Mapping[str, str], name: str) -> tuple[bool, str]:
    return name not in labels, labels.get(name, "")


def _missing_first(labels: Mapping[str, str], name: str) -> tuple[bool, str]:
    return name in labels, labels.get(name, "")


def _sign(one: tuple[bool, str], other: tuple[bool, str]) -> int:
    return (one > other) - (one < other)


def _quote(text: str) -> str:
    """In double quotes, as Go's %q."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
