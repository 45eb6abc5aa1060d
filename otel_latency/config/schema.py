"""Texts become typed values by the section they stand in; every fault is kept, with its key path.

The types are those of `sections`: what a field accepts, its bounds and its default stand there, and the messages are
made from them. A value from the environment or for a `Secret` is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import inspect as kinds

from otel_latency.config.environment import expand, variables
from otel_latency.config.sections import Misfit
from otel_latency.config.tree import Text, Tree
from otel_latency.config.values import Duration, Secret, Size
from otel_latency.errors import ConfigError

Kind: TypeAlias = kinds.Type
Number = TypeVar("Number", int, float)
_SHAPES: Final = {Text: "a single value", list: "a list", dict: "a section"}
_WRONG: Final = object()
"""Stands for a value whose fault has been noted."""


class Reader:
    """Reads one file's tree; *place* names the file. What was wrong is in `faults`, in the order of the sections."""

    def __init__(self, place: str, environ: Mapping[str, str]) -> None:
        self.place = place
        self.environ = environ
        self.faults: list[ConfigError] = []

    def read(self, tree: Tree, kind: Kind, path: str = "") -> Any:
        """The value that *tree* stands for; meaningless once there are faults."""
        constraint, kind = _unwrap(kind, tree)
        if tree is None:
            tree = _nothing(kind)
        match kind, tree:
            case kinds.NoneType(), None:
                return None
            case _, None:
                return self._wrong(tree, path, "has no value: write one, or remove the key")
            case kinds.UnionType(), dict():
                return self._variant(tree, kind, path)
            case kinds.StructType(), dict():
                return self._section(tree, kind, path)
            case kinds.ListType(), list():
                return [self.read(item, kind.item_type, f"{path}[{index}]") for index, item in enumerate(tree)]
            case kinds.DictType(), dict():
                return {key: self.read(item, kind.value_type, _join(path, key)) for key, item in tree.items()}
            case _, Text() if _fits(kind, tree):
                return self._scalar(tree, kind, constraint, path)
            case _:
                return self._wrong(tree, path, f"{_SHAPES[type(tree)]} is not {_wanted(kind, constraint)}")

    def _variant(self, tree: dict[str, Tree], kind: kinds.UnionType, path: str) -> Any:
        """Of several sections the one whose name stands under their tag."""
        variants = {member.tag: member for member in kind.types if isinstance(member, kinds.StructType)}
        key = str(next(iter(variants.values())).tag_field)
        if key not in tree:
            return self._wrong(tree, path, f"{key} is missing: add it, and choose {_either(variants)}")
        name = tree[key]
        if not isinstance(name, Text) or name.value not in variants:
            known = [str(variant) for variant in variants]
            cure = _did_you_mean(name.value, known) if isinstance(name, Text) else f"choose {_either(known)}"
            return self._wrong(name, _join(path, key), f"unknown {key}: {cure}")
        others = {each: value for each, value in tree.items() if each != key}
        return self._section(others, variants[name.value], path)

    def _section(self, tree: dict[str, Tree], kind: kinds.StructType, path: str) -> Any:
        noted = len(self.faults)
        fields = {field.encode_name: field for field in kind.fields}
        values: dict[str, Any] = {}
        for key, value in tree.items():
            if key in fields:
                values[fields[key].name] = self.read(value, fields[key].type, _join(path, key))
            else:
                self._wrong(value, _join(path, key), f"unknown key: {_did_you_mean(key, fields)}")
        for name, field in fields.items():
            if field.required and name not in tree:
                self._wrong(tree, path, f"{name} is missing: add it")
        if len(self.faults) > noted:
            return _WRONG
        try:
            return kind.cls(**values)
        except Misfit as misfit:
            return self._wrong(tree, ".".join(filter(None, (path, misfit.key))), str(misfit))

    def _scalar(self, text: Text, kind: Kind, constraint: Mapping[str, Any], path: str) -> Any:
        try:
            value = text.value if text.variable else expand(text.value, self.environ)
        except ValueError as error:
            return self._wrong(text, path, str(error))
        try:
            return _convert(value, kind, constraint)
        except _OutOfRange:
            return self._wrong(text, path, f"{_quote(text, kind)} is out of range: write {_range(kind, constraint)}")
        except ValueError:
            return self._wrong(text, path, f"{_quote(text, kind)} is not {_wanted(kind, constraint)}")

    def _wrong(self, tree: Tree, path: str, text: str) -> Any:
        place = _variable(tree) or self.place
        self.faults.append(ConfigError(f"{place}: {path}: {text}" if path else f"{place}: {text}"))
        return _WRONG


class _OutOfRange(ValueError):
    """Of the right kind, but too small or too large."""


def _unwrap(kind: Kind, tree: Tree) -> tuple[Mapping[str, Any], Kind]:
    """What annotates the kind, and the kind itself; of a union the member that has the shape of *tree*."""
    if isinstance(kind, kinds.UnionType) and not _is_tagged(kind, tree):
        fitting = [member for member in kind.types if _fits(member, tree)]
        return _unwrap((fitting or kind.types)[0], tree)
    if isinstance(kind, kinds.Metadata):
        return {**(kind.extra_json_schema or {}), **(kind.extra or {})}, kind.type
    return {}, kind


def _is_tagged(kind: kinds.UnionType, tree: Tree) -> bool:
    """Whether the shape of *tree* does not tell which of the union it is, and a tag has to."""
    fitting = [member for member in kind.types if isinstance(member, kinds.StructType)]
    return isinstance(tree, dict) and len(fitting) > 1


def _fits(kind: Kind, tree: Tree) -> bool:
    match kind:
        case kinds.Metadata():
            return _fits(kind.type, tree)
        case kinds.NoneType():
            return tree is None
        case kinds.StructType() | kinds.DictType():
            return isinstance(tree, dict)
        case kinds.ListType():
            return isinstance(tree, list)
        case _:
            return isinstance(tree, Text)


def _nothing(kind: Kind) -> Tree:
    """What a key without a value stands for: sections and lists may have all their lines commented out."""
    match kind:
        case kinds.StructType() | kinds.DictType():
            return {}
        case kinds.ListType():
            return []
        case _:
            return None


def _convert(text: str, kind: Kind, constraint: Mapping[str, Any]) -> Any:
    """Raises ValueError, without a message, when *text* is not what `_wanted` describes."""
    match kind:
        case kinds.BoolType():
            return _one_of(text, ("true", "false")) == "true"
        case kinds.LiteralType():
            choices = {str(choice): choice for choice in kind.values}
            return choices[_one_of(text, choices)]
        case kinds.IntType():
            return _within(int(_matching(text, r"-?(?:0|[1-9]\d{0,17})")), kind.ge, kind.le)
        case kinds.StrType():
            return _matching(text, kind.pattern or "(?s:.*)")
        case kinds.CustomType(cls=cls) if cls is Duration or cls is Size:
            low, high = (cls.parse(constraint[bound]) for bound in ("at_least", "at_most"))
            return _within(cls.parse(text), low, high)
        case kinds.CustomType(cls=cls) if cls is Secret:
            return Secret(_matching(text, constraint.get("pattern", "(?s:.*)")))
        case _:
            raise TypeError(f"no field of the configuration can be a {kind}")


def _one_of(text: str, choices: Collection[Any]) -> str:
    if text not in choices:
        raise ValueError
    return text


def _matching(text: str, pattern: str) -> str:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise ValueError
    return text


def _within(number: Number, low: float | None, high: float | None) -> Number:
    if (low is not None and number < low) or (high is not None and number > high):
        raise _OutOfRange
    return number


def _wanted(kind: Kind, constraint: Mapping[str, Any]) -> str:
    """What belongs into a field of this kind, and how to write it."""
    name = constraint.get("description")
    match kind:
        case kinds.BoolType():
            return "a switch: write true or false"
        case kinds.LiteralType():
            return f"one of the choices: write {_either(kind.values)}"
        case kinds.IntType():
            return f"{name or 'a whole number'}: write {_range(kind, constraint)}"
        case kinds.CustomType(cls=cls) if cls is Duration or cls is Size:
            return f"a {cls.__name__.lower()}: write {cls.SPELLING}"
        case kinds.StructType() | kinds.DictType():
            return "a section: write its keys on indented lines below it"
        case kinds.ListType():
            return "a list: write each item on a line of its own that begins with -"
        case _:
            return f"{name or 'a text'}: write {_either(constraint.get('examples', ['one in quotes']))}"


def _range(kind: Kind, constraint: Mapping[str, Any]) -> str:
    if not isinstance(kind, kinds.IntType):
        return f"{constraint['at_least']} to {constraint['at_most']}"
    if kind.le is not None:
        return f"{kind.ge or 0} to {kind.le}"
    return f"{kind.ge or 0} or more"


def _either(choices: Collection[Any]) -> str:
    """`a, b or c`"""
    *most, last = map(str, choices)
    return f"{', '.join(most)} or {last}" if most else last


def _did_you_mean(key: str, known: Collection[str]) -> str:
    import difflib  # late: most configurations are right

    close = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose {_either(known)}"


def _join(path: str, key: str) -> str:
    """The path of *key* below *path*; a key that is no plain name may be anything, a secret too, and is not shown."""
    name = key if re.fullmatch(r"[\w.-]{0,40}", key, re.ASCII) else "?"
    return ".".join(filter(None, (path, name)))


def _quote(text: Text, kind: Kind) -> str:
    """How a message may call *text*: by itself only where it cannot hold a secret."""
    if text.variable or kind == kinds.CustomType(Secret):
        return "this value"
    if names := variables(text.value):
        return f"the value of {_either([f'${{env:{name}}}' for name in names])}"
    return repr(text.value) if re.fullmatch(r"[^@?\n]{0,40}", text.value) else "this value"


def _variable(tree: Tree) -> str:
    """The environment variable that put *tree* there, empty for what stands in the file."""
    if isinstance(tree, Text):
        return tree.variable
    if isinstance(tree, dict):
        return min((_variable(inner) for inner in tree.values()), default="")
    return ""
