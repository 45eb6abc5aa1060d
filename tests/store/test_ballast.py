from otel_latency.store.ballast import SIZE_BYTES, Ballast


def test_ballast_takes_room(tmp_path):
    """It lies on the disk as long as it is wanted; both ways may be gone twice."""
    path = tmp_path / "ballast"
    ballast = Ballast(path)
    assert ballast.place()
    assert ballast.place()
    assert SIZE_BYTES <= path.stat().st_blocks * 512
    ballast.release()
    ballast.release()
    assert not path.exists()


def test_no_room(tmp_path):
    """Where it cannot be made nothing is raised."""
    assert not Ballast(tmp_path / "missing" / "ballast").place()
