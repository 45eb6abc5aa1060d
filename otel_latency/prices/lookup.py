"""One question to genai-prices, put to a child process that ends with its answer (see `prices.table`).

A thread waits for the child, so the event loop never does; whoever asked looks now and then whether `answer` is there.
A child that takes longer than `TIMEOUT`, or is not wanted any more, is killed. The question travels over a pipe: names
that senders made up are no arguments of a command.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

from otel_latency.prices.tariff import Tariff

TIMEOUT: Final = 15.0
MAX_SAID: Final = 200
"""Characters of the last line that a failed child wrote."""
Pair = tuple[str, str]
"""A provider (maybe empty) and a model."""


def command() -> tuple[str, ...]:
    """How the child is started: without our package, the user's environment or what sites add to every start."""
    writes = ("-B",) if sys.dont_write_bytecode else ()
    place = ("-X", f"pycache_prefix={sys.pycache_prefix}") if sys.pycache_prefix else ()
    return (sys.executable, "-I", "-S", *writes, *place, str(Path(__file__).with_name("table.py")))


@dataclass(frozen=True, slots=True)
class Answer:
    """Tariffs of the pairs whose price is known. `missing` is a package that is not installed, `error` what broke."""

    tariffs: dict[Pair, Tariff]
    missing: str = ""
    error: str = ""


class Lookup:
    """Under way from the moment it is made."""

    def __init__(self, pairs: Sequence[Pair], child: Sequence[str], timeout: float = TIMEOUT) -> None:
        self.pairs = tuple(pairs)
        self.answer: Answer | None = None
        self._child = child
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._thread = Thread(target=self._run, name="prices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Kill the child, if there is one, and return when it is gone."""
        self._is_stopped = True
        if self._process:
            self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        try:
            self.answer = self._ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            self.answer = Answer({}, error=f"{type(error).__name__}: {error}")

    def _ask(self) -> Answer:
        question = json.dumps({"path": sys.path, "pairs": self.pairs}).encode()
        pipe = subprocess.PIPE
        with subprocess.Popen(self._child, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/") as process:  # noqa: S603
            self._process = process
            if self._is_stopped:  # `stop` came before there was a child to kill
                process.kill()
            try:
                told, said = process.communicate(question, self._timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                return Answer({}, error=f"no answer within {self._timeout:g} s")
        if process.returncode:
            last = said.decode(errors="replace").strip().rpartition("\n")[2][:MAX_SAID]
            return Answer({}, error=": ".join(filter(None, (f"it ended with {process.returncode}", last))))
        return self._read(json.loads(told))

    def _read(self, told: dict[str, Any]) -> Answer:
        if "missing" in told:
            return Answer({}, missing=told["missing"])
        both = zip(self.pairs, told["tariffs"], strict=True)
        return Answer({pair: Tariff(tariff) for pair, tariff in both if tariff is not None})
