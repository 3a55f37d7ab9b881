"""The records of the gallery, and whether what an example prints is what was recorded of it."""

from __future__ import annotations

import math
import re
from pathlib import Path

RECORDS = Path(__file__).parents[2] / "docs" / "gallery" / "recorded"

CLOSE = 0.02
"""Relative difference up to which numbers are alike. Rounding differs between processors, and last digits with it."""

ROUNDING = 1e-10
"""Errors below this are of rounding alone."""


def recorded(name: str, arguments: str = "") -> list[str]:
    """Lines that an example has printed with some arguments."""
    text = (RECORDS / f"{name}.txt").read_text()
    for session in re.split(r"^\$ python examples/", text, flags=re.M)[1:]:
        command, _, printed = session.partition("\n")
        if command == f"{name}.py {arguments}".strip():
            return printed.strip("\n").splitlines()
    raise LookupError(f"{name} {arguments} is not recorded: python docs/gallery/record.py {name}")


def lines_that_differ(printed: list[str], record: list[str]) -> list[tuple[str, str]]:
    """Lines in which two outputs differ by more than rounding, times, and what follows from times."""
    pairs = list(zip(printed, record, strict=True))
    return [(one, other) for one, other in pairs if not _is_alike(_lasting(one), _lasting(other))]


def _lasting(line: str) -> list[str]:
    """Words and numbers of a line: without times, counts of attempts, and what comes after milliseconds."""
    line = re.sub(r"\s[\d.]+ s\s+[\d.]+ ms.*$", "", line)
    return re.sub(r"\s[\d.]+ s(\s+\d+\s)?", " ", f"{line} ").replace("(", " ").replace(")", " ").split()


def _is_alike(one: list[str], other: list[str]) -> bool:
    return len(one) == len(other) and all(map(_is_same, one, other))


def _is_same(one: str, other: str) -> bool:
    try:
        here, there = float(one.rstrip("x,")), float(other.rstrip("x,"))
    except ValueError:
        return one == other
    return math.isclose(here, there, rel_tol=CLOSE, abs_tol=ROUNDING)
