"""Of too many spans a fair choice is looked at."""

from collections import Counter

import pytest

from otel_latency.aggregate.fair_sample import FairSample
from otel_latency.records import Profile

COMMON, RARE, BORING = Profile("shop", "common"), Profile("shop", "rare"), Profile("shop", "boring")


def rows(profile, count, start=0):
    """Spans whose end tells them apart."""
    return [(profile, bytes(16), bytes(8), b"", 0, number, None) for number in range(start, start + count)]


def sample(room=100):
    return FairSample(lambda profile: profile is not BORING, room=room)


def numbers(taken):
    return [row[5] for row, _ in taken]


def test_all_of_a_few():
    """What there is room for comes in order, as much at a time as is wanted."""
    found = sample()
    found.add(rows(COMMON, 5))
    assert ([0, 1, 2], [3, 4], []) == tuple(numbers(found.take(3)) for _ in range(3))
    assert (0, 0) == (found.waiting, found.passed_over)


def test_unwanted():
    """Profiles that nobody wants to look at are neither kept nor counted."""
    found = sample()
    found.add(rows(BORING, 1_000) + rows(COMMON, 1) + rows(BORING, 1_000))
    assert ([0], 0) == (numbers(found.take(10)), found.passed_over)


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_even_over_time(batch):
    """What is kept of a flood lies evenly over the whole of it, however it came, and tells what it stands for."""
    found, count = sample(), 10_000
    for start in range(0, count, batch):
        found.add(rows(COMMON, min(batch, count - start), start))
    taken = found.take(count)
    distances = {later - earlier for earlier, later in zip(numbers(taken), numbers(taken)[1:], strict=False)}
    assert (1, True, {128}) == (len(distances), 50 <= len(taken) <= 100, {weight for _, weight in taken})
    assert distances == {128}
    assert count == len(taken) + found.passed_over


def test_rare_ones_come_first():
    """A single rare span among thousands is taken at once."""
    found = sample()
    found.add(rows(COMMON, 5_000) + rows(RARE, 1) + rows(COMMON, 5_000))
    assert 1 == sum(row[0] is RARE for row, _ in found.take(4))


def test_in_turns():
    """Where there are more profiles than can be taken at a time, each has its turn before any has a second one."""
    profiles = [Profile("shop", str(number)) for number in range(30)]
    found, turns = sample(room=300), Counter()
    for _ in range(12):
        for profile in profiles:
            found.add(rows(profile, 5))
        turns.update(row[0] for row, _ in found.take(10))
    assert {4: 30} == Counter(turns.values())


def test_bounded():
    """A flood of profiles, each of many spans, leaves a few thousand rows; the rest is counted."""
    found, profiles = sample(room=200), [Profile("shop", str(number)) for number in range(1_000)]
    for profile in profiles:
        found.add(rows(profile, 50))
    assert found.waiting <= 200 * 6
    assert 50_000 == found.waiting + found.passed_over


def test_room_again():
    """After the flood everything is taken again."""
    found = sample(room=10)
    found.add(rows(COMMON, 1_000))
    found.take(1_000)
    before = found.passed_over
    found.add(rows(COMMON, 8))
    assert (list(range(8)), before) == (numbers(found.take(100)), found.passed_over)
