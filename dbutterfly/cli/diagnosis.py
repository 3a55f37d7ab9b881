"""What this package finds on this machine: versions, cores, memory, libraries, devices, schedulers, extras.

Nothing here fails: what cannot be found out is said to be so.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import operator
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from threadpoolctl import threadpool_info

import dbutterfly as dbf

from ..errors import how_to_install
from ..execution.clusters.launched import memory_limit
from ..execution.thread_engine import ThreadEngine
from ..kernels.backend import cuda
from ..kernels.backend.cores import available_cores
from ..kernels.compilation import compiled_kernels, kept_dtypes

__all__ = ["EXTRAS", "PACKAGES", "diagnose"]

SECONDS_FOR_COMMAND = 10.0
"""Seconds within which a command says its version. Not tuned: it takes milliseconds, unless a network is asked."""

PACKAGES = (
    *("numpy", "scipy", "zarr", "zarrs", "numcodecs", "dask", "distributed", "array-api-compat", "threadpoolctl"),
    *("psutil", "xxhash", "google-crc32c", "typer", "rich", "numba", "obstore", "fsspec", "s3fs", "h5py", "xarray"),
    *("dask-jobqueue", "dask-kubernetes", "dask-cuda", "cryptography", "bokeh", "matplotlib", "lazylinop", "pylops"),
)
"""Packages whose versions tell how this one behaves."""

COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "slurm": [("sbatch", "--version"), ("sinfo", "--version"), ("squeue", "--version"), ("scancel", "--version")],
    "pbs and sge": [("qsub", "--version"), ("qdel", "--version")],
    "lsf": [("bsub", "-V"), ("bkill", "-V")],
    "kubernetes": [("kubectl", "version", "--client")],
}
"""Commands of resource managers, and what they are asked for their version."""


class Extra(NamedTuple):
    """Modules that an extra installs, and what they are good for."""

    modules: tuple[str, ...]
    gives: str


EXTRAS = {
    "gpu": Extra(("cupy",), "kernels on a CUDA device"),
    "cuda": Extra(("dask_cuda", "cupy"), "one worker for each GPU of this machine (--cluster cuda)"),
    "s3": Extra(("obstore",), "matrices and stores in object storage (s3://, gs://, az://)"),
    "jobqueue": Extra(("dask_jobqueue",), "workers in jobs (--cluster slurm, pbs, sge, lsf)"),
    "slurm": Extra(("dask_jobqueue",), "the same"),
    "kubernetes": Extra(("dask_kubernetes",), "workers in pods (--cluster kubernetes)"),
    "tls": Extra(("cryptography",), "temporary credentials (--tls temporary)"),
    "alternating": Extra(("k_means_constrained",), 'identify(method="alternating")'),
    "safetensors": Extra(("safetensors",), "weights of models in .safetensors files, as stacks"),
    "plot": Extra(("matplotlib",), ".plot() of chains, plans, factorizations and orderings"),
    "examples": Extra(("pygsp", "safetensors", "matplotlib"), "the scripts in examples/, and their plots"),
}
"""Extras of this package for users of it."""


def diagnose() -> dict[str, Any]:
    """Everything that this process can find out, as plain values."""
    return {
        "dbutterfly": _package(),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cores": {"usable": available_cores(), "machine": os.cpu_count()},
        "memory": _memory(),
        "blas": _blas(),
        "kernels": _kernels(),
        "gpu": _gpu(),
        "schedulers": {name: _commands(commands) for name, commands in COMMANDS.items()},
        "extras": {name: _extra(name, extra) for name, extra in EXTRAS.items()},
    }


def _version(package: str) -> str | None:
    """Version of an installed package; None of any other."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package() -> dict[str, Any]:
    return {
        "version": dbf.__version__,
        "installed": _version("dbutterfly"),
        "place": str(Path(dbf.__file__).parent),
    }


def _memory() -> dict[str, int]:
    machine, workers = psutil.virtual_memory(), available_cores()
    return {
        "machine": machine.total,
        "free": machine.available,
        "limit": memory_limit(),
        "of_a_thread": ThreadEngine(workers).budget(None, "numpy").memory,
    }


def _blas() -> list[dict[str, Any]]:
    """Libraries of linear algebra that NumPy and SciPy have loaded, and their threads outside of runs."""
    import scipy.linalg  # noqa: F401  # loads its own

    return [
        {key: found.get(key) for key in ("internal_api", "version", "num_threads", "threading_layer", "filepath")}
        for found in sorted(threadpool_info(), key=operator.itemgetter("filepath"))
        if found["user_api"] == "blas"
    ]


def _kernels() -> dict[str, Any]:
    """Whether products are compiled, and where the compiled loops are kept."""
    jit = compiled_kernels()
    if jit is None:
        return {"compiled": False, "reason": why_not_compiled(), "cache": None, "dtypes": []}
    try:
        cache = jit.cache_directory()
    except RuntimeError as error:
        return {"compiled": True, "reason": f"Numba can keep nothing: {error}", "cache": None, "dtypes": []}
    return {
        "compiled": True,
        "reason": None,
        "cache": cache,
        "dtypes": [np.dtype(char).name for char in kept_dtypes()],
    }


def why_not_compiled() -> str:
    """Why there are no compiled kernels."""
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed: pip install numba"
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return "NUMBA_DISABLE_JIT is set"
    return "Numba cannot be imported with this version of NumPy"


def _gpu() -> dict[str, Any]:
    """The device on which the kernels would run."""
    if not cuda.is_installed():
        return {"device": None, "reason": f"CuPy is not installed: {how_to_install('gpu')}"}
    try:
        if cuda.has_device():
            return {"device": cuda.describe_device(), "reason": None}
    except Exception as error:  # a library of CUDA that is missing, a driver that is too old
        return {"device": None, "reason": f"CuPy does not work: {type(error).__name__}: {error}"}
    return {"device": None, "reason": "CuPy finds no CUDA device"}


def _commands(commands: list[tuple[str, ...]]) -> dict[str, dict[str, Any]]:
    """Places and versions of commands; None of those that are not here."""
    return {command[0]: _command(*command) for command in commands}


def _command(name: str, *arguments: str) -> dict[str, Any]:
    place = shutil.which(name)
    if place is None:
        return {"place": None, "version": None, "reason": "not here"}
    try:
        done = subprocess.run(
            [place, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_FOR_COMMAND,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"place": place, "version": None, "reason": f"{type(error).__name__}: {error}"}
    said = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}").splitlines()
    if done.returncode:
        return {"place": place, "version": None, "reason": said[-1].removeprefix(f"{name}: ")}
    return {"place": place, "version": said[0], "reason": None}


def _extra(name: str, extra: Extra) -> dict[str, Any]:
    missing = [module for module in extra.modules if importlib.util.find_spec(module) is None]
    return {
        "installed": not missing,
        "missing": missing,
        "gives": extra.gives,
        "install": how_to_install(name) if missing else None,
    }
