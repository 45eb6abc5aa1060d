"""The cgroup's figures, from recorded trees of each layout."""

import shutil
from pathlib import Path

import pytest

from otel_latency.collect.container import ContainerCollector

TESTDATA = Path(__file__).parent / "testdata"


class Machine:
    """A copy of a recorded tree whose files a test may change, and a time that it sets."""

    def __init__(self, recorded, folder):
        self.root = folder / recorded
        self.now = 100.0
        shutil.copytree(TESTDATA / recorded, self.root)

    def write(self, path, text):
        (self.root / "sys/fs/cgroup" / path).write_text(text)

    def collector(self, cpus=4):
        return ContainerCollector(lambda: self.now, root=self.root, cpus=cpus)


@pytest.fixture
def machine(tmp_path):
    return lambda recorded: Machine(recorded, tmp_path)


def values(collector):
    """Sample values by short name; pressure by resource and kind."""
    return {
        sample.name.removeprefix("otel_latency_container_") + "".join(f" {each}" for each in sample.labels.values()): (
            pytest.approx(sample.value)
        )
        for sample in collector.collect()
    }


LEVELS = {
    "cgroup_v2_container": {
        "cpu_limit_cores": 0.5,
        "memory_working_set_bytes": 64 << 20,
        "memory_limit_bytes": 128 << 20,
        "memory_utilization_ratio": 0.5,
    },
    "cgroup_v2_service": {
        "cpu_limit_cores": 1.5,
        "memory_working_set_bytes": 64 << 20,
        "memory_limit_bytes": 1 << 30,
        "memory_utilization_ratio": 0.0625,
    },
    "cgroup_v1_container": {
        "cpu_limit_cores": 2.0,
        "memory_working_set_bytes": 64 << 20,
        "memory_limit_bytes": 128 << 20,
        "memory_utilization_ratio": 0.5,
    },
    "cgroup_hybrid": {"memory_working_set_bytes": 78_000_000 - 15_601_664},
    "cgroup_none": {},
}


@pytest.mark.parametrize(("recorded", "expected"), LEVELS.items(), ids=LEVELS)
def test_levels(machine, recorded, expected):
    """The first poll gives working set and the tightest limits, and nothing that needs a poll before it."""
    assert expected == values(machine(recorded).collector())


def test_rates_v2(machine):
    """Throttling, utilization of the limit and pressure cover the time between two polls of v2."""
    tree = machine("cgroup_v2_container")
    collector = tree.collector()
    values(collector)
    tree.now += 2.0
    tree.write("cpu.stat", "usage_usec 2800000\nnr_periods 120\nnr_throttled 15\n")
    tree.write("cpu.pressure", "some avg10=9.00 avg60=0.00 avg300=0.00 total=1500000\n")
    expected = LEVELS["cgroup_v2_container"] | {
        "cpu_utilization_ratio": 0.8,
        "cpu_throttled_ratio": 0.25,
        "pressure_ratio cpu some": 0.25,
        "pressure_ratio memory some": 0.0,
        "pressure_ratio memory full": 0.0,
        "pressure_ratio io some": 0.0,
        "pressure_ratio io full": 0.0,
    }
    assert expected == values(collector)


def test_rates_v1(machine):
    """v1 counts CPU time in another file, in nanoseconds, and has no pressure."""
    tree = machine("cgroup_v1_container")
    collector = tree.collector()
    values(collector)
    tree.now += 1.0
    tree.write("cpu,cpuacct/cpuacct.usage", "8000000000\n")
    tree.write("cpu,cpuacct/cpu.stat", "nr_periods 110\nnr_throttled 20\n")
    expected = LEVELS["cgroup_v1_container"] | {"cpu_utilization_ratio": 0.5, "cpu_throttled_ratio": 1.0}
    assert expected == values(collector)


def test_throttling_is_counted_where_the_quota_is(machine):
    """A service held back by the quota of its slice is shown the slice's throttling, and its own CPU time."""
    tree = machine("cgroup_v2_service")
    collector = tree.collector()
    values(collector)
    tree.now += 1.0
    tree.write("voice.slice/cpu.stat", "usage_usec 9000000\nnr_periods 50\nnr_throttled 9\n")
    tree.write("voice.slice/otel-latency.service/cpu.stat", "usage_usec 3750000\nnr_periods 0\n")
    found = values(collector)
    assert (0.5, 0.5) == (found["cpu_throttled_ratio"], found["cpu_utilization_ratio"])


def test_hybrid(machine):
    """With v1 controllers beside a v2 mount, CPU time comes from v1 (over all CPUs: no limit), pressure from v2."""
    tree = machine("cgroup_hybrid")
    collector = tree.collector(cpus=2)
    values(collector)
    tree.now += 1.0
    tree.write("cpuacct/cpuacct.usage", "405419779000\n")
    tree.write("unified/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9063633\n")
    expected = LEVELS["cgroup_hybrid"] | {"cpu_utilization_ratio": 0.5, "pressure_ratio cpu some": 0.1}
    assert expected == values(collector)


def test_an_idle_cgroup_is_not_throttled(machine):
    """When no CFS period began between two polls, the ratio is zero."""
    tree = machine("cgroup_v2_container")
    collector = tree.collector()
    values(collector)
    tree.now += 1.0
    assert values(collector)["cpu_throttled_ratio"] == 0.0


def test_usage_of_another_group_is_not_used(machine):
    """Where cpuacct puts the process in another group than cpu, there is no utilization."""
    tree = machine("cgroup_v1_container")
    membership = tree.root / "proc/self/cgroup"
    membership.write_text("5:memory:/docker/4ad1\n4:cpuacct:/\n3:cpu:/docker/4ad1\n")
    collector = tree.collector()
    values(collector)
    tree.now += 1.0
    assert "cpu_utilization_ratio" not in values(collector)


def test_a_process_moved_out_of_its_namespace(machine):
    """A path that leads out of the mount (`/../other`) is read at the mount itself."""
    tree = machine("cgroup_v2_container")
    (tree.root / "proc/self/cgroup").write_text("0::/../elsewhere\n")
    assert LEVELS["cgroup_v2_container"] == values(tree.collector())
