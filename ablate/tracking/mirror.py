"""One MLflow run that shows one folder; takes mlflow from its caller, who alone imports it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.config import recipe as recipes
from ablate.tracking import notes
from ablate.tracking.notes import Sent

MOST = {"metrics": 1000, "params": 100, "tags": 100}  # that MLflow takes in one call
STATUS = {"running": "RUNNING", "finished": "FINISHED", "killed": "KILLED"}  # every other state: FAILED
GRID = re.compile(r"images_(\d+)_([\w-]+)\.png")
Point = tuple[str, float, int, int]  # name, value, time in ms, images


@dataclass
class Mirror:
    """A run, its folder, and what the run has of the folder."""

    mlflow: Any
    client: Any
    folder: Path
    view: str
    sent: Sent

    def save(self) -> None:
        """Note what was sent."""
        self.sent.save(self.folder, self.view)

    def exists(self) -> bool:
        """Whether there is a run and the store still has it."""
        if not self.sent.run:
            return False
        try:
            return bool(self.client.get_run(self.sent.run).info.lifecycle_stage == "active")
        except self.mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def create(self, experiment: str, tags: Mapping[str, str], when: int) -> None:
        """Begin a run; noted at once, so that it is found again whatever happens next."""
        run = self.client.create_run(experiment, start_time=when, tags=dict(tags))
        self.sent = Sent(run=run.info.run_id, tags=dict(tags), state="running")
        self.save()

    def follow(self, config: Mapping[str, Any], tags: Mapping[str, str], running: bool) -> None:
        """Pass on what is new in a cell's folder."""
        # State before lines: a worker that has left its record writes no more of them.
        state = notes.state(self.folder, running)
        content = notes.content(self.folder)
        if not self.sent.described:
            self.describe(config)
        self.tags(tags)
        self.lines()
        self.samples(whole=state != "running")
        if content != self.sent.content and (record := notes.read(self.folder / "record.json")):
            self.finish(record)
        self.turn(state, self.sent.time or None)
        self.sent.content = content
        self.save()

    def describe(self, config: Mapping[str, Any]) -> None:
        """Parameters under their own names, and the data set by name and fingerprint."""
        own = {k: config[k] for k in ("seed", "parameters") if k in config}
        self.params({**recipes.flat(config["specs"]), **notes.flat(config["profile"], "profile"), **own})
        data, kinds = config["profile"]["data"], self.mlflow.entities
        digest = str(config.get("fingerprint", "unknown"))[:36]  # as long as MLflow allows
        dataset = kinds.Dataset(data["name"], digest, "local", json.dumps(data))
        context = kinds.InputTag("mlflow.data.context", "training")
        self.client.log_inputs(self.sent.run, [kinds.DatasetInput(dataset, [context])])
        self.sent.described = True

    def lines(self) -> None:
        """New points of metrics.jsonl, over images seen, and of usage.jsonl, which MLflow shows over time."""
        text, self.sent.offset = notes.lines(self.folder, self.sent.offset)
        used, self.sent.usage = notes.lines(self.folder, self.sent.usage, notes.USAGE[0])
        points = list(notes.points(text, self.sent.last))
        self.metrics([*points, *notes.points(used, self.sent.last, notes.USAGE[1])])
        self.sent.time = max([self.sent.time, *(when for _, _, when, _ in points)])

    def samples(self, whole: bool) -> None:
        """New sample grids, as artifacts and as images over images seen."""
        for name in notes.samples(self.folder):
            if name not in self.sent.samples and (self.image(name) or whole):
                self.artifacts([self.folder / "samples" / name], "samples")
                self.sent.samples = sorted([*self.sent.samples, name])
                self.save()

    def image(self, name: str) -> bool:
        """Log a grid for the charts, if its file is whole."""
        from PIL import Image

        try:
            image = Image.open(self.folder / "samples" / name)
            image.load()
        except OSError:
            return False
        if found := GRID.fullmatch(name):
            self.client.log_image(self.sent.run, image, key=f"samples_{found[2]}", step=int(found[1]))
        return True

    def finish(self, record: Mapping[str, Any]) -> None:
        """The record's results, provenance and files."""
        last, images = self.sent.last, int(record.get("images", 0))
        new = {k: v for k, v in notes.results(record).items() if last.get(k) != [images, v]}
        when = self.sent.time or int(time.time() * 1000)
        self.metrics((name, value, when, images) for name, value in new.items())
        origin = record.get("provenance") or {}
        tags = {name: notes.text(value) for name, value in notes.flat(origin, "provenance").items()}
        self.tags({**tags, "mlflow.source.git.commit": notes.text(origin.get("commit"))})
        files = [
            self.folder / name for name in notes.FILES
        ]  # all that `retrieval` needs to build the cell again
        self.artifacts([file for file in files if file.exists()])

    def model(self, experiment: str, saved: Path) -> None:
        """The weights as they are, from which `retrieval` takes them, and the MLflow model in folder `saved`."""
        self.artifacts([self.folder / notes.MODEL])
        made = self.client.create_logged_model(experiment, name="model", source_run_id=self.sent.run)
        self.client.log_model_artifacts(made.model_id, str(saved))
        self.client.finalize_logged_model(made.model_id, "READY")
        images = int(self.sent.last.get("loss", [0])[0])
        output = self.mlflow.entities.LoggedModelOutput(made.model_id, images)
        self.client.log_outputs(self.sent.run, [output])
        self.sent.model = made.model_id
        self.save()

    def turn(self, state: str, when: int | None = None) -> None:
        """Set the run's status to a cell's state."""
        status = STATUS.get(state, "FAILED")
        if status == "RUNNING":
            self.client.update_run(self.sent.run, status)
        else:
            self.client.set_terminated(self.sent.run, status, when)
        self.tags({"ablate.state": state})
        self.sent.state = state

    def metrics(self, points: Iterable[Point]) -> None:
        """Log points; MLflow stores infinity as 1.8e308, which ruins a chart's axis, so it is sent as nan."""
        kind = self.mlflow.entities.Metric
        self.log("metrics", [kind(n, v if math.isfinite(v) else math.nan, t, x) for n, v, t, x in points])

    def params(self, values: Mapping[str, Any]) -> None:
        """Log values under their own names."""
        self.log("params", [self.mlflow.entities.Param(k, notes.text(v)) for k, v in values.items()])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set those tags that differ."""
        new = dict(values.items() - self.sent.tags.items())
        self.log("tags", [self.mlflow.entities.RunTag(k, v) for k, v in new.items()])
        self.sent.tags |= new

    def log(self, kind: str, entries: Sequence[Any]) -> None:
        """Log metrics, params or tags in as few calls as MLflow allows."""
        for at in range(0, len(entries), MOST[kind]):
            self.client.log_batch(self.sent.run, **{kind: entries[at : at + MOST[kind]]})

    def artifacts(self, files: Iterable[Path], under: str | None = None) -> None:
        """Log files; a folder under its own name."""
        for file in files:
            if file.is_dir():
                self.client.log_artifacts(self.sent.run, str(file), under or file.name)
            else:
                self.client.log_artifact(self.sent.run, str(file), under)
