"""The short tier of `tests/chaos`: a whole agent loses its power, is told to stop, and finds its disk and clock wrong.

Each has a control, in which a guard is off and the same judge must find it.
"""

from __future__ import annotations

import shutil
import time

import pytest
from chaos import clock, corruption, delivery_power_cut, disk_faults, stop
from chaos.delivery_kill import STAGES
from chaos.disk_faults import Fault
from chaos.power_cut import NoLoopError
from payload import Batch
from running import running_agent, total

pytestmark = pytest.mark.e2e


@pytest.fixture
def strace():
    if not shutil.which("strace"):
        pytest.skip("faults of a disk need strace")


def test_power_cuts():
    """Whatever was acknowledged is counted after the power has gone, and the databases are sound."""
    try:
        found = delivery_power_cut.run(2, seed=3)
    except NoLoopError as error:
        pytest.skip(str(error))
    assert found.is_well, found


def test_power_cuts_without_fsync(strace):
    """The control: where nothing is synced, spans are lost."""
    try:
        found = delivery_power_cut.run(1, seed=3, without_fsync=True)
    except NoLoopError as error:
        pytest.skip(str(error))
    assert found.lost, found


def test_sent_again_after_a_kill(tmp_path):
    """A request that was counted, and whose answer was lost with the agent, counts once though it is sent again."""
    body = Batch(spans=64).fresh(time.time_ns())
    with running_agent(directory=tmp_path) as agent:
        assert 200 == agent.post(body)[0]
        while clock.committed(agent) < 1:  # until it will not be read from the log again
            time.sleep(0.05)
        agent.process.kill()
    with running_agent(directory=tmp_path) as agent:
        before = total(agent.metrics(), STAGES)
        assert 200 == agent.post(body)[0]
        counted = total(agent.metrics(), STAGES)
    assert (64, 64) == (before, counted)


def test_stop():
    """With live pages open and a sender that stalls, it ends by itself in time and loses nothing."""
    found = stop.run(1, seed=4)
    assert found.is_well, found


def test_stop_by_force():
    """The control: killed, and without a log, it does lose, and it is seen that it did not end by itself."""
    found = stop.run(1, seed=4, kill=True)
    assert (True, 1) == (found.lost > 0, found.bad_exits), found


FAULTS = (Fault("pwrite64", "ENOSPC", 1), Fault("fdatasync", "EIO", 2))


@pytest.mark.parametrize("fault", FAULTS, ids=["a disk that is full at the start", "a sync that fails"])
def test_disk_faults(strace, fault):
    """It goes on, is durable again within seconds, and has lost nothing."""
    found = disk_faults.inject(fault, seed=5, life=0.7)
    assert (True, True) == (found.injected > 0, found.is_well), found


def test_disk_faults_without_end(strace):
    """The control: what was in memory only is missed, and was counted as such."""
    found = disk_faults.inject(Fault("pwrite64", "ENOSPC", 1, is_left_broken=True), seed=5, life=0.7)
    assert (True, False) == (found.nondurable > 0, found.is_well), found


DAMAGES = 845
"""A seed: bits of the log flip, and then a page of the history, full of operations, is zeroed."""


def test_corruption():
    """Whatever is damaged, it starts, twice, keeps and delivers what is intact, and says what it put aside."""
    found = corruption.run(2, DAMAGES)
    assert [] == [one for one in found if not one.is_well]


def test_corruption_unchecked():
    """The control: an agent that trusts what it finds alters or loses requests, loses rows, or does not start."""
    log, history = corruption.run(2, DAMAGES, is_trusting=True)
    assert (False, False) == (log.is_well, history.is_well), (log, history)


def test_clock():
    """Steps of the wall clock fire no alert, lose no span, of counters or of minutes, and make nobody wait."""
    try:
        found = clock.run(steps=(3600, -86400), hold=1.2)
    except clock.NoFakeTimeError as error:
        pytest.skip(str(error))
    assert found.is_well, found


def test_clock_and_forgetful_windows():
    """The control: had the history only what the windows hold, it would lack what comes while the clock is ahead."""
    try:
        found = clock.run(steps=(86400,), hold=1.2, is_forgetful=True)
    except clock.NoFakeTimeError as error:
        pytest.skip(str(error))
    assert found.minutes < found.counted == found.acknowledged, found


def test_monotonic_clock():
    """The control: were waits made by a clock that steps, it would be seen."""
    try:
        found = clock.run(steps=(-3600,), hold=1.5, fake_monotonic=True)
    except clock.NoFakeTimeError as error:
        pytest.skip(str(error))
    assert found.long_waits, found
