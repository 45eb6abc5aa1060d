"""What the environment may say: `${env:NAME}` inside a value, and `OTEL_LATENCY_WEB__PORT` in place of one.

A variable's value is never interpreted further and never part of a message. Two underscores separate the keys of an
override, so variables such as OTEL_LATENCY_SERVICE_HOST, which Kubernetes sets for a service of our name, are none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from otel_latency.config.tree import Text, Tree
from otel_latency.errors import ConfigError

PREFIX = "OTEL_LATENCY_"
_VARIABLE = re.compile(r"\$\{(?:env:([A-Za-z_][A-Za-z0-9_]*)\})?")


def variables(text: str) -> list[str]:
    """The names that *text* refers to. Raises ValueError for `${` that begins no variable."""
    names = _VARIABLE.findall(text)
    if "" in names:
        raise ValueError("'${' begins no variable here: write ${env:NAME}")
    return names


def expand(text: str, environ: Mapping[str, str]) -> str:
    """*text* with its variables filled in. Raises ValueError that names the one that is not set."""
    for name in variables(text):
        if name not in environ:
            raise ValueError(f"the variable {name} is not set: export it, or write the value here")
    return _VARIABLE.sub(lambda found: environ[found[1]], text)


def override(tree: dict[str, Tree], environ: Mapping[str, str]) -> None:
    """Put the overrides in *environ* into *tree*; whether a key exists is for its reader to say."""
    for variable in sorted(environ):
        keys = variable.removeprefix(PREFIX).lower().split("__")
        if variable.startswith(PREFIX) and len(keys) > 1:
            _put(tree, keys, Text(environ[variable], variable))


def _put(tree: dict[str, Tree], keys: list[str], text: Text) -> None:
    *parents, last = keys
    for depth, key in enumerate(parents, start=1):
        inner = tree.get(key)
        if inner is None:
            inner = tree[key] = {}
        if not isinstance(inner, dict):
            path = ".".join(keys[:depth])
            raise ConfigError(
                f"{text.variable}: {path}: the file has no section here: write one, or unset the variable"
            )
        tree = inner
    tree[last] = text
