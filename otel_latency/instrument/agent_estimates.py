"""What the agent knows of how long calls take: it has seen other processes', and those before a restart.

Asked is the agent's web address: what `configure` was told, else OTEL_LATENCY_AGENT, else http://127.0.0.1:8080; `off`
turns it off. It is asked only while `configure` sends spans there; where the application exports by itself, only at an
address that was named, since what listens on the usual port may be anything.

Who calls `latency.estimate` wants an answer, and waits for it, 50 ms at the very most: an agent beside the process
needs 2, which an event loop does not notice, and a coroutine of its own would make every caller one. The estimates
that `run` makes for itself never wait: they take what is remembered, and have it renewed by a thread beside them.
Either way one thread at a time asks. An answer is remembered for ten seconds, and stands in for five minutes; after a
failure nobody is asked for half a minute, so that no agent costs nothing. Nothing is raised.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from io import BytesIO
from math import isfinite, log2
from typing import Any, Final, NamedTuple, cast
from urllib.parse import SplitResult, urlencode, urlsplit

from otel_latency.instrument.guard import guard
from otel_latency.predict.estimate import LEVELS, Estimate

VARIABLE: Final = "OTEL_LATENCY_AGENT"
DEFAULT: Final = "http://127.0.0.1:8080"
OFF: Final = "off"
TIMEOUT: Final = 0.05
FRESH: Final = 10.0
KEPT: Final = 300.0
PAUSE: Final = 30.0
MAX_ANSWERS: Final = 200
MAX_BYTES: Final = 65_536
_PLAIN: Final = re.compile("[!-?A-~]+").fullmatch
"""Without a user's name, which would be sent along."""


class Question(NamedTuple):
    """What an estimate is asked for."""

    task: str
    provider: str
    model: str | None
    input_tokens: int | None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Sizes within a fifth of each other share an answer."""
        size = -1 if self.input_tokens is None else round(4 * log2(1 + max(self.input_tokens, 0)))
        return self.task, self.provider, self.model or "", size

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in self._asdict().items() if value not in (None, "")})


class _Answer(NamedTuple):
    estimate: Estimate | None
    time: float


class AgentEstimates:
    """Safe to use from any thread, and after a fork."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._agent: SplitResult | None = None
        self._forget()

    def point_at(self, address: str | None) -> None:
        """Ask the agent there from now on; None, or `off`, asks nobody. One that cannot be is told in the log."""
        self._agent = None
        self._forget()
        if address is None or address.strip().lower() == OFF:
            return
        try:
            parts = urlsplit(address.strip())
            is_right = (
                parts.scheme == "http" and parts.hostname and parts.port != 0 and _PLAIN(parts.netloc + parts.path)
            )
        except ValueError:
            is_right = False
        if is_right:
            self._agent = parts
        else:
            guard.complain("agent", f"{VARIABLE} is no plain http address: write {DEFAULT}, or {OFF}")

    def estimate(self, question: Question, *, wait: bool) -> Estimate | None:
        """What the agent says; None where it is not known, or not in time."""
        if self._agent is None:
            return None
        known = self._remembered(question)
        if known is None or self._now() - known.time > FRESH:
            asked = self._ask(question)
            if wait and asked is not None:
                asked.wait(TIMEOUT)
                known = self._remembered(question) or known
        return None if known is None else known.estimate

    def after_fork(self) -> None:
        """The lock may be held, and the thread that asks gone."""
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[str, str, str, int], _Answer] = OrderedDict()
        self._asking: threading.Event | None = None
        self._paused_until = float("-inf")

    def _remembered(self, question: Question) -> _Answer | None:
        with self._lock:
            known = self._answers.get(question.key)
        return None if known is None or self._now() - known.time > KEPT else known

    def _ask(self, question: Question) -> threading.Event | None:
        """Have a thread ask, and say when it is done; None where nobody may be asked now."""
        agent = self._agent
        with self._lock:
            if agent is None or self._asking is not None or self._now() < self._paused_until:
                return None
            done = self._asking = threading.Event()
        thread = threading.Thread(
            target=self._answer, args=(agent, question, done), name="otel-latency-estimate", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._asking = None
            return None
        return done

    def _answer(self, agent: SplitResult, question: Question, done: threading.Event) -> None:
        try:
            answer = _Answer(read(_get(agent, question.query, TIMEOUT)), self._now())
        except Exception:  # refused, late, or no agent at all: each of them is an agent that cannot be asked
            answer = None
        with self._lock:
            if self._asking is not done:  # forgotten meanwhile
                return
            self._asking = None
            if answer is None:
                self._paused_until = self._now() + PAUSE
            else:
                self._answers[question.key] = answer
                self._answers.move_to_end(question.key)
                if len(self._answers) > MAX_ANSWERS:
                    self._answers.popitem(last=False)
        done.set()


agent_estimates: Final = AgentEstimates()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=agent_estimates.after_fork)


def address(told: str | None, *, is_ours: bool) -> str | None:
    """Where the agent is to be asked; *is_ours* says that spans are exported by us."""
    named = told or os.environ.get(VARIABLE, "").strip()
    return named or (DEFAULT if is_ours else None)


def read(document: object) -> Estimate | None:
    """The estimate in an answer of `/api/v1/estimate`, None where it knows of none. ValueError for anything else."""
    if not isinstance(document, Mapping) or "seconds" not in document:
        raise ValueError("this is no estimate")
    if document["seconds"] is None:
        return None
    pairs, samples = document.get("quantiles"), document.get("samples")
    if not isinstance(pairs, list) or not isinstance(samples, int) or samples < 0:
        raise ValueError("an estimate has quantiles and samples")
    try:
        levels, seconds = zip(*[(float(level), float(value)) for level, value in pairs], strict=True)
    except (TypeError, OverflowError) as error:
        raise ValueError("quantiles are pairs of numbers") from error
    if levels != LEVELS or not all(isfinite(each) and each > 0 for each in seconds) or list(seconds) != sorted(seconds):
        raise ValueError("quantiles ascend, at the levels that are agreed upon")
    return Estimate(seconds, samples)


def _get(agent: SplitResult, query: str, timeout: float) -> Any:
    """The JSON that the agent answers, within *timeout* seconds in all; anything else is an exception."""
    from http.client import HTTPResponse  # late: it loads ssl

    until = time.monotonic() + timeout
    host, port = agent.hostname or "", agent.port or 80
    with socket.create_connection((host, port), timeout) as connection:
        connection.settimeout(max(until - time.monotonic(), 1e-3))
        path = f"{agent.path.rstrip('/')}/api/v1/estimate?{query}"
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {agent.netloc}\r\n\r\n".encode("ascii"))
        response = HTTPResponse(cast("socket.socket", _Received(_all(connection, until))))
    response.begin()
    if response.status != 200:
        raise ValueError(f"the agent answered {response.status}")
    return json.loads(response.read())


def _all(connection: socket.socket, until: float) -> bytes:
    """What comes before the far side closes: a timeout for each read would never end with one that trickles."""
    received = bytearray()
    while len(received) <= MAX_BYTES:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(MAX_BYTES)
        if not part:
            return bytes(received)
        received += part
    raise ValueError("an estimate is shorter")


class _Received:
    """As much of a socket as a response reads."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._data)
