"""`otel-latency rules explain` against a running agent."""

from __future__ import annotations

import json
import time

import pytest
from live_rules import Judges
from running import running_agent

from otel_latency.cli import main

RULES = """\
groups:
  - name: queue
    rules:
      - alert: QueueDeep
        expr: >
          depth > 5
          and on (queue) depth < 100
        for: 1h
      - record: queue:depth:double
        expr: depth * 2
"""
CONFIG = "rules: {files: [queue.rules.yaml], interval: 250ms, sample_interval: 250ms, target_labels: {instance: a}}"


@pytest.fixture(scope="module")
def url():
    """An agent whose queue holds 9."""
    with running_agent(files={"otel-latency.yaml": CONFIG, "queue.rules.yaml": RULES}) as agent:
        Judges(agent, 0).post(9, 1)
        deadline = time.monotonic() + 10
        while b"pending" not in agent.get("/api/v1/alerts")[1]:
            assert time.monotonic() < deadline, agent.log()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{agent.web_port}"


SERIES = '{instance="a", job="otel-latency", queue="orders", service="shop"}'
EXPLAINED = f"""\
QueueDeep  queue.rules.yaml, group queue: pending, for 3600s
  depth > 5 and on (queue) depth < 100                                          1 element
    depth{SERIES}  9
    depth > 5                                                                   1 element
      depth{SERIES}  9
      depth                                                                     1 element
        depth{SERIES}  9
    depth < 100                                                                 1 element
      depth{SERIES}  9
      depth                                                                     1 element
        depth{SERIES}  9
"""


def test_text(url, capsys):
    """The rule, its state, and each part with its elements below it."""
    assert main(["rules", "explain", "QueueDeep", "--agent", url]) == 0
    found = capsys.readouterr().out
    assert [line.split() for line in EXPLAINED.splitlines()] == [line.split() for line in found.splitlines()]


def test_json(url, capsys):
    """Machines get every element and the alerts."""
    assert main(["rules", "explain", "queue:depth:double", "--agent", url, "--json"]) == 0
    (rule,) = json.loads(capsys.readouterr().out)["rules"]
    assert (rule["type"], rule["expression"]["text"]) == ("recording", "depth * 2")
    assert [one["value"] for one in rule["expression"]["value"]] == ["18"]
    assert [part["text"] for part in rule["expression"]["parts"]] == ["depth"]


def test_elements(url, capsys):
    """What is too much for a screen is counted."""
    main(["rules", "explain", "QueueDeep", "--agent", url, "--elements", "0"])
    assert capsys.readouterr().out.count("... and 1 more") == 5


ERRORS = {
    "a slip": ("QueueDepp", 1, "the agent has no such rule: did you mean QueueDeep?"),
    "nothing like it": ("X", 1, "the agent has no such rule: see its /api/v1/rules"),
}


@pytest.mark.parametrize(("name", "code", "text"), ERRORS.values(), ids=ERRORS)
def test_no_such_rule(url, capsys, name, code, text):
    """A name that no rule has ends it with what to do."""
    assert main(["rules", "explain", name, "--agent", url]) == code
    assert capsys.readouterr().err == f"{name}: {text}\n"


def test_no_agent(capsys):
    """Nobody there, or no address at all."""
    assert main(["rules", "explain", "X", "--agent", "http://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("http://127.0.0.1:1: Connection refused: is an agent running there?")
    assert main(["rules", "explain", "X", "--agent", "127.0.0.1"]) == 2
    assert "this is not a plain http URL" in capsys.readouterr().err
    assert main(["rules", "explain", "X", "--agent", "http://127.0.0.1:1/\u00e9"]) == 2
    assert "this is not a plain http URL" in capsys.readouterr().err
