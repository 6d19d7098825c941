"""Which rows are tuned by which study, and the tuned rows; `study/tuning.py` computes the trials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablate.config import recipe as recipes
from ablate.config.recipe import Recipe
from ablate.core.errors import Problems, SpecError
from ablate.core.files import read_json, write_json
from ablate.core.registry import AXES
from ablate.planning import needs, points, trainable
from ablate.planning.budgets import scaled
from ablate.planning.cells import Cell, Row, bases
from ablate.planning.claims import Claim, Evidence
from ablate.planning.experiment import Experiment
from ablate.planning.parameters import applied
from ablate.planning.tune import BESIDE, Found, Range, Tune, Tuning, file
from ablate.statistics.effect import Table

Params = Mapping[str, Any]


def plan(tune: Tune, experiment: Experiment, shape: tuple[int, int, int], problems: Problems) -> Tuning:
    """Check `tune` against the rows of its file.

    Args:
        shape: (C, H, W) of the images.
        problems: get a line for each mistake.
    """
    reported = {*experiment.seeds, *experiment.more_seeds}
    for seed in (seed for seed in tune.seeds if seed in reported):
        other = max(reported) + 100
        problems.add(
            f"tune.seeds: {seed}: it is one of the reported seeds; tuning needs others, such as {other}"
        )
    found = dict[str, dict[str, None]]()  # problem -> the rows that have it
    for rows in _alike(experiment):
        row = _searched(rows[0])
        for problem in _problems(tune, row, experiment, shape):
            found.setdefault(problem, {})[row.label] = None
    for problem, labels in found.items():
        first, others = next(iter(labels)), f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        problems.add(f"tune.{problem} (row {first!r}{others})")
    return Tuning(tune, tune.profile(experiment.profile), shape)


def _problems(tune: Tune, row: Row, experiment: Experiment, shape: tuple[int, int, int]) -> Iterator[str]:
    """What is wrong with trials of a row: the ends of each range, and every listed value, must be a recipe."""
    if fixed := [name for name in tune.search if needs.decides(name, row.recipe, row.needs)]:
        yield f"search.{fixed[0]}: the cells that a row needs depend on it, so it cannot be searched"
        return
    whole, given = experiment.profile, row.needs
    profile, read = needs.parts(tune.profile(whole), given)
    if min(p.images for p in (profile, *read.values())) < whole.batch:
        yield (
            f"images: {tune.images}: this share of {whole.images} images is less than a batch of {whole.batch}"
        )
        return
    try:
        for recipe, part in [(row.recipe, profile), *((given[axis].recipe, read[axis]) for axis in given)]:
            trainable.check(recipe, part)
    except SpecError as error:
        yield from (f"images: {tune.images}: {problem}" for problem in error.problems)
        return
    lengths, least = {"": profile}, min(experiment.budgets, default=1.0)
    if least < tune.images:  # its rows have fewer steps than a trial
        lengths[f"budgets: {least:g}: "] = needs.parts(scaled(whole, least), given)[0]
    for name, values in tune.search.items():
        if "." in name and name.split(".")[0] in tune.search:
            continue  # the field is that of a searched option, not of the row's
        for value in [values.low, values.high] if isinstance(values, Range) else values:
            for at, length in lengths.items():
                try:
                    recipes.overlay(row.recipe.specs(), {name: value})  # there is such an option or field
                    trainable.check(tuned_recipe(row, {name: value}, shape, kept(experiment)), length)
                except SpecError as error:
                    for problem in error.problems:
                        own = problem.startswith(f"{name}: ")
                        yield f"search.{problem if own else f'{name}: {value}: {at}{problem}'}"
                    break


def tuned_recipe(row: Row, params: Params, shape: Sequence[int], kept: Params) -> Recipe:
    """A row's recipe with the parameters of a trial; for `kept` see there."""
    return recipes.rebuild(applied(params, row.recipe.specs(), kept)).for_images(shape)


def kept(experiment: Experiment) -> dict[str, Any]:
    """The fields that every row has whose option has them: of the profile's adapt and of the command line."""
    given = {k: v for k, v in experiment.origin.overrides.items() if "." in k and k.split(".")[0] in AXES}
    return {**experiment.profile.adapt, **given}


def most(tune: Tune, row: Row) -> int:
    """The trials of a row: those that the file asks for, but no more than there are points."""
    there = points.number(tune.sampler, tune.space, row.recipe.specs())
    return min(tune.trials, there) if there else tune.trials


def _alike(experiment: Experiment) -> list[list[Row]]:
    """The rows that are not tuned, those together whose recipe is the same at the profile's own images."""
    found = dict[tuple[str, ...], list[Row]]()
    for row in experiment.rows:
        if not row.tuned:
            found.setdefault((row.own or row).keys[:1], []).append(row)
    return [*found.values()]


def _searched(row: Row) -> Row:
    """What the study of a row searches: the row with the profile's own images."""
    return replace(row.own, label=row.label) if row.own else row


def tuned_by(experiment: Experiment) -> dict[str, list[Row]]:
    """Id -> the rows that a study tunes: equal ones, and those of other budgets."""
    found = dict[str, list[Row]]()
    for rows in _alike(experiment) if experiment.tuning else ():
        found.setdefault(identity(experiment, _searched(rows[0])), []).extend(rows)
    return found


def studies(experiment: Experiment) -> dict[str, Row]:
    """Id -> the row that a study searches: rows that are equal share one, also those of different budgets."""
    return {name: _searched(rows[0]) for name, rows in tuned_by(experiment).items()}


def identity(experiment: Experiment, row: Row, of_any_length: bool = False) -> str:
    """The id of the study that searches a row: a hash of all that decides its trials.

    Args:
        of_any_length: leave out their number: a longer study continues with the trials of a shorter one.
    """
    assert experiment.tuning
    tune = experiment.tuning.tune
    keys = [cell.key for cell in trial(experiment, row)]
    given = {k: v for k, v in kept(experiment).items() if k.split(".")[0] in tune.space}  # to other options
    decided = [keys, tune.space, tune.sampler, tune.pruner, *([] if of_any_length else [tune.trials])]
    decided += [given] if given else []
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:12]


def trial(experiment: Experiment, row: Row) -> list[Cell]:
    """The cells that a trial of a searched row would have with the row's own values, one per seed."""
    assert experiment.tuning
    tuning, some = experiment.tuning, next(iter(experiment.cells.values()))
    shared = some.fingerprint, some.imports, row.needs
    return [Cell.of(row.recipe, tuning.profile, seed, *shared) for seed in tuning.tune.seeds]


def known(experiment: Experiment, *places: Path) -> Experiment:
    """The experiment with what is recorded of its studies, and with the tuned rows whose studies are complete.

    Args:
        places: runs directories, folders of reports, and records files in such folders.
    """
    if not experiment.tuning:
        return experiment
    found, wanted = dict(experiment.tuning.found), studies(experiment)
    for one in (f for place in places for f in _recorded(place, wanted)):
        before = found.get(one.id)
        if one.id in wanted and (not before or _further(one) > _further(before)):
            found[one.id] = one
    made = replace(experiment, tuning=replace(experiment.tuning, found=found))
    _add_tuned(made)
    return made


def save(experiment: Experiment, runs: Path) -> None:
    """Put what is known of the studies into a runs directory that does not have it: it came with a report."""
    for name, found in experiment.tuning.found.items() if experiment.tuning else ():
        if not file(runs, name).exists():
            file(runs, name).parent.mkdir(parents=True, exist_ok=True)
            write_json(file(runs, name), found.plain())


def _recorded(place: Path, wanted: Mapping[str, Row]) -> Iterator[Found]:
    beside = read_json((place.parent if place.is_file() else place) / BESIDE)
    listed = beside.get("studies") if isinstance(beside, dict) else None
    for plain in [*map(read_json, (file(place, name) for name in wanted)), *(listed or [])]:
        if isinstance(plain, dict):
            with suppress(ValidationError):  # cut off, or edited: the study makes it again
                yield Found.model_validate({k: v for k, v in plain.items() if k != "best"})


def _further(found: Found) -> tuple[bool, int]:
    return found.complete, len(found.ended)


def _add_tuned(experiment: Experiment) -> None:
    """Add the tuned rows that are known, behind the rows of the file and in their order."""
    assert experiment.tuning
    plain = [row for row in experiment.rows if not row.tuned]
    # by label and budget, since rows of one label are equal; perhaps with further seeds
    there = {row.tuned.named: (row.recipe, row.keys) for row in experiment.rows if row.tuned}
    best, made = dict[str, Params](), dict[str, Recipe]()
    for name, rows in tuned_by(experiment).items():
        found = experiment.tuning.found.get(name)
        if found and found.complete and found.best:
            for row in rows:
                best[row.named] = found.best.params
                made[row.named] = tuned_recipe(
                    row, found.best.params, experiment.tuning.shape, kept(experiment)
                )
    experiment.rows, experiment.cells = [*plain], dict(experiment.cells)
    seeds = [seed for seed in experiment.seeds if seed not in experiment.more_seeds]
    of = bases(plain, [row.recipe.flat() for row in plain])
    for i, row in [(i, row) for i, row in enumerate(plain) if row.named in made]:
        recipe, at = made[row.named], of[i] if row.changed else i
        base = None if at is None else plain[at]
        if there.get(row.named, (None,))[0] != recipe:
            new = [experiment.cell(replace(row, recipe=recipe), seed) for seed in seeds]
            experiment.cells |= {c.key: experiment.cells.get(c.key, c) for c in new}
            there[row.named] = recipe, tuple(c.key for c in new)
        changed = {**row.changed, **best[row.named]}
        if base and base.named in made:
            changed = {k: new for k, (_, new) in recipes.diff(made[base.named], recipe).items()}
        experiment.rows.append(
            replace(
                row,
                label=named(row.label),
                tuned=row,
                recipe=recipe,
                changed={k: v for k, v in changed.items() if k in recipe.flat()},
                keys=there[row.named][1],
                base=named(base.label if base else row.base),
            )
        )


def named(label: str) -> str:
    """The label of a tuned row."""
    return f"{label} (tuned)"


def answering(experiment: Experiment, tuned: bool) -> tuple[list[Row], list[int]]:
    """The rows that answer a claim, and their places in the experiment.

    A claim on tuned rows chooses them by what the file says of them, without their tuned values.

    Raises:
        SpecError: no row is tuned yet.
    """
    places = [i for i, row in enumerate(experiment.rows) if bool(row.tuned) == tuned]
    if not places:
        raise SpecError("no row is tuned yet")
    return [experiment.rows[i].written for i in places], places


def rows_of(claim: Claim, experiment: Experiment) -> set[int]:
    """Indices of the rows that answer a claim.

    Raises:
        SpecError: there are none.
    """
    rows, places = answering(experiment, claim.tuned)
    return {places[i] for i in claim.rows(rows, experiment.base)}


def test(claim: Claim, experiment: Experiment, table: Table) -> Evidence:
    """A claim's test on the rows that answer it.

    Raises:
        SpecError: there are none.
    """
    rows, places = answering(experiment, claim.tuned)
    at = {place: i for i, place in enumerate(places)}
    evidence = claim.test(
        rows, experiment.base, {(at[i], nfe): v for (i, nfe), v in table.items() if i in at}
    )
    return replace(evidence, because=f"tuned: {evidence.because}") if claim.tuned else evidence
