"""Asking the child: its answer, and all the ways in which there is none."""

import sys
from threading import Event, Thread

import pytest

from otel_latency.prices.lookup import Lookup, command

GPT, CLAUDE, NOBODY = ("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("openai", "no-such-model")


def python(code):
    """A child that runs *code*."""
    return (sys.executable, "-I", "-S", "-c", code)


def answered(lookup):
    lookup._thread.join(30)
    return lookup.answer


def test_answer():
    """Models with a price get a tariff, in one answer for all of them."""
    answer = answered(Lookup([GPT, NOBODY, CLAUDE], command()))
    assert [GPT, CLAUDE] == list(answer.tariffs)
    assert 0.0025 == answer.tariffs[GPT].cost({"input_tokens": 1000.0}, 1.7e9)


def test_odd_names():
    """Names of any sort are looked up like others: they are data, and no part of a command."""
    odd = [("openai", name) for name in ("--help", "gpt-4o; rm -rf /", "\0", "\ud800", "日本語", "x" * 10_000, "")]
    answer = answered(Lookup([*odd, GPT], command()))
    assert ([GPT], "") == (list(answer.tariffs), answer.error)


BROKEN = {
    "ends badly": ("raise SystemExit(3)", "it ended with 3"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "it ended with -9"),
    "raises": ("print('half'); raise ValueError('no such unit')", "it ended with 1: ValueError: no such unit"),
    "says nothing": ("pass", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    "says something else": ("print('{}')", "KeyError: 'tariffs'"),
    "hangs": ("import time; time.sleep(60)", "no answer within 0.2 s"),
}


@pytest.mark.parametrize(("code", "error"), BROKEN.values(), ids=BROKEN)
def test_broken(code, error):
    """A child that fails is an answer, too: without tariffs, with what happened."""
    answer = answered(Lookup([GPT], python(code), timeout=0.2 if "sleep" in code else 30))
    assert (error, {}) == (answer.error, answer.tariffs)


def test_no_interpreter():
    """A child that cannot be started is no different."""
    assert "FileNotFoundError" in answered(Lookup([GPT], ("/no/such/python",))).error


def test_missing():
    """A package that the child misses is told by its name."""
    assert "genai_prices" == answered(Lookup([GPT], python('print(\'{"missing": "genai_prices"}\')'))).missing


def test_stop():
    """Stopping ends the child at once, whether it has begun or not, and may be repeated."""
    lookup = Lookup([GPT], python("import time; time.sleep(60)"))
    ended = Event()
    Thread(target=lambda: (lookup.stop(), lookup.stop(), ended.set()), daemon=True).start()
    assert ended.wait(10)
    assert lookup._process is None or lookup._process.returncode is not None
