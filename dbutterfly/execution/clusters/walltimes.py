"""Longest times of jobs, given as Slurm writes them, whatever the resource manager."""

from __future__ import annotations

import math
import re
from typing import Any

from ...errors import InputError

__all__ = ["clock", "parse_walltime", "walltime"]

_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+)(?::(\d+))?)?")
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+)")


def parse_walltime(text: str) -> float | None:
    """Seconds of a time as Slurm writes it; None of another text.

    Slurm writes minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
    days-hours:minutes:seconds. So ``1:30`` is a minute and a half.
    """
    if text.lower() in ("infinite", "unlimited"):
        return math.inf
    if found := _DAYS.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    if found := _TIME.fullmatch(text):
        first, second, last = found.groups()
        if second is None:
            return int(last) * 60.0
        return float((int(first or 0) * 60 + int(second)) * 60 + int(last))
    return None


def walltime(name: str, value: Any) -> str:
    """Read an option that is a time as Slurm writes it.

    Raises
    ------
    InputError
        If it is no such time. A number is refused too, since YAML makes one of an unquoted ``1:00:00``.
    """
    seconds = parse_walltime(value) if isinstance(value, str) else None
    if not seconds:
        raise InputError(
            f"{name}={value!r} is no time as Slurm writes it; use [DAYS-]HOURS:MINUTES:SECONDS, and quotes in YAML"
        )
    return str(value)


def clock(seconds: float) -> tuple[int, int, int]:
    """Hours, of which there may be many, minutes and seconds of a time."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return minutes // 60, minutes % 60, rest
