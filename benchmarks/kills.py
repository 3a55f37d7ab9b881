"""Kills at random moments: does every run come to the same result, and is anything read that was finished?

Each kill hits a run on one matrix: its client, a worker, all workers, the scheduler, or everything at once. What is
needed is started again, and the call is repeated until the result is there.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

from .harness import record


def main(kills: int = 100, seed: int = 0) -> None:
    """Kill so many runs, and record what became of them."""
    from tests.support.random_kills import Killer, random_kills

    found: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as directory, Killer(Path(directory)) as killer:
        for kill in random_kills(seed):
            outcome = killer.outcome(kill)
            if outcome is None:  # the run had ended before its time
                continue
            found.append(outcome)
            print(f"{len(found)} of {kills}: {outcome}", flush=True)
            if len(found) == kills:
                break
    record("kills", _rows(found, seed))


def _rows(found: list[Any], seed: int) -> list[dict[str, Any]]:
    """A row for all kills, and one for each victim."""
    victims = sorted({outcome.kill.victim for outcome in found})
    rows = [_row("all", found) | {"seed": seed, "each": [dataclasses.asdict(outcome) for outcome in found]}]
    return rows + [_row(victim, [o for o in found if o.kill.victim == victim]) for victim in victims]


def _row(victim: str, found: list[Any]) -> dict[str, Any]:
    watched = [outcome for outcome in found if outcome.kill.kind == "watched"]
    return {
        "victim": victim,
        "kills": len(found),
        "equal": sum(outcome.equal for outcome in found),
        "calls": max(outcome.calls for outcome in found),
        "watched": len(watched),
        "read_in_vain": sum(outcome.in_vain for outcome in watched),
        "seconds": statistics.median(outcome.seconds for outcome in found),
    }
