"""The browser of the system, and what axe-core finds on a page that it shows."""

from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.parts import require

GRAVE = ("serious", "critical")
"""Impacts of findings that a page must not have."""


def chromium() -> Iterator[Any]:
    """Start the system's chromium, for a fixture; skip where it, or playwright, is not there."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine")
    with require("playwright.sync_api", "test-browser").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def grave_findings(page: Any) -> list[str]:
    """Rules of axe-core that elements of a page break gravely, each with the first of these elements."""
    require("axe_playwright_python", "test-browser")
    page.evaluate(importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text())
    found = page.evaluate('axe.run(document, {resultTypes: ["violations"]})')
    return [
        f"{rule['id']} ({rule['impact']}, {len(rule['nodes'])} elements): {rule['nodes'][0]['html'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in GRAVE
    ]
