"""The machine's figures."""

import pytest

from otel_latency.collect import host
from otel_latency.collect.host import (
    CPUTimes,
    HostCollector,
    Traffic,
    busy_ratio,
    disk_samples,
    interface_samples,
    mountpoints,
)


def without_network_and_disks(found):
    return {name for name in found if "network" not in name and not name.startswith("host_disk")}


def test_this_machine(clock, by_series):
    """The first poll of a real machine gives all but the CPU ratio; the root filesystem is there."""
    found = by_series(HostCollector(clock.monotonic).collect())
    expected = {"host_load1", "host_memory_utilization_ratio", "host_memory_used_bytes"}
    assert expected == without_network_and_disks(found)
    assert 0.0 <= found["host_disk_free_ratio{/}"] <= 1.0


def test_cpu_comes_with_the_second_poll(clock, by_series):
    """Once the CPUs have counted on, the ratio is between 0 and 1."""
    collector = HostCollector(clock.monotonic)
    list(collector.collect())
    start = host.cpu_times()
    while host.cpu_times().total - start.total < 0.02:  # the kernel counts in hundredths of a second
        pass
    assert 0.0 <= by_series(collector.collect())["host_cpu_utilization_ratio"] <= 1.0


RATIOS = {
    "half of four CPUs": (CPUTimes(10.0, 100.0), CPUTimes(12.0, 104.0), 0.5),
    "idle": (CPUTimes(10.0, 100.0), CPUTimes(10.0, 104.0), 0.0),
    "no time has passed": (CPUTimes(10.0, 100.0), CPUTimes(10.0, 100.0), None),
    "iowait stepped back": (CPUTimes(10.0, 100.0), CPUTimes(9.0, 104.0), 0.0),
}


@pytest.mark.parametrize(("before", "after", "expected"), RATIOS.values(), ids=RATIOS)
def test_busy_ratio(before, after, expected):
    """CPU use is the busy share of the time that all CPUs counted."""
    assert expected == busy_ratio(before, after)


def test_mountpoints(tmp_path):
    """One directory per device: no second mount, no bind-mounted file, no read-only image, and always the root."""
    data, again, image = (tmp_path / each for each in ("data", "data-again", "image"))
    file = tmp_path / "h"
    for each in (data, again, image):
        each.mkdir()
    file.touch()
    partitions = [
        ("/dev/b", str(again), "ext4"),
        ("/dev/b", str(data), "ext4"),
        ("/dev/b", str(file), "ext4"),
        ("/dev/loop0", str(image), "squashfs"),
    ]
    assert ["/", str(data)] == mountpoints(partitions)
    assert ["/"] == mountpoints([("/dev/b", "/", "ext4"), *partitions])


BYTES = {"host_network_bytes_total{eth0,receive}": 2000, "host_network_bytes_total{eth0,transmit}": 500}
NETWORK = {
    "the first poll": (None, 2000.0, {}),
    "an unknown speed": (Traffic(1000, 500), 0.0, {}),
    "a known speed": (
        Traffic(1000, 500),
        2000.0,
        {
            "host_network_utilization_ratio{eth0,receive}": 0.5,
            "host_network_utilization_ratio{eth0,transmit}": 0.0,
        },
    ),
}


@pytest.mark.parametrize(("before", "capacity", "expected"), NETWORK.values(), ids=NETWORK)
def test_interface_samples(by_series, before, capacity, expected):
    """Bytes are counted per direction; utilization needs a poll before and a link of known speed."""
    assert BYTES | expected == by_series(interface_samples("eth0", Traffic(2000, 500), before, capacity))


async def test_network(clock, by_series):
    """The counters of a poll are the machine's; loopback is not watched, and speeds are given only where known."""
    await clock.advance(1.0)
    watched = host.traffic()
    found = by_series(HostCollector(clock.monotonic).collect())
    expected = {f"host_network_bytes_total{{{name},{way}}}" for name in watched for way in ("receive", "transmit")}
    assert expected == {name for name in found if "network" in name}
    assert "lo" not in watched
    assert all(speed > 0 for speed in host.link_speeds().values())


def test_a_filesystem_that_went_away(by_series, tmp_path):
    """A mount point that vanished since the last refresh costs its own sample only."""
    assert {"host_disk_free_ratio{/}"} == by_series(disk_samples(["/", str(tmp_path / "gone")])).keys()
