"""Faults of ours are counted and told of once in a while."""

from __future__ import annotations

import logging

from otel_latency.instrument.guard import Guard, log


def test_one_line_a_minute(caplog):
    """Whatever goes wrong how often, a minute has one line."""
    guard = Guard()
    for second in range(130):
        guard.complain("export", "not delivered", now=1000.0 + second)
        guard.complain("start", "broken", now=1000.0 + second)
    assert ["not delivered (1 so far)", "not delivered (61 so far)", "not delivered (121 so far)"] == caplog.messages
    assert {"export": 130, "start": 130} == guard.faults


def test_text_of_a_fault_is_not_told(caplog):
    """An exception may quote a prompt: its type is enough."""
    Guard().caught("set", ValueError("my secret prompt"))
    assert ["telemetry lost, your program is not affected: set failed with ValueError (1 so far)"] == caplog.messages


def test_a_handler_that_raises():
    """A log handler of the application that fails is not our caller's problem."""

    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("disk full")

    broken = Broken()
    log.addHandler(broken)
    guard = Guard()
    try:
        guard.complain("export", "not delivered")
    finally:
        log.removeHandler(broken)
    assert {"export": 1, "logging": 1} == guard.faults


def test_silent_until_logging_is_set_up():
    """Without logging set up, nothing of ours lands on stderr."""
    assert any(isinstance(handler, logging.NullHandler) for handler in log.handlers)
