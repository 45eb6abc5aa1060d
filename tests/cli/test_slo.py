import json
from pathlib import Path

import pytest

from otel_latency.cli import main, slo
from otel_latency.rules.rulefile import load

OBJECTIVES = """\
slos:
  - name: llm-works
    objective: 99.9
    stage: llm
    min_events: 50
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("slo.yaml").write_text(OBJECTIVES)
    return tmp_path


def test_help_tells_the_truth(folder, examples, capsys):
    """The call in the help prints what the help says, from the file that the help shows."""
    [(argv, output)] = examples(slo.__doc__)
    assert "".join(f"    {line}\n" for line in OBJECTIVES.splitlines()) in slo.__doc__
    assert 0 == main(argv)
    assert output == capsys.readouterr().out


def test_windows(folder, capsys):
    """Windows end at 6 h unless another length is asked for; a real Prometheus gets all."""
    longest = {(): "6h", ("--max-window", "1d"): "1d", ("--prometheus",): "3d"}
    for options, window in longest.items():
        assert 0 == main(["slo", "slo.yaml", *options])
        shown = capsys.readouterr().out
        found = [one for one in ("5m", "30m", "1h", "2h", "6h", "1d", "3d") if f":ratio_rate{one}{{" in shown]
        assert window == found[-1]


def test_json(folder, capsys):
    """--json prints the same rules as JSON."""
    main(["slo", "slo.yaml"])
    written = capsys.readouterr().out
    assert 0 == main(["slo", "--json", "slo.yaml"])
    found = capsys.readouterr().out
    assert ["slo-llm-works"] == [group["name"] for group in json.loads(found)["groups"]]
    assert load("f", written) == load("f", found)


def test_faults(folder, capsys):
    """What is wrong is told in one line on stderr, and the exit code is 2."""
    Path("wrong.yaml").write_text("slos: [{name: a}]")
    assert 2 == main(["slo", "wrong.yaml"])
    assert "wrong.yaml: slos[0]: objective is missing: add it\n" == capsys.readouterr().err
    assert 2 == main(["slo", "nowhere.yaml"])
    cure = "the file cannot be read (No such file or directory): check the name and its rights"
    assert f"nowhere.yaml: {cure}\n" == capsys.readouterr().err
    Path("wrong.yaml").write_bytes(b"slos: \xff")
    assert 2 == main(["slo", "wrong.yaml"])
    assert "wrong.yaml: byte 6 is not UTF-8: save the file as UTF-8\n" == capsys.readouterr().err


def test_wrong_window(folder, capsys):
    """A window is a duration."""
    with pytest.raises(SystemExit) as exited:
        main(["slo", "slo.yaml", "--max-window", "soon"])
    assert 2 == exited.value.code
    assert "'soon' is not a duration: write 250ms, 1s, 5m, 12h or 30d" in capsys.readouterr().err
