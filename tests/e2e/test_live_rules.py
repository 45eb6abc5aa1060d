"""The agent and a real Prometheus judge the same traffic by the same rule file."""

from __future__ import annotations

import asyncio

import pytest
from live_rules import both

pytestmark = pytest.mark.e2e


async def test_same_transitions(require, tmp_path):
    """Every alert goes through the same states in both, in the same order; `bench alerting` has the times."""
    program = require("prometheus", package="prometheus")

    def judged():
        with both(program, tmp_path) as judges:
            judges.drive()
            judges.settle()
            return judges.transitions("agent"), judges.transitions("prometheus")

    ours, theirs = await asyncio.to_thread(judged)
    assert sorted(theirs) == ["Busy", "Deep", "DeepAtOnce", "DeepForLong", "Recorded", "Sticky"]
    assert _states(theirs) == _states(ours)


def _states(transitions):
    return {name: [state for _, state in changes] for name, changes in transitions.items()}
