"""Strings made clean once, at the door, so that nothing behind it need be careful.

`clean` returns text that encodes as UTF-8, stays on one line, shows in the order it is stored and has a bounded
length. It is idempotent. Printable ASCII, which nearly all names are, costs two checks and no copy.
"""

from __future__ import annotations

import re

NAME_LIMIT = 200
"""Characters kept of a span name, a label value or any other text that becomes part of a series."""

_LINE = re.compile("[\t-\r\x85\u2028\u2029]")
# Other controls, marks that reorder what is displayed, the byte order mark, and halves of surrogate pairs.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str, limit: int = 4096) -> str:
    """*text* cut to *limit* characters, its line breaks and tabs made spaces, other unfit characters made U+FFFD."""
    text = text[:limit]
    if text.isascii() and text.isprintable():
        return text
    return _UNFIT.sub("\ufffd", _LINE.sub(" ", text))
