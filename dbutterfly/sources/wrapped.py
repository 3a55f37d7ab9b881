"""Matrices that are others, changed where they are read: what their storage tells is what that of the others does."""

from __future__ import annotations

from typing import Any

from .base import MatrixSource
from .stamps import Stamps

__all__ = ["WrappedSource"]


class WrappedSource(MatrixSource):
    """A matrix, or a stack, whose entries are those of another one, changed by whoever reads them.

    Attributes
    ----------
    unweighted : MatrixSource
        The other one.
    """

    unweighted: MatrixSource

    def _wrap(self, source: MatrixSource) -> None:
        """Take over what does not depend on the entries."""
        self.unweighted = source
        self.shared, self.needs_cluster, self.steps = source.shared, source.needs_cluster, source.steps
        self.decode_bytes, self.decoding = source.decode_bytes, source.decoding
        self.chunk_count, self.fill_value = source.chunk_count, source.fill_value
        self.is_computed, self.tolerance, self.spare_bytes = source.is_computed, source.tolerance, source.spare_bytes

    @property
    def client(self) -> Any:
        """Client of the other one."""
        return self.unweighted.client

    @client.setter
    def client(self, client: Any) -> None:
        self.unweighted.client = client

    def prepare(self, client: Any, workers: int) -> None:
        """Compute once what many ranges need."""
        self.unweighted.prepare(client, workers)

    @property
    def lists_chunks(self) -> bool:
        """Whether the storage tells which chunks it holds."""
        return self.unweighted.lists_chunks

    @property
    def missing_chunks(self) -> int:
        """Number of chunks that the storage did not hold when they were first counted."""
        return self.unweighted.missing_chunks

    def missing_keys(self, limit: int) -> list[str]:
        """Names in the storage of the first ``limit`` missing chunks."""
        return self.unweighted.missing_keys(limit)

    def recount(self) -> int:
        """Number of chunks that the storage does not hold now."""
        return self.unweighted.recount()

    def stamps(self) -> Stamps | None:
        """Stamps of the other one; a run keeps besides how it was changed."""
        return self.unweighted.stamps()
