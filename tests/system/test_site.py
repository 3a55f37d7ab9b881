"""The site in ``docs/`` beside the package: what both have is the same. The site is built by a step of ``.ci/run``."""

from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import dbutterfly as dbf

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_reference_has_every_public_name():
    pages = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    shown = {name.rpartition(".")[2] for name in re.findall(r"^\.\. auto\w+:: (\S+)", pages, re.M)}
    modules = {name for name in dbf.__all__ if isinstance(getattr(dbf, name), types.ModuleType)}
    assert set(dbf.__all__) - {"__version__"} - modules <= shown
    assert modules == {"clusters", "errors", "matrices"}  # two of which are shown whole
    assert {"errors", "matrices"} <= shown
    inner = set(dbf.clusters.__all__) - {"for_cluster", "on_cluster"}  # decorators of functions of the package
    assert inner <= shown


def test_the_picture_of_the_readme_is_that_of_its_script(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_extensions")
    canvas, drawings = importlib.import_module("canvas"), importlib.import_module("drawings")
    for page, palette in canvas.PALETTES.items():
        assert (DOCS / "_static" / f"butterfly-{page}.svg").read_text() == drawings.butterfly(palette)


def test_the_gallery_has_every_example():
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert names <= {path.stem for path in (DOCS / "gallery").glob("*.md")}
    assert names <= {path.stem for path in (DOCS / "gallery" / "recorded").glob("*.txt")}
