import json

import pytest

from otel_latency.cli import check, main

WRONG = "web: {prot: 8080}\naggregate: {turn_timeout: soon}\n"
RULES = """\
groups:
  - name: slow
    rules:
      - alert: Slow
        expr: rate(otel_latency_host_load1[5m]) > 1
        labels: {severity: warning}
        annotations: {summary: s}
"""
WARNED = RULES.replace("rate(otel_latency_host_load1[5m])", 'otel_latency_host_load1{pod=~"a"}')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "otel-latency.yaml").write_text("web: {port: 9090}\n")
    (tmp_path / "wrong.yaml").write_text(WRONG)
    (tmp_path / "slow.rules.yaml").write_text(RULES)
    (tmp_path / "warned.rules.yaml").write_text(WARNED)
    return tmp_path


def test_help_tells_the_truth(folder, examples, capsys):
    """The call in the help prints what the help says."""
    [(argv, output)] = examples(check.__doc__)
    assert 1 == main(argv)
    assert output == capsys.readouterr().out


def test_fine(folder, capsys):
    """A file that is right is ok, and so is the exit code."""
    assert 0 == main(["check", "otel-latency.yaml"])
    assert "otel-latency.yaml: ok\n" == capsys.readouterr().out


def test_json(folder, capsys):
    """--json has every file with every fault."""
    assert 1 == main(["check", "--json", "otel-latency.yaml", "wrong.yaml", "nowhere.yaml"])
    assert {
        "files": [
            {"file": "otel-latency.yaml", "ok": True, "faults": [], "warnings": []},
            {
                "file": "wrong.yaml",
                "ok": False,
                "faults": [
                    "wrong.yaml: web.prot: unknown key: did you mean port?",
                    "wrong.yaml: aggregate.turn_timeout: 'soon' is not a duration: write 250ms, 1s, 5m, 12h or 30d",
                ],
                "warnings": [],
            },
            {
                "file": "nowhere.yaml",
                "ok": False,
                "faults": ["nowhere.yaml: there is no such file: check the name"],
                "warnings": [],
            },
        ]
    } == json.loads(capsys.readouterr().out)


def test_environment_counts(folder, monkeypatch, capsys):
    """A variable that the agent would take is checked as well, and its value is not shown."""
    monkeypatch.setenv("OTEL_LATENCY_WEB__PORT", "c4n4ry")
    assert 1 == main(["check", "otel-latency.yaml"])
    expected = "OTEL_LATENCY_WEB__PORT: web.port: this value is not a port: write 0 to 65535\n"
    assert expected == capsys.readouterr().out


def test_collectors_are_loaded(folder, capsys):
    """A collector that the agent could not load is a fault of the file that names it."""
    (folder / "otel-latency.yaml").write_text('collect: {collectors: ["no.such:Thing"]}\n')
    assert 1 == main(["check", "otel-latency.yaml"])
    expected = (
        "otel-latency.yaml: collect.collectors: 'no.such:Thing': there is no module 'no': "
        "install it where the agent runs, or add its folder to PYTHONPATH\n"
    )
    assert expected == capsys.readouterr().out


def test_warnings_do_not_fail(folder, capsys):
    """A warning is shown, and the file is ok all the same; with --strict it is not."""
    warning = (
        'warned.rules.yaml:5:15: group "slow", rule "Slow": pod=~"a" is no pattern: write pod="a" '
        "(warning: plain-regex)\n"
    )
    assert 0 == main(["check", "warned.rules.yaml"])
    assert f"{warning}warned.rules.yaml: ok\n" == capsys.readouterr().out
    assert 1 == main(["check", "--strict", "warned.rules.yaml"])
    assert warning == capsys.readouterr().out


def test_json_of_rules(folder, capsys):
    """What the linter found is there in parts; `faults` has only what makes the file wrong."""
    assert 1 == main(["check", "--json", "slow.rules.yaml", "warned.rules.yaml"])
    slow, warned = json.loads(capsys.readouterr().out)["files"]
    assert (False, True) == (slow["ok"], warned["ok"])
    assert ((1, 0), (0, 1)) == tuple((len(file["faults"]), len(file["warnings"])) for file in (slow, warned))
    assert [
        {
            "check": "plain-regex",
            "severity": "warning",
            "file": "warned.rules.yaml",
            "line": 5,
            "column": 15,
            "group": "slow",
            "rule": "Slow",
            "fact": 'pod=~"a" is no pattern: write pod="a"',
        }
    ] == warned["findings"]


def test_wrong_rules(folder, capsys):
    """Faults of a rule file have line and column; what is right in it is linted all the same."""
    (folder / "both.yaml").write_text(RULES + "      - alert: B\n        expr: 1 +\n")
    assert 1 == main(["check", "both.yaml"])
    fault, finding = capsys.readouterr().out.splitlines()
    assert fault.startswith('both.yaml:9:18: group "slow", rule "B": ')
    assert finding.startswith('both.yaml:5:15: group "slow", rule "Slow": ')
    (folder / "both.yaml").write_text('{"groups": [')
    assert 1 == main(["check", "both.yaml"])
    assert capsys.readouterr().out.startswith("both.yaml:2:1: a bracket")


def test_sample_interval(folder, capsys):
    """A window that suits one cadence is too short for another."""
    (folder / "a.yaml").write_text(RULES.replace("otel_latency_host_load1[5m]", "otel_latency_turns_total[30s]"))
    assert 0 == main(["check", "a.yaml"])
    assert 1 == main(["check", "--sample-interval", "1m", "a.yaml"])
    assert "(error: short-window)" in capsys.readouterr().out


def test_rule_files_of_a_configuration(folder, capsys):
    """Rule files that a configuration names are found from its folder, and what is wrong with them is its fault."""
    (folder / "conf").mkdir()
    (folder / "conf" / "bad.rules.yaml").write_text("groups: [{name: a, rules: [{alert: B}]}]")
    (folder / "conf" / "agent.yaml").write_text("rules: {files: ['*.rules.yaml']}")
    assert 1 == main(["check", "conf/agent.yaml"])
    assert capsys.readouterr().out.startswith('bad.rules.yaml:1:28: group "a", rule "B": the rule has no expr')


def test_odd_names(folder, capsys):
    """A file is the one that is named, also where its name would be a pattern, and from anywhere."""
    (folder / "a[b]*.yaml").write_text(RULES)
    for name in ("a[b]*.yaml", str(folder / "a[b]*.yaml"), "./slow.rules.yaml"):
        assert 1 == main(["check", name])
        assert capsys.readouterr().out.startswith(f'{name}:5:15: group "slow"')


SECRETS = """\
notify:
  - {name: a, type: webhook, url_file: nowhere, header_files: {X-One: empty, X-Two: right}}
  - {name: b, type: slack, webhook_url_file: right}
  - {name: c, type: pagerduty, routing_key: k}
"""


def test_secrets_are_read(folder, capsys):
    """Every secret whose file the agent could not use is a fault, and what is in a file is not shown."""
    (folder / "otel-latency.yaml").write_text(SECRETS)
    (folder / "empty").write_text("")
    (folder / "right").write_text("c4n4ry")
    assert 1 == main(["check", "otel-latency.yaml"])
    place = "otel-latency.yaml: notify"
    assert [
        f"{place}[0].url_file: the file cannot be read (No such file or directory): check the name and its rights",
        f"{place}[0].headers.X-One_file: the file holds not one line of text: write the secret alone into it",
        f"{place}[1].webhook_url_file: the file holds no URL: write https://hooks.example.com/alerts or another",
    ] == capsys.readouterr().out.splitlines()
    (folder / "nowhere").write_text("https://hooks.example.com/c4n4ry")
    (folder / "empty").write_text("c4n4ry")
    (folder / "right").write_text("https://hooks.example.com/c4n4ry")
    assert 0 == main(["check", "otel-latency.yaml"])


def test_pattern_without_files(folder, capsys):
    """A pattern that matches nothing is a warning: it may be meant, and more often is a slip."""
    (folder / "otel-latency.yaml").write_text("rules: {files: ['slow.*.yaml', 'slow.yml*']}")
    warning = "otel-latency.yaml: rules.files: slow.yml*: no file is called so now: check the pattern (warning)\n"
    assert 0 == main(["check", "otel-latency.yaml"])
    assert f"{warning}otel-latency.yaml: ok\n" == capsys.readouterr().out
    assert 1 == main(["check", "--strict", "otel-latency.yaml"])
    assert warning == capsys.readouterr().out
