"""`digits`: scikit-learn's 1,797 digits of 8x8 pixels, in a fixed shuffled order."""

from __future__ import annotations

from ablate.config.profile import Data
from ablate.data.sources import Known, Source
from ablate.data.survey import Survey


class Digits(Source, name="digits"):
    takes = ("holdout",)
    needs = ()
    holdout = 797
    kept = False

    def known(self, spec: Data) -> Known:
        return Known((1, 8, 8), 1797, 0, 10)

    def surveys(self, spec: Data) -> list[Survey]:
        import numpy as np
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
        order = np.random.RandomState(0).permutation(len(pixels))
        return [Survey.of_arrays([(f"digit {i}", pixels[i], int(digits.target[i])) for i in order])]

    def describe(self, spec: Data, train: object, held_out: object) -> str:
        return "scikit-learn's digits"
