"""Resource usage of this process, under the names that MLflow shows on its system-metrics page."""

from __future__ import annotations

import sys
from contextlib import suppress

import psutil

MEGABYTE = 2**20


class Usage:
    """Processor, memory and GPU usage of this process; a measurement takes less than a millisecond."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.process.cpu_percent()  # the first answer is always 0

    def measure(self) -> dict[str, float]:
        """Percent of one core since the last call (above 100 with several threads), and megabytes."""
        usage = {
            "system/cpu_utilization_percentage": self.process.cpu_percent(),
            "system/system_memory_usage_megabytes": self.process.memory_info().rss / MEGABYTE,
        }
        return {name: round(value, 1) for name, value in (usage | self._gpu()).items()}

    @staticmethod
    def _gpu() -> dict[str, float]:
        """Memory of the current GPU, once this process computes on one; its utilization too if pynvml is installed."""
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is None or not cuda.is_initialized():
            return {}
        usage = {"system/gpu_0_memory_usage_megabytes": cuda.memory_reserved() / MEGABYTE}
        with suppress(Exception):  # no pynvml, or a driver that does not report it
            usage["system/gpu_0_utilization_percentage"] = float(cuda.utilization())
        return usage
