"""``python -m benchmarks NAME ...`` runs benchmarks by name; without a name, all of them, then draws and renders them.

``plots`` draws what has been recorded, and ``tables`` puts it into the README.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from types import ModuleType

from . import (
    accuracy,
    advice,
    apply,
    asked,
    confidence,
    entries,
    entry_function,
    fuzz,
    gpu,
    growth,
    hierarchical,
    hierarchical_kills,
    identification,
    kills,
    noise,
    odd_sizes,
    out_of_core,
    peers,
    plots,
    prove,
    ranks,
    read_limit,
    sampled,
    scaling,
    scheduler,
    seed_method,
    smallest_chain,
    stacks,
    tables,
    wide_blocks,
)

BENCHMARKS: dict[str, tuple[ModuleType, str]] = {
    "accuracy": (accuracy, "5 min"),
    "advice": (advice, "3 min"),
    "apply": (apply, "10 min"),
    "asked": (asked, "10 min"),
    "confidence": (confidence, "15 min"),
    "entries": (entries, "3 min"),
    "entry_function": (entry_function, "3 min"),
    "fuzz": (fuzz, "6 min"),
    "gpu": (gpu, "5 min"),
    "growth": (growth, "1 min"),
    "hierarchical": (hierarchical, "10 min"),
    "hierarchical_kills": (hierarchical_kills, "1 min"),
    "identification": (identification, "1 h"),
    "kills": (kills, "15 min"),
    "noise": (noise, "1 min"),
    "odd_sizes": (odd_sizes, "5 min"),
    "out_of_core": (out_of_core, "10 min"),
    "peers": (peers, "5 min"),
    "prove": (prove, "5 min"),
    "ranks": (ranks, "5 min"),
    "read_limit": (read_limit, "4 min"),
    "sampled": (sampled, "6 min"),
    "scaling": (scaling, "6 min"),
    "scheduler": (scheduler, "2 min"),
    "seed_method": (seed_method, "1 h"),
    "smallest_chain": (smallest_chain, "1 min"),
    "stacks": (stacks, "15 min"),
    "wide_blocks": (wide_blocks, "3 min"),
    "plots": (plots, "1 s"),
    "tables": (tables, "1 s"),
}
"""Each with the time that it takes on two cores: the sum of the times that it has recorded, and about as much again for
making matrices and starting processes. accuracy, apply, gpu, seed_method and wide_blocks have recorded no such times:
theirs are guesses. Whole runs were not measured; each says at its end how long it took."""


def described() -> str:
    """Each benchmark with its time, and what it measures: the first paragraph of its module."""
    lines = ["benchmarks, with the time that each takes on two cores:"]
    for name, (module, duration) in BENCHMARKS.items():
        words = " ".join((module.__doc__ or "").partition("\n\n")[0].split()).replace("``", "")
        lines.append(
            textwrap.fill(words, 100, initial_indent=f"  {name:<15} {duration:<7} ", subsequent_indent=" " * 26)
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the names and run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run benchmarks by name; without a name, all of them, then draw and render what was recorded.",
        epilog=described(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of those below; plots and tables show what is recorded"
    )
    parser.add_argument("--kills", type=int, default=100, help="kills of the benchmark kills")
    parser.add_argument("--sizes", type=int, nargs="+", default=seed_method.SIZES, help="sizes of seed_method")
    parser.add_argument("--instances", type=int, default=seed_method.INSTANCES, help="instances of seed_method")
    parser.add_argument(
        "--helmholtz",
        type=int,
        nargs="+",
        default=entries.SIZES,
        help="sizes of entries; 262144 and 1048576 take minutes",
    )
    parser.add_argument("--n", type=int, default=32768, help="size of the matrix of scaling and gpu")
    parser.add_argument("--directory", help="where scaling and gpu keep their matrices, reached by all workers")
    parser.add_argument("--scheduler", help="address of a Dask scheduler whose workers scaling measures")
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; choose of {', '.join(BENCHMARKS)}")
    for name in names:
        started = time.perf_counter()
        run(name, arguments)
        print(f"{name}: {time.perf_counter() - started:.0f} s")


def run(name: str, arguments: argparse.Namespace) -> None:
    """Run one benchmark with the arguments that it takes."""
    if name == "kills":
        kills.main(arguments.kills)
    elif name == "scaling":
        scaling.main(arguments.n, directory=arguments.directory, scheduler=arguments.scheduler)
    elif name == "gpu":
        gpu.main(arguments.n, directory=arguments.directory)
    elif name == "entries":
        entries.main(tuple(arguments.helmholtz))
    elif name == "seed_method":
        seed_method.main(arguments.sizes, arguments.instances)
    else:
        BENCHMARKS[name][0].main()


if __name__ == "__main__":
    main()
