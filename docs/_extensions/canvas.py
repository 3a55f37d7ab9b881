"""SVG pictures in the colours of light and of dark pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STATIC = Path(__file__).parents[1] / "_static"


@dataclass(frozen=True)
class Palette:
    """Colours of a page."""

    ink: str
    soft: str
    paper: str
    accent: str
    second: str
    marks: tuple[str, ...]


PALETTES = {
    "light": Palette(
        "#1f2933", "#52606d", "#ffffff", "#17567d", "#b1481a", ("#17567d", "#b1481a", "#2d7a46", "#7a3e9d")
    ),
    "dark": Palette(
        "#e6edf3", "#a3b3c2", "#14181e", "#6cb6e0", "#f0a47a", ("#6cb6e0", "#f0a47a", "#7fce97", "#cda2ea")
    ),
}


class Canvas:
    """Elements of one picture."""

    def __init__(self, width: float, height: float, palette: Palette, title: str) -> None:
        self.palette = palette
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img" font-family="system-ui, sans-serif">',
            f"<title>{title}</title>",
        ]

    def box(self, x: float, y: float, w: float, h: float, fill: str = "none", **more: Any) -> None:
        """Draw a rectangle."""
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        self.lines.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="{fill}"{extra}/>')

    def frame(self, x: float, y: float, w: float, h: float, stroke: str | None = None, width: float = 1.2) -> None:
        """Draw the outline of a rectangle."""
        self.box(x, y, w, h, stroke=stroke or self.palette.soft, stroke_width=width)

    def text(
        self, x: float, y: float, words: str, size: float = 15, fill: str | None = None, anchor: str = "middle"
    ) -> None:
        """Write a line."""
        self.lines.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{fill or self.palette.ink}">{words}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str | None = None, width: float = 1.5) -> None:
        """Draw a line."""
        self.lines.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{stroke or self.palette.soft}" '
            f'stroke-width="{width:g}"/>'
        )

    def arrow(self, x1: float, y: float, x2: float) -> None:
        """Draw a horizontal arrow."""
        self.line(x1, y, x2 - 6, y)
        self.lines.append(
            f'<path d="M{x2:g} {y:g} l-9 -5 v10 z" fill="{self.palette.soft}"/>'  # its head
        )

    def cells(self, x: float, y: float, side: float, values: NDArray[Any], colour: str | None = None) -> None:
        """Shade the cells of a matrix by their size, from 0 to 1; empty ones are left out."""
        step = side / max(values.shape)
        for (row, col), value in np.ndenumerate(values):
            if value > 0:
                self.box(
                    round(x + col * step, 2),
                    round(y + row * step, 2),
                    round(step, 2),
                    round(step, 2),
                    colour or self.palette.accent,
                    fill_opacity=f"{float(value):.2g}",
                )

    def svg(self) -> str:
        """Return the picture."""
        return "\n".join([*self.lines, "</svg>\n"])


def write(name: str, draw: Callable[[Palette], str], folder: Path) -> None:
    """Write a drawing for light and for dark pages, unless it is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    for page, palette in PALETTES.items():
        path, drawn = folder / f"{name}-{page}.svg", draw(palette)
        if not path.exists() or path.read_text() != drawn:
            path.write_text(drawn)


def shown(name: str, folder: Path, words: str) -> str:
    """Markdown that shows a drawing, and says what is to be seen."""
    place = folder.relative_to(STATIC.parent).as_posix()
    return "\n".join(
        f":::{{image}} /{place}/{name}-{page}.svg\n:alt: {words}\n:class: drawing only-{page}\n:::\n"
        for page in PALETTES
    )
