import argparse
import json

from otel_latency.cli import main as command
from otel_latency.cli import rules

RULES = "groups: [{name: g, rules: [{alert: Slow, expr: x > 1}]}]"
TESTS = """
rule_files: [latency.rules.yaml]
tests:
- interval: 1m
  input_series: [{series: x, values: '2'}]
  alert_rule_test: [{eval_time: 0s, alertname: Slow, exp_alerts: [{}]}]
"""


def main(*arguments):
    """`otel-latency rules ...`"""
    parser = argparse.ArgumentParser()
    rules.add_arguments(parser)
    return rules.run(parser.parse_args(arguments))


def write(directory, tests=TESTS, rules=RULES):
    (directory / "latency.rules.yaml").write_text(rules)
    path = directory / "latency.test.yaml"
    path.write_text(tests)
    return str(path)


def test_success(tmp_path, capsys):
    """A file whose tests pass says so, and the command ends with 0."""
    path = write(tmp_path)
    assert 0 == main("test", path)
    assert f"Unit Testing:  {path}\n  SUCCESS\n\n" == capsys.readouterr().out


def test_failure(tmp_path, capsys):
    """What fails is shown, and the command ends with 1, whatever the other files do."""
    good = write(tmp_path)
    bad = tmp_path / "bad.test.yaml"
    bad.write_text(TESTS.replace("Slow", "Fast"))
    assert 1 == main("test", str(bad), good)
    out = capsys.readouterr().out
    assert "  FAILED:\n    alertname: Fast, time: 0s, \n" in out
    assert out.endswith("SUCCESS\n\n")


def test_json(tmp_path, capsys):
    """Machines get the same as JSON."""
    path = write(tmp_path, TESTS.replace("[latency", "[none.yaml, latency"))
    assert 0 == main("test", "--json", path)
    expected = {"file": path, "ok": True, "warnings": ["no file match pattern none.yaml"], "failures": []}
    assert {"files": [expected]} == json.loads(capsys.readouterr().out)


def test_wrong_rules(tmp_path, capsys):
    """A rule file that is wrong fails its tests, with the place of the fault."""
    path = write(tmp_path, rules=RULES.replace("x > 1", "x >"))
    assert 1 == main("test", path)
    assert 'latency.rules.yaml:1:51: group "g", rule "Slow": unexpected end of input' in capsys.readouterr().out


def test_wrong_files(tmp_path, capsys):
    """A file that is missing, or no text, is a failure like any other."""
    data = tmp_path / "data.test.yaml"
    data.write_bytes(b"tests: \xff")
    assert 1 == main("test", str(tmp_path / "none.yaml"), str(data))
    out = capsys.readouterr().out
    assert "none.yaml: the file cannot be read (No such file or directory): check the name" in out
    assert "data.test.yaml: byte 7 is not UTF-8: save the file as UTF-8" in out


def test_semantics(tmp_path):
    """What came with Prometheus 3 is refused when version 2 is asked for."""
    path = write(tmp_path, "fuzzy_compare: true" + TESTS)
    assert [0, 1] == [main("test", "--semantics", version, path) for version in ("3", "2")]


def test_command(tmp_path, capsys):
    """The command is reachable by its name."""
    assert 0 == command(["rules", "test", write(tmp_path)])
