"""Asks a running agent's API; for commands that have `--agent URL`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import SplitResult, urlencode, urlsplit

from otel_latency.errors import ConfigError, EvaluationError, OtelLatencyError
from otel_latency.ingest.text import clean

DEFAULT_AGENT: Final = "http://127.0.0.1:8080"
TIMEOUT: Final = 10.0
_LONG: Final = 2000
"""Characters of arguments that go into an address; more are sent as a form."""
_SHOWN: Final = 300


class NotFound(OtelLatencyError):
    """The agent answers, but does not know what was asked for."""


def plain_http(url: str) -> SplitResult | None:
    """The parts of *url*; None unless it is an address that can be asked without TLS."""
    try:
        parts = urlsplit(url)
        is_right = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    return parts if is_right and re.fullmatch("[!-~]+", url) else None


class AgentClient:
    """The agent at *url*, a plain http address. Raises ConfigError when it is not one."""

    def __init__(self, url: str = DEFAULT_AGENT, *, timeout: float = TIMEOUT) -> None:
        parts = plain_http(url)
        if parts is None:
            raise ConfigError(f"--agent: {url}: this is not a plain http URL: write {DEFAULT_AGENT}")
        self._url = url.rstrip("/")
        self._host, self._port, self._prefix = parts.hostname or "", parts.port or 80, parts.path.rstrip("/")
        self._timeout = timeout

    def get(self, path: str, **arguments: object) -> Any:
        """The JSON at *path*. Raises OtelLatencyError, with the address and why, when there is none.

        It is NotFound where the agent does not know the thing, or the path.
        """
        query = _query(arguments)
        status, answer = self._answer("GET", path, f"{path}?{query}" if query else path)
        if status != 200:
            raise self._refused(path, status, answer)
        return answer

    def rows(self, path: str, name: str, **arguments: object) -> list[Any]:
        """The list called *name* in the answer at *path*. Raises as `get` does, and where there is no such list."""
        answer = self.get(path, **arguments)
        rows = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise self._failed(f"{path}: its answer has no {name}: is the agent of our version?")
        return rows

    def prometheus(self, path: str, **arguments: object) -> Any:
        """The `data` of an answer in Prometheus' shape. Raises EvaluationError with what the agent says is wrong."""
        path, query = f"/api/v1/{path}", _query(arguments)
        if len(query) > _LONG:
            status, answer = self._answer("POST", path, path, query)
        else:
            status, answer = self._answer("GET", path, f"{path}?{query}" if query else path)
        if status not in (200, 400, 422) or not isinstance(answer, dict):
            raise self._refused(path, status, answer)
        if answer.get("status") != "success":
            raise EvaluationError(str(answer.get("error", "the agent did not say what is wrong")))
        return answer["data"]

    def _answer(self, method: str, path: str, target: str, form: str | None = None) -> tuple[int, Any]:
        """Status and JSON."""
        headers = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
        connection = HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(method, f"{self._prefix}{target}", form, headers)
            response = connection.getresponse()
            body = response.read()
            status = response.status
        except TimeoutError:
            raise self._failed(f"no answer within {self._timeout:g} s") from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or "no HTTP answer"
            raise self._failed(f"{reason}: is an agent running there? name it with --agent") from None
        finally:
            connection.close()
        try:
            return status, json.loads(body)
        except ValueError:
            raise self._failed(f"{path} answered {status}, and no JSON: is it an agent?") from None

    def _refused(self, path: str, status: int, answer: Any) -> OtelLatencyError:
        """What the agent says is wrong."""
        told = answer.get("error") if isinstance(answer, dict) else None
        if status == 404:
            reason = "the agent has no such path: is it of our version?" if told in (None, "not found") else told
            return NotFound(f"{self._url}: {path}: {clean(str(reason), _SHOWN)}")
        return self._failed(f"{path}: {clean(str(told), _SHOWN)}" if told else f"{path} answered {status}")

    def _failed(self, reason: str) -> OtelLatencyError:
        return OtelLatencyError(f"{self._url}: {reason}")


def _query(arguments: Mapping[str, object]) -> str:
    return urlencode({name: value for name, value in arguments.items() if value is not None})
