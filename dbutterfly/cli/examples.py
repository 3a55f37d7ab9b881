"""Examples in the help texts. A test runs all of them in this order, in a directory that holds a vector ``x.npy``."""

from __future__ import annotations

__all__ = ["EXAMPLES", "epilog"]

EXAMPLES = {
    "demo": ["dbutterfly demo --n 1024"],
    "generate": [
        "dbutterfly generate dft z.zarr --n 1024 --noise 0.01",
        "dbutterfly generate gaussian g.zarr --shape 96,360 --dtype float32",
        "dbutterfly generate orthogonal s.zarr --n 64 --noise 0.1",
    ],
    "plan": [
        "dbutterfly plan z.zarr --orderings none,bitreversal --memory 64MiB --read-bandwidth 500MB/s",
        "dbutterfly plan g.zarr --chain monarch:8,12 --json",
        "dbutterfly plan z.zarr --cluster local --workers 1 --cluster-option memory=2GiB",
    ],
    "factorize": [
        "dbutterfly factorize z.zarr run.zarr --orderings none,bitreversal --passes 2 --tol 0.02",
        "dbutterfly factorize g.zarr g-run.zarr --chain '1,8,12,12;12,12,30,1' --json",
    ],
    "identify": [
        "dbutterfly identify s.zarr rows.npy cols.npy",
        "dbutterfly identify s.zarr rows.npy cols.npy --levels 3 --json --overwrite",
    ],
    "apply": [
        "dbutterfly apply run.zarr x.npy y.npy",
        "dbutterfly apply run.zarr y.npy back.npy --adjoint",
        "dbutterfly apply run.zarr z.zarr product.zarr --adjoint --memory 64MiB --workers 2",
    ],
    "verify": [
        "dbutterfly verify run.zarr z.zarr --tol 0.02",
        "dbutterfly verify run.zarr z.zarr --samples 100",
    ],
    "cluster": [
        "dbutterfly cluster local --workers 2 --check",
        "dbutterfly cluster kubernetes --workers 8 --cluster-option claim=matrices",
    ],
    "doctor": ["dbutterfly doctor", "dbutterfly doctor --json"],
    "info": ["dbutterfly info run.zarr", "dbutterfly info g-run.zarr --json"],
    "report": ["dbutterfly report run.zarr run.html"],
}
"""Command lines that show the use of each command."""


def epilog(*commands: str) -> str:
    r"""Examples at the end of a help text: all of one command, or the first of each of several.

    The first line, ``\b``, keeps the paragraph from being wrapped.
    """
    lines = EXAMPLES[commands[0]] if len(commands) == 1 else [EXAMPLES[command][0] for command in commands]
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
