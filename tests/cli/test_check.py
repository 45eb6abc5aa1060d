import json

import pytest

from otel_latency.cli import check, main

WRONG = "web: {prot: 8080}\naggregate: {turn_timeout: soon}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "otel-latency.yaml").write_text("web: {port: 9090}\n")
    (tmp_path / "wrong.yaml").write_text(WRONG)
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
            {"file": "otel-latency.yaml", "ok": True, "faults": []},
            {
                "file": "wrong.yaml",
                "ok": False,
                "faults": [
                    "wrong.yaml: web.prot: unknown key: did you mean port?",
                    "wrong.yaml: aggregate.turn_timeout: 'soon' is not a duration: write 250ms, 1s, 5m, 12h or 30d",
                ],
            },
            {
                "file": "nowhere.yaml",
                "ok": False,
                "faults": ["nowhere.yaml: there is no such file: check the name"],
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
