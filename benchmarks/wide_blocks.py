"""Products with chains of several ranks: the compiled kernels against the plain ones, which call BLAS.

Random factors, N = 4096, balanced chains, one core. The two kernels take turns in one process; processor times.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dbutterfly.kernels.compilation import compile_now, compiled_kernels
from dbutterfly.kernels.products import packed
from dbutterfly.kernels.products.choose import has_wide_blocks
from dbutterfly.structure.chain import Chain

from . import harness

N = 4096
RANKS = (1, 4, 9, 16, 24)
DTYPES = ("float32", "float64", "complex128")
COLUMNS = (1, 16, 64)
REPEATS = 9


def one(rank: int, name: str) -> dict[str, Any]:
    """Multiply by one chain in this process."""
    compile_now()
    jit, dtype, rng = compiled_kernels(), np.dtype(name), np.random.default_rng(0)
    assert jit is not None
    chain = Chain.chainable((N, N), rank, balanced=True)
    factors = [rng.standard_normal(pattern).astype(dtype) for pattern in chain]
    prepared = [(kernels, kernels.pack(factors, dtype)) for kernels in (jit, packed)]
    rows = []
    for columns in COLUMNS:
        x = rng.standard_normal((N, columns)).astype(dtype)
        times = [
            [_seconds(lambda k=kernels, p=ready, x=x: k.multiply(p, x)) for kernels, ready in prepared]
            for _ in range(REPEATS)
        ]
        compiled, plain = np.median(times, axis=0).tolist()
        rows.append(
            {
                "rank": rank,
                "dtype": name,
                "columns": columns,
                "compiled": compiled,
                "plain": plain,
                "plain_is_faster": harness.ratios([pair[0] for pair in times], [pair[1] for pair in times]),
                "chosen": "plain" if has_wide_blocks(chain.patterns) else "compiled",
            }
        )
    return {"rows": rows}


def _seconds(multiply: Callable[[], Any]) -> float:
    """Processor time of a product, of as many that the clock can tell."""
    started, count = time.process_time(), 0
    while time.process_time() - started < 0.02:
        multiply()
        count += 1
    return (time.process_time() - started) / count


def main() -> None:
    """Record all ranks and dtypes."""
    jobs = itertools.product(RANKS, DTYPES)
    found = [harness.in_process("benchmarks.wide_blocks", str(rank), dtype) for rank, dtype in jobs]
    harness.record("wide_blocks", [row for each in found for row in each["rows"]])


if __name__ == "__main__":
    print(json.dumps(one(int(sys.argv[1]), sys.argv[2])))
