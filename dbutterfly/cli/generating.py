"""The commands that make a matrix: one to try things on, and the demonstration."""

from __future__ import annotations

import contextlib
import enum
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import dbutterfly as dbf

from ..demo import demonstrate
from ..errors import InputError
from ..matrices import KnownMatrix
from .options import AsJson, Quiet
from .printing import print_json, print_lines
from .values import parse_pair

__all__ = ["Kind", "demo", "generate"]


class Kind(enum.StrEnum):
    """Matrices that can be generated."""

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


# Kinds that draw random numbers take a seed.
_MAKERS: dict[Kind, Callable[..., KnownMatrix]] = {
    Kind.DFT: dbf.matrices.dft,
    Kind.HADAMARD: dbf.matrices.hadamard,
    Kind.DCT2: dbf.matrices.dct2,
    Kind.HELMHOLTZ: dbf.matrices.helmholtz,
    Kind.FOURIER_INTEGRAL: dbf.matrices.fourier_integral,
    Kind.HANKEL: dbf.matrices.hankel,
    Kind.LEGENDRE: dbf.matrices.legendre,
    Kind.CAUCHY: dbf.matrices.cauchy,
}
_RANDOM_MAKERS: dict[Kind, Callable[..., KnownMatrix]] = {
    Kind.ORTHOGONAL: dbf.matrices.orthogonal_butterfly,
    Kind.GAUSSIAN: dbf.matrices.gaussian_butterfly,
    Kind.NUDFT: dbf.matrices.nudft,
}


def demo(
    n: Annotated[int, typer.Option("--n", help="Size of the Fourier matrix.")] = 4096,
    noise: Annotated[float, typer.Option(help="Relative size of the noise.")] = 0.01,
    directory: Annotated[
        str | None, typer.Option(help="Where to keep matrix and factors; by default they are removed afterwards.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show it all on a noisy Fourier matrix.

    It is written to disk, planned, factorized and verified; then its product is raced against the dense one.
    """
    place = (
        tempfile.TemporaryDirectory(prefix="dbutterfly-") if directory is None else contextlib.nullcontext(directory)
    )
    with place as path:
        values: dict[str, Any] = {}
        for step in demonstrate(n, noise, Path(path), progress=not quiet):
            values |= step.values
            if not as_json:
                print(step.text, flush=True)
    if as_json:
        print_json(values)


def generate(
    kind: Annotated[Kind, typer.Argument(help="Which matrix.")],
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
    matrix = _made(kind, _checked_size(kind, n, shape), {} if dtype is None else {"dtype": dtype}, rng)
    matrix = dbf.matrices.noisy(matrix, noise, seed=rng) if noise else matrix
    matrix = dbf.matrices.shuffled(matrix, seed=rng) if shuffle else matrix
    array = dbf.matrices.write(matrix, store, chunks=sides, overwrite=overwrite, progress=not quiet)
    if as_json:
        print_json({"store": store, "chunks": list(array.chunks), **_known_json(matrix)})
    else:
        print_lines(_known_lines(matrix, store, array.chunks))


def _checked_size(kind: Kind, n: int | None, shape: str | None) -> int | tuple[int, int]:
    if (n is None) == (shape is None):
        raise InputError("give the size as --n N, or the shape of a gaussian matrix as --shape R,C")
    if n is not None:
        return n
    assert shape is not None
    if kind is not Kind.GAUSSIAN:
        raise InputError(f"--shape {shape}: {kind} matrices are square; give their size as --n N")
    return parse_pair(shape, "shape")


def _made(kind: Kind, size: Any, dtype: dict[str, str], rng: np.random.Generator) -> KnownMatrix:
    if kind in _RANDOM_MAKERS:
        return _RANDOM_MAKERS[kind](size, seed=rng, **dtype)
    return _MAKERS[kind](size, **dtype)


def _known_lines(matrix: KnownMatrix, store: str, chunks: tuple[int, ...]) -> list[tuple[str, str]]:
    rows, cols = matrix.shape
    structure = "none of rank one" if matrix.chain is None else " ".join(map(repr, matrix.chain))
    return [
        ("matrix", f"{rows} x {cols} {matrix.dtype.name}, {matrix.f!r}"),
        ("store", f"{store}, chunks of {chunks[0]} x {chunks[1]}"),
        ("chain", structure),
        ("orderings", matrix.orderings.describe()),
        *([("rank", f"{matrix.rank} at tol={matrix.tol:g}")] if matrix.tol else []),
    ]


def _known_json(matrix: KnownMatrix) -> dict[str, Any]:
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
