"""The command ``report``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import MatrixOf, Store
from ..stored import open_one
from ..streams import show
from ..values import absolute_place

__all__ = ["report"]


def report(
    store: Store,
    file: Annotated[str, typer.Argument(help="The HTML file to write; a report that is there is replaced.")],
    matrix: MatrixOf = None,
) -> None:
    """Save a page that shows a run.

    It has plan, certificate, timeline of the workers and map of the residuals; of a stack, the certificates of all
    matrices. It is one HTML file that needs neither other files nor a network.
    """
    open_one(absolute_place(store), matrix).report(file)
    show(f"written: {file}")
