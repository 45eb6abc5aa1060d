"""Figures of the agent and of processes by name."""

import os
import subprocess
import sys

import psutil
import pytest

from otel_latency.collect.process import ProcessCollector

NAME = "otl-sleeper"


@pytest.fixture
def start(tmp_path):
    """A function that starts a process called `otl-sleeper`; all are ended with the test."""
    program = tmp_path / NAME
    program.symlink_to(sys.executable)
    # The kernel names a process after the file that was asked for, also when that is a link.
    script = "import sys; print(1, flush=True); sys.stdin.read()"
    running = []

    def start():
        process = subprocess.Popen([program, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_the_agent_watches_itself(clock, by_series):
    """Memory, threads and open files of the calling process are those that psutil gives."""
    found = by_series(ProcessCollector([], clock.monotonic).collect())
    this = psutil.Process()
    assert found["process_resident_memory_bytes{agent}"] == pytest.approx(this.memory_info().rss, rel=0.2)
    assert {key: value for key, value in found.items() if "memory" not in key} == {
        "process_instances{agent}": 1,
        "process_threads{agent}": this.num_threads(),
        "process_open_fds{agent}": this.num_fds(),
        "process_max_fds{agent}": os.sysconf("SC_OPEN_MAX"),
    }


async def test_cpu_comes_with_the_second_poll(clock, by_series):
    """CPU use is CPU seconds over the seconds between two polls: here over a second of the clock."""
    collector = ProcessCollector([], clock.monotonic)
    list(collector.collect())
    before = psutil.Process().cpu_times()
    while sum(psutil.Process().cpu_times()[:2]) - sum(before[:2]) < 0.1:
        pass
    await clock.advance(1.0)
    assert 0.1 <= by_series(collector.collect())["process_cpu_utilization_ratio{agent}"] < 1.0


async def test_processes_of_one_name_are_added_up(clock, by_series, start):
    """Two processes of a listed name are one series; a third is found within ten seconds, one that ends is gone."""
    first, _ = start(), start()
    collector = ProcessCollector([NAME], clock.monotonic)
    found = by_series(collector.collect())
    assert (2, 2) == (found[f"process_instances{{{NAME}}}"], found[f"process_threads{{{NAME}}}"])
    assert found[f"process_resident_memory_bytes{{{NAME}}}"] > 4 << 20
    start()
    await clock.advance(9.9)
    assert by_series(collector.collect())[f"process_instances{{{NAME}}}"] == 2
    await clock.advance(0.1)
    assert by_series(collector.collect())[f"process_instances{{{NAME}}}"] == 3
    first.kill()
    first.communicate()
    assert by_series(collector.collect())[f"process_instances{{{NAME}}}"] == 2


def test_a_name_nobody_has(clock, by_series):
    """A listed process that does not run is shown with zero instances and nothing else."""
    found = by_series(ProcessCollector(["no-such-program"], clock.monotonic).collect())
    assert {"process_instances{no-such-program}": 0} == {
        key: value for key, value in found.items() if "agent" not in key
    }
