"""`make docs` builds a whole site without a warning, and nothing in it is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from helpers import layers

ROOT = layers.PACKAGE.parent
# what a browser fetches by itself: scripts, pictures, styles, fonts, frames; a link that you click is not
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//[^>]*"""
    r"""|<link[^>]+rel="?(?:stylesheet|preconnect|icon|preload)[^>]+href=["']?(?:https?:)?//[^>]*"""
    r"""|<link[^>]+href=["']?(?:https?:)?//[^>]+rel="?(?:stylesheet|preconnect|icon|preload)"""
    r"""|url\(["']?(?:https?:)?//[^)]*"""
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; a warning fails the build."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(place)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return place


def test_every_page_of_docs_and_every_layer_is_there(site):
    pages = [f"docs/{page.stem}" for page in (ROOT / "docs").glob("*.md")]
    wanted = ["index", *pages, *(f"reference/{layer}" for layer in layers.LAYERS)]
    assert [name for name in wanted if not (site / f"{name}.html").exists()] == []


@pytest.mark.parametrize("layer", layers.LAYERS)
def test_a_layer_s_page_has_its_documented_names(site, layer):
    text = (site / "reference" / f"{layer}.html").read_text()
    assert re.search(rf'id="ablate\.{layer}\.\w+', text)


def test_every_link_inside_the_site_leads_to_a_file(site):
    broken = set()
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text()):
            if "://" not in target and not target.startswith(("mailto:", "data:", "/")):
                broken |= (
                    set() if (page.parent / target).exists() else {f"{page.relative_to(site)}: {target}"}
                )
    assert broken == set()


@pytest.mark.parametrize(
    "text",
    [
        '<script defer src="https://a.b/c.js">',
        '<link rel="preconnect" href="//fonts.b" crossorigin>',
        '<link href="https://a.b/c.css" rel="stylesheet">',
        'url("https://a.b/c.woff2")',
    ],
)
def test_what_would_be_loaded_is_seen(text):
    assert LOADED.search(text)


def test_nothing_is_loaded_from_elsewhere(site):
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert [(page.name, found[0]) for page in pages for found in LOADED.finditer(page.read_text())] == []
