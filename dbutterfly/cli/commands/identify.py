"""The command ``identify``."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

import dbutterfly as dbf

from ...identification.result import IdentifiedOrderings
from ...sources.dispatch import as_source
from ...sources.places_read import places_read
from ...storage.destinations import check_apart, file_place
from ...storage.local_paths import local_path
from ..exit_codes import ABOVE_TOLERANCE
from ..options import (
    AsJson,
    ChainText,
    ClusterOptions,
    ClusterText,
    ColWeights,
    Memory,
    NoDecode,
    Quiet,
    Rank,
    RowWeights,
    Source,
    TlsText,
    Workers,
    one_of,
)
from ..printing import print_json, print_lines
from ..values import (
    absolute_place,
    check_array_file,
    load_weights,
    open_cluster,
    parse_chain,
    parse_levels,
    parse_orderings,
    save_array,
)

__all__ = ["identification_lines", "identify"]


def identify(
    source: Source,
    rows: Annotated[str, typer.Argument(help="The .npy file for the row ordering.")],
    cols: Annotated[str, typer.Argument(help="The .npy file for the column ordering.")],
    chain: ChainText = None,
    rank: Rank = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            autocompletion=one_of("portfolio", "middle", "pairing", "bisection", "alternating"),
            help="portfolio, middle, pairing, bisection, or the paper's alternating.",
        ),
    ] = "portfolio",
    levels: Annotated[
        str | None, typer.Option("--levels", help="Cuts of the chain that count, such as 5 or 4,5,6; by default all.")
    ] = None,
    orderings: Annotated[
        str, typer.Option("--orderings", metavar="ROWS,COLS", help="What is known, the other side being identify.")
    ] = "identify",
    row_weights: RowWeights = None,
    col_weights: ColWeights = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random choices.")] = 0,
    budget: Annotated[float | None, typer.Option("--budget", help="Seconds after which the search ends.")] = None,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    no_decode: NoDecode = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace .npy files that are there.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find orderings in which a matrix is butterfly.

    Those of rows and columns are written as files that --orderings of the other commands takes. Exit with code 3 if
    none were found that hold up beside the noise; the best are written all the same. A file of a side that is known
    stays as it is.
    """
    matrix, known = as_source(absolute_place(source), decode=not no_decode), parse_orderings(orderings)
    read = places_read(matrix)
    check_apart(file_place(local_path(cols)), [file_place(local_path(rows))], "cols")
    files = [
        (file, name)
        for file, name, side in zip((rows, cols), ("rows", "cols"), known or (None, None), strict=True)
        if not _is_file_of(file, side)
    ]
    for file, _ in files:
        check_array_file(file, read, overwrite=overwrite)
    with open_cluster(cluster, cluster_option, tls, workers) as where:
        found = dbf.identify(
            matrix,
            parse_chain(chain, matrix.shape),
            method=method,
            levels=None if levels is None else parse_levels(levels),
            orderings=known,
            weights=load_weights(row_weights, col_weights),
            rank=1 if rank is None else rank,
            cluster=where,
            memory=memory,
            seed=seed,
            budget=budget,
            progress=not quiet,
        )
    for file, name in files:
        save_array(file, getattr(found, name), read, overwrite=overwrite)
    if as_json:
        print_json({"rows": rows, "cols": cols, "residual": found.residual, **found.to_json()})
    else:
        print_lines(identification_lines(found))
    if not found.found:
        raise typer.Exit(ABOVE_TOLERANCE)


def _is_file_of(file: str, side: Any) -> bool:
    """Whether a side is known from this very file, which stays as it is."""
    path = getattr(side, "filename", None)
    return path is not None and os.path.exists(file) and os.path.samefile(file, path)


def identification_lines(found: IdentifiedOrderings) -> list[tuple[str, str]]:
    """Names and texts that describe orderings that were found."""
    lines = [("orderings", str(found))]
    for level, residual, floor in zip(found.levels, found.residuals, found.floors, strict=True):
        lines.append((f"cut {level}", f"residual {residual:.4g}, {floor:.4g} if the noise were all"))
    return lines
