"""The tree of a template. `at` is an offset in its text; `source` writes an expression back as Go's errors quote it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dot:
    at: int


@dataclass(frozen=True, slots=True)
class Nil:
    at: int


@dataclass(frozen=True, slots=True)
class Bool:
    at: int
    value: bool


@dataclass(frozen=True, slots=True)
class Number:
    at: int
    text: str
    value: int | float


@dataclass(frozen=True, slots=True)
class String:
    at: int
    quoted: str
    value: str


@dataclass(frozen=True, slots=True)
class Field:
    """`.a.b`"""

    at: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.a.b`; the dollar is part of the name."""

    at: int
    name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """`(pipeline).a.b`"""

    at: int
    operand: Operand
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identifier:
    """The name of a function."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Command:
    """An operand, or a function and its arguments."""

    at: int
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """`$x := command | command`"""

    at: int
    declared: tuple[Variable, ...]
    is_assignment: bool
    commands: tuple[Command, ...]


Operand = Dot | Nil | Bool | Number | String | Field | Variable | Chain | Identifier | Pipe


@dataclass(frozen=True, slots=True)
class Text:
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    at: int
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class If:
    at: int
    pipe: Pipe
    body: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class With:
    at: int
    pipe: Pipe
    body: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class Range:
    at: int
    pipe: Pipe
    body: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class Break:
    at: int


@dataclass(frozen=True, slots=True)
class Continue:
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """`{{template "name" pipeline}}`"""

    at: int
    quoted: str
    name: str
    pipe: Pipe | None


Step = Text | Action | If | With | Range | Break | Continue | Call
Body = tuple[Step, ...]
Node = Operand | Command | Step


def source(node: Node) -> str:
    """As written, with single spaces."""
    match node:
        case Action():
            return f"{{{{{_pipe(node.pipe)}}}}}"
        case Call():
            return f"{{{{template {node.quoted}{'' if node.pipe is None else ' ' + _pipe(node.pipe)}}}}}"
        case Command():
            return " ".join(_in_parentheses(operand) for operand in node.operands)
        case Text():
            return node.text
        case If() | With() | Range() | Break() | Continue():
            return f"{{{{{type(node).__name__.lower()}}}}}"
        case _:
            return _operand(node)


def _operand(operand: Operand) -> str:
    match operand:
        case Dot() | Nil():
            return "." if isinstance(operand, Dot) else "nil"
        case Bool():
            return "true" if operand.value else "false"
        case Number():
            return operand.text
        case String():
            return operand.quoted
        case Identifier():
            return operand.name
        case Field():
            return "".join(f".{name}" for name in operand.names)
        case Variable():
            return ".".join((operand.name, *operand.names))
        case Chain():
            return ".".join((_in_parentheses(operand.operand), *operand.names))
        case _:
            return _pipe(operand)


def _pipe(pipe: Pipe) -> str:
    commands = " | ".join(source(command) for command in pipe.commands)
    if not pipe.declared:
        return commands
    names = ", ".join(variable.name for variable in pipe.declared)
    return f"{names} {'=' if pipe.is_assignment else ':='} {commands}"


def _in_parentheses(operand: Operand) -> str:
    return f"({source(operand)})" if isinstance(operand, Pipe) else source(operand)
