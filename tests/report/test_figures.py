"""The contract of figures: found, not listed; one that fails costs itself alone."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest
from helpers.examples import example
from helpers.made import LIST, Made

from ablate.core import plugins
from ablate.report import figure, figures, style

EXAMPLE = example("A figure")
SHIPPED = [f.FILE for f in figure.figures()]


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path, LIST).put(0, 300.0, 310.0).put(1, 200.0, 220.0)


@pytest.fixture
def anew():
    """Plugins are looked for again; what the test added is forgotten afterwards."""
    plugins.load.cache_clear()
    yield
    plugins.load.cache_clear()
    for name in ("ablate.report.figures.parameters", "parameters"):
        sys.modules.pop(name, None)
    vars(figures).pop("parameters", None)
    gc.collect()  # a class is in a circle with itself
    assert [f.FILE for f in figure.figures()] == SHIPPED


@pytest.fixture
def only(monkeypatch):
    """Draw these figures and no others."""
    return lambda *chosen: monkeypatch.setattr(figure, "figures", lambda: [*chosen])


def test_every_module_is_a_figure_of_its_name():
    modules = {file.stem for file in Path(figures.__path__[0]).glob("*.py")} - {"__init__"}
    assert (
        modules
        == {Path(f.FILE).stem for f in figure.figures()}
        == {f.source().stem for f in figure.figures()}
    )


def test_figures_are_ordered_and_described():
    found = figure.figures()
    orders = [f.ORDER for f in found]
    assert orders == sorted(set(orders))
    assert len({f.TITLE for f in found}) == len(found)
    assert all(f.CAPTION.endswith(".") and f.MOST > 0 for f in found)


def added_to_the_folder(folder, monkeypatch):
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(folder)])


def named_by_an_entry_point(folder, monkeypatch):
    point = importlib.metadata.EntryPoint("parameters", "parameters", "ablate.figures")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(plugins, "_installed", lambda: importlib.metadata.EntryPoints((point,)))


@pytest.mark.parametrize("add", [added_to_the_folder, named_by_an_entry_point])
def test_a_figure_in_one_file_is_drawn_and_shown(add, anew, made, tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "parameters.py").write_text(EXAMPLE)
    add(tmp_path / "figures", monkeypatch)
    importlib.invalidate_caches()
    at = [f.ORDER for f in figure.figures()].index(45)
    assert [f.FILE for f in figure.figures()] == [*SHIPPED[:at], "parameters.png", *SHIPPED[at:]]
    monkeypatch.setattr(figure, "figures", lambda every=figure.figures: [f for f in every() if f.ORDER == 45])
    folder = made.write()
    assert (folder / "parameters.png").read_bytes().startswith(b"\x89PNG")
    assert "One-step FID against the number of parameters" in (folder / "table.md").read_text()


def test_files_beside_a_figure_are_kept_and_stale_ones_removed(made, only):
    class Several:
        FILE, names = "made.png", ("made.png", "made/a.png", "made/b.png")

        def source(self):
            return Path(__file__)

        def draw(self, results, path):
            for name in self.names:
                (path.parent / name).parent.mkdir(exist_ok=True)
                (path.parent / name).write_text(name)
            return bool(self.names)

    several = Several()
    only(several)
    folder = made.write()
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.png")} == {*several.names}
    several.names = ("made.png", "made/b.png")
    made.put(2, 100.0).write()
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.png")} == {*several.names}
    several.names = ()
    made.put(2, 100.0, 110.0).write()
    assert not [*folder.rglob("*.png")]


def test_a_figure_that_fails_costs_itself_and_a_line(made, only, capsys):
    class Broken:
        FILE, broken, shown = "broken.png", True, None

        def source(self):
            return Path(__file__)

        def draw(self, results, path):
            path.write_text("half")
            assert (path.parents[1] / "table.csv").exists()  # tables come first
            if self.broken:
                raise ValueError("no such\ncolour")
            return True

    class Fine(Broken):
        FILE, broken = "fine.png", False

    broken = Broken()
    only(broken, Fine())
    folder = made.write()
    assert capsys.readouterr().err == "warning: broken.png is left out: ValueError: no such colour\n"
    assert [p.name for p in folder.rglob("*.png")] == ["fine.png"]
    assert {"table.csv", "table.md", "table.tex", "index.html", "records.jsonl"} <= {
        p.name for p in folder.iterdir()
    }
    broken.broken = False
    made.write()  # nothing new is recorded, and yet it is tried again
    assert sorted(p.name for p in folder.rglob("*.png")) == ["broken.png", "fine.png"]
    assert not [p for p in folder.iterdir() if p.name.startswith(".figure-")]


def test_letters_that_the_usual_font_lacks_come_from_another_that_is_installed(monkeypatch):
    import matplotlib

    monkeypatch.setattr(style, "FONTS", ("No such font", "STIXGeneral"))
    assert Path(style.font_file("ict, λ=2 é Ж")).name == "DejaVuSans.ttf"
    assert Path(style.font_file("ict \N{LEFT-POINTING ANGLE BRACKET}")).name == "STIXGeneral.ttf"
    assert Path(style.font_file("研究")).name == "DejaVuSans.ttf"  # no font here has them
    with style.theme():
        assert matplotlib.rcParams["font.family"] == ["DejaVu Sans", "STIXGeneral"]


TWICE = "\n  - ladder: {from: ct, to: ict}\n  - leave_one_out: {from: ict, to: ct}\n"


@pytest.mark.parametrize(
    ("pictured", "lost", "caption"),
    [
        # the last row of the ladder is the first of the leave-one-out
        ([0, -1], [], "2 of the {n} rows are shown; not run: {others}."),
        ([0], [1], "1 of the {n} rows are shown; not run: {others}; of the others, there were no files."),
        (range(1, 50), [], "{m} of the {n} rows are shown; not run: {others}."),
    ],
)  # fmt: skip
def test_the_caption_counts_the_rows_that_are_shown_and_names_those_that_are_not_run(
    tmp_path, pictured, lost, caption
):
    made = Made(tmp_path, TWICE)
    rows = made.experiment.rows
    last = next(i for i, row in enumerate(rows) if row.label == "ict")
    pictured = [last if i == -1 else i for i in pictured if i < last + 1]
    for i in pictured:
        made.put(i, 20.0, 21.0).pictures(i)
    for i in lost:
        made.put(i, 20.0, 21.0)
    page = (made.write() / "table.md").read_text()
    labels = {}
    for row in rows:
        labels.setdefault(row.keys, row.named)
    done = {rows[i].keys for i in (*pictured, *lost)}
    others = ", ".join(label for keys, label in labels.items() if keys not in done)
    there = page.split("![Samples](samples.png)")[1].split("\n\n")[1]
    assert there.endswith(caption.format(n=len(labels), m=len(done), others=others))


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.85, 1.2), (9.0, 14.1), (3.1, 4.9), (1e-4, 1.2e-4), (1.0, 30.0), (0.3, 9e4), (98.0, 102.0)],
)
def test_a_logarithmic_axis_has_readable_numbers_however_little_it_spans(low, high):
    with style.theme():
        _, axes = style.blank(1, 4.0, [3.0])
        ax = axes.flat[0]
        ax.plot([1, 2], [low, high])
        style.logarithmic(ax, "y")
        bottom, top = ax.get_ylim()
        labels = [text.get_text() for text in ax.get_yticklabels()]
    shown = [label for label in labels if bottom <= float(label) <= top]
    assert 3 <= len(shown) == len({*shown}) <= 18


def test_a_few_dots_keep_their_colour_beside_large_areas(tmp_path):
    """The eye finds a row by its colour, however few of its dots are not covered."""
    import numpy as np
    import seaborn as sns
    from PIL import Image

    colours = sns.color_palette("colorblind", 10)
    drawn = style.blank(1, 10.0, [4.2], 1)
    for i, colour in enumerate(colours):
        drawn[1][0, 0].fill_between(
            range(50), np.arange(50) * i, np.arange(50) * (i + 2), color=colour, alpha=0.15
        )
        drawn[1][0, 0].plot([3 + 4 * i, 5 + 4 * i], [-100, -80], ".", color=colour)
    style.save(drawn[0], tmp_path / "few.png")
    seen = np.asarray(Image.open(tmp_path / "few.png").convert("RGB"), dtype=int).reshape(-1, 3)
    for colour in colours:
        assert np.abs(seen - 255 * np.array(colour)).max(axis=1).min() < 16
