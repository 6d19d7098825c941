"""The parts of consistency training that you can exchange: one module per axis, one class per option.

Importing this package fills `AXES`.
"""

# The order is the order of a recipe's fields, tables and `list`.
from ablate.ingredients import levels  # isort: skip
from ablate.ingredients import curriculum  # isort: skip
from ablate.ingredients import noise  # isort: skip
from ablate.ingredients import pairing, two_levels  # isort: skip
from ablate.ingredients import weighting  # isort: skip
from ablate.ingredients import metric  # isort: skip
from ablate.ingredients import teacher  # isort: skip
from ablate.ingredients import noise_precond  # isort: skip
from ablate.ingredients import input_precond  # isort: skip
from ablate.ingredients import parameterization  # isort: skip
from ablate.ingredients import sampling_precond  # isort: skip
from ablate.ingredients import embedding  # isort: skip
from ablate.ingredients import network  # isort: skip
from ablate.ingredients import init_from  # isort: skip
from ablate.ingredients import dropout_sharing  # isort: skip
from ablate.ingredients import coupling  # isort: skip
from ablate.ingredients import direction  # isort: skip
from ablate.ingredients import averaging  # isort: skip
from ablate.ingredients import optimizer  # isort: skip
from ablate.ingredients import schedule  # isort: skip
from ablate.ingredients import precision  # isort: skip

__all__ = [
    "averaging",
    "coupling",
    "curriculum",
    "direction",
    "dropout_sharing",
    "embedding",
    "init_from",
    "input_precond",
    "levels",
    "metric",
    "network",
    "noise",
    "noise_precond",
    "optimizer",
    "pairing",
    "parameterization",
    "precision",
    "sampling_precond",
    "schedule",
    "teacher",
    "two_levels",
    "weighting",
]
