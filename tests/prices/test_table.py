"""The child process: run as in production, from the outside."""

import json
import os
import subprocess
import sys

import pytest

from otel_latency.prices.lookup import command

PAIRS = [["openai", "gpt-4o"], ["", "claude-sonnet-4-5"], ["openai", "no-such-model"]]


def ask(question, before="", **options):
    """What the child answers; *before* runs first in its interpreter."""
    *start, script = command()
    code = f"{before}\nimport runpy; runpy.run_path({script!r}, run_name='__main__')"
    return subprocess.run([*start, "-c", code], input=json.dumps(question), text=True, capture_output=True, **options)


def test_answer():
    """The child tells the version of the table and a tariff per pair, null for one without a price."""
    told = json.loads(ask({"path": sys.path, "pairs": PAIRS}).stdout)
    [gpt, claude, unknown] = told["tariffs"]
    [period] = gpt["periods"]
    assert [{"above": -1, "fixed": 0, "weights": {"input_tokens": 2, "cache_read_tokens": -1, "output_tokens": 8}}] == (
        period["rates"]
    )
    assert 800_000 == gpt["divisor"]
    assert "divisor" in claude
    assert unknown is None
    assert told["version"][0].isdigit()


def test_missing():
    """Where genai-prices is not installed the child says so."""
    assert {"missing": "genai_prices"} == json.loads(ask({"path": [], "pairs": PAIRS}).stdout)


def test_gives_way():
    """The child runs at a low priority, within limits, and is the first to go where memory is short."""
    after = (
        "import atexit, os, resource, sys\n"
        "told = lambda: [os.nice(0), open('/proc/self/oom_score_adj').read().strip(),"
        " *resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CPU)[0]]\n"
        "atexit.register(lambda: print(*told(), file=sys.stderr))"
    )
    nice = str(min(os.nice(0) + 10, 19))
    size = str(256 << 20)
    assert [nice, "1000", size, size, "20"] == ask({"path": sys.path, "pairs": PAIRS}, after).stderr.split()


def test_lower_limits():
    """Limits that are lower already stay."""
    before = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (5, 5))"
    after = (
        "import atexit, sys; atexit.register(lambda: print(*resource.getrlimit(resource.RLIMIT_CPU), file=sys.stderr))"
    )
    assert ["5", "5"] == ask({"path": [], "pairs": []}, f"{before}\n{after}").stderr.split()


@pytest.mark.parametrize("name", ["json.py", "genai_prices.py", "sitecustomize.py"])
def test_nothing_foreign(tmp_path, name):
    """Nothing in the directory where the agent was started, or in PYTHONPATH, runs in the child."""
    (tmp_path / name).write_text("raise SystemExit('foreign code')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    question = {"path": ["", *sys.path], "pairs": PAIRS}
    assert 0 == ask(question, cwd=tmp_path, env=environment).returncode
