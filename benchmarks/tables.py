"""Tables of recorded benchmarks: ``python -m benchmarks tables`` puts them into ``README.md`` between their marks."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import harness

README = Path(__file__).parent / "README.md"

KERNELS = {
    "helmholtz": "waves between segments",
    "fourier integral": "Fourier integral operator",
    "plates": "waves between plates in space",
    "fourier": "discrete Fourier transform",
    "interlaced cauchy": "Cauchy, interlaced points",
    "one circle": "waves on one circle",
}
"""Kernels in words."""


def scaling(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Times of every case, then the ratios."""
    ratios = {row["workers"]: row for row in rows if row["kind"] == "ratios"}
    yield ["matrix", "engine", "workers", "shortest", "median", "processor time", "times as fast", "scheduler's part"]
    for row in rows:
        if row["kind"] not in ("strong", "weak", "cluster"):
            continue
        engine, ratio = row.get("engine", "cluster"), ratios.get(row["workers"])
        faster = over = ""
        if ratio is not None and engine == "processes" and row["kind"] == "strong":
            faster = _times_as_fast(ratio, "speedup")
            over = f"{ratio['scheduler_overhead']:.0%} ({ratio['scheduler_overhead_of_processor_seconds']:.0%})"
        elif ratio is not None and engine == "threads":
            faster = _times_as_fast(ratio, "threads_speedup")
        elif ratio is not None and row["kind"] == "weak":
            faster = f"{ratio['weak_efficiency']:.2f} of the ideal"
        size = f"{row['shape'][0]} x {row['shape'][1]}" if "shape" in row else row["kind"]
        yield [
            size,
            engine,
            str(row["workers"]),
            f"{row['seconds']:.2f} s",
            f"{row['median_seconds']:.2f} s",
            f"{row['processor_seconds']:.2f} s",
            faster,
            over,
        ]


def _times_as_fast(ratio: dict[str, Any], name: str) -> str:
    """Speed over that of one worker; empty where it was not recorded."""
    return f"{ratio[name]:.2f} (processor time {ratio[f'{name}_of_processor_seconds']:.2f})" if name in ratio else ""


def scheduler(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Processor time per tile, and what it is of the run."""
    yield ["tiles", "a tile takes", "run", "scheduler", "client", "scheduler's part", "overhead", "memory grown by"]
    for row in rows:
        if "tiles" not in row:
            continue
        real = row["seconds_of_a_tile"] > 0
        yield [
            str(row["tiles"]),
            f"{row['seconds_of_a_tile']:g} s",
            f"{row['seconds']:.1f} s",
            f"{row['scheduler_ms_per_tile']:.2f} ms",
            f"{row['client_ms_per_tile']:.2f} ms",
            f"{row['scheduler_share']:.1%}" if real else "",
            f"{row['overhead']:.1%}" if real else "",
            f"{row['grown_mib']:.0f} MiB",
        ]


def growth(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Time of every size."""
    yield ["N", "matrix", "time", "time per GiB"]
    for row in rows:
        if "n" in row and "seconds" in row:
            size = 4 * row["n"] ** 2 / 2**20
            yield [str(row["n"]), f"{size:.0f} MiB", f"{row['seconds']:.2f} s", f"{row['s_per_gib']:.2f} s"]


def identification(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Successes and times of every cell, noises of one target and size together; then kernels by their size."""
    yield ["target", "N", "noise", "success", "median", "most", "memory"]
    names = {
        "dft": "Fourier",
        "orthogonal": "orthogonal butterfly",
        "gaussian": "Gaussian butterfly",
        "hadamard": "Hadamard",
    }
    cells = [row for row in rows if "successes" in row]
    for row in sorted(cells, key=lambda row: (list(names).index(row["target"]), row["n"], row["noise"])):
        copies = row.get("memory_in_matrices")
        yield [
            names[row["target"]],
            str(row["n"]),
            f"{row['noise']:g}",
            f"{row['successes']} of {row['instances']}",
            f"{row['median_seconds']:.2g} s" if row["median_seconds"] < 10 else f"{row['median_seconds']:.0f} s",
            f"{max(row['seconds']):.2g} s" if max(row["seconds"]) < 10 else f"{max(row['seconds']):.0f} s",
            "" if copies is None else f"{max(copies):.1f} times Z",
        ]
    for row in rows:
        if "grown_by_workers" in row:
            copies = max(row["grown_by_workers"]) / row["bytes"], row["grown_here"] / row["bytes"]
            yield [
                "orthogonal butterfly, float32 in Zarr, two worker processes",
                str(row["n"]),
                f"{row['noise']:g}",
                f"{row['errors'][0][0] / row['errors'][0][1]:.4f} times the error",
                f"{row['elapsed'][0]:.0f} s elapsed",
                "",
                f"a worker {copies[0]:.2f}, the client {copies[1]:.2f} times Z",
            ]
    for n in sorted({row["n"] for row in rows if "rank" in row}):
        kernels = [row for row in rows if "rank" in row and row["n"] == n]
        ratios = [row["errors"][0][0] / row["errors"][0][1] for row in kernels]
        seconds = [row["seconds"][0] for row in kernels]
        yield [
            f"waves between shuffled points, {len(kernels)} cases",
            str(n),
            "0, 0.01",
            f"{sum(ratio <= 2 for ratio in ratios)} of {len(kernels)} (errors {min(ratios):.2g} to {max(ratios):.2g})",
            f"{statistics.median(seconds):.2g} s",
            f"{max(seconds):.2g} s",
            "",
        ]


def odd_sizes(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Compression and time of prime sizes beside those of the next power of two."""
    yield ["points", "positions", "rank", "bound", "times smaller", "of the power of two", "ratio", "time per entry"]
    for row in rows:
        yield [
            f"{row['n']} and {row['next']}",
            str(row["padded"]),
            str(row["rank"]),
            f"{row['bound']:.2g}",
            f"{row['times_smaller']:.2f}",
            f"{row['next_times_smaller']:.2f}",
            f"{row['compression_over_next']:.2f}",
            f"{row['time_per_entry_over_next']:.2f}",
        ]


def wide_blocks(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Times of the plain kernels, and how much faster they are than the compiled ones, by rank and columns."""
    yield ["rank", "dtype", "columns", "compiled", "plain", "plain is faster", "chosen"]
    for row in rows:
        yield [
            str(row["rank"]),
            row["dtype"],
            str(row["columns"]),
            f"{1e3 * row['compiled']:.2f} ms",
            f"{1e3 * row['plain']:.2f} ms",
            f"{row['plain_is_faster']:.2f} times",
            row["chosen"],
        ]


def smallest_chain(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Values of the chain of a tolerance beside those of the smallest one of an exhaustive search."""
    yield ["kernel", "tolerance", "ranks", "bound", "values", "smallest", "ratio", "chains tried"]
    for row in rows:
        yield [
            row["kernel"],
            f"{row['tol']:g}",
            ", ".join(map(str, row["ranks"])),
            f"{row['bound']:.2g}",
            str(row["values"]),
            str(row["smallest"]),
            f"{row['ratio']:.2f}",
            str(row["tried"]),
        ]


def advice(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Orderings and errors that were advised, beside those of runs."""
    yield ["matrix", "orderings", "rank", "times smaller", "predicted error", "bound of the run", "processor time"]
    for row in rows:
        if "bound" not in row:
            continue
        yield [
            row["matrix"],
            row["orderings"] + ("" if row["right"] else " (wrong)"),
            str(row["rank"]),
            f"{row['times_smaller']:.1f}",
            f"{row['predicted']:.2g}",
            f"{row['bound']:.2g}",
            f"{row['seconds']:.2f} s",
        ]


def stacks(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Stacks against reading once, against single calls, against dense products, and under kills."""
    yield ["part", "matrices", "against", "result"]
    for row in rows:
        sizes = f"{row['matrices']} of {row['n']} x {row['n']}, {row['what']}" if "n" in row else row["what"]
        if row["part"] == "reading":
            limit = row["mb_per_s_per_worker"]
            where = "from the page cache" if limit is None else f"at {limit:.0f} MB/s per worker"
            yield [
                "reading",
                sizes,
                f"reading once {where}, {row['workers']} workers",
                f"{row['ratio']:.2f} times as long",
            ]
        elif row["part"] == "loop":
            yield ["loop", sizes, "a call for each, one core", f"{row['times_faster']:.1f} times faster"]
        elif row["part"] == "product":
            result = f"{row['times_faster']:.1f} times faster, {row['times_smaller']:.1f} times smaller"
            yield ["product", sizes, "dense matrices, one core", result]
        else:
            result = f"{row['equal']} of {row['kills']} equal to the bit, {row['read_in_vain']} tasks read in vain"
            yield ["kills", sizes, "an undisturbed run", result]


def prove(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Ratios before and after a proof, one line for each target and size, and its cost."""
    yield [
        "target",
        "N",
        "rank",
        "noise",
        "ratio, one cut",
        "ratio, all cuts",
        "steps",
        "proof",
        "of the factorization",
    ]
    for row in rows:
        if row["what"] != "ratio":
            continue
        yield [
            row["target"],
            str(row["n"]),
            str(row["rank"]),
            f"{row['noise']:g}" if "noise" in row else "",
            f"{row['ratio_of_one_cut']:.4f}",
            f"{row['ratio']:.6f}",
            str(row["steps"]),
            f"{row['proof_seconds']:.2f} s",
            f"{row['proof_over_factorize']:.0f} times",
        ]


def confidence(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """How many orderings were right, by what was said of them; then what was found, with and without trees."""
    yield ["confidence", "orderings", "said on average", "right"]
    for low, high in itertools.pairwise((0.0, 0.05, 0.35, 0.65, 0.85, 0.95, 1.0)):
        here = [row for row in rows if low <= row["confidence"] < high or (high == 1 and row["confidence"] == 1)]
        if here:
            said, right = (sum(row[name] for row in here) / len(here) for name in ("confidence", "right"))
            yield [f"{low:g} to {high:g}", str(len(here)), f"{said:.3f}", f"{right:.3f}"]
    for name, trees in (("found, of matrices with trees", True), ("found, of those without", False)):
        here = [row for row in rows if (row["target"] not in ("noise", "low rank")) == trees]
        found = [row for row in here if row["found"]]
        right = f"{sum(row['right'] for row in found) / len(found):.3f}" if found else ""
        yield [name, f"{len(found)} of {len(here)}", "", right]


def entries(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Times, entries, sizes and errors of entry functions, beside the figures that are cited."""
    yield [
        "kernel",
        "N",
        "tolerance",
        "processor time",
        "entries",
        "over r^2 N log2 N",
        "factors",
        "peak",
        "stated error",
        "error of fresh rows",
        "ButterflyPACK: time, entries, factors, error",
    ]
    for row in rows:
        cited = ""
        if "butterflypack_seconds" in row:
            cited = (
                f"{row['butterflypack_seconds']:g} s, {row['butterflypack_share']:.2g} of all, "
                f"{row['butterflypack_megabytes']:g} MB, {row['butterflypack_error']:.1e}"
            )
        doubt = "cannot tell" if row["deviation"] == math.inf else f"+- {row['deviation']:.1e}"
        yield [
            KERNELS[row["target"]],
            str(row["n"]),
            f"{row['tol']:g}",
            f"{row['cpu_seconds']:.2f} s",
            f"{row['share']:.2g} of all",
            f"{row['entries_over_r2_n_log_n']:.3f}",
            f"{row['megabytes']:.1f} MB",
            f"{row['peak_gib']:.2f} GiB",
            f"{row['stated_error']:.1e} {doubt}",
            f"{row['error_of_fresh_rows']:.1e}",
            cited,
        ]


def estimates(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """How often the truth lies outside of three stated deviations, by kinds of hostile functions."""
    yield ["function", "of", "cannot tell", "truth outside of three deviations", "largest ratio, where it tells"]
    for row in rows:
        yield [
            row["target"],
            str(row["functions"]),
            str(row["cannot_tell"]),
            str(row["outside_of_three_deviations"]),
            f"{row['largest_ratio_told']:.3g}",
        ]


def hierarchical(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    """Times, values and errors of kernels of one set of points, beside the figures that are cited."""
    yield ["kernel", "N", "tolerance", "read", "processor time", "values", "stated", "error", "ButterflyPACK, knn"]
    for row in rows:
        if "kind" not in row:
            continue
        cited = ""
        if "butterflypack_seconds" in row:
            cited = f"{row['butterflypack_seconds']:g} s, {row['butterflypack_megabytes']:g} MB, "
            cited += f"{row['butterflypack_error']:.1e}; {row['butterflypack_error_of_defaults']:.1e} without knn"
        said = f"{row['stated']:.2e}"
        if row["deviation"] is not None:
            said += " cannot tell" if row["deviation"] == math.inf else f" +- {row['deviation']:.0e}"
        yield [
            row["target"],
            str(row["n"]),
            f"{row['tol']:g}",
            "all" if row["kind"] == "array" else f"{row['share']:.2g} of all",
            f"{row['cpu_seconds']:.2f} s",
            f"{row['megabytes']:.1f} MB",
            said,
            f"{row['error']:.2e}",
            cited,
        ]


TABLES: dict[str, Callable[[list[dict[str, Any]]], Iterator[list[str]]]] = {
    "advice": advice,
    "entries": entries,
    "estimates": estimates,
    "hierarchical": hierarchical,
    "prove": prove,
    "scaling": scaling,
    "scheduler": scheduler,
    "growth": growth,
    "odd_sizes": odd_sizes,
    "smallest_chain": smallest_chain,
    "wide_blocks": wide_blocks,
    "stacks": stacks,
    "identification": identification,
    "confidence": confidence,
}


def rendered(name: str) -> str:
    """Markdown table of a benchmark."""
    head, *rows = TABLES[name](harness.recorded(name))
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Replace the tables of the README."""
    text = README.read_text()
    for name in TABLES:
        if harness.recorded(name):
            marks = f"<!-- {name}: rendered -->", "<!-- end -->"
            pattern = re.compile(f"{marks[0]}\n.*?{marks[1]}", re.DOTALL)
            block = f"{marks[0]}\n\n{rendered(name)}\n\n{marks[1]}"
            text = pattern.sub(lambda _, block=block: block, text)
    README.write_text(text)
    print(f"written: {README}")
