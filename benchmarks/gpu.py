"""All rows that need a GPU, in one call: `python benchmarks/gpu.py`, about ten minutes on one.

ncsnpp's step at batch 512 in two precisions, its memory at batch 1,024, and small cells that share a GPU.
Without a GPU the rows say so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.command import QUICK, parser
from support.results import NO_GPU, Row, save, seconds

from ablate.core.errors import SpecError
from ablate.core.hardware import cores, devices
from ablate.cost import bench, estimate
from ablate.planning import planner

FILE = Path(__file__).parents[1] / "experiments" / "bench_ncsnpp.yaml"
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32"},
    "fp32 with tf32": {"precision": {"name": "fp32", "tf32": True}},
    "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "profile.compile": True},
}
PARTS = (1, 2, 4)  # that a batch of 1,024 is passed in
PACKED = (1, 2) if QUICK else (1, 2, 4, 8)  # cells that share the GPU
CELLS = 2 if QUICK else 16
STEPS = 64


def speed(batch: int, changes: dict[str, Any]) -> dict[str, Any]:
    """The entry of `bench` for ncsnpp."""
    changes = {"profile.batch": batch, "profile.images": batch * STEPS, **changes}
    (entry,) = bench.speeds(
        estimate.groups(planner.load(FILE, overrides=changes), Path("none")), cores(), "cuda"
    )
    print(bench.format_entry(entry), flush=True)
    return entry


def steps(found: dict[str, Any]) -> list[Row]:
    """Batch 512."""
    rows = []
    for name, changes in PRECISIONS.items():
        what = f"ncsnpp 56.4M, batch 512, {name}, GPU: images a second, share of the matrix product's rate"
        entry = found[what] = _tried(512, changes)
        rows.append(Row(what, "45 %", entry if isinstance(entry, str) else _rate(entry), "`bench`, 20 steps"))
    return rows


def memory(found: dict[str, Any]) -> list[Row]:
    """Batch 1,024, whole and in parts."""
    rows = []
    for parts in PARTS:
        what = f"ncsnpp 56.4M, batch 1,024 in {parts} parts, bf16, GPU: most memory"
        entry = found[what] = _tried(1024, {"precision": "bf16", "profile.accumulate": parts})
        seen = entry if isinstance(entry, str) else f"{entry['peak_memory_mb'] / 1000:.1f} GB; {_rate(entry)}"
        rows.append(Row(what, "80 GB", seen, "`bench`, 20 steps"))
    return rows


def _tried(batch: int, changes: dict[str, Any]) -> dict[str, Any] | str:
    try:
        return speed(batch, changes)
    except SpecError as error:  # out of memory, in one line
        return f"failed: {str(error)[:100]}"


def _rate(entry: dict[str, Any]) -> str:
    return f"{entry['images_per_s']:.4g} images/s, {entry['step_tflops']:.3g} TFLOP/s, {100 * entry['share']:.0f} %"


def packing(found: dict[str, Any]) -> list[Row]:
    """Small cells that share the GPU; the whole command, after one that makes the extractor."""
    with tempfile.TemporaryDirectory(prefix="ablate-gpu-") as home:
        place = Path(home)
        run(place, 0, 1, 1)
        took = {n: seconds(lambda: run(place, n, CELLS, n)) for n in PACKED}  # noqa: B023
    found["packing"] = took
    rates = ", ".join(f"{n}: {3600 * CELLS / s:.0f}" for n, s in took.items())
    best = took[1] / min(took.values())
    what = "small digits cells on one GPU: cells an hour by how many share it"
    return [
        Row(
            what,
            "2.5 x",
            f"{rates}; {best:.2f} x one at a time",
            f"{CELLS} cells of the digits budget, {cores()} cores",
        )
    ]


def run(place: Path, turn: int, cells: int, shared: int) -> None:
    """A run of so many cells that no other turn has."""
    values = [round(0.01 + turn + i / 1000, 4) for i in range(cells)]
    file = place / f"packed{turn}.yaml"
    file.write_text(f"name: packed{turn}\nplan: [{{grid: {{metric.c: {values}}}}}]\n")
    command = [
        sys.executable,
        "-m",
        "ablate",
        "run",
        str(file),
        "--workers-per-device",
        str(shared),
        "--no-doctor",
    ]
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Every kind of row on its own: what fails leaves the others."""
    if devices() == ["cpu"]:
        reaches = {
            "ncsnpp 56.4M, batch 512, GPU: share of the matrix product's rate": "45 %",
            "ncsnpp and ddpmpp, batch 512, GPU: a step against a plain eager loop's": "2 x",
            "ncsnpp 56.4M, batch 1,024, GPU: most memory": "80 GB",
            "small digits cells on one GPU: cells an hour, several at a time against one": "2.5 x",
        }
        save("gpu", [Row(name, reach, NO_GPU, "-") for name, reach in reaches.items()])
        return
    rows, found = list[Row](), dict[str, Any]()
    for kind in (steps, memory, packing):
        try:
            rows += kind(found)
        except (OSError, subprocess.CalledProcessError, SpecError) as error:
            rows.append(Row(f"GPU: {kind.__name__}", "-", f"failed: {str(error)[:100]}", "-"))
        save("gpu", rows, found)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
