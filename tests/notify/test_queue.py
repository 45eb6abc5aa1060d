from otel_latency.notify.queue import Pending, Queue


def pending(number, key="a", *, is_repeat=False, size=10):
    return Pending(number, "oncall", key, 0.0, is_repeat, bytes(size))


def filled(*all_pending, **bounds):
    queue = Queue(**bounds)
    for one in all_pending:
        queue.put(one)
    return queue


def drain(queue, now=0.0):
    """The ids in the order in which they are delivered."""
    order = []
    while (one := queue.next(now)) is not None:
        queue.remove(one)
        order.append(one.id)
    return order


def test_order():
    """Without failures the order is that of arrival."""
    assert [1, 2, 3, 4] == drain(filled(pending(1), pending(2, "b"), pending(3), pending(4, "b")))


def test_failure_holds_up_its_own_group_alone():
    """After a failure the others of its group wait behind it; other groups go on."""
    first = pending(1)
    queue = filled(first, pending(2), pending(3, "b"))
    queue.postpone(first, until=5.0)
    assert [3] == drain(queue, now=4.9)
    assert [1, 2] == drain(queue, now=5.0)


def test_least_tried_first():
    """What has failed comes after what is fresh, though it is older."""
    first = pending(1)
    queue = filled(first, pending(2, "b"))
    queue.postpone(first, until=0.0)
    assert 1 == queue.attempts(first)
    assert [2, 1] == drain(queue)


def test_next_of_a_group_begins_anew():
    """The failures of one notification are not those of the next."""
    first, second = pending(1), pending(2)
    queue = filled(first, second)
    queue.postpone(first, until=9.0)
    queue.remove(first)
    assert (second, 0) == (queue.next(0.0), queue.attempts(second))


def test_hold():
    """While the far side asks for silence nothing is tried."""
    queue = filled(pending(1))
    queue.hold(3.0)
    queue.hold(1.0)
    assert (None, 1) == (queue.next(2.9), queue.next(3.0).id)


def test_overflow_in_number():
    """The oldest repeat goes first, then the oldest of all."""
    queue = filled(pending(1), pending(2, is_repeat=True), pending(3, is_repeat=True), pending(4), max_count=2)
    assert [2, 3] == [one.id for one in queue.overflow()]
    queue.put(pending(5))
    assert [1] == [one.id for one in queue.overflow()]
    assert ([4, 5], 0) == (drain(queue), len(queue))


def test_overflow_in_bytes():
    """Bytes count as well as numbers."""
    queue = filled(pending(1, size=60), pending(2, size=30), pending(3, size=30), max_bytes=64)
    assert [1] == [one.id for one in queue.overflow()]
    assert (2, True, False) == (len(queue), "a" in queue, "b" in queue)


def test_in_flight_is_not_dropped():
    """What is being sent may have arrived already, so it stays, even if it is all there is."""
    first = pending(1, size=100)
    queue = filled(first, pending(2, size=100), max_bytes=10)
    assert [2] == [one.id for one in queue.overflow(first)]
    assert first is queue.next(0.0)
