"""What a web client is sent about a job, whoever reads it, when and how fast."""

import asyncio
import json
import threading

import pytest
from instrument.virtual import in_virtual_time

from otel_latency.instrument import progress as module
from otel_latency.instrument.operation import run
from otel_latency.instrument.progress import BUFFERED, Jobs, Progress, job, progress_events


def progress(elapsed=8.0, **fields):
    given = {"task": "ScriptGeneration", "elapsed": elapsed, "estimate": 20.0, "remaining": 12.0, "job_id": "abc123"}
    return Progress(**{**given, "message": "Generating script..."} | fields)


async def collected(events):
    return [event async for event in events]


@pytest.fixture
def jobs(monkeypatch):
    fresh = Jobs()
    monkeypatch.setattr(module, "jobs", fresh)
    return fresh


@in_virtual_time
async def test_shape(jobs):
    """A dictionary that JSON takes, with the names that a web client knows."""
    reader = asyncio.create_task(collected(jobs.events("abc123")))
    await asyncio.sleep(0)
    with jobs.hold("abc123"):
        jobs.publish(progress())
    assert [
        {
            "jobId": "abc123",
            "progress": 40,
            "status": "Running",
            "stage": "ScriptGeneration",
            "message": "Generating script...",
            "isWarning": False,
            "estimatedDurationSeconds": 20.0,
            "elapsedSeconds": 8.0,
        }
    ] == json.loads(json.dumps(await reader))


@in_virtual_time
async def test_never_backwards(jobs):
    """The percentage does not fall within a stage, stays below 100 before the end, and is 100 at it."""
    reader = asyncio.create_task(collected(jobs.events("abc123")))
    await asyncio.sleep(0)
    with jobs.hold("abc123"):
        for remaining in (12.0, 72.0, 0.001):
            jobs.publish(progress(remaining=remaining))
        jobs.publish(progress(status="ok", remaining=0.0))
        jobs.publish(progress(task="Refinement", elapsed=0.0))
    assert [40, 40, 95, 100, 0] == [event["progress"] for event in await reader]


@in_virtual_time
async def test_consumers(jobs):
    """Early, late and after the end: all see the last event, and all end."""
    early = [asyncio.create_task(collected(jobs.events("abc123"))) for _ in range(3)]
    await asyncio.sleep(0)
    with jobs.hold("abc123"):
        jobs.publish(progress(1.0))
        jobs.publish(progress(2.0))
        late = asyncio.create_task(collected(jobs.events("abc123")))
        await asyncio.sleep(0)
        jobs.publish(progress(3.0))
    after = await collected(jobs.events("abc123"))
    seen = [
        [event["elapsedSeconds"] for event in events] for events in (*[await each for each in early], await late, after)
    ]
    assert [[1, 2, 3]] * 3 + [[2, 3], [3]] == seen


@in_virtual_time
async def test_slow_consumer(jobs):
    """Who does not read loses the oldest events and never the last; nothing grows without bound."""
    events = jobs.events("abc123")
    first = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    with jobs.hold("abc123"):
        jobs.publish(progress(0.0))
        await first
        for number in range(10 * BUFFERED):
            jobs.publish(progress(float(number)))
    rest = await collected(events)
    assert (BUFFERED, 10 * BUFFERED - 1) == (len(rest), rest[-1]["elapsedSeconds"])


@in_virtual_time
async def test_consumer_that_leaves(jobs):
    """A client that goes away leaves nothing behind, whether its job began or not."""
    for _ in range(100):
        reader = asyncio.create_task(collected(jobs.events("never")))
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    assert {} == jobs._jobs


def test_other_threads(jobs):
    """Jobs of one event loop are read in another."""
    reading, seen = threading.Event(), []

    async def read():
        events = jobs.events("abc123")
        following = asyncio.create_task(collected(events))
        await asyncio.sleep(0)
        reading.set()
        seen.extend(await following)

    thread = threading.Thread(target=asyncio.run, args=[read()])
    thread.start()
    reading.wait()
    with jobs.hold("abc123"):
        jobs.publish(progress(1.0))
    thread.join(10)
    assert [1.0] == [event["elapsedSeconds"] for event in seen]


@in_virtual_time
async def test_operation():
    """An operation with a job id tells of its start, its progress, its warning and its end."""
    reader = asyncio.create_task(collected(progress_events("job-1")))
    await asyncio.sleep(0)
    await run(asyncio.sleep, 12.0, task="draft", provider="local", timeout=16.0, job_id="job-1")
    assert [
        (0.0, "Running", False),
        (5.0, "Running", False),
        (8.0, "Running", True),
        (10.0, "Running", True),
        (12.0, "Completed", True),
    ] == [(event["elapsedSeconds"], event["status"], event["isWarning"]) for event in await reader]


@in_virtual_time
async def test_job_of_several_operations():
    """Operations within a job take its id, and the job ends with its block, not with the first of them."""
    reader = asyncio.create_task(collected(progress_events("job-2")))
    await asyncio.sleep(0)
    with job("job-2"):
        await run(asyncio.sleep, 1.0, task="draft", provider="local")
        with pytest.raises(ValueError):
            await run(fail, task="refine", provider="local")
    assert [("draft", "Running"), ("draft", "Completed"), ("refine", "Running"), ("refine", "Failed")] == [
        (event["stage"], event["status"]) for event in await reader
    ]


async def fail():
    raise ValueError
