from otel_latency.cli import agent, main


def test_help_tells_the_truth(tmp_path, monkeypatch, examples, capsys):
    """The call in the help prints what the help says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("aggregate: {turn_timeout: soon}\n")
    [(argv, output)] = examples(agent.__doc__)
    assert 2 == main(argv)
    assert ("", output) == capsys.readouterr()


def test_a_collector_that_cannot_be_loaded_is_told_with_the_file(tmp_path, monkeypatch, capsys):
    """File, key path, fact and cure, as for every other fault."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text('collect: {collectors: ["no.such:Thing"]}\n')
    assert 2 == main(["agent", "--config", "mine.yaml"])
    shown = capsys.readouterr().err
    assert shown.startswith("mine.yaml: collect.collectors: 'no.such:Thing': there is no module 'no': install it")
    assert 1 == shown.count("\n")
