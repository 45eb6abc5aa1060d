"""Programs that start others' code: gunicorn, which forks its workers, and `opentelemetry-instrument`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from textwrap import dedent

import pytest
from instrument.otlp_receiver import absent, receiving
from running import end

PATIENCE = 30.0
WORKERS = 2
TRACE_ID = "5b8efff798038103d269b633813fc60c"
APP = """
    import os
    import otel_latency as latency

    latency.configure(service="shop")

    def app(environ, start_response):
        headers = {"traceparent": environ.get("HTTP_TRACEPARENT", "")}
        with latency.extract(headers), latency.turn("answer", pid=os.getpid()), latency.stage("retrieve"):
            if environ["PATH_INFO"] == "/stuck":
                open("gate").close()  # a pipe: waits for somebody to write
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""
KINDS = {
    "sync": ("--worker-class=sync",),
    "sync, preloaded": ("--worker-class=sync", "--preload"),
    "threads": ("--worker-class=gthread", "--threads=4"),
    "threads, preloaded": ("--worker-class=gthread", "--threads=4", "--preload"),
}


class Server:
    """A running gunicorn."""

    def __init__(self, process, log):
        self.process = process
        self.log = log
        self.port = int(until(lambda: re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text()))[1])

    def get(self, path="/"):
        """The process id of the worker that answered."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"} if path == "/traced" else {}
        try:
            connection.request("GET", path, headers=headers)
            return int(connection.getresponse().read())
        finally:
            connection.close()

    def workers(self, *, but=frozenset()):
        """The process ids of all workers, each of which has served; none of *but* is left."""
        found = set()
        until(lambda: found.add(self.get()) or (len(found - but) == WORKERS and self.get() not in but))
        return found - but


@contextmanager
def gunicorn(folder, endpoint, *options):
    (folder / "shop.py").write_text(dedent(APP))
    os.mkfifo(folder / "gate")
    log = folder / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", f"--workers={WORKERS}", *options, "shop:app"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, log)
    finally:
        if process.poll() is None:
            end(process)


def until(ask):
    """What *ask* answers, once that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


def number(span, name):
    return next(pair.value.int_value for pair in span.attributes if pair.key == name)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_gunicorn(tmp_path, options):
    """Every worker's spans arrive, each with its parent and its worker's own id, also of workers that replace others
    on SIGHUP; a request that hangs is told of while it hangs; SIGTERM ends it all.
    """
    with (
        receiving() as receiver,
        gunicorn(tmp_path, receiver.endpoint, *options) as server,
        ThreadPoolExecutor() as pool,
    ):
        first = server.workers()
        stuck = pool.submit(server.get, "/stuck")
        assert receiver.until(lambda: receiver.events().count("start") == 2)
        (tmp_path / "gate").write_bytes(b"")
        assert stuck.result() in first
        server.get("/traced")
        server.process.send_signal(signal.SIGHUP)
        second = server.workers(but=first)
        server.process.terminate()
        assert 0 == server.process.wait(PATIENCE)
        assert receiver.until(lambda: receiver.names().count("answer") == receiver.names().count("retrieve"))
    turns = {span.span_id: span for span in receiver.spans if span.name == "answer"}
    stages = [span for span in receiver.spans if span.name == "retrieve"]
    pids = {number(turn, "pid") for turn in turns.values()}
    assert first | second == pids
    assert len(turns) == len({turn.trace_id for turn in turns.values()})
    assert [turns[stage.parent_span_id].trace_id for stage in stages] == [stage.trace_id for stage in stages]
    assert 1 == sum(turn.trace_id.hex() == TRACE_ID for turn in turns.values())
    instances = {(number(turn, "pid"), receiver.instances[turn.span_id]) for turn in turns.values()}
    assert (len(pids), len(pids)) == (len(instances), len({instance for _, instance in instances}))
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "WORKER TIMEOUT" not in log


@pytest.mark.parametrize("options", [KINDS["sync"], KINDS["threads, preloaded"]], ids=["sync", "threads, preloaded"])
def test_gunicorn_without_an_agent(tmp_path, options):
    """Nothing hangs, and all ends, where nobody takes the spans."""
    with absent() as endpoint, gunicorn(tmp_path, endpoint, *options) as server:
        first = server.workers()
        server.process.send_signal(signal.SIGHUP)
        server.workers(but=first)
        server.process.terminate()
        assert 0 == server.process.wait(PATIENCE)
    assert "Traceback" not in server.log.read_text()


INSTRUMENTED = """
    import json
    from opentelemetry import metrics, trace
    provider, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    import otel_latency as latency
    latency.configure(service="not this one")
    with latency.turn("answer"), latency.stage("retrieve"):
        latency.record_connection(reconnections=1)
    print(json.dumps([trace.get_tracer_provider() is provider, metrics.get_meter_provider() is meters]))
"""


def test_opentelemetry_instrument(tmp_path):
    """Its providers are used as they are: one set of spans and metrics, under the name that it was told."""
    (tmp_path / "app.py").write_text(dedent(INSTRUMENTED))
    with receiving() as receiver:
        told = {
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        process = subprocess.run(
            [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, "app.py"],
            cwd=tmp_path,
            env=os.environ | told,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (0, [True, True]) == (process.returncode, json.loads(process.stdout)), process.stderr
        assert (["answer", "retrieve"], {"shop"}) == (receiver.names(), receiver.services)
        (readings,) = receiver.metrics.values()
    assert 1 == readings[-1]["otel_latency.connection.reconnections"]
    assert "Traceback" not in process.stderr
