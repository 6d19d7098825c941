"""What the paper's run costs at a rate: `python benchmarks/paper_scale.py [TFLOP/s of a GPU]`; arithmetic, seconds.

Images and operations are counted on the network itself. Without a measured rate the table takes shares of a
GPU's peak that are assumed, as are the bandwidths. The exchange of gradients is a ring's, 2 (n - 1) / n bytes
/ bandwidth, not hidden behind anything.
"""

from __future__ import annotations

from support.command import parser
from support.results import Row, save

from ablate.config.profile import load_profile
from ablate.config.recipe import build, read_specs
from ablate.cost.flops import count_flops
from ablate.planning.planner import adapted

PEAK = 989.0  # TFLOP/s of an H100 or H200 SXM, bf16, dense, as its maker's data sheet has it
SHARES = (0.2, 0.4, 0.6)  # of the peak; assumed
INSIDE, BETWEEN = (
    450e9,
    50e9,
)  # bytes a second and direction inside a machine of eight, and between machines; assumed
GPUS = (8, 64)


def exchange(gpus: int, size: float) -> float:
    """Seconds to add up `size` bytes of gradients in a ring of so many GPUs."""
    bandwidth = INSIDE if gpus <= 8 else BETWEEN
    return 2 * (gpus - 1) / gpus * size / bandwidth


def hours(flops: float, steps: int, size: float, rate: float, gpus: int) -> tuple[float, float]:
    """Hours of the whole run on so many GPUs of `rate` operations a second, and the share of them that is exchange."""
    computed, passed = flops / rate / gpus, steps * exchange(gpus, size) * (gpus > 1)
    return (computed + passed) / 3600, passed / (computed + passed)


def main(rate: float | None) -> None:
    """A row of counts, and a row for each rate."""
    profile = load_profile("cifar10-paper")
    recipe = build(adapted(build(read_specs("ict", "base")).specs(), profile))
    n = count_flops(recipe, profile)
    images, size = profile.steps * profile.batch, 4.0 * n["parameters"]
    flops = float(images) * n["flops_step"]
    answer = f"{images / 1e6:.1f} million images, {flops:.3g} FLOPs, {size / 1e6:.0f} MB of gradients a step"
    rows = [
        Row(
            "the paper's run on CIFAR-10",
            "-",
            answer,
            f"counted: batch {profile.batch}, {profile.steps} steps",
        )
    ]
    labels = {rate: f"at {rate:g} TFLOP/s, as given"} if rate else {}
    labels |= {s * PEAK: f"at {100 * s:.0f} % of 989 TFLOP/s (H100 or H200, bf16): assumed" for s in SHARES}
    for tera, label in labels.items():
        one, _ = hours(flops, profile.steps, size, tera * 1e12, 1)
        parts = [f"{one:.0f} h on one GPU"]
        for gpus in GPUS:
            many, share = hours(flops, profile.steps, size, tera * 1e12, gpus)
            parts.append(f"{many:.1f} h on {gpus} ({100 * share:.0f} % of it exchange)")
        rows.append(
            Row(
                label,
                "-",
                ", ".join(parts),
                "on paper; ring at 450 GB/s inside, 50 GB/s between machines: assumed",
            )
        )
    save("paper_scale", rows, {"images": images, "flops": flops, "gradient_bytes": size})


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("rate", nargs="?", type=float, help="TFLOP/s that a GPU reaches, measured")
    main(command.parse_args().rate)
