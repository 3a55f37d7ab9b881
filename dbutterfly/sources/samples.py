"""Samples of a matrix: entries at places drawn at random, by which it is known again.

Of a matrix that is read, a place is some rows and columns within one chunk, so that it costs one chunk; the places lie
in different rows and columns of chunks as far as these go, so that no row of chunks is looked at twice before others
are. Of an entry function, it is rows and columns anywhere. An operator has no places: its sample is a product.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from ..structure.axes import Axis, Edges, Index, Tile
from .tile_grids import fold

__all__ = [
    "PLACES",
    "ROUNDING",
    "Place",
    "Sample",
    "choose_places",
    "count_places",
    "digest_parts",
    "digest_tile",
    "join_values",
    "norm_of_finite",
    "spread_indices",
]

SIDE = 8
"""Rows and columns of a place within a chunk. Not tuned: sixteen places of 64 entries are 8 KiB in a manifest."""

PLACES = 16
"""Most places. Not tuned."""

SHARE = 100
"""One chunk in so many is looked at."""


ROUNDING = 256
"""Units in the last place of the norm of a sample by which an entry may differ when it is computed again.

Not tuned: sums of some hundred terms that are added up in another order stay below it by far, and a value that depends
on the request differs by much more.
"""


class Place(NamedTuple):
    """Some rows and some columns, ascending, whose crossings are looked at."""

    rows: Index
    cols: Index


@dataclass(frozen=True, eq=False)
class Sample:
    """Entries of a matrix at some places.

    Attributes
    ----------
    places : tuple of Place
        Where; none of an operator.
    values : array
        What was found there, of one place after the other.
    tolerance : float
        Part of the norm of all values by which one may differ when it is computed again.
    """

    places: tuple[Place, ...]
    values: NDArray[Any]
    tolerance: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "places": [[place.rows.tolist(), place.cols.tolist()] for place in self.places],
            "dtype": self.values.dtype.name,
            "values": base64.b64encode(self.values.tobytes()).decode(),
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        places = (Place(*(np.array(side, np.int64) for side in place)) for place in given["places"])
        values = np.frombuffer(base64.b64decode(given["values"]), np.dtype(given["dtype"]))
        return cls(tuple(places), values, float(given["tolerance"]))

    def find_difference(self, values: NDArray[Any]) -> str | None:
        """Say where values found again are not those of the sample; None where they are."""
        if values.shape != self.values.shape:
            return f"{values.size} sampled values instead of {self.values.size}"
        return self._difference(np.arange(self.values.size), values)

    def find_difference_in_tile(self, grid: NDArray[Any], rows: Axis, cols: Axis, tile: Tile) -> str | None:
        """Say where a tile that was read is not what the sample has shown; None where it agrees, or meets no place."""
        if not self.places:
            return None
        row_at, col_at = rows.rows(tile.r0, tile.r1), cols.rows(tile.c0, tile.c1)
        (by_row, row_at), (by_col, col_at) = (_sort(at) for at in (row_at, col_at))
        buffer, first = fold(grid, rows, cols), 0
        for place in self.places:
            count = place.rows.size * place.cols.size
            numbers = np.arange(first, first + count).reshape(place.rows.size, place.cols.size)
            first += count
            (i, of_rows), (j, of_cols) = _find(row_at, place.rows), _find(col_at, place.cols)
            if not (i.size and j.size):
                continue
            found = _crossings(buffer, by_row[i], by_col[j])
            difference = self._difference(numbers[np.ix_(of_rows, of_cols)].reshape(-1), found.reshape(-1))
            if difference is not None:
                return difference
        return None

    def find_difference_in_rows(self, block: NDArray[Any], first_row: int) -> str | None:
        """Say where whole rows, the first of which is ``first_row``, are not what the sample has shown."""
        first = 0
        for place in self.places:
            count = place.rows.size * place.cols.size
            if first_row <= place.rows[0] and place.rows[-1] < first_row + block.shape[0]:
                found = block[np.ix_(place.rows - first_row, place.cols)].reshape(-1)
                difference = self._difference(np.arange(first, first + count), found)
                if difference is not None:
                    return difference
            first += count
        return None

    @cached_property
    def _allowed(self) -> float:
        """Most by which a value may differ when it is computed again."""
        return self.tolerance * norm_of_finite(self.values)

    def _difference(self, numbers: NDArray[np.int64], found: NDArray[Any]) -> str | None:
        """Compare values with those of some numbers in the sample."""
        known, found = self.values[numbers], found.astype(self.values.dtype, copy=False)
        with np.errstate(all="ignore"):
            alike = (known == found) | (np.isnan(known) & np.isnan(found))
            alike |= np.abs(found - known) <= self._allowed
        if alike.all():
            return None
        at = int(np.flatnonzero(~alike)[0])
        return f"{self._name(int(numbers[at]))} is {found[at]} and was {known[at]}"

    def _name(self, number: int) -> str:
        """Name of a value in messages."""
        for place in self.places:
            count = place.rows.size * place.cols.size
            if number < count:
                row, col = divmod(number, place.cols.size)
                return f"entry ({place.rows[row]}, {place.cols[col]})"
            number -= count
        return f"entry {number} of a product with random numbers"


def choose_places(
    shape: tuple[int, int], edges: tuple[Edges, Edges], rng: np.random.Generator, count: int = PLACES
) -> tuple[Place, ...]:
    """Choose places at random, of which each lies in one chunk.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    edges : pair of array of int or None
        Boundaries of its chunks; None where a side has none.
    rng : numpy.random.Generator
        Source of randomness.
    count : int
        Most places.
    """
    bounds = [_bounds(size, edge) for size, edge in zip(shape, edges, strict=True)]
    heights, widths = (edge.size - 1 for edge in bounds)
    down, across = (rng.permutation(size) for size in (heights, widths))
    places = []
    for number in range(min(count, heights * widths)):
        turn, line = divmod(number, heights)
        at = (int(down[line]), int(across[(line + turn) % widths]))
        places.append(Place(*(_pick(edge, piece, rng) for edge, piece in zip(bounds, at, strict=True))))
    return tuple(places)


def count_places(chunks: int, nbytes: int, chunk_bytes: int, spare_bytes: int = 0) -> int:
    """Count the places that cost a hundredth of a matrix, or of ``spare_bytes`` if that is more."""
    return max(1, min(PLACES, chunks, max(nbytes // SHARE, spare_bytes) // max(chunk_bytes, 1)))


def digest_tile(grid: NDArray[Any], rows: Axis, cols: Axis) -> int:
    """Digest of the entries of a tile as they lie in storage: 53 bits, which a float64 holds exactly.

    xxHash takes 17 GB/s of memory and 37 GB/s of what is in the cache (one core of an AMD EPYC), BLAKE2 about 1.
    """
    return digest_parts(fold(grid, rows, cols))


def digest_parts(buffer: NDArray[Any]) -> int:
    """Digest of the entries of an array: 53 bits, which a float64 holds exactly."""
    found = xxhash.xxh3_64()
    for part in [buffer] if buffer.flags.c_contiguous else buffer:  # of a view, little is copied at a time
        found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return int(found.intdigest()) >> 11


def norm_of_finite(values: NDArray[Any]) -> float:
    """Norm of the finite entries, scaled by the largest, so that squares neither overflow nor vanish."""
    finite = values[np.isfinite(values)]
    largest = float(np.max(np.abs(finite), initial=0))
    return largest * float(np.linalg.norm(finite / largest)) if largest else 0.0


def _crossings(buffer: NDArray[Any], i: Index, j: Index) -> NDArray[Any]:
    """Entries of a buffer with four axes at rows and columns that are counted along it."""
    (a, b), (c, d) = np.divmod(i, buffer.shape[1]), np.divmod(j, buffer.shape[3])
    found: NDArray[Any] = buffer[a[:, None], b[:, None], c[None, :], d[None, :]]
    return found


def _sort(positions: Index) -> tuple[Index, Index]:
    """Order that sorts positions, and them sorted."""
    order = np.argsort(positions, kind="stable")
    return order, positions[order]


def _find(positions: Index, wanted: Index) -> tuple[Index, Index]:
    """Find what is wanted among sorted positions: where it is, and which of the wanted was found."""
    at = np.minimum(np.searchsorted(positions, wanted), positions.size - 1)
    found = np.flatnonzero(positions[at] == wanted)
    return at[found], found


def _bounds(size: int, edges: Edges) -> Index:
    """Boundaries of chunks; of a side without, those of as many equal ranges as there may be places."""
    if edges is not None:
        return edges
    return np.unique(np.linspace(0, size, min(size, PLACES) + 1).astype(np.int64))


def _pick(edges: Index, number: int, rng: np.random.Generator) -> Index:
    """Rows or columns at random within a chunk."""
    start, stop = edges[number : number + 2].tolist()
    return spread_indices(start, stop, SIDE, rng)


def spread_indices(start: int, stop: int, count: int, rng: np.random.Generator) -> Index:
    """Choose one index at random in each of ``count`` equal parts of a range, so that no period is met."""
    strata = np.arange(count) + rng.random(count)
    return np.unique(start + np.floor(strata * (stop - start) / count).astype(np.int64))


def join_values(blocks: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """Join the entries of several blocks, one block after the other, in a dtype."""
    return np.concatenate([np.empty(0, dtype), *(np.asarray(block).astype(dtype).reshape(-1) for block in blocks)])
