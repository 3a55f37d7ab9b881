"""The command ``demo``."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from ..demonstration import demonstrate
from ..options import AsJson, Quiet
from ..printing import print_json
from ..streams import flush_results, show

__all__ = ["demo"]


def demo(
    n: Annotated[int, typer.Option("--n", help="Size of the Fourier matrix.")] = 4096,
    noise: Annotated[float, typer.Option(help="Relative size of the noise.")] = 0.01,
    directory: Annotated[
        str | None, typer.Option(help="Where to keep matrix and factors; by default they are removed afterwards.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show it all on a noisy Fourier matrix.

    It is written to disk, planned, factorized and verified; then its product is raced against the dense one.
    """
    place = (
        tempfile.TemporaryDirectory(prefix="dbutterfly-") if directory is None else contextlib.nullcontext(directory)
    )
    with place as path:
        values: dict[str, Any] = {}
        for step in demonstrate(n, noise, Path(path), progress=not quiet):
            values |= step.values
            if not as_json:
                show(step.text)
                flush_results()
    if as_json:
        print_json(values)
