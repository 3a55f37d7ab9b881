"""Things that are handed over as a matrix and are none: what each of them is, and what to pass instead."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError

__all__ = ["MAGIC_NPY", "refuse_file", "refuse_thing"]

MAGIC_NPY = b"\x93NUMPY"
"""First bytes of a ``.npy`` file."""

_FORMATS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file",
     "dask.array.from_array(h5py.File(path)[name]), or xarray.open_dataset(path)[name]"),
    (b"CDF", "a netCDF file", "xarray.open_dataset(path)[name]"),
    (b"PK\x03\x04", "a zip archive without a Zarr array", "numpy.load(path)[name] if it is an .npz file"),
    (b"PAR1", "a Parquet file", "pandas.read_parquet(path)"),
    (b"MATLAB", "a MATLAB file", "scipy.io.loadmat(path)[name]"),
    (b"II*\x00", "a TIFF image", "tifffile.imread(path)"),
    (b"MM\x00*", "a TIFF image", "tifffile.imread(path)"),
    (b"\x80", "a pickle", "what was pickled"),
)  # fmt: skip
"""First bytes of files, what they are, and what to pass in their place."""

_SUFFIXES = {
    ".csv": "numpy.loadtxt(path, delimiter=',')",
    ".tsv": "numpy.loadtxt(path, delimiter='\\t')",
    ".txt": "numpy.loadtxt(path)",
    ".dat": "numpy.fromfile(path, dtype).reshape(shape), or numpy.memmap",
    ".bin": "numpy.fromfile(path, dtype).reshape(shape), or numpy.memmap",
    ".mtx": "scipy.io.mmread(path)",
}
"""What to pass in place of files that their first bytes do not tell."""

_Rule = tuple[Callable[[Any], bool], str, str]

_RULES: tuple[_Rule, ...] = (
    (lambda x: x is None, "None", "pass an array, or the path of one"),
    (lambda x: isinstance(x, type), "a class", "pass an array"),
    (lambda x: _is_of(x, "dask", "Delayed"), "a Dask Delayed", "pass dask.array.from_delayed(source, shape, dtype)"),
    (lambda x: _is_of(x, "dask", "Bag"), "a Dask Bag", "pass dask.array.from_delayed of its parts"),
    (lambda x: _is_of(x, ("dask", "dask_expr"), "DataFrame") and hasattr(x, "to_dask_array"),
     "a Dask DataFrame", "pass source.to_dask_array(lengths=True)"),
    (lambda x: hasattr(x, "result") and hasattr(x, "done"), "a future", "pass source.result()"),
    (inspect.iscoroutine, "a coroutine", "pass what awaiting it gives"),
    (lambda x: _is_of(x, "sparse", "SparseArray"), "a sparse array", "pass source.todense()"),
    (lambda x: _is_of(x, "zarr", "AsyncGroup"), "an asynchronous Zarr group", "pass zarr.Group(source)[name]"),
    (lambda x: _is_of(x, "h5py", ("File", "Group")), "an HDF5 group",
     "name one of its data sets, as in dask.array.from_array(source[name])"),
    (lambda x: _is_of(x, "dbutterfly", "Factorization"), "a Factorization", "pass source.operator"),
    (lambda x: _is_of(x, "dbutterfly", ("Chain", "Plan", "Orderings", "Certificate")), "no matrix but a part of a job",
     "pass the matrix first"),
    (lambda x: isinstance(x, (str, bytes, bytearray)), "bytes",
     "pass a path as text, or numpy.frombuffer(source, dtype)"),
    (lambda x: isinstance(x, io.IOBase), "an open file", "pass its path"),
    (lambda x: isinstance(x, Iterator) and not hasattr(x, "__array__"), "an iterator",
     "pass numpy.array(list(source))"),
    (lambda x: isinstance(x, Mapping), "a mapping", "pass one of its values, as in source[name]"),
    (lambda x: isinstance(x, Set), "a set", "pass an array"),
    (lambda x: callable(x) and not hasattr(x, "__array__") and not hasattr(x, "shape"), "a function",
     "pass dbutterfly.entries(source, shape, dtype)"),
    (lambda x: isinstance(x, (bool, int, float, complex, np.generic)), "a number", "pass a matrix"),
)  # fmt: skip
"""Whether something is of a kind, the name of the kind, and what to do; the first that fits counts."""


def refuse_thing(source: Any) -> None:
    """Refuse what is no array, and of which NumPy or SciPy would make something.

    Raises
    ------
    SourceError
        If it is of a kind that is known; the message names it and what to pass instead.
    """
    for is_one, kind, remedy in _RULES:
        if is_one(source):
            named = "" if source is None else f" ({type(source).__module__}.{type(source).__qualname__})"
            raise SourceError(f"source is {kind}{named}, whose array has 0 dimensions; a matrix has two: {remedy}")


def refuse_file(path: Path) -> None:
    """Refuse a file that is neither a ``.npy`` file nor a Zarr store.

    Raises
    ------
    SourceError
        Always; the message says what the file seems to be and what to pass instead.
    """
    with path.open("rb") as file:
        start = file.read(16)
    kind, remedy = "no file of a known format", _SUFFIXES.get(path.suffix.lower(), "an array, or save it by numpy.save")
    if not start:
        kind, remedy = "empty (0 bytes)", "a file that was written to its end"
    for magic, name, instead in _FORMATS:
        if start.startswith(magic):
            kind, remedy = name, instead
            break
    remedy = remedy.replace("path", repr(path.name))
    raise SourceError(f"source={str(path)!r} cannot be opened as a Zarr array: it is {kind}; pass {remedy}")


def _is_of(source: Any, packages: str | tuple[str, ...], names: str | tuple[str, ...]) -> bool:
    """Whether something is of a class of this name from a package, which is not imported for it."""
    packages, names = ((given,) if isinstance(given, str) else given for given in (packages, names))
    return any(
        kind.__module__.partition(".")[0] in packages and kind.__name__ in names for kind in type(source).__mro__
    )
