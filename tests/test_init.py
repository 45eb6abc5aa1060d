"""The public names, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import otel_latency

AGENTS = ("aiohttp", "psutil", "grpc", "sqlite3", "msgspec")
HEAVY = (*AGENTS, "opentelemetry.sdk", "opentelemetry.exporter", "google")


def loaded_by(program):
    """The modules that are loaded after *program* in a fresh interpreter."""
    found = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.split())


def test_import_loads_nothing():
    """The package itself needs the standard library alone."""
    assert not {name for name in loaded_by("import otel_latency") if name.startswith(("opentelemetry", *HEAVY))}


def test_every_name_is_light():
    """All of the public names together need opentelemetry-api and the standard library."""
    program = "import otel_latency\nfor name in otel_latency.__all__: getattr(otel_latency, name)"
    assert set() == {name for name in loaded_by(program) if name.startswith(HEAVY)}


def test_use_is_light():
    """Nor does the agent's luggage come with use: a configured process knows the SDK and its exporter besides."""
    program = "import otel_latency as latency\nlatency.configure()\nwith latency.stage('x'): pass\nlatency.shutdown(0)"
    by_sdk = loaded_by("import opentelemetry.sdk.trace")  # psutil, where it is installed
    assert set() == {name for name in loaded_by(program) - by_sdk if name.startswith(AGENTS)}


def test_type_checkers_see_the_same_names():
    """What is imported for type checkers is what is there at run time, from the same modules."""
    tree = ast.parse(Path(otel_latency.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.name: f"{node.module}" for node in block.body for alias in node.names}
    assert declared == {name: f"otel_latency.{home}" for name, home in otel_latency._HOME_OF.items()}
    assert sorted(declared) == otel_latency.__all__


@pytest.mark.parametrize("name", otel_latency.__all__)
def test_names_are_there(name):
    """Each name can be had, is listed, and stays."""
    assert getattr(otel_latency, name) is getattr(otel_latency, name)
    assert name in dir(otel_latency)


def test_no_such_name():
    """A wrong name is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="module 'otel_latency' has no attribute 'stages'"):
        _ = otel_latency.stages
