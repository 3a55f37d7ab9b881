"""Every error that dbutterfly raises on purpose, and every warning.

Each message names the argument, the value received and the remedy. Errors about an argument are also
``ValueError`` and errors about memory also ``MemoryError``, so that code written for NumPy catches them.
"""

import os
import sys
import warnings
from typing import Self

__all__ = [
    "ChainError",
    "CheckpointError",
    "ClusterError",
    "DButterflyError",
    "InputError",
    "MemoryBudgetError",
    "MissingChunksError",
    "MissingChunksWarning",
    "NonFiniteError",
    "SingularFactorError",
    "SourceError",
    "StoreBusyError",
    "StoreError",
    "StoreMismatchError",
    "TaskError",
    "ToleranceWarning",
    "warn_caller",
]

PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
"""Folder of this package."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn, and report the line outside of this package from which it was called.

    Parameters
    ----------
    message : str
        The text.
    category : type
        Class of the warning.
    """
    # As ``skip_file_prefixes`` of Python 3.12: the number of our own frames may change without the report.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


class DButterflyError(Exception):
    """Base of every error raised on purpose."""


class InputError(DButterflyError, ValueError):
    """An argument cannot be used; the message says which, what it was and what would do."""


class ChainError(InputError):
    """A chain is malformed, not chainable, or does not match the matrix."""


class NonFiniteError(InputError):
    """The matrix holds a NaN or an infinity.

    Attributes
    ----------
    index : tuple of int
        Row and column of the first such entry of the tile in which it was met, in the matrix as stored.
    """

    def __init__(self, message: str, index: tuple[int, int]) -> None:
        super().__init__(message, index)
        self.index = index

    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def at(cls, name: str, index: tuple[int, int]) -> Self:
        """Error for an entry of what is called ``name``."""
        return cls(f"{name} holds a NaN or an infinity at index {index}; mask or replace such entries first", index)


class SingularFactorError(InputError):
    """A factor has no inverse; the message names it."""


class SourceError(InputError):
    """The matrix cannot be opened or read."""


class MissingChunksError(SourceError):
    """Chunks of the matrix are not in its storage, and the caller does not take them for their fill value."""


class MissingChunksWarning(UserWarning):
    """Chunks of the matrix are not in its storage and read as its fill value.

    Zarr need not store a chunk that holds the fill value only, so this may be right; or files were lost.
    """


class MemoryBudgetError(DButterflyError, MemoryError):
    """The memory budget is too small for the job; the message gives the least one that works."""


class StoreError(DButterflyError):
    """A run's store cannot be opened, written, or understood."""


class StoreBusyError(StoreError):
    """Another run that is alive works on the store."""


class CheckpointError(StoreError):
    """A piece that a run has stored is damaged or missing; it is not used.

    Attributes
    ----------
    name : str
        Array of the run's workspace.
    selection : tuple of slice
        Range of the array that is affected.
    """

    def __init__(self, message: str, name: str, selection: tuple[slice, ...]) -> None:
        super().__init__(message, name, selection)
        self.name, self.selection = name, selection

    def __str__(self) -> str:
        return str(self.args[0])


class StoreMismatchError(StoreError):
    """A store already holds the run of another matrix or of other settings; nothing in it was changed."""


class ClusterError(DButterflyError, RuntimeError):
    """A cluster does not start, or its workers do not arrive; the message says what is known of the reason."""


class TaskError(DButterflyError, RuntimeError):
    """A task failed on a worker; the message names the task, and the cause is chained."""


class ToleranceWarning(UserWarning):
    """A tolerance was not reached; the factorization is returned, and its certificate says what was."""
