"""The user's own collectors, loaded from real modules."""

import inspect
import itertools

import pytest

from otel_latency.collect.user import load
from otel_latency.errors import ConfigError
from otel_latency.records import Sample

SHOP = """
from otel_latency.records import Sample

class QueueDepth:
    def collect(self):
        yield Sample("shop_queue_depth", 3.0, {"queue": "new"})

class Remote:
    async def collect(self):
        return [Sample("shop_remote", 1.0)]

class NeedsArguments:
    def __init__(self, url):
        pass

class Broken:
    def __init__(self):
        raise ValueError("password=hunter2")

ready = QueueDepth()

def orders_total():
    return 42

def stock():
    return {"shop_apples": 5, "shop_sold_total": 7}

def nothing():
    return None

async def remote_depth():
    return 9

number = 5
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module and gives its name, a new one each time."""
    monkeypatch.syspath_prepend(tmp_path)
    numbers = itertools.count()

    def write(text):
        name = f"shop_{tmp_path.name}_{next(numbers)}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


TARGETS = {
    "a class": ("QueueDepth", [Sample("shop_queue_depth", 3.0, {"queue": "new"})]),
    "an object": ("ready", [Sample("shop_queue_depth", 3.0, {"queue": "new"})]),
    "an async class": ("Remote", [Sample("shop_remote", 1.0)]),
    "a function": ("orders_total", [Sample("orders_total", 42, is_counter=True)]),
    "a function with several numbers": (
        "stock",
        [Sample("shop_apples", 5), Sample("shop_sold_total", 7, is_counter=True)],
    ),
    "a function without news": ("nothing", []),
    "an async function": ("remote_depth", [Sample("remote_depth", 9)]),
}


@pytest.mark.parametrize(("name", "expected"), TARGETS.values(), ids=TARGETS)
async def test_load(module, name, expected):
    """Classes, objects and functions, async or not, all end in samples."""
    collect = load(f"{module(SHOP)}:{name}")
    found = collect()
    assert expected == list(await found if inspect.iscoroutinefunction(collect) else found)


FAULTS = {
    "missing name": (SHOP, "QueueDeph", "module {module} has no 'QueueDeph': check the spelling"),
    "not callable": (SHOP, "number", "has no method collect() and is no function: write either"),
    "arguments": (SHOP, "NeedsArguments", "making it failed: TypeError at user.py:"),
    "raises": (SHOP, "Broken", "making it failed: ValueError at {module}.py:18: a collector is made without arguments"),
    "syntax": ("x = = 1", "X", "importing it failed: SyntaxError at {module}.py:1"),
    "import raises": ("\nraise ValueError('hunter2')", "X", "importing it failed: ValueError at {module}.py:2"),
    "import exits": ("raise SystemExit(3)", "X", "importing it failed: SystemExit at {module}.py:1"),
    "needs a package": ("import no_such_package", "X", "there is no module 'no_such_package': install it"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "name", "fact"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_loaded(module, text, name, fact):
    """A fault is one line with key path, target and fact, and nothing of the user's own message."""
    place = module(text)
    with pytest.raises(ConfigError) as caught:
        load(f"{place}:{name}")
    message = str(caught.value)
    assert message.startswith(f"collect.collectors: '{place}:{name}': {fact.format(module=place)}")
    assert ("hunter2" in message, "\n" in message) == (False, False)


def test_no_such_module():
    """A module that is not there is named, with what to do."""
    with pytest.raises(ConfigError) as caught:
        load("no_such_shop.ops:Depth")
    assert str(caught.value) == (
        "collect.collectors: 'no_such_shop.ops:Depth': there is no module 'no_such_shop': "
        "install it where the agent runs, or add its folder to PYTHONPATH"
    )
