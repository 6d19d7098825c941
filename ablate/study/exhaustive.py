"""Every point of a finite space, once: what GridSampler and BruteForceSampler are here."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial


class Exhaustive(optuna.samplers.RandomSampler):
    """Draws points that no trial has.

    Optuna's own two end a study by stopping `Study.optimize`, which raises where trials are asked for one by one. Its
    GridSampler also draws the first trial's point again, and after a restart with another seed takes the wrong points
    for done.

    Args:
        values: the values of each parameter; a point is one of each.
    """

    def __init__(
        self, values: Mapping[str, Sequence[Any]], space: Mapping[str, BaseDistribution], seed: int | None
    ):
        super().__init__(seed)
        self.values, self.space, self.random = dict(values), dict(space), random.Random(seed)
        self.places = {name: {_same(v): i for i, v in enumerate(of)} for name, of in values.items()}

    @property
    def points(self) -> int:
        """The number of points."""
        return math.prod(map(len, self.values.values()))

    def left(self, study: optuna.Study) -> int:
        """The number of points that no trial has."""
        return self.points - len(self._taken(study))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters are drawn together."""
        return self.space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point that no trial has; any point if another process has just taken the last one."""
        taken, start = self._taken(study), self.random.randrange(self.points)
        free = (n % self.points for n in range(start, start + self.points) if n % self.points not in taken)
        return self._point(next(free, start))

    def _taken(self, study: optuna.Study) -> set[int]:
        """Numbers of the points that trials of any state have: those without a result are queued again."""
        # of the storage, since a study that Hyperband filters shows one bracket
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        return set(self._numbers(t.system_attrs.get("fixed_params", t.params) for t in trials))

    def _numbers(self, params: Iterator[Mapping[str, Any]]) -> Iterator[int]:
        for one in params:
            number = 0
            for name, places in self.places.items():
                if (place := places.get(_same(one.get(name, ...)))) is None:
                    break  # not a point of this space
                number = number * len(places) + place
            else:
                yield number

    def _point(self, number: int) -> dict[str, Any]:
        point = {}
        for name, values in reversed(self.values.items()):
            number, place = divmod(number, len(values))
            point[name] = values[place]
        return point


def _same(value: Any) -> Any:
    """What two values have in common that differ by rounding alone: 0.1 * 3 and 0.3."""
    return f"{value:.12g}" if isinstance(value, float) else value
