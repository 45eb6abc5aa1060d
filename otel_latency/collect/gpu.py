"""NVIDIA GPUs by NVML: utilization, memory, temperature and power, one series per GPU index.

NVML is loaded at the first poll, on that poll's thread: waking a GPU can take seconds. Where it cannot be loaded there
are no samples; `gpu: on` says so in one log line, `gpu: auto` stays silent and does not even load the library while no
driver is seen. A figure that a GPU does not offer (utilization under MIG, power on some laptops) is left out.

Cost: about 0.1 ms per GPU and poll, 6 MiB for the library; nothing where no driver is seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from otel_latency.records import Sample

log = logging.getLogger(__name__)

_DRIVER_FILES: Final = ("dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg")
"""Any of these means a driver: bare metal and containers, and WSL."""


class _Reading(NamedTuple):
    """One metric and how NVML gives it, from the library and a device handle."""

    name: str
    help: str
    read: Callable[[Any, Any], float]


_READINGS: Final = (
    _Reading(
        "otel_latency_gpu_utilization_ratio",
        "Share of time in which a kernel ran on the GPU.",
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    ),
    _Reading(
        "otel_latency_gpu_memory_used_bytes",
        "GPU memory in use.",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    ),
    _Reading(
        "otel_latency_gpu_memory_total_bytes",
        "GPU memory installed.",
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    ),
    _Reading(
        "otel_latency_gpu_temperature_celsius",
        "Temperature of the GPU's die.",
        lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
    _Reading(
        "otel_latency_gpu_power_watts",
        "Power drawn by the GPU's board.",
        lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    ),
)


class GpuCollector:
    """Polls every GPU; *load* gives the `pynvml` module (or a stand-in) and may raise ImportError."""

    def __init__(self, load: Callable[[], Any], *, is_wanted: bool) -> None:
        self._load = load
        self._is_wanted = is_wanted
        self._is_tried = False
        self._nvml: Any = None
        self._gpus: Sequence[Any] = ()

    def collect(self) -> Iterable[Sample]:
        if not self._is_tried:
            self._is_tried = True
            self._open()
        for index, gpu in enumerate(self._gpus):
            yield from _read(self._nvml, gpu, {"gpu": str(index)})

    def close(self) -> None:
        """Give NVML back. Twice, or before the first poll, is harmless."""
        nvml, self._nvml, self._gpus = self._nvml, None, ()
        if nvml is not None:
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _open(self) -> None:
        try:
            nvml = self._load()
        except ImportError:
            self._explain("nvidia-ml-py is not installed: install it, or write auto")
            return
        try:
            nvml.nvmlInit()
            self._gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            self._explain(
                f"NVML does not start ({error}): install the driver, give the container the GPU, or write auto"
            )
        else:
            self._nvml = nvml

    def _explain(self, problem: str) -> None:
        if self._is_wanted:
            log.error("collect.gpu: on: %s", problem)


def find_gpus(mode: Literal["auto", "on", "off"], *, root: Path = Path("/")) -> GpuCollector | None:
    """The collector that *mode* asks for; None where it is off, or `auto` and no driver is to be seen below *root*."""
    if mode == "off" or (mode == "auto" and not any((root / file).exists() for file in _DRIVER_FILES)):
        return None
    return GpuCollector(lambda: import_module("pynvml"), is_wanted=mode == "on")


def _read(nvml: Any, gpu: Any, labels: dict[str, str]) -> Iterator[Sample]:
    """What this GPU offers, and whether it offers anything: one that fell off the bus does not."""
    is_up = False
    for reading in _READINGS:
        with suppress(nvml.NVMLError):
            yield Sample(reading.name, reading.read(nvml, gpu), labels, help=reading.help)
            is_up = True
    yield Sample("otel_latency_gpu_up", float(is_up), labels, help="1 while the GPU answers.")
