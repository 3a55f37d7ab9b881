"""Tables and bars of the recorded benchmarks, for the site."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from canvas import Canvas, Palette

from benchmarks import harness, tables

Row: TypeAlias = dict[str, Any]
Column: TypeAlias = tuple[str, Callable[[Row], str]]


def seconds(value: float) -> str:
    """Write a time with its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def field(name: str, form: str = "") -> Callable[[Row], str]:
    """Cell of an entry of a row; empty where it has none."""
    return lambda row: "" if row.get(name) is None else format(row[name], form)


def time(name: str, unit: float = 1.0) -> Callable[[Row], str]:
    """Cell of a time of a row."""
    return lambda row: seconds(row[name] * unit) if name in row else ""


def storage(row: Row) -> str:
    """Cell of where the matrix lies."""
    if "storage" in row:
        return {"warm": "page cache", "cold": "cold disk"}.get(row["storage"], row["storage"])
    rate = row["mb_per_s_per_worker"]
    return "page cache" if rate is None else f"{rate:.0f} MB/s per worker"


def system(row: Row) -> str:
    """Cell of a system, with its options."""
    return f"{row['system']}, {row['options']}" if row.get("options") else row["system"]


def told(row: Row) -> str:
    """Cell of what a system has said of an error."""
    if "refused" in row:
        return f"refused: {row['refused']}"
    if "told" not in row:
        return "nothing"
    if row["proven"]:
        said = f"at most {row['told']:.2g}, proven"
    elif row["deviation"] == math.inf:
        said = f"about {row['told']:.2g}, and that the sample cannot tell"
    else:
        said = f"{row['told']:.2g} +- {row['deviation']:.1g}, estimated"
    return f"{said}; with a warning" if row["warned"] else said


def always(_: Row) -> bool:
    """Whether to show a row, where all are shown."""
    return True


COLUMNS: dict[str, tuple[str, Callable[[Row], bool], list[Column]]] = {
    "asked": (
        "asked",
        always,
        [
            ("kernel", lambda row: tables.KERNELS[row["target"]]),
            ("asked", field("tol", "g")),
            ("system", system),
            ("got", field("truth", ".2g")),
            ("was told", told),
            ("factors, MB", field("megabytes", ".1f")),
        ],
    ),
    "peers": (
        "peers",
        always,
        [
            ("matrix", field("target")),
            ("N", field("n")),
            ("dtype", field("dtype")),
            ("dbutterfly", time("seconds")),
            ("lazylinop", time("lazylinop_seconds")),
            ("times faster", field("times_faster", ".1f")),
            ("peak beyond Z", lambda row: f"{max(row['peak_over_z'], 0):.2f}"),  # the process may give memory back
            ("of lazylinop", field("lazylinop_peak_over_z", ".2f")),
            ("error", field("error", ".3g")),
            ("of lazylinop", field("lazylinop_error", ".3g")),
        ],
    ),
    "ranks": (
        "ranks",
        lambda row: "error_1_read" in row,
        [
            ("matrix", field("target")),
            ("rank", field("rank")),
            ("lazylinop", lambda row: f"{min(row['lazylinop_l2r'], row['lazylinop_balanced']):.4g}"),
            ("one read", field("error_1_read", ".4g")),
            ("two reads", field("error_2_read", ".4g")),
            ("lower bound", field("lower_1_read", ".4g")),
            ("error bound", field("bound_1_read", ".4g")),
        ],
    ),
    "ranks in time": (
        "ranks",
        lambda row: "seconds" in row,
        [
            ("matrix", field("target")),
            ("rank", field("rank")),
            ("dbutterfly", time("seconds")),
            ("lazylinop", time("lazylinop_seconds")),
            ("times faster", field("times_faster", ".1f")),
            ("error", field("error", ".3g")),
            ("times smaller", field("times_smaller", ".1f")),
        ],
    ),
    "apply": (
        "apply",
        lambda row: row["target"] == "fourier",
        [
            ("N", field("n")),
            ("columns", field("columns")),
            ("dbutterfly", time("dbutterfly_us", 1e-6)),
            ("without Numba", time("plain_us", 1e-6)),
            ("scipy.fft", time("scipy.fft_us", 1e-6)),
            ("over it", field("over_scipy.fft", ".1f")),
            ("pyfaust", time("pyfaust_us", 1e-6)),
            ("lazylinop", time("lazylinop xp_us", 1e-6)),
            ("its SciPy backend", time("lazylinop scipy_us", 1e-6)),
        ],
    ),
    "apply dense": (
        "apply",
        lambda row: row["target"] == "random butterfly",
        [
            ("N", field("n")),
            ("columns", field("columns")),
            ("dbutterfly", time("dbutterfly_us", 1e-6)),
            ("dense product of NumPy", time("numpy_us", 1e-6)),
            ("times faster", field("times_faster_than_dense", ".1f")),
        ],
    ),
    "sampled": (
        "sampled",
        always,
        [
            ("matrix", field("target")),
            ("N", field("n")),
            ("size", field("matrix_gib", ".0f")),
            ("rank", field("rank")),
            ("time", time("seconds")),
            ("peak, GiB", field("peak_gib", ".2f")),
            ("stated error", field("stated_error", ".2g")),
            ("error of fresh rows", field("error_of_fresh_rows", ".2g")),
            ("times smaller", field("times_smaller", ".0f")),
        ],
    ),
    "read limit": (
        "read_limit",
        always,
        [
            ("storage", storage),
            ("workers", field("workers")),
            ("dbutterfly", time("seconds")),
            ("reading and summing once", time("limit_seconds")),
            ("ratio", field("ratio", ".2f")),
        ],
    ),
    "out of core": (
        "out_of_core",
        lambda row: "storage" in row,
        [
            ("storage", storage),
            ("workers", field("workers")),
            ("dbutterfly", time("seconds")),
            ("reading and summing once", time("limit_seconds")),
            ("ratio", field("ratio", ".2f")),
            ("MiB predicted", field("predicted_peak_mib", ".0f")),
            ("MiB measured", field("peak_beyond_idle_mib", ".0f")),
        ],
    ),
    "kills": (
        "kills",
        always,
        [
            ("killed", field("victim")),
            ("runs", field("kills")),
            ("equal to the bit", field("equal")),
            ("runs whose reads were counted", field("watched")),
            ("finished tiles read again", field("read_in_vain")),
        ],
    ),
    "accuracy": (
        "accuracy",
        lambda row: "noise" in row,
        [
            ("matrix", field("target")),
            ("noise", field("noise")),
            ("degrees of freedom predict", field("oracle", ".5g")),
            ("error, one read", field("error_1_read", ".5g")),
            ("error, two reads", field("error_2_read", ".5g")),
            ("lower bound", field("lower_1_read", ".5g")),
            ("lazylinop", field("lazylinop_ortho", ".5g")),
        ],
    ),
}
"""Benchmark, which of its rows, and columns of each table."""


def table(lines: Iterable[list[str]]) -> str:
    """Markdown table, the first line of which is its head."""
    head, *rows = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def measured(name: str) -> str:
    """Table of a benchmark."""
    benchmark, wanted, columns = COLUMNS[name]
    rows = [row for row in harness.recorded(benchmark) if wanted(row)]
    return table([[head for head, _ in columns], *([cell(row) for _, cell in columns] for row in rows)])


def machine(name: str) -> str:
    """Where a benchmark was run, in a line."""
    told = json.loads((harness.RESULTS / f"{name}.json").read_text())["machine"]
    versions = ", ".join(f"{package} {number}" for package, number in told["versions"].items() if number is not None)
    return f"{told['cores']} cores of an {told['cpu']}, {told['memory_gib']:g} GiB, Python {told['python']}, {versions}"


# ---- bars


def bars(title: str, rows: Callable[[], list[tuple[str, str, float]]], palette: Palette) -> str:
    """Draw times as bars from zero: what was done, by which package, and its time."""
    given, left, width = rows(), 272.0, 168.0
    longest = max(value for _, _, value in given)
    packages = list(dict.fromkeys(package for _, package, _ in given))
    canvas = Canvas(560, 40 + 26 * len(given), palette, title)
    canvas.text(4, 20, title, 16, anchor="start")
    y, before = 34.0, ""
    for what, package, value in given:
        if what != before:
            canvas.text(left - 12, y + 17, what, 15, anchor="end")
        canvas.box(left, y + 3, max(value / longest * width, 1), 18, palette.marks[packages.index(package)])
        canvas.text(
            left + max(value / longest * width, 1) + 8, y + 17, f"{package} {seconds(value)}", 14, anchor="start"
        )
        y, before = y + 26, what
    return canvas.svg()


def peers() -> list[tuple[str, str, float]]:
    """Times of factorizations beside those of the peer."""
    rows = harness.recorded("peers")
    names = {"orthogonal": "orthogonal", "dft": "Fourier", "gaussian": "Gaussian"}
    return [
        (f"{names[row['target'].split()[0]]}{' + noise' * ('+' in row['target'])}, {row['dtype']}", package, row[key])
        for row in rows
        if row["n"] == 8192
        for package, key in (("dbutterfly", "seconds"), ("lazylinop", "lazylinop_seconds"))
    ]


def products() -> list[tuple[str, str, float]]:
    """Times of products with one vector at the largest size."""
    row = [row for row in harness.recorded("apply") if row["target"] == "fourier" and row["columns"] == 1][-1]
    keys = (("scipy.fft", "scipy.fft_us"), ("dbutterfly", "dbutterfly_us"))
    peer = (("lazylinop", "lazylinop scipy_us"), ("pyfaust", "pyfaust_us"))
    return [(f"Fourier, N = {row['n']}", package, row[key] * 1e-6) for package, key in (*keys, *peer)]


BARS: dict[str, Callable[[Palette], str]] = {
    "bars-peers": partial(bars, "Factorization of 8192 x 8192, one core", peers),
    "bars-apply": partial(bars, "Product with one vector, one core", products),
}

WORDS = {
    "bars-peers": "Bars of the times in the table below: dbutterfly takes a tenth of the time of lazylinop, or less.",
    "bars-apply": "Bars of the times in the last row of one column below: the Fourier transform of SciPy, dbutterfly, "
    "lazylinop, pyfaust, from short to long.",
}
"""What the bars show, for those who do not see them."""

PARTS: dict[str, Callable[[], str]] = {
    **{f"table {name}": partial(measured, name) for name in COLUMNS},
    **{f"table {name}": partial(tables.rendered, name) for name in tables.TABLES},
    **{f"machine {path.stem}": partial(machine, path.stem) for path in sorted(harness.RESULTS.glob("*.json"))},
}
"""Parts of pages, by name."""
