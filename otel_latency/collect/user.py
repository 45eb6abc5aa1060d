"""The user's own collectors: `module:name` from the configuration, made into something to poll.

The name is a class (made without arguments) or an object with a method `collect`, or a plain function. `collect` yields
`Sample`s; a function returns one number, exported under the function's name, or a mapping of names to numbers, or
`Sample`s. Numbers under a name that ends in `_total` are counters. All of them may be `async`. What cannot be loaded is
a ConfigError at start-up.

Cost: what the user's code costs; its module is imported when the agent starts.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from otel_latency.collect.faults import describe
from otel_latency.collect.runner import Collect
from otel_latency.errors import ConfigError
from otel_latency.records import Sample


def load(target: str) -> Collect:
    """What to call for the samples of *target*. Raises ConfigError with the key path, the fact and the cure."""
    module_name, _, name = target.partition(":")
    found = getattr(_module(target, module_name), name, None)
    if found is None:
        raise ConfigError(f"collect.collectors: {target!r}: module {module_name} has no {name!r}: check the spelling")
    if inspect.isclass(found):
        found = _made(target, found)
    function = getattr(found, "collect", found)
    if not callable(function):
        raise ConfigError(f"collect.collectors: {target!r}: has no method collect() and is no function: write either")
    return adapt(function, name)


def adapt(function: Callable[[], Any], name: str) -> Collect:
    """*function* with its result as samples; *name* is the metric of a bare number."""
    if asyncio.iscoroutinefunction(function):

        async def collect() -> Iterable[Sample]:
            return as_samples(await function(), name)

        return collect
    return lambda: as_samples(function(), name)


def as_samples(result: Any, name: str) -> Iterable[Sample]:
    """A number, a mapping of names to numbers, or samples already; None stands for no samples."""
    if result is None:
        return ()
    if isinstance(result, Mapping):
        return [_number(key, value) for key, value in result.items()]
    if isinstance(result, Iterable):
        return result
    return [_number(name, result)]


def _number(name: str, value: float) -> Sample:
    return Sample(name, value, is_counter=name.endswith("_total"))


def _module(target: str, name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        cure = "install it where the agent runs, or add its folder to PYTHONPATH"
        raise ConfigError(f"collect.collectors: {target!r}: there is no module {error.name!r}: {cure}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"collect.collectors: {target!r}: importing it failed: {describe(error)}") from error


def _made(target: str, kind: type) -> Any:
    try:
        return kind()
    except Exception as error:
        cure = "a collector is made without arguments"
        raise ConfigError(f"collect.collectors: {target!r}: making it failed: {describe(error)}: {cure}") from error
