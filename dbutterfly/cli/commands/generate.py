"""The command ``generate``."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer

import dbutterfly as dbf

from ...errors import InputError
from ...matrices import KnownMatrix
from ..options import AsJson, Quiet
from ..printing import print_json, print_lines
from ..values import parse_pair

__all__ = ["KnownName", "generate"]


class KnownName(enum.StrEnum):
    """Names of the matrices that can be generated."""

    DFT = "dft"
    HADAMARD = "hadamard"
    DCT2 = "dct2"
    ORTHOGONAL = "orthogonal"
    GAUSSIAN = "gaussian"
    HELMHOLTZ = "helmholtz"
    NUDFT = "nudft"
    FOURIER_INTEGRAL = "fourier-integral"
    HANKEL = "hankel"
    LEGENDRE = "legendre"
    CAUCHY = "cauchy"
    COVARIANCE = "covariance"
    LAPLACE = "laplace"
    GRAPH_KERNEL = "graph-kernel"


_MAKERS: dict[KnownName, Callable[..., KnownMatrix]] = {
    KnownName.DFT: dbf.matrices.dft,
    KnownName.HADAMARD: dbf.matrices.hadamard,
    KnownName.DCT2: dbf.matrices.dct2,
    KnownName.HELMHOLTZ: dbf.matrices.helmholtz,
    KnownName.FOURIER_INTEGRAL: dbf.matrices.fourier_integral,
    KnownName.HANKEL: dbf.matrices.hankel,
    KnownName.LEGENDRE: dbf.matrices.legendre,
    KnownName.CAUCHY: dbf.matrices.cauchy,
    KnownName.LAPLACE: dbf.matrices.laplace,
    KnownName.GRAPH_KERNEL: dbf.matrices.graph_kernel,
}
# These draw random numbers, and take a seed.
_RANDOM_MAKERS: dict[KnownName, Callable[..., KnownMatrix]] = {
    KnownName.ORTHOGONAL: dbf.matrices.orthogonal_butterfly,
    KnownName.GAUSSIAN: dbf.matrices.gaussian_butterfly,
    KnownName.NUDFT: dbf.matrices.nudft,
    KnownName.COVARIANCE: dbf.matrices.covariance,
}


def generate(
    kind: Annotated[KnownName, typer.Argument(help="Which matrix.")],
    store: Annotated[str, typer.Argument(help="Where the Zarr array is created, a path or a URL.")],
    n: Annotated[int | None, typer.Option("--n", help="Rows and columns.")] = None,
    shape: Annotated[str | None, typer.Option(metavar="R,C", help="Instead of --n, for gaussian.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float64, complex64 or complex128.")] = None,
    noise: Annotated[float, typer.Option(help="Relative size of Gaussian noise.")] = 0.0,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Permute rows and columns at random.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is random.")] = 0,
    chunks: Annotated[str | None, typer.Option(metavar="R,C", help="Shape of a chunk.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an array or group that is there.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a known matrix into a new Zarr array.

    It is written chunk by chunk, so it may be larger than memory.
    """
    sides = None if chunks is None else parse_pair(chunks, "chunks")
    rng = np.random.default_rng(seed)
    matrix = _make(kind, _parse_size(kind, n, shape), {} if dtype is None else {"dtype": dtype}, rng)
    matrix = dbf.matrices.noisy(matrix, noise, seed=rng) if noise else matrix
    matrix = dbf.matrices.shuffled(matrix, seed=rng) if shuffle else matrix
    array = dbf.matrices.write(matrix, store, chunks=sides, overwrite=overwrite, progress=not quiet)
    if as_json:
        print_json({"store": store, "chunks": list(array.chunks), **_matrix_json(matrix)})
    else:
        print_lines(_matrix_lines(matrix, store, array.chunks))


def _parse_size(kind: KnownName, n: int | None, shape: str | None) -> int | tuple[int, int]:
    if (n is None) == (shape is None):
        raise InputError("give the size as --n N, or the shape of a gaussian matrix as --shape R,C")
    if n is not None:
        return n
    assert shape is not None
    if kind is not KnownName.GAUSSIAN:
        raise InputError(f"--shape {shape}: {kind} matrices are square; give their size as --n N")
    return parse_pair(shape, "shape")


def _make(kind: KnownName, size: Any, dtype: dict[str, str], rng: np.random.Generator) -> KnownMatrix:
    if kind in _RANDOM_MAKERS:
        return _RANDOM_MAKERS[kind](size, seed=rng, **dtype)
    return _MAKERS[kind](size, **dtype)


def _matrix_lines(matrix: KnownMatrix, store: str, chunks: tuple[int, ...]) -> list[tuple[str, str]]:
    rows, cols = matrix.shape
    structure = "none of rank one" if matrix.chain is None else " ".join(map(repr, matrix.chain))
    return [
        ("matrix", f"{rows} x {cols} {matrix.dtype.name}, {matrix.f!r}"),
        ("store", f"{store}, chunks of {chunks[0]} x {chunks[1]}"),
        ("chain", structure),
        ("orderings", matrix.orderings.describe()),
        *([("rank", f"{matrix.rank} at tol={matrix.tol:g}")] if matrix.tol else []),
    ]


def _matrix_json(matrix: KnownMatrix) -> dict[str, Any]:
    return {
        "matrix": repr(matrix.f),
        "shape": list(matrix.shape),
        "dtype": matrix.dtype.name,
        "norm": matrix.norm,
        "chain": None if matrix.chain is None else [list(pattern) for pattern in matrix.chain],
        "orderings": matrix.orderings.describe(),
        "rank": matrix.rank,
        "tol": matrix.tol,
    }
