"""A study's file, and an executor that answers at once: FID is a known function of the parameters."""

from __future__ import annotations

import math

from ablate.config.recipe import flat
from ablate.core.files import read_json, write_json
from ablate.execution.scheduler import Scheduler
from ablate.runs.record import INTERRUPTED, blank
from ablate.runs.store import Folder, Store
from ablate.study import search as studies

FILE = """
name: some
search: {metric.c: {low: 0.001, high: 1.0, log: true}, noise.p_mean: {low: -2.5, high: 1.0}}
trials: 12
sampler: {name: TPESampler, multivariate: true}
"""


def valley(recipe, share=1.0):
    """FID with its minimum at c = 0.03, P_mean = -1; in the middle of training the whole valley stands higher."""
    c, p = recipe["metric.c"], recipe["noise.p_mean"]
    return 2 + math.log(c / 0.03) ** 2 + (p + 1) ** 2 + 10 * (1 - share)


class Instant:
    """Cells that end at once, at most `room` at a time; with `rungs` they stand still at every part of training.

    `fid` is a function of the recipe's flat fields with the seed, and of the share of training that is done.
    """

    def __init__(self, room=1, rungs=1, dies_after=10**9, states=None, fid=valley):
        self.room, self.rungs, self.left, self.states = room, rungs, dies_after, states or {}
        self.fid = fid
        self.running, self.at, self.done, self.computed = {}, {}, {}, []

    def has_room(self):
        return len(self.running) < self.room

    def submit(self, folder):
        self.running[folder], self.at[folder] = True, 0

    def ended(self):
        for folder in list(self.running):
            self._advance(folder)
        codes, self.done = self.done, {}
        return codes

    def _advance(self, path):
        folder, config = Folder(path), read_json(path / "config.json")
        self.at[path] += 1
        images, share = config["profile"]["images"], self.at[path] / self.rungs
        recipe = flat(config["specs"]) | {"seed": config["seed"]}
        value = self.fid(recipe, share)
        if share < 1:
            folder.append(1, int(images * share), {"fid_1step": value, "fid_2step": value / 2})
            return
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        record = blank(config, self.states.get(len(self.computed), "finished"))
        record["fid"] = [
            {"nfe": 1, "value": value},
            {"nfe": 2, "value": 1 + recipe.get("noise.p_mean", 0.0) ** 2},
        ]
        write_json(folder.record, record)
        self.computed.append(config["key"])
        self._end(path, 0)

    def _end(self, path, code):
        del self.running[path]
        self.done[path] = code

    def stop(self, folder, at_once=False):
        self._end(folder, INTERRUPTED)

    def cancel(self, grace_s=30.0):
        pass


def share(place, url):
    """Run the study of `place` until no trial is wanted; the keys that this process computed."""
    plan, store, executor = studies.load(place / "some.yaml"), Store(place / "runs"), Instant()
    study = studies.open_study(plan, store.path, url)
    studies.run(plan, study, store, lambda s, follow, n: Scheduler(executor, s, follow))
    return executor.computed
