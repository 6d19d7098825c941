"""`index.html`: the page in one file, with its figures inside; it needs no network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

    from ablate.analysis.results import Results

MOST = 1_200_000  # bytes of all pictures over training
WHOLE = 2_900_000  # bytes of a page; pictures over training get what the rest of it leaves
FRAMES = re.compile(r'<script type="application/json" id="frames">(.*?)</script>', re.DOTALL)
STEP = re.compile(r"images_(\d+)_1step\.png")


@dataclass(frozen=True)
class Film:
    """A row's one-step samples over training, as data URLs."""

    label: str
    frames: tuple[str, ...]


def html(results: Results, markdown: str, folder: Path, keep: bool = False) -> str:
    """The page.

    Args:
        markdown: the text of `table.md`.
        folder: the folder of its figures.
        keep: take pictures over training from the page that is there, if the runs have none.
    """
    body, sections = render(markdown, folder)
    times, film = _film(results, min(MOST, WHOLE - len(body.encode())))
    if keep and not film:
        times, film = _kept(folder / "index.html")
    return _page(results.experiment.name, body, sections, times, film)


def page(name: str, markdown: str, folder: Path) -> str:
    """Any Markdown text as a page in one file."""
    return _page(name, *render(markdown, folder), [], [])


def _page(
    name: str, body: str, sections: list[tuple[str, str]], times: Sequence[int], film: Sequence[Film]
) -> str:
    """Fill in the template; `times` are the images seen at each frame of `film`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    sections = sections + ([("film", "Samples over training")] if film else [])
    environment = Environment(
        loader=PackageLoader("ablate.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("index.html.j2")
    frames = {"times": times, "film": [asdict(row) for row in film]}
    return template.render(name=name, body=body, sections=sections, times=times, film=film, frames=frames)


def render(markdown: str, folder: Path) -> tuple[str, list[tuple[str, str]]]:
    """Markdown as HTML with its figures inside, and (id, text) of its sections.

    HTML in the text stays text. A table's caption is the heading above it.
    """
    from markdown_it import MarkdownIt
    from mdit_py_plugins.anchors import anchors_plugin
    from mdit_py_plugins.footnote import footnote_plugin

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.use(footnote_plugin).use(anchors_plugin, max_level=2)
    # never [2:1]
    reader.add_render_rule("footnote_caption", lambda _, tokens, i, *__: f"[{tokens[i].meta['id'] + 1}]")
    tokens = reader.parse(markdown)
    for image in (t for token in tokens for t in token.children or [] if t.type == "image"):
        image.attrSet("src", _inside(folder, str(image.attrGet("src"))))
    titles = [
        (str(token.attrGet("id")), tokens[i + 1].content)
        for i, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]
    tokens = list(_captioned(tokens))
    return str(reader.renderer.render(tokens, reader.options, {})), titles


def _captioned(tokens: Sequence[Token]) -> Iterator[Token]:
    from markdown_it.common.utils import escapeHtml
    from markdown_it.token import Token

    heading = ""
    for at, token in enumerate(tokens):
        yield token
        if token.type == "heading_open":
            heading = tokens[at + 1].content
        elif token.type == "table_open":
            yield Token("html_block", "", 0, content=f"<caption>{escapeHtml(heading)}</caption>\n")


def _inside(folder: Path, name: str) -> str:
    """A figure as a data URL; empty for a file outside the folder, whatever name a record gives."""
    file = (folder / name).resolve()
    if file.suffix != ".png" or not file.is_relative_to(folder.resolve()) or not file.is_file():
        return ""
    return _data_url(file)


def _data_url(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def _kept(page: Path) -> tuple[list[int], list[Film]]:
    """Times and pictures of an earlier page; none where it is of an older version."""
    try:
        found = FRAMES.search(page.read_text(encoding="utf-8"))
    except OSError:
        found = None
    plain = json.loads(found[1]) if found else {"times": [], "film": []}
    return plain["times"], [Film(row["label"], tuple(row["frames"])) for row in plain["film"]]


def _film(results: Results, room: int) -> tuple[list[int], list[Film]]:
    """Times and pictures of the rows that were sampled more than once; as many rows as fit into `room` bytes."""
    found: list[tuple[str, dict[int, Path]]] = []
    for keys, label in {row.keys: row.named for row in reversed(results.experiment.rows)}.items():
        files = sorted(results.store.folder(keys[0]).samples.glob("images_*_1step.png"))
        found.append((label, {int(m[1]): file for file in files if (m := STEP.fullmatch(file.name))}))
    shared = [times for _, times in found if len(times) > 1]
    times = sorted(set.intersection(*map(set, shared))) if shared else []
    if len(times) < 2:
        return [], []
    film, left = list[Film](), room
    for label, pictures in reversed(found):
        if set(times) <= set(pictures):
            frames = tuple(_data_url(pictures[t]) for t in times)
            left -= sum(map(len, frames))
            if left < 0:
                break
            film.append(Film(label, frames))
    return times, film
