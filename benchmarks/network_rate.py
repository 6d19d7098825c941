"""What of the matrix product's rate ncsnpp reaches on the CPU: `python benchmarks/network_rate.py`, some minutes.

A processor without bfloat16 products computes those of the network slowly: there one image a step stands for eight.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.command import QUICK, parser
from support.results import Row, save

from ablate.core.hardware import cores
from ablate.cost import bench, estimate
from ablate.planning import planner

FILE = Path(__file__).parents[1] / "experiments" / "bench_ncsnpp.yaml"
FLAGS = ("avx512_bf16", "amx_bf16")
SMALL = {"network.width": 16, "network.multipliers": [1, 2], "network.blocks": 1}


def native() -> bool:
    """Whether the processor multiplies bfloat16 itself."""
    try:
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in FLAGS)
    except OSError:
        return False


def measured(precision: str, batch: int) -> dict[str, Any]:
    """The entry of `bench` for a precision."""
    changes: dict[str, Any] = {"precision": precision, "profile.batch": batch} | (SMALL if QUICK else {})
    found = estimate.groups(planner.load(FILE, overrides=changes), Path("none"))
    (entry,) = bench.speeds(found, cores(), "cpu")
    print(bench.format_entry(entry), flush=True)
    return entry


def main() -> None:
    """A row for each precision."""
    rows, found = [], {}
    for precision, batch in (("fp32", 8), ("bf16", 8 if native() else 1))[: 1 if QUICK else 2]:
        entry = found[precision] = measured(precision, batch)
        times = f"{entry['step_tflops'] * 1000:.3g} of {entry['matmul_tflops'] * 1000:.3g} GFLOP/s"
        seen = f"{100 * entry['share']:.0f} %: {times}, {entry['images_per_s']:.3g} images/s"
        note = "" if precision == "fp32" or native() else "; no bfloat16 products in this processor"
        what = f"ncsnpp 56.4M, batch {batch}, {precision}, CPU: share of the matrix product's rate"
        rows.append(
            Row(
                what,
                "70 %" if precision == "bf16" else "-",
                seen,
                f"{cores()} threads, 171 GFLOP an image{note}",
            )
        )
    save("network_rate", rows, found)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
