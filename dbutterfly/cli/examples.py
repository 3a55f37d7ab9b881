"""Ends of the help texts: examples, which a test runs in this order where there is a vector ``x.npy``; exit codes."""

from __future__ import annotations

__all__ = ["EXAMPLES", "epilog"]

EXAMPLES = {
    "demo": ["dbutterfly demo --n 1024"],
    "generate": [
        "dbutterfly generate dft z.zarr --n 1024 --noise 0.01",
        "dbutterfly generate gaussian g.zarr --shape 96,360 --dtype float32",
        "dbutterfly generate orthogonal s.zarr --n 64 --noise 0.1",
    ],
    "advise": ["dbutterfly advise z.zarr", "dbutterfly advise z.zarr --tol 0.02 --read 16MiB --json"],
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
    "prove": [
        "dbutterfly prove run.zarr z.zarr",
        "dbutterfly prove g-run.zarr g.zarr --ratio 1.01 --budget 60 --json",
    ],
    "cluster": [
        "dbutterfly cluster local --workers 2 --check",
        "dbutterfly cluster kubernetes --workers 8 --cluster-option claim=matrices",
    ],
    "compile": ["dbutterfly compile --dtype complex128", "dbutterfly compile --dtype float32 --json"],
    "doctor": ["dbutterfly doctor", "dbutterfly doctor --json"],
    "info": ["dbutterfly info run.zarr", "dbutterfly info g-run.zarr --json"],
    "report": ["dbutterfly report run.zarr run.html"],
}
"""Command lines that show the use of each command."""


ABOVE = {
    "advise": "3 no butterfly of these orderings fits",
    "factorize": "3 the verified error is above --tol",
    "identify": "3 no orderings were found that hold up",
    "verify": "3 the error is above --tol or matrices have no factors",
    "doctor": "3 versions on the cluster differ",
}
"""When commands end with exit code 3; the others never do."""

ENVIRONMENT = (
    "Environment: DBUTTERFLY_DEBUG=1 shows the traceback of an error; DBUTTERFLY_STORAGE_TIMEOUT is the number of "
    "seconds after which object storage that does not answer is given up; DASK_DBUTTERFLY__CLUSTER=local, and "
    "the like, are options of clusters; NUMBA_CACHE_DIR is where compiled kernels are kept."
)
"""Variables of the environment that the program heeds, beside those of Dask, of object storage and of BLAS."""


def epilog(*commands: str) -> str:
    r"""End of a help text: examples and exit codes of one command, or of the program with an example of several.

    The line ``\b`` keeps the paragraph after it from being wrapped.
    """
    is_program = len(commands) > 1
    lines = [EXAMPLES[command][0] for command in commands] if is_program else EXAMPLES[commands[0]]
    above = "3 the result is not good enough, as its command says" if is_program else ABOVE.get(commands[0])
    codes = ["0 done", "1 failed or interrupted", "2 wrong use or bad input", *filter(None, [above])]
    examples = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
    paragraphs = [examples, f"Exit codes: {', '.join(codes)}.", *([ENVIRONMENT] if is_program else [])]
    return "\n\n".join(paragraphs)
