"""Every error that dbutterfly raises on purpose.

Each message names the argument, the value received and the remedy. Errors about an argument are also
``ValueError`` and errors about memory also ``MemoryError``, so that code written for NumPy catches them.
"""

__all__ = [
    "ChainError",
    "DButterflyError",
    "InputError",
    "MemoryBudgetError",
    "NonFiniteError",
    "SourceError",
    "StoreError",
    "StoreMismatchError",
    "TaskError",
]


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


class SourceError(InputError):
    """The matrix cannot be opened or read."""


class MemoryBudgetError(DButterflyError, MemoryError):
    """The memory budget is too small for the job; the message gives the least one that works."""


class StoreError(DButterflyError):
    """A run's store cannot be opened, written, or understood."""


class StoreMismatchError(StoreError):
    """A store already holds the run of another matrix or of other settings; nothing in it was changed."""


class TaskError(DButterflyError, RuntimeError):
    """A task failed on a worker; the message names the task, and the cause is chained."""
