"""OTLP over HTTP to one destination: up to four requests at once, on connections that are kept for a while.

Redirects are failures, proxies of the environment are not used, and replies are read up to 64 KiB (see `outbound`).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from otel_latency import outbound
from otel_latency.clock import Clock
from otel_latency.errors import ConfigError, ForwardError
from otel_latency.forward import reply
from otel_latency.forward.batch import Accepted, Parcel
from otel_latency.forward.credentials import Credentials
from otel_latency.forward.worker import Worker

BATCH_ID: Final = "Idempotency-Key"
KEEP_ALIVE: Final = 4.0
"""Shorter than what servers keep (5 s and more), so that few requests meet a connection that is just being closed."""


class HTTPTransport:
    """A `Transport`. *endpoint* is the address without the path of the signal."""

    is_gzip = True
    takes_json = True

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        worker: Worker,
        clock: Clock,
        *,
        timeout: float = 10.0,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._credentials = credentials
        self._worker = worker
        self._clock = clock
        self._timeout = timeout
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def send(self, parcel: Parcel) -> Accepted:
        """See `Transport`."""
        try:
            session, headers = await self._opened(), await self._headers(parcel)
            url = f"{self._endpoint}/v1/{parcel.signal.value}"
            async with session.post(
                url, data=io.BytesIO(parcel.data), headers=headers, allow_redirects=False
            ) as answer:
                body = await outbound.start_of(answer)
                return reply.of_http(
                    answer.status,
                    answer.headers,
                    body,
                    is_json=parcel.is_json,
                    now=self._clock.time(),
                    secrets=self._credentials.secrets,
                )
        except TimeoutError:
            fact = f"no answer within {self._timeout:g} s"
            raise ForwardError(fact, reason="timeout", is_transient=True, may_have_arrived=True) from None
        except ConfigError as error:
            raise ForwardError(str(error), reason="configuration", is_transient=True) from None
        except ForwardError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            # The cause is left out: its text may hold the URL.
            raise _failure(error) from None

    async def renew(self) -> None:
        """See `Transport`."""
        await self.close()

    async def close(self) -> None:
        """See `Transport`."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _opened(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                tls = await self._worker(self._credentials.context) if self._endpoint.startswith("https") else None
                self._session = outbound.session(
                    timeout=self._timeout, resolver=self._resolver, tls=tls, keep_alive=KEEP_ALIVE
                )
            return self._session

    async def _headers(self, parcel: Parcel) -> Mapping[str, str]:
        credentials = self._credentials
        ours = await self._worker(credentials.read) if credentials.are_in_files else credentials.known
        return {
            "Content-Type": "application/json" if parcel.is_json else "application/x-protobuf",
            BATCH_ID: parcel.id,
            **({"Content-Encoding": "gzip"} if parcel.is_gzip else {}),
            **ours,
        }


def _failure(error: Exception) -> ForwardError:
    is_about_tls = outbound.is_about_tls(error)
    was_sent = not is_about_tls and not isinstance(error, aiohttp.ClientConnectorError)
    return ForwardError(
        outbound.explain(error),
        reason="tls" if is_about_tls else "connection",
        is_transient=True,
        may_have_arrived=was_sent,
        is_about_tls=is_about_tls,
    )
