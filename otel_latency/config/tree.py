"""What a configuration holds as it was written, wherever it comes from: texts, lists and mappings.

It stands apart from `document`, so that nobody loads YAML who reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar's characters; `variable` is the environment variable that set it in place of the file."""

    value: str
    variable: str = ""


Tree: TypeAlias = "Text | list[Tree] | dict[str, Tree] | None"
"""None is what YAML calls null: an empty value, `null` or `~`."""
