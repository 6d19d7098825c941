"""All rows that need a GPU, in one call under ten minutes: `python benchmarks/gpu.py`.

Steps of ncsnpp and ddpmpp at batch 512 against a plain eager loop, memory at batch 1,024, small cells that share a GPU,
an evaluation. Rows that the time does not suffice for say so. Without a GPU all say that there is none. `--quick` runs
every part of it in tiny sizes on the CPU, and nothing of that is a measurement.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.command import QUICK, parser
from support.results import NO_GPU, Row, save

from ablate.core.hardware import VISIBLE, cores, devices

PART = Path(__file__).parent / "support" / "gpu_part.py"
DEVICE = "cpu" if QUICK else "cuda"
HOW = "quick, CPU: not a measurement" if QUICK else ""
LIMIT_S = 580.0  # of all parts together
NETWORKS = {"ncsnpp": "45 %", "ddpmpp": "45 %"}
BATCH, LARGE, STEPS = (4, 8, 9) if QUICK else (512, 1024, 24)  # the curriculum needs eight steps
PARTS = (1, 2, 4)  # that a large batch is passed in
PACKED = (1, 2) if QUICK else (1, 2, 4, 8, 16)  # cells that share the GPU
CELL = {"images": 160, "evaluation.samples": 64} if QUICK else {"images": 4480}
PRECISION = "fp32" if QUICK else "bf16"  # a processor may take a minute for a step in bfloat16
SMALL = {
    **{"network.width": 8, "network.multipliers": [1, 1], "network.blocks": 1},
    **{"network.attention": [], "embedding.channels": 16},
}
SAMPLES = 32 if QUICK else 10_000
# the network of the profile cifar10-1gpu
MIDDLE = {
    "network.width": 64,
    "network.multipliers": [1, 2, 2],
    "network.blocks": 2,
    "network.attention": [16],
}
FAILURES = OSError, subprocess.SubprocessError, ValueError, LookupError
# compiling takes minutes on a CPU; tests/networks/test_compiled.py shows there that it works
ENVIRONMENT = {**os.environ, VISIBLE: "-1", "TORCH_COMPILE_DISABLE": "1"} if QUICK else None
BEGAN = time.monotonic()


def left() -> float:
    """Seconds."""
    return LIMIT_S - (time.monotonic() - BEGAN)


def measured(part: str, batch: int, **changes: Any) -> dict[str, float]:
    """The numbers of a part, from a process of its own."""
    every = {"precision": PRECISION, "profile.batch": batch, "profile.images": batch * STEPS}
    given = json.dumps(every | (SMALL if QUICK else {}) | changes)
    command = [sys.executable, str(PART), part, DEVICE, given]
    found: dict[str, float] = answer(command)
    print(f"  {part}, batch {batch}, {changes}: {found}", flush=True)
    return found


def answer(command: list[str], place: Path | None = None) -> Any:
    """The JSON in the last line that a command prints."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=max(1.0, left()),
        cwd=place,
        env=ENVIRONMENT,
    )
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["it ended without a message"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def rate(found: dict[str, float]) -> str:
    """Images and operations a second."""
    of = f"{found['step_tflops']:.3g} of {found['matmul_tflops']:.3g} TFLOP/s"
    return f"{100 * found['share']:.0f} %: {of}, {found['images_per_s']:.4g} images/s"


def steps(network: str, compiled: bool) -> Callable[[], tuple[list[Row], Any]]:
    """Speed and first step of a network, and how much faster its step is than the plain loop's."""
    name = f"{network}, batch {BATCH}, {PRECISION}{', compiled' if compiled else ''}, GPU"

    def rows() -> tuple[list[Row], Any]:
        own = measured("trained", BATCH, network=network, **{"profile.compile": compiled})
        plain = PLAIN.get(network) or PLAIN.setdefault(network, measured("plainly", BATCH, network=network))
        ours, theirs = 1000 * own["step_s"], 1000 * plain["step_s"]
        times = f"{theirs / ours:.2f} x: {ours:.0f} against {theirs:.0f} ms"
        peaks = f"{own['peak_gb']:.3g} against {plain['peak_gb']:.3g} GB"
        how = HOW or f"{own['parameters'] / 1e6:.3g}M parameters, {STEPS} steps, once; a process each"
        return [
            Row(f"{name}: share of the matrix product's rate", NETWORKS[network], rate(own), how),
            Row(f"{name}: speed of a step against a plain eager loop's", "2 x", f"{times}; {peaks}", how),
            Row(f"{name}: time to the first step", "-", f"{own['first_s']:.1f} s", how),
        ], {"own": own, "plain": plain}

    return rows


PLAIN: dict[str, dict[str, float]] = {}


def memory(parts: int) -> Callable[[], tuple[list[Row], Any]]:
    """The most memory at a large batch, whole or in parts."""
    what = (
        f"ncsnpp, batch {LARGE:,}{f' in {parts} parts' if parts > 1 else ''}, {PRECISION}, GPU: most memory"
    )

    def rows() -> tuple[list[Row], Any]:
        changes = {"profile.accumulate": parts, "profile.images": 8 * LARGE}
        found = measured("trained", LARGE, **changes)
        return [Row(what, "80 GB", f"{found['peak_gb']:.3g} GB; {rate(found)}", HOW or "8 steps")], found

    return rows


def packing() -> tuple[list[Row], Any]:
    """Small cells that share the GPU, from the start of the first to the end of the last."""
    found = dict[int, float]()
    with tempfile.TemporaryDirectory(prefix="ablate-gpu-") as home:
        span(Path(home), 0, 1, 1)  # makes the extractor
        for turn, shared in enumerate(PACKED, 1):
            cells = shared if QUICK else max(4, 2 * shared)
            found[shared] = 3600 * cells / span(Path(home), turn, cells, shared)
            print(f"  {shared} at a time: {found[shared]:.0f} cells an hour", flush=True)
    seen = ", ".join(f"{shared}: {per_hour:.0f}" for shared, per_hour in found.items())
    best = max(found.values()) / found[1]
    how = (
        HOW or f"{CELL['images']} images a cell, {cores()} cores, without the start and report of the command"
    )
    what = "small digits cells on one GPU: cells an hour by how many share it"
    return [Row(what, "2.5 x", f"{seen}; {best:.2f} x one at a time", how)], found


def span(place: Path, turn: int, cells: int, shared: int) -> float:
    """Seconds from the start of the first to the end of the last of so many cells that no other turn has."""
    values = [round(0.01 + turn + i / 1000, 4) for i in range(cells)]
    (place / "packed.yaml").write_text(f"name: packed{turn}\nplan: [{{grid: {{metric.c: {values}}}}}]\n")
    sets = [word for key, value in CELL.items() for word in ("--set", f"profile.{key}={value}")]
    many = ["--workers-per-device", str(shared), *(["--workers", str(shared)] if QUICK else [])]
    command = [sys.executable, "-m", "ablate", "run", "packed.yaml", "--no-doctor", "--json", *many, *sets]
    keys = answer(command, place)["computed"]
    files = [place / "runs" / key / "record.json" for key in keys]
    ends = [file.stat().st_mtime for file in files]
    starts = [end - json.loads(file.read_text())["wall_s"] for end, file in zip(ends, files, strict=True)]
    return max(ends) - min(starts)


def evaluation() -> tuple[list[Row], Any]:
    """Samples and their metrics, with the network of cifar10-1gpu."""
    chosen = {} if QUICK else MIDDLE
    sizes = {"profile.evaluation.samples": SAMPLES, "profile.evaluation.batch": 16 if QUICK else 1000}
    found = measured("evaluated", BATCH, **chosen, **sizes)
    seen = [f"{found[f'sample{n}_s']:.1f} s and {found[f'measure{n}_s']:.1f} s" for n in (1, 2)]
    what = f"evaluation of {SAMPLES:,} samples of 32 pixels, GPU: sampling, and all metrics, at one and two steps"
    return [
        Row(
            what,
            "-",
            ", ".join(seen),
            HOW or "network of cifar10-1gpu, the reference's features in the first",
        )
    ], found


KINDS: dict[str, Callable[[], tuple[list[Row], Any]]] = {  # what matters most first
    "ncsnpp": steps("ncsnpp", False),
    "ncsnpp, compiled": steps("ncsnpp", True),
    "packing": packing,
    **{f"memory, {parts} parts": memory(parts) for parts in PARTS},
    "evaluation": evaluation,
    "ddpmpp": steps("ddpmpp", False),
    "ddpmpp, compiled": steps("ddpmpp", True),
}


def main() -> None:
    """Every kind of row on its own: what fails leaves the others."""
    if DEVICE == "cuda" and devices() == ["cpu"]:
        save("gpu", [Row(f"GPU: {name}", "-", NO_GPU, "-") for name in KINDS])
        return
    rows, found = list[Row](), dict[str, Any]()
    for name, kind in KINDS.items():
        try:
            if left() < 0:
                raise ValueError(f"{LIMIT_S:.0f} s are over")
            new, found[name] = kind()
        except FAILURES as error:
            new = [
                Row(f"GPU: {name}", "-", f"not measured: {' '.join(str(error).split())[-150:]}", HOW or "-")
            ]
        rows += new
        save("gpu", new if QUICK else rows, found)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
