"""One call of ``factorize`` in a process that may be killed, run with ``-m`` and a specification."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed import Client

import dbutterfly as dbf
from tests.support.dask_processes import Process, start_process
from tests.support.disturbed_runs import Trial
from tests.support.patience import PATIENCE


def attempt(
    trial: Trial,
    run: Path,
    address: str | None,
    *,
    kind: str = "watched",
    tiles: int = 64,
    within: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    **slow: float | str,
) -> Process:
    """Start such a process.

    Parameters
    ----------
    trial : Trial
        The matrix.
    run : Path
        Store of the run; what the process says goes beside it.
    address : str or None
        Scheduler; None for threads.
    kind : {"zarr", "watched"}
        Whether the matrix is given by its Zarr array, or by its entries.
    tiles : int
        Most tiles.
    within : sequence of str
        Beginning of the command, such as one that enters a network namespace.
    environment : dict
        Further variables.
    slow : float or str
        How a matrix given by its entries takes its time; see :class:`.disturbed_runs.Watched`.
    """
    wanted = {"directory": str(trial.directory), "side": trial.side, "run": str(run), "address": address}
    wanted |= {"kind": kind, "tiles": tiles, "slow": slow}
    command = [*within, sys.executable, "-m", __spec__.name, json.dumps(wanted)]
    return start_process(command, Path(f"{run}.said"), environment=environment)


def main() -> None:
    """Run what the specification in JSON asks for."""
    wanted = json.loads(sys.argv[1])
    trial, run = Trial(Path(wanted["directory"]), wanted["side"]), Path(wanted["run"])
    source = trial.place if wanted["kind"] == "zarr" else trial.watched(run, **wanted["slow"])
    arguments: dict[str, Any] = trial.arguments(wanted["tiles"], wanted["kind"]) | {"store": run}
    if wanted["address"] is None:
        dbf.factorize(source, workers=2, **arguments)
        return
    with Client(wanted["address"], timeout=PATIENCE) as client:
        client.wait_for_workers(1, timeout=PATIENCE)
        dbf.factorize(source, client=client, **arguments)


if __name__ == "__main__":
    main()
