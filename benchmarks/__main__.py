"""``python -m benchmarks NAME ...`` runs benchmarks by name; without a name, all of them, then draws and renders them.

``plots`` draws what has been recorded, and ``tables`` puts it into the README.
"""

from __future__ import annotations

import argparse

from . import (
    accuracy,
    apply,
    entry_function,
    gpu,
    growth,
    identification,
    kills,
    odd_sizes,
    out_of_core,
    peers,
    plots,
    ranks,
    read_limit,
    sampled,
    scaling,
    scheduler,
    seed_method,
    tables,
)

BENCHMARKS = {
    "accuracy": accuracy,
    "apply": apply,
    "entry_function": entry_function,
    "gpu": gpu,
    "growth": growth,
    "identification": identification,
    "kills": kills,
    "odd_sizes": odd_sizes,
    "out_of_core": out_of_core,
    "peers": peers,
    "ranks": ranks,
    "read_limit": read_limit,
    "sampled": sampled,
    "scaling": scaling,
    "scheduler": scheduler,
    "seed_method": seed_method,
    "plots": plots,
    "tables": tables,
}


def main() -> None:
    """Parse the names and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--kills", type=int, default=100, help="kills of the benchmark kills")
    parser.add_argument("--sizes", type=int, nargs="+", default=seed_method.SIZES, help="sizes of seed_method")
    parser.add_argument("--instances", type=int, default=seed_method.INSTANCES, help="instances of seed_method")
    parser.add_argument("--n", type=int, default=32768, help="size of the matrix of scaling and gpu")
    parser.add_argument("--directory", help="where scaling and gpu keep their matrices, reached by all workers")
    parser.add_argument("--scheduler", help="address of a Dask scheduler whose workers scaling measures")
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; choose of {', '.join(BENCHMARKS)}")
    for name in names:
        if name == "kills":
            kills.main(arguments.kills)
        elif name == "scaling":
            scaling.main(arguments.n, directory=arguments.directory, scheduler=arguments.scheduler)
        elif name == "gpu":
            gpu.main(arguments.n, directory=arguments.directory)
        elif name == "seed_method":
            seed_method.main(arguments.sizes, arguments.instances)
        else:
            BENCHMARKS[name].main()


if __name__ == "__main__":
    main()
