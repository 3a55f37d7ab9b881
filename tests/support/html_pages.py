"""What a page refers to, and whether it is complete in itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

REFERRING = {"src", "href", "data", "action", "srcset", "poster", "xlink:href", "formaction", "background"}
LOADING = {"script", "link", "iframe", "object", "embed", "img", "base"}


class References(HTMLParser):
    """Attributes by which a page could load something, its tags, and whether its elements are closed."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str | None] = []
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attributes}
        self.found += [value for name, value in attributes if name in REFERRING]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_needs_nothing_else(text: str) -> References:
    """Fail if a page loads or refers to anything but its own parts, or has an element that is not closed."""
    seen = References(text)
    assert seen.open == []
    assert [value for value in seen.found if not str(value).startswith("#")] == []
    assert seen.tags.isdisjoint(LOADING)
    assert [name for name in seen.names if name.startswith("on")] == []
    assert re.findall(r"url\(|@import|https?://", text) == []
    return seen
