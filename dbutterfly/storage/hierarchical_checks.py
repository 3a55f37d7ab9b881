"""What the manifest of the hierarchical form must have: what was asked, and the result."""

from __future__ import annotations

from .json_checks import dict_with, integer, one_of, tuple_of
from .stack_checks import DTYPES, SIDES

__all__ = ["check_hierarchical"]

MOST_BLOCKS = 10**8
"""Most blocks: a table of them is read at once. Not tuned."""

_result = {
    "shape": tuple_of(integer(1), integer(1)),
    "dtype": one_of(*DTYPES),
    "symmetry": one_of("none", "symmetric", "hermitian"),
    "orders": SIDES,
    "blocks": integer(0, MOST_BLOCKS),
    "factors": integer(0, MOST_BLOCKS),
    "values": integer(0),
    "indices": integer(0),
}
check_hierarchical = dict_with({"asked": dict_with({}), "result": dict_with(_result, *_result)}, "asked")
"""Check of the entry ``hierarchical``."""
