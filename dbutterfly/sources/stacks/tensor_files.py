"""Files of tensors in the format safetensors, as weights of models are stored: their matrices as stacks.

The package of the same name reads them: it is 1.4 MB, needs nothing else, and maps the file, so that a range of a
matrix costs what it holds.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError, how_to_install
from ...storage.local_paths import local_path
from ..base import MatrixSource
from ..stamps import Stamps, stamp_path
from .base import ListedStack

__all__ = ["SUFFIX", "open_tensor_file"]

SUFFIX = ".safetensors"
"""How the names of such files end."""

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "C64": "complex64", "BOOL": "bool",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
}  # fmt: skip
"""Dtypes of NumPy, by their names in the format."""


class _TensorFile:
    """A file, opened in each process when it is first read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return _TensorFile, (self.path,)

    @cached_property
    def handle(self) -> Any:
        """The open file."""
        try:
            from safetensors import safe_open
        except ImportError as error:
            raise SourceError(
                f"source={self.path!r} needs the package safetensors; install it with: {how_to_install('safetensors')}"
            ) from error
        try:
            return safe_open(self.path, framework="np")
        except Exception as error:
            raise SourceError(
                f"source={self.path!r} is no readable .safetensors file: {type(error).__name__}: {error}"
            ) from error


class TensorSource(MatrixSource):
    """One matrix of a file of tensors."""

    def __init__(self, file: _TensorFile, key: str) -> None:
        self._file, self._key = file, key
        tensor = file.handle.get_slice(key)
        rows, cols = tensor.get_shape()
        self.shape, self.dtype = (rows, cols), np.dtype(DTYPES[tensor.get_dtype()])
        self.name = f"tensor {key} of {file.path}"
        self._whole = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorSource, (self._file, self._key)

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns."""
        rows, cols = (slice(*side.indices(size)[:2]) for side, size in zip((rows, cols), self.shape, strict=True))
        return np.asarray(self._whole[rows.start : rows.stop, cols.start : cols.stop])

    def stamps(self) -> Stamps:
        """Stamp of the file."""
        rows, cols = self.shape
        stamp = np.array([[stamp_path(self._file.path)]], np.uint64)
        return Stamps(f"files/tensor {self._key}", stamp, (np.array([0, rows]), np.array([0, cols])))


def open_tensor_file(path: str) -> ListedStack:
    """Open the matrices of a file, by their names in alphabetical order.

    Parameters
    ----------
    path : str
        The file. Tensors of other than two axes, and of dtypes that NumPy lacks, are named and left.

    Raises
    ------
    SourceError
        If it cannot be read, the package safetensors is missing, or it has no matrix.
    """
    file = _TensorFile(local_path(path, "source"))
    if not os.path.isfile(file.path):
        raise SourceError(f"source={path!r} does not exist; give a .safetensors file")
    names, left = [], []
    for key in sorted(file.handle.keys()):
        tensor = file.handle.get_slice(key)
        shape, dtype = tuple(tensor.get_shape()), tensor.get_dtype()
        if len(shape) == 2 and 0 not in shape and dtype in DTYPES:
            names.append(key)
        else:
            left.append(f"{key} {' x '.join(map(str, shape)) or 'scalar'} {dtype}")
    if not names:
        listed = ", ".join(left[:8]) or "none"
        raise SourceError(f"source={path!r} has no matrix of a dtype that NumPy knows; it has {listed}")
    return ListedStack([TensorSource(file, key) for key in names], f"file {path}", names, left)
