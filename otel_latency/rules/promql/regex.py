r"""RE2 patterns, as Prometheus takes them, in the words of Python's `re`.

What RE2 lacks (look-around, backreferences, possessive and atomic groups) is refused, so that a rule accepted here is
accepted by Prometheus. What only RE2 has (`\z`, `\Q..\E`, `[[:alpha:]]`, `\pL`, `(?i)` in the middle, `(?U)`) is
translated; `\d \w \s \b` stay ASCII. Scripts such as `\p{Greek}` and `\C` are refused: Python has no table of them.

Python's matcher backtracks where RE2 is linear: `(a+)+b` against a long label value may take for ever. Patterns come
from the operator's own rule files, values from series; whoever lets strangers choose either must bound their length.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from otel_latency.errors import ExpressionError

_MAX_REPEAT = 1000
_MAX_NESTING = 100
_LAST = 0x10FFFF
_PERL = {"d": "0-9", "s": r"\t\n\f\r ", "w": "0-9A-Za-z_"}
_NOT_PERL = {
    "D": r"\x00-/:-\U0010ffff",
    "S": r"\x00-\x08\x0b\x0e-\x1f!-\U0010ffff",
    "W": r"\x00-/:-@\[-\^`{-\U0010ffff",
}
_CLASSES = _PERL | _NOT_PERL
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_POSIX: dict[str, str] = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_CATEGORY = re.compile("C[cfos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?|Any")
_REPEAT = re.compile(r"[*+?]|\{([0-9]+)(,([0-9]*))?\}")
_GROUP = re.compile(r"\(\?(?:P?<([^>]*)>|([imsU]*)(?:-([imsU]+))?([:)]))")
_CODE = re.compile(r"\\(?:x\{([0-9A-Fa-f]{1,8})\}|x([0-9A-Fa-f]{2})|(0[0-7]{0,2}|[1-7][0-7]{1,2}))")
_PROPERTY = re.compile(r"\\([pP])(?:\{(\^?)([^}]*)\}|(.))", re.DOTALL)
_POSIX_CLASS = re.compile(r"\[:(\^?)([a-z]*):\]")


@lru_cache(maxsize=1024)
def compile_regex(pattern: str, *, dot_all: bool = True) -> re.Pattern[str]:
    """Ready for `fullmatch`: Prometheus anchors at both ends. `dot_all`: the dot takes newlines too, as in 3.x.

    Raises ExpressionError; `at` is the offset in *pattern*.
    """
    translated = _Translation(pattern, dot_all=dot_all).run()
    try:
        return re.compile(translated, re.DOTALL)
    except (re.error, OverflowError) as error:
        raise ExpressionError(f"error parsing regexp: {error}: `{pattern}`") from error


@dataclass(slots=True)
class _Group:
    """An open group: the flags of this place, and whether Python already ignores case around and here."""

    flags: frozenset[str]
    outer_ignores_case: bool
    ignores_case: bool
    repeats: int = 1
    """How often the most repeated part inside may stand: nested counts multiply."""


class _Translation:
    """One walk over a pattern; each method consumes what it names and appends its translation."""

    def __init__(self, pattern: str, *, dot_all: bool) -> None:
        self.pattern = pattern
        self.position = 0
        self.parts: list[str] = []
        self.groups = [_Group(frozenset("s" if dot_all else ""), outer_ignores_case=False, ignores_case=False)]
        self.can_repeat = False
        self.inner_repeats = 1

    def run(self) -> str:
        while self.position < len(self.pattern):
            self._next()
        if len(self.groups) > 1:
            raise self._fault("missing closing )", self.pattern, 0)
        self._end_of_branch()
        return "".join(self.parts)

    def _next(self) -> None:
        character = self.pattern[self.position]
        if self.pattern.startswith("(?", self.position):
            self._open_special()
        elif character == "(":
            self._open("(", self.groups[-1].flags, 1)
        elif character == ")":
            self._close()
        elif character == "|":
            self._end_of_branch()
            self._emit("|", 1, can_repeat=False)
            self._set_case()
        elif character == "[":
            self._class()
        elif character == "\\":
            self._escape()
        elif repeat := _REPEAT.match(self.pattern, self.position):
            self._repeat(repeat)
        else:
            self._plain(character)

    def _emit(self, text: str, consumed: int, *, can_repeat: bool = True) -> None:
        self.parts.append(text)
        self.position += consumed
        self._ended(can_repeat=can_repeat)

    def _ended(self, *, can_repeat: bool = True, repeats: int = 1) -> None:
        """Remember whether and how a quantifier may follow."""
        self.can_repeat, self.inner_repeats = can_repeat, repeats

    def _fault(self, what: str, part: str, at: int | None = None) -> ExpressionError:
        return ExpressionError(f"error parsing regexp: {what}: `{part}`", self.position if at is None else at)

    def _plain(self, character: str) -> None:
        flags = self.groups[-1].flags
        if character == ".":
            self._emit("." if "s" in flags else r"[^\n]", 1)
        elif character in "^$":
            anchor = {"^": r"\A", "$": r"\Z"}[character]
            self._emit(f"(?m:{character})" if "m" in flags else f"(?:{anchor})", 1)
        else:
            self._emit(re.escape(character), 1)

    def _repeat(self, match: re.Match[str]) -> None:
        operator = match[0]
        if not self.can_repeat:
            raise self._fault("missing argument to repetition operator", operator)
        if match[1] is not None:
            low, high = int(match[1][:9]), int((match[3] or match[1])[:9])
            repeats = max(high, 1) * self.inner_repeats
            if max(low, repeats) > _MAX_REPEAT or high < low:
                raise self._fault("invalid repeat count", operator)
            self.groups[-1].repeats = max(self.groups[-1].repeats, repeats)
        end = match.end()
        is_lazy = self.pattern.startswith("?", end)
        after = _REPEAT.match(self.pattern, end + is_lazy)
        if after is not None:
            raise self._fault("invalid nested repetition operator", self.pattern[match.start() : after.end()])
        swaps = "U" in self.groups[-1].flags
        self._emit(operator + "?" * (is_lazy != swaps), end + is_lazy - self.position, can_repeat=False)

    def _open_special(self) -> None:
        match = _GROUP.match(self.pattern, self.position)
        if match is None or match[0] in {"(?)", "(?-)"}:
            raise self._fault("invalid or unsupported Perl syntax", self.pattern[self.position : self.position + 3])
        name, on, off, end = match.groups()
        if name is not None:
            if not (name.isascii() and name.isidentifier()):
                raise self._fault("invalid named capture", match[0])
            self._open(f"(?P<{name}>", self.groups[-1].flags, len(match[0]))
            return
        flags = (self.groups[-1].flags | frozenset(on)) - frozenset(off or "")
        if end == ":":
            self._open("(?:", flags, len(match[0]))
            return
        self._end_of_branch()
        self.groups[-1].flags = flags
        self._emit("", len(match[0]), can_repeat=False)
        self._set_case()

    def _open(self, text: str, flags: frozenset[str], consumed: int) -> None:
        if len(self.groups) > _MAX_NESTING:
            raise self._fault("expression nests too deeply", self.pattern[:20])
        case = self.groups[-1].ignores_case
        self.groups.append(_Group(flags, outer_ignores_case=case, ignores_case=case))
        self._emit(text, consumed, can_repeat=False)
        self._set_case()

    def _close(self) -> None:
        if len(self.groups) == 1:
            raise self._fault("unexpected )", self.pattern)
        self._end_of_branch()
        repeats = self.groups.pop().repeats
        self.groups[-1].repeats = max(self.groups[-1].repeats, repeats)
        self._emit(")", 1)
        self._ended(repeats=repeats)

    def _set_case(self) -> None:
        """Open a group of Python's wherever the case rule differs from the one around: Python knows no `a(?i)b`."""
        group = self.groups[-1]
        wanted = "i" in group.flags
        if wanted != group.ignores_case:
            self.parts.append("(?i:" if wanted else "(?-i:")
            group.ignores_case = wanted

    def _end_of_branch(self) -> None:
        """Close what `_set_case` opened: alternatives must not end up inside it."""
        group = self.groups[-1]
        if group.ignores_case != group.outer_ignores_case:
            self.parts.append(")")
            group.ignores_case = group.outer_ignores_case

    def _escape(self) -> None:
        rest = self.pattern[self.position + 1 : self.position + 2]
        if rest == "Q":
            end = self.pattern.find("\\E", self.position)
            stop = len(self.pattern) if end < 0 else end
            quoted = self.pattern[self.position + 2 : stop]
            self.parts.extend(re.escape(character) for character in quoted)
            self.position = stop + (2 if end >= 0 else 0)
            if quoted:
                self._ended()
        elif rest in _CLASSES and rest:
            self._emit(f"[^{_PERL[rest.lower()]}]" if rest.isupper() else f"[{_PERL[rest]}]", 2)
        elif rest in {"b", "B", "A", "z"}:
            anchors = {"b": r"(?a:\b)", "B": r"(?!(?a:\b))", "A": r"(?:\A)", "z": r"(?:\Z)"}
            self._emit(anchors[rest], 2)
        elif rest in {"p", "P"}:
            name, is_negated = self._property()
            # A complement is left to Python: under (?i) it must fold the positive set, as RE2 does.
            self.parts.append(f"[{'^' if is_negated else ''}{_category(name, is_negated=False)}]")
            self._ended()
        else:
            self.parts.append(re.escape(self._character()))
            self._ended()

    def _character(self) -> str:
        """The one character that an escape stands for, outside or inside of a class."""
        text, start = self.pattern, self.position
        match = _CODE.match(text, start)
        if match is not None:
            self.position = match.end()
            code = int(match[3], 8) if match[3] else int(match[1] or match[2], 16)
            if code > _LAST:
                raise self._fault("invalid escape sequence", match[0], start)
            return chr(code)
        escaped = text[start + 1 : start + 2]
        if not escaped:
            raise self._fault("trailing backslash at end of expression", "")
        self.position += 2
        if escaped in _CONTROLS:
            return _CONTROLS[escaped]
        if not escaped.isascii() or escaped.isalnum():
            raise self._fault("invalid escape sequence", f"\\{escaped}", start)
        return escaped

    def _property(self) -> tuple[str, bool]:
        r"""The category of `\pL`, `\p{Lu}`, `\P{N}`, `\p{^N}`, and whether it is negated."""
        match = _PROPERTY.match(self.pattern, self.position)
        name = "" if match is None else match[3] or match[4] or ""
        if match is None or _CATEGORY.fullmatch(name) is None:
            part = self.pattern[self.position : match.end() if match else None]
            cure = "only general categories such as \\pL, \\p{Lu} and \\pN are supported"
            raise self._fault(f"invalid character class range ({cure})", part)
        self.position = match.end()
        return name, (match[1] == "P") != bool(match[2])

    def _class(self) -> None:
        start = self.position
        self.position += 1
        is_negated = self.pattern.startswith("^", self.position)
        self.position += is_negated
        items: list[str] = []
        while not (items and self.pattern.startswith("]", self.position)):
            if self.position >= len(self.pattern):
                raise self._fault("missing closing ]", self.pattern[start:], start)
            items.append(self._class_item())
        self.position += 1
        self.parts.append(f"[{'^' if is_negated else ''}{''.join(items)}]")
        self._ended()

    def _class_item(self) -> str:
        text, start = self.pattern, self.position
        posix = _POSIX_CLASS.match(text, start)
        if posix is not None:
            return self._posix(posix)
        if text.startswith(("\\p", "\\P"), start):
            name, is_negated = self._property()
            return _category(name, is_negated=is_negated)
        if text[start] == "\\" and text[start + 1 : start + 2] in _CLASSES and start + 1 < len(text):
            self.position += 2
            return _CLASSES[text[start + 1]]
        low = high = self._class_character()
        if text.startswith("-", self.position) and not text.startswith("-]", self.position):
            self.position += 1
            if self.position >= len(text):
                raise self._fault("missing closing ]", text[start:], start)
            high = self._class_character()
        if high < low:
            raise self._fault("invalid character class range", text[start : self.position], start)
        return _ranges([(ord(low), ord(high))])

    def _class_character(self) -> str:
        if self.pattern[self.position] == "\\":
            return self._character()
        self.position += 1
        return self.pattern[self.position - 1]

    def _posix(self, match: re.Match[str]) -> str:
        inside = _POSIX.get(match[2])
        if inside is None:
            raise self._fault("invalid character class range", match[0])
        self.position = match.end()
        if not match[1]:
            return inside
        only = re.compile(f"[{inside}]")
        # The classes are ASCII, so everything above 0x7f is outside of them.
        outside = [(code, code) for code in range(128) if not only.match(chr(code))]
        return _ranges([*outside, (128, _LAST)])


@lru_cache(maxsize=32)
def _category(name: str, *, is_negated: bool) -> str:
    """Looks once at every code point (about 0.2 s), then is remembered."""
    inside = [name == "Any" or unicodedata.category(chr(code)).startswith(name) for code in range(_LAST + 1)]
    if is_negated:
        inside = [not flag for flag in inside]
    edges = [code for code, (before, here) in enumerate(pairwise([False, *inside, False])) if before != here]
    return _ranges([(low, high - 1) for low, high in zip(edges[::2], edges[1::2], strict=True)])


def _ranges(pairs: list[tuple[int, int]]) -> str:
    return "".join(_in_class(low) if low == high else f"{_in_class(low)}-{_in_class(high)}" for low, high in pairs)


def _in_class(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else f"\\U{code:08x}"
