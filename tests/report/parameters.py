"""FID against the size of the network."""

from __future__ import annotations

from pathlib import Path

from ablate.analysis.results import Results
from ablate.report.figure import Figure
from ablate.report.style import blank, logarithmic, save, theme


class Parameters(Figure):
    ORDER, FILE, TITLE = 45, "parameters.png", "Size"
    CAPTION = "One-step FID against the number of parameters; a dot is a cell."

    def draw(self, results: Results, path: Path) -> bool:
        cells = results.frame.query("nfe == 1").dropna(subset=["parameters", "fid"])
        if cells.empty:
            return False
        with theme():
            figure, axes = blank(1, 6.0, [3.6])
            axes[0, 0].scatter(cells["parameters"], cells["fid"])
            axes[0, 0].set(xlabel="parameters", ylabel="FID, 1 step")
            logarithmic(axes[0, 0], "x", "y")
            save(figure, path)
        return True
