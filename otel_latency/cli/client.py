"""Asks a running agent's API; for commands that have `--agent URL`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import SplitResult, urlencode, urlsplit

from otel_latency.errors import ConfigError, EvaluationError, OtelLatencyError

DEFAULT_AGENT: Final = "http://127.0.0.1:8080"
TIMEOUT: Final = 10.0
_LONG: Final = 2000
"""Characters of arguments that go into an address; more are sent as a form."""


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
        """The JSON at *path*. Raises OtelLatencyError, with the address and why, when there is none."""
        query = _query(arguments)
        return self._answer("GET", path, f"{path}?{query}" if query else path)

    def prometheus(self, path: str, **arguments: object) -> Any:
        """The `data` of an answer in Prometheus' shape. Raises EvaluationError with what the agent says is wrong."""
        path, query = f"/api/v1/{path}", _query(arguments)
        answer = self._answer("POST", path, path, query) if len(query) > _LONG else self.get(path, **arguments)
        if answer.get("status") != "success":
            raise EvaluationError(str(answer.get("error", "the agent did not say what is wrong")))
        return answer["data"]

    def _answer(self, method: str, path: str, target: str, form: str | None = None) -> Any:
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
            answer = json.loads(body)
        except ValueError:
            raise self._failed(f"{path} answered {status}, and no JSON: is it an agent?") from None
        if status not in (200, 400, 422):
            raise self._failed(f"{path} answered {status}")
        return answer

    def _failed(self, reason: str) -> OtelLatencyError:
        return OtelLatencyError(f"{self._url}: {reason}")


def _query(arguments: Mapping[str, object]) -> str:
    return urlencode({name: value for name, value in arguments.items() if value is not None})
