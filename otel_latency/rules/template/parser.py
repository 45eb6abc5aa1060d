"""Template text to trees, as Go's text/template/parse builds them, with its words for what is wrong.

A rule's text stands behind four definitions of Prometheus' own (`$labels`, `$externalLabels`, `$externalURL`,
`$value`), which are known here and not parsed each time. Nesting is bounded, since trees are walked recursively.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager

from otel_latency.errors import ExpressionError
from otel_latency.rules.template.lexer import Token, tokens
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
    Number,
    Operand,
    Pipe,
    Range,
    Step,
    String,
    Text,
    Variable,
    With,
    source,
)
from otel_latency.rules.template.quoting import quote, unquote

VARIABLES = ("$", "$labels", "$externalLabels", "$externalURL", "$value")

_MAX_NESTING = 50
_MOST_DIGITS = 70
_OPERANDS = frozenset([".", "field", "variable", "identifier", "bool", "number", "rune", "nil", "string", "("])
_LITERALS = Bool | Dot | Nil | Number | String
_CONTROLS: Mapping[str, type[If | With | Range]] = {"if": If, "with": With, "range": Range}
_INTEGER = re.compile(
    r"([+-]?)(0[xX]_?[0-9a-fA-F](?:_?[0-9a-fA-F])*|0[bB]_?[01](?:_?[01])*|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)"
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")


def parse(text: str, *, name: str, functions: Container[str], has_else_with: bool) -> Mapping[str, Body]:
    """The tree of *text* under *name*, and those that it defines; raises ExpressionError.

    *has_else_with*: `{{else with}}` is younger than Prometheus 2.
    """
    return _Parser(text, name, functions, has_else_with=has_else_with).run()


class _Parser:
    def __init__(self, text: str, name: str, functions: Container[str], *, has_else_with: bool) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = 0
        self._name = name
        self._functions = functions
        self._chained = ("if", "with") if has_else_with else ("if",)
        self._trees: dict[str, Body] = {}
        self._variables = list(VARIABLES)
        self._ranges = 0
        self._nesting = 0
        self._action_at: int | None = None

    def run(self) -> Mapping[str, Body]:
        steps: list[Step] = []
        while self._peek().kind != "end":
            if self._at_definition():
                self._definition()
                continue
            step = self._step()
            if isinstance(step, Token):
                raise self._fault(f"unexpected {{{{{step.kind}}}}}", step.at)
            steps.append(step)
        self._add(self._name, tuple(steps), 0)
        return self._trees

    # Tokens

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _skip_space(self) -> Token:
        """The next token that is no space; it is still to be taken."""
        if self._peek().kind == "space":
            self._next += 1
        return self._peek()

    def _take_word(self) -> Token:
        self._skip_space()
        return self._take()

    def _expect(self, kind: str, context: str) -> Token:
        token = self._take_word()
        if token.kind != kind:
            raise self._unexpected(token, context)
        return token

    def _fault(self, fact: str, at: int) -> ExpressionError:
        return ExpressionError(fact, at)

    def _unexpected(self, token: Token, context: str) -> ExpressionError:
        if token.kind != "error":
            return self._fault(f"unexpected {token} in {context}", token.at)
        started = self._action_at
        if started is None or "\n" not in self._text[started : token.at]:
            return self._fault(token.text, token.at)
        joint = "" if token.text.endswith(" action") else " in action"
        line = self._text.count("\n", 0, started) + 1
        return self._fault(f"{token.text}{joint} started at line {line}", token.at)

    # Steps

    def _at_definition(self) -> bool:
        if self._peek().kind != "{{":
            return False
        start = self._next
        self._next += 1
        found = self._skip_space().kind == "define"
        self._next = self._next + 1 if found else start
        return found

    def _definition(self) -> None:
        name, at = self._template_name("define clause")
        self._expect("}}", "define clause")
        with self._own_scope():
            body, end = self._body()
        self._check_end(end, "define clause")
        self._add(name, body, at)

    def _check_end(self, token: Token, context: str) -> None:
        if token.kind == "else":
            raise self._fault(f"unexpected {{{{else}}}} in {context}", token.at)

    def _add(self, name: str, body: Body, at: int) -> None:
        known = self._trees.get(name, ())
        if not _is_empty(known) and not _is_empty(body):
            raise self._fault(f"template: multiple definition of template {quote(name)}", at)
        if _is_empty(known):
            self._trees[name] = body

    @contextmanager
    def _own_scope(self) -> Iterator[None]:
        """Another template sees neither the variables nor the loops around it."""
        kept = self._variables, self._ranges
        self._variables, self._ranges = ["$"], 0
        yield
        self._variables, self._ranges = kept

    def _body(self) -> tuple[Body, Token]:
        """Steps up to an `{{end}}` or `{{else}}`, which comes along as a token."""
        steps: list[Step] = []
        while self._skip_space().kind != "end":
            step = self._step()
            if isinstance(step, Token):
                return tuple(steps), step
            steps.append(step)
        raise self._fault("unexpected EOF", len(self._text))

    def _step(self) -> Step | Token:
        token = self._take_word()
        if token.kind == "text":
            return Text(token.at, token.text)
        if token.kind != "{{":
            raise self._unexpected(token, "input")
        self._action_at = token.at
        step = self._action()
        self._action_at = None
        return step

    def _action(self) -> Step | Token:
        """What stands between `{{` and `}}`, with the body that belongs to it; `{{end}}` and `{{else}}` as tokens."""
        token = self._skip_space()
        match token.kind:
            case "if" | "with" | "range":
                self._next += 1
                return self._control(token)
            case "else" | "end":
                return self._ending()
            case "break" | "continue":
                return self._jump()
            case "template":
                return self._call()
            case "block":
                return self._block()
            case _:
                return Action(token.at, self._pipeline("command", "}}"))

    def _ending(self) -> Token:
        token = self._take()
        # `{{else if x}}` and `{{else with x}}` leave the keyword for whoever reads the body that begins here.
        if token.kind == "end" or self._skip_space().kind not in self._chained:
            self._expect("}}", token.kind)
        return token

    def _jump(self) -> Break | Continue:
        token = self._take()
        shown = f"{{{{{token.text}}}}}"
        self._expect("}}", shown)
        if not self._ranges:
            raise self._fault(f"{shown} outside {{{{range}}}}", token.at)
        return Break(token.at) if token.kind == "break" else Continue(token.at)

    def _control(self, keyword: Token) -> If | With | Range:
        with self._nested(keyword.at):
            known = len(self._variables)
            pipe = self._pipeline(keyword.kind, "}}")
            self._ranges += keyword.kind == "range"
            body, end = self._body()
            self._ranges -= keyword.kind == "range"
            otherwise = self._otherwise(keyword.kind) if end.kind == "else" else None
            del self._variables[known:]
        return _CONTROLS[keyword.kind](pipe.at, pipe, body, otherwise)

    def _otherwise(self, kind: str) -> Body:
        following = self._skip_space()
        if following.kind == kind and kind != "range":
            self._next += 1
            return (self._control(following),)
        body, end = self._body()
        if end.kind != "end":
            raise self._fault("expected end; found {{else}}", end.at)
        return body

    def _call(self) -> Call:
        self._next += 1
        quoted = self._skip_space().text
        name, at = self._template_name("template clause")
        if self._skip_space().kind == "}}":
            self._next += 1
            return Call(at, quoted, name, None)
        return Call(at, quoted, name, self._pipeline("template clause", "}}"))

    def _block(self) -> Call:
        self._next += 1
        quoted = self._skip_space().text
        name, at = self._template_name("block clause")
        pipe = self._pipeline("block clause", "}}")
        with self._nested(at), self._own_scope():
            body, end = self._body()
        self._check_end(end, "block clause")
        self._add(name, body, at)
        return Call(at, quoted, name, pipe)

    def _template_name(self, context: str) -> tuple[str, int]:
        token = self._take_word()
        if token.kind != "string":
            raise self._unexpected(token, context)
        return self._unquoted(token), token.at

    def _unquoted(self, token: Token) -> str:
        try:
            return unquote(token.text)
        except ExpressionError as error:
            raise self._fault(error.fact, token.at) from error

    @contextmanager
    def _nested(self, at: int) -> Iterator[None]:
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            raise self._fault("max expression depth exceeded", at)
        yield
        self._nesting -= 1

    # Pipelines

    def _pipeline(self, context: str, end: str) -> Pipe:
        at = self._skip_space().at
        declared, is_assignment = self._declarations(context)
        commands: list[Command] = []
        while (token := self._skip_space()).kind != end:
            if token.kind not in _OPERANDS:
                raise self._unexpected(self._take(), context)
            commands.append(self._command())
        self._next += 1
        if not commands:
            raise self._fault(f"missing value for {context}", token.at)
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], _LITERALS):
                raise self._fault(f"non executable command in pipeline stage {stage}", command.at)
        return Pipe(at, declared, is_assignment, tuple(commands))

    def _declarations(self, context: str) -> tuple[tuple[Variable, ...], bool]:
        """`$x :=`, `$x =` and, in a range, `$i, $x :=`; nothing is taken when the variable is an operand."""
        declared: list[Variable] = []
        while self._skip_space().kind == "variable":
            start = self._next
            name = self._take()
            sign = self._skip_space()
            if sign.kind in {":=", "="}:
                self._next += 1
                self._declare(declared, name)
                return tuple(declared), sign.kind == "="
            if sign.text != ",":
                self._next = start
                break
            self._next += 1
            self._declare(declared, name)
            if context != "range" or len(declared) > 1:
                raise self._fault(f"too many declarations in {context}", name.at)
            if self._skip_space().kind not in {"variable", "}}", ")"}:
                raise self._fault("range can only initialize variables", name.at)
        return tuple(declared), False

    def _declare(self, declared: list[Variable], token: Token) -> None:
        declared.append(Variable(token.at, token.text, ()))
        self._variables.append(token.text)

    def _command(self) -> Command:
        at = self._skip_space().at
        operands: list[Operand] = []
        while True:
            self._skip_space()
            operand = self._operand()
            if operand is not None:
                operands.append(operand)
            token = self._peek()
            if token.kind == "space":
                continue
            if token.kind == "|":
                self._next += 1
            elif token.kind not in {"}}", ")"}:
                raise self._unexpected(self._take(), "operand")
            break
        if not operands:
            raise self._fault("empty command", at)
        return Command(at, tuple(operands))

    def _operand(self) -> Operand | None:
        """A term and the fields behind it, or None where no operand begins."""
        term = self._term()
        if term is None or self._peek().kind != "field":
            return term
        at = self._peek().at
        names: list[str] = []
        while self._peek().kind == "field":
            names.append(self._take().text[1:])
        if isinstance(term, Field):
            return Field(at, (*term.names, *names))
        if isinstance(term, Variable):
            return Variable(at, term.name, (*term.names, *names))
        if isinstance(term, _LITERALS):
            raise self._fault(f"unexpected . after term {quote(source(term))}", at)
        return Chain(at, term, tuple(names))

    def _term(self) -> Operand | None:
        token = self._peek()
        if token.kind not in _OPERANDS:
            return None
        self._next += 1
        match token.kind:
            case "identifier":
                if token.text not in self._functions:
                    raise self._fault(f"function {quote(token.text)} not defined", token.at)
                return Identifier(token.at, token.text)
            case "variable":
                if token.text not in self._variables:
                    raise self._fault(f"undefined variable {quote(token.text)}", token.at)
                return Variable(token.at, token.text, ())
            case "field":
                return Field(token.at, (token.text[1:],))
            case "(":
                with self._nested(token.at):
                    return self._pipeline("parenthesized pipeline", ")")
            case _:
                return self._literal(token)

    def _literal(self, token: Token) -> Bool | Dot | Nil | Number | String:
        match token.kind:
            case ".":
                return Dot(token.at)
            case "nil":
                return Nil(token.at)
            case "bool":
                return Bool(token.at, token.text == "true")
            case "string":
                return String(token.at, token.text, self._unquoted(token))
            case "rune":
                return Number(token.at, token.text, self._rune(token))
            case _:
                return Number(token.at, token.text, self._number(token))

    def _rune(self, token: Token) -> int:
        character = self._unquoted(token)
        if not character:
            raise self._fault("invalid syntax", token.at)
        if len(character) > 1:
            raise self._fault(f"malformed character constant: {token.text}", token.at)
        return ord(character)

    def _number(self, token: Token) -> int | float:
        """An ideal constant: with a point or an exponent it is a float, else an integer."""
        text = token.text
        if _INTEGER.fullmatch(text):
            return self._integer(text, token.at)
        digits = text.replace("_", "")
        if _DECIMAL.fullmatch(text):
            if text.lstrip("+-").isdecimal():
                raise self._fault(f"integer overflow: {quote(text)}", token.at)
            number = float(text)
        elif _HEXADECIMAL.fullmatch(digits):
            number = self._hexadecimal(digits, token)
        else:
            raise self._fault(f"illegal number syntax: {quote(text)}", token.at)
        if math.isinf(number):
            raise self._fault(f"illegal number syntax: {quote(text)}", token.at)
        return number

    def _hexadecimal(self, digits: str, token: Token) -> float:
        try:
            return float.fromhex(digits)
        except OverflowError as error:
            raise self._fault(f"illegal number syntax: {quote(token.text)}", token.at) from error

    def _integer(self, text: str, at: int) -> int:
        digits = text.replace("_", "")
        if len(digits) > _MOST_DIGITS:
            raise self._fault(f"integer overflow: {quote(text)}", at)
        unsigned = digits.lstrip("+-")
        is_old_octal = len(unsigned) > 1 and unsigned[0] == "0" and unsigned.isdecimal()
        number = int(digits, 8 if is_old_octal else 0)
        if not -(1 << 63) <= number < 1 << 64:
            raise self._fault(f"integer overflow: {quote(text)}", at)
        return number


def _is_empty(body: Body) -> bool:
    return all(isinstance(step, Text) and not step.text.strip() for step in body)
