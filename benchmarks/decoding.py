"""How soon a cell trains on 60,000 pictures, and in how much memory: `python benchmarks/decoding.py`.

Every cell is a process of its own. One side decodes into memory, as every cell did before there was a cache of decoded
images; the other decodes into the cache (the first cell) or finds the images there (all further ones).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from support.command import QUICK, parser
from support.results import Row, save, spread

N, SIDE = (2_000 if QUICK else 60_000), 32
REPEATS = 1 if QUICK else 3
EXPERIMENT = "name: decoding\nprofile: profile.yaml\nseeds: [0]\nplan: [{list: [{label: ict}]}]\n"
PROFILE = """
name: decoding
data: {name: zip, path: pictures.zip, flip: true}
batch: 16
images: 160
threads: 1
adapt: {network.width: 16, network.multipliers: [1, 2], network.blocks: 1, network.attention: []}
"""
# a worker from the moment that it has its libraries, as the server that forks workers has; it stops at the first step
CELL = """
import json, resource, sys, time
from pathlib import Path
import torch, torchvision, PIL.Image
from ablate.core.files import read_json
from ablate.data import sources, survey
from ablate.runs.store import Folder, restore
from ablate.runs.worker import compute

class First(Exception): pass
def first(step, images): raise First

if sys.argv[1] == "memory":  # no cache of decoded images, nor one of headers
    type(sources.SOURCES["zip"]).kept, survey.MANY = False, 10**12
torch.set_num_threads(1)
folder, began = Folder(Path(sys.argv[2])), time.perf_counter()
try:
    compute(restore(read_json(folder.config)), folder, on_step=first)
except First:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.perf_counter() - began, peak]))
"""


def pictures(path: Path) -> None:
    """Made-up JPEG files in EDM's layout, of ten classes."""
    import io
    import zipfile

    import numpy as np
    from PIL import Image

    rng, labels = np.random.RandomState(0), []
    with zipfile.ZipFile(path, "w") as out:
        for i in range(N):
            coarse = Image.fromarray(rng.randint(0, 256, (8, 8, 3), np.uint8))
            content, name = io.BytesIO(), f"{i // 1000:05d}/img{i:08d}.jpg"
            coarse.resize((SIDE, SIDE)).save(content, "JPEG")
            out.writestr(name, content.getvalue())
            labels.append([name, i % 10])
        out.writestr("dataset.json", json.dumps({"labels": labels}))


def started(side: str, folder: Path) -> list[float]:
    """Seconds to the first step of a cell, and its process's most memory in MB."""
    command = [sys.executable, "-c", CELL, side, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Cells of either side, one after another."""
    from ablate.planning import planner
    from ablate.runs.store import Store

    with tempfile.TemporaryDirectory(prefix="ablate-decoding-") as home:
        place, os.environ["HOME"] = Path(home), home  # which has the cache of headers
        pictures(place / "pictures.zip")
        (place / "experiment.yaml").write_text(EXPERIMENT)
        (place / "profile.yaml").write_text(PROFILE)
        overrides = {"profile.data.path": str(place / "pictures.zip")}
        (planned,) = planner.load(place / "experiment.yaml", overrides=overrides).cells.values()
        folder = Store.writable(place / "runs").prepare(planned).path
        before = [started("memory", folder) for _ in range(REPEATS)]
        first = started("kept", folder)
        later = [started("kept", folder) for _ in range(REPEATS)]
    how = f"{N:,} JPEG files of {SIDE}x{SIDE} in a zip, libraries imported{{}}, times: {{}}"
    rows = []
    read = ", headers read by planning"
    for what, reach, of, ready in (
        ("decoded by every cell, before", "-", before, ""),
        ("the first cell, which decodes into the cache", "-", [first], read),
        ("a second cell", "3 s", later, read),
    ):
        took, peak = zip(*of, strict=True)
        seen = f"{spread(took, unit=' s')}, {spread(peak, '.0f', ' MB')}"
        rows.append(
            Row(
                f"start of a cell to its first step, most memory: {what}",
                reach,
                seen,
                how.format(ready, len(of)),
            )
        )
    save("decoding", rows, {"before": before, "first": first, "later": later})


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
