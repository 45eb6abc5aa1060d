"""The whole demo: two processes, as a user starts and ends them."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_latency.cli import demo, main
from otel_latency.demo import screen
from otel_latency.demo.pipeline import MINI, SCENARIOS
from otel_latency.demo.ports import Place

FREE_PORTS = {f"OTEL_LATENCY_{key}__PORT": "0" for key in ("WEB", "OTLP__HTTP", "OTLP__GRPC")}
HOSTILE = {"OTEL_SDK_DISABLED": "true", "http_proxy": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "always_off"}
PATIENCE = 20


@contextmanager
def running(*arguments, **options):
    """The demo, and its agent; neither is left when the block ends."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    options["env"] = {**os.environ, **FREE_PORTS, **options.pop("env", {})}
    process = subprocess.Popen([sys.executable, "-m", "otel_latency", "demo", *arguments], **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


class Agent:
    """The child of a running demo, by a handle that knows of its end even before anyone has waited for it."""

    def __init__(self, demo):
        (child,) = psutil.Process(demo.pid).children()
        self.handle = os.pidfd_open(child.pid)

    def kill(self):
        signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def has_ended(self):
        ended = bool(select.select([self.handle], [], [], PATIENCE)[0])
        os.close(self.handle)
        return ended


def get(url, path):
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def samples(page):
    return [sample for family in text_string_to_metric_families(page) for sample in family.samples]


def values(page, name, **labels):
    return [one.value for one in samples(page) if one.name == name and labels.items() <= one.labels.items()]


def test_real_spans_become_percentiles():
    """Turns, stages and model calls are on /metrics with sensible times, whatever the environment says to SDKs."""
    agent, page, seconds = None, "", []
    with running("--json", "--duration", "6", "--turns-per-second", "8", env=HOSTILE) as process:
        for line in process.stdout:
            seconds.append(json.loads(line))
            agent = agent or Agent(process)
            if not page and sum(turn["count"] for turn in seconds[-1]["turns"]) >= 12:
                page = get(seconds[-1]["url"], "/metrics")
        assert (0, "") == (process.wait(PATIENCE), process.stderr.read())
        assert agent.has_ended()

    assert 3 < len(seconds) <= 6
    assert {(one.service, one.turn) for one in SCENARIOS} == {
        (turn["service"], turn["turn"]) for turn in seconds[-1]["turns"]
    }
    assert 4.0 < seconds[-1]["turns_per_second"] < 12.0
    assert max(second["operations_running"] for second in seconds) > 3

    window = {"window": "1m", "quantile": "0.5"}
    for turn in SCENARIOS:
        of_turn = {"service": turn.service, "turn": turn.turn, **window}
        [duration] = values(page, "otel_latency_turn_window_seconds", **of_turn)
        [first_audio] = values(page, "otel_latency_turn_time_to_first_audio_window_seconds", **of_turn)
        assert 0.2 < first_audio < duration < 6.5
    for stage in ("stt", "retrieval", "llm", "tts"):
        [seconds_of_stage] = values(
            page, "otel_latency_stage_window_seconds", service="support-bot", stage=stage, **window
        )
        assert 0.01 < seconds_of_stage < 6.5
    model = {"provider": MINI.provider, "model": MINI.name, "task": SCENARIOS[0].task}
    [first_token] = values(page, "otel_latency_llm_time_to_first_token_window_seconds", **model, **window)
    [call] = values(page, "otel_latency_llm_window_seconds", **model, **window)
    assert 0.1 < first_token < call < 6.5
    [output_tokens] = values(page, "otel_latency_llm_tokens_total", **model, type="output")
    assert output_tokens > 10
    assert sum(values(page, "otel_latency_agent_rejected_spans_total")) == 0.0


def test_terminal():
    """In a terminal one line is refreshed, a port that is taken is said, and Ctrl-C ends both processes well."""
    ours, theirs = pty.openpty()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
        with running(
            "--duration", "15", "--turns-per-second", "40", env={"OTEL_LATENCY_WEB__PORT": str(taken)}, **terminal
        ) as process:
            os.close(theirs)
            shown = read_until(ours, rb"\r +\d+\.\d +\d+\.\d\d s .* %.*\x1b\[K")
            agent = Agent(process)
            process.send_signal(signal.SIGINT)
            assert 0 == process.wait(PATIENCE)
            assert agent.has_ended()
    os.close(ours)
    assert f"web: {taken} is taken, using " in shown
    (url,) = re.findall(r"  (http://127\.0\.0\.1:\d+)/status ", shown)
    assert f"  curl -s {url}/metrics | grep 'turn_window.*1m.*0.95'" in shown
    assert screen.HEADINGS in shown.replace("\r\n", "\n")


def read_until(terminal, pattern):
    shown = b""
    while not re.search(pattern, shown):
        shown += os.read(terminal, 65536)  # fails when the demo has ended
    return shown.decode()


def started(process):
    """Once the demo says that all is running."""
    for line in process.stdout:
        if line.startswith("turns/s"):
            return Agent(process)
    raise AssertionError(process.stderr.read())


def test_agent_ends():
    """If the agent ends by itself, so does the demo, and says why."""
    with running() as process:
        agent = started(process)
        agent.kill()
        _, err = process.communicate(timeout=PATIENCE)
        assert 1 == process.returncode
        assert agent.has_ended()
        assert re.fullmatch(r"the agent was ended by SIGKILL; its last words: .*/status\n", err)


def test_demo_is_killed():
    """The agent ends with the demo, even if nobody can tell it to."""
    with running() as process:
        agent = started(process)
        process.kill()
        assert agent.has_ended()


def test_sigterm():
    """SIGTERM ends both, with 0, as Ctrl-C does."""
    with running() as process:
        agent = started(process)
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert (0, "") == (process.returncode, err)
        assert agent.has_ended()


def test_help_tells_the_truth(examples):
    """The help shows what a user will see, but for the figures and what it leaves out."""
    [(argv, output)] = examples(demo.__doc__)
    assert ["demo", "--duration"] == argv[:2]
    places = {
        key: Place(key, "127.0.0.1", port, port)
        for key, port in {"web": 8080, "otlp.http": 4318, "otlp.grpc": 4317}.items()
    }
    shown = screen.opening(places, 4.0).splitlines()
    *texts, figures = [line for line in output.splitlines() if line.strip() != "..."]
    assert [] == [line for line in texts if line not in shown]
    assert r"    N.N    N.NN s   N.NN s    N.NN s   N.NN s    N.N %         N   -" == re.sub(r"\d", "N", figures)


WRONG = {
    "no time": ("--duration", "0", "'0' is no positive number"),
    "for ever": ("--duration", "inf", "'inf' is no positive number"),
    "no number": ("--turns-per-second", "many", "'many' is no positive number"),
    "too many": ("--turns-per-second", "101", "'101' is more than 100 turns a second"),
}


@pytest.mark.parametrize(("option", "value", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_usage(option, value, reason, capsys):
    """Numbers that make no sense are wrong usage."""
    with pytest.raises(SystemExit) as raised:
        main(["demo", option, value])
    assert 2 == raised.value.code
    assert reason in capsys.readouterr().err


def test_wrong_configuration(tmp_path, capsys):
    """A configuration that the agent would refuse is refused before anything starts."""
    file = tmp_path / "wrong.yaml"
    file.write_text("web: {port: http}\n")
    assert 2 == main(["demo", "--config", str(file)])
    assert f"{file}: web.port: 'http' is not a port: write 0 to 65535\n" == capsys.readouterr().err
