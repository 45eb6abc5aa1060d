"""`configure` in processes of their own, as applications call it: with an agent, without one, forked, switched off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from textwrap import dedent

import pytest
from instrument.otlp_receiver import absent, black_hole, failing, garbage, receiving
from instrument.processes import PATIENCE, ended, start
from running import running_agent, total

SENT = """
    import otel_latency as latency
    latency.configure(service="bot")
    latency.configure(service="not this one")
    with latency.turn("answer", session="s1"), latency.stage("retrieve"):
        pass
"""


def test_sent_at_exit():
    """A short program's spans arrive, whole, with its service's name."""
    with receiving() as receiver:
        ended(start(SENT, receiver.endpoint))
        assert ["answer", "retrieve"] == receiver.names()
        assert {"bot"} == receiver.services


def test_grpc(monkeypatch):
    """The same over gRPC, into a real agent."""
    with running_agent() as agent:
        ended(start(SENT, f"http://127.0.0.1:{agent.grpc_port}", OTEL_EXPORTER_OTLP_PROTOCOL="grpc"))
        page = agent.metrics()
    assert 1 == total(page, "otel_latency_turns_total", service="bot", turn="answer", status="ok")
    assert 1 == total(page, "otel_latency_stages_total", service="bot", stage="retrieve", status="ok")


def test_optimised():
    """`python -O` changes nothing."""
    with receiving() as receiver:
        ended(start(SENT, receiver.endpoint, "-O"))
        assert ["answer", "retrieve"] == receiver.names()


def test_switched_off():
    """With OTEL_SDK_DISABLED the SDK is not even loaded."""
    with receiving() as receiver:
        program = SENT + "    import sys; print('opentelemetry.sdk' in sys.modules)"
        assert "False\n" == ended(start(program, receiver.endpoint, OTEL_SDK_DISABLED="true"))
        assert [] == receiver.spans


def test_a_provider_of_the_users():
    """A provider that is set already is used as it is: nothing is added to it, and nothing is sent."""
    program = """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        import otel_latency as latency
        latency.configure(service="bot"{more})
        with latency.stage("retrieve"):
            pass
        print([span.name for span in exporter.get_finished_spans()], trace.get_tracer_provider() is provider)
    """
    with receiving() as receiver:
        assert "['retrieve'] True\n" == ended(start(program.format(more=""), receiver.endpoint))
        assert [] == receiver.spans
        asked = program.format(more=f", endpoint={receiver.endpoint!r}")
        assert "['retrieve'] True\n" == ended(start(asked, receiver.endpoint))
        assert ["retrieve"] == receiver.names()


def test_a_provider_set_later():
    """Without `configure`, spans go to whatever provider the application sets, even after our import."""
    program = """
        import otel_latency as latency
        timed = latency.stage("retrieve")(len)
        timed("")
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        timed("")
        print([span.name for span in exporter.get_finished_spans()])
    """
    with absent() as endpoint:
        assert "['retrieve']\n" == ended(start(program, endpoint))


def test_again_after_shutdown():
    """What was shut down can be configured anew, and sends again."""
    program = """
        import otel_latency as latency
        latency.shutdown()
        for name in ("one", "two"):
            latency.configure(service="bot")
            with latency.stage(name):
                pass
            latency.shutdown()
            with latency.stage("lost"):
                pass
    """
    with receiving() as receiver:
        ended(start(program, receiver.endpoint))
        assert ["one", "two"] == receiver.names()


PLACES = {"absent": absent, "black hole": black_hole, "500": failing, "garbage": garbage}
MANY = """
    import json, resource, sys, time
    import otel_latency as latency
    latency.configure(service="bot", carry_threads=True)
    def memory():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for _ in range(3000):
        with latency.stage("warm up"):
            pass
    before = memory()
    for number in range(25_000):
        with latency.stage("step", number=number) as step:
            step.milestone("first_token")
    print(json.dumps({"grown": memory() - before, "time": time.time()}), flush=True)
"""


def test_nobody_takes_the_spans():
    """Agent absent, silent, broken or another program: 100,000 stages in all raise nothing, log nothing at first and
    then a line a minute, stay within their memory, and the process ends.
    """
    places = {name: place() for name, place in PLACES.items()}
    processes = {name: start(MANY, place.__enter__()) for name, place in places.items()}
    for name, process in processes.items():
        output, errors = process.communicate(timeout=PATIENCE)
        late = time.time() - json.loads(output)["time"]
        assert 0 == process.returncode, (name, errors)
        assert len(errors.splitlines()) <= 1, (name, errors)
        assert 30 > json.loads(output)["grown"], name
        assert 10 > late, name  # the benchmark has the promised second
    for place in places.values():
        place.__exit__(None, None, None)


def test_children_of_multiprocessing(tmp_path):
    """Processes that multiprocessing forks, spawns or has a server fork send their spans; none is sent twice."""
    script = tmp_path / "program.py"
    script.write_text(
        dedent("""
        import multiprocessing
        import otel_latency as latency
        latency.configure(service="bot")

        def work(number, message):
            with latency.extract(message), latency.stage(f"child {number}"):
                pass

        if __name__ == "__main__":
            number = 0
            with latency.turn("parent"):
                message = latency.inject({})
                for method in ("fork", "spawn", "forkserver"):
                    processes = []
                    for _ in range(2):
                        process = multiprocessing.get_context(method).Process(target=work, args=(number, message))
                        number += 1
                        process.start()
                        processes.append(process)
                    for process in processes:
                        process.join()
        """)
    )
    with receiving() as receiver:
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        process = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate(timeout=PATIENCE)
        assert (0, "") == (process.returncode, errors)
        assert sorted([*(f"child {number}" for number in range(6)), "parent"]) == receiver.names()
        (parent,) = (span for span in receiver.spans if span.name == "parent")
        assert {parent.span_id} == {span.parent_span_id for span in receiver.spans if span is not parent}


def test_a_server_that_forks_its_workers():
    """As gunicorn with a preloaded application: configured once, forked, each worker with threads and its own spans."""
    program = """
        import os, sys, threading
        import otel_latency as latency
        latency.configure(service="bot")
        with latency.stage("loading"):
            pass
        def serve(number):
            with latency.turn(f"worker {number}"):
                pass
        for number in range(3):
            if os.fork() == 0:
                threads = [threading.Thread(target=serve, args=(number,)) for _ in range(4)]
                [thread.start() for thread in threads]
                [thread.join() for thread in threads]
                sys.exit(0)
        for _ in range(3):
            assert os.wait()[1] == 0
    """
    with receiving() as receiver:
        ended(start(program, receiver.endpoint))
        assert ["loading", *(f"worker {number // 4}" for number in range(12))] == receiver.names()


def test_running_work_is_told():
    """A stuck call is reported while it runs, under the trace it belongs to, and its end too."""
    program = """
        import sys
        import otel_latency as latency
        latency.configure(service="bot")
        with latency.turn("answer"), latency.llm_call("draft", provider="openai", model="gpt-4o", timeout=60):
            sys.stdin.readline()
    """
    with receiving() as receiver:
        process = start(program, receiver.endpoint)
        assert receiver.until(lambda: len(receiver.logs) == 2)
        assert [] == receiver.spans
        ended(process)
        assert receiver.until(lambda: len(receiver.spans) == 2)
        assert ["start", "start", "end", "end"] == receiver.events()
        assert {span.span_id for span in receiver.spans} == {record.span_id for record in receiver.logs}
        assert {span.trace_id for span in receiver.spans} == {record.trace_id for record in receiver.logs}


def test_running_work_in_the_agent():
    """A call that hangs is in the agent's in-flight metrics while it hangs, and not after."""
    program = """
        import sys
        import otel_latency as latency
        latency.configure(service="bot")
        with latency.turn("answer"), latency.llm_call("draft", provider="openai", timeout=60):
            print("running", flush=True)
            sys.stdin.readline()
    """
    with running_agent({"otlp.grpc.enabled": "false"}) as agent:
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{agent.http_port}"}
        process = subprocess.Popen(
            [sys.executable, "-c", dedent(program)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert b"running\n" == process.stdout.readline()
        give_up = time.monotonic() + PATIENCE
        while total(agent.metrics(), "otel_latency_operations_in_flight", service="bot") < 2:
            assert time.monotonic() < give_up
        process.communicate(b"\n", timeout=PATIENCE)
        page = agent.metrics()
    assert 0 == process.returncode
    assert 0 == total(page, "otel_latency_operations_in_flight", service="bot")
    assert 1 == total(page, "otel_latency_llm_calls_total", service="bot", task="draft", status="ok")


def test_exit_in_every_way():
    """However a program ends, what it recorded is sent and its exit code is its own."""
    ways = {
        "pass": 0,
        "import sys; sys.exit(3)": 3,
        "raise SystemExit": 0,
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)": -2,
        "1 / 0": 1,
    }
    with receiving() as receiver:
        processes = [start(SENT + f"    {way}", receiver.endpoint) for way in ways]
        for process in processes:
            process.communicate(timeout=PATIENCE)
        assert list(ways.values()) == [process.returncode for process in processes]
        assert ["answer"] * 5 + ["retrieve"] * 5 == receiver.names()


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://agent", "http://[::1", ""])
def test_an_endpoint_that_is_none(endpoint):
    """A wrong address costs the telemetry, not the program."""
    process = start(SENT, endpoint)
    _, errors = process.communicate(timeout=PATIENCE)
    assert 0 == process.returncode
    assert len(errors.splitlines()) <= 1


def test_events_of_the_log(tmp_path):
    """What `log_timing` writes reaches the agent once: as an event of the span, outside of any as a log record."""
    program = """
        import otel_latency as latency
        latency.log_timing("r0", "v34", "unheard")
        latency.configure(service="bot")
        latency.log_timing("r1", "v34", latency.Events.V34_OLLAMA_SENT, {"temperature": 0.4})
        with latency.stage("retrieve"):
            latency.log_timing("r1", "v34", "inside")
        latency.shutdown()
        latency.log_timing("r2", "v34", "unheard")
    """
    file = str(tmp_path / "timing.jsonl")
    with receiving() as receiver:
        ended(start(program, receiver.endpoint, OTEL_LATENCY_LOG=file))
        (record,) = receiver.logs
        assert ["inside"] == [event.name for span in receiver.spans for event in span.events]
    said = {pair.key: pair.value.string_value or pair.value.double_value for pair in record.attributes}
    assert ("otel_latency.timing", b"") == (record.event_name, record.span_id)
    assert {
        "otel_latency.event": "v34_ollama_sent",
        "otel_latency.request_id": "r1",
        "service": "v34",
        "temperature": 0.4,
    } == said
    with running_agent({"otlp.grpc.enabled": "false"}) as agent:
        ended(start(program, f"http://127.0.0.1:{agent.http_port}", OTEL_LATENCY_LOG=file))
        page = agent.metrics()
    assert 1 == total(page, "otel_latency_stages_total", service="bot")
    refused = [name for name in page if name.startswith("otel_latency_agent_rejected")]
    assert [0.0] * len(refused) == [total(page, name) for name in refused]


@pytest.mark.parametrize("signal", ["TRACES", "LOGS"])
def test_a_signal_that_nobody_wants(signal):
    """`none` as its exporter turns off spans, or reports about what is running, and leaves the other."""
    program = """
        import sys
        import otel_latency as latency
        latency.configure(service="bot")
        with latency.turn("answer"):
            sys.stdin.readline()
    """
    with receiving() as receiver:
        process = start(program, receiver.endpoint, **{f"OTEL_{signal}_EXPORTER": "none"})
        if signal == "TRACES":
            assert receiver.until(lambda: receiver.logs)
        ended(process)
        assert (signal == "TRACES", signal == "LOGS") == (bool(receiver.logs), bool(receiver.spans))
