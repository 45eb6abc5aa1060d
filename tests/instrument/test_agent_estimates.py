"""What the agent knows comes in, and whatever else answers in its place changes nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from instrument.otlp_receiver import absent
from instrument.processes import ended, start

from otel_latency.instrument import agent_estimates as module
from otel_latency.instrument import history as history_module
from otel_latency.instrument.agent_estimates import FRESH, KEPT, PAUSE, AgentEstimates, Question, address, read
from otel_latency.instrument.guard import guard
from otel_latency.instrument.history import History, Outcome, estimate
from otel_latency.predict.estimate import LEVELS, Estimate

PATIENCE = 10.0
QUESTION = Question("draft", "openai", "gpt-4o", 500)
KNOWN = Estimate(tuple(2.0 + level for level in LEVELS), 70)


def document(known=KNOWN, **other):
    """What `/api/v1/estimate` answers."""
    pairs = [[level, seconds] for level, seconds in zip(LEVELS, known.quantiles, strict=True)]
    return {"task": "draft", "seconds": known.seconds, "samples": known.samples, "quantiles": pairs} | other


class Agent:
    """An HTTP server that gives one answer, and knows what it was asked."""

    def __init__(self, answer, status=200):
        self.asked = []
        self.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.status = status
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                agent.asked.append(self.path)
                self.send_response(agent.status)
                self.send_header("Content-Length", str(len(agent.answer)))
                self.end_headers()
                self.wfile.write(agent.answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def listening(treat):
    """A TCP server that hands each connection to *treat*; yields its address and the connections so far."""
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    accepted.append(stack.enter_context(connection))
                    threading.Thread(target=treat, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", accepted
        server.shutdown(socket.SHUT_RDWR)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def pointed_at(url, clock=None):
    estimates = AgentEstimates(clock or Clock())
    estimates.point_at(url)
    return estimates


@pytest.fixture(autouse=True)
def generous(monkeypatch):
    """A busy machine is no slow agent: what is timed here is only what never comes."""
    monkeypatch.setattr(module, "TIMEOUT", PATIENCE)


@pytest.fixture
def agents(monkeypatch):
    """The process's own, with an empty history, put back afterwards."""
    monkeypatch.setattr(history_module, "history", History(agent=module.agent_estimates))
    yield module.agent_estimates
    module.agent_estimates.point_at(None)


def settled(estimates):
    """Wait until nobody asks."""
    asking = estimates._asking
    assert asking is None or asking.wait(PATIENCE)


def test_asked():
    """The agent's distribution comes back whole, and it was asked for just that."""
    with Agent(document()) as agent:
        assert KNOWN == pointed_at(f"{agent.url}/prefix/").estimate(QUESTION, wait=True)
        (path,) = agent.asked
    assert "/prefix/api/v1/estimate" == urlsplit(path).path
    assert {"task": "draft", "provider": "openai", "model": "gpt-4o", "input_tokens": "500"} == dict(
        parse_qsl(urlsplit(path).query)
    )


def test_unknown_is_not_asked_for():
    """What was not told is not in the question."""
    assert "task=draft+%26+more" == Question("draft & more", "", None, None).query


def test_remembered():
    """An answer serves for ten seconds, also for prompts of about that size, and is then asked for again."""
    clock = Clock()
    with Agent(document()) as agent:
        estimates = pointed_at(agent.url, clock)
        for tokens in (500, 505):
            assert KNOWN == estimates.estimate(QUESTION._replace(input_tokens=tokens), wait=True)
        assert 1 == len(agent.asked)
        clock.now = FRESH + 1
        assert KNOWN == estimates.estimate(QUESTION, wait=True)
        assert 2 == len(agent.asked)
        estimates.estimate(QUESTION._replace(input_tokens=1000), wait=True)
        assert 3 == len(agent.asked)


def test_without_waiting():
    """Who does not wait gets what is remembered, however old up to five minutes, while a thread renews it."""
    clock = Clock()
    with Agent(document()) as agent:
        estimates = pointed_at(agent.url, clock)
        assert estimates.estimate(QUESTION, wait=False) is None
        settled(estimates)
        assert KNOWN == estimates.estimate(QUESTION, wait=False)
        newer = Estimate(tuple(7.0 + level for level in LEVELS), 80)
        agent.answer = json.dumps(document(newer)).encode()
        clock.now = KEPT
        assert KNOWN == estimates.estimate(QUESTION, wait=False)
        settled(estimates)
        assert newer == estimates.estimate(QUESTION, wait=False)
        clock.now = 3 * KEPT
        assert estimates.estimate(QUESTION, wait=False) is None


def test_bounded(monkeypatch):
    """Of too many answers the oldest is forgotten."""
    monkeypatch.setattr(module, "MAX_ANSWERS", 2)
    with Agent(document()) as agent:
        estimates = pointed_at(agent.url)
        for task in "abca":
            estimates.estimate(QUESTION._replace(task=task), wait=True)
        assert 4 == len(agent.asked)
        estimates.estimate(QUESTION._replace(task="c"), wait=True)
        assert 4 == len(agent.asked)


def test_an_agent_that_knows_nothing():
    """That is an answer, and no failure."""
    with Agent({"task": "draft", "seconds": None, "samples": 0, "quantiles": []}) as agent:
        estimates = pointed_at(agent.url)
        assert [None, None] == [estimates.estimate(question, wait=True) for question in (QUESTION, QUESTION)]
        estimates.estimate(QUESTION._replace(task="other"), wait=True)
        assert 2 == len(agent.asked)


FALLING = [[level, 1 - level] for level in LEVELS]
WRONG = {
    "no JSON": b"<html>It works!</html>",
    "no object": [1, 2],
    "another object": {"status": "ok"},
    "no quantiles": document(quantiles=None),
    "too few quantiles": document(quantiles=[[0.5, 1.0]]),
    "none": document(quantiles=[]),
    "no pairs": document(quantiles=[1.0] * 13),
    "words": document(quantiles=[["a", "b"]] * 13),
    "other levels": document(quantiles=[[level / 2, 1.0] for level in LEVELS]),
    "falling": document(quantiles=FALLING),
    "nothing": document(quantiles=[[level, 0.0] for level in LEVELS]),
    "infinite": document(quantiles=[[level, float("inf")] for level in LEVELS]),
    "beyond floats": document(quantiles=[[level, 10**400] for level in LEVELS]),
    "odd samples": document(samples="many"),
    "too deep": b"[" * 60_000,
    "too long": b" " * 70_000 + json.dumps(document()).encode(),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_wrong_answers(answer):
    """Whoever answers something else is no agent, and is left in peace for half a minute."""
    clock = Clock()
    with Agent(answer) as agent:
        estimates = pointed_at(agent.url, clock)
        assert [None, None] == [estimates.estimate(QUESTION, wait=True) for _ in range(2)]
        assert 1 == len(agent.asked)
        clock.now = PAUSE + 1
        agent.answer = json.dumps(document()).encode()
        assert KNOWN == estimates.estimate(QUESTION, wait=True)


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_other_statuses(status):
    """What comes with another status than 200 is not read."""
    with Agent(document(), status) as agent:
        estimates = pointed_at(agent.url)
        assert [None, None] == [estimates.estimate(QUESTION, wait=True) for _ in range(2)]
        assert 1 == len(agent.asked)


def trickling(connection):
    """An answer that comes in single bytes, and never ends: no single read takes long."""
    pause = threading.Event()
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.0 200 OK\r\nX: ")
        while not pause.wait(0.01):
            connection.sendall(b"y")


def hanging(_connection):
    """No answer at all."""


def rude(connection):
    """No HTTP."""
    connection.sendall(b"220 mail.example.com ESMTP\r\n")
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("treat", [hanging, trickling, rude])
def test_odd_servers(treat, monkeypatch):
    """A server that hangs, never ends or speaks no HTTP is given up, and is not asked again for half a minute."""
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    clock = Clock()
    with listening(treat) as (url, accepted):
        estimates = pointed_at(url, clock)
        assert estimates.estimate(QUESTION, wait=True) is None
        settled(estimates)
        assert estimates.estimate(QUESTION, wait=True) is None
        assert 1 == len(accepted)
        clock.now = PAUSE + 1
        assert estimates.estimate(QUESTION, wait=True) is None
        settled(estimates)
        assert 2 == len(accepted)


def test_one_at_a_time(monkeypatch):
    """While a thread waits for the agent nobody else begins to, nor waits."""
    with listening(hanging) as (url, accepted):
        estimates = pointed_at(url)
        estimates.estimate(QUESTION, wait=False)
        first = estimates._asking
        assert estimates.estimate(QUESTION._replace(task="other"), wait=True) is None
        assert estimates._asking is first
        estimates.point_at(None)
    assert len(accepted) <= 1


@pytest.mark.parametrize("told", [None, "off", " OFF "])
def test_nobody_is_asked(told):
    """Without an address, or switched off, no question is asked."""
    estimates = pointed_at(told)
    assert estimates.estimate(QUESTION, wait=True) is None
    assert estimates._asking is None


@pytest.mark.parametrize("told", ["https://x", "x:8080", "http://", "http://[::1", "http://me:secret@x", "http://x/ö"])
def test_wrong_addresses(told):
    """What is no plain http address is told, without repeating it, and nobody is asked."""
    guard.faults.clear()
    assert pointed_at(told).estimate(QUESTION, wait=True) is None
    assert {"agent": 1} == dict(guard.faults)
    guard.faults.clear()


def test_addresses(monkeypatch):
    """What `configure` was told comes first, then the environment; the usual place only where we export ourselves."""
    monkeypatch.delenv(module.VARIABLE, raising=False)
    assert (None, module.DEFAULT, "http://a") == (
        address(None, is_ours=False),
        address(None, is_ours=True),
        address("http://a", is_ours=False),
    )
    monkeypatch.setenv(module.VARIABLE, "http://b")
    assert ("http://a", "http://b") == (address("http://a", is_ours=True), address(None, is_ours=False))


def test_after_a_fork():
    """A child asks anew, for the thread that was asking is its parent's."""
    with listening(hanging) as (url, _):
        estimates = pointed_at(url)
        estimates.estimate(QUESTION, wait=False)
        assert estimates._asking is not None
        estimates.after_fork()
        assert estimates._asking is None


def test_read():
    """An estimate that was sent is the one that was made."""
    assert KNOWN == read(json.loads(json.dumps(document())))
    assert read(document(seconds=None)) is None


def recorded(count):
    for _ in range(count):
        history_module.history.record(Outcome("openai", "draft", 1.0, model="gpt-4o"))


@pytest.mark.parametrize(("own", "seconds"), [(0, 2.5), (60, 2.5), (80, 1.0)], ids=["none", "fewer", "more"])
def test_more_samples_win(agents, own, seconds):
    """The estimate is from whoever has seen more such calls, the process or the agent."""
    recorded(own)
    with Agent(document()) as agent:
        agents.point_at(agent.url)
        found = estimate("draft", provider="openai", model="gpt-4o", input_tokens=500)
    assert pytest.approx(seconds, rel=0.01) == found.seconds


def test_automatic_estimates_do_not_wait(agents):
    """`run` takes the process's own, until the agent's has come."""
    recorded(1)
    with Agent(document()) as agent:
        agents.point_at(agent.url)
        assert 1 == history_module.history.estimate("draft", provider="openai", model="gpt-4o").samples
        settled(agents)
        assert 70 == history_module.history.estimate("draft", provider="openai", model="gpt-4o").samples


PROGRAM = """
    import otel_latency as latency
    {configure}
    print(latency.estimate("draft", provider="openai").samples)
    latency.shutdown(0)
    print(latency.estimate("draft", provider="anthropic").samples)
"""
CONFIGURED = {
    "told": ("latency.configure(agent={url!r})", {}, "70\n0\n", 1),
    "by the environment": ("latency.configure()", {"OTEL_LATENCY_AGENT": "{url}"}, "70\n0\n", 1),
    "switched off": ("latency.configure(agent={url!r})", {"OTEL_SDK_DISABLED": "true"}, "0\n0\n", 0),
    "no spans": ("latency.configure(agent={url!r})", {"OTEL_TRACES_EXPORTER": "none"}, "0\n0\n", 0),
    "not configured": ("", {"OTEL_LATENCY_AGENT": "{url}"}, "0\n0\n", 0),
}


@pytest.mark.parametrize(("configure", "variables", "output", "asked"), CONFIGURED.values(), ids=CONFIGURED)
def test_configured(configure, variables, output, asked):
    """Only a process that sends its spans asks, at the address that it was told, and until it shuts down."""
    with Agent(document()) as agent, absent() as endpoint:
        program = PROGRAM.format(configure=configure.format(url=agent.url))
        # 50 ms may be little for a machine that is busy with tests.
        program = f"\n    from otel_latency.instrument import agent_estimates as a; a.TIMEOUT = {PATIENCE}" + program
        variables = {name: value.format(url=agent.url) for name, value in variables.items()}
        assert output == ended(start(program, endpoint, **variables), quiet=False)
        assert asked == len(agent.asked)
