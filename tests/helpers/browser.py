"""A real browser for tests of pages: `from helpers.browser import page` (and `chromium`) in a test file."""

from __future__ import annotations

import shutil

import pytest

TIMEOUT_MS = 60_000  # for a page that a busy machine draws


@pytest.fixture(scope="module")
def chromium():
    """Chromium itself; tests that need it are skipped where it, or playwright, is missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is missing: pip install playwright"
    )
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A fresh page, 1400 x 1000; what it writes to its console as an error is in `page.errors`."""
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(TIMEOUT_MS)
    page.errors = []
    page.on("console", lambda line: page.errors.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()
