"""From the `forward` section to what runs: one destination for each item, all with one thread for the heavy work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp.abc import AbstractResolver

from otel_latency.clock import Clock
from otel_latency.config.sections import ForwardDestination
from otel_latency.errors import ConfigError
from otel_latency.forward.batch import Source, Transport
from otel_latency.forward.content import denied
from otel_latency.forward.credentials import Credentials
from otel_latency.forward.destination import Destination
from otel_latency.forward.packing import Packing
from otel_latency.forward.worker import Worker
from otel_latency.listening import in_url

_PREFIX: Final = "forward:"


class Forwarder:
    """`run` beside everything else, `close` last."""

    def __init__(self, destinations: Sequence[Destination], worker: Worker) -> None:
        self.destinations = destinations
        self._worker = worker

    async def run(self) -> None:
        """Forward until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for destination in self.destinations:
                tasks.create_task(destination.run(), name=f"forward:{destination.name}")

    async def close(self) -> None:
        """Closing twice, or before `run`, is harmless."""
        for destination in self.destinations:
            await destination.close()
        self._worker.close()

    def status(self) -> list[dict[str, object]]:
        """The section `forward` of /status."""
        return [destination.status() for destination in self.destinations]


def reader_name(section: ForwardDestination) -> str:
    """Under which the log remembers how far the destination is."""
    return f"{_PREFIX}{section.label}"


def build(
    sections: Sequence[ForwardDestination],
    source: Callable[[str], Source],
    clock: Clock,
    *,
    resolver: AbstractResolver | None = None,
) -> Forwarder:
    """*source* is asked by `reader_name`. Raises ConfigError when a file of a section cannot be used."""
    worker = Worker()
    destinations = []
    for index, section in enumerate(sections):
        credentials = _credentials(section, index)
        _try(section, credentials)
        transport = _transport(section, credentials, worker, clock, resolver)
        destinations.append(
            Destination(
                section.label,
                f"{section.endpoint.partition('://')[0]}://{in_url(section.host)}:{section.port}",
                source=source(reader_name(section)),
                transport=transport,
                packing=_packing(section, transport),
                worker=worker,
                clock=clock,
            )
        )
    return Forwarder(destinations, worker)


def faults_of_files(sections: Sequence[ForwardDestination]) -> list[ConfigError]:
    """What `build` would say about the files that the sections name; nothing is opened but they."""
    found: list[ConfigError] = []
    for index, section in enumerate(sections):
        try:
            _try(section, _credentials(section, index))
        except ConfigError as fault:
            found.append(fault)
    return found


def _credentials(section: ForwardDestination, index: int) -> Credentials:
    return Credentials(
        f"forward[{index}]",
        headers=section.headers,
        header_files=section.header_files,
        tls=section.tls,
        may_quote=section.content == "drop",
    )


def _try(section: ForwardDestination, credentials: Credentials) -> None:
    credentials.read()
    if _is_secure(section):
        credentials.context()


def _is_secure(section: ForwardDestination) -> bool:
    return section.endpoint.startswith(("https://", "grpcs://"))


def _packing(section: ForwardDestination, transport: Transport) -> Packing:
    return Packing(
        denied(section.drop_attributes) if section.content == "drop" else None,
        is_gzip=transport.is_gzip and section.compression == "gzip",
        takes_json=transport.takes_json,
    )


def _transport(
    section: ForwardDestination,
    credentials: Credentials,
    worker: Worker,
    clock: Clock,
    resolver: AbstractResolver | None,
) -> Transport:
    if section.endpoint.startswith("http"):
        from otel_latency.forward.http import HTTPTransport

        return HTTPTransport(section.endpoint, credentials, worker, clock, timeout=section.timeout, resolver=resolver)
    from otel_latency.forward.grpc import GRPCTransport

    return GRPCTransport(
        f"{in_url(section.host)}:{section.port}",
        credentials,
        worker,
        is_secure=_is_secure(section),
        is_packed=section.compression == "gzip",
        timeout=section.timeout,
    )
