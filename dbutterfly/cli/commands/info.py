"""The command ``info``."""

from __future__ import annotations

import dbutterfly as dbf

from ..options import AsJson, Store
from ..printing import print_result

__all__ = ["info"]


def info(store: Store, as_json: AsJson = False) -> None:
    """Show factors, certificate and record of a run or stack."""
    print_result(dbf.open(store), as_json)
