"""The short tier of `python -m tests.fuzz.notify_kill`."""

import re

from fuzz.notify_kill import run


async def test_kills():
    """Over kills at random moments nothing is lost or out of order, and a kill repeats one notification at most."""
    verdict = await run(cycles=10, kills=10, seed=7)
    assert 5 <= int(re.search(r"(\d+) kills", verdict)[1])
