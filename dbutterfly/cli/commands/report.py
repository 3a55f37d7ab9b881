"""The command ``report``."""

from __future__ import annotations

from typing import Annotated

import typer

import dbutterfly as dbf

from ..options import Store
from ..streams import show
from ..values import absolute_place

__all__ = ["report"]


def report(
    store: Store,
    file: Annotated[str, typer.Argument(help="The HTML file to write; a report that is there is replaced.")],
) -> None:
    """Save a page that shows a run.

    It has plan, certificate, timeline of the workers and map of the residuals. It is one HTML file that needs neither
    other files nor a network.
    """
    dbf.open(absolute_place(store)).report(file)
    show(f"written: {file}")
