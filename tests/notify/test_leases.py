from dataclasses import replace

from notify.far_side import NOW, alert, resolved

from otel_latency.notify.leases import Leases

A = replace(alert("A"), ends_at=NOW + 100)


async def test_expiry(clock):
    """An alert that is not heard of until its end is resolved then; each word renews it."""
    leases = Leases(clock)
    leases.renew({"a": A, "b": A})
    await clock.advance(90)
    leases.renew({"b": replace(A, ends_at=NOW + 300)})
    assert {} == leases.expired()
    await clock.advance(11)
    assert {"a": replace(A, is_firing=False, ends_at=NOW + 101)} == leases.expired()
    leases.renew(leases.expired())
    assert {} == leases.expired()


async def test_resolved(clock):
    """An alert that has resolved cannot expire."""
    leases = Leases(clock)
    leases.renew({"a": A})
    leases.renew({"a": resolved(A)})
    await clock.advance(1000)
    assert {} == leases.expired()


async def test_steps_of_the_wall_clock(clock):
    """A wall clock that jumps ends nothing, and an end in the past still leaves a minute."""
    leases = Leases(clock)
    leases.renew({"a": A})
    clock.step(86_400)
    leases.renew({"b": A})
    await clock.advance(59)
    assert {} == leases.expired()
    await clock.advance(2)
    assert ["b"] == list(leases.expired())


async def test_start(clock):
    """After a start every firing alert has four minutes."""
    leases = Leases(clock)
    leases.grant([("a", alert("A", starts_at=NOW - 86_400))])
    await clock.advance(240)
    assert {} == leases.expired()
    await clock.advance(1)
    assert ["a"] == list(leases.expired())
