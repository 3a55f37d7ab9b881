"""Check of the built pages: nothing of them comes from a network, and links to other sites are well-formed.

Other sites cannot be asked where there is no network, so a link of the right form is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

LOADED = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "embed": "src", "object": "data"}
"""Attributes by which elements name what a browser loads with the page."""

LOADING_LINKS = {"stylesheet", "preload", "prefetch", "icon", "shortcut", "preconnect", "dns-prefetch", "modulepreload"}
"""Relations of ``<link>`` for which a browser loads something, or opens a connection."""


class Page(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads_to: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names."""
        given = {name: value or "" for name, value in attrs}
        if tag in LOADED and LOADED[tag] in given:
            self.loads.append(given[LOADED[tag]])
        if tag == "link" and set(given.get("rel", "").split()) & LOADING_LINKS:
            self.loads.append(given.get("href", ""))
        if tag == "a" and "href" in given:
            self.leads_to.append(given["href"])


def is_elsewhere(address: str) -> bool:
    """Whether an address is on a network."""
    return bool(re.match(r"(https?:)?//", address.strip()))


def is_well_formed(address: str) -> bool:
    """Whether a link to another site has a host with a domain, and no blanks."""
    parts = urlsplit(address)
    return "." in (parts.hostname or "") and not re.search(r"\s", address)


def faults(folder: Path) -> Iterator[str]:
    """What the pages and style sheets below a folder have that they must not."""
    for path in sorted(folder.rglob("*.html")):
        page, name = Page(path.read_text()), path.relative_to(folder)
        yield from (f"{name} loads {address}" for address in page.loads if is_elsewhere(address))
        outer = [address for address in page.leads_to if is_elsewhere(address)]
        yield from (f"{name} has the malformed link {address}" for address in outer if not is_well_formed(address))
    for path in sorted(folder.rglob("*.css")):
        for address in re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')]+)", path.read_text()):
            if is_elsewhere(address):
                yield f"{path.relative_to(folder)} loads {address}"


def check(app: Sphinx, exception: Exception | None) -> None:
    """Warn of pages that need a network, which a strict build does not accept."""
    if exception is None and app.builder.format == "html":
        for fault in faults(Path(app.outdir)):
            getLogger(__name__).warning("%s", fault)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the check."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
