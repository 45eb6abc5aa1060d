"""An error's shape tells what it means."""

import socket
import ssl
import urllib.error
from email.utils import formatdate
from types import SimpleNamespace

import aiohttp
import httpx2 as httpx
import openai
import pytest

from otel_latency import semconv
from otel_latency.errors import CircuitOpen
from otel_latency.instrument import failures
from otel_latency.instrument.failures import Failure, classify, parse_retry_after

NOW = 1_800_000_000.0
REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")


def openai_error(kind, status, headers=None, body=None):
    return kind("no text is read", response=httpx.Response(status, headers=headers, request=REQUEST), body=body)


def with_(**attributes):
    error = RuntimeError("no text is read")
    vars(error).update(attributes)
    return error


class GrpcError(Exception):
    def code(self):
        return SimpleNamespace(name="UNAVAILABLE")


class Broken(Exception):
    @property
    def status_code(self):
        raise RuntimeError("an attribute that raises")


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


CASES = {
    "openai 429": (openai_error(openai.RateLimitError, 429), "api", "rate_limit", True),
    "openai quota": (
        openai_error(openai.RateLimitError, 429, body={"code": "insufficient_quota"}),
        "api",
        "quota",
        False,
    ),
    "openai 503": (openai_error(openai.InternalServerError, 503), "api", "unavailable", True),
    "openai 401": (openai_error(openai.AuthenticationError, 401), "api", "auth", False),
    "openai 400": (openai_error(openai.BadRequestError, 400), "api", "request", False),
    "openai timeout": (openai.APITimeoutError(request=REQUEST), "network", "timeout", True),
    "openai connection": (openai.APIConnectionError(request=REQUEST), "network", "network", True),
    "httpx timeout": (httpx.ReadTimeout("", request=REQUEST), "network", "timeout", True),
    "httpx connect": (httpx.ConnectError("", request=REQUEST), "network", "network", True),
    "aiohttp 502": (aiohttp.ClientResponseError(SimpleNamespace(real_url=""), (), status=502), "api", "gateway", True),
    "aiohttp disconnect": (aiohttp.ServerDisconnectedError(), "network", "network", True),
    "urllib 504": (urllib.error.HTTPError("", 504, "", None, None), "api", "gateway", True),
    "status_code": (with_(status_code=403), "api", "auth", False),
    "http_status": (with_(http_status=404), "api", "request", False),
    "code": (with_(code=503), "api", "unavailable", True),
    "word as code": (with_(code="rate_limit_exceeded"), "processing", "processing", False),
    "500": (with_(status_code=500), "api", "server", False),
    "overloaded": (with_(status_code=529), "api", "unavailable", True),
    "botocore": (with_(response={"ResponseMetadata": {"HTTPStatusCode": 429}}), "api", "rate_limit", True),
    "grpc": (GrpcError(), "api", "unavailable", True),
    "reset": (ConnectionResetError(), "network", "network", True),
    "name resolution": (socket.gaierror(-2, ""), "network", "network", True),
    "timeout": (TimeoutError(), "network", "timeout", True),
    "certificate": (ssl.SSLCertVerificationError(), "processing", "processing", False),
    "memory": (MemoryError(), "memory", "memory", False),
    "GPU memory": (OutOfMemoryError(), "memory", "memory", False),
    "bug": (KeyError("x"), "processing", "processing", False),
    "raising attribute": (Broken(), "processing", "processing", False),
    "open circuit": (CircuitOpen("openai", 3.0), "api", "circuit_open", False),
}


@pytest.mark.parametrize(("error", "category", "reason", "is_transient"), CASES.values(), ids=CASES)
def test_classify(error, category, reason, is_transient):
    """Clients put their status in many places; a class name tells the rest."""
    failure = classify(error, NOW)
    assert (category, reason, is_transient) == (failure.category, failure.reason, failure.is_transient)


RETRY_AFTER = {
    "seconds": ({"retry-after": "7"}, 7.0),
    "fraction": ({"retry-after": "0.5"}, 0.5),
    "milliseconds first": ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    "date": ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
    "past date": ({"retry-after": formatdate(NOW - 90, usegmt=True)}, 0.0),
    "negative": ({"retry-after": "-1"}, None),
    "infinite": ({"retry-after": "inf"}, None),
    "words": ({"retry-after": "soon"}, None),
    "absent": ({}, None),
}


@pytest.mark.parametrize(("headers", "expected"), RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_retry_after(headers, expected):
    """Seconds, milliseconds and dates are understood, nonsense is not."""
    assert expected == parse_retry_after(headers, NOW)


def test_retry_after_of_an_error():
    """The header is found on the client's response, in any case; an error not to be retried has no use for it."""
    headers = {"Retry-After": "12"}
    assert 12.0 == classify(openai_error(openai.RateLimitError, 429, headers), NOW).retry_after
    assert 12.0 == classify(urllib.error.HTTPError("", 503, "", headers, None), NOW).retry_after
    assert None is classify(openai_error(openai.BadRequestError, 400, headers), NOW).retry_after


def test_provider_fault():
    """Outages speak against a provider; refused requests and bugs do not."""
    faults = [with_(status_code=status) for status in (400, 401, 429, 500, 503)]
    assert [False, False, True, True, True] == [classify(each, NOW).is_provider_fault for each in faults]
    assert not classify(KeyError(), NOW).is_provider_fault


def test_reasons_of_retries():
    """Whatever is worth another attempt has an attribute that counts it."""
    reasons = {each.reason for each in vars(failures).values() if isinstance(each, Failure) and each.is_transient}
    assert semconv.RETRY_REASONS.keys() == reasons
