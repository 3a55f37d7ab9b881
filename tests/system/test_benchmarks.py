"""The benchmarks can be started, and their page shows what is recorded."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dbutterfly as dbf
from dbutterfly.errors import how_to_install
from tests.support.comparisons import noisy_butterfly
from tests.support.devices import has_device

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    """Run Python where the benchmarks are; its output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_benchmark_is_described_with_the_time_that_it_takes():
    shown = run("-m", "benchmarks", "--help")
    described = re.findall(r"^  (\w+) +\d+ (?:s|min|h) +\S", shown, re.M)
    modules = {
        path.stem for path in (ROOT / "benchmarks").glob("*.py") if re.search(r"^def main\(", path.read_text(), re.M)
    }
    assert modules - {"__main__"} == set(described)


@pytest.mark.slow
def test_a_gpu_is_asked_for_where_there_is_none():
    found = run("-m", "benchmarks", "gpu")
    assert has_device() or f"no CUDA device, or no CuPy: {how_to_install('gpu')}" in found


@pytest.mark.slow
def test_a_gpu_is_measured(device, tmp_path):
    sys.path.insert(0, str(ROOT))
    try:
        gpu = importlib.import_module("benchmarks.gpu")
    finally:
        sys.path.remove(str(ROOT))
    dbf.matrices.write(noisy_butterfly(1024, "float32"), tmp_path / "z.zarr", chunks=(256, 256))
    rows = {row["what"]: row for row in gpu.measured(tmp_path / "z.zarr", tmp_path / "run", 2)}
    assert {row["device"] for row in rows.values()} == {"simulated"}
    assert rows["kernels of a tile"]["times_reading_it"] > 1
    assert rows["copy of a tile to the device"]["gb_per_second"] > 0
    assert {"job, numpy", "job, cupy", "job, predicted"} < rows.keys()
    assert device.MemoryPool.made[0].held == 0


@pytest.mark.slow
def test_the_page_shows_what_is_recorded():
    code = (
        "from benchmarks import harness, tables\n"
        "text = tables.README.read_text()\n"
        "recorded = [name for name in tables.TABLES if harness.recorded(name)]\n"
        "print(*(f'{name}:{tables.rendered(name) in text}' for name in recorded))\n"
    )
    assert "identification:True" in (found := run("-c", code).split())
    assert all(entry.endswith(":True") for entry in found)


@pytest.mark.slow
def test_a_tolerance_finds_nearly_the_smallest_chain():
    code = (
        "from benchmarks import smallest_chain\n"
        "smallest_chain.N = 64\n"
        "rows = {kernel[0]: kernel for kernel in smallest_chain.kernels()}\n"
        "for name in ('helmholtz, segments', 'helmholtz, circles', 'cauchy, interlaced', 'dct2'):\n"
        "    row = smallest_chain.compare(*rows[name], 1e-2)\n"
        "    print(row['bound'] <= 1e-2, row['smallest'] <= row['values'] <= 1.15 * row['smallest'])\n"
    )
    assert run("-c", code).split() == ["True"] * 8
