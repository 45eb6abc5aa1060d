"""How long each kind of task may take."""

import pytest

from otel_latency.instrument.timeouts import Timeouts

DEFAULTS = {
    "script_generation": 120.0,
    "script_refinement": 180.0,
    "visual_prompt": 45.0,
    "narration_optimization": 30.0,
    "pacing_analysis": 60.0,
    "scene_importance": 45.0,
    "content_complexity": 45.0,
    "narrative_arc": 60.0,
}


def test_defaults():
    """The known tasks have their times, under any spelling; others have none."""
    timeouts = Timeouts()
    assert DEFAULTS == {task: timeouts.of(task) for task in DEFAULTS}
    assert (120.0, 120.0, None) == (timeouts.of("ScriptGeneration"), timeouts.of("script generation"), timeouts.of("x"))


def test_own_tasks():
    """A user adds tasks, changes some and takes others away."""
    timeouts = Timeouts()
    timeouts.put({"summarise": 20, "visual_prompt": 60.0, "narrative_arc": None})
    assert [20.0, 60.0, None] == [timeouts.of(task) for task in ("summarise", "visual_prompt", "narrative_arc")]


def test_nonsense():
    """A timeout of zero is refused when it is set."""
    with pytest.raises(ValueError, match="timeout of draft: 0 is not a time to wait"):
        Timeouts().put({"draft": 0})
