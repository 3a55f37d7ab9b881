"""Parts of pages that are made when the site is built: ``<!-- generated: NAME -->`` in a page stands for one."""

from __future__ import annotations

import re
from typing import Any

import drawings
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

PARTS = {**drawings.PARTS}
"""Functions that return Markdown, by the names of their parts."""

MARK = re.compile(r"<!-- generated: ([\w. -]+?) -->")


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the parts in the place of their marks."""

    def part(mark: re.Match[str]) -> str:
        if mark[1] not in PARTS:
            raise ExtensionError(f"{docname}: nothing is generated under the name {mark[1]!r}")
        return PARTS[mark[1]]()

    if MARK.search(source[0]):
        app.env.note_reread()
        source[0] = MARK.sub(part, source[0])


def draw(_: Sphinx) -> None:
    """Write the drawings before any page is read."""
    drawings.write_all()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts."""
    app.connect("builder-inited", draw)
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
