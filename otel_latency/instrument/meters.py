"""Metrics of the application, sent to the agent: by `record_audio`, circuit breakers, or anyone with a meter.

`configure` sets `Meters` as the global MeterProvider where the application has none. Until somebody asks for a meter it
costs nothing: no SDK, no thread. From then on all instruments are read every 10 s (OTEL_METRIC_EXPORT_INTERVAL), and
once more at the end. What observable instruments call runs on a thread of ours, and a slow one delays nothing else.

A forked child counts from zero, under a `service.instance.id` of its own, as the SDK gives it.
"""

from __future__ import annotations

import contextvars
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import Meter, MeterProvider, NoOpMeter

from otel_latency.instrument.guard import guard

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

INTERVAL: Final = 10.0
FORK_PATIENCE: Final = 0.1
"""Seconds that a fork waits for a reading under way."""
LAST_READING: Final = 0.2
"""Seconds that the last reading may take."""


class Meters(MeterProvider):
    """Builds the SDK's provider when the first meter is asked for, and reads it while somebody takes what is read."""

    def __init__(self, make_provider: Callable[[], SdkMeterProvider]) -> None:
        self._make_provider = make_provider
        self._make_reading: Callable[[SdkMeterProvider], Reading] | None = None
        self._provider: SdkMeterProvider | None = None
        self._reading: Reading | None = None
        self._is_building = False
        self._changing = threading.RLock()
        if hasattr(os, "register_at_fork"):
            again = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (renew := again()) and renew())

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> Meter:
        try:
            with self._changing:
                if self._is_building:  # a part of the SDK that measures itself
                    return NoOpMeter(name, version, schema_url)
                return self._built().get_meter(name, version, schema_url, attributes)
        except Exception as fault:
            guard.caught("meter", fault)
            return NoOpMeter(name, version, schema_url)

    def begin(self, make_reading: Callable[[SdkMeterProvider], Reading]) -> None:
        """Read from now on, as soon as there is a meter."""
        with self._changing:
            self._make_reading = make_reading
            if self._provider is not None and self._reading is None:
                self._reading = make_reading(self._provider)

    def read(self) -> None:
        """Read now."""
        if self._reading is not None:
            self._reading.read()

    def end(self) -> None:
        """Read once more, and stop. Instruments may still be used; nobody hears of it until `begin`."""
        with self._changing:
            self._make_reading = None
            if self._reading is not None:
                self._reading.close()
            self._reading = None

    def _built(self) -> SdkMeterProvider:
        if self._provider is None:
            self._is_building = True
            try:
                self._provider = self._make_provider()
                if self._make_reading is not None:
                    self._reading = self._make_reading(self._provider)
            finally:
                self._is_building = False
        return self._provider

    def _after_fork(self) -> None:
        self._changing = threading.RLock()
        self._is_building = False


class Reading:
    """The thread that reads a provider; it never keeps a process alive."""

    def __init__(
        self, provider: SdkMeterProvider, make_reader: Callable[[], MetricReader], interval: float = INTERVAL
    ) -> None:
        self._provider = provider
        self._make_reader = make_reader
        self._interval = interval
        self._reader = make_reader()
        self._turn = threading.RLock()
        self._was_quiet = False
        provider.add_metric_reader(self._reader)
        self._start()
        if hasattr(os, "register_at_fork"):
            _at_forks(weakref.ref(self))

    def read(self) -> None:
        with self._turn:
            try:
                self._reader.collect()
            except Exception as fault:
                guard.caught("metrics", fault)

    def close(self) -> None:
        """Read a last time, wherever that is quick."""
        self._closing.set()
        self._thread.join(LAST_READING)
        if not self._thread.is_alive():
            self._provider.remove_metric_reader(self._reader)

    def before_fork(self) -> None:
        """Let no lock of the SDK's be held in the child by a thread that it has not."""
        self._was_quiet = self._turn.acquire(timeout=FORK_PATIENCE)

    def after_fork_here(self) -> None:
        if self._was_quiet:
            self._turn.release()

    def after_fork_in_child(self) -> None:
        """What the parent has counted is the parent's to tell: a new reader begins at zero."""
        self._turn = threading.RLock()
        if self._closing.is_set():
            return
        try:
            if self._was_quiet:
                self._provider.remove_metric_reader(self._reader)
                self._reader = self._make_reader()
                self._provider.add_metric_reader(self._reader)
            self._start()
        except Exception as fault:
            guard.caught("metrics", fault)

    def _start(self) -> None:
        self._closing = threading.Event()
        thread = threading.Thread(target=self._run, args=(self._closing,), name="otel-latency-meters", daemon=True)
        contextvars.Context().run(thread.start)
        self._thread = thread

    def _run(self, closing: threading.Event) -> None:
        while not closing.wait(self._interval):
            self.read()
        self.read()


def _at_forks(reading: weakref.ref[Reading]) -> None:
    """Have *reading* told of forks for as long as it lives."""

    def telling(tell: Callable[[Reading], None]) -> Callable[[], None]:
        return lambda: None if (alive := reading()) is None else tell(alive)

    os.register_at_fork(
        before=telling(Reading.before_fork),
        after_in_parent=telling(Reading.after_fork_here),
        after_in_child=telling(Reading.after_fork_in_child),
    )
