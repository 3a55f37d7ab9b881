"""Sizes of what the compiled products work on at a time, and the stamp of their sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...compiler import stamp_of

__all__ = ["COLUMNS", "N_COLUMNS", "N_SLOTS", "SLOTS", "STAMP"]

SLOTS = 64
"""Number of slots in a bundle. Measured: twice as many are no faster, half as many take a tenth more time."""

COLUMNS = 32
"""Number of columns that go through all factors together.

Not tuned. Rows of 32 columns are whole cache lines, 128 bytes or more, and leave room for many rows in a cache.
"""

N_SLOTS, N_COLUMNS = np.uint64(SLOTS), np.uint64(COLUMNS)

STAMP = stamp_of(Path(__file__).parent, ("blocks", "bundles", "chains", "dense", "filling", "layers", "sizes"))
"""Digest of the sources of the loops of this package."""
