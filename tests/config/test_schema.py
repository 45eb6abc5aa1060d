from typing import Annotated, Literal

import pytest
from msgspec import Meta
from msgspec.inspect import type_info

from otel_latency.config.document import parse
from otel_latency.config.schema import Reader
from otel_latency.config.sections import Section
from otel_latency.config.tree import Text
from otel_latency.config.values import Secret

CANARY = "c4n4ry"


class Server(Section):
    """Stands for the sections to come: secrets, free keys and counts without an upper bound."""

    token: Secret | None = None
    headers: dict[str, Secret] = {}
    hosts: list[str] = []
    retries: Annotated[int, Meta(ge=0, le=9)] = 0
    offset: int = 0
    mode: Literal["fast"] = "fast"


class Tree(Section):
    server: Server
    servers: list[Server] = []


def read(text, environ=None):
    reader = Reader("file", environ or {})
    return reader.read(parse(text, "file"), type_info(Tree)), [str(fault) for fault in reader.faults]


def test_secrets():
    """A secret is taken as it stands, filled in from the environment, and never shown."""
    tree, faults = read(
        "server: {token: '${env:TOKEN}', headers: {authorization: 'Bearer ${env:TOKEN}'}}", {"TOKEN": CANARY}
    )
    assert ([], CANARY, f"Bearer {CANARY}") == (
        faults,
        tree.server.token.reveal(),
        tree.server.headers["authorization"].reveal(),
    )
    assert CANARY not in f"{tree} {tree!r}"


SECRETS_IN_WRONG_PLACES = {
    f"server: {{token: [{CANARY}]}}": "file: server.token: a list is not a text: write one in quotes",
    f"server: {{token: {{{CANARY}: }}}}": "file: server.token: a section is not a text: write one in quotes",
    f"server: {{token: '${{{CANARY}}}'}}": "file: server.token: '${' begins no variable here: write ${env:NAME}",
    f"server: {{headers: {CANARY}}}": (
        "file: server.headers: a single value is not a section: write its keys on indented lines below it"
    ),
    f"server: {{headers: {{'{CANARY}: x': }}}}": "file: server.headers.?: has no value: write one, or remove the key",
    f"server: {{retries: 'x://{CANARY}@y'}}": "file: server.retries: this value is not a whole number: write 0 to 9",
    f"server: {{retries: '{CANARY * 9}'}}": "file: server.retries: this value is not a whole number: write 0 to 9",
    "server: {retries: 'a${env:TOKEN}'}": (
        "file: server.retries: the value of ${env:TOKEN} is not a whole number: write 0 to 9"
    ),
    f"server: [{CANARY}]": "file: server: a list is not a section: write its keys on indented lines below it",
}


@pytest.mark.parametrize(("text", "expected"), SECRETS_IN_WRONG_PLACES.items())
def test_secrets_in_wrong_places(text, expected):
    """However a secret is misplaced, the message does without it."""
    assert [expected] == read(text, {"TOKEN": CANARY})[1]


def test_numbers():
    """A field without an upper bound, or without a name, says what it can."""
    assert ["file: server.offset: 'x' is not a whole number: write 0 or more"] == read("server: {offset: x}")[1]
    assert ["file: server.retries: '10' is out of range: write 0 to 9"] == read("server: {retries: 10}")[1]
    assert ["file: server.mode: 'slow' is not one of the choices: write fast"] == read("server: {mode: slow}")[1]
    assert -5 == read("server: {offset: -5}")[0].server.offset


def test_paths_have_indexes():
    """A fault inside a list is found by its index, counted from 0."""
    assert ["file: servers[1].hosts[0]: a list is not a text: write one in quotes"] == (
        read("{server: {}, servers: [{}, {hosts: [[x]]}]}")[1]
    )


def test_required():
    """A required key is named by the section that lacks it."""
    assert ["file: server is missing: add it"] == read("{}")[1]


def test_faults_of_the_environment():
    """A value from a variable is reported under the variable, and so is a key that only variables set."""
    reader = Reader("file", {})
    text = Text(CANARY, "OTEL_LATENCY_SERVER__X")
    reader.read({"server": {"retries": text, "x": text, "y": {"z": text}}}, type_info(Tree))
    assert [
        "OTEL_LATENCY_SERVER__X: server.retries: this value is not a whole number: write 0 to 9",
        "OTEL_LATENCY_SERVER__X: server.x: unknown key: choose token, headers, hosts, retries, offset or mode",
        "OTEL_LATENCY_SERVER__X: server.y: unknown key: choose token, headers, hosts, retries, offset or mode",
    ] == [str(fault) for fault in reader.faults]
