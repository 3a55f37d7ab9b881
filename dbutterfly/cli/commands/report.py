"""The command ``report``."""

from __future__ import annotations

from typing import Annotated

import typer

import dbutterfly as dbf

from ...errors import InputError
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
    found = dbf.open(absolute_place(store))
    if isinstance(found, dbf.StackedFactorization):
        raise InputError(
            f"store={store!r} holds a stack of {len(found)} matrices; a report is of one: "
            "dbutterfly.open(store)[k].report(file)"
        )
    found.report(file)
    show(f"written: {file}")
