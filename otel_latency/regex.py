r"""Regular expressions as Prometheus takes them: RE2's syntax, in time linear in the text, whatever the pattern.

`fits` answers for a whole value. Most patterns of real rules are answered by string operations: `a|b|c`, `.*`, `.+` and
`prefix.*`; RE2 is loaded (3 MiB) once the first other one comes. What stands for a byte that is not UTF-8, a lone
surrogate, matches as U+FFFD does, as in Go. Compiled patterns hold no state and may be shared; 256 are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from otel_latency.errors import ExpressionError

Predicate = Callable[[str], bool]

_MAX_BYTES: Final = 8 << 20
"""Memory for one pattern: one that takes more to compile is refused, and matching stays below."""

_LITERAL = r"(?:[^\\.+*?()\[\]{}^$|\ud800-\udfff]|\\[!-/:-@\[-`{-~])*+"
_LITERALS = rf"{_LITERAL}(?:\|{_LITERAL})*+"
_ALTERNATION = re.compile(rf"({_LITERALS})|\((?:\?:)?({_LITERALS})\)")
_PREFIX = re.compile(rf"({_LITERAL})\.\*")
_LETTER = re.compile(r"\\.|[^\\]", re.DOTALL)
_UNIT = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|.", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")
_GROUP_NUMBER = re.compile(r"0|[1-9][0-9]{0,7}")

_WORDS: Final = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "pattern too large - compile failed": "expression too large",
}
"""What Go calls a fault, where RE2's own library says it in other words."""


@dataclass(frozen=True, slots=True)
class Regex:
    """A compiled pattern; its groups are known by number and, those in *names*, by name."""

    compiled: Any
    names: Mapping[str, int]

    def fits(self, text: str) -> bool:
        """Whether it matches all of *text*: Prometheus anchors at both ends."""
        return self.compiled.fullmatch(_encoded(text)) is not None

    def occurs_in(self, text: str) -> bool:
        return self.compiled.search(_encoded(text)) is not None

    def expanded(self, text: str, template: str) -> str | None:
        """*template* with the references to groups filled in, or None where the pattern does not fit all of *text*."""
        match = self.compiled.fullmatch(_clean(text))
        return None if match is None else self._expand(template, text, match)

    def replaced(self, text: str, template: str) -> Iterator[str]:
        """The pieces of *text*, with each match replaced by *template*, filled in."""
        end = 0
        for match in self.compiled.finditer(_clean(text)):
            yield text[end : match.start()]
            # Go does not replace nothing right behind a replacement.
            if match.end() > end or match.start() == 0:
                yield self._expand(template, text, match)
            end = match.end()
        yield text[end:]

    def _expand(self, template: str, text: str, match: Any) -> str:
        """`$1`, `${1}`, `$name` and `$$` as Go reads them; a group that is not there or took no part is empty."""

        def referenced(reference: re.Match[str]) -> str:
            dollar, braced, bare = reference.groups()
            if dollar:
                return "$"
            name = braced or bare
            number = int(name) if _GROUP_NUMBER.fullmatch(name) else self.names.get(name, -1)
            start, end = match.span(number) if 0 <= number <= self.compiled.groups else (0, 0)
            return text[start:end] if start >= 0 else ""

        return _REFERENCE.sub(referenced, template)


def fits(pattern: str, *, dot_all: bool = True) -> Predicate:
    """Whether a text as a whole matches *pattern*. Raises ExpressionError for one that Prometheus would refuse."""
    alternation = _ALTERNATION.fullmatch(pattern)
    if alternation is not None:
        return frozenset(_branches(alternation[1] or alternation[2] or "")).__contains__
    if dot_all:
        if pattern == ".+":
            return bool
        if prefix := _PREFIX.fullmatch(pattern):
            start = _branches(prefix[1])[0]
            return lambda text: text.startswith(start)
    return compile_regex(pattern, dot_all=dot_all).fits


@lru_cache(maxsize=256)
def compile_regex(pattern: str, *, dot_all: bool = True) -> Regex:
    """`dot_all`: the dot takes newlines too, as in Prometheus 3. Raises ExpressionError in Go's words."""
    import re2  # late: few rules need it

    if _SURROGATE.search(pattern):
        raise _refused("invalid UTF-8", pattern.encode("utf-8", "backslashreplace").decode())
    if r"\C" in _UNIT.findall(pattern):
        # One byte, and so no character: RE2 takes it, Go does not.
        raise _refused("invalid escape sequence", r"\C")
    options = re2.Options()
    options.dot_nl, options.max_mem, options.log_errors = dot_all, _MAX_BYTES, False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        code, _, argument = error.args[0].decode("utf-8", "replace").partition(": ")
        raise _refused(_WORDS.get(code, code), argument) from error
    for name in compiled.groupindex:
        if not name.isascii():
            raise _refused("invalid named capture", name)
    return Regex(compiled, compiled.groupindex)


def _refused(fact: str, part: str) -> ExpressionError:
    return ExpressionError(f"error parsing regexp: {fact}: `{part}`")


def _branches(literals: str) -> list[str]:
    """What stands between the bars, unescaped."""
    branches = [""]
    for letter in _LETTER.findall(literals):
        if letter == "|":
            branches.append("")
        else:
            branches[-1] += letter[-1]
    return branches


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _clean(text).encode()


def _clean(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)
