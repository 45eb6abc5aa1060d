"""Span names without the ids in them, so that a name stands for a kind of work and not for one occurrence of it.

    GET /users/8412/orders?page=2          ->  GET /users/{n}/orders?{query}
    job 5c2b9a1e-7d43-4f6a-9e0b-1f2a3b4c5d6e  ->  job {uuid}
    chat gpt-4o-2024-08-06                 ->  chat gpt-4o-2024-08-06

Names of models, versions and stages keep their digits: inside a word with letters, up to two digits stay, and so do
the shapes that vendors date and number their models with (0613, 2407, 2024, 20241022, 002, 405b). Everything else made
of digits is an id. `template` is pure and idempotent; a name without digits, `@` and `?` costs one search.
"""

from __future__ import annotations

import re

_SUSPECT = re.compile(r"[\d@?]|\w{65}")

_MONTH = r"(?:0[1-9]|1[0-2])"
_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_TIME = r"\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
_ALONE = r"(?<![0-9A-Za-z])(?:%s)(?![0-9A-Za-z])"

_IDS = (
    (re.compile(r"(?<=://)[^\s/@]+@"), "{user}@"),
    (re.compile(r"(?<![\w.+%-])[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}"), "{email}"),
    (re.compile(r"(?<=\S)\?\S+"), "?{query}"),
    (re.compile(_ALONE % r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE), "{uuid}"),
    (re.compile(rf"(?<!\d)\d{{4}}-{_MONTH}-{_DAY}T{_TIME}"), "{date}"),
    (re.compile(rf"(?<![\w.-])\d{{4}}-{_MONTH}-{_DAY}(?: {_TIME})?(?![\w-])"), "{date}"),
    (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"), "{ip}"),
    (re.compile(_ALONE % r"0x[0-9a-f]+|(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}", re.IGNORECASE), "{hex}"),
)

# Runs of letters and digits that no one would choose as a name: long and changing between the two again and again.
_TOKEN = re.compile(
    _ALONE
    % r"""(?=[A-Za-z]*\d+(?:[A-Za-z]+\d+){2})[A-Za-z0-9]{10,}    # three groups of digits
        | (?=[A-Za-z]*\d+[A-Za-z]+\d)[A-Za-z0-9]{16,}
        | (?=\d*[A-Z])(?=[A-Z]*\d)[A-Z0-9]{16,}
        | (?=\d*[A-Za-z])(?=[A-Za-z]*\d)[A-Za-z0-9]{32,}
        | (?=\d*[A-Za-z])[A-Za-z0-9]{65,}""",
    re.VERBOSE,
)

_WORD = re.compile(r"""(?:\{[a-z]*\}|[^\s/?&=,;()\[\]<>"'|\#+*!{}])+""", re.VERBOSE)
_PLACEHOLDER = re.compile(r"\{[a-z]*\}")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_ID_IN_WORD = re.compile(
    rf"""(?<!\d)
    (?!(?:\d{{1,2}}                  # a version or a size: gpt-4, 70b
        | \d{{3}}(?=[A-Za-z])        # 405b, 128k
        | 0\d\d                      # text-davinci-003
        | {_MONTH}{_DAY}             # gpt-4-0613
        | 2\d{_MONTH}                # mistral-large-2407
        | 20\d\d                     # the year of gpt-4o-2024-08-06
        | 20\d\d{_MONTH}{_DAY}       # claude-3-5-sonnet-20241022
        )(?!\d))
    \d+""",
    re.VERBOSE,
)


def template(name: str) -> str:
    """*name* with every id, number, address, date and query string replaced by a placeholder in braces."""
    if not _SUSPECT.search(name):
        return name
    # One placeholder can uncover the next id beside it. Each round removes characters for good, so this ends.
    while (result := _replaced(name)) != name:
        name = result
    return result


def _replaced(name: str) -> str:
    for pattern, placeholder in _IDS:
        name = pattern.sub(placeholder, name)
    return _WORD.sub(_without_numbers, _TOKEN.sub("{token}", name))


def _without_numbers(word: re.Match[str]) -> str:
    text = word[0]
    has_letters = any(map(str.isalpha, _PLACEHOLDER.sub("", text)))
    return (_ID_IN_WORD if has_letters else _NUMBER).sub("{n}", text)
