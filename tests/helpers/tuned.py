"""Studies of tuned rows that a test makes up, as files in the runs directory: no trial is computed."""

from __future__ import annotations

from ablate.core.files import write_json
from ablate.planning import tuning
from ablate.planning.tune import Found, file


def put_studies(made, best, first=None):
    """Make every study of an experiment complete, and add the tuned rows to it.

    Args:
        best: label -> the best parameters of the row's study; a study without them stays as it is.
        first: label -> the parameters of its first trial, if they are others.
    """
    tune, runs = made.experiment.tuning.tune, made.store.path
    for name, row in tuning.studies(made.experiment).items():
        if row.label in best:
            tried = [(first or {}).get(row.label, best[row.label]), best[row.label]]
            trials = [
                {"number": i, "state": "complete", "params": params, "value": 9.0 - i, "keys": []}
                for i, params in enumerate(tried)
            ]
            found = Found(
                id=name, row=row.label, images=tune.profile(made.experiment.profile).images, seeds=tune.seeds,
                search=tune.space, trials=len(tried), sampler=tune.sampler, pruner=tune.pruner, complete=True,
                tried=trials,
            )  # fmt: skip
            file(runs, name).parent.mkdir(parents=True, exist_ok=True)
            write_json(file(runs, name), found.plain())
    made.experiment = tuning.known(made.experiment, runs)
    return made
