"""What all benchmarks share: the machine they ran on, samples, fresh processes, and one JSON file per benchmark."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dbutterfly
from dbutterfly.execution import resident_memory

for _name in dbutterfly.__all__:  # imports that come with the first use are no part of what is measured
    getattr(dbutterfly, _name)

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions of what is measured."""
    cpu = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    versions = {}
    for name in (
        "dbutterfly",
        "numpy",
        "scipy",
        "zarr",
        "zarrs",
        "dask",
        "distributed",
        "numba",
        "lazylinop",
        "pyfaust",
    ):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def sample(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Wall times of several functions, taken in turn so that a drifting machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - started)
    return times


def ratios(over: list[float], under: list[float]) -> float:
    """Median of the ratios of samples taken side by side."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


class PeakMemory:
    """Bytes that this process came to hold beyond what it held at the start (Linux: the high-water mark is reset)."""

    def __init__(self) -> None:
        resident_memory.reset_peak()
        self._before = resident_memory.size()

    def beyond(self) -> int:
        """Peak since the start, less the size at the start."""
        return resident_memory.peak() - self._before


def in_process(module: str, *arguments: str, threads: int = 1) -> dict[str, Any]:
    """Run ``python -m module arguments`` with BLAS held to ``threads``; its last line is JSON."""
    environment = {**os.environ, **{f"{lib}_NUM_THREADS": str(threads) for lib in ("OMP", "OPENBLAS", "MKL")}}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def recorded(name: str) -> list[dict[str, Any]]:
    """Rows of the last record of a benchmark; none if there is none."""
    path = RESULTS / f"{name}.json"
    return list(json.loads(path.read_text())["rows"]) if path.exists() else []


def record(name: str, rows: list[dict[str, Any]], *, show: bool = True) -> None:
    """Print the rows if they are to be shown, and write them, with the machine, to ``results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "machine": machine(), "rows": rows}, indent=1) + "\n")
    for row in rows if show else ():
        shown = {key: value for key, value in row.items() if not isinstance(value, list)}
        print(
            "  ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in shown.items()
            )
        )
    print(f"written: {path}")
