"""How long each kind of task may take; `run()` looks here unless it is given a timeout.

    latency.set_timeouts(summarise=20.0, script_generation=90.0)

A task that is not listed has no timeout. Names are compared without regard to case, spaces and underscores, so
`ScriptGeneration`, `script generation` and `script_generation` are one task here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DEFAULTS: Final[Mapping[str, float]] = {
    "script_generation": 120.0,
    "script_refinement": 180.0,
    "visual_prompt": 45.0,
    "narration_optimization": 30.0,
    "pacing_analysis": 60.0,
    "scene_importance": 45.0,
    "content_complexity": 45.0,
    "narrative_arc": 60.0,
}
WARN_AT: Final = 0.5
"""The share of the timeout after which an operation is said to take long."""


class Timeouts:
    """Seconds by task."""

    def __init__(self, defaults: Mapping[str, float] = DEFAULTS) -> None:
        self._seconds = {_key(task): seconds for task, seconds in defaults.items()}

    def of(self, task: str) -> float | None:
        return self._seconds.get(_key(task))

    def put(self, tasks: Mapping[str, float | None]) -> None:
        """Change or add timeouts; None takes a task's away."""
        for task, seconds in tasks.items():
            if seconds is None:
                self._seconds.pop(_key(task), None)
            elif seconds > 0:
                self._seconds[_key(task)] = float(seconds)
            else:
                raise ValueError(f"timeout of {task}: {seconds} is not a time to wait: give seconds above 0, or None")


def _key(task: str) -> str:
    return "".join(letter for letter in task.casefold() if letter not in " _-")


timeouts: Final = Timeouts()


def set_timeouts(tasks: Mapping[str, float | None] | None = None, /, **more: float | None) -> None:
    """Set the timeouts of tasks, in seconds: `set_timeouts(summarise=20.0)` or `set_timeouts({"my task": 20.0})`."""
    timeouts.put({**(tasks or {}), **more})
