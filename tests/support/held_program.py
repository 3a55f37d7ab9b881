"""The command line in a process whose run is held in its middle, run with ``-m``: ``GATE AFTER COMMAND...``."""

from __future__ import annotations

import sys
from typing import Any

from dbutterfly.cli import main
from dbutterfly.execution import thread_engine
from tests.support.logged_sources import hold_and_say


def hold(gate: str, after: int) -> None:
    """Hold the threads of a run while a file is there, when they have written the outputs of so many tasks."""
    write, written = thread_engine.write_outputs, []

    def write_behind_gate(*arguments: Any) -> None:
        if len(written) >= after:
            hold_and_say(gate)
        write(*arguments)
        written.append(1)

    thread_engine.write_outputs = write_behind_gate  # type: ignore[attr-defined]


if __name__ == "__main__":
    hold(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
