from otel_latency.aside import put_aside


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_and_journal(tmp_path):
    """Both get the new name, so that the one can still be read with the other."""
    path = tmp_path / "a.db"
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"a.db{suffix}").write_text(suffix)
    assert tmp_path / "a.db.corrupt-7" == put_aside(path, 7.4)
    assert ["a.db.corrupt-7", "a.db.corrupt-7-shm", "a.db.corrupt-7-wal"] == names(tmp_path)
    assert "-wal" == (tmp_path / "a.db.corrupt-7-wal").read_text()


def test_two_are_kept(tmp_path):
    """The oldest of three goes with its journal, whatever the number of its digits; other files stay."""
    (tmp_path / "b.db.corrupt-1").touch()
    for now in (9, 10, 11):
        (tmp_path / "a.db").touch()
        (tmp_path / "a.db-wal").touch()
        put_aside(tmp_path / "a.db", now)
    kept = [f"a.db.corrupt-{now}{suffix}" for now in (10, 11) for suffix in ("", "-wal")]
    assert sorted([*kept, "b.db.corrupt-1"]) == names(tmp_path)
