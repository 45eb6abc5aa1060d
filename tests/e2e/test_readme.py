"""The README's commands do what it says, as they stand there but for the ports."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import yaml

import otel_latency as latency
from otel_latency.agent import Agent
from otel_latency.config.load import load
from otel_latency.config.sections import OTLP, Config, GRPCReceiver, HTTPReceiver, Web
from otel_latency.instrument import timing

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


async def test_the_first_span_becomes_the_line_shown(tmp_path):
    """The `curl` is accepted, and the second one prints what the README shows."""
    (commands,) = [block for block in blocks("sh") if "/v1/traces" in block]
    (expected,) = [block for block in blocks("text") if "otel_latency_llm_window_seconds" in block]
    otlp = OTLP(http=HTTPReceiver(port=0), grpc=GRPCReceiver(enabled=False))
    agent = Agent(Config(otlp=otlp, web=Web(port=0)), directory=tmp_path)
    task = asyncio.create_task(agent.run())
    await agent.started.wait()
    http_port, web_port = agent.receivers["http"].port, agent.web.url.rpartition(":")[2]
    commands = commands.replace(":4318", f":{http_port}").replace(":8080", f":{web_port}")
    shell = await asyncio.create_subprocess_exec("bash", "-c", commands, stdout=subprocess.PIPE)
    printed = (await shell.communicate())[0].decode()
    agent.stop()
    await task
    assert printed.startswith("{}")
    assert expected.strip() in printed


READERS_OWN = """
from types import SimpleNamespace

class Client:
    async def stream(self, prompt):
        for text in ("Hello", " world."):
            yield SimpleNamespace(text=text)

index, client, prompt = SimpleNamespace(search=lambda query: [query]), Client(), "hello"
"""


def test_the_first_listing_runs_as_it_stands():
    """With the reader's own index, client and prompt in place; in a process of its own, for it configures that."""
    first, _ = blocks("python")
    program = f"{READERS_OWN}\n{first}\nimport asyncio\nprint(asyncio.run(answer('why?', 's1')))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout == "Hello world.\n"


async def test_the_second_listing_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    """Top-level awaits and all; the job whose progress it follows has been done by then."""

    async def draft_script():
        return "a script"

    async def summarise(segment):
        return segment.upper()

    monkeypatch.setenv("OTEL_LATENCY_LOG", str(tmp_path / "timing.jsonl"))
    monkeypatch.setattr(timing._Default, "log", None)
    _, second = blocks("python")
    body = textwrap.indent(second, "    ")
    names = {
        "latency": latency,
        "draft_script": draft_script,
        "summarise": summarise,
        "segments": ["a", "b"],
        "request_id": "r1",
    }
    await latency.run(draft_script, task="script_generation", provider="openai", job_id="abc123")
    ending = "return script, estimate, summary, results"
    exec(compile(f"async def listing():\n{body}\n    {ending}", "README.md", "exec"), names)
    script, estimate, summary, results = await asyncio.wait_for(names["listing"](), 30)
    assert (script, list(results)) == ("a script", ["A", "B"])
    assert estimate.low <= estimate.seconds <= estimate.high
    assert (summary.count >= 2, summary.success_rate) == (True, 1.0)
    assert capsys.readouterr().out.startswith("100 script_generation completed in ")
    assert json.loads((tmp_path / "timing.jsonl").read_text())["event"] == "v34_ollama_sent"


def test_the_targets_and_programs_it_names_exist():
    """`make run`, `make test`, `make bench`, and the commands of otel-latency."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z]+)`?", README))
    assert targets >= {"run", "test", "bench"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    helped = subprocess.run(
        [sys.executable, "-m", "otel_latency", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in set(re.findall(r"otel-latency ([a-z]+)", README)):
        assert command in helped


def test_the_configuration_shown_is_right(tmp_path):
    """Key by key; the Prometheus one is YAML, too."""
    scrape, forward, alerts, config = blocks("yaml")
    file = tmp_path / "otel-latency.yaml"
    file.write_text(config, encoding="utf-8")
    assert load(str(file), {}).collect.checks[0].name == "openai"
    file.write_text(alerts, encoding="utf-8")
    found = load(str(file), {"SLACK_WEBHOOK_URL": "http://127.0.0.1:9/"})
    assert [notifier.name for notifier in found.notify] == ["oncall", "pages", "desk", "all"]
    assert found.targets["llm"].critical == 3.0
    assert list(ROOT.glob(found.rules.files[0]))
    file.write_text(forward, encoding="utf-8")
    places = [one.label for one in load(str(file), {"TOKEN": "secret"}).forward]
    assert places == ["otlp.example.com:4318", "tempo:4317"]
    assert yaml.safe_load(scrape)["scrape_configs"][0]["job_name"] == "otel-latency"


def test_the_lines_for_kubernetes_hold():
    """What `inject` prints is a manifest with the agent in it; what the others name is there."""
    (commands,) = [block for block in blocks("sh") if "inject" in block]
    build, inject, apply = commands.strip().splitlines()
    assert (ROOT / "Dockerfile").is_file()
    assert build.startswith("docker build --tag registry.example.com/otel-latency:0.1.0 . ")
    arguments = inject.partition("|")[0].replace("shop.yaml", str(ROOT / "tests/e2e/testdata/shop.yaml")).split()
    printed = subprocess.run(
        [sys.executable, "-m", "otel_latency", *arguments[1:]], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    (pod,) = [one["spec"]["template"]["spec"] for one in yaml.safe_load_all(printed)]
    assert pod["initContainers"][0]["image"] == "registry.example.com/otel-latency:0.1.0"
    assert (ROOT / apply.split()[-1] / "kustomization.yaml").is_file()
    for path in re.findall(r"`((?:deploy|dashboards|alerts)/[\w./-]*)`", README):
        assert list(ROOT.glob(path.rstrip("/"))), path


def test_every_metric_it_names_is_one_of_ours():
    """No name in the table is a slip of the pen."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "otel_latency").rglob("*.py"))
    names = set(re.findall(r"`((?:otel_latency|gen_ai)_[a-z_]+_(?:seconds|total|flight))`", README))
    assert len(names) > 5
    assert [name for name in names if name not in source] == []
