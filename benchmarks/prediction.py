"""Hours that `--dry-run --time` tells against the truth: `python benchmarks/prediction.py`.

Three files: a part of the teacher table and of the noise table on digits, and a network of three levels on
made-up images of 16 pixels. The extractor is there before either side begins; the truth is the whole command,
its start and its report included.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from support.command import QUICK, parser
from support.results import Row, save, seconds

TEACHER = "name: some_teachers\nplan: [{grid: {teacher: [none, adaptive]}}]\nseeds: [0, 1]\n"
NOISE = "name: some_noise\nplan: [{grid: {noise.p_mean: [-1.1, 0.0]}}]\nseeds: [2, 3]\n"
PIXELS16 = "name: pixels16\nprofile: profile16.yaml\nplan: [{list: [{label: ict}]}]\nseeds: [0, 1]\n"
PROFILE16 = """
name: pixels16
data: {name: zip, path: made_up.zip}
batch: 16
images: 6400
threads: 1
adapt: {network.width: 16, network.multipliers: [1, 2, 4], network.blocks: 1, network.attention: [4],
        embedding.channels: 32}
evaluation: {samples: 500}
"""
SMALL = ["--set", "profile.images=320", "--set", "profile.evaluation.samples=64"] if QUICK else []


def archive(path: Path, n: int = 2000) -> None:
    """Made-up images of 16 pixels in EDM's layout; their class is their shade, so that a classifier can learn it."""
    rng, labels = np.random.default_rng(0), []
    with zipfile.ZipFile(path, "w") as file:
        for i in range(n):
            pixels = np.clip(rng.normal(60 + 15 * (i % 10), 30, (16, 16, 3)), 0, 255).astype(np.uint8)
            stored = io.BytesIO()
            Image.fromarray(pixels).save(stored, "PNG")
            file.writestr(f"{i}.png", stored.getvalue())
            labels.append([f"{i}.png", i % 10])
        file.writestr("dataset.json", json.dumps({"labels": labels}))


def run(place: Path, file: str, *more: str) -> str:
    """The command; what it prints."""
    command = [sys.executable, "-m", "ablate", "run", file, "--no-doctor", *SMALL, *more]
    done = subprocess.run(
        command, cwd=place, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return done.stdout


def compared(place: Path, file: str) -> tuple[float, float]:
    """Seconds as predicted, and as they were."""
    run(place, file, "--dry-run", "--time", "--json")  # makes the extractor
    answer = json.loads(run(place, file, "--dry-run", "--time", "--json"))
    return 3600 * float(answer["hours"]), seconds(lambda: run(place, file))


def main() -> None:
    """A row for each file."""
    with tempfile.TemporaryDirectory(prefix="ablate-prediction-") as home:
        place = Path(home)
        archive(place / "made_up.zip")
        for name, text in (
            ("profile16", PROFILE16),
            ("teacher", TEACHER),
            ("noise", NOISE),
            ("pixels16", PIXELS16),
        ):
            (place / f"{name}.yaml").write_text(text.lstrip())
        found = {name: compared(place, f"{name}.yaml") for name in ("teacher", "noise", "pixels16")}
    rows = [
        Row(f"`--dry-run --time` against the truth, {name}", "0.75 to 1.25", f"{a / b:.2f}: {a:.0f} s of {b:.0f} s",
            "whole command, its start and report included, once")
        for name, (a, b) in found.items()
    ]  # fmt: skip
    off = [abs(a / b - 1) for a, b in found.values()]
    print(f"off by {100 * statistics.mean(off):.0f} % on average")
    save("prediction", rows, found)


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
