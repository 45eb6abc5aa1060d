"""What Prometheus' own tool says of the rule files that we ship, and of those that `otel-latency slo` writes."""

import subprocess
from pathlib import Path

import pytest

from otel_latency.cli import main

ROOT = Path(__file__).parents[2]
TESTDATA = ROOT / "tests" / "rules" / "testdata"


@pytest.fixture
def promtool(require):
    """Runs promtool and answers what it said; it must have succeeded."""
    program = require("promtool", package="prometheus")

    def run(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.e2e
def test_shipped_rules(promtool):
    """promtool has nothing to say about the files, lints included, and all their tests pass in it."""
    files, tests = sorted(ROOT.glob("alerts/*.rules.yaml")), sorted(ROOT.glob("alerts/tests/*.test.yaml"))
    assert len(files) == promtool("check", "rules", "--lint=all", "--lint-fatal", *files).count("SUCCESS")
    assert len(tests) == promtool("test", "rules", *tests).count("SUCCESS")


@pytest.mark.e2e
@pytest.mark.parametrize("options", [[], ["--max-window", "1h"], ["--prometheus"]], ids=" ".join)
def test_service_level_objectives(promtool, tmp_path, capsys, options):
    """promtool takes the rules with windows of every length, and those of any length do what their tests say."""
    assert 0 == main(["slo", str(TESTDATA / "slo.yaml"), *options])
    rules = tmp_path / "slo.rules.yaml"
    rules.write_text(capsys.readouterr().out)
    promtool("check", "rules", "--lint=all", "--lint-fatal", rules)
    if "--prometheus" in options:
        tests = tmp_path / "slo.test.yaml"
        tests.write_text((TESTDATA / tests.name).read_text())
        promtool("test", "rules", tests)
