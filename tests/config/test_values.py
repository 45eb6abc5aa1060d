import pytest

from otel_latency.config.values import Duration, Secret, Size

DURATIONS = {"250ms": 0.25, "1s": 1.0, "1.5s": 1.5, "5m": 300.0, "12h": 43200.0, "30d": 2592000.0, "1h30m": 5400.0}
SIZES = {"0": 0, "10B": 10, "512KiB": 524288, "4MiB": 4194304, "1GiB": 1073741824}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_duration(text, seconds):
    """A duration is a number of seconds."""
    assert seconds == Duration.parse(text)


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1 s", "1s ", "1.s", ".5s", "1e3s", "١s", "9" * 400 + "d", "1S"])
def test_not_a_duration(text):
    """Anything else is refused with the right spelling."""
    with pytest.raises(ValueError, match=r"is not a duration: write 250ms, 1s, 5m, 12h or 30d$"):
        Duration.parse(text)


@pytest.mark.parametrize(("text", "size_bytes"), SIZES.items())
def test_size(text, size_bytes):
    """A size is a number of bytes."""
    assert size_bytes == Size.parse(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5MiB", "4MB", "4 MiB", "1\n", "٤MiB", "9" * 5000])
def test_not_a_size(text):
    """Anything else is refused with the right spelling."""
    with pytest.raises(ValueError, match=r"is not a size: write 512KiB, 4MiB or 1GiB$"):
        Size.parse(text)


def test_secret():
    """A secret shows itself only when asked."""
    secret = Secret("c4n4ry")
    assert ("***", "***", "***", "c4n4ry") == (str(secret), repr(secret), f"{secret}", secret.reveal())
    assert (True, False, 1) == (secret == Secret("c4n4ry"), secret == "c4n4ry", len({secret, Secret("c4n4ry")}))
