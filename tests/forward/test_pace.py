import pytest

from otel_latency.forward.pace import Pace

NS = 1_000_000_000
LOGS = {
    "what comes in now waits for nothing": ([(0, 0.0), (0.2, 0.2), (0.4, 0.4)], [0, 0, 0]),
    "a backlog goes at double speed": ([(0, 9.0), (0.2, 9.0), (0.4, 9.0), (0.6, 9.3)], [0, 0.1, 0.2, 0]),
    "a silence counts as a second": ([(0, 9.0), (3600, 9.0)], [0, 0.5]),
    "a clock that was set back": ([(100, 9.0), (10, 9.0), (10.2, 9.0)], [0, 0, 0.1]),
    "many at once": ([(0, 9.0)] * 5, [0] * 5),
}


@pytest.mark.parametrize(("log", "waits"), LOGS.values(), ids=LOGS)
def test_pace(log, waits):
    """Each batch of a log (when it came, when it is to be sent) waits as long as replaying at double speed asks."""
    pace = Pace()
    found = [pace.wait(round((1_000_000 + came) * NS), now) for came, now in log]
    assert waits == [round(wait, 6) for wait in found]
