from otel_latency.cli import agent, main


def test_help_tells_the_truth(tmp_path, monkeypatch, examples, capsys):
    """The call in the help prints what the help says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("aggregate: {turn_timeout: soon}\n")
    [(argv, output)] = examples(agent.__doc__)
    assert 2 == main(argv)
    assert ("", output) == capsys.readouterr()
