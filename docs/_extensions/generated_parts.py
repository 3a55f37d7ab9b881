"""Parts of pages that are made when the site is built: ``<!-- generated: NAME -->`` in a page stands for one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import canvas
import drawings
import measured
import notebook_pages
import reference_parts
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

DRAWN = {**drawings.DRAWN, **measured.BARS}
WORDS = {**drawings.WORDS, **measured.WORDS}
PARTS: dict[str, Callable[[], str]] = {**reference_parts.PARTS, **measured.PARTS, **notebook_pages.PARTS}
"""Functions that return Markdown, by the names of their parts; ``drawing NAME`` is one too."""

MARK = re.compile(r"<!-- generated: ([\w. -]+?) -->")


def folder_of(drawing: str) -> Path:
    """Folder of a drawing: that of the README is kept in the repository."""
    return canvas.STATIC if drawing == drawings.FRONT else canvas.STATIC / "drawn"


def draw(_: Sphinx) -> None:
    """Write the drawings before any page is read."""
    for name, picture in DRAWN.items():
        canvas.write(name, picture, folder_of(name))


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the parts in the place of their marks."""

    def part(mark: re.Match[str]) -> str:
        kind, _, name = mark[1].partition(" ")
        if kind == "drawing" and name in DRAWN:
            return canvas.shown(name, folder_of(name), WORDS[name])
        if mark[1] not in PARTS:
            raise ExtensionError(f"{docname}: nothing is generated under the name {mark[1]!r}")
        return PARTS[mark[1]]()

    if MARK.search(source[0]):
        app.env.note_reread()
        source[0] = MARK.sub(part, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts."""
    app.connect("builder-inited", draw)
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
