"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import typer

__all__ = [
    "AsJson",
    "ChainText",
    "ClusterOptions",
    "ClusterText",
    "ColPoints",
    "ColWeights",
    "DeviceMemory",
    "LogJson",
    "MatrixOf",
    "Memory",
    "Missing",
    "NoDecode",
    "OrderingsText",
    "Passes",
    "PeriodText",
    "Prove",
    "Quiet",
    "Rank",
    "ReportFile",
    "RowPoints",
    "RowWeights",
    "Shared",
    "Source",
    "Store",
    "Sweeps",
    "Target",
    "TlsText",
    "Tolerance",
    "TreeText",
    "Workers",
    "one_of",
]


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Completion of a value by the shell: the names that begin with what is there."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


Source: TypeAlias = Annotated[
    str, typer.Argument(help="The matrix, or stack of matrices: a Zarr array, its URL, or a .npy file.")
]
Shared: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--shared/--own",
        help="Of a stack: one chain for all matrices, or one for each; by default one where they are alike.",
    ),
]
Store: TypeAlias = Annotated[str, typer.Argument(help="The Zarr group of the factorization, local or a URL.")]
MatrixOf: TypeAlias = Annotated[
    str | None,
    typer.Option("--matrix", metavar="NUMBER", help="Of a stack: one of its matrices, by its number or its name."),
]
ChainText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--chain",
        autocompletion=one_of("chainable", "dyadic", "monarch"),
        help="dyadic, monarch, monarch:p,q, chainable (the default), patterns a,b,c,d;a,b,c,d;..., "
        "or a JSON list of fours.",
    ),
]
TreeText: TypeAlias = Annotated[
    str,
    typer.Option(
        "--tree",
        autocompletion=one_of("balanced", "left", "right"),
        help="balanced, left, right, or nested pairs such as [[0,1],[2,3]].",
    ),
]
Rank: TypeAlias = Annotated[int | None, typer.Option("--rank", help="Rank of the default chain, 1 if not given.")]
Target: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--tol",
        help="Relative error to reach: picks chain and rank, unless one of them is given. "
        "Exit with code 3 if the verified error is above it.",
    ),
]
Passes: TypeAlias = Annotated[
    int, typer.Option("--passes", help="Times that the matrix is read: 2 for an exact certificate.")
]
OrderingsText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--orderings",
        metavar="ROWS,COLS",
        autocompletion=one_of("none,bitreversal", "bitreversal,none", "auto", "identify"),
        help="Each none, bitreversal, identify, or a .npy file of indices; none,bitreversal for a Fourier matrix; auto "
        "takes the pair that fits best.",
    ),
]
RowPoints: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--row-points",
        metavar="PLACE",
        help="Coordinates of the points of the rows, in place of their ordering: a .npy file or a Zarr array.",
    ),
]
ColPoints: TypeAlias = Annotated[
    str | None, typer.Option("--col-points", metavar="PLACE", help="Coordinates of the points of the columns.")
]
PeriodText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--period",
        metavar="LENGTH,...",
        help="Length after which coordinates of points wrap: of all, such as 360, or of each, such as none,360.",
    ),
]
RowWeights: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--row-weights",
        metavar="PLACE",
        help="Weights of the rows, by which errors count: a .npy file or a Zarr array.",
    ),
]
ColWeights: TypeAlias = Annotated[
    str | None, typer.Option("--col-weights", metavar="PLACE", help="Weights of the columns.")
]
Memory: TypeAlias = Annotated[
    str | None, typer.Option("--memory", help="What a worker may hold, such as 2GiB; by default a share of its own.")
]
DeviceMemory: TypeAlias = Annotated[
    str | None, typer.Option("--device-memory", help="What it may hold of its GPU; by default 80 % of what is free.")
]
Missing: TypeAlias = Annotated[
    str,
    typer.Option(
        "--missing",
        autocompletion=one_of("fill", "error"),
        help="Chunks that are not in the store: fill (take the fill value, warn) or error.",
    ),
]
NoDecode: TypeAlias = Annotated[
    bool,
    typer.Option("--no-decode", help="Take numbers as stored, whatever scale_factor, _FillValue, ... say."),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option("--workers", help="Threads, by default as many as there are cores; or workers of the cluster."),
]
ClusterText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        autocompletion=one_of("threads", "local", "tcp://", "slurm", "pbs", "sge", "lsf", "kubernetes", "cuda"),
        help="Where to run: threads (the default), local (processes), the address of a Dask scheduler such as "
        "tcp://10.0.0.1:8786, slurm, pbs, sge, lsf, kubernetes, or cuda (one process for each GPU).",
    ),
]
ClusterOptions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster-option",
        metavar="KEY=VALUE",
        help="An option of the cluster, such as walltime=02:00:00, in place of what is configured; may be repeated. "
        "The command cluster shows what comes of them.",
    ),
]
TlsText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--tls", metavar="CA,CERT,KEY", help="Encrypt, with the credentials in these files, or with temporary ones."
    ),
]


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


Sweeps: TypeAlias = Annotated[
    Any,
    typer.Option(
        "--sweeps",
        metavar="COUNT",
        parser=_number_or_name,
        autocompletion=one_of("converged"),
        help="Sweeps over the factors of a matrix in memory, after the run: they lower the error. A number, or "
        "converged for as many as it takes.",
    ),
]
Prove: TypeAlias = Annotated[
    bool,
    typer.Option("--prove", help="Raise the lower bound afterwards, as the command prove does."),
]
Form: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--form",
        autocompletion=one_of("butterfly", "hierarchical", "auto"),
        help="butterfly, hierarchical (for kernels of points with themselves), or auto for the one with fewer values, "
        "which is the default where both sides have points and there is --tol.",
    ),
]
Eta: TypeAlias = Annotated[
    float | None,
    typer.Option("--eta", help="Hierarchical: diameter over distance up to which clusters are far apart."),
]
Leaf: TypeAlias = Annotated[
    int | None, typer.Option("--leaf", help="Hierarchical: most rows of a cluster that is not divided.")
]
Symmetric: TypeAlias = Annotated[
    bool,
    typer.Option("--symmetric", help="Hierarchical: the matrix is symmetric or Hermitian, so that one half is read."),
]
Tolerance: TypeAlias = Annotated[
    float | None, typer.Option("--tol", help="Exit with code 3 if the verified relative error is above this.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", help="Show nothing but results and errors.")]


LogJson: TypeAlias = Annotated[
    bool,
    typer.Option("--log-json", help="Log to stderr, one JSON object per line, in place of plan and progress bars."),
]

ReportFile: TypeAlias = Annotated[
    str | None, typer.Option("--report", metavar="FILE", help="Save an HTML page that shows plan, error and timeline.")
]
