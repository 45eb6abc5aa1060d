"""Every query of the dashboards, asked of a real Prometheus that scrapes the agent under the demo.

One Prometheus takes classic histograms, another native ones. An application beside the demo's makes what that does not:
measurements of sound and connections, retries, a circuit breaker.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from grafana_types import program
from running import ANY_PORT, end, environment
from shown import annotations, filled, selectors, series_of, targets, variables

pytestmark = pytest.mark.e2e

ALERTS = Path(__file__).parents[2] / "alerts"
PACKAGES = ("@grafana/schema@13.2.3", "typescript@7.0.2")
WITHIN = 25.0
NOBODY = "127.0.0.1:9"
VALUES = {"__rate_interval": "4s", "__range": "1m", "compare": "4s"}
TARGETS = {
    milestone: {"best": "100ms", "target": "200ms", "critical": "300ms"}
    for milestone in ("first_token", "first_sentence", "tts_start", "first_audio")
}
APPLICATION = """
import asyncio, contextlib, itertools, sys
import otel_latency as latency

calls = itertools.count()

async def flaky():
    if next(calls) % 2 == 0:
        raise ConnectionResetError
    return "done"

async def main():
    latency.configure(service="support-bot", endpoint=sys.argv[1], agent="off")
    while True:
        latency.record_audio(latency=0.02, quality=4.2, chunk_bytes=640, glitches=1)
        latency.record_connection(rtt=0.03, packet_loss=0.01, bandwidth=1e6, reconnections=1)
        with latency.llm_call("draft_reply", provider="openai", model="gpt-4o") as call:
            call.usage(input_tokens=900, output_tokens=40, cache_read_tokens=600)
        with contextlib.suppress(Exception):
            await latency.run(flaky, task="draft_reply", provider="openai", model="gpt-4o", retries=2)
        await asyncio.sleep(0.1)

asyncio.run(main())
"""
REFUSED = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "without ids"}]}]}]}'
PROMETHEUS = """
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
scrape_configs:
  - job_name: otel-latency
    static_configs: [{targets: ["%s"]}]
"""
FEATURES = {"classic": "exemplar-storage", "native": "native-histograms,exemplar-storage"}
EMPTY = {
    "otel_latency_gpu_": "there may be no GPU",
    "otel_latency_container_": "the cgroup may have no limits, or may not be there",
    "otel_latency_host_network_utilization_ratio": "the speed of an interface may be unknown",
    "otel_latency_sessions_total": "a session is over after minutes without a turn",
    "otel_latency_agent_rejected_metric_points_total": "no data point is refused",
    "otel_latency_agent_rejected_log_records_total": "no log record is refused",
    "otel_latency_agent_dropped_metric_points_total": "every data point is shown",
    "otel_latency_agent_dropped_operations_total": "every operation is watched",
    "otel_latency_agent_overflowed_series_total": "there is room for all series",
    "otel_latency_agent_history_dropped_total": "the history keeps everything",
    "otel_latency_agent_unassembled_spans_total": "every span is in a turn",
    "otel_latency_agent_unpriced_calls_total": "every model is looked up",
    "otel_latency_agent_recovered_items_total": "there was no former run",
    "otel_latency_agent_forward_recovered_spans_total": "the same",
    "otel_latency_agent_forward_dropped_": "nothing is lost",
    "otel_latency_agent_forwarded_spans_total": "nothing is forwarded without `forward:`",
    "otel_latency_agent_queued_spans": "the same",
    "otel_latency_agent_acked_nondurable_spans_total": "the same",
}
"""What may have no series, by how its names begin, and why. Its queries are only parsed."""


@contextmanager
def running(*command: str, log: Path, **settings: str) -> Iterator[None]:
    """A program, ended by its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent, env=environment(ANY_PORT) | settings
        )
    try:
        yield
    finally:
        end(process)


def told(log: Path, pattern: str) -> str:
    """What a program says in its log, once it does."""
    deadline = time.monotonic() + 20
    while not (found := re.search(pattern, log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[1]


@pytest.fixture(scope="session")
def compiles(tmp_path_factory):
    """`compiles(program)` answers what TypeScript says against it, nothing if it is right."""
    folder = tmp_path_factory.mktemp("types")
    npm = shutil.which("npm") or pytest.skip("npm is not there: apt-get install nodejs npm")
    install = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", *PACKAGES]
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install {' '.join(PACKAGES)}")
    strict = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]

    def check(text: str) -> str:
        (folder / "check.ts").write_text(text)
        command = [npm, "exec", "--offline", "--", "tsc", *strict, "check.ts"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False).stdout

    return check


@pytest.fixture(scope="module")
def agent(tmp_path_factory) -> Iterator[str]:
    """host:port of the agent's page, under the demo with many turns, impatient rules and a check that fails."""
    folder = tmp_path_factory.mktemp("demo")
    rules = (ALERTS / "latency.rules.yaml").read_text()
    (folder / "latency.rules.yaml").write_text(re.sub(r"^ +for: .*\n", "", rules, flags=re.MULTILINE))
    demo = [sys.executable, "-m", "otel_latency", "demo", "--json", "--turns-per-second", "20"]
    log = folder / "demo.log"
    with ExitStack() as stack:
        config = {
            "rules": {"files": ["latency.rules.yaml"]},
            "targets": TARGETS,
            "collect": {"checks": [{"name": "nobody", "tcp": NOBODY, "interval": "1s"}]},
            "notify": [{"name": "nobody", "type": "webhook", "url": f"http://{NOBODY}/"}],
        }
        (folder / "otel-latency.yaml").write_text(json.dumps(config))
        stack.enter_context(running(*demo, log=log))
        otlp = told(log, r'"otlp": "(\S+)"')
        application = [sys.executable, "-c", APPLICATION, otlp]
        stack.enter_context(running(*application, log=folder / "app.log", OTEL_METRIC_EXPORT_INTERVAL="500"))
        with urlopen(Request(f"{otlp}/v1/traces", REFUSED, {"Content-Type": "application/json"}), timeout=10) as reply:
            assert b"rejectedSpans" in reply.read()
        yield told(log, r'"url": "http://(\S+)"')


@pytest.fixture(scope="module")
def ports(require, agent, tmp_path_factory) -> Iterator[dict[str, int]]:
    """The ports of two that scrape the agent, by the form of the histograms that they take."""
    program = require("prometheus", package="prometheus")
    with ExitStack() as stack:
        logs = {}
        for form, feature in FEATURES.items():
            folder = tmp_path_factory.mktemp(form)
            logs[form] = folder / "prometheus.log"
            (folder / "prometheus.yml").write_text(PROMETHEUS % agent)
            arguments = (
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--web.listen-address=127.0.0.1:0",
                f"--enable-feature={feature}",
            )
            stack.enter_context(running(program, *arguments, log=logs[form]))
        yield {form: int(told(log, r'msg="Listening on" address=127\.0\.0\.1:(\d+)')) for form, log in logs.items()}


@pytest.fixture(params=FEATURES)
def ask(request, ports):
    """`ask("query", query="up")` answers the data of a reply of Prometheus' HTTP API."""

    def data(path: str, **arguments: object):
        connection = HTTPConnection("127.0.0.1", ports[request.param], timeout=10)
        connection.request("GET", f"/api/v1/{path}?{urlencode(arguments)}")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["status"] == "success", (arguments, answer)
        return answer["data"]

    data.form = request.param
    return data


def unanswered(is_answered, questions):
    """Those of *questions*, by where they stand, that have no answer in the end."""
    deadline = time.monotonic() + WITHIN
    while True:
        questions = {where: question for where, question in questions.items() if not is_answered(question)}
        if not questions or time.monotonic() > deadline:
            return questions
        time.sleep(0.5)


def shown(title):
    """The first query of the one panel of that title."""
    ((_, _, target),) = [one for one in targets() if (one[1]["title"], one[2]["refId"]) == (title, "A")]
    return target["expr"]


def may_be_empty(expr):
    return any(one.name.startswith(tuple(EMPTY)) for one in selectors(expr))


def test_queries_parse(require, tmp_path):
    """promtool takes each expression of a panel or an annotation."""
    promtool = require("promtool", package="prometheus")
    asked = [*(target["expr"] for _, _, target in targets()), *(expr for _, expr in annotations())]
    rules = [{"record": f"query:{number}", "expr": filled(expr)} for number, expr in enumerate(asked)]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"SUCCESS: {len(asked)} rules found" in checked.stdout


def test_what_may_be_empty():
    """What is said to have no series is asked for."""
    asked = {one.name for _, _, target in targets() for one in selectors(target["expr"])}
    assert [] == [name for name in EMPTY if not any(one.startswith(name) for one in asked)]


def test_types(compiles):
    """Dashboards, the options of their panels and of their fields have the types that Grafana publishes."""
    right = program()
    assert "" == compiles(right)
    assert "check.ts" in compiles(right.replace('"displayMode": "table"', '"displayMode": "tabel"'))
    assert "check.ts" in compiles(right.replace('"graphTooltip": 1', '"graphTooltip": "shared"'))


def test_queries_answer(ask):
    """Each query of a panel has a result that is a number, but for those that may have none; alerts are marked, too."""

    def is_answered(expr):
        found = ask("query", query=filled(expr, **VALUES))["result"]
        return any("histogram" in one or one["value"][1] != "NaN" for one in found)

    asked = {where: target["expr"] for where, _, target in targets() if not may_be_empty(target["expr"])}
    asked |= {where: expr for where, expr in annotations() if where.endswith(": Alerts")}
    assert len(asked) > 150
    assert [] == sorted(unanswered(is_answered, asked))


def test_variables_offer_something(ask):
    """Each variable has a value to choose."""

    def is_answered(variable):
        found = ask("series", **{"match[]": filled(series_of(variable))})
        return any(variable["name"] in one for one in found)

    assert {} == unanswered(is_answered, dict(variables()))


def test_one_form_answers(ask):
    """A percentile comes from native histograms where there are some, else from classic ones; never twice."""
    expr = shown("p95 by service and turn")
    native, classic = expr.split(" or ")
    empty, full = (native, classic) if ask.form == "classic" else (classic, native)
    now = time.time()

    def turns(expr):
        found = ask("query", query=filled(expr, **VALUES), time=now)["result"]
        return sorted((one["metric"]["service"], one["metric"]["turn"]) for one in found)

    assert [] == turns(empty)
    assert len(turns(full)) >= 3
    assert turns(full) == turns(expr)


def test_exemplars(ask):
    """A panel of percentiles has exemplars, each with the trace that the data source links."""
    expr = shown("Duration of turns")
    now = time.time()
    found = ask("query_exemplars", query=filled(expr, **VALUES), start=now - 60, end=now)
    assert found
    assert {32} == {len(one["labels"]["trace_id"]) for series in found for one in series["exemplars"]}
