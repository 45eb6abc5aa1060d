"""Metrics from the application to the agent, in processes of their own."""

from __future__ import annotations

import json

from instrument.otlp_receiver import absent, black_hole, receiving
from instrument.processes import ended, start
from running import running_agent, total

MEASURED = """
    import otel_latency as latency
    from otel_latency.instrument.breaker import breakers
    latency.configure(service="bot")
    latency.record_connection(rtt=0.03, reconnections=2, peer="eu")
    latency.record_audio(latency=0.04)
    breaker = breakers.of("openai")
    for _ in range(5):
        breaker.enter()
        breaker.failed(ConnectionError())
"""


def test_measured_values_reach_the_agent():
    """Audio, connection and the state of circuits stand on the agent's page, over HTTP and gRPC."""
    with running_agent() as agent:
        ended(start(MEASURED, f"http://127.0.0.1:{agent.http_port}"), quiet=False)
        grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SERVICE_NAME": "other"}
        program = MEASURED.replace('service="bot"', "")
        ended(start(program, f"http://127.0.0.1:{agent.grpc_port}", **grpc), quiet=False)
        page = agent.metrics()
    for service in ("bot", "other"):
        assert (2, 1, 1, 2) == (
            total(page, "otel_latency_connection_reconnections_total", service=service, peer="eu"),
            total(page, "otel_latency_connection_rtt_seconds_count", service=service),
            total(page, "otel_latency_audio_latency_seconds_bucket", service=service, le="0.04"),
            total(page, "otel_latency_circuit_state", service=service, provider="openai"),
        )


COST = """
    import json, sys, threading
    import otel_latency as latency
    latency.configure(service="bot")
    with latency.stage("retrieve"):
        pass
    is_loaded = "opentelemetry.sdk.metrics._internal.measurement_consumer" in sys.modules
    print(json.dumps([is_loaded, threading.active_count()]))
    from opentelemetry import metrics
    metrics.get_meter("theirs").create_counter("sold").add(3)
    print(json.dumps([latency.flush(), any(each.name == "otel-latency-meters" for each in threading.enumerate())]))
"""


def test_nothing_before_the_first_meter():
    """Who measures nothing has neither the SDK's metrics nor a thread for them; anyone's first meter brings both."""
    with receiving() as receiver:
        before, after = map(json.loads, ended(start(COST, receiver.endpoint)).splitlines())
        assert ([False, 3], [True, True]) == (before, after)
        (readings,) = receiver.metrics.values()
    assert {"sold": 3} == readings[0]


def test_switched_off():
    """With OTEL_METRICS_EXPORTER=none nothing is sent, and what is measured becomes events of the span."""
    program = """
        import otel_latency as latency
        latency.configure(service="bot")
        with latency.stage("retrieve"):
            latency.record_audio(glitches=1)
    """
    with receiving() as receiver:
        ended(start(program, receiver.endpoint, OTEL_METRICS_EXPORTER="none"))
        assert {} == receiver.metrics
        assert ["audio"] == [event.name for span in receiver.spans for event in span.events]


def test_a_provider_of_the_users():
    """An application's own MeterProvider stays, and gets what we measure."""
    program = """
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader])
        metrics.set_meter_provider(provider)
        import otel_latency as latency
        latency.configure(service="bot")
        latency.record_audio(glitches=1)
        found = reader.get_metrics_data().to_json()
        print(metrics.get_meter_provider() is provider, "otel_latency.audio.glitches" in found)
    """
    with receiving() as receiver:
        assert "True True\n" == ended(start(program, receiver.endpoint))
        assert {} == receiver.metrics


def test_children_count_from_zero():
    """Forked workers tell what they have counted themselves, each under an id of its own."""
    program = """
        import os, sys
        import otel_latency as latency
        latency.configure(service="bot")
        latency.record_connection(reconnections=100)
        for number in (1, 2):
            if os.fork() == 0:
                latency.record_connection(reconnections=number)
                sys.exit(0)
        for _ in range(2):
            assert os.wait()[1] == 0
    """
    with receiving() as receiver:
        ended(start(program, receiver.endpoint))
        last = [readings[-1]["otel_latency.connection.reconnections"] for readings in receiver.metrics.values()]
    assert [1, 2, 100] == sorted(last)


def test_again_after_shutdown():
    """It counts from zero each time that it is configured; in between nobody hears."""
    program = """
        import otel_latency as latency
        for _ in range(2):
            latency.configure(service="bot")
            latency.record_connection(reconnections=1)
            latency.shutdown()
            latency.record_connection(reconnections=10)
    """
    with receiving() as receiver:
        ended(start(program, receiver.endpoint))
        (readings,) = receiver.metrics.values()
    assert [1, 1] == [each["otel_latency.connection.reconnections"] for each in readings]


SLOW = """
    import time
    import otel_latency as latency
    from opentelemetry import metrics
    latency.configure(service="bot")
    def forever(options):
        time.sleep(600)
    metrics.get_meter("theirs").create_observable_gauge("slow", [forever])
    latency.record_audio(glitches=1)
    print(time.time(), flush=True)
"""


def test_nobody_takes_them():
    """An agent that is absent or silent, and an instrument that never answers, neither hold the exit up nor talk."""
    with absent() as nowhere, black_hole() as silent:
        programs = [(MEASURED, nowhere), (MEASURED, silent), (SLOW, nowhere)]
        started = [start(program, place, OTEL_METRIC_EXPORT_INTERVAL="100") for program, place in programs]
        for process in started:
            _, errors = process.communicate(timeout=30)
            assert 0 == process.returncode
            assert len([line for line in errors.splitlines() if "circuit" not in line]) <= 1, errors
