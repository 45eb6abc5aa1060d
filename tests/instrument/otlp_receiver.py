"""What stands where the agent would: a receiver of OTLP over HTTP that keeps what it gets, and some that do not.

Each is a context manager that gives its base address. All listen on a loopback port that the system chose.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT = 10.0


class Receiver:
    """Spans and log records with the resource they came with; `until` waits for a state of them."""

    def __init__(self, status: int = 200) -> None:
        self.spans: list = []
        self.logs: list = []
        self.metrics: dict[str, list[dict]] = {}
        """By `service.instance.id`, each reading as it came: name -> sum of a counter."""
        self.services: set[str] = set()
        self.instances: dict[bytes, str] = {}
        """The `service.instance.id` that each span came with, by span id."""
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if status == 200:
                    receiver.take(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a sender that has ended
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        with self._arrived:
            if path == "/v1/traces":
                for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self._note(batch.resource)
                    spans = [span for scoped in batch.scope_spans for span in scoped.spans]
                    self.spans += spans
                    self.instances |= dict.fromkeys((span.span_id for span in spans), _instance(batch.resource))
            elif path == "/v1/logs":
                for batch in ExportLogsServiceRequest.FromString(body).resource_logs:
                    self._note(batch.resource)
                    self.logs += [record for scoped in batch.scope_logs for record in scoped.log_records]
            elif path == "/v1/metrics":
                for batch in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    self._note(batch.resource)
                    self.metrics.setdefault(_instance(batch.resource), []).append(
                        {
                            metric.name: sum(point.as_int for point in metric.sum.data_points)
                            for scoped in batch.scope_metrics
                            for metric in scoped.metrics
                        }
                    )
            self._arrived.notify_all()

    def _note(self, resource) -> None:
        self.services |= {pair.value.string_value for pair in resource.attributes if pair.key == "service.name"}

    def until(self, state) -> bool:
        """Whether `state()` came true."""
        with self._arrived:
            return self._arrived.wait_for(state, WAIT)

    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans)

    def events(self) -> list[str]:
        return [record.event_name.rpartition(".")[2] for record in self.logs]


def _instance(resource) -> str:
    return next((pair.value.string_value for pair in resource.attributes if pair.key == "service.instance.id"), "")


@contextmanager
def receiving(status: int = 200) -> Iterator[Receiver]:
    """A receiver that answers *status*, and keeps nothing unless that is 200."""
    receiver = Receiver(status)
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


@contextmanager
def absent() -> Iterator[str]:
    """A port that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def failing() -> Iterator[str]:
    """An agent that answers 500."""
    with receiving(500) as receiver:
        yield receiver.endpoint


@contextmanager
def garbage() -> Iterator[str]:
    """A port behind which something else lives."""
    server = socket.create_server(("127.0.0.1", 0), backlog=128)

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"\x00\xff not HTTP at all\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
