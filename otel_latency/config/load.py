"""From a file and the environment to a `Config`, or to messages of one line: file, key path, fact and cure.

The environment comes after the file, the defaults before it; a wrong value in the file is a fault also where a variable
takes its place. A file is read once, up to `MAX_BYTES`, so one that is being replaced is seen whole or not at all. See
`document`, `environment` and `schema` for the three steps.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.inspect import type_info
from msgspec.structs import fields

from otel_latency.config.environment import override
from otel_latency.config.schema import Reader
from otel_latency.config.sections import Config
from otel_latency.config.tree import Tree
from otel_latency.errors import ConfigError

DEFAULT_FILE = "otel-latency.yaml"
MAX_BYTES = 1 << 20


def load(path: str | None, environ: Mapping[str, str]) -> Config:
    """The configuration in *path*, or else in `DEFAULT_FILE` where there is one, or else the defaults.

    Raises ConfigError for the first fault; `faults` has them all.
    """
    config, found = _read(path, environ)
    if config is None:
        raise found[0]
    return config


def faults(path: str, environ: Mapping[str, str]) -> list[ConfigError]:
    """Everything wrong with the file at *path*; beyond a fault in its YAML nothing can be said."""
    return _read(path, environ)[1]


def _read(path: str | None, environ: Mapping[str, str]) -> tuple[Config | None, list[ConfigError]]:
    try:
        place, tree = _document(path)
        own = _own_faults(place, tree, environ)
        override(tree, environ)
    except ConfigError as fault:
        return None, [fault]
    reader = Reader(place, environ)
    config = reader.read(tree, type_info(Config))
    shown = {str(fault) for fault in reader.faults}
    found = reader.faults + [fault for fault in own if str(fault) not in shown]
    return (None if found else config), found


def _own_faults(place: str, tree: Mapping[str, Tree], environ: Mapping[str, str]) -> list[ConfigError]:
    """What is wrong in the file before anything is overridden.

    Each section is read by itself: two that do not fit together may do so once a variable has moved one of them.
    """
    reader = Reader(place, environ)
    for field in fields(Config):
        if field.name in tree:
            reader.read(tree[field.name], type_info(field.type), field.name)
    return reader.faults


def _document(path: str | None) -> tuple[str, dict[str, Tree]]:
    """How messages call the file, and what is in it."""
    place = path or DEFAULT_FILE
    try:
        with open(place, "rb") as file:  # noqa: PTH123 -- the name is shown as the user wrote it, `./` and all
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path is None:
            return place, {}
        raise ConfigError(f"{place}: there is no such file: check the name") from None
    except OSError as error:
        raise ConfigError(
            f"{place}: the file cannot be read ({error.strerror}): check the name and its rights"
        ) from None
    from otel_latency.config.document import parse  # late: many an agent has no file, and YAML takes 1 MiB

    tree = parse(_text(data, place), place)
    if tree is None:
        return place, {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{place}: the file holds no sections: begin with a key such as web:")
    return place, tree


def _text(data: bytes, place: str) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{place}: the file is larger than 1 MiB: is it the right one?")
    if not data.strip():
        # More likely a write that was cut off than a wish; comments alone do ask for the defaults.
        raise ConfigError(f"{place}: the file is empty: write {{}} to run with the defaults")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: byte {error.start} is not UTF-8: save the file as UTF-8") from None
