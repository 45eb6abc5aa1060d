"""Records without a disk: bounded, in order, read by number."""

from wal.making import entry

from otel_latency.wal.format import RECORD_BYTES, START, Place
from otel_latency.wal.memory import Memory

ENTRIES = [entry(number, text=b"%02d" % number) for number in range(10)]
SIZE = RECORD_BYTES + len(ENTRIES[0].payload)


def numbers(memory, after=0):
    return [found.after.number for found in memory.read(after, 0)]


def test_read():
    """Everything behind a number is read, in order."""
    memory = Memory(100 * SIZE)
    assert None is memory.append(ENTRIES[:4], START)
    assert None is memory.append(ENTRIES[4:], Place(4, 12))
    assert (list(range(1, 11)), [9, 10], []) == (numbers(memory), numbers(memory, 8), numbers(memory, 10))
    assert (Place(0, 0), Place(10, 30), 10 * SIZE) == (memory.first, memory.end, memory.size)


def test_bound():
    """Beyond its bound the oldest go, and it tells between which places."""
    memory = Memory(4 * SIZE)
    assert (Place(0, 0), Place(6, 18)) == memory.append(ENTRIES, START)
    assert ([7, 8, 9, 10], 4 * SIZE) == (numbers(memory), memory.size)


def test_move():
    """The oldest are taken in portions, and forgotten once they are elsewhere."""
    memory = Memory(100 * SIZE)
    memory.append(ENTRIES, START)
    assert ENTRIES[:3] == memory.oldest(3 * SIZE)
    assert ENTRIES[:1] == memory.oldest(0)
    memory.forget(3)
    assert ([4, 5, 6, 7, 8, 9, 10], 7 * SIZE) == (numbers(memory), memory.size)
    memory.forget(99)
    assert (0, 0) == (len(memory), memory.size)
