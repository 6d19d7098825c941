"""A study whose file changed, evaluation points, quiet libraries, and figures that cannot be drawn."""

from __future__ import annotations

import pytest
from helpers import cli
from helpers.instant_cells import FILE, Instant

from ablate.core.errors import SpecError
from ablate.execution.scheduler import Scheduler
from ablate.runs.store import Store
from ablate.study import result
from ablate.study import search as studies
from ablate.study.trials import counted

PRUNED = FILE + "pruner: {name: MedianPruner, n_startup_trials: 99}\n"


def search(place, text, executor=None, url=None, **changes):
    (place / "some.yaml").write_text(text)
    plan, store = studies.load(place / "some.yaml", overrides=changes), Store.writable(place / "runs")
    study, executor = studies.open_study(plan, store.path, url), executor or Instant()
    studies.run(plan, study, store, lambda s, follow, n: Scheduler(executor, s, follow))
    return plan, study, executor


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("low: 0.001, high: 1.0", "low: 0.01, high: 0.5"),
        ("high: 1.0}}", "high: 1.5, step: 0.5}}"),
        (", noise.p_mean: {low: -2.5, high: 1.0}", ""),
        ("high: 1.0}}", "high: 1.0}, teacher: [none, adaptive]}"),
    ],
)
@pytest.mark.parametrize(
    "sampler", ["{name: TPESampler, multivariate: true}", "NSGAIISampler", "RandomSampler"]
)
def test_a_changed_space_continues_with_the_old_trials(tmp_path, before, after, sampler):
    text = FILE.replace("{name: TPESampler, multivariate: true}", sampler)
    search(tmp_path, text)
    _, study, executor = search(tmp_path, text.replace(before, after), trials=15)
    assert len(counted(study.get_trials())) == 15
    assert len(executor.computed) == 3


@pytest.mark.parametrize("url", [None, "sqlite:///{}/studies.db"])
@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "[none, adaptive]",
            "[none, adaptive, fixed]",
            "search.teacher: [none, adaptive, fixed]: choose another",
        ),
        ("[none, adaptive]", "[adaptive, none]", "has trials with [none, adaptive]"),
        ("log: true", "log: false", "has trials with {low: 0.001, high: 1.0, log: true}"),
        (
            "{low: 0.001, high: 1.0, log: true}",
            "[0.1, 0.2]",
            "search.metric.c: [0.1, 0.2]: choose another `name`",
        ),
    ],
)
def test_a_space_that_optuna_does_not_change_is_one_line(tmp_path, url, before, after, words):
    text = FILE.replace("noise.p_mean: {low: -2.5, high: 1.0}", "teacher: [none, adaptive]")
    url = url and url.format(tmp_path)
    search(tmp_path, text, url=url, trials=2)
    (tmp_path / "some.yaml").write_text(text.replace(before, after))
    more = [["--dry-run"], ["--no-doctor"]] if url is None else [["--no-doctor", "--storage", url]]
    for options in more:
        done = cli.call("study", "some.yaml", *options, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_other_evaluation_points_need_another_name_only_where_values_were_reported(tmp_path):
    search(tmp_path, PRUNED, Instant(rungs=4), trials=2)
    with pytest.raises(SpecError, match=r"rungs: 5: choose another `name`.*values at 4 evaluation points"):
        search(tmp_path, PRUNED, rungs=5)
    search(tmp_path, FILE, rungs=5, trials=3)  # without a pruner they mean nothing


@pytest.mark.parametrize(
    ("images", "batch", "rungs", "fits"),
    [(160, 16, 16, 0), (170, 16, 10, 1), (170, 16, 11, 0), (64, 64, 2, 0)],
)
def test_more_rungs_than_steps_are_refused_with_the_number_of_steps(tmp_path, images, batch, rungs, fits):
    (tmp_path / "some.yaml").write_text(PRUNED)
    changes = {"rungs": rungs, "profile.images": images, "profile.batch": batch}
    if fits:
        assert studies.load(tmp_path / "some.yaml", overrides=changes).prunes
        return
    with pytest.raises(
        SpecError, match=rf"rungs: {rungs}: training has {images // batch} steps? of {batch} images"
    ):
        studies.load(tmp_path / "some.yaml", overrides=changes)


@pytest.mark.parametrize("steps", [8, 10, 33])
@pytest.mark.parametrize("batch", [1, 16, 24])
def test_every_evaluation_point_but_the_last_is_measured_during_training(tmp_path, steps, batch):
    (tmp_path / "some.yaml").write_text(PRUNED)
    for rungs in range(2, steps + 1):
        changes = {"rungs": rungs, "profile.images": steps * batch + batch - 1, "profile.batch": batch}
        every = studies.load(tmp_path / "some.yaml", overrides=changes).experiment.profile.evaluation.every
        measured = [k for k in range(1, steps) if k * batch // every > (k - 1) * batch // every]
        assert measured[: rungs - 1] == [-(-p * every // batch) for p in range(1, rungs)]


class Elsewhere(Instant):
    """Cells with an evaluation after each given number of images, whose value is that number."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def _advance(self, path):
        from ablate.runs.store import Folder

        for n in self.images:
            Folder(path).append(n // 16, n, {"fid_1step": float(n)})
        super()._advance(path)


@pytest.mark.parametrize(
    ("images", "reported"),
    [
        (range(16, 320, 16), {1: 80.0, 2: 160.0, 3: 240.0}),  # 20 rungs serve 4
        ([160], {2: 160.0}),  # 2 rungs
        ([112, 224], {}),  # 3 rungs: near is not there
        ([96, 160, 304], {2: 160.0}),
    ],
)
def test_an_evaluation_point_has_the_value_measured_there_or_none(tmp_path, images, reported):
    small = {"profile.images": 320, "profile.batch": 16, "trials": 2}
    _, study, _ = search(tmp_path, PRUNED, Elsewhere(images), **small)
    assert [t.intermediate_values for t in study.get_trials()] == [reported, reported]


@pytest.mark.parametrize(
    "sampler", ["QMCSampler", "{name: TPESampler, group: true, multivariate: true}", "GPSampler"]
)
def test_nothing_of_optuna_reaches_the_terminal(tmp_path, capfd, sampler):
    text = FILE.replace("{name: TPESampler, multivariate: true}", sampler)
    text = text.replace("high: 1.0}}", "high: 1.0, step: 0.4}, teacher: [none, adaptive]}")
    url = f"sqlite:///{tmp_path}/studies.db"
    search(tmp_path, text, url=url, trials=3)
    plan = studies.load(tmp_path / "some.yaml")
    result.write(plan, studies.load_study(plan, tmp_path, url), tmp_path / "reports")
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("[") or "[W" in line or "[I" in line] == []


def test_a_figure_that_cannot_be_drawn_costs_only_itself(tmp_path, capsys, monkeypatch):
    def broken(*args, **more):
        raise ZeroDivisionError("no\nroom")

    plan, study, _ = search(tmp_path, FILE)
    monkeypatch.setattr("optuna.visualization.matplotlib.plot_slice", broken)
    folder = result.write(plan, study, tmp_path / "reports")
    assert (
        "warning: slice.png is left out: ZeroDivisionError: no room" in capsys.readouterr().err.splitlines()
    )
    assert (folder / "history.png").exists()
    assert not (folder / "slice.png").exists()
    assert "slice.png" not in (folder / "table.md").read_text()


def test_a_storage_that_fails_during_the_search_is_one_line(tmp_path, monkeypatch):
    import optuna

    def gone(*args, **more):
        raise optuna.exceptions.StorageInternalError("the server has gone away\n(Background: ...)")

    monkeypatch.setattr("optuna.storages.JournalStorage.set_trial_user_attr", gone)
    with pytest.raises(SpecError, match=r"the server has gone away; the same command continues$"):
        search(tmp_path, FILE)
