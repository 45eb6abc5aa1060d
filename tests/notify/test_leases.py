from dataclasses import replace

from notify.far_side import NOW, alert, resolved

from otel_latency.notify.leases import Leases

A = replace(alert("A"), valid_for=100.0)


async def test_expiry(clock):
    """An alert that is not heard of for as long as it is valid is resolved then; each word renews it."""
    leases = Leases(clock)
    leases.renew({"a": A, "b": A})
    await clock.advance(90)
    leases.renew({"b": replace(A, valid_for=200.0)})
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
    """A wall clock that jumps ends nothing and prolongs nothing, whatever end the rules' clock gives an alert."""
    leases = Leases(clock)
    clock.step(86_400)
    leases.renew({"a": A})
    clock.step(-172_800)
    leases.renew({"b": A})
    await clock.advance(100)
    assert {} == leases.expired()
    await clock.advance(1)
    assert ["a", "b"] == list(leases.expired())
