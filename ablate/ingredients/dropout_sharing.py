"""dropout_sharing: device type -> whether the teacher uses the student's dropout masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ablate.core.registry import Axis

dropout_sharing = Axis(__doc__, default="shared")


@dropout_sharing("shared")
@dataclass(frozen=True)
class Shared:
    """Student and teacher use one mask per step. Source: iCT section 3.1."""

    def __call__(self, device: str) -> bool:
        return True


@dropout_sharing("separate")
@dataclass(frozen=True)
class Separate:
    """Student and teacher use different masks. Defect D5 (two public trainers draw new masks for the teacher)."""

    replays: ClassVar[tuple[str, ...]] = ("D5",)

    def __call__(self, device: str) -> bool:
        return False


@dropout_sharing("cpu_generator")
@dataclass(frozen=True)
class CpuGenerator:
    """Shared on a CPU, separate on any other device. Defect D4 (only the CPU generator's state is restored)."""

    replays: ClassVar[tuple[str, ...]] = ("D4",)

    def __call__(self, device: str) -> bool:
        return device == "cpu"
