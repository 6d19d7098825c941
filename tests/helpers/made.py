"""An experiment with records that a test makes up: what workers would have left, and what is read from it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
from PIL import Image

from ablate.analysis.results import Results
from ablate.planning.planner import load
from ablate.report import writer
from ablate.report.page import page
from ablate.report.tables import csv
from ablate.runs.store import Store

LADDER = """
  - ladder: {from: ct, to: ict, order: [weighting, teacher, metric]}
  - leave_one_out: {from: ict, to: ct}
"""
LIST = """
  - list: [{label: plain}, {label: wide, set: {metric.c: 0.1}}, {label: wider, set: {metric.c: 0.2}}]
"""
CLASSIFIER = "classifier-1a2b3c4d"


def measured(value, nfes=(1, 2), **facts):
    """Entries of one metric, as a worker writes them."""
    common = {
        "n": 1000,
        "extractor": CLASSIFIER,
        "reference": "heldout-797-0a0b0c0d",
        "weights": "ema",
    } | facts
    levels = [80.0, 0.821, 0.3]
    return [{**common, "nfe": nfe, "sigmas": levels[:nfe], "value": value / nfe} for nfe in nfes]


class Made:
    """An experiment, and records as a test puts them."""

    def __init__(self, folder: Path, plan: str, seeds: str = "[0, 1]"):
        folder.mkdir(exist_ok=True)
        file = folder / "made.yaml"
        file.write_text(f"name: made\nsummary: A made table.\nseeds: {seeds}\nplan:{plan}")
        self.experiment, self.store, self.reports = load(file), Store(folder / "runs"), folder / "reports"

    def put(self, index, *values, state="finished", reason=None, **more):
        """Records of a row's first seeds; a value is the one-step FID."""
        row = self.experiment.rows[index]
        for seed, (key, value) in enumerate(zip(row.keys, values, strict=False)):
            record = self.record(key, row, seed) | {"state": state}
            record |= {"reason": reason} if reason else {}
            if state == "finished":
                record |= {"fid": measured(value, **more), "kid": measured(value / 1000, **more)}
            folder = self.store.folder(key)
            folder.samples.mkdir(parents=True, exist_ok=True)
            folder.record.write_text(json.dumps(record))
        return self

    def record(self, key, row, seed):
        provenance = {"commit": "c0ffee", "dirty": False, "versions": {"torch": "2.11"}, "device": "A CPU"}
        floor = {
            "fid": 7.3,
            "kid": 0.0,
            "n": 1000,
            "extractor": CLASSIFIER,
            "reference": "heldout-797-0a0b0c0d",
        }
        sizes = {"images": 32000, "wall_s": 60.0, "parameters": 430000, "seed": seed, "profile": "digits"}
        return {"key": key, **sizes, "provenance": provenance, "floor": floor}

    def pictures(self, index):
        for key in self.experiment.rows[index].keys:
            for nfe in (1, 2):
                grid = Image.linear_gradient("L").resize((274, 274))
                grid.save(self.store.folder(key).samples / f"images_000032000_{nfe}step.png")
            for step in range(1, 20):
                self.store.folder(key).append(step, step * 64, {"loss": 1 / step, "N": 11})

    @property
    def results(self):
        """Read anew each time: a test may have put more records."""
        return Results(self.experiment, self.store)

    @property
    def csv(self):
        return pd.read_csv(io.StringIO(csv(self.results)))

    @property
    def page(self):
        return page(self.results, [])

    def line(self, label, section=0):
        """The cells of a row in the section's table of results."""
        tables = [t for t in self.page.split("\n\n") if t.startswith("| row ") and "FID" in t]
        rows = [[c.strip() for c in line.strip("|").split(" | ")] for line in tables[section].splitlines()]
        plain = [
            re.sub(r" \(\+ .*?\)|\[\^\d+\]", "", row[0]) for row in rows
        ]  # without a change or a footnote
        return dict(zip(rows[0], rows[plain.index(label)], strict=True))

    def one_step(self, label, section=0):
        return next(v for k, v in self.line(label, section).items() if k.startswith("FID 1 step"))

    def write(self):
        return writer.write(self.experiment, self.store, self.reports)
