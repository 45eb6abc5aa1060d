"""Our templates beside Debian's promtool 2.42: every line of testdata, byte by byte."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from otel_latency.errors import ExpressionError
from otel_latency.rules.template import parse

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)"),
]

TESTDATA = Path(__file__).parent / "testdata"
TEMPLATES = TESTDATA.joinpath("templates.txt").read_text().splitlines()
REFUSED = TESTDATA.joinpath("refused.txt").read_text().splitlines()
VALUES = ["1.5", "0", "-0", "NaN", "Inf", "-Inf", "1e21", "1e-7", "100", "-123456.789", "1767225600.25", "1000000"]
EXTERNAL = {"region": "eu", "tier": "<1>"}
URL = "http://prometheus.example:9090/graphs"


def labels(position: int) -> dict[str, str]:
    return {
        "__name__": "v",
        "html": """<b a='1'>&"x"</b>""",
        "instance": "web1.example.com:9090",
        "job": "a b",
        "n": str(position),
        "zone": "Zürich",
    }


SAMPLES = [(labels(position), float(value)) for position, value in enumerate(VALUES)]


def query(expression: str):
    """What promtool finds for the expressions that the templates ask."""
    return {"v": SAMPLES, "one": [({"__name__": "one", "n": "7"}, 12345.5)], "none": []}[expression]


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def write(folder: Path, name: str, content: object) -> None:
    folder.joinpath(name).write_text(yaml.safe_dump(content, allow_unicode=True, width=10_000))


def rendered_by_promtool(folder: Path) -> dict[str, dict[str, str]]:
    """Each series' annotations by its `n`, taken from what promtool says it got instead of nothing."""
    annotations = {f"t{number:03d}": template for number, template in enumerate(TEMPLATES)}
    rule = {"alert": "A", "expr": "v", "annotations": annotations}
    write(folder, "rules.yml", {"groups": [{"name": "g", "rules": [rule]}]})
    series = [
        {
            "series": "v{" + ", ".join(f"{k}={quoted(v)}" for k, v in found.items() if k != "__name__") + "}",
            "values": value,
        }
        for (found, _), value in zip(SAMPLES, VALUES, strict=True)
    ]
    test = {
        "interval": "1m",
        "external_labels": EXTERNAL,
        "external_url": URL,
        "input_series": [*series, {"series": 'one{n="7"}', "values": "12345.5"}],
        "alert_rule_test": [{"eval_time": "0m", "alertname": "A", "exp_alerts": []}],
    }
    write(folder, "tests.yml", {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]})
    got = run(["promtool", "test", "rules", "tests.yml"], folder)
    pairs = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')
    found = re.findall(r"^\s*Labels:\{(.*)\}\n\s*Annotations:\{(.*)\},?$", got, re.MULTILINE)
    read = [[{k: ast.literal_eval(v) for k, v in pairs.findall(part)} for part in both] for both in found]
    return {alert["n"]: texts for alert, texts in read}


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def rendered_here(template: str, position: int) -> str:
    found, value = SAMPLES[position]
    parsed = parse(template, alert="A", semantics=2)
    return parsed.render(labels=found, value=value, external_labels=EXTERNAL, external_url=URL, query=query)


@pytest.fixture(scope="module")
def by_promtool(tmp_path_factory):
    return rendered_by_promtool(tmp_path_factory.mktemp("promtool"))


@pytest.mark.parametrize("number", range(len(TEMPLATES)), ids=TEMPLATES)
def test_rendered(by_promtool, number):
    """A template gives with every value what promtool gives, errors included."""
    expected = {position: by_promtool[str(position)][f"t{number:03d}"] for position in range(len(VALUES))}
    assert expected == {position: rendered_here(TEMPLATES[number], position) for position in range(len(VALUES))}


def refusals_of_promtool(folder: Path) -> dict[int, str]:
    rules = [
        {"alert": f"R{number:03d}", "expr": "v", "annotations": {"a": text}} for number, text in enumerate(REFUSED)
    ]
    write(folder, "rules.yml", {"groups": [{"name": "g", "rules": rules}]})
    got = run(["promtool", "check", "rules", "rules.yml"], folder)
    return {int(number): fact for number, fact in re.findall(r"template: __alert_R(\d+):\d+: (.*)", got)}


def refusal_here(template: str) -> str | None:
    try:
        parse(template, semantics=2)
    except ExpressionError as error:
        return error.fact
    return None


@pytest.fixture(scope="module")
def refused_by_promtool(tmp_path_factory):
    return refusals_of_promtool(tmp_path_factory.mktemp("refused"))


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=REFUSED)
def test_refused(refused_by_promtool, number):
    """What promtool refuses to load is refused with the same words, and nothing else is."""
    assert refused_by_promtool.get(number) == refusal_here(REFUSED[number])


def test_stored(by_promtool, refused_by_promtool):
    """What test_template.py compares with, where there is no promtool, is what promtool says."""
    stored = json.loads(TESTDATA.joinpath("own_templates_promtool_2.42.json").read_text())
    assert stored["rendered"] == {text: by_promtool["0"][f"t{number:03d}"] for number, text in enumerate(TEMPLATES)}
    assert stored["refused"] == {text: refused_by_promtool[number] for number, text in enumerate(REFUSED)}
