"""Figures of many rows: every row is shown, and no number covers another."""

from __future__ import annotations

import pytest
from helpers.made import Made
from matplotlib.text import Annotation
from PIL import Image

from ablate.report.figures.curves import Curves
from ablate.report.figures.tradeoff import Tradeoff


def many(folder, values):
    """One row for each FID."""
    plan = f"\n  - grid: {{metric.c: {[round(0.001 * (i + 1), 3) for i in range(len(values))]}}}\n"
    made = Made(folder, plan, "[0]")
    for i, value in enumerate(values):
        made.put(i, value)
    return made


@pytest.mark.parametrize(
    "values",
    [
        [20.0 + 0.001 * i for i in range(16)],
        [20.0, 20.0, 20.0, 300.0],
        [10.0 * 1.1**i for i in range(40)],
    ],
)
def test_no_number_covers_another_or_leaves_the_figure(tmp_path, monkeypatch, values):
    seen = []
    monkeypatch.setattr("ablate.report.figures.tradeoff.save", lambda figure, _: seen.append(figure))
    assert Tradeoff().draw(many(tmp_path, values).results, tmp_path / "x.png")
    renderer = seen[0].canvas.get_renderer()
    for ax in seen[0].axes:
        texts = [a for a in ax.findobj(Annotation) if a.get_text()]
        assert [a.get_text() for a in texts] == [str(i + 1) for i in range(len(values))]
        boxes = []
        for text in texts:
            text.update_positions(renderer)
            boxes.append(super(Annotation, text).get_window_extent(renderer))
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        whole = seen[0].bbox
        assert all(
            whole.x0 <= b.x0 and b.x1 <= whole.x1 and whole.y0 <= b.y0 and b.y1 <= whole.y1 for b in boxes
        )


@pytest.mark.parametrize("rows", [1, 13, 16])
def test_curves_show_every_row(tmp_path, monkeypatch, rows):
    seen = []
    monkeypatch.setattr("ablate.report.figures.curves.save", lambda figure, _: seen.append(figure))
    made = many(tmp_path, [10.0 + i for i in range(rows)])
    for i in range(rows):
        made.pictures(i)
    assert Curves().draw(made.results, tmp_path / "x.png")
    assert [ax.get_title() for ax in seen[0].axes if ax.get_visible()] == [
        row.label for row in made.experiment.rows
    ]


def test_real_images_stand_above_the_samples(tmp_path):
    made = many(tmp_path, [10.0, 11.0])
    made.pictures(0)
    made.pictures(1)
    without = Image.open(made.write() / "samples.png").size
    for row in made.experiment.rows:
        Image.new("RGB", (274, 274), "red").save(made.store.folder(row.keys[0]).samples / "real.png")
    (made.reports / "made/.written.json").unlink()
    with Image.open(made.write() / "samples.png") as picture:
        assert (picture.width, picture.height > without[1]) == (without[0], True)
        assert picture.convert("RGB").getpixel((300, 40)) == (255, 0, 0)
