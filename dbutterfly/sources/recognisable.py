"""How a matrix is looked at, to be known again: its stamps, a sample of its entries, and whether it repeats."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from ..structure.axes import Edges, Index
from .info import work_dtype
from .samples import PLACES, Place, Sample, choose_places, count_places, join_values
from .stamps import Stamps

__all__ = ["Recognisable"]


class Recognisable:
    """A matrix that can be known again.

    Attributes
    ----------
    name, shape, dtype, edges
        As of :class:`~dbutterfly.sources.base.MatrixSource`.
    is_computed : bool
        Whether entries are computed anew whenever they are read, which nobody has looked at: tiles are compared with a
        sample.
    tolerance : float
        Part of the norm of a sample of entries by which one may differ when it is computed again; 0 of stored ones.
    spare_bytes : int
        Bytes that may be read to know the matrix again, however small it is.
    """

    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    edges: tuple[Edges, Edges] = (None, None)
    is_computed = False
    tolerance = 0.0
    spare_bytes = 0

    @abstractmethod
    def read_range(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a contiguous range of rows and columns, checked."""

    def check_reproducible(self) -> None:
        """Raise SourceError if entries have changed when they are computed again; what is stored is not looked at."""
        if not self.is_computed:
            return
        sample = self.draw_sample()
        difference = sample.find_difference(self.sample(sample.places))
        if difference is not None:
            raise SourceError(
                f"{self.name} gives other entries when it is computed again: {difference}; it must give an entry the "
                "same value each time: seed its random numbers, or store it first"
            )

    def stamps(self) -> Stamps | None:
        """Stamps of the pieces of the matrix, which change with its content; None where only its entries are known."""
        return None

    def choose_places(self, rng: np.random.Generator) -> tuple[Place, ...]:
        """Choose places at random at which the matrix is looked at, to be known again."""
        return choose_places(self.shape, self.edges, rng, self._count_places())

    def sample(self, places: Sequence[Place]) -> NDArray[Any]:
        """Entries at some places, one place after the other, in the dtype in which the matrix is computed."""
        return join_values([self.take(*place) for place in places], work_dtype(self.dtype, self.name))

    def draw_sample(self) -> Sample:
        """Look at the matrix at random places, other ones in each call; a place that cannot be read is left out.

        The tile that it lies in fails, and is named, when all others are done.
        """
        places = self.choose_places(np.random.default_rng())
        try:
            return Sample(places, self.sample(places), self.tolerance)
        except SourceError:
            places = tuple(place for place in places if self._can_read(place))
            if not places:  # nothing by which the matrix could be known again
                raise
            return Sample(places, self.sample(places), self.tolerance)

    def _can_read(self, place: Place) -> bool:
        try:
            self.take(*place)
        except SourceError:
            return False
        return True

    def _count_places(self) -> int:
        """Number of places that cost little beside reading the matrix."""
        rows, cols = self.edges
        if rows is None or cols is None:
            return PLACES
        chunk = int(np.max(np.diff(rows)) * np.max(np.diff(cols))) * self.dtype.itemsize
        nbytes = math.prod(self.shape) * self.dtype.itemsize
        return count_places((rows.size - 1) * (cols.size - 1), nbytes, chunk, self.spare_bytes)

    def take(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Entries at the crossings of some ascending rows and columns; the range about them may be read for it."""
        (r0, r1), (c0, c1) = ((int(side[0]), int(side[-1]) + 1) for side in (rows, cols))
        return self.read_range(slice(r0, r1), slice(c0, c1))[np.ix_(rows - r0, cols - c0)]
