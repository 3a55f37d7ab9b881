"""The command ``advise``."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

import dbutterfly as dbf

from ...factorization.advice.text import format_advice
from ...sources.dispatch import as_source
from ..exit_codes import ABOVE_TOLERANCE
from ..options import (
    AsJson,
    ColPoints,
    ColWeights,
    NoDecode,
    PeriodText,
    RowPoints,
    RowWeights,
    Source,
    Workers,
)
from ..printing import print_json
from ..streams import show
from ..values import absolute_place, load_weights, parse_points

__all__ = ["advise"]


def advise(
    source: Source,
    tol: Annotated[float | None, typer.Option("--tol", help="Relative error to reach with few values.")] = None,
    row_points: RowPoints = None,
    col_points: ColPoints = None,
    period: PeriodText = None,
    row_weights: RowWeights = None,
    col_weights: ColWeights = None,
    read: Annotated[
        str, typer.Option("--read", help="Bytes of the matrix that may be read, in whole chunks.")
    ] = "64MiB",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choice of blocks.")] = 0,
    workers: Workers = None,
    no_decode: NoDecode = False,
    as_json: AsJson = False,
) -> None:
    """Say which orderings and rank fit a matrix, if any.

    Some blocks are read, for seconds. Exit with code 3 if no butterfly fits: before hours of work for nothing.
    """
    matrix = as_source(absolute_place(source), decode=not no_decode)
    given, weights = parse_points(row_points, col_points, period), load_weights(row_weights, col_weights)
    found = dbf.advise(matrix, points=given, weights=weights, tol=tol, read=read, seed=seed, workers=workers)
    options = {"--row-weights": row_weights, "--col-weights": col_weights}
    if "points" in found.arguments():
        points = zip(("--row-points", "--col-points"), (row_points, col_points), strict=True)
        used = found.arguments()["points"].sides.values()
        options |= {name: place for (name, place), side in zip(points, used, strict=True) if side is not None}
        options["--period"] = period
    command = _command(source, found, options)
    if as_json:
        print_json({**found.to_json(), "command": command})
    else:
        show(format_advice(found, command))
    if found.verdict.is_useless:
        raise typer.Exit(ABOVE_TOLERANCE)


def _command(source: str, found: dbf.Advice, options: dict[str, str | None]) -> str:
    """Command that does what the best row says."""
    arguments = found.arguments()
    words = ["dbutterfly", "factorize", source, "run.zarr"]
    if "orderings" in arguments:
        words += ["--orderings", ",".join("none" if side is None else side for side in arguments["orderings"])]
    words += [word for name, text in options.items() if text is not None for word in (name, text)]
    words += [word for name in ("rank", "tol") if name in arguments for word in (f"--{name}", f"{arguments[name]:g}")]
    if "chain" in arguments:
        words += ["--chain", _chain_text(arguments["chain"])]
    return shlex.join(words)


def _chain_text(chain: Any) -> str:
    return ";".join(",".join(map(str, pattern)) for pattern in chain)
