"""Rows of arrays of a workspace of which the beginnings are written, in whole chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...execution.task import Output
from ...storage.workspace import Workspace

__all__ = ["padded", "read_row", "row_buffer", "row_output"]


def padded(length: int, chunk: int) -> int:
    """Length in whole chunks."""
    return -(-length // chunk) * chunk


def row_buffer(name: str, row: int, length: int, chunk: int, dtype: Any) -> Output:
    """Output for the beginning of a row, of zeros that fill up whole chunks, into which values are yet to be put."""
    whole = padded(length, chunk)
    return Output(name, (slice(row, row + 1), slice(0, whole)), np.zeros((1, whole), dtype))


def row_output(name: str, row: int, parts: Sequence[NDArray[Any]], chunk: int) -> Output:
    """Values, one part after the other, for the beginning of a row, filled up with zeros to whole chunks."""
    output = row_buffer(name, row, sum(part.size for part in parts), chunk, parts[0].dtype)
    first = 0
    for part in parts:
        output.values[0, first : first + part.size] = part.reshape(-1)
        first += part.size
    return output


def read_row(workspace: Workspace, name: str, row: int, length: int, chunk: int) -> NDArray[Any]:
    """Beginning of a row, as :func:`row_output` has written it."""
    return workspace.read(name, (slice(row, row + 1), slice(0, padded(length, chunk))))[0, :length]
