"""GPUs through a stand-in for NVML, and through the real library without a driver."""
# ruff: noqa: N802 - NVML's names

import logging
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from otel_latency.collect.gpu import GpuCollector, find_gpus


class FakeNvml:
    """NVML with a list of GPUs, each a dict of what it offers; what it lacks is not supported."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus):
        self.gpus = gpus
        self.calls = []

    def nvmlInit(self):
        self.calls.append("init")

    def nvmlShutdown(self):
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetUtilizationRates(self, gpu):
        return SimpleNamespace(gpu=self._of(gpu, "percent"))

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(total=80 << 30, used=self._of(gpu, "used"))

    def nvmlDeviceGetTemperature(self, gpu, sensor):
        return self._of(gpu, "celsius")

    def nvmlDeviceGetPowerUsage(self, gpu):
        return self._of(gpu, "milliwatts")

    def _of(self, gpu, what):
        if what not in gpu:
            raise self.NVMLError("Not Supported")
        return gpu[what]


WHOLE = {"percent": 75, "used": 20 << 30, "celsius": 61, "milliwatts": 312_500}


def test_every_gpu_is_read(by_series):
    """Percent becomes a ratio and milliwatts become watts; what a GPU does not offer is left out."""
    nvml = FakeNvml(WHOLE, {"used": 1 << 30})
    assert by_series(GpuCollector(lambda: nvml, is_wanted=False).collect()) == {
        "gpu_utilization_ratio{0}": 0.75,
        "gpu_memory_used_bytes{0}": 20 << 30,
        "gpu_memory_total_bytes{0}": 80 << 30,
        "gpu_temperature_celsius{0}": 61,
        "gpu_power_watts{0}": 312.5,
        "gpu_up{0}": 1.0,
        "gpu_memory_used_bytes{1}": 1 << 30,
        "gpu_memory_total_bytes{1}": 80 << 30,
        "gpu_up{1}": 1.0,
    }


def test_a_lost_gpu(by_series):
    """A GPU that answers nothing any more is down; its neighbour is read as before."""
    nvml = FakeNvml(dict(WHOLE), WHOLE)
    collector = GpuCollector(lambda: nvml, is_wanted=False)
    list(collector.collect())
    nvml.gpus[0].clear()
    found = by_series(collector.collect())
    assert (0.0, 1.0, 0.75) == (found["gpu_up{0}"], found["gpu_up{1}"], found["gpu_utilization_ratio{1}"])


def test_nvml_is_opened_once_and_given_back_once():
    """NVML is started by the first poll and shut down by the first close."""
    nvml = FakeNvml(WHOLE)
    collector = GpuCollector(lambda: nvml, is_wanted=False)
    assert [] == nvml.calls
    list(collector.collect())
    list(collector.collect())
    collector.close()
    collector.close()
    assert ["init", "shutdown"] == nvml.calls


def library_missing():
    raise ImportError("No module named 'pynvml'")


FAULTS = {
    "library": (library_missing, "nvidia-ml-py is not installed"),
    "driver": (lambda: pynvml, "NVML does not start (NVML Shared Library Not Found)"),
}


@pytest.mark.parametrize(("load", "fact"), FAULTS.values(), ids=FAULTS)
@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="needs a machine without an NVIDIA driver")
def test_without_nvml(load, fact, caplog):
    """`on` says once where, what and how to mend it; `auto` stays silent; neither has samples or raises."""
    silent, wanted = GpuCollector(load, is_wanted=False), GpuCollector(load, is_wanted=True)
    assert [[], [], []] == [list(each.collect()) for each in (silent, wanted, wanted)]
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"collect.gpu: on: {fact}: install")


def test_find_gpus(tmp_path):
    """`off` is nothing, `on` always a collector, `auto` only where a driver shows itself."""
    assert (None, None) == (find_gpus("off", root=tmp_path), find_gpus("auto", root=tmp_path))
    assert find_gpus("on", root=tmp_path) is not None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert find_gpus("auto", root=tmp_path) is not None
    assert find_gpus("off", root=tmp_path) is None


def test_the_real_library_is_loaded_by_the_first_poll(tmp_path):
    """`on` loads pynvml by its name; without a driver that ends in no samples."""
    collector = find_gpus("on", root=tmp_path)
    if not Path("/dev/nvidiactl").exists():
        assert [] == list(collector.collect())
    collector.close()
