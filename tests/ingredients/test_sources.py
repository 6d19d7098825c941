"""What `list` says of an option names where it is from."""

import re

import pytest

from ablate.core.registry import AXES

# its source, or the public defect that it reproduces, whose source is in docs/defects.md
STATED = re.compile(r"Source: \S|[Dd]efects? D\d")
OWN = "ablate."


@pytest.mark.parametrize(
    ("axis", "name"),
    [(a.name, n) for a in AXES.values() for n, o in a.options.items() if o.__module__.startswith(OWN)],
)
def test_every_option_states_a_source(axis, name):
    assert STATED.search(AXES[axis].doc(name))


@pytest.mark.parametrize(
    ("axis", "name", "source"),
    [
        ("embedding", "positional", "arXiv 1706.03762"),
        ("network", "adm", "arXiv 2105.05233"),
        ("network", "module", "Source: this package"),
        ("optimizer", "adam", "arXiv 1412.6980"),
        ("precision", "fp16", "arXiv 1710.03740"),
        ("schedule", "polynomial", "get_polynomial_decay_schedule_with_warmup"),
    ],
)
def test_some_of_them(axis, name, source):
    assert source in AXES[axis].doc(name)
