"""Walking a template's tree: text out, or an `ExecutionError` in Go's words that names the place.

Every render has a purse of steps: nodes, rounds of loops, long texts and queries are paid from it, so a template ends
whatever it says. Output, every text on the way and the nesting of templates are bounded too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from otel_latency.rules.template.functions import FUNCTIONS
from otel_latency.rules.template.instants import DURATION_METHODS, INSTANT_METHODS, Duration, Instant, Method
from otel_latency.rules.template.nodes import (
    Action,
    Body,
    Bool,
    Break,
    Call,
    Chain,
    Command,
    Continue,
    Dot,
    Field,
    Identifier,
    If,
    Nil,
    Node,
    Number,
    Operand,
    Pipe,
    Range,
    String,
    Text,
    Variable,
    With,
    source,
)
from otel_latency.rules.template.printf import default_text
from otel_latency.rules.template.quoting import quote, to_bytes
from otel_latency.rules.template.standard import shown
from otel_latency.rules.template.values import (
    ANY,
    MAX_BYTES,
    SAMPLE,
    VECTOR,
    Arguments,
    Context,
    Fault,
    Function,
    Struct,
    is_true,
    type_name,
)

MAX_STEPS = 20_000
MAX_DEPTH = 50
# What stands before a rule's text in Prometheus, on the same line: columns count from there.
_PREFIX_BYTES = len(
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
)
_QUERY_STEPS = 200
_BYTES_PER_STEP = 64
_RANGE_OVER_INTEGERS_SINCE = 3

_NONE_GIVEN: Final = object()
_NIL_FITS = frozenset([ANY, VECTOR, SAMPLE])


class ExecutionError(Exception):
    """The template cannot be expanded; the text is Go's, with place and expression."""


@dataclass(slots=True)
class _Binding:
    """A variable and its value now."""

    name: str
    value: Any


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Trees:
    """A parsed template: its name, its text, its tree and those that it defines."""

    name: str
    text: str
    bodies: Mapping[str, Body]


def execute(trees: Trees, data: Struct, variables: Iterable[tuple[str, Any]], context: Context) -> str:
    """Raises ExecutionError."""
    execution = _Execution(trees, context)
    execution.variables = [_Binding("$", data), *(_Binding(name, value) for name, value in variables)]
    execution.walk(data, trees.bodies[trees.name])
    return "".join(execution.output)


class _Execution:
    __slots__ = ("context", "depth", "node", "output", "size", "steps", "tree", "trees", "variables")

    def __init__(self, trees: Trees, context: Context) -> None:
        self.trees = trees
        self.context = context
        self.tree = trees.name
        self.node: Node | None = None
        self.variables: list[_Binding] = []
        self.output: list[str] = []
        self.size = 0
        self.steps = MAX_STEPS
        self.depth = 0

    def fault(self, fact: str) -> ExecutionError:
        node = self.node
        assert node is not None
        before = self.trees.text[: node.at]
        line = before.count("\n") + 1
        column = len(to_bytes(before[before.rfind("\n") + 1 :])) + (_PREFIX_BYTES if line == 1 else 0)
        place = f"{self.trees.name}:{line}:{column}"
        return ExecutionError(f"template: {place}: executing {quote(self.tree)} at <{source(node)}>: {fact}")

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise self.fault(f"the template takes more than {MAX_STEPS} steps")

    # Steps

    def walk(self, dot: Any, body: Body) -> None:
        for step in body:
            self.spend(1)
            self.node = step
            if type(step) is Text:
                self.write(step.text)
            else:
                _WALKS[type(step)](self, dot, step)

    def write(self, text: str) -> None:
        self.size += len(text) if text.isascii() else len(to_bytes(text))
        if self.size > MAX_BYTES:
            raise self.fault(f"the output has more than {MAX_BYTES} bytes")
        self.output.append(text)

    def act(self, dot: Any, action: Action) -> None:
        value = self.pipeline(dot, action.pipe)
        if action.pipe.declared:
            return
        self.node = action
        self.write(value if type(value) is str else self.text(value))

    def text(self, value: Any) -> str:
        """What an action prints of *value*."""
        try:
            return default_text(shown(value))
        except Fault as fault:
            raise self.fault(str(fault)) from fault

    def choose(self, dot: Any, step: If | With) -> None:
        mark = len(self.variables)
        value = self.pipeline(dot, step.pipe)
        if is_true(value):
            self.walk(value if type(step) is With else dot, step.body)
        elif step.otherwise is not None:
            self.walk(dot, step.otherwise)
        del self.variables[mark:]

    def loop(self, dot: Any, step: Range) -> None:
        mark = len(self.variables)
        pairs = self.pairs(self.pipeline(dot, step.pipe), step.pipe)
        inner = len(self.variables)
        with suppress(_Break):
            for key, value in pairs:
                self.spend(1)
                self.bind(step.pipe, key, value)
                with suppress(_Continue):
                    self.walk(value, step.body)
                del self.variables[inner:]
        if not pairs and step.otherwise is not None:
            self.walk(dot, step.otherwise)
        del self.variables[mark:]

    def pairs(self, value: Any, pipe: Pipe) -> list[tuple[Any, Any]]:
        """What a loop goes over, keys in order."""
        if value is None:
            return []
        if isinstance(value, list):
            return list(enumerate(value))
        if isinstance(value, dict):
            return [(key, value[key]) for key in sorted(value, key=to_bytes)]
        if type(value) is int and self.context.semantics >= _RANGE_OVER_INTEGERS_SINCE:
            if len(pipe.declared) > 1:
                raise self.fault(f"can't use {value} to iterate over more than one variable")
            self.spend(max(0, value))
            return [(None, number) for number in range(value)]
        raise self.fault(f"range can't iterate over {self.text(value)}")

    def bind(self, pipe: Pipe, key: Any, value: Any) -> None:
        """Give a loop's variables their values of this round: one is the element, two are index and element."""
        values = (key, value) if len(pipe.declared) > 1 else (value,)
        if pipe.is_assignment:
            for variable, item in zip(pipe.declared, values, strict=False):
                self.assign(variable.name, item)
            return
        for back, item in enumerate(reversed(values[: len(pipe.declared)]), 1):
            self.variables[-back].value = item

    def jump(self, _: Any, step: Break | Continue) -> NoReturn:
        raise _Break if type(step) is Break else _Continue

    def call(self, dot: Any, step: Call) -> None:
        body = self.trees.bodies.get(step.name)
        if body is None:
            raise self.fault(f"template {quote(step.name)} not defined")
        if self.depth >= MAX_DEPTH:
            raise self.fault(f"exceeded maximum template depth ({MAX_DEPTH})")
        value = None if step.pipe is None else self.pipeline(dot, step.pipe)
        outside = self.tree, self.variables
        self.tree, self.variables = step.name, [_Binding("$", value)]
        self.depth += 1
        self.walk(value, body)
        self.depth -= 1
        self.tree, self.variables = outside

    # Values

    def variable(self, name: str) -> _Binding:
        for binding in reversed(self.variables):
            if binding.name == name:
                return binding
        raise self.fault(f"undefined variable: {name}")

    def assign(self, name: str, value: Any) -> None:
        self.variable(name).value = value

    def pipeline(self, dot: Any, pipe: Pipe) -> Any:
        self.node = pipe
        value: Any = _NONE_GIVEN
        for command in pipe.commands:
            value = self.command(dot, command, value)
        for variable in pipe.declared:
            if pipe.is_assignment:
                self.assign(variable.name, value)
            else:
                self.variables.append(_Binding(variable.name, value))
        return value

    def command(self, dot: Any, command: Command, final: Any) -> Any:
        first, *arguments = command.operands
        if type(first) is not Pipe:
            self.node = first
        if type(first) is Identifier:
            return self.function(dot, first.name, command, arguments, final)
        if type(first) is Variable and not first.names:
            value = self.variable(first.name).value
        elif isinstance(first, Field | Variable | Chain):
            return self.fields(dot, first, arguments, final)
        if arguments or final is not _NONE_GIVEN:
            raise self.fault(f"can't give argument to non-function {source(first)}")
        if type(first) is Variable:
            return value
        if type(first) is Pipe:
            return self.pipeline(dot, first)
        if type(first) is Nil:
            raise self.fault("nil is not a command")
        return self.literal(dot, first)

    def literal(self, dot: Any, node: Operand) -> Any:
        if type(node) is Dot:
            return dot
        assert isinstance(node, Bool | Number | String)
        if type(node) is Number and type(node.value) is int and node.value >= 1 << 63:
            raise self.fault(f"{node.text} overflows int")
        return node.value

    def fields(self, dot: Any, node: Field | Variable | Chain, arguments: list[Operand], final: Any) -> Any:
        if type(node) is Variable:
            value = self.variable(node.name).value
        elif type(node) is Chain:
            if type(node.operand) is Nil:
                raise self.fault(f"indirection through explicit nil in {source(node)}")
            value = self.operand(dot, node.operand, ANY)
        else:
            value = dot
        is_held = False
        for name in node.names[:-1]:
            owner, value = value, self.field(dot, value, name, node, [], _NONE_GIVEN, is_held=is_held)
            is_held = type(owner) is Arguments
        return self.field(dot, value, node.names[-1], node, arguments, final, is_held=is_held)

    def field(
        self,
        dot: Any,
        owner: Any,
        name: str,
        node: Operand,
        arguments: list[Operand],
        final: Any,
        *,
        is_held: bool,
    ) -> Any:
        """*is_held*: the owner came straight out of a map of anything, which is all that Go knows of its type."""
        if owner is None:
            if is_held:
                raise self.fault(f"nil pointer evaluating interface {{}}.{name}")
            return None
        has_arguments = bool(arguments) or final is not _NONE_GIVEN
        if isinstance(owner, dict):
            if has_arguments:
                raise self.fault(f"{name} is not a method but has arguments")
            return owner.get(name, None if type(owner) is Arguments else "")
        if type(owner) is Struct and name in owner.fields:
            if has_arguments:
                raise self.fault(f"{name} has arguments but cannot be invoked as function")
            return owner.fields[name]
        method = _method(owner, name)
        if method is None:
            raise self.fault(f"can't evaluate field {name} in type {ANY if is_held else type_name(owner)}")
        parameters, answer = method
        function = Function(lambda *values: answer(owner, *values), parameters)
        return self.answer(dot, function, name, node, arguments, final)

    # Functions

    def function(self, dot: Any, name: str, node: Node, arguments: list[Operand], final: Any) -> Any:
        function = FUNCTIONS[name]
        if name in {"and", "or"}:
            return self.logic(dot, name, arguments, final)
        return self.answer(dot, function, name, node, arguments, final)

    def logic(self, dot: Any, name: str, arguments: list[Operand], final: Any) -> Any:
        """The first operand that decides, else the last; those behind it are not looked at."""
        if not arguments and final is _NONE_GIVEN:
            raise self.fault(f"wrong number of args for {name}: want at least 1 got 0")
        value = None
        for argument in arguments:
            value = self.operand(dot, argument, ANY)
            if is_true(value) == (name == "or"):
                return value
        return value if final is _NONE_GIVEN else final

    def answer(self, dot: Any, function: Function, name: str, node: Node, arguments: list[Operand], final: Any) -> Any:
        """Call a function or method with operands as its parameters want them."""
        types = self.types(function, name, len(arguments), has_final=final is not _NONE_GIVEN)
        values = [self.operand(dot, argument, wanted) for argument, wanted in zip(arguments, types, strict=False)]
        if final is not _NONE_GIVEN:
            values.append(self.validated(final, types[-1]))
        self.spend(_price(values) + (_QUERY_STEPS if name == "query" else 0))
        try:
            result = function.call(self.context, *values) if function.needs_context else function.call(*values)
        except Fault as fault:
            self.node = node
            raise self.fault(f"error calling {name}: {fault}") from fault
        if isinstance(result, str) and len(result) > MAX_BYTES:
            self.node = node
            raise self.fault(f"error calling {name}: a text may have {MAX_BYTES} bytes")
        return result

    def types(self, function: Function, name: str, given: int, *, has_final: bool) -> list[str]:
        """The parameter types of a call with this many operands."""
        parameters, count = function.parameters, given + has_final
        if function.rest is None:
            if count != len(parameters):
                raise self.fault(f"wrong number of args for {name}: want {len(parameters)} got {count}")
            return list(parameters)
        if count < len(parameters):
            raise self.fault(f"wrong number of args for {name}: want at least {len(parameters)} got {given}")
        return [*parameters, *([function.rest] * (count - len(parameters)))]

    def operand(self, dot: Any, node: Operand, wanted: str) -> Any:
        """An argument's value, checked against the type of its parameter."""
        self.node = node
        if type(node) is Dot:
            return self.validated(dot, wanted)
        if isinstance(node, Variable | Field | Chain):
            if type(node) is Variable and not node.names:
                return self.validated(self.variable(node.name).value, wanted)
            return self.validated(self.fields(dot, node, [], _NONE_GIVEN), wanted, is_held=True)
        if type(node) is Pipe:
            return self.validated(self.pipeline(dot, node), wanted)
        if type(node) is Identifier:
            return self.validated(self.function(dot, node.name, node, [], _NONE_GIVEN), wanted)
        if type(node) is Nil:
            if wanted not in _NIL_FITS:
                raise self.fault(f"cannot assign nil to {wanted}")
            return None
        return self.constant(node, wanted)

    def constant(self, node: Operand, wanted: str) -> Any:
        if wanted == "string" and type(node) is not String:
            raise self.fault(f"expected string; found {source(node)}")
        if wanted not in {ANY, "string"}:
            raise self.fault(f"can't handle {source(node)} for arg of type {wanted}")
        return self.literal(None, node)

    def validated(self, value: Any, wanted: str, *, is_held: bool = False) -> Any:
        """*is_held*: nothing that comes out of a map is an empty interface to Go, else it is no value at all."""
        if wanted == ANY:
            return value
        if value is None:
            if is_held:
                raise self.fault(f"wrong type for value; expected {wanted}; got interface {{}}")
            if wanted not in _NIL_FITS:
                raise self.fault(f"invalid value; expected {wanted}")
            return None
        if type_name(value) != wanted:
            raise self.fault(f"wrong type for value; expected {wanted}; got {type_name(value)}")
        return value


_WALKS: Mapping[type, Callable[[_Execution, Any, Any], None]] = {
    Action: _Execution.act,
    If: _Execution.choose,
    With: _Execution.choose,
    Range: _Execution.loop,
    Break: _Execution.jump,
    Continue: _Execution.jump,
    Call: _Execution.call,
}


def _price(values: list[Any]) -> int:
    """Steps that a call costs: one, and more for long texts."""
    return 1 + sum(len(value) for value in values if isinstance(value, str)) // _BYTES_PER_STEP


def _method(owner: Any, name: str) -> Method | None:
    if type(owner) is Instant:
        return INSTANT_METHODS.get(name)
    return DURATION_METHODS.get(name) if type(owner) is Duration else None
