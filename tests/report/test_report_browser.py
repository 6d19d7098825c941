"""The page in a real browser: what a reader does with mouse, keys, a phone and a printer."""

from __future__ import annotations

import re

import pytest
from helpers.browser import chromium, page  # noqa: F401
from helpers.made import LADDER, Made
from PIL import Image

from ablate.report import html
from ablate.report import page as text_page

CLAIMS = """
claims:
  - {id: P4, says: "ict beats ct", better: {row: ict}, worse: {row: ct}}
"""
PALETTE = re.compile(r"--(\w+): (#[0-9a-f]{3,6})")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page whose one figure is a plain picture: drawing is tested elsewhere and takes seconds."""
    made = Made(tmp_path_factory.mktemp("page"), LADDER + CLAIMS, seeds="[0, 1, 2]")
    for i, row in enumerate(made.experiment.rows):
        made.put(i, 1000.0 / (i + 1), 1010.0 / (i + 1), 1003.0 / (i + 1))
        for colour, seen in (("red", 100), ("blue", 200)):
            samples = made.store.folder(row.keys[0]).samples
            Image.new("RGB", (8, 8), colour).save(samples / f"images_{seen:09d}_1step.png")
    Image.new("RGB", (900, 300), "green").save(made.reports.parent / "fid.png")
    text = text_page.page(made.results, ["fid.png"])
    place = made.reports.parent / "index.html"
    place.write_text(html.html(made.results, text, place.parent))
    return place


@pytest.fixture
def opened(page, file):  # noqa: F811
    page.goto(file.as_uri())
    yield page
    assert page.errors == []


def table(opened):
    return opened.locator("h2", has_text="From ct to ict").locator("xpath=following::table[1]")


def column(opened, i):
    return table(opened).locator(f"tbody tr td:nth-child({i})").all_inner_texts()


def test_a_heading_sorts_by_number_up_and_down(opened):
    head = table(opened).locator("th", has_text="FID 1 step")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = [float(text.split()[0].replace(",", "")) for text in column(opened, 2)]
    assert up == sorted(up)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text.split()[0].replace(",", "")) for text in column(opened, 2)] == up[::-1]


def test_keys_reach_a_heading_and_enter_sorts(opened):
    button = table(opened).locator("th button").first
    opened.locator("#theme").focus()
    for _ in range(40):
        opened.keyboard.press("Tab")
        if button.evaluate("button => button === document.activeElement"):
            break
    opened.keyboard.press("Enter")
    assert column(opened, 1) == opened.evaluate(
        "words => words.sort((a, b) => a.localeCompare(b))", column(opened, 1)
    )
    assert table(opened).locator("th").first.get_attribute("aria-sort") == "ascending"


def test_a_column_is_hidden_and_comes_back(opened):
    opened.locator("details.columns", has_text="seeds to decide").first.locator("summary").click()
    tick = opened.get_by_label("seeds to decide").first
    head = table(opened).locator("th", has_text="seeds to decide")
    tick.uncheck()
    assert head.is_hidden()
    cells = table(opened).locator("tbody tr").first.locator("td:visible").count()
    assert cells == table(opened).locator("th").count() - 1
    tick.check()
    assert head.is_visible()


def test_the_slider_changes_the_pictures(opened):
    picture = opened.locator(".film img").first
    last = picture.get_attribute("src")
    opened.locator("#time").focus()
    opened.keyboard.press("ArrowLeft")
    assert picture.get_attribute("src") != last
    assert opened.locator("#seen").inner_text() == "100"
    opened.keyboard.press("ArrowRight")
    assert (picture.get_attribute("src"), opened.locator("#seen").inner_text()) == (last, "200")


def test_the_button_changes_the_theme(opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate(ground)
    opened.locator("#theme").click()
    assert opened.evaluate(ground) == "rgb(255, 255, 255)" != dark
    opened.locator("#theme").click()
    assert opened.evaluate(ground) == dark


@pytest.mark.parametrize("width", [390, 800])
def test_a_narrow_page_does_not_scroll_sideways(opened, width):
    opened.set_viewport_size({"width": width, "height": 844})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    frame = table(opened).locator("xpath=..")
    assert frame.evaluate("frame => getComputedStyle(frame).overflowX") == "auto"  # its table does


def test_on_a_phone_a_row_is_a_card_and_nothing_is_cut(opened):
    """The ends of every cell of every table, and of every picture and code, lie on the screen."""
    opened.set_viewport_size({"width": 390, "height": 844})
    cut = """() => [...document.querySelectorAll("td, thead button, img, pre, code, p, h1, h2, li, summary")]
        .filter(e => e.getClientRects().length && !e.closest("[hidden]"))
        .filter(e => { const box = e.getBoundingClientRect(); return box.left < 0 || box.right > 390
            || e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== "visible"; })
        .map(e => e.tagName + " " + e.textContent.slice(0, 60))"""
    assert opened.evaluate(cut) == []
    labels = (
        table(opened)
        .locator("tbody tr")
        .first.locator("td")
        .evaluate_all("all => all.map(e => e.dataset.label)")
    )
    assert labels == [head.strip() for head in table(opened).locator("th").all_inner_texts()]
    card = table(opened).locator("tbody tr").first
    assert card.bounding_box()["height"] > 20 * len(labels)
    button = table(opened).locator("th", has_text="FID 1 step").locator("button")
    button.click()  # its headings still sort
    up = [float(re.search(r"[\d.]+", text.replace(",", ""))[0]) for text in column(opened, 2)]
    assert up == sorted(up)


def test_it_prints_without_what_only_a_screen_can_do(opened, tmp_path):
    opened.emulate_media(media="print")
    for what in ("nav", "#theme", "#time"):
        assert opened.locator(what).is_hidden(), what
    assert opened.locator("article img").first.is_visible()
    assert opened.pdf(path=tmp_path / "page.pdf", format="A4").startswith(b"%PDF")


def test_what_is_not_seen_is_said(opened):
    assert opened.locator("table").count() == opened.locator("table > caption").count() > 3
    assert all(opened.locator("caption").all_text_contents())
    assert opened.locator("img:not([alt]), img[alt='']").count() == 0
    unnamed = "e => !(e.innerText || e.ariaLabel || e.labels?.length)"
    for control in opened.locator("button:visible, input:visible").all():
        assert not control.evaluate(unnamed) or control.locator("xpath=ancestor::th[1]").count()
    assert opened.locator("[role=region]").first.get_attribute("aria-label").startswith("Claims")


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_ink_is_read_on_every_ground_in_both_themes(file):
    rules = [
        dict(PALETTE.findall(rule)) for rule in re.findall(r"\{[^{}]*--ground:[^{}]*\}", file.read_text())
    ]
    assert len(rules) == 3
    for colours in rules:
        for ink in ("ink", "soft", "link", "good", "bad", "open"):
            for ground in ("ground", "panel"):
                dark, light = sorted((luminance(colours[ink]), luminance(colours[ground])))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground, colours)
