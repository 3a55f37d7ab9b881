"""Pages of the notebooks: their cells, and what was recorded of each (``docs/notebooks/record.py``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def page(name: str) -> str:
    """Markdown of a notebook with its outputs, and where to get the file."""
    return "\n\n".join(blocks(name))


def blocks(name: str) -> Iterator[str]:
    """Its cells, each followed by what it showed; the file is named after the title."""
    shown = json.loads((NOTEBOOKS / "recorded" / f"{name}.json").read_text())
    for number, cell in enumerate(json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        else:
            yield f"```python\n{source}\n```"
            yield from (output(kept, source) for kept in shown[cell["id"]])
        if number == 0:
            yield f"This page is the notebook {{download}}`{name}.ipynb`, with what it showed when it was recorded."


def output(kept: dict[str, str], source: str) -> str:
    """What a cell showed, as a browser shows it."""
    if "image/png" in kept:
        drawn_by = source.splitlines()[-1].rstrip(";")
        return f":::{{image}} recorded/{kept['image/png']}\n:alt: The picture that {drawn_by} draws\n:::"
    if "text/html" in kept:
        return f'```{{raw}} html\n<div class="shown">{kept["text/html"]}</div>\n```'
    return f"```text\n{kept['text/plain']}\n```"


PARTS: dict[str, Callable[[], str]] = {
    f"notebook {path.stem}": partial(page, path.stem) for path in sorted(NOTEBOOKS.glob("*.ipynb"))
}
"""Parts of pages, by name."""
