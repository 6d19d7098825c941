"""What this process uses of the machine, by the names under which MLflow has a page of their own."""

from __future__ import annotations

import sys
from contextlib import suppress

import psutil

MEGABYTE = 2**20


class Usage:
    """Processor, memory and GPU of this process since the last look; asking costs less than a millisecond."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.process.cpu_percent()  # the first answer is always 0

    def look(self) -> dict[str, float]:
        """Percent of one core (with several threads more than 100), and megabytes."""
        found = {
            "system/cpu_utilization_percentage": self.process.cpu_percent(),
            "system/system_memory_usage_megabytes": self.process.memory_info().rss / MEGABYTE,
        }
        return {name: round(value, 1) for name, value in (found | self._gpu()).items()}

    @staticmethod
    def _gpu() -> dict[str, float]:
        """Of the current GPU, once this process computes on one; how busy it is, only where pynvml is installed."""
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is None or not cuda.is_initialized():
            return {}
        found = {"system/gpu_0_memory_usage_megabytes": cuda.memory_reserved() / MEGABYTE}
        with suppress(Exception):  # no pynvml, or a driver that does not tell
            found["system/gpu_0_utilization_percentage"] = float(cuda.utilization())
        return found
