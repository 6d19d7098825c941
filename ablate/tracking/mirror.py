"""Writes one cell's folder to one MLflow run. Callers pass the mlflow module in."""

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
from ablate.tracking import unsent
from ablate.tracking.unsent import Sent

MOST = {"metrics": 1000, "params": 100, "tags": 100}  # per call of MLflow
STATUS = {"running": "RUNNING", "finished": "FINISHED", "killed": "KILLED"}  # every other state: FAILED
GRID = re.compile(r"images_(\d+)_([\w-]+)\.png")
Point = tuple[str, float, int, int]  # name, value, time in ms, images


@dataclass
class Mirror:
    """A run, its folder, and what was sent from the folder so far."""

    mlflow: Any
    client: Any
    folder: Path
    view: str
    sent: Sent
    refused: str = ""  # what MLflow said of the first entry that it did not take

    def save(self) -> None:
        """Save the notes of what was sent."""
        self.sent.save(self.folder, self.view)

    def exists(self) -> bool:
        """Whether the run was created and the store still has it."""
        if not self.sent.run:
            return False
        try:
            return bool(self.client.get_run(self.sent.run).info.lifecycle_stage == "active")
        except self.mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def create(self, experiment: str, tags: Mapping[str, str], when: int) -> None:
        """Create the run and save its id at once, so that it is found again after a crash."""
        run = self.client.create_run(experiment, start_time=when, tags=dict(tags))
        self.sent = Sent(run=run.info.run_id, tags=dict(tags), state="running")
        self.save()

    def follow(self, config: Mapping[str, Any], tags: Mapping[str, str], running: bool) -> None:
        """Send what is new in a cell's folder."""
        # Read the state before the lines: a worker that wrote its record appends no more lines.
        state = unsent.state(self.folder, running)
        content = unsent.content(self.folder)
        if not self.sent.described:
            self.describe(config)
        self.tags(tags)
        self.lines()
        self.samples(ended=state != "running")
        if content != self.sent.content and (record := unsent.read(self.folder / "record.json")):
            self.finish(record)
        self.set_state(state, self.sent.time or None)
        self.sent.content = content
        self.save()

    def describe(self, config: Mapping[str, Any]) -> None:
        """Log parameters under their own names, and the data set by name and fingerprint."""
        own = {k: config[k] for k in ("seed", "parameters") if k in config}
        self.params({**recipes.flat(config["specs"]), **unsent.flat(config["profile"], "profile"), **own})
        data, kinds = config["profile"]["data"], self.mlflow.entities
        digest = str(config.get("fingerprint", "unknown"))[:36]  # the longest that MLflow accepts
        dataset = kinds.Dataset(data["name"], digest, "local", json.dumps(data))
        context = kinds.InputTag("mlflow.data.context", "training")
        self.client.log_inputs(self.sent.run, [kinds.DatasetInput(dataset, [context])])
        self.sent.described = True

    def lines(self) -> None:
        """Log new points of metrics.jsonl over images, and of usage.jsonl, which MLflow plots over time."""
        text, self.sent.offset = unsent.lines(self.folder, self.sent.offset)
        used, self.sent.usage = unsent.lines(self.folder, self.sent.usage, unsent.USAGE[0])
        points = list(unsent.points(text, self.sent.last))
        self.metrics([*points, *unsent.points(used, self.sent.last, unsent.USAGE[1])])
        self.sent.time = max([self.sent.time, *(when for _, _, when, _ in points)])

    def samples(self, ended: bool) -> None:
        """Log new sample grids as artifacts, and as images over the number of training images."""
        for name in unsent.samples(self.folder):
            if name not in self.sent.samples and (self.image(name) or ended):
                self.artifacts([self.folder / "samples" / name], "samples")
                self.sent.samples = sorted([*self.sent.samples, name])
                self.save()

    def image(self, name: str) -> bool:
        """Log a grid for MLflow's charts; False if its file is incomplete."""
        from PIL import Image

        try:
            image = Image.open(self.folder / "samples" / name)
            image.load()
        except OSError:
            return False
        if match := GRID.fullmatch(name):
            self.client.log_image(self.sent.run, image, key=f"samples_{match[2]}", step=int(match[1]))
        return True

    def finish(self, record: Mapping[str, Any]) -> None:
        """Log the record's results, provenance and files."""
        last, images = self.sent.last, int(record.get("images", 0))
        new = {k: v for k, v in unsent.results(record).items() if last.get(k) != [images, v]}
        when = self.sent.time or int(time.time() * 1000)
        self.metrics((name, value, when, images) for name, value in new.items())
        origin = record.get("provenance") or {}
        tags = {name: unsent.text(value) for name, value in unsent.flat(origin, "provenance").items()}
        self.tags({**tags, "mlflow.source.git.commit": unsent.text(origin.get("commit"))})
        # `retrieval` rebuilds the cell from these
        self.artifacts([self.folder / name for name in unsent.FILES if (self.folder / name).exists()])
        if levels := unsent.levels(self.folder):
            self.client.log_text(self.sent.run, levels, unsent.LEVELS)

    def model(self, experiment: str, saved: Path) -> None:
        """Log the weights as a file, which `retrieval` needs, and the MLflow model in folder `saved`."""
        self.artifacts([self.folder / unsent.MODEL])
        model = self.client.create_logged_model(experiment, name="model", source_run_id=self.sent.run)
        self.client.log_model_artifacts(model.model_id, str(saved))
        self.client.finalize_logged_model(model.model_id, "READY")
        images = int(self.sent.last.get("loss", [0])[0])
        output = self.mlflow.entities.LoggedModelOutput(model.model_id, images)
        self.client.log_outputs(self.sent.run, [output])
        self.sent.model = model.model_id
        self.save()

    def set_state(self, state: str, when: int | None = None) -> None:
        """Set the run's status from a cell's state; `when` is the end in ms."""
        status = STATUS.get(state, "FAILED")
        if status == "RUNNING":
            self.client.update_run(self.sent.run, status)
        else:
            self.client.set_terminated(self.sent.run, status, when)
        self.tags({"ablate.state": state})
        self.sent.state = state

    def metrics(self, points: Iterable[Point]) -> None:
        """Log points; infinity is sent as nan, since MLflow would store 1.8e308, which ruins the axis of a chart."""
        kind = self.mlflow.entities.Metric
        self.log("metrics", [kind(n, v if math.isfinite(v) else math.nan, t, x) for n, v, t, x in points])

    def params(self, values: Mapping[str, Any]) -> None:
        """Log values under their own names."""
        self.log("params", [self.mlflow.entities.Param(k, unsent.text(v)) for k, v in values.items()])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set the tags that differ."""
        new = dict(values.items() - self.sent.tags.items())
        self.log("tags", [self.mlflow.entities.RunTag(k, v) for k, v in new.items()])
        self.sent.tags |= new

    def log(self, kind: str, entries: Sequence[Any]) -> None:
        """Log metrics, params or tags in as few calls as MLflow allows; an entry that it refuses costs no other."""
        for at in range(0, len(entries), MOST[kind]):
            batch = entries[at : at + MOST[kind]]
            try:
                self.client.log_batch(self.sent.run, **{kind: batch})
            except self.mlflow.MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                if len(batch) == 1:
                    self.refused = self.refused or " ".join(str(error).split())[:200]
                else:
                    for entry in batch:
                        self.log(kind, [entry])

    def artifacts(self, files: Iterable[Path], under: str | None = None) -> None:
        """Log files, and folders under their own names."""
        for file in files:
            if file.is_dir():
                self.client.log_artifacts(self.sent.run, str(file), under or file.name)
            else:
                self.client.log_artifact(self.sent.run, str(file), under)
