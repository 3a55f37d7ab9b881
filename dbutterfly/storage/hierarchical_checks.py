"""What the manifest of the hierarchical form must have: what was asked, the layout of the plan, and the result."""

from __future__ import annotations

from .json_checks import dict_with, integer, number, one_of, or_none, truth, tuple_of
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
_layout = {
    "eta": or_none(number(0)),
    "leaf": integer(1),
    "symmetry": one_of("none", "symmetric", "hermitian"),
    "level": number(0),
    "sizes": tuple_of(integer(1), or_none(integer(1))),
    "panel_bytes": integer(0),
    "prefetch": truth,
    "looked_at": integer(0),
    "in_full": truth,
}
check_hierarchical = dict_with(
    {"asked": dict_with({}), "layout": dict_with(_layout, *_layout), "result": dict_with(_result, *_result)}, "asked"
)
"""Check of the entry ``hierarchical``."""
