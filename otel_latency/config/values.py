"""Scalar types of the configuration file: durations, sizes and secrets, each with its own spelling."""

from __future__ import annotations

import re
from typing import ClassVar


class Duration(float):
    """Seconds. Written `250ms`, `1s`, `5m`, `12h`, `30d`, or `1h30m`."""

    SPELLING: ClassVar = "250ms, 1s, 5m, 12h or 30d"

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Raises ValueError with the spelling that would be right."""
        number = r"\d{1,9}(?:\.\d{1,9})?"
        if not re.fullmatch(rf"(?:{number}(?:ms|s|m|h|d))+", text, re.ASCII):
            raise ValueError(f"{text!r} is not a duration: write {cls.SPELLING}")
        parts = re.findall(rf"({number})(ms|s|m|h|d)", text)
        unit = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
        return cls(sum(float(number) * unit[name] for number, name in parts))


class Size(int):
    """Bytes. Written `512KiB`, `4MiB`, `1GiB`, or a plain number of bytes."""

    SPELLING: ClassVar = "512KiB, 4MiB or 1GiB"

    @classmethod
    def parse(cls, text: str) -> Size:
        """Raises ValueError with the spelling that would be right."""
        match = re.fullmatch(r"(\d{1,15})(B|KiB|MiB|GiB)?", text, re.ASCII)
        if not match:
            raise ValueError(f"{text!r} is not a size: write {cls.SPELLING}")
        return cls(int(match[1]) << {None: 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[match[2]])


class Secret:
    """A value that never shows itself: `repr`, `str` and formatting print `***`; `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
