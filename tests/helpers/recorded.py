"""Cells with records that a test makes up, under their own keys: what a worker would have left."""

from __future__ import annotations

from PIL import Image

from ablate.analysis import sequential
from ablate.core.files import write_json


def entry(value, nfe=1):
    facts = {
        "n": 1000,
        "extractor": "classifier-1a2b3c4d",
        "reference": "heldout-797-0a0b0c0d",
        "weights": "ema",
    }
    return {"nfe": nfe, "value": value, "sigmas": [80.0, 0.821][:nfe], "halves": [value, value], **facts}


def put(store, cell, value, state="finished"):
    """A cell's folder, as a worker leaves it."""
    folder = store.prepare(cell)
    record = {
        "key": cell.key,
        "state": state,
        "profile": "digits",
        "seed": cell.seed,
    }
    record |= {
        "images": 32000,
        "wall_s": 60.25,
        "parameters": 430000,
        "fid": [entry(value), entry(value / 3, 2)],
    }
    origin = {
        "commit": "c0ffee",
        "dirty": False,
        "versions": {"torch": "2.11"},
        "device": "A CPU",
        "threads": 1,
    }
    write_json(
        folder.record, record | {"kid": [entry(0.1)], "precision": [], "recall": [], "provenance": origin}
    )
    for nfe in (1, 2):
        Image.new("L", (34, 34), 9 * cell.seed).save(folder.samples / f"images_000032000_{nfe}step.png")
    for step in (1, 2, 3):
        folder.append(step, step * 64, {"loss": value / step})
    return folder


def decide(experiment, store, values):
    """Record the experiment's cells in order, and those that its open claims ask for, until they are decided."""
    values = iter(values)

    def compute():
        for cell in experiment.cells.values():
            if not store.record(cell.key):
                put(store, cell, next(values))
        return True

    sequential.decide(experiment, store, compute, sequential.Budget(None, 1), lambda said: None)
