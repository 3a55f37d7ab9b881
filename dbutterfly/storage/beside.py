"""Names beside a place, under which something is written before it takes the place, and what dead processes left there.

Each name tells the place and the process that owns it, so that the next call at the same place can tell what nobody
will finish any more.
"""

from __future__ import annotations

import hashlib
import itertools
import os

from . import processes

__all__ = ["UNFINISHED", "left_beside", "name_beside"]

UNFINISHED = "unfinished"
"""End of the names."""

LONGEST_NAME = 40
"""Letters of the name of the place that are part of a name beside it, which must not become too long. Not tuned."""

_numbers = itertools.count()


def name_beside(path: str) -> str:
    """Path beside an absolute path, in the same directory, that nothing has."""
    return os.path.join(os.path.dirname(path), f"{_mark(path)}.{_owner()}.{next(_numbers)}.{UNFINISHED}")


def left_beside(path: str) -> list[str]:
    """Paths beside an absolute path that processes have left which are dead; of other hosts that is not known."""
    parent, mark = os.path.dirname(path), _mark(path)
    try:
        names = os.listdir(parent)
    except OSError:
        return []
    return [os.path.join(parent, name) for name in names if name.startswith(f"{mark}.") and _is_dead(name)]


def _mark(path: str) -> str:
    name = os.path.basename(path)
    digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
    return f".{name[:LONGEST_NAME]}-{digest}"


def _owner() -> str:
    return f"{_host()}-{os.getpid()}-{_start(os.getpid())}"


def _host() -> str:
    return hashlib.blake2b(processes.host()["host_id"].encode(), digest_size=4).hexdigest()


def _start(pid: int) -> str:
    return str(processes.start_time(pid)).replace(".", "_")


def _is_dead(name: str) -> bool:
    owner = name.rsplit(".", 3)[1:2]
    host, _, process = "".join(owner).partition("-")
    pid, _, started = process.partition("-")
    return host == _host() and pid.isdigit() and _start(int(pid)) != started
