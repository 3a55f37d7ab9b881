"""The command ``info``."""

from __future__ import annotations

import dbutterfly as dbf

from ...factorization.results.factorization import Factorization
from ..options import AsJson, Store
from ..printing import factorization_json, factorization_lines, print_json, print_lines

__all__ = ["info"]


def info(store: Store, as_json: AsJson = False) -> None:
    """Show factors, certificate and record of a run."""
    found: Factorization = dbf.open(store)
    if as_json:
        print_json(factorization_json(found))
    else:
        print_lines(factorization_lines(found))
