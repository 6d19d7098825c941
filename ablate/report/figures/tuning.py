"""How much each further trial of tuning helped: the expected best FID over the number of trials."""

from __future__ import annotations

from pathlib import Path

from ablate.analysis.results import Results
from ablate.analysis.tuned import tuned
from ablate.report.figure import Figure
from ablate.report.style import blank, logarithmic, save, short, theme

ROWS = 12


class Tuning(Figure):
    """A line per tuned row; nothing before a row's trials have all ended."""

    ORDER, FILE, TITLE = 46, "tuning.png", "Were the trials enough?"
    CAPTION = (
        f"The expected lowest one-step FID of k trials (Dodge et al. 2019), a line for each of the first {ROWS} tuned "
        "rows. A line that is flat at its end had enough trials; one that still falls would gain from more."
    )

    def draw(self, results: Results, path: Path) -> bool:
        """Expected best over k."""
        rows = [row for row in tuned(results) if row.expected(1) is not None][:ROWS]
        if not rows or max(len(row.values) for row in rows) < 2:
            return False
        with theme():
            figure, axes = blank(1, 7.0, [3.6])
            ax = axes[0, 0]
            for at, row in enumerate(rows):
                ks = range(1, len(row.values) + 1)
                style = ("-", "--", ":")[at // 6 % 3]
                ax.plot(
                    ks,
                    [row.expected(k) for k in ks],
                    linestyle=style,
                    marker="o",
                    markersize=3,
                    label=short(row.label, 40),
                )
            ax.set(xlabel="trials", ylabel="expected best FID, 1 step")
            logarithmic(ax, "y")
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
            save(figure, path)
        return True
