"""The pages of the site, as it was built, and of a report have no grave fault that axe-core finds, light or dark."""

from __future__ import annotations

from pathlib import Path

import pytest

import dbutterfly as dbf
from tests.support.browsers import chromium, grave_findings
from tests.support.comparisons import noisy_butterfly

pytestmark = pytest.mark.slow

SITE = Path(__file__).parents[2] / "docs" / "_build"
PAGES = ("index", "start", "howto/tolerance", "explanation/certificate", "gallery/helmholtz", "notebooks/quickstart")
"""One page of each kind: cards, sessions, drawings, plots, outputs of a notebook, tables."""


@pytest.fixture(scope="module")
def browser():
    yield from chromium()


@pytest.fixture(scope="module", params=["light", "dark"])
def shown(browser, request):
    """A page of the browser, in one of the schemes of colours."""
    with browser.new_context(
        offline=True, viewport={"width": 1200, "height": 800}, color_scheme=request.param
    ) as context:
        yield context.new_page()


@pytest.mark.parametrize("name", PAGES)
def test_the_site(shown, name):
    if not SITE.exists():
        pytest.skip("the site is not built: python -m sphinx docs docs/_build")
    shown.goto(f"file://{SITE}/{name}.html")
    assert grave_findings(shown) == []


def test_a_report(shown, tmp_path):
    dbf.factorize(noisy_butterfly(64), store=tmp_path / "run").report(tmp_path / "run.html")
    shown.goto(f"file://{tmp_path}/run.html")
    assert grave_findings(shown) == []


def test_a_fault_is_found(shown):
    shown.set_content("<html lang='en'><title>t</title><main><p style='color:#aaa;background:#bbb'>hardly read")
    assert [finding.split()[0] for finding in grave_findings(shown)] == ["color-contrast"]
