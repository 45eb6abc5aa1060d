"""The short tier of `python -m tests.fuzz.agent_kill`."""

from __future__ import annotations

import re

import pytest
from fuzz.agent_kill import run

pytestmark = pytest.mark.e2e


def test_kills():
    """Whatever moment an agent is killed at, every fire and resolve reaches the webhook."""
    verdict = run(cycles=5, seed=2)
    assert int(re.search(r"(\d+) kills", verdict)[1]) >= 2
