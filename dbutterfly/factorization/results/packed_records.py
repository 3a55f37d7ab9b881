"""What sweeps and proofs leave of a matrix of a stack, as a row of numbers: arrays have one row for each matrix.

A row is the text of a JSON object, filled up with blanks, whose bytes are read as numbers. Text of ASCII letters is
never a NaN, which in arrays of tasks means that nothing was written: the highest byte of one would be 127 or 255.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .certificate import Certificate

__all__ = ["RECORD_WORDS", "pack_record", "unpack_record"]

RECORD_WORDS = 128
"""Numbers of a row, of eight letters each."""


def pack_record(record: dict[str, Any], certificate: Certificate) -> NDArray[np.float64]:
    """Row of the record of a matrix, and of what the arrays of certificates do not have.

    That is the deviation of an estimate, and where the lower bound comes from.
    Of so many sweeps that a row does not hold their errors, those before the first and after the last are kept.
    """
    text, errors = _write(record, certificate), record.get("sweeps", [])
    if len(text) > 8 * RECORD_WORDS:
        text = _write({**record, "sweeps": [errors[0], errors[-1]]}, certificate)
    return np.frombuffer(text.ljust(8 * RECORD_WORDS), "<f8").astype(np.float64)


def _write(record: dict[str, Any], certificate: Certificate) -> bytes:
    more = {"lower_bound_from": certificate.lower_bound_from, "deviation": certificate.deviation}
    return json.dumps({"record": record, **more}).encode("ascii")


def unpack_record(row: NDArray[np.float64], certificate: Certificate) -> tuple[dict[str, Any], Certificate]:
    """Record of a matrix, and its certificate with what its row has."""
    kept = json.loads(np.asarray(row).astype("<f8").tobytes())
    more = {name: kept.get(name) for name in ("lower_bound_from", "deviation")}
    return kept["record"], replace(certificate, **more)
