"""Every error and warning that dbutterfly raises on purpose.

Each message names the argument, the value received and the remedy. The errors form one hierarchy::

    DButterflyError
        InputError, also a ValueError            an argument cannot be used
            ChainError                             the chain
            NonFiniteError                         the entries of the matrix
            RangeError                             the same: their squares leave the range of the dtype
            NoSuchMatrixError, also an IndexError  the number of a matrix of a stack
            SingularFactorError                    the factors that are to be inverted
            SourceError                            the matrix cannot be read
                MissingChunksError                   chunks of it are not stored
            ToleranceError                         the tolerance: no product reaches it
        MemoryBudgetError, also a MemoryError    the memory allowed is too small
        StoreError                               the store of a run cannot be used
            StoreBusyError                         another run works on it
            StoreMismatchError                     it holds another run
            CheckpointError                        a part of it is damaged
        ClusterError, also a RuntimeError        a cluster does not start
        ConvergenceError, also a RuntimeError    iterations do not reach their tolerance
        TaskError, also a RuntimeError           a task failed

Code written for NumPy thus catches errors about an argument as ``ValueError``, and errors about memory as
``MemoryError``. The warnings are :class:`FailedMatricesWarning`, :class:`FitWarning`, :class:`MissingChunksWarning`,
:class:`OrderingsWarning` and :class:`ToleranceWarning`.
"""

import contextlib
import functools
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Self

__all__ = [
    "ChainError",
    "CheckpointError",
    "ClusterError",
    "ConvergenceError",
    "DButterflyError",
    "FailedMatricesWarning",
    "FitWarning",
    "InputError",
    "MemoryBudgetError",
    "MissingChunksError",
    "MissingChunksWarning",
    "NoSuchMatrixError",
    "NonFiniteError",
    "OrderingsWarning",
    "RangeError",
    "SingularFactorError",
    "SourceError",
    "StoreBusyError",
    "StoreError",
    "StoreMismatchError",
    "TaskError",
    "ToleranceError",
    "ToleranceWarning",
]

OURS = (os.path.join(os.path.dirname(os.path.abspath(__file__)), ""), os.path.abspath(contextlib.__file__))
"""Files whose frames lie between a caller and a warning: those of this package, and the one that opens its contexts."""


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
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


@functools.cache
def how_to_install(extra: str) -> str:
    """Command that installs an extra of this package from where the package itself came: a clone, a file, or an index.

    Parameters
    ----------
    extra : str
        Name of the extra.

    Returns
    -------
    str
        A line for the shell.
    """
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    origin = _origin()
    url, wanted = str(origin.get("url", "")), f"dbutterfly[{extra}]"
    version_control = origin.get("vcs_info")
    if version_control is not None:
        revision = version_control.get("requested_revision")
        at = "" if revision is None else f"@{revision}"
        return f'pip install "{wanted} @ {version_control["vcs"]}+{url}{at}"'
    path = url2pathname(urlsplit(url).path) if url.startswith("file:") else ""
    if os.path.isdir(path):
        editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
        return f'pip install {editable}"{path}[{extra}]"'
    if os.path.isfile(path) or url.startswith(("https:", "http:")):
        return f'pip install "{wanted} @ {url}"'
    return f'pip install "{wanted}"'


def _origin() -> dict[str, Any]:
    """Where this package was installed from, as PEP 610 has it: nothing of an index, a clone where it is none."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        written = distribution("dbutterfly").read_text("direct_url.json")
    except PackageNotFoundError:
        clone = Path(__file__).parents[1]
        is_clone = (clone / "pyproject.toml").is_file()
        return {"url": clone.as_uri(), "dir_info": {"editable": True}} if is_clone else {}
    return dict(json.loads(written)) if written else {}


class DButterflyError(Exception):
    """Base of every error raised on purpose."""


# ---- arguments


class InputError(DButterflyError, ValueError):
    """An argument cannot be used. The message says which, what it was and what would do."""


class ToleranceError(InputError):
    """No product of the chains that are worthwhile reaches the tolerance, as samples say, or half a run has proven.

    Attributes
    ----------
    least_error : float
        No product of the chain has a relative error below this; 0 where samples alone say so, which prove nothing.
    """

    def __init__(self, message: str, least_error: float = 0.0) -> None:
        super().__init__(message)
        self.least_error = least_error


class ChainError(InputError):
    """A chain is malformed, not chainable, or does not match the matrix."""


class NonFiniteError(InputError):
    """The matrix holds a NaN or an infinity.

    Attributes
    ----------
    index : tuple of int
        Row and column of the first such entry of the tile in which it was found, in the matrix as stored.
    """

    def __init__(self, message: str, index: tuple[int, int]) -> None:
        super().__init__(message, index)  # all arguments: an error from a worker is unpickled with them
        self.index = index

    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def at(cls, name: str, index: tuple[int, int]) -> Self:
        """Error for an entry of the matrix that messages call ``name``."""
        return cls(f"{name} holds a NaN or an infinity at index {index}; mask or replace such entries first", index)


class RangeError(InputError):
    """Squares of entries of the matrix, or its norm, leave the range of the dtype.

    A factorization divides the matrix by a power of two, and begins again. Raised where norm or factors have no place
    in the dtype, or where a search meets entries that its sample has missed by far; of arrays in memory it misses none.

    Attributes
    ----------
    exponent : int
        Power of two by which the matrix might be divided.
    """

    def __init__(self, message: str, exponent: int) -> None:
        super().__init__(message, exponent)  # all arguments: an error from a worker is unpickled with them
        self.exponent = exponent

    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def of(cls, name: str, dtype: Any, exponent: int) -> Self:
        """Error for the matrix that messages call ``name``, whose squares leave the range of ``dtype``."""
        return cls(
            f"{name} has entries of which squares leave the range of {dtype}, also where it is scaled; convert it to a "
            "wider dtype, or scale its rows and columns by their size (weights=)",
            exponent,
        )


class NoSuchMatrixError(InputError, IndexError):
    """A stack has no matrix of this number or name. The message says which it has."""


class SingularFactorError(InputError):
    """A factor has no inverse. The message names the factor."""


class ConvergenceError(DButterflyError, RuntimeError):
    """Iterations do not reach their tolerance, or the matrix is not what they need. The message says what was met."""


class SourceError(InputError):
    """The matrix cannot be opened or read."""


class MissingChunksError(SourceError):
    """Chunks of the matrix are not in its storage, or nobody can tell, and the caller refuses that."""


# ---- memory, stores and runs


class MemoryBudgetError(DButterflyError, MemoryError):
    """The memory budget is too small for the job. The message gives the least one that works."""


class StoreError(DButterflyError):
    """The store of a run cannot be opened, written, or understood."""


class StoreBusyError(StoreError):
    """Another run that is alive works on the store."""


class StoreMismatchError(StoreError):
    """The store already holds the run of another matrix or of other settings. Nothing in it was changed."""


class CheckpointError(StoreError):
    """A piece that a run has stored is damaged or missing. It is not used.

    Attributes
    ----------
    name : str
        Array of the run's workspace.
    selection : tuple of slice
        Range of the array that is affected.
    """

    def __init__(self, message: str, name: str, selection: tuple[slice, ...]) -> None:
        super().__init__(message, name, selection)  # all arguments: an error from a worker is unpickled with them
        self.name, self.selection = name, selection

    def __str__(self) -> str:
        return str(self.args[0])


class ClusterError(DButterflyError, RuntimeError):
    """A cluster does not start, or its workers do not arrive. The message says what is known of the reason."""


class TaskError(DButterflyError, RuntimeError):
    """A task failed on a worker. The message names the task, and the cause is chained."""


# ---- warnings


class MissingChunksWarning(UserWarning):
    """Chunks of the matrix are not in its storage and read as its fill value.

    Zarr need not store a chunk that holds nothing but the fill value, so this may be right; or files were lost.
    """


class OrderingsWarning(UserWarning):
    """Orderings were to be identified and were not found. The certificate is that of the best that were met."""


class FitWarning(UserWarning):
    """A few blocks of the matrix, looked at before the work, promise nothing of it, or much more in other orderings."""


class ToleranceWarning(UserWarning):
    """A tolerance was not reached. The factorization is returned, and its certificate says what was reached."""


class FailedMatricesWarning(UserWarning):
    """Something is wrong with the entries of some matrices of a stack. The result has the others, and names these."""
