"""The command ``apply``."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

import dbutterfly as dbf

from ...errors import InputError
from ...execution.arguments import read_named
from ...factorization.results.opening import load_operator
from ...storage.destinations import check_apart, place_of
from ..options import AsJson, ClusterOptions, ClusterText, MatrixOf, Memory, NoDecode, Quiet, TlsText, Workers
from ..printing import print_json, print_lines
from ..stored import open_one
from ..values import absolute_place, check_array_file, load_array, open_cluster, save_array

__all__ = ["apply"]


def apply(
    store: Annotated[str, typer.Argument(help="The factorization or saved operator: a Zarr group, its URL, or .npz.")],
    x: Annotated[str, typer.Argument(help="Vector or matrix: a .npy file or a Zarr array.")],
    y: Annotated[str, typer.Argument(help="The product: a new Zarr array if it ends with .zarr, else a .npy file.")],
    transpose: Annotated[bool, typer.Option("--transpose", help="Multiply by the transpose.")] = False,
    adjoint: Annotated[bool, typer.Option("--adjoint", help="Multiply by the conjugate transpose.")] = False,
    matrix: MatrixOf = None,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    no_decode: NoDecode = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an array that is there.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Multiply a vector or a matrix by a factorization.

    A product that goes to a Zarr array is computed by blocks of columns that fit --memory, on threads or a cluster. A
    .npy file is computed in memory. A stack of K matrices takes a vector for each, of shape (K, N), or columns, (K, N,
    columns).
    """
    if transpose and adjoint:
        raise InputError("--transpose and --adjoint exclude each other")
    read_named(memory=memory, workers=workers)
    read = [place for place in (place_of(absolute_place(store)), place_of(absolute_place(x))) if place is not None]
    if y.rstrip("/").endswith(".zarr"):
        check_apart(absolute_place(y), read, "product")
    else:
        check_array_file(y, read, overwrite=overwrite)
    place = absolute_place(store)
    stored = load_operator(place) if matrix is None else open_one(place, matrix).operator
    operator = stored.T if transpose else stored.H if adjoint else stored
    started = time.perf_counter()
    if y.rstrip("/").endswith(".zarr"):
        with open_cluster(cluster, cluster_option, tls, workers) as where:
            done = dbf.stream_product(
                operator,
                absolute_place(x),
                absolute_place(y),
                cluster=where,
                memory=memory,
                overwrite=overwrite,
                decode=not no_decode,
                progress=not quiet,
            )
        blocks = "matrices" if isinstance(operator, dbf.StackedOperator) else f"{done.columns} columns"
        shape, dtype, how = done.shape, done.dtype, f" by blocks of {blocks}"
    else:
        product = _product_in_memory(operator, x, decode=not no_decode)
        save_array(y, product, read, overwrite=overwrite)
        shape, dtype, how = product.shape, product.dtype, ""
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"y": y, "shape": list(shape), "dtype": dtype.name, "seconds": seconds})
    else:
        print_lines([("product", f"{' x '.join(map(str, shape))} {dtype.name} in {y}, in {seconds:.3g} s{how}")])


def _product_in_memory(
    operator: dbf.ButterflyOperator | dbf.HierarchicalOperator | dbf.StackedOperator, x: str, *, decode: bool
) -> Any:
    """Product with the array in a file or a store, computed in memory."""
    right = load_array(x, decode=decode)
    if isinstance(operator, dbf.StackedOperator):
        return operator @ right
    if right.ndim not in (1, 2) or right.shape[0] != operator.shape[1]:
        rows, cols = operator.shape
        raise InputError(f"{x} has shape {right.shape}; a {rows} x {cols} operator takes {cols} rows")
    return operator @ right
