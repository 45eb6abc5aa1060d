import pytest

from otel_latency.aggregate.growth import Growth

A = ("calls_total", (("service", "bot"), ("status", "ok")))
B = ("calls_total", (("service", "bot"), ("status", "error")))

STEPS = {
    "nothing is known after one reading": ([(0, 50)], 0, 0),
    "growth between readings": ([(0, 50), (10, 53), (30, 60)], 10, 30),
    "what is older than a minute has gone": ([(0, 0), (20, 100), (40, 101), (90, 103)], 3, 70),
    "a counter that fell has begun anew": ([(0, 50), (10, 3)], 3, 10),
    "often": ([(second / 4, second) for second in range(4 * 200)], 4 * 64.75, 64.75),
    "seldom": ([(0, 0), (300, 30), (600, 90)], 60, 300),
    "a clock that is set back": ([(1000, 0), (1010, 5), (500, 9), (505, 11)], 2, 5),
}


@pytest.mark.parametrize(("readings", "grown", "seconds"), STEPS.values(), ids=STEPS)
def test_growth(readings, grown, seconds):
    """A counter has grown by what it gained in the last minute, and five seconds more; readings are (time, value)."""
    growth = Growth()
    for now, value in readings:
        growth.add({A: float(value)}, 1000.0 + now)
    assert (grown, seconds) == (growth.grown.get(A, 0.0), growth.seconds)


def test_new():
    """A counter that is new has grown by all of its value."""
    growth = Growth()
    growth.add({A: 5.0}, 0.0)
    growth.add({A: 5.0, B: 2.0}, 1.0)
    assert {B: 2.0} == dict(growth.grown)


def test_former_run():
    """One that goes on from a former run has grown by what came since; the names of its labels may be in any order."""
    growth = Growth()
    growth.restore({("calls_total", tuple(sorted(B[1]))): 40.0})
    growth.add({}, 0.0)
    growth.add({("calls_total", B[1][::-1]): 42.0}, 1.0)
    assert [2.0] == list(growth.grown.values())


def test_gone():
    """A counter that has ended is forgotten, and starts from nothing when it comes back."""
    growth = Growth()
    for now, values in enumerate([{A: 5.0, B: 1.0}, {B: 1.0}, {A: 7.0, B: 1.0}]):
        growth.add(values, float(now))
    assert {A: 7.0} == dict(growth.grown)


def test_not_read():
    """Counters of a name that was not read at all have not ended."""
    growth = Growth()
    for now, values in enumerate([{A: 5.0}, {}, {A: 7.0}]):
        growth.add(values, float(now))
    assert {A: 2.0} == dict(growth.grown)


def test_no_rounding_errors():
    """Sums of seconds do not drift: after a quiet minute nothing is left of them."""
    growth, total = Growth(), 0.0
    for second in range(1000):
        total += 0.1
        growth.add({A: total}, float(second))
    for second in range(1000, 1100):
        growth.add({A: total}, float(second))
    assert {} == dict(growth.grown)
