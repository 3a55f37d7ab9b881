"""What each entry of a manifest must be: its type and its bounds, checked before anything is done with it.

A manifest may be damaged, or written by somebody else. The checks are of plain JSON values; they allocate nothing.
Entries of dictionaries that are not named here are handed on: another version may have added them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .chain_checks import MOST_FACTORS, check_chain, check_tree, leaves_of, shape_of
from .hierarchical_checks import check_hierarchical
from .json_checks import (
    LARGEST,
    Check,
    ManifestError,
    dict_of,
    dict_with,
    either,
    integer,
    list_of,
    matching,
    number,
    one_of,
    or_none,
    text,
    truth,
    tuple_of,
)  # fmt: skip
from .stack_checks import DTYPES, SIDES, check_stack

__all__ = ["DTYPES", "MOST_TASKS", "check_entries"]

MOST_TASKS = 10**7
"""Most tasks of a stage: their rows are read at once. Not tuned."""

MOST_PLACES, MOST_SIDE = 64, 64
"""Most places of a sample, and most rows or columns of one. Not tuned: there are 16, and 32."""

MOST_EXPONENT = 2200
"""Most powers of two by which a matrix is divided, or multiplied: more than lie between any numbers of float64."""


# ---------------------------------------------------------------- entries

_count, _amount = integer(0), number(0)
_stage_name = matching(r"[a-z][a-z_]{0,31}(_[0-9]{1,5})?", "the name of a stage")
_counts = (
    "tasks", "resumed", "bytes_read", "idle_bytes", "peak_bytes",
)  # fmt: skip
_seconds = ("seconds", "load_seconds", "compute_seconds")
_summary = dict_with(
    {**dict.fromkeys(_counts, _count), **dict.fromkeys(_seconds, _amount), "peak_beyond_idle": integer(-LARGEST)},
    *_counts,
    *_seconds,
    "peak_beyond_idle",
)
_stages = dict_of(_stage_name, _summary)
_identified = dict_with(
    {
        "found": truth,
        "confidence": number(-math.inf, infinite=True),
        "levels": list_of(_count, MOST_FACTORS),
        "residuals": list_of(number(0, infinite=True), MOST_FACTORS),
        "floors": list_of(number(0, infinite=True), MOST_FACTORS),
        "method": text,
        "attempts": _count,
        "seconds": _amount,
    },
    "residuals",
    "floors",
    "levels",
)
_split = dict_with(dict.fromkeys("puqv", integer(1)) | {"rank": integer(1)}, "rank")
_chunks = dict_with({"count": _count, "missing": _count}, "count", "missing")
_plan = {
    "tasks": dict_of(_stage_name, integer(1, MOST_TASKS)),
    "split": or_none(_split),
    "ranks": list_of(integer(1), MOST_FACTORS),
    "notes": list_of(text),
    "chunks": _chunks,
    "peak_bytes": _count,
    "device_peak_bytes": _count,
}
_layout = tuple_of(
    integer(0, MOST_FACTORS),
    *[integer(1)] * 2,
    *[_count] * 2,
    truth,
    or_none(tuple_of(integer(0, 1), integer(1), integer(1))),
    truth,
    optional=1,  # runs of versions that had no compiled kernels do not say so
)
_nested = {
    "floor": number(0),
    "energy": number(0),
    "capacities": list_of(integer(1, MOST_SIDE), MOST_FACTORS),
    "task_entries": integer(1),
    "evaluated": _count,
}
_certificate = dict_with(
    {
        "error_bound": number(0, infinite=True),
        "lower_bound": number(0),
        "exact": truth,
        "norm": number(0, infinite=True),
        "deviation": or_none(number(0, infinite=True)),
        "guarantee": or_none(number(0, infinite=True)),
        "weighted": truth,
        "lower_bound_from": or_none(text),
        "form": one_of("butterfly", "hierarchical"),
    },
    "error_bound",
    "lower_bound",
    "exact",
    "norm",
)
_record = dict_with(
    {
        "plan": dict_with({"chunks": _chunks, "bytes_read": _count, "peak_bytes": _count}),
        "plan_text": text,
        "engine": text,
        "workers": _count,
        "version": text,
        "provenance": dict_of(text, text),
        "predicted": dict_with(
            {"read_bandwidth": _amount, "stage_seconds": dict_of(_stage_name, _amount)},
            "read_bandwidth",
            "stage_seconds",
        ),
        "matrix": text,
        "stages": _stages,
        "errors_by_cut": list_of(number(0, infinite=True), MOST_FACTORS),
        "sweeps": list_of(number(0, infinite=True)),
        "gradient": number(0, infinite=True),
        "identified": _identified,
        "proof": dict_with(
            {"ended": text, "steps": _count, "seconds": _amount, "slack": _amount, "least_error": _amount}
        ),
        "evaluated": dict_with({}),
    }
)
_places = list_of(tuple_of(*[list_of(_count, MOST_SIDE)] * 2), MOST_PLACES)
_sample = dict_with(
    {"places": _places, "dtype": one_of(*DTYPES), "values": text, "tolerance": number(0)},
    "places",
    "dtype",
    "values",
    "tolerance",
)


def _identity(value: Any, name: str) -> None:
    dict_with({"sample": _sample, "stamps": or_none(text), "digest": or_none(text)}, "sample", "stamps")(value, name)
    sample, wanted = value["sample"], "the entries at its places, in base 64"
    try:
        size, rest = divmod(len(base64.b64decode(sample["values"], validate=True)), np.dtype(sample["dtype"]).itemsize)
    except ValueError:
        raise ManifestError(f"{name}.sample.values", sample["values"], wanted) from None
    entries = sum(len(rows) * len(cols) for rows, cols in sample["places"])
    if rest or (sample["places"] and size != entries):
        raise ManifestError(f"{name}.sample.values", sample["values"], wanted)


_shape = tuple_of(integer(1), integer(1))

_CHECKS: Mapping[str, Check] = {
    "kind": one_of("factorization", "operator", "stack", "hierarchical"),
    "status": one_of("running", "complete"),
    "epoch": matching(r"[0-9A-Za-z_-]{1,64}", "a name of letters and digits"),
    "version": text,
    "dtype": one_of(*DTYPES),
    "chain": check_chain,
    "tree": check_tree,
    "orderings": SIDES,
    "matrix": dict_with({"shape": _shape, "dtype": text, "orderings": dict_of(text, text)}),
    "weights": dict_of(one_of("rows", "cols"), text),
    "exponent": integer(-MOST_EXPONENT, MOST_EXPONENT),
    "identity": _identity,
    "passes": one_of(1, 2),
    "tol": number(math.nextafter(0, 1)),
    "out_of_reach": number(0),
    "sweeps": either(one_of("converged"), _count),
    "rank": integer(1),
    "layout": _layout,
    "nested": dict_with(_nested, *(_nested.keys() - {"evaluated"})),  # which older runs do not say
    "plan": dict_with(_plan, "tasks", "split", "notes", "chunks", "peak_bytes"),
    "stages": _stages,
    "identified": _identified,
    "certificate": _certificate,
    "record": _record,
    "stack": check_stack,
    "hierarchical": check_hierarchical,
    "damaged": text,
    "checksums": dict_of(text, text),
}


def check_entries(values: Mapping[str, Any]) -> None:
    """Check every known entry of a manifest that is not None, and that they fit together.

    Parameters
    ----------
    values : mapping
        The JSON of a manifest.

    Raises
    ------
    ManifestError
        If an entry is of another type than it must be, out of bounds, or contradicts another one.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name, check in _CHECKS.items():
        if name in given:
            check(given[name], name)
    chain = given.get("chain")
    if not chain:
        return
    shape = given.get("matrix", {}).get("shape")
    fits = shape is None or all(size <= length < 2 * size for size, length in zip(shape, shape_of(chain), strict=True))
    if not fits:
        raise ManifestError("matrix.shape", shape, f"{shape_of(chain)}, which is that of the chain, or little less")
    errors = given.get("record", {}).get("errors_by_cut", ())
    if len(errors) not in (0, len(chain) - 1):
        raise ManifestError("record.errors_by_cut", errors, f"a list of {len(chain) - 1} errors")
    tree = given.get("tree")
    if tree is not None and leaves_of(tree) != list(range(len(chain))):
        raise ManifestError("tree", tree, f"a tree of the factors 0 to {len(chain) - 1}")
    layout = given.get("layout")
    if layout is not None and (layout[0] >= len(chain) or (len(chain) > 1 and 0 in (layout[0], *layout[3:5]))):
        raise ManifestError("layout", layout, f"that of a plan for {len(chain)} factors")
