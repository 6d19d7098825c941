"""Collects the pages of the site: README.md and all that its links reach, and one page for each layer of the package.

Every page keeps its path in the repository, so that a relative link works in both.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LAYERS = runpy.run_path(str(ROOT / "tests" / "helpers" / "layers.py"))["LAYERS"]
REFERENCE = {f"reference/{layer}.md": f"# {layer}\n\n::: ablate.{layer}\n" for layer in LAYERS}


def linked(page: Path) -> set[Path]:
    """The repository's files that a page links to or shows."""
    if page.suffix != ".md":
        return set()
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    files = {(page.parent / target).resolve() for target in targets if "://" not in target}
    return {file for file in files if file.is_file() and file.is_relative_to(ROOT)}


def reached(start: Path) -> set[Path]:
    """`start` and every file that links lead to from there."""
    found, new = set[Path](), {start}
    while new:
        found |= new
        new = set[Path]().union(*map(linked, new)) - found
    return found


def on_config(config: MkDocsConfig) -> None:
    """Put the layers into the navigation, before its last section."""
    assert config.nav is not None
    config.nav.insert(-1, {"Reference": list(REFERENCE)})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's own files, the linked ones, and the reference."""
    site = Files(file for file in files if file.src_dir != config.docs_dir)
    for file in sorted(reached(ROOT / "README.md")):
        site.append(File.generated(config, file.relative_to(ROOT).as_posix(), abs_src_path=str(file)))
    for path, text in REFERENCE.items():
        site.append(File.generated(config, path, content=text))
    return site


def on_page_markdown(markdown: str, page: Page, **_: object) -> None:
    """Keep the tables of reports out of the search, whose every row has the names of all axes."""
    if page.file.src_uri.startswith("reports/"):
        page.meta["search"] = {"exclude": True}
